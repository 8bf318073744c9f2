//! What the Docker engine says of containers and images, as far as somebody reads it. Leaves it to others whether they are well.

mod spelled;

use std::time::Duration;

use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};

use super::error::{Error, Failure};
use super::wire::nullable;
use crate::image::Reference;
pub(super) use spelled::{Distribution, Inspection};

/// An image's id: 12 to 64 hexadecimal digits, with or without `sha256:`. A compromised Docker host may report anything, and
/// the id becomes part of a URL whose `..` a proxy resolves: into another environment, or another call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ImageId(String);

/// A container's id, of the same form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ContainerId(String);

impl ImageId {
    /// Checks an id that a Docker host reported; `step` begins the error.
    pub(super) fn parse(step: &str, text: &str) -> Result<ImageId, Error> {
        match is_id(text) {
            true => Ok(ImageId(text.to_owned())),
            false => Err(not_an_id(step, "image", text)),
        }
    }

    /// The id as one segment of a path.
    pub(super) fn segment(&self) -> &str {
        &self.0
    }
}

impl ContainerId {
    /// Checks an id that a Docker host reported; `step` begins the error.
    pub(super) fn parse(step: &str, text: &str) -> Result<ContainerId, Error> {
        match is_id(text) {
            true => Ok(ContainerId(text.to_owned())),
            false => Err(not_an_id(step, "container", text)),
        }
    }

    /// The id as one segment of a path.
    pub(super) fn segment(&self) -> &str {
        &self.0
    }
}

/// Checks the ids of listed containers; an image id may be missing.
pub(super) fn check_ids(step: &str, list: &[Listed]) -> Result<(), Error> {
    for listed in list {
        ContainerId::parse(step, &listed.id)?;
        if !listed.image_id.is_empty() {
            ImageId::parse(step, &listed.image_id)?;
        }
    }
    Ok(())
}

/// An id or a reference as part of a path. A valid reference holds no `..`, so its slashes are harmless.
pub(super) fn image_segment(step: &str, name: &str) -> Result<String, Error> {
    match is_id(name) || Reference::parse(name).is_ok() {
        true => Ok(name.to_owned()),
        false => Err(not_an_id(step, "image", name)),
    }
}

fn is_id(text: &str) -> bool {
    let digits = text.strip_prefix("sha256:").unwrap_or(text);
    (12..=64).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn not_an_id(step: &str, what: &str, text: &str) -> Error {
    let shown: String = super::words::shown(text).chars().take(80).collect();
    Error::Refused(
        Failure::new(
            step,
            format!("the Docker host reports the {what} id {shown:?}, which is not a valid id"),
        )
        .next("check this Docker host: it may be compromised"),
    )
}

/// The containers of one stack.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Containers {
    /// All of them, also those that do not run, as far as we may see them (contract 7).
    pub(crate) list: Vec<Listed>,
    /// `Date` of the answer, in seconds since 1970: the clock that the containers' times are compared with.
    pub(crate) date: Option<u64>,
}

/// A container in a list.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Listed {
    /// Docker's id.
    pub(crate) id: String,
    /// The id of the image it runs.
    #[serde(default, rename = "ImageID", deserialize_with = "nullable")]
    pub(crate) image_id: String,
    /// Docker's word: `created`, `running`, `restarting`, `exited`, ….
    #[serde(default, deserialize_with = "nullable")]
    pub(crate) state: String,
    /// What compose wrote on it.
    #[serde(default, deserialize_with = "nullable")]
    pub(crate) labels: Labels,
}

/// What compose writes on its containers, as far as it is read; all of it may be empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Labels {
    /// The project: for Portainer the stack's name.
    #[serde(rename = "com.docker.compose.project", deserialize_with = "nullable")]
    pub(crate) project: String,
    /// The service in the compose file.
    #[serde(rename = "com.docker.compose.service", deserialize_with = "nullable")]
    pub(crate) service: String,
    /// `True` for `docker compose run`.
    #[serde(rename = "com.docker.compose.oneoff", deserialize_with = "nullable")]
    one_off: String,
    /// What its service depends on, as compose writes it: `db:service_healthy:false,…`.
    #[serde(
        rename = "com.docker.compose.depends_on",
        deserialize_with = "nullable"
    )]
    pub(crate) depends_on: String,
    /// The container that it is about to replace; stays on it afterwards.
    #[serde(rename = "com.docker.compose.replace", deserialize_with = "nullable")]
    pub(crate) replace: String,
}

impl Labels {
    /// Whether a person started it by `docker compose run`: no part of the stack.
    pub(crate) fn is_one_off(&self) -> bool {
        self.one_off.eq_ignore_ascii_case("true")
    }
}

