//! One attempt at a snapshot.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::unbounded;

use backstore_protocol::entry::Entry;
use backstore_protocol::envelope::{Class, Compression};
use backstore_protocol::ids::{ObjectId, SnapshotId};
use backstore_protocol::object::{ObjectKind, SealedObject, body_id};
use backstore_protocol::snapshot::{Body, Cursor, Header};
use backstore_protocol::store::Session;
use backstore_protocol::tree::{Root, TreeEditor};

use super::basis::{BasisEntries, BasisNodes, Lost, clean_before};
use super::large::Cutting;
use super::merge::{Differences, Merge, Mounts};
use super::moved::Moved;
use super::pipeline::{Changed, Pipeline, SoFar};
use super::pool::{Buffers, Pool};
use super::report::{BackupReport, Events};
use super::reread::Reread;
use super::roots::{check_roots, mount_table};
use super::upload::Upload;
use super::{BackupContext, BackupError, BackupPlan};
use crate::scan::{Roots, Scanner};

impl Differences for Pipeline<'_> {
    fn put(&mut self, changed: Changed) -> Result<(), BackupError> {
        Pipeline::put(self, changed)
    }

    fn put_known(&mut self, key: Vec<u8>, entry: Entry, in_basis: bool) -> Result<(), BackupError> {
        Pipeline::put_known(self, key, entry, in_basis)
    }

    fn remove(&mut self, key: Vec<u8>) -> Result<(), BackupError> {
        Pipeline::remove(self, key)
    }
}

/// Looks only: for a dry run.
struct Ignored;

impl Differences for Ignored {
    fn put(&mut self, _: Changed) -> Result<(), BackupError> {
        Ok(())
    }

    fn put_known(&mut self, _: Vec<u8>, _: Entry, _: bool) -> Result<(), BackupError> {
        Ok(())
    }

    fn remove(&mut self, _: Vec<u8>) -> Result<(), BackupError> {
        Ok(())
    }
}

/// What of a run goes into its snapshots.
struct Writer<'a> {
    plan: &'a BackupPlan,
    context: &'a BackupContext<'a>,
    session: &'a Arc<dyn Session>,
    events: &'a Events<'a>,
    roots: Vec<Vec<u8>>,
    scan_started_ns: i64,
    started_at: i64,
    /// The lineage's head: the basis, or a partial snapshot of this run.
    head: Option<(SnapshotId, u64)>,
}

pub(super) fn write_snapshot(
    plan: &BackupPlan,
    context: &BackupContext<'_>,
    session: &Arc<dyn Session>,
    lost: &Arc<Lost>,
    started: Duration,
) -> Result<BackupReport, BackupError> {
    let events = Events::new(context.monitor, context.progress);
    let now = context.machine.now();
    let basis = context.basis.as_ref();
    let nodes = BasisNodes { reader: Arc::clone(&context.reader), lost: Arc::clone(lost) };
    let roots = Roots::open(&plan.roots)?;
    let table = mount_table();
    roots.check_own(&plan.rules, &table)?;
    if let Some(basis) = basis.filter(|_| !plan.accept_root_change) {
        check_roots(&roots.paths, basis, &nodes, &table)?;
    }
    let clean = basis.map(clean_before).unwrap_or_default();
    let now_ns = now.seconds.saturating_mul(1_000_000_000).saturating_add(i64::from(now.nanoseconds));
    let reread = Reread::new(basis.map(|basis| basis.compared_ns), now_ns, plan.reread_every);
    let moved = Moved::new(nodes.clone(), basis);
    let mounts = Mounts::new((*table).clone(), basis.map_or(&[], |basis| &basis.body.mounts));
    let entries = BasisEntries::new(nodes.clone(), basis)?;
    let exclusions = plan.rules.exclusions.clone();
    let mut merge = Merge::new(&events, entries, nodes.clone(), clean, reread, moved, exclusions, mounts);
    let mut writer = Writer {
        plan,
        context,
        session,
        events: &events,
        roots: roots.paths.iter().map(|path| path.joined().to_vec()).collect(),
        scan_started_ns: now_ns,
        started_at: context.machine.now_ms(),
        head: basis.map(|basis| (basis.id, basis.header.sequence)),
    };
    if plan.is_dry_run {
        scan(plan, context, roots, &mut merge, &mut Ignored, |_, _| Ok(()))?;
        return Ok(writer.report(SnapshotId::ZERO, &merge, false, true, started));
    }
    let mut pipeline = start_pipeline(plan, context, session, &events, nodes)?;
    let mut last_commit = context.machine.monotonic();
    let scanned = scan(plan, context, roots, &mut merge, &mut pipeline, |pipeline, merge| {
        if context.machine.monotonic().saturating_sub(last_commit) >= plan.partial_every {
            writer.commit_partial(pipeline, merge)?;
            last_commit = context.machine.monotonic();
        }
        Ok(())
    });
    let outcome = match scanned {
        Ok(()) => writer.complete(&mut pipeline, &mut merge, started),
        // The first interrupt keeps what there is, if there is anything.
        Err(BackupError::Interrupted) if context.interrupts.count() < 2 => {
            writer.commit_partial(&mut pipeline, &merge).and_then(|snapshot| match snapshot {
                Some(snapshot) => Ok(writer.report(snapshot, &merge, true, false, started)),
                None => Err(BackupError::Interrupted),
            })
        }
        Err(error) => Err(error),
    };
    pipeline.close();
    outcome
}

