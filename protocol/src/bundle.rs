//! Which small files, and which chunks of a large one, are sealed together: PROTOCOL.md section 5, "Bundles".
//!
//! A rule over the members in their order and nothing else, so that the same members always meet in the same bundles.

use crate::keys::IdKeys;
use crate::limits::{BUNDLE_BYTES_MAX, BUNDLE_BYTES_MEAN};

/// Decides where bundles of one stream end.
pub struct BundleRule {
    key: [u8; 32],
    owner: Option<(u64, u64)>,
    bytes: usize,
}

impl BundleRule {
    /// The rule of an account, before the first member.
    pub fn new(keys: &IdKeys) -> Self {
        Self { key: keys.bundle, owner: None, bytes: 0 }
    }

    /// Whether the open bundle has to end before a member of this owner and size.
    ///
    /// `owner` is any pair of numbers that are equal exactly when owner and group are; of chunks always the same.
    pub fn ends_before(&mut self, owner: (u64, u64), size: usize) -> bool {
        let ends = self.bytes > 0 && (self.owner != Some(owner) || self.bytes + size > BUNDLE_BYTES_MAX);
        if ends {
            self.bytes = 0;
        }
        self.owner = Some(owner);
        ends
    }

    /// Ends the open bundle.
    pub fn end(&mut self) {
        self.bytes = 0;
    }

    /// Adds a member, a file with its content hash or a chunk with its chunk hash; whether the bundle ends with it.
    pub fn ends_after(&mut self, hash: &[u8; 16], size: usize) -> bool {
        self.bytes += size;
        let drawn = blake3::keyed_hash(&self.key, hash);
        let drawn =
            drawn.as_bytes().iter().take(8).rev().fold(0u64, |value, byte| value << 8 | u64::from(*byte));
        let threshold = (size as u128) << 64 >> BUNDLE_BYTES_MEAN.ilog2();
        let ends = u128::from(drawn) < threshold;
        if ends {
            self.bytes = 0;
        }
        ends
    }
}

/// Whether the start of a file promises that compressing it is worth while: which of the two streams it goes to.
///
/// Compares how often bytes repeat with what chance would give: random and compressed data stays below 1.5 times that.
pub fn is_compressible(data: &[u8]) -> bool {
    let sample = &data[..data.len().min(4096)];
    // Four tables, so that counting a byte need not wait for the one before when both are equal.
    let mut counts = [[0u16; 256]; 4];
    let mut groups = sample.chunks_exact(4);
    for group in &mut groups {
        for (table, byte) in counts.iter_mut().zip(group) {
            table[usize::from(*byte)] += 1;
        }
    }
    for byte in groups.remainder() {
        counts[0][usize::from(*byte)] += 1;
    }
    let [first, second, third, fourth] = &counts;
    let total = |byte: usize| u32::from(first[byte] + second[byte] + third[byte] + fourth[byte]);
    let pairs = u64::from((0..256).map(|byte| total(byte) * total(byte)).sum::<u32>());
    let length = sample.len() as u64;
    512 * pairs > 3 * (256 * length + length * length.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::DomainId;
    use crate::keys::Keyring;

    fn rule() -> BundleRule {
        BundleRule::new(&Keyring::new(DomainId::ZERO, [1; 32], [0; 32]).keys().ids)
    }

    fn hash(number: u32) -> [u8; 16] {
        *blake3::hash(&number.to_le_bytes()).as_bytes().first_chunk().unwrap()
    }

    #[test]
    fn bundles_have_the_mean_size_and_never_more_than_the_limit() {
        let mut rule = rule();
        let (mut sizes, mut open) = (Vec::new(), 0);
        for number in 0..20_000 {
            let size = 513 + (number as usize * 7919) % 300_000;
            if rule.ends_before((1, 1), size) {
                sizes.push(std::mem::take(&mut open));
            }
            open += size;
            if rule.ends_after(&hash(number), size) {
                sizes.push(std::mem::take(&mut open));
            }
        }
        assert!(sizes.iter().all(|size| *size <= BUNDLE_BYTES_MAX));
        let mean = sizes.iter().sum::<usize>() / sizes.len();
        assert!((600 << 10..1200 << 10).contains(&mean), "{mean}");
    }

    #[test]
    fn another_owner_ends_a_bundle() {
        let mut rule = rule();
        assert!(!rule.ends_before((1, 1), 600));
        if !rule.ends_after(&hash(3), 600) {
            assert!(rule.ends_before((1, 2), 600));
        }
        assert!(!rule.ends_before((7, 7), 600), "an empty bundle has no owner to keep");
    }

    #[test]
    fn text_is_compressible_and_noise_is_not() {
        let mut noise = vec![0; 4096];
        blake3::Hasher::new().finalize_xof().fill(&mut noise);
        for length in [513, 1000, 4096] {
            assert!(!is_compressible(&noise[..length]), "{length}");
            assert!(
                is_compressible(&b"the quick brown fox jumps over the lazy dog ".repeat(100)[..length]),
                "{length}"
            );
        }
    }
}
