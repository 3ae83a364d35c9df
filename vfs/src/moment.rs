//! Which version is meant: `latest`, an id, a date, a time, `yesterday`, `3d`. The command line and the names in a mount mean the same.

use std::fmt;

use backstore_protocol::ids::SnapshotId;
use chrono::{
    DateTime, Days, Duration, LocalResult, Months, NaiveDate, NaiveDateTime, NaiveTime, TimeZone, Utc,
};
use chrono_tz::Tz;

/// A version that somebody means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moment {
    text: String,
    meaning: Meaning,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Meaning {
    Latest,
    /// Begun before this moment: milliseconds since 1970.
    Before(i64),
    /// With an id that begins so.
    Id(String),
}

/// A text that is no time.
#[derive(Debug, thiserror::Error)]
#[error(
    "{text:?} is no version: say latest, the beginning of a version's id (8 digits or more), 2026-11-22, 2026-11-22_14-30-05, 2026-11-22T14:30:05Z, today, yesterday, 90m, 3h, 3d or 2w"
)]
pub struct MomentError {
    text: String,
}

/// Names of versions, but for what tells those of a second or an hour apart.
const VERSION_NAME: &str = "%Y-%m-%d_%H-%M-%S";
/// Where clocks differ by more than this, the destination's counts.
const CLOCKS_APART_MS: i64 = 3_600_000;

impl Moment {
    /// The newest version.
    pub fn latest() -> Self {
        Self { text: "latest".to_owned(), meaning: Meaning::Latest }
    }

    /// Reads a text that means a version. `zone` is the set's, `now` in milliseconds since 1970.
    pub fn parse(text: &str, zone: Tz, now: i64) -> Result<Self, MomentError> {
        let unknown = || MomentError { text: text.to_owned() };
        let trimmed = text.trim();
        if trimmed.eq_ignore_ascii_case("latest") {
            return Ok(Self::latest());
        }
        let now = Utc.timestamp_millis_opt(now).single().ok_or_else(unknown)?.with_timezone(&zone);
        let meaning = match before(trimmed, zone, now) {
            Some(before) => Meaning::Before(before.timestamp_millis()),
            None if trimmed.len() >= 8
                && trimmed.len() <= 64
                && trimmed.bytes().all(|byte| byte.is_ascii_hexdigit()) =>
            {
                Meaning::Id(trimmed.to_ascii_lowercase())
            }
            None => return Err(unknown()),
        };
        Ok(Self { text: trimmed.to_owned(), meaning })
    }

    /// Whether it is the newest that is meant, whenever that was.
    pub fn is_latest(&self) -> bool {
        self.meaning == Meaning::Latest
    }

    /// Whether a version is meant, asked of the newest first.
    pub fn fits(&self, id: &SnapshotId, started_at: i64, received_at: i64) -> bool {
        match &self.meaning {
            Meaning::Latest => true,
            Meaning::Id(prefix) => id.to_string().starts_with(prefix),
            Meaning::Before(before) => {
                let apart = (started_at - received_at).abs() > CLOCKS_APART_MS;
                if apart { received_at < *before } else { started_at < *before }
            }
        }
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.meaning {
            Meaning::Latest => f.write_str("yet"),
            Meaning::Before(_) => write!(f, "at or before {}", self.text),
            Meaning::Id(_) => write!(f, "with the id {}", self.text),
        }
    }
}

/// Whether a text looks like a version's folder in a mount: `2026-11-22_14-30-05`, with `_2`, `_partial`, an `A` or `B` after the hour
/// or a `Z` after the seconds.
pub fn is_version_name(text: &str) -> bool {
    let text = text.strip_suffix("_partial").unwrap_or(text);
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if let Some(seconds) = text.strip_prefix('@') {
        return is_number(seconds.strip_prefix('-').unwrap_or(seconds));
    }
    let mut parts = text.split('_');
    let (Some(date), Some(time)) = (parts.next(), parts.next()) else { return false };
    let count = parts.next();
    let fits = |text: &str, form: &str| {
        text.len() == form.len()
            && text
                .bytes()
                .zip(form.bytes())
                .all(|(byte, form)| if form == b'0' { byte.is_ascii_digit() } else { byte == form })
    };
    let is_time = ["00-00-00", "00A-00-00", "00B-00-00", "00-00-00Z"].iter().any(|form| fits(time, form));
    fits(date, "0000-00-00") && is_time && count.is_none_or(is_number) && parts.next().is_none()
}

