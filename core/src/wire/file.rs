//! The node file to bytes and back.
//!
//! It begins with a mark that names its format. What is written has the newest; the first is still read, in which a
//! configuration does not say who its former members were.

use alloc::string::String;
use alloc::vec::Vec;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::Malformed;
use crate::ballot::{Ballot, COUNTER_END};
use crate::hash;
use crate::members::{ClusterId, Config, ConfigVote, Epoch, Member, NodeFile, NodeId};

/// What a node file starts with.
const MAGIC: &[u8; 8] = b"LEASEHD2";
/// What it started with in the first format.
const FIRST: &[u8; 8] = b"LEASEHD1";

/// The bytes of a node file: a mark of what it is, a checksum, and the contents.
#[must_use]
pub fn encode_file(file: &NodeFile) -> Vec<u8> {
    // Serialization into a growing vector does not fail; an empty body would not decode.
    let body = postcard::to_allocvec(file).unwrap_or_default();
    let mut bytes = Vec::with_capacity(16 + body.len());
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&sum(MAGIC, &body));
    bytes.extend_from_slice(&body);
    bytes
}

/// The node file of these bytes.
///
/// # Errors
///
/// [`Malformed::File`] if they are not exactly what [`encode_file`] made, now or in the first format.
pub fn decode_file(bytes: &[u8]) -> Result<NodeFile, Malformed> {
    let (magic, rest) = bytes.split_first_chunk::<8>().ok_or(Malformed::File)?;
    let (found, body) = rest.split_first_chunk::<8>().ok_or(Malformed::File)?;
    if *found != sum(magic, body) {
        return Err(Malformed::File);
    }
    let file = match magic {
        MAGIC => whole::<NodeFile>(body)?,
        FIRST => whole::<FirstFile>(body)?.into(),
        _ => return Err(Malformed::File),
    };
    if file.ceiling < COUNTER_END { Ok(file) } else { Err(Malformed::File) }
}

/// The checksum. It covers the mark, too, so that no changed bit makes one format of another.
fn sum(magic: &[u8; 8], body: &[u8]) -> [u8; 8] {
    let sum = if magic == FIRST {
        hash::keyed((0, 0), &[body])
    } else {
        hash::keyed((0, 0), &[magic, body])
    };
    sum.to_le_bytes()
}

fn whole<T: DeserializeOwned>(body: &[u8]) -> Result<T, Malformed> {
    match postcard::take_from_bytes::<T>(body) {
        Ok((file, [])) => Ok(file),
        _ => Err(Malformed::File),
    }
}

/// [`Config`] in the first format.
#[derive(Deserialize)]
struct FirstConfig {
    epoch: Epoch,
    masters: Vec<Member>,
    replicas: Vec<Member>,
    before: Vec<NodeId>,
}

/// [`NodeFile`] in the first format.
#[derive(Deserialize)]
struct FirstFile {
    name: String,
    id: NodeId,
    cluster: Option<ClusterId>,
    ceiling: u64,
    config: Option<FirstConfig>,
    active_in: Option<Epoch>,
    promised: Ballot,
    accepted: Option<(Ballot, FirstConfig)>,
}

impl From<FirstConfig> for Config {
    fn from(FirstConfig { epoch, masters, replicas, before }: FirstConfig) -> Self {
        Self { epoch, masters, replicas, before, former: Vec::new() }
    }
}

impl From<FirstFile> for NodeFile {
    fn from(file: FirstFile) -> Self {
        let FirstFile { name, id, cluster, ceiling, config, active_in, promised, accepted } = file;
        let accepted = accepted.map(|(ballot, config)| (ballot, config.into()));
        let vote = ConfigVote { promised, accepted };
        Self { name, id, cluster, ceiling, config: config.map(Into::into), active_in, vote }
    }
}
