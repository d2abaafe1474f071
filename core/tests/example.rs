//! The example of a driver runs to its end.

#[path = "../examples/channels.rs"]
mod channels;

#[test]
fn a_driver_over_channels_locks_and_releases() {
    channels::main();
}
