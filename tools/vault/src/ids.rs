//! Names that only a vault knows: accounts by number, packs, places in them.

use std::fmt;

/// An account within a vault. 0 is the vault itself and no account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountNumber(u64);

impl AccountNumber {
    /// What belongs to no account.
    pub(crate) const VAULT: Self = Self(0);
    /// The first account of a vault; in a folder the only one.
    pub const FIRST: Self = Self(1);

    /// The account with this number, if it can have one.
    pub const fn new(number: u64) -> Option<Self> {
        if number == 0 { None } else { Some(Self(number)) }
    }

    /// Its number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// As it stands in a record, where 0 is allowed.
    pub(crate) const fn stored(number: u64) -> Self {
        Self(number)
    }
}

impl fmt::Display for AccountNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Packs of a vault count up from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PackNumber(pub(crate) u32);

impl fmt::Display for PackNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What is random in a pack's name. It tells a pack from another that had its number before, and keys the checks of its records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PackTag(pub(crate) u64);

/// Counts the records of a vault in the order in which they were received.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(crate) struct Sequence(pub(crate) u64);

/// What a pack holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub(crate) enum PackClass {
    /// Data objects.
    Data = 1,
    /// Nodes, bodies, snapshots and control records.
    Meta = 2,
    /// The second copy of what is kept twice.
    Copy = 3,
}

impl PackClass {
    pub(crate) const ALL: [Self; 3] = [Self::Data, Self::Meta, Self::Copy];

    /// How names of its packs end.
    pub(crate) const fn ending(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::Meta => "meta",
            Self::Copy => "copy",
        }
    }

    pub(crate) const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Data,
            2 => Self::Meta,
            3 => Self::Copy,
            _ => return None,
        })
    }
}

/// A pack as its file name says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PackId {
    pub(crate) number: PackNumber,
    pub(crate) tag: PackTag,
    pub(crate) class: PackClass,
}

impl PackId {
    /// The pack with this file name; `None` for any other file.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let (stem, ending) = name.split_once('.')?;
        let (number, tag) = stem.split_once('-')?;
        let id = Self {
            number: PackNumber(u32::from_str_radix(number, 16).ok().filter(|number| *number > 0)?),
            tag: PackTag(u64::from_str_radix(tag, 16).ok()?),
            class: PackClass::ALL.into_iter().find(|class| class.ending() == ending)?,
        };
        (id.to_string() == name).then_some(id)
    }
}

impl fmt::Display for PackId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}-{:016x}.{}", self.number.0, self.tag.0, self.class.ending())
    }
}

/// Where a record is and what it takes to read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) pack: PackNumber,
    pub(crate) offset: u32,
    /// Of the content.
    pub(crate) length: u32,
    /// How many.
    pub(crate) references: u16,
}

impl Place {
    /// Bytes of the whole record.
    pub(crate) fn size(self) -> u64 {
        record_size(u32::from(self.references), self.length)
    }

    /// Where the record ends.
    pub(crate) fn end(self) -> u64 {
        u64::from(self.offset) + self.size()
    }
}

/// Bytes of a record with so many references and so long a content.
pub(crate) fn record_size(references: u32, length: u32) -> u64 {
    crate::pack::record::HEADER_SIZE as u64 + u64::from(references) * 32 + u64::from(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_packs_round_trip() {
        for class in PackClass::ALL {
            let id = PackId { number: PackNumber(42), tag: PackTag(0x9f3c_2e5d), class };
            assert_eq!(PackId::parse(&id.to_string()), Some(id));
            assert_eq!(PackClass::from_number(class as u8), Some(class));
        }
    }

    #[test]
    fn other_files_are_no_packs() {
        for name in [
            "",
            "lock",
            "0000002a-000000009f3c2e5d.data.tmp",
            "2a-9f3c2e5d.data",
            "0000002A-000000009f3c2e5d.data",
            "00000000-000000009f3c2e5d.data",
            "+000002a-000000009f3c2e5d.data",
            "0000002a-000000009f3c2e5d.pack",
        ] {
            assert_eq!(PackId::parse(name), None, "{name}");
        }
    }
}
