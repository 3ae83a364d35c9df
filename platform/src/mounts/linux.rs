//! Linux: `/proc/self/mountinfo`, and `/sys/dev/block` for what spins.

use std::ffi::OsString;
use std::fs;
use std::io::{self, BufRead, BufReader};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

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

/// What the kernel says of the disk. A partition is asked by its disk; a file system without a number of its own, by its source.
pub(super) fn storage(mount: &Mount) -> Storage {
    let by_source = || {
        let device = fs::metadata(&mount.source).ok()?.rdev();
        Some(DeviceId::from_numbers(rustix::fs::major(device), rustix::fs::minor(device)))
    };
    let device = if mount.device.numbers().0 == 0 { by_source() } else { Some(mount.device) };
    let Some((major, minor)) = device.map(DeviceId::numbers) else { return Storage::Unknown };
    let block = PathBuf::from(format!("/sys/dev/block/{major}:{minor}"));
    let said =
        ["queue/rotational", "../queue/rotational"].iter().find_map(|file| fs::read(block.join(file)).ok());
    match said.as_deref() {
        Some(b"1\n") => Storage::Rotational,
        Some(b"0\n") => Storage::SolidState,
        _ => Storage::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

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
}
