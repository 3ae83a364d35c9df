//! Names as every client can use them: SEMANTICS.md section 9.
//!
//! What is not text, or not allowed in a name on Windows, becomes a character of U+F001 to U+F0FF, byte by byte, as Cygwin and others
//! do. A name that has such a character already is written byte by byte there, so that no two names become one.

use std::collections::HashSet;

/// Where the characters are that stand for bytes.
const BYTES: u32 = 0xf000;
/// Units of UTF-16 that a name may have on Windows.
const UNITS_MAX: usize = 255;
/// Names of devices on Windows, with any extension. The digits of `COM` and `LPT` are 1 to 9.
const DEVICES: [&str; 6] = ["con", "prn", "aux", "nul", "com", "lpt"];

/// How an archived name is shown.
pub(super) fn shown(name: &[u8]) -> String {
    let mut text = String::with_capacity(name.len());
    for chunk in name.utf8_chunks() {
        chunk.valid().chars().for_each(|c| push(&mut text, c));
        chunk.invalid().iter().for_each(|byte| text.push(of_byte(*byte)));
    }
    if let Some(end) = text.pop() {
        text.push(if matches!(end, '.' | ' ') { of_byte(end as u8) } else { end });
    }
    if let Some(at) = device_letter(&text) {
        let letter = of_byte(text.as_bytes()[at]);
        text.replace_range(at..=at, letter.encode_utf8(&mut [0; 4]));
    }
    text
}

