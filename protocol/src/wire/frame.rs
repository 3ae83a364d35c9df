//! The unit of everything sent: a type, a header and raw bytes after it.

use bytes::{BufMut, Bytes, BytesMut};

use super::message::Message;
use crate::codec::{Malformed, from_postcard, to_postcard};
use crate::limits::{CONTROL_FRAME_BYTES_MAX, FRAME_BYTES_MAX, FRAME_HEADER_BYTES_MAX};

/// A frame as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Its type.
    pub kind: u8,
    /// Postcard of its message.
    pub header: Bytes,
    /// Raw bytes.
    pub tail: Bytes,
}

/// Why a frame is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// It says it is longer than its type may be.
    #[error("frame of type {kind} has {length} bytes, more than is allowed")]
    TooLarge {
        /// Its type.
        kind: u8,
        /// What it says.
        length: u32,
    },
    /// Its fields contradict each other.
    #[error("frame of type {kind} is malformed")]
    Malformed {
        /// Its type.
        kind: u8,
    },
    /// Another message was expected here.
    #[error("frame of type {found} came where type {expected} belongs")]
    Unexpected {
        /// The type that belongs here.
        expected: u8,
        /// Its type.
        found: u8,
    },
}

/// Bytes before the header: length, type, flags, header length.
pub(crate) const PREFIX: usize = 8;
/// Bytes of the length field, which does not count itself.
const LENGTH: usize = 4;

impl Frame {
    /// The start of a frame: everything but a tail of `tail` bytes, which the caller sends after it.
    pub fn start<M: Message>(message: &M, tail: usize) -> Bytes {
        let header = to_postcard(message);
        let length = PREFIX - LENGTH + header.len() + tail;
        assert!(
            header.len() <= FRAME_HEADER_BYTES_MAX && length <= length_max(M::KIND),
            "a frame of type {} was made too large",
            M::KIND
        );
        let mut out = BytesMut::with_capacity(PREFIX + header.len());
        out.put_u32_le(length as u32);
        out.put_u8(M::KIND);
        out.put_u8(0);
        out.put_u16_le(header.len() as u16);
        out.extend_from_slice(&header);
        out.freeze()
    }

    /// Checks a prefix and tells the type, and how many bytes header and tail have.
    pub fn parse_prefix(prefix: &[u8; PREFIX]) -> Result<(u8, usize, usize), FrameError> {
        let length = u32::from_le_bytes([prefix[0], prefix[1], prefix[2], prefix[3]]);
        let kind = prefix[4];
        let header = usize::from(u16::from_le_bytes([prefix[6], prefix[7]]));
        if length as usize > length_max(kind) {
            return Err(FrameError::TooLarge { kind, length });
        }
        let rest = (length as usize).checked_sub(PREFIX - LENGTH).and_then(|rest| rest.checked_sub(header));
        match (rest, prefix[5]) {
            (Some(tail), 0) => Ok((kind, header, tail)),
            _ => Err(FrameError::Malformed { kind }),
        }
    }

    /// Reads a whole frame from its bytes.
    pub fn decode(bytes: &Bytes) -> Result<Self, FrameError> {
        let malformed = FrameError::Malformed { kind: 0 };
        let prefix = bytes.get(..PREFIX).and_then(|prefix| prefix.try_into().ok()).ok_or(malformed)?;
        let (kind, header, tail) = Self::parse_prefix(prefix)?;
        if bytes.len() != PREFIX + header + tail {
            return Err(FrameError::Malformed { kind });
        }
        Ok(Self { kind, header: bytes.slice(PREFIX..PREFIX + header), tail: bytes.slice(PREFIX + header..) })
    }

    /// Its message, which has to be of this type.
    pub fn message<M: Message>(&self) -> Result<M, FrameError> {
        if self.kind != M::KIND {
            return Err(FrameError::Unexpected { expected: M::KIND, found: self.kind });
        }
        let message: M = from_postcard(&self.header, "message")
            .map_err(|Malformed { .. }| FrameError::Malformed { kind: self.kind })?;
        if message.fits_tail(&self.tail) {
            Ok(message)
        } else {
            Err(FrameError::Malformed { kind: self.kind })
        }
    }
}

/// The longest frame of a type, without its length field: those that carry objects may be larger.
const fn length_max(kind: u8) -> usize {
    match kind {
        super::message::KIND_PUT | super::message::KIND_OBJECTS => FRAME_BYTES_MAX,
        _ => CONTROL_FRAME_BYTES_MAX,
    }
}
