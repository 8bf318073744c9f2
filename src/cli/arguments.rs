//! Parses arguments by the table of commands. pico-args takes the first of repeated options, accepts an option as a value and ignores
//! leftover arguments; here all of these are errors.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use super::{
    Command, Invocation, Output, RedeployArgs, SecretFormat, Shell, SignArgs, StackChoice,
    TriggerArgs, UsageError,
};
use crate::image::Reference;
use crate::signature::SchemeName;
use crate::suggest::did_you_mean;

/// A row of the table: everything about a command that a user sees.
pub(crate) struct CommandSpec {
    pub(crate) name: &'static str,
    /// As in `STACK`, `[FILE]` or `[STACK…]`: one, at most one, or any number.
    pub(crate) arguments: &'static str,
    /// One line for the list of commands.
    pub(crate) summary: &'static str,
    /// The first sentences of its own help.
    pub(crate) about: &'static str,
    pub(crate) options: &'static [OptionSpec],
    /// The end of its own help; may be empty.
    pub(crate) notes: &'static str,
    /// Turns the parsed arguments into an invocation.
    pub(super) build: fn(Arguments) -> Result<Invocation, UsageError>,
}

impl std::fmt::Debug for CommandSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl PartialEq for CommandSpec {
    fn eq(&self, other: &CommandSpec) -> bool {
        self.name == other.name
    }
}

/// An option of a command.
pub(crate) struct OptionSpec {
    /// With both hyphens.
    pub(crate) name: &'static str,
    /// The placeholder of its value; empty for a switch.
    pub(crate) value: &'static str,
    pub(crate) about: &'static str,
    /// The possible values, if they are few.
    pub(crate) values: &'static [&'static str],
    /// It may be given several times.
    pub(crate) repeats: bool,
}

/// The arguments of a command, as many and as often as its row of the table allows.
pub(super) struct Arguments {
    config: Option<PathBuf>,
    /// Given options in the order of the table; switches have an empty value.
    options: Vec<(&'static str, String)>,
    pub(super) words: Vec<String>,
}

/// The arguments that follow a command's name.
pub(super) struct UnparsedArguments {
    config: Option<PathBuf>,
    left: pico_args::Arguments,
}

/// Splits arguments into the command's name and the others.
pub(super) fn split(arguments: Vec<OsString>) -> Result<(String, UnparsedArguments), UsageError> {
    let mut left = pico_args::Arguments::from_vec(arguments);
    let config = take_path(&mut left, "--config")?;
    let name = left.subcommand();
    let name = name.map_err(|_| UsageError("the command is not UTF-8".to_owned()))?;
    match name {
        Some(name) => Ok((name, UnparsedArguments { config, left })),
        None => Err(UsageError(match left.finish().first() {
            None => "a command is missing; stackhook --help lists them".to_owned(),
            Some(first) => format!(
                "unknown option {:?} in front of the command; only --config FILE may stand there",
                option_name(first)
            ),
        })),
    }
}

impl UnparsedArguments {
    /// Parses the options and words that the command's row allows.
    pub(super) fn parse(mut self, spec: &CommandSpec) -> Result<Arguments, UsageError> {
        let mut options = Vec::new();
        for option in spec.options {
            take_option(&mut self.left, option, &mut options)?;
        }
        Ok(Arguments {
            config: self.config,
            options,
            words: words(self.left, spec)?,
        })
    }
}

impl Arguments {
    fn has(&self, option: &str) -> bool {
        self.value(option).is_some()
    }

    fn value(&self, option: &str) -> Option<&str> {
        self.values(option).next()
    }

    fn values(&self, option: &str) -> impl Iterator<Item = &str> {
        let options = self.options.iter().filter(move |(name, _)| *name == option);
        options.map(|(_, value)| value.as_str())
    }

