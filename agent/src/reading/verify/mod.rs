//! Verifying: reading back what is stored, and comparing it with what it was sealed as.
//!
//! Of every version all nodes of the tree are opened, and of data objects all, a slice or a sample: each is decrypted and its id checked. A file that
//! is read whole is also compared with its content hash. The newest version comes first, then, going back, what each older one has that the
//! next newer one has not: so everything is read once. Memory is bounded by what is remembered of contents already read, and by the
//! findings, which are named up to a limit and counted beyond it.

mod entries;
mod findings;
mod plan;
mod regular;
mod scope;

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use backstore_platform::machine::Machine;
use backstore_platform::process::Interrupts;
use backstore_protocol::content_hash::ContentHasher;
use backstore_protocol::keys::IdKeys;
use backstore_vfs::objects::{ReadError, Recovery};
use backstore_vfs::stream::{ContentStream, Event, WINDOW_BYTES};
use serde::{Deserialize, Serialize};

pub use findings::{DamagedFile, Findings, LostPart};
pub use scope::{SLICES_MAX, Scope};

use super::{ReadingError, VersionInfo, Versions};
use entries::Entries;
use findings::Damage;
use plan::{Part, Plan, Planner, Seen};

/// How far the verification of a set has come.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Position {
    /// The sequence of the version it is in; those above are done. Versions newer than the first one are not looked at.
    pub sequence: u64,
    /// The newest version it looked at.
    pub newest: u64,
    /// Keys up to this one are done.
    pub key: Vec<u8>,
}

/// Figures that grow meanwhile.
#[derive(Debug, Default)]
pub struct VerifyProgress {
    /// Files looked at.
    pub files: AtomicU64,
    /// Bytes read and compared.
    pub bytes: AtomicU64,
    /// Versions that are done.
    pub versions: AtomicU64,
}

/// What a verification works with.
pub struct Verification<'a> {
    /// The set.
    pub versions: &'a Versions<'a>,
    /// How much is read.
    pub scope: Scope,
    /// Time.
    pub machine: &'a dyn Machine,
    /// Whether the user wants it to end.
    pub interrupts: &'a Interrupts,
    /// Figures.
    pub progress: &'a VerifyProgress,
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// All was looked at.
    Done,
    /// The user ended it.
    Interrupted,
}

/// How often its position is handed over to be kept.
const KEEP_EVERY: Duration = Duration::from_secs(10);

