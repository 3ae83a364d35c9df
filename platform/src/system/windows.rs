//! Windows: what the environment says; the release is not asked for yet.

pub(super) fn release() -> String {
    String::new()
}

pub(super) fn host_name() -> String {
    std::env::var("COMPUTERNAME").unwrap_or_default()
}
