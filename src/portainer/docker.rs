//! Calls that Portainer passes on to the Docker engine: containers, images, pulls and logs.

mod objects;

use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use super::pull::{PullProgress, StreamEnd};
use super::response::{self, CallFailure, Entries, PortainerError, one_line};
use super::{EnvironmentId, Portainer, RegistryId};
use crate::calendar::parse_http_date;
use crate::fetch::Method;
use crate::image::Reference;
use crate::limits;
use crate::secret::to_base64;

/// The longest accepted line of a pull's stream (bytes).
const PULL_LINE: usize = 64 * 1024;

/// The longest accepted progress stream of a pull (bytes): some 20 minutes of a large image.
const PULL_PROGRESS: usize = 256 * 1024 * 1024;

/// The most that is read of a container's log before its end is kept (bytes).
const LOG_READ: usize = 1024 * 1024;
pub(crate) use objects::{Containers, Engine, ImageOrigin, Inspected, Listed, LocalImage};

impl Portainer {
    /// The engine of an environment, with its image store.
    pub(crate) fn engine(&self, environment: EnvironmentId) -> Result<Engine, PortainerError> {
        let step = "cannot ask the engine for its version";
        self.get(step, &docker_path(environment, "/info"))
    }

    /// The containers of a compose project. An empty list does not prove that there are none: they may not be shared with this user.
    pub(crate) fn containers(
        &self,
        environment: EnvironmentId,
        project: &str,
    ) -> Result<Containers, PortainerError> {
        let step = format!("cannot list the containers of {project:?}");
        let filters = filters("label", &format!("com.docker.compose.project={project}"));
        let path = docker_path(
            environment,
            &format!("/containers/json?all=1&filters={filters}"),
        );
        let answer = self.call(&step, self.request(Method::Get, &path))?;
        let list: Entries<Listed> = response::parse(&step, true, &answer)?;
        let list = list.0;
        check_ids(&step, &list)?;
        Ok(Containers {
            list,
            date: answer.head.date.as_deref().and_then(parse_http_date),
        })
    }

    /// The containers of an environment that this user may see, of all stacks.
    pub(crate) fn all_containers(
        &self,
        environment: EnvironmentId,
    ) -> Result<Vec<Listed>, PortainerError> {
        let step = "cannot list the containers of the environment";
        let list: Vec<Listed> =
            self.get_list(step, &docker_path(environment, "/containers/json?all=1"))?;
        check_ids(step, &list)?;
        Ok(list)
    }

    /// Removes an image by its id without force: an image that is in use, or has several tags, stays.
    pub(crate) fn remove_image(
        &self,
        environment: EnvironmentId,
        image_id: &str,
    ) -> Result<(), PortainerError> {
        let step = format!("cannot remove the image {:?}", short(image_id));
        let image = checked_id(&step, "image", image_id)?;
        let path = docker_path(environment, &format!("/images/{image}"));
        self.call(&step, self.request(Method::Delete, &path))
            .map(drop)
    }

    /// One container; `None` if it is gone.
    pub(crate) fn inspect(
        &self,
        environment: EnvironmentId,
        container: &str,
    ) -> Result<Option<Inspected>, PortainerError> {
        let step = format!("cannot inspect the container {:?}", short(container));
        let id = checked_id(&step, "container", container)?;
        let path = docker_path(environment, &format!("/containers/{id}/json"));
        let found: Option<Inspected> = unless_missing(self.get(&step, &path))?;
        if let Some(found) = &found {
            checked_id(&step, "container", &found.id)?;
            checked_id(&step, "image", &found.image_id)?;
        }
        Ok(found)
    }

    /// The image on the host that has this reference or id; `None` if there is none.
    pub(crate) fn image(
        &self,
        environment: EnvironmentId,
        reference: &str,
    ) -> Result<Option<LocalImage>, PortainerError> {
        let step = format!("cannot inspect the image {reference:?}");
        let name = checked_image_name(&step, reference)?;
        let path = docker_path(environment, &format!("/images/{name}/json"));
        let answer = self.call(&step, self.request(Method::Get, &path));
        let Some(answer) = unless_missing(answer)? else {
            return Ok(None);
        };
        let mut image: LocalImage = response::parse(&step, true, &answer)?;
        checked_id(&step, "image", &image.id)?;
        let api_version = answer.head.api_version.as_deref();
        image.knows_identity = api_version.is_some_and(|version| is_at_least(version, (1, 53)));
        Ok(Some(image))
    }

