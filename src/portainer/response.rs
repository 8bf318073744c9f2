//! Classifies every answer to a call: from Portainer itself, from a proxy in front of it, from the Docker engine behind it, or none at all.

use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{DeserializeOwned, Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::pull::PullFailure;
use crate::fetch::{FetchError, FetchedAnswer, Method, OutgoingRequest, ResponseHead};
use crate::limits;

/// The reason why a call failed. The variants are named by what the caller does about it.
#[derive(Debug, Clone)]
pub(crate) enum PortainerError {
    /// No answer, or one of a proxy in front of Portainer: nothing has changed, try again.
    Unreachable(CallFailure),
    /// Portainer runs but does not answer, as it does while another deployment locks its database: wait.
    Busy(CallFailure),
    /// TLS failed before anything was sent: the operator has to check the certificate.
    Untrusted(CallFailure),
    /// A request that must not be sent twice may have been sent: follow the stack instead.
    Interrupted(CallFailure),
    /// Portainer rejects the login: the operator has to correct it.
    Login(CallFailure),
    /// Portainer does not know the API key, or the user lacks a right.
    Denied(CallFailure),
    /// The object does not exist or is not visible to this user.
    NotFound(CallFailure),
    /// The stack is being deployed: wait until that has finished.
    Conflict(CallFailure),
    /// Portainer or the Docker engine rejects the call with a message of its own.
    Refused(CallFailure),
    /// The answer does not come from Portainer, or the address is wrong.
    NotPortainer(CallFailure),
    /// Portainer waits for its first administrator.
    Locked(CallFailure),
    /// The configuration cannot be used at all.
    Unusable(CallFailure),
}

/// A failed call: the step, the reason, and the next thing to try.
#[derive(Debug, Clone)]
pub(crate) struct CallFailure {
    step: String,
    why: String,
    next: Option<&'static str>,
    message: Option<PortainerMessage>,
    pull: Option<PullFailure>,
    connection_closed: bool,
}

/// The error message of Portainer, or of the Docker engine behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PortainerMessage {
    /// The status code.
    pub(crate) status: u16,
    /// `message`, on one line and of bounded length.
    pub(crate) message: String,
    /// `details`, on one line and of bounded length; empty if it only repeats `message`.
    pub(crate) details: String,
    has_details: bool,
}

impl PortainerError {
    /// Tells whether no request that could have changed anything has been sent, so that the same call may be repeated.
    pub(crate) fn nothing_was_sent(&self) -> bool {
        match self {
            PortainerError::Unreachable(_)
            | PortainerError::Busy(_)
            | PortainerError::Untrusted(_)
            | PortainerError::Login(_)
            | PortainerError::Locked(_)
            | PortainerError::Unusable(_)
            | PortainerError::NotPortainer(_) => true,
            PortainerError::Interrupted(_)
            | PortainerError::Denied(_)
            | PortainerError::NotFound(_)
            | PortainerError::Conflict(_)
            | PortainerError::Refused(_) => false,
        }
    }

    /// Tells whether the same call may succeed later without any intervention.
    pub(crate) fn is_temporary(&self) -> bool {
        matches!(self, PortainerError::Busy(_)) || self.is_away()
    }

    /// Tells whether Portainer, the environment or its engine is unreachable at the moment: the same call may succeed later.
    pub(crate) fn is_away(&self) -> bool {
        match self {
            PortainerError::Unreachable(_) => true,
            PortainerError::Refused(failure) => says_engine_is_away(&failure.why),
            _ => false,
        }
    }

    /// Tells whether the connection was closed in the middle of an exchange, as when a process on the way ends; a proxy that
    /// gives up waiting answers instead.
    pub(crate) fn connection_was_closed(&self) -> bool {
        matches!(self, PortainerError::Interrupted(failure) if failure.connection_closed)
    }

    /// Portainer's own `message` and `details`, if it answered with an error of its own.
    pub(crate) fn portainer_says(&self) -> Option<(&str, &str)> {
        let message = self.message()?;
        Some((&message.message, &message.details))
    }

    /// The error message of Portainer or of the engine behind it, with its status.
    pub(crate) fn message(&self) -> Option<&PortainerMessage> {
        self.failure().message.as_ref()
    }

    /// The reason for which a registry refused a pull, if its message is known.
    pub(crate) fn pull_failure(&self) -> Option<PullFailure> {
        self.failure().pull
    }

    fn failure(&self) -> &CallFailure {
        match self {
            PortainerError::Unreachable(failure)
            | PortainerError::Busy(failure)
            | PortainerError::Untrusted(failure)
            | PortainerError::Interrupted(failure)
            | PortainerError::Login(failure)
            | PortainerError::Denied(failure)
            | PortainerError::NotFound(failure)
            | PortainerError::Conflict(failure)
            | PortainerError::Refused(failure)
            | PortainerError::NotPortainer(failure)
            | PortainerError::Locked(failure)
            | PortainerError::Unusable(failure) => failure,
        }
    }

