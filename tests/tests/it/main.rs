//! The whole of Leasehold under test, but for what runs as a process (`node/tests`) and the simulator's seeds (`sim`).

#[cfg(test)]
mod transcripts;
