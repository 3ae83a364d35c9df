//! How many threads work for a backup: by the processor, the storage and the configuration.

use crate::home::Config;
use crate::scan::Reading;

/// Numbers of threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Threads {
    /// That read, hash, compress and seal.
    pub(super) workers: usize,
    /// How many of those read.
    pub(super) readers: usize,
    /// That list directories.
    pub(super) scanners: usize,
}

/// More than four threads that list directories wait for each other.
const SCANNERS_MAX: usize = 4;

impl Threads {
    /// Those for roots that are read like this.
    pub(super) fn choose(config: &Config, reading: &Reading) -> Self {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        Self::with_cores(config, *reading, cores)
    }

    fn with_cores(config: &Config, reading: Reading, cores: usize) -> Self {
        let workers = if config.upload.workers == 0 { cores } else { config.upload.workers };
        let readers = match (config.scan.readers, reading) {
            (0, Reading::Spinning | Reading::Network) => 1,
            (0, Reading::Solid | Reading::Unknown) => workers,
            (readers, _) => readers.min(workers),
        };
        // A server answers many questions about names at once; a head is at one place.
        let scanners = match reading {
            Reading::Spinning => 1,
            Reading::Network | Reading::Solid | Reading::Unknown => cores.clamp(1, SCANNERS_MAX),
        };
        Self { workers, readers, scanners }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_storage_has_one_reader_unless_the_configuration_says_otherwise() {
        let check = |workers, readers, reading, expected| {
            let mut config = Config::default();
            config.upload.workers = workers;
            config.scan.readers = readers;
            let Threads { workers, readers, scanners } = Threads::with_cores(&config, reading, 8);
            assert_eq!((workers, readers, scanners), expected, "{reading:?}");
        };
        check(0, 0, Reading::Solid, (8, 8, 4));
        check(0, 0, Reading::Unknown, (8, 8, 4));
        check(0, 0, Reading::Spinning, (8, 1, 1));
        check(0, 0, Reading::Network, (8, 1, 4));
        check(3, 0, Reading::Solid, (3, 3, 4));
        check(3, 2, Reading::Spinning, (3, 2, 1));
        check(3, 200, Reading::Network, (3, 3, 4));
    }
}