/// The first moment that is too late.
fn before(text: &str, zone: Tz, now: DateTime<Tz>) -> Option<DateTime<Tz>> {
    let midnight = |date: NaiveDate| local(date.and_time(NaiveTime::MIN), zone);
    match text.to_ascii_lowercase().as_str() {
        "now" | "today" => return Some(now + Duration::seconds(1)),
        "yesterday" => return midnight(now.date_naive()),
        _ => {}
    }
    if let Some(age) = age(text) {
        return now.checked_sub_signed(age)?.checked_add_signed(Duration::seconds(1));
    }
    if let Some(seconds) = text.strip_prefix('@').and_then(|seconds| seconds.parse::<i64>().ok()) {
        return Some(Utc.timestamp_opt(seconds.checked_add(1)?, 0).single()?.with_timezone(&zone));
    }
    if let Some(exact) = text.strip_prefix("@GMT-") {
        // As Windows names previous versions.
        let exact = NaiveDateTime::parse_from_str(exact, "%Y.%m.%d-%H.%M.%S").ok()?;
        return Some(exact.and_utc().with_timezone(&zone) + Duration::seconds(1));
    }
    if let Ok(exact) = DateTime::parse_from_rfc3339(text) {
        return Some(exact.with_timezone(&zone) + Duration::seconds(1));
    }
    if let Ok(date) = NaiveDate::parse_from_str(text, "%Y-%m-%d") {
        return midnight(date.checked_add_days(Days::new(1))?);
    }
    if let Ok(month) = NaiveDate::parse_from_str(&format!("{text}-01"), "%Y-%m-%d") {
        return midnight(month.checked_add_months(Months::new(1))?);
    }
    // As a mount with names in UTC has it.
    let utc = text.strip_suffix('Z').and_then(|text| NaiveDateTime::parse_from_str(text, VERSION_NAME).ok());
    if let Some(exact) = utc {
        return Some(exact.and_utc().with_timezone(&zone) + Duration::seconds(1));
    }
    for (form, step) in [
        (VERSION_NAME, Duration::seconds(1)),
        ("%Y-%m-%dT%H:%M:%S", Duration::seconds(1)),
        ("%Y-%m-%d %H:%M:%S", Duration::seconds(1)),
        ("%Y-%m-%d_%H-%M", Duration::minutes(1)),
        ("%Y-%m-%d %H:%M", Duration::minutes(1)),
    ] {
        if let Ok(exact) = NaiveDateTime::parse_from_str(text, form) {
            return local(exact, zone)?.checked_add_signed(step);
        }
    }
    folded(text, zone)
}

/// A name of the hour that comes twice in autumn: `2026-10-25_02A-30-00` the first time, `02B` the second.
fn folded(text: &str, zone: Tz) -> Option<DateTime<Tz>> {
    let at = text.find(['A', 'B'])?;
    let plain = format!("{}{}", text.get(..at)?, text.get(at + 1..)?);
    let exact = NaiveDateTime::parse_from_str(&plain, VERSION_NAME).ok()?;
    let LocalResult::Ambiguous(first, second) = zone.from_local_datetime(&exact) else { return None };
    let meant = if text.as_bytes()[at] == b'A' { first } else { second };
    meant.checked_add_signed(Duration::seconds(1))
}

/// A wall time in a zone: the later one where it comes twice, the first after it where it does not come.
fn local(time: NaiveDateTime, zone: Tz) -> Option<DateTime<Tz>> {
    match zone.from_local_datetime(&time) {
        LocalResult::Single(one) => Some(one),
        LocalResult::Ambiguous(_, later) => Some(later),
        LocalResult::None => zone.from_local_datetime(&time.checked_add_signed(Duration::hours(1))?).latest(),
    }
}

