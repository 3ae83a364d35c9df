//! Fuzzes the invitation that a user pastes: whatever is read is read the same when written out.

#![no_main]

use backstore_agent::enrol::Invitation;
use backstore_protocol::base32;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(invitation) = Invitation::parse(text) else { return };
    let Invitation { server, account, token, fingerprint } = &invitation;
    let (token, fingerprint) = (base32::encode(token.as_bytes()), base32::encode(fingerprint.as_bytes()));
    let again = Invitation::parse(&format!("backstore://{server}/{account}/{token}#{fingerprint}"));
    assert!(again == Ok(invitation.clone()), "{text:?}");
});