    /// The digest that a registry has for a reference; `None` if the registry does not know the reference. Portainer does not add its
    /// registry credentials to this call.
    pub(crate) fn distribution(
        &self,
        environment: EnvironmentId,
        reference: &Reference,
    ) -> Result<Option<String>, PortainerError> {
        let name = reference.clone().with_default_tag().familiar();
        let step = format!("cannot ask the registry for {name:?}");
        let name = checked_image_name(&step, &name)?;
        let path = docker_path(environment, &format!("/distribution/{name}/json"));
        match unless_missing(self.get::<Distribution>(&step, &path)) {
            Ok(found) => Ok(found.map(|found| found.descriptor.digest)),
            Err(error) => Err(error.of_registry()),
        }
    }

    /// Pulls one image with the credentials that Portainer has stored for `registry`, and waits until the pull has finished.
    /// Without a `platform` the engine takes the host's.
    pub(crate) fn pull(
        &self,
        environment: EnvironmentId,
        reference: &Reference,
        platform: Option<&str>,
        registry: Option<RegistryId>,
        within: Duration,
    ) -> Result<(), PortainerError> {
        // Without a tag Docker would pull every tag of the repository.
        let reference = reference.clone().with_default_tag();
        let name = reference.familiar();
        let step = format!("cannot pull {name:?}");
        let mut path = format!(
            "/images/create?fromImage={}&tag={}",
            in_query(&reference.familiar_repository()),
            in_query(reference.digest().or(reference.tag()).unwrap_or("latest"))
        );
        if let Some(platform) = platform {
            path.push_str(&format!("&platform={}", in_query(platform)));
        }
        let mut request = self.request(Method::Post, &docker_path(environment, &path));
        if let Some(id) = registry {
            let credentials = to_base64(format!("{{\"registryId\":{id}}}").as_bytes());
            request.set_header("X-Registry-Auth", &credentials);
        }
        request.answer_within = within;
        request.body_within = within;
        request.body_max = PULL_PROGRESS;
        let mut stream = self
            .stream(&step, request)
            .map_err(PortainerError::of_registry)?;
        let failed = |why: String| {
            PortainerError::Refused(CallFailure::new(&step, one_line(&why)).of_registry())
        };
        let mut progress = PullProgress::default();
        while let Some(line) = stream
            .line(PULL_LINE)
            .map_err(|error| response::no_response(&step, false, error))?
        {
            progress.line(&line).map_err(failed)?;
        }
        match progress.end().map_err(failed)? {
            StreamEnd::Pulled => Ok(()),
            StreamEnd::CheckHost => match self.image(environment, &name)? {
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
    ) -> Result<(), PortainerError> {
        let reference = reference.clone().with_default_tag();
        let (image, name) = (short(image_id), reference.familiar());
        let step = format!("cannot tag the image {image:?} as {name:?}");
        let path = format!(
            "/images/{}/tag?repo={}&tag={}",
            checked_id(&step, "image", image_id)?,
            in_query(&reference.familiar_repository()),
            in_query(reference.tag().unwrap_or("latest"))
        );
        let request = self.request(Method::Post, &docker_path(environment, &path));
        self.call(&step, request).map(drop)
    }

    /// The last lines of a container's log.
    pub(crate) fn logs(
        &self,
        environment: EnvironmentId,
        container: &str,
        lines: usize,
    ) -> Result<String, PortainerError> {
        let step = format!(
            "cannot read the log of the container {:?}",
            short(container)
        );
        let id = checked_id(&step, "container", container)?;
        let path = format!("/containers/{id}/logs?stdout=1&stderr=1&tail={lines}");
        let request = self.request(Method::Get, &docker_path(environment, &path));
        let bytes = self
            .stream(&step, request)?
            .beginning(LOG_READ)
            .map_err(|error| response::no_response(&step, true, error))?;
        Ok(log_text(&bytes))
    }
}

/// A path of the Docker API of an environment.
pub(super) fn docker_path(environment: EnvironmentId, rest: &str) -> String {
    format!("/api/endpoints/{environment}/docker{rest}")
}

/// Docker's `filters` parameter for one label or name.
pub(super) fn filters(by: &str, value: &str) -> String {
    in_query(&serde_json::json!({ by: [value] }).to_string())
}

/// Escapes a value of a query.
fn in_query(text: &str) -> String {
    const KEPT: &AsciiSet = &NON_ALPHANUMERIC
        .remove(b'-')
        .remove(b'.')
        .remove(b'_')
        .remove(b'~');
    utf8_percent_encode(text, KEPT).to_string()
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Distribution {
    descriptor: Descriptor,
}

#[derive(Deserialize)]
struct Descriptor {
    digest: String,
}

/// Checks an id before it becomes a segment of a path. A compromised Docker host may report anything, and a proxy resolves `..`: into
/// another environment, or another call.
fn checked_id<'a>(step: &str, what: &str, id: &'a str) -> Result<&'a str, PortainerError> {
    match is_id(id) {
        true => Ok(id),
        false => Err(invalid_id(step, what, id)),
    }
}

/// Checks the ids of listed containers; an image id may be missing.
fn check_ids(step: &str, list: &[Listed]) -> Result<(), PortainerError> {
    for listed in list {
        checked_id(step, "container", &listed.id)?;
        if !listed.image_id.is_empty() {
            checked_id(step, "image", &listed.image_id)?;
        }
    }
    Ok(())
}

/// Checks an id or a reference before it becomes part of a path. A valid reference has no `..`, so its slashes are harmless.
fn checked_image_name<'a>(step: &str, name: &'a str) -> Result<&'a str, PortainerError> {
    match is_id(name) || Reference::parse(name).is_ok() {
        true => Ok(name),
        false => Err(invalid_id(step, "image", name)),
    }
}

