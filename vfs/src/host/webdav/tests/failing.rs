//! What cannot be read, and who is not held up by it.

use backstore_protocol::object::ObjectKind;
use backstore_protocol::store::ReadFailure;

use super::*;
use crate::random_tree::noise;

const FILES: u64 = 120;

fn bytes_of(number: u64) -> Vec<u8> {
    noise(if number % 20 == 7 { 3_000_000 } else { 5000 }, number)
}

fn many(archive: &mut TestArchive) -> Root {
    directory(archive, "/");
    for number in 0..FILES {
        file(archive, &format!("/{number:03}"), &bytes_of(number));
    }
    archive.finish()
}

#[test]
fn what_cannot_be_read_is_never_given_out_as_something_else() {
    let mut archive = TestArchive::new();
    let root = many(&mut archive);
    let (mut refused, mut broken) = (0, 0);
    for (at, lost) in archive.source().ids(ObjectKind::Data).into_iter().enumerate().step_by(3) {
        let failure = if at % 2 == 0 { ReadFailure::Missing } else { ReadFailure::Damaged };
        archive.source().fail(lost, failure);
        let served = served(&archive, root);
        let mut failed = 0;
        for number in 0..FILES {
            let answer = served.get(&format!("{TOP}/{number:03}"));
            let bytes = bytes_of(number);
            assert!(bytes.starts_with(&answer.body) || answer.status != 200, "wrong bytes of {number}");
            match (answer.status, answer.is_whole) {
                (200, true) => assert!(answer.body == bytes, "{number}"),
                (200, false) => broken += 1,
                (status, _) => {
                    assert_eq!(status, 502, "{number}");
                    refused += 1;
                }
            }
            failed += u64::from(answer.status != 200 || !answer.is_whole);
        }
        assert!((1..FILES).contains(&failed), "{failed} of {FILES}");
        archive.source().heal();
        let healed = served.get(&format!("{TOP}/007"));
        assert!(healed.is_whole && healed.body == bytes_of(7), "failures are not remembered");
    }
    assert!(refused > 0 && broken > 0, "{refused} refused, {broken} broken off");
}

#[test]
fn a_directory_that_cannot_be_read_is_no_empty_one() {
    let mut archive = TestArchive::new();
    directory(&mut archive, "/");
    directory(&mut archive, "/d");
    for number in 0..3000 {
        archive.add_raw(
            child_key(b"/\0d", format!("{number:07}").as_bytes()),
            Entry { mode: 0o644, ..Entry::new(Kind::File) },
        );
    }
    let root = archive.finish();
    let nodes = archive.source().ids(ObjectKind::Tree);
    let mut failed = 0;
    for lost in nodes {
        archive.source().fail(lost, ReadFailure::Damaged);
        let served = served(&archive, root);
        for (method, depth) in [("PROPFIND", "1"), ("GET", "")] {
            let answer = served.ask(method, &format!("{TOP}/d/"), &[("Depth", depth)], "");
            let is_listed = matches!(answer.status, 200 | 207);
            let lines = answer.text().matches("0000").count();
            assert!(!is_listed || lines >= 1000, "{method}: an incomplete listing with a clean end");
            assert!(is_listed || answer.status == 502, "{method}: {}", answer.status);
            failed += u32::from(!is_listed);
        }
        archive.source().heal();
    }
    assert!(failed >= 4, "{failed}");
}

#[test]
fn the_folder_answers_without_the_destination() {
    let mut archive = TestArchive::new();
    let root = many(&mut archive);
    archive.source().stick();
    let served = served(&archive, root);
    assert!(served.list("").contains_key("latest"));
    assert_eq!(served.ask("PROPFIND", "", &[("Depth", "0")], "").status, 207);
    assert_eq!(served.ask("OPTIONS", TOP, &[], "").status, 200);
    assert_eq!(served.get("README.txt").status, 200);
    assert_eq!(archive.source().take_calls().len(), 0);
    archive.source().heal();
}

#[test]
fn a_reader_who_waits_for_the_destination_holds_up_nobody() {
    let mut archive = TestArchive::new();
    let root = many(&mut archive);
    let served = served(&archive, root);
    let known = served.get(&format!("{TOP}/000"));
    let large = served.ask("HEAD", &format!("{TOP}/047"), &[], "");
    assert_eq!((known.status, large.status), (200, 200));
    archive.source().take_calls();
    archive.source().stick();
    let path = format!("/{}/{TOP}/047", "ab".repeat(20));
    let mut waiting: Vec<_> = (0..CONNECTIONS_MAX - 1).map(|_| served.connect()).collect();
    for stream in &mut waiting {
        stream.write_all(request("GET", &path, &[("Host", "localhost")], "").as_bytes()).unwrap();
    }
    while served.handle.requests().reads < waiting.len() as u64 + 1 {
        thread::yield_now();
    }
    assert!(served.get(&format!("{TOP}/000")).body == bytes_of(0), "it is in memory");
    archive.source().heal();
    for mut stream in waiting {
        let answer = answer(&mut stream, "GET");
        assert!(answer.is_whole && answer.body == bytes_of(47));
    }
}

#[test]
fn a_dead_destination_is_an_error_in_time() {
    let mut archive = TestArchive::new();
    let root = many(&mut archive);
    let reader = ReaderOptions { deadline: Duration::from_millis(40), ..ReaderOptions::default() };
    let served = serve_with(&archive, root, &options(), &reader);
    archive.source().stick();
    assert_eq!(served.get(&format!("{TOP}/000")).status, 502);
    archive.source().heal();
    while served.get(&format!("{TOP}/000")).status != 200 {}
}

#[test]
fn a_link_that_cannot_be_followed_is_an_error_when_it_is_opened() {
    let mut archive = TestArchive::new();
    for path in ["/", "/a", "/z"] {
        directory(&mut archive, path);
    }
    link(&mut archive, "/a/link", "../z/0002500");
    for number in 0..3000 {
        archive.add_raw(
            child_key(b"/\0z", format!("{number:07}").as_bytes()),
            Entry { content: Content::Inline(Box::new([])), ..Entry::new(Kind::File) },
        );
    }
    let root = archive.finish();
    let mut shown_broken = 0;
    for lost in archive.source().ids(ObjectKind::Tree) {
        archive.source().fail(lost, ReadFailure::Missing);
        let served = served(&archive, root);
        let listed = served.ask("PROPFIND", &format!("{TOP}/a"), &[("Depth", "1")], "");
        if listed.status == 207 {
            assert!(listed.text().contains("/link<"), "it is listed whether its target can be read or not");
            let status = served.get(&format!("{TOP}/a/link")).status;
            assert!(matches!(status, 200 | 502), "{status}");
            shown_broken += u32::from(status == 502);
        }
        archive.source().heal();
    }
    assert!(shown_broken > 0);
}
