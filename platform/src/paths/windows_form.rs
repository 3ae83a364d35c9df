//! Windows paths as WTF-8 text, to archive paths and back. Pure, so that it is tested everywhere.
//!
//! Understood are `C:\a`, `\\server\share\a`, and both behind `\\?\`, where only the backslash separates. What comes back is always the form
//! behind `\\?\`: it has no length limit, and names with a dot or space at the end mean themselves.

use backstore_protocol::codec::Malformed;
use backstore_protocol::path::ArchivePath;

/// Why text is not a path that archives know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FormError {
    /// It has no drive and no share at its start, or is a device (`\\.\`).
    NotAbsolute,
    /// A name or the root is not allowed.
    Unfit(Malformed),
}

/// The archive's form of an absolute Windows path without `..`.
pub(super) fn to_archive(text: &[u8]) -> Result<ArchivePath, FormError> {
    let (root, rest, verbatim) = split_root(text)?;
    let mut path = ArchivePath::root(&root).map_err(FormError::Unfit)?;
    let separates = |byte: &u8| *byte == b'\\' || (!verbatim && *byte == b'/');
    for name in rest.split(separates) {
        if name.is_empty() || (!verbatim && name == b".") {
            continue;
        }
        path = path.join(name).map_err(FormError::Unfit)?;
    }
    Ok(path)
}

/// Root, the rest, and whether the text was verbatim.
fn split_root(text: &[u8]) -> Result<(Vec<u8>, &[u8], bool), FormError> {
    let slashed = |text: &[u8]| text.first().is_some_and(|byte| matches!(byte, b'\\' | b'/'));
    if let Some(rest) = text.strip_prefix(br"\\?\UNC\") {
        return share(rest, |byte| *byte == b'\\').map(|(root, rest)| (root, rest, true));
    }
    if let Some(rest) = text.strip_prefix(br"\\?\") {
        return match rest {
            [letter, b':'] => Ok((drive(*letter)?, &[], true)),
            [letter, b':', b'\\', rest @ ..] => Ok((drive(*letter)?, rest, true)),
            _ => Err(FormError::NotAbsolute),
        };
    }
    match text {
        [letter, b':', rest @ ..] if slashed(rest) => Ok((drive(*letter)?, rest, false)),
        [b'\\' | b'/', b'\\' | b'/', rest @ ..] => {
            share(rest, |byte| matches!(byte, b'\\' | b'/')).map(|(root, rest)| (root, rest, false))
        }
        _ => Err(FormError::NotAbsolute),
    }
}

fn drive(letter: u8) -> Result<Vec<u8>, FormError> {
    if letter.is_ascii_alphabetic() {
        Ok(vec![letter.to_ascii_uppercase(), b':'])
    } else {
        Err(FormError::NotAbsolute)
    }
}

fn share(text: &[u8], separates: impl Fn(&u8) -> bool) -> Result<(Vec<u8>, &[u8]), FormError> {
    let mut parts = text.splitn(3, separates);
    let (Some(server), Some(share)) = (parts.next(), parts.next()) else {
        return Err(FormError::NotAbsolute);
    };
    if matches!(server, b"" | b"." | b"?") || share.is_empty() {
        return Err(FormError::NotAbsolute);
    }
    Ok(([b"UNC\\", server, b"\\", share].concat(), parts.next().unwrap_or_default()))
}

