//! Streams that carry objects, and news of them.

use std::sync::Arc;

use backstore_protocol::ids::ObjectId;
use backstore_protocol::object::{ObjectKind, SealedObject, reference_ids};
use backstore_protocol::store::ReadFailure;
use backstore_protocol::wire::{
    Changed, Durable, ErrorCode, Frame, Frames, Get, Have, HaveBits, LinkError, ObjectItem, ObjectStatus,
    Objects, Put, Received, Stream, Watch, give_back,
};
use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use crate::client::{Client, blocking, refuse};
use crate::service::{Refused, Service};

/// Bytes of one frame of an answer, give or take an object.
const ANSWER_BYTES: usize = 1 << 20;
/// An object of so many bytes has a frame of its own: then a client can open it where it lies.
const ALONE_BYTES: usize = 256 << 10;
/// Objects of one frame of an answer.
const ANSWER_ITEMS_MAX: usize = 1024;

/// Which objects are held.
pub async fn have<S: Stream>(
    service: &Arc<Service>,
    client: &Arc<Client>,
    frames: &mut Frames<S>,
    frame: &Frame,
) -> Result<(), LinkError> {
    let _: Have = frame.message()?;
    let ids: Vec<ObjectId> = reference_ids(&frame.tail).collect();
    let (service, client) = (Arc::clone(service), Arc::clone(client));
    match blocking(move || Ok(client.account(&service)?.have(&ids)?)).await {
        Ok(held) => {
            let mut bits = vec![0u8; held.len().div_ceil(8)];
            for (at, held) in held.iter().enumerate() {
                bits[at / 8] |= u8::from(*held) << (at % 8);
            }
            frames.send(&HaveBits { count: held.len() as u32 }, &[bits.into()]).await
        }
        Err(refused) => refuse(frames, &refused).await,
    }
}

/// A batch comes in.
pub async fn put<S: Stream>(
    service: &Arc<Service>,
    client: &Arc<Client>,
    frames: &mut Frames<S>,
    frame: Frame,
) -> Result<(), LinkError> {
    let message: Put = frame.message()?;
    let sequence = message.sequence;
    let Some(_budget) = service.budget.take(frame.tail.len()).await else { return Ok(()) };
    let Frame { tail, header, .. } = frame;
    // Else the memory that both lie in would not come back.
    drop(header);
    let objects = objects_of(&message, tail.clone())?;
    let (durable, is_durable) = oneshot::channel();
    let (shared, client) = (Arc::clone(service), Arc::clone(client));
    let received = blocking(move || {
        let device = client.device()?;
        let receipt = shared.vault().account(device.number).put(device.device, objects)?;
        receipt.on_durable(move |result| {
            let _ = durable.send(result);
        });
        Ok(())
    });
    if let Err(refused) = received.await {
        return refuse(frames, &refused).await;
    }
    frames.send(&Received { sequence }, &[]).await?;
    let outcome = is_durable.await;
    if let Ok(memory) = tail.try_into_mut() {
        give_back(memory);
    }
    match outcome {
        Ok(Ok(())) => frames.send(&Durable { sequence }, &[]).await,
        Ok(Err(error)) => refuse(frames, &Refused::from(error)).await,
        // The vault is being closed.
        Err(_) => refuse(frames, &Refused::new(ErrorCode::Draining)).await,
    }
}

fn objects_of(message: &Put, mut tail: Bytes) -> Result<Vec<SealedObject>, LinkError> {
    let malformed = LinkError::Frame(backstore_protocol::wire::FrameError::Malformed { kind: 42 });
    message
        .items
        .iter()
        .map(|item| {
            Ok(SealedObject {
                id: item.id,
                kind: ObjectKind::from_number(item.kind).ok_or_else(|| malformed.clone())?,
                level: item.level,
                references: tail.split_to(usize::from(item.references) * ObjectId::SIZE),
                sealed: tail.split_to(item.sealed as usize),
            })
        })
        .collect()
}

/// Objects are asked for.
pub async fn get<S: Stream>(
    service: &Arc<Service>,
    client: &Arc<Client>,
    frames: &mut Frames<S>,
    frame: &Frame,
) -> Result<(), LinkError> {
    let _: Get = frame.message()?;
    let ids: Vec<ObjectId> = reference_ids(&frame.tail).collect();
    let (sender, mut answers) = mpsc::channel::<Answered>(2);
    let (shared, client) = (Arc::clone(service), Arc::clone(client));
    let reading = tokio::task::spawn_blocking(move || read(&shared, &client, &ids, &sender));
    while let Some(Answered { objects, tail }) = answers.recv().await {
        let Some(_budget) = service.budget.take(tail.iter().map(Bytes::len).sum()).await else {
            return Ok(());
        };
        frames.send(&objects, &tail).await?;
    }
    match reading.await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(refused)) => refuse(frames, &refused).await,
        Err(_) => refuse(frames, &Refused::new(ErrorCode::StorageFailed)).await,
    }
}

