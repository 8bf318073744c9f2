//! Portainer's API, as far as stackhook calls it: one method a call, values in, values out. What to call when, and what to make of it, is decided
//! elsewhere. `GET /api/registries` and `/api/system/version` show passwords and are never called (contract 2 and 6a).

mod words;
mod wire;
mod auth;
mod stacks;
mod docker;
mod pull;
mod logs;
mod swarm;
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
use crate::limits;
use crate::secret::to_base64;

use auth::{Call, Door};
#[allow(unused_imports, reason = "what builds on it comes next")]
pub(crate) use docker::{Containers, Healthcheck, Inspected, Labels, Listed, LocalImage};
pub(crate) use pull::Pulled;
#[allow(unused_imports, reason = "what builds on it comes next")]
pub(crate) use stacks::{Kind, Origin, Record, Status, Update};
#[allow(unused_imports, reason = "what builds on it comes next")]
pub(crate) use swarm::{Mode, Rollout, Service, Task};
#[allow(unused_imports, reason = "what builds on it comes next")]
pub(crate) use wire::{EnvironmentId, RegistryId, StackId, Variable};
use words::{Again, Failure};
#[allow(unused_imports, reason = "what builds on it comes next")]
pub(crate) use words::{Error, Said};

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
    /// Host, port and perhaps a path.
    pub(crate) url: String,
    /// Whether Portainer has credentials for it.
    pub(crate) authentication: bool,
}

impl fmt::Debug for Portainer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Portainer").field(&self.door).finish()
    }
}

