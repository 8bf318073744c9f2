//! Swarm services.

use super::auth::Caller;
use super::deploy::Update;
use super::http::{Answer, Request};
use super::record::{EnvironmentId, StackId};
use super::time::Millis;
use super::world::World;

/// The swarm.
#[derive(Debug, Default)]
pub(super) struct Swarm {
    /// Empty: the engine is no swarm manager.
    pub(super) cluster: String,
}

impl World {
    pub(super) fn deploy_swarm(
        &mut self,
        _stack: StackId,
        _update: &Update,
        _at: Millis,
    ) -> Result<(), String> {
        Err("failed to deploy a stack: this node is not a swarm manager".to_owned())
    }

    pub(super) fn swarm_removed(&mut self, _project: &str) {}

    pub(super) fn list_services(
        &self,
        _caller: &Caller,
        _environment: EnvironmentId,
        _request: &Request,
    ) -> Answer {
        not_a_manager()
    }

    pub(super) fn inspect_service(
        &self,
        _caller: &Caller,
        _environment: EnvironmentId,
        _id: &str,
    ) -> Answer {
        not_a_manager()
    }

    /// `PUT /api/endpoints/{id}/forceupdateservice`.
    pub(super) fn force_update_service(
        &mut self,
        _caller: &Caller,
        _environment: EnvironmentId,
        _request: &Request,
    ) -> Result<Answer, Answer> {
        Err(not_a_manager())
    }

    pub(super) fn list_tasks(
        &self,
        _caller: &Caller,
        _environment: EnvironmentId,
        _request: &Request,
    ) -> Answer {
        not_a_manager()
    }
}

fn not_a_manager() -> Answer {
    Answer::docker_error(503, "This node is not a swarm manager.")
}
