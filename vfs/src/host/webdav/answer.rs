//! From a request to its answer: what may be asked is asked of the model, and said by `dav-server`.
//!
//! Everything that can fail is done before `dav-server` is asked, since an answer that has begun can only be broken off. Headers that it
//! would understand in a way of its own are made plain or taken away.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use dav_server::DavHandler;
use dav_server::body::Body;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};

use super::content::{Backend, READ_BYTES, Subject, etag};
use super::gate::{Gate, METHODS, Passage};
use super::range::{Wanted, wanted};
use super::tree::Target;
use crate::model::{FileKind, Problem};

/// Answers requests.
pub(super) struct Answerer {
    pub(super) gate: Gate,
    pub(super) backend: Backend,
    /// Somebody has asked for the end.
    pub(super) shall_stop: AtomicBool,
}

/// Of the body of a request: a list of properties.
const BODY_BYTES_MAX: usize = 64 << 10;
/// Marks of that body. What reads it goes down one call for each that lies in another.
const MARKS_MAX: usize = 1024;
/// How long the body may take.
const BODY_PATIENCE: Duration = Duration::from_secs(10);

/// Why a request is not answered as asked.
enum Refusal {
    Status(StatusCode),
    Problem(Problem),
    /// A whole tree at once would take for ever.
    Depth,
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl Answerer {
    pub(super) async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, Infallible> {
        let passage = self.gate.passage(request.method(), request.uri(), request.headers());
        let mut response = match passage {
            Passage::Look(names) => {
                let answer = self.look(names, request).await;
                answer.unwrap_or_else(|refusal| refused(&refusal))
            }
            Passage::Stop => {
                self.shall_stop.store(true, Ordering::Release);
                closing(StatusCode::NO_CONTENT)
            }
            Passage::Refused(status) => closing(status),
        };
        add_headers(response.headers_mut());
        Ok(response)
    }

    async fn look(&self, names: Vec<String>, request: Request<Incoming>) -> Result<Response<Body>, Refusal> {
        let method = request.method().clone();
        if method == Method::OPTIONS {
            return Ok(options());
        }
        self.backend.requests.lookups.one();
        let is_listing = method.as_str() == "PROPFIND";
        let depth = if is_listing { depth(request.headers())? } else { 0 };
        let target = self.backend.ask(move |tree, wait| tree.find(&names, wait)).await?;
        let is_directory = target.attributes().kind == FileKind::Directory;
        // Whoever forgets the slash is sent to the right place.
        let is_page = !is_listing && request.uri().path().ends_with('/');
        let mut entries = Vec::new();
        if is_directory && (depth > 0 || is_page) {
            self.backend.requests.listings.one();
            let (directory, is_windows) = (target.clone(), is_windows(request.headers()));
            entries = self.backend.ask(move |tree, wait| tree.list(&directory, is_windows, wait)).await?;
        }
        let (mut parts, body) = request.into_parts();
        // A page lists a directory; a file is what it is, however it is called.
        let body = if is_listing { body_of(body).await? } else { Bytes::new() };
        let mut first = None;
        if !is_listing && !is_directory {
            self.backend.requests.files_opened.one();
            let from = make_plain(&mut parts.headers, &target);
            if let Some((offset, length)) = from.filter(|_| method == Method::GET) {
                first = Some((offset, self.backend.read(&target, offset, length.min(READ_BYTES)).await?));
            }
        }
        IGNORED.iter().for_each(|name| _ = parts.headers.remove(*name));
        let subject = Subject { backend: self.backend.clone(), target, entries: Arc::new(entries), first };
        let dav = DavHandler::builder()
            .filesystem(Box::new(subject))
            .strip_prefix(format!("/{}", self.gate.secret.text()))
            .read_buf_size(READ_BYTES as usize)
            .autoindex(true)
            .build_handler();
        Ok(dav.handle(Request::from_parts(parts, Body::from(body))).await)
    }
}

/// Headers that mean something only where things are changed, and dates: a path can come to mean an older file, so that a date does not
/// tell whether it is another.
const IGNORED: [&str; 6] =
    ["if", "if-modified-since", "if-unmodified-since", "if-range", "x-litmus", "content-length"];

/// Replaces what is said of a range by what it means; gives where the answer begins in the file and how long it is, if it has bytes.
fn make_plain(headers: &mut HeaderMap, target: &Target) -> Option<(u64, u64)> {
    let attributes = target.attributes();
    let own = format!("\"{}\"", etag(&attributes));
    let is_same = headers.get(header::IF_RANGE).is_none_or(|value| value.as_bytes() == own.as_bytes());
    let range = headers.remove(header::RANGE).filter(|_| is_same);
    match wanted(range.as_ref().and_then(|range| range.to_str().ok()), attributes.size) {
        Wanted::Whole => (attributes.size > 0).then_some((0, attributes.size)),
        Wanted::Part(part) => {
            let text = format!("bytes={}-{}", part.start, part.end - 1);
            headers.insert(header::RANGE, HeaderValue::try_from(text).ok()?);
            Some((part.start, part.end - part.start))
        }
        Wanted::Nothing => {
            let text = format!("bytes={}-", attributes.size);
            headers.insert(header::RANGE, HeaderValue::try_from(text).ok()?);
            None
        }
    }
}

/// Whether it is the client that Windows has of its own.
fn is_windows(headers: &HeaderMap) -> bool {
    let agent = headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok());
    agent.is_some_and(|agent| agent.starts_with("Microsoft-WebDAV"))
}

