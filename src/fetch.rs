//! One outgoing HTTP exchange, with ureq and rustls. The meaning of an answer is left to the callers.
//!
//! No redirects, no cookies, no proxy, no connection that is used twice; every wait and every body is bounded. A failure tells whether the
//! request can have reached the other side ([`FetchError`]).

mod tls;
#[cfg(test)]
pub(crate) mod scripted;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use ureq::http;

use crate::config::Trust;
use crate::limits;
use tls::ConnectError;

/// True while a large answer is in memory. Several at once could exceed the memory that a container is given.
static LARGE_ANSWER: (Mutex<bool>, Condvar) = (Mutex::new(false), Condvar::new());

/// The permission to keep a large answer in memory, given to one answer at a time.
#[derive(Debug)]
struct LargeAnswerPermit;

impl LargeAnswerPermit {
    /// Waits until no other large answer is in memory; `None` when that takes too long.
    fn acquire(within: Duration) -> Option<LargeAnswerPermit> {
        let (is_taken, released) = &LARGE_ANSWER;
        let guard = is_taken.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut is_taken, _) = released
            .wait_timeout_while(guard, within, |is_taken| *is_taken)
            .unwrap_or_else(PoisonError::into_inner);
        if *is_taken {
            return None;
        }
        *is_taken = true;
        Some(LargeAnswerPermit)
    }
}

impl Drop for LargeAnswerPermit {
    fn drop(&mut self) {
        let (is_taken, released) = &LARGE_ANSWER;
        *is_taken.lock().unwrap_or_else(PoisonError::into_inner) = false;
        released.notify_one();
    }
}

/// An HTTP client that threads can share.
#[derive(Debug)]
pub(crate) struct Fetch {
    agent: ureq::Agent,
}

/// The methods that stackhook uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    /// Reads an object.
    Get,
    /// Creates an object.
    Post,
    /// Replaces an object.
    Put,
    /// Removes an object.
    Delete,
    /// Proves that a server answers, without any effect.
    Options,
}

/// A request to another server. Its headers and body may hold secrets, so it cannot be printed.
pub(crate) struct OutgoingRequest {
    /// The HTTP method.
    pub(crate) method: Method,
    /// The complete address, validated with the configuration.
    pub(crate) url: String,
    /// Names and values.
    pub(crate) headers: Vec<(String, String)>,
    /// The body with its `Content-Type`; without one a POST or PUT sends an empty body.
    pub(crate) body: Option<(&'static str, Vec<u8>)>,
    /// The time until the answer begins.
    pub(crate) answer_within: Duration,
    /// The time from there until the answer has ended.
    pub(crate) body_within: Duration,
    /// The largest accepted answer (bytes).
    pub(crate) body_max: usize,
}

impl Method {
    /// The name on the wire.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Method::Get => "GET",
            Method::Post => "POST",
            Method::Put => "PUT",
            Method::Delete => "DELETE",
            Method::Options => "OPTIONS",
        }
    }
}

impl OutgoingRequest {
    /// A request without headers and body, with the usual limits.
    pub(crate) fn new(method: Method, url: impl Into<String>) -> OutgoingRequest {
        OutgoingRequest {
            method,
            url: url.into(),
            headers: Vec::new(),
            body: None,
            answer_within: limits::ANSWER,
            body_within: limits::ANSWER_BODY,
            body_max: limits::ANSWER_MAX,
        }
    }

    /// Sets a header, and replaces an earlier one of this name.
    pub(crate) fn set_header(&mut self, name: &str, value: &str) {
        self.headers
            .retain(|(other, _)| !other.eq_ignore_ascii_case(name));
        self.headers.push((name.to_owned(), value.to_owned()));
    }
}

/// The status and the used headers of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct ResponseHead {
    /// The status code.
    pub(crate) status: u16,
    /// `Content-Type`.
    pub(crate) content_type: Option<String>,
    /// `Location`, the target of a redirect that is never followed.
    pub(crate) location: Option<String>,
    /// `Date`, as it was sent.
    pub(crate) date: Option<String>,
    /// `redirect-reason`, by which Portainer says that it has no administrator.
    pub(crate) redirect_reason: Option<String>,
    /// `Api-Version`, which the Docker engine sends.
    pub(crate) api_version: Option<String>,
}

/// A complete answer. While a large one exists, other large ones have to wait: drop it as soon as it is parsed.
#[derive(Debug, Clone)]
pub(crate) struct FetchedAnswer {
    /// Status and headers.
    pub(crate) head: ResponseHead,
    /// The whole body.
    pub(crate) body: Vec<u8>,
    _permit: Option<Arc<LargeAnswerPermit>>,
}

impl FetchedAnswer {
    /// A small answer.
    pub(crate) fn new(head: ResponseHead, body: Vec<u8>) -> FetchedAnswer {
        FetchedAnswer {
            head,
            body,
            _permit: None,
        }
    }
}

