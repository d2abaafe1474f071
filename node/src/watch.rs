//! Who watches which keys at this node.
//!
//! What a watcher is told waits with the other answers to its connection, in a queue of bytes. A watch that has filled
//! its share of that queue is over: the watcher is told so as the last thing, and its other calls go on.

use leasehold_core::{Bytes, Key};

/// Watches at a time. Each costs a comparison at every change of a record.
const MOST: usize = 1_024;

/// One watch.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Watch {
    pub(crate) connection: u64,
    pub(crate) call: u64,
    prefix: Bytes,
}

/// All watches of a node.
#[derive(Debug, Default)]
pub(crate) struct Watches(Vec<Watch>);

/// Why there is no watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoWatch {
    /// The client uses this name for a call already.
    Twice,
    /// There are too many.
    Full,
}

impl Watches {
    /// Begins a watch.
    pub(crate) fn begin(
        &mut self,
        connection: u64,
        call: u64,
        prefix: Bytes,
    ) -> Result<(), NoWatch> {
        if self.0.iter().any(|watch| (watch.connection, watch.call) == (connection, call)) {
            return Err(NoWatch::Twice);
        }
        if self.0.len() >= MOST {
            return Err(NoWatch::Full);
        }
        self.0.push(Watch { connection, call, prefix });
        Ok(())
    }

    /// Ends a watch, if there is one.
    pub(crate) fn end(&mut self, connection: u64, call: u64) {
        self.0.retain(|watch| (watch.connection, watch.call) != (connection, call));
    }

    /// Ends all watches of a connection.
    pub(crate) fn gone(&mut self, connection: u64) {
        self.0.retain(|watch| watch.connection != connection);
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Who watches this key: connections and calls.
    pub(crate) fn of(&self, key: &Key) -> Vec<(u64, u64)> {
        let watches = self.0.iter().filter(|watch| key.starts_with(&watch.prefix));
        watches.map(|watch| (watch.connection, watch.call)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_watched_by_its_prefixes() {
        let mut watches = Watches::default();
        watches.begin(1, 1, "".into()).unwrap();
        watches.begin(1, 2, "a/".into()).unwrap();
        watches.begin(2, 1, "b".into()).unwrap();
        assert_eq!(watches.begin(1, 2, "c".into()), Err(NoWatch::Twice));
        assert_eq!(watches.of(&"a/b".into()), [(1, 1), (1, 2)]);
        watches.end(1, 1);
        assert_eq!(watches.of(&"a/b".into()), [(1, 2)]);
        watches.gone(1);
        assert_eq!(watches.of(&"a/b".into()), []);
        assert_eq!(watches.of(&"b".into()), [(2, 1)]);
    }

    #[test]
    fn there_is_a_limit() {
        let mut watches = Watches::default();
        for call in 0..u64::try_from(MOST).unwrap() {
            watches.begin(1, call, "".into()).unwrap();
        }
        assert_eq!(watches.begin(2, 1, "".into()), Err(NoWatch::Full));
    }
}
