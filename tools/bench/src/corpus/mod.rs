//! What is backed up: four corpora, and a fifth for who wants it (two more are made of these during a run), made with fixed seeds, the same on every machine (but for
//! the disk image, which holds files of the machine).
//!
//! A folder appears under its name only when it is whole, so one that is there is complete; the manifest is written
//! last and counts them all.

mod change;
mod image;
mod media;
mod small;
mod source_tree;

pub(crate) use change::{change_some, changed};

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{BenchError, file_error};
use crate::files::{self, FolderSize};

/// One corpus.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Corpus {
    /// A kernel's source: 79,000 files, 1.3 GB.
    Src,
    /// 300,000 files of 0 to 4 KiB, half of them text, half of them random.
    Small,
    /// A disk image of 2 GiB with a file system of programs and their data.
    Vm,
    /// 8 files of 256 MiB that do not compress.
    Media,
    /// As [`Corpus::Small`], ten times as many. Only where it was asked for: it is as large on the disk as all others together.
    Many,
    /// As [`Corpus::Src`], with one file of a hundred changed between its two versions. A copy made during a run.
    Edited,
    /// A few small files of which there are very many versions. Made during a run.
    Tiny,
}

impl Corpus {
    /// Its name, and that of its folder.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Src => "src",
            Self::Small => "small",
            Self::Vm => "vm",
            Self::Media => "media",
            Self::Many => "many",
            Self::Edited => "edited",
            Self::Tiny => "tiny",
        }
    }

    /// The folder of the corpora that it is, or is a copy of.
    pub(crate) const fn origin(self) -> Option<&'static str> {
        match self {
            Self::Src | Self::Small | Self::Vm | Self::Media | Self::Many => Some(self.name()),
            Self::Edited => Some(Self::Src.name()),
            Self::Tiny => None,
        }
    }
}

/// The folder with the changed disk image.
pub(crate) const CHANGED_IMAGE: &str = "vm2";
/// The file in the folders of disk images.
pub(crate) const IMAGE_FILE: &str = "disk.img";

/// Makes the corpus of a few small files.
pub(crate) fn make_tiny(dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    small::make(dir, TINY_FILES)
}

const TINY_FILES: u64 = 20;

/// How corpora are made.
#[derive(Debug, Clone)]
pub(crate) struct CorporaOptions {
    /// A `linux-*.tar.*` or Debian's `linux-source-*.tar.xz`; without it the package is fetched.
    pub(crate) kernel_tar: Option<PathBuf>,
    /// 1, or less for trials: shares of files and bytes. Of the source tree, a scale below 1 takes drivers/net only.
    pub(crate) scale: f64,
    /// The corpus of many files too.
    pub(crate) has_many: bool,
}

/// What a folder of corpora holds; `manifest.json` in it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    /// Always [`MANIFEST_VERSION`].
    pub(crate) version: u32,
    pub(crate) scale: f64,
    /// All folders are there and whole.
    pub(crate) complete: bool,
    pub(crate) folders: BTreeMap<String, FolderSize>,
}

const MANIFEST_VERSION: u32 = 1;
const MANIFEST_FILE: &str = "manifest.json";

impl Manifest {
    /// Reads the manifest of complete corpora, and sees that their folders are there.
    pub(crate) fn load(dir: &Path) -> Result<Self, BenchError> {
        let unusable = |problem: String| BenchError::Corpora { dir: dir.to_owned(), problem };
        let path = dir.join(MANIFEST_FILE);
        let bytes = fs::read(&path).map_err(|error| {
            unusable(format!("{MANIFEST_FILE}: {error}; make them with `backstore-bench corpora`"))
        })?;
        let manifest: Self = serde_json::from_slice(&bytes).map_err(|error| unusable(error.to_string()))?;
        if manifest.version != MANIFEST_VERSION || !manifest.complete {
            return Err(unusable("they are not complete".to_owned()));
        }
        match FOLDERS
            .iter()
            .find(|folder| !dir.join(folder).is_dir() || !manifest.folders.contains_key(**folder))
        {
            Some(missing) => Err(unusable(format!("{missing} is missing"))),
            None => Ok(manifest),
        }
    }
}

const FOLDERS: [&str; 5] = ["src", "small", "vm", CHANGED_IMAGE, "media"];
const MANY: &str = Corpus::Many.name();

