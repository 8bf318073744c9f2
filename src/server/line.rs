//! Private connections to tiny_http: how they are opened, and one exchange on them.

use std::io::{self, BufReader, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::sync::Arc;

use super::private;
use super::worker::{Inside, Workers};
use crate::gate::open_files;
use crate::limits;
use crate::message::Reply;
use crate::request::Request;
use crate::secret::{self, Secret};

/// A private connection; nothing is left in its buffer between two requests.
pub(super) struct Line {
    pub(super) stream: BufReader<UnixStream>,
    /// Its workers stay until the last line to them is gone.
    pub(super) workers: Arc<Workers>,
}

/// A tiny_http to which lines can be opened, with its workers. Nobody else can reach it: once the lines are there, nothing listens any
/// more. An abstract socket has no file that could be in the way, or forbidden.
pub(super) struct Opening {
    address: SocketAddr,
    door: UnixStream,
    pub(super) workers: Arc<Workers>,
}

/// Of a line (bytes): most replies are no longer.
const BUFFER: usize = 2 * 1024;

/// How many there shall be. Each takes three descriptors.
pub(super) fn wanted() -> usize {
    let few = open_files() < limits::FEW_DESCRIPTORS;
    if few { 1 } else { limits::WORKERS }
}

impl Opening {
    pub(super) fn new(inside: &Arc<Inside>) -> io::Result<Opening> {
        let name: [u8; 16] =
            secret::random().map_err(|error| io::Error::other(error.to_string()))?;
        let name = format!("stackhook-{}", secret::to_hex(&name));
        let address = SocketAddr::from_abstract_name(name)?;
        let listener = UnixListener::bind_addr(&address)?;
        let door = UnixStream::from(OwnedFd::from(listener.try_clone()?));
        let http = tiny_http::Server::from_listener(listener, None).map_err(io::Error::other)?;
        let workers = Arc::new(Workers::start(http, inside)?);
        Ok(Opening {
            address,
            door,
            workers,
        })
    }

    /// A line that was proven to work. One after the other: tiny_http may forget one of several that come at once.
    pub(super) fn line(&self, token: &Secret) -> io::Result<Line> {
        let stream = UnixStream::connect_addr(&self.address)?;
        let mut line = Line {
            stream: BufReader::with_capacity(BUFFER, stream),
            workers: Arc::clone(&self.workers),
        };
        line.prove(token)?;
        Ok(line)
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        if let Err(error) = self.door.shutdown(Shutdown::Both) {
            log::debug!("the private door was not shut: {error}");
        }
    }
}

impl Line {
    /// The reply, and the number of what may be waited for.
    pub(super) fn exchange(
        &mut self,
        token: &Secret,
        request: &Request,
    ) -> io::Result<(Reply, Option<u64>)> {
        let body = request.body.forward();
        let mut bytes = private::head(token, request);
        let mut to = self.stream.get_ref();
        if body.len() <= limits::SMALL_BODY {
            // One write wakes the other side once.
            bytes.extend_from_slice(body);
            to.write_all(&bytes)?;
        } else {
            to.write_all(&bytes)?;
            to.write_all(body)?;
        }
        let reply = private::read_reply(&mut self.stream)?;
        if self.stream.buffer().is_empty() {
            Ok(reply)
        } else {
            Err(io::Error::other("more than one reply came"))
        }
    }

    /// A request that a worker answers by itself.
    fn prove(&mut self, token: &Secret) -> io::Result<()> {
        let mut to = self.stream.get_ref();
        to.set_read_timeout(Some(limits::PROOF))?;
        to.set_write_timeout(Some(limits::PROOF))?;
        to.write_all(&private::probe(token))?;
        let (reply, _) = private::read_reply(&mut self.stream)?;
        let to = self.stream.get_ref();
        to.set_read_timeout(Some(limits::HAND_OVER))?;
        to.set_write_timeout(Some(limits::HAND_OVER))?;
        match reply.status {
            204 => Ok(()),
            status => Err(io::Error::other(format!("the proof was answered {status}"))),
        }
    }
}
