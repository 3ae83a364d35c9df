//! Files that do not compress, as pictures and films do not.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use crate::random::Random;

/// Bytes of each file at scale 1.
pub(super) const FILE_BYTES: u64 = 256 << 20;
const FILES: u64 = 8;
const SEED: u64 = 0x6d65_6469;

/// Makes 8 files of so many bytes.
pub(super) fn make(dir: &Path, file_bytes: u64) -> io::Result<()> {
    let mut buffer = vec![0; 1 << 20];
    for number in 1..=FILES {
        let mut random = Random::new(SEED + number);
        let mut file = File::create(dir.join(format!("clip{number}.bin")))?;
        let mut left = file_bytes;
        while left > 0 {
            let piece = &mut buffer[..left.min(1 << 20) as usize];
            random.fill(piece);
            file.write_all(piece)?;
            left -= piece.len() as u64;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_differ_and_are_the_same_every_time() {
        let read = || {
            let dir = tempfile::tempdir().expect("a temporary folder");
            make(dir.path(), 3000).expect("made");
            let names = crate::files::sorted(dir.path()).expect("listed");
            names.iter().map(|path| std::fs::read(path).expect("read")).collect::<Vec<_>>()
        };
        let files = read();
        assert_eq!(files, read());
        assert_eq!(files.len(), 8);
        assert!(files.iter().all(|bytes| bytes.len() == 3000));
        assert_ne!(files[0], files[1]);
        assert_eq!(files[0][..8], [10, 196, 125, 2, 198, 40, 69, 189]);
    }
}
