//! What sessions ask of a connection, and frames over its streams.

use std::future::Future;

use bytes::{Buf, Bytes, BytesMut};

use super::frame::{Frame, FrameError, PREFIX};
use super::memory;
use super::message::Message;

/// Why a connection or stream is of no use any more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// The connection is gone.
    #[error("connection lost: {0}")]
    Lost(String),
    /// The other side gave the stream up.
    #[error("stream ended early")]
    StreamEnded,
    /// The other side sent something that is no frame.
    #[error(transparent)]
    Frame(#[from] FrameError),
}

/// A connection: opens bidirectional streams.
pub trait Link: Send + Sync + 'static {
    /// Its streams.
    type Stream: Stream;

    /// Opens a stream; waits while the other side allows no more of them.
    fn open(&self) -> impl Future<Output = Result<Self::Stream, LinkError>> + Send;
}

/// Bytes in both directions, in order.
pub trait Stream: Send + 'static {
    /// Sends bytes; waits while the other side takes no more.
    fn send(&mut self, bytes: Bytes) -> impl Future<Output = Result<(), LinkError>> + Send;

    /// Says that nothing more will be sent.
    fn finish(&mut self) -> Result<(), LinkError>;

    /// The next bytes, some at a time; nothing once the other side has finished.
    fn receive(&mut self) -> impl Future<Output = Result<Option<Bytes>, LinkError>> + Send;

    /// Waits until the other side wants nothing more, or is gone.
    fn given_up(&mut self) -> impl Future<Output = ()> + Send;
}

/// Memory taken for a frame of which nothing has come yet.
const UNPROVEN_BYTES_MAX: usize = 64 * 1024;

/// Frames over a stream.
pub struct Frames<S> {
    stream: S,
    /// Received, but not yet part of a frame that was handed out.
    ahead: Bytes,
}

impl<S: Stream> Frames<S> {
    /// Frames over `stream`, of which nothing has been read.
    pub fn new(stream: S) -> Self {
        Self { stream, ahead: Bytes::new() }
    }

    /// Sends a message and its tail.
    pub async fn send<M: Message>(&mut self, message: &M, tail: &[Bytes]) -> Result<(), LinkError> {
        let start = Frame::start(message, tail.iter().map(Bytes::len).sum());
        self.stream.send(start).await?;
        for part in tail {
            if !part.is_empty() {
                self.stream.send(part.clone()).await?;
            }
        }
        Ok(())
    }

    /// Says that no more frames will be sent.
    pub fn finish(&mut self) -> Result<(), LinkError> {
        self.stream.finish()
    }

    /// Waits until the other side wants nothing more, or is gone.
    pub async fn given_up(&mut self) {
        self.stream.given_up().await;
    }

    /// The next frame; nothing if the other side has finished between two frames.
    pub async fn receive(&mut self) -> Result<Option<Frame>, LinkError> {
        let mut prefix = [0; PREFIX];
        let mut filled = 0;
        while filled < PREFIX {
            if self.ahead.is_empty() && !self.refill().await? {
                return if filled == 0 { Ok(None) } else { Err(LinkError::StreamEnded) };
            }
            let count = self.ahead.len().min(PREFIX - filled);
            self.ahead.copy_to_slice(&mut prefix[filled..filled + count]);
            filled += count;
        }
        let (kind, header, tail) = Frame::parse_prefix(&prefix)?;
        let mut bytes = self.exactly(header + tail).await?;
        let header = bytes.split_to(header);
        Ok(Some(Frame { kind, header, tail: bytes }))
    }

    /// The next frame, which has to come.
    pub async fn expect(&mut self) -> Result<Frame, LinkError> {
        self.receive().await?.ok_or(LinkError::StreamEnded)
    }

    /// `length` bytes in one piece. The length has been checked; memory is taken only as bytes arrive, beyond the first 64 KiB.
    async fn exactly(&mut self, length: usize) -> Result<Bytes, LinkError> {
        if self.ahead.len() >= length {
            return Ok(self.ahead.split_to(length));
        }
        let mut bytes = BytesMut::with_capacity(length.min(UNPROVEN_BYTES_MAX));
        while bytes.len() < length {
            if self.ahead.is_empty() && !self.refill().await? {
                return Err(LinkError::StreamEnded);
            }
            let count = self.ahead.len().min(length - bytes.len());
            if bytes.len() + count > bytes.capacity() {
                // The other side has shown that it means it: take memory for all at once.
                let mut whole = memory::take(length);
                whole.extend_from_slice(&bytes);
                bytes = whole;
            }
            bytes.extend_from_slice(&self.ahead.split_to(count));
        }
        Ok(bytes.freeze())
    }

    async fn refill(&mut self) -> Result<bool, LinkError> {
        loop {
            match self.stream.receive().await? {
                Some(bytes) if bytes.is_empty() => {}
                Some(bytes) => {
                    self.ahead = bytes;
                    return Ok(true);
                }
                None => return Ok(false),
            }
        }
    }
}
