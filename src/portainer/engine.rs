//! The calls that Portainer passes on to the Docker engine, and the one by which it updates a swarm's service.

use std::time::Duration;

use super::auth::Call;
use super::docker::{self, ContainerId, Containers, ImageId, Inspected, Listed, LocalImage};
use super::error::{Error, Failure};
use super::pull::{self, StreamEnd};
use super::swarm::{self, Service, Task};
use super::wire::{self, EnvironmentId, RegistryId};
use super::words::{self, Again};
use super::{Portainer, logs, read};
use crate::fetch::Method;
use crate::image::Reference;
use crate::limits;
use crate::secret::to_base64;

impl Portainer {
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
        let list: Vec<Listed> = read(&call, &answer)?;
        docker::check_ids(&call.step, &list)?;
        Ok(Containers {
            list,
            date: answer.head.date.as_deref().and_then(wire::unix),
        })
    }

    /// Every container of an environment that the user may see, whatever stack it belongs to.
    pub(crate) fn all_containers(&self, environment: EnvironmentId) -> Result<Vec<Listed>, Error> {
        let step = "cannot list the containers of the environment";
        let list: Vec<Listed> =
            self.get(wire::docker(environment, "/containers/json?all=1"), step)?;
        docker::check_ids(step, &list)?;
        Ok(list)
    }

    /// Removes an image by its id, never by force: one that is in use, or has several tags, stays.
    pub(crate) fn remove_image(
        &self,
        environment: EnvironmentId,
        image_id: &str,
    ) -> Result<(), Error> {
        let step = format!("cannot remove the image {:?}", short(image_id));
        let image = ImageId::parse(&step, image_id)?;
        let path = wire::docker(environment, &format!("/images/{}", image.segment()));
        self.door
            .call(&Call::new(Method::Delete, path, step))
            .map(drop)
    }

    /// One container; `None` if it is gone.
    pub(crate) fn inspect(
        &self,
        environment: EnvironmentId,
        container: &str,
    ) -> Result<Option<Inspected>, Error> {
        let step = format!("cannot inspect the container {:?}", short(container));
        let id = ContainerId::parse(&step, container)?;
        let rest = format!("/containers/{}/json", id.segment());
        let found = self.get::<docker::Inspection>(wire::docker(environment, &rest), step.as_str());
        let found = unless_missing(found)?.map(Inspected::from);
        if let Some(found) = &found {
            ContainerId::parse(&step, &found.id)?;
            ImageId::parse(&step, &found.image_id)?;
        }
        Ok(found)
    }

    /// What a reference or an id is on the host; `None` if it is not there.
    pub(crate) fn image(
        &self,
        environment: EnvironmentId,
        reference: &str,
    ) -> Result<Option<LocalImage>, Error> {
        let step = format!("cannot inspect the image {reference:?}");
        let segment = docker::image_segment(&step, reference)?;
        let rest = format!("/images/{segment}/json");
        let call = Call::new(Method::Get, wire::docker(environment, &rest), step);
        let Some(answer) = unless_missing(self.door.call(&call))? else {
            return Ok(None);
        };
        let mut image: LocalImage = read(&call, &answer)?;
        ImageId::parse(&call.step, &image.id)?;
        image.knows_identity = answer
            .head
            .api_version
            .as_deref()
            .is_some_and(|version| is_at_least(version, (1, 53)));
        Ok(Some(image))
    }

    /// The digest that a registry has for a reference; `None` if it does not know it. Portainer's credentials do not reach this far (contract 6a).
    pub(crate) fn distribution(
        &self,
        environment: EnvironmentId,
        reference: &Reference,
    ) -> Result<Option<String>, Error> {
        let name = reference.clone().with_default_tag().familiar();
        let step = format!("cannot ask the registry for {name:?}");
        let segment = docker::image_segment(&step, &name)?;
        let rest = format!("/distribution/{segment}/json");
        let found = self.get::<docker::Distribution>(wire::docker(environment, &rest), step);
        let found = found.map_err(|error| match error {
            Error::Refused(failure) | Error::Denied(failure) if failure.is_dockers() => {
                Error::Refused(failure.of_registry())
            }
            other => other,
        });
        Ok(unless_missing(found)?.map(|found| found.descriptor.digest))
    }

    /// Pulls one image with the credentials that Portainer has stored for `registry`, and waits until it is complete.
    /// Without a `platform` the engine takes the host's.
    pub(crate) fn pull(
        &self,
        environment: EnvironmentId,
        reference: &Reference,
        platform: Option<&str>,
        registry: Option<RegistryId>,
        within: Duration,
    ) -> Result<(), Error> {
        // Without a tag Docker would pull every tag of the repository.
        let reference = reference.clone().with_default_tag();
        let tag = reference.digest().or(reference.tag()).unwrap_or("latest");
        let mut path = format!(
            "/images/create?fromImage={}&tag={}",
            wire::in_query(&reference.familiar_repository()),
            wire::in_query(tag)
        );
        if let Some(platform) = platform {
            path.push_str(&format!("&platform={}", wire::in_query(platform)));
        }
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
        let failed = |why: String| Error::Refused(Failure::new(&call.step, why).of_registry());
        let mut stream = self.door.stream(&call).map_err(|error| match error {
            // Newer engines pass the registry's 401 and 403 on.
            Error::Refused(failure) | Error::Denied(failure) if failure.is_dockers() => {
                Error::Refused(failure.of_registry())
            }
            Error::NotFound(failure) if failure.is_dockers() => {
                Error::NotFound(failure.of_registry())
            }
            other => other,
        })?;
        let mut progress = pull::Progress::default();
        while let Some(line) = stream
            .line(limits::PULL_LINE)
            .map_err(|error| words::unanswered(&call.step, Again::Never, error))?
        {
            progress.line(&line).map_err(failed)?;
        }
        match progress.end().map_err(failed)? {
            StreamEnd::Pulled => Ok(()),
            StreamEnd::CheckHost => match self.image(environment, &reference.familiar())? {
                Some(_) => Ok(()),
                None => Err(failed(
                    "the pull ended without an error, but the image is not on the host".to_owned(),
                )),
            },
        }
    }

    /// Puts a tag on an image that is on the host.
    pub(crate) fn tag(
        &self,
        environment: EnvironmentId,
        image_id: &str,
        reference: &Reference,
    ) -> Result<(), Error> {
        let reference = reference.clone().with_default_tag();
        let step = format!(
            "cannot tag the image {:?} as {:?}",
            short(image_id),
            reference.familiar()
        );
        let path = format!(
            "/images/{}/tag?repo={}&tag={}",
            ImageId::parse(&step, image_id)?.segment(),
            wire::in_query(&reference.familiar_repository()),
            wire::in_query(reference.tag().unwrap_or("latest"))
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
        let step = format!(
            "cannot read the log of the container {:?}",
            short(container)
        );
        let id = ContainerId::parse(&step, container)?;
        let path = format!(
            "/containers/{}/logs?stdout=1&stderr=1&tail={lines}",
            id.segment()
        );
        let call = Call::new(Method::Get, wire::docker(environment, &path), step);
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
        id: &str,
        name: &str,
        pull: bool,
        answer_within: Duration,
    ) -> Result<(), Error> {
        let mut call = Call::new(
            Method::Put,
            wire::force_update(environment),
            format!("cannot update the service {name:?}"),
        );
        call.again = Again::Never;
        call.json = serde_json::to_vec(&wire::ForceUpdate {
            service_id: id,
            pull_image: pull,
        })
        .ok();
        call.answer_within = answer_within;
        self.door.call(&call).map(drop)
    }
}

/// `None` instead of Docker's 404. Portainer's own, for an environment that is gone, has details and stays an error.
fn unless_missing<T>(found: Result<T, Error>) -> Result<Option<T>, Error> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(Error::NotFound(failure)) if failure.is_dockers() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Compares a version of the Docker API, such as `1.55`.
fn is_at_least(version: &str, least: (u32, u32)) -> bool {
    let parsed = version
        .split_once('.')
        .and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
    parsed.is_some_and(|version: (u32, u32)| version >= least)
}

/// An id as Docker shows it to people.
fn short(id: &str) -> &str {
    let digits = id.strip_prefix("sha256:").unwrap_or(id);
    digits.get(..12).unwrap_or(digits)
}
