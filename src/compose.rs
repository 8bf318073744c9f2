//! What a compose file wants of its services: image, where it comes from, whether it counts. Only the values named here
//! are read; what compose would make of the rest is compose's affair. Whether an answer is good enough is decided by
//! whoever asked: what is not certain here is an error that says why.

mod interpolate;
mod reader;
mod error;

use std::collections::{BTreeMap, BTreeSet};

use crate::compose::interpolate::{Template, Unfilled};
use crate::image::{BadReference, Reference};
use crate::limits;
pub(crate) use error::{NotCertain, Place};
use reader::{Content, Map, Node};

/// What a compose file wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ComposeFile {
    /// By name.
    pub(crate) services: BTreeMap<String, Wanted>,
    /// Variables, anywhere in the file, that have no value and no default where they are needed: compose fills in
    /// nothing, or refuses the file.
    pub(crate) unset: BTreeSet<String>,
    /// All variables that the file names.
    pub(crate) variables: BTreeSet<String>,
}

/// What a compose file wants of one service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// With tag `latest` where the file has none; none for a service that is only built.
    pub(crate) image: Option<Reference>,
    /// Where its image comes from.
    pub(crate) source: Source,
    /// The platform to pull, where it is not the host's.
    pub(crate) platform: Option<String>,
    /// `pull_policy` is `missing` or `if_not_present`: compose pulls only an image that is not on the host.
    pub(crate) only_if_missing: bool,
    /// The image depends on the default of a variable that has no value here.
    pub(crate) uses_default: bool,
    /// The `pull_policy` (`always`, `daily`, …) by which compose pulls during the update, whatever we do.
    pub(crate) pulls_itself: Option<String>,
    /// It has profiles, or no replicas: it counts only while it has a container.
    pub(crate) optional: bool,
}

/// Where an image comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// A registry: it can be pulled.
    Registry,
    /// A registry or, where the host has not pulled it, a build.
    RegistryOrBuild,
    /// The host, by a `pull_policy` of `never` or `build`: it is never pulled.
    Host,
}

/// Reads a compose file with the variables that Portainer passes to compose.
///
/// # Errors
/// Whatever keeps a value that is read here from being certain. Values that are not read cannot be uncertain.
pub(crate) fn read(file: &str, env: &BTreeMap<String, String>) -> Result<ComposeFile, NotCertain> {
    let (mut unset, mut variables) = (BTreeSet::new(), BTreeSet::new());
    let root = reader::read(file, &mut |value| {
        // What cannot be read here is refused below if it matters, and by compose in any case.
        if let Ok(template) = Template::parse(value) {
            template.variables(env, &mut |name, missed| {
                variables.insert(name.to_owned());
                if missed {
                    unset.insert(name.to_owned());
                }
            });
        }
    })
    .map_err(NotCertain::File)?;
    let top = map(&root, || Place::top("top level"))?;
    if top.contains_key("include") {
        return Err(NotCertain::Include);
    }
    let services = top.get("services").ok_or(NotCertain::NoServices)?;
    let services = map(services, || Place::top("services"))?;
    if services.is_empty() {
        return Err(NotCertain::NoServices);
    }
    let mut wanted = BTreeMap::new();
    for (name, node) in services {
        wanted.insert(name.to_string(), Service::open(name, node, env)?.wanted()?);
    }
    Ok(ComposeFile {
        services: wanted,
        unset,
        variables,
    })
}

/// One service of the file, and what its values are filled from.
struct Service<'f> {
    name: &'f str,
    map: &'f Map,
    env: &'f BTreeMap<String, String>,
}

