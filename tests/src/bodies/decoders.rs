//! Bytes from strangers: taken and understood, or refused. What is understood makes sense, and comes back as it was.

use std::fmt::Debug;

use leasehold_core::wire::{self, ClientItem, Frame, Item, Malformed, NodeItem, PeerItem};
use leasehold_node::Config;
use leasehold_node::config::{ConfigError, Loaded, Sources};
use leasehold_sim::written;

/// Bytes on a link between two nodes.
pub fn peer_frames(bytes: &[u8]) {
    frames::<PeerItem>(bytes);
}

/// Bytes that a node gets from a client.
pub fn client_frames(bytes: &[u8]) {
    frames::<ClientItem>(bytes);
}

/// Bytes that a client gets from a node.
pub fn node_frames(bytes: &[u8]) {
    frames::<NodeItem>(bytes);
}

/// Bytes that are said to be a node file.
pub fn node_file(bytes: &[u8]) {
    if let Ok(file) = wire::decode_file(bytes) {
        let again = wire::encode_file(&file);
        assert_eq!(wire::decode_file(&again).as_ref(), Ok(&file), "a node file comes back");
    }
}

/// Bytes that are said to be a configuration file.
pub fn configuration(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    match load(text) {
        Ok(loaded) => {
            // What is shown is a configuration file, and says the same.
            let again = load(&loaded.to_string());
            assert_eq!(
                again.map(|again| again.config),
                Ok(loaded.config),
                "a configuration comes back"
            );
        }
        Err(ConfigError(faults)) => {
            assert!(
                !faults.is_empty() && faults.iter().all(|fault| !fault.is_empty()),
                "a refusal says why"
            );
        }
    }
}

/// Bytes that are said to be a scenario of the simulator.
pub fn scenario(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    match written::read(text) {
        Ok(scenario) => {
            let shown = written::show(&scenario);
            let again = written::read(&shown).map(|again| written::show(&again));
            assert_eq!(again.as_deref().ok(), Some(shown.as_str()), "a scenario comes back");
        }
        Err(unreadable) => assert!(!unreadable.to_string().is_empty(), "a refusal says why"),
    }
}

fn load(text: &str) -> Result<Loaded, ConfigError> {
    let file = Some(("node.toml".into(), text.to_owned()));
    Config::load(&Sources { file, ..Sources::default() })
}

fn frames<T: Item + PartialEq + Debug>(bytes: &[u8]) {
    let whole = all_items::<T>(bytes);
    // A reader to whom the bytes come in two pieces sees the same.
    let cut = bytes.len() / 2;
    let in_pieces = all_items::<T>(&bytes[..cut]).and_then(|(mut items, taken)| {
        let (rest, more) = all_items::<T>(&bytes[taken..])?;
        items.extend(rest);
        Ok((items, taken + more))
    });
    if let (Ok(whole), Ok(in_pieces)) = (&whole, &in_pieces) {
        assert_eq!(whole, in_pieces, "where the bytes are cut makes no difference");
    }
    assert_eq!(whole.is_ok(), in_pieces.is_ok(), "where the bytes are cut makes no difference");
    let Ok((items, _)) = whole else { return };
    let mut frame = Frame::default();
    for item in &items {
        assert!(item.well_formed(), "{item:?} was let in");
        frame.push(item).expect("what came in a frame fits a frame");
    }
    let again = frame.take();
    assert_eq!(all_items::<T>(&again), Ok((items, again.len())), "items come back");
    // The bytes are as long as a frame's header says only sometimes: try them as items, too.
    let mut rest = bytes;
    while let Ok(Some(item)) = wire::take_item::<T>(&mut rest) {
        assert!(item.well_formed(), "{item:?} was let in");
    }
}

/// All items of whole frames, and how many bytes those were.
fn all_items<T: Item>(bytes: &[u8]) -> Result<(Vec<T>, usize), Malformed> {
    let (mut found, mut taken) = (Vec::new(), 0);
    while let Some((mut items, length)) = wire::split_frame(&bytes[taken..])? {
        while let Some(item) = wire::take_item(&mut items)? {
            found.push(item);
        }
        taken += length;
    }
    Ok((found, taken))
}
