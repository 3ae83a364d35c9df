//! The two headers that name a vault: of a pack and of the vault itself, the superblock.

use backstore_protocol::ids::VaultId;

use super::Fields;
use crate::ids::{PackClass, PackId, PackNumber, PackTag};
use crate::limits::BLOCK;

/// Bytes of a pack before its first record, and of one copy of the superblock.
pub(crate) const HEADER_BLOCK: usize = BLOCK as usize;

/// The vault's own header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Superblock {
    pub(crate) vault: VaultId,
    /// Milliseconds since 1970.
    pub(crate) created: i64,
}

/// What is wrong with a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HeaderFault {
    /// Not what was written.
    Damaged,
    /// Whole, but with features that are not known.
    Newer,
}

impl Superblock {
    /// One copy.
    pub(crate) fn encode(&self) -> [u8; HEADER_BLOCK] {
        let mut body = [0; 64];
        body[0..4].copy_from_slice(&SUPERBLOCK_MAGIC);
        body[8..24].copy_from_slice(self.vault.as_bytes());
        body[32..40].copy_from_slice(&self.created.to_le_bytes());
        finish(&body)
    }

    /// The superblock in one copy.
    pub(crate) fn decode(block: &[u8]) -> Result<Self, HeaderFault> {
        let body = verified(block, &SUPERBLOCK_MAGIC)?;
        let mut fields = Fields(body.get(8..).unwrap_or_default());
        let parse = |fields: &mut Fields<'_>| {
            let vault = VaultId::from_bytes(fields.take()?);
            let features = fields.u64()?;
            Some((Self { vault, created: fields.i64()? }, features))
        };
        let (superblock, features) = parse(&mut fields).ok_or(HeaderFault::Damaged)?;
        if features != 0 {
            return Err(HeaderFault::Newer);
        }
        if superblock.encode() == *block { Ok(superblock) } else { Err(HeaderFault::Newer) }
    }
}

/// The first block of a pack: it repeats what the superblock and the pack's name say.
pub(crate) fn encode_pack_header(vault: VaultId, id: PackId) -> [u8; HEADER_BLOCK] {
    let mut body = [0; 64];
    body[0..4].copy_from_slice(&PACK_MAGIC);
    body[4] = id.class as u8;
    body[8..24].copy_from_slice(vault.as_bytes());
    body[24..28].copy_from_slice(&id.number.0.to_le_bytes());
    body[32..40].copy_from_slice(&id.tag.0.to_le_bytes());
    finish(&body)
}

/// The vault and pack that a pack's first block names.
pub(crate) fn decode_pack_header(block: &[u8]) -> Result<(VaultId, PackId), HeaderFault> {
    let body = verified(block, &PACK_MAGIC)?;
    let mut fields = Fields(body.get(4..).unwrap_or_default());
    let parse = |fields: &mut Fields<'_>| {
        let class = PackClass::from_number(fields.u8()?)?;
        fields.zeros(3)?;
        let vault = VaultId::from_bytes(fields.take()?);
        let number = PackNumber(fields.u32()?);
        fields.zeros(4)?;
        Some((vault, PackId { number, tag: PackTag(fields.u64()?), class }))
    };
    let (vault, id) = parse(&mut fields).ok_or(HeaderFault::Newer)?;
    if encode_pack_header(vault, id) == *block { Ok((vault, id)) } else { Err(HeaderFault::Newer) }
}

fn finish(body: &[u8; 64]) -> [u8; HEADER_BLOCK] {
    let mut block = [0; HEADER_BLOCK];
    block[..64].copy_from_slice(body);
    block[64..96].copy_from_slice(blake3::hash(body).as_bytes());
    block
}

/// The body of a block that is as it was written.
fn verified<'a>(block: &'a [u8], magic: &[u8; 4]) -> Result<&'a [u8], HeaderFault> {
    let (body, rest) = block.split_at_checked(64).ok_or(HeaderFault::Damaged)?;
    let (hash, padding) = rest.split_at_checked(32).ok_or(HeaderFault::Damaged)?;
    let whole = block.len() == HEADER_BLOCK
        && blake3::hash(body).as_bytes() == hash
        && padding.iter().all(|byte| *byte == 0);
    match whole {
        true if body.starts_with(magic) => Ok(body),
        true if body.starts_with(&magic[..3]) => Err(HeaderFault::Newer),
        true | false => Err(HeaderFault::Damaged),
    }
}

const SUPERBLOCK_MAGIC: [u8; 4] = [0x8b, 0x42, 0x56, 0x01];
const PACK_MAGIC: [u8; 4] = [0x8b, 0x42, 0x50, 0x01];

#[cfg(test)]
mod tests {
    use super::*;

    fn superblock() -> Superblock {
        Superblock { vault: VaultId::from_bytes([7; 16]), created: 1_790_000_000_000 }
    }

    fn pack() -> (VaultId, PackId) {
        let id =
            PackId { number: PackNumber(42), tag: PackTag(0x9f3c_2e5d_7a1b_4c60), class: PackClass::Meta };
        (VaultId::from_bytes([7; 16]), id)
    }

    #[test]
    fn headers_round_trip() {
        assert_eq!(Superblock::decode(&superblock().encode()), Ok(superblock()));
        let (vault, id) = pack();
        assert_eq!(decode_pack_header(&encode_pack_header(vault, id)), Ok((vault, id)));
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let (vault, id) = pack();
        for bit in 0..8 * HEADER_BLOCK {
            let mut block = superblock().encode();
            block[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Superblock::decode(&block), Err(HeaderFault::Damaged), "bit {bit}");
            let mut block = encode_pack_header(vault, id);
            block[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode_pack_header(&block), Err(HeaderFault::Damaged), "bit {bit}");
        }
    }

    #[test]
    fn what_newer_software_writes_is_told_from_damage() {
        let change = |block: [u8; HEADER_BLOCK], at: usize| {
            let mut body = [0; 64];
            body.copy_from_slice(&block[..64]);
            body[at] ^= 0x40;
            finish(&body)
        };
        for at in [3, 5, 24, 40, 63] {
            assert_eq!(
                Superblock::decode(&change(superblock().encode(), at)),
                Err(HeaderFault::Newer),
                "byte {at}"
            );
        }
        let (vault, id) = pack();
        for at in [3, 4, 5, 28, 40, 63] {
            let block = change(encode_pack_header(vault, id), at);
            assert_eq!(decode_pack_header(&block), Err(HeaderFault::Newer), "byte {at}");
        }
    }
}
