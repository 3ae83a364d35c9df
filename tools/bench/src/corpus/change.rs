//! Changing one file of a hundred, as work does between two backups.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::small::{noise, text, words};
use crate::files;
use crate::random::Random;

const SEED: u64 = 0x6368_616e;

/// Gives every hundredth file new content of the same size and kind; other files in every round. Says how many.
pub(crate) fn change_some(dir: &Path, round: u32) -> io::Result<usize> {
    let mut random = Random::new(SEED + u64::from(round));
    let words = words(&mut random);
    let paths = changed(dir, round)?;
    for path in &paths {
        let old = fs::read(path)?;
        let size = old.len();
        let new = if old.is_ascii() { text(&mut random, &words, size) } else { noise(&mut random, size) };
        fs::write(path, new)?;
    }
    Ok(paths.len())
}

/// The files that are changed in a round.
pub(crate) fn changed(dir: &Path, round: u32) -> io::Result<Vec<PathBuf>> {
    let first = (round as usize * 37) % 100;
    Ok(files::sorted(dir)?.into_iter().skip(first).step_by(100).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_a_hundred_others_each_time() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        super::super::small::make(dir.path(), 1000).expect("made");
        let read = || {
            let paths = files::sorted(dir.path()).expect("listed");
            paths.iter().map(|path| fs::read(path).expect("read")).collect::<Vec<_>>()
        };
        let differing = |a: &[Vec<u8>], b: &[Vec<u8>]| -> Vec<usize> {
            (0..a.len()).filter(|number| a[*number] != b[*number]).collect()
        };
        let original = read();
        assert_eq!(change_some(dir.path(), 1).expect("changed"), 10);
        let once = read();
        assert_eq!(change_some(dir.path(), 2).expect("changed"), 10);
        let twice = read();
        let (first, second) = (differing(&original, &once), differing(&once, &twice));
        assert_eq!((first.len(), second.len()), (10, 10));
        assert!(first.iter().all(|number| !second.contains(number)));
        assert!(original.iter().zip(&twice).all(|(a, b)| a.len() == b.len() && a.is_ascii() == b.is_ascii()));
    }
}
