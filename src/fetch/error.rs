//! Why there is no answer, and above all whether anything can have left.

use std::fmt;
use std::time::Duration;

use super::{Request, connect};

/// Why there is no answer. The variants say what the other side can have seen.
#[derive(Debug)]
pub(crate) enum Error {
    /// No connection: not a byte of the request was sent.
    NotSent(String),
    /// A connection, but no TLS that is trusted: not a byte of the request was sent.
    Untrusted(String),
    /// The request was sent, at least in part, and no whole answer came.
    MaybeSent(String),
    /// The request was sent, and no answer began in time.
    TimedOut(String),
    /// Something came that is too large or no HTTP.
    Garbled(String),
}

impl Error {
    /// Whether not a byte of the request has left.
    pub(crate) fn nothing_was_sent(&self) -> bool {
        match self {
            Error::NotSent(_) | Error::Untrusted(_) => true,
            Error::MaybeSent(_) | Error::TimedOut(_) | Error::Garbled(_) => false,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::NotSent(why)
            | Error::Untrusted(why)
            | Error::MaybeSent(why)
            | Error::TimedOut(why)
            | Error::Garbled(why) => f.write_str(why),
        }
    }
}

/// An error of ureq in our words. Everything that is not known to have happened before the first byte may have been sent.
pub(super) fn explain(error: ureq::Error, request: &Request<'_>) -> Error {
    let error = match connect::before_sending(error) {
        Ok(connect::Failed::Connection(why)) => return Error::NotSent(why),
        Ok(connect::Failed::Tls(why)) => return Error::Untrusted(why),
        Err(error) => error,
    };
    match error {
        ureq::Error::Timeout(ureq::Timeout::RecvResponse) => Error::TimedOut(format!(
            "no answer within {}",
            seconds(request.answer_within)
        )),
        ureq::Error::Timeout(ureq::Timeout::RecvBody) => Error::MaybeSent(format!(
            "the answer did not end within {}",
            seconds(request.body_within)
        )),
        // The answer to plain HTTP of a server that expects TLS is a TLS alert.
        ureq::Error::Protocol(_) if request.url.starts_with("http:") => Error::Garbled(
            "its answer is no HTTP; if this port speaks TLS, the address begins with https://"
                .to_owned(),
        ),
        error => broken(error),
    }
}

/// The same, where the request is not at hand.
pub(super) fn broken(error: ureq::Error) -> Error {
    match error {
        ureq::Error::Http(_) | ureq::Error::BadUri(_) => Error::NotSent(
            "the request cannot be written: its address or a header is wrong".to_owned(),
        ),
        ureq::Error::Timeout(ureq::Timeout::RecvBody) => {
            Error::MaybeSent("the answer did not end in time".to_owned())
        }
        ureq::Error::Timeout(_) => Error::MaybeSent("it stopped taking the request".to_owned()),
        ureq::Error::BodyExceedsLimit(limit) => {
            Error::Garbled(format!("its answer is larger than {limit} bytes"))
        }
        ureq::Error::LargeResponseHeader(_, _) => {
            Error::Garbled("the headers of its answer are too large".to_owned())
        }
        ureq::Error::Protocol(_) => Error::Garbled("its answer is no HTTP".to_owned()),
        ureq::Error::Io(error) => Error::MaybeSent(connect::io_words(&error)),
        _ => Error::MaybeSent("the connection failed".to_owned()),
    }
}

/// "30 s", or "0.2 s" where whole seconds would be none.
fn seconds(time: Duration) -> String {
    match time.subsec_millis() {
        0 => format!("{} s", time.as_secs()),
        _ => format!("{:.1} s", time.as_secs_f64()),
    }
}
