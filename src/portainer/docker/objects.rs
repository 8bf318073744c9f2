//! Containers and images as the Docker API describes them.

use std::fmt;
use std::time::Duration;

use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};

use super::super::response::{entries, nullable, one_line};
use crate::image::Reference;

/// The containers of one stack.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Containers {
    /// The containers that this user may see, stopped ones included.
    pub(crate) list: Vec<Listed>,
    /// `Date` of the answer in seconds since 1970: the clock that the containers' times are compared with.
    pub(crate) date: Option<u64>,
}

/// A container in a list of containers.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Listed {
    /// The id that Docker assigned.
    pub(crate) id: String,
    /// The id of its image.
    #[serde(default, rename = "ImageID", deserialize_with = "nullable")]
    pub(crate) image_id: String,
    /// Docker's state: `created`, `running`, `restarting`, `exited`, ….
    #[serde(default, deserialize_with = "nullable")]
    pub(crate) state: String,
    /// The labels set by compose.
    #[serde(default, deserialize_with = "nullable")]
    pub(crate) labels: Labels,
}

/// The labels that compose sets on its containers; each may be empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Labels {
    /// The project, which is the stack's name.
    #[serde(rename = "com.docker.compose.project", deserialize_with = "nullable")]
    pub(crate) project: String,
    /// The service in the compose file.
    #[serde(rename = "com.docker.compose.service", deserialize_with = "nullable")]
    pub(crate) service: String,
    /// `True` for `docker compose run`.
    #[serde(rename = "com.docker.compose.oneoff", deserialize_with = "nullable")]
    one_off: String,
    /// The dependencies of its service, in compose's notation: `db:service_healthy:false,…`.
    #[serde(
        rename = "com.docker.compose.depends_on",
        deserialize_with = "nullable"
    )]
    pub(crate) depends_on: String,
    /// The hash of the service's configuration; compose ignores containers without it.
    #[serde(
        rename = "com.docker.compose.config-hash",
        deserialize_with = "nullable"
    )]
    config_hash: String,
    /// The compose files that it was made from; empty where an older release of Portainer passed the file on stdin.
    #[serde(
        rename = "com.docker.compose.project.config_files",
        deserialize_with = "nullable"
    )]
    config_files: String,
    /// The container that it replaces; the label remains afterwards.
    #[serde(rename = "com.docker.compose.replace", deserialize_with = "nullable")]
    pub(crate) replace: String,
}

impl Labels {
    /// Returns true if compose counts it as a container of its service. Containers of `docker compose run` are not.
    pub(crate) fn is_of_compose(&self) -> bool {
        !self.one_off.eq_ignore_ascii_case("true")
            && !self.service.is_empty()
            && !self.config_hash.is_empty()
    }

    /// Returns true if its compose file may be one that Portainer keeps, `/data/compose/7/docker-compose.yml`.
    pub(crate) fn is_from_portainer(&self) -> bool {
        let is_id = |rest: &str| rest.starts_with(|first: char| first.is_ascii_digit());
        self.config_files.is_empty() || self.config_files.split("/compose/").skip(1).any(is_id)
    }
}

/// An inspected container. Its environment, which may hold secrets, is not read.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "ContainerObject")]
pub(crate) struct Inspected {
    /// The id that Docker assigned.
    pub(crate) id: String,
    /// The id of its image.
    pub(crate) image_id: String,
    /// The reference it was created from.
    pub(crate) reference: String,
    /// Docker's state: `created`, `running`, `restarting`, `exited`, ….
    pub(crate) state: String,
    /// The last exit code.
    pub(crate) exit_code: i64,
    /// `starting`, `healthy`, `unhealthy`; absent without a health check.
    pub(crate) health: Option<String>,
    /// The number of restarts by the engine.
    pub(crate) restart_count: u64,
    /// The time of the last start, in Docker's notation.
    pub(crate) started_at: String,
    /// `no`, `on-failure`, `always`, `unless-stopped`.
    pub(crate) restart_policy: String,
    /// The health check, of the container or of its image.
    pub(crate) healthcheck: Option<Healthcheck>,
}

/// The times of a health check, with Docker's defaults for those that are not set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Healthcheck {
    /// The pause between two checks (default 30 s).
    pub(crate) interval: Duration,
    /// The time limit of one check (default 30 s).
    pub(crate) timeout: Duration,
    /// The time after a start in which failures do not count (default 0).
    pub(crate) start_period: Duration,
    /// The number of failures in a row that make it unhealthy (default 3).
    pub(crate) retries: u32,
}

impl Healthcheck {
    /// The longest time from a start to a definite result.
    pub(crate) fn takes(&self) -> Duration {
        let rounds = (self.interval.saturating_add(self.timeout)).saturating_mul(self.retries);
        self.start_period.saturating_add(rounds)
    }
}

