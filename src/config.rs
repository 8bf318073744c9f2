//! The configuration: file, environment and credentials become checked values, or a list of all problems.
//!
//! `schema` mirrors the file, which `document` reads; `env` overrides it with variables, and `validate` turns both into [`Config`]. To add a key, follow the
//! steps at the top of `schema.rs`.

mod problem;
mod schema;
mod document;
mod parse;
mod env;
mod secrets;
mod checker;
mod validate;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub(crate) use self::env::ProcessEnv;
pub(crate) use self::problem::Problems;
use serde::Serialize;

use self::checker::Checker;
use self::problem::{FileLines, Problem, ValueSource};
use self::schema::{ConfigFile, Sourced};
use crate::hook::{Hook, Network};
use crate::limits;
use crate::secret::Secret;
use crate::stack::{Stack, StackKey};
use crate::text::string_enum;

/// The part of the configuration that a command requires. The rest may be missing, and its secrets are not even read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ConfigScope {
    /// `redeploy`, `rollback`, `test-connection`: Portainer; stacks may be missing, hooks are not read.
    Portainer,
    /// `serve`: Portainer, stacks and hooks.
    Serve,
    /// `sign`, `trigger`: the hooks' secrets, nothing else; hooks may have no stacks.
    Sender,
    /// `show-config`: everything is read and nothing is required.
    Show,
}

/// A configuration, and what to report about it.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// The effective values.
    pub(crate) config: Config,
    /// Suspicious settings that are not wrong; without any secret.
    pub(crate) warnings: Vec<String>,
    /// Every effective setting with its source, in the order of the documentation.
    pub(crate) shown: Vec<Setting>,
}

/// One effective setting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Setting {
    /// Such as `portainer.url` or `stack.app.pull`.
    pub(crate) key: String,
    /// The value as one would write it; for a secret only that it is set.
    pub(crate) value: String,
    /// File and line, variable, credential, or `default`.
    pub(crate) source: String,
}

/// Reads file, environment and credentials; `option` is `--config`.
///
/// Errors: all problems at once; the command exits with 78. Syntax errors of the file end alone, because they hide what else is in it.
pub(crate) fn load(
    scope: ConfigScope,
    option: Option<&Path>,
    env: &ProcessEnv,
) -> Result<Loaded, Problems> {
    let (mut checker, file) = read(scope, option, env, None);
    let config = file.and_then(|mut file| {
        let problems = env::apply(env, &mut file);
        checker.problems.extend(problems);
        checker.config(&file)
    });
    let (problems, warnings) = (checker.problems, checker.warnings);
    match config {
        Some(config) if problems.is_empty() => Ok(Loaded {
            config,
            warnings,
            shown: checker.shown,
        }),
        _ => Err(Problems::new(problems, warnings)),
    }
}

/// Reads only the address where `serve` listens, for `healthcheck`: whatever else is configured must not make a server look unhealthy.
///
/// Errors: the problems with this one value.
pub(crate) fn load_listen(option: Option<&Path>, env: &ProcessEnv) -> Result<SocketAddr, Problems> {
    const VARIABLE: &str = "STACKHOOK_LISTEN";
    let (mut checker, mut file) = match env.text(VARIABLE) {
        Some(_) => (
            Checker::new(ConfigScope::Show, env),
            Some(ConfigFile::default()),
        ),
        None => read(ConfigScope::Show, option, env, Some("listen")),
    };
    if let (Some(file), Some(text)) = (&mut file, env.text(VARIABLE)) {
        let source = ValueSource::Variable(VARIABLE.to_owned());
        file.listen = Some(Sourced::new(text.to_owned(), source));
    }
    let listen = file.and_then(|file| checker.listen(&file));
    match listen {
        Some(listen) if checker.problems.is_empty() => Ok(listen),
        _ => Err(Problems::new(checker.problems, Vec::new())),
    }
}

/// Reads the file, or of it only the key `only`; no file is an empty one. `None` if it cannot be read or has syntax errors.
fn read<'e>(
    scope: ConfigScope,
    option: Option<&Path>,
    env: &'e ProcessEnv,
    only: Option<&str>,
) -> (Checker<'e>, Option<ConfigFile>) {
    let mut checker = Checker::new(scope, env);
    let Some((path, name)) = find_file(option, env) else {
        return (checker, Some(ConfigFile::default()));
    };
    checker.folder = path.parent().map(Path::to_owned).unwrap_or_default();
    let name = name.display().to_string();
    match secrets::read_file(&path, limits::CONFIG_FILE_MAX) {
        Ok(text) => {
            checker.lines = FileLines::new(name, &text.content);
            checker.world_readable = text.world_readable;
            match document::parse(&text.content, only, &checker.lines) {
                Ok((file, problems)) => {
                    checker.problems = problems;
                    return (checker, Some(file));
                }
                Err(problems) => checker.problems = problems,
            }
        }
        Err(why) => {
            let hint = match path.exists() {
                true => "",
                false => "; --config or STACKHOOK_CONFIG names it",
            };
            let lines = FileLines::new(name, "");
            checker.problems = vec![Problem::with_file(&lines, &format!("{why}{hint}"))];
        }
    }
    (checker, None)
}

