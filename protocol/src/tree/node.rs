//! One page of the tree: its bytes, and looking things up in them without decoding the rest.
//!
//! The layout is that of PROTOCOL.md section 3, "Node object".

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;

use super::entry_codec::{self, Before, Known, Tables};
use crate::codec::{Malformed, Reader, Write};
use crate::entry::{Entry, ObjectRef, Principal, PrincipalId};
use crate::ids::ObjectId;
use crate::limits::{
    ITEM_WEIGHT, KEY_BYTES_MAX, NODE_ITEMS_MAX, NODE_REFS_MAX, NODE_WEIGHT_MAX, OBJECT_PLAIN_MAX,
    PRINCIPAL_NAME_BYTES_MAX, RESTART_ITEMS, SID_BYTES_MAX, TREE_DEPTH_MAX,
};
use crate::object::{NodeBytes, ObjectKind};

/// What an inner node says of a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Child {
    /// The child node.
    pub node: ObjectId,
    /// Entries at and below it.
    pub entries: u64,
    /// Sizes of all files below it.
    pub bytes: u64,
}

/// A node that was opened and can be searched.
#[derive(Debug)]
pub struct Node {
    level: u8,
    references: Vec<ObjectRef>,
    principals: Vec<Arc<Principal>>,
    payload: Bytes,
    items: usize,
    items_start: usize,
    restarts_start: usize,
}

impl Node {
    /// Reads the tables of a node; its items are checked as they are read.
    pub fn parse(level: u8, references: &[ObjectId], payload: Bytes) -> Result<Self, Malformed> {
        let mut reader = Reader::new(&payload);
        let items = reader.varint_max(NODE_ITEMS_MAX as u64, "node items")? as usize;
        let count = reader.varint_max(NODE_REFS_MAX as u64, "node references")? as usize;
        let sorted = references.is_sorted_by(|a, b| a < b);
        if count != references.len()
            || !sorted
            || usize::from(level) >= TREE_DEPTH_MAX
            || (level > 0 && items == 0)
        {
            return Err(reader.malformed("node references"));
        }
        let references = references
            .iter()
            .map(|id| {
                let max = if level == 0 { OBJECT_PLAIN_MAX as u64 } else { 0 };
                let length = reader.varint_max(max, "reference length")? as u32;
                Ok(ObjectRef { id: *id, length })
            })
            .collect::<Result<Vec<_>, Malformed>>()?;
        let principals = if level == 0 { read_principals(&mut reader)? } else { Vec::new() };
        let items_start = reader.position();
        let table = 4 * items.div_ceil(RESTART_ITEMS);
        if reader.remaining() < table {
            return Err(reader.malformed("restart table"));
        }
        let restarts_start = payload.len() - table;
        Ok(Self { level, references, principals, items, items_start, restarts_start, payload })
    }

    /// Its level; 0 for a leaf.
    pub fn level(&self) -> u8 {
        self.level
    }

    /// How many items it has.
    pub fn len(&self) -> usize {
        self.items
    }

    /// Whether it is the only node of an empty tree.
    pub fn is_empty(&self) -> bool {
        self.items == 0
    }

    /// All it refers to, sorted by id.
    pub fn references(&self) -> &[ObjectRef] {
        &self.references
    }

    /// Bytes it holds in memory, roughly.
    pub fn memory(&self) -> usize {
        self.payload.len() + self.references.len() * size_of::<ObjectRef>() + self.principals.len() * 64 + 128
    }

    /// Reads every item and checks that encoding them again gives this very node: what lookups leave out, such as references that no item
    /// uses. Reads no further than the limits of a node.
    pub fn validate(self: &Arc<Self>) -> Result<(), Malformed> {
        let again = if self.level == 0 { self.encode_entries()? } else { self.encode_children()? };
        let same = again.payload == self.payload
            && again.references.iter().eq(self.references.iter().map(|reference| &reference.id));
        if same { Ok(()) } else { Err(Malformed { what: "node", offset: 0 }) }
    }

    fn encode_entries(self: &Arc<Self>) -> Result<NodeBytes, Malformed> {
        let mut items = Items::start(Arc::clone(self));
        let (mut entries, mut weight, mut references) = (Vec::new(), 0, 0);
        while let Some(entry) = items.read_entry()? {
            weight += entry.weight(items.key());
            entry.for_each_reference(|_| references += 1);
            entries.push((items.key().to_vec(), entry));
            if entries.len() > 1 && (weight > NODE_WEIGHT_MAX || references > NODE_REFS_MAX) {
                return Err(Malformed { what: "weight of a node", offset: items.offset });
            }
        }
        Ok(encode_leaf(&entries))
    }

