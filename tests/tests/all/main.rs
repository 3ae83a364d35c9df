//! Tests of both programs together.

mod architecture;
mod bad_input;
mod damage;
mod disk_cache;
mod file_manager;
mod invitation;
mod kills;
mod mount;
mod mount_by_user;
mod readers;
mod round_trip;
mod samba;
mod slow_link;
mod sources;
mod surroundings;
mod tags;
mod webdav;
mod wire;

use backstore_tests::Programs;

/// The programs under test.
const PROGRAMS: Programs = Programs {
    backstore: env!("CARGO_BIN_EXE_backstore-under-test"),
    backstored: env!("CARGO_BIN_EXE_backstored-under-test"),
};
