//! Git stacks: the repositories they come from, `git/redeploy`, and the native webhook.

use super::auth::Caller;
use super::http::{Answer, Request};
use super::stacks::Reply;
use super::time::Millis;
use super::world::World;

/// A repository.
#[derive(Debug)]
pub(super) struct Repository {}

impl World {
    pub(super) fn redeploy_git(
        &mut self,
        _caller: &Caller,
        id: &str,
        _request: &Request,
        _now: Millis,
    ) -> Result<Reply, Answer> {
        self.stack_id(id)?;
        Err(Answer::plain_error(400, "Stack is not created from git"))
    }

    pub(super) fn create_git(
        &mut self,
        _caller: &Caller,
        _request: &Request,
        _now: Millis,
    ) -> Result<Reply, Answer> {
        Err(Answer::plain_error(400, "no git yet"))
    }

    pub(super) fn native_webhook(&mut self, _id: &str, _now: Millis) -> Answer {
        Answer::error(
            404,
            "Unable to find the stack by webhook ID",
            "Object not found inside the database",
        )
    }
}