/// Goes through all listings.
fn scan<D: Differences>(
    plan: &BackupPlan,
    context: &BackupContext<'_>,
    roots: Roots,
    merge: &mut Merge<'_>,
    out: &mut D,
    mut after_each: impl FnMut(&mut D, &Merge<'_>) -> Result<(), BackupError>,
) -> Result<(), BackupError> {
    let mut roots = roots;
    for top in std::mem::take(&mut roots.tops) {
        merge.top(top, out)?;
    }
    let mut scanner = Scanner::start(roots, plan.rules.clone(), plan.scanners);
    while let Some(listing) = scanner.next_listing() {
        merge.listing(listing, out)?;
        after_each(out, merge)?;
        if context.interrupts.count() > 0 {
            return Err(BackupError::Interrupted);
        }
    }
    merge.finish(out)
}

fn start_pipeline<'a>(
    plan: &BackupPlan,
    context: &BackupContext<'_>,
    session: &Arc<dyn Session>,
    events: &'a Events<'a>,
    nodes: BasisNodes,
) -> Result<Pipeline<'a>, BackupError> {
    let keys = Arc::clone(&context.device.keys);
    let chunker = context.basis.as_ref().map_or(plan.chunker, |basis| basis.body.chunker);
    let chunker = chunker.chunker(&keys.ids).map_err(BackupError::Chunker)?;
    let buffers = Buffers::default();
    let pool = Pool::start(plan.workers, plan.readers).map_err(BackupError::Threads)?;
    let (tell, told) = unbounded();
    let upload = Upload::start(
        Arc::clone(session),
        Arc::clone(&keys),
        plan.seal,
        pool.queues.clone(),
        buffers.clone(),
        tell,
    )
    .map_err(BackupError::Threads)?;
    let cutting = Arc::new(Cutting { ids: keys.ids.clone(), chunker, buffers });
    let editor = match context.basis.as_ref().filter(|basis| !nodes.lost.contains(&basis.header.root.node)) {
        Some(basis) => TreeEditor::from_basis(nodes.clone(), &keys.ids, basis.header.root)?,
        None => TreeEditor::empty(nodes.clone(), &keys.ids),
    };
    Ok(Pipeline::new(events, keys, nodes, editor, pool, upload, told, cutting))
}