    fn encode_children(self: &Arc<Self>) -> Result<NodeBytes, Malformed> {
        let mut items = Items::start(Arc::clone(self));
        let (mut children, mut weight) = (Vec::new(), 0);
        while let Some(child) = items.read_child()? {
            weight += items.key().len() + ITEM_WEIGHT;
            children.push((items.key().to_vec(), child));
            if children.len() > 1 && weight > NODE_WEIGHT_MAX {
                return Err(Malformed { what: "weight of a node", offset: items.offset });
            }
        }
        Ok(encode_inner(self.level, &children))
    }

    fn restart(&self, block: usize) -> Result<usize, Malformed> {
        let mut reader = Reader::at(&self.payload, self.restarts_start + 4 * block);
        let offset = self.items_start + reader.u32("restart")? as usize;
        if offset > self.restarts_start { Err(reader.malformed("restart")) } else { Ok(offset) }
    }

    /// The key at a restart point, which is whole.
    fn restart_key(&self, block: usize) -> Result<&[u8], Malformed> {
        let mut reader = Reader::at(&self.payload[..self.restarts_start], self.restart(block)?);
        if reader.varint("shared key")? != 0 {
            return Err(reader.malformed("restart key"));
        }
        reader.bytes(KEY_BYTES_MAX, "key")
    }
}

/// Walks the items of one node in order.
#[derive(Debug, Clone)]
pub struct Items {
    node: Arc<Node>,
    /// Index of the next item.
    next: usize,
    offset: usize,
    key: Vec<u8>,
    before: Before,
}

/// An item's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// Of a leaf.
    Entry(Box<Entry>),
    /// Of an inner node.
    Child(Child),
}

impl Items {
    /// Before the first item.
    pub fn start(node: Arc<Node>) -> Self {
        let offset = node.items_start;
        Self { node, next: 0, offset, key: Vec::new(), before: Before::default() }
    }

    /// Before the first item whose key is at least `key`.
    pub fn seek(node: Arc<Node>, key: &[u8]) -> Result<Self, Malformed> {
        let blocks = node.items.div_ceil(RESTART_ITEMS);
        let (mut low, mut high) = (0, blocks);
        while low < high {
            let middle = usize::midpoint(low, high);
            if node.restart_key(middle)? < key { low = middle + 1 } else { high = middle }
        }
        let block = low.saturating_sub(1);
        let mut items = Self::start(node);
        if items.node.items > 0 {
            items.next = block * RESTART_ITEMS;
            items.offset = items.node.restart(block)?;
        }
        loop {
            let here = items.clone_position();
            let last_key = items.key.clone();
            if !items.skip()? {
                return Ok(items);
            }
            if items.key[..] >= *key {
                (items.next, items.offset, items.before) = here;
                items.key = last_key;
                return Ok(items);
            }
        }
    }

    /// Before the item with this index; beyond the last one, at the end.
    pub fn at(node: Arc<Node>, index: usize) -> Result<Self, Malformed> {
        let mut items = Self::start(node);
        let block = index.min(items.node.items.saturating_sub(1)) / RESTART_ITEMS;
        if block > 0 {
            items.next = block * RESTART_ITEMS;
            items.offset = items.node.restart(block)?;
        }
        while items.next < index && items.skip()? {}
        Ok(items)
    }

    fn clone_position(&self) -> (usize, usize, Before) {
        (self.next, self.offset, self.before.clone())
    }

    /// The node it walks.
    pub fn node(&self) -> &Arc<Node> {
        &self.node
    }

    /// Index of the next item.
    pub fn next_index(&self) -> usize {
        self.next
    }

    /// Key of the item read last.
    pub fn key(&self) -> &[u8] {
        &self.key
    }

    /// Reads an item and drops it; false at the end.
    pub fn skip(&mut self) -> Result<bool, Malformed> {
        Ok(self.read()?.is_some())
    }

