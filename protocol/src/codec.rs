//! Reading and writing the primitive encodings of PROTOCOL.md section 0.
//!
//! [`Reader`] never panics and never allocates; every failure is a [`Malformed`] with the place it was found.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};

/// Why bytes are not what they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed {
    /// What was being read.
    pub what: &'static str,
    /// Where in the input.
    pub offset: usize,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "malformed {} at byte {}", self.what, self.offset)
    }
}

impl std::error::Error for Malformed {}

/// A cursor over bytes from outside.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Reader<'a> {
    /// Reads from the start of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, position: 0 }
    }

    /// Reads from byte `position` on; beyond the end there is nothing to read.
    pub fn at(bytes: &'a [u8], position: usize) -> Self {
        Self { bytes, position: position.min(bytes.len()) }
    }

    /// How far it has read.
    pub fn position(&self) -> usize {
        self.position
    }

    /// Bytes left.
    pub fn remaining(&self) -> usize {
        self.bytes.len() - self.position
    }

    /// The error for `what` here.
    pub fn malformed(&self, what: &'static str) -> Malformed {
        Malformed { what, offset: self.position }
    }

    /// The next `count` bytes.
    #[inline]
    pub fn take(&mut self, count: usize, what: &'static str) -> Result<&'a [u8], Malformed> {
        if count > self.remaining() {
            return Err(self.malformed(what));
        }
        let taken = &self.bytes[self.position..self.position + count];
        self.position += count;
        Ok(taken)
    }

    /// The next `N` bytes as an array.
    #[inline]
    pub fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], Malformed> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N, what)?);
        Ok(array)
    }

    /// One byte.
    #[inline]
    pub fn u8(&mut self, what: &'static str) -> Result<u8, Malformed> {
        Ok(self.take(1, what)?[0])
    }

    /// Two bytes.
    pub fn u16(&mut self, what: &'static str) -> Result<u16, Malformed> {
        Ok(u16::from_le_bytes(self.array(what)?))
    }

    /// Four bytes.
    #[inline]
    pub fn u32(&mut self, what: &'static str) -> Result<u32, Malformed> {
        Ok(u32::from_le_bytes(self.array(what)?))
    }

    /// Eight bytes.
    pub fn u64(&mut self, what: &'static str) -> Result<u64, Malformed> {
        Ok(u64::from_le_bytes(self.array(what)?))
    }

    /// Eight bytes, signed.
    pub fn i64(&mut self, what: &'static str) -> Result<i64, Malformed> {
        Ok(i64::from_le_bytes(self.array(what)?))
    }

    /// A varint in its shortest form.
    #[inline]
    pub fn varint(&mut self, what: &'static str) -> Result<u64, Malformed> {
        let first = self.u8(what)?;
        if first < 0x80 {
            return Ok(u64::from(first));
        }
        let mut value = u64::from(first & 0x7f);
        for shift in (7..64).step_by(7) {
            let byte = self.u8(what)?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(self.malformed(what));
            }
            value |= bits << shift;
            if byte < 0x80 {
                return if byte == 0 { Err(self.malformed(what)) } else { Ok(value) };
            }
        }
        Err(self.malformed(what))
    }

    /// A varint of at most `max`.
    #[inline]
    pub fn varint_max(&mut self, max: u64, what: &'static str) -> Result<u64, Malformed> {
        let value = self.varint(what)?;
        if value > max { Err(self.malformed(what)) } else { Ok(value) }
    }

    /// A signed varint.
    #[inline]
    pub fn zigzag(&mut self, what: &'static str) -> Result<i64, Malformed> {
        let value = self.varint(what)?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    /// A varint length of at most `max`, then that many bytes.
    #[inline]
    pub fn bytes(&mut self, max: usize, what: &'static str) -> Result<&'a [u8], Malformed> {
        let length = self.varint_max(max as u64, what)?;
        self.take(length as usize, what)
    }

    /// Fails unless everything was read.
    pub fn finish(self, what: &'static str) -> Result<(), Malformed> {
        if self.remaining() == 0 { Ok(()) } else { Err(self.malformed(what)) }
    }
}

/// The writing side, on any byte vector.
pub trait Write {
    /// Appends a varint.
    fn put_varint(&mut self, value: u64);
    /// Appends a signed varint.
    fn put_zigzag(&mut self, value: i64);
    /// Appends a varint length and the bytes.
    fn put_bytes(&mut self, bytes: &[u8]);
}

impl Write for Vec<u8> {
    #[inline]
    fn put_varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.push(value as u8);
    }

    fn put_zigzag(&mut self, value: i64) {
        self.put_varint(((value << 1) ^ (value >> 63)) as u64);
    }

    fn put_bytes(&mut self, bytes: &[u8]) {
        self.put_varint(bytes.len() as u64);
        self.extend_from_slice(bytes);
    }
}

/// Encodes a postcard structure.
pub fn to_postcard<T: serde::Serialize>(value: &T) -> Vec<u8> {
    // Only a `Serialize` that fails on its own account can fail here, and ours are derived.
    postcard::to_allocvec(value).expect("derived serialisation into memory cannot fail")
}

/// Decodes a postcard structure; refuses trailing bytes and anything that encodes differently.
pub fn from_postcard<T>(bytes: &[u8], what: &'static str) -> Result<T, Malformed>
where
    T: serde::Serialize + serde::de::DeserializeOwned,
{
    let (value, rest) = postcard::take_from_bytes::<T>(bytes).map_err(|_| Malformed { what, offset: 0 })?;
    if !rest.is_empty() {
        return Err(Malformed { what, offset: bytes.len() - rest.len() });
    }
    if to_postcard(&value) != bytes {
        return Err(Malformed { what, offset: 0 });
    }
    Ok(value)
}

/// Reads a list of at most `MAX` items; the next one is refused before it takes memory. For `deserialize_with`.
pub fn list_max<'de, D, T, const MAX: usize>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    deserializer.deserialize_seq(ListMax::<T, MAX>(PhantomData))
}

struct ListMax<T, const MAX: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for ListMax<T, MAX> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at most {MAX} items")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Vec<T>, A::Error> {
        if items.size_hint().is_some_and(|count| count > MAX) {
            return Err(A::Error::invalid_length(MAX + 1, &self));
        }
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            if list.len() == MAX {
                return Err(A::Error::invalid_length(MAX + 1, &self));
            }
            list.push(item);
        }
        Ok(list)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn varint_round_trip(value: u64, signed: i64) {
            let mut bytes = Vec::new();
            bytes.put_varint(value);
            bytes.put_zigzag(signed);
            let mut reader = Reader::new(&bytes);
            prop_assert_eq!(reader.varint("value"), Ok(value));
            prop_assert_eq!(reader.zigzag("signed"), Ok(signed));
            prop_assert_eq!(reader.finish("end"), Ok(()));
        }

        #[test]
        fn accepted_varints_are_canonical(bytes in proptest::collection::vec(any::<u8>(), 1..12)) {
            let mut reader = Reader::new(&bytes);
            if let Ok(value) = reader.varint("value") {
                let mut again = Vec::new();
                again.put_varint(value);
                prop_assert_eq!(&again[..], &bytes[..reader.position()]);
            }
        }
    }

    #[test]
    fn postcard_must_be_canonical_and_whole() {
        assert_eq!(from_postcard::<u32>(&[5], "number"), Ok(5));
        for bad in [&[0x80, 0x00][..], &[5, 5], &[], &[0x80]] {
            assert!(from_postcard::<u32>(bad, "number").is_err(), "{bad:?}");
        }
    }
}
