//! What is measured, in which order; `rows` has the goals.

use crate::corpus::Corpus;

/// Something that is measured with every tool that can do it, several times.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Measurement {
    pub(crate) id: &'static str,
    pub(crate) corpus: Corpus,
    pub(crate) work: Work,
    /// About how many seconds the first round of all tools takes on two cores, preparation included.
    pub(crate) round_s: u32,
}

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    /// A backup into a new, empty repository.
    First,
    /// A backup when nothing has changed.
    Unchanged,
    /// A backup when one file of a hundred has new content.
    Changed,
    /// A backup of the changed disk image; once, for its growth is the same every time.
    Growth,
    /// Restoring the newest backup into an empty folder.
    Restore,
    /// From the command until the mount is listed.
    Ready,
    /// Something done in a fresh mount.
    Mounted(InMount),
}

/// What is done in a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum InMount {
    /// `find -type f` over everything.
    Find,
    /// `ls -lR` over everything.
    List,
    /// `grep -rl` in drivers/net.
    Grep,
    /// `cp -r` of drivers/net.
    Copy,
    /// One large file from its beginning to its end.
    Sequential,
    /// 4 KiB here and there in the disk image.
    RandomReads,
}

const fn measurement(id: &'static str, corpus: Corpus, work: Work, round_s: u32) -> Measurement {
    Measurement { id, corpus, work, round_s }
}

/// All, the ones that matter most first; those of a corpus together, for they share its repositories.
pub(crate) const MEASUREMENTS: &[Measurement] = &[
    measurement("first.src", Corpus::Src, Work::First, 85),
    measurement("unchanged.src", Corpus::Src, Work::Unchanged, 20),
    measurement("restore.src", Corpus::Src, Work::Restore, 130),
    measurement("mount.ready.src", Corpus::Src, Work::Ready, 8),
    measurement("mount.find", Corpus::Src, Work::Mounted(InMount::Find), 30),
    measurement("mount.list", Corpus::Src, Work::Mounted(InMount::List), 160),
    measurement("mount.grep", Corpus::Src, Work::Mounted(InMount::Grep), 35),
    measurement("mount.copy", Corpus::Src, Work::Mounted(InMount::Copy), 40),
    measurement("first.small", Corpus::Small, Work::First, 125),
    measurement("unchanged.small", Corpus::Small, Work::Unchanged, 45),
    measurement("changed.small", Corpus::Small, Work::Changed, 60),
    measurement("restore.small", Corpus::Small, Work::Restore, 190),
    measurement("mount.ready.small", Corpus::Small, Work::Ready, 10),
    measurement("first.vm", Corpus::Vm, Work::First, 75),
    measurement("growth.vm", Corpus::Vm, Work::Growth, 50),
    measurement("restore.vm", Corpus::Vm, Work::Restore, 80),
    measurement("mount.ready.vm", Corpus::Vm, Work::Ready, 8),
    measurement("mount.random", Corpus::Vm, Work::Mounted(InMount::RandomReads), 55),
    measurement("first.media", Corpus::Media, Work::First, 80),
    measurement("restore.media", Corpus::Media, Work::Restore, 80),
    measurement("mount.ready.media", Corpus::Media, Work::Ready, 8),
    measurement("mount.sequential", Corpus::Media, Work::Mounted(InMount::Sequential), 20),
    measurement("first.many", Corpus::Many, Work::First, 240),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_of_a_corpus_stand_together() {
        let mut corpora: Vec<Corpus> = MEASUREMENTS.iter().map(|measurement| measurement.corpus).collect();
        corpora.dedup();
        assert_eq!(corpora.len(), 5);
    }
}
