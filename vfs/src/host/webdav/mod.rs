//! WebDAV on this computer, for where a file system cannot be mounted: without FUSE, drivers or rights. SEMANTICS.md section 9.
//!
//! `gate` decides who may ask for what, `tree`, `directory` and `names` find what a URL means, `answer` and `content` give it to `dav-server`, which
//! speaks the protocol; `connection` is what hyper needs of tokio. It is the same on every system.

mod answer;
mod connection;
mod content;
mod directory;
mod gate;
mod names;
mod range;
#[cfg(test)]
mod tests;
mod tree;

use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use backstore_protocol::ids::LineageId;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Semaphore, watch};

use super::{MountError, Requests};
use crate::model::{Snapshots, Version};
use crate::requests::RequestCounts;
use crate::sync::{lock, wait};
use answer::Answerer;
use connection::{Clock, Connection};
use content::Backend;
use gate::Gate;
use tree::Tree;

/// What nobody can guess: 160 random bits.
#[derive(Clone)]
pub struct Secret([u8; Self::BYTES]);

/// How a folder is served.
#[derive(Clone)]
pub struct WebdavOptions {
    /// The port; 0 is any that is free.
    pub port: u16,
    /// The name that all paths begin with. Who knows it may read everything.
    pub secret: Secret,
    /// What ends the server, see [`stop`].
    pub stop: Secret,
    /// Entries of a directory that are listed.
    pub listed_max: usize,
    /// The same for Windows, which opens no directory whose description is larger than 1 MB: at about 800 bytes an entry.
    pub listed_max_windows: usize,
    /// How long a client may take nothing of what is sent to it.
    pub patience: Duration,
}

/// A folder that is served. Dropping it ends that.
pub struct WebdavHandle {
    model: Arc<Snapshots>,
    address: SocketAddr,
    secret: Secret,
    requests: Arc<RequestCounts>,
    stopping: watch::Sender<bool>,
    served: Arc<Served>,
    #[cfg(test)]
    free: Arc<Semaphore>,
}

/// Whether it is still served.
#[derive(Default)]
struct Served {
    has_ended: Mutex<bool>,
    ended: Condvar,
}

/// Connections at a time. Each may have one thread that waits for the destination, so that none waits for another's.
const CONNECTIONS_MAX: usize = 64;
/// Of a request without its body: the longest path has 4096 bytes, each of which may take nine.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// How long a request may take to come, and a connection may do nothing.
const HEAD_PATIENCE: Duration = Duration::from_secs(30);
/// After the system had no connection to give.
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(100);

impl Secret {
    /// Bytes of a secret.
    pub const BYTES: usize = 20;

    /// From random bytes.
    pub const fn new(random: [u8; Self::BYTES]) -> Self {
        Self(random)
    }

    /// As it stands in a URL: 40 hexadecimal digits.
    pub fn text(&self) -> String {
        self.0.iter().fold(String::with_capacity(2 * Self::BYTES), |mut text, byte| {
            // Nothing fails that writes to memory.
            let _ = write!(text, "{byte:02x}");
            text
        })
    }
}

impl WebdavOptions {
    /// As it is served where nothing else is asked for.
    pub const fn new(secret: Secret, stop: Secret) -> Self {
        Self {
            port: 0,
            secret,
            stop,
            listed_max: 4000,
            listed_max_windows: 1000,
            patience: Duration::from_secs(60),
        }
    }
}

/// Serves `model` to this computer, and returns when it answers. Nothing is read from the destination for it.
///
/// # Errors
///
/// [`MountError::Listen`] or [`MountError::Thread`].
pub fn serve(model: Arc<Snapshots>, options: &WebdavOptions) -> Result<WebdavHandle, MountError> {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(CONNECTIONS_MAX)
        .thread_name("answer")
        .build()
        .map_err(MountError::Thread)?;
    let wanted = SocketAddr::from((Ipv4Addr::LOCALHOST, options.port));
    let listening = runtime.block_on(TcpListener::bind(wanted));
    let bound = listening.and_then(|listener| Ok((listener.local_addr()?, listener)));
    let (address, listener) = bound.map_err(|source| MountError::Listen { address: wanted, source })?;
    let requests: Arc<RequestCounts> = Arc::default();
    model.set_request_counts(&requests);
    let tree = Arc::new(Tree::new(&model, options.listed_max, options.listed_max_windows));
    let answerer = Arc::new(Answerer {
        gate: Gate { secret: options.secret.clone(), stop: options.stop.clone() },
        backend: Backend { tree, requests: Arc::clone(&requests) },
        shall_stop: AtomicBool::new(false),
    });
    let (stopping, stopped) = watch::channel(false);
    let free = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let server =
        Server { answerer, patience: options.patience, stopping: stopping.clone(), free: Arc::clone(&free) };
    let served = start(runtime, server, listener, stopped).map_err(MountError::Thread)?;
    Ok(WebdavHandle {
        model,
        address,
        secret: options.secret.clone(),
        requests,
        stopping,
        served,
        #[cfg(test)]
        free,
    })
}

