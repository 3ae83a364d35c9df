//! Fuzzes one entry of a leaf.

#![no_main]

use backstore_fuzz::check;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| check("entry", bytes));
