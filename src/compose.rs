//! The services that a compose file asks for: image, platform, where the image comes from, and whether the service is
//! optional. Only the values named here are read. A value that is not certain is an error that says why; the
//! consequences are decided by the caller.

mod variables;
mod interpolate;
mod reader;
mod schema;
mod error;

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::image::{BadReference, Reference};
use crate::limits;
pub(crate) use error::{ComposeError, Place};
use interpolate::{InterpolationError, Template};
use reader::{Map, Node, NodeContent, is_not_text};
pub(crate) use variables::Variables;

/// Text with variables in a compose file, aliases expanded (bytes): interpolating this much takes a few milliseconds.
const COMPOSE_TEXT_MAX: usize = 4 * 1024 * 1024;

/// A compose file as far as it is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ComposeSpec {
    /// The services by their names.
    pub(crate) services: BTreeMap<String, ServiceSpec>,
    /// Variables anywhere in the file that have neither a value nor a default where they are needed.
    pub(crate) unset: BTreeSet<String>,
    /// All variables that the file names.
    pub(crate) variables: BTreeSet<String>,
}

/// A service of a compose file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServiceSpec {
    /// With tag `latest` if the file has neither tag nor digest; none for a service that is only built.
    pub(crate) image: Option<Reference>,
    /// The place that its image comes from.
    pub(crate) source: ImageSource,
    /// The platform to pull, if it is not the host's.
    pub(crate) platform: Option<String>,
    /// `pull_policy` is `missing` or `if_not_present`: compose pulls only an image that is not on the host.
    pub(crate) only_if_missing: bool,
    /// A value depends on a variable that has no value here; a source that Portainer does not show may set it.
    pub(crate) assumes_unset: bool,
    /// The `pull_policy` (`always`, `daily`, …) by which compose itself pulls during the update.
    pub(crate) pulls_itself: Option<String>,
    /// It has profiles or no replicas: it counts only while it has a container.
    pub(crate) optional: bool,
    /// The lifetime that is expected of its containers.
    pub(crate) role: Role,
}

/// The lifetime that the file states for a service's containers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    /// Keeps running: `restart: always` or `unless-stopped`.
    Service,
    /// Finishes: `restart: "no"` or `on-failure`, or another service waits for its completion.
    Job,
    /// The file states no restart policy.
    #[default]
    Unstated,
}

/// The place that an image comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ImageSource {
    /// A registry: it can be pulled.
    Registry,
    /// A registry or, if the host has not pulled it, a build.
    RegistryOrBuild,
    /// The host, by a `pull_policy` of `never` or `build`: it is never pulled.
    Host,
}

/// Reads a compose file.
///
/// Errors: the first thing that keeps a value that is read here from being certain, or the file from being loaded.
pub(crate) fn read(file: &str, variables: &Variables) -> Result<ComposeSpec, ComposeError> {
    if let Some((name, why)) = variables.problem() {
        return Err(ComposeError::UnclearVariable(name.to_owned(), why));
    }
    let root = reader::read(file).map_err(ComposeError::Yaml)?;
    let top = map(&root, || Place::top("top level"))?;
    if top.contains_key("include") {
        return Err(ComposeError::Include);
    }
    let services = top.get("services").ok_or(ComposeError::NoServices)?;
    let services = map(services, || Place::top("services"))?;
    if services.is_empty() {
        return Err(ComposeError::NoServices);
    }
    schema::check_top_level(top, variables).map_err(ComposeError::Doubtful)?;
    let mut usage = VariableUsage::new(variables);
    usage.visit(&root, &mut Vec::new())?;
    let text_left = Cell::new(COMPOSE_TEXT_MAX);
    let mut spec = ComposeSpec {
        services: BTreeMap::new(),
        unset: usage.unset,
        variables: usage.named,
    };
    let (mut platforms, mut awaited) = (BTreeMap::new(), BTreeSet::new());
    for (name, node) in services {
        let service = ServiceReader::open(name, node, variables, &text_left)?;
        let map = service.map;
        awaited.extend(service.awaited_completions());
        let service = service.spec()?;
        schema::check_service(name, map, top, variables)
            .map_err(|key| ComposeError::Doubtful(format!("services.{name}.{key}")))?;
        if let (Some(image), ImageSource::Registry | ImageSource::RegistryOrBuild) =
            (&service.image, service.source)
        {
            let platform = platforms
                .entry(image.clone())
                .or_insert_with(|| service.platform.clone());
            if *platform != service.platform {
                return Err(ComposeError::Platforms(image.familiar()));
            }
        }
        spec.services.insert(name.to_string(), service);
    }
    for name in awaited {
        if let Some(service) = spec.services.get_mut(&name) {
            service.role = Role::Job;
        }
    }
    if let Some((name, path)) = usage.parsed {
        return Err(ComposeError::ParsedVariable(name, path));
    }
    if let Some(name) = usage.required_in_unused {
        return Err(ComposeError::RequiredInUnused(name));
    }
    Ok(spec)
}

