//! Cutting large files where their content says so: PROTOCOL.md section 5, "Chunks".

use serde::{Deserialize, Serialize};

use crate::codec::Malformed;
use crate::keys::IdKeys;
use crate::limits::BUNDLE_BYTES_MAX;

/// Finds where chunks end. A set keeps its chunker for good: another one would find nothing equal.
pub trait Chunker: Send + Sync {
    /// Bytes of the first chunk of `data`, at least 1 and at most [`Chunker::max`]. `data` has at least that many bytes unless it
    /// ends where the run of data does.
    fn cut(&self, data: &[u8]) -> usize;

    /// The longest chunk, in bytes.
    fn max(&self) -> usize;
}

/// Which chunker a set uses, as written in every snapshot's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChunkerConfig {
    /// FastCDC 2020 with a secret gear table.
    FastCdcKeyed {
        /// Shortest chunk but for the last of a run, in bytes; even, at least 64.
        min: u32,
        /// Bytes from which on cutting becomes likely; a power of two.
        average: u32,
        /// Longest chunk, in bytes; even.
        max: u32,
    },
}

impl Default for ChunkerConfig {
    fn default() -> Self {
        // Small chunks find more that is equal; bundling them makes up for what that costs (decision 0001).
        Self::FastCdcKeyed { min: 16 * 1024, average: 64 * 1024, max: 256 * 1024 }
    }
}

impl ChunkerConfig {
    /// The chunker of an account.
    pub fn chunker(self, keys: &IdKeys) -> Result<Box<dyn Chunker>, Malformed> {
        let Self::FastCdcKeyed { min, average, max } = self;
        let sane = min >= 64
            && min < average
            && average < max
            && max as usize <= BUNDLE_BYTES_MAX
            && min % 2 == 0
            && max % 2 == 0
            && average.is_power_of_two()
            && average <= 4 * 1024 * 1024;
        if !sane {
            return Err(Malformed { what: "chunker parameters", offset: 0 });
        }
        Ok(Box::new(FastCdcKeyed::new(min, average, max, &keys.table)))
    }
}

/// FastCDC with normalised chunking of level 1, on our own gear table.
struct FastCdcKeyed {
    min: usize,
    average: usize,
    max: usize,
    /// Masks before and after the average size, and both shifted left by one.
    masks: [u64; 4],
    gear: Box<[u64; 256]>,
    gear_shifted: Box<[u64; 256]>,
}

impl FastCdcKeyed {
    fn new(min: u32, average: u32, max: u32, key: &[u8; 32]) -> Self {
        let mut bytes = zeroize::Zeroizing::new([0; 2048]);
        blake3::Hasher::new_keyed(key).finalize_xof().fill(&mut bytes[..]);
        let mut gear = Box::new([0; 256]);
        for (value, bytes) in gear.iter_mut().zip(bytes.chunks_exact(8)) {
            *value = bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte));
        }
        let gear_shifted = Box::new(gear.map(|value| value << 1));
        let bits = average.ilog2();
        let (small, large) = (mask(bits + 1), mask(bits - 1));
        Self {
            min: min as usize,
            average: average as usize,
            max: max as usize,
            masks: [small, large, small << 1, large << 1],
            gear,
            gear_shifted,
        }
    }
}

/// `bits` ones, spread over the upper 48 bits so that a window of 64 bytes decides.
fn mask(bits: u32) -> u64 {
    (0..bits).fold(0, |mask, bit| mask | 1 << (62 - bit * 46 / bits.max(1)))
}

impl Chunker for FastCdcKeyed {
    fn cut(&self, data: &[u8]) -> usize {
        let [small, large, small_shifted, large_shifted] = self.masks;
        let (_, length) = fastcdc::v2020::cut_gear(
            data,
            self.min,
            self.average,
            self.max,
            small,
            large,
            small_shifted,
            large_shifted,
            &self.gear[..],
            &self.gear_shifted[..],
        );
        length
    }

    fn max(&self) -> usize {
        self.max
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::DomainId;
    use crate::keys::Keyring;

    fn cuts(chunker: &dyn Chunker, mut data: &[u8]) -> Vec<usize> {
        let mut lengths = Vec::new();
        while !data.is_empty() {
            let length = chunker.cut(data);
            lengths.push(length);
            data = &data[length..];
        }
        lengths
    }

    fn noise(seed: u8, length: usize) -> Vec<u8> {
        let mut data = vec![0; length];
        blake3::Hasher::new_keyed(&[seed; 32]).finalize_xof().fill(&mut data);
        data
    }

    fn keys(seed: u8) -> IdKeys {
        Keyring::new(DomainId::ZERO, [seed; 32], [0; 32]).keys().ids
    }

    #[test]
    fn chunks_keep_their_bounds_and_average() {
        let chunker = ChunkerConfig::default().chunker(&keys(1)).unwrap();
        let data = noise(1, 64 << 20);
        let lengths = cuts(&*chunker, &data);
        assert_eq!(lengths.iter().sum::<usize>(), data.len());
        let (_, whole) = lengths.split_last().unwrap();
        assert!(whole.iter().all(|length| (16 << 10..=chunker.max()).contains(length)));
        let mean = data.len() / lengths.len();
        assert!((50 << 10..100 << 10).contains(&mean), "{mean}");
    }

    #[test]
    fn an_insertion_moves_few_cuts_and_another_key_moves_all() {
        let chunker = ChunkerConfig::default().chunker(&keys(1)).unwrap();
        let data = noise(2, 16 << 20);
        let edited = [&data[..5_000_000], b"inserted", &data[5_000_000..]].concat();
        let chunks = |chunker: &dyn Chunker, data: &[u8]| {
            let mut rest = data;
            let lengths = cuts(chunker, data);
            lengths
                .iter()
                .map(|length| {
                    let (chunk, after) = rest.split_at(*length);
                    rest = after;
                    *blake3::hash(chunk).as_bytes()
                })
                .collect::<std::collections::HashSet<_>>()
        };
        let before = chunks(&*chunker, &data);
        assert!(chunks(&*chunker, &edited).difference(&before).count() <= 3);
        let other = ChunkerConfig::default().chunker(&keys(2)).unwrap();
        assert!(chunks(&*other, &data).is_disjoint(&before));
    }

    #[test]
    fn senseless_parameters_are_refused() {
        for (min, average, max) in [
            (0, 512, 1024),
            (64, 64, 1024),
            (64, 500, 1024),
            (65, 512, 1024),
            (64, 512, 8 << 20),
            (64, 512, 512),
        ] {
            assert!(
                ChunkerConfig::FastCdcKeyed { min, average, max }.chunker(&keys(1)).is_err(),
                "{min} {average} {max}"
            );
        }
    }
}
