//! Name, TCP, TLS: everything that comes before the first byte of a request, and the mark by which its failures are told from later ones.

use std::fmt;
use std::io;
use std::io::{Read, Write};
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, Either, LazyBuffers, NextTimeout, TcpConnector,
    Transport, TransportAdapter,
};

use super::trust;
use crate::limits;
use crate::text::io_error_message;

/// TCP, and for https TLS with `tls` on it.
pub(super) fn connector(tls: Arc<ClientConfig>) -> impl Connector {
    BeforeSending(().chain(TcpConnector::default()).chain(Tls { tls }))
}

/// The system's resolver.
pub(super) fn resolver() -> impl Resolver {
    BeforeSending(DefaultResolver::default())
}

/// What failed before the first byte of a request.
#[derive(Debug)]
pub(super) enum Failed {
    /// Nobody, or not to be found.
    Connection(String),
    /// Somebody, but not whom we trust.
    Tls(String),
}

/// Takes the mark off: `Ok` for what failed before the first byte, the error itself otherwise.
pub(super) fn before_sending(error: ureq::Error) -> Result<Failed, ureq::Error> {
    let ureq::Error::Other(inside) = error else {
        return Err(error);
    };
    match inside.downcast::<Marked>() {
        Ok(marked) => Ok(marked.0),
        Err(inside) => Err(ureq::Error::Other(inside)),
    }
}

/// What the system says about a connection, without its error number.
pub(super) fn io_words(error: &io::Error) -> String {
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

#[derive(Debug)]
struct Marked(Failed);

impl fmt::Display for Marked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Failed::Connection(why) | Failed::Tls(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for Marked {}

fn mark(failed: Failed) -> ureq::Error {
    ureq::Error::Other(Box::new(Marked(failed)))
}

/// Marks every failure of what it wraps as one that came before the first byte.
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
            .map_err(|error| before_sending(error).map_or_else(|error| mark(explain(error)), mark))
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
            mark(Failed::Connection(match error {
                ureq::Error::Timeout(_) => format!(
                    "the host name was not resolved within {} s",
                    limits::CONNECT.as_secs()
                ),
                _ => "the host name cannot be resolved".to_owned(),
            }))
        })
    }
}

fn explain(error: ureq::Error) -> Failed {
    match error {
        ureq::Error::Io(error) => match error.get_ref().and_then(|inside| inside.downcast_ref()) {
            Some(error) => Failed::Tls(trust::words(error)),
            None => Failed::Connection(io_words(&error)),
        },
        ureq::Error::Rustls(error) => Failed::Tls(trust::words(&error)),
        ureq::Error::Timeout(_) => Failed::Connection(format!(
            "no connection within {} s",
            limits::CONNECT.as_secs()
        )),
        ureq::Error::Tls(why) => Failed::Tls(why.to_owned()),
        _ => Failed::Connection("no connection".to_owned()),
    }
}

/// ureq's own TLS knows no verifier but its two, so this puts ours in its place.
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
            .map_err(|_| ureq::Error::Tls("the host is no name that a certificate can have"))?;
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

/// A server of plain HTTP may hang up without a word: a greeting in TLS is no request.
fn hung_up(error: io::Error) -> ureq::Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe => mark(Failed::Connection(format!(
            "the connection was closed at once; {}",
            trust::PERHAPS_PLAIN
        ))),
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
