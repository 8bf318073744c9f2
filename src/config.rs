//! The checked configuration: file, environment and credentials become values that mean something, or all problems at once.

mod problem;
mod values;
mod parse;
mod disk;
mod surroundings;
mod variables;
mod environment;
mod file;
mod credentials;
pub(crate) mod show;
mod reading;
mod check;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub(crate) use self::problem::Problems;
use self::problem::{Nature, Place};
use self::reading::Reading;
use self::show::Shown;
pub(crate) use self::surroundings::Surroundings;
use self::values::Written;
use crate::hook::{Hook, Network};
use crate::secret::Secret;
use crate::stack::{Stack, StackKey};
use crate::text::string_enum;

/// What a command cannot do without. What is not needed may be missing, and secrets that are not needed are not even read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// `redeploy`, `rollback`, `test-connection`: Portainer; stacks may be missing, hooks are not read.
    Portainer,
    /// `serve`: Portainer, stacks and hooks.
    Serve,
    /// `sign`, `trigger`: the hooks' secrets, nothing else; hooks may have no stacks.
    Sender,
    /// `healthcheck`: `listen` alone is read.
    Listen,
    /// `show-config`: everything is read and nothing is required.
    Show,
}

/// A configuration, and what is to be told about it.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// What is in force.
    pub(crate) config: Config,
    /// What is odd without being wrong; without any secret.
    pub(crate) warnings: Vec<String>,
    /// Every setting in force with its source, in the order of the documentation.
    pub(crate) shown: Vec<Shown>,
}

/// Reads file, environment and credentials; `option` is `--config`.
///
/// # Errors
/// All problems at once; the command ends with 78.
pub(crate) fn load(
    need: Need,
    option: Option<&Path>,
    surroundings: &Surroundings,
) -> Result<Loaded, Problems> {
    let found = file::find(option, surroundings);
    let parsed = found.as_ref().map(file::read);
    let (mut written, problems, torn, open_to_others) = match parsed {
        Some(parsed) => (
            parsed.written,
            parsed.problems,
            parsed.torn,
            parsed.open_to_others,
        ),
        None => (Written::new(), Vec::new(), BTreeSet::new(), false),
    };
    let mut reading = Reading {
        surroundings,
        folder: found
            .as_ref()
            .and_then(|found| found.path.parent())
            .map_or_else(|| surroundings.working_dir.clone(), Path::to_owned),
        open_to_others,
        problems: Vec::new(),
        warnings: Vec::new(),
        shown: Vec::new(),
    };
    if need == Need::Listen {
        environment::lay_over_listen(surroundings, &mut written);
    } else {
        environment::lay_over(
            surroundings,
            &mut written,
            &mut reading.problems,
            &mut reading.warnings,
        );
    }
    let config = check::config(need, written, &mut reading);
    let mut all = problems;
    // Where the syntax is wrong, keys end up in other sections and some seem to be missing: of these nothing is said.
    all.extend(reading.problems.into_iter().filter(|problem| {
        torn.is_empty()
            || match &problem.place {
                Place::Variable(_) | Place::Credential(_) => true,
                Place::Line(_, line) => problem.nature == Nature::Wrong && !torn.contains(line),
                Place::File(_) | Place::Nowhere => false,
            }
    }));
    match all.is_empty() {
        true => Ok(Loaded {
            config,
            warnings: reading.warnings,
            shown: reading.shown,
        }),
        false => Err(Problems::new(all, reading.warnings)),
    }
}

