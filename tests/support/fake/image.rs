//! Images, their references, and their registries. A registry host is only a name here: no request leaves the machine.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::engine::EngineStyle;
use super::life::{Behaviour, Healthcheck};
use super::time::Millis;

/// An image id as Docker writes it, `sha256:` and 64 hex digits.
pub(crate) type ImageId = String;

/// An image, in a registry or on an engine.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    /// Docker's id of the image.
    pub(crate) id: ImageId,
    /// The digest of the manifest in a registry.
    pub(crate) digest: String,
    /// The behaviour of its containers.
    pub(crate) behaviour: Behaviour,
    /// The health check built into it.
    pub(crate) healthcheck: Option<Healthcheck>,
    /// The time that its process takes to end after SIGTERM; Docker kills it after the grace period.
    pub(crate) stops_in: Duration,
    /// Lines of its log at each start; one that begins with `stderr: ` goes to standard error.
    pub(crate) log: Vec<String>,
    pub(super) created: Millis,
}

/// `host/repository:tag@digest`, parsed as Docker does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reference {
    pub(super) host: String,
    pub(super) repository: String,
    pub(super) tag: Option<String>,
    pub(super) digest: Option<String>,
}

impl Reference {
    /// Parses a reference; `None` for an invalid reference format.
    pub(super) fn parse(text: &str) -> Option<Reference> {
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => (name, Some(digest.to_owned())),
            None => (text, None),
        };
        let (path, tag) = match name.rsplit_once(':') {
            Some((path, tag)) if !tag.contains('/') => (path, Some(tag.to_owned())),
            _ => (name, None),
        };
        let (host, repository) = match path.split_once('/') {
            Some((host, rest)) if host.contains(['.', ':']) || host == "localhost" => {
                (host, rest.to_owned())
            }
            Some(_) => ("docker.io", path.to_owned()),
            None => ("docker.io", format!("library/{path}")),
        };
        let word = |s: &str| {
            !s.is_empty()
                && s.bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"._-/".contains(&b))
        };
        let valid = word(path.trim_end_matches('/').rsplit('/').next()?)
            && word(&repository)
            && !path.ends_with('/')
            && !repository.bytes().any(|b| b.is_ascii_uppercase())
            && tag.as_deref().is_none_or(word)
            && digest.as_deref().is_none_or(|d| d.starts_with("sha256:"));
        valid.then(|| Reference {
            host: host.to_owned(),
            repository,
            tag,
            digest,
        })
    }

    /// The repository as Docker prints it: without `docker.io/library/`.
    pub(super) fn familiar_repository(&self) -> String {
        match (self.host.as_str(), self.repository.strip_prefix("library/")) {
            ("docker.io", Some(short)) => short.to_owned(),
            ("docker.io", None) => self.repository.clone(),
            (host, _) => format!("{host}/{}", self.repository),
        }
    }

    pub(super) fn tag_or_latest(&self) -> &str {
        self.tag.as_deref().unwrap_or("latest")
    }

    /// Repository and tag as Docker prints them.
    pub(super) fn familiar(&self) -> String {
        match (&self.tag, &self.digest) {
            (None, Some(digest)) => format!("{}@{digest}", self.familiar_repository()),
            _ => format!("{}:{}", self.familiar_repository(), self.tag_or_latest()),
        }
    }
}

/// A failed pull: the status and the text of the daemon's API.
#[derive(Clone, Debug)]
pub(super) struct PullError {
    pub(super) status: u16,
    pub(super) message: String,
}

/// All registries, and Portainer's entries for them.
#[derive(Debug, Default)]
pub(super) struct Registries {
    tags: BTreeMap<String, ImageId>,
    digests: BTreeMap<String, ImageId>,
    down: BTreeSet<String>,
    limited: BTreeSet<String>,
    locked: BTreeMap<String, (String, String)>,
    pub(super) stored: Vec<StoredRegistry>,
    pub(super) style: EngineStyle,
}

/// A registry with credentials, as an administrator entered it in Portainer.
#[derive(Clone, Debug)]
pub(super) struct StoredRegistry {
    pub(super) id: i64,
    /// The name in Portainer.
    pub(super) name: String,
    pub(super) host: String,
    user: String,
    password: String,
}

impl StoredRegistry {
    pub(super) fn user(&self) -> &str {
        &self.user
    }
}

impl Registries {
    pub(super) fn put(&mut self, reference: &Reference, image: &Image) {
        self.tags.insert(reference.familiar(), image.id.clone());
        self.digests.insert(
            format!("{}@{}", reference.familiar_repository(), image.digest),
            image.id.clone(),
        );
    }

    pub(super) fn remove(&mut self, reference: &Reference) {
        self.tags.remove(&reference.familiar());
    }

