//! Mounting by a user who is not root: with `fusermount3`, and where it, `/dev/fuse` or a permission is missing.
//!
//! Each test has a mount namespace of its own, so nothing of the machine is changed. That needs root, and the user's mounts need the program of
//! the Debian package fuse3; therefore these tests run only where `BACKSTORE_TEST_FUSERMOUNT` is set, as `.ci/run` does.

use std::ffi::{OsStr, OsString};
use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use backstore_tests::computer::{Computer, Ran};
use backstore_tests::web::Web;
use backstore_tests::{World, files_below, tree};

use crate::PROGRAMS;

/// The user: nobody.
const USER: u32 = 65534;

/// A user who has backed up a folder, in a mount namespace where `/dev/fuse` has its usual rights.
struct Room {
    world: World,
    /// Lives in the namespace; nothing else need be there.
    holder: Child,
    user: Computer,
    point: PathBuf,
}

/// Makes the namespace. `$1` is the test's folder and `$2` the agent, which may be where the user cannot go.
const PREPARE: &str = r#"
    set -e
    mkdir "$1/devices" "$1/conf" && touch "$1/backstore" "$1/conf/fuse.conf"
    mount -t tmpfs -o mode=755 none "$1/devices" && mknod -m 666 "$1/devices/fuse" c 10 229
    mount --bind "$1/devices/fuse" /dev/fuse
    mount --bind "$1/conf/fuse.conf" /etc/fuse.conf
    mount --bind "$2" "$1/backstore"
    echo ready
    exec cat
"#;

impl Room {
    /// Nothing where these tests were not asked for.
    fn new() -> Option<Self> {
        std::env::var_os("BACKSTORE_TEST_FUSERMOUNT")?;
        let world = World::new(PROGRAMS);
        fs::set_permissions(world.path(""), Permissions::from_mode(0o755)).unwrap();
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", PREPARE, "sh"]).arg(world.path("")).arg(PROGRAMS.backstore);
        let mut holder = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n", "is this root, is fuse3 installed?");
        let mut user = Computer::new(&world, "user/home");
        user.program = as_user(&holder);
        user.program.push(world.path("backstore").into());
        user.environment.push(("HOME".into(), world.folder("user").into()));
        chown(world.path("user"), Some(USER), Some(USER)).unwrap();
        user.enrol_with_folder(&world.path("user/vault"));
        tree::write(&world.path("data/file"), &tree::noise(1, 300_000));
        user.add_set("docs", &world.path("data"));
        user.backup();
        let point = world.path("user/mounted");
        Some(Self { world, holder, user, point })
    }

    fn mount(&self, point: &Path) -> Ran {
        self.user.run([Path::new("mount"), point])
    }

    fn umount(&self, arguments: &[&str]) -> Ran {
        let point = [OsStr::new("umount"), self.point.as_os_str()];
        self.user.run(point.into_iter().chain(arguments.iter().map(OsStr::new)))
    }

    /// Runs a script as the user.
    fn as_user(&self, script: &str) -> Ran {
        self.start(as_user(&self.holder), script).stdout(Stdio::piped()).spawn().map(Ran::of).unwrap()
    }

    /// Runs a script as root, which has to succeed.
    #[track_caller]
    fn change(&self, script: &str) {
        self.start(inside(&self.holder), script).spawn().map(Ran::of).unwrap().ends(0);
    }

    /// `$1` is the mount point, `$2` the test's folder.
    fn start(&self, before: Vec<OsString>, script: &str) -> Command {
        let mut command = Command::new(&before[0]);
        command.args(&before[1..]).args(["sh", "-c", script, "sh"]).arg(&self.point);
        command.arg(self.world.path("")).stderr(Stdio::piped());
        command
    }

    /// The file in the newest version.
    fn file(&self) -> PathBuf {
        self.point.join("latest").join(self.world.path("data/file").strip_prefix("/").unwrap())
    }

    /// Ends the process that serves the mount as a crash would.
    fn kill(&self) {
        let records = files_below(&self.user.home.join("state/mounts"));
        let pid = records.iter().find_map(|record| record.to_str()?.strip_suffix(".json")).unwrap();
        let pid = pid.rsplit('/').next().unwrap();
        assert!(Command::new("kill").args(["-9", pid]).status().unwrap().success());
        while self.as_user("ls \"$1\"").code == 0 {
            std::thread::yield_now();
        }
    }

    #[track_caller]
    fn is_clean(&self) {
        assert!(!self.point.exists(), "it was made for the mount");
        let records = self.user.home.join("state/mounts");
        assert!(!records.exists() || files_below(&records).is_empty());
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        // After a failed test something may still be served.
        self.umount(&["--force"]);
        drop(self.holder.stdin.take());
        self.holder.wait().unwrap();
    }
}