/// An image that is on the host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct LocalImage {
    /// The id: the digest of its configuration or, in the containerd image store, of its index or manifest.
    pub(crate) id: String,
    /// The references that name this image now.
    #[serde(deserialize_with = "entries")]
    pub(crate) repo_tags: Vec<String>,
    /// Repositories with digests. Only the graph driver store leaves this empty for images that were built on the host.
    #[serde(deserialize_with = "entries")]
    pub(crate) repo_digests: Vec<String>,
    /// The time at which it was built, in Docker's notation; empty if unknown.
    #[serde(deserialize_with = "nullable")]
    pub(crate) created: String,
    /// The operating system that it is built for.
    #[serde(deserialize_with = "nullable")]
    os: String,
    /// The processor that it is built for.
    #[serde(deserialize_with = "nullable")]
    architecture: String,
    /// The variant of the processor (`v7`), usually empty.
    #[serde(deserialize_with = "nullable")]
    variant: String,
    /// Present only in the containerd image store.
    #[serde(deserialize_with = "is_present")]
    descriptor: bool,
    /// The image's history in the containerd image store, from API 1.53 on.
    identity: Option<Identity>,
    /// True if the engine's API (1.53 or later) fills `Identity`.
    #[serde(skip)]
    pub(in super::super) knows_identity: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Identity {
    #[serde(deserialize_with = "entries")]
    pull: Vec<PulledFrom>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct PulledFrom {
    /// Registry and path; the port is missing.
    #[serde(deserialize_with = "nullable")]
    repository: String,
}

/// The way an image came to the host, from the view of one reference.
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

    /// Tells whether the image is built for `platform` (`linux/arm64`, `linux/arm/v7`); parts that are not given match.
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

/// The engine of an environment.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "EngineInfo")]
pub(crate) struct Engine {
    is_podman: bool,
    version: String,
    driver: String,
    is_containerd: bool,
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = if self.is_podman { "Podman" } else { "Docker" };
        write!(f, "{name} {}", self.version)?;
        match (self.is_containerd, self.driver.as_str()) {
            (true, _) => f.write_str(" with the containerd image store"),
            (false, "") => Ok(()),
            (false, driver) => write!(f, " with the image store {driver}"),
        }
    }
}

/// The part of `GET /info` that is read.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct EngineInfo {
    #[serde(deserialize_with = "nullable")]
    server_version: String,
    #[serde(deserialize_with = "nullable")]
    driver: String,
    /// Names with values; with the containerd image store `driver-type` is the name of its snapshotter.
    #[serde(deserialize_with = "nullable")]
    driver_status: Vec<Vec<String>>,
    /// Present only in Podman.
    buildah_version: Option<String>,
}

impl From<EngineInfo> for Engine {
    fn from(info: EngineInfo) -> Engine {
        let is_snapshotter = |value: &String| value.starts_with("io.containerd.snapshotter");
        Engine {
            is_podman: info.buildah_version.is_some(),
            version: one_line(&info.server_version),
            driver: one_line(&info.driver),
            is_containerd: info.driver_status.iter().flatten().any(is_snapshotter),
        }
    }
}

/// A container on the wire.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ContainerObject {
    id: String,
    #[serde(default, deserialize_with = "nullable")]
    image: String,
    #[serde(default, deserialize_with = "nullable")]
    restart_count: i64,
    #[serde(default, deserialize_with = "nullable")]
    state: ContainerState,
    #[serde(default, deserialize_with = "nullable")]
    config: ContainerConfig,
    #[serde(default, deserialize_with = "nullable")]
    host_config: HostConfig,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct ContainerState {
    #[serde(deserialize_with = "nullable")]
    status: String,
    #[serde(deserialize_with = "nullable")]
    exit_code: i64,
    #[serde(deserialize_with = "nullable")]
    started_at: String,
    health: Option<HealthObject>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HealthObject {
    #[serde(default, deserialize_with = "nullable")]
    status: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct ContainerConfig {
    #[serde(deserialize_with = "nullable")]
    image: String,
    healthcheck: Option<HealthcheckObject>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HealthcheckObject {
    #[serde(default, deserialize_with = "entries")]
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

impl From<ContainerObject> for Inspected {
    fn from(container: ContainerObject) -> Inspected {
        let state = container.state;
        Inspected {
            id: container.id,
            image_id: container.image,
            reference: container.config.image,
            state: state.status,
            exit_code: state.exit_code,
            health: state
                .health
                .map(|health| health.status)
                .filter(|status| !matches!(status.as_str(), "" | "none")),
            restart_count: u64::try_from(container.restart_count).unwrap_or_default(),
            started_at: state.started_at,
            restart_policy: container.host_config.restart_policy.name,
            healthcheck: container
                .config
                .healthcheck
                .and_then(HealthcheckObject::into_healthcheck),
        }
    }
}

impl HealthcheckObject {
    fn into_healthcheck(self) -> Option<Healthcheck> {
        // Docker's defaults, which its API leaves out.
        const DEFAULT_TIME: Duration = Duration::from_secs(30);
        const DEFAULT_RETRIES: u32 = 3;
        let set = |nanoseconds: i64| {
            u64::try_from(nanoseconds)
                .ok()
                .filter(|nanoseconds| *nanoseconds > 0)
                .map(Duration::from_nanos)
        };
        let off = self.test.first().is_none_or(|word| word == "NONE");
        (!off).then(|| Healthcheck {
            interval: set(self.interval).unwrap_or(DEFAULT_TIME),
            timeout: set(self.timeout).unwrap_or(DEFAULT_TIME),
            start_period: set(self.start_period).unwrap_or_default(),
            retries: u32::try_from(self.retries)
                .ok()
                .filter(|retries| *retries > 0)
                .unwrap_or(DEFAULT_RETRIES),
        })
    }
}
