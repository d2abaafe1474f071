//! Many seeds, or one; see the crate.

/// A `RUSTFLAGS` variable takes the place of those in `.cargo/madsim.toml` without a word, and then there would be nothing here
/// that could fail.
#[cfg(not(madsim))]
#[test]
fn only_cargo_simnet_builds_the_simulated_network() {
    assert!(
        std::env::var_os("REQUIRE_MADSIM").is_none(),
        "this was built without `--cfg madsim`: unset RUSTFLAGS and its likes, and run `cargo simnet`"
    );
}

#[cfg(madsim)]
#[test]
fn seeds() {
    leasehold_simnet::run();
}
