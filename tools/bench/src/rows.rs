//! The goals, which name what they are about.

use crate::measurements::{MEASUREMENTS, Measurement};

/// A line of the tables: what a goal is about.
#[derive(Debug, PartialEq)]
pub(crate) struct Row {
    pub(crate) id: &'static str,
    pub(crate) group: &'static str,
    pub(crate) title: &'static str,
    /// The measurement whose figures it shows.
    pub(crate) measurement: &'static str,
    pub(crate) metric: Metric,
    /// Which of our ways it is about.
    pub(crate) ours: &'static str,
    pub(crate) against: Against,
    pub(crate) goal: Goal,
}

/// Which figure of a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Metric {
    /// Seconds.
    Wall,
    /// Bytes of the repository.
    RepositoryBytes,
    /// Bytes by which it grew.
    GrowthBytes,
    /// Peak memory, MiB.
    PeakMib,
    /// MB/s.
    Throughput,
    /// Reads a second.
    ReadsPerS,
}

impl Metric {
    pub(crate) fn is_better_high(self) -> bool {
        match self {
            Self::Throughput | Self::ReadsPerS => true,
            Self::Wall | Self::RepositoryBytes | Self::GrowthBytes | Self::PeakMib => false,
        }
    }
}

/// Which peers count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Against {
    Any,
    /// Those that encrypt.
    Sealed,
}

/// What has to be reached.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Goal {
    /// At most so many times the best peer's figure.
    AtMost(f64),
    /// So many times as good as the best peer.
    TimesBetter(f64),
    /// At most this, whatever peers do.
    Below(f64),
}

/// The groups, in the order of the report.
pub(crate) const GROUPS: &[&str] = &[FIRST, AGAIN, SIZE, RESTORE, MOUNT, MEMORY];
const FIRST: &str = "First backup";
const AGAIN: &str = "Backup again";
const SIZE: &str = "Size of the repository";
const RESTORE: &str = "Full restore";
const MOUNT: &str = "Mount";
const MEMORY: &str = "Memory";

/// A row about the way through QUIC that counts all peers; the exceptions are spelled out below.
const fn row(
    group: &'static str,
    id: &'static str,
    title: &'static str,
    measurement: &'static str,
    metric: Metric,
    goal: Goal,
) -> Row {
    Row { id, group, title, measurement, metric, ours: "ours", against: Against::Any, goal }
}

