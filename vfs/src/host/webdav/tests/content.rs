//! Bytes of files: whole, in part, and unchanged since.

use proptest::prelude::*;

use super::*;
use crate::random_tree::noise;

/// A file with holes, in many chunks, and a small one.
fn sparse() -> (Vec<u8>, Served) {
    let mut archive = TestArchive::fine();
    directory(&mut archive, "/");
    let parts = [
        Part::Data(noise(70_001, 1)),
        Part::Hole(1_500_000),
        Part::Data(noise(900_000, 2)),
        Part::Hole(12_345),
    ];
    archive.add(&unix("/f"), Entry { mode: 0o644, ..Entry::new(Kind::File) }, &parts);
    file(&mut archive, "/empty", b"");
    let root = archive.finish();
    let bytes = parts
        .iter()
        .flat_map(|part| match part {
            Part::Data(bytes) => bytes.clone(),
            Part::Hole(length) => vec![0; *length as usize],
        })
        .collect();
    (bytes, served(&archive, root))
}

#[test]
fn ranges_give_what_lies_there() {
    let (bytes, served) = sparse();
    let path = format!("{TOP}/f");
    let size = bytes.len() as u64;
    let config = proptest::test_runner::Config { cases: 200, ..Default::default() };
    let range = (0..size + 1000, 0..size + 1000, 0..3);
    proptest!(config, |((a, b, form) in range)| {
        let (text, part) = match form {
            0 => (format!("bytes={}-{}", a.min(b), a.max(b)), a.min(b)..(a.max(b) + 1).min(size)),
            1 => (format!("bytes={a}-"), a..size),
            _ => (format!("bytes=-{a}"), size.saturating_sub(a)..size),
        };
        let answer = served.ask("GET", &path, &[("Range", &text)], "");
        if part.start >= size {
            prop_assert_eq!((answer.status, answer.body.len()), (416, 0), "{}", text);
            let all = format!("bytes */{size}");
            prop_assert_eq!(answer.header("content-range"), Some(&*all));
        } else {
            prop_assert_eq!((answer.status, answer.is_whole), (206, true), "{}", text);
            let where_it_is = format!("bytes {}-{}/{size}", part.start, part.end - 1);
            prop_assert_eq!(answer.header("content-range"), Some(&*where_it_is));
            prop_assert!(answer.body == bytes[part.start as usize..part.end as usize], "{}", text);
        }
    });
}

#[test]
fn a_whole_file_comes_with_what_describes_it() {
    let (bytes, served) = sparse();
    let whole = served.get(&format!("{TOP}/f"));
    assert_eq!((whole.status, whole.is_whole), (200, true));
    assert!(whole.body == bytes);
    assert_eq!(whole.header("last-modified"), Some("Thu, 01 Jan 1970 00:00:00 GMT"));
    let head = served.ask("HEAD", &format!("{TOP}/f"), &[], "");
    assert_eq!((head.status, head.body.len()), (200, 0));
    for name in ["content-length", "etag", "last-modified", "content-type"] {
        assert_eq!(head.header(name), whole.header(name), "{name}");
        assert!(whole.header(name).is_some(), "{name}");
    }
    let empty = served.get(&format!("{TOP}/empty"));
    assert_eq!((empty.status, empty.is_whole, empty.body.len()), (200, true, 0));
    // Several ranges at once would have one request read a file many times.
    let several = served.ask("GET", &format!("{TOP}/f"), &[("Range", "bytes=0-1,5-6")], "");
    assert_eq!((several.status, several.body.len()), (200, bytes.len()));
}

#[test]
fn what_is_unchanged_is_not_sent_again() {
    let (bytes, served) = sparse();
    let path = format!("{TOP}/f");
    let etag = served.get(&path).header("etag").unwrap().to_owned();
    let other = served.get(&format!("{TOP}/empty")).header("etag").unwrap().to_owned();
    assert_ne!(etag, other);
    let ask = |headers: &[(&str, &str)]| {
        let answer = served.ask("GET", &path, headers, "");
        (answer.status, answer.body.len())
    };
    assert_eq!(ask(&[("If-None-Match", &etag)]), (304, 0));
    assert_eq!(ask(&[("If-None-Match", &other)]), (200, bytes.len()));
    assert_eq!(ask(&[("If-Match", &other)]), (412, 0));
    // `latest` may come to mean an older file, so a date says nothing.
    assert_eq!(ask(&[("If-Modified-Since", "Fri, 31 Dec 9999 23:59:59 GMT")]), (200, bytes.len()));
    assert_eq!(ask(&[("Range", "bytes=0-9"), ("If-Range", &etag)]), (206, 10));
    assert_eq!(ask(&[("Range", "bytes=0-9"), ("If-Range", &other)]), (200, bytes.len()));
    assert_eq!(
        ask(&[("Range", "bytes=0-9"), ("If-Range", "Thu, 01 Jan 1970 00:00:00 GMT")]),
        (200, bytes.len())
    );
}
