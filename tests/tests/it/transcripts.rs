//! Plays every file of `tests/transcripts`.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use leasehold_tests::transcript;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("transcripts")
}

macro_rules! transcripts {
    ($($name:ident),* $(,)?) => {
        const LISTED: &[&str] = &[$(stringify!($name)),*];
        $(
            #[test]
            fn $name() {
                let file = folder().join(concat!(stringify!($name), ".txt"));
                if let Err(difference) = transcript::play(&file) {
                    panic!("{difference}");
                }
            }
        )*
    };
}

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
    unknown,
    waiting,
);

#[test]
fn every_file_is_played() {
    let names = fs::read_dir(folder()).unwrap().map(|file| {
        let path = file.unwrap().path();
        path.file_stem().unwrap().to_str().unwrap().to_owned()
    });
    assert_eq!(names.collect::<BTreeSet<_>>(), LISTED.iter().map(ToString::to_string).collect());
}
