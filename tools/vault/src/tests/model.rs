//! Random operations against a model that fits on a page: several accounts, crashes, lost indexes.

use std::collections::{BTreeMap, BTreeSet};

use backstore_protocol::object::SealedObject;
use backstore_protocol::store::ReadFailure;
use proptest::collection::vec;
use proptest::prelude::*;

use super::world::World;
use crate::disk::fault::{Fault, Image};
use crate::testing::*;
use crate::{Account, Vault, VaultError};

/// What may be done to a vault.
#[derive(Debug, Clone)]
enum Op {
    Put {
        account: u64,
        names: Vec<u64>,
        waits: bool,
    },
    Commit {
        account: u64,
        lineage: u64,
        root: u64,
        body: u64,
    },
    Confirm {
        account: u64,
        lineage: u64,
    },
    Control {
        changes: Vec<(u8, Option<u8>)>,
    },
    Reopen,
    LoseIndex,
    OldIndex {
        flushes_lost: usize,
    },
    Kill,
    PowerCut {
        image: u64,
        flushes_lost: usize,
    },
    /// The disk stops so many steps later, wherever that is.
    StopSoon {
        steps: u64,
        image: u64,
    },
    /// A power cut, and another in the middle of the opening after it.
    PowerCuts {
        images: [u64; 2],
        steps: u64,
    },
    /// A put for which there may be no space.
    PutOnFullDisk {
        account: u64,
        names: Vec<u64>,
        room: u64,
    },
    /// A power cut, and an opening for which there is no space.
    PowerCutOnFullDisk {
        image: u64,
        step: u64,
        reopens: bool,
    },
}

fn any_op() -> impl Strategy<Value = Op> {
    let account = 1..=ACCOUNTS;
    prop_oneof![
        10 => (account.clone(), vec(0..NAMES, 1..8), any::<bool>())
            .prop_map(|(account, names, waits)| Op::Put { account, names, waits }),
        4 => (account.clone(), 0..2u64, 25..35u64, 35..NAMES)
            .prop_map(|(account, lineage, root, body)| Op::Commit { account, lineage, root, body }),
        1 => (account.clone(), 0..2u64).prop_map(|(account, lineage)| Op::Confirm { account, lineage }),
        2 => vec((0..4u8, proptest::option::of(any::<u8>())), 1..4).prop_map(|changes| Op::Control { changes }),
        1 => Just(Op::Reopen),
        1 => Just(Op::LoseIndex),
        1 => (0..4usize).prop_map(|flushes_lost| Op::OldIndex { flushes_lost }),
        1 => Just(Op::Kill),
        2 => (any::<u64>(), 0..3usize).prop_map(|(image, flushes_lost)| Op::PowerCut { image, flushes_lost }),
        2 => (0..40u64, any::<u64>()).prop_map(|(steps, image)| Op::StopSoon { steps, image }),
        2 => (account, vec(0..NAMES, 1..8), 0..150_000u64)
            .prop_map(|(account, names, room)| Op::PutOnFullDisk { account, names, room }),
        2 => (any::<[u64; 2]>(), 0..20u64).prop_map(|(images, steps)| Op::PowerCuts { images, steps }),
        2 => (any::<u64>(), 0..12u64, any::<bool>())
            .prop_map(|(image, step, reopens)| Op::PowerCutOnFullDisk { image, step, reopens }),
    ]
}

/// The object of a name: the same in every account.
fn object(name: u64) -> SealedObject {
    match name {
        0..20 => data(name, 100 + 2500 * name as usize),
        20..30 => node(name, 0, &references(name)),
        30..35 => node(name, 1, &references(name)),
        _ => body(name),
    }
}

/// Names of what an object needs.
fn references(name: u64) -> Vec<u64> {
    match name {
        20..30 => vec![name % 20, name * 7 % 20, name * 11 % 20],
        30..35 => vec![20 + name % 10, 20 + name * 3 % 10],
        _ => vec![],
    }
}

/// What a vault should hold.
#[derive(Debug, Clone, Default)]
struct Model {
    accounts: BTreeMap<u64, AccountModel>,
    control: BTreeMap<u8, u8>,
}

#[derive(Debug, Clone, Default)]
struct AccountModel {
    /// Names of objects that are held, and whether somebody was told that they are durable.
    held: BTreeMap<u64, bool>,
    /// Sequences of the lineages, with root and body.
    lineages: BTreeMap<u64, Vec<(u64, u64)>>,
}

