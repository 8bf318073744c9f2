//! A configured stack, the orders for it and their outcomes: the types that hooks, queue, redeploy and replies share.

pub(crate) mod order;
pub(crate) mod outcome;

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::image::Pattern;
use crate::limits;
use crate::text::string_enum;

/// The name of a stack in hooks, payloads and on the command line.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct StackKey(String);

impl StackKey {
    /// Parses a key, which is used in URLs and file names: letters, digits, `_`, `-` and `.`, not beginning with a dot.
    pub(crate) fn parse(text: &str) -> Option<StackKey> {
        let is_allowed = |one: char| one.is_ascii_alphanumeric() || matches!(one, '_' | '-' | '.');
        let fits = !text.is_empty() && text.len() <= limits::NAME_MAX && !text.starts_with('.');
        (fits && text.chars().all(is_allowed)).then(|| StackKey(text.to_owned()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for StackKey {
    type Error = &'static str;

    fn try_from(text: String) -> Result<StackKey, &'static str> {
        StackKey::parse(&text).ok_or("not a valid key of a stack")
    }
}

impl From<StackKey> for String {
    fn from(key: StackKey) -> String {
        key.0
    }
}

impl fmt::Display for StackKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A configured stack.
#[derive(Debug, Clone)]
pub(crate) struct Stack {
    /// Its key in hooks and commands.
    pub(crate) key: StackKey,
    /// Its name in Portainer.
    pub(crate) name: String,
    /// Name or id of its environment, for a stack whose name alone is not unique.
    pub(crate) environment: Option<String>,
    /// The way its images are pulled.
    pub(crate) pull: PullMode,
    /// Images that only an event that names them may update.
    pub(crate) except: Vec<Pattern>,
    /// Variables that a signed delivery may set.
    pub(crate) env: Vec<String>,
    /// The time that new containers may take to become healthy; zero: not verified.
    pub(crate) healthy_within: Duration,
    /// The condition for an automatic rollback.
    pub(crate) rollback: RollBack,
    /// Removes replaced images, one generation later.
    pub(crate) cleanup: bool,
}

string_enum! {
    /// The way images are pulled.
    PullMode:
    /// Through Portainer's Docker proxy, before the stack is touched.
    First = "first",
    /// By Portainer, in the update itself.
    Portainer = "portainer",
    /// Not at all: only images on the host are used.
    Never = "never",
}

string_enum! {
    /// The condition under which the previous images are restored.
    RollBack:
    /// A service that ran has no running container left.
    WhenDown = "when-down",
    /// Also if new containers do not become healthy.
    WhenUnhealthy = "when-unhealthy",
    /// Only a person rolls back.
    Never = "never",
}
