//! The command line: arguments become an [`Invocation`], or a sentence about what is wrong with them.

mod arguments;
pub(crate) mod help;
pub(crate) mod completions;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use crate::image::Reference;
use crate::signature::SchemeName;
use crate::text::string_enum;
use arguments::CommandSpec;

/// The task of this process.
#[derive(Debug, PartialEq)]
pub(crate) enum Invocation {
    /// Prints the help of a command, or of the program.
    Help(Option<&'static CommandSpec>),
    /// Prints the version.
    Version,
    /// Prints a completion script.
    Completions(Shell),
    /// Runs a command.
    Run {
        /// The file that `--config` names.
        config: Option<PathBuf>,
        /// The command and its options.
        command: Command,
    },
}

/// A command and its options.
#[derive(Debug, PartialEq)]
pub(crate) enum Command {
    /// Receives webhooks.
    Serve,
    /// Prints a new secret.
    GenerateSecret(SecretFormat),
    /// Checks everything that can be checked without changing anything.
    TestConnection {
        /// Also sends a test notice.
        notify: bool,
        /// Prints one JSON object.
        json: bool,
    },
    /// Prints the effective configuration.
    ShowConfig {
        /// Prints one JSON object.
        json: bool,
    },
    /// Redeploys stacks and waits for the result.
    Redeploy(RedeployArgs),
    /// Restores the images that ran before the last update.
    Rollback {
        /// Key or name of the stack.
        stack: String,
        /// Form of the result.
        output: Output,
    },
    /// Pauses a stack.
    Pause {
        /// Key or name of the stack.
        stack: String,
        /// Length of the pause, such as `2h`; `None`: until it is resumed.
        length: Option<String>,
    },
    /// Resumes updates of a stack.
    Resume {
        /// Key or name of the stack.
        stack: String,
    },
    /// Prints the state of stacks.
    Status {
        /// Keys or names; none: all.
        stacks: Vec<String>,
        /// Prints one JSON object.
        json: bool,
    },
    /// Sends a delivery to a running stackhook and follows it to its end.
    Trigger(TriggerArgs),
    /// Prints the headers that sign a body, or how to set up a sender.
    Sign(SignArgs),
    /// Checks whether the running server is healthy.
    Healthcheck,
}

string_enum! {
    /// A shell with completions.
    Shell:
    /// The Bourne-again shell.
    Bash = "bash",
    /// The Z shell, which runs bash completions.
    Zsh = "zsh",
    /// The friendly interactive shell.
    Fish = "fish",
}

string_enum! {
    /// The form of a new secret.
    SecretFormat:
    /// 32 letters and digits.
    Plain = "plain",
    /// `whsec_` and base64, as senders of Standard Webhooks want it.
    StandardWebhooks = "standard-webhooks",
}

/// Arguments of `redeploy`.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct RedeployArgs {
    pub(crate) stacks: StackChoice,
    /// Only services with these images; none: all.
    pub(crate) images: Vec<Reference>,
    /// Also redeploys if nothing is newer.
    pub(crate) force: bool,
    /// Only prints what would happen.
    pub(crate) dry_run: bool,
    /// Form of the result.
    pub(crate) output: Output,
}

/// Arguments of `sign`.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct SignArgs {
    /// The file with the body; `None`: standard input.
    pub(crate) body: Option<PathBuf>,
    /// The hook's name; `None`: the default hook.
    pub(crate) hook: Option<String>,
    /// Another scheme than the hook's own.
    pub(crate) scheme: Option<SchemeName>,
    /// Prints the settings for the sender instead.
    pub(crate) setup: bool,
}

/// Arguments of `trigger`.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct TriggerArgs {
    /// Keys or names; none: the hook's default stack.
    pub(crate) stacks: Vec<String>,
    /// Address of the server.
    pub(crate) url: Option<String>,
    /// Only services with these images; none: all.
    pub(crate) images: Vec<Reference>,
    /// Variables to set on the stack.
    pub(crate) env: BTreeMap<String, String>,
    /// Also redeploys if nothing is newer.
    pub(crate) force: bool,
    /// Does not wait for the result.
    pub(crate) no_wait: bool,
    /// Form of the result.
    pub(crate) output: Output,
}

/// Form of a command's result.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Output {
    /// JSON instead of text.
    pub(crate) json: bool,
    /// Nothing on success.
    pub(crate) quiet: bool,
}

/// The stacks that a command acts on.
#[derive(Debug, Default, PartialEq)]
pub(crate) enum StackChoice {
    /// The only configured stack, or the default stack.
    #[default]
    Default,
    /// These, by key or name; at least one.
    Named(Vec<String>),
    /// All configured stacks.
    All,
}

/// A problem with the command line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct UsageError(String);

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Parses the arguments that follow the program's name.
pub(crate) fn parse(arguments: Vec<OsString>) -> Result<Invocation, UsageError> {
    let has = |names: [&str; 2]| {
        let mut given = arguments.iter();
        given.any(|given| names.iter().any(|name| given == name))
    };
    // A request for help is answered whatever else is on the line.
    if has(["-h", "--help"]) {
        let mut words = arguments.iter().filter_map(|given| given.to_str());
        return Ok(Invocation::Help(words.find_map(help::find)));
    }
    if has(["-V", "--version"]) {
        return Ok(Invocation::Version);
    }
    let (name, rest) = arguments::split(arguments)?;
    let command = help::find_command(&name)?;
    (command.build)(rest.parse(command)?)
}

#[cfg(test)]
mod tests;
