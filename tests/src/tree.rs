//! Trees of files that tests make.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::hash::{DefaultHasher, Hasher};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Timespec, Timestamps};

/// Bytes that no compressor shortens, the same for the same seed.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// Writes a file and the folders above it.
pub fn write(path: &Path, bytes: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// Small and large files in a few folders: about 9 MB.
pub fn example(folder: &Path) {
    for number in 0..40 {
        let text = format!("file {number}\n").repeat(number * 37);
        write(&folder.join(format!("texts/{}/note {number}.txt", number % 4)), text.as_bytes());
    }
    write(&folder.join("empty"), b"");
    fs::create_dir_all(folder.join("empty folder")).unwrap();
    write(&folder.join("pictures/large.raw"), &noise(1, 6 << 20));
    write(&folder.join("pictures/small.raw"), &noise(2, 700 << 10));
    write(&folder.join("pictures/other.raw"), &noise(3, 2 << 20));
}

/// What a file system can hold and programs stumble over: odd names, all kinds of files, links, holes, old and future times, deep paths.
pub fn ugly(folder: &Path) {
    let name = |bytes: &[u8]| folder.join(OsStr::from_bytes(bytes));
    write(&folder.join("empty"), b"");
    fs::create_dir_all(folder.join("empty folder/inside")).unwrap();
    for bytes in [
        &b"not \xff\xfe utf-8"[..],
        b"new\nline",
        b"tab\t\x1b[31mred",
        b" leading and trailing ",
        b"-rf",
        b"*?[a]\"'$(x)",
    ] {
        write(&name(bytes), bytes);
    }
    write(&name(&[b'n'; 255]), b"a name of 255 bytes");
    write(&name(&[0xe4; 255]), b"and not utf-8");
    write(&folder.join("inline"), &noise(1, 512));
    write(&folder.join("small"), &noise(2, 513));
    write(&folder.join("large"), &noise(3, 5 << 20));
    fs::hard_link(folder.join("large"), folder.join("empty folder/linked")).unwrap();
    fs::hard_link(folder.join("small"), folder.join("zz linked")).unwrap();
    symlink("empty", folder.join("link")).unwrap();
    symlink("../../../etc/passwd", folder.join("link out")).unwrap();
    symlink(OsStr::from_bytes(b"dangling \xff"), folder.join("link to nothing")).unwrap();
    rustix::fs::mknodat(CWD, folder.join("fifo"), FileType::Fifo, Mode::from_raw_mode(0o640), 0).unwrap();
    let sparse = File::create(folder.join("sparse")).unwrap();
    sparse.set_len(64 << 20).unwrap();
    sparse.write_all_at(&noise(4, 70_000), 20 << 20).unwrap();
    sparse.write_all_at(b"the end", (64 << 20) - 7).unwrap();
    File::create(folder.join("only a hole")).unwrap().set_len(9 << 20).unwrap();
    fs::set_permissions(folder.join("inline"), Permissions::from_mode(0o400)).unwrap();
    fs::set_permissions(folder.join("-rf"), Permissions::from_mode(0o777)).unwrap();
    let mut deep = folder.join("deep");
    // Longer than PATH_MAX, so each step is made from the one above it.
    let part = "d".repeat(200);
    fs::create_dir(&deep).unwrap();
    let mut here = rustix::fs::open(&deep, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).unwrap();
    for _ in 0..25 {
        rustix::fs::mkdirat(&here, &part, Mode::RWXU).unwrap();
        here = rustix::fs::openat(&here, &part, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).unwrap();
    }
    drop(
        rustix::fs::openat(&here, "bottom", OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC, Mode::RUSR)
            .unwrap(),
    );
    deep.push("beside");
    write(&deep, b"beside the deep");
    for (file, seconds, nanoseconds) in [
        ("empty", -1_000_000_000, 123_456_789),
        ("small", 5_000_000_000, 1),
        ("link", 1_000_000_000, 999_999_999),
    ] {
        let time = Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
        let times = Timestamps { last_access: time, last_modification: time };
        rustix::fs::utimensat(CWD, folder.join(file), &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
    }
}

/// A line for each file below a folder: all that a copy of it has in common with it. Links among its files are numbered in the order they are met.
pub fn describe(folder: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    let mut groups = HashMap::new();
    describe_below(
        &rustix::fs::open(folder, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).unwrap(),
        &mut Vec::new(),
        &mut lines,
        &mut groups,
    );
    lines
}

fn describe_below(
    folder: &OwnedFd,
    path: &mut Vec<u8>,
    lines: &mut Vec<String>,
    groups: &mut HashMap<u64, usize>,
) {
    let mut names: Vec<_> = Dir::read_from(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_bytes().to_owned())
        .filter(|name| name != b"." && name != b"..")
        .collect();
    names.sort();
    for name in names {
        let stat = rustix::fs::statat(folder, &name[..], AtFlags::SYMLINK_NOFOLLOW).unwrap();
        let kind = FileType::from_raw_mode(stat.st_mode);
        let before = path.len();
        path.push(b'/');
        path.extend_from_slice(&name);
        let content = match kind {
            FileType::RegularFile => {
                let file =
                    rustix::fs::openat(folder, &name[..], OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
                        .unwrap();
                format!("{} {:016x}", stat.st_size, digest(File::from(file)))
            }
            FileType::Symlink => {
                format!("{:?}", rustix::fs::readlinkat(folder, &name[..], Vec::new()).unwrap())
            }
            _ => String::new(),
        };
        let group = if kind == FileType::RegularFile && stat.st_nlink > 1 {
            let next = groups.len();
            format!("group {}", groups.entry(stat.st_ino).or_insert(next))
        } else {
            String::new()
        };
        // Linux cannot set times of links everywhere, but it can here.
        lines.push(format!(
            "{} {kind:?} {:o} {}:{} {}.{:09} {content} {group}",
            path.escape_ascii(),
            stat.st_mode & 0o7777,
            stat.st_uid,
            stat.st_gid,
            stat.st_mtime,
            stat.st_mtime_nsec,
        ));
        if kind == FileType::Directory {
            let below =
                rustix::fs::openat(folder, &name[..], OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
                    .unwrap();
            describe_below(&below, path, lines, groups);
        }
        path.truncate(before);
    }
}

fn digest(mut file: File) -> u64 {
    let mut hasher = DefaultHasher::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let length = file.read(&mut buffer).unwrap();
        if length == 0 {
            return hasher.finish();
        }
        // Not `Hash::hash`, which would add the length of what happened to be read at a time.
        hasher.write(&buffer[..length]);
    }
}
