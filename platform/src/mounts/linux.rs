//! Linux: `/proc/self/mountinfo`, and `/sys/dev/block` for what spins.

use std::ffi::OsString;
use std::fs;
use std::io::{self, BufRead, BufReader};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::{MOUNTS_MAX, Mount, Storage};
use crate::walk::{DeviceId, MountId};

pub(super) fn read() -> io::Result<Vec<Mount>> {
    parse(BufReader::new(fs::File::open("/proc/self/mountinfo")?))
}

/// Reads the table's text, line by line, so that memory is taken only for what is a mount.
fn parse(text: impl BufRead) -> io::Result<Vec<Mount>> {
    let mut mounts = Vec::new();
    for line in text.split(b'\n') {
        let line = line?;
        let malformed = || {
            let line = String::from_utf8_lossy(&line);
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("a line of the mount table is malformed: {line:?}"),
            )
        };
        if mounts.len() == MOUNTS_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the mount table is too long"));
        }
        mounts.push(parse_line(&line).ok_or_else(malformed)?);
    }
    Ok(mounts)
}

/// `36 35 98:0 /root /point rw,noatime shared:1 - ext4 /dev/sda1 rw`, with any number of fields before the dash.
fn parse_line(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|byte| *byte == b' ');
    let mut text = || str::from_utf8(fields.next()?).ok();
    let id = MountId(text()?.parse().ok()?);
    let _parent = text()?;
    let (major, minor) = text()?.split_once(':')?;
    let device = DeviceId::from_numbers(major.parse().ok()?, minor.parse().ok()?);
    let _root = fields.next()?;
    let point = PathBuf::from(OsString::from_vec(unescaped(fields.next()?)));
    let is_read_only = fields.next()?.split(|byte| *byte == b',').any(|option| option == b"ro");
    fields.find(|field| *field == b"-")?;
    let lossy = |field: &[u8]| String::from_utf8_lossy(&unescaped(field)).into_owned();
    let file_system = lossy(fields.next()?);
    let source = lossy(fields.next()?);
    Some(Mount { id, point, file_system, source, device, is_read_only })
}

/// Undoes the kernel's `\ooo` for bytes that would end a field.
fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, tail @ ..] = rest {
        rest = match rest {
            [b'\\', a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', tail @ ..] => {
                bytes.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                tail
            }
            _ => {
                bytes.push(*first);
                tail
            }
        };
    }
    bytes
}

/// What the kernel says of the disk. A file system without a number of its own is asked for by its source.
pub(super) fn storage(mount: &Mount) -> Storage {
    let by_source = || {
        let device = fs::metadata(&mount.source).ok()?.rdev();
        Some(DeviceId::from_numbers(rustix::fs::major(device), rustix::fs::minor(device)))
    };
    let device = if mount.device.numbers().0 == 0 { by_source() } else { Some(mount.device) };
    device.map_or(Storage::Unknown, |device| storage_of(device, Path::new("/sys")))
}

/// The same for a block device, in a `/sys` of this path.
fn storage_of(device: DeviceId, sys: &Path) -> Storage {
    let (major, minor) = device.numbers();
    let block = fs::canonicalize(sys.join(format!("dev/block/{major}:{minor}")));
    block.map_or(Storage::Unknown, |block| storage_at(&block, DEPTH_MAX))
}

/// Volumes upon volumes, at most.
const DEPTH_MAX: usize = 8;

/// A volume is what its slowest disk is; a partition, what its disk is.
fn storage_at(block: &Path, depth: usize) -> Storage {
    let below: Vec<PathBuf> = fs::read_dir(block.join("slaves")).map_or_else(
        |_| Vec::new(),
        |slaves| slaves.filter_map(|slave| fs::canonicalize(slave.ok()?.path()).ok()).collect(),
    );
    if !below.is_empty() && depth > 0 {
        let kinds: Vec<Storage> = below.iter().map(|slave| storage_at(slave, depth - 1)).collect();
        let kind = [Storage::Rotational, Storage::Unknown].into_iter().find(|kind| kinds.contains(kind));
        return kind.unwrap_or(Storage::SolidState);
    }
    let disk = [Some(block), block.parent()].into_iter().flatten().find(|disk| disk.join("queue").is_dir());
    let Some(disk) = disk.filter(|disk| !is_virtual(disk)) else { return Storage::Unknown };
    match fs::read(disk.join("queue/rotational")).as_deref() {
        Ok(b"1\n") => Storage::Rotational,
        Ok(b"0\n") => Storage::SolidState,
        Ok(_) | Err(_) => Storage::Unknown,
    }
}