/// The named file, or else the first of the usual ones that exists: its path, and its name for messages.
fn find_file(option: Option<&Path>, env: &ProcessEnv) -> Option<(PathBuf, PathBuf)> {
    let variable = env.path("STACKHOOK_CONFIG");
    if let Some(path) = option.or(variable.as_deref()) {
        return Some((env.working_dir.join(path), path.to_owned()));
    }
    let local = PathBuf::from("stackhook.toml");
    let usual = [
        (env.working_dir.join(&local), local),
        (env.system_file.clone(), env.system_file.clone()),
    ];
    // One that cannot be inspected counts as existing: to ignore it would be a surprise.
    usual
        .into_iter()
        .find(|(path, _)| path.try_exists().unwrap_or(true))
}

/// The effective configuration.
#[derive(Debug)]
pub(crate) struct Config {
    /// The address where `serve` listens.
    pub(crate) listen: SocketAddr,
    /// The address by which senders and people reach stackhook from outside; without a trailing slash.
    pub(crate) public_url: Option<String>,
    /// The directory for everything that must survive a crash.
    pub(crate) state_dir: Option<PathBuf>,
    /// Peers whose `X-Forwarded-For` is trusted.
    pub(crate) trusted_proxies: Vec<Network>,
    /// The largest accepted body (bytes).
    pub(crate) max_body: usize,
    /// The least severe level that is logged.
    pub(crate) log: log::LevelFilter,
    /// The format of log lines.
    pub(crate) log_format: LogFormat,
    /// Portainer's address and credentials.
    pub(crate) portainer: Option<PortainerSettings>,
    /// Receivers of notices about failures and recoveries.
    pub(crate) notify: Vec<Notify>,
    /// In the order of file, then environment.
    pub(crate) stacks: Vec<Stack>,
    /// The stack of `PORTAINER_STACK_NAME`.
    pub(crate) default_stack: Option<StackKey>,
    /// In the order of file, then environment.
    pub(crate) hooks: Vec<Hook>,
    /// The login of the settings page, which exists only if this is set.
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
        let headers = self
            .portainer
            .iter()
            .flat_map(|portainer| portainer.headers.iter().map(|(_, value)| value));
        let notify = self
            .notify
            .iter()
            .flat_map(|notify| notify.secret.iter().chain([&notify.url]));
        let staff = self.staff.iter().map(|staff| &staff.password);
        let hooks = self.hooks.iter().flat_map(|hook| &hook.secrets);
        portainer
            .chain(headers)
            .chain(notify)
            .chain(staff)
            .chain(hooks)
            .map(|secret| secret.expose().to_owned())
            .collect()
    }
}

string_enum! {
    /// The format of log lines.
    LogFormat:
    /// Plain text, or the prefixes of the systemd journal if it collects them.
    Auto = "auto",
    /// Time, level, message.
    Text = "text",
    /// One JSON object per line.
    Json = "json",
}

/// Portainer's address and the credentials for it.
#[derive(Debug, Clone)]
pub(crate) struct PortainerSettings {
    /// Scheme, host, port and path prefix, without a trailing slash or `/api`.
    pub(crate) url: String,
    /// The API key or login.
    pub(crate) credentials: Credentials,
    /// The certificates that are trusted.
    pub(crate) trust: Trust,
    /// The time limit of one redeploy, from holding its locks to the end of the health check.
    pub(crate) timeout: Duration,
    /// Further headers of every request, for a gateway in front of Portainer; the values are secret.
    pub(crate) headers: Vec<(String, Secret)>,
}

/// Credentials for Portainer.
#[derive(Debug, Clone)]
pub(crate) enum Credentials {
    /// An API key, sent as `X-API-Key`.
    ApiKey(Secret),
    /// A login that yields a JWT.
    Login {
        /// The user's name.
        user: String,
        /// The user's password.
        password: Secret,
    },
}

/// The certificates that are trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Trust {
    /// Certificates signed by a public authority; the roots are compiled in.
    PublicRoots,
    /// The certificates of a PEM file; at least one.
    Roots {
        /// The path they were read from.
        file: PathBuf,
        /// The file's content.
        pem: String,
    },
    /// The one certificate with this SHA-256, whatever names it carries.
    Certificate([u8; 32]),
    /// Any certificate: anyone on the network path can read and change everything.
    Insecure,
}

/// A receiver of notices about failures and recoveries.
#[derive(Debug, Clone)]
pub(crate) struct Notify {
    /// Kept like a secret, since it often contains one.
    pub(crate) url: Secret,
    /// The format of its messages.
    pub(crate) format: NotifyFormat,
    /// Format `json` only: signed as Standard Webhooks.
    pub(crate) secret: Option<Secret>,
    /// The events that are reported.
    pub(crate) on: Vec<NotifyEvent>,
}

string_enum! {
    /// An event that is sent to a receiver.
    NotifyEvent:
    /// A stack starts to fail.
    Failed = "failed",
    /// A stack that failed is healthy again.
    Recovered = "recovered",
    /// A stack was updated.
    Updated = "updated",
}

string_enum! {
    /// The format of a notice.
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
    /// The API server of Apprise.
    Apprise = "apprise",
}

/// The login of the settings page.
#[derive(Debug, Clone)]
pub(crate) struct Staff {
    /// The user name of Basic auth.
    pub(crate) user: String,
    /// The password of Basic auth.
    pub(crate) password: Secret,
}
