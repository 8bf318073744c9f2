//! What a verified delivery says happened; what that means for stacks belongs to hooks.

mod strict;
mod generic;
mod git;
mod github;
mod gitlab;
mod gitea;
mod bitbucket;
mod pointers;
mod rows;
mod table;

use std::collections::BTreeMap;
use std::fmt;

use crate::image::Reference;
use crate::json;
use crate::limits;
use crate::signature::{Rejection, Verified};
use crate::stack::order::Cause;
use crate::text::string_enum;

string_enum! {
    /// The kind of system that posts.
    Sender:
    /// Anything that signs JSON as stackhook describes it.
    Generic = "generic",
    /// GitHub, GitHub Enterprise, and GHCR through it.
    Github = "github",
    /// GitLab.
    Gitlab = "gitlab",
    /// Gitea.
    Gitea = "gitea",
    /// Forgejo, Codeberg.
    Forgejo = "forgejo",
    /// Gogs.
    Gogs = "gogs",
    /// Bitbucket Cloud and Data Center.
    Bitbucket = "bitbucket",
    /// Azure DevOps service hooks.
    AzureDevops = "azure-devops",
    /// Docker Hub.
    Dockerhub = "dockerhub",
    /// Quay.
    Quay = "quay",
    /// Harbor.
    Harbor = "harbor",
    /// The CNCF registry, once `docker/distribution`.
    Distribution = "distribution",
    /// Azure Container Registry.
    Acr = "acr",
    /// Amazon ECR through EventBridge.
    Ecr = "ecr",
    /// Diun.
    Diun = "diun",
    /// What's Up Docker.
    Wud = "wud",
    /// Any JSON, read by the pointers of `[hook.payload]`.
    Custom = "custom",
}

/// Where the payload of sender `custom` says what (RFC 6901 pointers, `*` = every element), in the order of the file.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Payload {
    /// One event per element; the other pointers then start there.
    pub(crate) each: Option<String>,
    pub(crate) event: Option<String>,
    pub(crate) branch: Option<String>,
    pub(crate) tag: Option<String>,
    pub(crate) repository: Option<String>,
    pub(crate) image: Option<String>,
    pub(crate) commit: Option<String>,
    pub(crate) id: Option<String>,
    /// Pointer and the values of which one must stand there.
    pub(crate) require: Vec<(String, Vec<String>)>,
}

/// What was made of a delivery.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Reading {
    /// Something is new, or was asked for.
    Told(Told),
    /// Understood, and nothing to act on: a ping, a deletion, a failed run. The reason, for reply and log.
    Ignored(String),
}

/// All that one delivery says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Told {
    /// The sender's id of the delivery; for most senders not signed.
    pub(crate) id: Option<String>,
    /// Sender `generic`: when the body says it was made (Unix seconds), checked.
    pub(crate) time: Option<u64>,
    /// Sender `generic`: what is asked for besides.
    pub(crate) wishes: Wishes,
    /// Never empty.
    pub(crate) events: Vec<Event>,
}

/// What only the body of sender `generic` can ask for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Wishes {
    /// Key or Portainer name of a stack.
    pub(crate) stack: Option<String>,
    /// Variables to set.
    pub(crate) set: BTreeMap<String, String>,
    /// Submit even if nothing is newer.
    pub(crate) force: bool,
}

/// One thing that happened. What is `None` or empty was not said.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Event {
    /// As the sender calls it.
    pub(crate) name: String,
    /// What a git stack makes of it.
    pub(crate) cause: Cause,
    /// Bare: `main`.
    pub(crate) branch: Option<String>,
    /// Bare: `v1.2`; of a registry the image's tag.
    pub(crate) tag: Option<String>,
    /// `acme/web`.
    pub(crate) repository: Option<String>,
    /// Images that are new.
    pub(crate) images: Vec<Reference>,
    /// Files that changed.
    pub(crate) paths: Option<Paths>,
}

/// Files that changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Paths {
    /// Relative to the repository.
    pub(crate) files: Vec<String>,
    /// Whether the sender is known to list all of them.
    pub(crate) complete: bool,
}

/// Why a verified delivery cannot be acted on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Unreadable {
    /// 400: the body is not what the hook reads; what is wrong, for reply and log.
    Malformed(String),
    /// 401: the time in the body is too far off; for the log.
    Stale(Rejection),
}

impl Unreadable {
    fn not_read(error: &json::NotRead) -> Unreadable {
        Unreadable::Malformed(format!("the body {error}"))
    }
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unreadable::Malformed(what) => f.write_str(what),
            Unreadable::Stale(rejection) => {
                write!(f, "\"time\" in the body: {}", rejection.clone().hint())
            }
        }
    }
}

