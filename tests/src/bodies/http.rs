//! Requests over HTTP: whatever is asked, and whatever the driver says to it, the answer is one that the interface's
//! description knows; and what reaches the driver could have come from the client's port as well.

use std::cell::RefCell;

use leasehold_core::wire::{self, ClientItem, Frame, NodeItem};
use leasehold_node::http::Rehearsal;
use serde_json::Value;

/// What the description promises, and 404 and 405 for what it does not know.
const STATUSES: [u16; 11] = [200, 400, 401, 403, 404, 405, 408, 409, 413, 503, 504];

thread_local! {
    static INTERFACE: RefCell<Rehearsal> =
        RefCell::new(Rehearsal::new().expect("there is room for a runtime"));
}

/// A line with method and target, a body as far as the first empty line, and items that the driver answers with, in turn.
pub fn http(bytes: &[u8]) {
    let (head, rest) = halves(bytes, b"\n");
    let (body, mut answers) = halves(rest, b"\n\n");
    let Some((method, target)) = str::from_utf8(head).ok().and_then(|head| head.split_once(' '))
    else {
        return;
    };
    let mut reached = 0;
    let driver = |item: &ClientItem| {
        reached += 1;
        travels(item);
        wire::take_item::<NodeItem>(&mut answers).ok().flatten()
    };
    let answer =
        INTERFACE.with_borrow_mut(|interface| interface.ask(method, target, body.to_vec(), driver));
    let Some((status, body)) = answer else { return };
    assert!(STATUSES.contains(&status), "{method} {target} is answered with {status}");
    if method == "HEAD" {
        return;
    }
    let path = target.split(['?', '#']).next().unwrap_or_default();
    let plain = ["/livez", "/readyz", "/metrics"].contains(&path);
    let is_stream = path == "/v1/watch" && status == 200;
    if is_stream {
        assert!(reached > 0, "whoever watches stands with the driver");
        assert!(body.starts_with(b"event: watching\n"), "a watch says that it has begun");
    } else if !plain {
        let said: Value = serde_json::from_slice(&body).expect("an answer is JSON");
        if status != 200 {
            let is_text = |name: &str| said[name].as_str().is_some_and(|text| !text.is_empty());
            assert!(is_text("outcome") && is_text("message"), "{said} tells why, and what to do");
        } else if path != "/v1/openapi.json" {
            assert_eq!(said["outcome"], "done", "{method} {target}: {said}");
            assert!(reached > 0, "the interface knows nothing by itself");
        }
    }
}

/// What goes to the driver can be sent over the client's port, too.
fn travels(item: &ClientItem) {
    let mut frame = Frame::default();
    if frame.push(item).is_err() {
        // A value that is too large for a frame is refused by the core's limits, which are below it.
        return;
    }
    let bytes = frame.take();
    let (mut items, _) = wire::split_frame(&bytes).expect("a frame").expect("a whole one");
    assert_eq!(
        wire::take_item::<ClientItem>(&mut items),
        Ok(Some(item.clone())),
        "an item comes back"
    );
}

/// What is before the first `mark`, and what is behind it.
fn halves<'a>(bytes: &'a [u8], mark: &[u8]) -> (&'a [u8], &'a [u8]) {
    let at = bytes.windows(mark.len()).position(|window| window == mark);
    at.map_or((bytes, &[]), |at| (&bytes[..at], &bytes[at + mark.len()..]))
}