impl Model {
    fn account(&mut self, number: u64) -> &mut AccountModel {
        self.accounts.entry(number).or_default()
    }

    /// Everything put so far is durable.
    fn settle(&mut self) {
        for account in self.accounts.values_mut() {
            account.held.values_mut().for_each(|is_durable| *is_durable = true);
        }
    }
}

struct Run {
    world: World,
    vault: Option<Vault>,
    model: Model,
    /// What an operation that failed may have done all the same.
    perhaps: Option<Model>,
    /// Names of objects there was no space for, by account.
    refused: BTreeMap<u64, BTreeSet<u64>>,
    image: Option<u64>,
}

impl Run {
    fn new() -> Self {
        let mut world = World::new();
        let vault = Some(world.open().expect("opens"));
        Self { world, vault, model: Model::default(), perhaps: None, refused: BTreeMap::new(), image: None }
    }

    fn vault(&self) -> &Vault {
        self.vault.as_ref().expect("open between operations")
    }

    fn account(&self, number: u64) -> Account {
        self.vault().account(account_number(number))
    }

    /// The model after an operation that went well. Else the disk has stopped; the power is cut.
    fn done(&mut self, result: Result<(), VaultError>, after: Model) {
        // Who does not wait does not learn that the disk has stopped.
        let has_failed = self.vault.as_ref().is_some_and(|vault| vault.core().has_failed());
        match result {
            Ok(()) if !has_failed => self.model = after,
            Ok(()) => {
                self.perhaps = Some(after);
                self.power_cut(self.image.expect("a fault"), 0);
            }
            Err(error) => {
                let image = self.image.unwrap_or_else(|| panic!("without a fault: {error}"));
                self.perhaps = Some(after);
                self.power_cut(image, 0);
            }
        }
    }

    fn apply(&mut self, op: &Op) {
        let mut after = self.model.clone();
        match op {
            Op::Put { account, names, waits } => self.put(*account, names, *waits, after),
            Op::Commit { account, lineage, root, body } => {
                self.commit(*account, *lineage, *root, *body, after)
            }
            Op::Confirm { account, lineage: name } => {
                let Some(snapshots) = after.account(*account).lineages.get(name).cloned() else { return };
                let sequence = snapshots.len() as u64;
                let (root, body) = snapshots[snapshots.len() - 1];
                let head = head(*name, sequence, root, body);
                let result = self.account(*account).confirm(lineage(*name), head.id).map(|_| ());
                self.done(result, after);
            }
            Op::Control { changes } => {
                let stored = changes.iter().map(|(key, value)| (vec![*key], value.map(|value| vec![value])));
                let result = self.vault().control().put_all(stored);
                after.settle();
                for (key, value) in changes {
                    match value {
                        Some(value) => after.control.insert(*key, *value),
                        None => after.control.remove(key),
                    };
                }
                self.done(result, after);
            }
            Op::Reopen => {
                after.settle();
                let vault = self.vault.take().expect("open between operations");
                let result = vault.close();
                self.done(result, after);
                self.reopen();
            }
            Op::LoseIndex => self.power_cut(1, usize::MAX),
            Op::OldIndex { flushes_lost } => self.power_cut(1, *flushes_lost),
            Op::Kill => {
                self.world = self.world.after_kill();
                self.restart();
            }
            Op::PowerCut { image, flushes_lost } => self.power_cut(*image, *flushes_lost),
            Op::StopSoon { steps, image } => {
                let step = self.world.disk.steps() + steps;
                self.world.disk.set_fault(Some(Fault::Stop { step, is_applied: image % 2 == 0 }));
                self.image = Some(*image);
            }
            Op::PutOnFullDisk { account, names, room } => {
                let capacity = self.world.disk.bytes() + room;
                self.world.disk.set_capacity(Some(capacity));
                self.put(*account, names, true, after);
                self.world.disk.set_capacity(None);
            }
            Op::PowerCuts { images: [first, second], steps } => {
                self.cut_power(*first, 0);
                self.world.disk.set_fault(Some(Fault::Stop { step: *steps, is_applied: steps % 2 == 0 }));
                drop(self.world.open());
                self.power_cut(*second, 0);
            }
            Op::PowerCutOnFullDisk { image, step, reopens } => {
                self.cut_power(*image, 0);
                self.world.disk.set_fault(Some(Fault::Full { step: *step }));
                // What has no space is left for later, or nothing is opened.
                self.vault = self.world.open().ok().filter(|_| !reopens);
                self.world.disk.set_fault(None);
                self.reopen();
            }
        }
    }

