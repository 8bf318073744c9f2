//! What the Docker engine says of containers and images, as far as somebody reads it. Leaves it to others whether they are well.

mod spelled;

use std::time::Duration;

use serde::Deserialize;

use super::wire::nullable;
pub(super) use spelled::{Distribution, Inspection};

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
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct LocalImage {
    /// Its id.
    pub(crate) id: String,
    /// The references that are this image now.
    #[serde(default, deserialize_with = "nullable")]
    pub(crate) repo_tags: Vec<String>,
    /// Where it was pulled from, with the registry's digests; empty when it was built here.
    #[serde(default, deserialize_with = "nullable")]
    pub(crate) repo_digests: Vec<String>,
}

#[cfg(test)]
mod tests;
