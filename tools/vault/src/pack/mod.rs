//! What stands in packs: FORMAT.md sections 3 to 7. Bytes to values and back, no I/O but in [`scan`] and [`mod@file`].

pub(crate) mod control;
pub(crate) mod file;
pub(crate) mod footer;
pub(crate) mod header;
pub(crate) mod record;
pub(crate) mod scan;
pub(crate) mod snapshot;

/// Takes fixed parts off the front of stored bytes.
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

impl<'a> Fields<'a> {
    /// The next `N` bytes; `None` behind the end.
    pub(crate) fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, tail) = self.0.split_first_chunk()?;
        self.0 = tail;
        Some(*head)
    }

    /// The next `count` bytes.
    pub(crate) fn slice(&mut self, count: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(count)?;
        self.0 = tail;
        Some(head)
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.take::<1>().map(|[byte]| byte)
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.take().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    pub(crate) fn i64(&mut self) -> Option<i64> {
        self.take().map(i64::from_le_bytes)
    }

    /// `Some` if the next `count` bytes are reserved ones as they must be.
    pub(crate) fn zeros(&mut self, count: usize) -> Option<()> {
        self.slice(count)?.iter().all(|byte| *byte == 0).then_some(())
    }

    /// `Some` if nothing is left.
    pub(crate) fn end(&self) -> Option<()> {
        self.0.is_empty().then_some(())
    }
}

/// The next multiple of [`crate::limits::BLOCK`], or `offset` itself if it is one.
pub(crate) const fn block_end(offset: u64) -> u64 {
    offset.next_multiple_of(crate::limits::BLOCK)
}
