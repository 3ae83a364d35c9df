//! What is backed up in a run. A corpus that changes during it is copied first, so that corpora never change.

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::child::call;
use crate::corpus::{CHANGED_IMAGE, Corpus, IMAGE_FILE, change_some, changed, make_tiny};
use crate::error::{BenchError, file_error};
use crate::files::{self, FolderSize};
use crate::machine;

/// The folders to back up, and how often they were changed.
#[derive(Debug)]
pub(crate) struct Sources {
    corpora: PathBuf,
    copies: PathBuf,
    /// The corpus that the page cache holds.
    warm: Cell<Option<Corpus>>,
}

impl Sources {
    pub(crate) fn new(corpora: &Path, work: &Path) -> Self {
        Self { corpora: corpora.to_owned(), copies: work.join("source"), warm: Cell::new(None) }
    }

    /// What is backed up.
    pub(crate) fn folder(&self, corpus: Corpus) -> PathBuf {
        match corpus {
            Corpus::Src | Corpus::Media | Corpus::Many => self.corpora.join(corpus.name()),
            Corpus::Small | Corpus::Vm | Corpus::Edited | Corpus::Tiny => self.copies.join(corpus.name()),
        }
    }

    /// Whether it, or what it is made of, was made.
    pub(crate) fn has(&self, corpus: Corpus) -> bool {
        corpus.origin().is_none_or(|folder| self.corpora.join(folder).is_dir())
    }

    /// Copies or makes a corpus that will be changed, unless that was done before.
    pub(crate) fn prepare(&self, corpus: Corpus) -> Result<(), BenchError> {
        let folder = self.folder(corpus);
        if folder.is_dir() {
            return Ok(());
        }
        fs::create_dir_all(&self.copies).map_err(file_error("create", &self.copies))?;
        self.set_round(corpus, 0)?;
        let unfinished = folder.with_extension("unfinished");
        files::remove(&unfinished).map_err(file_error("remove", &unfinished))?;
        match corpus.origin() {
            Some(origin) => {
                let from = self.corpora.join(origin);
                call(Command::new("cp").args(["-a", "--sparse=always"]).arg(from).arg(&unfinished))?;
            }
            None => make_tiny(&unfinished).map_err(file_error("create", &unfinished))?,
        }
        fs::rename(&unfinished, &folder).map_err(file_error("rename to", &folder))
    }

    /// How often it was changed.
    pub(crate) fn round(&self, corpus: Corpus) -> u32 {
        let text = fs::read_to_string(self.round_file(corpus)).unwrap_or_default();
        text.trim().parse().unwrap_or(0)
    }

    /// Changes a corpus: files of it, or the disk image (which has one changed state).
    pub(crate) fn advance(&self, corpus: Corpus) -> Result<(), BenchError> {
        let round = self.round(corpus) + 1;
        // First: whatever was backed up is out of date from now on, also if the change is cut off.
        self.set_round(corpus, round)?;
        let folder = self.folder(corpus);
        match corpus {
            Corpus::Small | Corpus::Edited => {
                change_some(&folder, round).map_err(file_error("change files in", &folder))?;
            }
            Corpus::Vm => self.set_image(CHANGED_IMAGE)?,
            Corpus::Src | Corpus::Media | Corpus::Many | Corpus::Tiny => {}
        }
        machine::sync();
        self.warm.set(None);
        Ok(())
    }

    /// Copies a corpus again: it is as it was.
    pub(crate) fn renew(&self, corpus: Corpus) -> Result<(), BenchError> {
        let folder = self.folder(corpus);
        files::remove(&folder).map_err(file_error("remove", &folder))?;
        self.prepare(corpus)
    }

    /// What the last change has made different: so many files, and their bytes before and after it together.
    pub(crate) fn differing(&self, corpus: Corpus) -> Result<FolderSize, BenchError> {
        let folder = self.folder(corpus);
        let original = self.corpora.join(corpus.origin().unwrap_or(corpus.name()));
        let paths = changed(&folder, self.round(corpus)).map_err(file_error("list", &folder))?;
        let mut differing = FolderSize::default();
        for path in paths {
            let before = original.join(path.strip_prefix(&folder).unwrap_or(&path));
            let old = fs::read(&before).map_err(file_error("read", &before))?;
            let new = fs::read(&path).map_err(file_error("read", &path))?;
            if old != new {
                differing.files += 1;
                differing.bytes += (old.len() + new.len()) as u64;
            }
        }
        Ok(differing)
    }

