//! Every point at which a crash can happen, and everything it can leave behind.

use std::collections::BTreeMap;

use backstore_protocol::object::SealedObject;

use super::world::World;
use crate::disk::fault::{Fault, Image};
use crate::testing::*;
use crate::{Vault, VaultError};

/// What somebody was told.
#[derive(Default)]
struct Told {
    durable: Vec<(u64, SealedObject)>,
    snapshots: Vec<u64>,
    control: BTreeMap<u8, u8>,
    is_finished: bool,
}

/// Puts objects of two accounts, commits, changes control state, closes and goes on; as far as the disk lets it.
fn upload(world: &mut World, told: &mut Told) -> Result<(), VaultError> {
    for round in 0..3u64 {
        let vault = world.open()?;
        upload_round(&vault, round, told)?;
        vault.close()?;
    }
    told.is_finished = true;
    Ok(())
}

fn upload_round(vault: &Vault, round: u64, told: &mut Told) -> Result<(), VaultError> {
    let name = |n: u64| round * 100 + n;
    for number in [1, 2] {
        let account = vault.account(account_number(number));
        let first = vec![data(name(1), 30_000), data(name(2), 5000)];
        let receipt = account.put(DEVICE, first.clone())?;
        let second = vec![data(name(3), 40_000), node(name(4), 0, &[name(1), name(2), name(3)])];
        let second_receipt = account.put(DEVICE, second.clone())?;
        receipt.wait()?;
        told.durable.extend(first.into_iter().map(|object| (number, object)));
        second_receipt.wait()?;
        told.durable.extend(second.into_iter().map(|object| (number, object)));
        let third = vec![node(name(5), 1, &[name(4)]), body(name(6))];
        let _ = account.put(DEVICE, third.clone())?;
        if number == 1 {
            commit(&account, head(1, round + 1, name(5), name(6)))?;
            told.snapshots.push(round + 1);
            told.durable.extend(third.into_iter().map(|object| (number, object)));
        }
    }
    vault.control().put(&[round as u8 % 2], Some(&[round as u8]))?;
    told.control.insert(round as u8 % 2, round as u8);
    Ok(())
}

fn check(vault: &Vault, told: &Told, context: &str) {
    for (number, object) in &told.durable {
        let account = vault.account(account_number(*number));
        let mut found = None;
        account.read(&[object.id], &mut |_, object| found = Some(object)).expect("readable");
        assert_eq!(found, Some(Ok(object.clone())), "{context}: {} of account {number}", object.id);
    }
    let account = vault.account(account_number(1));
    let snapshots = account.snapshots(lineage(1), u64::MAX, 100).expect("snapshots");
    let sequences: Vec<_> = (1..=snapshots.len() as u64).collect();
    assert!(
        sequences.starts_with(&told.snapshots),
        "{context}: {sequences:?} lacks some of {:?}",
        told.snapshots
    );
    for (sequence, snapshot) in sequences.iter().rev().zip(&snapshots) {
        let round = (sequence - 1) * 100;
        assert_eq!(snapshot.id, head(1, *sequence, round + 5, round + 6).id, "{context}");
        assert!(!snapshot.is_damaged, "{context}");
    }
    for (key, value) in &told.control {
        let found = vault.control().get(&[*key]).expect("control state");
        // A later change may have come through without anybody being told.
        assert!(
            found == Some(vec![*value]) || found == Some(vec![value + 2]),
            "{context}: {found:?} under {key}"
        );
    }
    assert!(account.damaged().expect("damage").is_empty(), "{context}");
    assert_closed(vault, context);
}

/// What is held can be read, and every node that is held has its references held.
fn assert_closed(vault: &Vault, context: &str) {
    for number in [1, 2] {
        let account = vault.account(account_number(number));
        for round in 0..3 {
            let name = |n: u64| round * 100 + n;
            for object in (1..=6).map(name).filter(|name| has(&account, *name)) {
                assert!(read(&account, object).is_ok(), "{context}: {object} of account {number}");
            }
            for (node, references) in [(4, vec![1, 2, 3]), (5, vec![4])] {
                if has(&account, name(node)) {
                    for reference in references {
                        assert!(has(&account, name(reference)), "{context}: {node} without {reference}");
                    }
                }
            }
        }
    }
}

