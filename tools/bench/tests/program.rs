//! The program as a whole: measuring a child, and a run with a backup program that is a few lines of shell.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

fn bench(arguments: &[&str], folder: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_backstore-bench"));
    command.args(arguments).current_dir(folder).output().expect("the program was started")
}

fn said(output: &Output) -> String {
    let both = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8_lossy(&both).into_owned()
}

fn measured(limit_s: &str, shell: &str) -> serde_json::Value {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let output = bench(&["measure", "usage.json", limit_s, "--", "sh", "-c", shell], dir.path());
    assert!(output.status.success(), "{}", said(&output));
    let usage = fs::read(dir.path().join("usage.json")).expect("usage was written");
    serde_json::from_slice(&usage).expect("usage is JSON")
}

#[test]
fn exit_codes_and_signals_are_told() {
    let usage = measured("60", "exit 3");
    assert_eq!((&usage["exit"], &usage["is_late"]), (&3.into(), &false.into()));
    assert_eq!(measured("60", "kill -9 $$")["exit"], -9);
}

#[test]
fn work_of_children_counts_also_of_those_left_behind() {
    let busy = "i=0; while [ $i -lt 60000 ]; do i=$((i+1)); done";
    let cpu_s = |usage: &serde_json::Value| {
        usage["user_s"].as_f64().expect("a number") + usage["sys_s"].as_f64().expect("a number")
    };
    let alone = cpu_s(&measured("60", busy));
    let left_behind = cpu_s(&measured("60", &format!("({busy}; {busy}; {busy}; {busy}) & exit 0")));
    assert!(left_behind > alone, "{left_behind} is not more than {alone}");
}

#[test]
fn what_takes_too_long_is_ended() {
    let usage = measured("1", "sleep 600");
    assert_eq!(usage["is_late"], true);
    assert_eq!(usage["exit"], -15);
}

/// Stands in for conserve, which it is driven as: every backup is a copy.
const COPYING: &str = r#"#!/bin/sh
set -e
case "$1" in
  --version) echo copying 1 ;;
  init) mkdir "$2" ;;
  backup) rm -rf "$3/copy"; cp -r "$4" "$3/copy" ;;
  restore) cp -r "$3/copy/." "$4" ;;
esac
"#;

fn with_corpora(test: impl FnOnce(&Path)) {
    let dir = tempfile::tempdir().expect("a temporary folder");
    for folder in ["src", "small", "vm", "vm2", "media"] {
        let folder = dir.path().join("corpora").join(folder);
        fs::create_dir_all(&folder).expect("made");
        (0..200).for_each(|number| fs::write(folder.join(format!("{number}.txt")), "text").expect("written"));
    }
    let output = bench(&["corpora", "corpora"], dir.path());
    assert!(output.status.success(), "{}", said(&output));
    test(dir.path());
}

fn run(dir: &Path, script: &str, more: &[&str]) -> String {
    let program = dir.join("copying");
    fs::write(&program, script).expect("written");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("made executable");
    let mut arguments = vec!["run", "--corpora", "corpora", "--work", "work", "--tools", "conserve"];
    arguments.extend(["--program", "conserve=copying", "--restore-warm", "--idle-wait", "0"]);
    arguments.extend(more);
    let output = bench(&arguments, dir);
    assert!(output.status.success(), "{}", said(&output));
    fs::read_to_string(dir.join("results.json")).expect("there are results")
}

#[test]
fn a_run_is_resumed_and_reported() {
    with_corpora(|dir| {
        let rows = ["--runs", "2", "--rows", "first.src,changed.small,restore.src"];
        let results = run(dir, COPYING, &["--quick", "--rows", "first.src,changed.small"]);
        assert_eq!(results.lines().count(), 1 + 2, "{results}");
        let results = run(dir, COPYING, &[&rows[..], &["--resume"]].concat());
        // The second runs of those, then two restores and two copies beside them.
        assert_eq!(results.lines().count(), 1 + 2 + 1 + 2 + 4, "{results}");
        assert!(!results.contains("failed"), "{results}");
        let report = said(&bench(&["report", "results.json"], dir));
        for line in ["| conserve | copying 1 |", "## restore.src", "| cp -r | 2 |", "| conserve | 2 |"] {
            assert!(report.contains(line), "no {line:?} in\n{report}");
        }
        let left: Vec<_> = fs::read_dir(dir.join("work"))
            .expect("listed")
            .map(|entry| entry.expect("an entry").file_name())
            .collect();
        assert_eq!(left, ["logs"], "only the logs are left");
    });
}

