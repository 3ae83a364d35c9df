//! How an archived file looks in a list, for people and for programs.

use backstore_platform::paths::Printable;
use backstore_protocol::content_hash::content_hash;
use backstore_protocol::entry::{Content, Entry, Kind, Principal, PrincipalId, Time};
use backstore_protocol::keys::IdKeys;
use backstore_protocol::path::ArchivePath;
use chrono::{DateTime, SecondsFormat, Utc};
use chrono_tz::Tz;
use serde_json::{Map, Value, json};

/// A path as its own system writes it, in raw bytes.
pub(super) fn path_bytes(path: &ArchivePath) -> Vec<u8> {
    let mut components = path.components();
    let root = components.next().unwrap_or_default();
    let (mut bytes, separator) = match root {
        b"/" => (Vec::new(), b'/'),
        _ => (root.strip_prefix(b"UNC").map_or(root.to_vec(), |share| [b"\\", share].concat()), b'\\'),
    };
    let is_root = path.depth() == 0;
    for name in components {
        bytes.push(separator);
        bytes.extend_from_slice(name);
    }
    if is_root && !root.starts_with(b"UNC") {
        bytes.push(separator);
    }
    bytes
}

/// A path in a message.
pub(super) fn shown_path(path: &ArchivePath) -> String {
    Printable(&path_bytes(path)).to_string()
}

/// One letter for a kind of file.
const fn letter(kind: Kind) -> char {
    match kind {
        Kind::File => '-',
        Kind::Directory | Kind::ImpliedDirectory => 'd',
        Kind::Symlink => 'l',
        Kind::Fifo => 'p',
        Kind::Socket => 's',
        Kind::CharacterDevice => 'c',
        Kind::BlockDevice => 'b',
    }
}

/// One word for a kind of file.
pub(super) const fn kind_word(kind: Kind) -> &'static str {
    match kind {
        Kind::File => "file",
        Kind::Directory | Kind::ImpliedDirectory => "directory",
        Kind::Symlink => "symlink",
        Kind::Fifo => "fifo",
        Kind::Socket => "socket",
        Kind::CharacterDevice => "character device",
        Kind::BlockDevice => "block device",
    }
}

/// `drwxr-xr-x`.
fn mode_text(entry: &Entry) -> String {
    let mut text = String::with_capacity(10);
    text.push(letter(entry.kind));
    for (shift, special, set, unset) in [(6, 0o4000, 's', 'S'), (3, 0o2000, 's', 'S'), (0, 0o1000, 't', 'T')]
    {
        let bits = entry.mode >> shift;
        text.push(if bits & 4 != 0 { 'r' } else { '-' });
        text.push(if bits & 2 != 0 { 'w' } else { '-' });
        text.push(match (bits & 1 != 0, entry.mode & special != 0) {
            (true, true) => set,
            (false, true) => unset,
            (true, false) => 'x',
            (false, false) => '-',
        });
    }
    text
}

fn principal_text(principal: &Principal) -> String {
    match (&principal.id, &principal.name[..]) {
        (PrincipalId::None, b"") => "-".to_owned(),
        (PrincipalId::Unix(id), b"") => id.to_string(),
        (PrincipalId::Sid(_), b"") => "?".to_owned(),
        (_, name) => Printable(name).to_string(),
    }
}

/// A time in a zone, to the second.
pub(super) fn time_text(time: Time, zone: Tz) -> String {
    match DateTime::from_timestamp(time.seconds, 0) {
        Some(moment) => moment.with_timezone(&zone).format("%Y-%m-%d %H:%M:%S").to_string(),
        None => format!("@{}", time.seconds),
    }
}

/// What precedes the name in a long list: mode, owner, group, size, time.
pub(super) fn long(entry: &Entry, zone: Tz) -> String {
    let size = if entry.kind.is_device() {
        format!("{}, {}", entry.device.0, entry.device.1)
    } else {
        entry.size.to_string()
    };
    format!(
        "{} {:<8} {:<8} {size:>12} {} ",
        mode_text(entry),
        principal_text(&entry.owner),
        principal_text(&entry.group),
        time_text(entry.mtime, zone)
    )
}

/// What follows the name in a long list: where a link leads, and what is wrong with a file.
pub(super) fn long_after(entry: &Entry) -> String {
    let mut text = String::new();
    if let (Kind::Symlink, Content::Inline(target)) = (entry.kind, &entry.content) {
        text.push_str(&format!(" -> {}", Printable(target)));
    }
    if entry.content == Content::Unread {
        text.push_str("  (could not be read)");
    } else if entry.stale {
        text.push_str("  (could not be read; content of an earlier version)");
    } else if entry.changing {
        text.push_str("  (changed while it was read)");
    }
    text
}

/// A hash that is the same for equal contents; nothing where there is no content.
pub(super) fn hash(entry: &Entry, keys: &IdKeys) -> Option<String> {
    let hash = match (&entry.content, entry.content_hash) {
        (_, Some(hash)) => hash,
        (Content::Inline(bytes), None) => content_hash(keys, bytes),
        (Content::None | Content::Unread | Content::Extents(_) | Content::Map(_), None) => return None,
    };
    Some(hash.to_string())
}

