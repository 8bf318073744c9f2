//! Why a call to Portainer came to nothing, and the words for it: the step, Portainer's own words, the next thing to try.

use std::fmt;

use super::pull_failure::PullFailure;

/// Why a call came to nothing. The variants are named by what the caller does about it.
#[derive(Debug, Clone)]
pub(crate) enum Error {
    /// Nobody answered, or somebody before Portainer did: nothing has changed, try again.
    Unreachable(Failure),
    /// Portainer runs and does not answer: it holds requests back while another deployment locks its database. Wait.
    Busy(Failure),
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
    pull: Option<PullFailure>,
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
    pub(super) with_details: bool,
}

impl Error {
    /// Whether nothing that could have changed anything has been sent: then the same may be tried again.
    pub(crate) fn nothing_was_sent(&self) -> bool {
        match self {
            Error::Unreachable(_)
            | Error::Busy(_)
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

    /// Whether the same call may succeed later without a change of anything.
    pub(crate) fn is_temporary(&self) -> bool {
        matches!(self, Error::Busy(_)) || self.is_away()
    }

    /// Whether Portainer, the environment or its engine cannot be reached at the moment: the same look may succeed later.
    pub(crate) fn is_away(&self) -> bool {
        match self {
            Error::Unreachable(_) => true,
            Error::Refused(failure) => Error::tells_of_the_engine(&failure.why),
            _ => false,
        }
    }

    /// Whether a text says that the Docker engine or the agent of its environment does not answer.
    pub(crate) fn tells_of_the_engine(text: &str) -> bool {
        const TEXTS: [&str; 6] = [
            "Cannot connect to the Docker daemon",
            "Unable to proxy the request via the Docker socket",
            "Unable to proxy the request to",
            "error during connect",
            "Is the docker daemon running",
            "unable to reach the agent",
        ];
        let text = text.to_ascii_lowercase();
        TEXTS
            .iter()
            .any(|known| text.contains(&known.to_ascii_lowercase()))
    }

    /// Whether the connection was closed in the middle of an exchange, as the end of a process on the way does; a proxy that gave
    /// up waiting answers instead.
    pub(crate) fn connection_was_closed(&self) -> bool {
        match self {
            Error::Interrupted(failure) => {
                failure.said.is_none()
                    && !failure.why.starts_with("something answers")
                    && !failure.why.starts_with("no answer within")
            }
            _ => false,
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

    /// The reason for which a registry refused a pull, where it is known.
    pub(crate) fn pull_failure(&self) -> Option<PullFailure> {
        self.failure().pull
    }

    fn failure(&self) -> &Failure {
        match self {
            Error::Unreachable(failure)
            | Error::Busy(failure)
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
            pull: None,
        }
    }

    pub(super) fn next(self, next: &'static str) -> Failure {
        Failure {
            next: Some(next),
            ..self
        }
    }

    pub(super) fn why(&self) -> &str {
        &self.why
    }

    /// Whether the words are the Docker engine's, which gives no details, and not Portainer's, which does.
    pub(super) fn is_dockers(&self) -> bool {
        self.said.as_ref().is_some_and(|said| !said.with_details)
    }

    /// A failed pull, with its reason and next step where the message is known.
    pub(super) fn of_registry(self) -> Failure {
        let pull = PullFailure::classify(&self.why);
        Failure {
            next: pull.map(PullFailure::next_step).or(self.next),
            pull,
            ..self
        }
    }

    pub(super) fn said(step: &str, said: Said) -> Failure {
        Failure {
            step: step.to_owned(),
            why: said.to_string(),
            next: None,
            said: Some(said),
            pull: None,
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