/// Tells whether a text is 12 to 64 hexadecimal digits, with or without `sha256:`.
fn is_id(text: &str) -> bool {
    let digits = text.strip_prefix("sha256:").unwrap_or(text);
    (12..=64).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn invalid_id(step: &str, what: &str, id: &str) -> PortainerError {
    let shown: String = one_line(id).chars().take(80).collect();
    let why = format!("the Docker host reports the {what} id {shown:?}, which is not a valid id");
    let next = "check this Docker host: it may be compromised";
    PortainerError::Refused(CallFailure::new(step, why).next(next))
}

/// `None` instead of Docker's 404. Portainer's own 404, for an environment that is gone, has details and stays an error.
fn unless_missing<T>(found: Result<T, PortainerError>) -> Result<Option<T>, PortainerError> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(PortainerError::NotFound(failure)) if failure.comes_from_docker() => Ok(None),
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

/// The first 12 digits of an id, as Docker's own commands print it.
fn short(id: &str) -> &str {
    let digits = id.strip_prefix("sha256:").unwrap_or(id);
    digits.get(..12).unwrap_or(digits)
}

/// The end of a container's log as text. Docker puts eight bytes before every piece (stream, three zeros, length) unless the container
/// has a terminal.
pub(super) fn log_text(bytes: &[u8]) -> String {
    let mut plain = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((frame, after)) = log_frame(rest) {
        plain.extend_from_slice(frame);
        rest = after;
    }
    // Without a terminal nothing is left here; with one, everything is.
    plain.extend_from_slice(rest);
    let start = plain.len().saturating_sub(limits::LOG_KEPT);
    let end = plain.get(start..).unwrap_or_default();
    let text = String::from_utf8_lossy(end);
    // A character cut in two leaves replacement characters at the beginning.
    match start {
        0 => text.into_owned(),
        _ => text
            .trim_start_matches(char::REPLACEMENT_CHARACTER)
            .to_owned(),
    }
}

fn log_frame(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (header, rest) = bytes.split_first_chunk::<8>()?;
    let [0..=2, 0, 0, 0, length @ ..] = *header else {
        return None;
    };
    let length = usize::try_from(u32::from_be_bytes(length)).ok()?;
    // The last frame may have been cut off by the limit on the amount that is read.
    Some(rest.split_at(length.min(rest.len())))
}

#[cfg(test)]
mod tests;
