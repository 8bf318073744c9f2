//! stackhook: a signed webhook in, a Portainer stack redeployed, and the truth about how it ended.
//!
//! The journey of a delivery, and where each leg of it lives:
//!
//! 1. `gate` takes the connection, bounds every byte and every second of it, and makes a `request` of it.
//! 2. `site` says whether it is admitted: route, method, peer, and by `signature` whether the sender knows a secret. Who is
//!    not is answered right there, and so is a small delivery that asks for nothing; the others go through `server` (tiny_http)
//!    to a worker.
//! 3. `event` reads what the body says happened, `hook` what that means for which stacks: orders.
//! 4. `scheduler` takes the delivery in: `store` has it on disk before it is queued in a lane of `delivery`.
//! 5. `redeploy` carries out what a lane has to do, step by step, by way of `portainer`; `health` judges what is seen.
//! 6. How it ended goes back the same way: into the ledger of `delivery`, and as a reply to whoever waits at the gate.
//!
//! The modules stand in the order in which they are best read: each uses those above it, never those below.

// Words: pure values, no input or output, no clock, no threads.
mod limits;
mod secret;
mod redact;
mod glob;
mod suggest;
mod image;
mod compose;
mod text;
mod stack;
mod message;
mod json;
mod signature;
mod event;
mod sender;
mod hook;
mod health;
mod delivery;
// Edges: the time, files, the network.
mod clock;
mod config;
mod logging;
mod store;
mod metrics;
mod fetch;
mod portainer;
mod http;
// Work: what happens between the edges.
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

/// The fake Portainer, for the unit tests of whatever talks to one.
#[cfg(test)]
#[path = "../tests/support/fake.rs"]
mod fake;

/// TLS before a plain server, for the unit tests of whatever speaks it.
#[cfg(test)]
#[path = "../tests/support/tls.rs"]
mod tls;
