//! What fuzz targets assert: a decoder does not panic, and what it accepts is written the same.

#[path = "../../../protocol/tests/formats/recode.rs"]
#[allow(dead_code, reason = "shared with tests that make fixtures")]
mod recode;

/// Feeds the decoder of a format.
pub fn check(format: &str, bytes: &[u8]) {
    let known = recode::FORMATS.into_iter().find(|(name, _)| *name == format);
    let (_, recode) = known.unwrap_or_else(|| panic!("{format} is no format"));
    if let Some(again) = recode(bytes) {
        assert!(again == bytes, "accepted {bytes:02x?}, which is written {again:02x?}");
    }
}

/// Feeds the messages of some frame types: the first byte chooses the type, two more the length of the header.
pub fn check_message(kinds: &[u8], bytes: &[u8]) {
    let Some(([choice, low, high], rest)) = bytes.split_first_chunk::<3>() else { return };
    let kind = kinds[usize::from(*choice) % kinds.len()];
    let header = usize::from(u16::from_le_bytes([*low, *high])) % (rest.len() + 1);
    let mut frame = (4 + rest.len() as u32).to_le_bytes().to_vec();
    frame.extend_from_slice(&[kind, 0]);
    frame.extend_from_slice(&(header as u16).to_le_bytes());
    frame.extend_from_slice(rest);
    check("frame", &frame);
}
