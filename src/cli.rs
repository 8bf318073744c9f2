//! The command line: arguments as typed become arguments as meant, or a sentence about what is wrong with them.

pub(crate) mod help;
pub(crate) mod completions;
mod typed;
mod meant;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use crate::image::Reference;
use crate::signature::SchemeName;
use crate::text::string_enum;
use completions::Shell;
use help::Topic;
use typed::Typed;

/// What is to be done.
#[derive(Debug, PartialEq)]
pub(crate) enum Meant {
    /// Print a help text.
    Help(Topic),
    /// Print the version.
    Version,
    /// Print a completion script.
    Completions(Shell),
    /// Run a command.
    Run {
        /// `--config`
        config: Option<PathBuf>,
        /// Which, and how.
        command: Command,
    },
}

/// A command and its options.
#[derive(Debug, PartialEq)]
pub(crate) enum Command {
    /// Receive webhooks.
    Serve,
    /// Print a new secret.
    GenerateSecret(SecretFormat),
    /// Check everything that can be checked without changing anything.
    TestConnection {
        /// Also send a test notice.
        notify: bool,
        /// Print one JSON object.
        json: bool,
    },
    /// Print the effective configuration.
    ShowConfig {
        /// Print one JSON object.
        json: bool,
    },
    /// Redeploy stacks and wait for the end.
    Redeploy(Redeploy),
    /// Bring back the images that ran before the last update.
    Rollback(Rollback),
    /// Pause a stack.
    Pause(Pause),
    /// Resume updates of a stack.
    Resume {
        /// Key or name of the stack.
        stack: String,
    },
    /// Print the state of stacks.
    Status(Status),
    /// Send a delivery to a running stackhook and follow it to its end.
    Trigger(Trigger),
    /// Print the headers that sign a body, or how to set up a sender.
    Sign(Sign),
    /// Ask the running server whether it is well.
    Healthcheck,
}

string_enum! {
    /// How a new secret is written.
    SecretFormat:
    /// 32 letters and digits.
    Plain = "plain",
    /// `whsec_` and base64, as senders of Standard Webhooks want it.
    StandardWebhooks = "standard-webhooks",
}

/// Which stacks, and how.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Redeploy {
    pub(crate) which: Which,
    /// Only services with these images; none: all.
    pub(crate) images: Vec<Reference>,
    /// Also if nothing is newer.
    pub(crate) force: bool,
    /// Only say what would happen.
    pub(crate) dry_run: bool,
    /// How the end is said.
    pub(crate) output: Output,
}

/// What is signed, and for which hook.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Sign {
    /// The file with the body; none: standard input.
    pub(crate) body: Option<PathBuf>,
    /// The hook's name; none: the default hook.
    pub(crate) hook: Option<String>,
    /// Another scheme than the hook's own.
    pub(crate) scheme: Option<SchemeName>,
    /// Print what to enter at the sender instead.
    pub(crate) setup: bool,
}

/// What is asked of a running stackhook.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Trigger {
    /// Keys or names; none: the one that the hook means by itself.
    pub(crate) stacks: Vec<String>,
    /// Where it runs.
    pub(crate) url: Option<String>,
    /// Only services with these images; none: all.
    pub(crate) images: Vec<Reference>,
    /// Variables to set on the stack.
    pub(crate) set: BTreeMap<String, String>,
    /// Also if nothing is newer.
    pub(crate) force: bool,
    /// Do not wait for the end.
    pub(crate) no_wait: bool,
    /// How the end is said.
    pub(crate) output: Output,
}

/// Which stack goes back.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Rollback {
    /// Its key or name.
    pub(crate) stack: String,
    /// How the end is said.
    pub(crate) output: Output,
}

/// Options of `pause`.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Pause {
    /// Key or name of the stack.
    pub(crate) stack: String,
    /// Length of the pause, such as `2h`; none: until it is resumed.
    pub(crate) length: Option<String>,
}

/// Options of `status`.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Status {
    /// Keys or names; none: all.
    pub(crate) stacks: Vec<String>,
    /// Print one JSON object.
    pub(crate) json: bool,
}

/// How the end of a command is said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Output {
    /// Print JSON instead of words.
    pub(crate) json: bool,
    /// Print nothing when all went well.
    pub(crate) quiet: bool,
}

/// Which stacks a command is about.
#[derive(Debug, Default, PartialEq)]
pub(crate) enum Which {
    /// The only one, or the default one.
    #[default]
    Unsaid,
    /// These, by key or name; at least one.
    Named(Vec<String>),
    /// Every configured one.
    All,
}

/// What is wrong with the command line, in words.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Usage(String);

impl Usage {
    pub(crate) fn new(what: impl Into<String>) -> Usage {
        Usage(what.into())
    }
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What the arguments (without the program's name) mean.
pub(crate) fn parse(arguments: Vec<OsString>) -> Result<Meant, Usage> {
    let has = |names: [&str; 2]| {
        arguments
            .iter()
            .any(|given| names.iter().any(|name| given == name))
    };
    // Who asks for help gets it, whatever else is on the line.
    if has(["-h", "--help"]) {
        let asked = arguments.iter().find_map(|given| topic(given.to_str()?));
        return Ok(Meant::Help(asked.unwrap_or(Topic::Program)));
    }
    if has(["-V", "--version"]) {
        return Ok(Meant::Version);
    }
    let mut typed = Typed::new(arguments);
    let config = typed.path("--config")?;
    match typed.peek_command().as_deref() {
        Some("help") => return typed.help().map(Meant::Help),
        Some("version") => return typed.no_arguments("version").map(|()| Meant::Version),
        Some("completions") => return typed.shell().map(Meant::Completions),
        _ => {}
    }
    let command = typed.meant()?;
    Ok(Meant::Run { config, command })
}

fn topic(command: &str) -> Option<Topic> {
    help::find(command).map(|command| command.topic)
}

#[cfg(test)]
mod tests;
