//! Connections: DNS, TCP and TLS. Implements the four kinds of [`Trust`] as verifiers for rustls, and marks every failure before the first
//! byte of a request as a [`ConnectError`].

use std::fmt;
use std::io;
use std::io::{Read, Write};
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
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, OtherError,
    RootCertStore, SignatureScheme, StreamOwned,
};
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, Either, LazyBuffers, NextTimeout, TcpConnector,
    Transport, TransportAdapter,
};

use crate::config::Trust;
use crate::limits;
use crate::secret::sha256;
use crate::text::io_error_message;

/// Connects by TCP, and for https by TLS on top.
pub(super) fn connector(tls: Arc<ClientConfig>) -> impl Connector {
    BeforeSending(().chain(TcpConnector::default()).chain(Tls { tls }))
}

/// Resolves names with the system's resolver.
pub(super) fn resolver() -> impl Resolver {
    BeforeSending(DefaultResolver::default())
}

/// A failure before the first byte of a request.
#[derive(Debug)]
pub(super) enum ConnectError {
    /// The name was not resolved, or no connection was accepted.
    Connection(String),
    /// The server is not trusted, or does not speak TLS.
    Tls(String),
}

/// Returns the failure before the first byte of a request, or else the error as it was.
pub(super) fn connect_error(error: ureq::Error) -> Result<ConnectError, ureq::Error> {
    let ureq::Error::Other(inside) = error else {
        return Err(error);
    };
    match inside.downcast::<ConnectError>() {
        Ok(error) => Ok(*error),
        Err(inside) => Err(ureq::Error::Other(inside)),
    }
}

/// The message for a failed connection, without the system's error number.
pub(super) fn connection_error_message(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
            "the connection was reset".to_owned()
        }
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionAborted => {
            "the connection was closed before the answer had ended".to_owned()
        }
        io::ErrorKind::HostUnreachable => "host unreachable".to_owned(),
        io::ErrorKind::NetworkUnreachable => "network unreachable".to_owned(),
        io::ErrorKind::TimedOut => "the connection timed out".to_owned(),
        _ => io_error_message(error),
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConnectError::Connection(why) | ConnectError::Tls(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for ConnectError {}

impl From<ConnectError> for ureq::Error {
    fn from(error: ConnectError) -> ureq::Error {
        ureq::Error::Other(Box::new(error))
    }
}

/// Turns every failure of the wrapped connector or resolver into a [`ConnectError`].
#[derive(Debug)]
struct BeforeSending<T>(T);

impl<T: Connector> Connector for BeforeSending<T> {
    type Out = T::Out;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        chained: Option<()>,
    ) -> Result<Option<Self::Out>, ureq::Error> {
        self.0
            .connect(details, chained)
            .map_err(|error| connect_error(error).unwrap_or_else(explain).into())
    }
}

impl<T: Resolver> Resolver for BeforeSending<T> {
    fn resolve(
        &self,
        uri: &ureq::http::Uri,
        config: &ureq::config::Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        self.0.resolve(uri, config, timeout).map_err(|error| {
            ConnectError::Connection(match error {
                ureq::Error::Timeout(_) => format!(
                    "the host name was not resolved within {} s",
                    limits::CONNECT.as_secs()
                ),
                _ => "the host name cannot be resolved".to_owned(),
            })
            .into()
        })
    }
}

fn explain(error: ureq::Error) -> ConnectError {
    match error {
        ureq::Error::Io(error) => match error.get_ref().and_then(|inside| inside.downcast_ref()) {
            Some(error) => ConnectError::Tls(tls_error_message(error)),
            None => ConnectError::Connection(connection_error_message(&error)),
        },
        ureq::Error::Rustls(error) => ConnectError::Tls(tls_error_message(&error)),
        ureq::Error::Timeout(_) => ConnectError::Connection(format!(
            "no connection within {} s",
            limits::CONNECT.as_secs()
        )),
        ureq::Error::Tls(why) => ConnectError::Tls(why.to_owned()),
        _ => ConnectError::Connection("no connection".to_owned()),
    }
}

/// TLS with our own verifier, which ureq's TLS does not allow.
#[derive(Debug)]
struct Tls {
    tls: Arc<ClientConfig>,
}

