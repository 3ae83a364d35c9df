//! Fuzzes a node of a tree: kind, level and count of references are part of the input.

#![no_main]

use backstore_fuzz::check;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| check("node", &[&[2], bytes].concat()));