    fn put(&mut self, number: u64, names: &[u64], waits: bool, mut after: Model) {
        let account = self.account(number);
        let held = &mut after.account(number).held;
        let mut missing = BTreeSet::new();
        for name in names {
            if !held.contains_key(name) {
                missing.extend(references(*name).into_iter().filter(|name| !held.contains_key(name)));
                held.insert(*name, false);
            }
        }
        let objects = names.iter().map(|name| object(*name)).collect();
        let receipt = match account.put(DEVICE, objects) {
            Err(VaultError::Missing { ids }) => {
                let expected: BTreeSet<_> = missing.iter().map(|name| id(*name)).collect();
                assert_eq!(ids.into_iter().collect::<BTreeSet<_>>(), expected);
                return;
            }
            result => result,
        };
        assert!(receipt.is_err() || missing.is_empty(), "{missing:?} are missing and nobody says so");
        let result = receipt.and_then(|receipt| if waits { receipt.wait() } else { Ok(()) });
        if matches!(result, Err(VaultError::Full)) {
            // Nothing of it counts, but a power cut may bring it back.
            self.refused.entry(number).or_default().extend(names);
            self.done(Ok(()), self.model.clone());
            return;
        }
        if waits {
            after.settle();
        }
        self.done(result, after);
    }

    fn commit(&mut self, number: u64, name: u64, root: u64, body: u64, mut after: Model) {
        let account = after.account(number);
        let snapshots = account.lineages.entry(name).or_default();
        let sequence = snapshots.len() as u64 + 1;
        snapshots.push((root, body));
        let has_all = account.held.contains_key(&root) && account.held.contains_key(&body);
        after.settle();
        match commit(&self.account(number), head(name, sequence, root, body)) {
            Err(VaultError::Missing { .. }) => assert!(!has_all, "{root} and {body} are there"),
            result => {
                assert!(result.is_err() || has_all, "{root} or {body} is not there and nobody says so");
                self.done(result, after);
            }
        }
    }

    fn power_cut(&mut self, image: u64, flushes_lost: usize) {
        self.cut_power(image, flushes_lost);
        self.restart();
    }

    /// A power cut after which nothing is opened.
    fn cut_power(&mut self, image: u64, flushes_lost: usize) {
        let image = match image % 4 {
            0 => Image::Synced,
            1 => Image::All,
            2 => Image::Some(image),
            _ => Image::Garbage(image),
        };
        let stopped = self.vault.take();
        self.world = self.world.after_power_cut(image, flushes_lost);
        drop(stopped);
    }

    fn restart(&mut self) {
        self.vault = None;
        self.reopen();
    }

    fn reopen(&mut self) {
        if self.vault.is_none() {
            self.world.disk.set_fault(None);
            self.image = None;
            self.vault = Some(self.world.open().expect("opens"));
        }
        self.learn();
        self.check();
        assert_eq!(self.world.rebuilt_rows(), self.world.rows(), "the index is what the packs say");
    }

