//! The expected result of each cell, derived from the documented behaviour of stackhook and Portainer alone.

use std::collections::BTreeSet;

use crate::fake::{EngineStyle, Era};
use crate::redeploy::matrix::case::Case;
use crate::redeploy::matrix::scene::Sort;
use crate::stack::outcome::Outcome;

/// The expected result of a cell.
pub(super) struct Expected {
    pub(super) outcome: Outcome,
    /// The number of updates sent.
    pub(super) puts: usize,
    /// The services with a container that they did not have.
    pub(super) changed: BTreeSet<String>,
    /// Set if an `updated` or `unchanged` is verified.
    pub(super) verified: bool,
    /// Texts that the reply contains.
    pub(super) says: Vec<&'static str>,
}

pub(super) const ALL: &[&str] = &["job", "web", "worker"];
pub(super) const NONE: &[&str] = &[];
pub(super) const WEB: &[&str] = &["web"];
pub(super) const JOB: &[&str] = &["job"];

/// Returns the expected result of a cell.
pub(super) fn expected(sort: Sort, case: Case, era: Era, style: EngineStyle) -> Expected {
    match sort {
        Sort::File => file(case, era).on(style, case),
        Sort::Git => git(case, era),
        Sort::Swarm => swarm(case, era),
    }
}

/// Pulled first, so that what cannot be pulled never reaches the stack, and only what is newer is recreated.
const INTERRUPTED: &str = "Deployment interrupted by server restart";
const NO_ENGINE: &str = "Cannot connect to the Docker daemon";
const BACK: &str = "the previous images run again";
const AGAIN: &str = "the stack was started again";

/// The services with a new container after an update that failed to start and was rolled back.
pub(super) fn after_rollback(era: Era) -> &'static [&'static str] {
    match era.failure_takes_down() || era == Era::D {
        true => ALL,
        false => WEB,
    }
}

fn file(case: Case, era: Era) -> Expected {
    // Portainer pulls and recreates everything from 2.36 on, where it is asked to pull.
    let repulled = if era == Era::A { WEB } else { ALL };
    match case {
        Case::AllNewer => updated(1, ALL, &["3 of 3 services updated"]),
        Case::NothingNewer => unchanged(0, NONE, &["nothing newer, all healthy"]),
        Case::OneNewer | Case::PrivateRegistry | Case::LostConnection | Case::GatewayTimeout => {
            updated(1, WEB, &["1 of 3 services updated, all healthy"])
        }
        Case::CompletesWithZero => updated(1, JOB, &["1 of 3 services updated"]),
        Case::Conflict => updated(2, WEB, &["1 of 3 services updated"]),
        Case::Edited | Case::EngineRestarts | Case::SaveInProgress => {
            updated(1, WEB, &["1 of 3 services updated"])
        }
        Case::EngineDies => failed(1, NONE, &[NO_ENGINE]),
        Case::EnvironmentDown => failed(0, NONE, &["is down"]),
        Case::SharedTag => updated(1, WEB, &["1 of 3 services updated"]),
        Case::BadTag => failed(0, NONE, &["manifest unknown", "nothing was changed"]),
        Case::RegistryDown => failed(0, NONE, &["no such host", "nothing was changed"]),
        Case::LockedRegistry => failed(
            0,
            NONE,
            &[
                "no basic auth credentials",
                "store the registry's credentials in Portainer",
            ],
        ),
        Case::DeadKey => failed(0, NONE, &["Portainer does not know the API key"]),
        Case::KeyDies => failed(1, NONE, &["Portainer does not know the API key"]),
        Case::BrokenFile => failed(0, NONE, &["is not valid YAML", "nothing was sent"]),
        Case::FailingUp => failed(
            2,
            after_rollback(era),
            &["permission denied", "the previous images run again"],
        ),
        Case::Unhealthy => failed(1, WEB, &["the update was made, but web is unhealthy"]),
        Case::CrashLoop => failed(1, WEB, &["web is restarting (exit code 3"]),
        Case::ExitsOne => failed(1, JOB, &["job is exited (exit code 1)"]),
        Case::LostBefore => unknown(1, NONE, &["the containers are as before"]),
        // At once answered, half done.
        Case::TimeOut if era >= Era::C => unknown(1, WEB, &["the time was over", "web"]),
        Case::TimeOut => unknown(1, NONE, &["the time was over", "as before"]),
        // From 2.41 on Portainer itself says that the deployment was interrupted.
        Case::Restarted | Case::PortainerAway if era == Era::C => {
            failed(2, NONE, &[INTERRUPTED, BACK])
        }
        Case::Restarted | Case::PortainerAway if era == Era::D => {
            failed(2, ALL, &[INTERRUPTED, BACK])
        }
        // Compose removes what the interrupted update left behind and starts the old container again.
        Case::Restarted | Case::PortainerAway if era.clears_leftovers() => {
            failed(2, NONE, &["half-way", BACK])
        }
        Case::Restarted | Case::PortainerAway => failed(2, WEB, &["half-way", BACK]),
        Case::ProxyRefused => updated(1, repulled, &["were not verified"]).unverified(),
        Case::EmptyList => failed(1, repulled, &["no containers or services"]),
    }
}

