//! Names of owners and groups, and back: asked of the system once each, since an answer may come over the network.

use std::collections::HashMap;
use std::sync::Arc;

use backstore_protocol::entry::{Principal, PrincipalId};
use backstore_protocol::limits::PRINCIPAL_NAME_BYTES_MAX;

/// Owners of files with their names. Asking again for the same one, or for the one asked last, is quick.
#[derive(Debug, Default)]
pub struct PrincipalCache {
    users: Known,
    groups: Known,
    none: Arc<Principal>,
}

#[derive(Debug, Default)]
struct Known {
    last: Option<(u32, Arc<Principal>)>,
    all: HashMap<u32, Arc<Principal>>,
}

impl PrincipalCache {
    /// The user with this id, and the name it has now.
    #[inline]
    pub fn user(&mut self, id: Option<u32>) -> Arc<Principal> {
        match id {
            Some(id) => self.users.get(id, lookup::user_name),
            None => Arc::clone(&self.none),
        }
    }

    /// The group with this id, and the name it has now.
    #[inline]
    pub fn group(&mut self, id: Option<u32>) -> Arc<Principal> {
        match id {
            Some(id) => self.groups.get(id, lookup::group_name),
            None => Arc::clone(&self.none),
        }
    }
}

impl Known {
    #[inline]
    fn get(&mut self, id: u32, name_of: fn(u32) -> Option<String>) -> Arc<Principal> {
        if let Some((last, principal)) = &self.last
            && *last == id
        {
            return Arc::clone(principal);
        }
        let principal = self.find(id, name_of);
        self.last = Some((id, Arc::clone(&principal)));
        principal
    }

    fn find(&mut self, id: u32, name_of: fn(u32) -> Option<String>) -> Arc<Principal> {
        if let Some(principal) = self.all.get(&id) {
            return Arc::clone(principal);
        }
        if self.all.len() >= KNOWN_MAX {
            self.all.clear();
        }
        let name = name_of(id).filter(|name| name.len() <= PRINCIPAL_NAME_BYTES_MAX).unwrap_or_default();
        let principal = Arc::new(Principal { id: PrincipalId::Unix(id), name: name.into_bytes().into() });
        self.all.insert(id, Arc::clone(&principal));
        principal
    }
}

/// Ids that names have on this computer, for restoring owners by name.
#[derive(Debug, Default)]
pub struct PrincipalIds {
    users: HashMap<Box<[u8]>, Option<u32>>,
    groups: HashMap<Box<[u8]>, Option<u32>>,
}

impl PrincipalIds {
    /// The id of the user called `name` here, if there is one.
    pub fn user(&mut self, name: &[u8]) -> Option<u32> {
        find(&mut self.users, name, lookup::user_id)
    }

    /// The id of the group called `name` here, if there is one.
    pub fn group(&mut self, name: &[u8]) -> Option<u32> {
        find(&mut self.groups, name, lookup::group_id)
    }
}

fn find(
    known: &mut HashMap<Box<[u8]>, Option<u32>>,
    name: &[u8],
    id_of: fn(&str) -> Option<u32>,
) -> Option<u32> {
    if let Some(id) = known.get(name) {
        return *id;
    }
    if known.len() >= KNOWN_MAX {
        known.clear();
    }
    let id = str::from_utf8(name).ok().filter(|name| !name.is_empty()).and_then(id_of);
    known.insert(name.into(), id);
    id
}

/// Ids or names remembered; with more, asking begins anew.
const KNOWN_MAX: usize = 65_536;

/// What the system knows. A failed lookup counts as no name: the number says who it is.
#[cfg(unix)]
mod lookup {
    use nix::unistd::{Gid, Group, Uid, User};

    pub(super) fn user_name(id: u32) -> Option<String> {
        Some(User::from_uid(Uid::from_raw(id)).ok()??.name)
    }

    pub(super) fn group_name(id: u32) -> Option<String> {
        Some(Group::from_gid(Gid::from_raw(id)).ok()??.name)
    }

    pub(super) fn user_id(name: &str) -> Option<u32> {
        Some(User::from_name(name).ok()??.uid.as_raw())
    }

    pub(super) fn group_id(name: &str) -> Option<u32> {
        Some(Group::from_name(name).ok()??.gid.as_raw())
    }
}

/// No numeric owners on this system.
#[cfg(windows)]
mod lookup {
    pub(super) fn user_name(_id: u32) -> Option<String> {
        None
    }

    pub(super) fn group_name(_id: u32) -> Option<String> {
        None
    }

    pub(super) fn user_id(_name: &str) -> Option<u32> {
        None
    }

    pub(super) fn group_id(_name: &str) -> Option<u32> {
        None
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn root_is_known_by_name_and_number() {
        let mut cache = PrincipalCache::default();
        let root = cache.user(Some(0));
        assert_eq!(*root, Principal { id: PrincipalId::Unix(0), name: b"root"[..].into() });
        let mut ids = PrincipalIds::default();
        assert_eq!(ids.user(b"root"), Some(0));
        let group = cache.group(Some(0));
        assert_eq!(ids.group(&group.name), Some(0));
    }

    #[test]
    fn one_principal_is_one_allocation() {
        let mut cache = PrincipalCache::default();
        let first = cache.user(Some(0));
        let unknown = cache.user(Some(4_294_000_000));
        assert_eq!(*unknown, Principal { id: PrincipalId::Unix(4_294_000_000), name: Box::default() });
        assert!(Arc::ptr_eq(&first, &cache.user(Some(0))), "from the map");
        assert!(Arc::ptr_eq(&first, &cache.user(Some(0))), "the last one");
        assert_eq!(cache.group(None).id, PrincipalId::None);
    }

    #[test]
    fn memory_is_bounded() {
        let mut known = Known::default();
        for id in 0..KNOWN_MAX as u32 + 10 {
            known.get(id, |_| None);
        }
        assert_eq!(known.all.len(), 10);
        let mut names = HashMap::new();
        for id in 0..KNOWN_MAX + 10 {
            find(&mut names, id.to_string().as_bytes(), |_| None);
        }
        assert_eq!(names.len(), 10);
    }

    #[test]
    fn strange_names_have_no_id() {
        let mut ids = PrincipalIds::default();
        for name in [&b""[..], b"\xff\xfe", b"no such user, surely", b"a\0b", b"0"] {
            assert_eq!(ids.user(name), None, "{name:?}");
            assert_eq!(ids.group(name), None, "{name:?}");
        }
    }
}