impl Portainer {
    /// Nothing is sent yet. Fails if the certificates that should be trusted cannot be used.
    pub(crate) fn new(
        settings: &config::Portainer,
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
            url: one.url,
            authentication: one.authentication,
        };
        Ok(list.into_iter().map(registry).collect())
    }

    /// The containers of a compose project. An empty list is no proof that there are none (contract 7).
    pub(crate) fn containers(
        &self,
        environment: EnvironmentId,
        project: &str,
    ) -> Result<Containers, Error> {
        let filters = wire::filters("label", &format!("com.docker.compose.project={project}"));
        let call = Call::new(
            Method::Get,
            wire::docker(
                environment,
                &format!("/containers/json?all=1&filters={filters}"),
            ),
            format!("cannot list the containers of {project:?}"),
        );
        let answer = self.door.call(&call)?;
        let list: Vec<docker::Entry> = read(&call, &answer)?;
        Ok(Containers {
            list: list.into_iter().map(Listed::from).collect(),
            date: answer.head.date.as_deref().and_then(wire::unix),
        })
    }

    /// One container; `None` if it is gone.
    pub(crate) fn inspect(
        &self,
        environment: EnvironmentId,
        container: &str,
    ) -> Result<Option<Inspected>, Error> {
        let rest = format!("/containers/{}/json", wire::in_path(container));
        let found = self.get::<docker::Inspection>(
            wire::docker(environment, &rest),
            format!("cannot inspect the container {:?}", short(container)),
        );
        Ok(unless_missing(found)?.map(Inspected::from))
    }

    /// What a reference or an id is on the host; `None` if it is not there.
    pub(crate) fn image(
        &self,
        environment: EnvironmentId,
        reference: &str,
    ) -> Result<Option<LocalImage>, Error> {
        let rest = format!("/images/{}/json", wire::in_path(reference));
        unless_missing(self.get(
            wire::docker(environment, &rest),
            format!("cannot inspect the image {reference:?}"),
        ))
    }

    /// The digest that a registry has for a reference; `None` if it does not know it. Portainer's credentials do not reach this far (contract 6a).
    pub(crate) fn distribution(
        &self,
        environment: EnvironmentId,
        reference: &Reference,
    ) -> Result<Option<String>, Error> {
        let name = reference.clone().with_default_tag().familiar();
        let rest = format!("/distribution/{}/json", wire::in_path(&name));
        let found = self.get::<docker::Distribution>(
            wire::docker(environment, &rest),
            format!("cannot ask the registry for {name:?}"),
        );
        Ok(unless_missing(found)?.map(|found| found.descriptor.digest))
    }

    /// Pulls one image, with the credentials that Portainer has stored for `registry`, and waits for its end.
    pub(crate) fn pull(
        &self,
        environment: EnvironmentId,
        reference: &Reference,
        registry: Option<RegistryId>,
        within: Duration,
    ) -> Result<Pulled, Error> {
        // Without a tag Docker would pull every tag of the repository.
        let reference = reference.clone().with_default_tag();
        let tag = reference.digest().or(reference.tag()).unwrap_or("latest");
        let path = format!(
            "/images/create?fromImage={}&tag={}",
            wire::in_query(&reference.familiar_repository()),
            wire::in_query(tag)
        );
        let mut call = Call::new(
            Method::Post,
            wire::docker(environment, &path),
            format!("cannot pull {:?}", reference.familiar()),
        );
        call.header = registry.map(|id| {
            let auth = format!("{{\"registryId\":{id}}}");
            ("X-Registry-Auth", to_base64(auth.as_bytes()))
        });
        call.answer_within = within;
        call.body_within = within;
        call.body_max = limits::PULL_PROGRESS;
        let failed = |why: String| Error::Refused(Failure::new(&call.step, why));
        let mut stream = self.door.stream(&call)?;
        let mut progress = pull::Progress::default();
        while let Some(line) = stream
            .line(limits::PULL_LINE)
            .map_err(|error| words::unanswered(&call.step, Again::Never, error))?
        {
            progress.line(&line).map_err(failed)?;
        }
        progress.end().map_err(failed)
    }

    /// Puts a tag on an image that is on the host.
    pub(crate) fn tag(
        &self,
        environment: EnvironmentId,
        image_id: &str,
        reference: &Reference,
    ) -> Result<(), Error> {
        let reference = reference.clone().with_default_tag();
        let path = format!(
            "/images/{}/tag?repo={}&tag={}",
            wire::in_path(image_id),
            wire::in_query(&reference.familiar_repository()),
            wire::in_query(reference.tag().unwrap_or("latest"))
        );
        let step = format!(
            "cannot tag the image {:?} as {:?}",
            short(image_id),
            reference.familiar()
        );
        let call = Call::new(Method::Post, wire::docker(environment, &path), step);
        self.door.call(&call).map(drop)
    }

    /// The last lines that a container wrote.
    pub(crate) fn logs(
        &self,
        environment: EnvironmentId,
        container: &str,
        lines: usize,
    ) -> Result<String, Error> {
        let path = format!(
            "/containers/{}/logs?stdout=1&stderr=1&tail={lines}",
            wire::in_path(container)
        );
        let call = Call::new(
            Method::Get,
            wire::docker(environment, &path),
            format!(
                "cannot read the log of the container {:?}",
                short(container)
            ),
        );
        let bytes = self
            .door
            .stream(&call)?
            .beginning(limits::LOG_READ)
            .map_err(|error| words::unanswered(&call.step, call.again, error))?;
        Ok(logs::text(&bytes))
    }

    /// The services of a swarm stack.
    pub(crate) fn services(
        &self,
        environment: EnvironmentId,
        stack: &str,
    ) -> Result<Vec<Service>, Error> {
        let filters = wire::filters("label", &format!("com.docker.stack.namespace={stack}"));
        let list: Vec<swarm::ServiceEntry> = self.get(
            wire::docker(environment, &format!("/services?filters={filters}")),
            format!("cannot list the services of {stack:?}"),
        )?;
        Ok(list.into_iter().map(Service::from).collect())
    }

    /// The tasks of a service, by its name or id; old ones too.
    pub(crate) fn tasks(
        &self,
        environment: EnvironmentId,
        service: &str,
    ) -> Result<Vec<Task>, Error> {
        let filters = wire::filters("service", service);
        let list: Vec<swarm::TaskEntry> = self.get(
            wire::docker(environment, &format!("/tasks?filters={filters}")),
            format!("cannot list the tasks of {service:?}"),
        )?;
        Ok(list.into_iter().map(Task::from).collect())
    }

    /// Makes the swarm start a service's tasks anew, with `pull` from the newest image. [`Error::Interrupted`] as with [`Portainer::update`].
    pub(crate) fn force_update_service(
        &self,
        environment: EnvironmentId,
        service: &Service,
        pull: bool,
        answer_within: Duration,
    ) -> Result<(), Error> {
        let mut call = Call::new(
            Method::Put,
            wire::force_update(environment),
            format!("cannot update the service {:?}", service.name),
        );
        call.again = Again::Never;
        call.json = serde_json::to_vec(&wire::ForceUpdate {
            service_id: &service.id,
            pull_image: pull,
        })
        .ok();
        call.answer_within = answer_within;
        self.door.call(&call).map(drop)
    }

    fn get<T: DeserializeOwned>(
        &self,
        path: impl Into<String>,
        step: impl Into<String>,
    ) -> Result<T, Error> {
        let call = Call::new(Method::Get, path, step);
        read(&call, &self.door.call(&call)?)
    }
}

fn read<T: DeserializeOwned>(call: &Call, answer: &Answer) -> Result<T, Error> {
    words::read(&call.step, call.again, answer)
}

/// `None` instead of Docker's 404. Portainer's own, for an environment that is gone, has details and stays an error.
fn unless_missing<T>(found: Result<T, Error>) -> Result<Option<T>, Error> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(Error::NotFound(failure)) if failure.is_dockers() => Ok(None),
        Err(error) => Err(error),
    }
}

/// An id as Docker shows it to people.
fn short(id: &str) -> &str {
    let digits = id.strip_prefix("sha256:").unwrap_or(id);
    digits.get(..12).unwrap_or(digits)
}
