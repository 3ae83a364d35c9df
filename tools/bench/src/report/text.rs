//! Figures as people read them: three digits, and the unit.

use crate::rows::Metric;

/// A figure with its unit.
pub(super) fn amount(metric: Metric, value: f64) -> String {
    match metric {
        Metric::Wall => seconds(value),
        Metric::RepositoryBytes | Metric::GrowthBytes | Metric::FetchedBytes => bytes(value),
        Metric::PeakMib | Metric::RestMib => format!("{value:.0} MiB"),
        Metric::Throughput => format!("{value:.0} MB/s"),
        Metric::ReadsPerS => format!("{value:.0} reads/s"),
    }
}

/// `12.3 s`, `1.23 s`, `45 ms`, `1.5 ms`.
pub(super) fn seconds(value: f64) -> String {
    match value {
        value if value >= 100.0 => format!("{value:.0} s"),
        value if value >= 9.995 => format!("{value:.1} s"),
        value if value >= 0.9995 => format!("{value:.2} s"),
        value if value >= 0.01 => format!("{:.0} ms", value * 1e3),
        value if value > 0.0 => format!("{:.1} ms", value * 1e3),
        _ => "0 s".to_owned(),
    }
}

/// `214 MB`, `64.9 MB`, `13 kB`, of 1000 each.
pub(super) fn bytes(value: f64) -> String {
    match value {
        value if value >= 1e9 => format!("{:.2} GB", value / 1e9),
        value if value >= 1e8 => format!("{:.0} MB", value / 1e6),
        value if value >= 1e6 => format!("{:.1} MB", value / 1e6),
        value if value >= 1e3 => format!("{:.0} kB", value / 1e3),
        value => format!("{value:.0} B"),
    }
}

/// A text that can stand in a table.
pub(super) fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits() {
        let check = |value, text| assert_eq!(seconds(value), text);
        check(123.4, "123 s");
        check(12.34, "12.3 s");
        check(9.999, "10.0 s");
        check(1.234, "1.23 s");
        check(0.9999, "1.00 s");
        check(0.0873, "87 ms");
        check(0.00123, "1.2 ms");
        check(0.0, "0 s");
        assert_eq!(bytes(214_400_000.0), "214 MB");
        assert_eq!(bytes(64_900_000.0), "64.9 MB");
        assert_eq!(bytes(2_147_483_648.0), "2.15 GB");
        assert_eq!(bytes(641.0), "641 B");
        assert_eq!(amount(Metric::ReadsPerS, 766.4), "766 reads/s");
        assert_eq!(cell("a | b\nc"), "a \\| b c");
    }
}
