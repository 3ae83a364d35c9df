//! A computer with a home, a folder vault and a backup set, for tests that need real backups.

pub(crate) mod faulty;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use backstore_platform::machine::{Machine, System};
use backstore_platform::process::Interrupts;
use backstore_platform::walk::{Directory, ListBuffer};
use backstore_protocol::chunker::ChunkerConfig;
use backstore_vault::Vault;
use tempfile::TempDir;

use crate::archive::{Archive, ArchiveOptions};
use crate::backup::{
    BackupContext, BackupPlan, BackupReport, Basis, Device, Monitor, Progress, SealOptions, backup,
};
use crate::enrol::{Login, PasswordSource};
use crate::home::Home;
use crate::scan::{Exclusions, SORT_BYTES_MAX, ScanRules, SortRoom};

/// A computer that backs up what is in its `source` folder.
pub(crate) struct Computer {
    folder: TempDir,
    pub(crate) home: Home,
    pub(crate) machine: Arc<dyn Machine>,
    /// How often a partial snapshot is committed.
    pub(crate) partial_every: Duration,
    /// Memory for the names of one directory.
    pub(crate) sort_bytes_max: usize,
}

impl Computer {
    /// One that is enrolled with a vault in a folder.
    pub(crate) fn new() -> Self {
        Self::with(Arc::new(System))
    }

    /// One with a clock of its own.
    pub(crate) fn with(machine: Arc<dyn Machine>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(&folder.path().join("home"));
        let vault = folder.path().join("vault");
        Vault::create(&vault, &*machine).unwrap();
        let password = folder.path().join("password");
        std::fs::write(&password, "correct horse").unwrap();
        let password = PasswordSource::in_file(password);
        let login = Login {
            home: &home,
            machine: Arc::clone(&machine),
            password: &password,
            device_name: "computer".to_owned(),
        };
        login.in_folder(&vault).unwrap();
        std::fs::create_dir(folder.path().join("source")).unwrap();
        let partial_every = Duration::from_secs(600);
        Self { folder, home, machine, partial_every, sort_bytes_max: SORT_BYTES_MAX }
    }

    /// A place in its folder: `source` is backed up.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The archive, to read.
    pub(crate) fn archive(&self) -> Archive {
        Archive::open(&self.home, &self.machine, &ArchiveOptions::read()).unwrap()
    }

    /// Backs up `source` as the set `files`.
    pub(crate) fn back_up(&self) -> BackupReport {
        self.back_up_roots("files", 1, &[&self.path("source")])
    }

    /// Backs up roots as a set with this number.
    pub(crate) fn back_up_roots(&self, set: &str, number: u8, roots: &[&Path]) -> BackupReport {
        let (report, told) = self.back_up_with(set, number, roots, |_, _| {});
        assert_eq!(told, Vec::<String>::new(), "problems while backing up");
        report
    }

    /// Backs up with a plan, or from a basis, that differs from the usual one; what it reports and tells.
    pub(crate) fn back_up_with(
        &self,
        set: &str,
        number: u8,
        roots: &[&Path],
        adjust: impl FnOnce(&mut BackupPlan, Option<&mut Basis>),
    ) -> (BackupReport, Vec<String>) {
        let archive = Archive::open(&self.home, &self.machine, &ArchiveOptions::write()).unwrap();
        let lineage = backstore_protocol::ids::LineageId::from_bytes([number; 16]);
        let newest = archive.source.snapshots(lineage, u64::MAX, 1).unwrap();
        let mut basis = newest.first().map(|stored| {
            let opened = archive.open_snapshot(stored).unwrap();
            let compared_ns = opened.body.scan_started_ns;
            Basis { id: opened.id, header: opened.header, body: opened.body, compared_ns }
        });
        let device = Device {
            account: archive.account,
            device: archive.device,
            domain: archive.domain,
            account_log_head: archive.log_head(),
            keys: Arc::clone(&archive.keys),
            signing: archive.secrets.signing(),
            host: "computer".to_owned(),
        };
        let mut plan = BackupPlan {
            set: set.to_owned(),
            lineage,
            roots: roots.iter().map(|root| root.to_path_buf()).collect(),
            rules: ScanRules {
                exclusions: Exclusions::default(),
                exclude_if_present: Vec::new(),
                exclude_larger_than: None,
                one_file_system: false,
                exclude_caches: false,
                never_enter: Vec::new(),
                pseudo: Vec::new(),
                sort_room: SortRoom {
                    folder: self.home.cache_path().to_owned(),
                    bytes_max: self.sort_bytes_max,
                },
            },
            zone: "UTC".to_owned(),
            tags: Vec::new(),
            chunker: ChunkerConfig::default(),
            seal: SealOptions { compression_level: 1, verify_every: 16 },
            workers: 2,
            readers: 1,
            reread_every: None,
            scanners: 2,
            accept_root_change: true,
            partial_every: self.partial_every,
            is_dry_run: false,
        };
        adjust(&mut plan, basis.as_mut());
        let told = Told::default();
        let report = backup(
            &plan,
            &BackupContext {
                device: &device,
                destination: archive.destination.clone().unwrap(),
                reader: Arc::clone(&archive.reader),
                basis,
                machine: &*self.machine,
                monitor: &told,
                progress: &Progress::default(),
                interrupts: &Interrupts::none(),
            },
        )
        .unwrap();
        archive.close().unwrap();
        (report, told.lines())
    }
}

