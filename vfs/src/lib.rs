//! The read-only time-travel filesystem: every version of an archive as an ordinary folder tree.
//!
//! SEMANTICS.md in this folder says what it promises. From below: `objects` fetches, opens and keeps what a destination holds;
//! `content` and `view` make files and directories of it, and `stream` the contents of many files in order: this much is what
//! restore, verify, `ls`, `find` and `diff` are built on. `moment` reads what people call a version,
//! `change` tells when two entries differ, `history` is an index of what became of every path. `model` adds versions, inodes and handles; `host` shows the model to an operating
//! system. No type of a host appears in the model.

mod cache;
pub mod change;
pub mod content;
pub mod history;
pub mod host;
pub mod model;
pub mod moment;
pub mod objects;
#[cfg(test)]
mod random_tree;
mod requests;
pub mod stream;
mod sync;
#[cfg(any(test, feature = "test-archive"))]
pub mod test_archive;
pub mod view;
