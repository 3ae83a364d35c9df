//! How much of the data a verification reads.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};

use backstore_protocol::ids::ObjectId;

/// Which data objects are read. Nodes always are, all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// All.
    Full,
    /// Those of one of several slices, which together are all: the same ones each time.
    Slice {
        /// Which, from 1 on.
        number: u64,
        /// How many there are.
        of: u64,
    },
    /// One in so many, others each time.
    Sample {
        /// In how many.
        of: u64,
        /// What chooses them.
        seed: u64,
    },
}

/// Slices there may be.
pub const SLICES_MAX: u64 = 10_000;
/// What a sample is meant to read at most, roughly.
const SAMPLE_BYTES: u64 = 1 << 30;
/// The smallest sample: one object in so many.
const SAMPLE_ONE_IN_MAX: u64 = 1000;

impl Scope {
    /// A sample of files of so many bytes: about 1 GiB, all of what is smaller.
    pub fn sample(bytes: u64, seed: u64) -> Self {
        Self::Sample { of: bytes.div_ceil(SAMPLE_BYTES).clamp(1, SAMPLE_ONE_IN_MAX), seed }
    }

    /// Reads `N/M`.
    pub fn parse_slice(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not N/M with N from 1 to M, and M at most {SLICES_MAX}");
        let (number, of) = text.split_once('/').ok_or_else(wrong)?;
        let (number, of) = (number.parse().map_err(|_| wrong())?, of.parse().map_err(|_| wrong())?);
        if (1..=of).contains(&number) && of <= SLICES_MAX {
            Ok(Self::Slice { number, of })
        } else {
            Err(wrong())
        }
    }

    /// Whether everything is read.
    pub const fn is_all(&self) -> bool {
        matches!(self, Self::Full | Self::Slice { of: 1, .. } | Self::Sample { of: 1, .. })
    }

    /// Whether this object is read.
    pub fn includes(&self, id: &ObjectId) -> bool {
        match self {
            Self::Full => true,
            // Ids are keyed hashes, so any of their bytes are evenly spread.
            Self::Slice { number, of } => {
                let mut bytes = [0; 8];
                bytes.copy_from_slice(&id.as_bytes()[..8]);
                u64::from_le_bytes(bytes) % of == number - 1
            }
            Self::Sample { of, seed } => {
                let mut hasher = DefaultHasher::new();
                (seed, id).hash(&mut hasher);
                hasher.finish().is_multiple_of(*of)
            }
        }
    }

    /// In how many objects one is read.
    pub const fn one_in(&self) -> u64 {
        match self {
            Self::Full => 1,
            Self::Slice { of, .. } | Self::Sample { of, .. } => *of,
        }
    }
}

/// As it is said in a report, and remembered.
impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full | Self::Sample { of: 1, .. } => f.write_str("all data"),
            Self::Slice { number, of } => write!(f, "slice {number} of {of} of the data"),
            Self::Sample { of, .. } => write!(f, "a random {:.1} % of the data", 100.0 / *of as f64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_are_all_of_it_and_do_not_overlap() {
        let ids: Vec<_> = (0..1000u32).map(|n| ObjectId::from_bytes(*blake3_like(n))).collect();
        let slices: Vec<_> = (1..=7).map(|n| Scope::parse_slice(&format!("{n}/7")).unwrap()).collect();
        for id in &ids {
            assert_eq!(slices.iter().filter(|slice| slice.includes(id)).count(), 1);
        }
        let sampled = ids.iter().filter(|id| Scope::Sample { of: 10, seed: 5 }.includes(id)).count();
        assert!((50..200).contains(&sampled), "{sampled}");
        assert!(ids.iter().all(|id| Scope::sample(5 << 20, 3).includes(id)), "little is read whole");
    }

    /// Bytes that are spread like those of an id.
    fn blake3_like(number: u32) -> Box<[u8; 32]> {
        let mut bytes = Box::new([0; 32]);
        for (at, part) in bytes.chunks_mut(8).enumerate() {
            let mut hasher = DefaultHasher::new();
            (number, at).hash(&mut hasher);
            part.copy_from_slice(&hasher.finish().to_le_bytes());
        }
        bytes
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "1", "0/3", "4/3", "1/0", "-1/3", "1/99999", "a/b", "1/2/3"] {
            assert!(Scope::parse_slice(text).is_err(), "{text}");
        }
        assert_eq!(Scope::parse_slice("2/3"), Ok(Scope::Slice { number: 2, of: 3 }));
    }
}
