//! The part of a file that is asked for.
//!
//! One range is answered; for several at once the whole file is, as RFC 9110 allows, so that nobody has a file read a hundred times by
//! one request. A range is handed on as first and last byte, which leaves nothing to be understood in two ways.

use std::ops::Range;

/// What a request wants of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wanted {
    /// All of it.
    Whole,
    /// These bytes; never empty.
    Part(Range<u64>),
    /// Bytes that are not there.
    Nothing,
}

/// What a `Range` header means for a file of `size` bytes. One that makes no sense means nothing.
pub(super) fn wanted(header: Option<&str>, size: u64) -> Wanted {
    let range = header.and_then(|header| {
        let (unit, range) = header.split_once('=')?;
        unit.trim().eq_ignore_ascii_case("bytes").then(|| range.trim())?.split_once('-')
    });
    match range {
        None => Wanted::Whole,
        Some(("", last)) => match number(last) {
            None => Wanted::Whole,
            Some(0) => Wanted::Nothing,
            Some(_) if size == 0 => Wanted::Nothing,
            Some(length) => Wanted::Part(size - length.min(size)..size),
        },
        Some((first, last)) => match (number(first), number(last)) {
            (Some(first), None) if last.is_empty() => part(first, size, size),
            (Some(first), Some(last)) if first <= last => part(first, last.saturating_add(1), size),
            (_, _) => Wanted::Whole,
        },
    }
}

fn part(first: u64, end: u64, size: u64) -> Wanted {
    if first < size { Wanted::Part(first..end.min(size)) } else { Wanted::Nothing }
}

/// Digits only: no sign, and no second range. What is too large is far beyond every end.
fn number(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_mean_bytes() {
        for (header, size, expected) in [
            ("bytes=0-0", 10, Wanted::Part(0..1)),
            ("bytes=3-", 10, Wanted::Part(3..10)),
            ("Bytes = 3-99", 10, Wanted::Part(3..10)),
            ("bytes=-3", 10, Wanted::Part(7..10)),
            ("bytes=-30", 10, Wanted::Part(0..10)),
            ("bytes=9-18446744073709551615", 10, Wanted::Part(9..10)),
            ("bytes=9-99999999999999999999999", 10, Wanted::Part(9..10)),
            ("bytes=10-", 10, Wanted::Nothing),
            ("bytes=10-12", 10, Wanted::Nothing),
            ("bytes=-0", 10, Wanted::Nothing),
            ("bytes=-5", 0, Wanted::Nothing),
            ("bytes=0-", 0, Wanted::Nothing),
            ("bytes=4-3", 10, Wanted::Whole),
            ("bytes=0-1,3-4", 10, Wanted::Whole),
            ("bytes=-", 10, Wanted::Whole),
            ("bytes=+1-2", 10, Wanted::Whole),
            ("lines=1-2", 10, Wanted::Whole),
            ("", 10, Wanted::Whole),
        ] {
            assert_eq!(wanted(Some(header), size), expected, "{header}");
        }
        assert_eq!(wanted(None, 10), Wanted::Whole);
    }
}
