//! The checked configuration: file, environment and credentials become values that mean something, or all problems at once.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::hook::{Hook, Network};
use crate::secret::Secret;
use crate::stack::{Stack, StackKey};

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

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// What the place they go to reads best.
    Auto,
    /// Time, level, message.
    Text,
    /// One object a line.
    Json,
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

/// What the receiver of a notice reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotifyFormat {
    /// One JSON object.
    Json,
    /// Slack's incoming webhooks.
    Slack,
    /// Discord's webhooks.
    Discord,
    /// ntfy's publishing.
    Ntfy,
    /// Gotify's messages.
    Gotify,
}

/// Who may see the settings page.
#[derive(Debug, Clone)]
pub(crate) struct Staff {
    /// The user name of Basic auth.
    pub(crate) user: String,
    /// The password of Basic auth.
    pub(crate) password: Secret,
}