/// The variables that the values of a file use.
struct VariableUsage<'v> {
    variables: &'v Variables,
    unset: BTreeSet<String>,
    named: BTreeSet<String>,
    /// A variable that a delivery changes, and the key whose value compose parses.
    parsed: Option<(String, String)>,
    required_in_unused: Option<String>,
    text_left: usize,
}

impl<'v> VariableUsage<'v> {
    fn new(variables: &'v Variables) -> VariableUsage<'v> {
        VariableUsage {
            variables,
            unset: BTreeSet::new(),
            named: BTreeSet::new(),
            parsed: None,
            required_in_unused: None,
            text_left: COMPOSE_TEXT_MAX,
        }
    }

    /// Visits every value, also those that are repeated by aliases: their place decides how compose reads them.
    fn visit<'n>(&mut self, node: &'n Node, path: &mut Vec<&'n str>) -> Result<(), ComposeError> {
        match &node.content {
            NodeContent::Text { text, .. } if text.contains('$') => self.visit_text(text, path),
            NodeContent::Text { .. } => Ok(()),
            NodeContent::List(list) => list.iter().try_for_each(|item| self.visit(item, path)),
            NodeContent::Map(map) => map.iter().try_for_each(|(key, value)| {
                path.push(key);
                let result = self.visit(value, path);
                path.pop();
                result
            }),
        }
    }

    fn visit_text(&mut self, text: &str, path: &[&str]) -> Result<(), ComposeError> {
        self.text_left = self
            .text_left
            .checked_sub(text.len())
            .ok_or(ComposeError::TooMuchText)?;
        let Ok(template) = Template::parse(text) else {
            return Err(ComposeError::Doubtful(path.join(".")));
        };
        match template.missing_required(self.variables) {
            Some((name, false)) => return Err(ComposeError::Required(name.to_owned())),
            Some((name, true)) => self.required_in_unused = Some(name.to_owned()),
            None => {}
        }
        let (unset, named, parsed) = (&mut self.unset, &mut self.named, &mut self.parsed);
        let variables = self.variables;
        template.visit_variables(variables, &mut |name, missing| {
            named.insert(name.to_owned());
            if missing {
                unset.insert(name.to_owned());
            }
            if parsed.is_none() && variables.is_changed(name) && !takes_any_text(path) {
                *parsed = Some((name.to_owned(), path.join(".")));
            }
        });
        Ok(())
    }
}

/// Returns whether compose takes every text at this path as it is. Everywhere else it parses numbers, sizes, durations, booleans
/// and references, and refuses the file if it cannot.
fn takes_any_text(path: &[&str]) -> bool {
    match path {
        [extension, ..] if extension.starts_with("x-") => true,
        ["services", _, extension, ..] if extension.starts_with("x-") => true,
        ["services", _, key] => matches!(
            *key,
            "image"
                | "command"
                | "entrypoint"
                | "environment"
                | "labels"
                | "annotations"
                | "container_name"
                | "hostname"
                | "domainname"
                | "user"
                | "working_dir"
        ),
        ["services", _, "environment" | "labels" | "annotations", _]
        | ["services", _, "deploy", "labels"]
        | ["services", _, "deploy", "labels", _]
        | ["services", _, "healthcheck", "test"]
        | ["services", _, "build", "args"]
        | ["services", _, "build", "args", _] => true,
        _ => false,
    }
}

