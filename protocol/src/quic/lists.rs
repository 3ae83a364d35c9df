//! Lists that a server is asked for on the control stream.

use bytes::{Buf, Bytes};

use super::keeper::Live;
use crate::ids::{LineageId, SnapshotId};
use crate::limits::SNAPSHOTS_PAGE_MAX;
use crate::store::{LineageInfo, Overview, StoredSnapshot};
use crate::wire::{
    AskError, ErrorCode, LineageItem, LineageList, Lineages, Log, LogEntries, SnapshotList, Snapshots,
};

/// Asks for all of an overview before it reads the first answer; also whether the log goes on.
pub(super) async fn overview(
    live: &Live,
    expected: &[LineageId],
    count: usize,
) -> Result<(Overview, bool), AskError> {
    let mut control = live.control.lock().await;
    control.send(&Log { from: 0 }, &[]).await?;
    control.send(&Lineages {}, &[]).await?;
    for lineage in expected {
        control.send(&snapshots_question(*lineage, u64::MAX, count), &[]).await?;
    }
    // All of them are read, whatever they say: else the next question would be answered by what was meant for these.
    let log: Result<(LogEntries, Bytes), _> = control.answer().await;
    let lineages: Result<(LineageList, Bytes), _> = control.answer().await;
    let mut newest = Vec::new();
    for lineage in expected {
        let answer: Result<(SnapshotList, Bytes), _> = control.answer().await;
        newest.push((*lineage, answer));
    }
    drop(control);
    let (page, tail) = log?;
    let mut overview =
        Overview { log: split_list(tail), lineages: lineage_infos(lineages?.0), newest: Vec::new() };
    for (lineage, answer) in newest {
        match answer {
            Ok((list, tail)) => overview.newest.push((lineage, stored_snapshots(&list, tail))),
            Err(AskError::Said { code: ErrorCode::NotFound, .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok((overview, page.more && page.entries != 0))
}

pub(super) fn snapshots_question(lineage: LineageId, before: u64, count: usize) -> Snapshots {
    Snapshots { lineage, before, count: count.min(SNAPSHOTS_PAGE_MAX) as u32 }
}

pub(super) fn lineage_infos(list: LineageList) -> Vec<LineageInfo> {
    let info = |item: LineageItem| LineageInfo {
        lineage: item.lineage,
        device: item.device,
        head: item.head,
        sequence: item.sequence,
        received_at: item.received_at,
        confirmed_at: item.confirmed_at,
        snapshots: item.snapshots,
    };
    list.lineages.into_iter().map(info).collect()
}

pub(super) fn stored_snapshots(list: &SnapshotList, headers: Bytes) -> Vec<StoredSnapshot> {
    let stored = list.snapshots.iter().zip(split_list(headers)).map(|(item, header)| StoredSnapshot {
        id: SnapshotId::from_bytes(*blake3::hash(&header).as_bytes()),
        header,
        received_at: item.received_at,
        is_damaged: item.is_damaged,
    });
    stored.collect()
}

/// Splits a tail of u32 lengths and bytes, whose form was checked with the message.
pub(super) fn split_list(mut tail: Bytes) -> Vec<Bytes> {
    let mut list = Vec::new();
    while tail.remaining() >= 4 {
        let length = tail.get_u32_le() as usize;
        list.push(tail.split_to(length.min(tail.len())));
    }
    list
}
