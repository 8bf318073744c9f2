//! What is wanted of a stack and how it ended: the words that hooks, queue, redeploy and replies share.

pub(crate) mod order;
pub(crate) mod outcome;

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::image::Pattern;
use crate::limits;
use crate::text::string_enum;

/// What hooks, payloads and the command line call a stack.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct StackKey(String);

impl StackKey {
    /// A key stands in URLs and file names: letters, digits, `_`, `-` and `.`, not beginning with a dot.
    pub(crate) fn parse(text: &str) -> Option<StackKey> {
        let harmless = |sign: char| sign.is_ascii_alphanumeric() || matches!(sign, '_' | '-' | '.');
        let fits = !text.is_empty() && text.len() <= limits::NAME_MAX && !text.starts_with('.');
        (fits && text.chars().all(harmless)).then(|| StackKey(text.to_owned()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for StackKey {
    type Error = &'static str;

    fn try_from(text: String) -> Result<StackKey, &'static str> {
        StackKey::parse(&text).ok_or("no key of a stack")
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
    /// How it is called here.
    pub(crate) key: StackKey,
    /// How it is called in Portainer.
    pub(crate) name: String,
    /// Name or id of its environment, where the name alone is not unique.
    pub(crate) environment: Option<String>,
    /// Who pulls, and when.
    pub(crate) pull: PullMode,
    /// Images that only an event that names them may update.
    pub(crate) except: Vec<Pattern>,
    /// Variables that a signed delivery may set.
    pub(crate) env: Vec<String>,
    /// How long new containers may take to become healthy; zero: not looked.
    pub(crate) healthy_within: Duration,
    /// When the previous images are brought back.
    pub(crate) rollback: RollBack,
    /// Whether replaced images are removed, one generation later.
    pub(crate) cleanup: bool,
}

string_enum! {
    /// Who pulls images, and when.
    PullMode:
    /// Through Portainer's Docker proxy, before the stack is touched.
    First = "first",
    /// By Portainer, in the update itself.
    Portainer = "portainer",
    /// Nobody: only what is on the host is used.
    Never = "never",
}

string_enum! {
    /// When the previous images are brought back.
    RollBack:
    /// When a service that ran has no container left.
    WhenDown = "when-down",
    /// Also when new containers do not become healthy.
    WhenUnhealthy = "when-unhealthy",
    /// By a person only.
    Never = "never",
}
