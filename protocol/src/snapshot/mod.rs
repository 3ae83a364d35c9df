//! A version of a lineage: a signed header in clear, and a sealed body. PROTOCOL.md section 8.

mod body;
mod header;

pub use body::{Body, Changes, Counts, Cursor, FileError, Mount, Totals};
pub use header::{Header, HeaderError, SeenHead};
