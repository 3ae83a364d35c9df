//! Bytes of one entry inside a leaf: PROTOCOL.md section 3, "Entry encoding".
//!
//! Encoding and decoding walk the same fields in the same order; [`Before`] is what both remember of the entry before.

use std::sync::Arc;

use crate::codec::{Malformed, Reader, Write};
use crate::entry::{Content, Entry, Extent, Kind, ObjectRef, Principal, Time, Xattr, extents_fit};
use crate::ids::{ContentHash, ObjectId};
use crate::limits::{EXTENTS_MAX, XATTR_INLINE_BYTES_MAX, XATTR_NAME_BYTES_MAX, XATTRS_MAX};

/// What a leaf's entries refer to by position.
pub(super) trait Tables {
    /// Position of a reference.
    fn reference(&self, id: &ObjectId) -> u64;
    /// Position of a principal.
    fn principal(&self, principal: &Arc<Principal>) -> u64;
}

/// The fields of the entry before that the next one is relative to; all zero at a restart point.
#[derive(Debug, Clone, Default)]
pub(super) struct Before {
    mode: u16,
    owner: u64,
    group: u64,
    mount: u32,
    inode: u64,
    mtime_seconds: i64,
    last_object: Option<ObjectRef>,
}

const MODE_SAME: u32 = 1 << 3;
const OWNER_SAME: u32 = 1 << 4;
const MOUNT_SAME: u32 = 1 << 5;
const MTIME_SAME: u32 = 1 << 6;
const CTIME_IS_MTIME: u32 = 1 << 7;
const HAS_BTIME: u32 = 1 << 8;
const BTIME_IS_CTIME: u32 = 1 << 9;
const HAS_NLINK: u32 = 1 << 10;
const HAS_FLAGS: u32 = 1 << 11;
const HAS_XATTRS: u32 = 1 << 12;
const TAG_SHIFT: u32 = 13;
const HAS_HASH: u32 = 1 << 16;
const CONTINUES: u32 = 1 << 17;
const HEAD_BITS: u32 = (1 << 18) - 1;

const TAG_NONE: u8 = 0;
const TAG_INLINE: u8 = 1;
const TAG_EXTENTS: u8 = 2;
const TAG_MAP: u8 = 3;
const TAG_UNREAD: u8 = 4;

pub(super) fn encode(entry: &Entry, before: &mut Before, tables: &impl Tables, out: &mut Vec<u8>) {
    let owner = tables.principal(&entry.owner);
    let group = tables.principal(&entry.group);
    let continued = continued_offset(entry, before);
    let flags = u8::from(entry.changing) | u8::from(entry.stale) << 1;
    let bits = [
        (MODE_SAME, entry.mode == before.mode),
        (OWNER_SAME, owner == before.owner && group == before.group),
        (MOUNT_SAME, entry.mount == before.mount),
        (MTIME_SAME, entry.mtime.seconds == before.mtime_seconds),
        (CTIME_IS_MTIME, entry.ctime == entry.mtime),
        (HAS_BTIME, entry.btime.is_some()),
        (BTIME_IS_CTIME, entry.btime == Some(entry.ctime)),
        (HAS_NLINK, entry.nlink > 1),
        (HAS_FLAGS, flags != 0 || entry.attributes != 0),
        (HAS_XATTRS, !entry.xattrs.is_empty()),
        (HAS_HASH, entry.content_hash.is_some()),
        (CONTINUES, continued.is_some()),
    ];
    let set: u32 = bits.iter().filter(|(_, set)| *set).map(|(bit, _)| bit).sum();
    let has = |bit| set & bit != 0;
    let head = set | entry.kind as u32 | u32::from(tag(&entry.content)) << TAG_SHIFT;
    out.extend_from_slice(&head.to_le_bytes());
    if !has(MODE_SAME) {
        out.put_varint(u64::from(entry.mode));
    }
    if !has(OWNER_SAME) {
        out.put_varint(owner);
        out.put_varint(group);
    }
    if !has(MOUNT_SAME) {
        out.put_varint(u64::from(entry.mount));
    }
    out.put_zigzag(entry.inode.wrapping_sub(before.inode) as i64);
    if !has(MTIME_SAME) {
        out.put_zigzag(entry.mtime.seconds.wrapping_sub(before.mtime_seconds));
    }
    out.put_varint(u64::from(entry.mtime.nanoseconds));
    if !has(CTIME_IS_MTIME) {
        put_time(entry.ctime, entry.mtime, out);
    }
    if let Some(btime) = entry.btime.filter(|_| !has(BTIME_IS_CTIME)) {
        put_time(btime, entry.mtime, out);
    }
    if has(HAS_NLINK) {
        out.put_varint(u64::from(entry.nlink));
    }
    if has(HAS_FLAGS) {
        out.push(flags);
        out.extend_from_slice(&entry.attributes.to_le_bytes());
    }
    if entry.kind.has_content() {
        out.put_varint(entry.size);
    }
    if entry.kind.is_device() {
        out.put_varint(u64::from(entry.device.0));
        out.put_varint(u64::from(entry.device.1));
    }
    if let Some(hash) = entry.content_hash {
        out.extend_from_slice(hash.as_bytes());
    }
    match continued {
        Some(offset) => out.put_varint(u64::from(offset)),
        None => put_content(&entry.content, tables, out),
    }
    if has(HAS_XATTRS) {
        out.put_varint(entry.xattrs.len() as u64);
        for xattr in &entry.xattrs {
            out.put_bytes(&xattr.name);
            out.push(tag(&xattr.value));
            out.put_varint(xattr.size);
            put_content(&xattr.value, tables, out);
        }
    }
    before.remember(entry, owner, group);
}

