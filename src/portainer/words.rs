//! The judgement over what answers: Portainer's own words, somebody before Portainer, or nobody. Leaves the calls themselves to the others.

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::error::{Error, Failure, Said};
use crate::fetch::{self, Answer, Head};
use crate::limits;

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
        (fetch::Error::NotSent(_), _) => {
            Error::Unreachable(failure.next("check the address of Portainer, and whether it runs"))
        }
        (fetch::Error::MaybeSent(_) | fetch::Error::TimedOut(_), Again::Harmless) => {
            Error::Unreachable(failure)
        }
        (fetch::Error::Untrusted(_), _) => Error::Untrusted(failure),
        (fetch::Error::Garbled(_), Again::Harmless) => {
            Error::NotPortainer(failure.next("check the address of Portainer"))
        }
        (
            fetch::Error::MaybeSent(_) | fetch::Error::TimedOut(_) | fetch::Error::Garbled(_),
            Again::Never,
        ) => Error::Interrupted(failure),
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
    let read = match may_be_json(&answer.head) {
        true => serde_json::from_slice(&answer.body).map_err(Some),
        false => Err(None),
    };
    read.map_err(|error| unreadable(step, again, &answer.head, error))
}

/// Why an answer is not read: it is no JSON, or not what was asked for. Apart from the above, so that it is there once for all types.
fn unreadable(step: &str, again: Again, head: &Head, error: Option<serde_json::Error>) -> Error {
    let failure = match error {
        // The text of serde_json names places and types, never values of ours; strings it found it may quote, so it is not passed on.
        Some(error) => Failure::new(
            step,
            format!(
                "the answer cannot be read (line {}, column {})",
                error.line(),
                error.column()
            ),
        ),
        None => Failure::new(step, format!("the answer is {}", kind(head))),
    };
    match again {
        Again::Harmless => Error::NotPortainer(failure.next("check the address of Portainer")),
        Again::Never => Error::Interrupted(failure),
    }
}

/// Passes 2xx answers, and makes errors of all others.
pub(super) fn judge(step: &str, again: Again, answer: Answer) -> Result<Answer, Error> {
    match answer.head.status {
        200..=299 => Ok(answer),
        _ => Err(
            match said(&answer).filter(|said| again == Again::Harmless || !is_a_proxys(said)) {
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
            },
        ),
    }
}

/// Gateways speak JSON with a `message` too when they give up waiting; Portainer's errors have `details` beside it.
fn is_a_proxys(said: &Said) -> bool {
    !said.with_details && matches!(said.status, 502..=504)
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
        _ => Error::Refused(match known_refusal(&failure) {
            Some(next) => failure.next(next),
            None => failure,
        }),
    }
}

/// The next step for refusals whose text hides the cause.
fn known_refusal(failure: &Failure) -> Option<&'static str> {
    let says = |words| failure.why().contains(words);
    if says("stack config file is invalid") && !says("for non administrator users") {
        return Some(
            "Portainer 2.38 and 2.39 check the file of a standard user with an old parser that rejects depends_on in long form and ${X:?}: update Portainer, or use an administrator's API key",
        );
    }
    if says("not enough permissions") || says("Stack is not created from git") {
        return Some(
            "since Portainer 2.43 a git stack is redeployed only for the owner of its git Source or an administrator: let this user own the Source, or use an administrator's API key",
        );
    }
    None
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
        // Go's words, and those of nginx.
        400 if speaks_tls(&answer.body) => Error::NotPortainer(
            Failure::new(step, "this port speaks TLS").next("begin the address with https://"),
        ),
        _ if html(answer) => Error::NotPortainer(plain.next("check the address of Portainer")),
        401 | 403 => Error::Denied(plain.next("something before Portainer refuses the request")),
        404 => Error::NotFound(plain.next("check the address of Portainer")),
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

/// In the words of Go, which Portainer is made of, and of nginx.
fn speaks_tls(body: &[u8]) -> bool {
    let body = String::from_utf8_lossy(body);
    body.contains("HTTPS server") || body.contains("HTTPS port")
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
