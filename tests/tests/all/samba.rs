//! Previous Versions as Windows shows them: Samba over a mount, set up as the operator guide says.
//!
//! Needs root, and the Debian packages samba, samba-vfs-modules and smbclient; therefore it runs only where `BACKSTORE_TEST_SAMBA` is set, as `.ci/run` does.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};

use backstore_tests::{World, tree, versions};

use crate::PROGRAMS;
use crate::mount::until;

/// The operator guide, which has the lines of smb.conf.
const GUIDE: &str = include_str!("../../../agent/README.md");

/// A file server of this test alone.
struct Samba {
    child: Child,
    port: u16,
    configuration: PathBuf,
}

impl Drop for Samba {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// The share as the guide has it, for these folders.
fn share(data: &Path, point: &Path) -> String {
    let start = GUIDE.find("[documents]").unwrap();
    let lines = &GUIDE[start..][..GUIDE[start..].find("```").unwrap()];
    let data = data.to_str().unwrap();
    assert!(lines.contains("/srv/documents") && lines.contains("/backstore/.backstore/gmt"), "{lines}");
    lines
        .replace("/srv/documents", data)
        .replace("srv/documents", data.trim_start_matches('/'))
        .replace("/backstore/.backstore/gmt", point.join(".backstore/gmt").to_str().unwrap())
}

impl Samba {
    fn start(world: &World, share: &str) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let own = world.folder("samba");
        let own = own.display();
        let text = format!(
            "[global]\nsmb ports = {port}\ninterfaces = lo\nbind interfaces only = yes\n\
             lock directory = {own}\nstate directory = {own}\ncache directory = {own}\npid directory = {own}\n\
             private dir = {own}\nncalrpc dir = {own}/ncalrpc\nlog file = {own}/log\n\
             map to guest = Bad User\nguest account = root\nload printers = no\ndisable spoolss = yes\n\
             {share}\nguest ok = yes\n"
        );
        let configuration = world.path("smb.conf");
        fs::write(&configuration, text).unwrap();
        let mut command = Command::new("smbd");
        command.args(["--foreground", "--no-process-group", "-s"]).arg(&configuration);
        let child = command.spawn().expect("smbd, of the package samba");
        until("the file server", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        Self { child, port, configuration }
    }

    /// What a client says to these commands.
    #[track_caller]
    fn client(&self, commands: &str) -> String {
        let mut client = Command::new("smbclient");
        client.args(["//127.0.0.1/documents", "-N", "-p", &self.port.to_string(), "-c", commands]);
        let Output { status, stdout, stderr } =
            client.arg("-s").arg(&self.configuration).output().expect("smbclient, of the package smbclient");
        let said = String::from_utf8_lossy(&stdout).into_owned();
        assert!(status.success(), "{commands}: {said}{}", String::from_utf8_lossy(&stderr));
        said
    }
}

#[test]
fn windows_sees_previous_versions_through_samba() {
    if std::env::var_os("BACKSTORE_TEST_SAMBA").is_none() {
        return;
    }
    let world = World::new(PROGRAMS);
    let computer = backstore_tests::computer::Computer::new(&world, "home");
    computer.enrol_with_folder(&world.path("vault"));
    let data = world.folder("data").canonicalize().unwrap();
    computer.add_set("docs", &data);
    let point = world.path("mounted");
    for content in ["old", "newer"] {
        tree::write(&data.join("folder/report.txt"), content.as_bytes());
        computer.backup();
        // Versions of the same second would share a name there.
        let second = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        until("the next second", || {
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() > second
        });
    }
    tree::write(&data.join("folder/report.txt"), b"not backed up");
    computer.run(["mount".as_ref(), "--allow-other".as_ref(), point.as_os_str()]).ends(0);
    assert_eq!(versions(&point).len(), 2);
    let mut names: Vec<_> = fs::read_dir(point.join(".backstore/gmt")).unwrap().collect();
    names.sort_by_key(|entry| entry.as_ref().unwrap().file_name());
    let samba = Samba::start(&world, &share(&data, &point));
    let about = samba.client("allinfo folder\\report.txt");
    for (entry, content) in names.into_iter().zip(["old", "newer"]) {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(about.contains(&name), "{name}: {about}");
        let target = world.path("fetched");
        samba.client(&format!("get {name}\\folder\\report.txt {}", target.display()));
        assert_eq!(fs::read_to_string(&target).unwrap(), content);
    }
    drop(samba);
    computer.run([Path::new("umount"), &point]).ends(0);
}
