//! Parsed deliveries: what happened, according to the sender. Their meaning for stacks belongs to `hook`.

use std::collections::BTreeMap;
use std::fmt;

use crate::image::Reference;
use crate::json;
use crate::signature::Rejection;
use crate::stack::order::Cause;

/// Result of parsing a verified body.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum ParseOutcome {
    /// Something new is there, or was requested.
    Delivery(ParsedDelivery),
    /// Understood, but nothing to act on: a ping, a deletion, a failed run. The reason, for reply and log.
    Ignored(String),
}

/// The content of one delivery.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ParsedDelivery {
    /// The sender's id of the delivery; most senders do not sign it.
    pub(crate) id: Option<String>,
    /// The signed time in the body (Unix seconds), checked.
    pub(crate) time: Option<u64>,
    pub(crate) requested: RequestedChanges,
    /// One or more events.
    pub(crate) events: Vec<Event>,
}

/// Changes that only the body of sender `generic` can request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct RequestedChanges {
    /// Key or Portainer name of a stack.
    pub(crate) stack: Option<String>,
    /// Variables to set.
    pub(crate) set: BTreeMap<String, String>,
    /// Submit even if nothing is newer.
    pub(crate) force: bool,
}

/// One event. `None` or empty: not stated.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Event {
    /// The sender's name of the event.
    pub(crate) name: String,
    /// The reason for an update, as a git stack needs it.
    pub(crate) cause: Cause,
    /// Branches and tags; several only in bodies of sender `generic`.
    pub(crate) refs: Vec<EventRef>,
    /// Owner and name: `acme/web`.
    pub(crate) repository: Option<String>,
    /// Images that are new.
    pub(crate) images: Vec<Reference>,
    pub(crate) paths: Option<ChangedPaths>,
    /// Name and file of the workflow or pipeline that ran.
    pub(crate) workflows: Vec<String>,
    /// The run was started by another run. Such a run acts only if rule `workflows` names it.
    pub(crate) is_chained: bool,
    /// Environment that was deployed to.
    pub(crate) environment: Option<String>,
    pub(crate) is_prerelease: Option<bool>,
}

/// A branch or tag, without `refs/heads/` and `refs/tags/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum EventRef {
    Branch(String),
    /// Tag of a Git repository.
    Tag(String),
    /// Branch, tag or commit: the sender does not say which.
    Unknown(String),
    /// Tag of an image, which is not a Git ref.
    ImageTag(String),
}

impl fmt::Display for EventRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, name) = match self {
            EventRef::Branch(name) => ("branch", name),
            EventRef::Tag(name) | EventRef::ImageTag(name) => ("tag", name),
            EventRef::Unknown(name) => ("ref", name),
        };
        write!(f, "{kind} {}", quoted(name))
    }
}

/// Files that a push changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ChangedPaths {
    /// Paths relative to the repository.
    pub(crate) files: Vec<String>,
    /// The sender is known to list all of them.
    pub(crate) is_complete: bool,
}

/// Reason why a verified body cannot be acted on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ParseError {
    /// 400: the body is not what the hook reads; the mistake, for reply and log.
    Malformed(String),
    /// 401: the time in the body is too far off; for the log.
    Stale(Rejection),
}

impl From<json::NotRead> for ParseError {
    fn from(error: json::NotRead) -> ParseError {
        ParseError::Malformed(format!("the body {error}"))
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ParseError::Malformed(text) => f.write_str(text),
            ParseError::Stale(rejection) => {
                write!(f, "\"time\" in the body: {}", rejection.clone().hint())
            }
        }
    }
}

/// Foreign text for a message: escaped, and cut after 100 characters.
pub(crate) fn quoted(text: &str) -> String {
    const LONGEST: usize = 100;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{:?}…", text.get(..end).unwrap_or_default()),
        None => format!("{text:?}"),
    }
}
