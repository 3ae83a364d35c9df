//! Sizes, times and counts for people.

use chrono::{TimeZone, Utc};
use chrono_tz::Tz;

/// `1.3 GB`: decimal units, as disks are sold.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 999.5 && unit < UNITS.len() - 1 {
        value /= 1000.0;
        unit += 1;
    }
    match unit {
        0 => format!("{bytes} B"),
        _ if value < 9.95 => format!("{value:.1} {}", UNITS[unit]),
        _ => format!("{value:.0} {}", UNITS[unit]),
    }
}

/// `12,345`.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 file`, `2 files`.
pub(super) fn plural(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(number), if number == 1 { one } else { many })
}

/// `4.2 s`, `3 min 12 s`, `2 h 5 min`.
pub(super) fn duration(milliseconds: u64) -> String {
    let seconds = milliseconds / 1000;
    match seconds {
        0..60 => format!("{:.1} s", milliseconds as f64 / 1000.0),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

/// `2026-11-22 14:30:05` in a zone.
pub(super) fn time(milliseconds: i64, zone: Tz) -> String {
    match Utc.timestamp_millis_opt(milliseconds).single() {
        Some(time) => time.with_timezone(&zone).format("%Y-%m-%d %H:%M:%S").to_string(),
        None => "at an unknown time".to_owned(),
    }
}

/// `3 days ago`.
pub(super) fn ago(milliseconds: i64) -> String {
    let seconds = milliseconds / 1000;
    let (number, one, many) = match seconds {
        i64::MIN..0 => return "in the future".to_owned(),
        0..90 => return "just now".to_owned(),
        90..5400 => (seconds / 60, "minute", "minutes"),
        5400..172_800 => (seconds / 3600, "hour", "hours"),
        _ => (seconds / 86_400, "day", "days"),
    };
    format!("{} ago", plural(number.unsigned_abs(), one, many))
}

/// Reads `500k`, `20M`, `1.5G`, `2TB` or a number of bytes; units are decimal, with `i` binary.
pub(super) fn parse_size(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is not a size like 500k, 20M, 1.5G or 2GiB");
    let trimmed = text.trim();
    let digits = trimmed.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(trimmed.len());
    let (number, unit) = trimmed.split_at(digits);
    let number: f64 = number.parse().map_err(|_| wrong())?;
    let unit = unit.trim().to_ascii_lowercase();
    let unit = unit.strip_suffix('b').unwrap_or(&unit);
    let (letter, base) = match unit.strip_suffix('i') {
        Some(letter) => (letter, 1024f64),
        None => (unit, 1000f64),
    };
    let power = match letter {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => return Err(wrong()),
    };
    let bytes = number * base.powi(power);
    if bytes.is_finite() && (0.0..9.0e18).contains(&bytes) { Ok(bytes as u64) } else { Err(wrong()) }
}

/// Reads `90m`, `3h`, `3d`, `2w`: milliseconds.
pub(super) fn parse_age(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is not an age like 90m, 3h, 3d or 2w");
    let (number, unit) =
        text.len().checked_sub(1).and_then(|at| text.split_at_checked(at)).ok_or_else(wrong)?;
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let unit = match unit {
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        "w" => 604_800_000,
        _ => return Err(wrong()),
    };
    number.checked_mul(unit).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_for_people() {
        assert_eq!(
            [size(0), size(999), size(1500), size(999_600), size(12_345_678)].join(" "),
            "0 B 999 B 1.5 kB 1.0 MB 12 MB"
        );
        assert_eq!([count(0), count(999), count(1000), count(1_234_567)].join(" "), "0 999 1,000 1,234,567");
        assert_eq!(
            [duration(900), duration(61_000), duration(7_500_000)].join(" "),
            "0.9 s 1 min 1 s 2 h 5 min"
        );
        assert_eq!(
            [ago(0), ago(180_000), ago(86_400_000 * 3)].join(", "),
            "just now, 3 minutes ago, 3 days ago"
        );
    }

    #[test]
    fn sizes_and_ages_are_read() {
        for (text, bytes) in [
            ("0", 0),
            ("12", 12),
            ("500k", 500_000),
            ("1.5G", 1_500_000_000),
            ("2GiB", 2 << 30),
            ("1 MB", 1_000_000),
        ] {
            assert_eq!(parse_size(text), Ok(bytes));
        }
        for text in ["", "k", "-1", "1x", "1e5", "1..2", "99999999P"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
        assert_eq!(parse_age("3d"), Ok(259_200_000));
        for text in ["", "d", "3", "3y", "-3d", "é"] {
            assert!(parse_age(text).is_err(), "{text}");
        }
    }
}
