//! Unix: giving a finished file its metadata, in the order in which one part does not undo another.
//!
//! Stray access lists go first, lest a wider mode bring them to life. The user's own attributes need the right to write, which the mode may take away.
//! Then the mode is narrowed, the owner set (which clears setuid and capabilities) and the mode; then access lists, which agree with it, and what
//! only root may set; times after everything that changes them; flags last, since they forbid changes.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use backstore_protocol::entry::{Kind, Principal, PrincipalId, Time};
use rustix::fs::{Gid, Mode, RawMode, Timespec, Timestamps, UTIME_OMIT, Uid};
use rustix::io::Errno;

use super::host::{ATTRIBUTES, EARLY_ATTRIBUTES, PRIVILEGED_ATTRIBUTES, Target};
use super::unix::TargetDirectory;
use super::{LeftOut, Modes, Owners, Part, Policy, Reason, Wanted};
use crate::metadata::PrincipalIds;
use crate::walk::stat_handle;

/// Gives a new, still empty file those attribute bits that it cannot get later. Whether they hold is seen when it is finished.
pub fn prepare_file(file: &File, wanted: &Wanted<'_>, policy: &Policy) {
    if policy.attributes && wanted.entry.attributes & EARLY_ATTRIBUTES != 0 {
        let _ = Target::open(file.as_fd()).set_attributes(wanted.entry.attributes, EARLY_ATTRIBUTES);
    }
}

/// Gives a file, whose content is complete, its metadata; returns what it did not get.
pub fn finish_file(
    file: &File,
    wanted: &Wanted<'_>,
    policy: &Policy,
    ids: &mut PrincipalIds,
) -> Vec<LeftOut> {
    Finish::new(Target::open(file.as_fd()), wanted, policy).run(ids)
}

/// Gives a directory, in which nothing more will be made, its metadata; returns what it did not get.
pub fn finish_directory(
    directory: &TargetDirectory,
    wanted: &Wanted<'_>,
    policy: &Policy,
    ids: &mut PrincipalIds,
) -> Vec<LeftOut> {
    Finish::new(Target::open(directory.as_fd()), wanted, policy).run(ids)
}

impl TargetDirectory {
    /// Gives a link, pipe, socket or device, which is not to be opened, its metadata; returns what it did not get.
    ///
    /// [`io::ErrorKind::NotFound`] if something else has taken its name.
    pub fn finish_named(
        &self,
        name: &[u8],
        wanted: &Wanted<'_>,
        policy: &Policy,
        ids: &mut PrincipalIds,
    ) -> io::Result<Vec<LeftOut>> {
        let target = Target::named(self.as_directory(), crate::walk::component(name)?, wanted.entry.kind)?;
        Ok(Finish::new(target, wanted, policy).run(ids))
    }
}

/// Work on one file.
struct Finish<'a> {
    target: Target<'a>,
    wanted: &'a Wanted<'a>,
    policy: &'a Policy,
    left_out: Vec<LeftOut>,
}

/// Whether owner and group are now those that the file was archived with.
#[derive(Clone, Copy)]
struct OwnersSet {
    user: bool,
    group: bool,
}

impl<'a> Finish<'a> {
    fn new(target: Target<'a>, wanted: &'a Wanted<'a>, policy: &'a Policy) -> Self {
        Self { target, wanted, policy, left_out: Vec::new() }
    }

    /// An implied directory was not selected: it is only in the archive so that others have a place.
    fn run(mut self, ids: &mut PrincipalIds) -> Vec<LeftOut> {
        if self.wanted.entry.kind == Kind::ImpliedDirectory {
            return self.left_out;
        }
        self.remove_stray_xattrs();
        self.set_xattrs(&[Class::Ordinary]);
        self.narrow_mode();
        let owners = self.set_owners(ids);
        self.set_mode(owners);
        self.set_xattrs(&[Class::AccessList, Class::Privileged]);
        self.set_times();
        self.set_attributes();
        self.left_out
    }

    fn leave_out(&mut self, part: Part, reason: Reason) {
        self.left_out.push(LeftOut { part, name: None, reason });
    }

    fn note(&mut self, part: Part, outcome: Result<(), Errno>) -> bool {
        if let Err(error) = outcome {
            self.leave_out(part, reason(error));
        }
        outcome.is_ok()
    }

