//! stackhook: a signed webhook in, a Portainer stack redeployed, and the truth about how it ended.

#![allow(dead_code, reason = "the parts are built before what joins them")]

// words
mod limits;
mod secret;
mod redact;
mod glob;
mod near;
mod image;
mod stack;
mod named;
mod http;
mod signature;
mod request;
mod event;
mod hook;
mod health;
mod delivery;
// edges
mod clock;
mod config;
mod logging;
mod journal;
mod fetch;
mod portainer;
mod gate;
// work
mod redeploy;
mod engine;
mod site;
mod server;
// shell
mod terminal;
mod cli;
mod commands;

/// Runs the command line.
pub fn main() -> std::process::ExitCode {
    commands::main()
}

/// The fake Portainer, for the unit tests of whatever talks to one.
#[cfg(test)]
#[path = "../tests/support/fake.rs"]
mod fake;

/// TLS before a plain server, for the unit tests of whatever speaks it.
#[cfg(test)]
#[path = "../tests/support/tls.rs"]
mod tls;
