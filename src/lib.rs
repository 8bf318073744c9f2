//! stackhook turns a signed webhook into a redeploy of a Portainer stack, and reports what really happened.
//!
//! # The path of a delivery
//!
//! 1. `http` accepts the connection. One reader thread owns all sockets, parses heads, bounds bytes and time, and hands complete
//!    requests to a small pool of workers.
//! 2. `site` routes the request and authenticates it with `signature`.
//! 3. `sender` parses the body into an `event`; `hook` applies the rules and selects the stacks.
//! 4. `scheduler` accepts the delivery: `store` writes it to disk, then it enters the stack's queue in `delivery`.
//! 5. A runner of `scheduler` starts `redeploy`: find, inspect, plan, pull, submit, follow, verify, and if necessary roll back, with
//!    `portainer` as the API client and `health` as the judge of containers and services.
//! 6. The result goes to the ledger in `delivery`, to `scheduler::notify`, and through `http` to the waiting client.
//!
//! # Modules
//!
//! They are declared in reading order, and each uses only those above it; `tests/tidy.rs` checks that.

// Values: no input or output, no clock, no threads.
mod limits;
mod text;
mod secret;
mod redact;
mod glob;
mod calendar;
mod suggest;
mod image;
mod compose;
mod stack;
mod message;
mod json;
mod signature;
mod event;
mod sender;
mod hook;
mod health;
mod delivery;
// Edges: time, files, the network.
mod clock;
mod config;
mod logging;
mod store;
mod metrics;
mod fetch;
mod portainer;
mod http;
// Work: redeploys, their scheduling, and the routes.
mod redeploy;
mod scheduler;
mod site;
// Shell: the command line.
mod terminal;
mod systemd;
mod cli;
mod commands;

/// Runs the command line.
pub fn main() -> std::process::ExitCode {
    commands::main()
}

/// The fake Portainer, for unit tests of modules that call it.
#[cfg(test)]
#[path = "../tests/support/fake.rs"]
mod fake;

/// A reproducible generator of random values, for tests with arbitrary inputs.
#[cfg(test)]
mod random;

/// Test certificates and a TLS proxy, for unit tests of connections.
#[cfg(test)]
#[path = "../tests/support/tls.rs"]
mod tls;
