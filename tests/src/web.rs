//! A client of a mount over WebDAV, with nothing but a socket.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;

/// A served folder.
#[derive(Debug, Clone)]
pub struct Web {
    /// Host and port.
    pub address: String,
    /// The name that paths begin with.
    pub secret: String,
}

/// What came back.
#[derive(Debug)]
pub struct WebAnswer {
    /// The status; 0 if nothing came.
    pub status: u16,
    /// The head, in small letters.
    pub head: String,
    /// The content.
    pub body: Vec<u8>,
    /// It ended as it said it would.
    pub is_whole: bool,
}

impl Web {
    /// The folder that the agent says it serves.
    ///
    /// # Panics
    ///
    /// If it says nothing of one.
    #[track_caller]
    pub fn said_in(text: &str) -> Self {
        let (_, rest) =
            text.split_once("served at http://").unwrap_or_else(|| panic!("no address in {text}"));
        let (address, rest) = rest.split_once('/').unwrap();
        let (secret, _) = rest.split_once('/').unwrap();
        Self { address: address.to_owned(), secret: secret.to_owned() }
    }

    /// Where it is, for people.
    pub fn url(&self) -> String {
        format!("http://{}/{}/", self.address, self.secret)
    }

    /// Sends a request for a path below the secret.
    pub fn ask(&self, method: &str, path: &str, headers: &str) -> WebAnswer {
        self.ask_as(&self.secret, method, path, headers)
    }

    /// Sends a request with another secret.
    pub fn ask_as(&self, secret: &str, method: &str, path: &str, headers: &str) -> WebAnswer {
        let path: String = path.bytes().map(escaped).collect();
        let request = format!(
            "{method} /{secret}/{path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{headers}\r\n",
            self.address
        );
        let mut bytes = Vec::new();
        let sent = TcpStream::connect(&self.address).and_then(|mut stream| {
            stream.write_all(request.as_bytes())?;
            stream.read_to_end(&mut bytes)
        });
        answer(&bytes, sent.is_ok())
    }

    /// The whole content of a file.
    ///
    /// # Panics
    ///
    /// If it does not come.
    #[track_caller]
    pub fn read(&self, path: &str) -> Vec<u8> {
        let answer = self.ask("GET", path, "");
        assert_eq!((answer.status, answer.is_whole), (200, true), "{path}");
        answer.body
    }

    /// What a directory lists: names, and whether they are directories.
    ///
    /// # Panics
    ///
    /// If it does not come.
    #[track_caller]
    pub fn list(&self, path: &str) -> BTreeMap<String, bool> {
        let answer = self.ask("PROPFIND", path, "Depth: 1\r\n");
        assert_eq!((answer.status, answer.is_whole), (207, true), "{path}");
        let text = String::from_utf8(answer.body).unwrap();
        // The first one is the directory itself.
        let hrefs = text.split("<D:href>").skip(2).map(|rest| rest.split("</D:href>").next().unwrap());
        let name = |href: &str| unescaped(href.trim_end_matches('/').rsplit('/').next().unwrap());
        hrefs.map(|href| (name(href), href.ends_with('/'))).collect()
    }
}

fn answer(bytes: &[u8], is_clean: bool) -> WebAnswer {
    let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
        return WebAnswer { status: 0, head: String::new(), body: Vec::new(), is_whole: false };
    };
    let head = String::from_utf8_lossy(&bytes[..at]).to_lowercase();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    let rest = &bytes[at + 4..];
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
    let (body, is_whole) = match length {
        Some(length) => (rest.to_vec(), rest.len() == length),
        None if head.contains("transfer-encoding: chunked") => unchunked(rest),
        None => (rest.to_vec(), true),
    };
    WebAnswer { status, head, body, is_whole: is_whole && is_clean }
}

fn unchunked(mut rest: &[u8]) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    while let Some(end) = rest.windows(2).position(|two| two == b"\r\n") {
        let digits = std::str::from_utf8(&rest[..end]).ok();
        let Some(length) = digits.and_then(|digits| usize::from_str_radix(digits, 16).ok()) else { break };
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

fn escaped(byte: u8) -> String {
    let is_plain = byte.is_ascii_alphanumeric() || b"/-_.~".contains(&byte);
    if is_plain { char::from(byte).to_string() } else { format!("%{byte:02X}") }
}

fn unescaped(text: &str) -> String {
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap().as_bytes().to_vec();
    for part in parts {
        bytes.push(u8::from_str_radix(&part[..2], 16).unwrap());
        bytes.extend_from_slice(&part.as_bytes()[2..]);
    }
    String::from_utf8(bytes).unwrap()
}

/// The archived name of one that is listed: characters from U+F000 to U+F0FF are bytes.
pub fn archived_name(shown: &str) -> Vec<u8> {
    let mut name = Vec::new();
    for c in shown.chars() {
        match u8::try_from(u32::from(c).wrapping_sub(0xf000)) {
            Ok(byte) => name.push(byte),
            Err(_) => name.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    name
}
