//! What a call to Portainer came to: the judgement over its answers, and the errors with their words. Leaves the calls themselves to the others.

use std::fmt;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::fetch::{self, Answer, Head};
use crate::limits;

/// Why a call came to nothing. The variants are named by what the caller does about it.
#[derive(Debug, Clone)]
pub(crate) enum Error {
    /// Nobody answered, or somebody before Portainer did: nothing has changed, try again.
    Unreachable(Failure),
    /// TLS failed before anything was sent: a person has to look at the certificate.
    Untrusted(Failure),
    /// Something that must not be sent twice may have been sent: follow what becomes of it.
    Interrupted(Failure),
    /// User and password are not taken: a person has to look at them.
    Login(Failure),
    /// Portainer knows who we are and does not allow it, or does not know the API key.
    Denied(Failure),
    /// The object does not exist, or not for us.
    NotFound(Failure),
    /// The stack is being deployed just now: wait for its end.
    Conflict(Failure),
    /// Portainer or the Docker engine refused, with words of their own.
    Refused(Failure),
    /// What answers is no Portainer, or not at this address.
    NotPortainer(Failure),
    /// Portainer waits for its first administrator.
    Locked(Failure),
    /// What is configured cannot be used at all.
    Unusable(Failure),
}

/// What failed, why, and what to try next.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    step: String,
    why: String,
    next: Option<&'static str>,
    said: Option<Said>,
}

/// What Portainer, or the Docker engine behind it, said in an answer that is no success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Said {
    /// The status code.
    pub(crate) status: u16,
    /// `message`, fit to be shown.
    pub(crate) message: String,
    /// `details`, fit to be shown; empty when it says no more than `message`.
    pub(crate) details: String,
    with_details: bool,
}

impl Error {
    /// Whether nothing that could have changed anything has been sent: then the same may be tried again.
    pub(crate) fn nothing_was_sent(&self) -> bool {
        match self {
            Error::Unreachable(_)
            | Error::Untrusted(_)
            | Error::Login(_)
            | Error::Locked(_)
            | Error::Unusable(_)
            | Error::NotPortainer(_) => true,
            Error::Interrupted(_)
            | Error::Denied(_)
            | Error::NotFound(_)
            | Error::Conflict(_)
            | Error::Refused(_) => false,
        }
    }

    /// Portainer's own `message` and `details`, where it said something.
    pub(crate) fn portainer_says(&self) -> Option<(&str, &str)> {
        let said = self.said()?;
        Some((&said.message, &said.details))
    }

    /// What Portainer said, with the status it said it by.
    pub(crate) fn said(&self) -> Option<&Said> {
        self.failure().said.as_ref()
    }

    fn failure(&self) -> &Failure {
        match self {
            Error::Unreachable(failure)
            | Error::Untrusted(failure)
            | Error::Interrupted(failure)
            | Error::Login(failure)
            | Error::Denied(failure)
            | Error::NotFound(failure)
            | Error::Conflict(failure)
            | Error::Refused(failure)
            | Error::NotPortainer(failure)
            | Error::Locked(failure)
            | Error::Unusable(failure) => failure,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let failure = self.failure();
        write!(f, "{}: {}", failure.step, failure.why)?;
        failure.next.map_or(Ok(()), |next| write!(f, "; {next}"))
    }
}

impl Failure {
    pub(super) fn new(step: &str, why: impl Into<String>) -> Failure {
        Failure {
            step: step.to_owned(),
            why: why.into(),
            next: None,
            said: None,
        }
    }

    pub(super) fn next(self, next: &'static str) -> Failure {
        Failure {
            next: Some(next),
            ..self
        }
    }

    /// Whether the words are the Docker engine's, which gives no details, and not Portainer's, which does.
    pub(super) fn is_dockers(&self) -> bool {
        self.said.as_ref().is_some_and(|said| !said.with_details)
    }

    pub(super) fn said(step: &str, said: Said) -> Failure {
        Failure {
            step: step.to_owned(),
            why: said.to_string(),
            next: None,
            said: Some(said),
        }
    }
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Portainer answers {} {:?}", self.status, self.message)?;
        match self.details.is_empty() {
            true => Ok(()),
            false => write!(f, " ({})", self.details),
        }
    }
}

/// Whether a call may be sent again when nobody knows what became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Again {
    /// It changes nothing, or the same once more does no harm.
    Harmless,
    /// It must be followed instead.
    Never,
}

/// A call that got no answer.
pub(super) fn unanswered(step: &str, again: Again, error: fetch::Error) -> Error {
    let failure = Failure::new(step, shown(&error.to_string()));
    match (error, again) {
        (fetch::Error::NotSent(_), _) | (fetch::Error::MaybeSent(_), Again::Harmless) => {
            Error::Unreachable(failure)
        }
        (fetch::Error::Untrusted(_), _) => Error::Untrusted(failure),
        (fetch::Error::Garbled(_), Again::Harmless) => {
            Error::NotPortainer(failure.next("check the address of Portainer"))
        }
        (fetch::Error::MaybeSent(_) | fetch::Error::Garbled(_), Again::Never) => {
            Error::Interrupted(failure)
        }
    }
}