/// A container, looked at closely.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Inspected {
    /// Docker's id.
    pub(crate) id: String,
    /// The id of the image it runs.
    pub(crate) image_id: String,
    /// The reference it was made from.
    pub(crate) reference: String,
    /// Docker's word: `created`, `running`, `restarting`, `exited`, ….
    pub(crate) state: String,
    /// The code of its last end.
    pub(crate) exit_code: i64,
    /// `starting`, `healthy`, `unhealthy`; absent without a health check.
    pub(crate) health: Option<String>,
    /// How often the engine started it again.
    pub(crate) restart_count: u64,
    /// When it was last started, as Docker writes it.
    pub(crate) started_at: String,
    /// `no`, `on-failure`, `always`, `unless-stopped`.
    pub(crate) restart_policy: String,
    /// Its health check, its own or its image's.
    pub(crate) healthcheck: Option<Healthcheck>,
}

/// The times of a health check; where none are set, Docker's defaults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Healthcheck {
    /// Between two checks; 30 s.
    pub(crate) interval: Duration,
    /// How long one check may take; 30 s.
    pub(crate) timeout: Duration,
    /// How long failures do not count after a start; none.
    pub(crate) start_period: Duration,
    /// So many failures in a row are "unhealthy"; 3.
    pub(crate) retries: u32,
}

impl Healthcheck {
    /// How long it may take from a start until it has said something for certain.
    pub(crate) fn takes(&self) -> Duration {
        let rounds = (self.interval.saturating_add(self.timeout)).saturating_mul(self.retries);
        self.start_period.saturating_add(rounds)
    }
}

/// An image that is on the host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct LocalImage {
    /// Its id: the digest of its configuration or, in the containerd image store, of its index or manifest.
    pub(crate) id: String,
    /// The references that name this image now.
    #[serde(deserialize_with = "nullable")]
    pub(crate) repo_tags: Vec<String>,
    /// Repositories with digests. Only the graph driver store leaves this empty for images that were built on the host.
    #[serde(deserialize_with = "nullable")]
    pub(crate) repo_digests: Vec<String>,
    /// The time at which it was built, as Docker writes it; empty if unknown.
    #[serde(deserialize_with = "nullable")]
    pub(crate) created: String,
    /// The operating system it is built for.
    #[serde(deserialize_with = "nullable")]
    os: String,
    /// The processor it is built for.
    #[serde(deserialize_with = "nullable")]
    architecture: String,
    /// The variant of the processor (`v7`); mostly empty.
    #[serde(deserialize_with = "nullable")]
    variant: String,
    /// Present only in the containerd image store.
    #[serde(deserialize_with = "is_present")]
    descriptor: bool,
    /// The image's history in the containerd image store, from API 1.53 on.
    identity: Option<Identity>,
    /// Whether the engine's API (1.53 or later) fills `Identity`.
    #[serde(skip)]
    pub(super) knows_identity: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Identity {
    #[serde(deserialize_with = "nullable")]
    pull: Vec<PulledFrom>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct PulledFrom {
    /// Registry and path; the port is missing.
    #[serde(deserialize_with = "nullable")]
    repository: String,
}

/// The way an image came to the host, seen from one reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ImageOrigin {
    /// It was pulled from the reference's repository.
    Pulled,
    /// It was built, imported or tagged on the host.
    Local,
    /// The engine does not record it.
    Unknown,
}

impl LocalImage {
    /// Tells whether the image was pulled from the repository of `reference`.
    pub(crate) fn origin(&self, reference: &Reference) -> ImageOrigin {
        let repository = reference.repository();
        let pulled = match (&self.identity, self.descriptor) {
            (_, false) => self.repo_digests.iter().any(|digest| {
                Reference::parse(digest).is_ok_and(|one| one.repository() == repository)
            }),
            (None, true) if !self.knows_identity => return ImageOrigin::Unknown,
            (None, true) => false,
            (Some(identity), true) => identity.pull.iter().any(|from| {
                Reference::parse(&from.repository)
                    .is_ok_and(|one| without_port(&one.repository()) == without_port(&repository))
            }),
        };
        match pulled {
            true => ImageOrigin::Pulled,
            false => ImageOrigin::Local,
        }
    }

    /// Whether the image is built for `platform` (`linux/arm64`, `linux/arm/v7`); parts that are not given match.
    pub(crate) fn is_for(&self, platform: &str) -> bool {
        let mut parts = platform.split('/');
        let fits = |own: &str, part: Option<&str>| match part {
            None => true,
            Some(part) => own.is_empty() || own.eq_ignore_ascii_case(part),
        };
        fits(&self.os, parts.next())
            && fits(&self.architecture, parts.next())
            && fits(&self.variant, parts.next())
    }
}

/// A repository without the port of its registry.
fn without_port(repository: &str) -> String {
    match repository.split_once('/') {
        Some((registry, path)) => match registry.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
                format!("{host}/{path}")
            }
            _ => repository.to_owned(),
        },
        None => repository.to_owned(),
    }
}

fn is_present<'de, D: Deserializer<'de>>(from: D) -> Result<bool, D::Error> {
    Option::<IgnoredAny>::deserialize(from).map(|value| value.is_some())
}

#[cfg(test)]
mod tests;
