//! Fuzzes what is said in a session.

#![no_main]

use backstore_fuzz::check_message;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| check_message(&[20, 21, 22, 23, 24, 25, 26], bytes));
