//! What the program does, from its arguments to its exit code: one place prints errors, one decides how the program ends.

mod table;
mod report;
mod choose;
mod serve;
mod generate_secret;
mod test_connection;
mod show_config;
mod redeploy;
mod status;
mod trigger;
mod sign;
mod healthcheck;

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use log::LevelFilter;

use crate::cli::{self, Command, Meant, Output, Usage, completions, help};
use crate::clock::Clock;
use crate::config::{self, Config, ConfigScope, Loaded, Problems, ProcessEnv};
use crate::logging;
use crate::portainer::Portainer;
use crate::terminal;
use crate::text::io_error_message;

/// Runs the command line of this process.
pub(crate) fn main() -> ExitCode {
    let arguments = std::env::args_os().skip(1).collect();
    let exit = run(arguments).unwrap_or_else(|stop| {
        terminal::complain(stop.words());
        stop.exit()
    });
    exit.code()
}

fn run(arguments: Vec<OsString>) -> Result<Exit, Stop> {
    let (file, command) = match cli::parse(arguments)? {
        Meant::Help(topic) => return print(&help::text(topic)),
        Meant::Completions(shell) => return print(&completions::script(shell)),
        Meant::Version => return print(&version()),
        Meant::Run { config, command } => (config, command),
    };
    let file = file.as_deref();
    match command {
        Command::Serve => serve::run(file),
        Command::GenerateSecret(format) => generate_secret::run(format),
        Command::TestConnection { notify, json } => test_connection::run(file, notify, json),
        Command::ShowConfig { json } => show_config::run(file, json),
        Command::Redeploy(asked) => redeploy::run(file, asked),
        Command::Trigger(asked) => trigger::run(file, asked),
        Command::Rollback(asked) => redeploy::roll_back(file, asked),
        Command::Pause(asked) => status::pause(file, &asked),
        Command::Resume { stack } => status::resume(file, &stack),
        Command::Status(asked) => status::status(file, &asked),
        Command::Sign(asked) => sign::run(file, asked),
        Command::Healthcheck => healthcheck::run(file),
    }
}

/// `stackhook 0.1.0 (0123456789ab, x86_64-linux-musl)`. Release builds set the commit; others do not know it.
fn version() -> String {
    let commit =
        option_env!("STACKHOOK_COMMIT").filter(|commit| !matches!(*commit, "" | "unknown"));
    let commit = commit.unwrap_or("commit unknown");
    let commit = match commit.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        true => commit.get(..12).unwrap_or(commit),
        false => commit,
    };
    let (arch, os) = (std::env::consts::ARCH, std::env::consts::OS);
    let libc = match cfg!(target_env = "musl") {
        true => "musl",
        false => "gnu",
    };
    let version = env!("CARGO_PKG_VERSION");
    format!("stackhook {version} ({commit}, {arch}-{os}-{libc})\n")
}

/// The configuration; logging has been started by it.
fn load(need: ConfigScope, file: Option<&Path>, voice: Voice) -> Result<Loaded, Stop> {
    let env = ProcessEnv::of_process();
    let loaded = config::load(need, file, &env)?;
    let level = match (voice, loaded.config.log) {
        (Voice::Command | Voice::Quiet, LevelFilter::Info) => LevelFilter::Warn,
        (_, level) => level,
    };
    let journal = env.text("JOURNAL_STREAM");
    logging::start(level, loaded.config.log_format, journal);
    match voice {
        Voice::Service => loaded.warnings.iter().for_each(|odd| log::warn!("{odd}")),
        Voice::Command => warn(&loaded.warnings),
        Voice::Quiet => {}
    }
    Ok(loaded)
}

/// The way to Portainer, and how long one redeploy may take.
fn connect(config: &Config, clock: Arc<dyn Clock>) -> Result<(Portainer, Duration), Stop> {
    let Some(settings) = &config.portainer else {
        let words = "no Portainer is configured: set PORTAINER_URL";
        return Err(Stop::Configuration(words.to_owned()));
    };
    let portainer = Portainer::new(settings, clock);
    let portainer = portainer.map_err(|error| Stop::Configuration(error.to_string()))?;
    Ok((portainer, settings.timeout))
}

/// How much a command says on stderr, and to whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Voice {
    /// All of it in log lines.
    Service,
    /// To a person: what is odd, and log lines from warnings on, or more if that was asked for.
    Command,
    /// To nobody in particular: not what is merely odd.
    Quiet,
}

impl Voice {
    fn of(output: Output) -> Voice {
        match output.quiet {
            true => Voice::Quiet,
            false => Voice::Command,
        }
    }
}

fn warn(warnings: &[String]) {
    for warning in warnings {
        terminal::complain(&format!("warning: {warning}"));
    }
}

/// Prints a result; then all is well.
fn print(text: &str) -> Result<Exit, Stop> {
    terminal::print(text)?;
    Ok(Exit::Fine)
}

/// How the program ends (design 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Exit {
    /// All went well.
    Fine,
    /// It ran, and failed.
    Failed,
    /// The command line is wrong.
    Usage,
    /// It may go better later.
    TryLater,
    /// The configuration is wrong.
    Configuration,
}

impl Exit {
    fn code(self) -> ExitCode {
        ExitCode::from(match self {
            Exit::Fine => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            // EX_TEMPFAIL and EX_CONFIG of sysexits.h.
            Exit::TryLater => 75,
            Exit::Configuration => 78,
        })
    }
}

/// The end of several together: 1 beats 75, which beats 0.
fn worst(exits: impl Iterator<Item = Exit>) -> Exit {
    let weight = |exit: &Exit| match exit {
        Exit::Fine => 0,
        Exit::TryLater => 1,
        Exit::Failed | Exit::Usage | Exit::Configuration => 2,
    };
    exits.max_by_key(weight).unwrap_or(Exit::Fine)
}

/// Why a command ended before it had a result, in words for stderr.
#[derive(Debug)]
enum Stop {
    /// It ran, and failed.
    Failed(String),
    /// The command line is wrong.
    Usage(String),
    /// It may go better later.
    TryLater(String),
    /// The configuration is wrong; one problem a line.
    Configuration(String),
}

impl Stop {
    fn exit(&self) -> Exit {
        match self {
            Stop::Failed(_) => Exit::Failed,
            Stop::Usage(_) => Exit::Usage,
            Stop::TryLater(_) => Exit::TryLater,
            Stop::Configuration(_) => Exit::Configuration,
        }
    }

    fn words(&self) -> &str {
        match self {
            Stop::Failed(words)
            | Stop::Usage(words)
            | Stop::TryLater(words)
            | Stop::Configuration(words) => words,
        }
    }
}

impl From<Usage> for Stop {
    fn from(usage: Usage) -> Stop {
        Stop::Usage(usage.to_string())
    }
}

impl From<Problems> for Stop {
    fn from(problems: Problems) -> Stop {
        // What is merely odd is often the cause.
        warn(&problems.warnings);
        Stop::Configuration(problems.to_string())
    }
}

/// Only results are written in a way that can fail.
impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Stop {
        Stop::Failed(format!(
            "cannot write to stdout: {}",
            io_error_message(&error)
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_beats_what_may_pass_and_that_beats_success() {
        #[track_caller]
        fn check(exits: &[Exit], expected: Exit) {
            assert_eq!(worst(exits.iter().copied()), expected);
            assert_eq!(worst(exits.iter().rev().copied()), expected);
        }
        check(&[], Exit::Fine);
        check(&[Exit::Fine, Exit::TryLater], Exit::TryLater);
        check(&[Exit::Failed, Exit::TryLater, Exit::Fine], Exit::Failed);
    }
}
