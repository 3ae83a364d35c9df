//! What clients may ask, and what they are told.

use super::*;

fn small() -> (TestArchive, Served) {
    let mut archive = TestArchive::new();
    directory(&mut archive, "/");
    directory(&mut archive, "/d");
    file(&mut archive, "/page.html", b"<script>");
    let root = archive.finish();
    let served = served(&archive, root);
    (archive, served)
}

#[test]
fn who_does_not_know_the_secret_is_told_nothing() {
    let (_archive, served) = small();
    let good = format!("/{}/", "ab".repeat(20));
    for path in ["/", "/latest", "/abab/", &good.replace("ab/", "aa/"), &format!("/x{good}")] {
        for method in ["GET", "PROPFIND", "OPTIONS", "PUT"] {
            let answer = served.ask_raw(method, path, &[("Host", "localhost"), ("Depth", "1")], "");
            assert_eq!((answer.status, answer.body.len()), (404, 0), "{method} {path}");
            assert_eq!(answer.header("allow").or(answer.header("dav")), None, "{method} {path}");
        }
    }
    let foreign = served.ask_raw("GET", &good, &[("Host", "evil.example")], "");
    assert_eq!((foreign.status, foreign.body.len()), (403, 0));
    assert_eq!(served.ask_raw("GET", &good, &[("Host", "localhost:1")], "").status, 200);
    let allowed = served.ask("GET", "", &[("Origin", "http://evil.example")], "");
    assert_eq!(allowed.header("access-control-allow-origin"), None);
}

#[test]
fn nothing_can_be_changed() {
    let (_archive, served) = small();
    let path = format!("{TOP}/page.html");
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
        "ODD",
    ] {
        let answer = served.ask(method, &path, &[("Destination", "/x")], "new content");
        assert_eq!(
            (answer.status, answer.header("allow")),
            (405, Some("OPTIONS, GET, HEAD, PROPFIND")),
            "{method}"
        );
    }
    assert_eq!(served.get(&path).text(), "<script>");
    let options = served.ask("OPTIONS", &path, &[], "");
    assert_eq!((options.status, options.header("dav")), (200, Some("1")), "class 1 has no locks");
    assert_eq!(options.header("allow"), Some("OPTIONS, GET, HEAD, PROPFIND"));
}

#[test]
fn whole_trees_are_not_listed_at_once() {
    let (_archive, served) = small();
    for headers in [&[("Depth", "infinity")][..], &[("Depth", "Infinity"), ("X-Litmus", "x")], &[]] {
        let answer = served.ask("PROPFIND", "", headers, "");
        assert_eq!(answer.status, 403);
        assert!(answer.text().contains("propfind-finite-depth"));
    }
    assert_eq!(served.ask("PROPFIND", "", &[("Depth", "2")], "").status, 400);
}

#[test]
fn properties_are_told_and_no_quota_is() {
    let (_archive, served) = small();
    let body = "<?xml version=\"1.0\"?><propfind xmlns=\"DAV:\"><prop><getcontentlength/><getetag/><getlastmodified/>\
        <resourcetype/><quota-available-bytes/><quota-used-bytes/></prop></propfind>";
    let all_names = "<?xml version=\"1.0\"?><propfind xmlns=\"DAV:\"><propname/></propfind>";
    for body in ["", body, all_names] {
        for depth in ["0", "1"] {
            let answer = served.ask("PROPFIND", TOP, &[("Depth", depth)], body);
            assert_eq!((answer.status, answer.is_whole), (207, true));
            assert!(!answer.text().contains("quota"), "{}", answer.text());
            assert_eq!(answer.hrefs().len(), if depth == "0" { 1 } else { 3 });
        }
    }
    let answer = served.ask("PROPFIND", &format!("{TOP}/page.html"), &[("Depth", "0")], body).text();
    let etag = served.get(&format!("{TOP}/page.html")).header("etag").unwrap().replace('"', "");
    for word in ["getcontentlength", ">8<", &etag, "Thu, 01 Jan 1970 00:00:00 GMT"] {
        assert!(answer.contains(word), "no {word} in {answer}");
    }
}

#[test]
fn hostile_bodies_are_refused() {
    let (_archive, served) = small();
    let deep = format!("<propfind xmlns=\"DAV:\">{}", "<a>".repeat(20_000));
    let large = " ".repeat(70_000);
    let entity = "<!DOCTYPE x [<!ENTITY a \"aaaa\">]><propfind xmlns=\"DAV:\"><prop>&a;</prop></propfind>";
    for (body, status) in [(&*deep, 413), (&*large, 413), (entity, 400), ("<propfind", 400), ("<x/>", 400)] {
        let answer = served.ask("PROPFIND", "", &[("Depth", "0")], body);
        // It may be refused before all of it was sent.
        assert!(answer.status == status || answer.status == 0, "{} for {:.40}", answer.status, body);
    }
    assert_eq!(served.get("README.txt").status, 200, "it lives");
}

#[test]
fn a_browser_may_look_and_runs_nothing() {
    let (_archive, served) = small();
    let page = served.get(&format!("{TOP}/"));
    assert_eq!((page.status, page.is_whole), (200, true));
    assert!(page.text().contains("page.html") && page.text().contains("<a href"), "{}", page.text());
    let elsewhere = served.get(TOP);
    assert_eq!((elsewhere.status, elsewhere.header("location").unwrap().ends_with('/')), (302, true));
    for answer in [page, served.get(&format!("{TOP}/page.html"))] {
        assert!(answer.header("content-security-policy").unwrap().starts_with("sandbox;"));
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(answer.header("referrer-policy"), Some("no-referrer"), "the address is the secret");
        assert_eq!(answer.header("cache-control"), Some("no-cache, private"));
    }
}

#[test]
fn paths_that_are_none_are_not_found() {
    let (_archive, served) = small();
    let secret = "ab".repeat(20);
    for path in ["%00", "a%2Fb", "..", "%2e%2e/%2e%2e", "%ff", "%zz", "latest/page.html/x", "latest/nothing"]
    {
        let answer = served.ask_raw("GET", &format!("/{secret}/{path}"), &[("Host", "localhost")], "");
        assert_eq!(answer.status, 404, "{path}");
    }
    let slash = served.get(&format!("{TOP}/page.html/"));
    assert!(matches!(slash.status, 200 | 404), "{}", slash.status);
}
