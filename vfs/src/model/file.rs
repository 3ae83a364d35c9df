//! A file that is being read: what that needs, and what its readers are likely to want next.

use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::Problem;
use super::inode::Ino;
use super::spare::Spare;
use crate::cache::Cache;
use crate::content::{ContentReader, Run, objects_in, objects_within};
use crate::objects::{ObjectReader, Wait, Want};
use crate::sync::lock;

/// Files that are being read. Nobody says when a file is no longer read, so the one not read for longest is forgotten.
pub(super) struct Files {
    recent: Mutex<Cache<Ino, Arc<ReadFile>>>,
}

/// Files that are remembered.
const FILES_MAX: usize = 1024;

impl Files {
    pub(super) fn new() -> Self {
        Self { recent: Mutex::new(Cache::new(FILES_MAX)) }
    }

    pub(super) fn get(&self, ino: Ino) -> Option<Arc<ReadFile>> {
        lock(&self.recent).get(&ino)
    }

    pub(super) fn add(&self, file: ReadFile) -> Arc<ReadFile> {
        let file = Arc::new(file);
        lock(&self.recent).insert(file.ino, Arc::clone(&file), 1);
        file
    }

    /// The number may stand for something else from now on.
    pub(super) fn remove(&self, ino: Ino) {
        lock(&self.recent).remove(&ino);
    }
}

/// A file that is being read, by however many readers.
pub(super) struct ReadFile {
    pub(super) ino: Ino,
    pub(super) content: ContentReader,
    sequence: Mutex<Sequence>,
}

/// What a read gave.
#[derive(Debug, Default)]
pub struct FileReading {
    /// The bytes, in order; fewer than asked for only at the end.
    pub runs: Vec<Run>,
    /// More of the file that is in memory now and will probably be asked for: for the system's page cache.
    pub spare: Vec<Spare>,
}

impl FileReading {
    /// A read of `length` bytes of a file that is in memory.
    pub(super) fn of_bytes(file: &Bytes, offset: u64, length: u64) -> Self {
        let from = offset.min(file.len() as u64) as usize;
        let to = offset.saturating_add(length).min(file.len() as u64) as usize;
        let runs = if from < to { vec![Run::Data(file.slice(from..to))] } else { Vec::new() };
        Self { runs, spare: Vec::new() }
    }
}

impl ReadFile {
    pub(super) fn new(ino: Ino, content: ContentReader) -> Self {
        Self { ino, content, sequence: Mutex::default() }
    }

    /// Reads `length` bytes from `offset` on, and has fetched what will be read next.
    pub(super) fn read(
        &self,
        reader: &ObjectReader,
        offset: u64,
        length: u64,
        wait: Wait,
    ) -> Result<FileReading, Problem> {
        // Who cannot wait comes again with patience, so a read that fails for that is noted then.
        let at_once = match wait {
            Wait::Not => Some(self.content.read_runs(offset, length, wait)?),
            Wait::UntilDeadline => None,
        };
        // Both at once: another reader may begin elsewhere right afterwards.
        let (pace, behind, ahead) = {
            let mut sequence = lock(&self.sequence);
            let ahead = sequence.ahead();
            let pace = sequence.note(offset, length, at_once.is_none());
            (pace, sequence.behind(pace), ahead)
        };
        if pace == Pace::Random {
            self.call_off(reader, ahead);
        }
        let came_to = match pace {
            Pace::Sequential { from, to } => self.fetch_ahead(reader, from, to),
            Pace::Random | Pace::Steady => None,
        };
        if let Some((from, to)) = behind {
            self.let_go(reader, from, to);
        }
        let reading = match at_once {
            Some(reading) => reading,
            None => self.content.read_runs(offset, length, wait)?,
        };
        // The map that says what comes next is in memory now.
        if let (Some(from), Pace::Sequential { to, .. }) = (came_to, pace)
            && let Some(missing_from) = self.fetch_ahead(reader, from, to)
        {
            lock(&self.sequence).came_only_to(missing_from);
        }
        let spare = if pace == Pace::Random { self.spare(reader, &reading.touched) } else { Vec::new() };
        Ok(FileReading { runs: reading.runs, spare })
    }

