//! Names the known bugs that tests can switch on with `RUSTFLAGS="--cfg bug_…"` to see that they are caught.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    for bug in ["bug_ack_before_sync", "bug_skip_name_sync", "bug_index_before_data", "bug_no_closure_check"]
    {
        println!("cargo::rustc-check-cfg=cfg({bug})");
    }
}