/// Portainer pulls and recreates it as a whole; nothing brings its images back.
fn git(case: Case, era: Era) -> Expected {
    match case {
        Case::AllNewer | Case::PrivateRegistry | Case::LostConnection | Case::GatewayTimeout => {
            updated(1, ALL, &["3 of 3 services updated"])
        }
        Case::NothingNewer => unchanged(0, NONE, &["nothing newer, all healthy"]),
        Case::OneNewer | Case::Edited | Case::EngineRestarts => {
            updated(1, ALL, &["with the same image: job, worker"])
        }
        // The person's deployment has pulled the newer image.
        Case::SaveInProgress => updated(1, ALL, &["3 of 3 services updated"]),
        Case::EngineDies => failed(1, NONE, &[NO_ENGINE]),
        Case::EnvironmentDown => failed(0, NONE, &["is down"]),
        Case::CompletesWithZero => updated(1, ALL, &["with the same image: web, worker"]),
        Case::Conflict => updated(2, ALL, &["3 of 3 services updated"]),
        Case::SharedTag => updated(1, ALL, &["3 of 3 services updated", "as a whole"]),
        Case::BadTag => failed(1, NONE, &["manifest unknown", "as before"]),
        // Nothing is missing, so Portainer asks no registry.
        Case::RegistryDown if era == Era::B3 => failed(1, ALL, &["no such host"]),
        Case::LockedRegistry if era == Era::B3 => failed(1, ALL, &["no basic auth credentials"]),
        Case::RegistryDown => failed(1, NONE, &["no such host", "as before"]),
        Case::LockedRegistry => failed(1, NONE, &["no basic auth credentials", "as before"]),
        Case::DeadKey => failed(0, NONE, &["Portainer does not know the API key"]),
        Case::KeyDies => failed(1, NONE, &["Portainer does not know the API key"]),
        Case::BrokenFile => failed(1, NONE, &["failed to load the compose file", "as before"]),
        Case::FailingUp if era.failure_takes_down() => failed(1, NONE, &["no container is left"]),
        Case::FailingUp => failed(1, ALL, &["permission denied", "web"]),
        Case::Unhealthy => failed(1, ALL, &["the update was made, but web is unhealthy"]),
        Case::CrashLoop => failed(1, ALL, &["web is restarting (exit code 3"]),
        Case::ExitsOne => failed(1, ALL, &["job is exited (exit code 1)"]),
        Case::LostBefore => unknown(1, NONE, &["the containers are as before"]),
        Case::TimeOut if era >= Era::C => unknown(1, WEB, &["the time was over", "web"]),
        Case::TimeOut => unknown(1, NONE, &["the time was over", "as before"]),
        // The first attempt removes the container that is in its way.
        Case::Restarted | Case::PortainerAway if era == Era::A => {
            failed(3, ALL, &["half-way", AGAIN])
        }
        Case::Restarted | Case::PortainerAway if era.answers_at_once() => {
            failed(2, ALL, &[INTERRUPTED, AGAIN])
        }
        Case::Restarted | Case::PortainerAway => failed(2, ALL, &["half-way", AGAIN]),
        Case::ProxyRefused => updated(1, ALL, &["were not verified"]).unverified(),
        Case::EmptyList => failed(1, ALL, &["no containers or services"]),
    }
}

