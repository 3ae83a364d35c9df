//! Counting what is asked for.

use std::sync::atomic::{AtomicU64, Ordering};

use super::Requests;

macro_rules! counts {
    ($($name:ident),*) => {
        /// A counter for each kind of request.
        #[derive(Default)]
        pub(in crate::host) struct RequestCounts {
            $(pub(in crate::host) $name: Count,)*
        }

        impl RequestCounts {
            /// All of them.
            pub(in crate::host) fn get(&self) -> Requests {
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
pub(in crate::host) struct Count(AtomicU64);

impl Count {
    pub(in crate::host) fn one(&self) {
        self.add(1);
    }

    pub(in crate::host) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }
}
