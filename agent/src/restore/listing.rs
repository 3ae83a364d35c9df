//! What a version has in one directory, and as much as can be had where the archive is damaged.

use backstore_protocol::entry::Entry;
use backstore_protocol::path::ArchivePath;
use backstore_vfs::objects::ReadError;
use backstore_vfs::view::{Children, View, Walk};

/// The names of a directory and their entries, in the byte order of names.
pub(super) struct Listing {
    view: View,
    path: ArchivePath,
    last: Option<Vec<u8>>,
    from: From,
}

enum From {
    Start,
    /// As long as nothing fails.
    Children(Box<Children>),
    /// What can still be had.
    Rest(Box<Walk>),
    End,
}

impl Listing {
    pub(super) fn new(view: &View, path: &ArchivePath) -> Self {
        Self { view: view.clone(), path: path.clone(), last: None, from: From::Start }
    }

    /// Another one from the beginning.
    pub(super) fn again(&self) -> Self {
        Self::new(&self.view, &self.path)
    }

    /// The directory.
    pub(super) const fn path(&self) -> &ArchivePath {
        &self.path
    }

    /// The next one of a walk that is in this directory, after what was given already.
    fn rest(&mut self, walk: &mut Walk) -> Option<Result<(Vec<u8>, Entry), ReadError>> {
        loop {
            let (path, entry) = match walk.next()? {
                Ok(found) => found,
                Err(error) => return Some(Err(error)),
            };
            if path == self.path {
                continue;
            }
            if path.parent().as_ref() != Some(&self.path) {
                return None;
            }
            if self.last.as_deref().is_none_or(|last| last < path.name()) {
                return Some(Ok((path.name().to_vec(), entry)));
            }
        }
    }
}

/// A part that cannot be read is one error, and what comes after it follows.
impl Iterator for Listing {
    type Item = Result<(Vec<u8>, Entry), ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if matches!(self.from, From::Start) {
            match self.view.children(&self.path) {
                Ok(children) => self.from = From::Children(Box::new(children)),
                Err(error) => {
                    self.from = From::End;
                    return Some(Err(error));
                }
            }
        }
        if let From::Children(children) = &mut self.from {
            match children.next() {
                Some(Ok((name, entry))) => {
                    self.last = Some(name.clone());
                    return Some(Ok((name, entry)));
                }
                None => self.from = From::End,
                // It is met again on the way, and told then.
                Some(Err(_)) => match self.view.walk(&self.path) {
                    Ok(walk) => self.from = From::Rest(Box::new(walk)),
                    Err(error) => {
                        self.from = From::End;
                        return Some(Err(error));
                    }
                },
            }
        }
        let From::Rest(mut walk) = std::mem::replace(&mut self.from, From::End) else { return None };
        let found = self.rest(&mut walk);
        if found.is_some() {
            self.from = From::Rest(walk);
        }
        found
    }
}