/// A service of the file, and the variables for its values.
struct ServiceReader<'f> {
    name: &'f str,
    map: &'f Map,
    variables: &'f Variables,
    /// Bytes of text that may still be interpolated in this file.
    text_left: &'f Cell<usize>,
    assumes_unset: Cell<bool>,
}

impl<'f> ServiceReader<'f> {
    fn open(
        name: &'f str,
        node: &'f Node,
        variables: &'f Variables,
        text_left: &'f Cell<usize>,
    ) -> Result<ServiceReader<'f>, ComposeError> {
        let is_valid = |character: char| {
            character.is_ascii_alphanumeric() || matches!(character, '_' | '-' | '.')
        };
        if name.is_empty() || !name.chars().all(is_valid) {
            return Err(ComposeError::ServiceName(name.to_owned()));
        }
        let map = map(node, || Place {
            key: "definition",
            service: name.to_owned(),
        })?;
        Ok(ServiceReader {
            name,
            map,
            variables,
            text_left,
            assumes_unset: Cell::new(false),
        })
    }

    fn spec(&self) -> Result<ServiceSpec, ComposeError> {
        if self.map.contains_key("extends") {
            return Err(ComposeError::Extends(self.name.to_owned()));
        }
        self.refuse_other_images()?;
        let built = self.is_built()?;
        let policy = self.policy()?;
        let image = self.image()?;
        if image.is_none() && !built {
            return Err(ComposeError::NoImage(self.name.to_owned()));
        }
        let platform = self.platform()?;
        let optional = self.has_profiles()? || self.has_no_replicas()?;
        Ok(ServiceSpec {
            image,
            source: match (&policy, built) {
                (Policy::Host, _) => ImageSource::Host,
                (_, true) => ImageSource::RegistryOrBuild,
                (_, false) => ImageSource::Registry,
            },
            platform,
            only_if_missing: matches!(policy, Policy::IfMissing),
            assumes_unset: self.assumes_unset.get(),
            pulls_itself: match policy {
                Policy::Itself(policy) => Some(policy),
                Policy::Host | Policy::IfMissing | Policy::Unset => None,
            },
            optional,
            role: self.role(),
        })
    }

    /// Refuses keys by which compose pulls further images or models.
    fn refuse_other_images(&self) -> Result<(), ComposeError> {
        for key in ["provider", "models", "pre_start"] {
            if self.map.contains_key(key) {
                return Err(ComposeError::Key(self.name.to_owned(), key));
            }
        }
        let Some(NodeContent::List(volumes)) = self.map.get("volumes").map(|node| &node.content)
        else {
            return Ok(());
        };
        for volume in volumes {
            let NodeContent::Map(volume) = &volume.content else {
                continue;
            };
            if let Some(NodeContent::Text { text, .. }) =
                volume.get("type").map(|node| &node.content)
                && (text == "image" || text.contains('$'))
            {
                return Err(ComposeError::Key(self.name.to_owned(), "volumes.type"));
            }
        }
        Ok(())
    }

    /// The role that the restart policy gives it; `deploy.restart_policy` wins over `restart`, as in compose. A value that cannot
    /// be read counts as unstated.
    fn role(&self) -> Role {
        let deploy = self.map.get("deploy").and_then(|node| as_map(node));
        let policy = deploy
            .and_then(|deploy| deploy.get("restart_policy"))
            .and_then(|node| as_map(node));
        if let Some(policy) = policy {
            return match policy
                .get("condition")
                .map(|node| self.fill(node, "deploy"))
            {
                Some(Ok(text)) if matches!(text.as_str(), "none" | "on-failure") => Role::Job,
                Some(Ok(text)) if text == "any" => Role::Service,
                None => Role::Service,
                Some(_) => Role::Unstated,
            };
        }
        let restart = self
            .map
            .get("restart")
            .map(|node| self.fill(node, "restart"));
        match restart.and_then(Result::ok).as_deref() {
            Some("no") => Role::Job,
            Some("always" | "unless-stopped") => Role::Service,
            Some(text) if text.split(':').next() == Some("on-failure") => Role::Job,
            Some(_) | None => Role::Unstated,
        }
    }

    /// The services whose completion this one waits for.
    fn awaited_completions(&self) -> Vec<String> {
        let dependencies = self.map.get("depends_on").and_then(|node| as_map(node));
        let awaited = |(name, node): (&std::rc::Rc<str>, &std::rc::Rc<Node>)| {
            let condition = as_map(node)?.get("condition")?;
            let condition = self.fill(condition, "depends_on").ok()?;
            (condition == "service_completed_successfully").then(|| name.to_string())
        };
        dependencies
            .into_iter()
            .flatten()
            .filter_map(awaited)
            .collect()
    }

    fn image(&self) -> Result<Option<Reference>, ComposeError> {
        let Some(node) = self.map.get("image") else {
            return Ok(None);
        };
        let place = || self.place("image");
        let NodeContent::Text { text, plain } = &node.content else {
            return Err(odd(place(), "is not a text"));
        };
        if *plain && !reader::is_null(text) && is_not_text(text) {
            return Err(odd(
                place(),
                "is a number, date or boolean to YAML; put it in quotes",
            ));
        }
        let filled = self.fill(node, "image")?;
        match Reference::parse(&filled) {
            Ok(image) => Ok(Some(image.with_default_tag())),
            Err(BadReference::Empty) => Ok(None),
            Err(why) => Err(ComposeError::Image(place(), why)),
        }
    }

    /// The service's `platform` or, as compose reads it, the variable `DOCKER_DEFAULT_PLATFORM`.
    fn platform(&self) -> Result<Option<String>, ComposeError> {
        let platform = match self.map.get("platform") {
            Some(node) => self.fill(node, "platform")?,
            None => match self.variables.get("DOCKER_DEFAULT_PLATFORM") {
                variables::Lookup::Set(platform) => platform.to_owned(),
                // Portainer's own environment has it only if someone has put it there.
                variables::Lookup::Unset | variables::Lookup::Unclear(_) => return Ok(None),
            },
        };
        let is_part = |part: &str| {
            !part.is_empty()
                && part.bytes().all(|byte| {
                    byte.is_ascii_lowercase()
                        || byte.is_ascii_digit()
                        || matches!(byte, b'.' | b'_' | b'-')
                })
        };
        let parts = platform.split('/').count();
        match platform.as_str() {
            "" => Ok(None),
            _ if (2..=3).contains(&parts) && platform.split('/').all(is_part) => Ok(Some(platform)),
            _ => Err(odd(
                self.place("platform"),
                "is not of the form \"linux/arm64\"",
            )),
        }
    }

    fn is_built(&self) -> Result<bool, ComposeError> {
        let Some(node) = self.map.get("build") else {
            return Ok(false);
        };
        match &node.content {
            NodeContent::Text { .. } => self.fill(node, "build")?,
            NodeContent::Map(_) if !node.tagged => return Ok(true),
            NodeContent::Map(_) | NodeContent::List(_) => {
                return Err(odd(self.place("build"), "is neither a text nor a map"));
            }
        };
        Ok(true)
    }

    fn policy(&self) -> Result<Policy, ComposeError> {
        let Some(node) = self.map.get("pull_policy") else {
            return Ok(Policy::Unset);
        };
        let policy = self.fill(node, "pull_policy")?;
        match policy.as_str() {
            "missing" | "if_not_present" => Ok(Policy::IfMissing),
            "never" | "build" => Ok(Policy::Host),
            "always" | "refresh" | "daily" | "weekly" => Ok(Policy::Itself(policy)),
            every if is_interval(every) => Ok(Policy::Itself(policy)),
            _ => Err(odd(self.place("pull_policy"), "is not a known policy")),
        }
    }

    fn has_profiles(&self) -> Result<bool, ComposeError> {
        let Some(node) = self.map.get("profiles") else {
            return Ok(false);
        };
        let NodeContent::List(profiles) = &node.content else {
            return Err(odd(self.place("profiles"), "is not a list"));
        };
        if node.tagged {
            return Err(odd(self.place("profiles"), TAGGED));
        }
        for profile in profiles {
            self.fill(profile, "profiles")?;
        }
        Ok(!profiles.is_empty())
    }

    fn has_no_replicas(&self) -> Result<bool, ComposeError> {
        let scale = self
            .map
            .get("scale")
            .map(|node| self.count(node, "scale"))
            .transpose()?;
        let replicas = match self.map.get("deploy") {
            None => None,
            Some(deploy) if is_null(deploy) => None,
            Some(deploy) => {
                let deploy = map(deploy, || self.place("deploy"))?;
                deploy
                    .get("replicas")
                    .map(|node| self.count(node, "deploy.replicas"))
                    .transpose()?
            }
        };
        match (scale, replicas) {
            (Some(scale), Some(replicas)) if scale != replicas => Err(odd(
                self.place("scale"),
                "is another number than its \"deploy.replicas\"",
            )),
            (Some(count), _) | (None, Some(count)) => Ok(count == 0),
            (None, None) => Ok(false),
        }
    }

    fn count(&self, node: &Node, key: &'static str) -> Result<u32, ComposeError> {
        let text = self.fill(node, key)?;
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse()
            .ok()
            .filter(|_| digits)
            .ok_or_else(|| odd(self.place(key), "is not a count"))
    }

    /// The text of a value with its variables replaced.
    fn fill(&self, node: &Node, key: &'static str) -> Result<String, ComposeError> {
        let place = || self.place(key);
        if node.tagged {
            return Err(odd(place(), TAGGED));
        }
        if is_null(node) {
            return Err(odd(place(), "has no value"));
        }
        let NodeContent::Text { text, .. } = &node.content else {
            return Err(odd(place(), "is not a text"));
        };
        if text.len() > limits::COMPOSE_VALUE_MAX {
            return Err(odd(place(), TOO_LONG));
        }
        let filled = Template::parse(text)
            .and_then(|template| template.fill(self.variables))
            .map_err(|why| match why {
                InterpolationError::Missing(name) => ComposeError::Variable(name, place()),
                InterpolationError::Required(name) => ComposeError::Required(name),
                InterpolationError::RequiredInUnused(name) => ComposeError::RequiredInUnused(name),
                InterpolationError::Unclear(name, why) => ComposeError::UnclearVariable(name, why),
                InterpolationError::Unreadable => odd(
                    place(),
                    "has a \"$\" that releases of compose read differently",
                ),
                InterpolationError::TooLong => odd(place(), TOO_LONG),
            })?;
        let used = text.len().saturating_add(filled.text.len());
        let left = self.text_left.get().checked_sub(used);
        self.text_left.set(left.ok_or(ComposeError::TooMuchText)?);
        if filled.assumes_unset {
            self.assumes_unset.set(true);
        }
        Ok(filled.text)
    }

    fn place(&self, key: &'static str) -> Place {
        Place {
            key,
            service: self.name.to_owned(),
        }
    }
}

