//! Fuzzes lists of lineages, snapshots and log entries.

#![no_main]

use backstore_fuzz::check_message;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| check_message(&[28, 29, 30, 31, 32, 33], bytes));
