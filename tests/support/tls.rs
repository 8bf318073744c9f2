//! Test certificates, and a proxy that terminates TLS in front of a plain server.

#![allow(
    dead_code,
    reason = "the unit tests and the test binary each use a part"
)]

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, IsCa, KeyPair,
};
use rustls::crypto::ring::{default_provider, sign::any_supported_type};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, ServerConnection, SupportedProtocolVersion};
use sha2::{Digest, Sha256};

/// A certificate and the server's key, which a test may replace by a wrong one.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    certificate: CertificateDer<'static>,
    key: Arc<CertifiedKey>,
    /// The certificate as PEM.
    pub(crate) pem: String,
    /// SHA-256 of the certificate.
    pub(crate) sha256: [u8; 32],
}

impl Identity {
    /// A certificate like Portainer's own: self-signed, without subject, not a CA, for localhost and 0.0.0.0.
    pub(crate) fn like_portainers() -> Identity {
        let key = KeyPair::generate().unwrap();
        let certificate = params(&["localhost", "0.0.0.0"]).self_signed(&key).unwrap();
        Identity::new(certificate.der().clone(), certificate.pem(), &key)
    }

    /// A certificate for localhost signed by a new CA, and that CA's certificate as PEM.
    pub(crate) fn signed_by_a_ca() -> (Identity, String) {
        let mut ca = params(&[]);
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.distinguished_name
            .push(rcgen::DnType::CommonName, "a CA for tests");
        let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = params(&["localhost"]).signed_by(&key, &ca).unwrap();
        let identity = Identity::new(certificate.der().clone(), certificate.pem(), &key);
        (identity, ca.pem())
    }

    /// An impostor: the same certificate with another key.
    pub(crate) fn with_another_key(&self) -> Identity {
        let key = KeyPair::generate().unwrap();
        Identity::new(self.certificate.clone(), self.pem.clone(), &key)
    }

    fn new(certificate: CertificateDer<'static>, pem: String, key: &KeyPair) -> Identity {
        let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let key = CertifiedKey::new(vec![certificate.clone()], any_supported_type(&der).unwrap());
        Identity {
            sha256: Sha256::digest(&certificate).into(),
            certificate,
            key: Arc::new(key),
            pem,
        }
    }
}

fn params(names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name = DistinguishedName::new();
    params
}

// Deliberately does not check that the key matches the certificate, as an impostor would not.
impl ResolvesServerCert for Identity {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.key))
    }
}

/// Terminates TLS on its own port and forwards the plain bytes, until the test ends.
#[derive(Debug)]
pub(crate) struct TlsFront {
    /// Address it listens on.
    pub(crate) addr: SocketAddr,
    /// Its certificate as PEM.
    pub(crate) certificate: String,
    /// SHA-256 of its certificate.
    pub(crate) sha256: [u8; 32],
}

impl TlsFront {
    /// Starts with a certificate like Portainer's.
    pub(crate) fn start(target: SocketAddr) -> TlsFront {
        TlsFront::with(target, Identity::like_portainers(), rustls::ALL_VERSIONS)
    }

    pub(crate) fn with(
        target: SocketAddr,
        identity: Identity,
        versions: &[&'static SupportedProtocolVersion],
    ) -> TlsFront {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let front = TlsFront {
            addr: listener.local_addr().unwrap(),
            certificate: identity.pem.clone(),
            sha256: identity.sha256,
        };
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(versions)
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(identity));
        let config = Arc::new(config);
        thread::spawn(move || {
            for client in listener.incoming() {
                let config = Arc::clone(&config);
                // Many tests close the connection early.
                thread::spawn(move || serve(client?, target, config));
            }
            io::Result::Ok(())
        });
        front
    }
}

/// State shared by both directions of a connection.
struct Tls {
    connection: ServerConnection,
    client: TcpStream,
}

impl Tls {
    fn flush(&mut self) -> io::Result<()> {
        while self.connection.wants_write() {
            self.connection.write_tls(&mut self.client)?;
        }
        Ok(())
    }
}

/// Forwards from the client to the target, which is connected on the first byte.
fn serve(mut client: TcpStream, target: SocketAddr, config: Arc<ServerConfig>) -> io::Result<()> {
    let connection = ServerConnection::new(config).map_err(io::Error::other)?;
    let tls = Tls {
        connection,
        client: client.try_clone()?,
    };
    let tls = Arc::new(Mutex::new(tls));
    let mut behind = None;
    let mut bytes = [0; 16 * 1024];
    loop {
        let count = client.read(&mut bytes)?;
        let plain = {
            let mut tls = tls.lock().unwrap();
            decrypt(&mut tls, &bytes[..count])?
        };
        if !plain.is_empty() {
            let behind = match &mut behind {
                Some(behind) => behind,
                None => behind.insert(connect(target, &tls)?),
            };
            behind.write_all(&plain)?;
        }
        if count == 0 {
            if let Some(behind) = &behind {
                behind.shutdown(Shutdown::Write)?;
            }
            return Ok(());
        }
    }
}

fn decrypt(tls: &mut Tls, mut bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut plain = Vec::new();
    while !bytes.is_empty() {
        tls.connection.read_tls(&mut bytes)?;
        let state = tls.connection.process_new_packets();
        tls.flush()?;
        let waiting = state.map_err(io::Error::other)?.plaintext_bytes_to_read();
        let mut piece = vec![0; waiting];
        tls.connection.reader().read_exact(&mut piece)?;
        plain.extend_from_slice(&piece);
    }
    Ok(plain)
}

/// Connects to the target, and starts a thread for the opposite direction.
fn connect(target: SocketAddr, tls: &Arc<Mutex<Tls>>) -> io::Result<TcpStream> {
    let behind = TcpStream::connect(target)?;
    let mut answers = behind.try_clone()?;
    let tls = Arc::clone(tls);
    thread::spawn(move || -> io::Result<()> {
        let mut bytes = [0; 16 * 1024];
        loop {
            let count = answers.read(&mut bytes)?;
            let mut tls = tls.lock().unwrap();
            match count {
                0 => tls.connection.send_close_notify(),
                _ => tls.connection.writer().write_all(&bytes[..count])?,
            }
            tls.flush()?;
            if count == 0 {
                return tls.client.shutdown(Shutdown::Write);
            }
        }
    });
    Ok(behind)
}