    /// Reads the next item; its key is then in [`Items::key`].
    pub fn read(&mut self) -> Result<Option<Item>, Malformed> {
        if self.next == self.node.items {
            return self.check_end().map(|()| None);
        }
        let node = Arc::clone(&self.node);
        let mut reader = Reader::at(&node.payload[..node.restarts_start], self.offset);
        self.read_key(&mut reader)?;
        let item = if node.level == 0 {
            let known = Known { references: &node.references, principals: &node.principals };
            Item::Entry(Box::new(entry_codec::decode(&mut reader, &mut self.before, &known)?))
        } else {
            Item::Child(read_child(&mut reader, &node.references)?)
        };
        self.offset = reader.position();
        self.next += 1;
        Ok(Some(item))
    }

    /// Reads the next item of a leaf.
    pub fn read_entry(&mut self) -> Result<Option<Entry>, Malformed> {
        if self.next == self.node.items {
            return self.check_end().map(|()| None);
        }
        let node = Arc::clone(&self.node);
        let mut reader = Reader::at(&node.payload[..node.restarts_start], self.offset);
        if node.level != 0 {
            return Err(reader.malformed("leaf"));
        }
        self.read_key(&mut reader)?;
        let known = Known { references: &node.references, principals: &node.principals };
        let entry = entry_codec::decode(&mut reader, &mut self.before, &known)?;
        self.offset = reader.position();
        self.next += 1;
        Ok(Some(entry))
    }

    /// Reads the next item of an inner node.
    pub fn read_child(&mut self) -> Result<Option<Child>, Malformed> {
        match self.read()? {
            None => Ok(None),
            Some(Item::Child(child)) => Ok(Some(child)),
            Some(Item::Entry(_)) => Err(Malformed { what: "inner node", offset: 0 }),
        }
    }

    fn read_key(&mut self, reader: &mut Reader<'_>) -> Result<(), Malformed> {
        let restart = self.next.is_multiple_of(RESTART_ITEMS);
        if restart {
            self.before = Before::default();
            if self.node.restart(self.next / RESTART_ITEMS)? != reader.position() {
                return Err(reader.malformed("restart"));
            }
        }
        let shared = reader.varint("shared key")? as usize;
        let rest = reader.bytes(KEY_BYTES_MAX, "key")?;
        let whole = if restart {
            shared == 0
        } else {
            // The shared part must be as long as it can be: one key, one encoding.
            shared <= self.key.len() && self.key.get(shared).is_none_or(|byte| rest.first() != Some(byte))
        };
        let ascending = self.next == 0 || {
            if restart { rest > &self.key[..] } else { whole && rest > &self.key[shared..] }
        };
        if !whole || !ascending || shared + rest.len() > KEY_BYTES_MAX {
            return Err(reader.malformed("key order"));
        }
        self.key.truncate(shared);
        self.key.extend_from_slice(rest);
        Ok(())
    }

    fn check_end(&self) -> Result<(), Malformed> {
        if self.offset == self.node.restarts_start {
            Ok(())
        } else {
            Err(Malformed { what: "end of items", offset: self.offset })
        }
    }
}

fn read_child(reader: &mut Reader<'_>, references: &[ObjectRef]) -> Result<Child, Malformed> {
    let position = reader.varint("child")?;
    let node = usize::try_from(position).ok().and_then(|position| references.get(position));
    let node = node.ok_or(reader.malformed("child"))?.id;
    Ok(Child { node, entries: reader.varint("entries")?, bytes: reader.varint("bytes")? })
}

/// The bytes of a leaf with these items, which are in key order.
pub fn encode_leaf(items: &[(Vec<u8>, Entry)]) -> NodeBytes {
    let mut references = Vec::new();
    let mut principals: Vec<(Vec<u8>, Arc<Principal>)> = Vec::new();
    let mut last: [Option<&Arc<Principal>>; 2] = [None, None];
    for (_, entry) in items {
        entry.for_each_reference(|reference| references.push(reference));
        for (last, principal) in last.iter_mut().zip([&entry.owner, &entry.group]) {
            // Neighbours nearly always share their owner, often the very allocation.
            if last.is_none_or(|last| last != principal) {
                principals.push((principal_bytes(principal), Arc::clone(principal)));
                *last = Some(principal);
            }
        }
    }
    references.sort_unstable();
    references.dedup_by_key(|reference| reference.id);
    principals.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    principals.dedup_by(|a, b| a.0 == b.0);
    let mut payload = start_payload(items.len(), &references);
    payload.put_varint(principals.len() as u64);
    for (bytes, _) in &principals {
        payload.extend_from_slice(bytes);
    }
    let positions = Positions {
        principals: principals
            .iter()
            .enumerate()
            .map(|(at, (_, principal))| (&**principal, at as u64))
            .collect(),
        references: &references,
    };
    let mut before = Before::default();
    put_items(&mut payload, items, |restart, (_, entry), out| {
        if restart {
            before = Before::default();
        }
        entry_codec::encode(entry, &mut before, &positions, out);
    });
    NodeBytes::new(ObjectKind::Tree, 0, &references, payload)
}

