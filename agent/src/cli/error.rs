//! How the program ends, and what it says when it fails.

use std::io::ErrorKind;

use backstore_platform::lock::LockError;
use backstore_protocol::store::{Refusal, StoreError};
use backstore_vault::VaultError;
use backstore_vfs::host::MountError;

use crate::archive::ArchiveError;
use crate::backup::BackupError;
use crate::enrol::{EnrolError, PasswordError};
use crate::home::{ConfigError, HomeError};
use crate::mount::MountProblem;
use crate::reading::ReadingError;
use crate::restore::RestoreError;
use crate::tags::TagError;

/// The program's exit codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Everything was done.
    Complete = 0,
    /// It was not done; of `diff`: there are differences.
    Failed = 1,
    /// The command line or configuration is wrong.
    Usage = 2,
    /// It was done, but some files are missing or not whole.
    Incomplete = 3,
    /// There is no such archive, destination, set or version.
    NotFound = 10,
    /// Another process holds what is needed.
    Locked = 11,
    /// The password is wrong.
    WrongPassword = 12,
    /// The user ended it.
    Interrupted = 130,
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The command line makes no sense.
    #[error("{0}")]
    Usage(String),
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The agent's own files.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// Enrolling.
    #[error(transparent)]
    Enrol(#[from] EnrolError),
    /// The archive.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// A backup.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// Mounting or unmounting.
    #[error(transparent)]
    Mount(#[from] MountProblem),
    /// A restore.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// Tagging.
    #[error(transparent)]
    Tag(TagError),
    /// A vault.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// Something of the archive cannot be shown.
    #[error(transparent)]
    Reading(ReadingError),
    /// Whoever reads the output has had enough: no failure.
    #[error("the output was closed")]
    OutputClosed,
    /// Another backup of the set runs.
    #[error("{what}")]
    Busy {
        /// What runs.
        what: String,
        /// The lock.
        source: LockError,
    },
    /// A system call failed.
    #[error("cannot {action}")]
    Io {
        /// What was to be done.
        action: String,
        /// What the system said.
        source: std::io::Error,
    },
}

impl From<TagError> for CliError {
    fn from(error: TagError) -> Self {
        match error {
            // It has hints of its own.
            TagError::Archive(error) => Self::Archive(error),
            error => Self::Tag(error),
        }
    }
}

impl CliError {
    /// Says what went wrong and what to do, and gives the exit code.
    pub fn report(&self) -> Exit {
        if matches!(self, Self::OutputClosed) {
            return Exit::Complete;
        }
        eprintln!("backstore: {}", chain(self));
        if let Some(hint) = self.hint() {
            eprintln!("  {hint}");
        }
        self.exit()
    }

    fn exit(&self) -> Exit {
        match self {
            Self::Usage(_) => Exit::Usage,
            Self::Config(error) => exit_of_config(error),
            Self::Home(error) => exit_of_home(error),
            Self::Enrol(error) => exit_of_enrol(error),
            Self::Archive(error) => exit_of_archive(error),
            Self::Backup(error) => exit_of_backup(error),
            Self::Mount(error) => exit_of_mount(error),
            Self::Restore(error) => exit_of_restore(error),
            Self::Tag(error) => exit_of_tag(error),
            Self::Vault(error) => exit_of_vault(error),
            Self::Reading(error) => exit_of_reading(error),
            Self::OutputClosed => Exit::Complete,
            Self::Busy { source: LockError::Held { .. }, .. } => Exit::Locked,
            Self::Busy { source: LockError::File { .. }, .. } | Self::Io { .. } => Exit::Failed,
        }
    }

    fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Home(HomeError::NotEnrolled)
            | Self::Archive(ArchiveError::Home(HomeError::NotEnrolled))
            | Self::Mount(MountProblem::Archive(ArchiveError::Home(HomeError::NotEnrolled))) => Some(
                "say `backstore login URL` with an invitation, or `backstore init FOLDER` and `backstore login FOLDER` for a disk",
            ),
            Self::Enrol(EnrolError::AlreadyEnrolled { .. }) => {
                Some("say `backstore destination remove` first to leave it")
            }
            Self::Enrol(EnrolError::Vault(
                VaultError::FolderMissing { .. } | VaultError::NotAVault { .. },
            )) => Some("if the disk is connected and new, make a vault on it with `backstore init FOLDER`"),
            Self::Archive(ArchiveError::Store(StoreError::Folder { .. }))
            | Self::Vault(VaultError::FolderMissing { .. }) => {
                Some("is the disk connected and mounted? It is never made anew by itself")
            }
            Self::Reading(ReadingError::NoSuchVersion { .. })
            | Self::Restore(RestoreError::Reading(ReadingError::NoSuchVersion { .. })) => {
                Some("`backstore snapshots` lists them")
            }
            Self::Reading(ReadingError::NoSuchPath { .. })
            | Self::Restore(RestoreError::Reading(ReadingError::NoSuchPath { .. })) => {
                Some("`backstore versions PATH` shows whether another version has it")
            }
            Self::Archive(ArchiveError::Empty)
            | Self::Mount(MountProblem::Reading(ReadingError::Archive(ArchiveError::Empty)))
            | Self::Restore(RestoreError::Reading(ReadingError::Archive(ArchiveError::Empty))) => {
                Some("say `backstore backup`")
            }
            Self::Mount(MountProblem::Mount(error)) => hint_of_mount(error),
            Self::Mount(MountProblem::Io { action: "make", source, .. }) => match source.kind() {
                ErrorKind::NotFound => Some("make the folder above it first"),
                ErrorKind::PermissionDenied => Some("name a place in a folder of your own"),
                _ => None,
            },
            Self::Config(ConfigError::NoSuchSet { .. }) => {
                Some("`backstore set list` shows the sets there are")
            }
            Self::Archive(ArchiveError::Store(StoreError::WrongFingerprint { .. }))
            | Self::Enrol(EnrolError::Store(StoreError::WrongFingerprint { .. })) => {
                Some("ask whoever runs the server; do not go on before you know")
            }
            Self::Archive(ArchiveError::Store(StoreError::Refused { reason: Refusal::Revoked, .. }))
            | Self::Backup(BackupError::Store(StoreError::Refused { reason: Refusal::Revoked, .. })) => {
                Some("ask whoever runs the server")
            }
            Self::Tag(TagError::NotTagged { .. } | TagError::NoneTagged { .. }) => {
                Some("`backstore tag --list` shows the tags and the versions that have them")
            }
            Self::Usage(_)
            | Self::Config(_)
            | Self::Home(_)
            | Self::Enrol(_)
            | Self::Archive(_)
            | Self::Backup(_)
            | Self::Mount(_)
            | Self::Restore(_)
            | Self::Tag(_)
            | Self::Vault(_)
            | Self::Reading(_)
            | Self::OutputClosed
            | Self::Busy { .. }
            | Self::Io { .. } => None,
        }
    }
}

