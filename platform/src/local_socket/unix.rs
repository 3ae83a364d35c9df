//! Unix: a socket in the file system.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, bind, listen};

/// Takes connections.
#[derive(Debug)]
pub struct Listener(UnixListener);

/// One connection, in both directions.
#[derive(Debug)]
pub struct Stream(UnixStream);

/// A path that is short enough for a socket's address, and what keeps it valid.
struct Short {
    path: PathBuf,
    _folder: Option<File>,
}

/// Socket addresses have room for so many bytes on all systems, the final zero included.
const ADDRESS_BYTES_MAX: usize = 104;

impl Listener {
    /// Listens at `path`. A socket that is left there from before is replaced; whoever calls this holds the lock that says nobody listens.
    pub fn bind(path: &Path) -> io::Result<Self> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let short = shorten(path)?;
        let socket = socket()?;
        bind(&socket, &SocketAddrUnix::new(&short.path)?)?;
        // Nobody can connect before it listens.
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
        listen(&socket, 16)?;
        Ok(Self(socket.into()))
    }

    /// Waits for the next connection.
    pub fn accept(&self) -> io::Result<Stream> {
        self.0.accept().map(|(stream, _)| Stream(stream))
    }
}

impl Stream {
    /// Connects to who listens at `path`.
    pub fn connect(path: &Path) -> io::Result<Self> {
        UnixStream::connect(shorten(path)?.path).map(Self)
    }
}

impl io::Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl io::Write for Stream {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.0.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// A socket that programs which are started do not get.
#[cfg(not(target_os = "macos"))]
fn socket() -> io::Result<OwnedFd> {
    use rustix::net::{SocketFlags, socket_with};
    Ok(socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?)
}

/// A socket that programs which are started do not get; one that another thread starts in between does.
#[cfg(target_os = "macos")]
fn socket() -> io::Result<OwnedFd> {
    let socket = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None)?;
    rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?;
    Ok(socket)
}

/// Where the path is too long, it is taken from its folder, opened. Works where open files have names in `/proc` or `/dev/fd`.
fn shorten(path: &Path) -> io::Result<Short> {
    if path.as_os_str().len() < ADDRESS_BYTES_MAX {
        return Ok(Short { path: path.to_owned(), _folder: None });
    }
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let folder = File::open(folder)?;
    let open_files = if Path::new("/proc/self/fd").exists() { "/proc/self/fd" } else { "/dev/fd" };
    let path = Path::new(open_files).join(folder.as_raw_fd().to_string()).join(name);
    Ok(Short { path, _folder: Some(folder) })
}
