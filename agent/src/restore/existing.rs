//! What becomes of a file whose name is taken: the only place that decides it.

use std::io;

use backstore_platform::create::{Owners, TargetDirectory, is_unfinished};
use backstore_platform::walk::Stat;
use backstore_protocol::entry::{Content, Entry, Kind, Principal, PrincipalId, Time};

use super::Existing;
use super::directory::{Origin, mode_of};
use super::names::{RENAMES_MAX, dated_name};
use super::run::Run;

/// How a file that is not a directory gets into its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// Nothing is there.
    New,
    /// A file that an earlier restore has begun: its content is written again.
    Again,
    /// Something else is there: it is replaced in one step.
    Instead,
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Decision<W> {
    /// Restore it, under this name if not its own.
    Make(W, Option<Vec<u8>>),
    /// It is there as archived; all of its metadata too, as far as that can be seen.
    Present { is_exact: bool },
    /// It is to be left as it is.
    Skip,
    /// It cannot be restored here.
    Blocked(&'static str),
}

/// What becomes of a file called `name` in an existing directory.
pub(super) fn decide_file(
    run: &Run<'_>,
    directory: &TargetDirectory,
    name: &[u8],
    entry: &Entry,
) -> io::Result<Decision<Way>> {
    let mut candidate = None;
    for attempt in 1..=RENAMES_MAX {
        let tried = candidate.as_deref().unwrap_or(name);
        let Some(found) = directory.stat(tried)? else { return Ok(Decision::Make(Way::New, candidate)) };
        if is_unfinished(&found) && found.kind == Kind::File && entry.kind == Kind::File {
            return Ok(Decision::Make(Way::Again, candidate));
        }
        if is_same(directory, tried, entry, &found) {
            let is_exact = has_rights(run, entry, &found);
            if is_exact || run.plan.existing != Existing::Overwrite {
                return Ok(Decision::Present { is_exact });
            }
        }
        match run.plan.existing {
            Existing::Skip => return Ok(Decision::Skip),
            Existing::Overwrite if found.kind == Kind::Directory => {
                return Ok(Decision::Blocked(
                    "a directory is in its place, which is never replaced by a file",
                ));
            }
            Existing::Overwrite => return Ok(Decision::Make(Way::Instead, candidate)),
            Existing::Rename => candidate = Some(dated_name(name, &run.plan.date, attempt)),
        }
    }
    Ok(Decision::Blocked("too many files of its name are there already"))
}

/// What becomes of a directory called `name` in an existing directory.
pub(super) fn decide_directory(
    run: &Run<'_>,
    directory: &TargetDirectory,
    name: &[u8],
) -> io::Result<Decision<Origin>> {
    let mut candidate = None;
    for attempt in 1..=RENAMES_MAX {
        let tried = candidate.as_deref().unwrap_or(name);
        let Some(found) = directory.stat(tried)? else { return Ok(Decision::Make(Origin::New, candidate)) };
        if found.kind == Kind::Directory {
            let origin = match run.plan.existing {
                Existing::Overwrite => Origin::Updated,
                Existing::Rename | Existing::Skip => Origin::Kept,
            };
            let origin = if is_unfinished(&found) { Origin::Unfinished } else { origin };
            return Ok(Decision::Make(origin, candidate));
        }
        match run.plan.existing {
            Existing::Skip => return Ok(Decision::Skip),
            Existing::Overwrite => return Ok(Decision::Make(Origin::Instead, candidate)),
            Existing::Rename => candidate = Some(dated_name(name, &run.plan.date, attempt)),
        }
    }
    Ok(Decision::Blocked("too many files of its name are there already"))
}

/// Whether what is there has the archived content, as far as size and time tell.
fn is_same(directory: &TargetDirectory, name: &[u8], entry: &Entry, found: &Stat) -> bool {
    if found.kind != entry.kind {
        return false;
    }
    match entry.kind {
        Kind::File => found.size == entry.size && is_same_time(entry.mtime, found.mtime),
        Kind::Symlink => {
            matches!(&entry.content, Content::Inline(target)
                if directory.as_directory().read_link(name).is_ok_and(|there| there == **target))
        }
        Kind::Fifo | Kind::Socket => true,
        Kind::CharacterDevice | Kind::BlockDevice => found.special == entry.device,
        Kind::Directory | Kind::ImpliedDirectory => false,
    }
}

/// Whether a file system made `found` of `archived`: some have no nanoseconds, or only every other second, and all an end.
fn is_same_time(archived: Time, found: Time) -> bool {
    if archived == found {
        return true;
    }
    let is_coarse =
        found.nanoseconds == 0 && [archived.seconds, archived.seconds & !1].contains(&found.seconds);
    let is_last = archived.seconds > found.seconds && LAST_SECONDS.contains(&found.seconds);
    let is_first = archived.seconds < found.seconds && FIRST_SECONDS.contains(&found.seconds);
    is_coarse || is_last || is_first
}

/// The latest moments that file systems have: of 32 bits with and without sign, and of ext4.
const LAST_SECONDS: [i64; 3] = [i32::MAX as i64, u32::MAX as i64, 0x3_7fff_ffff];
/// The earliest: of 32 bits, 1970, and of FAT.
const FIRST_SECONDS: [i64; 3] = [i32::MIN as i64, 0, 315_532_800];

/// Whether mode and owners are those it would get.
fn has_rights(run: &Run<'_>, entry: &Entry, found: &Stat) -> bool {
    let policy = &run.plan.policy;
    let has_mode = entry.kind == Kind::Symlink || found.mode & 0o777 == mode_of(entry, policy);
    let id = |principal: &Principal, by_name: Option<u32>| match (&principal.id, policy.owners) {
        (PrincipalId::None | PrincipalId::Sid(_), _) | (_, Owners::Current) => None,
        (PrincipalId::Unix(id), Owners::ById) => Some(*id),
        (PrincipalId::Unix(id), Owners::ByName) => Some(by_name.unwrap_or(*id)),
    };
    let (user, group) = {
        let mut ids = run.ids();
        (ids.user(&entry.owner.name), ids.group(&entry.group.name))
    };
    let has = |wanted: Option<u32>, there: Option<u32>| wanted.is_none() || wanted == there;
    has_mode && has(id(&entry.owner, user), found.owner) && has(id(&entry.group, group), found.group)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_that_a_file_system_made_of_others() {
        let time = |seconds, nanoseconds| Time { seconds, nanoseconds };
        for (archived, found, expected) in [
            (time(5, 7), time(5, 7), true),
            (time(5, 7), time(5, 8), false),
            (time(1_000_000_001, 7), time(1_000_000_001, 0), true),
            (time(1_000_000_001, 7), time(1_000_000_000, 0), true),
            (time(1_000_000_001, 7), time(1_000_000_009, 0), false),
            (time(1 << 40, 7), time(0x3_7fff_ffff, 999), true),
            (time(1 << 40, 7), time(1_000_000_000, 5), false),
            (time(-1 << 40, 7), time(i64::from(i32::MIN), 5), true),
        ] {
            assert_eq!(is_same_time(archived, found), expected, "{archived:?} {found:?}");
        }
    }
}
