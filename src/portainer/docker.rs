//! What the Docker engine says of containers and images, as far as somebody reads it. Leaves it to others whether they are well.

use std::time::Duration;

use serde::Deserialize;

use super::wire::nullable;

/// The containers of one stack.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Containers {
    /// All of them, also those that do not run, as far as we may see them (contract 7).
    pub(crate) list: Vec<Listed>,
    /// `Date` of the answer, in seconds since 1970: the clock that the containers' times are compared with.
    pub(crate) date: Option<u64>,
}

/// A container in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listed {
    /// Docker's id.
    pub(crate) id: String,
    /// Its name, without the leading slash.
    pub(crate) name: String,
    /// The reference it was made from, or a bare image id once the tag has moved: then only [`Inspected::reference`] has it.
    pub(crate) image: String,
    /// The id of the image it runs.
    pub(crate) image_id: String,
    /// Docker's word: `created`, `running`, `restarting`, `exited`, ….
    pub(crate) state: String,
    /// When it was made, in seconds since 1970 by the engine's clock.
    pub(crate) created: i64,
    /// What compose wrote on it.
    pub(crate) labels: Labels,
}

impl Listed {
    /// Whether it is still under the name it has while its predecessor is being replaced: `<12 digits of the old id>_<name>`. The label
    /// alone does not tell, it stays for good (contract 6).
    pub(crate) fn is_replacing(&self) -> bool {
        let old = self.labels.replaces.get(..12).unwrap_or_default();
        !old.is_empty()
            && self
                .name
                .strip_prefix(old)
                .is_some_and(|rest| rest.starts_with('_'))
    }
}

/// What compose writes on its containers, as far as it is read; all of it may be empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Labels {
    /// The service in the compose file.
    #[serde(rename = "com.docker.compose.service", deserialize_with = "nullable")]
    pub(crate) service: String,
    /// Its number among the containers of its service, from 1.
    #[serde(
        rename = "com.docker.compose.container-number",
        deserialize_with = "nullable"
    )]
    pub(crate) number: String,
    /// `True` for `docker compose run`.
    #[serde(rename = "com.docker.compose.oneoff", deserialize_with = "nullable")]
    one_off: String,
    /// What its service depends on, as compose writes it: `db:service_healthy:false,…`.
    #[serde(
        rename = "com.docker.compose.depends_on",
        deserialize_with = "nullable"
    )]
    pub(crate) depends_on: String,
    /// The id of the container whose place it takes or took.
    #[serde(rename = "com.docker.compose.replace", deserialize_with = "nullable")]
    replaces: String,
    /// The id of the image that compose made it from.
    #[serde(rename = "com.docker.compose.image", deserialize_with = "nullable")]
    pub(crate) image: String,
    /// Changes with the service's configuration, not with its image.
    #[serde(
        rename = "com.docker.compose.config-hash",
        deserialize_with = "nullable"
    )]
    pub(crate) config_hash: String,
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
    /// Docker's flag; true also while it is being restarted.
    pub(crate) running: bool,
    /// The code of its last end.
    pub(crate) exit_code: i64,
    /// Why the engine could not start it; mostly empty.
    pub(crate) error: String,
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
    /// What compose wrote on it.
    pub(crate) labels: Labels,
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

/// An entry of the list of containers, as it is spelled.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Entry {
    id: String,
    #[serde(default, deserialize_with = "nullable")]
    names: Vec<String>,
    #[serde(default, deserialize_with = "nullable")]
    image: String,
    #[serde(default, rename = "ImageID", deserialize_with = "nullable")]
    image_id: String,
    #[serde(default, deserialize_with = "nullable")]
    state: String,
    #[serde(default, deserialize_with = "nullable")]
    created: i64,
    #[serde(default, deserialize_with = "nullable")]
    labels: Labels,
}