/// What a connection is served with.
#[derive(Clone)]
struct Server {
    answerer: Arc<Answerer>,
    patience: Duration,
    stopping: watch::Sender<bool>,
    /// Places for connections.
    free: Arc<Semaphore>,
}

fn start(
    runtime: Runtime,
    server: Server,
    listener: TcpListener,
    stopped: watch::Receiver<bool>,
) -> io::Result<Arc<Served>> {
    let served: Arc<Served> = Arc::default();
    let ended = Arc::clone(&served);
    thread::Builder::new().name("webdav".into()).spawn(move || {
        runtime.block_on(accept(server, listener, stopped));
        // Whoever waits for the destination in there is not waited for.
        runtime.shutdown_background();
        *lock(&ended.has_ended) = true;
        ended.ended.notify_all();
    })?;
    Ok(served)
}

async fn accept(server: Server, listener: TcpListener, mut stopped: watch::Receiver<bool>) {
    loop {
        let next = async {
            let accepted = listener.accept().await;
            (Arc::clone(&server.free).acquire_owned().await, accepted)
        };
        let (place, accepted) = tokio::select! {
            _ = stopped.wait_for(|is_stopped| *is_stopped) => return,
            next = next => next,
        };
        match accepted {
            Ok((stream, _)) => {
                let server = server.clone();
                tokio::spawn(async move {
                    server.connection(stream).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_AGAIN_AFTER).await;
            }
        }
    }
}

impl Server {
    async fn connection(&self, stream: tokio::net::TcpStream) {
        // Slower at worst.
        let _ = stream.set_nodelay(true);
        let answerer = &self.answerer;
        let service = service_fn(|request| Arc::clone(answerer).answer(request));
        let served = http1::Builder::new()
            .timer(Clock)
            .header_read_timeout(HEAD_PATIENCE)
            .max_buf_size(HEAD_BYTES_MAX)
            .serve_connection(Connection::new(stream, self.patience), service);
        if let Err(error) = served.await {
            tracing::debug!(
                error = &error as &(dyn std::error::Error + 'static),
                "a connection was broken off"
            );
        }
        if self.answerer.shall_stop.load(Ordering::Acquire) {
            self.stopping.send_replace(true);
        }
    }
}

impl WebdavHandle {
    /// Where it is served.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where the folder is, with the secret.
    pub fn url(&self) -> String {
        format!("http://{}/{}/", self.address, self.secret.text())
    }

    /// What was asked for so far.
    pub fn requests(&self) -> Requests {
        self.requests.get()
    }

    /// Shows these versions from now on. Clients ask again when they look.
    pub fn set_versions(&self, versions: Vec<Version>) {
        self.model.set_versions(versions);
    }

    /// The same for the versions of another set.
    pub fn set_versions_of(&self, lineage: LineageId, versions: Vec<Version>) {
        self.model.set_versions_of(lineage, versions);
    }

    #[cfg(test)]
    fn open_connections(&self) -> usize {
        CONNECTIONS_MAX - self.free.available_permits()
    }

    /// Ends it. Whoever is reading is cut off.
    pub fn stop(&self) {
        self.stopping.send_replace(true);
    }

    /// Waits until it has ended, by [`WebdavHandle::stop`] or from outside.
    pub fn wait(&self) {
        let mut has_ended = lock(&self.served.has_ended);
        while !*has_ended {
            has_ended = wait(&self.served.ended, has_ended);
        }
    }
}

impl Drop for WebdavHandle {
    fn drop(&mut self) {
        self.stop();
    }
}

/// How long a server is given to answer that it ends.
const STOP_PATIENCE: Duration = Duration::from_secs(10);

/// Ends what another process serves at `address`, by the secret it was given for that.
///
/// # Errors
///
/// What the system says; [`io::ErrorKind::PermissionDenied`] if something else listens there.
pub fn stop(address: SocketAddr, secret: &str) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&address, STOP_PATIENCE)?;
    stream.set_read_timeout(Some(STOP_PATIENCE))?;
    let request = format!(
        "POST /{secret} HTTP/1.1\r\nHost: {address}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes())?;
    let mut status = [0; "HTTP/1.1 204".len()];
    stream.read_exact(&mut status)?;
    if status.ends_with(b" 204") { Ok(()) } else { Err(io::ErrorKind::PermissionDenied.into()) }
}
