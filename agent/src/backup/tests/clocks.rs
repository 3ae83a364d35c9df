//! The computer's clock is set back and forward, between backups and while one runs.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use backstore_platform::machine::{Machine, System};
use backstore_protocol::entry::Time;
use backstore_protocol::ids::LineageId;
use chrono::{Datelike, TimeZone, Utc};

use crate::reading::Versions;
use crate::testing::Computer;

/// A clock that is wrong by so many seconds.
#[derive(Default)]
struct WrongClock {
    wrong_by: AtomicI64,
    /// It is set right once a backup has looked at it.
    is_set_right: AtomicBool,
}

impl Machine for WrongClock {
    fn now_ms(&self) -> i64 {
        System.now_ms() + 1000 * self.wrong_by.load(Ordering::Relaxed)
    }
    fn now(&self) -> Time {
        let now = System.now();
        let seconds = now.seconds + self.wrong_by.load(Ordering::Relaxed);
        if self.is_set_right.load(Ordering::Relaxed) {
            self.wrong_by.store(0, Ordering::Relaxed);
        }
        Time { seconds, ..now }
    }
    fn monotonic(&self) -> Duration {
        System.monotonic()
    }
    fn random(&self, bytes: &mut [u8]) {
        System.random(bytes);
    }
}

const YEAR: i64 = 365 * 86_400;

#[test]
fn versions_keep_their_order_whatever_the_clock_says() {
    let clock = Arc::new(WrongClock::default());
    let computer = Computer::with(clock.clone());
    let file = computer.path("source").canonicalize().unwrap().join("file");
    let wrong = [0, -YEAR, 20 * YEAR, 60];
    for (at, wrong_by) in wrong.into_iter().enumerate() {
        clock.wrong_by.store(wrong_by, Ordering::Relaxed);
        // Always the same size: only the stamps of the file tell that it has changed.
        fs::write(&file, [at as u8; 700]).unwrap();
        let report = computer.back_up();
        assert!(!report.is_unchanged);
        assert_eq!(report.totals.errors, 0);
        assert!(computer.back_up().is_unchanged);
    }
    let archive = computer.archive();
    let versions = Versions::choose(&archive, None, None, &[]).unwrap();
    let all = versions.all().unwrap();
    assert_eq!(all.iter().map(|version| version.sequence).collect::<Vec<_>>(), [4, 3, 2, 1]);
    let now = clock.now_ms();
    assert_eq!(versions.at(None, now).unwrap(), all[0]);
    assert_eq!(versions.at(Some("now"), now).unwrap(), all[0]);
    for (version, wrong_by) in all.iter().rev().zip(wrong) {
        let year = Utc.timestamp_millis_opt(System.now_ms() + 1000 * wrong_by).unwrap().year();
        assert!(version.name.starts_with(&format!("{year}-")), "{}", version.name);
        assert_eq!(&versions.at(Some(&version.name), now).unwrap(), version);
    }
    // What was begun before a moment is asked of the newest first.
    let year =
        |years: i64| Utc.timestamp_millis_opt(now + 1000 * years * YEAR).unwrap().format("%Y-%m").to_string();
    assert_eq!(versions.at(Some(&year(21)), now).unwrap().sequence, 4);
    assert_eq!(versions.at(Some(&year(-1)), now).unwrap().sequence, 2);
}

/// A clock that is ahead when the scan begins and is set right while it goes on: files that change right after they were read have stamps long
/// before that beginning, and must not be taken for unchanged.
#[test]
fn a_clock_that_is_set_back_meanwhile_makes_no_file_look_unchanged() {
    let clock = Arc::new(WrongClock::default());
    let computer = Computer::with(clock.clone());
    fs::write(computer.path("source/file"), b"text").unwrap();
    clock.wrong_by.store(YEAR, Ordering::Relaxed);
    clock.is_set_right.store(true, Ordering::Relaxed);
    computer.back_up();
    let archive = computer.archive();
    let newest = archive.source.snapshots(LineageId::from_bytes([1; 16]), u64::MAX, 1).unwrap();
    let body = archive.open_snapshot(&newest[0]).unwrap().body;
    let now = System.now();
    assert!(body.scan_started_ns <= now.seconds * 1_000_000_000 + i64::from(now.nanoseconds));
}
