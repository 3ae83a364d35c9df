//! Reading again what seems unchanged, now and then: what times and sizes do not show, reading does.
//!
//! Every file has a moment in each period, by its inode; the backup that passes it reads the file. So the work is spread, catches up
//! after a pause, and needs no memory but of when the last backup was.

use std::time::Duration;

use backstore_platform::walk::Stat;

/// Which files are to be read again.
pub(super) struct Reread {
    /// The last scan and this one, counted in periods from 1970 with 32 binary places; the last is not before this if none is due.
    last: i128,
    now: i128,
}

/// Days in which every file is read again, unless the configuration says otherwise.
pub const REREAD_DAYS: u32 = 60;

impl Reread {
    /// The files whose moment lies between two scans, in nanoseconds since 1970; none without a scan before or a period.
    pub(super) fn new(last_ns: Option<i64>, now_ns: i64, every: Option<Duration>) -> Self {
        let period = every.map_or(0, |every| every.as_nanos() as i128);
        match last_ns {
            Some(last_ns) if period > 0 => {
                let count = |ns: i64| (i128::from(ns) << 32).div_euclid(period);
                Self { last: count(last_ns), now: count(now_ns) }
            }
            Some(_) | None => Self { last: 0, now: 0 },
        }
    }

    /// Whether this file's moment has come.
    pub(super) fn is_due(&self, stat: &Stat, mount: u32) -> bool {
        if self.last >= self.now {
            return false;
        }
        // Where files have no numbers, their times are spread as well.
        let number = if stat.inode == 0 {
            stat.mtime.seconds as u64 ^ u64::from(stat.mtime.nanoseconds) << 32
        } else {
            stat.inode
        };
        let moment = i128::from(spread(number ^ u64::from(mount).rotate_left(48)) >> 32);
        (self.now - moment) >> 32 > (self.last - moment) >> 32
    }
}

/// Neighbouring numbers give numbers far from each other: the last step of splitmix64.
fn spread(number: u64) -> u64 {
    let number = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ number >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ number >> 31
}

#[cfg(test)]
mod tests {
    use backstore_platform::walk::DeviceId;
    use backstore_protocol::entry::{Kind, Time};

    use super::*;

    const HOUR_NS: i64 = 3_600_000_000_000;
    const NOW_NS: i64 = 1_790_000_000_000_000_000;

    fn stat(inode: u64) -> Stat {
        let time = Time { seconds: inode as i64 * 7, nanoseconds: 5 };
        Stat {
            kind: Kind::File,
            mode: 0o644,
            owner: Some(0),
            group: Some(0),
            size: 1,
            allocated: 4096,
            mtime: time,
            ctime: time,
            inode,
            device: DeviceId::from_numbers(8, 1),
            nlink: 1,
            attributes: 0,
            special: (0, 0),
        }
    }

    /// Once in a period each, whenever backups run, and about equally many in each of them.
    #[test]
    fn every_file_is_due_once_in_a_period() {
        let period = Duration::from_secs(60 * 86_400);
        let mut due = [0; 2000];
        let mut most = 0;
        let mut last = NOW_NS;
        for hours in (0..60 * 24).step_by(10).map(|hours| hours + 10) {
            let now = NOW_NS + hours * HOUR_NS;
            let reread = Reread::new(Some(last), now, Some(period));
            let mut count = 0;
            for (inode, due) in due.iter_mut().enumerate() {
                if reread.is_due(&stat(inode as u64 + 1), 3) {
                    *due += 1;
                    count += 1;
                }
            }
            most = most.max(count);
            last = now;
        }
        assert_eq!(due.iter().filter(|due| **due != 1).count(), 0);
        assert!(most < 40, "{most} of 2000 in one of 144 backups");
    }

    #[test]
    fn a_pause_makes_all_due_and_a_clock_set_back_none() {
        let every = Some(Duration::from_secs(86_400));
        let count = |last, now, every| {
            let reread = Reread::new(last, now, every);
            (0..1000).filter(|inode| reread.is_due(&stat(*inode), 0)).count()
        };
        assert_eq!(count(Some(NOW_NS), NOW_NS + 24 * HOUR_NS, every), 1000);
        assert_eq!(count(Some(NOW_NS), NOW_NS + 999 * HOUR_NS, every), 1000);
        assert_eq!(count(Some(NOW_NS), NOW_NS - 999 * HOUR_NS, every), 0);
        assert_eq!(count(Some(NOW_NS), NOW_NS, every), 0);
        assert_eq!(count(None, NOW_NS, every), 0);
        assert_eq!(count(Some(0), NOW_NS, None), 0);
        assert_eq!(count(Some(i64::MIN), i64::MAX, every), 1000);
    }
}