fn hint_of_mount(error: &MountError) -> Option<&'static str> {
    match error {
        MountError::Busy { .. } => Some("end what uses it, or say `backstore umount --force`"),
        MountError::NoFusermount => {
            Some("install it, mount as root, or say `backstore mount --via webdav`, which needs no FUSE")
        }
        MountError::DeviceForbidden(_) => Some(
            "`chmod 666 /dev/fuse` as root gives it the rights it has on most systems; `backstore mount --via webdav` needs no FUSE",
        ),
        MountError::NoDevice | MountError::NoHost { .. } => {
            Some("say `backstore mount --via webdav`, which needs no FUSE")
        }
        MountError::Listen { .. } => Some("say another --port, or none: then any that is free is taken"),
        MountError::OthersForbidden => Some("add the line as root, or mount without --allow-other"),
        MountError::PointForbidden { .. } => Some("name a folder of your own, or one that is not there yet"),
        MountError::PointNotEmpty { .. } => Some("name an empty folder, or one that is not there yet"),
        MountError::AlreadyMounted { .. } => Some("use it, or say `backstore umount` first"),
        MountError::NotMounted { .. } => Some("`mount -t fuse.backstore` lists what is mounted"),
        MountError::PointMissing { .. }
        | MountError::PointNotDirectory { .. }
        | MountError::PointUnusable { .. }
        | MountError::Refused { .. }
        | MountError::OfAnotherUser { .. }
        | MountError::Unmount { .. }
        | MountError::Thread(_) => None,
    }
}

