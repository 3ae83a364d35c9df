//! Compressing what is sealed, with as much work as it is worth. Any zstd frame is valid: nothing here is part of a format.

use std::cell::RefCell;
use std::io;

use zstd::zstd_safe::CParameter;

/// What is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contents {
    /// Files, or anything else that is not [`Contents::Chunks`].
    Files,
    /// Chunks of large files.
    Chunks,
}

thread_local! {
    static COMPRESSORS: RefCell<Vec<(Effort, zstd::bulk::Compressor<'static>)>> = const { RefCell::new(Vec::new()) };
}

/// How much work compressing is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effort {
    /// A zstd level as it comes.
    Level(i32),
    /// [`LEVEL_TUNED`] with the tables for these contents.
    Tuned(Contents),
    /// For chunks that hardly shrink, whatever is tried.
    Light,
}

/// Level 3 comes with a table of 2^17 long matches and one of 2^16 short ones, which do not fit the caches.
const LEVEL_TUNED: i32 = 3;
const LONG_LOG_FILES: u32 = 15;
/// Takes a tenth less time on source text, for 1.4 % more bytes.
const SHORT_LOG_FILES: u32 = 14;
/// With these tables, and matches one byte shorter than usual, disk images are 1.8 % smaller than with two of 2^15, and take an eighth longer.
const LONG_LOG_CHUNKS: u32 = 16;
const SHORT_LOG_CHUNKS: u32 = 16;
const MATCH_MIN_CHUNKS: u32 = 4;
/// With longer matches level 1 makes what hardly shrinks as small as level 3 does, in two thirds of the time.
const LIGHT_LEVEL: i32 = 1;
const LIGHT_TABLE_LOG: u32 = 15;
const LIGHT_MATCH_MIN: u32 = 5;
/// Bytes from the middle that tell whether the rest is worth the work, and of how many bytes.
const SAMPLE_BYTES: usize = 16 * 1024;
const SAMPLED_BYTES_MIN: usize = 16 * SAMPLE_BYTES;

impl Effort {
    fn compressor(self) -> zstd::bulk::Compressor<'static> {
        let (level, parameters): (_, &[CParameter]) = match self {
            Self::Level(level) => (level, &[]),
            Self::Tuned(Contents::Files) => {
                (LEVEL_TUNED, &[CParameter::HashLog(LONG_LOG_FILES), CParameter::ChainLog(SHORT_LOG_FILES)])
            }
            Self::Tuned(Contents::Chunks) => {
                const PARAMETERS: &[CParameter] = &[
                    CParameter::HashLog(LONG_LOG_CHUNKS),
                    CParameter::ChainLog(SHORT_LOG_CHUNKS),
                    CParameter::MinMatch(MATCH_MIN_CHUNKS),
                ];
                (LEVEL_TUNED, PARAMETERS)
            }
            Self::Light => {
                (LIGHT_LEVEL, &[CParameter::HashLog(LIGHT_TABLE_LOG), CParameter::MinMatch(LIGHT_MATCH_MIN)])
            }
        };
        let mut compressor = zstd::bulk::Compressor::new(level).expect("zstd has memory for a context");
        for parameter in parameters {
            compressor.set_parameter(*parameter).expect("the parameters are such as zstd permits");
        }
        compressor
    }

    /// What `plain` is given when this level was asked for. `out` is used and left as it was.
    fn fit(level: i32, contents: Contents, plain: &[u8], out: &mut Vec<u8>) -> Self {
        if level != LEVEL_TUNED {
            return Self::Level(level);
        }
        // In a bundle of files the next file may well shrink.
        if contents == Contents::Files || plain.len() < SAMPLED_BYTES_MIN {
            return Self::Tuned(contents);
        }
        let middle = plain.len() / 2;
        let at = out.len();
        let sample = &plain[middle..middle + SAMPLE_BYTES];
        let hardly_shrinks = !Self::Light.compress(sample, out) || out.len() - at > SAMPLE_BYTES / 5 * 4;
        out.truncate(at);
        if hardly_shrinks { Self::Light } else { Self::Tuned(contents) }
    }

    /// Appends `plain` compressed to `out`; whether that is smaller.
    fn compress(self, plain: &[u8], out: &mut Vec<u8>) -> bool {
        let at = out.len();
        COMPRESSORS.with_borrow_mut(|compressors| {
            let found = compressors.iter().position(|(of, _)| *of == self);
            let index = found.unwrap_or_else(|| {
                compressors.push((self, self.compressor()));
                compressors.len() - 1
            });
            out.reserve(zstd::zstd_safe::compress_bound(plain.len()));
            let mut destination = io::Cursor::new(out);
            destination.set_position(at as u64);
            let length = compressors[index].1.compress_to_buffer(plain, &mut destination);
            length.is_ok_and(|length| length < plain.len())
        })
    }
}

/// Appends `plain`, compressed as a level asks, to `out`; whether that is smaller. If not, what is appended has no meaning.
pub(crate) fn compress(level: i32, contents: Contents, plain: &[u8], out: &mut Vec<u8>) -> bool {
    Effort::fit(level, contents, plain, out).compress(plain, out)
}

/// Bytes that `plain` has when compressed at a zstd level; its own length if that is not less.
pub fn compressed_length(plain: &[u8], level: i32) -> usize {
    let mut out = Vec::new();
    if Effort::Level(level).compress(plain, &mut out) { out.len() } else { plain.len() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(length: usize) -> Vec<u8> {
        let mut noise = vec![0; length];
        blake3::Hasher::new().finalize_xof().fill(&mut noise);
        noise
    }

    /// Nine bytes of noise, and one that is always the same.
    fn hardly_shrinking() -> Vec<u8> {
        noise(1 << 20).chunks(9).flat_map(|chunk| chunk.iter().copied().chain([b'='])).collect()
    }

    fn check(plain: &[u8], contents: Contents, expected: Effort) {
        let mut out = vec![7; 5];
        assert_eq!(Effort::fit(LEVEL_TUNED, contents, plain, &mut out), expected);
        assert_eq!(out, [7; 5], "what was there stays");
        let shrinks = compress(LEVEL_TUNED, contents, plain, &mut out);
        assert_eq!(out[..5], [7; 5]);
        assert_eq!(zstd::bulk::decompress(&out[5..], plain.len()).unwrap(), plain);
        assert_eq!(shrinks, out.len() - 5 < plain.len());
    }

    #[test]
    fn work_is_given_where_it_pays() {
        let text = b"the quick brown fox jumps over the lazy dog ".repeat(30_000);
        let files = Effort::Tuned(Contents::Files);
        check(&text, Contents::Files, files);
        check(&hardly_shrinking(), Contents::Files, files);
        let chunks = Effort::Tuned(Contents::Chunks);
        check(&text, Contents::Chunks, chunks);
        check(&hardly_shrinking(), Contents::Chunks, Effort::Light);
        check(&noise(1 << 20), Contents::Chunks, Effort::Light);
        check(&noise(SAMPLED_BYTES_MIN), Contents::Chunks, Effort::Light);
        check(&noise(SAMPLED_BYTES_MIN - 1), Contents::Chunks, chunks);
        check(b"", Contents::Chunks, chunks);
    }

    #[test]
    fn a_level_that_was_chosen_is_kept() {
        for level in [-5, 1, 2, 4, 19] {
            let effort = Effort::fit(level, Contents::Files, &hardly_shrinking(), &mut Vec::new());
            assert_eq!(effort, Effort::Level(level));
        }
    }
}
