//! A repository's server while something is done with it, and the link that the tool reaches it by.

use std::net::UdpSocket;
use std::time::Duration;

use backstore_tests::link::{Conditions, FAST, Link};

use crate::tool::RunningServer;

/// How a tool reaches its server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route {
    /// On this machine.
    Direct,
    /// Through a link that adds nothing but a detour, and counts.
    Counted,
    /// Through a link as to another town: a round trip of 20 ms, and [`FAR_BYTES_PER_S`].
    Far,
}

/// What a far server's link carries: 1 Gbit/s.
pub(crate) const FAR_BYTES_PER_S: u64 = 125_000_000;
/// From one end of it to the other.
const FAR_DELAY: Duration = Duration::from_millis(10);

impl Route {
    fn conditions(self) -> Option<Conditions> {
        match self {
            Self::Direct => None,
            Self::Counted => Some(FAST),
            Self::Far => {
                Some(Conditions { delay: FAR_DELAY, bytes_per_second: Some(FAR_BYTES_PER_S), ..FAST })
            }
        }
    }

    /// Where the server itself has to listen if clients call this port: there, unless a link takes the port.
    pub(crate) fn server_port(self, port: Option<u16>) -> Option<u16> {
        port.filter(|_| self == Self::Direct)
    }
}

/// What serves a repository: nothing, for a tool without a server.
pub(crate) struct Serving {
    server: Option<RunningServer>,
    link: Option<Link>,
}

impl Serving {
    /// Of a tool that needs no server.
    pub(crate) const NOTHING: Self = Self { server: None, link: None };

    /// A server that was just started, and the link to it at the port that clients call.
    pub(crate) fn new(server: RunningServer, route: Route, port: Option<u16>) -> Result<Self, String> {
        let link = route.conditions().map(|conditions| {
            let address = |port: u16| format!("127.0.0.1:{port}");
            let front = address(port.unwrap_or(0));
            // The link itself takes it for granted that the address is free.
            drop(UdpSocket::bind(&front).map_err(|error| format!("no link at {front}: {error}"))?);
            Ok::<_, String>(Link::at(&front, &address(server.port), conditions))
        });
        Ok(Self { server: Some(server), link: link.transpose()? })
    }

    /// Whose work belongs to what is measured: the server, then this program if it is the link.
    pub(crate) fn processes(&self) -> Vec<u32> {
        let link = self.link.as_ref().map(|_| std::process::id());
        self.server.as_ref().map(RunningServer::process).into_iter().chain(link).collect()
    }

    /// Bytes that came from the server so far, those of the protocol included; if a link counts them.
    pub(crate) fn fetched_bytes(&self) -> Option<u64> {
        self.link.as_ref().map(|link| link.traffic().down)
    }

    /// Ends the server.
    pub(crate) fn stop(self) -> Result<(), String> {
        self.server.map_or(Ok(()), RunningServer::stop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_takes_the_port_that_clients_call() {
        assert_eq!(Route::Direct.server_port(Some(4287)), Some(4287));
        assert_eq!(Route::Far.server_port(Some(4287)), None);
        assert_eq!((Serving::NOTHING.processes(), Serving::NOTHING.fetched_bytes()), (Vec::new(), None));
    }

    #[test]
    fn a_far_server_is_a_round_trip_of_20_ms_away() {
        let far = Route::Far.conditions().expect("a link");
        assert_eq!((2 * far.delay, far.bytes_per_second), (Duration::from_millis(20), Some(FAR_BYTES_PER_S)));
        assert!(Route::Direct.conditions().is_none());
    }
}
