//! Stacks that exist when a test begins: deployed an hour ago by an administrator.

use super::deploy::{Purpose, Update};
use super::record::{Access, EnvironmentId, Kind, Stack, StackId};
use super::time::{Millis, seconds};
use super::world::World;

/// The age of the stacks of a set-up.
const AGO: Millis = 3_600_000;

impl World {
    /// Adds a compose stack on environment 1 that has run for an hour; "administrators only" until it is shared.
    pub(crate) fn compose_stack(
        &mut self,
        name: &str,
        file: &str,
        env: &[(&str, &str)],
    ) -> StackId {
        self.compose_stack_in(1, name, file, env)
    }

    /// As [`World::compose_stack`], on another environment.
    pub(crate) fn compose_stack_in(
        &mut self,
        environment: EnvironmentId,
        name: &str,
        file: &str,
        env: &[(&str, &str)],
    ) -> StackId {
        let id = self.record_only(environment, name, Kind::Compose, file, env);
        self.deploy_hour_old(id);
        id
    }

    /// Adds a record without containers: for a stopped stack, a Kubernetes stack or a failed one.
    pub(crate) fn record_only(
        &mut self,
        environment: EnvironmentId,
        name: &str,
        kind: Kind,
        file: &str,
        env: &[(&str, &str)],
    ) -> StackId {
        let id = self.next_stack_id();
        let env = env
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let created = self.now() - AGO;
        let by = self
            .users
            .list
            .first()
            .map_or_else(|| "admin".to_owned(), |user| user.name.clone());
        self.add_stack(id, environment, name, kind, file, Some(env), &by, created);
        id
    }

    /// Deploys a record with the time of an hour ago.
    pub(crate) fn deploy_hour_old(&mut self, id: StackId) {
        let stack = self.stack_mut(id).clone();
        let update = Update {
            purpose: Purpose::Create,
            environment: stack.environment,
            file: stack.file,
            env: stack.env,
            prune: false,
            pull: false,
            recreate: false,
            down_first: false,
            git: stack.git,
            by: stack.created_by,
        };
        let began = self.now() - AGO;
        self.deploy_in_the_past(id, update, began);
    }

    /// A person saves these variables in Portainer. The deployment begins now; while it lasts, the file is new and the record old.
    pub(crate) fn person_saves(&mut self, id: StackId, env: Option<Vec<(String, String)>>) {
        let stack = self.stack_mut(id).clone();
        let is_git = stack.git.is_some();
        let update = Update {
            purpose: Purpose::Update,
            environment: stack.environment,
            file: stack.file,
            env,
            prune: false,
            pull: is_git,
            recreate: is_git,
            down_first: false,
            git: stack.git,
            by: "another-user".to_owned(),
        };
        let now = self.now();
        self.submit(id, update, now);
        self.advance();
    }

    #[allow(
        clippy::too_many_arguments,
        reason = "one argument for each field that differs between stacks"
    )]
    pub(super) fn add_stack(
        &mut self,
        id: StackId,
        environment: EnvironmentId,
        name: &str,
        kind: Kind,
        file: &str,
        env: Option<Vec<(String, String)>>,
        by: &str,
        at: Millis,
    ) {
        let name = name.to_lowercase();
        self.last_access += 1;
        self.stacks.push(Stack {
            id,
            kind,
            environment,
            env,
            file: file.to_owned(),
            status: 1,
            creation_date: seconds(at),
            created_by: by.to_owned(),
            update_date: 0,
            updated_by: String::new(),
            prune: None,
            git: None,
            webhook: None,
            from_app_template: false,
            additional_files: Vec::new(),
            access: Some(Access {
                id: self.last_access,
                resource: format!("{environment}_{name}"),
                users: Vec::new(),
            }),
            deployment_status: Vec::new(),
            start_status: 0,
            settings_saved: false,
            source: None,
            swarm_id: String::new(),
            extra: serde_json::Map::new(),
            name,
        });
    }
}
