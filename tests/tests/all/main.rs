//! Tests of both programs together.

mod bad_input;
mod kills;
mod mount;

use backstore_tests::Programs;

/// The programs under test.
const PROGRAMS: Programs = Programs {
    backstore: env!("CARGO_BIN_EXE_backstore-under-test"),
    backstored: env!("CARGO_BIN_EXE_backstored-under-test"),
};
