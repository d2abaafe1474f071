//! The whole of Leasehold under test, but for what runs as a process (`node/tests`) and the simulator's seeds (`sim`).

#[cfg(test)]
mod arbitrary;
#[cfg(test)]
mod arithmetic;
#[cfg(test)]
mod bodies;
#[cfg(test)]
mod hazards;
#[cfg(test)]
mod node_file;
#[cfg(test)]
mod tidy;
#[cfg(test)]
mod transcripts;
#[cfg(test)]
mod wire;
