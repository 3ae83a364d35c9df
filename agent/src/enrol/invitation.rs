//! `backstore://HOST:PORT/NAME/INVITE#FINGERPRINT`.

use backstore_protocol::base32;
use backstore_protocol::ids::{Fingerprint, InviteToken};
use backstore_protocol::quic::ServerAddress;

/// What an invitation says.
#[derive(Clone, PartialEq, Eq)]
pub struct Invitation {
    /// Where the server is.
    pub server: ServerAddress,
    /// The account's name there.
    pub account: String,
    /// The secret.
    pub token: InviteToken,
    /// The fingerprint the server must have.
    pub fingerprint: Fingerprint,
}

/// The beginning of an invitation.
pub(super) const SCHEME: &str = "backstore://";

impl Invitation {
    /// Reads an invitation.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let rest = text.trim().strip_prefix(SCHEME).ok_or("an invitation begins with backstore://")?;
        let (rest, fingerprint) =
            rest.split_once('#').ok_or("the invitation has no #FINGERPRINT: was it copied whole?")?;
        let mut parts = rest.split('/');
        let (Some(server), Some(account), Some(token), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err("an invitation is backstore://HOST:PORT/NAME/INVITE#FINGERPRINT");
        };
        Ok(Self {
            server: ServerAddress::parse(server).ok_or("the invitation's server is not HOST:PORT")?,
            account: Some(account.to_owned())
                .filter(|name| !name.is_empty())
                .ok_or("the invitation names no account")?,
            token: Self::parse_token(token).ok_or("the invitation's secret is not whole")?,
            fingerprint: Self::parse_fingerprint(fingerprint)
                .ok_or("the invitation's fingerprint is not whole")?,
        })
    }

    /// Reads the secret alone.
    pub fn parse_token(text: &str) -> Option<InviteToken> {
        let bytes = base32::decode(text.trim())?;
        InviteToken::from_slice(&bytes).filter(|_| bytes.len() == InviteToken::SIZE)
    }

    /// Reads a fingerprint alone.
    pub fn parse_fingerprint(text: &str) -> Option<Fingerprint> {
        let bytes = base32::decode(text.trim())?;
        Fingerprint::from_slice(&bytes).filter(|_| bytes.len() == Fingerprint::SIZE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str =
        "backstore://nas:4287/alice/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa#bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

    #[test]
    fn whole_invitations_are_read() {
        let invitation = Invitation::parse(&format!("  {GOOD}\n")).unwrap();
        assert_eq!((invitation.server.to_string(), &*invitation.account), ("nas:4287".to_owned(), "alice"));
        assert_eq!(invitation.token, InviteToken::ZERO);
    }

    #[test]
    fn anything_less_is_refused() {
        for at in 0..GOOD.len() {
            assert!(Invitation::parse(&GOOD[..at]).is_err(), "{}", &GOOD[..at]);
        }
        for (from, to) in
            [("nas", ""), ("alice", ""), ("/alice", "/alice/x"), ("aaaa", "a1aa"), ("backstore", "https")]
        {
            assert!(Invitation::parse(&GOOD.replacen(from, to, 1)).is_err(), "{from} {to}");
        }
    }
}
