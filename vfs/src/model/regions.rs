//! Regions of large files that are read here and there.
//!
//! Such a read fetches one object and waits for it. Once readers have come to half of a region that way (a disk image in use, a database),
//! they will probably come to the rest, and that costs less fetched together: a thread of its own fetches it, and gives it to whoever
//! takes spare bytes. So no more is fetched unasked than was asked for. This is not for reading from front to back: `file` does that.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex};
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::TakerSlot;
use super::file::ReadFile;
use super::inode::Ino;
use super::spare::{Spare, by_object};
use crate::cache::Cache;
use crate::content::{Place, Stretch, stretch_bytes};
use crate::objects::{ObjectReader, ReadError, Wait, Want};
use crate::sync::lock;

/// Counts what is read of regions.
pub(super) struct Regions {
    tallies: Arc<Mutex<Tallies>>,
    due: Sender<Due>,
}

/// What was read of each region, those that were read last. A number that stands for another file by now spoils a guess, no more.
type Tallies = Cache<Region, Tally>;

/// A file, and the number of one of its regions.
type Region = (Ino, u64);

/// What was read of a region.
#[derive(Debug, Clone, Default)]
struct Tally {
    /// Where the stretches that were read start.
    starts: Vec<u64>,
    bytes: u64,
    /// The rest is being fetched.
    is_due: bool,
}

/// A region of which the rest is to be fetched.
struct Due {
    file: Arc<ReadFile>,
    number: u64,
    /// Where the stretches start that are there already.
    starts: Vec<u64>,
}

/// Bytes of a region.
const REGION_BYTES: u64 = 32 << 20;
/// Regions that are counted.
const REGIONS_MAX: usize = 4096;
/// Regions that wait to be fetched; more are not.
const DUE_MAX: usize = 64;
/// Bytes that are asked for at a time, give or take an object: little enough that others need not wait long.
const ASKED_BYTES_MAX: u64 = 8 << 20;

impl Regions {
    /// Starts the thread; it ends when this is dropped.
    pub(super) fn new(reader: &Arc<ObjectReader>, taker: &TakerSlot) -> io::Result<Self> {
        let (due, waiting) = bounded(DUE_MAX);
        let tallies = Arc::new(Mutex::new(Cache::new(REGIONS_MAX)));
        let filler =
            Filler { reader: Arc::clone(reader), taker: Arc::clone(taker), tallies: Arc::clone(&tallies) };
        thread::Builder::new().name("regions".into()).spawn(move || filler.follow(&waiting))?;
        Ok(Self { tallies, due })
    }

    /// A read here or there has brought these stretches of a file.
    pub(super) fn read(&self, file: &Arc<ReadFile>, spare: &[Spare]) {
        spare.iter().for_each(|stretch| self.note(file, stretch.offset, stretch.bytes.len() as u64));
    }

    fn note(&self, file: &Arc<ReadFile>, start: u64, length: u64) {
        let number = start / REGION_BYTES;
        let region = (file.ino, number);
        let mut tallies = lock(&self.tallies);
        let mut tally = tallies.get(&region).unwrap_or_default();
        // A page that two stretches share is read by itself after each of them was: that says nothing new.
        if tally.is_due || tally.starts.contains(&start) {
            return;
        }
        tally.note(start, length, bytes_of(number, file.content.size()));
        if tally.is_due {
            let starts = std::mem::take(&mut tally.starts);
            if self.due.try_send(Due { file: Arc::clone(file), number, starts }).is_err() {
                // Its counting begins anew.
                tally = Tally::default();
            }
        }
        tallies.insert(region, tally, 1);
    }
}

/// Bytes that a region of a file has.
fn bytes_of(number: u64, size: u64) -> u64 {
    size.saturating_sub(number * REGION_BYTES).min(REGION_BYTES)
}

impl Tally {
    fn note(&mut self, start: u64, length: u64, region: u64) {
        self.starts.push(start);
        self.bytes += length;
        self.is_due = 2 * self.bytes >= region;
    }
}

/// What the thread works with.
struct Filler {
    reader: Arc<ObjectReader>,
    taker: TakerSlot,
    tallies: Arc<Mutex<Tallies>>,
}

impl Filler {
    fn follow(&self, waiting: &Receiver<Due>) {
        for due in waiting {
            // What cannot be read here is reported when somebody needs it.
            let _ = self.fill(&due);
            lock(&self.tallies).remove(&(due.file.ino, due.number));
        }
    }

    fn fill(&self, due: &Due) -> Result<(), ReadError> {
        let Some(taker) = lock(&self.taker).clone() else { return Ok(()) };
        let (ino, size) = (due.file.ino, due.file.content.size());
        let mut missing = by_object(self.missing(due)?);
        let mut asked = VecDeque::new();
        let mut bytes_asked = 0;
        loop {
            while bytes_asked < ASKED_BYTES_MAX
                && let Some((object, stretches)) = missing.pop_front()
            {
                bytes_asked += u64::from(object.length);
                asked.push_back((stretches, object, self.reader.begin_in_turn(Want::Data(object))));
            }
            let Some((stretches, object, ticket)) = asked.pop_front() else { return Ok(()) };
            bytes_asked -= u64::from(object.length);
            let object = ticket.data(object)?;
            for stretch in stretches {
                let bytes = stretch_bytes(&stretch, &object)?;
                taker(Spare { ino, offset: stretch.start, bytes, size });
            }
        }
    }

    /// The stretches of a region that nobody has read.
    fn missing(&self, due: &Due) -> Result<Vec<Stretch>, ReadError> {
        let (content, size) = (due.file.content.content(), due.file.content.size());
        let start = due.number * REGION_BYTES;
        let mut place = Place::at(start);
        let mut missing = Vec::new();
        while let Some(stretch) = place.next(&self.reader, content, size, Wait::UntilDeadline)?
            && stretch.start < start + REGION_BYTES
        {
            missing.extend(Some(stretch).filter(|stretch| !due.starts.contains(&stretch.start)));
        }
        Ok(missing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_is_due_when_half_of_it_was_read() {
        let size = 5 * REGION_BYTES / 2;
        for (number, stretches) in [(0, 16), (2, 8)] {
            let mut tally = Tally::default();
            for at in 0..stretches {
                assert!(!tally.is_due, "{number}: {at}");
                tally.note(at << 20, 1 << 20, bytes_of(number, size));
            }
            assert!(tally.is_due, "{number}");
        }
    }
}
