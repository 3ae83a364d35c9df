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

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use proptest::prelude::*;

    use super::*;
    use crate::wire::Objects;

    /// What comes from the other side, a piece at a time, and then its end.
    struct Pieces(VecDeque<Bytes>);

    impl Pieces {
        /// Frames with these tails, cut into pieces of so many bytes, the last one excepted.
        fn of(tails: &[Vec<u8>], piece: usize) -> Self {
            let frames =
                tails.iter().map(|tail| [&Frame::start(&Objects::default(), tail.len()), &tail[..]].concat());
            let bytes = Bytes::from(frames.collect::<Vec<_>>().concat());
            let cut = |at: usize| bytes.slice(at..bytes.len().min(at + piece));
            Self((0..bytes.len()).step_by(piece).map(cut).collect())
        }
    }

    impl Stream for Pieces {
        async fn send(&mut self, _: Bytes) -> Result<(), LinkError> {
            Err(LinkError::StreamEnded)
        }

        fn finish(&mut self) -> Result<(), LinkError> {
            Ok(())
        }

        async fn receive(&mut self) -> Result<Option<Bytes>, LinkError> {
            Ok(self.0.pop_front())
        }

        async fn given_up(&mut self) {}
    }

    fn received(pieces: Pieces) -> Result<Vec<Frame>, LinkError> {
        let all = pin!(async {
            let (mut frames, mut all) = (Frames::new(pieces), Vec::new());
            while let Some(frame) = frames.receive().await? {
                all.push(frame);
            }
            Ok(all)
        });
        match all.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(all) => all,
            Poll::Pending => panic!("what is there is not waited for"),
        }
    }

    proptest! {
        #[test]
        fn frames_come_out_as_they_went_in(
            tails in prop::collection::vec((0..200_000usize, any::<u8>()), 1..5),
            piece in 1..70_000usize,
            lost in 0..100usize,
        ) {
            let tails: Vec<Vec<u8>> = tails.iter().map(|(length, first)| {
                (0..*length).map(|at| (at % 251) as u8 ^ first).collect()
            }).collect();
            // Steps of one byte over half a megabyte take too long to be worth it.
            let piece = piece.max(tails.iter().map(Vec::len).sum::<usize>() / 1000);
            let frames = received(Pieces::of(&tails, piece)).unwrap();
            prop_assert!(frames.iter().map(|frame| &frame.tail[..]).eq(tails.iter().map(|tail| &tail[..])));

            let mut cut = Pieces::of(&tails, piece);
            let last = cut.0.pop_back().unwrap();
            cut.0.push_back(last.slice(..last.len().saturating_sub(1 + lost)));
            let is_between = cut.0.iter().map(Bytes::len).sum::<usize>()
                == Pieces::of(&tails[..tails.len() - 1], piece).0.iter().map(Bytes::len).sum::<usize>();
            prop_assert_eq!(received(cut).is_ok(), is_between);
        }
    }

    /// Pieces seldom fill the first 64 KiB exactly.
    #[test]
    fn a_large_frame_lies_in_memory_of_its_size() {
        for piece in [6400, 65_536, 1_000_000] {
            let mut frames = received(Pieces::of(&[vec![7; 2_300_000]], piece)).unwrap();
            let Frame { header, tail, .. } = frames.pop().unwrap();
            drop(header);
            let memory = tail.try_into_mut().expect("nobody else holds it");
            assert!(memory.capacity() < 3_500_000, "{} for pieces of {piece}", memory.capacity());
        }
    }
}
