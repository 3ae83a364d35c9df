//! What is done in a mount: its command line, and what is to come of it. Over the source itself the same commands count
//! what has to be there, and are a control.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use super::Bench;
use super::restore::compare;
use crate::child::Step;
use crate::corpus::{Corpus, IMAGE_FILE};
use crate::error::{Failure, file_error};
use crate::measurements::InMount;
use crate::mounted::IN_MOUNT_LIMIT;
use crate::read::RandomReads;
use crate::sample::Figures;

/// The file that is read from its beginning to its end.
pub(super) const SEQUENTIAL_FILE: &str = "clip3.bin";
const SUBTREE: &str = "drivers/net";
/// Something that is in many files of the subtree.
const PATTERN: &str = "netdev_priv";
/// Into a pipe: a `tar` that writes to /dev/null reads no files.
const TAR: &str = "tar -cf - -C \"$1\" . | wc -c";
/// That two versions differ is no failure.
const DIFF: &str = "diff -r --no-dereference \"$1\" \"$2\"; test $? -eq 1";

/// Where something is done.
#[derive(Debug)]
pub(super) struct Site {
    /// The folder that was backed up, or the source itself.
    pub(super) tree: PathBuf,
    /// The same in the version before; only for what compares two.
    pub(super) earlier: PathBuf,
    /// What is copied goes here.
    pub(super) target: PathBuf,
    /// What is printed goes into this file: some programs do less when nobody reads what they print.
    pub(super) output: PathBuf,
}

impl Bench {
    /// The command.
    pub(super) fn step(&self, what: InMount, site: &Site) -> Step {
        let Site { tree, earlier, target, .. } = site;
        let subtree = tree.join(SUBTREE);
        let output = Some(site.output.clone());
        let path = |path: &Path| path.as_os_str().to_owned();
        let word = |text: &str| OsString::from(text);
        let shell = |line: &str, arguments: &[&Path]| {
            let start = [word("sh"), word("-c"), word(line), word("sh")];
            Step::new(start.into_iter().chain(arguments.iter().map(|argument| path(argument))))
        };
        match what {
            InMount::Find => {
                Step { output, ..Step::new([word("find"), path(tree), word("-type"), word("f")]) }
            }
            InMount::List => Step { output, ..Step::new([word("ls"), word("-lR"), path(tree)]) },
            InMount::Grep => {
                Step { output, ..Step::new([word("grep"), word("-rl"), word(PATTERN), path(&subtree)]) }
            }
            InMount::GrepAll => {
                Step { output, ..Step::new([word("grep"), word("-rl"), word(PATTERN), path(tree)]) }
            }
            InMount::Copy => Step::new([word("cp"), word("-r"), path(&subtree), path(target)]),
            InMount::CopyAll => Step::new([word("cp"), word("-r"), path(tree), path(target)]),
            InMount::Tar => Step { output, ..shell(TAR, &[tree]) },
            InMount::Diff => Step { output, ..shell(DIFF, &[earlier, tree]) },
            InMount::Sequential => read_whole(&tree.join(SEQUENTIAL_FILE)),
            InMount::RandomReads(seconds) => {
                let seconds = word(&seconds.to_string());
                let own = path(&self.runner.own);
                Step {
                    output,
                    ..Step::new([own, word("read-randomly"), path(&tree.join(IMAGE_FILE)), seconds])
                }
            }
        }
    }

    /// What makes the second time warm: the same, but for reads here and there all that they can reach.
    pub(super) fn first_step(&self, what: InMount, site: &Site) -> Step {
        match what {
            InMount::RandomReads(_) => read_whole(&site.tree.join(IMAGE_FILE)),
            InMount::Find | InMount::List | InMount::Grep | InMount::GrepAll => self.step(what, site),
            InMount::Copy | InMount::CopyAll | InMount::Tar => self.step(what, site),
            InMount::Diff | InMount::Sequential => self.step(what, site),
        }
    }

    /// What the command says of the source itself, found out once.
    pub(super) fn expected(&mut self, what: InMount, corpus: Corpus) -> Result<Option<u64>, Failure> {
        match what {
            InMount::Find | InMount::List | InMount::Grep | InMount::GrepAll | InMount::Tar => {}
            InMount::Diff => return Ok(Some(self.sources.differing(corpus)?.files)),
            InMount::Copy | InMount::CopyAll | InMount::Sequential | InMount::RandomReads(_) => {
                return Ok(None);
            }
        }
        if let Some(said) = self.expected.get(&what) {
            return Ok(Some(*said));
        }
        let site = Site { output: self.options.work.join("expected"), ..self.at_source(corpus) };
        let step = self.step(what, &site);
        self.runner.untimed(&step, &self.control_log(), IN_MOUNT_LIMIT)?;
        let said = said(what, &site.output)?;
        self.expected.insert(what, said);
        Ok(Some(said))
    }