/// Stands in for our program: a backup is a copy beside its own files, and a restore wants to be the first.
const OURS: &str = r#"#!/bin/sh
set -e
case "$1" in
  --version) echo ours 1 ;;
  backup) rm -rf "$BACKSTORE_HOME/copy"; cp -r "$SOURCE" "$BACKSTORE_HOME/copy" ;;
  restore)
    for kept in objects history; do
      mkdir -p "$BACKSTORE_HOME/cache"
      mkdir "$BACKSTORE_HOME/cache/$kept"
    done
    cp -r "$BACKSTORE_HOME/copy/." "$3" ;;
esac
"#;

const OUR_SERVER: &str = r#"#!/bin/sh
case "$1" in
  init) mkdir "$2" ;;
  account) echo an invitation ;;
  serve) echo listening on 127.0.0.1:4287; exec sleep 600 ;;
esac
"#;

#[test]
fn nothing_is_left_of_what_an_earlier_restore_read() {
    with_corpora(|dir| {
        let source = dir.join("corpora/src");
        let ours = OURS.replace("$SOURCE", source.to_str().expect("a plain path"));
        for (name, script) in [("backstore", &*ours), ("backstored", OUR_SERVER)] {
            fs::write(dir.join(name), script).expect("written");
            fs::set_permissions(dir.join(name), fs::Permissions::from_mode(0o755)).expect("made executable");
        }
        let arguments = ["--tools", "ours", "--backstore", "backstore", "--backstored", "backstored"];
        let more = ["--runs", "2", "--rows", "restore.src", "--restore-warm", "--idle-wait", "0"];
        let run = ["run", "--corpora", "corpora", "--work", "work"];
        let output = bench(&[&run[..], &arguments, &more].concat(), dir);
        let results = fs::read_to_string(dir.join("results.json")).expect("there are results");
        assert!(output.status.success() && !results.contains("failed"), "{results}{}", said(&output));
        assert_eq!(results.matches(r#""tool":"ours""#).count(), 2, "{results}");
    });
}

#[test]
fn what_only_ours_does_is_not_measured_without_it() {
    with_corpora(|dir| {
        let results = run(dir, COPYING, &["--quick", "--rows", "mount.all.*,mount.versions,mount.diff"]);
        assert_eq!(results.lines().count(), 1, "{results}");
        let said = said(&bench(&["run", "--corpora", "c", "--work", "w", "--tools", "borg", "--plan"], dir));
        assert!(said.contains("mount.versions") && said.contains("mount.diff"), "{said}");
    });
}

#[test]
fn a_tool_that_restores_something_else_has_failed() {
    with_corpora(|dir| {
        let lying = COPYING.replace("restore) cp", "restore) echo else > \"$3/copy/7.txt\"; cp");
        let results = run(dir, &lying, &["--quick", "--rows", "restore.src"]);
        assert!(results.contains("not what was backed up") && results.contains("7.txt"), "{results}");
        let folder = dir.to_str().expect("a plain path");
        assert!(
            !results.contains(&format!("{folder}/work")),
            "no paths of the machine in results: {results}"
        );
    });
}

#[test]
fn a_tool_that_fails_does_not_end_the_run() {
    with_corpora(|dir| {
        let failing = COPYING.replace("backup) ", "backup) echo no space >&2; exit 4; ");
        let results = run(dir, &failing, &["--quick", "--rows", "first.src,unchanged.src"]);
        assert_eq!(results.matches("exit code 4: no space").count(), 2, "{results}");
    });
}