/// Reads what a verified delivery says happened. `payload` is for sender `custom`.
///
/// # Errors
/// What is wrong with the body, or its time.
pub(crate) fn read(
    sender: Sender,
    payload: Option<&Payload>,
    verified: &Verified<'_>,
    unix: u64,
) -> Result<Reading, Unreadable> {
    match sender {
        Sender::Generic => generic::read(verified, unix),
        Sender::Github => github::read(verified),
        Sender::Gitlab => gitlab::read(verified),
        Sender::Gitea | Sender::Forgejo | Sender::Gogs => gitea::read(sender, verified),
        Sender::Bitbucket => bitbucket::read(verified),
        Sender::Custom => by_rows(&[payload.map(rows::Row::of).unwrap_or_default()], verified),
        Sender::AzureDevops
        | Sender::Dockerhub
        | Sender::Quay
        | Sender::Harbor
        | Sender::Distribution
        | Sender::Acr
        | Sender::Ecr
        | Sender::Diun
        | Sender::Wud => by_rows(&table::rows(sender), verified),
    }
}

fn by_rows(table: &[rows::Row<'_>], verified: &Verified<'_>) -> Result<Reading, Unreadable> {
    let body = verified
        .json()
        .map_err(|error| Unreadable::not_read(&error))?;
    let mut reading = rows::read(table, &body)?;
    if let (Reading::Told(told), Some(stamp)) = (&mut reading, verified.stamp()) {
        // What was signed beats what is only said.
        told.id = Some(stamp.id.clone());
    }
    Ok(reading)
}

impl Reading {
    /// Of the events that a sender tells of, or of the reason why there are none.
    fn of(id: Option<String>, events: Result<Vec<Event>, String>) -> Reading {
        match events {
            Ok(events) => Reading::Told(Told {
                id,
                time: None,
                wishes: Wishes::default(),
                events,
            }),
            Err(reason) => Reading::Ignored(reason),
        }
    }
}

fn ignored(reason: &str) -> Result<Reading, Unreadable> {
    Ok(Reading::Ignored(reason.to_owned()))
}

/// A header with something fit for an id or a name in it.
fn header(verified: &Verified<'_>, name: &str) -> Option<String> {
    verified
        .headers()
        .get(name)
        .filter(|value| is_id(value))
        .map(str::to_owned)
}

fn is_id(text: &str) -> bool {
    (1..=limits::DELIVERY_ID_MAX).contains(&text.len()) && !text.contains(char::is_control)
}

/// The events that mean "something new is there", acted on where no rule says otherwise; `None`: every delivery.
pub(crate) fn default_events(sender: Sender) -> Option<&'static [&'static str]> {
    Some(match sender {
        Sender::Github => &[
            "push",
            "package",
            "registry_package",
            "workflow_run",
            "release",
            "deployment_status",
        ],
        Sender::Gitlab => &["push", "tag_push", "pipeline", "deployment", "release"],
        Sender::Gitea | Sender::Forgejo | Sender::Gogs => &["push", "release", "package"],
        Sender::Bitbucket => &["repo:push", "repo:refs_changed"],
        Sender::AzureDevops => &["git.push", "build.complete"],
        Sender::Harbor => &["PUSH_ARTIFACT"],
        Sender::Distribution | Sender::Acr => &["push"],
        Sender::Ecr => &["PUSH"],
        Sender::Diun => &["new", "update"],
        Sender::Generic | Sender::Dockerhub | Sender::Quay | Sender::Wud | Sender::Custom => {
            return None;
        }
    })
}

/// Every event that rule `events` can name; `None`: the sender has names of its own, or none.
#[cfg(test)]
pub(crate) fn known_events(sender: Sender) -> Option<Vec<&'static str>> {
    match sender {
        Sender::Generic => Some(generic::EVENTS.to_vec()),
        Sender::Github | Sender::Gitea | Sender::Forgejo | Sender::Gogs => {
            default_events(sender).map(|events| [events, &["create"]].concat())
        }
        _ => default_events(sender).map(<[_]>::to_vec),
    }
}

/// Foreign text in a message: escaped, and cut where it gets long.
pub(crate) fn quoted(text: &str) -> String {
    const LONGEST: usize = 100;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{:?}…", text.get(..end).unwrap_or_default()),
        None => format!("{text:?}"),
    }
}

#[cfg(test)]
mod tests;