/// The meaning of a `pull_policy`.
enum Policy {
    Unset,
    IfMissing,
    /// `never` or `build`.
    Host,
    /// Compose pulls by itself.
    Itself(String),
}

const TOO_LONG: &str = "is longer than the limit";
const TAGGED: &str = "has a YAML tag that is not read here";

fn odd(place: Place, why: &'static str) -> ComposeError {
    ComposeError::Value(place, why)
}

fn map(node: &Node, place: impl Fn() -> Place) -> Result<&Map, ComposeError> {
    match &node.content {
        NodeContent::Map(_) if node.tagged => Err(odd(place(), TAGGED)),
        NodeContent::Map(map) => Ok(map),
        NodeContent::List(_) | NodeContent::Text { .. } => Err(odd(place(), "is not a map")),
    }
}

fn as_map(node: &Node) -> Option<&Map> {
    match &node.content {
        NodeContent::Map(map) if !node.tagged => Some(map),
        NodeContent::Map(_) | NodeContent::List(_) | NodeContent::Text { .. } => None,
    }
}

fn is_null(node: &Node) -> bool {
    matches!(&node.content, NodeContent::Text { text, plain: true } if reader::is_null(text))
}

/// `every_` and numbers with units: `every_12h`, `every_1d12h`.
fn is_interval(text: &str) -> bool {
    text.strip_prefix("every_").is_some_and(|interval| {
        interval.starts_with(|first: char| first.is_ascii_digit())
            && interval.ends_with(['w', 'd', 'h', 'm', 's'])
            && interval
                .bytes()
                .all(|byte| byte.is_ascii_digit() || b"wdhms".contains(&byte))
    })
}

#[cfg(test)]
mod tests;