fn exit_of_config(error: &ConfigError) -> Exit {
    match error {
        ConfigError::NoSuchSet { .. } => Exit::NotFound,
        ConfigError::Malformed { .. } | ConfigError::Set { .. } => Exit::Usage,
        ConfigError::Home(error) => exit_of_home(error),
    }
}

fn exit_of_home(error: &HomeError) -> Exit {
    match error {
        HomeError::NotEnrolled => Exit::NotFound,
        HomeError::NoHome(_) | HomeError::File(_) | HomeError::Unusable { .. } | HomeError::Io { .. } => {
            Exit::Failed
        }
    }
}

fn exit_of_enrol(error: &EnrolError) -> Exit {
    match error {
        EnrolError::WrongPassword => Exit::WrongPassword,
        EnrolError::Password(PasswordError::NoTerminal) => Exit::Usage,
        EnrolError::Vault(error) => exit_of_vault(error),
        EnrolError::Store(error) => exit_of_store(error),
        EnrolError::Home(error) => exit_of_home(error),
        EnrolError::Registry(_)
        | EnrolError::Password(_)
        | EnrolError::Memory(_)
        | EnrolError::Log(_)
        | EnrolError::Inconsistent(_)
        | EnrolError::AlreadyEnrolled { .. } => Exit::Failed,
    }
}

fn exit_of_archive(error: &ArchiveError) -> Exit {
    match error {
        ArchiveError::Empty => Exit::NotFound,
        ArchiveError::Store(error) => exit_of_store(error),
        ArchiveError::Home(error) => exit_of_home(error),
        ArchiveError::Log(_)
        | ArchiveError::RolledBack { .. }
        | ArchiveError::AnotherVault { .. }
        | ArchiveError::Header(_)
        | ArchiveError::UnknownDevice(_)
        | ArchiveError::Read(_)
        | ArchiveError::Threads(_) => Exit::Failed,
    }
}

fn exit_of_backup(error: &BackupError) -> Exit {
    match error {
        BackupError::Interrupted => Exit::Interrupted,
        BackupError::Store(error) => exit_of_store(error),
        BackupError::Root(_)
        | BackupError::RootChanged(_)
        | BackupError::Upload(_)
        | BackupError::Basis(_)
        | BackupError::Chunker(_)
        | BackupError::Threads(_)
        | BackupError::ThreadsEnded => Exit::Failed,
    }
}

fn exit_of_mount(error: &MountProblem) -> Exit {
    match error {
        MountProblem::Archive(error) => exit_of_archive(error),
        MountProblem::Reading(error) => exit_of_reading(error),
        MountProblem::Home(error) => exit_of_home(error),
        MountProblem::Mount(MountError::AlreadyMounted { .. }) => Exit::Locked,
        MountProblem::Mount(
            MountError::NoHost { .. }
            | MountError::NoDevice
            | MountError::DeviceForbidden(_)
            | MountError::NoFusermount
            | MountError::OthersForbidden
            | MountError::PointForbidden { .. }
            | MountError::OfAnotherUser { .. }
            | MountError::PointMissing { .. }
            | MountError::PointNotDirectory { .. }
            | MountError::PointNotEmpty { .. }
            | MountError::PointUnusable { .. }
            | MountError::Refused { .. }
            | MountError::NotMounted { .. }
            | MountError::Busy { .. }
            | MountError::Unmount { .. }
            | MountError::Listen { .. }
            | MountError::Thread(_),
        )
        | MountProblem::Io { .. } => Exit::Failed,
    }
}