impl Verification<'_> {
    /// Verifies from `position` on. `keep` is called now and then, and when it is interrupted or the destination fails, with how far it
    /// has come.
    pub fn run(
        &self,
        findings: &mut Findings,
        position: &mut Position,
        keep: &mut dyn FnMut(&Findings, &Position),
    ) -> Result<Ended, ReadingError> {
        let mut all = self.versions.all()?;
        if position.newest == 0 {
            position.newest = all.first().map_or(0, |newest| newest.sequence);
            position.sequence = position.newest;
            position.key.clear();
        }
        all.retain(|version| version.sequence <= position.newest);
        findings.reopen();
        let shared = RefCell::new(std::mem::take(findings));
        let seen = Seen::default();
        let mut newer = all.iter().rfind(|version| version.sequence > position.sequence);
        let mut outcome = Ok(Ended::Done);
        let first = all.iter().position(|version| version.sequence <= position.sequence);
        for (at, version) in all.iter().enumerate().skip(first.unwrap_or(all.len())) {
            let is_resumed = version.sequence == position.sequence && !position.key.is_empty();
            if !is_resumed {
                position.key.clear();
                self.look_at_version(version, all.get(at + 1), &shared);
            }
            position.sequence = version.sequence;
            match self.version(version, newer, &shared, &seen, position, keep) {
                Ok(Some(Ended::Done)) => newer = Some(version),
                // Its root is lost: the next one is compared with the one before.
                Ok(None) => {}
                stopped => {
                    outcome = stopped.map(|ended| ended.unwrap_or(Ended::Done));
                    break;
                }
            }
            let mut findings = shared.borrow_mut();
            findings.reaches(&version.name);
            findings.versions += 1;
            self.progress.versions.fetch_add(1, Ordering::Relaxed);
        }
        *findings = shared.into_inner();
        if matches!(outcome, Ok(Ended::Done)) {
            findings.close();
        } else {
            keep(findings, position);
        }
        outcome
    }

    /// What is to be said of a version besides its tree.
    fn look_at_version(
        &self,
        version: &VersionInfo,
        before: Option<&VersionInfo>,
        findings: &RefCell<Findings>,
    ) {
        let set = &self.versions.lineage.head.body.set;
        if let Err(ReadingError::Read(error)) = self.versions.body(version) {
            findings.borrow_mut().lost(set, &version.name, &error);
        }
        let is_next = before.is_some_and(|before| before.sequence + 1 == version.sequence);
        if is_next && before.is_some_and(|before| before.id != version.previous) {
            let what = "it does not continue the version before it: the history was changed".to_owned();
            findings.borrow_mut().part(set, &version.name, what);
        }
    }

    /// One version; nothing if its root is lost.
    fn version(
        &self,
        version: &VersionInfo,
        newer: Option<&VersionInfo>,
        findings: &RefCell<Findings>,
        seen: &Seen,
        position: &mut Position,
        keep: &mut dyn FnMut(&Findings, &Position),
    ) -> Result<Option<Ended>, ReadingError> {
        let archive = self.versions.archive;
        let set = &self.versions.lineage.head.body.set;
        let entries = match Entries::new(archive, version, newer, &position.key) {
            Ok(entries) => entries,
            Err(error) if error.recovery() == Recovery::SkipIt => {
                findings.borrow_mut().lost(set, &version.name, &error);
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        };
        let fatal = RefCell::new(None);
        let (name, scope) = (&version.name, &self.scope);
        let planner = Planner { archive, set, version: name, scope, findings, seen, fatal: &fatal };
        let plan = Plan::new(planner, entries, position.key.clone());
        let mut kept_at = self.machine.monotonic();
        let mut current: Option<InHand> = None;
        for event in ContentStream::new(&archive.reader, plan, WINDOW_BYTES) {
            match event {
                Event::Start(part) => {
                    if let Some(done) = current.take() {
                        if done.part.key != part.key {
                            position.key.clone_from(&done.part.key);
                        }
                        done.finish(set, name, findings, seen);
                    }
                    self.progress.files.store(findings.borrow().files_seen, Ordering::Relaxed);
                    let now = self.machine.monotonic();
                    if now.saturating_sub(kept_at) >= KEEP_EVERY {
                        kept_at = now;
                        keep(&findings.borrow(), position);
                    }
                    current = Some(InHand::new(part, &archive.keys.ids));
                }
                Event::Data(bytes) => {
                    self.progress.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                    findings.borrow_mut().bytes_read += bytes.len() as u64;
                    if let Some(current) = &mut current {
                        current.hasher.iter_mut().for_each(|hasher| hasher.data(&bytes));
                    }
                }
                Event::Hole(length) => {
                    if let Some(current) = &mut current {
                        current.hasher.iter_mut().for_each(|hasher| hasher.hole(length));
                    }
                }
                Event::Failed { error, .. } if error.recovery() == Recovery::SkipIt => {
                    if let Some(current) = &mut current {
                        current.damage.get_or_insert(Damage::from(&error));
                    }
                }
                Event::Failed { error, .. } => return Err(error.into()),
            }
            // In the middle of a file as well: that one is read again from its start.
            if self.interrupts.count() > 0 {
                return Ok(Some(Ended::Interrupted));
            }
        }
        if let Some(done) = current {
            done.finish(set, name, findings, seen);
        }
        self.progress.files.store(findings.borrow().files_seen, Ordering::Relaxed);
        let fatal: Option<ReadError> = fatal.into_inner();
        fatal.map_or(Ok(Some(Ended::Done)), |error| Err(error.into()))
    }
}

/// A file that is being read.
struct InHand {
    part: Part,
    hasher: Option<ContentHasher>,
    damage: Option<Damage>,
}

impl InHand {
    fn new(part: Part, keys: &IdKeys) -> Self {
        let hasher = part.hash.is_some().then(|| ContentHasher::new(keys));
        Self { part, hasher, damage: None }
    }

    fn finish(self, set: &str, version: &str, findings: &RefCell<Findings>, seen: &Seen) {
        let Self { part, hasher, damage } = self;
        let found = hasher.map(ContentHasher::finish);
        let differs = || Damage { object: None, what: "its content is not what its hash says".to_owned() };
        let damage = damage.or_else(|| (part.hash != found).then(differs));
        let copies = seen.finish(&part);
        if let Some(damage) = damage {
            let mut findings = findings.borrow_mut();
            for key in copies.iter().chain([&part.key]) {
                findings.file(set, key, part.content, version, &damage);
            }
        }
    }
}