/// An answer whose body is still arriving.
pub(crate) struct Stream {
    /// Status and headers.
    pub(crate) head: ResponseHead,
    body: BufReader<ureq::BodyReader<'static>>,
}

/// The reason for a missing or incomplete answer. The variants tell how much the other side can have received.
#[derive(Debug)]
pub(crate) enum FetchError {
    /// No connection: not a byte of the request was sent.
    NotSent(String),
    /// TLS could not be established with a trusted server: not a byte of the request was sent.
    Untrusted(String),
    /// The request was sent, at least in part, and no complete answer came.
    MaybeSent(String),
    /// The request was sent, and no answer began in time.
    TimedOut(String),
    /// The answer is too large or not HTTP.
    Garbled(String),
}

impl FetchError {
    /// Tells whether not a byte of the request has been sent.
    pub(crate) fn nothing_was_sent(&self) -> bool {
        matches!(self, FetchError::NotSent(_) | FetchError::Untrusted(_))
    }
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FetchError::NotSent(why)
            | FetchError::Untrusted(why)
            | FetchError::MaybeSent(why)
            | FetchError::TimedOut(why)
            | FetchError::Garbled(why) => f.write_str(why),
        }
    }
}

impl Fetch {
    /// Fails, with the reason, if the certificates that `trust` names cannot be used.
    pub(crate) fn new(trust: &Trust) -> Result<Fetch, String> {
        let tls = Arc::new(tls::client_config(trust)?);
        let config = ureq::Agent::config_builder()
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .proxy(None)
            .user_agent(concat!("stackhook/", env!("CARGO_PKG_VERSION")))
            .timeout_resolve(Some(limits::CONNECT))
            .timeout_connect(Some(limits::CONNECT))
            .timeout_send_request(Some(limits::SEND))
            .timeout_send_body(Some(limits::SEND))
            .timeout_recv_response(Some(limits::ANSWER))
            .timeout_recv_body(Some(limits::ANSWER_BODY))
            .input_buffer_size(limits::HTTP_BUFFER)
            .output_buffer_size(limits::HTTP_BUFFER)
            .max_response_header_size(limits::HTTP_HEAD)
            // The other side may close a kept connection just as the next request is sent: then it is unknown whether it arrived.
            .max_idle_connections(0)
            .max_idle_connections_per_host(0)
            .build();
        let agent = ureq::Agent::with_parts(config, tls::connector(tls), tls::resolver());
        Ok(Fetch { agent })
    }

    /// Sends the request once and reads the whole answer.
    pub(crate) fn exchange(&self, request: &OutgoingRequest) -> Result<FetchedAnswer, FetchError> {
        let (head, body) = self.send(request)?;
        let mut reader = body.into_with_config().limit(limit(request)).reader();
        let mut answer = FetchedAnswer::new(head, Vec::new());
        let read = reader
            .by_ref()
            .take(limits::SMALL_ANSWER)
            .read_to_end(&mut answer.body)
            .map_err(|error| explain(error.into(), request))?;
        if u64::try_from(read).is_ok_and(|read| read == limits::SMALL_ANSWER) {
            let Some(permit) = LargeAnswerPermit::acquire(request.body_within) else {
                let within = seconds(request.body_within);
                let why = format!("other large answers were not processed within {within}");
                return Err(FetchError::MaybeSent(why));
            };
            answer._permit = Some(Arc::new(permit));
            reader
                .read_to_end(&mut answer.body)
                .map_err(|error| explain(error.into(), request))?;
        }
        Ok(answer)
    }

    /// Sends the request once; the caller reads the body line by line.
    pub(crate) fn stream(&self, request: &OutgoingRequest) -> Result<Stream, FetchError> {
        let (head, body) = self.send(request)?;
        let body = body.into_with_config().limit(limit(request)).reader();
        let body = BufReader::new(body);
        Ok(Stream { head, body })
    }

    fn send(&self, request: &OutgoingRequest) -> Result<(ResponseHead, ureq::Body), FetchError> {
        let mut built = http::Request::builder()
            .method(request.method.as_str())
            .uri(&request.url);
        for (name, value) in &request.headers {
            built = built.header(name, value);
        }
        if let Some((content_type, _)) = request.body {
            built = built.header(http::header::CONTENT_TYPE, content_type);
        }
        let answer = match request.method {
            Method::Get | Method::Delete | Method::Options => built
                .body(())
                .map_err(ureq::Error::from)
                .and_then(|built| self.run(built, request)),
            Method::Post | Method::Put => built
                .body(request.body.as_ref().map_or(&[][..], |(_, bytes)| bytes))
                .map_err(ureq::Error::from)
                .and_then(|built| self.run(built, request)),
        };
        let (parts, body) = answer
            .map_err(|error| explain(error, request))?
            .into_parts();
        let header = |name: &str| {
            let value = parts.headers.get(name)?.to_str().ok()?;
            Some(value.to_owned())
        };
        let head = ResponseHead {
            status: parts.status.as_u16(),
            content_type: header("content-type"),
            location: header("location"),
            date: header("date"),
            redirect_reason: header("redirect-reason"),
            api_version: header("api-version"),
        };
        Ok((head, body))
    }