impl From<Entry> for Listed {
    fn from(entry: Entry) -> Listed {
        Listed {
            id: entry.id,
            name: entry
                .names
                .first()
                .map(|name| name.trim_start_matches('/').to_owned())
                .unwrap_or_default(),
            image: entry.image,
            image_id: entry.image_id,
            state: entry.state,
            created: entry.created,
            labels: entry.labels,
        }
    }
}

/// An inspection, as it is spelled. It also holds the container's environment, which is not even read.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Inspection {
    id: String,
    #[serde(default, deserialize_with = "nullable")]
    image: String,
    #[serde(default, deserialize_with = "nullable")]
    restart_count: i64,
    #[serde(default, deserialize_with = "nullable")]
    state: State,
    #[serde(default, deserialize_with = "nullable")]
    config: Config,
    #[serde(default, deserialize_with = "nullable")]
    host_config: HostConfig,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct State {
    #[serde(deserialize_with = "nullable")]
    status: String,
    #[serde(deserialize_with = "nullable")]
    running: bool,
    #[serde(deserialize_with = "nullable")]
    exit_code: i64,
    #[serde(deserialize_with = "nullable")]
    error: String,
    #[serde(deserialize_with = "nullable")]
    started_at: String,
    health: Option<Health>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Health {
    #[serde(default, deserialize_with = "nullable")]
    status: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Config {
    #[serde(deserialize_with = "nullable")]
    image: String,
    #[serde(deserialize_with = "nullable")]
    labels: Labels,
    healthcheck: Option<Check>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Check {
    #[serde(default, deserialize_with = "nullable")]
    test: Vec<String>,
    #[serde(default, deserialize_with = "nullable")]
    interval: i64,
    #[serde(default, deserialize_with = "nullable")]
    timeout: i64,
    #[serde(default, deserialize_with = "nullable")]
    start_period: i64,
    #[serde(default, deserialize_with = "nullable")]
    retries: i64,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct HostConfig {
    #[serde(deserialize_with = "nullable")]
    restart_policy: RestartPolicy,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct RestartPolicy {
    #[serde(deserialize_with = "nullable")]
    name: String,
}

impl From<Inspection> for Inspected {
    fn from(inspection: Inspection) -> Inspected {
        let state = inspection.state;
        Inspected {
            id: inspection.id,
            image_id: inspection.image,
            reference: inspection.config.image,
            state: state.status,
            running: state.running,
            exit_code: state.exit_code,
            error: state.error,
            health: state
                .health
                .map(|health| health.status)
                .filter(|status| !matches!(status.as_str(), "" | "none")),
            restart_count: u64::try_from(inspection.restart_count).unwrap_or_default(),
            started_at: state.started_at,
            restart_policy: inspection.host_config.restart_policy.name,
            healthcheck: inspection.config.healthcheck.and_then(Check::meant),
            labels: inspection.config.labels,
        }
    }
}

impl Check {
    fn meant(self) -> Option<Healthcheck> {
        // Docker's own defaults, which it fills in when it runs a check but not in what it shows.
        const USUAL: Duration = Duration::from_secs(30);
        const TRIES: u32 = 3;
        let set = |nanoseconds: i64| {
            u64::try_from(nanoseconds)
                .ok()
                .filter(|nanoseconds| *nanoseconds > 0)
                .map(Duration::from_nanos)
        };
        let off = self.test.first().is_none_or(|word| word == "NONE");
        (!off).then(|| Healthcheck {
            interval: set(self.interval).unwrap_or(USUAL),
            timeout: set(self.timeout).unwrap_or(USUAL),
            start_period: set(self.start_period).unwrap_or_default(),
            retries: u32::try_from(self.retries)
                .ok()
                .filter(|retries| *retries > 0)
                .unwrap_or(TRIES),
        })
    }
}

/// What a registry says of a reference, as it is spelled.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Distribution {
    pub(super) descriptor: Descriptor,
}

#[derive(Deserialize)]
pub(super) struct Descriptor {
    pub(super) digest: String,
}

#[cfg(test)]
mod tests;
