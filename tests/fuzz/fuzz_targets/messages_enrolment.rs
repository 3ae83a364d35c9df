//! Fuzzes what is said to enrol.

#![no_main]

use backstore_fuzz::check_message;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| check_message(&[1, 2, 3, 10, 11, 12, 13, 14, 15, 16], bytes));