/// Disks of virtual machines and of files call themselves rotational, whatever is below them.
fn is_virtual(disk: &Path) -> bool {
    let name = disk.file_name().unwrap_or_default().as_encoded_bytes();
    let by_name = [&b"vd"[..], b"xvd", b"loop", b"nbd", b"rbd"].iter().any(|start| name.starts_with(start));
    let says = |file: &str, words: &[&str]| {
        let text = fs::read_to_string(disk.join("device").join(file)).unwrap_or_default();
        words.iter().any(|word| text.trim_start().starts_with(word))
    };
    by_name
        || says("vendor", &["QEMU", "VBOX", "VMware", "Msft", "Google"])
        || says("model", &["QEMU", "VBOX", "VMware"])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mounts::MountTable;
    use crate::walk::{Directory, FullStat};

    #[test]
    fn lines_are_read_as_the_kernel_writes_them() {
        let table = b"36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue\n\
            28 1 0:25 / /with\\040space\\134and\\012line ro,relatime shared:1 master:2 - fuse.sshfs host:/a\\040b rw\n\
            29 1 0:26 / / rw - tmpfs none ro\n";
        let mounts = parse(&table[..]).unwrap();
        let expected = Mount {
            id: MountId(36),
            point: "/mnt2".into(),
            file_system: "ext3".into(),
            source: "/dev/root".into(),
            device: DeviceId::from_numbers(98, 0),
            is_read_only: false,
        };
        assert_eq!(mounts[0], expected);
        assert_eq!(mounts[1].point, Path::new("/with space\\and\nline"));
        assert_eq!((&*mounts[1].source, mounts[1].is_read_only), ("host:/a b", true));
        assert_eq!((mounts[2].id, mounts[2].is_read_only, mounts.len()), (MountId(29), false, 3));
    }

    #[test]
    fn malformed_tables_are_refused() {
        for line in [
            "",
            "36",
            "36 35 98 / / rw - ext3 x rw",
            "36 35 98:0 / / rw ext3 x rw",
            "x 35 98:0 / / rw - ext3 x",
            "36 35 98:0 / / rw -",
        ] {
            assert_eq!(
                parse(&[line.as_bytes(), b"\n"].concat()[..]).unwrap_err().kind(),
                io::ErrorKind::InvalidData,
                "{line}"
            );
        }
    }

    #[test]
    fn escapes_are_undone_and_others_left() {
        let check = |field: &[u8], expected: &[u8]| assert_eq!(unescaped(field), expected);
        check(b"a\\040b\\011", b"a b\t");
        check(b"\\", b"\\");
        check(b"\\04", b"\\04");
        check(b"\\400", b"\\400");
        check(b"\\377", b"\xff");
    }

    #[test]
    fn the_mounts_of_this_computer_are_found() {
        let table = MountTable::read().unwrap();
        let proc = Directory::open(Path::new("/proc")).unwrap().full_stat_self().unwrap();
        let found = table.of(&proc).expect("/proc is mounted");
        assert_eq!((&*found.point, &*found.file_system), (Path::new("/proc"), "proc"));
        assert!(found.is_pseudo());
        assert_eq!(found.storage(), Storage::Unknown);
        assert_eq!(table.of_path(Path::new("/proc/self/stat")), Some(found));
        let by_device = table.of(&FullStat { mount: None, ..proc }).expect("by its device");
        assert_eq!(by_device.file_system, "proc");
        assert!(table.iter().all(|mount| mount.point.is_absolute()));
    }

    /// A `/sys` as the kernel makes it: devices in folders, links to them by number and from volumes.
    #[test]
    fn volumes_and_partitions_are_what_their_disks_are() {
        use std::os::unix::fs::symlink;
        let sys = tempfile::tempdir().unwrap();
        let sys = sys.path();
        let disk = |path: &str, rotational: &str| {
            fs::create_dir_all(sys.join(path).join("queue")).unwrap();
            fs::write(sys.join(path).join("queue/rotational"), rotational).unwrap();
        };
        let number = |minor: u32, path: &str| {
            fs::create_dir_all(sys.join("dev/block")).unwrap();
            fs::create_dir_all(sys.join(path)).unwrap();
            symlink(sys.join(path), sys.join(format!("dev/block/8:{minor}"))).unwrap();
        };
        let slave = |volume: &str, path: &str| {
            fs::create_dir_all(sys.join(volume).join("slaves")).unwrap();
            symlink(sys.join(path), sys.join(volume).join("slaves").join(path.replace('/', "!"))).unwrap();
        };
        disk("devices/sda", "1\n");
        disk("devices/nvme0n1", "0\n");
        disk("devices/vda", "1\n");
        disk("devices/sdb", "1\n");
        fs::create_dir_all(sys.join("devices/sdb/device")).unwrap();
        fs::write(sys.join("devices/sdb/device/model"), "QEMU HARDDISK   \n").unwrap();
        disk("devices/sdc", "maybe\n");
        // Volumes have queues of their own, and folders of slaves that may be empty.
        for volume in ["dm-0", "dm-1", "dm-2", "dm-3"] {
            disk(&format!("devices/virtual/{volume}"), "0\n");
        }
        for (minor, path) in [
            (0, "devices/sda"),
            (1, "devices/sda/sda1"),
            (2, "devices/nvme0n1/nvme0n1p3"),
            (3, "devices/vda"),
            (4, "devices/sdb/sdb1"),
            (5, "devices/sdc"),
            (6, "devices/virtual/dm-0"),
            (7, "devices/virtual/dm-1"),
            (8, "devices/virtual/dm-2"),
            (9, "devices/virtual/dm-3"),
        ] {
            number(minor, path);
        }
        // dm-0 is encryption over a mirror, dm-1, of a disk that spins and one that does not; dm-2 has only the latter.
        slave("devices/virtual/dm-0", "devices/virtual/dm-1");
        slave("devices/virtual/dm-1", "devices/nvme0n1/nvme0n1p3");
        slave("devices/virtual/dm-1", "devices/sda/sda1");
        slave("devices/virtual/dm-2", "devices/nvme0n1/nvme0n1p3");
        // One over itself, which no kernel makes.
        slave("devices/virtual/dm-3", "devices/virtual/dm-3");
        let kind = |minor| storage_of(DeviceId::from_numbers(8, minor), sys);
        assert_eq!([kind(0), kind(1), kind(6), kind(7)], [Storage::Rotational; 4]);
        assert_eq!([kind(2), kind(8), kind(9)], [Storage::SolidState; 3]);
        assert_eq!([kind(3), kind(4), kind(5), kind(99)], [Storage::Unknown; 4]);
    }
}
