//! Random reads of one file, as a database or a virtual machine does them: one at a time, each as soon as the last one
//! is done. Runs as a process of its own, so that it can be ended when a mount hangs.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{Advice, fadvise};
use serde::{Deserialize, Serialize};

use crate::random::Random;
use crate::statistics::percentile;

/// What came of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct RandomReads {
    pub(crate) reads: u64,
    pub(crate) per_s: f64,
    pub(crate) median_us: f64,
    pub(crate) p99_us: f64,
}

/// Bytes of a read.
const READ_BYTES: usize = 4096;
/// The same places for all tools.
const SEED: u64 = 42;
/// Delays kept for the percentiles; a faster file than this allows is measured over its first reads.
const DELAYS_MAX: usize = 4_000_000;

/// Reads 4 KiB at random places for so long.
pub(crate) fn read_randomly(path: &Path, duration: Duration) -> io::Result<RandomReads> {
    let file = File::open(path)?;
    let pages = file.metadata()?.len() / READ_BYTES as u64;
    if pages == 0 {
        return Err(io::Error::other("the file is smaller than one read"));
    }
    fadvise(&file, 0, None, Advice::Random)?;
    let mut random = Random::new(SEED);
    let mut buffer = [0; READ_BYTES];
    let mut delays_us = Vec::new();
    let started = Instant::now();
    while started.elapsed() < duration && delays_us.len() < DELAYS_MAX {
        let offset = random.below(pages) * READ_BYTES as u64;
        let asked = Instant::now();
        file.read_exact_at(&mut buffer, offset)?;
        delays_us.push(asked.elapsed().as_secs_f64() * 1e6);
    }
    let per_s = delays_us.len() as f64 / started.elapsed().as_secs_f64();
    delays_us.sort_by(f64::total_cmp);
    Ok(RandomReads {
        reads: delays_us.len() as u64,
        per_s,
        median_us: percentile(&delays_us, 0.5).unwrap_or(0.0),
        p99_us: percentile(&delays_us, 0.99).unwrap_or(0.0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_are_counted() {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        file.as_file().set_len(1 << 20).expect("sized");
        let reads = read_randomly(file.path(), Duration::from_millis(20)).expect("read");
        assert!(reads.reads > 0 && reads.per_s > 0.0 && reads.p99_us >= reads.median_us, "{reads:?}");
    }

    #[test]
    fn too_small_a_file_is_said() {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        assert!(read_randomly(file.path(), Duration::from_millis(20)).is_err());
    }
}
