#![no_main]

use leasehold_tests::bodies;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| bodies::http(bytes));
