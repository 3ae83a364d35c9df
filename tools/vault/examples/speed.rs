//! How fast a vault is on this machine: `cargo run --release -p backstore-vault --example speed -- FOLDER [GIB]`.
//!
//! Puts objects of 512 KiB as one client, reads them in the order of packs, asks which it has, opens, and makes the index anew.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use backstore_platform::machine::System;
use backstore_protocol::ids::{DeviceId, ObjectId};
use backstore_protocol::object::{ObjectKind, SealedObject};
use backstore_vault::{Access, AccountNumber, OpenOptions, Vault};
use bytes::Bytes;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let dir = PathBuf::from(arguments.next().ok_or("usage: speed FOLDER [GIB] [SMALL OBJECTS]")?);
    let gib: u64 = arguments.next().map_or(Ok(2), |gib| gib.parse())?;
    let small: u64 = arguments.next().map_or(Ok(1_000_000), |count| count.parse())?;
    large_objects(&dir.join("large"), gib << 30)?;
    many_objects(&dir.join("many"), small)
}

fn options(dir: &std::path::Path, access: Access) -> OpenOptions {
    OpenOptions::folder(dir.to_owned(), dir.with_extension("index"), access, Arc::new(System))
}

fn large_objects(dir: &std::path::Path, total: u64) -> Result<()> {
    Vault::create(dir, &System)?;
    let vault = Vault::open(options(dir, Access::Write))?;
    let account = vault.account(AccountNumber::new(1).ok_or("an account")?);
    let device = DeviceId::from_bytes([1; 16]);
    let sealed: Vec<Bytes> = (0..16u64).map(|n| pseudo_random(n, LARGE)).collect();
    let count = total / LARGE as u64;
    let clock = Clock::start();
    let mut receipts = VecDeque::new();
    for batch in (0..count).collect::<Vec<_>>().chunks(16) {
        let object = |n: &u64| SealedObject {
            id: id(*n),
            kind: ObjectKind::Data,
            level: 0,
            references: Bytes::new(),
            sealed: sealed[(*n % 16) as usize].clone(),
        };
        receipts.push_back(account.put(device, batch.iter().map(object).collect())?);
        if receipts.len() > 2 {
            receipts.pop_front().ok_or("a receipt")?.wait()?;
        }
    }
    for receipt in receipts {
        receipt.wait()?;
    }
    clock.report("put, durable", total);
    let clock = Clock::start();
    vault.close()?;
    clock.report("close", 0);

    let vault = Vault::open(options(dir, Access::Write))?;
    let account = vault.account(AccountNumber::new(1).ok_or("an account")?);
    for _ in 0..2 {
        let clock = Clock::start();
        let mut bytes = 0;
        for ids in (0..count).map(id).collect::<Vec<_>>().chunks(64) {
            account
                .read(ids, &mut |_, object| bytes += object.map_or(0, |object| object.sealed.len() as u64))?;
        }
        clock.report("read in order of packs", bytes);
        assert_eq!(bytes, total, "every object is whole");
    }
    Ok(())
}

/// Many objects of 512 bytes: what the index and the opening cost.
fn many_objects(dir: &std::path::Path, count: u64) -> Result<()> {
    Vault::create(dir, &System)?;
    let vault = Vault::open(options(dir, Access::Write))?;
    let account = vault.account(AccountNumber::new(1).ok_or("an account")?);
    let device = DeviceId::from_bytes([1; 16]);
    let sealed = pseudo_random(0, 512);
    let clock = Clock::start();
    let mut last = None;
    for batch in (0..count).collect::<Vec<_>>().chunks(1024) {
        let object = |n: &u64| SealedObject {
            id: id(*n),
            kind: ObjectKind::Data,
            level: 0,
            references: Bytes::new(),
            sealed: sealed.clone(),
        };
        last = Some(account.put(device, batch.iter().map(object).collect())?);
    }
    last.ok_or("at least one object")?.wait()?;
    clock.report_count("put small objects", count);
    let clock = Clock::start();
    vault.close()?;
    clock.report("close", 0);
    let clock = Clock::start();
    let vault = Vault::open(options(dir, Access::Write))?;
    clock.report("open", 0);
    let account = vault.account(AccountNumber::new(1).ok_or("an account")?);
    let step = (count / 8192).max(1);
    for (what, offset) in [
        ("have, held, cold", 0),
        ("have, held", 1),
        ("have, held", 2),
        ("have, absent", count),
        ("have, absent", count + 1),
    ] {
        let ids: Vec<_> = (0..8192).map(|n| id(n * step + offset)).collect();
        let clock = Clock::start();
        let held = account.have(&ids)?;
        clock.report_count(what, 8192);
        assert!(held.iter().all(|held| *held == (offset < count)), "the right answer");
    }
    vault.close()?;
    let clock = Clock::start();
    let vault = Vault::open(options(dir, Access::Read))?;
    clock.report_count("index made anew", vault.report().records);
    Ok(())
}

fn id(n: u64) -> ObjectId {
    ObjectId::from_bytes(*blake3::hash(&n.to_le_bytes()).as_bytes())
}

fn pseudo_random(seed: u64, length: usize) -> Bytes {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes.into()
}

/// Wall and processor time.
struct Clock {
    wall: Instant,
    cpu: f64,
}

impl Clock {
    fn start() -> Self {
        Self { wall: Instant::now(), cpu: cpu_seconds() }
    }

    fn report(&self, what: &str, bytes: u64) {
        let (wall, cpu) = (self.wall.elapsed().as_secs_f64(), cpu_seconds() - self.cpu);
        let giga = bytes as f64 / 1e9;
        match bytes {
            0 => println!("{what:30} {:9.2} ms   cpu {:9.2} ms", wall * 1e3, cpu * 1e3),
            _ => println!("{what:30} {wall:9.3} s {:7.2} GB/s   {:5.2} cpu-s/GB", giga / wall, cpu / giga),
        }
    }

    fn report_count(&self, what: &str, count: u64) {
        let (wall, cpu) = (self.wall.elapsed().as_secs_f64(), cpu_seconds() - self.cpu);
        println!(
            "{what:30} {:9.2} ms {:9.0} k/s   cpu {:9.2} ms",
            wall * 1e3,
            count as f64 / wall / 1e3,
            cpu * 1e3
        );
    }
}

/// Of this process, all threads; 0 where the system does not say.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<_> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    let ticks: u64 = fields.iter().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    ticks as f64 / 100.0
}

const LARGE: usize = 512 * 1024;
