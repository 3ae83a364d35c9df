//! Very many very small files: text and random data by turns, 100 to a folder.

use std::fs;
use std::io;
use std::path::Path;

use crate::random::Random;

/// Files at scale 1.
pub(super) const FILES: u64 = 300_000;
/// The largest file; sizes are spread evenly.
const FILE_BYTES_MAX: u64 = 4096;
const SEED: u64 = 20_240_607;
const WORDS: usize = 4000;

/// Makes so many files.
pub(super) fn make(dir: &Path, files: u64) -> io::Result<()> {
    let mut random = Random::new(SEED);
    let words = words(&mut random);
    for number in 0..files {
        let folder =
            dir.join(format!("{:02}/{:02}/{}", number / 30_000, number / 1000 % 30, number / 100 % 10));
        if number % 100 == 0 {
            fs::create_dir_all(&folder)?;
        }
        let size = random.below(FILE_BYTES_MAX + 1) as usize;
        let bytes = if number % 2 == 1 { noise(&mut random, size) } else { text(&mut random, &words, size) };
        fs::write(folder.join(format!("f{number:06}.dat")), bytes)?;
    }
    Ok(())
}

/// Made-up words of 2 to 10 letters.
pub(super) fn words(random: &mut Random) -> Vec<Vec<u8>> {
    let word = |random: &mut Random| {
        let length = 2 + random.below(9);
        (0..length).map(|_| b'a' + random.below(26) as u8).collect()
    };
    (0..WORDS).map(|_| word(random)).collect()
}

/// Words up to so many bytes, the last one cut.
pub(super) fn text(random: &mut Random, words: &[Vec<u8>], size: usize) -> Vec<u8> {
    let mut text = Vec::with_capacity(size + 16);
    while text.len() < size {
        text.extend_from_slice(&words[random.below(words.len() as u64) as usize]);
        text.push(b' ');
    }
    text.truncate(size);
    text
}

/// So many random bytes.
pub(super) fn noise(random: &mut Random, size: usize) -> Vec<u8> {
    let mut bytes = vec![0; size];
    random.fill(&mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_every_time() {
        let read = |files| {
            let dir = tempfile::tempdir().expect("a temporary folder");
            make(dir.path(), files).expect("made");
            let paths = crate::files::sorted(dir.path()).expect("listed");
            let relative = |path: &Path| path.strip_prefix(dir.path()).expect("below").to_owned();
            paths.iter().map(|path| (relative(path), fs::read(path).expect("read"))).collect::<Vec<_>>()
        };
        let files = read(250);
        assert_eq!(files, read(250));
        assert_eq!(files[..100], read(100)[..], "more files do not change the first");
        assert_eq!(files.len(), 250);
        assert_eq!(files[249].0, Path::new("00/00/2/f000249.dat"));
        assert!(files.iter().all(|(_, bytes)| bytes.len() <= 4096));
        assert!(files.iter().step_by(2).all(|(_, bytes)| bytes.is_ascii()));
        assert!(files[1].1.len() > 64 && !files[1].1.is_ascii());
    }
}
