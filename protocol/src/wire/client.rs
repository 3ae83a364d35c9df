//! The client's side of every operation, over any [`Link`].

use bytes::Bytes;

use super::error_code::ErrorCode;
use super::frame::{Frame, FrameError};
use super::link::{Frames, Link, LinkError, Stream};
use super::message::{
    Changed, Durable, ErrorMessage, Get, Have, HaveBits, Hello, Message, ObjectStatus, Objects, Put, PutItem,
    Received, Watch, Welcome,
};
use crate::ids::{ObjectId, SnapshotId};
use crate::object::{ObjectKind, SealedObject, reference_ids};
use crate::store::{ReadFailure, Refusal, StoreError};

/// Why an operation did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// The connection failed, or the server broke the protocol.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The server said no.
    #[error("server: {code:?} {detail}")]
    Said {
        /// Why.
        code: ErrorCode,
        /// More about it.
        detail: String,
        /// The ids concerned.
        ids: Vec<ObjectId>,
    },
}

impl From<FrameError> for AskError {
    fn from(error: FrameError) -> Self {
        Self::Link(LinkError::Frame(error))
    }
}

impl AskError {
    /// Whether a new connection may help.
    pub fn is_connection_lost(&self) -> bool {
        match self {
            Self::Link(LinkError::Lost(_) | LinkError::StreamEnded) => true,
            Self::Link(LinkError::Frame(_)) => false,
            Self::Said { code, .. } => matches!(code, ErrorCode::Draining | ErrorCode::Busy),
        }
    }

    /// The same for callers that know stores only; `server` names the other side.
    pub fn into_store_error(self, server: &str) -> StoreError {
        let (code, detail, ids) = match self {
            Self::Link(LinkError::Frame(error)) => return StoreError::Protocol { detail: error.to_string() },
            Self::Link(error) => {
                return StoreError::Unreachable { server: server.to_owned(), detail: error.to_string() };
            }
            Self::Said { code, detail, ids } => (code, detail, ids),
        };
        let refused = |reason| StoreError::Refused { reason, detail: detail.clone() };
        match code {
            ErrorCode::BadFrame | ErrorCode::Unsupported => refused(Refusal::Unsupported),
            ErrorCode::TooLarge => refused(Refusal::TooLarge),
            ErrorCode::UnknownDevice => refused(Refusal::UnknownDevice),
            ErrorCode::Revoked => refused(Refusal::Revoked),
            ErrorCode::BadInvitation => refused(Refusal::BadInvitation),
            ErrorCode::WrongPassword => refused(Refusal::WrongPassword),
            ErrorCode::NotEnrolled => refused(Refusal::NotEnrolled),
            ErrorCode::Quota => StoreError::Quota,
            ErrorCode::Missing if !ids.is_empty() => StoreError::Missing { ids },
            ErrorCode::Damaged if !ids.is_empty() => StoreError::Damaged { id: ids[0] },
            ErrorCode::Missing | ErrorCode::Damaged | ErrorCode::NotFound => {
                StoreError::NotFound { what: "object or snapshot" }
            }
            ErrorCode::Conflict => {
                StoreError::Conflict { head: ids.first().map(|id| SnapshotId::from_bytes(*id.as_bytes())) }
            }
            ErrorCode::BadObject => refused(Refusal::BadObject),
            ErrorCode::Fenced => StoreError::Fenced,
            ErrorCode::Busy | ErrorCode::Draining => refused(Refusal::Busy),
            ErrorCode::StorageFull => StoreError::Full,
            ErrorCode::StorageFailed => refused(Refusal::StorageFailed),
        }
    }
}

/// The control stream: asks and is answered in order.
pub struct Control<S> {
    frames: Frames<S>,
    greeting: Greeting,
}

/// How far hello has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Greeting {
    /// The welcome has not been read yet.
    Sent,
    Answered,
    /// The server said no, or something else. What it says after that belongs to nothing.
    Refused,
}

