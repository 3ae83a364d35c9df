//! Systems without such sockets yet: commands then open the vault themselves, for which the server has to be stopped.

use std::io;
use std::path::Path;

use crate::Unsupported;

/// Takes connections; there are none here.
#[derive(Debug)]
pub struct Listener(std::convert::Infallible);

/// A connection; there are none here.
#[derive(Debug)]
pub struct Stream(std::convert::Infallible);

impl Listener {
    /// Not yet on this system: [`io::ErrorKind::Unsupported`].
    pub fn bind(_path: &Path) -> io::Result<Self> {
        Err(Unsupported { what: "sockets between programs" }.into())
    }

    /// Cannot be called.
    pub fn accept(&self) -> io::Result<Stream> {
        match self.0 {}
    }
}

impl Stream {
    /// Not yet on this system: [`io::ErrorKind::Unsupported`].
    pub fn connect(_path: &Path) -> io::Result<Self> {
        Err(Unsupported { what: "sockets between programs" }.into())
    }
}

impl io::Read for Stream {
    fn read(&mut self, _buffer: &mut [u8]) -> io::Result<usize> {
        match self.0 {}
    }
}

impl io::Write for Stream {
    fn write(&mut self, _buffer: &[u8]) -> io::Result<usize> {
        match self.0 {}
    }

    fn flush(&mut self) -> io::Result<()> {
        match self.0 {}
    }
}
