//! What the arguments of each command mean.

use std::path::PathBuf;

use crate::cli::completions::Shell;
use crate::cli::help::{COMMANDS, Topic};
use crate::cli::typed::Typed;
use crate::cli::{
    Command, Output, Pause, Redeploy, Rollback, SecretFormat, Sign, Status, Trigger, Usage, Which,
    topic,
};
use crate::image::Reference;
use crate::signature::SchemeName;
use crate::suggest::did_you_mean;

impl Typed {
    /// The command and its options.
    pub(super) fn meant(mut self) -> Result<Command, Usage> {
        let word = self.command()?;
        let command = match topic(&word) {
            Some(Topic::Serve) => Command::Serve,
            Some(Topic::GenerateSecret) => Command::GenerateSecret(self.secret_format()?),
            Some(Topic::TestConnection) => Command::TestConnection {
                notify: self.flag("--notify")?,
                json: self.flag("--json")?,
            },
            Some(Topic::ShowConfig) => Command::ShowConfig {
                json: self.flag("--json")?,
            },
            Some(Topic::Redeploy) => return self.redeploy().map(Command::Redeploy),
            Some(Topic::Rollback) => return self.rollback().map(Command::Rollback),
            Some(Topic::Pause) => return self.pause().map(Command::Pause),
            Some(Topic::Resume) => {
                let stack = self.one_stack("resume")?;
                return Ok(Command::Resume { stack });
            }
            Some(Topic::Status) => return self.status().map(Command::Status),
            Some(Topic::Trigger) => return self.trigger().map(Command::Trigger),
            Some(Topic::Sign) => return self.sign().map(Command::Sign),
            Some(Topic::Healthcheck) => Command::Healthcheck,
            // `help`, `version` and `completions` are parsed before.
            Some(Topic::Program | Topic::Help | Topic::Version | Topic::Completions) | None => {
                let near = did_you_mean(&word, COMMANDS.iter().map(|command| command.name));
                return Err(Usage(format!("unknown command {word:?}{near}")));
            }
        };
        match self.rest()?.first() {
            None => Ok(command),
            Some(left) => Err(Usage(format!("{word} takes no argument {left:?}"))),
        }
    }

    /// The topic of `help [COMMAND]`.
    pub(super) fn help(mut self) -> Result<Topic, Usage> {
        self.command()?;
        match self.rest()?.as_slice() {
            [] => Ok(Topic::Program),
            [name] => topic(name).ok_or_else(|| {
                let near = did_you_mean(name, COMMANDS.iter().map(|command| command.name));
                Usage(format!("unknown command {name:?}{near}"))
            }),
            [_, second, ..] => Err(Usage(format!("help takes no argument {second:?}"))),
        }
    }

    /// The shell of `completions SHELL`.
    pub(super) fn shell(mut self) -> Result<Shell, Usage> {
        self.command()?;
        let arguments = self.rest()?;
        let shell = match arguments.as_slice() {
            [name] => Shell::parse(name),
            _ => None,
        };
        let names = Shell::NAMES.join(", ");
        shell.ok_or_else(|| Usage(format!("completions takes one shell: {names}")))
    }

    /// Checks that nothing follows the command.
    pub(super) fn no_arguments(mut self, command: &str) -> Result<(), Usage> {
        self.command()?;
        match self.rest()?.first() {
            None => Ok(()),
            Some(left) => Err(Usage(format!("{command} takes no argument {left:?}"))),
        }
    }

    fn secret_format(&mut self) -> Result<SecretFormat, Usage> {
        let Some(text) = self.value("--format", "FORMAT")? else {
            return Ok(SecretFormat::Plain);
        };
        SecretFormat::parse(&text).ok_or_else(|| {
            let names = SecretFormat::NAMES.join(", ");
            Usage(format!("unknown format {text:?}; use one of {names}"))
        })
    }

    fn redeploy(mut self) -> Result<Redeploy, Usage> {
        let mut redeploy = Redeploy {
            force: self.flag("--force")?,
            dry_run: self.flag("--dry-run")?,
            output: self.output()?,
            images: self.images()?,
            ..Redeploy::default()
        };
        let all = self.flag("--all")?;
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
            output: self.output()?,
            images: self.images()?,
            ..Trigger::default()
        };
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
                let near = did_you_mean(&text, SchemeName::NAMES.iter().copied());
                let names = SchemeName::NAMES.join(", ");
                Usage(format!("unknown scheme {text:?}{near}; use one of {names}"))
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
        let output = self.output()?;
        match self.rest()?.as_slice() {
            [stack] => Ok(Rollback {
                stack: stack.clone(),
                output,
            }),
            _ => Err(Usage::new(
                "rollback takes exactly one stack: stackhook rollback STACK",
            )),
        }
    }

    fn pause(mut self) -> Result<Pause, Usage> {
        let length = self.value("--for", "TIME")?;
        let stack = self.one_stack("pause")?;
        Ok(Pause { stack, length })
    }

    fn status(mut self) -> Result<Status, Usage> {
        let json = self.flag("--json")?;
        let stacks = self.rest()?;
        Ok(Status { stacks, json })
    }

    fn one_stack(self, command: &str) -> Result<String, Usage> {
        match self.rest()?.as_slice() {
            [stack] => Ok(stack.clone()),
            _ => Err(Usage(format!(
                "{command} takes exactly one stack: stackhook {command} STACK"
            ))),
        }
    }

    fn output(&mut self) -> Result<Output, Usage> {
        Ok(Output {
            json: self.flag("--json")?,
            quiet: self.flag("--quiet")?,
        })
    }

    fn images(&mut self) -> Result<Vec<Reference>, Usage> {
        let mut images = Vec::new();
        while let Some(text) = self.next_value("--image", "REF")? {
            let image = Reference::parse(&text)
                .map_err(|why| Usage(format!("--image {text:?} is no image reference: {why}")))?;
            images.push(image);
        }
        Ok(images)
    }
}