    /// Classifies the engine's refusal of a pull by the registry's message. Errors of Portainer itself stay as they are.
    pub(super) fn of_registry(self) -> PortainerError {
        match self {
            // Newer engines pass the registry's 401 and 403 on.
            PortainerError::Refused(failure) | PortainerError::Denied(failure)
                if failure.comes_from_docker() =>
            {
                PortainerError::Refused(failure.of_registry())
            }
            PortainerError::NotFound(failure) if failure.comes_from_docker() => {
                PortainerError::NotFound(failure.of_registry())
            }
            other => other,
        }
    }
}

/// Tells whether a message says that the Docker engine, its swarm, or the agent of its environment does not answer.
pub(crate) fn says_engine_is_away(message: &str) -> bool {
    const TEXTS: [&str; 9] = [
        "cannot connect to the docker daemon",
        "unable to proxy the request via the docker socket",
        "unable to proxy the request to",
        "error during connect",
        "is the docker daemon running",
        "unable to reach the agent",
        "unable to get the active tunnel",
        "unable to open the tunnel",
        "the swarm does not have a leader",
    ];
    let message = message.to_ascii_lowercase();
    TEXTS.iter().any(|known| message.contains(known))
}

impl fmt::Display for PortainerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let failure = self.failure();
        write!(f, "{}: {}", failure.step, failure.why)?;
        failure.next.map_or(Ok(()), |next| write!(f, "; {next}"))
    }
}

impl CallFailure {
    pub(super) fn new(step: &str, why: impl Into<String>) -> CallFailure {
        CallFailure {
            step: step.to_owned(),
            why: why.into(),
            next: None,
            message: None,
            pull: None,
            connection_closed: false,
        }
    }

    pub(super) fn with_message(step: &str, message: PortainerMessage) -> CallFailure {
        CallFailure {
            message: Some(message.clone()),
            ..CallFailure::new(step, message.to_string())
        }
    }

    pub(super) fn next(self, next: &'static str) -> CallFailure {
        CallFailure {
            next: Some(next),
            ..self
        }
    }

    /// Tells whether the message is the Docker engine's, which has no `details`, and not Portainer's, which has.
    pub(super) fn comes_from_docker(&self) -> bool {
        let message = self.message.as_ref();
        message.is_some_and(|message| !message.has_details)
    }

    /// A failed pull, with its reason and next step if the message is known.
    pub(super) fn of_registry(self) -> CallFailure {
        let pull = PullFailure::classify(&self.why);
        CallFailure {
            next: pull.map(PullFailure::next_step).or(self.next),
            pull,
            ..self
        }
    }
}

impl fmt::Display for PortainerMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Portainer answers {} {:?}", self.status, self.message)?;
        match self.details.is_empty() {
            true => Ok(()),
            false => write!(f, " ({})", self.details),
        }
    }
}

/// A PUT starts a deployment; every other call may be sent twice without harm.
pub(super) fn is_repeatable(request: &OutgoingRequest) -> bool {
    request.method != Method::Put
}

/// The error of a call that got no complete answer.
pub(super) fn no_response(step: &str, is_repeatable: bool, error: FetchError) -> PortainerError {
    let failure = CallFailure {
        connection_closed: matches!(error, FetchError::MaybeSent(_) | FetchError::Garbled(_)),
        ..CallFailure::new(step, one_line(&error.to_string()))
    };
    match error {
        FetchError::NotSent(_) => PortainerError::Unreachable(
            failure.next("check the address of Portainer, and whether it runs"),
        ),
        FetchError::Untrusted(_) => PortainerError::Untrusted(failure),
        _ if !is_repeatable => PortainerError::Interrupted(failure),
        FetchError::MaybeSent(_) | FetchError::TimedOut(_) => PortainerError::Unreachable(failure),
        FetchError::Garbled(_) => PortainerError::NotPortainer(failure.next(CHECK_ADDRESS)),
    }
}

/// The message of an answer that is an error of Portainer or of the Docker engine.
pub(super) fn error_message(answer: &FetchedAnswer) -> Option<PortainerMessage> {
    #[derive(Deserialize)]
    struct ErrorBody {
        message: String,
        details: Option<String>,
    }
    if !may_be_json(&answer.head) {
        return None;
    }
    let body: ErrorBody = serde_json::from_slice(&answer.body).ok()?;
    let has_details = body.details.is_some();
    // Portainer's details often repeat the message with a capital.
    let details = body
        .details
        .filter(|details| !details.eq_ignore_ascii_case(&body.message))
        .map_or_else(String::new, |details| one_line(&details));
    Some(PortainerMessage {
        status: answer.head.status,
        message: one_line(&body.message),
        details,
        has_details,
    })
}