/// `90m`, `3h`, `3d`, `2w`.
fn age(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number: i64 = number.parse().ok().filter(|number| (0..=1_000_000).contains(number))?;
    Some(match unit {
        "m" => Duration::minutes(number),
        "h" => Duration::hours(number),
        "d" => Duration::days(number),
        "w" => Duration::weeks(number),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-11-22T14:30:05+01:00";

    /// What `text` means, as the first moment that is too late.
    fn check(text: &str, expected: &str) {
        let zone: Tz = "Europe/Berlin".parse().unwrap();
        let ms = |text: &str| DateTime::parse_from_rfc3339(text).unwrap().timestamp_millis();
        let found = Moment::parse(text, zone, ms(NOW)).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(found.meaning, Meaning::Before(ms(expected)), "{text}");
    }

    #[test]
    fn texts_mean_the_end_of_what_they_name() {
        check("2026-11-20", "2026-11-21T00:00:00+01:00");
        check("2026-10", "2026-11-01T00:00:00+01:00");
        check("2026-12", "2027-01-01T00:00:00+01:00");
        check("2026-11-20_10-20-30", "2026-11-20T10:20:31+01:00");
        check("2026-11-20_09-20-30Z", "2026-11-20T10:20:31+01:00");
        check("2026-11-20 10:20", "2026-11-20T10:21:00+01:00");
        check("2026-11-20T10:20:30Z", "2026-11-20T11:20:31+01:00");
        check("@1795000000", "2026-11-18T12:06:41+01:00");
        check("@GMT-2026.11.20-09.20.30", "2026-11-20T10:20:31+01:00");
        check("yesterday", "2026-11-22T00:00:00+01:00");
        check("today", "2026-11-22T14:30:06+01:00");
        check("3d", "2026-11-19T14:30:06+01:00");
        check("2w", "2026-11-08T14:30:06+01:00");
        check("90m", "2026-11-22T13:00:06+01:00");
    }

    #[test]
    fn hours_that_come_twice_or_never() {
        check("2026-10-25_02A-30-00", "2026-10-25T02:30:01+02:00");
        check("2026-10-25_02B-30-00", "2026-10-25T02:30:01+01:00");
        check("2026-10-25_02-30-00", "2026-10-25T02:30:01+01:00");
        check("2026-03-29_02-30-00", "2026-03-29T03:30:01+02:00");
    }

    #[test]
    fn nonsense_is_refused_with_the_forms_there_are() {
        for text in [
            "",
            "soon",
            "2026",
            "2026-13",
            "2026-02-30",
            "3x",
            "-3d",
            "99999999999w",
            "abc",
            "abcdefg",
            "@x",
            "@GMT-2026.11.20",
        ] {
            let refused = Moment::parse(text, chrono_tz::UTC, 0);
            assert!(refused.is_err_and(|error| error.to_string().contains("yesterday")), "{text}");
        }
    }

    #[test]
    fn ids_and_clocks() {
        let id = SnapshotId::from_bytes([0xab; 32]);
        let by_id = Moment::parse("ABABABAB", chrono_tz::UTC, 0).unwrap();
        assert!(by_id.fits(&id, 0, 0) && !by_id.fits(&SnapshotId::ZERO, 0, 0));
        let at = Moment { text: String::new(), meaning: Meaning::Before(1_000_000_000) };
        assert!(at.fits(&id, 999_999_999, 1_000_000_500), "the device's clock counts");
        assert!(!at.fits(&id, 0, 1_000_000_500), "unless it is far from the destination's");
    }

    #[test]
    fn version_names_are_told_from_others() {
        for name in [
            "2026-11-22_14-30-05",
            "2026-11-22_14-30-05_2",
            "2026-11-22_14-30-05_partial",
            "2026-11-22_14-30-05_12_partial",
            "2026-10-25_02A-30-00",
            "2026-11-22_14-30-05Z",
            "2026-11-22_14-30-05Z_2",
            "@-5",
            "@253402300800",
        ] {
            assert!(is_version_name(name), "{name}");
        }
        for name in [
            "",
            "latest",
            "2026-11-22",
            "2026-11-22_14-30",
            "2026-11-22_14-30-05_",
            "2026-11-22_14-30-05_x",
            "2026-11-22_14C-30-05",
            "@",
            "@x",
            "x2026-11-22_14-30-05",
        ] {
            assert!(!is_version_name(name), "{name}");
        }
    }
}
