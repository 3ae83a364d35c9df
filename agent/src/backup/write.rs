//! One attempt at a snapshot.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::unbounded;

use backstore_protocol::entry::{Entry, Kind, Time};
use backstore_protocol::ids::SnapshotId;
use backstore_protocol::snapshot::{Body, Changes, Cursor, Header, Totals};
use backstore_protocol::store::Session;
use backstore_protocol::tree::{Root, TreeEditor};

use super::basis::{BasisEntries, BasisNodes, Lost, clean_before};
use super::differences::{Changed, Differences};
use super::large::Cutting;
use super::merge::{Merge, Mounts};
use super::moved::Moved;
use super::pipeline::{Pipeline, SoFar};
use super::pool::{Buffers, Pool};
use super::report::{BackupReport, Events};
use super::reread::Reread;
use super::roots::{check_roots, mount_table};
use super::tally::Tally;
use super::upload::{Upload, seal_body};
use super::{BackupContext, BackupError, BackupPlan};
use crate::scan::{Roots, Scanner};

/// Counts only: for a dry run.
#[derive(Default)]
struct DryRun(Tally);

impl Differences for DryRun {
    fn put(&mut self, changed: Changed) -> Result<(), BackupError> {
        self.0.would_put(&changed);
        Ok(())
    }

    fn put_known(
        &mut self,
        _: Vec<u8>,
        entry: Entry,
        basis: Option<Box<Entry>>,
        in_basis: bool,
    ) -> Result<(), BackupError> {
        self.0.put(in_basis, basis.as_deref(), &entry);
        Ok(())
    }

    fn remove(&mut self, _: Vec<u8>, kind: Kind) -> Result<(), BackupError> {
        self.0.remove(kind);
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
    /// The same moment by a clock that nobody sets.
    scan_started: Duration,
    started_at: i64,
    /// The lineage's head: the basis, or a partial snapshot of this run.
    head: Option<(SnapshotId, u64)>,
    /// Entries of the tree last committed or confirmed.
    entries: u64,
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
    let now_ns = nanoseconds(now);
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
        scan_started: context.machine.monotonic(),
        started_at: context.machine.now_ms(),
        head: basis.map(|basis| (basis.id, basis.header.sequence)),
        entries: 0,
    };
    if plan.is_dry_run {
        let mut dry_run = DryRun::default();
        scan(plan, context, roots, &mut merge, &mut dry_run, |_, _| Ok(()))?;
        let changes = dry_run.0.changes(0, 0);
        let Totals { files, directories, others, .. } = merge.totals;
        writer.entries = files + directories + others;
        let report = writer.report(SnapshotId::ZERO, &merge, changes, started);
        return Ok(BackupReport { is_unchanged: true, ..report });
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
                Some(snapshot) => {
                    let report = writer.report(snapshot, &merge, pipeline.changes(), started);
                    Ok(BackupReport { is_partial: true, ..report })
                }
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
        let (root, (entries, bytes)) = pipeline.finish()?;
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
            self.entries = entries;
            let report = self.report(touched.id, merge, pipeline.changes(), started);
            return Ok(BackupReport { is_unchanged: true, ..report });
        }
        let snapshot = self.commit(pipeline, merge, root, (entries, bytes), None)?;
        Ok(self.report(snapshot, merge, pipeline.changes(), started))
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
        let body = self.body(merge, pipeline.changes(), cursor).encode();
        let body = seal_body(&device.keys, &body);
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
        self.entries = entries;
        Ok(committed.id)
    }

    fn body(&self, merge: &Merge<'_>, changes: Changes, cursor: Option<Cursor>) -> Body {
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
            totals: Totals { errors: count, ..merge.totals },
            changes,
            errors,
            cursor,
            // What lies beyond the cursor was scanned when the basis was made.
            scan_started_ns: self.scan_started_ns.min(self.scan_started_by_the_clock_now()).min(before),
        }
    }

    /// When the scan began by what the clock says now: earlier than it said then if it was set back since, and so are the stamps of files.
    fn scan_started_by_the_clock_now(&self) -> i64 {
        let machine = self.context.machine;
        let elapsed = machine.monotonic().saturating_sub(self.scan_started);
        nanoseconds(machine.now()).saturating_sub(i64::try_from(elapsed.as_nanos()).unwrap_or(i64::MAX))
    }

    fn report(
        &self,
        snapshot: SnapshotId,
        merge: &Merge<'_>,
        changes: Changes,
        started: Duration,
    ) -> BackupReport {
        use std::sync::atomic::Ordering::Relaxed;
        let progress = self.context.progress;
        let elapsed = self.context.machine.monotonic().saturating_sub(started);
        let totals = Totals { errors: self.events.kept().1, ..merge.totals };
        BackupReport {
            snapshot,
            is_unchanged: false,
            is_partial: false,
            scan_started_ns: self.scan_started_ns.min(self.scan_started_by_the_clock_now()),
            totals,
            entries: self.entries,
            changes,
            bytes_read: progress.bytes_read.load(Relaxed),
            milliseconds: elapsed.as_millis() as u64,
        }
    }
}

/// Nanoseconds since 1970.
fn nanoseconds(time: Time) -> i64 {
    time.seconds.saturating_mul(1_000_000_000).saturating_add(i64::from(time.nanoseconds))
}