impl Before {
    fn remember(&mut self, entry: &Entry, owner: u64, group: u64) {
        *self = Self {
            mode: entry.mode,
            owner,
            group,
            mount: entry.mount,
            inode: entry.inode,
            mtime_seconds: entry.mtime.seconds,
            last_object: match &entry.content {
                Content::Extents(extents) => extents.last().and_then(Extent::object),
                Content::None | Content::Inline(_) | Content::Map(_) | Content::Unread => None,
            },
        };
    }
}

/// The offset of the entry's only extent if that is in the object where the entry before ended.
fn continued_offset(entry: &Entry, before: &Before) -> Option<u32> {
    let Content::Extents(extents) = &entry.content else { return None };
    match extents[..] {
        [Extent::Data { object, offset, .. }] if Some(object) == before.last_object => Some(offset),
        _ => None,
    }
}

fn put_time(time: Time, relative_to: Time, out: &mut Vec<u8>) {
    out.put_zigzag(time.seconds.wrapping_sub(relative_to.seconds));
    out.put_varint(u64::from(time.nanoseconds));
}

const fn tag(content: &Content) -> u8 {
    match content {
        Content::None => TAG_NONE,
        Content::Inline(_) => TAG_INLINE,
        Content::Extents(_) => TAG_EXTENTS,
        Content::Map(_) => TAG_MAP,
        Content::Unread => TAG_UNREAD,
    }
}

fn put_content(content: &Content, tables: &impl Tables, out: &mut Vec<u8>) {
    match content {
        Content::None | Content::Unread => {}
        Content::Inline(bytes) => out.extend_from_slice(bytes),
        Content::Map(id) => out.put_varint(tables.reference(id)),
        Content::Extents(extents) => {
            out.put_varint(extents.len() as u64);
            for extent in extents {
                match extent {
                    Extent::Hole { length } => {
                        out.put_varint(0);
                        out.put_varint(*length);
                    }
                    Extent::Data { object, offset, length } => {
                        out.put_varint(tables.reference(&object.id) + 1);
                        out.put_varint(u64::from(*offset));
                        out.put_varint(u64::from(*length));
                    }
                }
            }
        }
    }
}

/// What a leaf knows when its entries are read.
pub(super) struct Known<'a> {
    pub(super) references: &'a [ObjectRef],
    pub(super) principals: &'a [Arc<Principal>],
}