    /// Has bytes `from` to `to` fetched. If it is not known what they are made of, or too much is on its way, from where on they are not.
    fn fetch_ahead(&self, reader: &ObjectReader, from: u64, to: u64) -> Option<u64> {
        let to = to.min(self.content.size());
        if from >= to {
            return None;
        }
        let (objects, end) = objects_in(reader, self.content.content(), self.content.size(), from, to);
        let came_to = if reader.prefetch(objects.into_iter().map(Want::Data)) { end } else { from };
        (came_to < to).then_some(came_to)
    }

    /// The system does not need the file any more.
    pub(super) fn leave(&self, reader: &ObjectReader) {
        self.call_off(reader, lock(&self.sequence).ahead());
    }

    /// Whoever reads on elsewhere, or not at all, has no use for what was to come.
    fn call_off(&self, reader: &ObjectReader, (from, to): (u64, u64)) {
        if from < to {
            let to = to.min(self.content.size());
            let (objects, _) = objects_in(reader, self.content.content(), self.content.size(), from, to);
            reader.call_off(objects);
        }
    }

    /// What was read from front to back is in the system's page cache now: here its memory is for what comes.
    fn let_go(&self, reader: &ObjectReader, from: u64, to: u64) {
        let (objects, end) = objects_within(reader, self.content.content(), self.content.size(), from, to);
        objects.into_iter().for_each(|object| reader.let_go(object));
        let mut sequence = lock(&self.sequence);
        sequence.held_from = sequence.held_from.max(end.min(sequence.next));
    }
}

/// How a file is being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pace {
    /// Here and there.
    Random,
    /// From front to back; these bytes are to be fetched ahead.
    Sequential { from: u64, to: u64 },
    /// As expected, and enough is on its way.
    Steady,
}

/// Recognises reading from front to back.
#[derive(Debug, Default)]
struct Sequence {
    /// Where the next read is expected.
    next: u64,
    /// Up to where bytes were fetched ahead.
    ahead_to: u64,
    /// From where on objects that were read are kept.
    held_from: u64,
    window: u64,
    reads: u32,
}

/// A read this far from the expected place still counts as in sequence if it is large: systems read ahead on several threads.
const LARGE_READ_OFF_MAX: u64 = 4 << 20;
/// Likewise of a small one.
const SMALL_READ_OFF_MAX: u64 = 128 << 10;
const WINDOW_MIN: u64 = 1 << 20;
/// The first window of large reads: who begins with one reads on.
const WINDOW_LARGE_MIN: u64 = 4 << 20;
const WINDOW_MAX: u64 = 24 << 20;
/// Objects behind a reader are let go of as soon as there are so many bytes of them.
const LET_GO_BYTES_MIN: u64 = 4 << 20;
/// A first read shorter than this looks at what kind of file it is: nothing is fetched ahead for it.
const SNIFF_MAX: u64 = 64 << 10;

impl Sequence {
    fn note(&mut self, offset: u64, length: u64, has_waited: bool) -> Pace {
        let end = offset.saturating_add(length);
        let off_max = if length < SNIFF_MAX { SMALL_READ_OFF_MAX } else { LARGE_READ_OFF_MAX };
        let in_sequence = offset.abs_diff(self.next) <= off_max;
        if !in_sequence || (self.reads == 0 && offset > 0) {
            *self = Self { next: end, ahead_to: end, held_from: offset, window: 0, reads: 1 };
            return Pace::Random;
        }
        self.reads += 1;
        self.next = self.next.max(end);
        if self.reads == 1 && length < SNIFF_MAX {
            return Pace::Steady;
        }
        if has_waited || self.window == 0 {
            let least = if length < SNIFF_MAX { WINDOW_MIN } else { WINDOW_LARGE_MIN };
            self.window = (2 * self.window).clamp(least, WINDOW_MAX);
        }
        let from = self.ahead_to.max(self.next);
        if from - self.next >= self.window / 2 {
            return Pace::Steady;
        }
        self.ahead_to = self.next + self.window;
        Pace::Sequential { from, to: self.ahead_to }
    }

