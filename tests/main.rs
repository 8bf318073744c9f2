//! The one test binary.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "tests and their helpers fail by panicking and may print"
)]

mod attacks;
mod browser;
mod commands;
mod configuration;
mod deliveries;
mod failures;
mod fake_portainer;
mod growth;
mod lasting;
mod newer_portainer;
mod outages;
mod portainer_calls;
mod readme;
mod senders;
mod signatures;
mod staff;
mod support;
mod tidy;
mod update;
mod vectors;
mod verdicts;
mod waiting;
