//! Docker's API as it is spelled, one to one, and what becomes of it.

use std::time::Duration;

use serde::Deserialize;

use super::super::wire::nullable;
use super::{Healthcheck, Inspected};

/// An inspection, as it is spelled. It also holds the container's environment, which is not even read.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(in super::super) struct Inspection {
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
    exit_code: i64,
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
            exit_code: state.exit_code,
            health: state
                .health
                .map(|health| health.status)
                .filter(|status| !matches!(status.as_str(), "" | "none")),
            restart_count: u64::try_from(inspection.restart_count).unwrap_or_default(),
            started_at: state.started_at,
            restart_policy: inspection.host_config.restart_policy.name,
            healthcheck: inspection.config.healthcheck.and_then(Check::meant),
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
pub(in super::super) struct Distribution {
    pub(in super::super) descriptor: Descriptor,
}

#[derive(Deserialize)]
pub(in super::super) struct Descriptor {
    pub(in super::super) digest: String,
}
