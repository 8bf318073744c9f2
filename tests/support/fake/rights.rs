//! Access to environments and stacks, in Portainer's order of checks and with its messages.

use super::auth::Caller;
use super::compose::File;
use super::http::Answer;
use super::record::{EnvironmentId, Stack, StackId};
use super::world::World;

impl World {
    /// Checks that a caller may change a stack; `environment` is the one that the update names.
    pub(super) fn editable(
        &self,
        caller: &Caller,
        id: StackId,
        environment: EnvironmentId,
    ) -> Result<(), Answer> {
        self.known_environment(environment)?;
        self.environment_open(caller, environment)?;
        let stack = self.stacks.iter().find(|s| s.id == id).unwrap();
        self.stack_open(caller, stack)?;
        self.management_open(
            caller,
            environment,
            "Stack editing is disabled for non-admin users",
        )
    }

    pub(super) fn readable(&self, caller: &Caller, id: &str) -> Result<&Stack, Answer> {
        let id = self.stack_id(id)?;
        let stack = self.stacks.iter().find(|s| s.id == id).unwrap();
        self.may_use(caller, stack)?;
        self.management_open(
            caller,
            stack.environment,
            "Stack management is disabled for non-admin users",
        )?;
        Ok(stack)
    }

    pub(super) fn may_use(&self, caller: &Caller, stack: &Stack) -> Result<(), Answer> {
        self.environment_open(caller, stack.environment)?;
        self.stack_open(caller, stack)
    }

    pub(super) fn known_environment(&self, id: EnvironmentId) -> Result<(), Answer> {
        if self.environments.iter().any(|e| e.id == id) {
            return Ok(());
        }
        let details = format!("Object not found inside the database (bucket=endpoints, key={id})");
        Err(Answer::error(
            404,
            "Unable to find the environment associated to the stack inside the database",
            &details,
        ))
    }

    pub(super) fn environment_open(
        &self,
        caller: &Caller,
        id: EnvironmentId,
    ) -> Result<(), Answer> {
        let open = caller.user.administrator
            || self
                .environments
                .iter()
                .any(|e| e.id == id && e.users.contains(&caller.user.id));
        let refusal = || {
            Answer::error(
                403,
                "Permission denied to access environment",
                "Access denied to environment",
            )
        };
        open.then_some(()).ok_or_else(refusal)
    }

    /// Checks that the caller may use the stack and the objects that belong to it.
    pub(super) fn stack_open(&self, caller: &Caller, stack: &Stack) -> Result<(), Answer> {
        let open = caller.user.administrator
            || stack
                .access_here()
                .is_some_and(|access| access.users.contains(&caller.user.id));
        open.then_some(()).ok_or_else(|| {
            Answer::error(
                403,
                "Access denied to resource",
                "Access denied to resource",
            )
        })
    }

    fn management_open(
        &self,
        caller: &Caller,
        id: EnvironmentId,
        refusal: &str,
    ) -> Result<(), Answer> {
        let open = caller.user.administrator
            || self
                .environments
                .iter()
                .any(|e| e.id == id && e.stack_management);
        open.then_some(())
            .ok_or_else(|| Answer::error(403, refusal, refusal))
    }

    /// Validates a file as 2.38 and 2.39 do for a standard user: with an old loader and without variables.
    pub(super) fn old_loader_accepts(&self, caller: &Caller, file: &str) -> Result<(), Answer> {
        let unknown = file.contains("condition:") || file.contains(":?");
        if caller.user.administrator
            || !unknown
            || !self.era.validates_with_old_loader()
            || self.is_2_40
        {
            return Ok(());
        }
        let why = "stack config file is invalid: services.web.depends_on must be a list";
        Err(Answer::plain_error(500, why))
    }

    pub(super) fn bind_mounts_allowed(
        &self,
        caller: &Caller,
        environment: EnvironmentId,
        file: &str,
        env: Option<&Vec<(String, String)>>,
    ) -> Result<(), Answer> {
        let free = caller.user.administrator
            || self
                .environments
                .iter()
                .any(|e| e.id == environment && e.bind_mounts);
        let binds = File::load(file, &Stack::variables(env), "")
            .is_ok_and(|f| f.services.iter().any(|s| s.binds_host_paths));
        if free || !binds {
            return Ok(());
        }
        let why = "stack config file is invalid: bind-mount disabled for non administrator users";
        Err(Answer::plain_error(500, why))
    }
}
