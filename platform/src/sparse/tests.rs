//! Sparse files of many shapes, against what was written into them.

use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt};

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::testing::skip;

const BLOCK: u64 = 64 * 1024;

/// A file of `blocks` blocks, in which those that are true are written.
fn sparse_file(blocks: &[bool]) -> File {
    let file = tempfile::tempfile().unwrap();
    file.set_len(blocks.len() as u64 * BLOCK).unwrap();
    for (at, _) in blocks.iter().enumerate().filter(|(_, written)| **written) {
        file.write_all_at(&[7; BLOCK as usize], at as u64 * BLOCK).unwrap();
    }
    file
}

/// Checks what holds on every file system: the runs cover the file, holes never follow holes, and what was written is in data.
fn check(file: &File, size: u64) -> Vec<Run> {
    let found: Vec<Run> = runs(file, size).map(Result::unwrap).collect();
    let (mut at, mut after_hole) = (0, false);
    for run in &found {
        let (offset, length, is_hole) = match *run {
            Run::Data { offset, length } => (offset, length, false),
            Run::Hole { offset, length } => (offset, length, true),
        };
        assert!(offset == at && length > 0 && !(is_hole && after_hole), "{found:?}");
        if is_hole {
            let mut bytes = vec![1; length as usize];
            file.read_exact_at(&mut bytes, offset).unwrap();
            assert!(bytes.iter().all(|byte| *byte == 0), "{run:?} holds data");
        }
        (at, after_hole) = (offset + length, is_hole);
    }
    assert_eq!(at, size);
    found
}

fn has_holes() -> bool {
    let file = sparse_file(&[true, false]);
    let found = check(&file, 2 * BLOCK);
    if found.len() == 1 {
        skip("the file system of temporary files has no holes");
    }
    found.len() == 2
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn runs_are_what_was_written(blocks in vec(any::<bool>(), 0..20)) {
        let file = sparse_file(&blocks);
        let found = check(&file, blocks.len() as u64 * BLOCK);
        if has_holes() {
            let expected: Vec<_> = blocks.chunk_by(|a, b| a == b).map(|run| (run[0], run.len() as u64 * BLOCK)).collect();
            let found: Vec<_> = found.iter().map(|run| match run {
                Run::Data { length, .. } => (true, *length),
                Run::Hole { length, .. } => (false, *length),
            }).collect();
            prop_assert_eq!(found, expected);
        }
    }
}

#[test]
fn a_size_that_is_not_the_files_is_covered_all_the_same() {
    let file = sparse_file(&[true, false, true]);
    check(&file, BLOCK / 2);
    check(&file, BLOCK + BLOCK / 2);
    check(&file, 2 * BLOCK + 1);
    assert_eq!(check(&file, 0), []);
    let beyond: Vec<Run> = runs(&file, 5 * BLOCK).map(Result::unwrap).collect();
    assert!(matches!(beyond.last(), Some(Run::Hole { .. })), "{beyond:?}");
    // It has shrunk to nothing since it was listed.
    file.set_len(0).unwrap();
    let gone: Vec<Run> = runs(&file, BLOCK).map(Result::unwrap).collect();
    assert_eq!(gone, [Run::Hole { offset: 0, length: BLOCK }]);
}

#[test]
fn what_has_no_positions_is_an_error_or_data() {
    let (reader, mut writer) = io::pipe().unwrap();
    writer.write_all(b"x").unwrap();
    let file = File::from(std::os::fd::OwnedFd::from(reader));
    let found: Vec<_> = runs(&file, 10).collect();
    assert!(found.len() == 1 && found[0].is_err(), "{found:?}");
    let proc = File::open("/dev/null").unwrap();
    assert_eq!(runs(&proc, 10).count(), 1);
}

#[test]
fn holes_are_made_inside_at_and_beyond_the_end() {
    let file = sparse_file(&[true, true, true, true]);
    let before = file.metadata().unwrap().blocks();
    let made = make_hole(&file, BLOCK, BLOCK).unwrap();
    assert_eq!(file.metadata().unwrap().blocks() < before, made == HoleMade::Sparse);
    let mut bytes = vec![1; 3 * BLOCK as usize];
    file.read_exact_at(&mut bytes, 0).unwrap();
    let expected = [vec![7; BLOCK as usize], vec![0; BLOCK as usize], vec![7; BLOCK as usize]].concat();
    assert!(bytes == expected);

    let _ = make_hole(&file, 3 * BLOCK + 100, 2 * BLOCK).unwrap();
    assert_eq!(file.metadata().unwrap().len(), 5 * BLOCK + 100);
    let mut bytes = vec![1; 2 * BLOCK as usize + 100];
    file.read_exact_at(&mut bytes, 3 * BLOCK).unwrap();
    assert!(bytes[..100].iter().all(|byte| *byte == 7) && bytes[100..].iter().all(|byte| *byte == 0));

    assert_eq!(make_hole(&file, 100 * BLOCK, BLOCK).unwrap(), HoleMade::Sparse);
    assert_eq!(file.metadata().unwrap().len(), 101 * BLOCK);
    assert!(make_hole(&file, u64::MAX, 2).is_err());
}

#[test]
fn zeros_are_as_good_as_a_hole() {
    let file = sparse_file(&[true, true, true]);
    assert_eq!(unix::write_zeros(&file, 10, 2 * BLOCK).unwrap(), HoleMade::Zeros);
    let mut bytes = vec![1; 3 * BLOCK as usize];
    file.read_exact_at(&mut bytes, 0).unwrap();
    let zeros = 10..10 + 2 * BLOCK as usize;
    assert!(bytes.iter().enumerate().all(|(at, byte)| *byte == if zeros.contains(&at) { 0 } else { 7 }));
}