impl<S: Stream> Control<S> {
    /// Opens the control stream and says hello.
    pub async fn open<L: Link<Stream = S>>(link: &L, hello: &Hello) -> Result<(Self, Welcome), AskError> {
        let mut control = Self::begin(link, hello).await?;
        let welcome = control.welcome().await?;
        Ok((control, welcome))
    }

    /// The same without waiting for the welcome: it is read with the first answer, which saves a round trip.
    pub async fn begin<L: Link<Stream = S>>(link: &L, hello: &Hello) -> Result<Self, AskError> {
        let mut frames = Frames::new(link.open().await?);
        frames.send(hello, &[]).await?;
        Ok(Self { frames, greeting: Greeting::Sent })
    }

    async fn welcome(&mut self) -> Result<Welcome, AskError> {
        self.greeting = Greeting::Refused;
        let (welcome, _) = answer(&self.frames.expect().await?)?;
        self.greeting = Greeting::Answered;
        Ok(welcome)
    }

    /// Asks one thing and waits for the answer, header and tail.
    pub async fn ask<Q: Message, A: Message>(
        &mut self,
        question: &Q,
        tail: &[Bytes],
    ) -> Result<(A, Bytes), AskError> {
        self.send(question, tail).await?;
        self.answer().await
    }

    /// Asks one thing without waiting. Each question needs an [`answer`](Self::answer) before others may use the stream.
    pub async fn send<Q: Message>(&mut self, question: &Q, tail: &[Bytes]) -> Result<(), AskError> {
        if self.greeting == Greeting::Refused {
            return Err(LinkError::StreamEnded.into());
        }
        Ok(self.frames.send(question, tail).await?)
    }

    /// The answer to the first question that has none yet, header and tail.
    pub async fn answer<A: Message>(&mut self) -> Result<(A, Bytes), AskError> {
        match self.greeting {
            Greeting::Refused => return Err(LinkError::StreamEnded.into()),
            Greeting::Sent => _ = self.welcome().await?,
            Greeting::Answered => {}
        }
        let frame = self.frames.expect().await?;
        answer(&frame)
    }
}

/// Operations that take a stream each.
pub struct ClientLink<L>(pub L);

impl<L: Link> ClientLink<L> {
    /// Asks which objects are held.
    pub async fn have(&self, ids: &[ObjectId]) -> Result<Vec<bool>, AskError> {
        let mut frames = self.start(&Have {}, &[id_bytes(ids)]).await?;
        let frame = frames.expect().await?;
        let (bits, tail): (HaveBits, _) = answer(&frame)?;
        if bits.count as usize != ids.len() {
            return Err(FrameError::Malformed { kind: frame.kind }.into());
        }
        Ok((0..ids.len()).map(|at| tail[at / 8] >> (at % 8) & 1 == 1).collect())
    }

    /// Sends a batch; the answers are waited for on what is returned.
    pub async fn put(
        &self,
        sequence: u64,
        objects: &[SealedObject],
    ) -> Result<PutStream<L::Stream>, AskError> {
        let items = objects.iter().map(put_item).collect();
        let tail: Vec<_> =
            objects.iter().flat_map(|object| [object.references.clone(), object.sealed.clone()]).collect();
        let frames = self.start(&Put { sequence, items }, &tail).await?;
        Ok(PutStream { frames, sequence })
    }

    /// Asks for objects.
    pub async fn get(&self, ids: &[ObjectId]) -> Result<GetStream<L::Stream>, AskError> {
        let frames = self.start(&Get {}, &[id_bytes(ids)]).await?;
        Ok(GetStream { frames, due: ids.iter().copied().map(Some).collect(), left: ids.len() })
    }

    /// Asks to be told of changes.
    pub async fn watch(&self) -> Result<WatchStream<L::Stream>, AskError> {
        Ok(WatchStream { frames: self.start(&Watch {}, &[]).await? })
    }

    async fn start<M: Message>(&self, message: &M, tail: &[Bytes]) -> Result<Frames<L::Stream>, AskError> {
        let mut frames = Frames::new(self.0.open().await?);
        frames.send(message, tail).await?;
        frames.finish()?;
        Ok(frames)
    }
}

