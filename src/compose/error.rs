//! The reasons for which a compose file leaves something open: what, where, and the next step.

use std::fmt;

use super::reader::{YamlError, shown};
use crate::image::BadReference;

/// A place in the compose file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// The key, or the name of a part of the file.
    pub(super) key: &'static str,
    /// Empty for a part of the file itself.
    pub(super) service: String,
}

impl Place {
    pub(super) fn top(key: &'static str) -> Place {
        Place {
            key,
            service: String::new(),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.service.is_empty() {
            return write!(f, "the compose file's {}", self.key);
        }
        write!(f, "the {} of service \"{}\"", self.key, self.service)
    }
}

/// The reason for which it is not certain what a compose file asks for. Its text never contains the value of a variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ComposeError {
    /// The file is not valid YAML, or beyond the limits.
    Yaml(YamlError),
    /// It includes other files.
    Include,
    /// This service takes over parts of another.
    Extends(String),
    /// It has no services.
    NoServices,
    /// The name of a service is not valid.
    ServiceName(String),
    /// This service has neither `image` nor `build`.
    NoImage(String),
    /// A variable without a value and without a default.
    Variable(String, Place),
    /// A required variable is missing.
    Required(String),
    /// A required variable is missing where only some releases of compose need it.
    RequiredInUnused(String),
    /// The value of a variable is not known, for this reason.
    UnclearVariable(String, &'static str),
    /// A delivery sets this variable, and compose parses the value of this key.
    ParsedVariable(String, String),
    /// The image is not a valid reference.
    Image(Place, BadReference),
    /// A value that is not read here, for this reason.
    Value(Place, &'static str),
    /// This service uses a key that changes what is pulled and that is not read here.
    Key(String, &'static str),
    /// The value at this path may be one that compose refuses.
    Doubtful(String),
    /// Two services want this image for different platforms.
    Platforms(String),
    /// More text with variables than the limit.
    TooMuchText,
}

impl ComposeError {
    /// Returns whether every release of compose refuses the file, so that an update is certain to fail.
    pub(crate) fn is_refused_by_compose(&self) -> bool {
        match self {
            ComposeError::Yaml(error) => error.is_invalid_yaml(),
            ComposeError::Required(_) | ComposeError::NoImage(_) => true,
            ComposeError::Include
            | ComposeError::Extends(_)
            | ComposeError::NoServices
            | ComposeError::ServiceName(_)
            | ComposeError::Variable(..)
            | ComposeError::RequiredInUnused(_)
            | ComposeError::UnclearVariable(..)
            | ComposeError::ParsedVariable(..)
            | ComposeError::Image(..)
            | ComposeError::Value(..)
            | ComposeError::Key(..)
            | ComposeError::Doubtful(_)
            | ComposeError::Platforms(_)
            | ComposeError::TooMuchText => false,
        }
    }
}

impl fmt::Display for ComposeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ComposeError::Yaml(why) => write!(f, "{why}"),
            ComposeError::Include => f.write_str(
                "\"include\": other files are not read; write their services into this file",
            ),
            ComposeError::Extends(service) => write!(
                f,
                "\"extends\" in service \"{service}\": write the parts that it takes over into the service, or share them by a YAML anchor"
            ),
            ComposeError::NoServices => {
                f.write_str("the compose file has no services; add some below \"services\"")
            }
            ComposeError::ServiceName(name) => write!(
                f,
                "\"{}\" is not a valid service name; use letters, digits, \".\", \"_\" and \"-\"",
                shown(name)
            ),
            ComposeError::NoImage(service) => write!(
                f,
                "service \"{service}\" has neither an image nor a build; give it an image"
            ),
            ComposeError::Variable(name, place) => write!(
                f,
                "variable \"{name}\" has neither a value nor a default, in {place}; set it in the stack's environment \
                 variables or write \"${{{name}:-…}}\""
            ),
            ComposeError::Required(name) => write!(
                f,
                "the required variable \"{name}\" has no value; set it in the stack's environment variables"
            ),
            ComposeError::RequiredInUnused(name) => write!(
                f,
                "the required variable \"{name}\" in an unused default has no value, for which some releases of compose \
                 refuse the file; set it in the stack's environment variables"
            ),
            ComposeError::UnclearVariable(name, why) => write!(
                f,
                "variable \"{}\" {why}, so the value that compose reads is not certain; change it in the stack's \
                 environment variables",
                shown(name)
            ),
            ComposeError::ParsedVariable(name, path) => write!(
                f,
                "the delivery changes variable \"{name}\", which \"{}\" uses: an invalid value would make the file unreadable",
                shown(path)
            ),
            ComposeError::Image(place, why) => {
                write!(f, "{place} is not a valid image reference: {why}")
            }
            ComposeError::Value(place, why) => {
                write!(f, "{place} {why}; change it in the stack's file")
            }
            ComposeError::Key(service, key) => write!(
                f,
                "service \"{service}\" uses \"{key}\", which changes the images that compose pulls and is not read here"
            ),
            ComposeError::Doubtful(path) => write!(
                f,
                "\"{}\" in the compose file has a value that compose may refuse; check it",
                shown(path)
            ),
            ComposeError::Platforms(image) => write!(
                f,
                "services ask for {image} for different platforms; give them the same \"platform\""
            ),
            ComposeError::TooMuchText => f.write_str(
                "the compose file repeats too much text with variables; use fewer aliases",
            ),
        }
    }
}

impl std::error::Error for ComposeError {}
