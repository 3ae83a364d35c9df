//! Frames that no client sends, against a running server: each is answered with its error, and nothing else suffers.

use std::time::Duration;

use backstore_agent::enrol::Invitation;
use backstore_protocol::quic::{Connecting, Identity, QuicLink};
use backstore_protocol::wire::{ErrorCode, ErrorMessage, Frames, Hello, Link, MINOR, Stream, Welcome};
use backstore_tests::World;
use backstore_tests::computer::Computer;
use backstore_tests::server::Server;

use crate::PROGRAMS;

/// A server that has not answered by then never does.
const PATIENCE: Duration = Duration::from_secs(120);

/// The start of a frame: length, type, flags and length of the header, as they are given.
fn prefix(length: u32, kind: u8, flags: u8, header: u16) -> Vec<u8> {
    [&length.to_le_bytes()[..], &[kind, flags], &header.to_le_bytes()].concat()
}

/// Sends bytes on a stream of their own and gives the code of the error that comes back, if any.
async fn answer(link: &QuicLink, bytes: Vec<u8>) -> Option<u16> {
    let mut stream = link.open().await.unwrap();
    stream.send(bytes.into()).await.unwrap();
    stream.finish().unwrap();
    let frame = Frames::new(stream).receive().await.ok().flatten()?;
    Some(frame.message::<ErrorMessage>().unwrap().code)
}

async fn check_frames(connecting: &Connecting) {
    let link = connecting.connect().await.unwrap();
    let code = |code: ErrorCode| Some(code as u16);
    let hello = 1;
    let put = 42;
    for (what, bytes, expected) in [
        ("a control frame of 2 MiB", prefix(2 << 20, hello, 0, 0), code(ErrorCode::TooLarge)),
        ("a batch of 4 GiB", prefix(u32::MAX, put, 0, 0), code(ErrorCode::TooLarge)),
        ("a header beyond the frame's end", prefix(4, hello, 0, 500), code(ErrorCode::BadFrame)),
        ("a length that leaves no room for the type", prefix(0, hello, 0, 0), code(ErrorCode::BadFrame)),
        ("flags", prefix(4, hello, 1, 0), code(ErrorCode::BadFrame)),
        ("a hello without fields", prefix(4, hello, 0, 0), code(ErrorCode::BadFrame)),
        ("an unknown type", prefix(4, 99, 0, 0), code(ErrorCode::Unsupported)),
        ("an end within the prefix", prefix(4, hello, 0, 0)[..5].to_vec(), None),
        ("an end within the header", [prefix(100, hello, 0, 96), vec![0; 3]].concat(), None),
        ("an end within a batch", [prefix(1 << 20, put, 0, 0), vec![0; 3]].concat(), None),
    ] {
        assert_eq!(answer(&link, bytes).await, expected, "{what}");
    }
    // The connection is none the worse. Who is not enrolled is served one stream after another.
    let hello = Hello { minor: MINOR, features: 0, agent_version: "test".to_owned(), client_time: 0 };
    let mut frames = Frames::new(link.open().await.unwrap());
    frames.send(&hello, &[]).await.unwrap();
    let mut waiting = Frames::new(link.open().await.unwrap());
    waiting.send(&hello, &[]).await.unwrap();
    for frames in [&mut frames, &mut waiting] {
        let welcome: Welcome = frames.expect().await.unwrap().message().unwrap();
        assert!(welcome.account.is_none());
        frames.finish().unwrap();
    }
}

#[test]
fn truncated_oversized_and_unknown_frames() {
    let world = World::new(PROGRAMS);
    let mut server = Server::start(&world, "vault");
    let computer = Computer::new(&world, "home");
    let invitation = server.invite("alice");
    let Invitation { server: address, fingerprint, .. } = Invitation::parse(&invitation).unwrap();
    let identity = Identity::from_seed(&[9; 32]);
    let connecting = Connecting { server: address, fingerprint, identity };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let checked = runtime.block_on(async { tokio::time::timeout(PATIENCE, check_frames(&connecting)).await });
    checked.expect("the server answers");
    computer.run(["login", &invitation]).ends(0);
    computer.add_set("docs", &world.folder("data"));
    computer.backup();
    assert_eq!(server.stop(), 0);
}
