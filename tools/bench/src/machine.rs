//! What the machine is, what it is doing, and its page cache; all from `/proc`.

use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// The line about the machine in a report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) processor: String,
    pub(crate) cores: usize,
    pub(crate) memory_mib: u64,
    pub(crate) kernel: String,
    /// Of the folder that repositories and restores are in.
    pub(crate) filesystem: String,
}

impl Machine {
    /// Describes this machine; `work` is where repositories will be.
    pub(crate) fn here(work: &Path) -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        Self {
            processor: field(&read("/proc/cpuinfo"), "model name").unwrap_or("unknown processor").to_owned(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_mib: kib_field(&read("/proc/meminfo"), "MemTotal") / 1024,
            kernel: format!("Linux {}", read("/proc/sys/kernel/osrelease").trim()),
            filesystem: filesystem(&read("/proc/self/mounts"), work).unwrap_or_else(|| "unknown".to_owned()),
        }
    }
}

/// The value of a `name : value` line.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim())
    })
}

/// The number of a `name:  123 kB` line, zero without one.
fn kib_field(text: &str, name: &str) -> u64 {
    field(text, name)
        .and_then(|value| value.split_whitespace().next())
        .and_then(|number| number.parse().ok())
        .unwrap_or(0)
}

/// Type and main options of the file system that a folder is on: the last mount with the longest matching folder.
fn filesystem(mounts: &str, folder: &Path) -> Option<String> {
    let mut best: Option<(usize, String)> = None;
    for line in mounts.lines() {
        let mut words = line.split_whitespace();
        let (Some(_), Some(point), Some(kind), Some(options)) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            continue;
        };
        let depth = Path::new(point).components().count();
        if folder.starts_with(point) && best.as_ref().is_none_or(|(deepest, _)| depth >= *deepest) {
            best = Some((depth, format!("{kind} ({options})")));
        }
    }
    best.map(|(_, text)| text)
}

/// CPU-seconds that the whole machine has been busy since it started.
pub(crate) fn busy_s() -> f64 {
    busy_ticks(&fs::read_to_string("/proc/stat").unwrap_or_default()) as f64 / ticks_per_s()
}

/// All ticks of the first line but those spent idle or waiting for a disk.
fn busy_ticks(stat: &str) -> u64 {
    let line = stat.lines().next().unwrap_or_default();
    let ticks = line.split_whitespace().skip(1).take(8).map(|word| word.parse::<u64>().unwrap_or(0));
    ticks.enumerate().filter(|(position, _)| !matches!(position, 3 | 4)).map(|(_, ticks)| ticks).sum()
}

fn ticks_per_s() -> f64 {
    rustix::param::clock_ticks_per_second() as f64
}

/// Waits until nothing else uses the machine, at most so long: less than a tenth of a core for 0.3 s.
pub(crate) fn wait_until_idle(patience: Duration) {
    let started = Instant::now();
    loop {
        let (before, at) = (busy_s(), Instant::now());
        std::thread::sleep(Duration::from_millis(300));
        let load = (busy_s() - before) / at.elapsed().as_secs_f64();
        if load < 0.1 {
            return;
        }
        if started.elapsed() > patience {
            eprintln!("  the machine is not idle: {load:.1} cores are busy with something else");
            return;
        }
    }
}

/// Everything written so far is on the disk.
pub(crate) fn sync() {
    rustix::fs::sync();
}

/// Forgets the page cache and cached names. Needs root.
pub(crate) fn drop_caches() -> io::Result<()> {
    sync();
    fs::write("/proc/sys/vm/drop_caches", "3")
}

/// Forgets cached names and attributes, and keeps the disk's blocks that they were read from. Needs root.
pub(crate) fn drop_names() -> io::Result<()> {
    sync();
    fs::write("/proc/sys/vm/drop_caches", "2")
}

/// Waits until a process does nothing any more, at most so long: less than two ticks of the clock in three seconds.
pub(crate) fn wait_until_at_rest(process: u32, patience: Duration) -> io::Result<ProcessUse> {
    let started = Instant::now();
    let mut before = ProcessUse::of(process)?;
    loop {
        std::thread::sleep(REST);
        let now = ProcessUse::of(process)?;
        let is_at_rest = (now.cpu_s - before.cpu_s) * ticks_per_s() < 2.0;
        if is_at_rest || started.elapsed() > patience {
            return Ok(now);
        }
        before = now;
    }
}

/// Who works so little in that time is at rest.
const REST: Duration = Duration::from_secs(3);

/// What a running process has used.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct ProcessUse {
    pub(crate) cpu_s: f64,
    /// Peak of its resident memory since it was started.
    pub(crate) peak_mib: f64,
    /// Its resident memory now.
    pub(crate) resident_mib: f64,
}

impl ProcessUse {
    pub(crate) fn of(process: u32) -> io::Result<Self> {
        let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
        let status = fs::read_to_string(format!("/proc/{process}/status"))?;
        Ok(Self {
            cpu_s: cpu_ticks(&stat) as f64 / ticks_per_s(),
            peak_mib: kib_field(&status, "VmHWM") as f64 / 1024.0,
            resident_mib: kib_field(&status, "VmRSS") as f64 / 1024.0,
        })
    }
}

/// User and system ticks; the name of the program, in parentheses, may hold anything.
fn cpu_ticks(stat: &str) -> u64 {
    let Some((_, rest)) = stat.rsplit_once(')') else { return 0 };
    rest.split_whitespace().skip(11).take(2).map(|word| word.parse::<u64>().unwrap_or(0)).sum()
}

/// The processes whose parent this is.
pub(crate) fn children_of(process: u32) -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let numbers = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    numbers.filter(|number| parent_of(*number) == Some(process)).collect()
}

fn parent_of(process: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_proc() {
        let meminfo = "MemTotal:       24684000 kB\nMemFree:  12 kB\n";
        assert_eq!(kib_field(meminfo, "MemTotal"), 24_684_000);
        assert_eq!(kib_field(meminfo, "SwapTotal"), 0);
        assert_eq!(field("model name\t: Some CPU @ 2: 3\n", "model name"), Some("Some CPU @ 2: 3"));
    }

    #[test]
    fn busy_leaves_idle_and_waiting_out() {
        assert_eq!(busy_ticks("cpu  1 2 4 1000 2000 8 16 32 9999 0\ncpu0 5 5\n"), 1 + 2 + 4 + 8 + 16 + 32);
        assert_eq!(busy_ticks(""), 0);
    }

    #[test]
    fn a_program_may_be_called_anything() {
        let stat = "42 (a) b (c) S 1 42 42 0 -1 4194560 100 0 0 0 7 5 0 0 20 0 1 0 99 0 0";
        assert_eq!(cpu_ticks(stat), 12);
        assert_eq!(cpu_ticks("nonsense"), 0);
    }

    #[test]
    fn the_deepest_mount_counts() {
        let mounts = "/dev/a / ext4 rw 0 0\n/dev/b /data xfs rw,noatime 0 0\ntmpfs /database tmpfs rw 0 0\n";
        assert_eq!(filesystem(mounts, Path::new("/data/work")).as_deref(), Some("xfs (rw,noatime)"));
        assert_eq!(filesystem(mounts, Path::new("/home")).as_deref(), Some("ext4 (rw)"));
        assert_eq!(filesystem("", Path::new("/home")), None);
    }

    #[test]
    fn this_process_is_seen() {
        let own = ProcessUse::of(std::process::id()).expect("our own process is there");
        assert!(own.peak_mib > 0.5, "{own:?}");
        assert!(ProcessUse::of(u32::MAX).is_err());
    }
}
