//! Mounts a folder as though it had been backed up, to look at the mount and to measure it without a destination.
//!
//! `mount_folder FOLDER MOUNTPOINT [stream]`: reads FOLDER into an archive in memory, then mounts that (Linux only), or with `stream` reads
//! all of it as a restore would and tells how long that took.

use std::env;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use backstore_protocol::ids::{LineageId, SnapshotId};
use backstore_protocol::tree::Root;
use backstore_vfs::host::{MountOptions, add_folder, mount};
use backstore_vfs::model::{FolderOptions, Snapshots, Version};
use backstore_vfs::objects::{ObjectReader, ReaderOptions};
use backstore_vfs::stream::{ContentStream, Event, WINDOW_BYTES, Wanted};
use backstore_vfs::test_archive::TestArchive;
use backstore_vfs::view::View;

fn main() -> ExitCode {
    let arguments: Vec<_> = env::args_os().skip(1).map(PathBuf::from).collect();
    let result = match &arguments[..] {
        [folder, point] => show(folder, point),
        [folder, _, _] => read_all(folder),
        _ => Err("usage: mount_folder FOLDER MOUNTPOINT [stream]".into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn archive(folder: &Path) -> Result<(Root, Arc<ObjectReader>)> {
    let started = Instant::now();
    let mut archive = TestArchive::new();
    add_folder(&mut archive, folder)?;
    let root = archive.finish();
    let stored = archive.source().stored_bytes() >> 20;
    println!("read into {stored} MiB of objects in {:.1} s", started.elapsed().as_secs_f64());
    Ok((root, ObjectReader::new(archive.source(), archive.keys(), &ReaderOptions::default())?))
}

fn show(folder: &Path, point: &Path) -> Result<()> {
    let (root, reader) = archive(folder)?;
    let version = Version {
        id: SnapshotId::ZERO,
        lineage: LineageId::ZERO,
        sequence: 1,
        started_at: 0,
        received_at: 0,
        zone: "UTC".into(),
        root,
        is_partial: false,
        entries: 0,
        bytes: 0,
        tags: Box::default(),
    };
    let started = Instant::now();
    let model = Arc::new(Snapshots::new(&reader, FolderOptions::default())?);
    model.set_versions(vec![version]);
    let loops = env::var("LOOPS").ok().and_then(|n| n.parse().ok()).unwrap_or(2);
    let handle = mount(model, point, &MountOptions { event_loops: loops, ..MountOptions::default() })?;
    println!("mounted in {:.1} ms; unmount to end", started.elapsed().as_secs_f64() * 1e3);
    handle.wait();
    println!("{:#?}\n{:#?}", handle.requests(), reader.counters());
    Ok(())
}

fn read_all(folder: &Path) -> Result<()> {
    let (root, reader) = archive(folder)?;
    let started = Instant::now();
    let walk = View::new(Arc::clone(&reader), root).walk_all()?;
    let files = walk.filter_map(std::result::Result::ok).map(|(path, entry)| Wanted {
        tag: path,
        content: entry.content,
        size: entry.size,
    });
    let (mut starts, mut bytes) = (0u64, 0u64);
    for event in ContentStream::new(&reader, files, WINDOW_BYTES) {
        match event {
            Event::Start(_) => starts += 1,
            Event::Data(data) => bytes += data.len() as u64,
            Event::Hole(_) => {}
            Event::Failed { error, .. } => return Err(error.into()),
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    println!(
        "{starts} entries, {} MiB in {seconds:.2} s: {:.0} MB/s",
        bytes >> 20,
        bytes as f64 / seconds / 1e6
    );
    println!("{:#?}", reader.counters());
    Ok(())
}
