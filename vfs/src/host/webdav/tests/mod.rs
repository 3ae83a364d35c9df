//! Real connections to a real server on this computer.

mod bounds;
mod content;
mod failing;
mod names;
mod protocol;

use std::collections::BTreeMap;

use backstore_protocol::entry::{Content, Entry, Kind};
use backstore_protocol::ids::{LineageId, SnapshotId};
use backstore_protocol::path::{ArchivePath, child_key};
use backstore_protocol::tree::Root;

use super::*;
use crate::model::FolderOptions;
use crate::objects::{ObjectReader, ReaderOptions};
use crate::test_archive::{Part, TestArchive};

/// Versions of an archive, served.
struct Served {
    handle: WebdavHandle,
}

/// What came back.
#[derive(Debug)]
struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    /// The answer ended as it said it would.
    is_whole: bool,
}

/// The only version.
const TOP: &str = "2001-09-09_01-46-41";

fn version(sequence: u64, root: Root) -> Version {
    Version {
        id: SnapshotId::from_bytes([sequence as u8; 32]),
        lineage: LineageId::ZERO,
        sequence,
        started_at: 1_000_000_000_000 + 1000 * sequence as i64,
        received_at: 1_000_000_000_000,
        zone: "UTC".into(),
        root,
        is_partial: false,
        entries: 0,
        bytes: 0,
        tags: Box::default(),
    }
}

fn options() -> WebdavOptions {
    WebdavOptions::new(Secret::new([0xab; 20]), Secret::new([0xcd; 20]))
}

fn serve_with(archive: &TestArchive, root: Root, options: &WebdavOptions, reader: &ReaderOptions) -> Served {
    let reader = ObjectReader::new(archive.source(), archive.keys(), reader).unwrap();
    let model = Arc::new(Snapshots::new(&reader, FolderOptions::default()).unwrap());
    model.set_versions(vec![version(1, root)]);
    Served { handle: serve(model, options).unwrap() }
}

fn served(archive: &TestArchive, root: Root) -> Served {
    serve_with(archive, root, &options(), &ReaderOptions::default())
}

impl Served {
    fn connect(&self) -> TcpStream {
        TcpStream::connect(self.handle.address()).unwrap()
    }

    /// Asks for a path as it is, below nothing.
    fn ask_raw(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut stream = self.connect();
        let _ = stream.write_all(request(method, path, headers, body).as_bytes());
        answer(&mut stream, method)
    }

    /// Asks for names below the secret.
    fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let path = format!("/{}/{}", "ab".repeat(20), encoded(path));
        let mut all = vec![("Host", "127.0.0.1")];
        all.extend_from_slice(headers);
        self.ask_raw(method, &path, &all, body)
    }

    fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[], "")
    }

    /// What a directory lists: names as they are shown, and whether they are directories.
    #[track_caller]
    fn list(&self, path: &str) -> BTreeMap<String, bool> {
        let answer = self.ask("PROPFIND", path, &[("Depth", "1")], "");
        assert_eq!((answer.status, answer.is_whole), (207, true), "{path}");
        let own = format!("/{}/{}", "ab".repeat(20), encoded(path));
        let mut listed = BTreeMap::new();
        for href in answer.hrefs() {
            let name = href.strip_prefix(own.trim_end_matches('/')).unwrap().trim_matches('/');
            if !name.is_empty() {
                let is_new = listed.insert(decoded(name), href.ends_with('/')).is_none();
                assert!(is_new, "{name} is listed twice");
            }
        }
        listed
    }
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(own, _)| own == name).map(|(_, value)| &**value)
    }

    fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    fn hrefs(&self) -> Vec<String> {
        let text = self.text();
        let all = text.split("<D:href>").skip(1);
        all.map(|rest| rest.split("</D:href>").next().unwrap().to_owned()).collect()
    }
}

fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> String {
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    format!(
        "{method} {path} HTTP/1.1\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

/// Reads until the connection ends.
fn answer(stream: &mut TcpStream, method: &str) -> Answer {
    let mut bytes = Vec::new();
    let is_clean = stream.read_to_end(&mut bytes).is_ok();
    let Some(head) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Answer { status: 0, headers: Vec::new(), body: Vec::new(), is_whole: false };
    };
    let text = String::from_utf8(bytes[..head].to_vec()).unwrap();
    let mut lines = text.split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers: Vec<_> = lines
        .map(|line| line.split_once(": ").unwrap())
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let rest = &bytes[head + 4..];
    let mut answer = Answer { status, headers, body: Vec::new(), is_whole: false };
    if answer.header("transfer-encoding") == Some("chunked") {
        (answer.body, answer.is_whole) = unchunked(rest);
    } else {
        let length = answer.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        let length = if method == "HEAD" || status == 304 { 0 } else { length };
        (answer.body, answer.is_whole) = (rest.to_vec(), rest.len() == length);
    }
    answer.is_whole &= is_clean;
    answer
}

fn unchunked(mut rest: &[u8]) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    while let Some(end) = rest.windows(2).position(|two| two == b"\r\n") {
        let length = std::str::from_utf8(&rest[..end]).ok();
        let Some(length) = length.and_then(|digits| usize::from_str_radix(digits, 16).ok()) else { break };
        rest = &rest[end + 2..];
        if length == 0 {
            return (body, true);
        }
        if rest.len() < length + 2 {
            break;
        }
        body.extend_from_slice(&rest[..length]);
        rest = &rest[length + 2..];
    }
    (body, false)
}

fn encoded(path: &str) -> String {
    path.bytes()
        .map(|byte| match byte {
            b'/' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
            byte if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
            byte => format!("%{byte:02X}"),
        })
        .collect()
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut parts = text.split('%');
    bytes.extend_from_slice(parts.next().unwrap().as_bytes());
    for part in parts {
        bytes.push(u8::from_str_radix(&part[..2], 16).unwrap());
        bytes.extend_from_slice(&part.as_bytes()[2..]);
    }
    String::from_utf8(bytes).unwrap()
}

fn unix(path: &str) -> ArchivePath {
    let names = path.split('/').filter(|name| !name.is_empty());
    names.fold(ArchivePath::unix_root(), |path, name| path.join(name.as_bytes()).unwrap())
}

fn file(archive: &mut TestArchive, path: &str, bytes: &[u8]) {
    archive.add(&unix(path), Entry { mode: 0o644, ..Entry::new(Kind::File) }, &[Part::Data(bytes.to_vec())]);
}

fn directory(archive: &mut TestArchive, path: &str) {
    archive.add(&unix(path), Entry { mode: 0o755, ..Entry::new(Kind::Directory) }, &[]);
}

fn link(archive: &mut TestArchive, path: &str, target: &str) {
    archive.add(&unix(path), Entry::new(Kind::Symlink), &[Part::Data(target.as_bytes().to_vec())]);
}
