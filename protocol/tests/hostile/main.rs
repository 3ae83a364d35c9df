//! Bytes from enemies: every decoder gets noise and mutilated fixtures. It never panics, never takes much memory, and what it accepts is
//! what would have been written.
//!
//! A program of its own, because the memory of a whole process is measured: tests here take turns.

#[path = "../formats/fixtures.rs"]
#[allow(dead_code, reason = "shared with the golden tests, which write fixtures")]
mod fixtures;
#[path = "../formats/recode.rs"]
#[allow(dead_code, reason = "shared with the golden tests, which make samples")]
mod recode;

use std::collections::BTreeMap;
use std::sync::{LazyLock, Mutex, PoisonError};

use peak_alloc::PeakAlloc;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use fixtures::Fixtures;
use recode::{FORMATS, FRAME_KINDS, Recode};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

static TURN: Mutex<()> = Mutex::new(());

/// All fixtures by format.
static CORPUS: LazyLock<BTreeMap<&str, Vec<Vec<u8>>>> = LazyLock::new(|| {
    let fixtures = Fixtures::open();
    let of = |format: &str| {
        let prefix = format!("{format}/");
        let names = fixtures.names().filter(|name| name.starts_with(&prefix));
        names.map(|name| fixtures.read(name).expect("a listed fixture")).collect::<Vec<_>>()
    };
    FORMATS.iter().map(|(format, _)| (*format, of(format))).collect()
});

/// Bytes that a decoder and the encoder after it may take for each byte of input.
const MEMORY_PER_BYTE: usize = 16;
/// And besides: the items of a full node.
const MEMORY_BASE: usize = 2 << 20;
/// What is sealed may say that it is as large as any object.
const MEMORY_SEALED: usize = 16 << 20;

/// One way to spoil bytes.
#[derive(Debug, Clone)]
enum Change {
    /// Turns a bit over.
    Flip(Index, u8),
    /// Ends here.
    Truncate(Index),
    /// Puts bytes in.
    Insert(Index, Vec<u8>),
    /// Takes some bytes out.
    Remove(Index, usize),
    /// Writes over what is there: what lengths and counts are at their edges.
    Overwrite(Index, Vec<u8>),
    /// Puts a part of another fixture of the format there.
    Splice(Index, Index, Index, usize),
}

fn any_change() -> impl Strategy<Value = Change> {
    const EDGES: [&[u8]; 12] = [
        &[0],
        &[1],
        &[0x7f],
        &[0xff],
        &[0x80, 0],
        &[0xff, 0x7f],
        &[0xff; 4],
        &[0, 0, 0, 0x80],
        &[0; 8],
        &[0xff; 8],
        &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1],
        &[0xff, 0xff, 0xff, 0xff, 0x0f],
    ];
    let edge = select(EDGES.as_slice()).prop_map(<[u8]>::to_vec);
    prop_oneof![
        4 => (any::<Index>(), 0u8..8).prop_map(|(at, bit)| Change::Flip(at, bit)),
        1 => any::<Index>().prop_map(Change::Truncate),
        2 => (any::<Index>(), vec(any::<u8>(), 1..5)).prop_map(|(at, bytes)| Change::Insert(at, bytes)),
        2 => (any::<Index>(), 1usize..40).prop_map(|(at, count)| Change::Remove(at, count)),
        4 => (any::<Index>(), edge).prop_map(|(at, bytes)| Change::Overwrite(at, bytes)),
        1 => (any::<Index>(), any::<Index>(), any::<Index>(), 1usize..80).prop_map(|(at, which, from, count)| Change::Splice(at, which, from, count)),
    ]
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>, corpus: &[Vec<u8>]) {
        let place = |at: &Index, bytes: &Vec<u8>| near_the_start(at, bytes.len() + 1);
        match self {
            Self::Flip(at, bit) => {
                let at = place(at, bytes);
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << bit;
                }
            }
            Self::Truncate(at) => bytes.truncate(at.index(bytes.len() + 1)),
            Self::Insert(at, new) => {
                let at = place(at, bytes);
                drop(bytes.splice(at..at, new.iter().copied()));
            }
            Self::Remove(at, count) => {
                let at = place(at, bytes);
                drop(bytes.drain(at..bytes.len().min(at + count)));
            }
            Self::Overwrite(at, new) => {
                let at = place(at, bytes);
                drop(bytes.splice(at..bytes.len().min(at + new.len()), new.iter().copied()));
            }
            Self::Splice(at, which, from, count) => {
                let (at, other) = (place(at, bytes), &corpus[which.index(corpus.len())]);
                let from = from.index(other.len() + 1);
                let part = &other[from..other.len().min(from + count)];
                drop(bytes.splice(at..bytes.len().min(at + part.len()), part.iter().copied()));
            }
        }
    }
}

