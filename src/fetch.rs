//! One HTTP exchange: the home of ureq and rustls. Knows nothing of what is asked; leaves the meaning of an answer to its callers.
//!
//! No redirects, no cookies, no proxy, no connection that is used twice; every wait and every body is bounded. What went wrong says above all whether
//! anything can have reached the other side ([`Error`]).

mod trust;
mod connect;
mod error;
#[cfg(test)]
pub(crate) mod scripted;
#[cfg(test)]
mod tests;

use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ureq::http;

use crate::config::Trust;
use crate::limits;
pub(crate) use error::Error;
use error::{broken, explain};

/// Held while a large answer is read.
static LARGE_ANSWER: Mutex<()> = Mutex::new(());

/// Makes exchanges; may be shared by threads.
#[derive(Debug)]
pub(crate) struct Fetch {
    agent: ureq::Agent,
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    /// Changes nothing, so it may be sent again.
    Get,
    /// Makes something new.
    Post,
    /// Replaces something.
    Put,
    /// Removes something.
    Delete,
    /// Asks what may be asked: answered by whoever is there, acted on by nobody.
    Options,
}

/// One question.
pub(crate) struct Request<'a> {
    /// What is asked for.
    pub(crate) method: Method,
    /// The whole address, checked when it was configured.
    pub(crate) url: &'a str,
    /// Names and values; values may be secret.
    pub(crate) headers: &'a [(&'a str, &'a str)],
    /// A body with its `Content-Type`; `None` sends an empty one where the method has a body.
    pub(crate) body: Option<(&'a str, &'a [u8])>,
    /// Until the answer begins.
    pub(crate) answer_within: Duration,
    /// From there until it has ended.
    pub(crate) body_within: Duration,
    /// A larger answer is an error (bytes).
    pub(crate) body_max: usize,
}

impl Method {
    /// As it is written.
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

impl<'a> Request<'a> {
    /// A question without headers and body, with the ordinary limits.
    pub(crate) fn new(method: Method, url: &'a str) -> Request<'a> {
        Request {
            method,
            url,
            headers: &[],
            body: None,
            answer_within: limits::ANSWER,
            body_within: limits::ANSWER_BODY,
            body_max: limits::ANSWER_MAX,
        }
    }
}

/// What stands before the body of an answer; only the headers that somebody reads.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Head {
    /// The status code.
    pub(crate) status: u16,
    /// `Content-Type`.
    pub(crate) content_type: Option<String>,
    /// `Location`: where a redirect points. Nobody here goes there.
    pub(crate) location: Option<String>,
    /// `Date`, as it was sent.
    pub(crate) date: Option<String>,
    /// `redirect-reason`, by which Portainer says that it has no administrator.
    pub(crate) redirect_reason: Option<String>,
    /// `Api-Version`, which the Docker engine sends.
    pub(crate) api_version: Option<String>,
}

/// An answer that came to its end.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Answer {
    /// Status and headers.
    pub(crate) head: Head,
    /// The whole body.
    pub(crate) body: Vec<u8>,
}

/// An answer whose body is still coming.
pub(crate) struct Stream {
    /// Status and headers.
    pub(crate) head: Head,
    body: BufReader<ureq::BodyReader<'static>>,
}

impl Fetch {
    /// Fails, with the reason, when what `trust` names cannot be used.
    pub(crate) fn new(trust: &Trust) -> Result<Fetch, String> {
        let tls = Arc::new(trust::client(trust)?);
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
            // A kept connection may be closed by the other side just as the next request leaves: then nobody knows whether it arrived.
            .max_idle_connections(0)
            .max_idle_connections_per_host(0)
            .build();
        let agent = ureq::Agent::with_parts(config, connect::connector(tls), connect::resolver());
        Ok(Fetch { agent })
    }

    /// Sends the request once and reads the whole answer.
    pub(crate) fn exchange(&self, request: &Request<'_>) -> Result<Answer, Error> {
        let (head, body) = self.send(request)?;
        let mut reader = body.into_with_config().limit(limit(request)).reader();
        let mut body = Vec::new();
        let read = reader
            .by_ref()
            .take(limits::SMALL_ANSWER)
            .read_to_end(&mut body)
            .and_then(|read| match u64::try_from(read) {
                Ok(limits::SMALL_ANSWER) => {
                    // Large answers are read one after the other, so that those of many calls at once do not add up.
                    let _turn = LARGE_ANSWER.lock().unwrap_or_else(PoisonError::into_inner);
                    reader.read_to_end(&mut body)
                }
                _ => Ok(read),
            });
        read.map_err(|error| explain(error.into(), request))?;
        Ok(Answer { head, body })
    }

    /// Sends the request once; the body is read by the caller, line by line.
    pub(crate) fn stream(&self, request: &Request<'_>) -> Result<Stream, Error> {
        let (head, body) = self.send(request)?;
        let body = body.into_with_config().limit(limit(request)).reader();
        let body = BufReader::new(body);
        Ok(Stream { head, body })
    }

    fn send(&self, request: &Request<'_>) -> Result<(Head, ureq::Body), Error> {
        let mut built = http::Request::builder()
            .method(match request.method {
                Method::Get => http::Method::GET,
                Method::Post => http::Method::POST,
                Method::Put => http::Method::PUT,
                Method::Delete => http::Method::DELETE,
                Method::Options => http::Method::OPTIONS,
            })
            .uri(request.url);
        for (name, value) in request.headers {
            built = built.header(*name, *value);
        }
        if let Some((kind, _)) = request.body {
            built = built.header(http::header::CONTENT_TYPE, kind);
        }
        let answer = match (request.method, request.body) {
            (Method::Get | Method::Delete | Method::Options, _) => built
                .body(())
                .map_err(ureq::Error::from)
                .and_then(|built| self.run(built, request)),
            (Method::Post | Method::Put, body) => built
                .body(body.map_or(&[][..], |(_, bytes)| bytes))
                .map_err(ureq::Error::from)
                .and_then(|built| self.run(built, request)),
        };
        let (parts, body) = answer
            .map_err(|error| explain(error, request))?
            .into_parts();
        let text = |name: &str| {
            let value = parts.headers.get(name)?.to_str().ok()?;
            Some(value.to_owned())
        };
        let head = Head {
            status: parts.status.as_u16(),
            content_type: text("content-type"),
            location: text("location"),
            date: text("date"),
            redirect_reason: text("redirect-reason"),
            api_version: text("api-version"),
        };
        Ok((head, body))
    }

    fn run<B: ureq::AsSendBody>(
        &self,
        built: http::Request<B>,
        request: &Request<'_>,
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
    /// The next line without its end, or `None` after the last. A longer line than `max` bytes, or an answer that breaks off, is an error.
    pub(crate) fn line(&mut self, max: usize) -> Result<Option<Vec<u8>>, Error> {
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
            return Err(Error::Garbled(format!(
                "a line of its answer is longer than {max} bytes"
            )));
        }
        while line
            .last()
            .is_some_and(|byte| matches!(byte, b'\n' | b'\r'))
        {
            line.pop();
        }
        Ok(Some(line))
    }

    /// At most `max` bytes of what is left; the rest is dropped unread.
    pub(crate) fn beginning(self, max: usize) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        self.body
            .take(u64::try_from(max).unwrap_or(u64::MAX))
            .read_to_end(&mut bytes)
            .map_err(|error| broken(error.into()))?;
        Ok(bytes)
    }
}

fn limit(request: &Request<'_>) -> u64 {
    u64::try_from(request.body_max).unwrap_or(u64::MAX)
}
