//! Tables of the results, in Markdown: what was reached of each goal, then every tool's figures.

mod detail;
mod goal;
mod text;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use crate::error::{BenchError, file_error};
use crate::measurements::MEASUREMENTS;
use crate::rows::{GROUPS, ROWS, SPEED};
use crate::sample::{Results, Session};
use goal::{Reached, Verdict};

/// What is said about rows, by their ids: why one falls short.
pub(crate) type Notes = BTreeMap<String, String>;

/// Reads notes; a file that is not there has none.
pub(crate) fn load_notes(path: &Path) -> Result<Notes, BenchError> {
    let text = match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Notes::new()),
        read => read.map_err(file_error("read", path))?,
    };
    let notes: Notes =
        toml::from_str(&text).map_err(|source| BenchError::Notes { path: path.to_owned(), source })?;
    match notes.keys().find(|id| !ROWS.iter().any(|row| row.id == *id)) {
        Some(unknown) => Err(BenchError::Usage(format!("{}: there is no row {unknown:?}", path.display()))),
        None => Ok(notes),
    }
}

/// The whole report.
pub(crate) fn render(results: &Results, notes: &Notes) -> String {
    let mut text = String::from("# Results\n\n");
    text.push_str(INTRODUCTION);
    // A row measured again alone has a newer session; what was the same then is said once.
    if let Some(session) = results.sessions.last() {
        text.push_str(&conditions(session, &results.sessions));
    }
    for group in GROUPS {
        text.push_str(&group_table(group, results, notes));
    }
    text.push_str("\n# All figures\n\n");
    text.push_str(DETAIL_INTRODUCTION);
    for measurement in MEASUREMENTS {
        text.push_str(&detail::table(measurement, results));
    }
    text
}

const INTRODUCTION: &str = "\
Made by `backstore-bench report`. BackStore and the other programs did the same work with the same data on the same
machine, by turns, in one run. Times are medians of wall-clock seconds. A *ratio* (×) is our figure by that of the best
peer; *times better* is how many times faster we are, or how many times less we take. Peers work on a local folder;
BackStore, unless a row says otherwise, through QUIC to a server on the same machine, whose work the same cores do.
What no peer does is set beside the same machine's file system (*ext4*: the same command over what was backed up) or our
own *restore* of what is read.

";

const DETAIL_INTRODUCTION: &str = "\
CPU is user and system time of the program and all it starts, memory the peak of its largest process; in mounts both
are those of the program that serves the mount. *Disturbed* runs shared the machine with something else. A peer whose
first run took more than 1.6 times as long as the best peer's was measured once.

";

/// Machine, data, programs and how it was measured.
fn conditions(session: &Session, sessions: &[Session]) -> String {
    let machine = &session.machine;
    let mut text = format!(
        "**Machine**: {}, {} cores, {:.0} GiB memory, {}, repositories on {}.\n\n",
        machine.processor,
        machine.cores,
        machine.memory_mib as f64 / 1024.0,
        machine.kernel,
        machine.filesystem
    );
    let folder = |(name, size): (&String, &crate::files::FolderSize)| {
        let files = if size.files == 1 { "file" } else { "files" };
        format!("{name} {} {files}, {}", size.files, text::bytes(size.bytes as f64))
    };
    let folders: Vec<String> = session.corpora.folders.iter().map(folder).collect();
    text.push_str(&format!("**Data**: {}.", folders.join("; ")));
    if session.corpora.scale != 1.0 {
        text.push_str(&format!(
            " THIS IS A TRIAL at scale {}: its figures mean nothing.",
            session.corpora.scale
        ));
    }
    text.push_str(&format!(
        "\n\n**Caches**: what is backed up is in the page cache. The page cache is {} when a restore begins and empty when \
         a mount begins; our server has just been started,\nand nothing is left on the disk of what earlier mounts and restores of ours have read. Everything written is on the disk before a step begins.\n\n",
        if session.restore_cache == "warm" { "filled with the repository" } else { "empty" }
    ));
    text.push_str("| program | version | settings |\n|---|---|---|\n");
    // The newest session that has a tool tells its version.
    let mut tools = BTreeMap::new();
    sessions.iter().for_each(|session| tools.extend(session.tools.iter()));
    for (name, tool) in tools {
        text.push_str(&format!(
            "| {name} | {} | {} |\n",
            text::cell(&tool.version),
            text::cell(&tool.settings)
        ));
    }
    text
}