    /// The value of an option whose values the table lists.
    fn choice<T>(
        &self,
        option: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Option<T>, UsageError> {
        let value = self.value(option).map(parse).transpose();
        value.map_err(|why| UsageError(format!("{option}: {why}")))
    }

    fn output(&self) -> Output {
        Output {
            json: self.has("--json"),
            quiet: self.has("--quiet"),
        }
    }

    fn images(&self) -> Result<Vec<Reference>, UsageError> {
        let parse = |text: &str| {
            Reference::parse(text).map_err(|why| {
                UsageError(format!("--image {text:?} is not an image reference: {why}"))
            })
        };
        self.values("--image").map(parse).collect()
    }

    /// The first word, for commands that require one.
    fn word(&self) -> Result<String, UsageError> {
        let missing = || UsageError("an argument is missing".to_owned());
        self.words.first().cloned().ok_or_else(missing)
    }

    fn run(self, command: Command) -> Result<Invocation, UsageError> {
        let config = self.config;
        Ok(Invocation::Run { config, command })
    }
}

/// Takes an option out of the arguments, with all its values if it may be repeated.
fn take_option(
    left: &mut pico_args::Arguments,
    option: &OptionSpec,
    taken: &mut Vec<(&'static str, String)>,
) -> Result<(), UsageError> {
    let name = option.name;
    let before = taken.len();
    if option.value.is_empty() {
        while left.contains(name) {
            taken.push((name, String::new()));
        }
    } else {
        let missing = |_| UsageError(format!("{name} needs a value: {name} {}", option.value));
        while let Some(value) = left.opt_value_from_fn(name, parse_value).map_err(missing)? {
            taken.push((name, value));
        }
    }
    match taken.len() > before + 1 && !option.repeats {
        true => Err(UsageError(format!("{name} is given twice"))),
        false => Ok(()),
    }
}

fn parse_value(text: &str) -> Result<String, &'static str> {
    match text.is_empty() || text.starts_with('-') {
        true => Err("not a value"),
        false => Ok(text.to_owned()),
    }
}

/// Takes an option whose value is a path, which need not be UTF-8 in an argument of its own.
fn take_path(
    left: &mut pico_args::Arguments,
    name: &'static str,
) -> Result<Option<PathBuf>, UsageError> {
    let missing = |_| UsageError(format!("{name} needs a value: {name} FILE"));
    let parse = |value: &OsStr| match value.as_encoded_bytes().first() {
        None | Some(b'-') => Err("not a value"),
        Some(_) => Ok(PathBuf::from(value)),
    };
    let apart = left.opt_value_from_os_str(name, parse).map_err(missing)?;
    let joined = left.opt_value_from_fn(name, parse_value).map_err(missing)?;
    match (apart, joined) {
        (Some(_), Some(_)) => Err(UsageError(format!("{name} is given twice"))),
        (apart, joined) => Ok(apart.or(joined.map(PathBuf::from))),
    }
}

/// The arguments that are not options; as many as the command takes.
fn words(left: pico_args::Arguments, spec: &CommandSpec) -> Result<Vec<String>, UsageError> {
    let mut words = Vec::new();
    for argument in left.finish() {
        let word = argument.to_string_lossy();
        let error = if argument.to_str().is_none() {
            format!("argument {word:?} is not UTF-8")
        } else if word.is_empty() {
            "an argument is empty".to_owned()
        } else if word.starts_with('-') {
            let name = option_name(&argument);
            let known = spec.options.iter().map(|option| option.name);
            let known: Vec<&str> = known.chain(["--config", "--help", "--version"]).collect();
            match known.contains(&name.as_str()) {
                true if name == "--config" => format!("{name} is given twice"),
                true => format!("{name} takes no value"),
                false => format!("unknown option {name:?}{}", did_you_mean(&name, known)),
            }
        } else {
            words.push(word.into_owned());
            continue;
        };
        return Err(UsageError(error));
    }
    let CommandSpec {
        name, arguments, ..
    } = spec;
    let usage = format!("stackhook {name} {arguments}");
    match words.as_slice() {
        [] | [_, _, ..] if !arguments.is_empty() && !arguments.starts_with('[') => Err(UsageError(
            format!("{name} takes exactly one argument: {usage}"),
        )),
        [_, _, ..] if arguments.starts_with('[') && !arguments.contains('…') => Err(UsageError(
            format!("{name} takes at most one argument: {usage}"),
        )),
        [first, ..] if arguments.is_empty() => {
            Err(UsageError(format!("{name} takes no argument {first:?}")))
        }
        _ => Ok(words),
    }
}

/// An argument without the value behind `=`.
fn option_name(argument: &OsStr) -> String {
    let text = argument.to_string_lossy();
    text.split('=').next().unwrap_or_default().to_owned()
}

pub(super) fn serve(arguments: Arguments) -> Result<Invocation, UsageError> {
    arguments.run(Command::Serve)
}

pub(super) fn generate_secret(arguments: Arguments) -> Result<Invocation, UsageError> {
    let format = arguments.choice("--format", SecretFormat::expect)?;
    arguments.run(Command::GenerateSecret(
        format.unwrap_or(SecretFormat::Plain),
    ))
}

pub(super) fn test_connection(arguments: Arguments) -> Result<Invocation, UsageError> {
    let (notify, json) = (arguments.has("--notify"), arguments.has("--json"));
    arguments.run(Command::TestConnection { notify, json })
}

pub(super) fn show_config(arguments: Arguments) -> Result<Invocation, UsageError> {
    let json = arguments.has("--json");
    arguments.run(Command::ShowConfig { json })
}

pub(super) fn redeploy(arguments: Arguments) -> Result<Invocation, UsageError> {
    let stacks = match (arguments.has("--all"), arguments.words.is_empty()) {
        (true, true) => StackChoice::All,
        (true, false) => {
            let text = "--all and names of stacks exclude each other";
            return Err(UsageError(text.to_owned()));
        }
        (false, true) => StackChoice::Default,
        (false, false) => StackChoice::Named(arguments.words.clone()),
    };
    let redeploy = RedeployArgs {
        stacks,
        images: arguments.images()?,
        force: arguments.has("--force"),
        dry_run: arguments.has("--dry-run"),
        output: arguments.output(),
    };
    arguments.run(Command::Redeploy(redeploy))
}

pub(super) fn rollback(arguments: Arguments) -> Result<Invocation, UsageError> {
    let (stack, output) = (arguments.word()?, arguments.output());
    arguments.run(Command::Rollback { stack, output })
}

pub(super) fn pause(arguments: Arguments) -> Result<Invocation, UsageError> {
    let stack = arguments.word()?;
    let length = arguments.value("--for").map(str::to_owned);
    arguments.run(Command::Pause { stack, length })
}

pub(super) fn resume(arguments: Arguments) -> Result<Invocation, UsageError> {
    let stack = arguments.word()?;
    arguments.run(Command::Resume { stack })
}

pub(super) fn status(arguments: Arguments) -> Result<Invocation, UsageError> {
    let (stacks, json) = (arguments.words.clone(), arguments.has("--json"));
    arguments.run(Command::Status { stacks, json })
}

pub(super) fn trigger(arguments: Arguments) -> Result<Invocation, UsageError> {
    let mut env = BTreeMap::new();
    for text in arguments.values("--env") {
        // The text is not repeated: it may be a secret value without its name.
        let assignment = text.split_once('=').filter(|(name, _)| !name.is_empty());
        let (name, value) = assignment.ok_or_else(|| {
            UsageError("--env needs a name and a value: --env NAME=VALUE".to_owned())
        })?;
        if env.insert(name.to_owned(), value.to_owned()).is_some() {
            return Err(UsageError(format!("--env sets {name:?} twice")));
        }
    }
    let trigger = TriggerArgs {
        stacks: arguments.words.clone(),
        url: arguments.value("--url").map(str::to_owned),
        images: arguments.images()?,
        env,
        force: arguments.has("--force"),
        no_wait: arguments.has("--no-wait"),
        output: arguments.output(),
    };
    arguments.run(Command::Trigger(trigger))
}

pub(super) fn sign(arguments: Arguments) -> Result<Invocation, UsageError> {
    let sign = SignArgs {
        body: arguments.words.first().map(PathBuf::from),
        hook: arguments.value("--hook").map(str::to_owned),
        scheme: arguments.choice("--scheme", SchemeName::expect)?,
        setup: arguments.has("--setup"),
    };
    let error = match &sign {
        SignArgs {
            setup: true,
            body: Some(_),
            ..
        } => "--setup signs nothing, so it takes no file",
        SignArgs {
            setup: true,
            scheme: Some(_),
            ..
        } => "--setup shows the hook's own scheme; --scheme does not go with it",
        _ => return arguments.run(Command::Sign(sign)),
    };
    Err(UsageError(error.to_owned()))
}

pub(super) fn healthcheck(arguments: Arguments) -> Result<Invocation, UsageError> {
    arguments.run(Command::Healthcheck)
}

pub(super) fn completions(arguments: Arguments) -> Result<Invocation, UsageError> {
    let shell = Shell::expect(&arguments.word()?);
    let shell = shell.map_err(|why| UsageError(format!("completions: {why}")))?;
    Ok(Invocation::Completions(shell))
}

pub(super) fn version(_: Arguments) -> Result<Invocation, UsageError> {
    Ok(Invocation::Version)
}
