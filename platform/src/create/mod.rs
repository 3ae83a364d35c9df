//! Making files below a directory that they cannot leave, and giving them their metadata back.
//!
//! What an archive says is hostile until proven otherwise, and others may write to the target while it is restored. Therefore every file is made
//! relative to the open handle of its directory, under a name that is one name; no link is ever followed below the target; a file starts with
//! rights for its owner only and gets its real ones through its own handle; and nothing is ever given more rights than it was archived with.
//!
//! What may be set at all is a [`Policy`]; what was not set is said by [`LeftOut`], never passed over.

#[cfg(unix)]
mod finish;
#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
use linux as host;
#[cfg(target_os = "macos")]
mod macos;
#[cfg(target_os = "macos")]
use macos as host;
#[cfg(all(test, unix))]
mod tests;
#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

use std::fmt;
use std::io;

use backstore_protocol::entry::{Entry, Time};

#[cfg(unix)]
pub use finish::{finish_directory, finish_file, prepare_file};
#[cfg(unix)]
pub use unix::{TargetDirectory, Temporary, is_unfinished};
#[cfg(windows)]
pub use windows::{TargetDirectory, Temporary, finish_directory, finish_file, is_unfinished, prepare_file};

/// What a restore may set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Permission bits and, with [`Modes::Archived`], access control lists.
    pub modes: Modes,
    /// Owners and groups.
    pub owners: Owners,
    /// Extended attributes of the user and of file systems.
    pub xattrs: bool,
    /// Modification times.
    pub times: bool,
    /// Attribute bits. They mean something only on the system they were archived on: for an archive of another one it has to be false.
    pub attributes: bool,
    /// What lets a file act for somebody else or binds the administrator: setuid and setgid, device nodes, `security.*` and `trusted.*` attributes,
    /// immutable and append-only files.
    pub privileged: bool,
}

/// Which permission bits a restored file gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Modes {
    /// Those it was archived with, and its access control lists.
    Archived,
    /// Those less the bits in this mask, as if the current user had made it; no setuid, setgid and sticky, no access control lists.
    Masked(u16),
}

/// Whose a restored file becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owners {
    /// The current user's.
    Current,
    /// Its archived owner's, found by name; by number where the name is not known here.
    ByName,
    /// Its archived owner's, by number.
    ById,
}

/// The metadata that a file is to have.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// Kind, mode, owners, times and attributes; its content and extended attributes are not looked at.
    pub entry: &'a Entry,
    /// Extended attributes with their values, sorted by name.
    pub xattrs: &'a [(&'a [u8], &'a [u8])],
}

/// A part of a file's metadata that can be left out; [`Part::Device`] is the file itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// The owner.
    Owner,
    /// The group.
    Group,
    /// Permission bits.
    Mode,
    /// Setuid, setgid or sticky.
    SpecialMode,
    /// An access control list.
    AccessList,
    /// An extended attribute.
    Xattr,
    /// A `security.*` or `trusted.*` attribute, file capabilities included.
    PrivilegedXattr,
    /// The modification time.
    Times,
    /// Attribute bits.
    Attributes,
    /// A device node, pipe or socket.
    Device,
}

impl Part {
    /// All of them, in order.
    pub const ALL: [Self; 10] = [
        Self::Owner,
        Self::Group,
        Self::Mode,
        Self::SpecialMode,
        Self::AccessList,
        Self::Xattr,
        Self::PrivilegedXattr,
        Self::Times,
        Self::Attributes,
        Self::Device,
    ];
}

/// Names several of the part, for a summary.
impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Owner => "owners",
            Self::Group => "groups",
            Self::Mode => "permissions",
            Self::SpecialMode => "setuid, setgid and sticky bits",
            Self::AccessList => "access control lists",
            Self::Xattr => "extended attributes",
            Self::PrivilegedXattr => "security and trusted attributes",
            Self::Times => "modification times",
            Self::Attributes => "attribute flags",
            Self::Device => "device nodes, pipes and sockets",
        })
    }
}

/// Why a part was left out.
#[derive(Debug)]
pub enum Reason {
    /// The policy does not ask for it.
    NotAsked,
    /// This user may not set it.
    NotPermitted,
    /// The system or the target's file system does not have it.
    NotSupported,
    /// The file system has no room for this time and keeps another one.
    Clamped {
        /// The time that it keeps.
        kept: Time,
    },
    /// The system call failed.
    Failed(io::Error),
}

/// One thing that a restored file does not have.
#[derive(Debug)]
pub struct LeftOut {
    /// What.
    pub part: Part,
    /// Name of the extended attribute, if it is one.
    pub name: Option<Box<[u8]>>,
    /// Why.
    pub reason: Reason,
}

/// How many of each part were left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LeftOutCounts([u64; Part::ALL.len()]);

impl LeftOutCounts {
    /// Counts one more.
    pub fn add(&mut self, left_out: &LeftOut) {
        self.0[left_out.part as usize] += 1;
    }

    /// Adds the counts of another thread.
    pub fn add_all(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0).for_each(|(count, more)| *count += more);
    }

    /// How many of one part.
    pub fn of(&self, part: Part) -> u64 {
        self.0[part as usize]
    }

    /// The parts of which some were left out.
    pub fn iter(&self) -> impl Iterator<Item = (Part, u64)> {
        Part::ALL.into_iter().zip(self.0).filter(|(_, count)| *count > 0)
    }
}

/// What to do with a file that has the name already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// Put the new one in its place, in one step. A directory is never replaced.
    Replace,
    /// Leave it, and report [`io::ErrorKind::AlreadyExists`].
    Keep,
}

/// Whether links in a path that a person has typed are followed. Below the directory that is opened they never are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Links {
    /// The path means what it means to every program.
    Follow,
    /// A link anywhere in it is an error: the path comes from an archive.
    Refuse,
}