/// The archived name that is shown so, if one is.
pub(super) fn archived(text: &str) -> Option<Vec<u8>> {
    let mut name = Vec::with_capacity(text.len());
    for c in text.chars() {
        match byte_of(c) {
            Some(byte) => name.push(byte),
            None => name.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    (shown(&name) == text).then_some(name)
}

/// What names have in common that are one on a system that does not regard case.
pub(super) fn folded(text: &str) -> String {
    text.to_lowercase()
}

/// Another name for what cannot have `text`, because something is called so already: `~2` before the extension, or the next number that
/// is free. It is noted in `taken`.
pub(super) fn another(
    text: &str,
    taken: &mut HashSet<String>,
    mut is_taken: impl FnMut(&str) -> bool,
) -> String {
    let (stem, extension) = match text.rfind('.') {
        Some(at) if at > 0 => text.split_at(at),
        _ => (text, ""),
    };
    for number in 2_u64.. {
        let end = format!("~{number}{extension}");
        let units = UNITS_MAX.saturating_sub(end.encode_utf16().count());
        let candidate = format!("{}{end}", beginning(stem, units));
        if !taken.contains(&folded(&candidate)) && !is_taken(&candidate) {
            taken.insert(folded(&candidate));
            return candidate;
        }
    }
    unreachable!("a directory has fewer entries than there are numbers")
}

/// As much of `text` as has at most so many units of UTF-16.
fn beginning(text: &str, units_max: usize) -> &str {
    let mut units = 0;
    let end = text.char_indices().find(|(_, c)| {
        units += c.len_utf16();
        units > units_max
    });
    end.map_or(text, |(at, _)| &text[..at])
}

fn push(text: &mut String, c: char) {
    match c {
        '\0'..='\x1f' | '\x7f' | '<' | '>' | ':' | '"' | '|' | '?' | '*' | '\\' => {
            text.push(of_byte(c as u8))
        }
        // XML cannot hold the last two.
        '\u{f000}'..='\u{f0ff}' | '\u{fffe}' | '\u{ffff}' => {
            c.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| text.push(of_byte(byte)));
        }
        other => text.push(other),
    }
}

fn of_byte(byte: u8) -> char {
    char::from_u32(BYTES + u32::from(byte)).expect("no surrogates are there")
}

fn byte_of(c: char) -> Option<u8> {
    u32::from(c).checked_sub(BYTES).and_then(|byte| u8::try_from(byte).ok())
}

/// Where the last letter of a name is that stands for a device.
fn device_letter(text: &str) -> Option<usize> {
    let stem = text.split('.').next()?;
    // Windows cuts spaces before the extension too.
    let stem = stem.trim_end_matches(' ').to_ascii_lowercase();
    let is_device = match stem.as_bytes() {
        [_, _, _] => DEVICES[..4].contains(&&*stem),
        [start @ .., b'1'..=b'9'] => {
            std::str::from_utf8(start).is_ok_and(|start| DEVICES[4..].contains(&start))
        }
        _ => false,
    };
    is_device.then(|| stem.len() - 1)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_shown_so_that_windows_takes_them() {
        for (name, expected) in [
            (&b"plain.txt"[..], "plain.txt"),
            ("gr\u{fc}n \u{1f600}".as_bytes(), "gr\u{fc}n \u{1f600}"),
            (b"a:b?", "a\u{f03a}b\u{f03f}"),
            (b"back\\slash", "back\u{f05c}slash"),
            (b"new\nline\x7f", "new\u{f00a}line\u{f07f}"),
            (b"not \xff utf-8", "not \u{f0ff} utf-8"),
            (b"dot.", "dot\u{f02e}"),
            (b"two dots..", "two dots.\u{f02e}"),
            (b"space ", "space\u{f020}"),
            (b" leading", " leading"),
            (b"CON", "CO\u{f04e}"),
            (b"nul.txt", "nu\u{f06c}.txt"),
            (b"aux .txt", "au\u{f078} .txt"),
            (b"COM1", "COM\u{f031}"),
            (b"com0", "com0"),
            (b"console", "console"),
            ("\u{f03a}".as_bytes(), "\u{f0ef}\u{f080}\u{f0ba}"),
            ("\u{ffff}".as_bytes(), "\u{f0ef}\u{f0bf}\u{f0bf}"),
        ] {
            assert_eq!(shown(name), expected, "{name:?}");
            assert_eq!(archived(expected).as_deref(), Some(name));
        }
        for nothing in ["a:b", "dot.", "CON", "a\u{f061}", "\u{ffff}", ""] {
            let found = archived(nothing).filter(|name| !name.is_empty());
            assert_eq!(found, None, "{nothing:?} is shown otherwise");
        }
    }

    proptest! {
        #[test]
        fn every_name_is_shown_and_found(name in any_name()) {
            let text = shown(&name);
            prop_assert_eq!(archived(&text), Some(name));
            let is_refused = |c: char| c < ' ' || "<>:\"|?*\\\u{7f}\u{fffe}\u{ffff}".contains(c);
            prop_assert!(!text.contains(is_refused), "{:?}", text);
            prop_assert!(!text.ends_with(['.', ' ']), "{:?}", text);
            prop_assert!(text.encode_utf16().count() <= UNITS_MAX);
        }

        #[test]
        fn what_collides_has_a_name_of_its_own(names in vec("[aA~2.]{1,6}", 1..20), long in any::<bool>()) {
            let mut taken = HashSet::new();
            for name in names {
                let name = if long { name.repeat(43)[..255.min(name.len() * 43)].to_owned() } else { name };
                let own = another(&name, &mut taken, |text| text == "A~2");
                prop_assert!(own.encode_utf16().count() <= UNITS_MAX && own != "A~2", "{}", own);
                let extension = name.rfind('.').filter(|at| *at > 0).map_or("", |at| &name[at..]);
                prop_assert!(own.ends_with(extension), "{} for {}", own, name);
            }
        }
    }

    fn any_name() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            4 => "[ -~]".prop_map(String::into_bytes),
            2 => any::<char>().prop_map(|c| c.to_string().into_bytes()),
            1 => (0xf000..0xf100_u32).prop_map(|c| char::from_u32(c).unwrap().to_string().into_bytes()),
            1 => (1..=255_u8).prop_map(|byte| vec![byte]),
            1 => prop_oneof!["con", "COM", "nul", "lpt", "\u{ffff}"].prop_map(String::into_bytes),
        ];
        vec(piece, 1..60).prop_map(|pieces| pieces.concat()).prop_filter("a name", |name| {
            name.len() <= 255 && backstore_protocol::path::check_name(name).is_ok()
        })
    }
}
