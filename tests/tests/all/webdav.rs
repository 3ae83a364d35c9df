//! Mounting over WebDAV: from the command to the end of the process in the background. Needs no FUSE and no rights.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use backstore_tests::computer::{Computer, Ran};
use backstore_tests::server::Server;
use backstore_tests::web::{Web, archived_name};
use backstore_tests::{World, files_below, tree};

use crate::PROGRAMS;

fn backed_up(fill: fn(&Path)) -> (World, Computer) {
    let world = World::new(PROGRAMS);
    let computer = Computer::new(&world, "home");
    computer.enrol_with_folder(&world.path("vault"));
    fill(&world.folder("data"));
    computer.add_set("docs", &world.path("data"));
    computer.backup();
    (world, computer)
}

#[track_caller]
fn mount(computer: &Computer) -> Web {
    let words = &["served at http://127.0.0.1:", "set docs", "backstore umount", "dav://", "net use"];
    Web::said_in(&computer.run(["mount", "--via", "webdav"]).says(0, words).out)
}

#[track_caller]
fn unmount(computer: &Computer, web: &Web) {
    computer.run(["umount", &format!("http://{}", web.address)]).says(0, &["unmounted"]);
    assert!(files_below(&computer.home.join("state/mounts")).is_empty());
    assert_eq!(web.ask("GET", "README.txt", "").status, 0, "nobody answers");
}

fn shown(path: &Path) -> String {
    format!("latest{}", path.to_str().unwrap())
}

/// Waits for what comes by itself, but not for ever.
#[track_caller]
fn until(what: &str, is_so: impl Fn() -> bool) {
    /// Far longer than anything takes: only a fault needs it.
    const PATIENCE: Duration = Duration::from_secs(120);
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "{what} did not come");
        std::thread::yield_now();
    }
}

/// Everything below a shown directory is what the folder holds, by its archived names; gives how many files that were.
fn compare(web: &Web, shown: &str, folder: &Path) -> usize {
    let mut left: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    let mut files = 0;
    for (name, is_directory) in web.list(shown) {
        let raw = archived_name(&name);
        let path = folder.join(OsStr::from_bytes(&raw));
        let below = format!("{shown}/{name}");
        assert_eq!(path.is_dir(), is_directory, "{path:?}");
        // Deeper than the system takes a path.
        if is_directory && below.len() < 2000 {
            files += compare(web, &below, &path);
        } else if !is_directory {
            assert!(web.read(&below) == fs::read(&path).unwrap(), "{path:?}");
            files += 1;
        }
        left.retain(|other| other.as_bytes() != raw);
    }
    for name in left {
        let path = folder.join(&name);
        let is_left_out = !path.is_file() && !path.is_dir();
        assert!(is_left_out || path.is_symlink(), "{path:?} is not listed");
    }
    files
}

#[test]
fn what_was_backed_up_is_served_under_names_that_every_system_takes() {
    let (world, computer) = backed_up(|folder| {
        tree::ugly(folder);
        tree::example(&folder.join("example"));
        for name in ["CON", "aux.c", "trailing.", "Case", "a<b>c"] {
            tree::write(&folder.join("windows").join(name), name.as_bytes());
        }
    });
    let data = world.path("data");
    let web = mount(&computer);
    let compared = compare(&web, &shown(&data), &data);
    assert!(compared > 60, "{compared} files were compared");
    let page = web.ask("GET", &format!("{}/", shown(&data)), "");
    assert!(page.status == 200 && String::from_utf8(page.body).unwrap().contains("windows"));
    let part = web.ask("GET", &format!("{}/large", shown(&data)), "Range: bytes=4000000-4000099\r\n");
    assert_eq!(part.status, 206);
    assert!(part.body == fs::read(data.join("large")).unwrap()[4_000_000..4_000_100]);
    // New versions come by themselves, and what became of files with them.
    fs::remove_file(data.join("inline")).unwrap();
    computer.backup();
    let gone = format!("deleted{}/inline", data.display());
    until("the deleted file", || web.ask("GET", &gone, "").status == 200);
    assert_eq!(web.read(&gone), tree::noise(1, 512));
    assert_eq!(web.ask("GET", &format!("{}/inline", shown(&data)), "").status, 404);
    // A pattern is typed as it is.
    let found = web.list("search/note 1*.txt");
    assert_eq!(found.len(), 11, "{found:?}");
    assert_eq!(web.read("search/note 1*.txt/note 1.txt"), b"file 1\n".repeat(37));
    unmount(&computer, &web);
}

#[test]
fn who_has_no_business_there_is_refused() {
    let (world, computer) = backed_up(|folder| tree::write(&folder.join("file"), b"content"));
    let web = mount(&computer);
    let path = shown(&world.path("data/file"));
    let other = web.secret.chars().rev().collect::<String>();
    for method in ["GET", "PROPFIND", "PUT"] {
        let answer = web.ask_as(&other, method, &path, "Depth: 1\r\n");
        assert_eq!((answer.status, answer.body.len()), (404, 0), "{method}");
    }
    for method in ["PUT", "DELETE", "MKCOL", "MOVE", "COPY", "LOCK", "PROPPATCH"] {
        let answer = web.ask(method, &path, "Destination: /x\r\nContent-Length: 0\r\n");
        assert_eq!(answer.status, 405, "{method}");
    }
    assert_eq!(web.read(&path), b"content");
    assert_eq!(web.ask("PROPFIND", "", "Depth: infinity\r\n").status, 403);
    // The secret is for whoever mounted only.
    let record = files_below(&computer.home.join("state/mounts"))
        .into_iter()
        .find(|file| file.extension().is_some_and(|end| end == "json"));
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(record.unwrap()).unwrap().permissions());
    assert_eq!(mode & 0o077, 0);
    unmount(&computer, &web);
}

