//! How much one client can take, and how it ends.

use super::*;
use crate::random_tree::noise;

fn large(length: usize) -> (TestArchive, Root) {
    let mut archive = TestArchive::new();
    directory(&mut archive, "/");
    file(&mut archive, "/large", &noise(length, 1));
    let root = archive.finish();
    (archive, root)
}

#[test]
fn who_takes_nothing_loses_the_connection_and_little_is_held_for_it() {
    const LENGTH: usize = 48 << 20;
    let (archive, root) = large(LENGTH);
    let hasty = WebdavOptions { patience: Duration::from_millis(200), ..options() };
    let served = serve_with(&archive, root, &hasty, &ReaderOptions::default());
    let mut stream = served.connect();
    let path = format!("/{}/{TOP}/large", "ab".repeat(20));
    stream.write_all(request("GET", &path, &[("Host", "localhost")], "").as_bytes()).unwrap();
    while served.handle.requests().reads == 0 {
        thread::yield_now();
    }
    // The end of the connection comes without anything being taken.
    while served.handle.open_connections() > 0 {
        thread::yield_now();
    }
    let read = served.handle.requests().bytes_read;
    assert!(read < LENGTH as u64 / 2, "{read} bytes were read for somebody who took none");
    let mut taken = Vec::new();
    let _ = stream.read_to_end(&mut taken);
    assert!(taken.len() < LENGTH);
}

#[test]
fn connections_are_bounded() {
    let (archive, root) = large(10);
    let served = served(&archive, root);
    let mut idle: Vec<_> = (0..CONNECTIONS_MAX).map(|_| served.connect()).collect();
    while served.handle.open_connections() < CONNECTIONS_MAX {
        thread::yield_now();
    }
    let mut next = served.connect();
    let path = format!("/{}/README.txt", "ab".repeat(20));
    next.write_all(request("GET", &path, &[("Host", "localhost")], "").as_bytes()).unwrap();
    next.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    assert!(next.read(&mut [0]).is_err(), "it has to wait for its turn");
    next.set_read_timeout(None).unwrap();
    idle.pop();
    assert_eq!(answer(&mut next, "GET").status, 200);
}

#[test]
fn requests_are_bounded() {
    let (archive, root) = large(10);
    let served = served(&archive, root);
    let long = "x".repeat(HEAD_BYTES_MAX * 2);
    let many: Vec<_> = (0..300).map(|number| format!("x-{number}")).collect();
    let many: Vec<_> = many.iter().map(|name| (&**name, "x")).collect();
    for answer in [
        served.ask("GET", &long, &[], ""),
        served.ask("GET", "", &[("X-Long", &long)], ""),
        served.ask("GET", "", &many, ""),
    ] {
        // The rest of the request may still be on its way when it ends.
        assert!(matches!(answer.status, 0 | 414 | 431 | 400), "{}", answer.status);
    }
    let deepest = vec!["\u{f0ff}".repeat(204); 20].join("/");
    assert_eq!(served.get(&deepest).status, 404, "the longest path there can be is looked for");
}

#[test]
fn it_ends_when_it_is_told_to() {
    let (archive, root) = large(10);
    let first = served(&archive, root);
    let address = first.handle.address();
    assert!(address.ip().is_loopback());
    assert!(first.handle.url().contains(&"ab".repeat(20)));
    assert!(stop(address, &"ab".repeat(20)).is_err(), "that is another secret");
    assert_eq!(first.get("README.txt").status, 200);
    // Whoever is connected does not keep it.
    let _idle = first.connect();
    stop(address, &Secret::new([0xcd; 20]).text()).unwrap();
    first.handle.wait();
    assert!(TcpStream::connect(address).is_err());
    let fixed = WebdavOptions { port: address.port(), ..options() };
    let second = serve_with(&archive, root, &fixed, &ReaderOptions::default());
    assert_eq!(second.handle.address(), address);
    let reader = ObjectReader::new(archive.source(), archive.keys(), &ReaderOptions::default()).unwrap();
    let model = Arc::new(Snapshots::new(&reader, FolderOptions::default()).unwrap());
    assert!(
        matches!(serve(model, &fixed), Err(MountError::Listen { address: taken, .. }) if taken == address)
    );
    second.handle.stop();
    second.handle.wait();
    assert!(TcpStream::connect(address).is_err());
}
