//! Disks that fill up and disks that fail.

use super::world::World;
use crate::disk::fault::{Fault, Image};
use crate::testing::*;
use crate::vault::Drive;
use crate::{Access, Recovery, Vault, VaultError};

/// One of everything that writes. What is refused for want of space is tried again, `retries` times in all.
fn write_all(vault: &Vault, retries: &mut u32) -> Result<(), VaultError> {
    let account = vault.account(account_number(1));
    let objects = vec![data(1, 30_000), data(2, 90_000), node(3, 0, &[1, 2]), node(4, 1, &[3]), body(5)];
    let mut again = |action: &dyn Fn() -> Result<(), VaultError>| loop {
        match action() {
            Err(VaultError::Full) if *retries > 0 => *retries -= 1,
            result => return result,
        }
    };
    again(&|| account.put(DEVICE, objects.clone())?.wait())?;
    again(&|| commit(&account, head(1, 1, 4, 5)))?;
    again(&|| commit(&account, head(1, 2, 4, 5)))?;
    again(&|| vault.control().put(b"key", Some(b"value")))?;
    again(&|| account.confirm(lineage(1), head(1, 2, 4, 5).id).map(|_| ()))
}

fn check_all(vault: &Vault, context: &str) {
    let account = vault.account(account_number(1));
    for name in 1..=5 {
        assert!(read(&account, name).is_ok(), "{context}: {name}");
    }
    let lineages = account.lineages().expect("lineages");
    assert_eq!(lineages[0].head, head(1, 2, 4, 5).id, "{context}");
    assert_eq!(lineages[0].snapshots, 2, "{context}");
    assert!(lineages[0].confirmed_at > lineages[0].received_at, "{context}");
    assert_eq!(vault.control().get(b"key").expect("get"), Some(b"value".to_vec()), "{context}");
    assert_eq!(account.usage().expect("usage").objects, 5, "{context}");
}

#[test]
fn a_full_disk_refuses_and_later_takes() {
    for step in 0.. {
        let context = format!("step {step}");
        let mut world = World::new();
        world.disk.set_fault(Some(Fault::Full { step: world.disk.steps() + step }));
        let vault = world.open().expect("opens");
        let mut retries = 3;
        write_all(&vault, &mut retries).unwrap_or_else(|error| panic!("{context}: {error}"));
        check_all(&vault, &context);
        let steps = world.disk.steps();
        vault.close().unwrap_or_else(|error| panic!("{context}: {error}"));
        assert_eq!(world.rebuilt_rows(), world.rows(), "{context}: the index is what the packs say");
        let reopened = world.open().expect("opens");
        check_all(&reopened, &context);
        assert_eq!(reopened.report().quarantined, [], "{context}");
        if steps <= step {
            assert!(retries == 3 && step > 10, "only {step} steps");
            break;
        }
    }
}

#[test]
fn what_does_not_fit_leaves_nothing_behind() {
    let mut world = World::new();
    let vault = world.open().expect("opens");
    let account = vault.account(account_number(1));
    account.put(DEVICE, vec![data(1, 10_000)]).expect("received").wait().expect("durable");
    let before = world.disk.bytes();
    world.disk.set_capacity(Some(before));
    let batch = vec![data(2, 80_000), data(3, 80_000), node(4, 1, &[2, 3])];
    for _ in 0..10 {
        let refused = account.put(DEVICE, batch.clone()).and_then(crate::Receipt::wait);
        assert!(matches!(&refused, Err(VaultError::Full)), "{refused:?}");
        assert_eq!(refused.expect_err("refused").recovery(), Recovery::TryLater);
    }
    assert!(!has(&account, 2) && !has(&account, 4), "a refused batch is refused as a whole");
    assert!(world.disk.bytes() <= before + 8192, "{} is more than {before}", world.disk.bytes());
    let dependent = account.put(DEVICE, vec![node(5, 0, &[2])]);
    assert!(matches!(dependent, Err(VaultError::Missing { .. })));
    account.put(DEVICE, vec![data(6, 1000)]).expect("received").wait().expect("a small one fits");
    world.disk.set_capacity(None);
    account.put(DEVICE, batch).expect("received").wait().expect("durable");
    vault.close().expect("closed");
    let reopened = world.open().expect("opens");
    let account = reopened.account(account_number(1));
    for name in [1, 2, 3, 4, 6] {
        assert!(read(&account, name).is_ok(), "{name}");
    }
    assert_eq!(reopened.report().quarantined, []);
}