impl Writer<'_> {
    /// Completes the tree and commits it, or confirms the basis if nothing has changed.
    fn complete(
        &mut self,
        pipeline: &mut Pipeline<'_>,
        merge: &mut Merge<'_>,
        started: Duration,
    ) -> Result<BackupReport, BackupError> {
        let (root, totals) = pipeline.finish()?;
        let (errors, count) = self.events.kept();
        merge.totals.errors = count;
        if let Some(basis) = self.context.basis.as_ref()
            && self.head.is_some_and(|(head, _)| head == basis.id)
            && basis.header.root == root
            && !basis.header.is_partial
            && basis.body.roots == self.roots
            && basis.body.set == self.plan.set
            && basis.body.errors == errors
            && self.plan.tags.is_empty()
        {
            self.session.sync()?;
            let touched = self.session.touch(basis.id)?;
            return Ok(self.report(touched.id, merge, false, true, started));
        }
        let snapshot = self.commit(pipeline, merge, root, totals, None)?;
        Ok(self.report(snapshot, merge, false, false, started))
    }

    /// Commits what is in the tree so far.
    fn commit_partial(
        &mut self,
        pipeline: &mut Pipeline<'_>,
        merge: &Merge<'_>,
    ) -> Result<Option<SnapshotId>, BackupError> {
        let Some(SoFar { root, totals, last_key: key }) = pipeline.so_far()? else { return Ok(None) };
        self.commit(pipeline, merge, root, totals, Some(Cursor { key })).map(Some)
    }

    fn commit(
        &mut self,
        pipeline: &Pipeline<'_>,
        merge: &Merge<'_>,
        root: Root,
        (entries, bytes): (u64, u64),
        cursor: Option<Cursor>,
    ) -> Result<SnapshotId, BackupError> {
        let device = self.context.device;
        let is_partial = cursor.is_some();
        let body = self.body(merge, cursor).encode();
        let body = seal_body(device, &body);
        let id = body.id;
        pipeline.send(body);
        let header = Header {
            is_partial,
            account: device.account,
            device: device.device,
            lineage: self.plan.lineage,
            generation: device.keys.generation(),
            epoch: device.keys.epoch(),
            sequence: self.head.map_or(1, |(_, sequence)| sequence + 1),
            fencing: self.session.opened().fencing,
            previous: self.head.map_or(SnapshotId::ZERO, |(head, _)| head),
            parent: self.context.basis.as_ref().map_or(SnapshotId::ZERO, |basis| basis.id),
            root,
            body: id,
            started_at: self.started_at,
            finished_at: self.context.machine.now_ms(),
            account_log_head: device.account_log_head,
            domain: device.domain,
            entries,
            bytes,
            seen_heads: Vec::new(),
        };
        self.session.sync()?;
        let committed = self.session.commit(&header.sign(&device.signing))?;
        self.head = Some((committed.id, header.sequence));
        Ok(committed.id)
    }

    fn body(&self, merge: &Merge<'_>, cursor: Option<Cursor>) -> Body {
        let (errors, count) = self.events.kept();
        let basis = self.context.basis.as_ref();
        let before = basis.filter(|_| cursor.is_some()).map_or(i64::MAX, |basis| basis.body.scan_started_ns);
        Body {
            set: self.plan.set.clone(),
            system: backstore_platform::system::NAME.to_owned(),
            host: self.context.device.host.clone(),
            zone: self.plan.zone.clone(),
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            roots: self.roots.clone(),
            mounts: merge.mounts.used(),
            chunker: basis.map_or(self.plan.chunker, |basis| basis.body.chunker),
            tags: self.plan.tags.clone(),
            totals: backstore_protocol::snapshot::Totals { errors: count, ..merge.totals },
            errors,
            cursor,
            // What lies beyond the cursor was scanned when the basis was made.
            scan_started_ns: self.scan_started_ns.min(before),
        }
    }

    fn report(
        &self,
        snapshot: SnapshotId,
        merge: &Merge<'_>,
        is_partial: bool,
        is_unchanged: bool,
        started: Duration,
    ) -> BackupReport {
        use std::sync::atomic::Ordering::Relaxed;
        let progress = self.context.progress;
        let elapsed = self.context.machine.monotonic().saturating_sub(started);
        let totals = backstore_protocol::snapshot::Totals { errors: self.events.kept().1, ..merge.totals };
        BackupReport {
            snapshot,
            is_unchanged,
            is_partial,
            scan_started_ns: self.scan_started_ns,
            totals,
            changed: merge.changed,
            removed: merge.removed,
            bytes_read: progress.bytes_read.load(Relaxed),
            bytes_new: progress.bytes_new.load(Relaxed),
            bytes_stored: progress.bytes_stored.load(Relaxed),
            milliseconds: elapsed.as_millis() as u64,
        }
    }
}

fn seal_body(device: &super::Device, body: &[u8]) -> SealedObject {
    let id: ObjectId = body_id(&device.keys.ids, body);
    let mut sealed = Vec::new();
    let kind = ObjectKind::Body;
    device.keys.seal(Class::Body, kind as u8, id.as_bytes(), body, Compression::Zstd(3), &mut sealed);
    SealedObject { id, kind, level: 0, references: bytes::Bytes::new(), sealed: sealed.into() }
}