/// The verbatim Windows form of an archived path; nothing for the root of another system.
pub(super) fn to_native(path: &ArchivePath) -> Option<Vec<u8>> {
    let mut components = path.components();
    let root = components.next().unwrap_or_default();
    if root == b"/" {
        return None;
    }
    let mut text = [br"\\?\", root].concat();
    for name in components {
        text.push(b'\\');
        text.extend_from_slice(name);
    }
    if path.depth() == 0 {
        text.push(b'\\');
    }
    Some(text)
}

/// Whether Windows can have a file of this archived name: no separator, stream or wildcard characters, none below 32.
pub(super) fn is_native_name(name: &[u8]) -> bool {
    backstore_protocol::path::check_name(name).is_ok()
        && !name
            .iter()
            .any(|byte| matches!(byte, 0..=31 | b'\\' | b':' | b'*' | b'?' | b'"' | b'<' | b'>' | b'|'))
}

/// `C:` as `C`, `UNC\server\share` as `server-share`.
pub(super) fn root_to_name(root: &[u8]) -> Vec<u8> {
    let name = root.strip_prefix(br"UNC\").or(root.strip_suffix(b":")).unwrap_or(root);
    name.iter().map(|byte| if *byte == b'\\' { b'-' } else { *byte }).collect()
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn archived(root: &[u8], names: &[&[u8]]) -> ArchivePath {
        names.iter().fold(ArchivePath::root(root).unwrap(), |path, name| path.join(name).unwrap())
    }

    #[test]
    fn every_form_of_a_path_is_understood() {
        let check = |text: &[u8], root: &[u8], names: &[&[u8]]| {
            assert_eq!(to_archive(text), Ok(archived(root, names)), "{}", String::from_utf8_lossy(text));
        };
        check(br"C:\", b"C:", &[]);
        check(br"c:\Users\alice", b"C:", &[b"Users", b"alice"]);
        check(b"d:/a//b/./c/", b"D:", &[b"a", b"b", b"c"]);
        check(br"\\?\C:\", b"C:", &[]);
        check(br"\\?\c:\a \b.", b"C:", &[b"a ", b"b."]);
        check(br"\\nas\data", br"UNC\nas\data", &[]);
        check(br"\\nas\data\x\y", br"UNC\nas\data", &[b"x", b"y"]);
        check(br"\\?\UNC\nas\data\x", br"UNC\nas\data", &[b"x"]);
    }

    #[test]
    fn what_is_no_absolute_path_is_refused() {
        for text in [
            &b""[..],
            b"a",
            br"\a",
            b"C:",
            b"C:a",
            br"\\.\C:\a",
            br"\\nas",
            br"\\?\Volume{x}\a",
            br"\\?\pipe\x",
            b"1:\\a",
            br"\\?\UNC\nas",
        ] {
            assert_eq!(to_archive(text), Err(FormError::NotAbsolute), "{}", String::from_utf8_lossy(text));
        }
        for text in [&br"C:\a\..\b"[..], br"\\?\C:\a/b", br"\\?\C:\."] {
            assert!(
                matches!(to_archive(text), Err(FormError::Unfit(_))),
                "{}",
                String::from_utf8_lossy(text)
            );
        }
    }

    #[test]
    fn a_name_must_be_one_on_windows() {
        for name in [&b"a:b"[..], br"..\x", b"a?", b"\x1f", b"", b".."] {
            assert!(!is_native_name(name), "{name:?}");
        }
        for name in [&b"a b"[..], b"a.", "\u{e9}".as_bytes(), b"\xED\xA0\xBD"] {
            assert!(is_native_name(name), "{name:?}");
        }
        assert_eq!(to_native(&ArchivePath::unix_root()), None);
    }

    #[test]
    fn roots_have_names() {
        for (root, name) in [(&b"C:"[..], &b"C"[..]), (br"UNC\nas\data", b"nas-data")] {
            assert_eq!(root_to_name(root), name);
            assert!(is_native_name(name));
        }
    }

    proptest! {
        #[test]
        fn archive_and_back(share in any::<bool>(), names in vec("[^\\\\/:*?\"<>|\x00-\x1f]{1,20}", 0..6)) {
            let names: Vec<_> = names.iter().filter(|name| is_native_name(name.as_bytes())).map(String::as_bytes).collect();
            let path = archived(if share { br"UNC\nas\data" } else { b"C:" }, &names);
            prop_assert_eq!(to_archive(&to_native(&path).unwrap()), Ok(path));
        }
    }
}
