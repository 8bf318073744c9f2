//! The HTTP server. One reader thread owns every socket that waits for its client or for an outcome; a few blocking workers run
//! the [`Handler`]. One request per connection. Routes and texts belong to the handler.
//!
//! tiny_http supplies the vocabulary (`Method`, `StatusCode`, `Header`); its `Server` is not used, because one unauthenticated
//! packet can abort it or block its accept loop.

mod client;
mod capacity;
mod parse;
mod body;
mod reply;
mod pool;
mod connections;
mod reader;

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

pub(crate) use capacity::{Budget, Capacity, Permit};
pub(crate) use tiny_http::Method;

use crate::delivery::DeliveryId;
use crate::hook::Network;
use crate::message::{Headers, Reply};
use crate::signature::UnverifiedBody;
use pool::{Mailbox, Message, Pool};
use reader::Reader;

/// A complete request whose framing and size were checked.
#[derive(Debug)]
pub(crate) struct Request {
    /// One of the known methods.
    pub(crate) method: Method,
    /// Percent-decoded once.
    pub(crate) path: String,
    /// The part after the `?`, as sent.
    pub(crate) query: Option<String>,
    /// All header lines, as sent.
    pub(crate) headers: Headers,
    /// Unreadable until its signature has been verified.
    pub(crate) body: UnverifiedBody,
}

/// The handler's decision about a request.
pub(crate) enum Answer {
    /// Replies at once.
    Now(Reply),
    /// Replies after a delay during which no worker is occupied.
    Later(Reply, Duration),
    /// Replies once something has finished.
    Wait(Wait),
}

/// A request that waits for something to finish. It occupies a socket, but no thread.
pub(crate) struct Wait {
    /// Ends the wait when [`Server::notifier`] reports it.
    pub(crate) awaited: Awaited,
    /// The end of the wait otherwise.
    pub(crate) until: Instant,
    /// Renders the reply; called by a worker. It is dropped when the wait is over, also if the client has gone.
    pub(crate) finish: Box<dyn FnOnce(WaitEnd) -> Reply + Send>,
}

/// A thing that a request can wait for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Awaited {
    /// The end of a delivery.
    Delivery(DeliveryId),
    /// A job of the settings page, by its number.
    Job(u64),
}

/// The reason a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WaitEnd {
    /// The awaited thing has finished.
    Finished,
    /// Its time is over.
    TimedOut,
    /// The server is stopping.
    Stopping,
}

/// Answers a complete request that was admitted. Called by a worker; must not wait for Portainer.
pub(crate) type Responder = Box<dyn FnOnce(Request) -> Answer + Send>;

/// The application behind the server.
pub(crate) trait Handler: Send + Sync {
    /// Decides by the head alone: returns the function that answers the complete request, or the reply to a request that is not
    /// admitted (unknown route, wrong method, address not allowed). The reader thread calls it before any of the body is read, so it
    /// must be quick and must not hash. `peer` is the client's address; behind a trusted proxy the forwarded one.
    ///
    /// Errors: the request is not admitted.
    fn admit(
        self: Arc<Self>,
        method: &Method,
        path: &str,
        headers: &Headers,
        peer: IpAddr,
    ) -> Result<Responder, Reply>;
    /// Returns true if the awaited thing has already finished.
    fn is_finished(&self, awaited: &Awaited) -> bool;
    /// The reply to a request that the server itself refuses. `path` is absent if it could not be parsed.
    fn refuse(&self, path: Option<&str>, peer: IpAddr, why: Refusal) -> Reply;
}

/// The reason the server itself refuses a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The request line, a header or the framing.
    Malformed,
    /// A TLS handshake instead of a request.
    Tls,
    ProxyProtocol,
    TooSlow,
    BodyTooLarge,
    UriTooLong,
    Expectation,
    HeadTooLarge,
    Panicked,
    Method,
    /// The memory for request bodies is in use.
    Busy,
    Version,
}