/// What was told.
#[derive(Default)]
pub(crate) struct Told(Mutex<Vec<String>>);

impl Told {
    pub(crate) fn lines(&self) -> Vec<String> {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        lines.sort();
        lines
    }

    fn add(&self, line: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }
}

impl Monitor for Told {
    fn problem(&self, path: &str, what: &str) {
        self.add(format!("{path}: {what}"));
    }

    fn note(&self, text: &str) {
        self.add(text.to_owned());
    }
}

impl crate::restore::Monitor for Told {
    fn problem(&self, path: &str, what: &str) {
        self.add(format!("{path}: {what}"));
    }

    fn note(&self, text: &str) {
        self.add(text.to_owned());
    }
}

/// Everything about a tree that a restore gives back, a line for each file, in order: two trees with equal lines are equal.
pub(crate) fn describe(root: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    let mut groups = std::collections::HashMap::new();
    let mut directory = Directory::open(root).unwrap();
    let top = directory.full_stat_self().unwrap().basic;
    lines.push(describe_one(".", &top, backstore_platform::metadata::Subject::Directory(&directory), ""));
    describe_below(&mut directory, "", &mut lines, &mut groups);
    lines
}

type Groups = std::collections::HashMap<u64, usize>;

fn describe_below(directory: &mut Directory, within: &str, lines: &mut Vec<String>, groups: &mut Groups) {
    use backstore_platform::metadata::Subject;
    use backstore_protocol::entry::Kind;
    let mut names = Vec::new();
    directory
        .list(&mut ListBuffer::default(), |listed| {
            names.push(listed.name.to_vec());
            Ok(())
        })
        .unwrap();
    names.sort();
    for name in names {
        let shown = format!("{within}/{}", backstore_platform::paths::Printable(&name));
        let stat = directory.stat(&name).unwrap();
        match stat.kind {
            Kind::Directory => {
                let mut child = directory.open_child(&name).unwrap();
                lines.push(describe_one(&shown, &stat, Subject::Directory(&child), ""));
                describe_below(&mut child, &shown, lines, groups);
            }
            Kind::File => {
                let mut file = directory.open_file(&name).unwrap();
                let mut hasher = std::hash::DefaultHasher::new();
                let mut buffer = vec![0; 1 << 16];
                loop {
                    let read = std::io::Read::read(&mut file, &mut buffer).unwrap();
                    if read == 0 {
                        break;
                    }
                    std::hash::Hash::hash(&buffer[..read], &mut hasher);
                }
                let is_sparse = stat.size >= 1 << 20 && stat.allocated < stat.size / 2;
                let next = groups.len();
                let group = if stat.nlink > 1 { *groups.entry(stat.inode).or_insert(next) } else { 0 };
                let more = format!(
                    "{} bytes {:x} sparse {is_sparse} links {} of {group}",
                    stat.size,
                    std::hash::Hasher::finish(&hasher),
                    stat.nlink
                );
                lines.push(describe_one(&shown, &stat, Subject::File(&file), &more));
            }
            Kind::Symlink => {
                let target = directory.read_link(&name).unwrap();
                let more = format!("to {}", backstore_platform::paths::Printable(&target));
                lines.push(describe_one(&shown, &stat, Subject::Named(directory, &name), &more));
            }
            Kind::ImpliedDirectory
            | Kind::Fifo
            | Kind::Socket
            | Kind::CharacterDevice
            | Kind::BlockDevice => lines.push(describe_one(
                &shown,
                &stat,
                Subject::Named(directory, &name),
                &format!("device {:?}", stat.special),
            )),
        }
    }
}

fn describe_one(
    name: &str,
    stat: &backstore_platform::walk::Stat,
    subject: backstore_platform::metadata::Subject<'_>,
    more: &str,
) -> String {
    let xattrs = backstore_platform::metadata::XattrReader::default().read(subject).found;
    let xattrs: Vec<String> = xattrs
        .iter()
        .map(|xattr| {
            let (name, value) = (&xattr.name, &xattr.value);
            format!(
                "{}={}",
                backstore_platform::paths::Printable(name),
                backstore_platform::paths::Printable(value)
            )
        })
        .collect();
    let flags = backstore_platform::metadata::attributes(subject, stat);
    format!(
        "{name} {:?} {:o} {:?}:{:?} {}.{:09} {more} flags {flags:x} {xattrs:?}",
        stat.kind, stat.mode, stat.owner, stat.group, stat.mtime.seconds, stat.mtime.nanoseconds
    )
}

/// Sets the modification time of a file or link, without following it.
pub(crate) fn set_mtime(path: &Path, seconds: i64, nanoseconds: u32) {
    let stamp = format!("@{seconds}.{nanoseconds:09}");
    let status = std::process::Command::new("touch").args(["-h", "-d", &stamp]).arg(path).status().unwrap();
    assert!(status.success());
}