impl<In: Transport> Connector<In> for Tls {
    type Out = Either<In, TlsTransport>;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, ureq::Error> {
        let Some(transport) = chained else {
            return Ok(None);
        };
        if !details.needs_tls() {
            return Ok(Some(Either::A(transport)));
        }
        let host = details.uri.host().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| ureq::Error::Tls("the host is not a name that a certificate can have"))?;
        let mut connection = ClientConnection::new(Arc::clone(&self.tls), name)?;
        let mut socket = TransportAdapter::new(
            Box::new(transport) as Box<dyn Transport>,
            details.current_time.clone(),
        );
        socket.set_timeout(details.timeout);
        connection.complete_io(&mut socket).map_err(hung_up)?;
        Ok(Some(Either::B(TlsTransport {
            buffers: LazyBuffers::new(limits::HTTP_BUFFER, limits::HTTP_BUFFER),
            stream: StreamOwned::new(connection, socket),
        })))
    }
}

/// Explains a connection that was closed during the handshake: a server of plain HTTP may close it without an answer.
fn hung_up(error: io::Error) -> ureq::Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe => ConnectError::Connection(format!(
            "the connection was closed at once; {PERHAPS_PLAIN}"
        ))
        .into(),
        _ => error.into(),
    }
}

struct TlsTransport {
    buffers: LazyBuffers,
    stream: StreamOwned<ClientConnection, TransportAdapter>,
}

impl fmt::Debug for TlsTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsTransport")
    }
}

impl Transport for TlsTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        self.stream.sock.set_timeout(timeout);
        let output = self.buffers.output().get(..amount).unwrap_or_default();
        self.stream.write_all(output)?;
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        self.stream.sock.set_timeout(timeout);
        let input = self.buffers.input_append_buf();
        let amount = self.stream.read(input)?;
        self.buffers.input_appended(amount);
        Ok(amount > 0)
    }

    fn is_open(&mut self) -> bool {
        self.stream.sock.get_mut().is_open()
    }

    fn is_tls(&self) -> bool {
        true
    }
}

/// The TLS configuration. Fails, with the reason, if the certificates of a file cannot be used.
pub(super) fn client_config(trust: &Trust) -> Result<ClientConfig, String> {
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
        Trust::Insecure => Rule::AcceptAny,
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

/// No private keys: stackhook has no client certificate, and without this type the signing code would be linked in.
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

const PERHAPS_PLAIN: &str = "if this port speaks plain HTTP, the address begins with http://";

/// The message for a TLS failure.
fn tls_error_message(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(inside))) => {
            inside.to_string()
        }
        rustls::Error::InvalidCertificate(why) => format!("certificate not trusted ({why})"),
        rustls::Error::InvalidMessage(_) => format!("its answer is not TLS; {PERHAPS_PLAIN}"),
        error => format!("TLS failed: {error}"),
    }
}

/// The reason why a certificate is not trusted, in words where rustls has only a name for it.
fn certificate_error_message(why: &CertificateError) -> String {
    match why {
        CertificateError::UnknownIssuer => "none of the trusted authorities has signed it",
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "it has expired",
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "it is not valid yet; is the clock right?"
        }
        // webpki's `CaUsedAsEndEntity`: what `openssl req -x509` makes.
        CertificateError::Other(_) => "it is not made for a server; perhaps it is self-signed",
        why => return why.to_string(),
    }
    .to_owned()
}

fn roots(pem: &str) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let certificate = certificate.map_err(|error| format!("it is not PEM ({error})"))?;
        roots
            .add(certificate)
            .map_err(|error| format!("a certificate in it cannot be read ({error})"))?;
    }
    match roots.is_empty() {
        true => Err("it contains no certificate".to_owned()),
        false => Ok(roots),
    }
}

/// The condition that a certificate must meet.
#[derive(Debug)]
enum Rule {
    /// A chain to a root, and the host's name.
    Chain(RootCertStore),
    /// This SHA-256; names and dates do not matter.
    Pin([u8; 32]),
    /// Every certificate is accepted.
    AcceptAny,
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
            Rule::AcceptAny => None,
            Rule::Pin(pin) if *pin == seen => None,
            Rule::Pin(_) => Some("it is not the pinned one".to_owned()),
            Rule::Chain(roots) => self
                .chain(roots, end_entity, intermediates, server_name, now)
                .err()
                .map(|error| match error {
                    rustls::Error::InvalidCertificate(why) => certificate_error_message(&why),
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

    // These two prove that the server has the certificate's key: without them a pin would accept any server with a copy of the certificate.
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
    /// The same checks as rustls' own verifier without revocation lists.
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

/// A certificate that is not trusted, with the fingerprint that the operator can pin after checking it.
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

/// A fingerprint as other tools print it: upper-case pairs between colons.
fn colons(bytes: &[u8]) -> String {
    let pairs = bytes.iter().map(|byte| format!("{byte:02X}"));
    pairs.collect::<Vec<_>>().join(":")
}
