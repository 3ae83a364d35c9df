//! The files of `fixtures/v1/`: hexadecimal, listed with length and hash in `INDEX`, never changed.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::PathBuf;

/// Set to 1, new fixtures are written and listed; those that are there are never touched.
pub(crate) const WRITE: &str = "BACKSTORE_WRITE_FIXTURES";

/// Bytes without any pattern, the same for the same label.
pub(crate) fn noise(label: &str, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(label.as_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// [`noise`] as an array.
pub(crate) fn noise_array<const N: usize>(label: &str) -> [u8; N] {
    noise(label, N).try_into().expect("as many bytes as were asked for")
}

/// The bytes that hexadecimal text stands for; line ends do not count.
pub(crate) fn from_hex(text: &str) -> Vec<u8> {
    let digits: Vec<_> = text
        .chars()
        .filter(|digit| !digit.is_ascii_whitespace())
        .map(|digit| digit.to_digit(16).unwrap_or_else(|| panic!("{digit:?} is no hexadecimal digit")) as u8)
        .collect();
    assert!(digits.len().is_multiple_of(2), "half a byte");
    digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn to_hex(bytes: &[u8]) -> String {
    let lines =
        bytes.chunks(32).map(|line| line.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
    lines.map(|line| line + "\n").collect()
}

/// The fixtures of a version.
pub(crate) struct Fixtures {
    folder: PathBuf,
    /// Length and hash by name.
    index: BTreeMap<String, (usize, String)>,
}

impl Fixtures {
    /// Version 1.
    pub(crate) fn open() -> Self {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/v1");
        let index = fs::read_to_string(folder.join("INDEX")).unwrap_or_default();
        let index = index.lines().filter(|line| !line.starts_with('#')).map(|line| {
            let fields: Vec<_> = line.split_whitespace().collect();
            let [name, length, hash] = fields[..] else { panic!("INDEX: {line}") };
            (name.to_owned(), (length.parse().expect("a length"), hash.to_owned()))
        });
        let index = index.collect();
        Self { folder, index }
    }

    /// Names of all that the index lists.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.index.keys().map(String::as_str)
    }

    /// Names of all files, listed or not.
    pub(crate) fn files(&self) -> Vec<String> {
        let folders = fs::read_dir(&self.folder).expect("the folder of fixtures").map(|entry| entry.unwrap());
        let mut names = Vec::new();
        for format in folders.filter(|entry| entry.file_type().unwrap().is_dir()) {
            for file in fs::read_dir(format.path()).unwrap() {
                let (format, file) = (format.file_name(), file.unwrap().file_name());
                let file = file.to_str().unwrap();
                let file = file.strip_suffix(".hex").unwrap_or_else(|| panic!("{file} is no fixture"));
                names.push(format!("{}/{file}", format.to_str().unwrap()));
            }
        }
        names.sort();
        names
    }

    /// The bytes of a fixture, checked against the index; nothing if it is not there.
    pub(crate) fn read(&self, name: &str) -> Option<Vec<u8>> {
        let (length, hash) = self.index.get(name)?;
        let text = fs::read_to_string(self.folder.join(name).with_extension("hex")).ok()?;
        let bytes = from_hex(&text);
        let found = (bytes.len(), blake3::hash(&bytes).to_hex().to_string());
        assert_eq!(found, (*length, hash.clone()), "fixture {name} was changed");
        Some(bytes)
    }

    /// Adds a fixture that is not there yet.
    pub(crate) fn add(&mut self, name: &str, bytes: &[u8]) {
        let path = self.folder.join(name).with_extension("hex");
        fs::create_dir_all(path.parent().expect("a fixture has a folder")).unwrap();
        let mut file =
            fs::File::create_new(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        file.write_all(to_hex(bytes).as_bytes()).unwrap();
        self.index.insert(name.to_owned(), (bytes.len(), blake3::hash(bytes).to_hex().to_string()));
        let lines = self.index.iter().map(|(name, (length, hash))| format!("{name} {length} {hash}\n"));
        let text = format!(
            "# Name, length and BLAKE3 of every fixture. Lines are added, never changed.\n{}",
            lines.collect::<String>()
        );
        fs::write(self.folder.join("INDEX"), text).unwrap();
    }
}
