//! Windows: not yet. Alternate streams and security descriptors are not read, and every file says so once.

use super::{Subject, XattrProblem, Xattrs};
use crate::Unsupported;

/// Reads extended attributes: not on this system yet.
#[derive(Debug, Default)]
pub struct XattrReader(());

impl XattrReader {
    /// Reports that streams and security descriptors were not read.
    pub fn read(&mut self, _subject: Subject<'_>) -> Xattrs {
        let source = Unsupported { what: "reading alternate streams and security descriptors" }.into();
        Xattrs { found: Vec::new(), problems: vec![XattrProblem::List { source }] }
    }
}
