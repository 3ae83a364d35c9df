//! What `search` finds, as links.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use super::Problem;
use super::past::{EachLine, marked};
use super::paths::names_of;
use super::version::VersionList;
use super::views::{Item, Line, View};
use crate::cache::Cache;
use crate::history::{FoundFile, History, Pattern};
use crate::sync::lock;

/// What was looked for lately. Losing it costs time only.
pub(super) struct Searches {
    /// By hashes of patterns.
    recent: Mutex<Cache<[u8; 32], Search>>,
}

/// How far versions were indexed then, and what was found.
type Search = (Option<u64>, Arc<Vec<FoundFile>>);

/// Searches that are remembered.
const SEARCHES_MAX: usize = 4;

impl Searches {
    pub(super) fn new() -> Self {
        Self { recent: Mutex::new(Cache::new(SEARCHES_MAX)) }
    }

    /// Files that fit a pattern.
    pub(super) fn find(&self, history: &History, glob: &[u8]) -> Result<Arc<Vec<FoundFile>>, Problem> {
        let (key, indexed) = (*blake3::hash(glob).as_bytes(), history.indexed_to());
        if let Some((then, found)) = lock(&self.recent).get(&key)
            && then == indexed
        {
            return Ok(found);
        }
        let pattern = Pattern::new(glob).ok_or(Problem::NotFoundYet)?;
        let found = Arc::new(history.search(&pattern)?);
        lock(&self.recent).insert(key, (indexed, Arc::clone(&found)), 1);
        Ok(found)
    }
}

/// Links to what was found, each to the newest version that has it.
pub(super) fn list_found(
    list: &VersionList,
    view: &View,
    found: &[FoundFile],
    from: u64,
    each: &mut EachLine<'_>,
) {
    let mut times: HashMap<&[u8], u32> = HashMap::new();
    for (file, order) in found.iter().zip(0..) {
        let name = file.path.rsplit(|byte| *byte == 0).next().unwrap_or_default();
        let count = times.entry(name).and_modify(|count| *count += 1).or_insert(1);
        let range = file.range();
        let Some(version) = list.newest_within(range.start, range.end).filter(|_| order >= from) else {
            continue;
        };
        let mut target = [&view.way_up(), version.name.as_bytes()].concat();
        names_of(&file.path).for_each(|part| target.extend([b"/", part].concat()));
        let name = if *count == 1 { name.to_vec() } else { marked(name, &format!("~{count}")) };
        let item = Item::Link(target, Some(Arc::clone(version)));
        if !each(Line { order, name: Cow::Owned(name), item }) {
            return;
        }
    }
}
