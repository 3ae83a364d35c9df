//! Damage to one set keeps nobody from the others, nor from the older versions of its own.

use backstore_protocol::ids::{LineageId, ObjectId};

use super::*;
use crate::reading::{ReadingError, Versions};
use crate::testing::Computer;
use crate::testing::faulty::{Fault, open, open_faulty};

/// A computer with three versions of the set `often` and one of `once`.
fn computer() -> Computer {
    let computer = Computer::new();
    for content in ["1", "22", "333"] {
        std::fs::write(computer.path("source/file"), content).unwrap();
        computer.back_up_roots("often", 1, &[&computer.path("source")]);
    }
    computer.back_up_roots("once", 2, &[&computer.path("source")]);
    computer
}

/// What the versions of `often` say of themselves, newest first.
fn bodies(computer: &Computer) -> Vec<ObjectId> {
    let archive = open(computer);
    let stored = archive.snapshots(LineageId::from_bytes([1; 16]));
    stored.map(|stored| archive.verify(&stored.unwrap()).unwrap().body).collect()
}

/// The sets that are found, the sequences of what speaks for them, and how many are damaged.
fn found(archive: &Archive) -> (Vec<(String, u64)>, usize) {
    let Lineages { readable, damaged } = archive.lineages().unwrap();
    let heads = readable.iter().map(|lineage| (lineage.head.body.set.clone(), lineage.head.header.sequence));
    (heads.collect(), damaged.len())
}

#[test]
fn an_older_version_speaks_for_a_set_whose_newest_is_damaged() {
    let computer = computer();
    let bodies = bodies(&computer);
    assert_eq!(bodies.len(), 3);
    let archive = open_faulty(&computer, Fault::Damaged(bodies[..2].to_vec()));
    let often = |sequence| ("often".to_owned(), sequence);
    let once = ("once".to_owned(), 1);
    assert_eq!(found(&archive), (vec![often(1), once], 0));
    // Its files are whole.
    let versions = Versions::choose(&archive, Some("often"), None, &[]).unwrap();
    let newest = versions.at(None, computer.machine.now_ms()).unwrap();
    assert_eq!(newest.sequence, 3);
    let sizes = versions.view(&newest).walk_all().unwrap().map(|item| item.unwrap().1.size);
    assert!(sizes.into_iter().any(|size| size == 3));
}

#[test]
fn a_set_that_is_damaged_keeps_nobody_from_the_others() {
    let computer = computer();
    let archive = open_faulty(&computer, Fault::Damaged(bodies(&computer)));
    assert_eq!(found(&archive), (vec![("once".to_owned(), 1)], 1));
    assert!(Versions::choose(&archive, Some("once"), None, &[]).is_ok());
    let often = Versions::choose(&archive, Some("often"), None, &[]).map(|_| ()).unwrap_err();
    assert!(matches!(&often, ReadingError::Archive(error) if error.is_damage()), "{often:?}");
    drop(archive);

    let archive = open_faulty(&computer, Fault::Unreachable);
    assert!(archive.lineages().is_err(), "who cannot be asked has not lost anything");
}