/// Makes what is missing. Folders that are there, also those made by other means, are taken as they are and counted.
pub(crate) fn make(dir: &Path, options: &CorporaOptions) -> Result<Manifest, BenchError> {
    fs::create_dir_all(dir).map_err(file_error("create", dir))?;
    if let Ok(manifest) = Manifest::load(dir) {
        if manifest.scale != options.scale {
            let problem = format!("they have scale {}, not {}", manifest.scale, options.scale);
            return Err(BenchError::Corpora { dir: dir.to_owned(), problem });
        }
        if !options.has_many || manifest.folders.contains_key(MANY) {
            return Ok(manifest);
        }
    }
    let has_many = options.has_many || dir.join(MANY).is_dir();
    let folders = || FOLDERS.into_iter().chain(has_many.then_some(MANY));
    for folder in folders() {
        if !dir.join(folder).is_dir() {
            eprintln!("making {folder} …");
            make_folder(dir, folder, options)?;
        }
    }
    let count = |folder: &str| {
        let path = dir.join(folder);
        Ok((folder.to_owned(), files::size_of(&path).map_err(file_error("count", &path))?))
    };
    let manifest = Manifest {
        version: MANIFEST_VERSION,
        scale: options.scale,
        complete: true,
        folders: folders().map(count).collect::<Result<_, BenchError>>()?,
    };
    let text = serde_json::to_string_pretty(&manifest).unwrap_or_default();
    let path = dir.join(MANIFEST_FILE);
    fs::write(&path, text + "\n").map_err(file_error("write", &path))?;
    Ok(manifest)
}

fn make_folder(dir: &Path, folder: &str, options: &CorporaOptions) -> Result<(), BenchError> {
    let unfinished = dir.join(format!("{folder}.unfinished"));
    files::empty(&unfinished).map_err(file_error("create", &unfinished))?;
    let written = file_error("write into", &unfinished);
    match folder {
        "src" => source_tree::make(&unfinished, options)?,
        "small" => small::make(&unfinished, scaled(small::FILES, options.scale)).map_err(written)?,
        MANY => small::make(&unfinished, scaled(10 * small::FILES, options.scale)).map_err(written)?,
        "vm" => image::make(&unfinished, scaled(image::BYTES, options.scale))?,
        CHANGED_IMAGE => image::make_changed(&dir.join("vm"), &unfinished)?,
        _ => media::make(&unfinished, scaled(media::FILE_BYTES, options.scale)).map_err(written)?,
    }
    let whole = dir.join(folder);
    fs::rename(&unfinished, &whole).map_err(file_error("rename to", &whole))
}

fn scaled(full: u64, scale: f64) -> u64 {
    ((full as f64 * scale) as u64).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest_of(text: &str, folders: &[&str]) -> Result<Manifest, BenchError> {
        let dir = tempfile::tempdir().expect("a temporary folder");
        folders.iter().for_each(|folder| fs::create_dir(dir.path().join(folder)).expect("made"));
        fs::write(dir.path().join(MANIFEST_FILE), text).expect("written");
        Manifest::load(dir.path())
    }

    #[test]
    fn only_complete_corpora_are_taken() {
        let folders: Vec<String> =
            FOLDERS.iter().map(|name| format!(r#""{name}":{{"files":1,"bytes":2}}"#)).collect();
        let text = |complete| {
            format!(
                r#"{{"version":1,"scale":1.0,"complete":{complete},"folders":{{{}}}}}"#,
                folders.join(",")
            )
        };
        assert_eq!(manifest_of(&text(true), &FOLDERS).expect("complete").folders["vm"].bytes, 2);
        assert!(manifest_of(&text(false), &FOLDERS).is_err());
        assert!(manifest_of(&text(true), &FOLDERS[1..]).is_err());
        assert!(manifest_of("{}", &FOLDERS).is_err());
    }

    #[test]
    fn folders_that_are_there_are_counted_not_made() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        for folder in FOLDERS {
            fs::create_dir(dir.path().join(folder)).expect("made");
            fs::write(dir.path().join(folder).join("file"), folder).expect("written");
        }
        let options = CorporaOptions { kernel_tar: None, scale: 1.0, has_many: false };
        let manifest = make(dir.path(), &options).expect("counted");
        assert_eq!(manifest.folders["media"], FolderSize { files: 1, bytes: 5 });
        assert_eq!(Manifest::load(dir.path()).expect("complete"), manifest);
        assert!(make(dir.path(), &CorporaOptions { scale: 0.5, ..options.clone() }).is_err());
        assert!(!manifest.folders.contains_key(MANY));
        fs::create_dir(dir.path().join(MANY)).expect("made");
        let manifest = make(dir.path(), &CorporaOptions { has_many: true, ..options }).expect("counted");
        assert_eq!(manifest.folders[MANY].files, 0);
    }
}
