//! Fuzzes what is encrypted in an envelope, with a good envelope around it.

#![no_main]

use backstore_fuzz::check;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| check("inner", bytes));
