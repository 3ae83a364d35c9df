//! A slow link: UDP between programs of this machine, later, slower, or not at all.
//!
//! Programs call the link's address instead of the server's. Each direction is a queue: a packet leaves when those before it have, at the link's
//! speed, and arrives after the delay. What would wait longer than 200 ms is dropped, as a router does. Nothing is put out of order.

use std::collections::{HashMap, VecDeque};
use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::net::sockopt::set_socket_recv_buffer_size;

/// What a link is like at the moment.
#[derive(Debug, Clone, Copy)]
pub struct Conditions {
    /// From one end to the other.
    pub delay: Duration,
    /// Of each direction; as fast as it goes without.
    pub bytes_per_second: Option<u64>,
    /// Nothing arrives.
    pub is_cut: bool,
}

/// Nothing but a detour.
pub const FAST: Conditions = Conditions { delay: Duration::ZERO, bytes_per_second: None, is_cut: false };

/// What went through a link: packets that were taken and arrived or will.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    /// Bytes towards the server.
    pub up: u64,
    /// Bytes from it.
    pub down: u64,
}

/// A link to a server; gone when it is dropped.
pub struct Link {
    /// What to call instead of the server.
    pub address: String,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    conditions: Mutex<Conditions>,
    has_ended: AtomicBool,
    up: Direction,
    down: Direction,
}

/// Packets on their way.
#[derive(Default)]
struct Direction {
    queue: Mutex<Queue>,
    changed: Condvar,
    bytes: AtomicU64,
}

#[derive(Default)]
struct Queue {
    packets: VecDeque<Packet>,
    /// When the last one has left.
    free_at: Option<Instant>,
}

struct Packet {
    due: Instant,
    bytes: Vec<u8>,
    through: Arc<UdpSocket>,
    to: SocketAddr,
}

/// Longest wait for its turn, before the delay.
const QUEUE: Duration = Duration::from_millis(200);
/// How often threads look whether the link has ended.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Of a socket: what a fast sender sends while the threads of the link wait for a processor.
const BUFFER: usize = 4 << 20;
/// Largest UDP packet.
const PACKET_MAX: usize = 65_536;

impl Link {
    /// A link to a server at `HOST:PORT`.
    pub fn to(server: &str, conditions: Conditions) -> Self {
        Self::at("127.0.0.1:0", server, conditions)
    }

    /// A link at an address, for clients that have been told already whom to call.
    pub fn at(address: &str, server: &str, conditions: Conditions) -> Self {
        let server: SocketAddr = server.parse().unwrap();
        let shared = Arc::new(Shared {
            conditions: Mutex::new(conditions),
            has_ended: AtomicBool::new(false),
            up: Direction::default(),
            down: Direction::default(),
        });
        let front = Arc::new(socket_at(address));
        let address = front.local_addr().unwrap().to_string();
        let mut threads = Vec::new();
        for is_up in [true, false] {
            let shared = Arc::clone(&shared);
            threads.push(thread::spawn(move || shared.deliver(is_up)));
        }
        let taking = Arc::clone(&shared);
        threads.push(thread::spawn(move || taking.take_from_clients(&front, server)));
        Self { address, shared, threads }
    }

    /// Changes what it is like for the packets that come from now on; what is on its way still arrives, unless it is cut.
    pub fn set(&self, conditions: Conditions) {
        *self.shared.conditions.lock().unwrap() = conditions;
    }

    /// What went through it so far.
    pub fn traffic(&self) -> Traffic {
        let of = |direction: &Direction| direction.bytes.load(Ordering::Relaxed);
        Traffic { up: of(&self.shared.up), down: of(&self.shared.down) }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.shared.has_ended.store(true, Ordering::Relaxed);
        self.threads.drain(..).for_each(|thread| thread.join().unwrap());
    }
}

impl Shared {
    fn has_ended(&self) -> bool {
        self.has_ended.load(Ordering::Relaxed)
    }

    /// Takes packets at the link's address, and has a socket for each client, so that the server can tell them apart.
    fn take_from_clients(self: &Arc<Self>, front: &Arc<UdpSocket>, server: SocketAddr) {
        let mut clients: HashMap<SocketAddr, (Arc<UdpSocket>, JoinHandle<()>)> = HashMap::new();
        let mut buffer = vec![0; PACKET_MAX];
        while !self.has_ended() {
            let Some((bytes, client)) = receive(front, &mut buffer) else { continue };
            let (through, _) = clients.entry(client).or_insert_with(|| {
                let behind = Arc::new(socket());
                let (shared, taken, front) = (Arc::clone(self), Arc::clone(&behind), Arc::clone(front));
                let answers = thread::spawn(move || {
                    let mut buffer = vec![0; PACKET_MAX];
                    while !shared.has_ended() {
                        if let Some((bytes, _)) = receive(&taken, &mut buffer) {
                            shared.send(false, bytes, &front, client);
                        }
                    }
                });
                (behind, answers)
            });
            self.send(true, bytes, &Arc::clone(through), server);
        }
        clients.into_values().for_each(|(_, answers)| answers.join().unwrap());
    }

