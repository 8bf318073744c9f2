//! Whom TLS is spoken with: the four kinds of [`Trust`] as verifiers for rustls, and what is said about a certificate that is not trusted.

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{
    CryptoProvider, KeyProvider, ring, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::sign::SigningKey;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, OtherError, RootCertStore,
    SignatureScheme,
};

use crate::config::Trust;
use crate::secret::{sha256, to_hex};

/// How TLS is spoken. Fails, with the reason, when the certificates of a file cannot be used.
pub(super) fn client(trust: &Trust) -> Result<ClientConfig, String> {
    let provider = Arc::new(CryptoProvider {
        key_provider: &NoKeys,
        ..ring::default_provider()
    });
    let rule = match trust {
        Trust::PublicRoots => Rule::Chain(webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect()),
        Trust::Roots { file, pem } => {
            Rule::Chain(roots(pem).map_err(|why| format!("cannot use {file:?}: {why}"))?)
        }
        Trust::Certificate(pin) => Rule::Pin(*pin),
        Trust::Insecure => Rule::Nothing,
    };
    let verifier = Verifier {
        rule,
        provider: Arc::clone(&provider),
    };
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    Ok(config)
}

/// stackhook shows no certificate of its own, so it signs nothing; without this the code that signs would be in the program.
#[derive(Debug)]
struct NoKeys;

impl KeyProvider for NoKeys {
    fn load_private_key(
        &self,
        _key: PrivateKeyDer<'static>,
    ) -> Result<Arc<dyn SigningKey>, rustls::Error> {
        Err(rustls::Error::General(
            "stackhook has no key of its own".to_owned(),
        ))
    }
}

/// What to look at when the other side does not answer in TLS.
pub(super) const PERHAPS_PLAIN: &str =
    "if this port speaks plain HTTP, the address begins with http://";

/// What is said when TLS fails.
pub(super) fn words(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(inside))) => {
            inside.to_string()
        }
        rustls::Error::InvalidCertificate(why) => format!("certificate not trusted ({why})"),
        rustls::Error::InvalidMessage(_) => format!("its answer is no TLS; {PERHAPS_PLAIN}"),
        error => format!("TLS failed: {error}"),
    }
}

/// Why a certificate is not trusted, where rustls has only a name for it.
fn in_words(why: &CertificateError) -> String {
    match why {
        CertificateError::UnknownIssuer => "none of the trusted authorities has signed it",
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "it has expired",
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "it is not valid yet; is the clock right?"
        }
        // webpki's `CaUsedAsEndEntity`: what `openssl req -x509` makes.
        CertificateError::Other(_) => "it is not made for a server; perhaps it is signed by itself",
        why => return why.to_string(),
    }
    .to_owned()
}

fn roots(pem: &str) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let certificate = certificate.map_err(|error| format!("it is no PEM ({error})"))?;
        roots
            .add(certificate)
            .map_err(|error| format!("a certificate in it cannot be read ({error})"))?;
    }
    match roots.is_empty() {
        true => Err("there is no certificate in it".to_owned()),
        false => Ok(roots),
    }
}

/// What a certificate must fulfil.
#[derive(Debug)]
enum Rule {
    /// A chain to a root, and the host's name.
    Chain(RootCertStore),
    /// This SHA-256, whatever names and dates it carries.
    Pin([u8; 32]),
    /// Nothing.
    Nothing,
}

#[derive(Debug)]
struct Verifier {
    rule: Rule,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let seen = sha256(&[end_entity]);
        let why = match &self.rule {
            Rule::Nothing => None,
            Rule::Pin(pin) if *pin == seen => None,
            Rule::Pin(_) => Some("it is another one than the one that is pinned".to_owned()),
            Rule::Chain(roots) => self
                .chain(roots, end_entity, intermediates, server_name, now)
                .err()
                .map(|error| match error {
                    rustls::Error::InvalidCertificate(why) => in_words(&why),
                    error => error.to_string(),
                }),
        };
        match why {
            None => Ok(ServerCertVerified::assertion()),
            Some(why) => Err(rustls::Error::InvalidCertificate(CertificateError::Other(
                OtherError(Arc::new(NotTrusted { why, seen })),
            ))),
        }
    }

    // These two prove that the other side has the certificate's key: without them a pin would trust anybody who shows a copy of the certificate.
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

impl Verifier {
    /// What rustls' own verifier does when it is given no revocation lists.
    fn chain(
        &self,
        roots: &RootCertStore,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), rustls::Error> {
        let certificate = ParsedCertificate::try_from(end_entity)?;
        let algorithms = self.provider.signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(
            &certificate,
            roots,
            intermediates,
            now,
            algorithms,
        )?;
        verify_server_name(&certificate, server_name)
    }
}

/// A certificate that is not trusted, with what a person needs to trust it after a look.
#[derive(Debug)]
struct NotTrusted {
    why: String,
    seen: [u8; 32],
}

impl fmt::Display for NotTrusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seen = colons(&self.seen);
        write!(
            f,
            "certificate not trusted ({}); it is sha256 {seen}; if that is your Portainer, set PORTAINER_CERTIFICATE_SHA256={seen}",
            self.why
        )
    }
}

impl std::error::Error for NotTrusted {}

/// As other tools print it: upper-case pairs between colons.
fn colons(bytes: &[u8]) -> String {
    let pairs: Vec<String> = bytes
        .iter()
        .map(|byte| to_hex(&[*byte]).to_uppercase())
        .collect();
    pairs.join(":")
}
