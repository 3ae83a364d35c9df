//! Switches known bugs on, to see that the tests catch them: `VAULT_BUG=ack_before_sync cargo test -p backstore-vault` has to fail.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=VAULT_BUG");
    for bug in BUGS {
        println!("cargo::rustc-check-cfg=cfg(bug_{bug})");
    }
    let Ok(bug) = std::env::var("VAULT_BUG") else { return };
    assert!(BUGS.contains(&bug.as_str()), "no such bug; there are {BUGS:?}");
    assert!(std::env::var("PROFILE").is_ok_and(|profile| profile == "debug"), "bugs are not for release");
    println!("cargo::rustc-cfg=bug_{bug}");
}

const BUGS: [&str; 4] = ["ack_before_sync", "skip_name_sync", "index_before_data", "no_closure_check"];
