//! Commands, from their arguments to an exit code. One place prints errors, one maps them to exit codes.

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

use crate::cli::{self, Command, Invocation, Output, UsageError, completions, help};
use crate::clock::Clock;
use crate::config::{self, Config, ConfigScope, Loaded, Problems, ProcessEnv};
use crate::logging;
use crate::portainer::Portainer;
use crate::terminal;
use crate::text::io_error_message;

/// Runs the command line of this process.
pub(crate) fn main() -> ExitCode {
    let arguments = std::env::args_os().skip(1).collect();
    let exit = run(arguments).unwrap_or_else(|error| {
        terminal::print_error(error.message());
        error.exit()
    });
    exit.code()
}

fn run(arguments: Vec<OsString>) -> Result<Exit, CommandError> {
    let (file, command) = match cli::parse(arguments)? {
        Invocation::Help(command) => return print(&help::text(command)),
        Invocation::Completions(shell) => return print(&completions::script(shell)),
        Invocation::Version => return print(&version()),
        Invocation::Run { config, command } => (config, command),
    };
    let file = file.as_deref();
    match command {
        Command::Serve => serve::run(file),
        Command::GenerateSecret(format) => generate_secret::run(format),
        Command::TestConnection { notify, json } => test_connection::run(file, notify, json),
        Command::ShowConfig { json } => show_config::run(file, json),
        Command::Redeploy(args) => redeploy::run(file, args),
        Command::Rollback { stack, output } => redeploy::roll_back(file, stack, output),
        Command::Pause { stack, length } => status::pause(file, &stack, length.as_deref()),
        Command::Resume { stack } => status::resume(file, &stack),
        Command::Status { stacks, json } => status::status(file, stacks, json),
        Command::Trigger(args) => trigger::run(file, args),
        Command::Sign(args) => sign::run(file, args),
        Command::Healthcheck => healthcheck::run(file),
    }
}

/// `stackhook 0.2.0 (0123456789ab, x86_64-linux-musl)`. Release builds set the commit; others do not know it.
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

/// Loads the configuration, starts logging and prints the warnings.
fn load(
    scope: ConfigScope,
    file: Option<&Path>,
    verbosity: Verbosity,
) -> Result<Loaded, CommandError> {
    let env = ProcessEnv::of_process();
    let loaded = config::load(scope, file, &env)?;
    let level = match (verbosity, loaded.config.log) {
        (Verbosity::Command | Verbosity::Quiet, LevelFilter::Info) => LevelFilter::Warn,
        (_, level) => level,
    };
    let journal = env.text("JOURNAL_STREAM");
    logging::start(level, loaded.config.log_format, journal);
    match verbosity {
        Verbosity::Service => loaded.warnings.iter().for_each(|text| log::warn!("{text}")),
        Verbosity::Command => warn(&loaded.warnings),
        Verbosity::Quiet => {}
    }
    Ok(loaded)
}

/// A client for Portainer, and the time limit of one redeploy.
fn connect(config: &Config, clock: Arc<dyn Clock>) -> Result<(Portainer, Duration), CommandError> {
    let Some(settings) = &config.portainer else {
        let text = "Portainer is not configured; set PORTAINER_URL";
        return Err(CommandError::Configuration(text.to_owned()));
    };
    let portainer = Portainer::new(settings, clock);
    let portainer = portainer.map_err(|error| CommandError::Configuration(error.to_string()))?;
    Ok((portainer, settings.timeout))
}

/// The amount of text on stderr.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verbosity {
    /// A service: everything as log lines.
    Service,
    /// A command: warnings, and log lines from warnings on unless another level is configured.
    Command,
    /// Errors, without warnings.
    Quiet,
}

impl Verbosity {
    fn of_output(output: Output) -> Verbosity {
        match output.quiet {
            true => Verbosity::Quiet,
            false => Verbosity::Command,
        }
    }
}

fn warn(warnings: &[String]) {
    for warning in warnings {
        terminal::print_error(&format!("warning: {warning}"));
    }
}

/// Prints a result.
fn print(text: &str) -> Result<Exit, CommandError> {
    terminal::print(text)?;
    Ok(Exit::Success)
}

/// The exit codes, which scripts depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Exit {
    /// The command succeeded.
    Success,
    /// The command ran and failed.
    Failed,
    /// The command line is wrong.
    Usage,
    /// A temporary failure: trying again later may help.
    Temporary,
    /// The configuration is wrong.
    Configuration,
}

impl Exit {
    fn code(self) -> ExitCode {
        ExitCode::from(match self {
            Exit::Success => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            // EX_TEMPFAIL and EX_CONFIG of sysexits.h.
            Exit::Temporary => 75,
            Exit::Configuration => 78,
        })
    }
}

/// The exit code of several results: 1 beats 75, which beats 0.
fn worst(exits: impl Iterator<Item = Exit>) -> Exit {
    let weight = |exit: &Exit| match exit {
        Exit::Success => 0,
        Exit::Temporary => 1,
        Exit::Failed | Exit::Usage | Exit::Configuration => 2,
    };
    exits.max_by_key(weight).unwrap_or(Exit::Success)
}

/// An error that ends a command before it has a result; the text is for stderr.
#[derive(Debug)]
enum CommandError {
    /// The command ran and failed.
    Failed(String),
    /// The command line is wrong.
    Usage(String),
    /// Trying again later may help.
    Temporary(String),
    /// The configuration is wrong; one problem per line.
    Configuration(String),
}

impl CommandError {
    fn exit(&self) -> Exit {
        match self {
            CommandError::Failed(_) => Exit::Failed,
            CommandError::Usage(_) => Exit::Usage,
            CommandError::Temporary(_) => Exit::Temporary,
            CommandError::Configuration(_) => Exit::Configuration,
        }
    }

    fn message(&self) -> &str {
        let (CommandError::Failed(text)
        | CommandError::Usage(text)
        | CommandError::Temporary(text)
        | CommandError::Configuration(text)) = self;
        text
    }
}

impl From<UsageError> for CommandError {
    fn from(error: UsageError) -> CommandError {
        CommandError::Usage(error.to_string())
    }
}

impl From<Problems> for CommandError {
    fn from(problems: Problems) -> CommandError {
        // A warning often names the cause.
        warn(&problems.warnings);
        CommandError::Configuration(problems.to_string())
    }
}

/// Writing a result to stdout is the only I/O of commands that is reported this way.
impl From<io::Error> for CommandError {
    fn from(error: io::Error) -> CommandError {
        CommandError::Failed(format!(
            "cannot write to stdout: {}",
            io_error_message(&error)
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_beats_a_temporary_failure_which_beats_success() {
        #[track_caller]
        fn check(exits: &[Exit], expected: Exit) {
            assert_eq!(worst(exits.iter().copied()), expected);
            assert_eq!(worst(exits.iter().rev().copied()), expected);
        }
        check(&[], Exit::Success);
        check(&[Exit::Success, Exit::Temporary], Exit::Temporary);
        check(
            &[Exit::Failed, Exit::Temporary, Exit::Success],
            Exit::Failed,
        );
    }
}
