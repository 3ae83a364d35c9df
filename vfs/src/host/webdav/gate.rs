//! Who may ask, and for what: the only place that looks at requests of those who may not.

use hyper::header::{HOST, HeaderMap};
use hyper::{Method, StatusCode, Uri};
use subtle::ConstantTimeEq;

use super::Secret;

/// What a request has to know.
pub(super) struct Gate {
    /// The first name of every path.
    pub(super) secret: Secret,
    /// The path that ends all.
    pub(super) stop: Secret,
}

/// What becomes of a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Passage {
    /// It may look at what these names lead to.
    Look(Vec<String>),
    /// It ends the server.
    Stop,
    /// It is told nothing but this.
    Refused(StatusCode),
}

/// Methods that change nothing.
pub(super) const METHODS: &str = "OPTIONS, GET, HEAD, PROPFIND";

impl Gate {
    pub(super) fn passage(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Passage {
        // A page on the web can lead its own name to this computer, and would then be allowed to read what it gets.
        if !is_for_this_computer(uri, headers) {
            return Passage::Refused(StatusCode::FORBIDDEN);
        }
        let Some((first, names)) = names_of(uri.path()) else {
            return Passage::Refused(StatusCode::NOT_FOUND);
        };
        if is_same(&first, &self.stop) && method == Method::POST && names.is_empty() {
            return Passage::Stop;
        }
        if !is_same(&first, &self.secret) {
            return Passage::Refused(StatusCode::NOT_FOUND);
        }
        match method.as_str() {
            "OPTIONS" | "GET" | "HEAD" | "PROPFIND" => Passage::Look(names),
            _ => Passage::Refused(StatusCode::METHOD_NOT_ALLOWED),
        }
    }
}

/// Compares in a time that tells nothing of where they differ.
fn is_same(text: &str, secret: &Secret) -> bool {
    text.as_bytes().ct_eq(secret.text().as_bytes()).into()
}

fn is_for_this_computer(uri: &Uri, headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
    let is_named = host.to_str().is_ok_and(is_loopback);
    is_named && uri.authority().is_none_or(|authority| is_loopback(authority.as_str()))
}

/// Whether a host, with or without a port, is this computer by its own name for itself.
fn is_loopback(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    matches!(&*name.to_ascii_lowercase(), "127.0.0.1" | "localhost" | "[::1]")
}

/// The names of a path, decoded: the first one and the others. Nothing if it is no path of names.
fn names_of(path: &str) -> Option<(String, Vec<String>)> {
    let names = path.strip_prefix('/')?.split('/').filter(|name| !name.is_empty());
    let mut names = names.map(decoded).collect::<Option<Vec<_>>>()?;
    let first = if names.is_empty() { return None } else { names.remove(0) };
    Some((first, names))
}

/// A name without its escapes; nothing if it is not text, or no name at all.
fn decoded(name: &str) -> Option<String> {
    let (mut bytes, mut rest) = (Vec::with_capacity(name.len()), name.as_bytes());
    loop {
        let byte;
        (byte, rest) = match rest {
            [b'%', high, low, others @ ..] => (digit(*high)? << 4 | digit(*low)?, others),
            [b'%', ..] => return None,
            [byte, others @ ..] => (*byte, others),
            [] => break,
        };
        bytes.push(byte);
    }
    let text = String::from_utf8(bytes).ok()?;
    let is_name = !matches!(&*text, "." | "..") && !text.contains(['/', '\0']);
    is_name.then_some(text)
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate() -> Gate {
        Gate { secret: Secret::new([0xab; 20]), stop: Secret::new([0xcd; 20]) }
    }

    #[track_caller]
    fn check(method: &str, path: &str, hosts: &[&str], expected: &Passage) {
        let mut headers = HeaderMap::new();
        hosts.iter().for_each(|host| _ = headers.append(HOST, host.parse().unwrap()));
        let path = path.replace("SECRET", &"ab".repeat(20)).replace("STOP", &"cd".repeat(20));
        let uri: Uri = path.parse().unwrap();
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        assert_eq!(gate().passage(&method, &uri, &headers), *expected, "{method} {path} {hosts:?}");
    }

    #[test]
    fn who_does_not_know_the_secret_learns_nothing() {
        let nothing = Passage::Refused(StatusCode::NOT_FOUND);
        for method in ["GET", "PROPFIND", "OPTIONS", "PUT", "DELETE", "POST"] {
            for path in
                ["/", "*", "/abab", "/ABABABAB", "/SECRETx", "/xSECRET", "/x/../SECRET", "/%2e%2e/SECRET"]
            {
                if path != "*" || method == "OPTIONS" {
                    check(method, path, &["localhost"], &nothing);
                }
            }
        }
        check("GET", "/STOP", &["localhost"], &nothing);
        check("POST", "/STOP/x", &["localhost"], &nothing);
        check("POST", "/STOP", &["127.0.0.1:80"], &Passage::Stop);
    }

    #[test]
    fn hosts_that_are_not_this_computer_are_refused() {
        let refused = Passage::Refused(StatusCode::FORBIDDEN);
        let all = Passage::Look(Vec::new());
        for host in ["127.0.0.1", "127.0.0.1:8080", "LocalHost:1", "[::1]:99", "[::1]"] {
            check("GET", "/SECRET/", &[host], &all);
        }
        for host in
            ["example.org", "127.0.0.1.example.org:80", "localhost.", "127.0.0.1@x", "", "::1", "10.0.0.1"]
        {
            check("GET", "/SECRET/", &[host], &refused);
            check("POST", "/STOP", &[host], &refused);
        }
        check("GET", "/SECRET/", &[], &refused);
        check("GET", "/SECRET/", &["localhost", "localhost"], &refused);
        check("GET", "http://example.org/SECRET/", &["localhost"], &refused);
        check("GET", "http://localhost/SECRET/", &["localhost"], &all);
    }

    #[test]
    fn methods_that_change_something_are_refused() {
        for method in [
            "PUT",
            "POST",
            "DELETE",
            "MKCOL",
            "MOVE",
            "COPY",
            "LOCK",
            "UNLOCK",
            "PROPPATCH",
            "PATCH",
            "REPORT",
            "X",
        ] {
            check(method, "/SECRET/a", &["localhost"], &Passage::Refused(StatusCode::METHOD_NOT_ALLOWED));
        }
    }

    #[test]
    fn paths_are_decoded_once() {
        let look = |names: &[&str]| Passage::Look(names.iter().map(|name| (*name).to_owned()).collect());
        check("GET", "/SECRET", &["localhost"], &look(&[]));
        check("GET", "/SECRET//a%20b/%25/%C3%BC?x=/y", &["localhost"], &look(&["a b", "%", "\u{fc}"]));
        for path in ["%", "%2", "%zz", "%ff", "%00", "a%2fb", "..", "%2e%2e", "."] {
            check(
                "GET",
                &format!("/SECRET/{path}"),
                &["localhost"],
                &Passage::Refused(StatusCode::NOT_FOUND),
            );
        }
    }
}
