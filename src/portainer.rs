//! Portainer's API, as far as stackhook calls it: one method a call, values in, values out. What to call when, and what to make of it, is decided
//! elsewhere. `GET /api/registries` and `/api/system/version` show passwords and are never called (contract 2 and 6a).

mod pull_failure;
mod error;
mod words;
mod wire;
mod auth;
mod stacks;
mod docker;
mod pull;
mod logs;
mod swarm;
mod engine;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;

use crate::clock::Clock;
use crate::config;
use crate::fetch::{Answer, Method};
use crate::image::Reference;

use auth::{Call, Door};
pub(crate) use docker::{Containers, ImageOrigin, Inspected, Listed, LocalImage};
pub(crate) use error::Error;
pub(crate) use pull_failure::PullFailure;
pub(crate) use stacks::{Kind, Origin, Record, Source, Status, Update};
pub(crate) use swarm::{Mode, Service, Task};
pub(crate) use wire::{EnvironmentId, RegistryId, StackId};
use words::Again;

/// Whether a release pulls only images that are missing on the host: 2.39.2 and later patches of 2.39, and 2.41.
pub(crate) fn pulls_missing_only(version: &str) -> bool {
    let mut numbers = version.split('.').map(|number| {
        let digits = number.find(|one: char| !one.is_ascii_digit());
        number
            .get(..digits.unwrap_or(number.len()))?
            .parse::<u32>()
            .ok()
    });
    let mut next = || numbers.next().flatten();
    match (next(), next(), next()) {
        (Some(2), Some(39), Some(patch)) => patch >= 2,
        (Some(2), Some(41), _) => true,
        _ => false,
    }
}

/// One Portainer and who we are there. May be shared by threads.
pub(crate) struct Portainer {
    door: Door,
}

/// Who we are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Me {
    /// Portainer's number.
    pub(crate) id: i64,
    /// The user's name.
    pub(crate) name: String,
    /// Whether nothing is hidden from us.
    pub(crate) administrator: bool,
}

/// What stacks run on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Environment {
    /// Portainer's number.
    pub(crate) id: EnvironmentId,
    /// Its name.
    pub(crate) name: String,
}

/// A registry that an environment may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Registry {
    /// Portainer's number, by which a pull gets its credentials.
    pub(crate) id: RegistryId,
    /// The name that Portainer shows.
    pub(crate) name: String,
    /// Host, port and perhaps a path.
    pub(crate) url: String,
    /// Whether Portainer has credentials for it.
    pub(crate) authentication: bool,
}

impl Registry {
    /// Whether Portainer has credentials for the repository of `reference` here.
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
        self.authentication && !address.is_empty() && rest.is_some_and(|rest| rest.starts_with('/'))
    }
}

impl fmt::Debug for Portainer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Portainer").field(&self.door).finish()
    }
}

impl Portainer {
    /// Nothing is sent yet. Fails if the certificates that should be trusted cannot be used.
    pub(crate) fn new(
        settings: &config::PortainerSettings,
        clock: Arc<dyn Clock>,
    ) -> Result<Portainer, Error> {
        let door = Door::new(settings, clock)?;
        Ok(Portainer { door })
    }

    /// Portainer's release. It tells everybody, so no credentials are sent.
    pub(crate) fn version(&self) -> Result<String, Error> {
        let step = "cannot ask Portainer for its version";
        let ask = |path| {
            let call = Call::new(Method::Get, path, step);
            read::<wire::Release>(&call, &self.door.call_as_nobody(&call)?)
        };
        let release = match ask(wire::STATUS) {
            Err(Error::NotFound(_)) => ask(wire::STATUS_BEFORE_2_15)?,
            other => other?,
        };
        Ok(words::shown(&release.version))
    }

    /// Who we are; `None` where the release does not tell (before 2.20), which counts as not an administrator.
    pub(crate) fn me(&self) -> Result<Option<Me>, Error> {
        match self.get::<wire::User>(wire::ME, "cannot ask Portainer who we are") {
            Ok(user) => Ok(Some(Me {
                id: user.id,
                name: user.username,
                administrator: user.role == 1,
            })),
            Err(Error::NotFound(_)) => Ok(None),
            Err(error) if error.said().is_some_and(|said| said.status == 400) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The environments that we may see.
    pub(crate) fn environments(&self) -> Result<Vec<Environment>, Error> {
        let list: Vec<wire::Endpoint> =
            self.get(wire::ENVIRONMENTS, "cannot list the environments")?;
        let environment = |one: wire::Endpoint| Environment {
            id: one.id,
            name: one.name,
        };
        Ok(list.into_iter().map(environment).collect())
    }

    /// The stacks that we may see; one that is missing may just not be shared with us (contract 7).
    pub(crate) fn stacks(&self) -> Result<Vec<Record>, Error> {
        let list: Vec<wire::Stack> = self.get(wire::STACKS, "cannot list the stacks")?;
        Ok(list.into_iter().map(Record::from).collect())
    }

    /// One stack.
    pub(crate) fn stack(&self, id: StackId) -> Result<Record, Error> {
        let stack: wire::Stack =
            self.get(wire::stack(id), format!("cannot read the stack {id}"))?;
        Ok(Record::from(stack))
    }

    /// A stack's compose file. Of a stack with further files only the first (contract 4).
    pub(crate) fn file(&self, id: StackId) -> Result<String, Error> {
        let file: wire::File = self.get(
            wire::file(id),
            format!("cannot read the file of the stack {id}"),
        )?;
        Ok(file.stack_file_content)
    }

    /// Redeploys a stack and waits for the answer. [`Error::Interrupted`] is every end that leaves open whether it was carried out.
    pub(crate) fn update(&self, update: Update, answer_within: Duration) -> Result<Record, Error> {
        let step = format!("cannot update the stack {:?}", update.name);
        let (path, json) = match &update.body {
            stacks::Body::File(body) => (
                wire::update(update.stack, update.environment),
                serde_json::to_vec(body),
            ),
            stacks::Body::Git(body) => (
                wire::redeploy_from_git(update.stack, update.environment),
                serde_json::to_vec(body),
            ),
        };
        let mut call = Call::new(Method::Put, path, step);
        call.again = Again::Never;
        call.json = json.ok();
        call.answer_within = answer_within;
        let answer = self.door.call(&call)?;
        read::<wire::Stack>(&call, &answer).map(Record::from)
    }

    /// The registries that an environment may use, without their passwords.
    pub(crate) fn registries(&self, environment: EnvironmentId) -> Result<Vec<Registry>, Error> {
        let list: Vec<wire::Registry> = self.get(
            wire::registries(environment),
            format!("cannot list the registries of the environment {environment}"),
        )?;
        let registry = |one: wire::Registry| Registry {
            id: one.id,
            name: one.name,
            url: one.url,
            authentication: one.authentication,
        };
        Ok(list.into_iter().map(registry).collect())
    }

    fn get<T: DeserializeOwned>(
        &self,
        path: impl Into<String>,
        step: impl Into<String>,
    ) -> Result<T, Error> {
        let (call, answer) = self.asked(path.into(), step.into())?;
        read(&call, &answer)
    }

    /// Apart from the above, so that it is there once for all types.
    fn asked(&self, path: String, step: String) -> Result<(Call, Answer), Error> {
        let call = Call::new(Method::Get, path, step);
        let answer = self.door.call(&call)?;
        Ok((call, answer))
    }
}

fn read<T: DeserializeOwned>(call: &Call, answer: &Answer) -> Result<T, Error> {
    words::read(&call.step, call.again, answer)
}
