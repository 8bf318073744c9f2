//! A client for Portainer's API, one method per call. `GET /api/registries` and `/api/system/version` show passwords and are never called.

mod pull;
mod response;
mod auth;
mod stacks;
mod docker;
mod swarm;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::{Arc, Mutex};

use serde::{Deserialize, Deserializer, Serialize};

use crate::clock::Clock;
use crate::config::{self, Credentials};
use crate::fetch::Fetch;
use crate::image::Reference;
use crate::secret::Secret;

use auth::Session;
pub(crate) use docker::{Containers, ImageOrigin, Inspected, Listed, LocalImage};
pub(crate) use pull::{PullFailure, pulls_missing_only, takes_failed_stack_down};
use response::{CallFailure, nullable, one_line};
pub(crate) use response::{PortainerError, says_engine_is_away};
pub(crate) use stacks::{Kind, Origin, Record, SourceAccess, StackStatus, Update};
pub(crate) use swarm::{Mode, SwarmService, SwarmTask};

/// A number that Portainer assigns.
macro_rules! numeric_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub(crate) struct $name(pub(crate) i64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

numeric_id!(
    /// Portainer's number of a stack.
    StackId
);
numeric_id!(
    /// Portainer's number of an environment.
    EnvironmentId
);
numeric_id!(
    /// Portainer's number of a registry.
    RegistryId
);

const STATUS: &str = "/api/system/status";
const STATUS_BEFORE_2_15: &str = "/api/status";

/// A Portainer with the credentials for it. Threads can share it.
pub(crate) struct Portainer {
    fetch: Fetch,
    url: String,
    credentials: Credentials,
    /// Further headers, for a gateway in front of Portainer.
    headers: Vec<(String, Secret)>,
    clock: Arc<dyn Clock>,
    session: Mutex<Session>,
}

/// The user that stackhook is at Portainer.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Me {
    /// Portainer's number of the user.
    pub(crate) id: i64,
    /// The user's name.
    #[serde(default, rename = "Username", deserialize_with = "nullable")]
    pub(crate) name: String,
    /// True if this user sees everything.
    #[serde(default, rename = "Role", deserialize_with = "is_administrator")]
    pub(crate) administrator: bool,
}

/// An environment that stacks run on.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Environment {
    /// Portainer's number of the environment.
    pub(crate) id: EnvironmentId,
    /// The environment's name.
    #[serde(default, deserialize_with = "nullable")]
    pub(crate) name: String,
    #[serde(default, deserialize_with = "nullable")]
    status: i64,
}

/// A registry that an environment may use.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Registry {
    /// Portainer's number of the registry, by which a pull gets its credentials.
    pub(crate) id: RegistryId,
    /// The name that Portainer shows.
    #[serde(default, deserialize_with = "nullable")]
    pub(crate) name: String,
    /// Host, port and perhaps a path.
    #[serde(default, rename = "URL", deserialize_with = "nullable")]
    pub(crate) url: String,
    /// True if Portainer has credentials for it.
    #[serde(default, deserialize_with = "nullable")]
    pub(crate) authentication: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Release {
    version: String,
}

impl Environment {
    /// Returns true if Portainer could not reach the environment when it last tried.
    pub(crate) fn is_down(&self) -> bool {
        self.status == 2
    }
}

impl Registry {
    /// Tells whether Portainer has credentials for the repository of `reference` here.
    pub(crate) fn serves(&self, reference: &Reference) -> bool {
        const HUB: [&str; 3] = [
            "index.docker.io/v1",
            "index.docker.io",
            "registry-1.docker.io",
        ];
        let address = self
            .url
            .trim_start_matches("https://")
            .trim_start_matches("http://")
            .trim_end_matches('/')
            .to_ascii_lowercase();
        let address = match HUB.contains(&address.as_str()) {
            true => "docker.io",
            false => address.as_str(),
        };
        let repository = reference.repository().to_ascii_lowercase();
        let rest = repository.strip_prefix(address);
        // GitLab's entries name one project each, whose main image has no further path.
        let is_covered = |rest: &str| rest.is_empty() || rest.starts_with('/');
        self.authentication && !address.is_empty() && rest.is_some_and(is_covered)
    }
}

/// Reads a user's role.
fn is_administrator<'de, D: Deserializer<'de>>(from: D) -> Result<bool, D::Error> {
    Ok(Option::<i64>::deserialize(from)? == Some(1))
}

impl fmt::Debug for Portainer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Portainer")
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

impl Portainer {
    /// Prepares a client without sending anything. Fails if the certificates that should be trusted cannot be used.
    pub(crate) fn new(
        settings: &config::PortainerSettings,
        clock: Arc<dyn Clock>,
    ) -> Result<Portainer, PortainerError> {
        let fetch = Fetch::new(&settings.trust).map_err(|why| {
            PortainerError::Unusable(CallFailure::new("cannot speak TLS with Portainer", why))
        })?;
        Ok(Portainer {
            fetch,
            url: settings.url.clone(),
            credentials: settings.credentials.clone(),
            headers: settings.headers.clone(),
            clock,
            session: Mutex::default(),
        })
    }

    /// Portainer's version. The route is public, so no credentials are sent.
    pub(crate) fn version(&self) -> Result<String, PortainerError> {
        let step = "cannot ask Portainer for its version";
        let release: Release = match self.get_public(step, STATUS) {
            Err(PortainerError::NotFound(_)) => self.get_public(step, STATUS_BEFORE_2_15)?,
            other => other?,
        };
        Ok(one_line(&release.version))
    }

    /// The user of the credentials; `None` before 2.20, where it is unknown and counts as not an administrator.
    pub(crate) fn me(&self) -> Result<Option<Me>, PortainerError> {
        match self.get("cannot ask Portainer who we are", "/api/users/me") {
            Ok(user) => Ok(Some(user)),
            Err(PortainerError::NotFound(_)) => Ok(None),
            Err(error) if error.message().is_some_and(|message| message.status == 400) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The environments that this user may see.
    pub(crate) fn environments(&self) -> Result<Vec<Environment>, PortainerError> {
        self.get_list(
            "cannot list the environments",
            "/api/endpoints?excludeSnapshots=true",
        )
    }

    /// The registries that an environment may use, without their passwords.
    pub(crate) fn registries(
        &self,
        environment: EnvironmentId,
    ) -> Result<Vec<Registry>, PortainerError> {
        let step = format!("cannot list the registries of the environment {environment}");
        self.get_list(&step, &format!("/api/endpoints/{environment}/registries"))
    }
}
