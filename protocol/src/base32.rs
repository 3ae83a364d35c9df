//! Base32 of RFC 4648 in lower case and without padding: for what people copy.

const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// Writes bytes; their number is a multiple of 5.
pub fn encode(bytes: &[u8]) -> String {
    debug_assert!(bytes.len().is_multiple_of(5), "{} bytes would need padding", bytes.len());
    bytes
        .chunks_exact(5)
        .flat_map(|five| {
            let bits = five.iter().fold(0u64, |bits, byte| bits << 8 | u64::from(*byte));
            (0..8).rev().map(move |at| char::from(ALPHABET[(bits >> (5 * at) & 31) as usize]))
        })
        .collect()
}

/// Reads what [`encode`] wrote, in either case; nothing if it is something else.
pub fn decode(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    if digits.is_empty() || !digits.len().is_multiple_of(8) {
        return None;
    }
    let mut bytes = Vec::with_capacity(digits.len() / 8 * 5);
    for eight in digits.chunks_exact(8) {
        let mut bits = 0u64;
        for digit in eight {
            let value = ALPHABET.iter().position(|letter| *letter == digit.to_ascii_lowercase())?;
            bits = bits << 5 | value as u64;
        }
        bytes.extend_from_slice(&bits.to_be_bytes()[3..]);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn round_trip(bytes in proptest::collection::vec(any::<[u8; 5]>(), 1..5)) {
            let bytes = bytes.concat();
            let text = encode(&bytes);
            prop_assert_eq!(decode(&text), Some(bytes.clone()));
            prop_assert_eq!(decode(&text.to_uppercase()), Some(bytes));
        }
    }

    #[test]
    fn known_and_malformed() {
        assert_eq!(encode(b"fooba"), "mzxw6ytb");
        for bad in ["", "mzxw6yt", "mzxw6yt1", "mzxw6yt=", "mzxw6ytbm"] {
            assert_eq!(decode(bad), None, "{bad}");
        }
    }
}
