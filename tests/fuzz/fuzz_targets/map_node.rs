//! Fuzzes a node of a large file's map.

#![no_main]

use backstore_fuzz::check;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| check("node", &[&[3], bytes].concat()));
