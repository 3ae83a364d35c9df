//! The goals, which name what they are about.

use crate::measurements::{Control, MEASUREMENTS, Measurement};
use crate::serving::FAR_BYTES_PER_S;

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
    /// Bytes that came from the server.
    FetchedBytes,
    /// Memory of a mount that has nothing to do, MiB.
    RestMib,
}

impl Metric {
    pub(crate) fn is_better_high(self) -> bool {
        match self {
            Self::Throughput | Self::ReadsPerS => true,
            Self::Wall | Self::RepositoryBytes | Self::GrowthBytes | Self::PeakMib => false,
            Self::FetchedBytes | Self::RestMib => false,
        }
    }
}

/// What our figure is set beside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Against {
    /// The best of all peers.
    Any,
    /// The best of those that encrypt.
    Sealed,
    /// No peer, but this, on the same machine in the same run.
    Control(Control),
}

/// What has to be reached.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Goal {
    /// At most so many times the figure it is set beside.
    AtMost(f64),
    /// At least so many times that figure, where high ones are good.
    AtLeast(f64),
    /// So many times as good as that.
    TimesBetter(f64),
    /// At most this, whatever others do.
    Below(f64),
    /// At least this, whatever others do.
    Above(f64),
}

/// The groups, in the order of the report.
pub(crate) const GROUPS: &[&str] = &[FIRST, AGAIN, SIZE, RESTORE, MOUNT, SPEED, MEMORY];
const FIRST: &str = "First backup";
const AGAIN: &str = "Backup again";
const SIZE: &str = "Size of the repository";
const RESTORE: &str = "Full restore";
const MOUNT: &str = "Mount";
/// Its rows are set beside controls, not peers.
pub(crate) const SPEED: &str = "Mount, beside the file system and a restore";
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

/// A row about our mount that no peer is set beside.
const fn beside(
    control: Control,
    id: &'static str,
    title: &'static str,
    measurement: &'static str,
    metric: Metric,
    goal: Goal,
) -> Row {
    Row { against: Against::Control(control), ..row(SPEED, id, title, measurement, metric, goal) }
}

/// Of what the link to a far server carries, a sequential read reaches so much.
const FAR_SHARE: f64 = 0.7;
const FAR_MB_PER_S: f64 = FAR_SHARE * (FAR_BYTES_PER_S as f64) / 1e6;

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
    row(SPEED, "mount.versions", "command to first `ls`, 10,000 versions, server 20 ms away", "mount.versions", Metric::Wall, Goal::Below(0.15)),
    row(SPEED, "mount.versions.memory", "memory of that mount at rest", "mount.versions", Metric::RestMib, Goal::Below(60.0)),
    beside(Control::Ext4, "mount.find.cold", "`find` over the source tree, cold", "mount.find", Metric::Wall, Goal::AtMost(2.5)),
    beside(Control::Ext4, "mount.find.warm", "`find` over the source tree, warm", "mount.find.warm", Metric::Wall, Goal::AtMost(1.3)),
    beside(Control::Ext4, "mount.list.cold", "`ls -lR` over the source tree, cold", "mount.list", Metric::Wall, Goal::AtMost(2.5)),
    beside(Control::Ext4, "mount.list.warm", "`ls -lR` over the source tree, warm", "mount.list.warm", Metric::Wall, Goal::AtMost(1.3)),
    beside(Control::Restore, "mount.all.grep", "`grep -r` in the source tree, cold", "mount.all.grep", Metric::Wall, Goal::AtMost(1.5)),
    beside(Control::Restore, "mount.all.copy", "`cp -r` of the source tree, cold", "mount.all.copy", Metric::Wall, Goal::AtMost(1.5)),
    beside(Control::Restore, "mount.all.tar", "`tar` of the source tree, cold", "mount.all.tar", Metric::Wall, Goal::AtMost(1.5)),
    beside(Control::Restore, "mount.sequential.near", "sequential read of 256 MiB, cold", "mount.sequential", Metric::Throughput, Goal::AtLeast(0.8)),
    row(SPEED, "mount.sequential.far", "the same, server 20 ms away through 1 Gbit/s", "mount.sequential.far", Metric::Throughput, Goal::Above(FAR_MB_PER_S)),
    row(SPEED, "mount.random.warm", "random 4 KiB reads in the disk image, warm", "mount.random.warm", Metric::ReadsPerS, Goal::Above(100_000.0)),
    beside(Control::Restore, "mount.random.fetched", "the same, cold: bytes from the server", "mount.random.fetched", Metric::FetchedBytes, Goal::AtMost(1.0)),
    beside(Control::Differing, "mount.diff", "`diff -r` of two versions sharing 99 %: bytes from the server", "mount.diff", Metric::FetchedBytes, Goal::AtMost(1.0)),
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
        assert_eq!(ids("mount.f*,mount.c*"), ["mount.find", "mount.copy", "mount.find.warm"]);
        assert_eq!(ids("nothing"), Vec::<&str>::new());
        assert_eq!(chosen(None).len(), MEASUREMENTS.len());
    }

    #[test]
    fn rows_name_their_measurement() {
        assert_eq!(ids("size.small"), ["first.small"]);
        assert_eq!(ids("memory.*"), ["first.small", "first.many"]);
        assert_eq!(ids("mount.*.cold"), ["mount.find", "mount.list"]);
    }

    #[test]
    fn controls_are_measured_where_rows_are_set_beside_them() {
        for row in ROWS {
            let measurement = MEASUREMENTS.iter().find(|one| one.id == row.measurement);
            if let Against::Control(control) = row.against {
                assert!(measurement.is_some_and(|one| one.controls.contains(&control)), "{}", row.id);
            }
        }
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