    /// The next version of the corpus of few small files: one of them has a new line.
    pub(crate) fn write_version(&self, number: u32) -> Result<(), BenchError> {
        let path = self.folder(Corpus::Tiny).join("version.txt");
        fs::write(&path, format!("{number}\n")).map_err(file_error("write", &path))
    }

    /// The disk image is as it was.
    pub(crate) fn reset_image(&self) -> Result<(), BenchError> {
        self.set_image(Corpus::Vm.name())?;
        self.set_round(Corpus::Vm, 0)?;
        machine::sync();
        self.warm.set(None);
        Ok(())
    }

    fn set_image(&self, from: &str) -> Result<(), BenchError> {
        let image = self.corpora.join(from).join(IMAGE_FILE);
        let to = self.folder(Corpus::Vm).join(IMAGE_FILE);
        call(Command::new("cp").arg("--sparse=always").arg(image).arg(to)).map(drop)
    }

    /// The page cache holds it.
    pub(crate) fn warm(&self, corpus: Corpus) -> Result<(), BenchError> {
        if self.warm.get() != Some(corpus) {
            let folder = self.folder(corpus);
            files::warm(&folder).map_err(file_error("read", &folder))?;
            self.warm.set(Some(corpus));
        }
        Ok(())
    }

    /// The page cache holds nothing.
    pub(crate) fn cool(&self) -> Result<(), BenchError> {
        self.warm.set(None);
        machine::drop_caches().map_err(crate::error::io_error("drop the page cache (are you root?)"))
    }

    /// Removes the copies.
    pub(crate) fn remove(&self) -> Result<(), BenchError> {
        files::remove(&self.copies).map_err(file_error("remove", &self.copies))
    }

    fn round_file(&self, corpus: Corpus) -> PathBuf {
        self.copies.join(format!("{}.round", corpus.name()))
    }

    fn set_round(&self, corpus: Corpus, round: u32) -> Result<(), BenchError> {
        let path = self.round_file(corpus);
        fs::write(&path, format!("{round}\n")).map_err(file_error("write", &path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_counted() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let src = dir.path().join("corpora/src");
        fs::create_dir_all(&src).expect("made");
        for number in 0..200 {
            fs::write(src.join(format!("{number:03}")), [b'-'; 700]).expect("written");
        }
        let sources = Sources::new(&dir.path().join("corpora"), &dir.path().join("work"));
        for _ in 0..2 {
            sources.renew(Corpus::Edited).expect("copied");
            sources.advance(Corpus::Edited).expect("changed");
            let differing = sources.differing(Corpus::Edited).expect("counted");
            assert_eq!((sources.round(Corpus::Edited), differing), (1, FolderSize { files: 2, bytes: 2800 }));
        }
    }

    #[test]
    fn corpora_never_change() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let corpora = dir.path().join("corpora");
        for (folder, text) in [("vm", "old"), (CHANGED_IMAGE, "new")] {
            fs::create_dir_all(corpora.join(folder)).expect("made");
            fs::write(corpora.join(folder).join(IMAGE_FILE), text).expect("written");
        }
        let sources = Sources::new(&corpora, &dir.path().join("work"));
        let image = |folder: PathBuf| fs::read_to_string(folder.join(IMAGE_FILE)).expect("read");
        sources.prepare(Corpus::Vm).expect("copied");
        assert_eq!((sources.round(Corpus::Vm), image(sources.folder(Corpus::Vm))), (0, "old".to_owned()));
        sources.advance(Corpus::Vm).expect("changed");
        sources.prepare(Corpus::Vm).expect("nothing to do");
        assert_eq!((sources.round(Corpus::Vm), image(sources.folder(Corpus::Vm))), (1, "new".to_owned()));
        assert_eq!(image(corpora.join("vm")), "old");
        sources.reset_image().expect("reset");
        assert_eq!((sources.round(Corpus::Vm), image(sources.folder(Corpus::Vm))), (0, "old".to_owned()));
    }
}
