//! Mail between clients: where a mailbox is, what is sent there, and what became of it.
//!
//! The core takes no part in it. Nodes carry mail from one client to another, at most once, and say whether it arrived.

use core::fmt;
use core::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::bytes::Bytes;
use crate::members::NodeId;

/// The largest body of a piece of mail, in bytes: many fit a frame, so that none holds up the others for long.
pub const MAX_MAIL: usize = 64 << 10;

/// Where a mailbox is. It names one connection of one client, so it is good for as long as that connection.
///
/// Whoever knows it may send there. Nodes and clients name connections and mailboxes so that they cannot be guessed; so those know it
/// whom the client told, and those who may read the key that it is registered under.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Address {
    /// The node where the client is connected.
    pub node: NodeId,
    /// The boot of that node.
    pub boot: u64,
    /// The client's connection there.
    pub connection: u64,
    /// The mailbox among those of the client.
    pub number: u64,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { node, boot, connection, number } = self;
        write!(f, "mail:{:016x}:{boot:016x}:{connection}:{number}", node.0)
    }
}

/// It is no address of a mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoAddress;

impl fmt::Display for NoAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no address of a mailbox")
    }
}

impl core::error::Error for NoAddress {}

impl FromStr for Address {
    type Err = NoAddress;

    fn from_str(text: &str) -> Result<Self, NoAddress> {
        let mut parts = text.strip_prefix("mail:").ok_or(NoAddress)?.split(':');
        let mut number = |radix| {
            let part = parts.next().ok_or(NoAddress)?;
            u64::from_str_radix(part, radix).map_err(|_| NoAddress)
        };
        let (node, boot) = (NodeId(number(16)?), number(16)?);
        let address = Self { node, boot, connection: number(10)?, number: number(10)? };
        if parts.next().is_none() { Ok(address) } else { Err(NoAddress) }
    }
}

/// What is sent to a mailbox.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Parcel {
    /// A message outside any conversation.
    Info(Bytes),
    /// A request that wants no answer.
    Cast(Bytes),
    /// A request that wants one.
    Call {
        /// Where to.
        reply: Address,
        /// The caller's name for it.
        call: u64,
        /// The request.
        body: Bytes,
    },
    /// The answer to a request.
    Reply {
        /// The caller's name for the request.
        call: u64,
        /// The answer.
        body: Bytes,
    },
}

impl Parcel {
    /// The bytes in it.
    #[must_use]
    pub const fn body(&self) -> &Bytes {
        match self {
            Self::Info(body)
            | Self::Cast(body)
            | Self::Call { body, .. }
            | Self::Reply { body, .. } => body,
        }
    }
}

/// What became of a piece of mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Delivery {
    /// It is in the mailbox.
    Taken,
    /// The mailbox is full; it was not taken.
    Full,
    /// There is no such mailbox.
    Nobody,
    /// The node of the mailbox is not linked with the sender's; it was not sent there.
    Unreachable,
    /// It is larger than [`MAX_MAIL`].
    TooLarge,
    /// The sender's node carries as much as it may; it was not sent.
    Busy,
    /// It was handed over, and nobody knows whether it arrived.
    Unknown,
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    #[test]
    fn addresses_come_back_from_text_and_nothing_else_is_one() {
        let address = Address { node: NodeId(u64::MAX), boot: 7, connection: 8, number: 9 };
        assert_eq!(address.to_string().parse(), Ok(address));
        for wrong in ["", "mail:", "mail:1:2:3", "mail:1:2:3:4:5", "mail:1:2:x:4", "1:2:3:4"] {
            assert_eq!(wrong.parse::<Address>(), Err(NoAddress));
        }
    }
}