const IMAGES: [Image; 7] = [
    Image::Synced,
    Image::All,
    Image::Some(1),
    Image::Some(2),
    Image::Some(3),
    Image::Garbage(4),
    Image::Garbage(5),
];

#[test]
fn what_was_acknowledged_survives_every_power_cut() {
    for step in 0.. {
        for is_applied in [false, true] {
            let mut world = World::new();
            let mut told = Told::default();
            world.disk.set_fault(Some(Fault::Stop { step: world.disk.steps() + step, is_applied }));
            let outcome = upload(&mut world, &mut told);
            assert_eq!(outcome.is_ok(), told.is_finished);
            for image in IMAGES {
                for flushes_lost in [0, 1, 100] {
                    let context =
                        format!("step {step}, applied {is_applied}, {image:?}, lost {flushes_lost}");
                    let mut after = world.after_power_cut(image, flushes_lost);
                    let vault = after.open().unwrap_or_else(|error| panic!("{context}: {error}"));
                    check(&vault, &told, &context);
                    vault.close().unwrap_or_else(|error| panic!("{context}: {error}"));
                    if image != IMAGES[step as usize % IMAGES.len()] {
                        continue;
                    }
                    let vault = after.open().unwrap_or_else(|error| panic!("{context}: again: {error}"));
                    assert_eq!(vault.report().index_rebuilt, None, "{context}");
                    check(&vault, &told, &context);
                }
            }
            if told.is_finished {
                assert!(step > 50, "only {step} steps");
                return;
            }
        }
    }
}

/// Opening repairs what a crash left; a crash while it does, and another one, must not matter either.
#[test]
fn what_was_acknowledged_survives_crashes_of_opening() {
    let mut world = World::new();
    let mut told = Told::default();
    let vault = world.open().expect("opens");
    upload_round(&vault, 0, &mut told).expect("a disk without faults");
    let account = vault.account(account_number(1));
    let _ = account.put(DEVICE, vec![data(900, 30_000), node(901, 1, &[900])]).expect("received");
    world.disk.set_fault(Some(Fault::Stop { step: world.disk.steps(), is_applied: true }));
    drop(vault);
    for image in IMAGES {
        let crashed = world.after_power_cut(image, 0);
        for step in 0.. {
            let mut opening = crashed.clone_of_disk();
            opening.disk.set_fault(Some(Fault::Stop { step, is_applied: step % 2 == 0 }));
            let opened = opening.open();
            let is_done = opened.is_ok() && opening.disk.steps() <= step;
            drop(opened);
            for second in IMAGES {
                let context = format!("{image:?}, step {step} of opening, then {second:?}");
                let mut after = opening.after_power_cut(second, 0);
                let vault = after.open().unwrap_or_else(|error| panic!("{context}: {error}"));
                check(&vault, &told, &context);
            }
            if is_done {
                assert!(step > 3, "only {step} steps");
                break;
            }
        }
    }
}

#[test]
fn a_killed_process_loses_nothing_it_received_and_wrote() {
    let mut world = World::new();
    let mut told = Told::default();
    let vault = world.open().expect("opens");
    upload_round(&vault, 0, &mut told).expect("a disk without faults");
    let mut after = world.after_kill();
    let reopened = after.open().expect("opens");
    check(&reopened, &told, "killed");
    assert_eq!(reopened.report().quarantined, []);
    // What the dead process only had in the system's cache is durable by now.
    let cut = after.after_power_cut(Image::Synced, 0).open().expect("opens");
    check(&cut, &told, "killed, then a power cut");
    assert!(has(&cut.account(account_number(2)), 5));
}