/// How deep is listed.
fn depth(headers: &HeaderMap) -> Result<u8, Refusal> {
    match headers.get("depth").map(HeaderValue::as_bytes) {
        Some(b"0") => Ok(0),
        Some(b"1") => Ok(1),
        // What says nothing means all, by RFC 4918.
        None => Err(Refusal::Depth),
        Some(other) if other.eq_ignore_ascii_case(b"infinity") => Err(Refusal::Depth),
        Some(_) => Err(Refusal::Status(StatusCode::BAD_REQUEST)),
    }
}

async fn body_of(body: Incoming) -> Result<Bytes, Refusal> {
    let body = tokio::time::timeout(BODY_PATIENCE, Limited::new(body, BODY_BYTES_MAX).collect());
    let body = match body.await {
        Err(_) => return Err(Refusal::Status(StatusCode::REQUEST_TIMEOUT)),
        Ok(Err(_)) => return Err(Refusal::Status(StatusCode::PAYLOAD_TOO_LARGE)),
        Ok(Ok(body)) => body.to_bytes(),
    };
    if body.iter().filter(|byte| **byte == b'<').count() > MARKS_MAX {
        return Err(Refusal::Status(StatusCode::PAYLOAD_TOO_LARGE));
    }
    // No client declares entities, and what they stand for can be larger than all memory.
    if body.windows(2).any(|two| two == b"<!") {
        return Err(Refusal::Status(StatusCode::BAD_REQUEST));
    }
    Ok(body)
}

/// Nothing is looked at for it, so that a client that asks before it mounts never waits.
fn options() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    let headers = response.headers_mut();
    // Class 1: no locks, so that clients mount it for reading.
    headers.insert(HeaderName::from_static("dav"), HeaderValue::from_static("1"));
    headers.insert(HeaderName::from_static("ms-author-via"), HeaderValue::from_static("DAV"));
    headers.insert(header::ALLOW, HeaderValue::from_static(METHODS));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
    response
}

const NOT_SO_DEEP: &str = "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n\
    <D:error xmlns:D=\"DAV:\"><D:propfind-finite-depth/></D:error>\n";

fn refused(refusal: &Refusal) -> Response<Body> {
    match refusal {
        Refusal::Status(status) => closing(*status),
        Refusal::Depth => {
            let mut response = Response::new(Body::from(NOT_SO_DEEP));
            *response.status_mut() = StatusCode::FORBIDDEN;
            let xml = HeaderValue::from_static("application/xml; charset=utf-8");
            response.headers_mut().insert(header::CONTENT_TYPE, xml);
            response
        }
        Refusal::Problem(problem) => {
            let mut response = Response::new(Body::from(format!("{problem}\n")));
            *response.status_mut() = status_of(problem);
            let text = HeaderValue::from_static("text/plain; charset=utf-8");
            response.headers_mut().insert(header::CONTENT_TYPE, text);
            response
        }
    }
}

/// Every status of a problem is chosen here.
fn status_of(problem: &Problem) -> StatusCode {
    match problem {
        Problem::NotFound | Problem::NotFoundYet | Problem::NotADirectory => StatusCode::NOT_FOUND,
        Problem::IsADirectory
        | Problem::Invalid
        | Problem::NoSuchAttribute
        | Problem::NothingThere
        | Problem::TooLarge
        | Problem::NotInMemory => StatusCode::INTERNAL_SERVER_ERROR,
        Problem::NotForThem => StatusCode::FORBIDDEN,
        Problem::Unreadable(_) | Problem::NoHistory(_) | Problem::SetUnreadable(_) => {
            tracing::warn!(
                error = problem as &(dyn std::error::Error + 'static),
                "something of the archive cannot be read"
            );
            StatusCode::BAD_GATEWAY
        }
    }
}

/// An answer without content, after which the connection ends.
fn closing(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(header::ALLOW, HeaderValue::from_static(METHODS));
    }
    if status != StatusCode::NO_CONTENT {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
    response
}

/// A browser must neither keep what may change, nor run what was archived, nor tell others where it was.
fn add_headers(headers: &mut HeaderMap) {
    for (name, value) in [
        (header::CACHE_CONTROL, "no-cache, private"),
        (
            header::CONTENT_SECURITY_POLICY,
            "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src 'self'; media-src 'self'",
        ),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    let own = HeaderName::from_static("cross-origin-resource-policy");
    headers.insert(own, HeaderValue::from_static("same-origin"));
}
