//! Unix: `uname`.

pub(super) fn release() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

pub(super) fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
