//! What is measured, in which order; `rows` has the goals.

use crate::corpus::Corpus;
use crate::serving::Route;

/// Something that is measured with every tool that can do it, several times.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Measurement {
    pub(crate) id: &'static str,
    pub(crate) corpus: Corpus,
    pub(crate) work: Work,
    /// What is measured beside the tools.
    pub(crate) controls: &'static [Control],
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
    /// Something done in a mount of ours alone, which no peer's is set beside.
    Alone(InMount, Setting),
    /// From the command until a mount of very many versions is listed, with a far server; and the memory it takes at rest.
    /// Ours alone.
    Versions,
}

/// In what circumstances something is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Setting {
    /// In a fresh mount, as [`Work::Mounted`].
    Cold,
    /// The second time in one mount.
    Warm,
    /// In a fresh mount; what comes from the server is counted.
    Counted,
    /// In a fresh mount, with a far server.
    Far,
}

impl Setting {
    /// How the server is reached.
    pub(crate) fn route(self) -> Route {
        match self {
            Self::Cold | Self::Warm => Route::Direct,
            Self::Counted => Route::Counted,
            Self::Far => Route::Far,
        }
    }
}

/// What a measurement is set beside that no backup program does, or ours does another way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Control {
    /// `cp -r` of what was backed up.
    Copy,
    /// The same command over what was backed up itself. Cold is without names and attributes in memory.
    Ext4,
    /// The same, without anything of the disk in memory either.
    Ext4Disk,
    /// Our restore of what is read in the mount.
    Restore,
    /// Nothing that is done: the bytes of the files that differ between two versions, in both.
    Differing,
}

impl Control {
    const ALL: [Self; 5] = [Self::Copy, Self::Ext4, Self::Ext4Disk, Self::Restore, Self::Differing];

    /// Its name in results, beside those of tools.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Copy => "cp -r",
            Self::Ext4 => "ext4",
            Self::Ext4Disk => "ext4, cold disk",
            Self::Restore => "restore",
            Self::Differing => "what differs",
        }
    }

    /// A sample of that name is of a control.
    pub(crate) fn is_one(name: &str) -> bool {
        Self::ALL.iter().any(|control| control.name() == name)
    }
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
    /// `grep -rl` in everything.
    GrepAll,
    /// `cp -r` of drivers/net.
    Copy,
    /// `cp -r` of everything.
    CopyAll,
    /// `tar` of everything, into a pipe.
    Tar,
    /// `diff -r` of the last two versions.
    Diff,
    /// One large file from its beginning to its end.
    Sequential,
    /// 4 KiB here and there in the disk image, for so many seconds.
    RandomReads(u64),
}

const fn measurement(id: &'static str, corpus: Corpus, work: Work, round_s: u32) -> Measurement {
    Measurement { id, corpus, work, controls: &[], round_s }
}

impl Measurement {
    const fn beside(self, controls: &'static [Control]) -> Self {
        Self { controls, ..self }
    }
}

/// All, the ones that matter most first; those of a corpus together, for they share its repositories.
#[rustfmt::skip]
pub(crate) const MEASUREMENTS: &[Measurement] = &[
    measurement("first.src", Corpus::Src, Work::First, 85),
    measurement("unchanged.src", Corpus::Src, Work::Unchanged, 20),
    measurement("restore.src", Corpus::Src, Work::Restore, 130).beside(&[Control::Copy]),
    measurement("mount.ready.src", Corpus::Src, Work::Ready, 8),
    measurement("mount.find", Corpus::Src, Work::Mounted(InMount::Find), 30).beside(&[Control::Ext4, Control::Ext4Disk]),
    measurement("mount.list", Corpus::Src, Work::Mounted(InMount::List), 160).beside(&[Control::Ext4, Control::Ext4Disk]),
    measurement("mount.grep", Corpus::Src, Work::Mounted(InMount::Grep), 35),
    measurement("mount.copy", Corpus::Src, Work::Mounted(InMount::Copy), 40),
    measurement("mount.find.warm", Corpus::Src, Work::Alone(InMount::Find, Setting::Warm), 10).beside(&[Control::Ext4]),
    measurement("mount.list.warm", Corpus::Src, Work::Alone(InMount::List, Setting::Warm), 12).beside(&[Control::Ext4]),
    measurement("mount.all.grep", Corpus::Src, Work::Alone(InMount::GrepAll, Setting::Cold), 20).beside(&[Control::Restore]),
    measurement("mount.all.copy", Corpus::Src, Work::Alone(InMount::CopyAll, Setting::Cold), 55).beside(&[Control::Restore]),
    measurement("mount.all.tar", Corpus::Src, Work::Alone(InMount::Tar, Setting::Cold), 20).beside(&[Control::Restore]),
    measurement("mount.diff", Corpus::Edited, Work::Alone(InMount::Diff, Setting::Counted), 60).beside(&[Control::Differing]),
    measurement("first.small", Corpus::Small, Work::First, 125),
    measurement("unchanged.small", Corpus::Small, Work::Unchanged, 45),
    measurement("changed.small", Corpus::Small, Work::Changed, 60),
    measurement("restore.small", Corpus::Small, Work::Restore, 190).beside(&[Control::Copy]),
    measurement("mount.ready.small", Corpus::Small, Work::Ready, 10),
    measurement("first.vm", Corpus::Vm, Work::First, 75),
    measurement("growth.vm", Corpus::Vm, Work::Growth, 50),
    measurement("restore.vm", Corpus::Vm, Work::Restore, 80).beside(&[Control::Copy]),
    measurement("mount.ready.vm", Corpus::Vm, Work::Ready, 8),
    measurement("mount.random", Corpus::Vm, Work::Mounted(InMount::RandomReads(8)), 55),
    measurement("mount.random.warm", Corpus::Vm, Work::Alone(InMount::RandomReads(8), Setting::Warm), 30),
    measurement("mount.random.fetched", Corpus::Vm, Work::Alone(InMount::RandomReads(30), Setting::Counted), 50).beside(&[Control::Restore]),
    measurement("first.media", Corpus::Media, Work::First, 80),
    measurement("restore.media", Corpus::Media, Work::Restore, 80).beside(&[Control::Copy]),
    measurement("mount.ready.media", Corpus::Media, Work::Ready, 8),
    measurement("mount.sequential", Corpus::Media, Work::Mounted(InMount::Sequential), 20).beside(&[Control::Restore]),
    measurement("mount.sequential.far", Corpus::Media, Work::Alone(InMount::Sequential, Setting::Far), 15),
    measurement("mount.versions", Corpus::Tiny, Work::Versions, 400),
    measurement("first.many", Corpus::Many, Work::First, 240),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controls_are_told_from_tools() {
        assert!(Control::ALL.iter().all(|control| Control::is_one(control.name())));
        assert!(crate::tool::all().iter().all(|tool| !Control::is_one(tool.name)));
    }

    #[test]
    fn those_of_a_corpus_stand_together() {
        let mut corpora: Vec<Corpus> = MEASUREMENTS.iter().map(|measurement| measurement.corpus).collect();
        corpora.dedup();
        assert_eq!(corpora.len(), 7);
    }
}
