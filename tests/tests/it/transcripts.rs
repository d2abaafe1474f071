//! Plays every file of `tests/transcripts`.

use std::collections::BTreeSet;

use leasehold_tests::transcript;

macro_rules! transcripts {
    ($($name:ident),* $(,)?) => {
        transcripts!("" $($name)*);
    };
    ($folder:literal $($name:ident)*) => {
        pub(super) const LISTED: &[&str] = &[$(concat!($folder, stringify!($name))),*];
        $(
            #[test]
            fn $name() {
                let name = concat!($folder, stringify!($name), ".txt");
                if let Err(difference) = super::transcript::play(&super::transcript::folder().join(name)) {
                    panic!("{difference}");
                }
            }
        )*
    };
}

mod pages {
    transcripts!(
        contention,
        durability,
        expiry,
        forgetting,
        founding,
        home,
        late_commit,
        life_of_a_lock,
        operations,
        read_settles,
        repeated,
        restart,
        short_path,
        unknown,
        waiting,
        members,
        replacing,
        changes,
        replicas,
    );
}

/// Interleavings that hardly come about by chance, one for each rule that only they need.
mod hazards {
    transcripts!("hazards/" active_in age_from_promise ceiling_after_sync clock_read heirs horizon implied_age late_forward op_timeout own_promise retry_floor retry_lowest rounds settle_before_extend waited);
}

#[test]
fn every_file_is_played() {
    let names = transcript::all()
        .unwrap()
        .iter()
        .map(|path| transcript::name(path))
        .collect::<BTreeSet<_>>();
    let listed = pages::LISTED.iter().chain(hazards::LISTED).map(ToString::to_string);
    assert_eq!(names, listed.collect());
}