/// A batch on its way.
pub struct PutStream<S> {
    frames: Frames<S>,
    sequence: u64,
}

impl<S: Stream> PutStream<S> {
    /// Waits until the batch was verified.
    pub async fn received(&mut self) -> Result<(), AskError> {
        let frame = self.frames.expect().await?;
        let (Received { sequence }, _) = answer(&frame)?;
        self.check(sequence, &frame)
    }

    /// Waits until it is durable; comes after [`PutStream::received`].
    pub async fn durable(&mut self) -> Result<(), AskError> {
        let frame = self.frames.expect().await?;
        let (Durable { sequence }, _) = answer(&frame)?;
        self.check(sequence, &frame)
    }

    fn check(&self, sequence: u64, frame: &Frame) -> Result<(), AskError> {
        if sequence == self.sequence {
            Ok(())
        } else {
            Err(FrameError::Malformed { kind: frame.kind }.into())
        }
    }
}

/// Objects on their way.
pub struct GetStream<S> {
    frames: Frames<S>,
    /// The ids asked for that have not come.
    due: Vec<Option<ObjectId>>,
    left: usize,
}

/// An object of an answer, with its place in the request.
pub type Got = (usize, Result<SealedObject, ReadFailure>);

impl<S: Stream> GetStream<S> {
    /// The next objects; nothing once all have come.
    pub async fn next(&mut self) -> Result<Option<Vec<Got>>, AskError> {
        if self.left == 0 {
            return Ok(None);
        }
        let frame = self.frames.expect().await?;
        let malformed = FrameError::Malformed { kind: frame.kind };
        let (objects, mut tail): (Objects, _) = answer(&frame)?;
        let mut got = Vec::with_capacity(objects.items.len());
        for item in objects.items {
            let index = item.index as usize;
            let id = self.due.get_mut(index).and_then(Option::take).ok_or(malformed)?;
            self.left -= 1;
            let read = match ObjectStatus::from_number(item.status).ok_or(malformed)? {
                ObjectStatus::Missing => Err(ReadFailure::Missing),
                ObjectStatus::Damaged => Err(ReadFailure::Damaged),
                ObjectStatus::Held => Ok(SealedObject {
                    id,
                    kind: ObjectKind::from_number(item.kind).ok_or(malformed)?,
                    level: item.level,
                    references: tail.split_to(usize::from(item.references) * ObjectId::SIZE),
                    sealed: tail.split_to(item.sealed as usize),
                }),
            };
            got.push((index, read));
        }
        Ok(Some(got))
    }
}

/// News of commits.
pub struct WatchStream<S> {
    frames: Frames<S>,
}

impl<S: Stream> WatchStream<S> {
    /// Waits for the next count.
    pub async fn changed(&mut self) -> Result<u64, AskError> {
        let frame = self.frames.expect().await?;
        let (Changed { count }, _) = answer(&frame)?;
        Ok(count)
    }
}

/// The ids as a tail.
fn id_bytes(ids: &[ObjectId]) -> Bytes {
    ids.iter().flat_map(|id| *id.as_bytes()).collect()
}

fn put_item(object: &SealedObject) -> PutItem {
    PutItem {
        kind: object.kind as u8,
        level: object.level,
        references: (object.references.len() / ObjectId::SIZE) as u16,
        sealed: object.sealed.len() as u32,
        id: object.id,
    }
}

/// The message of an answer, or the error in its place.
fn answer<A: Message>(frame: &Frame) -> Result<(A, Bytes), AskError> {
    if frame.kind == ErrorMessage::KIND && A::KIND != ErrorMessage::KIND {
        let said: ErrorMessage = frame.message()?;
        let code = ErrorCode::from_number(said.code).ok_or(FrameError::Malformed { kind: frame.kind })?;
        return Err(AskError::Said { code, detail: said.detail, ids: reference_ids(&frame.tail).collect() });
    }
    Ok((frame.message()?, frame.tail.clone()))
}
