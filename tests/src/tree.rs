//! Trees of files that tests make.

use std::fs;
use std::path::Path;

/// Bytes that no compressor shortens, the same for the same seed.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// Writes a file and the folders above it.
pub fn write(path: &Path, bytes: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// Small and large files in a few folders: about 9 MB.
pub fn example(folder: &Path) {
    for number in 0..40 {
        let text = format!("file {number}\n").repeat(number * 37);
        write(&folder.join(format!("texts/{}/note {number}.txt", number % 4)), text.as_bytes());
    }
    write(&folder.join("empty"), b"");
    fs::create_dir_all(folder.join("empty folder")).unwrap();
    write(&folder.join("pictures/large.raw"), &noise(1, 6 << 20));
    write(&folder.join("pictures/small.raw"), &noise(2, 700 << 10));
    write(&folder.join("pictures/other.raw"), &noise(3, 2 << 20));
}
