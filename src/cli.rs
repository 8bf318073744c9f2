//! The command line: arguments as typed become arguments as meant. The home of pico-args, which takes the first of repeated
//! options, takes an option for a value and keeps silent about what is left: here all of that is refused by name.

pub(crate) mod help;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use crate::image::Reference;
use crate::named::named;
use crate::near::hint;
use crate::signature::SchemeName;
use help::Topic;

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
    let mut typed = Typed {
        left: pico_args::Arguments::from_vec(arguments),
        known: vec!["--help", "--version"],
    };
    let config = typed.path("--config")?;
    let command = typed.command()?;
    Ok(Meant::Run { config, command })
}

fn topic(command: &str) -> Option<Topic> {
    let found = COMMANDS.iter().find(|(name, _)| *name == command)?;
    Some(found.1)
}

/// What was typed and has not been understood yet.
struct Typed {
    left: pico_args::Arguments,
    /// The options that were asked for, to suggest one for an unknown one.
    known: Vec<&'static str>,
}

impl Typed {
    fn command(mut self) -> Result<Command, Usage> {
        let words = self.left.subcommand();
        let Some(word) = words.map_err(|_| Usage::new("the command is not UTF-8"))? else {
            return Err(match self.left.finish().first() {
                None => Usage::new("a command is missing; stackhook --help lists them"),
                Some(first) => Usage(format!(
                    "unknown option {:?} in front of the command; only --config FILE may stand there",
                    name(first)
                )),
            });
        };
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

    fn flag(&mut self, option: &'static str) -> Result<bool, Usage> {
        self.known.push(option);
        match (self.left.contains(option), self.left.contains(option)) {
            (_, true) => Err(twice(option)),
            (given, false) => Ok(given),
        }
    }

    /// An option with a value, which may be given once.
    fn value(&mut self, option: &'static str, what: &str) -> Result<Option<String>, Usage> {
        let value = self.next_value(option, what)?;
        match self.next_value(option, what)? {
            Some(_) => Err(twice(option)),
            None => Ok(value),
        }
    }

    /// The first that is left of an option with a value.
    fn next_value(&mut self, option: &'static str, what: &str) -> Result<Option<String>, Usage> {
        self.known.push(option);
        let missing = || Usage(format!("{option} needs a value: {option} {what}"));
        let value = self.left.opt_value_from_str::<_, String>(option);
        let value = value.map_err(|_| missing())?;
        match value {
            Some(value) if value.is_empty() || value.starts_with('-') => Err(missing()),
            value => Ok(value),
        }
    }

    /// Like [`Typed::value`], for a path, which need not be UTF-8 where a blank precedes it.
    fn path(&mut self, option: &'static str) -> Result<Option<PathBuf>, Usage> {
        let missing = || Usage(format!("{option} needs a value: {option} FILE"));
        let whole = |value: &std::ffi::OsStr| match value.as_encoded_bytes().first() {
            None | Some(b'-') => Err("no value"),
            Some(_) => Ok(PathBuf::from(value)),
        };
        let after_blank = self.left.opt_value_from_os_str(option, whole);
        let after_blank = after_blank.map_err(|_| missing())?;
        match (after_blank, self.value(option, "FILE")?) {
            (Some(_), Some(_)) => Err(twice(option)),
            (Some(path), None) => Ok(Some(path)),
            (None, other) => Ok(other.map(PathBuf::from)),
        }
    }

    /// The arguments that are no options; refuses options that nobody asked for.
    fn rest(self) -> Result<Vec<String>, Usage> {
        let mut words = Vec::new();
        for argument in self.left.finish() {
            let word = argument.to_string_lossy();
            if argument.to_str().is_none() {
                return Err(Usage(format!("argument {word:?} is not UTF-8")));
            }
            if word.is_empty() {
                return Err(Usage::new("an argument is empty"));
            }
            if word.starts_with('-') {
                let name = name(&argument);
                return Err(Usage(match self.known.contains(&name.as_str()) {
                    true => format!("{name} takes no value"),
                    false => format!("unknown option {name:?}{}", hint(&name, self.known)),
                }));
            }
            words.push(word.into_owned());
        }
        Ok(words)
    }
}

/// An argument without the value behind `=`.
fn name(argument: &std::ffi::OsStr) -> String {
    let text = argument.to_string_lossy();
    text.split('=').next().unwrap_or_default().to_owned()
}

fn twice(option: &str) -> Usage {
    Usage(format!("{option} is given twice"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(line: &str) -> Result<Meant, Usage> {
        parse(line.split_whitespace().map(OsString::from).collect())
    }

    #[track_caller]
    fn check(line: &str, expected: Command) {
        let command = expected;
        assert_eq!(
            typed(line),
            Ok(Meant::Run {
                config: None,
                command
            }),
            "{line}"
        );
    }

    #[track_caller]
    fn refused(line: &str, why: &str) {
        assert_eq!(
            typed(line).map_err(|usage| usage.to_string()),
            Err(why.to_owned()),
            "{line}"
        );
    }

    fn image(text: &str) -> Reference {
        Reference::parse(text).unwrap()
    }

    #[test]
    fn every_command_is_understood() {
        check("serve", Command::Serve);
        check("test-connection", Command::TestConnection { notify: false });
        check(
            "test-connection --notify",
            Command::TestConnection { notify: true },
        );
        check("show-config", Command::ShowConfig);
        check("healthcheck", Command::Healthcheck);
        check(
            "generate-secret",
            Command::GenerateSecret(SecretFormat::Plain),
        );
        let standard = || Command::GenerateSecret(SecretFormat::StandardWebhooks);
        check("generate-secret --format standard-webhooks", standard());
        check("generate-secret --format=standard-webhooks", standard());
        check("redeploy", Command::Redeploy(Redeploy::default()));
        check(
            "redeploy --image nginx app --force --image=redis:7 db --json --quiet --dry-run",
            Command::Redeploy(Redeploy {
                which: Which::Named(vec!["app".to_owned(), "db".to_owned()]),
                images: vec![image("nginx"), image("redis:7")],
                force: true,
                dry_run: true,
                json: true,
                quiet: true,
            }),
        );
        check(
            "redeploy --all",
            Command::Redeploy(Redeploy {
                which: Which::All,
                ..Redeploy::default()
            }),
        );
    }

    #[test]
    fn a_body_is_signed_or_a_sender_is_set_up() {
        let hook = || Some("web".to_owned());
        check("sign", Command::Sign(Sign::default()));
        let body = Some(PathBuf::from("body.json"));
        check(
            "sign body.json --hook web",
            Command::Sign(Sign {
                body,
                hook: hook(),
                ..Sign::default()
            }),
        );
        let scheme = Some(SchemeName::Github);
        check(
            "sign --scheme=github",
            Command::Sign(Sign {
                scheme,
                ..Sign::default()
            }),
        );
        check(
            "sign --setup --hook web",
            Command::Sign(Sign {
                setup: true,
                hook: hook(),
                ..Sign::default()
            }),
        );
        refused("sign a b", "sign takes one file at most");
        refused(
            "sign a --setup",
            "--setup signs nothing, so it takes no file",
        );
        refused(
            "sign --scheme gitub",
            "unknown scheme \"gitub\"; did you mean \"github\"?; there are generic, github, gitea, forgejo, gogs, bitbucket, standard-webhooks, token, url-token",
        );
    }

    #[test]
    fn a_rollback_is_of_one_stack() {
        let stack = "app".to_owned();
        check(
            "rollback app --json",
            Command::Rollback(Rollback {
                stack,
                json: true,
                quiet: false,
            }),
        );
        let one = "rollback takes exactly one stack: stackhook rollback STACK";
        refused("rollback", one);
        refused("rollback app db", one);
    }

    #[test]
    fn a_delivery_is_described() {
        check("trigger", Command::Trigger(Trigger::default()));
        check(
            "trigger app --env TAG=1=2 --image nginx --url https://hooks.example.com db --force --no-wait --json --quiet",
            Command::Trigger(Trigger {
                stacks: vec!["app".to_owned(), "db".to_owned()],
                url: Some("https://hooks.example.com".to_owned()),
                images: vec![image("nginx")],
                set: BTreeMap::from([("TAG".to_owned(), "1=2".to_owned())]),
                force: true,
                no_wait: true,
                json: true,
                quiet: true,
            }),
        );
        refused(
            "trigger --env TAG",
            "--env needs a name and a value: --env NAME=VALUE",
        );
        refused(
            "trigger --env =hush",
            "--env needs a name and a value: --env NAME=VALUE",
        );
        refused("trigger --env A=1 --env A=2", "--env sets \"A\" twice");
        refused("trigger --dry-run", "unknown option \"--dry-run\"");
    }

    #[test]
    fn the_file_may_be_named_on_either_side_of_the_command() {
        for line in [
            "--config a.toml serve",
            "--config=a.toml serve",
            "serve --config a.toml",
            "serve --config=a.toml",
        ] {
            let meant = Meant::Run {
                config: Some(PathBuf::from("a.toml")),
                command: Command::Serve,
            };
            assert_eq!(typed(line), Ok(meant), "{line}");
        }
    }

    #[test]
    fn help_and_version_win_over_everything_else() {
        for (line, topic) in [
            ("-h", Topic::Program),
            ("--nonsense --help", Topic::Program),
            ("redeploy --nonsense -h", Topic::Redeploy),
            ("--version --help", Topic::Program),
            ("--config -h", Topic::Program),
        ] {
            assert_eq!(typed(line), Ok(Meant::Help(topic)), "{line}");
        }
        for line in ["-V", "--version", "redeploy --nonsense -V", "nonsense -V"] {
            assert_eq!(typed(line), Ok(Meant::Version), "{line}");
        }
    }

    #[test]
    fn what_is_not_understood_is_refused_by_name() {
        refused("", "a command is missing; stackhook --help lists them");
        refused(
            "redploy",
            "unknown command \"redploy\"; did you mean \"redeploy\"?",
        );
        refused("deploy-everything", "unknown command \"deploy-everything\"");
        refused(
            "--json redeploy",
            "unknown option \"--json\" in front of the command; only --config FILE may stand there",
        );
        refused(
            "redeploy --forse",
            "unknown option \"--forse\"; did you mean \"--force\"?",
        );
        refused("redeploy -f", "unknown option \"-f\"");
        refused("redeploy --force=yes", "--force takes no value");
        refused("redeploy --token=hush", "unknown option \"--token\"");
        refused("redeploy --", "unknown option \"--\"");
        refused("serve now", "serve takes no argument \"now\"");
        refused("serve --force", "unknown option \"--force\"");
        refused(
            "show-config --confg=x",
            "unknown option \"--confg\"; did you mean \"--config\"?",
        );
    }

    #[test]
    fn options_are_complete_and_given_once() {
        refused("redeploy --image", "--image needs a value: --image REF");
        refused("redeploy --image=", "--image needs a value: --image REF");
        refused(
            "redeploy --image --force",
            "--image needs a value: --image REF",
        );
        refused("redeploy --force --force", "--force is given twice");
        refused(
            "redeploy --all app",
            "--all and names of stacks exclude each other",
        );
        refused("--config", "--config needs a value: --config FILE");
        refused("--config= serve", "--config needs a value: --config FILE");
        refused(
            "serve --config --force",
            "--config needs a value: --config FILE",
        );
        refused("--config a serve --config=b", "--config is given twice");
        refused("--config a serve --config b", "--config is given twice");
        refused("--config=a serve --config=b", "--config is given twice");
        refused(
            "generate-secret --format plain --format plain",
            "--format is given twice",
        );
        refused(
            "generate-secret --format long",
            "unknown format \"long\"; there are plain, standard-webhooks",
        );
    }

    #[test]
    fn every_command_has_help_that_names_it() {
        for (name, topic) in COMMANDS {
            assert!(
                help::text(topic).contains(&format!("stackhook {name}"))
                    || help::text(topic).contains(&format!("] {name}")),
                "{name}"
            );
            assert!(
                help::text(Topic::Program).contains(&format!("\n  {name} ")),
                "{name}"
            );
        }
    }

    #[test]
    fn help_fits_a_terminal_and_lists_the_exit_codes() {
        for code in ["0", "1", "2", "75", "78", "130"] {
            assert!(
                help::text(Topic::Program).contains(&format!("\n  {code} ")),
                "{code}"
            );
        }
        let topics = COMMANDS
            .iter()
            .map(|(_, topic)| *topic)
            .chain([Topic::Program]);
        for line in topics.flat_map(|topic| help::text(topic).lines()) {
            assert!(line.chars().count() <= 120, "{line}");
        }
    }
}
