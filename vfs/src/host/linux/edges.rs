//! Pages of which one stretch of a file has the beginning and another the end.
//!
//! Chunks end anywhere, and the page cache takes whole pages only. Without this every such page would be a read of its own, for which both
//! objects may have to be fetched once more.

use std::ops::Range;
use std::sync::Mutex;

use bytes::{Bytes, BytesMut};

use crate::cache::Cache;
use crate::model::{Ino, Spare};
use crate::sync::lock;

/// Bytes of a page of the page cache.
pub(super) const PAGE: u64 = 4096;
/// Pages that wait for the rest of them; 4 MiB at most.
const PAGES_MAX: usize = 1024;

/// What is known of pages that are not known whole, of those that something came of last.
pub(super) struct Edges {
    /// By the file and the number of the page in it. A file's number stands for its content, so parts that came at different times fit together.
    pages: Mutex<Cache<(Ino, u64), Page>>,
}

/// Parts of a page by where they start, without overlaps.
type Page = Vec<(usize, Bytes)>;

impl Edges {
    pub(super) fn new() -> Self {
        Self { pages: Mutex::new(Cache::new(PAGES_MAX)) }
    }

    /// Takes the ends of a stretch that fill no page; gives the pages that are whole now, with where they are in the file.
    pub(super) fn add(&self, spare: &Spare) -> Vec<(u64, Bytes)> {
        let end = spare.offset + spare.bytes.len() as u64;
        let (first, last) = (spare.offset / PAGE, end.saturating_sub(1) / PAGE);
        let mut whole = Vec::new();
        for number in [Some(first), Some(last).filter(|last| *last != first)].into_iter().flatten() {
            let page = number * PAGE..spare.size.min((number + 1) * PAGE);
            let part = page.start.max(spare.offset)..page.end.min(end);
            if part.is_empty() || part == page {
                continue;
            }
            let bytes =
                &spare.bytes[(part.start - spare.offset) as usize..(part.end - spare.offset) as usize];
            whole.extend(self.add_part((spare.ino, number), &page, part.start, bytes));
        }
        whole
    }

    fn add_part(&self, key: (Ino, u64), page: &Range<u64>, start: u64, bytes: &[u8]) -> Option<(u64, Bytes)> {
        let mut pages = lock(&self.pages);
        let mut parts = pages.get(&key).unwrap_or_default();
        let start = (start - page.start) as usize;
        // The same content may have been cut elsewhere in another version: what overlaps is left out.
        let is_new =
            |(its, known): &(usize, Bytes)| start >= its + known.len() || start + bytes.len() <= *its;
        if !parts.iter().all(is_new) {
            return None;
        }
        // A copy, so that a whole object is not kept for it.
        parts.push((start, Bytes::copy_from_slice(bytes)));
        let known: usize = parts.iter().map(|(_, bytes)| bytes.len()).sum();
        if known as u64 != page.end - page.start {
            pages.insert(key, parts, 1);
            return None;
        }
        pages.remove(&key);
        parts.sort_by_key(|(start, _)| *start);
        let mut whole = BytesMut::with_capacity(known);
        parts.iter().for_each(|(_, bytes)| whole.extend_from_slice(bytes));
        Some((page.start, whole.freeze()))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn pages_that_stretches_share_become_whole(
            lengths in prop::collection::vec(1_usize..9000, 1..30),
            order in prop::collection::vec(any::<prop::sample::Index>(), 200),
        ) {
            let content: Vec<u8> = (0..lengths.iter().sum::<usize>()).map(|at| (at * 7 / 3) as u8).collect();
            let size = content.len() as u64;
            let mut starts = vec![0];
            lengths.iter().for_each(|length| starts.push(starts.last().unwrap() + length));
            let stretch = |at: usize| Spare {
                ino: Ino::ROOT,
                offset: starts[at] as u64,
                bytes: Bytes::copy_from_slice(&content[starts[at]..starts[at + 1]]),
                size,
            };
            let edges = Edges::new();
            let mut found = BTreeMap::new();
            // Some come several times, and in the end all have come.
            let drawn = order.iter().map(|index| index.index(lengths.len())).chain(0..lengths.len());
            for at in drawn {
                for (offset, bytes) in edges.add(&stretch(at)) {
                    let to = size.min(offset + PAGE) as usize;
                    prop_assert_eq!(&bytes[..], &content[offset as usize..to]);
                    found.insert(offset, ());
                }
            }
            // Every page that a border lies in, and no other.
            let borders = starts[1..lengths.len()].iter().map(|at| *at as u64).filter(|at| at % PAGE != 0);
            let expected: BTreeMap<_, _> = borders.map(|at| (at / PAGE * PAGE, ())).collect();
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn what_overlaps_is_left_out() {
        let edges = Edges::new();
        let part = |from: usize, to: usize| {
            let bytes = Bytes::from(vec![5; to - from]);
            edges.add(&Spare { ino: Ino::ROOT, offset: from as u64, bytes, size: 4096 })
        };
        assert_eq!(part(0, 1000), []);
        assert_eq!(part(500, 4096), []);
        assert_eq!(part(1000, 4096), [(0, Bytes::from(vec![5; 4096]))]);
    }
}