    fn run<B: ureq::AsSendBody>(
        &self,
        built: http::Request<B>,
        request: &OutgoingRequest,
    ) -> Result<http::Response<ureq::Body>, ureq::Error> {
        let built = self
            .agent
            .configure_request(built)
            .timeout_recv_response(Some(request.answer_within))
            .timeout_recv_body(Some(request.body_within))
            .build();
        self.agent.run(built)
    }
}

impl Stream {
    /// The next line without its end, or `None` after the last. A line longer than `max` bytes, or an answer that breaks off, is an error.
    pub(crate) fn line(&mut self, max: usize) -> Result<Option<Vec<u8>>, FetchError> {
        let mut line = Vec::new();
        let room = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
        (&mut self.body)
            .take(room)
            .read_until(b'\n', &mut line)
            .map_err(|error| broken(error.into()))?;
        if line.is_empty() {
            return Ok(None);
        }
        if line.len() > max {
            return Err(FetchError::Garbled(format!(
                "a line of its answer is longer than {max} bytes"
            )));
        }
        let end = line.trim_ascii_end().len();
        line.truncate(end);
        Ok(Some(line))
    }

    /// At most `max` bytes of the remaining body; the rest is dropped unread.
    pub(crate) fn beginning(self, max: usize) -> Result<Vec<u8>, FetchError> {
        let mut bytes = Vec::new();
        self.body
            .take(u64::try_from(max).unwrap_or(u64::MAX))
            .read_to_end(&mut bytes)
            .map_err(|error| broken(error.into()))?;
        Ok(bytes)
    }
}

fn limit(request: &OutgoingRequest) -> u64 {
    u64::try_from(request.body_max).unwrap_or(u64::MAX)
}

/// Converts an error of ureq. A failure that is not marked as one before the first byte counts as possibly sent.
fn explain(error: ureq::Error, request: &OutgoingRequest) -> FetchError {
    let error = match tls::connect_error(error) {
        Ok(ConnectError::Connection(why)) => return FetchError::NotSent(why),
        Ok(ConnectError::Tls(why)) => return FetchError::Untrusted(why),
        Err(error) => error,
    };
    match error {
        ureq::Error::Timeout(ureq::Timeout::RecvResponse) => FetchError::TimedOut(format!(
            "no answer within {}",
            seconds(request.answer_within)
        )),
        ureq::Error::Timeout(ureq::Timeout::RecvBody) => FetchError::MaybeSent(format!(
            "the answer did not end within {}",
            seconds(request.body_within)
        )),
        // A server that expects TLS answers plain HTTP with a TLS alert.
        ureq::Error::Protocol(_) if request.url.starts_with("http:") => FetchError::Garbled(
            "its answer is not HTTP; if this port speaks TLS, the address begins with https://"
                .to_owned(),
        ),
        error => broken(error),
    }
}

/// Converts an error of ureq without knowing the request.
fn broken(error: ureq::Error) -> FetchError {
    match error {
        ureq::Error::Http(_) | ureq::Error::BadUri(_) => FetchError::NotSent(
            "the request cannot be written: its address or a header is wrong".to_owned(),
        ),
        ureq::Error::Timeout(ureq::Timeout::RecvBody) => {
            FetchError::MaybeSent("the answer did not end in time".to_owned())
        }
        ureq::Error::Timeout(_) => {
            FetchError::MaybeSent("it stopped taking the request".to_owned())
        }
        ureq::Error::BodyExceedsLimit(limit) => {
            FetchError::Garbled(format!("its answer is larger than {limit} bytes"))
        }
        ureq::Error::LargeResponseHeader(_, _) => {
            FetchError::Garbled("the headers of its answer are too large".to_owned())
        }
        ureq::Error::Protocol(_) => FetchError::Garbled("its answer is not HTTP".to_owned()),
        ureq::Error::Io(error) => FetchError::MaybeSent(tls::connection_error_message(&error)),
        _ => FetchError::MaybeSent("the connection failed".to_owned()),
    }
}

/// Formats "30 s", or "0.2 s" for a fraction of a second.
fn seconds(time: Duration) -> String {
    match time.subsec_millis() {
        0 => format!("{} s", time.as_secs()),
        _ => format!("{:.1} s", time.as_secs_f64()),
    }
}