/// A part of an answer.
#[derive(Default)]
struct Answered {
    objects: Objects,
    tail: Vec<Bytes>,
}

fn read(
    service: &Service,
    client: &Client,
    ids: &[ObjectId],
    sender: &mpsc::Sender<Answered>,
) -> Result<(), Refused> {
    let account = client.account(service)?;
    // Fails when the client has gone; the rest is then read in vain.
    let mut parts = Parts::new(|part| drop(sender.blocking_send(part)));
    account.read(ids, &mut |index, read| parts.add(index, read))?;
    parts.end();
    Ok(())
}

/// Makes parts of an answer: many small objects in one, each large one in its own.
struct Parts<S> {
    send: S,
    part: Answered,
    bytes: usize,
}

impl<S: FnMut(Answered)> Parts<S> {
    fn new(send: S) -> Self {
        Self { send, part: Answered::default(), bytes: 0 }
    }

    fn add(&mut self, index: usize, read: Result<SealedObject, ReadFailure>) {
        let (item, tail) = item(index, read);
        let length = tail.iter().map(Bytes::len).sum::<usize>();
        let is_alone = length >= ALONE_BYTES;
        if is_alone {
            self.end();
        }
        self.bytes += length;
        self.part.objects.items.push(item);
        self.part.tail.extend(tail);
        if is_alone || self.bytes >= ANSWER_BYTES || self.part.objects.items.len() == ANSWER_ITEMS_MAX {
            self.end();
        }
    }

    fn end(&mut self) {
        self.bytes = 0;
        if !self.part.objects.items.is_empty() {
            (self.send)(std::mem::take(&mut self.part));
        }
    }
}

fn item(index: usize, read: Result<SealedObject, ReadFailure>) -> (ObjectItem, Vec<Bytes>) {
    let without = |status: ObjectStatus| {
        let item = ObjectItem {
            index: index as u32,
            status: status as u8,
            kind: 0,
            level: 0,
            references: 0,
            sealed: 0,
        };
        (item, Vec::new())
    };
    match read {
        Err(ReadFailure::Missing) => without(ObjectStatus::Missing),
        Err(ReadFailure::Damaged) => without(ObjectStatus::Damaged),
        Ok(object) => {
            let item = ObjectItem {
                index: index as u32,
                status: ObjectStatus::Held as u8,
                kind: object.kind as u8,
                level: object.level,
                references: (object.references.len() / ObjectId::SIZE) as u16,
                sealed: object.sealed.len() as u32,
            };
            (item, vec![object.references, object.sealed])
        }
    }
}

/// A client wants to know of commits. Ends when the client gives it up.
pub async fn watch<S: Stream>(
    service: &Arc<Service>,
    client: &Arc<Client>,
    frames: &mut Frames<S>,
    frame: &Frame,
) -> Result<(), LinkError> {
    let _: Watch = frame.message()?;
    let device = match client.device() {
        Ok(device) => device,
        Err(refused) => return refuse(frames, &refused).await,
    };
    let mut changes = service.watch(device.number);
    loop {
        let count = *changes.borrow_and_update();
        frames.send(&Changed { count }, &[]).await?;
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return Ok(()) },
            () = frames.given_up() => return Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_objects_share_a_frame_and_large_ones_have_their_own() {
        let object = |length: usize| {
            Ok(SealedObject {
                id: ObjectId::ZERO,
                kind: ObjectKind::Data,
                level: 0,
                references: Bytes::new(),
                sealed: vec![0; length].into(),
            })
        };
        let mut sent = Vec::new();
        let mut parts = Parts::new(|part: Answered| {
            sent.push(part.objects.items.iter().map(|item| item.index).collect::<Vec<_>>());
        });
        let small = 250_000;
        let lengths = [10, small, ALONE_BYTES, 4 << 20, small, small, small, small, small, small];
        for (index, length) in lengths.into_iter().enumerate() {
            parts.add(index, object(length));
        }
        parts.add(10, Err(ReadFailure::Missing));
        parts.end();
        parts.end();
        assert_eq!(sent, [vec![0, 1], vec![2], vec![3], vec![4, 5, 6, 7, 8], vec![9, 10]]);
    }
}
