//! What an enrolled device asks on its control stream.

use backstore_protocol::limits::{CONTROL_FRAME_BYTES_MAX, IDS_MAX, SNAPSHOTS_PAGE_MAX};
use backstore_protocol::snapshot::Header;
use backstore_protocol::wire::{
    Commit as CommitMessage, CommitDone, Damaged, ErrorCode, Ids, LineageItem, LineageList, Lineages, Log,
    LogEntries, OpenSession, SessionOpened, SnapshotItem, SnapshotList, Snapshots, Touch,
};
use backstore_vault::{AccountNumber, Commit, snapshot_head};
use bytes::Bytes;

use super::list;
use crate::client::{Answer, Client};
use crate::service::{Refused, Service};

/// Lineages of one answer.
const LINEAGES_MAX: usize = 512;
/// Bytes of a page of entries, so that the frame is not too large.
const PAGE_BYTES_MAX: usize = CONTROL_FRAME_BYTES_MAX - 64 * 1024;

/// A session is opened.
pub fn open_session(
    service: &Service,
    client: &Client,
    question: OpenSession,
    _: &Bytes,
) -> Answer<SessionOpened> {
    let account = client.account(service)?;
    let fencing = account.fencing(question.lineage)?;
    if fencing > question.fencing {
        return Err(Refused::new(ErrorCode::Fenced));
    }
    let opened = SessionOpened {
        head: account.lineage(question.lineage)?.map(|info| info.head),
        fencing,
        objects: account.usage()?.objects,
        damaged: account.damaged()?.len() as u64,
    };
    client.update(|state| state.session = Some((question.lineage, question.fencing)));
    Ok((opened, Bytes::new()))
}

/// A page of damaged objects.
pub fn damaged(service: &Service, client: &Client, question: Damaged, _: &Bytes) -> Answer<Ids> {
    let damaged = client.account(service)?.damaged()?;
    let start = question.after.map_or(0, |after| damaged.partition_point(|id| *id <= after));
    let page = &damaged[start..damaged.len().min(start + IDS_MAX)];
    let tail: Vec<u8> = page.iter().flat_map(|id| *id.as_bytes()).collect();
    Ok((Ids { more: start + page.len() < damaged.len() }, tail.into()))
}

/// A snapshot is made.
pub fn commit(service: &Service, client: &Client, _: CommitMessage, stored: &Bytes) -> Answer<CommitDone> {
    let device = client.device()?;
    let (lineage, _) = client.state().session.ok_or(Refused::new(ErrorCode::BadFrame))?;
    let header =
        Header::decode(stored).map_err(|error| Refused::because(ErrorCode::BadObject, error.to_string()))?;
    let refused = |what: &str| Err(Refused::because(ErrorCode::BadObject, what));
    if header.account != device.account || header.device != device.device {
        return refused("the snapshot is of another account or device");
    }
    if header.lineage != lineage {
        return refused("the snapshot is of another lineage than the session");
    }
    let state = service.registry().state(device.number)?;
    let Some(keys) = state.device(header.device) else {
        return refused("the account log does not know the device");
    };
    header
        .verify(stored, &keys.sign)
        .map_err(|error| Refused::because(ErrorCode::BadObject, error.to_string()))?;
    let account = service.vault().account(device.number);
    let head = snapshot_head(&header, stored);
    let committed = account.commit(&Commit { device: device.device, head, header: stored })?;
    tracing::info!(account = device.number.get(), lineage = %lineage, sequence = header.sequence, "committed");
    service.changed(device.number);
    Ok((CommitDone { snapshot: committed.id, received_at: committed.received_at }, Bytes::new()))
}

/// Nothing has changed since a snapshot.
pub fn touch(service: &Service, client: &Client, question: Touch, _: &Bytes) -> Answer<CommitDone> {
    let (lineage, _) = client.state().session.ok_or(Refused::new(ErrorCode::BadFrame))?;
    let committed = client.account(service)?.confirm(lineage, question.head)?;
    Ok((CommitDone { snapshot: committed.id, received_at: committed.received_at }, Bytes::new()))
}

/// The account's lineages.
pub fn lineages(service: &Service, client: &Client, _: Lineages, _: &Bytes) -> Answer<LineageList> {
    let lineages = client.account(service)?.lineages()?;
    let items = lineages.into_iter().take(LINEAGES_MAX).map(|info| LineageItem {
        lineage: info.lineage,
        device: info.device,
        head: info.head,
        sequence: info.sequence,
        received_at: info.received_at,
        confirmed_at: info.confirmed_at,
        snapshots: info.snapshots,
    });
    Ok((LineageList { lineages: items.collect() }, Bytes::new()))
}

/// Snapshots of a lineage, newest first.
pub fn snapshots(service: &Service, client: &Client, question: Snapshots, _: &Bytes) -> Answer<SnapshotList> {
    let count = (question.count as usize).min(SNAPSHOTS_PAGE_MAX);
    let mut snapshots = client.account(service)?.snapshots(question.lineage, question.before, count)?;
    let mut bytes = 0;
    snapshots.truncate(
        snapshots
            .iter()
            .take_while(|snapshot| {
                bytes += snapshot.header.len() + 4;
                bytes <= PAGE_BYTES_MAX
            })
            .count(),
    );
    let items = snapshots
        .iter()
        .map(|snapshot| SnapshotItem { received_at: snapshot.received_at, is_damaged: snapshot.is_damaged })
        .collect();
    let tail = list(snapshots.iter().map(|snapshot| &snapshot.header[..]));
    Ok((SnapshotList { snapshots: items }, tail))
}

/// A page of the account log; also for who has proven the password but is not enrolled yet.
pub fn log(service: &Service, client: &Client, question: Log, _: &Bytes) -> Answer<LogEntries> {
    let number: AccountNumber = match client.state().proven {
        Some(number) => number,
        None => client.device()?.number,
    };
    let entries = service.vault().account(number).log(question.from)?;
    let mut bytes = 0;
    let page = entries
        .iter()
        .take_while(|entry| {
            bytes += entry.len() + 4;
            bytes <= PAGE_BYTES_MAX
        })
        .count();
    let tail = list(entries[..page].iter().map(|entry| &entry[..]));
    Ok((LogEntries { entries: page as u32, more: page < entries.len() }, tail))
}
