//! Both programs are killed at any moment; nothing that was acknowledged is lost, and the next run goes on.

use std::time::{Duration, Instant};

use backstore_tests::World;
use backstore_tests::computer::{Computer, Ran};
use backstore_tests::server::Server;
use backstore_tests::tree;

use crate::PROGRAMS;

/// How often each program is killed.
const KILLS: u32 = 12;

/// A moment within a backup that is different each time: busy waiting, because sleeping would make all kills fall on the scheduler's ticks.
fn wait(microseconds: u64) {
    let end = Instant::now() + Duration::from_micros(microseconds);
    while Instant::now() < end {
        std::hint::spin_loop();
    }
}

#[test]
fn killed_agents_go_on() {
    let world = World::new(PROGRAMS);
    let server = Server::start(&world, "vault");
    let computer = Computer::new(&world, "home");
    computer.run(["login", &server.invite("alice")]).ends(0);
    let data = world.folder("data");
    tree::example(&data);
    computer.add_set("docs", &data);
    for kill in 0..KILLS {
        tree::write(&data.join(format!("new/{kill}.raw")), &tree::noise(100 + u64::from(kill), 1 << 20));
        let mut child = computer.command(["backup", "--json"]).spawn().unwrap();
        wait(u64::from(kill * kill) * 3000);
        child.kill().unwrap();
        Ran::of(child);
    }
    computer.backup();
    let again = computer.backup();
    assert_eq!(again["unchanged"], true);
    server.administer(&["check"]).ends(0);
}

#[test]
fn killed_servers_come_back_with_all_that_was_acknowledged() {
    let world = World::new(PROGRAMS);
    let mut server = Server::start(&world, "vault");
    let computer = Computer::new(&world, "home");
    computer.run(["login", &server.invite("alice")]).ends(0);
    let data = world.folder("data");
    tree::example(&data);
    computer.add_set("docs", &data);
    for kill in 0..KILLS {
        tree::write(&data.join(format!("new/{kill}.raw")), &tree::noise(200 + u64::from(kill), 1 << 20));
        let child = computer.command(["backup", "--json"]).spawn().unwrap();
        wait(u64::from(kill * kill) * 3000);
        server.kill();
        server.restart();
        // The agent connects again by itself and ends well.
        Ran::of(child).ends(0);
    }
    assert_eq!(computer.backup()["unchanged"], true);
    server.administer(&["check"]).ends(0);
    assert_eq!(server.stop(), 0);
}
