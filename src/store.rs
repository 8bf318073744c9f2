//! The state directory: everything that survives a restart or a crash.
//!
//! * `journal`: accepted deliveries and the progress of redeploys, see [`journal`].
//! * `stacks/`: one record per stack, pauses, and the last notification states, see [`stacks`].
//! * `lock`, `locks/`: one server per directory, one redeploy per stack, one change per environment, see [`lock`].
//!
//! Files are readable for their owner only, and belong to the owner of the directory even when root creates them.

mod directory;
pub(crate) mod lock;
mod record;
pub(crate) mod journal;
pub(crate) mod stacks;

pub(crate) use journal::{CannotOpen, Journal, Sync, WriteError};

#[cfg(test)]
pub(crate) mod tests;