fn group_table(group: &str, results: &Results, notes: &Notes) -> String {
    let rows: Vec<(&str, Reached)> = ROWS
        .iter()
        .filter(|row| row.group == group)
        .map(|row| (row.id, goal::reached(row, &results.newest(row.measurement))))
        .collect();
    if !rows.iter().any(|(_, reached)| reached.has_figures()) {
        return String::new();
    }
    let beside = if group == SPEED { "beside" } else { "best peer" };
    let mut text = format!(
        "\n## {group}\n\n| | BackStore | {beside} | compared | goal | |\n|---|---|---|---|---|---|\n"
    );
    for (_, reached) in &rows {
        text.push_str(&reached.line());
    }
    for (id, reached) in &rows {
        if let (Verdict::NotMet, Some(note)) = (reached.verdict, notes.get(*id)) {
            text.push_str(&format!("\n*{}*: {}\n", reached.title, note.trim()));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus::Manifest;
    use crate::machine::Machine;
    use crate::sample::tests::sample;
    use crate::sample::{Figures, Outcome, Sample, ToolLine};

    fn results(samples: &[Sample]) -> Results {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let mut results = Results::open(&dir.path().join("results.json")).expect("empty");
        let machine = Machine {
            processor: "CPU".into(),
            cores: 2,
            memory_mib: 2048,
            kernel: "Linux 6".into(),
            filesystem: "ext4 (rw)".into(),
        };
        let corpora = Manifest { version: 1, scale: 1.0, complete: true, folders: BTreeMap::new() };
        let tool = ToolLine { version: "tool | 1".into(), settings: "defaults".into() };
        let tools = [("borg".to_owned(), tool)].into();
        let restore_cache = "cold".to_owned();
        let session = Session { session: 1, started_at: 0, machine, corpora, tools, restore_cache };
        results.add_session(session).expect("written");
        samples.iter().for_each(|sample| results.add_sample(sample.clone()).expect("written"));
        results
    }

    #[test]
    fn a_report() {
        let failed = Outcome::Failed("exit code 2: no | space".to_owned());
        let of_versions =
            Figures { wall_s: 0.12, rest_mib: Some(61.0), versions: Some(1000), ..Figures::default() };
        let samples = [
            sample(1, "first.src", "ours", 1, 3.0),
            sample(1, "first.src", "ours", 2, 3.4),
            sample(1, "first.src", "bupstash", 1, 5.0),
            Sample { outcome: failed, ..sample(1, "first.src", "borg", 1, 0.0) },
            sample(1, "restore.src", "ours", 1, 9.5),
            sample(1, "restore.src", "restic", 1, 10.0),
            sample(1, "restore.src", "cp -r", 1, 5.0),
            sample(1, "mount.find.warm", "ours", 1, 1.2),
            sample(1, "mount.find.warm", "ext4", 1, 1.0),
            Sample { outcome: Outcome::Figures(of_versions), ..sample(1, "mount.versions", "ours", 1, 0.0) },
        ];
        let notes = [
            ("restore.src".to_owned(), "The file system is the limit.".to_owned()),
            ("first.src".to_owned(), "Not shown, for the goal is not missed here.".to_owned()),
        ];
        let text = render(&results(&samples), &notes.into());
        let has = |line: &str| assert!(text.contains(line), "no {line:?} in\n{text}");
        has("CPU, 2 cores, 2 GiB memory, Linux 6, repositories on ext4 (rw)");
        has("| borg | tool \\| 1 | defaults |");
        has("| source tree, through QUIC | 3.20 s | 5.00 s (bupstash) | 0.64 × | ≤ 0.6 × | **not met** |");
        has("| source tree, through QUIC | 9.50 s | 10.0 s (restic) | 0.95 × | ≤ 0.8 × | **not met** |");
        has("*source tree, through QUIC*: The file system is the limit.");
        has("| 300k small files, through QUIC | – | – | – | ≤ 0.55 × | not measured |");
        has("failed: exit code 2: no \\| space");
        has("| cp -r | 1 | 5.00 s |");
        has("| | BackStore | beside | compared | goal | |");
        has("| `find` over the source tree, warm | 1.20 s | 1.00 s (ext4) | 1.20 × | ≤ 1.3 × | met |");
        has("20 ms away | 120 ms | – | – | ≤ 150 ms | met |");
        has("| memory of that mount at rest | 61 MiB | – | – | ≤ 60 MiB | **not met** |");
        has("| 61 MiB | 1000 |");
        assert!(!text.contains("## Mount\n"), "a group without figures is left out\n{text}");
    }

    #[test]
    fn notes_are_about_rows() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("notes.toml");
        assert_eq!(load_notes(&path).expect("none"), Notes::new());
        fs::write(&path, "\"mount.find\" = \"\"\"why\"\"\"\n").expect("written");
        assert_eq!(load_notes(&path).expect("one")["mount.find"], "why");
        fs::write(&path, "\"mount.fined\" = \"why\"\n").expect("written");
        assert!(load_notes(&path).is_err());
        fs::write(&path, "nothing").expect("written");
        assert!(matches!(load_notes(&path), Err(BenchError::Notes { .. })));
    }

    #[test]
    fn the_notes_in_the_source_are_valid() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("notes.toml");
        assert!(path.is_file());
        load_notes(&path).expect("valid");
    }
}