pub(super) fn decode(
    reader: &mut Reader<'_>,
    before: &mut Before,
    known: &Known<'_>,
) -> Result<Entry, Malformed> {
    let refuse = |reader: &Reader<'_>, what| Err(reader.malformed(what));
    let head = reader.u32("entry head")?;
    let has = |bit| head & bit != 0;
    let Some(kind) = Kind::from_number((head & 7) as u8).filter(|_| head & !HEAD_BITS == 0) else {
        return refuse(reader, "entry head");
    };
    let mut entry = Entry::new(kind);
    entry.mode = if has(MODE_SAME) { before.mode } else { reader.varint_max(0o7777, "mode")? as u16 };
    let (owner, group) = if has(OWNER_SAME) {
        (before.owner, before.group)
    } else {
        (reader.varint("owner")?, reader.varint("group")?)
    };
    entry.owner = principal(owner, known, reader)?;
    entry.group = principal(group, known, reader)?;
    entry.mount =
        if has(MOUNT_SAME) { before.mount } else { reader.varint_max(u64::from(u32::MAX), "mount")? as u32 };
    entry.inode = before.inode.wrapping_add(reader.zigzag("inode")? as u64);
    let seconds = if has(MTIME_SAME) {
        before.mtime_seconds
    } else {
        before.mtime_seconds.wrapping_add(reader.zigzag("mtime")?)
    };
    entry.mtime = Time { seconds, nanoseconds: nanoseconds(reader)? };
    entry.ctime = if has(CTIME_IS_MTIME) { entry.mtime } else { time(entry.mtime, reader)? };
    entry.btime = match (has(HAS_BTIME), has(BTIME_IS_CTIME)) {
        (false, false) => None,
        (true, true) => Some(entry.ctime),
        (true, false) => Some(time(entry.mtime, reader)?),
        (false, true) => return refuse(reader, "entry head"),
    };
    if has(HAS_NLINK) {
        entry.nlink = reader.varint_max(u64::from(u32::MAX), "nlink")? as u32;
    }
    let flags = if has(HAS_FLAGS) {
        let flags = reader.u8("entry flags")?;
        entry.attributes = reader.u32("attributes")?;
        if flags > 3 || (flags == 0 && entry.attributes == 0) {
            return refuse(reader, "entry flags");
        }
        flags
    } else {
        0
    };
    entry.changing = flags & 1 != 0;
    entry.stale = flags & 2 != 0;
    if kind.has_content() {
        entry.size = reader.varint("size")?;
    }
    if kind.is_device() {
        let max = u64::from(u32::MAX);
        entry.device = (reader.varint_max(max, "device")? as u32, reader.varint_max(max, "device")? as u32);
    }
    if has(HAS_HASH) {
        entry.content_hash = Some(ContentHash::from_bytes(reader.array("content hash")?));
    }
    let tag = (head >> TAG_SHIFT & 7) as u8;
    entry.content = if has(CONTINUES) {
        continued(tag, entry.size, before, reader)?
    } else {
        content(tag, entry.size, Entry::inline_max(kind), known, reader)?
    };
    if has(HAS_XATTRS) {
        entry.xattrs = xattrs(known, reader)?;
    }
    let skipped_a_flag = (!has(MODE_SAME) && entry.mode == before.mode)
        || (!has(OWNER_SAME) && owner == before.owner && group == before.group)
        || (!has(MOUNT_SAME) && entry.mount == before.mount)
        || (!has(MTIME_SAME) && seconds == before.mtime_seconds)
        || (!has(CTIME_IS_MTIME) && entry.ctime == entry.mtime)
        || (has(HAS_BTIME) && !has(BTIME_IS_CTIME) && entry.btime == Some(entry.ctime))
        || (has(HAS_NLINK) && entry.nlink < 2)
        || (!has(CONTINUES) && continued_offset(&entry, before).is_some());
    if skipped_a_flag || !content_fits_kind(&entry) {
        return refuse(reader, "entry");
    }
    before.remember(&entry, owner, group);
    Ok(entry)
}

fn content_fits_kind(entry: &Entry) -> bool {
    let fits = match entry.kind {
        Kind::File => !matches!(entry.content, Content::None),
        Kind::Symlink => matches!(entry.content, Content::Inline(_)),
        Kind::Directory
        | Kind::ImpliedDirectory
        | Kind::Fifo
        | Kind::Socket
        | Kind::CharacterDevice
        | Kind::BlockDevice => matches!(entry.content, Content::None),
    };
    fits && entry.content_hash.is_some() == Entry::has_content_hash(&entry.content)
}