impl<'f> Service<'f> {
    fn open(
        name: &'f str,
        node: &'f Node,
        env: &'f BTreeMap<String, String>,
    ) -> Result<Service<'f>, NotCertain> {
        let harmless = |sign: char| sign.is_ascii_alphanumeric() || matches!(sign, '_' | '-' | '.');
        if name.is_empty() || !name.chars().all(harmless) {
            return Err(NotCertain::ServiceName(name.to_owned()));
        }
        let map = map(node, || Place {
            key: "definition",
            service: name.to_owned(),
        })?;
        Ok(Service { name, map, env })
    }

    fn wanted(&self) -> Result<Wanted, NotCertain> {
        if self.map.contains_key("extends") {
            return Err(NotCertain::Extends(self.name.to_owned()));
        }
        let built = self.is_built()?;
        let policy = self.policy()?;
        let image = self.image()?;
        if image.is_none() && !built {
            return Err(NotCertain::NoImage(self.name.to_owned()));
        }
        Ok(Wanted {
            image,
            source: match (&policy, built) {
                (Policy::Local, _) => Source::Host,
                (_, true) => Source::RegistryOrBuild,
                (_, false) => Source::Registry,
            },
            platform: None,
            only_if_missing: matches!(policy, Policy::IfMissing),
            uses_default: false,
            pulls_itself: match policy {
                Policy::Itself(policy) => Some(policy),
                Policy::Local | Policy::IfMissing | Policy::Unset => None,
            },
            optional: self.has_profiles()? || self.has_no_replicas()?,
        })
    }

    fn image(&self) -> Result<Option<Reference>, NotCertain> {
        let Some(node) = self.map.get("image") else {
            return Ok(None);
        };
        let place = || self.place("image");
        let Content::Text { text, plain } = &node.content else {
            return Err(odd(place(), "is not a text"));
        };
        if *plain && is_number_or_bool(text) {
            return Err(odd(
                place(),
                "is a number or truth value to YAML; put it in quotes",
            ));
        }
        let filled = self.fill(node, "image")?;
        match Reference::parse(&filled) {
            Ok(image) => Ok(Some(image.with_default_tag())),
            Err(BadReference::Empty) => Ok(None),
            Err(why) => Err(NotCertain::Image(place(), why)),
        }
    }

    fn is_built(&self) -> Result<bool, NotCertain> {
        let Some(node) = self.map.get("build") else {
            return Ok(false);
        };
        match &node.content {
            Content::Text { .. } => self.fill(node, "build")?,
            Content::Map(_) if !node.tagged => return Ok(true),
            Content::Map(_) | Content::List(_) => {
                return Err(odd(self.place("build"), "is neither a text nor a map"));
            }
        };
        Ok(true)
    }

    fn policy(&self) -> Result<Policy, NotCertain> {
        let Some(node) = self.map.get("pull_policy") else {
            return Ok(Policy::Unset);
        };
        let policy = self.fill(node, "pull_policy")?;
        match policy.as_str() {
            "missing" | "if_not_present" => Ok(Policy::IfMissing),
            "never" | "build" => Ok(Policy::Local),
            "always" | "refresh" | "daily" | "weekly" => Ok(Policy::Itself(policy)),
            every if is_interval(every) => Ok(Policy::Itself(policy)),
            _ => Err(odd(self.place("pull_policy"), "is none that is known here")),
        }
    }

    fn has_profiles(&self) -> Result<bool, NotCertain> {
        let Some(node) = self.map.get("profiles") else {
            return Ok(false);
        };
        let Content::List(profiles) = &node.content else {
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

    fn has_no_replicas(&self) -> Result<bool, NotCertain> {
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

    fn count(&self, node: &Node, key: &'static str) -> Result<u32, NotCertain> {
        let text = self.fill(node, key)?;
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse()
            .ok()
            .filter(|_| digits)
            .ok_or_else(|| odd(self.place(key), "is not a count"))
    }

    /// The text of a value, with its variables filled in.
    fn fill(&self, node: &Node, key: &'static str) -> Result<String, NotCertain> {
        let place = || self.place(key);
        if node.tagged {
            return Err(odd(place(), TAGGED));
        }
        if is_null(node) {
            return Err(odd(place(), "has no value"));
        }
        let Content::Text { text, .. } = &node.content else {
            return Err(odd(place(), "is not a text"));
        };
        if text.len() > limits::COMPOSE_VALUE_MAX {
            return Err(odd(place(), TOO_LONG));
        }
        Template::parse(text)
            .and_then(|read| read.fill(self.env))
            .map_err(|why| match why {
                Unfilled::Missing(name) => NotCertain::Variable(name, place()),
                Unfilled::Operator(name, operator) => NotCertain::Operator(name, operator, place()),
                Unfilled::Unreadable => odd(
                    place(),
                    "has a \"$\" that is read differently by releases of compose",
                ),
                Unfilled::TooLong => odd(place(), TOO_LONG),
            })
    }

    fn place(&self, key: &'static str) -> Place {
        Place {
            key,
            service: self.name.to_owned(),
        }
    }
}

/// A `pull_policy`, by what it means here.
enum Policy {
    Unset,
    IfMissing,
    Local,
    Itself(String),
}

const TOO_LONG: &str = "is longer than any that is read here";
const TAGGED: &str = "has a tag (\"!…\") that is not read here";

fn odd(place: Place, why: &'static str) -> NotCertain {
    NotCertain::Value(place, why)
}

fn map(node: &Node, place: impl Fn() -> Place) -> Result<&Map, NotCertain> {
    match &node.content {
        Content::Map(_) if node.tagged => Err(odd(place(), TAGGED)),
        Content::Map(map) => Ok(map),
        Content::List(_) | Content::Text { .. } => Err(odd(place(), "is not a map")),
    }
}

fn is_null(node: &Node) -> bool {
    matches!(&node.content, Content::Text { text, plain: true } if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
}

/// Whether a plain text is not a text to YAML; compose refuses such an image.
fn is_number_or_bool(text: &str) -> bool {
    let number = text.starts_with(|first: char| first.is_ascii_digit())
        && (text.replace('_', "").parse::<f64>().is_ok()
            || ["0x", "0o", "0b"].iter().any(|base| text.starts_with(base)));
    number || matches!(text, "true" | "True" | "TRUE" | "false" | "False" | "FALSE")
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