    /// What nobody was told may be there or not: sees what is, and that it is possible.
    fn learn(&mut self) {
        let perhaps = self.perhaps.take().unwrap_or_else(|| self.model.clone());
        for number in 1..=ACCOUNTS {
            let account = self.account(number);
            let mut possible = perhaps.accounts.get(&number).cloned().unwrap_or_default();
            let refused = self.refused.remove(&number).unwrap_or_default();
            refused.into_iter().for_each(|name| _ = possible.held.entry(name).or_insert(false));
            let told = self.model.account(number);
            for name in possible.held.keys() {
                if has(&account, *name) {
                    told.held.insert(*name, true);
                } else {
                    assert_ne!(told.held.remove(name), Some(true), "{name} of account {number} was durable");
                }
            }
            for (name, snapshots) in &possible.lineages {
                let info = account.lineage(lineage(*name)).expect("an index");
                let count = info.map_or(0, |info| info.sequence) as usize;
                let known = told.lineages.entry(*name).or_default();
                assert!(
                    count >= known.len() && count <= snapshots.len(),
                    "{count} snapshots of {snapshots:?}"
                );
                known.extend_from_slice(&snapshots[known.len()..count]);
            }
            told.lineages.retain(|_, snapshots| !snapshots.is_empty());
        }
        for key in 0..4 {
            let found = self.vault().control().get(&[key]).expect("an index").map(|value| value[0]);
            let (told, possible) =
                (self.model.control.get(&key).copied(), perhaps.control.get(&key).copied());
            assert!(
                found == told || found == possible,
                "{found:?} under {key}, not {told:?} or {possible:?}"
            );
        }
        let is_told = (0..4).all(|key| {
            let found = self.vault().control().get(&[key]).expect("an index").map(|value| value[0]);
            found == self.model.control.get(&key).copied()
        });
        if !is_told {
            // A batch of changes comes as a whole.
            self.model.control = perhaps.control;
        }
    }

    fn check(&mut self) {
        for number in 1..=ACCOUNTS {
            let account = self.account(number);
            let model = self.model.account(number).clone();
            for name in 0..NAMES {
                let expected = model.held.contains_key(&name);
                assert_eq!(has(&account, name), expected, "{name} of account {number}");
                let expected = if expected { Ok(object(name)) } else { Err(ReadFailure::Missing) };
                assert_eq!(read(&account, name), expected, "{name} of account {number}");
                if model.held.contains_key(&name) {
                    assert!(
                        references(name).iter().all(|name| model.held.contains_key(name)),
                        "{name} is open"
                    );
                }
            }
            let lineages = account.lineages().expect("an index");
            assert_eq!(lineages.len(), model.lineages.len());
            for (name, snapshots) in &model.lineages {
                let found = account.snapshots(lineage(*name), u64::MAX, 100).expect("an index");
                let ids: Vec<_> = found.iter().rev().map(|snapshot| snapshot.id).collect();
                let expected: Vec<_> =
                    (1..).zip(snapshots).map(|(n, (root, body))| head(*name, n, *root, *body).id).collect();
                assert_eq!(ids, expected);
            }
            assert_eq!(account.damaged().expect("an index"), []);
            let durable = model.held.values().filter(|is_durable| **is_durable).count() as u64;
            assert!(account.usage().expect("an index").objects >= durable);
        }
        for key in 0..4 {
            let found = self.vault().control().get(&[key]).expect("an index");
            assert_eq!(found, self.model.control.get(&key).map(|value| vec![*value]), "under {key}");
        }
    }
}

proptest! {
    #[test]
    fn a_vault_does_what_the_model_does(ops in vec(any_op(), 1..40)) {
        let mut run = Run::new();
        for op in &ops {
            run.apply(op);
            run.check();
        }
        run.apply(&Op::Reopen);
    }
}

/// What random operations found once.
#[test]
fn what_went_wrong_once_stays_right() {
    let put = |names: &[u64]| Op::Put { account: 1, names: names.to_vec(), waits: false };
    let control = || Op::Control { changes: vec![(0, None)] };
    let stop = |steps, image| Op::StopSoon { steps, image };
    let stories = [
        // A sequence that a footer calls durable was given to another record once the index was lost.
        vec![
            put(&[0]),
            Op::LoseIndex,
            control(),
            put(&[1]),
            Op::LoseIndex,
            stop(3, 2_896_394_495_972_638_515),
            put(&[7, 35]),
            Op::LoseIndex,
            stop(4, 8_846_316_508_666_081_735),
            put(&[4, 35]),
        ],
        // A torn record passed for durable when what was found around it was called so before all of it had its end.
        vec![
            put(&[2]),
            Op::PowerCutOnFullDisk { image: 14_585_031_911_788_102_070, step: 1, reopens: false },
        ],
        vec![
            control(),
            put(&[5]),
            put(&[13, 35, 15, 4, 1]),
            Op::PowerCuts { images: [5_643_338_555_585_781_851, 0], steps: 10 },
        ],
    ];
    for story in stories {
        let mut run = Run::new();
        for op in &story {
            run.apply(op);
            run.check();
        }
        run.apply(&Op::Reopen);
    }
}

const ACCOUNTS: u64 = 2;
const NAMES: u64 = 40;
