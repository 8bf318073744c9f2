//! Why a compose file leaves something open, in words for people: what, where, and what they can do.

use std::fmt;

use super::reader::{BadFile, shown};
use crate::compose::interpolate::Operator;
use crate::image::BadReference;

/// A value that is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// The key as it is written, or what the file's own part is called.
    pub(super) key: &'static str,
    /// Empty for the file's own.
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

/// Why it is not certain what a compose file wants. Its text names the construct and a way out, never a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NotCertain {
    /// The file cannot be read as YAML, or not within bounds.
    File(BadFile),
    /// It takes in other files.
    Include,
    /// This service takes over parts of another.
    Extends(String),
    /// There are no services.
    NoServices,
    /// No name that compose allows.
    ServiceName(String),
    /// This service has neither `image` nor `build`.
    NoImage(String),
    /// A variable without a value and default.
    Variable(String, Place),
    /// A variable with an operator that is not acted on.
    Operator(String, Operator, Place),
    /// The image is no reference.
    Image(Place, BadReference),
    /// A value that is not what it should be.
    Value(Place, &'static str),
}

impl fmt::Display for NotCertain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NotCertain::File(why) => write!(f, "{why}"),
            NotCertain::Include => f.write_str(
                "\"include\": other files are not read; write their services into this file",
            ),
            NotCertain::Extends(service) => write!(
                f,
                "\"extends\" in service \"{service}\": write what it takes over into the service, or share it by a YAML anchor"
            ),
            NotCertain::NoServices => {
                f.write_str("the compose file has no services; add some below \"services\"")
            }
            NotCertain::ServiceName(name) => write!(
                f,
                "the service name \"{}\" is none that compose allows; use letters, digits, \".\", \"_\" and \"-\"",
                shown(name)
            ),
            NotCertain::NoImage(service) => {
                write!(
                    f,
                    "service \"{service}\" has neither an image nor a build; give it an image"
                )
            }
            NotCertain::Variable(name, place) => write!(
                f,
                "variable \"{name}\" has neither a value nor a default, in {place}; set it in the stack's environment \
                 variables or write \"${{{name}:-…}}\""
            ),
            NotCertain::Operator(name, operator, place) => write!(
                f,
                "\"${{{name}{}…}}\" in {place}: only \":-\" and \"-\" are foreseen here; use one of them or \"${{{name}}}\"",
                operator.sign()
            ),
            NotCertain::Image(place, why) => write!(f, "{place} is no image reference: {why}"),
            NotCertain::Value(place, why) => {
                write!(f, "{place} {why}; change it in the stack's file")
            }
        }
    }
}

impl std::error::Error for NotCertain {}
