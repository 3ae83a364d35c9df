//! The table of a pack's records that a closed or sealed pack ends with: FORMAT.md section 7.

use backstore_protocol::ids::ObjectId;

use super::Fields;
use super::record::{Flags, HEADER_SIZE, RecordHeader, RecordKind};
use crate::ids::{AccountNumber, PackNumber, Place, Sequence};
use crate::limits::{FOOTER_GAPS_MAX, PACK_BYTES_MAX, PACK_RECORDS_MAX};

/// What an index needs to know of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) id: ObjectId,
    pub(crate) account: AccountNumber,
    pub(crate) sequence: Sequence,
    pub(crate) offset: u32,
    /// Of the content.
    pub(crate) length: u32,
    pub(crate) references: u16,
    pub(crate) kind: RecordKind,
    pub(crate) level: u8,
    pub(crate) flags: Flags,
}

impl Entry {
    /// The entry of a record at `offset`; the limits of a header make it fit.
    pub(crate) fn new(header: &RecordHeader, offset: u32) -> Self {
        Self {
            id: header.id,
            account: header.account,
            sequence: header.sequence,
            offset,
            length: header.length,
            references: header.references as u16,
            kind: header.kind,
            level: header.level,
            flags: header.flags,
        }
    }

    pub(crate) fn place(&self, pack: PackNumber) -> Place {
        Place { pack, offset: self.offset, length: self.length, references: self.references }
    }

    /// Where the record ends.
    pub(crate) fn end(&self) -> u64 {
        self.place(PackNumber(0)).end()
    }
}

/// Why a range of a pack holds no record that counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum GapReason {
    /// Written, but never acknowledged: a crash tore it.
    Torn = 1,
    /// It was a record once.
    Damaged = 2,
    /// A record whose references were never received.
    Dropped = 3,
}

/// A range of a pack that holds no record that counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gap {
    pub(crate) offset: u64,
    pub(crate) length: u64,
    pub(crate) reason: GapReason,
}

/// What a footer says about the pack as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum FooterState {
    /// The pack may be continued behind it.
    Closed = 1,
    /// The pack is complete.
    Sealed = 2,
}

/// The table of the records between `start` and the footer itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Footer {
    pub(crate) start: u64,
    /// Where the footer before begins, if there is one.
    pub(crate) previous: Option<u64>,
    pub(crate) state: FooterState,
    pub(crate) entries: Vec<Entry>,
    pub(crate) gaps: Vec<Gap>,
}

impl Footer {
    /// The content of its record at `offset`. Gaps beyond what a footer lists are left out.
    pub(crate) fn encode(&self, offset: u64) -> Vec<u8> {
        let gaps = listed(&self.gaps);
        let length = HEAD_SIZE + self.entries.len() * ENTRY_SIZE + gaps.len() * GAP_SIZE + TRAILER_SIZE;
        let mut bytes = Vec::with_capacity(length);
        bytes.extend(self.start.to_le_bytes());
        bytes.extend(self.previous.unwrap_or(0).to_le_bytes());
        bytes.extend((self.state as u64).to_le_bytes());
        bytes.extend((self.entries.len() as u32).to_le_bytes());
        bytes.extend((gaps.len() as u32).to_le_bytes());
        for entry in &self.entries {
            encode_entry(entry, &mut bytes);
        }
        for gap in &gaps {
            bytes.extend(gap.offset.to_le_bytes());
            bytes.extend(gap.length.to_le_bytes());
            bytes.extend((gap.reason as u64).to_le_bytes());
        }
        let trailer = Trailer { offset, size: (HEADER_SIZE + length) as u32 };
        bytes.extend(trailer.encode());
        bytes
    }

