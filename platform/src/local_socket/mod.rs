//! A socket between programs of one user on one computer: how an administrator's command reaches a running server.
//!
//! Only who may open the socket's file, its owner and the administrator, can connect.

#[cfg(unix)]
mod unix;
#[cfg(unix)]
pub use unix::{Listener, Stream};
#[cfg(not(unix))]
mod fallback;
#[cfg(not(unix))]
pub use fallback::{Listener, Stream};

#[cfg(all(test, unix))]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_question_is_answered_even_in_a_very_deep_folder() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("x".repeat(120)).join("y".repeat(120));
        std::fs::create_dir_all(&deep).unwrap();
        let path = deep.join("socket");
        let listener = Listener::bind(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let server = std::thread::spawn(move || {
            let mut stream = listener.accept().unwrap();
            let mut question = [0; 4];
            stream.read_exact(&mut question).unwrap();
            stream.write_all(&question).unwrap();
        });
        let mut stream = Stream::connect(&path).unwrap();
        stream.write_all(b"ping").unwrap();
        let mut answer = [0; 4];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"ping");
        server.join().unwrap();
    }

    #[test]
    fn a_socket_nobody_listens_to_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        drop(Listener::bind(&path).unwrap());
        assert!(Stream::connect(&path).is_err());
        let _listener = Listener::bind(&path).unwrap();
        assert!(Stream::connect(&path).is_ok());
    }
}
