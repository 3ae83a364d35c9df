//! Fuzzes what carries objects and ids.

#![no_main]

use backstore_fuzz::check_message;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| check_message(&[40, 41, 42, 43, 44, 45, 46, 48, 49], bytes));
