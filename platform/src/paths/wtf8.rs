//! WTF-8: UTF-16 of any kind, unpaired surrogates included, as bytes and back. Well-formed text is plain UTF-8.
//!
//! The standard library's own form is the same on Windows, but it does not promise so and makes no string from such bytes.

/// The bytes of a UTF-16 string.
pub(super) fn from_wide(wide: impl Iterator<Item = u16>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for decoded in char::decode_utf16(wide) {
        match decoded {
            Ok(character) => bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
            Err(error) => {
                let unit = error.unpaired_surrogate();
                bytes.extend_from_slice(&[
                    0xE0 | (unit >> 12) as u8,
                    0x80 | (unit >> 6 & 0x3F) as u8,
                    0x80 | (unit & 0x3F) as u8,
                ]);
            }
        }
    }
    bytes
}

/// The UTF-16 string of WTF-8 bytes; nothing if they are not WTF-8. Two surrogates that belong together must have been written as
/// one character, so that each string has one form.
pub(super) fn to_wide(mut bytes: &[u8]) -> Option<Vec<u16>> {
    let mut wide = Vec::with_capacity(bytes.len());
    let mut follows_high = false;
    loop {
        let valid = bytes.utf8_chunks().next().map_or("", |chunk| chunk.valid());
        follows_high &= valid.is_empty();
        wide.extend(valid.encode_utf16());
        match bytes[valid.len()..] {
            [] => return Some(wide),
            [0xED, second @ 0xA0..=0xBF, third @ 0x80..=0xBF, ref rest @ ..] => {
                let unit = 0xD000 | u16::from(second & 0x3F) << 6 | u16::from(third & 0x3F);
                let is_high = unit < 0xDC00;
                if follows_high && !is_high {
                    return None;
                }
                follows_high = is_high;
                wide.push(unit);
                bytes = rest;
            }
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn any_unit() -> impl Strategy<Value = u16> {
        prop_oneof![any::<u16>(), 0xD7F0u16..0xE010, 0u16..0x80]
    }

    proptest! {
        #[test]
        fn any_wide_string_round_trips(wide in vec(any_unit(), 0..40)) {
            prop_assert_eq!(to_wide(&from_wide(wide.iter().copied())), Some(wide));
        }

        #[test]
        fn accepted_bytes_are_canonical(bytes in vec(prop_oneof![Just(0xED), 0x80u8..0xC0, any::<u8>()], 0..12)) {
            if let Some(wide) = to_wide(&bytes) {
                prop_assert_eq!(from_wide(wide.into_iter()), bytes);
            }
        }

        #[test]
        fn well_formed_text_is_utf8(text in any::<String>()) {
            prop_assert_eq!(from_wide(text.encode_utf16()), text.as_bytes());
        }
    }

    #[test]
    fn surrogates_as_they_are_specified() {
        let check = |wide: &[u16], bytes: &[u8]| {
            assert_eq!(from_wide(wide.iter().copied()), bytes);
            assert_eq!(to_wide(bytes).as_deref(), Some(wide));
        };
        check(&[0xD83D], b"\xED\xA0\xBD");
        check(&[0xDCA9, 0xD83D], b"\xED\xB2\xA9\xED\xA0\xBD");
        check(&[0xD83D, 0x61, 0xDCA9], b"\xED\xA0\xBDa\xED\xB2\xA9");
        check(&[0xD83D, 0xDCA9], "\u{1F4A9}".as_bytes());
        // The same character as two surrogates is a second form, and refused.
        assert_eq!(to_wide(b"\xED\xA0\xBD\xED\xB2\xA9"), None);
        assert_eq!(to_wide(b"\xED\xA0"), None);
        assert_eq!(to_wide(b"\xFF"), None);
        assert_eq!(to_wide(b"\x80"), None);
    }
}
