//! What a client's streams may ask, by kind.

pub mod control;
pub mod enrolment;
pub mod transfer;

use bytes::{BufMut, Bytes, BytesMut};

/// A tail of u32 lengths and bytes.
pub(crate) fn list<'a>(entries: impl IntoIterator<Item = &'a [u8]>) -> Bytes {
    let mut tail = BytesMut::new();
    for entry in entries {
        tail.put_u32_le(entry.len() as u32);
        tail.extend_from_slice(entry);
    }
    tail.freeze()
}

/// The entries of such a tail, whose form was checked with its message.
pub(crate) fn entries(tail: &Bytes) -> Vec<&[u8]> {
    let mut rest = &tail[..];
    let mut entries = Vec::new();
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let length = (u32::from_le_bytes(*length) as usize).min(after.len());
        let (entry, after) = after.split_at(length);
        entries.push(entry);
        rest = after;
    }
    entries
}
