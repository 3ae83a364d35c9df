//! A quinn connection as a [`Link`].

use bytes::Bytes;
use quinn::{ReadError, VarInt};

use crate::wire::{Link, LinkError, Stream};

/// A QUIC connection.
#[derive(Clone)]
pub struct QuicLink(pub(super) quinn::Connection);

/// A bidirectional stream of it. Dropping it before both sides have finished gives the operation up.
pub struct QuicStream {
    send: quinn::SendStream,
    receive: quinn::RecvStream,
    /// Received, the next one last.
    ahead: Vec<Bytes>,
    is_finished: bool,
}

/// Pieces taken from the connection at once, each from one datagram.
const READ_PIECES_MAX: usize = 32;

impl QuicStream {
    pub(super) fn new((send, receive): (quinn::SendStream, quinn::RecvStream)) -> Self {
        Self { send, receive, ahead: Vec::new(), is_finished: false }
    }
}

impl Link for QuicLink {
    type Stream = QuicStream;

    async fn open(&self) -> Result<QuicStream, LinkError> {
        self.0.open_bi().await.map(QuicStream::new).map_err(|error| LinkError::Lost(error.to_string()))
    }
}

impl Stream for QuicStream {
    async fn send(&mut self, bytes: Bytes) -> Result<(), LinkError> {
        self.send.write_chunk(bytes).await.map_err(|error| match error {
            quinn::WriteError::Stopped(_) => LinkError::StreamEnded,
            quinn::WriteError::ConnectionLost(_)
            | quinn::WriteError::ClosedStream
            | quinn::WriteError::ZeroRttRejected => LinkError::Lost(error.to_string()),
        })
    }

    fn finish(&mut self) -> Result<(), LinkError> {
        self.is_finished = true;
        self.send.finish().map_err(|_| LinkError::StreamEnded)
    }

    async fn receive(&mut self) -> Result<Option<Bytes>, LinkError> {
        if let Some(next) = self.ahead.pop() {
            return Ok(Some(next));
        }
        let mut pieces = [const { Bytes::new() }; READ_PIECES_MAX];
        match self.receive.read_chunks(&mut pieces).await {
            Ok(Some(count)) => {
                self.ahead.extend(pieces.into_iter().take(count).rev());
                Ok(self.ahead.pop())
            }
            Ok(None) => Ok(None),
            Err(ReadError::Reset(_)) => Err(LinkError::StreamEnded),
            Err(error) => Err(LinkError::Lost(error.to_string())),
        }
    }

    async fn given_up(&mut self) {
        let _ = self.send.stopped().await;
    }
}

impl Drop for QuicStream {
    fn drop(&mut self) {
        if !self.is_finished {
            let _ = self.send.reset(VarInt::from_u32(0));
        }
        let _ = self.receive.stop(VarInt::from_u32(0));
    }
}