    /// The footer in the content of a record at `offset`.
    pub(crate) fn decode(content: &[u8], offset: u64) -> Option<Self> {
        let mut fields = Fields(content);
        let start = fields.u64()?;
        let previous = Some(fields.u64()?).filter(|offset| *offset != 0);
        let state = match fields.u64()? {
            1 => FooterState::Closed,
            2 => FooterState::Sealed,
            _ => return None,
        };
        let (entry_count, gap_count) = (fields.u32()? as usize, fields.u32()? as usize);
        if entry_count > PACK_RECORDS_MAX || gap_count > FOOTER_GAPS_MAX {
            return None;
        }
        let mut entry_fields = Fields(fields.slice(entry_count * ENTRY_SIZE)?);
        let entries =
            (0..entry_count).map(|_| decode_entry(&mut entry_fields)).collect::<Option<Vec<_>>>()?;
        let gaps = (0..gap_count).map(|_| decode_gap(&mut fields)).collect::<Option<Vec<_>>>()?;
        let trailer = Trailer::decode(fields.slice(TRAILER_SIZE)?)?;
        fields.end()?;
        let is_own = trailer == Trailer { offset, size: (HEADER_SIZE + content.len()) as u32 };
        let footer = Self { start, previous, state, entries, gaps };
        (is_own && footer.is_ordered(offset)).then_some(footer)
    }

    /// Entries and gaps come in order, do not overlap, and lie between `start` and the footer.
    fn is_ordered(&self, end: u64) -> bool {
        let entries = self.entries.iter().map(|entry| (u64::from(entry.offset), entry.end()));
        let gaps = self.gaps.iter().map(|gap| (gap.offset, gap.offset.saturating_add(gap.length)));
        let mut ranges: Vec<_> = entries.clone().chain(gaps.clone()).collect();
        ranges.sort_unstable();
        let mut covered = self.start;
        for (from, to) in ranges {
            if from < covered || to < from {
                return false;
            }
            covered = to;
        }
        covered <= end && end < PACK_BYTES_MAX && entries.is_sorted() && gaps.is_sorted()
    }
}

/// The last bytes of a closed or sealed pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Trailer {
    /// Where the footer's record begins.
    pub(crate) offset: u64,
    /// Bytes of the whole record.
    pub(crate) size: u32,
}

impl Trailer {
    fn encode(self) -> [u8; TRAILER_SIZE] {
        let mut bytes = [0; TRAILER_SIZE];
        bytes[..8].copy_from_slice(&self.offset.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.size.to_le_bytes());
        bytes[12..].copy_from_slice(&TRAILER_MAGIC);
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields(bytes);
        let trailer = Self { offset: fields.u64()?, size: fields.u32()? };
        (fields.take()? == TRAILER_MAGIC && fields.end().is_some()).then_some(trailer)
    }
}

fn encode_entry(entry: &Entry, bytes: &mut Vec<u8>) {
    bytes.extend(entry.id.as_bytes());
    bytes.extend(entry.account.get().to_le_bytes());
    bytes.extend(entry.sequence.0.to_le_bytes());
    bytes.extend(entry.offset.to_le_bytes());
    bytes.extend(entry.length.to_le_bytes());
    bytes.extend(entry.references.to_le_bytes());
    bytes.extend([entry.kind.number(), entry.level, entry.flags.number(), 0, 0, 0]);
}

fn decode_entry(fields: &mut Fields<'_>) -> Option<Entry> {
    let entry = Entry {
        id: ObjectId::from_bytes(fields.take()?),
        account: AccountNumber::stored(fields.u64()?),
        sequence: Sequence(fields.u64()?),
        offset: fields.u32()?,
        length: fields.u32()?,
        references: fields.u16()?,
        kind: RecordKind::from_number(fields.u8()?).filter(|kind| kind.is_listed())?,
        level: fields.u8()?,
        flags: Flags::from_number(fields.u8()?)?,
    };
    fields.zeros(3)?;
    Some(entry)
}

fn decode_gap(fields: &mut Fields<'_>) -> Option<Gap> {
    Some(Gap {
        offset: fields.u64()?,
        length: fields.u64()?,
        reason: match fields.u64()? {
            1 => GapReason::Torn,
            2 => GapReason::Damaged,
            3 => GapReason::Dropped,
            _ => return None,
        },
    })
}

/// No more gaps than a footer lists, those of damage before others. What is between records and not listed holds no record either.
fn listed(gaps: &[Gap]) -> Vec<Gap> {
    let mut listed = gaps.to_vec();
    if gaps.len() <= FOOTER_GAPS_MAX {
        return listed;
    }
    listed.sort_by_key(|gap| gap.reason != GapReason::Damaged);
    listed.truncate(FOOTER_GAPS_MAX);
    listed.sort_unstable_by_key(|gap| gap.offset);
    listed
}