/// Parses the JSON of a 2xx answer.
pub(super) fn parse<T: DeserializeOwned>(
    step: &str,
    is_repeatable: bool,
    answer: &FetchedAnswer,
) -> Result<T, PortainerError> {
    ENTRIES_LEFT.set(limits::ANSWER_ENTRIES);
    let why = match may_be_json(&answer.head) {
        true => match serde_json::from_slice(&answer.body) {
            Ok(value) => return Ok(value),
            Err(_) if ENTRIES_LEFT.get() == 0 => format!(
                "the answer has more than {} list entries",
                limits::ANSWER_ENTRIES
            ),
            // serde_json's own message may quote strings that it found, so only the position is shown.
            Err(error) => format!(
                "the answer cannot be read (line {}, column {})",
                error.line(),
                error.column()
            ),
        },
        false => format!("the answer is {}", content_type(&answer.head)),
    };
    let failure = CallFailure::new(step, why);
    let next = match is_html(answer) {
        true => CHECK_GATEWAY,
        false => CHECK_ADDRESS,
    };
    Err(match is_repeatable {
        true => PortainerError::NotPortainer(failure.next(next)),
        false => PortainerError::Interrupted(failure),
    })
}

/// Passes 2xx answers on and turns all others into errors.
pub(super) fn classify(
    step: &str,
    request: &OutgoingRequest,
    answer: FetchedAnswer,
) -> Result<FetchedAnswer, PortainerError> {
    let status = answer.head.status;
    if (200..300).contains(&status) {
        return Ok(answer);
    }
    // A gateway that gives up waiting may answer in JSON with a `message`, too. Portainer's errors have `details` beside it; Docker's
    // have not, but it answers 503 and never 502 or 504.
    let is_dockers = status == 503 && request.url.contains("/docker/");
    let of_gateway = |message: &PortainerMessage| {
        !message.has_details && is_gateway_error(status) && !is_dockers
    };
    Err(match error_message(&answer) {
        Some(message) if !of_gateway(&message) => portainer_error(step, &answer.head, message),
        message if is_repeatable(request) => foreign_error(step, &answer, message),
        _ => PortainerError::Interrupted(CallFailure::new(
            step,
            format!(
                "something answers {status} with {}, which is not Portainer",
                content_type(&answer.head)
            ),
        )),
    })
}

/// An error with a message of Portainer or the Docker engine.
fn portainer_error(step: &str, head: &ResponseHead, message: PortainerMessage) -> PortainerError {
    let failure = CallFailure::with_message(step, message);
    match head.status {
        _ if is_locked(head) => PortainerError::Locked(failure.next(LOCKED)),
        401 => PortainerError::Denied(failure.next(
            "Portainer does not know the API key or the user: check the credentials (an unknown key is called a JWT token, too)",
        )),
        403 => PortainerError::Denied(failure.next(
            "the user needs access to the environment and to the stack: share both with them in Portainer",
        )),
        404 => PortainerError::NotFound(failure),
        409 => PortainerError::Conflict(failure),
        _ => PortainerError::Refused(CallFailure { next: known_cause(&failure.why), ..failure }),
    }
}

/// The next step for refusals whose message hides the cause.
fn known_cause(why: &str) -> Option<&'static str> {
    if says_engine_is_away(why) {
        return Some("check the Docker host of the environment, and its agent if it has one");
    }
    if why.contains("stack config file is invalid") && !why.contains("for non administrator users")
    {
        return Some(
            "Portainer 2.38 and 2.39 check the file of a standard user with an old parser that rejects depends_on in long form and ${X:?}: update Portainer, or use an administrator's API key",
        );
    }
    (why.contains("not enough permissions") || why.contains("Stack is not created from git")).then_some(
        "since Portainer 2.43 a git stack is redeployed only for the owner of its git Source or an administrator: let this user own the Source, or use an administrator's API key",
    )
}