/// Portainer only hands the services in: what becomes of them, the swarm says, and it touches only what changed.
fn swarm(case: Case, era: Era) -> Expected {
    match case {
        Case::AllNewer => updated(1, ALL, &["3 of 3 services updated"]),
        Case::NothingNewer => unchanged(1, NONE, &["nothing needed an update"]),
        Case::OneNewer
        | Case::PrivateRegistry
        | Case::LostConnection
        | Case::GatewayTimeout
        | Case::Restarted
        | Case::PortainerAway
        | Case::EngineRestarts
        | Case::SaveInProgress
        | Case::Edited
        | Case::SharedTag => updated(1, WEB, &["1 of 3 services updated"]),
        Case::EngineDies => failed(1, NONE, &[NO_ENGINE]),
        Case::EnvironmentDown => failed(0, NONE, &["is down"]),
        Case::CompletesWithZero => updated(1, JOB, &["1 of 3 services updated"]),
        Case::Conflict => updated(2, WEB, &["1 of 3 services updated"]),
        Case::BadTag | Case::FailingUp => failed(1, NONE, &["web", "No such image"]),
        Case::RegistryDown | Case::LockedRegistry => {
            unknown(1, ALL, &["web", "has no digest any more"])
        }
        Case::DeadKey => failed(0, NONE, &["Portainer does not know the API key"]),
        Case::KeyDies => failed(1, NONE, &["Portainer does not know the API key"]),
        Case::BrokenFile => failed(0, NONE, &["is not valid YAML", "nothing was sent"]),
        Case::Unhealthy => failed(1, NONE, &["web"]),
        Case::CrashLoop => failed(1, NONE, &["web", "non-zero exit (3)"]),
        Case::ExitsOne => failed(1, NONE, &["job", "non-zero exit (1)"]),
        Case::LostBefore => unknown(1, NONE, &["as before"]),
        Case::TimeOut if era >= Era::C => unknown(1, WEB, &["the time was over", "web"]),
        Case::TimeOut => unknown(1, NONE, &["the time was over", "as before"]),
        Case::ProxyRefused => updated(1, WEB, &["were not verified"]).unverified(),
        Case::EmptyList => failed(1, WEB, &["no containers or services"]),
    }
}

pub(super) fn updated(puts: usize, changed: &[&str], says: &[&'static str]) -> Expected {
    Expected {
        outcome: Outcome::Updated,
        puts,
        changed: changed
            .iter()
            .map(|service| (*service).to_owned())
            .collect(),
        verified: true,
        says: says.to_vec(),
    }
}

pub(super) fn unchanged(puts: usize, changed: &[&str], says: &[&'static str]) -> Expected {
    Expected {
        outcome: Outcome::Unchanged,
        ..updated(puts, changed, says)
    }
}

pub(super) fn failed(puts: usize, changed: &[&str], says: &[&'static str]) -> Expected {
    Expected {
        outcome: Outcome::Failed,
        ..updated(puts, changed, says)
    }
}

pub(super) fn unknown(puts: usize, changed: &[&str], says: &[&'static str]) -> Expected {
    Expected {
        outcome: Outcome::Unknown,
        ..updated(puts, changed, says)
    }
}

pub(super) fn skipped(says: &[&'static str]) -> Expected {
    Expected {
        outcome: Outcome::Skipped,
        ..updated(0, NONE, says)
    }
}

impl Expected {
    /// The same on another engine, which has its own words.
    fn on(self, style: EngineStyle, case: Case) -> Expected {
        let says = match (style, case) {
            (EngineStyle::Docker29, Case::BadTag) => vec!["not found", "nothing was changed"],
            (EngineStyle::Docker29 | EngineStyle::Podman, Case::RegistryDown) => {
                vec!["connection refused", "nothing was changed"]
            }
            (EngineStyle::Podman, Case::LockedRegistry) => vec![
                "authentication required",
                "store the registry's credentials in Portainer",
            ],
            _ => self.says,
        };
        Expected { says, ..self }
    }

    /// Expects an unverified result.
    pub(super) fn unverified(self) -> Expected {
        Expected {
            verified: false,
            ..self
        }
    }
}