/// Bytes at the end of a pack that lead to its footer.
pub(crate) const TRAILER_SIZE: usize = 16;
const HEAD_SIZE: usize = 32;
const ENTRY_SIZE: usize = 64;
const GAP_SIZE: usize = 24;
const TRAILER_MAGIC: [u8; 4] = [0x8b, 0x42, 0x46, 0x01];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::pack::record::tests::any_header;

    fn any_footer() -> impl Strategy<Value = Footer> {
        let records = proptest::collection::vec((any_header(), 0u64..5000, 0u8..4), 0..20);
        (records, any::<bool>(), any::<bool>()).prop_map(|(records, is_sealed, has_previous)| {
            let (mut entries, mut gaps, mut end) = (Vec::new(), Vec::new(), 8192);
            for (header, distance, reason) in records {
                end += distance;
                let reason =
                    [None, Some(GapReason::Torn), Some(GapReason::Damaged), Some(GapReason::Dropped)]
                        [reason as usize];
                match reason {
                    Some(reason) => gaps.push(Gap { offset: end, length: header.size(), reason }),
                    None if header.kind.is_listed() => entries.push(Entry::new(&header, end as u32)),
                    None => {}
                }
                end += header.size();
            }
            let state = if is_sealed { FooterState::Sealed } else { FooterState::Closed };
            Footer { start: 8192, previous: has_previous.then_some(4096), state, entries, gaps }
        })
    }

    proptest! {
        #[test]
        fn decode_undoes_encode(footer in any_footer()) {
            let bytes = footer.encode(900 << 20);
            prop_assert_eq!(Footer::decode(&bytes, 900 << 20), Some(footer));
            let trailer = Trailer::decode(&bytes[bytes.len() - TRAILER_SIZE..]);
            prop_assert_eq!(trailer, Some(Trailer { offset: 900 << 20, size: (bytes.len() + HEADER_SIZE) as u32 }));
        }

        #[test]
        fn accepted_bytes_are_canonical(footer in any_footer(), at: prop::sample::Index, value: u8, cut: bool) {
            let mut bytes = footer.encode(900 << 20);
            let at = at.index(bytes.len());
            if cut { bytes.truncate(at) } else { bytes[at] = value }
            if let Some(footer) = Footer::decode(&bytes, 900 << 20) {
                prop_assert_eq!(footer.encode(900 << 20), bytes);
            }
        }
    }

    /// More gaps were once merged into one, which lay over the records between them: nobody could read that footer.
    #[test]
    fn gaps_beyond_the_limit_are_left_out() {
        let step = 1000;
        let reason = |n| if n % 100 == 99 { GapReason::Damaged } else { GapReason::Torn };
        let gap = |n: u64| Gap { offset: 4096 + n * step, length: 5, reason: reason(n) };
        let gaps: Vec<_> = (0..FOOTER_GAPS_MAX as u64 + 100).map(gap).collect();
        let end = 4096 + step * gaps.len() as u64;
        let entry = Entry {
            id: ObjectId::ZERO,
            account: AccountNumber::VAULT,
            sequence: Sequence(1),
            offset: end as u32 - 50 * step as u32 + 100,
            length: 100,
            references: 0,
            kind: RecordKind::Object(backstore_protocol::object::ObjectKind::Data),
            level: 0,
            flags: Flags::default(),
        };
        let footer =
            Footer { start: 4096, previous: None, state: FooterState::Sealed, entries: vec![entry], gaps };
        let stored = Footer::decode(&footer.encode(end), end).expect("decodable");
        assert_eq!((stored.gaps.len(), &stored.entries), (FOOTER_GAPS_MAX, &footer.entries));
        let damaged = |gaps: &[Gap]| gaps.iter().filter(|gap| gap.reason == GapReason::Damaged).count();
        assert_eq!(damaged(&stored.gaps), damaged(&footer.gaps));
    }

    #[test]
    fn counts_beyond_the_limits_are_refused_before_they_are_read() {
        let footer =
            Footer { start: 4096, previous: None, state: FooterState::Closed, entries: vec![], gaps: vec![] };
        for (at, count) in
            [(24, PACK_RECORDS_MAX as u32 + 1), (28, FOOTER_GAPS_MAX as u32 + 1), (24, u32::MAX)]
        {
            let mut bytes = footer.encode(4096);
            bytes[at..at + 4].copy_from_slice(&count.to_le_bytes());
            assert_eq!(Footer::decode(&bytes, 4096), None);
        }
    }
}