/// Half of the changes go to the first 64 bytes, where counts and lengths are.
fn near_the_start(at: &Index, length: usize) -> usize {
    let place = at.index(2 * length);
    if place < length { place } else { (place - length) % length.min(64) }
}

/// Feeds one decoder, and checks what has to hold whatever it says; whether it accepted.
fn feed(format: &str, recode: Recode, bytes: &[u8]) -> Result<bool, TestCaseError> {
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    let again = recode(bytes);
    let base =
        if matches!(format, "box" | "envelope" | "inner" | "object") { MEMORY_SEALED } else { MEMORY_BASE };
    let taken = MEMORY.peak_usage().saturating_sub(before);
    prop_assert!(
        taken <= base + MEMORY_PER_BYTE * bytes.len(),
        "{format}: {taken} bytes of memory for {} of input",
        bytes.len()
    );
    if let Some(again) = &again {
        prop_assert!(again == bytes, "{format}: {bytes:02x?} was accepted, but is written {again:02x?}");
    }
    Ok(again.is_some())
}

/// Runs a test while no other one of this program takes memory.
fn alone(test: fn()) {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    test();
}

#[test]
fn noise_is_refused_or_canonical() {
    alone(check_noise_is_refused_or_canonical);
}

#[test]
fn noise_in_frames_is_refused_or_canonical() {
    alone(check_noise_in_frames_is_refused_or_canonical);
}

#[test]
fn changed_fixtures_are_refused_or_canonical() {
    alone(check_changed_fixtures_are_refused_or_canonical);
}

#[test]
fn no_single_byte_of_a_fixture_is_ambiguous() {
    alone(check_no_single_byte_of_a_fixture_is_ambiguous);
}

#[test]
fn lengths_beyond_limits_take_no_memory() {
    alone(check_lengths_beyond_limits_take_no_memory);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    fn check_noise_is_refused_or_canonical(bytes in vec(any::<u8>(), 0..300)) {
        for (format, recode) in FORMATS {
            feed(format, recode, &bytes)?;
        }
    }

    fn check_noise_in_frames_is_refused_or_canonical(
        kind in select(FRAME_KINDS),
        header in vec(any::<u8>(), 0..120),
        tail in vec(any::<u8>(), 0..120),
    ) {
        let length = (4 + header.len() + tail.len()) as u32;
        let mut bytes = length.to_le_bytes().to_vec();
        bytes.extend_from_slice(&[kind, 0, header.len() as u8, 0]);
        bytes.extend_from_slice(&header);
        bytes.extend_from_slice(&tail);
        feed("frame", recode::frame, &bytes)?;
    }

    fn check_changed_fixtures_are_refused_or_canonical(which in any::<Index>(), changes in vec(any_change(), 1..4)) {
        for (format, recode) in FORMATS {
            let corpus = &CORPUS[format];
            let mut bytes = corpus[which.index(corpus.len())].clone();
            changes.iter().for_each(|change| change.apply(&mut bytes, corpus));
            feed(format, recode, &bytes)?;
        }
    }
}

/// Every byte of every small fixture takes some values, and every prefix of it is tried.
fn check_no_single_byte_of_a_fixture_is_ambiguous() {
    for (format, recode) in FORMATS {
        for fixture in CORPUS[format].iter().filter(|fixture| fixture.len() <= 1024) {
            for at in 0..fixture.len() {
                let step = if matches!(format, "box" | "envelope" | "object") { 1 } else { 4 };
                for change in [0x01, 0x80, 0xff, fixture[at]].into_iter().take(step) {
                    let mut bytes = fixture.clone();
                    bytes[at] ^= change;
                    feed(format, recode, &bytes).unwrap();
                }
                feed(format, recode, &fixture[..at]).unwrap();
            }
        }
    }
}

/// A body of empty lists at their longest, and a compressed object that says it is larger than any: refused without much memory.
fn check_lengths_beyond_limits_take_no_memory() {
    let text = |text: &str| [&[text.len() as u8], text.as_bytes()].concat();
    let roots = [
        text("set"),
        text("linux"),
        text("host"),
        text("UTC"),
        text("1"),
        vec![0x80, 0x80, 0x80, 1],
        vec![0; 2 << 20],
    ]
    .concat();
    assert!(!feed("body", recode::body, &roots).unwrap());
    let mut bomb = CORPUS["inner"].iter().find(|inner| inner[0] == 1).expect("a compressed sample").clone();
    bomb[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(!feed("inner", recode::inner, &bomb).unwrap());
}
