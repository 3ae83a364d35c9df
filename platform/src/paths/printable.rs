//! Names and paths for a terminal: no byte of a file's name may act on it, and the name can be had back.
//!
//! **Form.** Text is written as it is. A backslash is `\\`; newline, carriage return and tab are `\n`, `\r` and `\t`; every other
//! byte of a control character, of an invisible or direction-changing character, and of what is not UTF-8 is `\xHH`.
//! [`from_printable`] undoes this exactly. On a whole path it is exact as well, except that on Windows the separator is a
//! backslash too, so there only names go back.

use std::fmt::{self, Write};

/// Shows a name so that a terminal only ever prints it.
#[derive(Debug, Clone, Copy)]
pub struct Printable<'a>(pub &'a [u8]);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            let mut plain_from = 0;
            for (at, character) in chunk.valid().char_indices().filter(|(_, character)| !is_plain(*character))
            {
                f.write_str(&chunk.valid()[plain_from..at])?;
                write_escaped(character, f)?;
                plain_from = at + character.len_utf8();
            }
            f.write_str(&chunk.valid()[plain_from..])?;
            write_bytes(chunk.invalid(), f)?;
        }
        Ok(())
    }
}

fn write_escaped(character: char, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match character {
        '\\' => f.write_str(r"\\"),
        '\n' => f.write_str(r"\n"),
        '\r' => f.write_str(r"\r"),
        '\t' => f.write_str(r"\t"),
        _ => write_bytes(character.encode_utf8(&mut [0; 4]).as_bytes(), f),
    }
}

fn write_bytes(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "\\x{byte:02x}"))
}

/// Whether a character is written as it is.
///
/// The joiners U+200C and U+200D are, although they are invisible: Persian, Indian names and emoji need them.
fn is_plain(character: char) -> bool {
    let changes_direction_or_hides = matches!(character,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}');
    character != '\\' && !character.is_control() && !changes_direction_or_hides
}

/// The bytes that [`Printable`] showed as `text`; nothing if `text` has an escape it does not write.
pub fn from_printable(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut parts = text.split('\\');
    bytes.extend_from_slice(parts.next()?.as_bytes());
    while let Some(part) = parts.next() {
        let rest = match part.as_bytes() {
            // Between two backslashes: an escaped one, then text up to the next.
            [] => {
                bytes.push(b'\\');
                parts.next()?
            }
            [b'n', ..] => escaped(b'\n', &part[1..], &mut bytes),
            [b'r', ..] => escaped(b'\r', &part[1..], &mut bytes),
            [b't', ..] => escaped(b'\t', &part[1..], &mut bytes),
            [b'x', high, low, ..] => {
                let digit =
                    |digit: &u8| char::from(*digit).to_digit(16).filter(|_| !digit.is_ascii_uppercase());
                escaped((digit(high)? << 4 | digit(low)?) as u8, &part[3..], &mut bytes)
            }
            _ => return None,
        };
        bytes.extend_from_slice(rest.as_bytes());
    }
    Some(bytes)
}

fn escaped<'a>(byte: u8, rest: &'a str, bytes: &mut Vec<u8>) -> &'a str {
    bytes.push(byte);
    rest
}

/// Formats into a string, for callers that need one.
impl From<Printable<'_>> for String {
    fn from(printable: Printable<'_>) -> Self {
        let mut text = Self::with_capacity(printable.0.len());
        // Writing to a string cannot fail.
        let _ = write!(text, "{printable}");
        text
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_name_comes_back(name in vec(prop_oneof![any::<u8>(), Just(b'\\'), Just(b'x'), Just(b'n'), Just(0xE2), Just(0x80)], 0..40)) {
            let shown = Printable(&name).to_string();
            prop_assert_eq!(from_printable(&shown), Some(name));
            prop_assert!(!shown.chars().any(char::is_control), "{:?}", shown);
        }

        #[test]
        fn text_of_any_kind_comes_back(name in any::<String>()) {
            prop_assert_eq!(from_printable(&Printable(name.as_bytes()).to_string()), Some(name.into_bytes()));
        }
    }

    #[test]
    fn shown_as_documented() {
        let check = |name: &[u8], shown: &str| assert_eq!(String::from(Printable(name)), shown);
        check(b"", "");
        check("Grüße 日本 👩\u{200d}💻".as_bytes(), "Grüße 日本 👩\u{200d}💻");
        check(b"a\\b", r"a\\b");
        check(b"a\nb\r\t", r"a\nb\r\t");
        check(b"\x1b[31mred\x07\x7f", r"\x1b[31mred\x07\x7f");
        check(b"\xff\xfe", r"\xff\xfe");
        check("a\u{202e}b".as_bytes(), r"a\xe2\x80\xaeb");
        check("\u{9b}31m".as_bytes(), r"\xc2\x9b31m");
    }

    #[test]
    fn unknown_escapes_are_refused() {
        for text in [r"\", r"a\", r"\q", r"\x", r"\x1", r"\xg0", r"\x1B", r"\\\"] {
            assert_eq!(from_printable(text), None, "{text}");
        }
        // "é" after an x must not be cut in the middle.
        assert_eq!(from_printable(r"\xé"), None);
    }
}