    /// Where everything that controls print goes.
    pub(super) fn control_log(&self) -> PathBuf {
        self.options.work.join("logs/control.log")
    }

    /// The source itself.
    pub(super) fn at_source(&self, corpus: Corpus) -> Site {
        Site {
            tree: self.sources.folder(corpus),
            earlier: PathBuf::new(),
            target: PathBuf::new(),
            output: self.options.work.join("output"),
        }
    }
}

fn read_whole(file: &Path) -> Step {
    let output = Some(PathBuf::from("/dev/null"));
    Step { output, ..Step::new(["cat".as_ref(), file.as_os_str()]) }
}

/// Adds the rate, where one is measured.
pub(super) fn rated(what: InMount, figures: Figures, site: &Site) -> Result<Figures, Failure> {
    match what {
        InMount::Find | InMount::List | InMount::Grep | InMount::GrepAll => Ok(figures),
        InMount::Copy | InMount::CopyAll | InMount::Tar | InMount::Diff => Ok(figures),
        InMount::Sequential => {
            let path = site.tree.join(SEQUENTIAL_FILE);
            let bytes = fs::metadata(&path).map_err(|error| format!("{}: {error}", path.display()))?.len();
            Ok(Figures { rate: Some(bytes as f64 / 1e6 / figures.wall_s), ..figures })
        }
        InMount::RandomReads(_) => {
            let read = fs::read(&site.output).map_err(file_error("read", &site.output))?;
            let reads: RandomReads = serde_json::from_slice(&read).map_err(|error| error.to_string())?;
            Ok(Figures { rate: Some(reads.per_s), p99_us: Some(reads.p99_us), ..figures })
        }
    }
}

/// What was read through the mount is what was backed up.
pub(super) fn compare_read(what: InMount, source: &Path, site: &Site) -> Result<(), Failure> {
    match what {
        InMount::Copy => compare(&source.join(SUBTREE), &site.target.join("net")),
        InMount::CopyAll => {
            compare(source, &site.target.join(source.file_name().unwrap_or(source.as_os_str())))
        }
        InMount::Sequential => compare(&source.join(SEQUENTIAL_FILE), &site.tree.join(SEQUENTIAL_FILE)),
        // What these say was compared; random reads keep nothing.
        InMount::Find | InMount::List | InMount::Grep | InMount::GrepAll => Ok(()),
        InMount::Tar | InMount::Diff | InMount::RandomReads(_) => Ok(()),
    }
}

/// A command says of a mount what it says of the source.
pub(super) fn check_said(what: InMount, output: &Path, expected: u64) -> Result<(), Failure> {
    let said = said(what, output)?;
    if said != expected {
        let unit = match what {
            InMount::Tar => "bytes",
            InMount::Diff => "files that differ",
            InMount::Find | InMount::List | InMount::Grep | InMount::GrepAll => "lines",
            InMount::Copy | InMount::CopyAll | InMount::Sequential | InMount::RandomReads(_) => "lines",
        };
        return Err(Failure::Tool(format!("{said} {unit} where the source gives {expected}")));
    }
    Ok(())
}

/// The number that a command's output comes down to: its lines, files that differ, or what it says.
fn said(what: InMount, output: &Path) -> Result<u64, Failure> {
    let bytes = fs::read(output).map_err(file_error("read", output))?;
    let lines = || bytes.split_inclusive(|byte| *byte == b'\n');
    match what {
        InMount::Find | InMount::List | InMount::Grep | InMount::GrepAll => Ok(lines().count() as u64),
        InMount::Copy | InMount::CopyAll | InMount::Sequential | InMount::RandomReads(_) => {
            Ok(lines().count() as u64)
        }
        InMount::Diff => {
            let is_head = |line: &[u8]| line.starts_with(b"diff -r") || line.starts_with(b"Binary files ");
            Ok(lines().filter(|line| is_head(line)).count() as u64)
        }
        InMount::Tar => {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            Ok(text.trim().parse().map_err(|_| format!("no number of bytes: {text}"))?)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(what: InMount, output: &str, expected: Option<u64>) {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        fs::write(file.path(), output).expect("written");
        assert_eq!(said(what, file.path()).ok(), expected, "{what:?}: {output}");
    }

    #[test]
    fn what_commands_say() {
        check(InMount::Find, "one\ntwo\n", Some(2));
        check(InMount::Tar, "10240\n", Some(10_240));
        check(InMount::Tar, "tar: no such file\n", None);
        let diff =
            "diff -r --no-dereference a/x b/x\n1c1\n< diff -r\n---\n> y\nBinary files a/z and b/z differ\n";
        check(InMount::Diff, diff, Some(2));
    }
}
