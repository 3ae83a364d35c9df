//! The invitation that a server prints and an agent reads: its text is frozen, like any other format.

use backstore_agent::enrol::Invitation;
use backstore_protocol::base32;
use proptest::prelude::*;

const FIXTURES: &str = include_str!("../../fixtures/invitations.txt");

fn text(invitation: &Invitation) -> String {
    let Invitation { server, account, token, fingerprint } = invitation;
    let (token, fingerprint) = (base32::encode(token.as_bytes()), base32::encode(fingerprint.as_bytes()));
    format!("backstore://{server}/{account}/{token}#{fingerprint}")
}

fn parse(text: &str) -> Invitation {
    Invitation::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn released_invitations_still_mean_the_same() {
    let read: Vec<_> = FIXTURES.lines().map(parse).collect();
    for (invitation, line) in read.iter().zip(FIXTURES.lines()) {
        assert_eq!(text(invitation), line);
    }
    let servers = read.iter().map(|invitation| (invitation.server.host.as_str(), invitation.server.port));
    assert_eq!(servers.collect::<Vec<_>>(), [("nas", 4287), ("::1", 65_535), ("backup.example.org", 1)]);
    assert_eq!(
        read.iter().map(|invitation| &*invitation.account).collect::<Vec<_>>(),
        ["alice", "Änne", "a.b@c"]
    );
    assert_eq!(read[1].token.as_bytes(), b"abcdefghijklmnopqrst");
    assert_eq!(read[0].fingerprint.to_string(), "0842108421".repeat(4));
}

proptest! {
    #[test]
    fn whatever_is_read_is_read_the_same_again(
        which in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        new in any::<char>(),
    ) {
        let lines: Vec<_> = FIXTURES.lines().collect();
        let mut changed: Vec<_> = lines[which.index(lines.len())].chars().collect();
        let at = at.index(changed.len());
        changed[at] = new;
        let changed: String = changed.into_iter().collect();
        if let Ok(invitation) = Invitation::parse(&changed) {
            let again = Invitation::parse(&text(&invitation));
            prop_assert!(again.is_ok_and(|again| again == invitation), "{changed}");
        }
    }
}
