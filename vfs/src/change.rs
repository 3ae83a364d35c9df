//! When two entries of one path count as the same, and how they differ.

use backstore_protocol::entry::{Entry, Kind};

/// How an entry differs from the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// It was not there before.
    Added,
    /// It is no longer there.
    Removed,
    /// It is another kind of file.
    Type,
    /// It holds other bytes; metadata may differ too.
    Content,
    /// It holds the same bytes under other metadata.
    Metadata,
}

impl Change {
    /// Between two entries of one path; nothing if they are the same as far as it matters.
    ///
    /// What follows from how it was stored or from use does not matter: inode, mount, number of links, times of inode change and birth. Nor does
    /// the time of a directory, which changes whenever something in it does.
    pub fn between(old: &Entry, new: &Entry) -> Option<Self> {
        if kind_shown(old.kind) != kind_shown(new.kind) || old.device != new.device {
            return Some(Self::Type);
        }
        if !old.kind.is_directory() && !old.same_content(new) {
            return Some(Self::Content);
        }
        let same_time = old.kind.is_directory() || old.mtime == new.mtime;
        let same = same_time
            && old.mode == new.mode
            && old.attributes == new.attributes
            && old.owner.id == new.owner.id
            && old.group.id == new.group.id
            && old.xattrs == new.xattrs;
        (!same).then_some(Self::Metadata)
    }

    /// Between what was there and what is.
    pub fn of(old: Option<&Entry>, new: Option<&Entry>) -> Option<Self> {
        match (old, new) {
            (None, None) => None,
            (None, Some(_)) => Some(Self::Added),
            (Some(_), None) => Some(Self::Removed),
            (Some(old), Some(new)) => Self::between(old, new),
        }
    }

    /// One character for a list.
    pub const fn mark(self) -> char {
        match self {
            Self::Added => '+',
            Self::Removed => '-',
            Self::Type => 'T',
            Self::Content => 'M',
            Self::Metadata => 'm',
        }
    }

    /// One word for a document.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Removed => "removed",
            Self::Type => "type",
            Self::Content => "content",
            Self::Metadata => "metadata",
        }
    }
}

/// A directory is one, whether it was selected or only leads to what was.
const fn kind_shown(kind: Kind) -> Kind {
    match kind {
        Kind::ImpliedDirectory => Kind::Directory,
        Kind::File
        | Kind::Directory
        | Kind::Symlink
        | Kind::Fifo
        | Kind::Socket
        | Kind::CharacterDevice
        | Kind::BlockDevice => kind,
    }
}

#[cfg(test)]
mod tests {
    use backstore_protocol::entry::{Content, Time};

    use super::*;

    fn check(kind: Kind, edit: impl FnOnce(&mut Entry), expected: Option<Change>) {
        let old = Entry { size: 1, content: Content::Inline(b"x"[..].into()), ..Entry::new(kind) };
        let mut new = old.clone();
        edit(&mut new);
        assert_eq!(Change::between(&old, &new), expected);
        assert_eq!(Change::between(&new, &old), expected);
    }

    #[test]
    fn what_matters_and_what_does_not() {
        let later = Time { seconds: 9, nanoseconds: 1 };
        check(Kind::File, |_| {}, None);
        check(Kind::File, |entry| (entry.inode, entry.nlink, entry.ctime) = (7, 2, later), None);
        check(Kind::File, |entry| entry.mtime = later, Some(Change::Metadata));
        check(Kind::File, |entry| entry.mode = 0o600, Some(Change::Metadata));
        check(Kind::File, |entry| entry.content = Content::Inline(b"y"[..].into()), Some(Change::Content));
        check(Kind::File, |entry| entry.kind = Kind::Symlink, Some(Change::Type));
        check(Kind::Directory, |entry| entry.mtime = later, None);
        check(Kind::Directory, |entry| entry.kind = Kind::ImpliedDirectory, None);
        check(Kind::CharacterDevice, |entry| entry.device = (1, 3), Some(Change::Type));
        assert_eq!(Change::of(None, None), None);
        assert_eq!(Change::of(None, Some(&Entry::new(Kind::Fifo))), Some(Change::Added));
    }
}
