//! TLS 1.3 with Ed25519 raw public keys (RFC 7250) on both sides.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::AlwaysResolvesClientRawPublicKeys;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring as provider, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::AlwaysResolvesServerRawPublicKeys;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};

use crate::ids::{Fingerprint, SigningPublicKey};
use crate::seal_box::SigningKey;
use crate::wire::ALPN;

/// Start of the SubjectPublicKeyInfo of an Ed25519 key (RFC 8410); the 32 bytes of the key follow.
const SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
/// Start of a PKCS #8 Ed25519 private key; the 32 bytes of the seed follow.
const PKCS8_PREFIX: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// A key that identifies one end of a connection.
#[derive(Clone)]
pub struct Identity {
    certified: Arc<CertifiedKey>,
    public: SigningPublicKey,
    /// What a server needs to tell clients of the process before it that their connection is gone.
    reset: [u8; 32],
}

impl Identity {
    /// The identity of a seed, which is random and secret.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        let public = SigningKey::from_seed(seed).public_key();
        let pkcs8 = [&PKCS8_PREFIX[..], seed].concat();
        let key = PrivateKeyDer::Pkcs8(pkcs8.into());
        let key = provider::sign::any_eddsa_type(match &key {
            PrivateKeyDer::Pkcs8(key) => key,
            _ => unreachable!("made right above"),
        })
        .expect("any 32 bytes are the seed of a key");
        let spki = CertificateDer::from(spki(&public));
        Self {
            certified: Arc::new(CertifiedKey::new(vec![spki], key)),
            public,
            reset: blake3::derive_key("backstore 2026 v1 stateless reset", seed),
        }
    }

    /// Its public half.
    pub fn public_key(&self) -> SigningPublicKey {
        self.public
    }

    /// Secret that stays the same when a server is started again.
    pub(super) fn reset_secret(&self) -> &[u8; 32] {
        &self.reset
    }
}

fn spki(key: &SigningPublicKey) -> Vec<u8> {
    [&SPKI_PREFIX[..], key.as_bytes()].concat()
}

/// The key in a SubjectPublicKeyInfo, if that is one of Ed25519.
pub(super) fn key_of_spki(spki: &[u8]) -> Option<SigningPublicKey> {
    let key = spki.strip_prefix(&SPKI_PREFIX)?;
    SigningPublicKey::from_slice(key).filter(|_| key.len() == SigningPublicKey::SIZE)
}

/// What identifies a server in an invitation.
pub fn fingerprint(key: &SigningPublicKey) -> Fingerprint {
    Fingerprint::from_slice(blake3::hash(&spki(key)).as_bytes()).expect("a hash is longer than a fingerprint")
}

/// AES first where the processor has it, since that is what both sides are fastest with; the client's order decides.
fn crypto() -> Arc<CryptoProvider> {
    let mut crypto = provider::default_provider();
    crypto.cipher_suites = vec![
        provider::cipher_suite::TLS13_AES_128_GCM_SHA256,
        provider::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
    ];
    Arc::new(crypto)
}

/// What a client found at the other end.
pub(super) type Found = Arc<Mutex<Option<SigningPublicKey>>>;

pub(super) fn client_config(
    identity: &Identity,
    expected: Fingerprint,
    found: Found,
) -> Result<rustls::ClientConfig, Error> {
    let mut config = rustls::ClientConfig::builder_with_provider(crypto())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(PinnedServer { expected, found }))
        .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(Arc::clone(
            &identity.certified,
        ))));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.enable_sni = false;
    config.enable_early_data = false;
    // A resumed session would skip the client's key.
    config.resumption = rustls::client::Resumption::disabled();
    Ok(config)
}

pub(super) fn server_config(identity: &Identity) -> Result<rustls::ServerConfig, Error> {
    let mut config = rustls::ServerConfig::builder_with_provider(crypto())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(Arc::new(AnyClient))
        .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(Arc::clone(
            &identity.certified,
        ))));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.max_early_data_size = 0;
    config.send_tls13_tickets = 0;
    Ok(config)
}

fn verify_tls13(
    message: &[u8],
    spki: &CertificateDer<'_>,
    signed: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, Error> {
    let algorithms = provider::default_provider().signature_verification_algorithms;
    verify_tls13_signature_with_raw_key(
        message,
        &SubjectPublicKeyInfoDer::from(spki.as_ref()),
        signed,
        &algorithms,
    )
}

/// Accepts one server: the one with the pinned fingerprint.
#[derive(Debug)]
struct PinnedServer {
    expected: Fingerprint,
    found: Found,
}

impl ServerCertVerifier for PinnedServer {
    fn verify_server_cert(
        &self,
        spki: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let key = key_of_spki(spki).ok_or(Error::InvalidCertificate(CertificateError::BadEncoding))?;
        *self.found.lock().unwrap_or_else(PoisonError::into_inner) = Some(key);
        if fingerprint(&key) == self.expected {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _spki: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 is not spoken".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        spki: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13(message, spki, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

/// Accepts every client that holds the key it shows; which account that key belongs to is decided after the handshake.
#[derive(Debug)]
struct AnyClient;

impl ClientCertVerifier for AnyClient {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        spki: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        key_of_spki(spki)
            .map(|_| ClientCertVerified::assertion())
            .ok_or(Error::InvalidCertificate(CertificateError::BadEncoding))
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _spki: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 is not spoken".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        spki: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13(message, spki, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}