fn principal(position: u64, known: &Known<'_>, reader: &Reader<'_>) -> Result<Arc<Principal>, Malformed> {
    known.principals.get(position as usize).cloned().ok_or(reader.malformed("principal"))
}

fn nanoseconds(reader: &mut Reader<'_>) -> Result<u32, Malformed> {
    Ok(reader.varint_max(999_999_999, "nanoseconds")? as u32)
}

fn time(relative_to: Time, reader: &mut Reader<'_>) -> Result<Time, Malformed> {
    let seconds = relative_to.seconds.wrapping_add(reader.zigzag("time")?);
    Ok(Time { seconds, nanoseconds: nanoseconds(reader)? })
}

fn continued(tag: u8, size: u64, before: &Before, reader: &mut Reader<'_>) -> Result<Content, Malformed> {
    let offset = reader.varint_max(u64::from(u32::MAX), "extent offset")? as u32;
    let (Some(object), TAG_EXTENTS, Ok(length)) = (before.last_object, tag, u32::try_from(size)) else {
        return Err(reader.malformed("continued extent"));
    };
    let extents = [Extent::Data { object, offset, length }];
    if extents_fit(&extents, size) {
        Ok(Content::Extents(Box::new(extents)))
    } else {
        Err(reader.malformed("continued extent"))
    }
}

fn content(
    tag: u8,
    size: u64,
    inline_max: usize,
    known: &Known<'_>,
    reader: &mut Reader<'_>,
) -> Result<Content, Malformed> {
    Ok(match tag {
        TAG_NONE => Content::None,
        TAG_UNREAD => Content::Unread,
        TAG_INLINE if size <= inline_max as u64 => {
            Content::Inline(reader.take(size as usize, "inline content")?.into())
        }
        TAG_MAP => match reference(reader.varint("map")?, known, reader)? {
            ObjectRef { id, length: 0 } => Content::Map(id),
            ObjectRef { .. } => return Err(reader.malformed("map")),
        },
        TAG_EXTENTS => {
            let count = reader.varint_max(EXTENTS_MAX as u64, "extents")?;
            let extents = (0..count).map(|_| extent(known, reader)).collect::<Result<Box<[_]>, _>>()?;
            if !extents_fit(&extents, size) {
                return Err(reader.malformed("extents"));
            }
            Content::Extents(extents)
        }
        _ => return Err(reader.malformed("content")),
    })
}

fn extent(known: &Known<'_>, reader: &mut Reader<'_>) -> Result<Extent, Malformed> {
    let max = u64::from(u32::MAX);
    Ok(match reader.varint("extent")? {
        0 => Extent::Hole { length: reader.varint("hole")? },
        position => Extent::Data {
            object: reference(position - 1, known, reader)?,
            offset: reader.varint_max(max, "extent offset")? as u32,
            length: reader.varint_max(max, "extent length")? as u32,
        },
    })
}

fn reference(position: u64, known: &Known<'_>, reader: &Reader<'_>) -> Result<ObjectRef, Malformed> {
    known.references.get(position as usize).copied().ok_or(reader.malformed("reference"))
}

fn xattrs(known: &Known<'_>, reader: &mut Reader<'_>) -> Result<Vec<Xattr>, Malformed> {
    let count = reader.varint_max(XATTRS_MAX as u64, "xattrs")?;
    let mut xattrs: Vec<Xattr> = Vec::new();
    let mut inline = 0;
    for _ in 0..count {
        let name = reader.bytes(XATTR_NAME_BYTES_MAX, "xattr name")?;
        let tag = reader.u8("xattr tag")?;
        let size = reader.varint("xattr size")?;
        let value = content(tag, size, XATTR_INLINE_BYTES_MAX, known, reader)?;
        if matches!(value, Content::None | Content::Unread)
            || xattrs.last().is_some_and(|last| *last.name >= *name)
        {
            return Err(reader.malformed("xattr"));
        }
        if let Content::Inline(bytes) = &value {
            inline += bytes.len();
        }
        xattrs.push(Xattr { name: name.into(), size, value });
    }
    if count == 0 || inline > XATTR_INLINE_BYTES_MAX {
        return Err(reader.malformed("xattrs"));
    }
    Ok(xattrs)
}