#[test]
fn wrong_use_of_webdav_is_said() {
    let (world, computer) = backed_up(|folder| tree::write(&folder.join("file"), b"content"));
    let via = |more: &[&str]| computer.run(["mount", "--via", "webdav"].iter().chain(more));
    via(&[world.path("mounted").to_str().unwrap()]).says(2, &["DIR", "no folder"]);
    via(&["--allow-other"]).says(2, &["--allow-other"]);
    via(&["--thumbnails", "all"]).says(2, &["--thumbnails"]);
    computer.run(["mount", "--port", "8080"]).says(2, &["--port"]);
    via(&["--set", "photos"]).says(10, &["photos"]);
    computer.run(["umount", "http://127.0.0.1:1"]).says(1, &["no BackStore archive", "127.0.0.1:1"]);
    let web = mount(&computer);
    let port = web.address.rsplit(':').next().unwrap();
    via(&["--port", port]).says(1, &["cannot listen", port, "--port"]);
    // The whole address is as good.
    computer.run(["umount", &web.url()]).says(0, &["unmounted"]);
    let again = Web::said_in(&via(&["--port", port]).ends(0).out);
    assert_eq!(again.address, web.address);
    assert_ne!(again.secret, web.secret);
    unmount(&computer, &again);
}

#[test]
fn a_server_in_the_foreground_ends_when_it_is_interrupted() {
    let (_world, computer) = backed_up(|folder| tree::write(&folder.join("file"), b"content"));
    let mut child = computer.command(["mount", "--via", "webdav", "--foreground"]).spawn().unwrap();
    let mut said = String::new();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    lines.read_line(&mut said).unwrap();
    let web = Web::said_in(&said);
    assert!(web.list("").contains_key("latest"));
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    Ran::of(child).ends(0);
    assert_eq!(web.ask("GET", "README.txt", "").status, 0, "nobody answers");
    assert!(files_below(&computer.home.join("state/mounts")).is_empty());
}

#[test]
fn a_killed_server_is_cleared_away() {
    let (_world, computer) = backed_up(|folder| tree::write(&folder.join("file"), b"content"));
    let web = mount(&computer);
    let records = files_below(&computer.home.join("state/mounts"));
    let pid = records[0].file_stem().unwrap().to_str().unwrap();
    assert!(Command::new("kill").args(["-9", pid]).status().unwrap().success());
    until("its end", || web.ask("GET", "README.txt", "").status == 0);
    unmount(&computer, &web);
}

#[test]
fn while_the_server_is_down_answers_are_errors_and_then_right_again() {
    let world = World::new(PROGRAMS);
    let mut server = Server::start(&world, "vault");
    let computer = Computer::new(&world, "home");
    computer.run(["login", &server.invite("alice")]).ends(0);
    let names = ["a", "b", "c"].map(|name| world.folder("data").join(name));
    for (seed, name) in (1..).zip(&names) {
        tree::write(name, &tree::noise(seed, 3 << 20));
    }
    computer.add_set("docs", &world.path("data"));
    computer.backup();
    let web = mount(&computer);
    server.stop();
    for name in &names {
        let answer = web.ask("GET", &shown(name), "");
        assert_eq!(answer.status, 502, "{name:?}");
    }
    assert!(web.list("").contains_key("latest"), "what needs nothing of the server is there");
    server.restart();
    for name in &names {
        until("the file once its server is back", || web.ask("GET", &shown(name), "").status == 200);
        assert!(web.read(&shown(name)) == fs::read(name).unwrap(), "{name:?}");
    }
    unmount(&computer, &web);
}

#[test]
fn a_client_that_others_made_lists_and_fetches() {
    let test = "a_client_that_others_made_lists_and_fetches";
    // Where the package can be installed, `.ci/run` does so and asks for this test.
    if std::env::var_os("BACKSTORE_TEST_WEBDAV").is_none() {
        return eprintln!(
            "\n*** SKIPPED {test}: BACKSTORE_TEST_WEBDAV is not set; it needs the package cadaver\n"
        );
    }
    let (world, computer) = backed_up(tree::example);
    let web = mount(&computer);
    let large = world.path("data/pictures/large.raw");
    let fetched = world.path("fetched");
    let script = world.path("script");
    let folder = shown(large.parent().unwrap());
    let lines = format!(
        "cd {folder}/\nls\nget large.raw {}\nput {} new\nquit\n",
        fetched.display(),
        script.display()
    );
    fs::write(&script, lines).unwrap();
    let cadaver = Command::new("cadaver")
        .arg(web.url())
        .stdin(fs::File::open(&script).unwrap())
        .env("HOME", world.path("."))
        .output()
        .expect("cadaver is installed");
    let said = String::from_utf8_lossy(&cadaver.stdout);
    assert!(said.contains("other.raw") && said.contains("6291456"), "{said}");
    assert!(fs::read(&fetched).unwrap() == fs::read(&large).unwrap(), "{said}");
    assert!(said.contains("405"), "nothing can be put there: {said}");
    unmount(&computer, &web);
}