/// Every goal.
#[rustfmt::skip]
pub(crate) const ROWS: &[Row] = &[
    row(FIRST, "first.src", "source tree, through QUIC", "first.src", Metric::Wall, Goal::AtMost(0.6)),
    row(FIRST, "first.small", "300k small files, through QUIC", "first.small", Metric::Wall, Goal::AtMost(0.55)),
    row(FIRST, "first.media", "2 GiB incompressible, through QUIC", "first.media", Metric::Wall, Goal::AtMost(1.0)),
    Row { ours: "ours-folder", ..row(FIRST, "first.media.folder", "2 GiB incompressible, to a folder", "first.media", Metric::Wall, Goal::AtMost(0.65)) },
    row(FIRST, "first.vm", "2 GiB disk image, through QUIC", "first.vm", Metric::Wall, Goal::AtMost(0.6)),
    row(AGAIN, "unchanged.src", "nothing changed, source tree", "unchanged.src", Metric::Wall, Goal::AtMost(0.7)),
    row(AGAIN, "unchanged.small", "nothing changed, 300k small files", "unchanged.small", Metric::Wall, Goal::AtMost(0.7)),
    Row { against: Against::Sealed, ..row(AGAIN, "changed.small", "1 % of 300k small files changed (peers that encrypt)", "changed.small", Metric::Wall, Goal::AtMost(0.5)) },
    row(SIZE, "size.src", "source tree", "first.src", Metric::RepositoryBytes, Goal::AtMost(1.05)),
    row(SIZE, "size.small", "300k small files", "first.small", Metric::RepositoryBytes, Goal::AtMost(1.0)),
    row(SIZE, "size.vm", "2 GiB disk image", "first.vm", Metric::RepositoryBytes, Goal::AtMost(1.0)),
    row(SIZE, "growth.vm", "growth after 2 % of the disk image changed", "growth.vm", Metric::GrowthBytes, Goal::AtMost(0.7)),
    row(RESTORE, "restore.src", "source tree, through QUIC", "restore.src", Metric::Wall, Goal::AtMost(0.8)),
    row(RESTORE, "restore.small", "300k small files, through QUIC", "restore.small", Metric::Wall, Goal::AtMost(0.8)),
    row(RESTORE, "restore.media", "2 GiB incompressible, through QUIC", "restore.media", Metric::Wall, Goal::AtMost(0.6)),
    row(RESTORE, "restore.vm", "2 GiB disk image, through QUIC", "restore.vm", Metric::Wall, Goal::AtMost(0.6)),
    row(MOUNT, "mount.ready.src", "command to first `ls`, source tree", "mount.ready.src", Metric::Wall, Goal::Below(0.1)),
    row(MOUNT, "mount.ready.small", "command to first `ls`, 300k small files", "mount.ready.small", Metric::Wall, Goal::Below(0.1)),
    row(MOUNT, "mount.ready.vm", "command to first `ls`, disk image", "mount.ready.vm", Metric::Wall, Goal::Below(0.1)),
    row(MOUNT, "mount.ready.media", "command to first `ls`, 2 GiB incompressible", "mount.ready.media", Metric::Wall, Goal::Below(0.1)),
    row(MOUNT, "mount.find", "`find` over the source tree", "mount.find", Metric::Wall, Goal::TimesBetter(7.0)),
    row(MOUNT, "mount.list", "`ls -lR` over the source tree", "mount.list", Metric::Wall, Goal::TimesBetter(25.0)),
    row(MOUNT, "mount.grep", "`grep -r` in drivers/net", "mount.grep", Metric::Wall, Goal::TimesBetter(5.0)),
    row(MOUNT, "mount.copy", "`cp -r` of drivers/net", "mount.copy", Metric::Wall, Goal::TimesBetter(6.0)),
    row(MOUNT, "mount.sequential", "sequential read of 256 MiB", "mount.sequential", Metric::Throughput, Goal::TimesBetter(2.5)),
    row(MOUNT, "mount.random", "random 4 KiB reads in the disk image", "mount.random", Metric::ReadsPerS, Goal::TimesBetter(10.0)),
    row(MEMORY, "memory.small", "peak of the agent, first backup of 300k small files", "first.small", Metric::PeakMib, Goal::Below(80.0)),
    row(MEMORY, "memory.many", "peak of the agent, first backup of 3 million small files", "first.many", Metric::PeakMib, Goal::Below(80.0)),
];

/// The measurements that a comma-separated list of patterns asks for, by their own names or those of rows; `*` stands
/// for anything.
pub(crate) fn chosen(patterns: Option<&str>) -> Vec<&'static Measurement> {
    let patterns: Vec<&str> = patterns.unwrap_or("*").split(',').map(str::trim).collect();
    let is_chosen = |id: &str| patterns.iter().any(|pattern| matches(pattern, id));
    let by_row = |id: &str| ROWS.iter().any(|row| row.measurement == id && is_chosen(row.id));
    MEASUREMENTS.iter().filter(|measurement| is_chosen(measurement.id) || by_row(measurement.id)).collect()
}

fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((start, rest)) => text.strip_prefix(start).is_some_and(|left| {
            (0..=left.len()).filter(|at| left.is_char_boundary(*at)).any(|at| matches(rest, &left[at..]))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(patterns: &str) -> Vec<&'static str> {
        chosen(Some(patterns)).iter().map(|measurement| measurement.id).collect()
    }

    #[test]
    fn patterns() {
        assert_eq!(ids("first.src"), ["first.src"]);
        assert_eq!(ids("*.vm"), ["first.vm", "growth.vm", "restore.vm", "mount.ready.vm"]);
        assert_eq!(ids("mount.f*,mount.c*"), ["mount.find", "mount.copy"]);
        assert_eq!(ids("nothing"), Vec::<&str>::new());
        assert_eq!(chosen(None).len(), MEASUREMENTS.len());
    }

    #[test]
    fn rows_name_their_measurement() {
        assert_eq!(ids("size.small"), ["first.small"]);
        assert_eq!(ids("memory.*"), ["first.small", "first.many"]);
    }

    #[test]
    fn every_row_can_be_shown_and_every_measurement_is() {
        for row in ROWS {
            assert!(MEASUREMENTS.iter().any(|one| one.id == row.measurement), "{}", row.id);
            assert!(GROUPS.contains(&row.group), "{}", row.id);
        }
        for measurement in MEASUREMENTS {
            assert!(ROWS.iter().any(|row| row.measurement == measurement.id), "{}", measurement.id);
        }
    }
}