fn exit_of_restore(error: &RestoreError) -> Exit {
    match error {
        RestoreError::Archive(error) => exit_of_archive(error),
        RestoreError::Reading(error) => exit_of_reading(error),
        RestoreError::Path(_) | RestoreError::Foreign { .. } | RestoreError::Usage(_) => Exit::Usage,
        RestoreError::Target { .. } | RestoreError::Threads(_) => Exit::Failed,
    }
}

fn exit_of_tag(error: &TagError) -> Exit {
    match error {
        TagError::Archive(error) => exit_of_archive(error),
        TagError::NotATag(_) => Exit::Usage,
        TagError::Upload(_)
        | TagError::NotTagged { .. }
        | TagError::NoneTagged { .. }
        | TagError::TooMany => Exit::Failed,
    }
}

fn exit_of_vault(error: &VaultError) -> Exit {
    match error {
        VaultError::Locked { .. } | VaultError::TooManyReaders => Exit::Locked,
        VaultError::FolderMissing { .. } | VaultError::NotAVault { .. } => Exit::NotFound,
        VaultError::Interrupted => Exit::Interrupted,
        VaultError::AlreadyAVault { .. }
        | VaultError::FolderNotEmpty { .. }
        | VaultError::SuperblockDamaged { .. }
        | VaultError::Newer { .. }
        | VaultError::Missing { .. }
        | VaultError::BadObject { .. }
        | VaultError::TooLarge { .. }
        | VaultError::Quota { .. }
        | VaultError::Full
        | VaultError::Conflict { .. }
        | VaultError::LogMoved { .. }
        | VaultError::Fenced { .. }
        | VaultError::NotFound { .. }
        | VaultError::Damaged { .. }
        | VaultError::Registry { .. }
        | VaultError::ReadOnly
        | VaultError::Closed
        | VaultError::Failed { .. }
        | VaultError::Index { .. }
        | VaultError::Disk { .. } => Exit::Failed,
    }
}

fn exit_of_reading(error: &ReadingError) -> Exit {
    match error {
        ReadingError::NoSuchSet { .. }
        | ReadingError::NoSuchVersion { .. }
        | ReadingError::NoSuchPath { .. }
        | ReadingError::NeverThere { .. } => Exit::NotFound,
        ReadingError::WhichSet { .. }
        | ReadingError::Moment(_)
        | ReadingError::Path(_)
        | ReadingError::Place { .. }
        | ReadingError::NotAFile { .. } => Exit::Usage,
        ReadingError::Archive(error) => exit_of_archive(error),
        ReadingError::Read(_) | ReadingError::History(_) | ReadingError::Thread(_) => Exit::Failed,
    }
}

impl From<ReadingError> for CliError {
    fn from(error: ReadingError) -> Self {
        match error {
            ReadingError::Archive(error) => Self::Archive(error),
            other => Self::Reading(other),
        }
    }
}

fn exit_of_store(error: &StoreError) -> Exit {
    match error {
        StoreError::Locked { .. } => Exit::Locked,
        StoreError::Folder { .. } | StoreError::NotFound { .. } => Exit::NotFound,
        StoreError::Refused { reason: Refusal::WrongPassword, .. } => Exit::WrongPassword,
        StoreError::Missing { .. }
        | StoreError::Conflict { .. }
        | StoreError::Fenced
        | StoreError::Damaged { .. }
        | StoreError::Full
        | StoreError::Quota
        | StoreError::Unreachable { .. }
        | StoreError::WrongFingerprint { .. }
        | StoreError::Refused { .. }
        | StoreError::Protocol { .. }
        | StoreError::Disk { .. } => Exit::Failed,
    }
}

/// An error and its causes, none said twice.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_fuse_is_missing_webdav_is_named() {
        let forbidden = MountError::DeviceForbidden(ErrorKind::PermissionDenied.into());
        let missing = [
            MountError::NoDevice,
            MountError::NoFusermount,
            MountError::NoHost { system: "toaster" },
            forbidden,
        ];
        for error in missing {
            let hint = hint_of_mount(&error).unwrap();
            assert!(hint.contains("backstore mount --via webdav"), "{error}: {hint}");
        }
    }
}