    /// A new file may have inherited access lists from its directory, and an existing directory may have attributes of its own.
    fn remove_stray_xattrs(&mut self) {
        if !matches!(self.wanted.entry.kind, Kind::File | Kind::Directory) {
            return;
        }
        let mut buffer = [0; 1024];
        let mut large = Vec::new();
        let listed = match self.target.list_xattrs(&mut buffer) {
            Err(Errno::RANGE) => {
                large.resize(LIST_BYTES_MAX, 0);
                self.target.list_xattrs(&mut large).map(|length| &large[..length])
            }
            listed => listed.map(|length| &buffer[..length]),
        };
        let names = match listed {
            Ok(names) => names,
            Err(error) if error == Errno::OPNOTSUPP || error == Errno::NOTSUP => return,
            Err(error) => return self.leave_out(Part::AccessList, reason(error)),
        };
        for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
            let is_wanted = self.wanted.xattrs.binary_search_by(|(wanted, _)| (*wanted).cmp(name)).is_ok();
            let class = Class::of(name);
            let may_remove = class != Class::Privileged && self.is_asked(class);
            if may_remove && !is_wanted && self.target.remove_xattr(name).is_err() {
                let left_out =
                    LeftOut { part: class.part(), name: Some(name.into()), reason: Reason::NotPermitted };
                self.left_out.push(left_out);
            }
        }
    }

    fn is_asked(&self, class: Class) -> bool {
        match class {
            Class::AccessList => self.policy.modes == Modes::Archived,
            Class::Privileged => self.policy.privileged,
            Class::Ordinary => self.policy.xattrs,
        }
    }

    /// What the owner-to-be may not do must not become possible between getting the file and getting its mode. A new file has only
    /// rights of its owner, so this matters for directories, which may have existed, and files whose owner has fewer than that.
    fn narrow_mode(&mut self) {
        let mode = self.wanted.entry.mode;
        if self.wanted.entry.kind == Kind::Directory || mode & 0o600 != 0o600 {
            let outcome = self.target.set_mode(Mode::from_raw_mode(RawMode::from(mode & 0o700)));
            self.note(Part::Mode, outcome);
        }
    }

    fn set_owners(&mut self, ids: &mut PrincipalIds) -> OwnersSet {
        let entry = self.wanted.entry;
        let (user, group) = match self.policy.owners {
            Owners::Current => return OwnersSet { user: false, group: false },
            Owners::ByName => {
                (id(&entry.owner, |name| ids.user(name)), id(&entry.group, |name| ids.group(name)))
            }
            Owners::ById => (id(&entry.owner, |_| None), id(&entry.group, |_| None)),
        };
        // To ask is cheaper than to set what is there already, and root mostly restores root's files.
        if let Ok(now) = stat_handle(self.target.handle())
            && user.is_none_or(|user| now.owner == Some(user))
            && group.is_none_or(|group| now.group == Some(group))
        {
            return OwnersSet { user: user.is_some(), group: group.is_some() };
        }
        let (user, group) = (user.map(Uid::from_raw), group.map(Gid::from_raw));
        if self.target.set_owner(user, group).is_ok() {
            return OwnersSet { user: user.is_some(), group: group.is_some() };
        }
        // One of them may be possible: an ordinary user can give files to its other groups.
        let group_outcome = group.map(|group| self.target.set_owner(None, Some(group)));
        let user_outcome = user.map(|user| self.target.set_owner(Some(user), None));
        OwnersSet {
            user: user_outcome.is_some_and(|outcome| self.note(Part::Owner, outcome)),
            group: group_outcome.is_some_and(|outcome| self.note(Part::Group, outcome)),
        }
    }

    fn set_mode(&mut self, owners: OwnersSet) {
        let entry = self.wanted.entry;
        if entry.kind == Kind::Symlink {
            return;
        }
        let mode = match self.policy.modes {
            Modes::Masked(mask) => entry.mode & 0o777 & !mask,
            Modes::Archived => {
                let (special, refused) = self.special_bits(owners);
                if let Some(reason) = refused {
                    self.leave_out(Part::SpecialMode, reason);
                }
                entry.mode & 0o777 | special
            }
        };
        let outcome = self.target.set_mode(Mode::from_raw_mode(RawMode::from(mode)));
        self.note(Part::Mode, outcome);
    }

    /// Setuid, setgid and sticky as far as they may be set, and why one may not be.
    ///
    /// A file acts for its owner only if that is the one it was archived with. Sticky on a directory takes rights away and is always kept.
    fn special_bits(&self, owners: OwnersSet) -> (u16, Option<Reason>) {
        let entry = self.wanted.entry;
        let wanted = entry.mode & 0o7000;
        let harmless = if entry.kind == Kind::Directory { STICKY } else { 0 };
        if !self.policy.privileged {
            return (wanted & harmless, (wanted & !harmless != 0).then_some(Reason::NotAsked));
        }
        let mut allowed = STICKY;
        allowed |= if owners.user { SETUID } else { 0 };
        allowed |= if owners.group { SETGID } else { 0 };
        (wanted & allowed, (wanted & !allowed != 0).then_some(Reason::NotPermitted))
    }

    fn set_xattrs(&mut self, classes: &[Class]) {
        for (name, value) in self.wanted.xattrs {
            let class = Class::of(name);
            if !classes.contains(&class) {
                continue;
            }
            let reason = match self.is_asked(class) {
                false => Reason::NotAsked,
                true => match self.target.set_xattr(name, value) {
                    Ok(()) => continue,
                    Err(error) => reason(error),
                },
            };
            self.left_out.push(LeftOut { part: class.part(), name: Some((*name).into()), reason });
        }
    }

    fn set_times(&mut self) {
        if !self.policy.times {
            return;
        }
        let wanted = self.wanted.entry.mtime;
        let times = Timestamps {
            last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
            last_modification: Timespec { tv_sec: wanted.seconds, tv_nsec: wanted.nanoseconds.into() },
        };
        let outcome = self.target.set_times(&times);
        if self.note(Part::Times, outcome)
            && !USUAL_SECONDS.contains(&wanted.seconds)
            && let Some(kept) = self.kept_time().filter(|kept| kept.seconds != wanted.seconds)
        {
            self.leave_out(Part::Times, Reason::Clamped { kept });
        }
    }

    /// File systems quietly keep the nearest time they have room for.
    fn kept_time(&self) -> Option<Time> {
        stat_handle(self.target.handle()).ok().map(|stat| stat.mtime)
    }

    fn set_attributes(&mut self) {
        let wanted = self.wanted.entry.attributes & ATTRIBUTES;
        if !self.policy.attributes || wanted == 0 {
            return;
        }
        let refused = if self.policy.privileged { 0 } else { wanted & PRIVILEGED_ATTRIBUTES };
        if refused != 0 {
            self.leave_out(Part::Attributes, Reason::NotAsked);
        }
        let outcome = self.target.set_attributes(wanted & !refused, ATTRIBUTES & !refused);
        self.note(Part::Attributes, outcome);
    }
}