    const fn direction(&self, is_up: bool) -> &Direction {
        if is_up { &self.up } else { &self.down }
    }

    /// Puts a packet on its way.
    fn send(&self, is_up: bool, bytes: Vec<u8>, through: &Arc<UdpSocket>, to: SocketAddr) {
        let conditions = *self.conditions.lock().unwrap();
        let direction = self.direction(is_up);
        let mut queue = direction.queue.lock().unwrap();
        let now = Instant::now();
        let turn = queue.free_at.map_or(now, |free_at| free_at.max(now));
        if conditions.is_cut || turn.duration_since(now) > QUEUE {
            return;
        }
        let takes = conditions.bytes_per_second.map_or(0.0, |speed| bytes.len() as f64 / speed as f64);
        let left = turn + Duration::from_secs_f64(takes);
        queue.free_at = Some(left);
        direction.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        // A delay that has become shorter must not put packets out of order.
        let due = queue.packets.back().map_or(left, |last| last.due).max(left + conditions.delay);
        queue.packets.push_back(Packet { due, bytes, through: Arc::clone(through), to });
        direction.changed.notify_one();
    }

    /// Has the packets of a direction arrive when they are due.
    fn deliver(&self, is_up: bool) {
        let direction = self.direction(is_up);
        let mut queue = direction.queue.lock().unwrap();
        while !self.has_ended() {
            let now = Instant::now();
            let wait = queue.packets.front().map_or(LOOK_EVERY, |first| first.due.duration_since(now));
            if !wait.is_zero() || queue.packets.is_empty() {
                queue = direction.changed.wait_timeout(queue, wait.min(LOOK_EVERY)).unwrap().0;
                continue;
            }
            let Some(packet) = queue.packets.pop_front() else { continue };
            drop(queue);
            if !self.conditions.lock().unwrap().is_cut {
                // Nobody may be there any more.
                let _ = packet.through.send_to(&packet.bytes, packet.to);
            }
            queue = direction.queue.lock().unwrap();
        }
    }
}

fn socket() -> UdpSocket {
    socket_at("127.0.0.1:0")
}

fn socket_at(address: &str) -> UdpSocket {
    let socket = UdpSocket::bind(address).unwrap();
    socket.set_read_timeout(Some(LOOK_EVERY)).unwrap();
    // The link drops packets by its own rules; where the system allows less than this, at most it loses some of a burst.
    set_socket_recv_buffer_size(&socket, BUFFER).unwrap();
    socket
}

/// A packet, and who sent it; nothing for a while.
fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> Option<(Vec<u8>, SocketAddr)> {
    match socket.recv_from(buffer) {
        Ok((length, from)) => Some((buffer[..length].to_vec(), from)),
        // A server that is gone is told of by an error of the socket.
        Err(error) => {
            let is_usual = [ErrorKind::WouldBlock, ErrorKind::TimedOut, ErrorKind::ConnectionRefused];
            assert!(is_usual.contains(&error.kind()), "{error}");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_arrive_late_in_order_or_not_at_all() {
        let server = socket();
        server.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let delay = Duration::from_millis(30);
        let link = Link::to(&server.local_addr().unwrap().to_string(), Conditions { delay, ..FAST });
        let client = socket();
        client.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let sent_at = Instant::now();
        for number in 0..50_u8 {
            client.send_to(&[number], &link.address).unwrap();
        }
        let mut byte = [0];
        for number in 0..50_u8 {
            let (_, from) = server.recv_from(&mut byte).unwrap();
            assert!(byte == [number] && sent_at.elapsed() >= delay);
            server.send_to(&byte, from).unwrap();
        }
        assert!(client.recv_from(&mut byte).is_ok() && sent_at.elapsed() >= 2 * delay);
        assert_eq!(link.traffic(), Traffic { up: 50, down: link.traffic().down });
        link.set(Conditions { is_cut: true, ..FAST });
        client.send_to(&[99], &link.address).unwrap();
        link.set(FAST);
        client.send_to(&[100], &link.address).unwrap();
        server.recv_from(&mut byte).unwrap();
        // Only if the thread took the first packet before the link was whole again did it come.
        assert!(byte == [100] || byte == [99]);
    }

    #[test]
    fn a_slow_link_drops_what_would_wait_too_long() {
        let server = socket();
        let slow = Conditions { bytes_per_second: Some(10_000), ..FAST };
        let link = Link::to(&server.local_addr().unwrap().to_string(), slow);
        let client = socket();
        for _ in 0..50 {
            client.send_to(&[0; 1000], &link.address).unwrap();
        }
        let mut bytes = [0; 1000];
        server.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        let arrived = (0..50).take_while(|_| server.recv_from(&mut bytes).is_ok()).count();
        assert!((2..20).contains(&arrived), "100 ms each, and {QUEUE:?} of patience: {arrived}");
    }
}