/// An error that does not come from Portainer's own handlers.
fn foreign_error(
    step: &str,
    answer: &FetchedAnswer,
    message: Option<PortainerMessage>,
) -> PortainerError {
    let head = &answer.head;
    let status = head.status;
    let failure = |why: String| CallFailure::new(step, why);
    let plain = failure(format!(
        "the answer is {status} with {}",
        content_type(head)
    ));
    match status {
        _ if is_locked(head) => PortainerError::Locked(plain.next(LOCKED)),
        300..=399 => {
            let target = redirect_target(head.location.as_deref());
            PortainerError::NotPortainer(
                failure(format!(
                    "it is redirected ({status}) to {target}, where nothing was sent"
                ))
                .next("set the address to where Portainer itself answers; a gateway that wants a sign-in needs [portainer] headers"),
            )
        }
        _ if is_gateway_error(status) => {
            let message = message.map(|message| format!(" {:?}", message.message));
            let message = message.unwrap_or_default();
            PortainerError::Unreachable(failure(format!(
                "a proxy answers {status}{message}: Portainer is not there"
            )))
        }
        400 if is_tls_port(&answer.body) => PortainerError::NotPortainer(
            failure("this port speaks TLS".to_owned()).next("begin the address with https://"),
        ),
        401 | 403 | 407 => PortainerError::Denied(plain.next(
            "something before Portainer refuses the request: if it is a gateway, set the headers that it needs with [portainer] headers",
        )),
        _ if is_html(answer) => PortainerError::NotPortainer(plain.next(CHECK_GATEWAY)),
        404 => PortainerError::NotFound(plain.next(CHECK_ADDRESS)),
        _ => PortainerError::Refused(plain),
    }
}

const CHECK_ADDRESS: &str = "check the address of Portainer";
const CHECK_GATEWAY: &str =
    "check the address of Portainer; a gateway that wants a sign-in needs [portainer] headers";
const LOCKED: &str =
    "Portainer waits for its first administrator: restart it, open its page and make one";

/// Tells whether a gateway reports by this status that it got no answer from Portainer; 520 to 527 and 530 are Cloudflare's.
fn is_gateway_error(status: u16) -> bool {
    matches!(status, 502..=504 | 520..=527 | 530)
}

fn is_locked(head: &ResponseHead) -> bool {
    head.redirect_reason.as_deref() == Some("AdminInitTimeout")
}

fn may_be_json(head: &ResponseHead) -> bool {
    let content_type = head.content_type.as_deref();
    content_type.is_none_or(|content_type| content_type.to_ascii_lowercase().contains("json"))
}

fn is_html(answer: &FetchedAnswer) -> bool {
    content_type(&answer.head).contains("html") || answer.body.trim_ascii_start().starts_with(b"<")
}

fn content_type(head: &ResponseHead) -> String {
    let content_type = head.content_type.as_deref();
    content_type
        .and_then(|content_type| content_type.split(';').next())
        .map_or_else(
            || "no content type".to_owned(),
            |content_type| one_line(&content_type.to_ascii_lowercase()),
        )
}

/// Recognizes the answer of a TLS port to plain HTTP, as Go (which Portainer is written in) and nginx word it.
fn is_tls_port(body: &[u8]) -> bool {
    let body = String::from_utf8_lossy(body);
    body.contains("HTTPS server") || body.contains("HTTPS port")
}

/// The target of a redirect without user, query and fragment, which may be secret.
fn redirect_target(location: Option<&str>) -> String {
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
    format!("{:?}", one_line(&location))
}

/// Foreign text on one line and of bounded length.
pub(super) fn one_line(text: &str) -> String {
    let mut line = text.replace(|c: char| c.is_control(), " ");
    let mut end = line.len().min(limits::FOREIGN_TEXT);
    while !line.is_char_boundary(end) {
        end -= 1;
    }
    line.truncate(end);
    line.trim().to_owned()
}

/// Deserializes `null`, which Portainer and Docker write for an empty value, as the default.
pub(super) fn nullable<'de, D, T>(from: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

thread_local! {
    /// The list entries that the answer being parsed may still have: an entry of a few bytes takes some hundred bytes of memory.
    static ENTRIES_LEFT: Cell<usize> = const { Cell::new(limits::ANSWER_ENTRIES) };
}

/// A list in an answer, with a limit on the entries of all lists in it.
#[derive(Deserialize)]
#[serde(transparent, bound = "T: Deserialize<'de>")]
pub(super) struct Entries<T>(#[serde(deserialize_with = "entries")] pub(super) Vec<T>);

/// Deserializes a list, or `null` for an empty one.
pub(super) fn entries<'de, D, T>(from: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    struct EntriesVisitor<T>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for EntriesVisitor<T> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list")
        }

        fn visit_unit<E>(self) -> Result<Vec<T>, E> {
            Ok(Vec::new())
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<T>, A::Error> {
            let mut entries = Vec::new();
            while let Some(entry) = list.next_element()? {
                let left = ENTRIES_LEFT.get().saturating_sub(1);
                ENTRIES_LEFT.set(left);
                if left == 0 {
                    return Err(A::Error::custom("too many list entries"));
                }
                entries.push(entry);
            }
            Ok(entries)
        }
    }
    from.deserialize_any(EntriesVisitor(PhantomData))
}

#[cfg(test)]
mod tests;
