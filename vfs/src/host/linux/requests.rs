//! Counting what the kernel asks for.

use std::sync::atomic::{AtomicU64, Ordering};

use super::super::Requests;

macro_rules! counts {
    ($($name:ident),*) => {
        /// A counter for each kind of request.
        #[derive(Default)]
        pub(super) struct RequestCounts {
            $(pub(super) $name: Count,)*
        }

        impl RequestCounts {
            /// All of them.
            pub(super) fn get(&self) -> Requests {
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
pub(super) struct Count(AtomicU64);

impl Count {
    pub(super) fn one(&self) {
        self.add(1);
    }

    pub(super) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }
}