impl Refusal {
    /// The status code, and the explanation for the client and the log.
    pub(crate) fn explain(self) -> (u16, &'static str) {
        match self {
            Refusal::Malformed => (400, "the request is not well-formed HTTP"),
            Refusal::Tls => (
                400,
                "this port serves plain http; for https, put a proxy in front of it",
            ),
            Refusal::ProxyProtocol => (
                400,
                "the PROXY protocol is not supported; have the proxy send X-Forwarded-For instead, and name the proxy in trusted_proxies",
            ),
            Refusal::TooSlow => (408, "the request was not complete in time"),
            Refusal::BodyTooLarge => (
                413,
                "the body is too large; STACKHOOK_MAX_BODY sets the limit",
            ),
            Refusal::UriTooLong => (414, "the request line is too long"),
            Refusal::Expectation => (417, "the only supported expectation is 100-continue"),
            Refusal::HeadTooLarge => (431, "the headers are too many or too long"),
            Refusal::Panicked => (500, "internal error; details are in the log"),
            Refusal::Method => (501, "unknown method"),
            Refusal::Busy => (503, "too many requests are being received; try again"),
            Refusal::Version => (505, "only HTTP/1.0 and HTTP/1.1 are supported"),
        }
    }
}

/// The operator's settings.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// The largest accepted body (bytes).
    pub(crate) max_body: usize,
    /// Peers whose `X-Forwarded-For` is believed.
    pub(crate) trusted_proxies: Vec<Network>,
}

/// A bound address where nothing is served yet.
#[derive(Debug)]
pub(crate) struct Listener(TcpListener);

impl Listener {
    /// Binds the address.
    ///
    /// Errors: the reason, with advice.
    pub(crate) fn bind(listen: SocketAddr) -> Result<Listener, String> {
        // std listens with a backlog of 128, which delays bursts by seconds: SYNs are repeated after one second.
        TcpListener::bind(listen)
            .and_then(|listener| {
                rustix::net::listen(&listener, BACKLOG)?;
                listener.set_nonblocking(true)?;
                Ok(Listener(listener))
            })
            .map_err(|error| format!("cannot listen on {listen}: {}", explain_bind(&error)))
    }

    /// The address with the actual port.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.0.local_addr().ok()
    }
}

/// Connections that the kernel completes before they are accepted.
const BACKLOG: i32 = 4096;

/// A running server.
pub(crate) struct Server {
    mailbox: Arc<Mailbox>,
    /// Disconnected when the reader thread has ended.
    ended: Receiver<()>,
}

impl Server {
    /// Serves from now on.
    ///
    /// Errors: the system refuses a thread or a descriptor.
    pub(crate) fn start(
        listener: Listener,
        settings: Settings,
        capacity: Capacity,
        handler: Arc<dyn Handler>,
    ) -> Result<Server, String> {
        let failed = |error: io::Error| {
            format!("cannot start the server: {error} (limits: ulimit -u, TasksMax=, --pids-limit)")
        };
        let mailbox = Arc::new(Mailbox::new().map_err(failed)?);
        let pool = Pool::start(&handler, &mailbox).map_err(failed)?;
        let connections_max = capacity.connections;
        let inbox = Arc::clone(&mailbox);
        let ended = Reader::start(listener.0, settings, connections_max, handler, inbox, pool)
            .map_err(failed)?;
        Ok(Server { mailbox, ended })
    }

    /// A function that reports finished things to the requests waiting for them. It never blocks.
    pub(crate) fn notifier(&self) -> impl Fn(Awaited) + Send + Sync + 'static {
        let mailbox = Arc::clone(&self.mailbox);
        move |awaited| mailbox.send(Message::Finished(awaited))
    }

    /// Stops accepting and closes connections without a complete request. Waiting requests get a reply after `patience` at the latest.
    pub(crate) fn close(&self, patience: Duration) {
        self.mailbox.send(Message::Close(Instant::now() + patience));
    }

    /// Waits until all replies are written. Returns false if that took longer than `within`.
    pub(crate) fn finish(&self, within: Duration) -> bool {
        self.ended.recv_timeout(within) == Err(RecvTimeoutError::Disconnected)
    }
}

/// Explains why an address cannot be bound, and suggests a fix.
fn explain_bind(error: &io::Error) -> String {
    let why = match error.kind() {
        io::ErrorKind::AddrInUse => "another program listens there already".to_owned(),
        io::ErrorKind::AddrNotAvailable => "this host has no such address".to_owned(),
        io::ErrorKind::PermissionDenied => {
            "permission denied (ports below 1024 are reserved for root)".to_owned()
        }
        _ => error.to_string(),
    };
    format!("{why}; set another address with STACKHOOK_LISTEN, or \"listen\" in the file")
}

#[cfg(test)]
mod tests;
