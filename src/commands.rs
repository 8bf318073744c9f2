//! What the program does, from its arguments to its exit code: one place prints errors, one decides how the program ends.

mod generate_secret;

use std::io;
use std::process::ExitCode;

use crate::cli::{self, Command, Meant, Usage, help};
use crate::terminal;

/// Runs the command line of this process.
pub(crate) fn main() -> ExitCode {
    let arguments = std::env::args_os().skip(1).collect();
    let exit = run(arguments).unwrap_or_else(|stop| {
        terminal::complain(stop.words());
        stop.exit()
    });
    exit.code()
}

fn run(arguments: Vec<std::ffi::OsString>) -> Result<Exit, Stop> {
    match cli::parse(arguments)? {
        Meant::Help(topic) => terminal::print(help::text(topic))?,
        Meant::Version => terminal::print(concat!("stackhook ", env!("CARGO_PKG_VERSION"), "\n"))?,
        Meant::Run { config: _, command } => match command {
            Command::GenerateSecret(format) => generate_secret::run(format)?,
            Command::Serve
            | Command::TestConnection
            | Command::ShowConfig
            | Command::Redeploy(_)
            | Command::Healthcheck => {}
        },
    }
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

/// Only results are written in a way that can fail.
impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Stop {
        Stop::Failed(format!("cannot write to stdout: {error}"))
    }
}