/// The bytes of an inner node with these items, which are in key order.
pub fn encode_inner(level: u8, items: &[(Vec<u8>, Child)]) -> NodeBytes {
    let mut references: Vec<_> =
        items.iter().map(|(_, child)| ObjectRef { id: child.node, length: 0 }).collect();
    references.sort_unstable();
    references.dedup();
    let mut payload = start_payload(items.len(), &references);
    put_items(&mut payload, items, |_, (_, child), out| {
        out.put_varint(position(&references, &child.node));
        out.put_varint(child.entries);
        out.put_varint(child.bytes);
    });
    NodeBytes::new(ObjectKind::Tree, level, &references, payload)
}

struct Positions<'a> {
    references: &'a [ObjectRef],
    principals: HashMap<&'a Principal, u64>,
}

impl Tables for Positions<'_> {
    fn reference(&self, id: &ObjectId) -> u64 {
        position(self.references, id)
    }

    fn principal(&self, principal: &Arc<Principal>) -> u64 {
        self.principals.get(&**principal).copied().unwrap_or_default()
    }
}

fn position(references: &[ObjectRef], id: &ObjectId) -> u64 {
    references.binary_search_by(|reference| reference.id.cmp(id)).unwrap_or_else(|at| at) as u64
}

fn start_payload(items: usize, references: &[ObjectRef]) -> Vec<u8> {
    let mut payload = Vec::with_capacity(64 * items + 3 * references.len() + 64);
    payload.put_varint(items as u64);
    payload.put_varint(references.len() as u64);
    for reference in references {
        payload.put_varint(u64::from(reference.length));
    }
    payload
}

fn put_items<T>(
    payload: &mut Vec<u8>,
    items: &[(Vec<u8>, T)],
    mut put_value: impl FnMut(bool, &(Vec<u8>, T), &mut Vec<u8>),
) {
    let start = payload.len();
    let mut restarts = Vec::with_capacity(items.len().div_ceil(RESTART_ITEMS));
    for (index, item) in items.iter().enumerate() {
        let restart = index % RESTART_ITEMS == 0;
        let shared = if restart { 0 } else { shared_prefix(&items[index - 1].0, &item.0) };
        if restart {
            restarts.push((payload.len() - start) as u32);
        }
        payload.put_varint(shared as u64);
        payload.put_bytes(&item.0[shared..]);
        put_value(restart, item, payload);
    }
    for restart in restarts {
        payload.extend_from_slice(&restart.to_le_bytes());
    }
}

fn shared_prefix(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

fn principal_bytes(principal: &Principal) -> Vec<u8> {
    let mut out = Vec::with_capacity(8 + principal.name.len());
    match &principal.id {
        PrincipalId::None => out.push(0),
        PrincipalId::Unix(id) => {
            out.push(1);
            out.put_varint(u64::from(*id));
        }
        PrincipalId::Sid(sid) => {
            out.push(2);
            out.put_bytes(sid);
        }
    }
    out.put_bytes(&principal.name);
    out
}

fn read_principals(reader: &mut Reader<'_>) -> Result<Vec<Arc<Principal>>, Malformed> {
    let count = reader.varint_max(2 * NODE_ITEMS_MAX as u64, "principals")?;
    let mut principals: Vec<Arc<Principal>> = Vec::new();
    let mut before: Option<Vec<u8>> = None;
    for _ in 0..count {
        let id = match reader.u8("principal kind")? {
            0 => PrincipalId::None,
            1 => PrincipalId::Unix(reader.varint_max(u64::from(u32::MAX), "principal id")? as u32),
            2 => PrincipalId::Sid(reader.bytes(SID_BYTES_MAX, "SID")?.into()),
            _ => return Err(reader.malformed("principal kind")),
        };
        let name = reader.bytes(PRINCIPAL_NAME_BYTES_MAX, "principal name")?.into();
        let principal = Principal { id, name };
        let bytes = principal_bytes(&principal);
        if before.as_ref().is_some_and(|before| *before >= bytes) {
            return Err(reader.malformed("principal order"));
        }
        before = Some(bytes);
        principals.push(Arc::new(principal));
    }
    Ok(principals)
}