/// What Portainer said, if the answer is one of its own errors.
pub(super) fn said(answer: &Answer) -> Option<Said> {
    #[derive(Deserialize)]
    struct Words {
        message: String,
        details: Option<String>,
    }
    if !may_be_json(&answer.head) {
        return None;
    }
    let words: Words = serde_json::from_slice(&answer.body).ok()?;
    let with_details = words.details.is_some();
    let details = words.details.unwrap_or_default();
    // Portainer's details are often its message once more, with a capital.
    let details = match details.eq_ignore_ascii_case(&words.message) {
        true => String::new(),
        false => shown(&details),
    };
    Some(Said {
        status: answer.head.status,
        message: shown(&words.message),
        details,
        with_details,
    })
}

/// The object in a 2xx answer.
pub(super) fn read<T: DeserializeOwned>(
    step: &str,
    again: Again,
    answer: &Answer,
) -> Result<T, Error> {
    let failure = match may_be_json(&answer.head) {
        true => match serde_json::from_slice(&answer.body) {
            Ok(object) => return Ok(object),
            // The text of serde_json names places and types, never values of ours; strings it found it may quote, so it is not passed on.
            Err(error) => Failure::new(
                step,
                format!(
                    "the answer cannot be read (line {}, column {})",
                    error.line(),
                    error.column()
                ),
            ),
        },
        false => Failure::new(step, format!("the answer is {}", kind(&answer.head))),
    };
    Err(match again {
        Again::Harmless => Error::NotPortainer(failure.next("check the address of Portainer")),
        Again::Never => Error::Interrupted(failure),
    })
}

/// Passes 2xx answers, and makes errors of all others.
pub(super) fn judge(step: &str, again: Again, answer: Answer) -> Result<Answer, Error> {
    match answer.head.status {
        200..=299 => Ok(answer),
        _ => Err(match said(&answer) {
            Some(said) => in_words(step, &answer.head, said),
            None if again == Again::Never => Error::Interrupted(Failure::new(
                step,
                format!(
                    "something answers {} with {}, which is not Portainer",
                    answer.head.status,
                    kind(&answer.head)
                ),
            )),
            None => without_words(step, &answer),
        }),
    }
}

/// An error of Portainer's own.
fn in_words(step: &str, head: &Head, said: Said) -> Error {
    let failure = Failure::said(step, said);
    match head.status {
        _ if locked(head) => Error::Locked(failure.next(LOCKED)),
        401 => Error::Denied(failure.next(
            "Portainer does not know the API key or the user: check the credentials (an unknown key is called a JWT token, too)",
        )),
        403 => Error::Denied(failure.next(
            "the user needs access to the environment and to the stack: share both with them in Portainer",
        )),
        404 => Error::NotFound(failure),
        409 => Error::Conflict(failure),
        _ => Error::Refused(failure),
    }
}

/// An answer that did not come from Portainer's own handlers.
fn without_words(step: &str, answer: &Answer) -> Error {
    let head = &answer.head;
    let status = head.status;
    let plain = Failure::new(step, format!("the answer is {status} with {}", kind(head)));
    match status {
        _ if locked(head) => Error::Locked(plain.next(LOCKED)),
        300..=399 => Error::NotPortainer(
            Failure::new(
                step,
                format!(
                    "it is redirected ({status}) to {}, where nothing was sent",
                    target(head.location.as_deref())
                ),
            )
            .next("set the address to where Portainer itself answers"),
        ),
        502..=504 => Error::Unreachable(Failure::new(
            step,
            format!("a proxy answers {status}: Portainer is not there"),
        )),
        400 if mentions(&answer.body, "HTTPS server") => Error::NotPortainer(
            Failure::new(step, "this port speaks TLS").next("begin the address with https://"),
        ),
        _ if html(answer) => Error::NotPortainer(plain.next("check the address of Portainer")),
        401 | 403 => Error::Denied(plain.next("something before Portainer refuses the request")),
        404 => Error::NotFound(plain),
        _ => Error::Refused(plain),
    }
}

const LOCKED: &str =
    "Portainer waits for its first administrator: restart it, open its page and make one";

fn locked(head: &Head) -> bool {
    head.redirect_reason.as_deref() == Some("AdminInitTimeout")
}

fn may_be_json(head: &Head) -> bool {
    head.content_type
        .as_deref()
        .is_none_or(|kind| kind.to_ascii_lowercase().contains("json"))
}

fn html(answer: &Answer) -> bool {
    kind(&answer.head).contains("html") || answer.body.trim_ascii_start().starts_with(b"<")
}

fn kind(head: &Head) -> String {
    head.content_type
        .as_deref()
        .and_then(|kind| kind.split(';').next())
        .map_or_else(
            || "no content type".to_owned(),
            |kind| shown(&kind.to_ascii_lowercase()),
        )
}

fn mentions(body: &[u8], words: &str) -> bool {
    String::from_utf8_lossy(body).contains(words)
}

/// Where a redirect points: without user, query and fragment, which may be secret.
fn target(location: Option<&str>) -> String {
    let Some(location) = location else {
        return "nowhere".to_owned();
    };
    let location = location.split(['?', '#']).next().unwrap_or_default();
    let location = match location.split_once("://") {
        Some((scheme, rest)) => {
            let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
            let host = host.rsplit('@').next().unwrap_or_default();
            format!("{scheme}://{host}/{path}")
        }
        None => location.to_owned(),
    };
    format!("{:?}", shown(&location))
}

/// Foreign text on one line and of bounded length.
pub(super) fn shown(text: &str) -> String {
    let line: String = text
        .chars()
        .map(|sign| if sign.is_control() { ' ' } else { sign })
        .collect();
    let mut end = line.len().min(limits::FOREIGN_TEXT);
    while !line.is_char_boundary(end) {
        end -= 1;
    }
    line.get(..end).unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests;