/// After a failed sync the system may forget what it did not write and then claim success. Who tries again and believes that, loses data.
#[test]
fn a_failure_ends_writing_for_good() {
    for step in 0.. {
        let context = format!("step {step}");
        let mut world = World::new();
        let vault = world.open().expect("opens");
        let account = vault.account(account_number(1));
        let first = world.disk.steps();
        world.disk.set_fault(Some(Fault::Fail { step: first + step }));
        let mut acknowledged = Vec::new();
        let mut failed = None;
        for name in 1..6 {
            match account.put(DEVICE, vec![data(name, 30_000)]).and_then(crate::Receipt::wait) {
                Ok(()) => acknowledged.push(name),
                Err(error) => failed = Some(error),
            }
        }
        if let Some(error) = &failed {
            assert_eq!(error.recovery(), Recovery::Reopen, "{context}: {error}");
            let later = account.put(DEVICE, vec![data(9, 10)]).map(|_| ());
            assert!(matches!(later, Err(VaultError::Failed { .. })), "{context}: {later:?}");
            assert!(
                matches!(commit(&account, head(1, 1, 1, 2)), Err(VaultError::Failed { .. })),
                "{context}"
            );
            assert!(vault.close().is_err(), "{context}");
        }
        for image in [Image::Synced, Image::All, Image::Some(step), Image::Garbage(step)] {
            let reopened = world.after_power_cut(image, 0).open().expect("opens");
            let account = reopened.account(account_number(1));
            for name in &acknowledged {
                assert!(read(&account, *name).is_ok(), "{context}, {image:?}: {name} of {acknowledged:?}");
            }
        }
        if world.disk.steps() <= first + step {
            assert!(step > 10 && failed.is_none(), "only {step} steps");
            break;
        }
    }
}

/// With threads, steps come in another order each time; what holds must hold for any.
#[test]
fn threads_keep_the_same_promises() {
    for step in 0..40 {
        let mut world = World::new();
        world
            .disk
            .set_fault(Some(Fault::Stop { step: world.disk.steps() + 3 * step, is_applied: step % 2 == 0 }));
        let Ok(vault) = world.open_with(Access::Write, Drive::Threads) else { continue };
        let acknowledged: Vec<(u64, u64)> = std::thread::scope(|scope| {
            let workers: Vec<_> = (1..4)
                .map(|number| {
                    let account = vault.account(account_number(number));
                    scope.spawn(move || put_until_failure(&account, number))
                })
                .collect();
            workers.into_iter().flat_map(|worker| worker.join().expect("no panic")).collect()
        });
        let _ = vault.close();
        for image in [Image::Synced, Image::Some(step), Image::Garbage(step)] {
            let reopened = world.after_power_cut(image, step as usize % 3).open().expect("opens");
            for (number, name) in &acknowledged {
                let account = reopened.account(account_number(*number));
                assert!(read(&account, *name).is_ok(), "step {step}, {image:?}: {name} of account {number}");
            }
            for number in 1..4 {
                let account = reopened.account(account_number(number));
                for name in (0..20).filter(|name| has(&account, 100 + *name)) {
                    assert!(has(&account, name), "step {step}, {image:?}: node {name} is open");
                }
            }
        }
    }
}

/// Puts pairs of an object and a node that needs it, in batches of their own, and returns what is durable.
fn put_until_failure(account: &crate::Account, number: u64) -> Vec<(u64, u64)> {
    let mut durable = Vec::new();
    for name in 0..20 {
        let Ok(first) = account.put(DEVICE, vec![data(name, 7000)]) else { break };
        let Ok(second) = account.put(DEVICE, vec![node(100 + name, 1, &[name])]) else { break };
        if second.wait().is_err() {
            break;
        }
        durable.extend([(number, name), (number, 100 + name)]);
        assert!(first.wait().is_ok(), "what comes before a durable batch is durable");
    }
    durable
}

#[test]
fn what_did_not_fit_never_passes_for_durable() {
    let mut refusals = 0;
    for room in (0..20_000).step_by(2048) {
        let mut world = World::new();
        let vault = world.open().expect("opens");
        let account = vault.account(account_number(1));
        account.put(DEVICE, vec![data(1, 10_000)]).expect("received").wait().expect("durable");
        world.disk.set_capacity(Some(world.disk.bytes() + room));
        let unfit = vec![data(2, 50_000), body(3)];
        let result = account.put(DEVICE, unfit).and_then(|receipt| receipt.wait());
        world.disk.set_capacity(None);
        if result.is_ok() {
            continue;
        }
        refusals += 1;
        // It is durable, and so is everything before it.
        account.put(DEVICE, vec![body(4)]).expect("received").wait().expect("durable");
        for seed in 0..64 {
            let mut after = world.after_power_cut(Image::Garbage(seed), 0);
            let vault = after.open().expect("opens");
            let account = vault.account(account_number(1));
            for name in 1..=4 {
                let is_there = has(&account, name);
                let context = format!("{name} with room for {room} bytes, seed {seed}");
                assert_eq!(read(&account, name).is_ok(), is_there, "{context}");
                assert!(is_there || name == 2 || name == 3, "{context}");
            }
        }
    }
    assert!(refusals > 0);
}
