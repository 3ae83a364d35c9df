//! Counting what is asked for.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

/// What the system has asked for since mounting: one number for each kind of request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Requests {
    /// Names that were looked up.
    pub lookups: u64,
    /// Attributes that were asked for.
    pub attributes: u64,
    /// Directories that were opened.
    pub directories_opened: u64,
    /// Pieces of listings.
    pub listings: u64,
    /// Files that were opened.
    pub files_opened: u64,
    /// Reads.
    pub reads: u64,
    /// Bytes that reads gave.
    pub bytes_read: u64,
    /// Links that were read.
    pub links_read: u64,
    /// Extended attributes that were asked for, by name or all.
    pub xattrs: u64,
    /// Requests that had to wait for the destination.
    pub waited: u64,
    /// Times that bytes nobody had asked for were put into the system's page cache.
    pub pushes: u64,
}

macro_rules! counts {
    ($($name:ident),*) => {
        /// A counter for each kind of request.
        #[derive(Default)]
        pub(crate) struct RequestCounts {
            $(pub(crate) $name: Count,)*
        }

        impl RequestCounts {
            /// All of them.
            pub(crate) fn get(&self) -> Requests {
                Requests { $($name: self.$name.0.load(Ordering::Relaxed),)* }
            }
        }
    };
}

counts!(
    lookups,
    attributes,
    directories_opened,
    listings,
    files_opened,
    reads,
    bytes_read,
    links_read,
    xattrs,
    waited,
    pushes
);

/// A number that only grows.
#[derive(Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn one(&self) {
        self.add(1);
    }

    pub(crate) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }
}
