//! Which system this is, for the body of a snapshot and for reports.

use backstore_protocol::limits::BODY_TEXT_BYTES_MAX;

#[cfg(unix)]
mod unix;
#[cfg(unix)]
use unix as host;
#[cfg(windows)]
mod windows;
#[cfg(windows)]
use windows as host;

/// The system's name as snapshots carry it: `linux`, `macos` or `windows`. Attribute bits and xattr namespaces are read by it.
pub const NAME: &str = std::env::consts::OS;

/// Release of the system, for people: the kernel's on Unix. Empty where it cannot be told.
pub fn release() -> String {
    bounded(host::release())
}

/// The name this computer has. Empty where it has none.
pub fn host_name() -> String {
    bounded(host::host_name())
}

/// The local time zone's name in the IANA database, as `Europe/Berlin`; nothing if the system has none set up.
pub fn time_zone() -> Option<String> {
    iana_time_zone::get_timezone().ok().filter(|name| !name.is_empty() && name.len() <= BODY_TEXT_BYTES_MAX)
}

fn bounded(mut text: String) -> String {
    while text.len() > BODY_TEXT_BYTES_MAX {
        text.pop();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_is_one_that_snapshots_know() {
        assert!(["linux", "macos", "windows"].contains(&NAME), "{NAME}");
    }

    #[test]
    fn host_and_release_have_no_control_characters() {
        for text in [host_name(), release(), time_zone().unwrap_or_default()] {
            assert!(!text.chars().any(char::is_control), "{text:?}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn host_and_release_are_those_of_the_kernel() {
        let kernel = |file: &str| {
            std::fs::read_to_string(format!("/proc/sys/kernel/{file}")).unwrap().trim_end().to_owned()
        };
        assert_eq!(release(), kernel("osrelease"));
        assert_eq!(host_name(), kernel("hostname"));
    }
}
