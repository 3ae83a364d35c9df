//! quinn's settings, and sockets with the buffers they need.
//!
//! Windows bound the memory of a connection; they are small where the round trip is short, since larger ones measured slower
//! there, and grow with it. Datagrams, 0-RTT and unidirectional streams are off. CUBIC stays: quinn's BBR is experimental and loses most
//! packets on loopback.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use quinn::congestion::CubicConfig;
use quinn::{EndpointConfig, MtuDiscoveryConfig, TransportConfig, VarInt};
use quinn_proto::HashedConnectionIdGenerator;
use ring::hmac;

use crate::limits::STREAMS_MAX;

/// Largest UDP payload either side takes: ten of them fit one segmented send of 64 KiB.
const UDP_PAYLOAD_MAX: u16 = 6500;
/// Send and receive buffer of the socket.
const SOCKET_BUFFER: usize = 2 << 20;
/// Bytes that a client may have on their way before the first is acknowledged; RFC 9002 has 14 KiB.
pub(super) const CLIENT_WINDOW: u64 = 64 << 10;
/// The same for a server. A page of snapshots has 55 KiB, their bodies 66 KiB, and what fills a window is spread over a round trip: so neither takes
/// much more than the round trip of the question.
pub(super) const SERVER_WINDOW: u64 = 128 << 10;
/// Window of one stream and, on a short round trip, of the connection.
const WINDOW: u32 = 2 << 20;
/// Window of the connection on a long round trip: 1 Gbit/s at 130 ms.
const WINDOW_FAR: u32 = 16 << 20;
/// Round trips longer than this are far.
const FAR: Duration = Duration::from_millis(3);

pub(super) fn transport(keep_alive: Option<Duration>, initial_window: u64) -> Arc<TransportConfig> {
    let mut config = TransportConfig::default();
    let mut discovery = MtuDiscoveryConfig::default();
    discovery.upper_bound(UDP_PAYLOAD_MAX);
    let mut congestion = CubicConfig::default();
    congestion.initial_window(initial_window);
    let idle = Duration::from_secs(30).try_into().expect("30 s is a valid idle timeout");
    config
        .max_concurrent_bidi_streams(VarInt::from_u32(STREAMS_MAX))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .stream_receive_window(VarInt::from_u32(WINDOW))
        .receive_window(VarInt::from_u32(2 * WINDOW))
        .send_window(u64::from(2 * WINDOW))
        .mtu_discovery_config(Some(discovery))
        .congestion_controller_factory(Arc::new(congestion))
        .max_idle_timeout(Some(idle))
        .keep_alive_interval(keep_alive)
        .datagram_receive_buffer_size(None);
    Arc::new(config)
}

/// Gives a connection the windows its round trip needs.
pub(super) fn fit_windows(connection: &quinn::Connection) {
    if connection.rtt() > FAR {
        connection.set_receive_window(VarInt::from_u32(WINDOW_FAR));
        connection.set_send_window(u64::from(WINDOW_FAR));
    }
}

/// Of a server with the secret of its identity: a client whose server was killed and started again is told at once (stateless reset, RFC 9000
/// section 10.3), instead of waiting for the connection to be idle too long.
pub(super) fn endpoint_config(reset_secret: Option<&[u8; 32]>) -> EndpointConfig {
    let mut config = EndpointConfig::default();
    if let Some(secret) = reset_secret {
        config.reset_key(Arc::new(hmac::Key::new(hmac::HMAC_SHA256, secret)));
        let (ids, _) = secret.split_first_chunk().expect("32 bytes are more than 8");
        let ids = u64::from_le_bytes(*ids);
        config.cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(ids)));
    }
    config.max_udp_payload_size(UDP_PAYLOAD_MAX).expect("a UDP payload may have 6,500 bytes");
    config
}

/// A socket bound to `address`. Where the system grants smaller buffers than asked for, it works, only not as fast.
pub(super) fn socket(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::DGRAM, None)?;
    if address.is_ipv6() {
        // `[::]` then serves IPv4 too, where the system has both.
        let _ = socket.set_only_v6(false);
    }
    let _ = socket.set_recv_buffer_size(SOCKET_BUFFER);
    let _ = socket.set_send_buffer_size(SOCKET_BUFFER);
    socket.bind(&address.into())?;
    Ok(socket.into())
}