/// Everything that is configured. What a command needs besides is asked of it by [`Need`].
#[derive(Debug)]
pub(crate) struct Config {
    /// Where `serve` listens.
    pub(crate) listen: SocketAddr,
    /// How senders and people reach it from outside; without a trailing slash.
    pub(crate) public_url: Option<String>,
    /// Where what must survive a crash is kept.
    pub(crate) state_dir: Option<PathBuf>,
    /// Peers whose `X-Forwarded-For` is believed.
    pub(crate) trusted_proxies: Vec<Network>,
    /// The largest accepted body (bytes).
    pub(crate) max_body: usize,
    /// What is logged.
    pub(crate) log: log::LevelFilter,
    /// How it is logged.
    pub(crate) log_format: LogFormat,
    /// Where Portainer is and who we are there.
    pub(crate) portainer: Option<Portainer>,
    /// Who is told when a stack starts to fail or recovers.
    pub(crate) notify: Option<Notify>,
    /// In the order of file, then environment.
    pub(crate) stacks: Vec<Stack>,
    /// The stack of `PORTAINER_STACK_NAME`.
    pub(crate) default_stack: Option<StackKey>,
    /// In the order of file, then environment.
    pub(crate) hooks: Vec<Hook>,
    /// Who may see the settings page.
    pub(crate) staff: Option<Staff>,
}

impl Config {
    /// Every configured secret, for the redactor.
    pub(crate) fn secrets(&self) -> Vec<String> {
        let portainer = self
            .portainer
            .iter()
            .map(|portainer| match &portainer.credentials {
                Credentials::ApiKey(key) => key,
                Credentials::Login { password, .. } => password,
            });
        let notify = self
            .notify
            .iter()
            .flat_map(|notify| notify.secret.iter().chain([&notify.url]));
        let staff = self.staff.iter().map(|staff| &staff.password);
        let hooks = self.hooks.iter().flat_map(|hook| &hook.secrets);
        portainer
            .chain(notify)
            .chain(staff)
            .chain(hooks)
            .map(|secret| secret.expose().to_owned())
            .collect()
    }
}

string_enum! {
    /// How log lines look.
    LogFormat:
    /// What the place they go to reads best.
    Auto = "auto",
    /// Time, level, message.
    Text = "text",
    /// One object a line.
    Json = "json",
}

/// Where Portainer is and who we are there.
#[derive(Debug, Clone)]
pub(crate) struct Portainer {
    /// Scheme, host, port and path prefix, without a trailing slash or `/api`.
    pub(crate) url: String,
    /// Who we are.
    pub(crate) credentials: Credentials,
    /// How TLS is trusted.
    pub(crate) trust: Trust,
    /// One redeploy, from having its locks to the end of the health check.
    pub(crate) timeout: Duration,
}

/// Who we are at Portainer.
#[derive(Debug, Clone)]
pub(crate) enum Credentials {
    /// `X-API-Key`.
    ApiKey(Secret),
    /// A login that yields a JWT.
    Login {
        /// The user's name.
        user: String,
        /// The user's password.
        password: Secret,
    },
}

/// How TLS is trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Trust {
    /// The compiled-in public roots.
    PublicRoots,
    /// The certificates of a PEM file; at least one.
    Roots {
        /// Where they were read from.
        file: PathBuf,
        /// The file's content.
        pem: String,
    },
    /// The one certificate with this SHA-256, whatever names it carries.
    Certificate([u8; 32]),
    /// Any certificate: anybody on the way can read and change everything.
    Insecure,
}

/// Who is told when a stack starts to fail or recovers.
#[derive(Debug, Clone)]
pub(crate) struct Notify {
    /// Counts as a secret.
    pub(crate) url: Secret,
    /// What the receiver reads.
    pub(crate) format: NotifyFormat,
    /// Format `json` only: signed as Standard Webhooks.
    pub(crate) secret: Option<Secret>,
}

string_enum! {
    /// What the receiver of a notice reads.
    NotifyFormat:
    /// One JSON object.
    Json = "json",
    /// Slack's incoming webhooks.
    Slack = "slack",
    /// Discord's webhooks.
    Discord = "discord",
    /// ntfy's publishing.
    Ntfy = "ntfy",
    /// Gotify's messages.
    Gotify = "gotify",
}

/// Who may see the settings page.
#[derive(Debug, Clone)]
pub(crate) struct Staff {
    /// The user name of Basic auth.
    pub(crate) user: String,
    /// The password of Basic auth.
    pub(crate) password: Secret,
}