/// The id that a principal has here.
fn id(principal: &Principal, by_name: impl FnOnce(&[u8]) -> Option<u32>) -> Option<u32> {
    match principal.id {
        PrincipalId::Unix(id) => Some(by_name(&principal.name).unwrap_or(id)),
        PrincipalId::None | PrincipalId::Sid(_) => None,
    }
}

/// What an extended attribute is, by its name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    AccessList,
    Privileged,
    Ordinary,
}

impl Class {
    fn of(name: &[u8]) -> Self {
        if name.starts_with(b"system.posix_acl_") || name == b"system.nfs4_acl" || name == b"system.richacl" {
            Self::AccessList
        } else if name.starts_with(b"security.") || name.starts_with(b"trusted.") {
            Self::Privileged
        } else {
            Self::Ordinary
        }
    }

    const fn part(self) -> Part {
        match self {
            Self::AccessList => Part::AccessList,
            Self::Privileged => Part::PrivilegedXattr,
            Self::Ordinary => Part::Xattr,
        }
    }
}

fn reason(error: Errno) -> Reason {
    if error == Errno::PERM || error == Errno::ACCESS {
        Reason::NotPermitted
    } else if error == Errno::OPNOTSUPP || error == Errno::NOTSUP {
        Reason::NotSupported
    } else {
        Reason::Failed(error.into())
    }
}

const SETUID: u16 = 0o4000;
const SETGID: u16 = 0o2000;
const STICKY: u16 = 0o1000;
/// Moments that every file system has room for: 1970 to 2038.
const USUAL_SECONDS: std::ops::RangeInclusive<i64> = 0..=i32::MAX as i64;
/// As much as Linux ever lists.
const LIST_BYTES_MAX: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use backstore_protocol::entry::Entry;

    use super::*;

    /// The moment between getting the owner and getting the mode cannot be seen from outside.
    #[test]
    fn between_two_steps_nobody_has_more_rights_either() {
        let policy = Policy {
            modes: Modes::Archived,
            owners: Owners::ById,
            xattrs: false,
            times: false,
            attributes: false,
            privileged: false,
        };
        let folder = tempfile::tempdir().unwrap();
        let file = File::create(folder.path().join("file")).unwrap();
        let directory = File::open(folder.path()).unwrap();
        let mode = |file: &File| file.metadata().unwrap().permissions().mode() & 0o7777;
        for (archived, narrow_file, narrow_directory) in
            [(0o755, 0o600, 0o700), (0o444, 0o400, 0o400), (0o070, 0, 0)]
        {
            for (opened, kind, existing, narrow) in [
                (&file, Kind::File, 0o600, narrow_file),
                (&directory, Kind::Directory, 0o777, narrow_directory),
            ] {
                opened.set_permissions(std::fs::Permissions::from_mode(existing)).unwrap();
                let entry = Entry { mode: archived, ..Entry::new(kind) };
                let wanted = Wanted { entry: &entry, xattrs: &[] };
                Finish::new(Target::open(opened.as_fd()), &wanted, &policy).narrow_mode();
                assert_eq!(mode(opened), narrow, "{kind:?} {archived:o}");
            }
        }
        directory.set_permissions(std::fs::Permissions::from_mode(0o700)).unwrap();
    }
}