/// Text that need not be UTF-8: as text, and where that loses something the bytes beside it in hexadecimal digits.
pub(super) fn put_bytes(document: &mut Map<String, Value>, name: &str, bytes: &[u8]) {
    document.insert(name.to_owned(), String::from_utf8_lossy(bytes).into());
    if std::str::from_utf8(bytes).is_err() {
        let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        document.insert(format!("{name}_hex"), digits.into());
    }
}

/// A moment by RFC 3339, to the nanosecond; beyond the calendar `@` and seconds.
pub(super) fn time_json(time: Time) -> Value {
    match DateTime::<Utc>::from_timestamp(time.seconds, time.nanoseconds) {
        Some(moment) => moment.to_rfc3339_opts(SecondsFormat::Nanos, true).into(),
        None => format!("@{}", time.seconds).into(),
    }
}

/// A moment in milliseconds since 1970, by RFC 3339.
pub(super) fn milliseconds_json(milliseconds: i64) -> Value {
    DateTime::<Utc>::from_timestamp_millis(milliseconds)
        .map_or(Value::Null, |moment| moment.to_rfc3339_opts(SecondsFormat::Millis, true).into())
}

/// An entry as a document.
pub(super) fn entry_json(path: &ArchivePath, entry: &Entry, keys: &IdKeys) -> Map<String, Value> {
    let mut document = Map::new();
    put_bytes(&mut document, "path", &path_bytes(path));
    let id = |principal: &Principal| match &principal.id {
        PrincipalId::None => Value::Null,
        PrincipalId::Unix(id) => json!(id),
        PrincipalId::Sid(sid) => sid.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into(),
    };
    document.insert("type".to_owned(), kind_word(entry.kind).into());
    document.insert("size".to_owned(), entry.size.into());
    document.insert("mode".to_owned(), format!("{:04o}", entry.mode).into());
    document.insert("uid".to_owned(), id(&entry.owner));
    document.insert("gid".to_owned(), id(&entry.group));
    put_bytes(&mut document, "user", &entry.owner.name);
    put_bytes(&mut document, "group", &entry.group.name);
    document.insert("mtime".to_owned(), time_json(entry.mtime));
    document.insert("ctime".to_owned(), time_json(entry.ctime));
    document.insert("btime".to_owned(), entry.btime.map_or(Value::Null, time_json));
    document.insert("inode".to_owned(), entry.inode.into());
    document.insert("nlink".to_owned(), entry.nlink.into());
    if entry.kind.is_device() {
        document.insert("device".to_owned(), json!([entry.device.0, entry.device.1]));
    }
    if let (Kind::Symlink, Content::Inline(target)) = (entry.kind, &entry.content) {
        put_bytes(&mut document, "target", target);
    }
    if let Some(hash) = hash(entry, keys).filter(|_| entry.kind == Kind::File) {
        document.insert("hash".to_owned(), hash.into());
    }
    if !entry.xattrs.is_empty() {
        let names = entry.xattrs.iter().map(|xattr| String::from_utf8_lossy(&xattr.name).into_owned());
        document.insert("xattrs".to_owned(), names.collect::<Vec<_>>().into());
    }
    for (name, is_so) in [
        ("unread", entry.content == Content::Unread),
        ("stale", entry.stale),
        ("changing", entry.changing),
        ("implied", entry.kind == Kind::ImpliedDirectory),
    ] {
        if is_so {
            document.insert(name.to_owned(), true.into());
        }
    }
    document
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_and_paths() {
        let text = |kind, mode| mode_text(&Entry { mode, ..Entry::new(kind) });
        assert_eq!(text(Kind::Directory, 0o1777), "drwxrwxrwt");
        assert_eq!(text(Kind::File, 0o4755), "-rwsr-xr-x");
        assert_eq!(text(Kind::File, 0o2644), "-rw-r-Sr--");
        let path = |root: &[u8], names: &[&[u8]]| {
            let root = ArchivePath::root(root).unwrap();
            path_bytes(&names.iter().fold(root, |path, name| path.join(name).unwrap()))
        };
        assert_eq!(path(b"/", &[]), b"/");
        assert_eq!(path(b"/", &[b"a", b"\xff\n"]), b"/a/\xff\n");
        assert_eq!(path(b"C:", &[b"a"]), b"C:\\a");
        assert_eq!(path(b"UNC\\nas\\data", &[b"x"]), b"\\\\nas\\data\\x");
    }

    #[test]
    fn bytes_that_are_no_text_are_not_lost() {
        let mut document = Map::new();
        put_bytes(&mut document, "path", b"a\xff");
        put_bytes(&mut document, "user", b"alice");
        assert_eq!(
            Value::Object(document),
            json!({ "path": "a\u{fffd}", "path_hex": "61ff", "user": "alice" })
        );
    }
}