    pub(super) fn set_down(&mut self, host: &str, down: bool) {
        set(&mut self.down, host, down);
    }

    pub(super) fn set_limited(&mut self, host: &str, limited: bool) {
        set(&mut self.limited, host, limited);
    }

    pub(super) fn lock(&mut self, host: &str, user: &str, password: &str) {
        self.locked
            .insert(host.to_owned(), (user.to_owned(), password.to_owned()));
    }

    pub(super) fn store(&mut self, host: &str, user: &str, password: &str) -> i64 {
        let id = self.stored.last().map_or(1, |last| last.id + 1);
        self.stored.push(StoredRegistry {
            id,
            name: host.to_owned(),
            host: host.to_owned(),
            user: user.to_owned(),
            password: password.to_owned(),
        });
        id
    }

    /// The image behind a reference. `with` is Portainer's entry whose credentials are sent.
    pub(super) fn resolve(
        &self,
        reference: &Reference,
        with: Option<&StoredRegistry>,
    ) -> Result<ImageId, PullError> {
        let Reference {
            host, repository, ..
        } = reference;
        let error = |status, message: String| Err(PullError { status, message });
        let what = reference
            .digest
            .as_deref()
            .unwrap_or_else(|| reference.tag_or_latest());
        let familiar = reference.familiar();
        let scheme = match host.starts_with("127.") && self.style == EngineStyle::Docker20 {
            true => "http",
            false => "https",
        };
        let head = format!("Head \"{scheme}://{host}/v2/{repository}/manifests/{what}\"");
        let resolve = format!("failed to resolve reference \"{familiar}\"");
        let source = format!("initializing source docker://{familiar}");
        if self.down.contains(host) {
            return error(
                500,
                match self.style {
                    EngineStyle::Docker20 => unreachable(host),
                    EngineStyle::Docker27 | EngineStyle::Docker29 => format!(
                        "{resolve}: failed to do request: {head}: dial tcp {host}: connect: connection refused"
                    ),
                    EngineStyle::Podman => format!(
                        "{source}: pinging container registry {host}: Get \"https://{host}/v2/\": dial tcp {host}: connect: connection refused"
                    ),
                },
            );
        }
        let opened = self.locked.get(host).is_none_or(|(user, password)| {
            with.is_some_and(|w| w.host == *host && w.user == *user && w.password == *password)
        });
        if !opened {
            return error(
                500,
                match self.style {
                    EngineStyle::Docker20 => format!("{head}: no basic auth credentials"),
                    EngineStyle::Docker27 | EngineStyle::Docker29 => format!(
                        "{resolve}: pull access denied, repository does not exist or may require authorization: authorization failed: no basic auth credentials"
                    ),
                    EngineStyle::Podman => format!(
                        "{source}: reading manifest {what} in {host}/{repository}: unauthorized: authentication required"
                    ),
                },
            );
        }
        if self.limited.contains(host) {
            return error(
                500,
                "toomanyrequests: You have reached your pull rate limit.".to_owned(),
            );
        }
        let found = match &reference.digest {
            Some(digest) => self
                .digests
                .get(&format!("{}@{digest}", reference.familiar_repository())),
            None => self.tags.get(&reference.familiar()),
        };
        found.cloned().ok_or_else(|| PullError {
            status: 404,
            message: match self.style {
                EngineStyle::Docker20 => {
                    format!("manifest for {familiar} not found: manifest unknown: manifest unknown")
                }
                EngineStyle::Docker27 | EngineStyle::Docker29 => {
                    format!("{resolve}: {familiar}: not found")
                }
                EngineStyle::Podman => format!(
                    "{source}: reading manifest {what} in {host}/{repository}: manifest unknown"
                ),
            },
        })
    }

    /// The entry for a host that Portainer uses for a deployment.
    pub(super) fn stored_for(&self, host: &str) -> Option<&StoredRegistry> {
        self.stored.iter().find(|stored| stored.host == host)
    }
}

fn set(hosts: &mut BTreeSet<String>, host: &str, on: bool) {
    if on {
        hosts.insert(host.to_owned());
    } else {
        hosts.remove(host);
    }
}

/// The daemon's error for a registry that does not answer: public names do not resolve, addresses refuse the connection.
fn unreachable(host: &str) -> String {
    match host {
        "docker.io" => {
            "Get \"https://registry-1.docker.io/v2/\": dial tcp: lookup registry-1.docker.io: no such host".to_owned()
        }
        _ if host.contains(':') => format!("Get \"http://{host}/v2/\": dial tcp {host}: connect: connection refused"),
        _ => format!("Get \"https://{host}/v2/\": dial tcp: lookup {host}: no such host"),
    }
}
