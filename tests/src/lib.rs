//! The world that the transcripts play in.
//!
//! A handful of nodes, a clock that moves only when told, and a network that delivers at once unless told
//! otherwise. Nothing is left to chance: the same commands give the same words, every time and everywhere.
//! What may go wrong by chance is the simulator's business (`leasehold-sim`); a transcript shows one history,
//! chosen by its author, with all that was said in it.
//!
//! * [`transcript`] reads and writes the files: commands, a line of dashes, what the cluster said.
//! * [`script`] turns a line of commands into a [`script::Command`].
//! * [`stage`] carries commands out: it plays the clients and their operation ids.
//! * [`world`] is the nodes, the network, the disks and the time.
//! * [`hazards`] reads the table that says which transcript goes red without which rule.
//! * [`bodies`] is what the fuzzer runs.
//! * [`rig`] runs real processes instead.
//! * [`talk`] puts messages into words, [`show`] what they consist of, answers and events.
//!
//! ```
//! let mut stage = leasehold_tests::stage::Stage::default();
//! for line in ["cluster a b c", "init a"] {
//!     stage.play(line)?;
//! }
//! let said = stage.play("lock a job me ttl=30s")?;
//! assert!(said.contains("#2 done"), "{said}");
//! # Ok::<(), String>(())
//! ```

pub mod bodies;
pub mod hazards;
pub mod rig;
pub mod script;
pub mod show;
pub mod stage;
pub mod talk;
pub mod transcript;
pub mod world;