/// What starts a program in the namespace.
fn inside(holder: &Child) -> Vec<OsString> {
    ["nsenter".to_owned(), format!("--mount=/proc/{}/ns/mnt", holder.id())].map(OsString::from).into()
}

fn as_user(holder: &Child) -> Vec<OsString> {
    let mut program = inside(holder);
    let change = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    program.extend(change.map(OsString::from));
    program
}

#[test]
fn a_user_mounts_reads_and_unmounts() {
    let Some(room) = Room::new() else { return };
    room.mount(&room.point).says(0, &["mounted at"]);
    let read = room.as_user(&format!("cat {}", room.file().display()));
    assert!(read.ends(0).out_bytes == fs::read(room.world.path("data/file")).unwrap());
    room.mount(&room.point).says(11, &["already", "backstore umount"]);
    room.umount(&[]).says(0, &["unmounted"]);
    room.is_clean();
    room.mount(&room.point).ends(0);
    room.as_user("fusermount3 -u \"$1\"").ends(0);
    while room.point.exists() {
        std::thread::yield_now();
    }
}

#[test]
fn others_may_look_where_the_system_allows_it() {
    let Some(room) = Room::new() else { return };
    let mount = || room.user.run([OsStr::new("mount"), "--allow-other".as_ref(), room.point.as_os_str()]);
    mount().says(1, &["/etc/fuse.conf", "`user_allow_other`", "without --allow-other"]);
    room.is_clean();
    room.change("echo user_allow_other > \"$2/conf/fuse.conf\"");
    mount().ends(0);
    room.change(&format!("cat {} > /dev/null", room.file().display()));
    room.umount(&[]).ends(0);
}

#[test]
fn who_uses_a_users_mount_is_named() {
    let Some(room) = Room::new() else { return };
    room.mount(&room.point).ends(0);
    let mut using = room.start(as_user(&room.holder), "cd \"$1/latest\" && echo there && exec cat");
    let mut using = using.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(using.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "there\n");
    room.umount(&[]).says(1, &["in use by cat", &using.id().to_string(), "--force"]);
    room.umount(&["--force"]).says(0, &["unmounted"]);
    drop(using.stdin.take());
    using.wait().unwrap();
    while room.point.exists() {
        std::thread::yield_now();
    }
}

#[test]
fn what_a_killed_process_of_a_user_left_is_no_obstacle() {
    let Some(room) = Room::new() else { return };
    room.mount(&room.point).ends(0);
    room.kill();
    room.mount(&room.point).says(0, &["mounted at"]);
    room.as_user("ls \"$1/latest/\"").ends(0);
    room.kill();
    room.umount(&[]).says(0, &["unmounted"]);
    room.is_clean();
}

#[test]
fn places_where_a_user_may_not_mount_are_named() {
    let Some(room) = Room::new() else { return };
    let roots = room.world.folder("roots");
    room.mount(&roots).says(1, &["may not write there", "a folder of your own"]);
    room.mount(&roots.join("new")).says(1, &["roots/new", "a folder of your own"]);
    room.mount(&room.world.path("user/no/such")).says(1, &["user/no/such", "the folder above"]);
    let mut root = Computer::new(&room.world, "user/home");
    root.program = inside(&room.holder);
    root.program.push(room.world.path("backstore").into());
    root.run([Path::new("mount"), &room.point]).ends(0);
    room.umount(&[]).says(1, &["was mounted by the user with number 0"]);
    root.run([Path::new("umount"), &room.point]).ends(0);
}

#[test]
fn what_the_system_lacks_is_named() {
    let Some(room) = Room::new() else { return };
    room.change("mount --bind /dev/null \"$(command -v fusermount3)\"");
    room.mount(&room.point).says(1, &["`fusermount3` is not installed", "package fuse3"]);
    room.change("chmod 600 \"$2/devices/fuse\"");
    room.mount(&room.point).says(1, &["/dev/fuse may not be used by this user", "chmod 666 /dev/fuse"]);
    room.change("mount -t tmpfs -o mode=755 none /dev && mknod -m 666 /dev/null c 1 3");
    room.mount(&room.point).says(1, &["/dev/fuse is not there", "modprobe fuse", "--via webdav"]);
    // What is said to do then works, and the one thing that is there is what is meant.
    let web = Web::said_in(&room.user.run(["mount", "--via", "webdav"]).says(0, &["served at"]).out);
    let file = format!("latest{}", room.world.path("data/file").display());
    assert!(web.read(&file) == fs::read(room.world.path("data/file")).unwrap());
    let second = Web::said_in(&room.user.run(["mount", "--via", "webdav"]).ends(0).out);
    room.user.run(["umount"]).says(2, &["say which one", &web.address, &second.address]);
    room.user.run(["umount", &second.url()]).ends(0);
    room.user.run(["umount"]).says(0, &["unmounted", &web.address]);
    room.user.run(["umount"]).says(1, &["no BackStore archive"]);
    room.is_clean();
}
