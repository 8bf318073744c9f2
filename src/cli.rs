//! The command line: arguments as typed become arguments as meant, or a sentence about what is wrong with them.

pub(crate) mod help;
mod typed;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use crate::image::Reference;
use crate::named::named;
use crate::near::hint;
use crate::signature::SchemeName;
use help::Topic;
use typed::Typed;

/// What is to be done.
#[derive(Debug, PartialEq)]
pub(crate) enum Meant {
    /// Print a help text.
    Help(Topic),
    /// Print the version.
    Version,
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
    },
    /// Print the configuration in force.
    ShowConfig,
    /// Redeploy stacks and wait for the end.
    Redeploy(Redeploy),
    /// Bring back the images that ran before the last update.
    Rollback(Rollback),
    /// Send a delivery to a running stackhook and follow it to its end.
    Trigger(Trigger),
    /// Print the headers that sign a body, or how to set up a sender.
    Sign(Sign),
    /// Ask the running server whether it is well.
    Healthcheck,
}

named! {
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
    /// Print JSON instead of words.
    pub(crate) json: bool,
    /// Print nothing when all went well.
    pub(crate) quiet: bool,
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

/// What is asked of a running stackhook, and how its end is said.
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
    /// Print JSON instead of words.
    pub(crate) json: bool,
    /// Print nothing when all went well.
    pub(crate) quiet: bool,
}

/// Which stack, and how that is said.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Rollback {
    /// Its key or name.
    pub(crate) stack: String,
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

/// The commands, in the order of the help.
const COMMANDS: [(&str, Topic); 9] = [
    ("serve", Topic::Serve),
    ("generate-secret", Topic::GenerateSecret),
    ("test-connection", Topic::TestConnection),
    ("show-config", Topic::ShowConfig),
    ("redeploy", Topic::Redeploy),
    ("rollback", Topic::Rollback),
    ("trigger", Topic::Trigger),
    ("sign", Topic::Sign),
    ("healthcheck", Topic::Healthcheck),
];

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
    let command = typed.meant()?;
    Ok(Meant::Run { config, command })
}

fn topic(command: &str) -> Option<Topic> {
    let found = COMMANDS.iter().find(|(name, _)| *name == command)?;
    Some(found.1)
}

impl Typed {
    fn meant(mut self) -> Result<Command, Usage> {
        let word = self.command()?;
        let command = match topic(&word) {
            Some(Topic::Serve) => Command::Serve,
            Some(Topic::GenerateSecret) => Command::GenerateSecret(self.secret_format()?),
            Some(Topic::TestConnection) => Command::TestConnection {
                notify: self.flag("--notify")?,
            },
            Some(Topic::ShowConfig) => Command::ShowConfig,
            Some(Topic::Redeploy) => return self.redeploy().map(Command::Redeploy),
            Some(Topic::Rollback) => return self.rollback().map(Command::Rollback),
            Some(Topic::Trigger) => return self.trigger().map(Command::Trigger),
            Some(Topic::Sign) => return self.sign().map(Command::Sign),
            Some(Topic::Healthcheck) => Command::Healthcheck,
            Some(Topic::Program) | None => {
                let near = hint(&word, COMMANDS.map(|(name, _)| name));
                return Err(Usage(format!("unknown command {word:?}{near}")));
            }
        };
        match self.rest()?.first() {
            None => Ok(command),
            Some(left) => Err(Usage(format!("{word} takes no argument {left:?}"))),
        }
    }

    fn secret_format(&mut self) -> Result<SecretFormat, Usage> {
        let Some(text) = self.value("--format", "FORMAT")? else {
            return Ok(SecretFormat::Plain);
        };
        SecretFormat::parse(&text).ok_or_else(|| {
            let names = SecretFormat::NAMES.join(", ");
            Usage(format!("unknown format {text:?}; there are {names}"))
        })
    }

    fn redeploy(mut self) -> Result<Redeploy, Usage> {
        let mut redeploy = Redeploy {
            force: self.flag("--force")?,
            dry_run: self.flag("--dry-run")?,
            json: self.flag("--json")?,
            quiet: self.flag("--quiet")?,
            ..Redeploy::default()
        };
        let all = self.flag("--all")?;
        while let Some(text) = self.next_value("--image", "REF")? {
            let image = Reference::parse(&text)
                .map_err(|why| Usage(format!("--image {text:?} is no image reference: {why}")))?;
            redeploy.images.push(image);
        }
        let named = self.rest()?;
        redeploy.which = match (all, named.is_empty()) {
            (true, true) => Which::All,
            (true, false) => {
                return Err(Usage::new("--all and names of stacks exclude each other"));
            }
            (false, true) => Which::Unsaid,
            (false, false) => Which::Named(named),
        };
        Ok(redeploy)
    }

    fn trigger(mut self) -> Result<Trigger, Usage> {
        let mut trigger = Trigger {
            url: self.value("--url", "URL")?,
            force: self.flag("--force")?,
            no_wait: self.flag("--no-wait")?,
            json: self.flag("--json")?,
            quiet: self.flag("--quiet")?,
            ..Trigger::default()
        };
        while let Some(text) = self.next_value("--image", "REF")? {
            let image = Reference::parse(&text)
                .map_err(|why| Usage(format!("--image {text:?} is no image reference: {why}")))?;
            trigger.images.push(image);
        }
        while let Some(text) = self.next_value("--env", "NAME=VALUE")? {
            // The text is not repeated: whatever it is, it was meant to be a value.
            let Some((name, value)) = text.split_once('=').filter(|(name, _)| !name.is_empty())
            else {
                return Err(Usage::new(
                    "--env needs a name and a value: --env NAME=VALUE",
                ));
            };
            if trigger
                .set
                .insert(name.to_owned(), value.to_owned())
                .is_some()
            {
                return Err(Usage(format!("--env sets {name:?} twice")));
            }
        }
        trigger.stacks = self.rest()?;
        Ok(trigger)
    }

    fn sign(mut self) -> Result<Sign, Usage> {
        let hook = self.value("--hook", "NAME")?;
        let setup = self.flag("--setup")?;
        let scheme = match self.value("--scheme", "SCHEME")? {
            None => None,
            Some(text) => Some(SchemeName::parse(&text).ok_or_else(|| {
                let near = hint(&text, SchemeName::NAMES.iter().copied());
                let names = SchemeName::NAMES.join(", ");
                Usage(format!("unknown scheme {text:?}{near}; there are {names}"))
            })?),
        };
        let mut files = self.rest()?.into_iter();
        match (files.next(), files.next(), setup) {
            (_, Some(_), _) => Err(Usage::new("sign takes one file at most")),
            (Some(_), None, true) => Err(Usage::new("--setup signs nothing, so it takes no file")),
            (None, None, true) if scheme.is_some() => Err(Usage::new(
                "--setup shows the hook's own scheme; --scheme does not go with it",
            )),
            (body, None, _) => Ok(Sign {
                body: body.map(PathBuf::from),
                hook,
                scheme,
                setup,
            }),
        }
    }

    fn rollback(mut self) -> Result<Rollback, Usage> {
        let (json, quiet) = (self.flag("--json")?, self.flag("--quiet")?);
        match self.rest()?.as_slice() {
            [stack] => Ok(Rollback {
                stack: stack.clone(),
                json,
                quiet,
            }),
            _ => Err(Usage::new(
                "rollback takes exactly one stack: stackhook rollback STACK",
            )),
        }
    }
}

#[cfg(test)]
mod tests;