    /// Not all that was to be fetched ahead could be asked for.
    fn came_only_to(&mut self, offset: u64) {
        self.ahead_to = self.ahead_to.min(offset);
    }

    /// What was fetched ahead and not read.
    const fn ahead(&self) -> (u64, u64) {
        (self.next, self.ahead_to)
    }

    /// What a reader that reads on is done with, if that is worth the effort.
    fn behind(&self, pace: Pace) -> Option<(u64, u64)> {
        let to = self.next.saturating_sub(LARGE_READ_OFF_MAX);
        let is_enough = self.held_from.saturating_add(LET_GO_BYTES_MIN) <= to;
        (pace != Pace::Random && is_enough).then_some((self.held_from, to))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: u64 = 1 << 10;
    const MIB: u64 = 1 << 20;

    #[test]
    fn a_sniff_fetches_nothing_ahead_and_going_on_does() {
        let mut sequence = Sequence::default();
        assert_eq!(sequence.note(0, 4 * KIB, true), Pace::Steady);
        assert_eq!(
            sequence.note(4 * KIB, 4 * KIB, false),
            Pace::Sequential { from: 8 * KIB, to: 8 * KIB + MIB }
        );
        assert_eq!(sequence.note(8 * KIB, 4 * KIB, false), Pace::Steady);
    }

    #[test]
    fn the_window_grows_while_the_reader_has_to_wait() {
        let mut sequence = Sequence::default();
        let mut windows = Vec::new();
        for at in 0..200 {
            if let Pace::Sequential { to, .. } = sequence.note(at * MIB, MIB, true) {
                windows.push((to - (at + 1) * MIB) / MIB);
            }
        }
        assert!(
            windows.is_sorted()
                && windows[0] == WINDOW_LARGE_MIN / MIB
                && windows.last() == Some(&(WINDOW_MAX / MIB)),
            "{windows:?}"
        );
        let mut steady = Sequence::default();
        let far = (0..200).filter_map(|at| match steady.note(at * MIB, MIB, false) {
            Pace::Sequential { to, .. } => Some(to - (at + 1) * MIB),
            Pace::Random | Pace::Steady => None,
        });
        assert_eq!(far.max(), Some(WINDOW_LARGE_MIN));
    }

    #[test]
    fn only_who_reads_on_lets_go_of_what_is_behind() {
        let mut sequence = Sequence::default();
        let mut held = 0;
        for at in 0..64 {
            let pace = sequence.note(at * MIB, MIB, false);
            let Some((from, to)) = sequence.behind(pace) else { continue };
            assert!(
                from == held && to >= from + LET_GO_BYTES_MIN && to + LARGE_READ_OFF_MAX <= (at + 1) * MIB
            );
            (held, sequence.held_from) = (to, to);
        }
        assert!(held > 0);
        for offset in [900, 10, 500, 501, 30].map(|offset| offset * MIB) {
            let pace = sequence.note(offset, 4 * KIB, true);
            assert_eq!(sequence.behind(pace), None, "{offset}");
        }
    }

    #[test]
    fn reads_out_of_order_by_a_little_are_in_sequence_and_far_ones_are_not() {
        let mut sequence = Sequence::default();
        for offset in [0, 256 * KIB, 128 * KIB, 384 * KIB] {
            assert_ne!(sequence.note(offset, 128 * KIB, false), Pace::Random);
        }
        assert_eq!(sequence.note(100 * MIB, 4 * KIB, true), Pace::Random);
        assert_eq!(sequence.note(3 * MIB, 4 * KIB, true), Pace::Random);
        assert_eq!(sequence.note(2 * MIB, 4 * KIB, true), Pace::Random);
        assert_eq!(Sequence::default().note(5 * MIB, 4 * KIB, true), Pace::Random);
        assert!(matches!(sequence.note(u64::MAX - 3, 4 * KIB, true), Pace::Random));
    }
}
