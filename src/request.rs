//! A request that the network edge has read whole, what can be answered to it, and the trait of whatever answers.
//! How bytes come and go belongs to the edge, what is answered to whoever implements [`Behind`].

use std::net::IpAddr;
use std::time::Instant;

use crate::delivery::DeliveryId;
use crate::message::{Headers, Reply};
use crate::signature::UnverifiedBody;

/// The known methods; what is answered to them is decided elsewhere.
const METHODS: [&str; 8] = [
    "GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE",
];

/// A method as it is spelled, if it is known.
pub(crate) fn method(spelled: &[u8]) -> Option<&'static str> {
    let mut known = METHODS.into_iter();
    known.find(|known| known.as_bytes() == spelled)
}

/// A request whose framing and size were checked.
#[derive(Debug)]
pub(crate) struct Request {
    /// As sent, one of the known methods.
    pub(crate) method: &'static str,
    /// Percent-decoded once.
    pub(crate) path: String,
    /// After the `?`, as sent.
    pub(crate) query: Option<String>,
    /// As sent.
    pub(crate) headers: Headers,
    /// Nobody may look in before its signature was verified.
    pub(crate) body: UnverifiedBody,
    /// Who sent it; behind a trusted proxy the forwarded address.
    pub(crate) peer: IpAddr,
}

/// A reply now, perhaps a better one later.
#[derive(Debug)]
pub(crate) struct Answer {
    /// What can be said now.
    pub(crate) reply: Reply,
    /// Where there is something worth waiting for.
    pub(crate) wait: Option<Wait>,
}

impl Answer {
    /// Nothing better is to be expected.
    pub(crate) fn now(reply: Reply) -> Answer {
        Answer { reply, wait: None }
    }
}

/// What can be waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Awaited {
    /// The end of a delivery.
    Delivery(DeliveryId),
    /// A look at Portainer, for the settings page; `base` is what the addresses on it begin with.
    Page { look: u64, base: String },
    /// Something that staff asked for; `back` is where they are sent afterwards.
    Job { job: u64, back: String },
}

/// Waiting for a better reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wait {
    /// What is waited for.
    pub(crate) what: Awaited,
    /// Then the reply is what can be said by then.
    pub(crate) until: Instant,
    /// What the reply's `Preference-Applied` says.
    pub(crate) preference: Option<String>,
    /// For the log line that is written when the reply is known.
    pub(crate) asked: Asked,
}

/// What the log says of a request: harmless fields only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asked {
    /// When it was read.
    pub(crate) at: Instant,
    /// As sent.
    pub(crate) method: &'static str,
    /// The route's template: what stands in the place of names may be anything.
    pub(crate) route: &'static str,
    /// Who sent it.
    pub(crate) peer: IpAddr,
    /// The hook that it was posted to.
    pub(crate) hook: Option<String>,
}

/// What stands behind the network edge.
pub(crate) trait Behind: Send + Sync {
    /// A reply for what needs no worker: wrong route, method, peer, signature, or a small delivery that asks for nothing. Called on the
    /// connection's own thread.
    fn turn_away(&self, request: &Request) -> Option<Reply>;
    /// Answers what was not turned away. Called by a worker; never waits.
    fn handle(&self, request: &Request) -> Answer;
    /// Waits as an [`Answer`] proposed, or until nobody listens any more. Called on the connection's own thread.
    fn wait(&self, wait: &Wait, listening: &dyn Fn() -> bool) -> Reply;
    /// Words for what the edge itself refuses; the path where it could be read, and who sent it.
    fn refuse(&self, path: Option<&str>, peer: IpAddr, why: Refusal) -> Reply;
}

/// Why the network edge refuses a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The request line, a header or the framing is malformed.
    BadHead,
    /// A TLS handshake instead of a request.
    Tls,
    /// Head or body were not complete in time.
    TooSlow,
    /// The body is larger than `max_body`.
    TooLarge,
    /// The request line is too long.
    UriTooLong,
    /// An `Expect` other than `100-continue`.
    Expectation,
    /// Headers are too many or too long.
    HeadTooLarge,
    /// Our own mistake.
    Panicked,
    /// A method that nothing here knows.
    Method,
    /// No room for one more large body, or stopping.
    Busy,
    /// Neither HTTP/1.0 nor HTTP/1.1.
    Version,
}

impl Refusal {
    /// The status code.
    pub(crate) fn status(self) -> u16 {
        match self {
            Refusal::BadHead | Refusal::Tls => 400,
            Refusal::TooSlow => 408,
            Refusal::TooLarge => 413,
            Refusal::UriTooLong => 414,
            Refusal::Expectation => 417,
            Refusal::HeadTooLarge => 431,
            Refusal::Panicked => 500,
            Refusal::Method => 501,
            Refusal::Busy => 503,
            Refusal::Version => 505,
        }
    }

    /// What the client is told.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Refusal::BadHead => "the request is not well-formed HTTP",
            Refusal::Tls => {
                "https was spoken to this port of plain http; only a proxy in front can speak it"
            }
            Refusal::TooSlow => "the request was not complete in time",
            Refusal::TooLarge => "the body is too large; STACKHOOK_MAX_BODY is the most",
            Refusal::UriTooLong => "the request line is too long",
            Refusal::Expectation => "only the expectation 100-continue can be met",
            Refusal::HeadTooLarge => "the headers are too many or too long",
            Refusal::Panicked => "an internal error, the log says more",
            Refusal::Method => "unknown method",
            Refusal::Busy => "no room at the moment, try again",
            Refusal::Version => "only HTTP/1.0 and HTTP/1.1 are spoken",
        }
    }
}
