//! How fast this computer lists names and reads metadata: `cargo run --release --example walk_speed -- FOLDER [ROUNDS]`.
//!
//! One thread, handles only, names sorted in each directory as a backup does. The first round also fills the system's caches.

use std::io;
use std::path::Path;
use std::time::Instant;

use backstore_platform::walk::{Directory, ListBuffer};
use backstore_protocol::entry::Kind;

fn main() -> io::Result<()> {
    let mut arguments = std::env::args_os().skip(1);
    let folder = arguments.next().ok_or_else(|| io::Error::other("which folder?"))?;
    let rounds = arguments.next().and_then(|text| text.to_str()?.parse().ok()).unwrap_or(5);
    for round in 1..=rounds {
        let start = Instant::now();
        let mut walk = Walk::default();
        walk.descend(Directory::open(Path::new(&folder))?)?;
        let rate = walk.files as f64 / start.elapsed().as_secs_f64();
        println!("round {round}: {} names, {} bytes, {:.0} names/s", walk.files, walk.bytes, rate);
    }
    Ok(())
}

#[derive(Default)]
struct Walk {
    buffer: ListBuffer,
    files: u64,
    bytes: u64,
}

impl Walk {
    fn descend(&mut self, mut directory: Directory) -> io::Result<()> {
        let (mut names, mut places) = (Vec::new(), Vec::new());
        directory.list(&mut self.buffer, |listed| {
            places.push((names.len(), listed.name.len()));
            names.extend_from_slice(listed.name);
            Ok(())
        })?;
        let name = |(start, length): (usize, usize)| &names[start..start + length];
        places.sort_unstable_by(|a, b| name(*a).cmp(name(*b)));
        for place in places {
            let stat = directory.stat(name(place))?;
            self.files += 1;
            self.bytes += stat.size;
            if stat.kind == Kind::Directory {
                self.descend(directory.open_child(name(place))?)?;
            }
        }
        Ok(())
    }
}
