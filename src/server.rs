//! tiny_http: takes requests off the network, hands them to whoever stands behind, and writes what is answered. The only module
//! that knows it. A request that waits for an outcome gets a thread of its own, so that no worker ever waits.

use std::io::{Cursor, Read};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use percent_encoding::percent_decode_str;

use crate::http::{Headers, Reply};
use crate::limits;
use crate::request::{Behind, Refusal, Request, Wait};
use crate::signature::Sealed;

/// A server that listens.
pub(crate) struct Server {
    http: tiny_http::Server,
    max_body: usize,
    waiters: AtomicUsize,
}

impl Server {
    /// Listens from now on; requests are read when [`Server::serve`] is called.
    ///
    /// # Errors
    /// The reason in words, most often that somebody else listens there.
    pub(crate) fn bind(listen: SocketAddr, max_body: usize) -> Result<Server, String> {
        let http = tiny_http::Server::http(listen)
            .map_err(|error| format!("cannot listen on {listen}: {error}"))?;
        Ok(Server {
            http,
            max_body,
            waiters: AtomicUsize::new(0),
        })
    }

    /// Where it listens; the port is the real one.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.http.server_addr().to_ip()
    }

    /// Starts the workers.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(crate) fn serve(self: &Arc<Self>, behind: &Arc<dyn Behind>) -> Result<(), String> {
        for _ in 0..limits::WORKERS {
            let (server, behind) = (Arc::clone(self), Arc::clone(behind));
            let worker = thread::Builder::new()
                .name("worker".to_owned())
                .spawn(move || server.work(&behind));
            worker.map_err(|error| format!("cannot start a thread: {error}"))?;
        }
        Ok(())
    }

    /// Lets the workers end with the request they are at.
    pub(crate) fn stop(&self) {
        (0..limits::WORKERS).for_each(|_| self.http.unblock());
    }

    fn work(self: &Arc<Self>, behind: &Arc<dyn Behind>) {
        while let Ok(mut http) = self.http.recv() {
            let path = decoded(http.url().split('?').next().unwrap_or_default());
            let handled = catch_unwind(AssertUnwindSafe(|| {
                self.handle(behind.as_ref(), &mut http, path.as_deref())
            }));
            match handled {
                Ok((reply, None)) => respond(http, reply),
                Ok((_, Some(wait))) => self.wait(behind, wait, http),
                Err(_) => respond(http, behind.refuse(path.as_deref(), Refusal::Panicked)),
            }
        }
    }

    fn handle(
        &self,
        behind: &dyn Behind,
        http: &mut tiny_http::Request,
        path: Option<&str>,
    ) -> (Reply, Option<Wait>) {
        let Some(path) = path else {
            return (behind.refuse(None, Refusal::BadHead), None);
        };
        let body = match self.body(http) {
            Ok(body) => body,
            Err(why) => return (behind.refuse(Some(path), why), None),
        };
        let request = Request {
            method: http.method().to_string(),
            path: path.to_owned(),
            query: http
                .url()
                .split_once('?')
                .map(|(_, query)| query.to_owned()),
            headers: headers(http),
            body: Sealed::new(body),
            peer: http
                .remote_addr()
                .map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), SocketAddr::ip),
        };
        match behind.turn_away(&request) {
            Some(reply) => (reply, None),
            None => {
                let answer = behind.handle(&request);
                (answer.reply, answer.wait)
            }
        }
    }

    /// The body, never more of it than allowed.
    fn body(&self, http: &mut tiny_http::Request) -> Result<Vec<u8>, Refusal> {
        if http
            .body_length()
            .is_some_and(|length| length > self.max_body)
        {
            return Err(Refusal::TooLarge);
        }
        let mut body = Vec::new();
        let most = u64::try_from(self.max_body)
            .unwrap_or(u64::MAX)
            .saturating_add(1);
        http.as_reader()
            .take(most)
            .read_to_end(&mut body)
            .map_err(|_| Refusal::TooSlow)?;
        if body.len() > self.max_body {
            Err(Refusal::TooLarge)
        } else {
            Ok(body)
        }
    }

    /// On a thread of its own; where too many wait already, or there is no thread, it is answered at once.
    fn wait(self: &Arc<Self>, behind: &Arc<dyn Behind>, wait: Wait, http: tiny_http::Request) {
        let place = Place::take(self);
        let at_once = Wait {
            until: Instant::now(),
            ..wait.clone()
        };
        let Some(place) = place else {
            return respond(http, behind.wait(&at_once));
        };
        let waiting = Arc::clone(behind);
        let waiter = thread::Builder::new()
            .name("waiter".to_owned())
            .spawn(move || {
                respond(http, waiting.wait(&wait));
                drop(place);
            });
        if let Err(error) = waiter {
            log::error!("cannot start a thread for a request that waits: {error}");
        }
    }
}

/// A place among those who wait.
struct Place(Arc<Server>);

impl Place {
    fn take(server: &Arc<Server>) -> Option<Place> {
        let taken = server.waiters.fetch_add(1, Ordering::SeqCst);
        let place = Place(Arc::clone(server));
        (taken < limits::WAITERS).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.waiters.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A path decoded once; what then is no text, or holds control characters, is none.
fn decoded(path: &str) -> Option<String> {
    let path = percent_decode_str(path).decode_utf8().ok()?;
    (!path.chars().any(char::is_control)).then(|| path.into_owned())
}

fn headers(http: &tiny_http::Request) -> Headers {
    let mut headers = Headers::default();
    for header in http.headers() {
        headers.push(header.field.as_str().as_str(), header.value.as_str());
    }
    headers
}

/// The client may be gone; then there is nobody to tell.
fn respond(http: tiny_http::Request, reply: Reply) {
    let headers = reply.headers.iter().filter_map(|(name, value)| {
        tiny_http::Header::from_bytes(name.as_bytes(), value.as_bytes()).ok()
    });
    let length = reply.body.len();
    let response = tiny_http::Response::new(
        tiny_http::StatusCode(reply.status),
        headers.collect(),
        Cursor::new(reply.body),
        Some(length),
        None,
    );
    // Chunked from 32 KiB on is tiny_http's default, and not every client of ours reads it.
    if let Err(error) = http.respond(response.with_chunked_threshold(usize::MAX)) {
        log::debug!("a reply was not taken: {error}");
    }
}
