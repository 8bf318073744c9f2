//! Set-up of everything besides stacks: registries and their images, engines, environments and users.

use super::auth::Setup;
use super::engine::EngineStyle;
use super::engine::{Engine, ONE_OFF};
use super::image::{Image, ImageId, Reference};
use super::life::{Behaviour, Phase};
use super::record::{EnvironmentId, StackId};
use super::world::World;

impl World {
    // ── registry ────────────────────────────────────────────────────────────────────────────────────────────────

    /// Pushes a new image to the registry; no engine has it yet.
    pub(crate) fn push(&mut self, reference: &str, behaviour: Behaviour) -> ImageId {
        let image = self.new_image(behaviour);
        let parsed = Reference::parse(reference)
            .unwrap_or_else(|| panic!("no image reference: {reference}"));
        self.registries.put(&parsed, &image);
        image.id
    }

    /// Pushes the same content under a new index, as after a build with another attestation.
    pub(crate) fn push_same_content(&mut self, reference: &str) -> ImageId {
        let parsed = Reference::parse(reference).unwrap();
        let old = self.registries.resolve(&parsed, None).unwrap();
        let mut image = self.catalogue[&old].clone();
        image.digest = format!("sha256:{}", self.hex(64));
        if self.engine_style.is_containerd() {
            image.id.clone_from(&image.digest);
        }
        self.catalogue.insert(image.id.clone(), image.clone());
        self.registries.put(&parsed, &image);
        image.id
    }

    /// Pushes an existing image under another reference.
    pub(crate) fn push_again(&mut self, reference: &str, id: &str) {
        let parsed = Reference::parse(reference).unwrap();
        self.registries.put(&parsed, &self.catalogue[id]);
    }

    /// The digest of an image's manifest.
    pub(crate) fn digest(&self, id: &str) -> String {
        self.catalogue[id].digest.clone()
    }

    /// The image's properties, to be changed before containers are made of it.
    pub(crate) fn image(&mut self, id: &str) -> &mut Image {
        self.catalogue
            .get_mut(id)
            .unwrap_or_else(|| panic!("no such image: {id}"))
    }

    /// Deletes a tag from the registry.
    pub(crate) fn remove_from_registry(&mut self, reference: &str) {
        self.registries
            .remove(&Reference::parse(reference).unwrap());
    }

    /// Sets whether a registry host is down.
    pub(crate) fn registry_down(&mut self, host: &str, down: bool) {
        self.registries.set_down(host, down);
    }

    /// Sets whether the registry rejects pulls because of its rate limit.
    pub(crate) fn registry_limits(&mut self, host: &str, limited: bool) {
        self.registries.set_limited(host, limited);
    }

    /// Makes a registry require credentials, which Portainer has under the returned id.
    pub(crate) fn registry_private(&mut self, host: &str, user: &str, password: &str) -> i64 {
        self.registry_locked(host, user, password);
        self.registries.store(host, user, password)
    }

    /// Adds an entry for a registry to Portainer; its credentials may be wrong.
    pub(crate) fn registry_stored(&mut self, host: &str, user: &str, password: &str) -> i64 {
        self.registries.store(host, user, password)
    }

    /// Renames an entry for a registry, which is first named after its host.
    pub(crate) fn rename_registry(&mut self, id: i64, name: &str) {
        let stored = self.registries.stored.iter_mut();
        let registry = stored.filter(|registry| registry.id == id);
        for registry in registry {
            name.clone_into(&mut registry.name);
        }
    }

    /// Makes a registry require credentials that Portainer does not have.
    pub(crate) fn registry_locked(&mut self, host: &str, user: &str, password: &str) {
        self.registries.lock(host, user, password);
    }

    // ── engines ─────────────────────────────────────────────────────────────────────────────────────────────────

    /// Adds an environment with an engine of its own.
    pub(crate) fn environment(&mut self, name: &str) -> EnvironmentId {
        self.engines.push(Engine::default());
        self.add_environment(name, self.engines.len() - 1)
    }

    /// Adds an environment on the engine of another one.
    pub(crate) fn environment_beside(&mut self, name: &str, other: EnvironmentId) -> EnvironmentId {
        let engine = self
            .environments
            .iter()
            .find(|e| e.id == other)
            .unwrap()
            .engine;
        self.add_environment(name, engine)
    }

    /// Renames an environment.
    pub(crate) fn rename_environment(&mut self, id: EnvironmentId, name: &str) {
        let environment = self.environments.iter_mut().find(|e| e.id == id);
        environment.unwrap().name = name.to_owned();
    }

    /// Sets whether the agent of an environment is down.
    pub(crate) fn environment_down(&mut self, id: EnvironmentId, down: bool) {
        let environment = self.environments.iter_mut().find(|e| e.id == id);
        environment.unwrap().down = down;
    }

    /// Removes an environment from Portainer; its stacks become orphans, and its engine keeps running.
    pub(crate) fn remove_environment(&mut self, id: EnvironmentId) {
        self.environments.retain(|e| e.id != id);
    }

    /// Builds an image on the engine: it has no registry digest, unless the engine uses the containerd store.
    pub(crate) fn local_image(
        &mut self,
        reference: &str,
        environment: EnvironmentId,
        behaviour: Behaviour,
    ) -> ImageId {
        let image = self.new_image(behaviour);
        let parsed = Reference::parse(reference).unwrap();
        let engine = self.engine_of(environment);
        engine.tag(&parsed, &image.id);
        image.id
    }

    /// Moves a tag on the engine to another image, which is added if it is missing.
    pub(crate) fn retag(&mut self, reference: &str, environment: EnvironmentId, id: &str) {
        self.engine_of(environment)
            .tag(&Reference::parse(reference).unwrap(), id);
    }

    /// Pulls an image on the engine, without Portainer.
    pub(crate) fn pull(&mut self, reference: &str, environment: EnvironmentId) -> ImageId {
        let parsed = Reference::parse(reference).unwrap();
        let stored = self.registries.stored_for(&parsed.host);
        let id = self.registries.resolve(&parsed, stored).unwrap();
        let digest = self.digest(&id);
        self.engine_of(environment).receive(&parsed, &id, &digest);
        id
    }

    /// The id of the image that a registry has behind a reference.
    pub(crate) fn registry_id(&self, reference: &str) -> Option<ImageId> {
        let parsed = Reference::parse(reference).unwrap();
        let stored = self.registries.stored_for(&parsed.host);
        self.registries.resolve(&parsed, stored).ok()
    }

    /// The id that a reference has on the engine.
    pub(crate) fn local_id(
        &mut self,
        reference: &str,
        environment: EnvironmentId,
    ) -> Option<ImageId> {
        self.engine_of(environment).find_image(reference)
    }

    /// Removes an image from the engine.
    pub(crate) fn remove_local_image(&mut self, id: &str, environment: EnvironmentId) {
        self.engine_of(environment).images.remove(id);
    }

    /// Makes the engines use the containerd store: an image's id is its digest, and built images have digests, too.
    pub(crate) fn use_containerd_store(&mut self) {
        self.use_engine(EngineStyle::Docker29);
    }

    /// Makes the engines behave as this release.
    pub(crate) fn use_engine(&mut self, style: EngineStyle) {
        self.engine_style = style;
        self.registries.style = style;
    }

    /// Occupies a port of the host, `127.0.0.1:5000`.
    pub(crate) fn take_port(&mut self, environment: EnvironmentId, port: &str) {
        self.engine_of(environment)
            .taken_ports
            .insert(port.to_owned());
    }

    /// Frees a port of the host.
    pub(crate) fn free_port(&mut self, environment: EnvironmentId, port: &str) {
        self.engine_of(environment).taken_ports.remove(port);
    }

    /// Sets whether the daemon behind an environment is unreachable.
    pub(crate) fn engine_down(&mut self, environment: EnvironmentId, down: bool) {
        self.engine_of(environment).unreachable = down;
    }

    /// Kills the daemon behind an environment, and its containers with it.
    pub(crate) fn engine_dies(&mut self, environment: EnvironmentId) {
        let now = self.now();
        let engine = self.engine_of(environment);
        engine.unreachable = true;
        for container in &mut engine.containers {
            let running = container.life.look(now).state == "running";
            if let (Phase::Started(started), true) = (container.life.phase, running) {
                container.life.phase = Phase::Stopped {
                    started,
                    at: now,
                    code: 255,
                };
            }
        }
    }

    /// Starts the daemon again, which starts the containers whose restart policy demands it.
    pub(crate) fn engine_returns(&mut self, environment: EnvironmentId) {
        let now = self.now();
        let engine = self.engine_of(environment);
        engine.unreachable = false;
        for container in &mut engine.containers {
            let killed = matches!(container.life.phase, Phase::Stopped { code: 255, .. });
            if killed && matches!(container.life.restart.name(), "always" | "unless-stopped") {
                container.life.phase = Phase::Started(now);
            }
        }
    }

    /// Adds an exited container that has a stack's labels and a service that is not in its file: a left-over, or another user's.
    pub(crate) fn foreign_container(&mut self, project: &str, like: &str, service: &str) {
        let id = self.run_one_off(project, like);
        let now = self.now();
        let engines = self.engines.iter_mut();
        let engine = engines
            .into_iter()
            .find(|engine| engine.find(&id).is_some())
            .unwrap();
        let container = engine.get_mut(&id).unwrap();
        container
            .labels
            .insert(ONE_OFF.to_owned(), "False".to_owned());
        let label = "com.docker.compose.service".to_owned();
        container.labels.insert(label, service.to_owned());
        service.clone_into(&mut container.service);
        container.name = format!("{project}-{service}-1");
        container.life.phase = Phase::Stopped {
            started: now,
            at: now,
            code: 1,
        };
    }

    /// An exited container that has the project and the service of a stack's container, with other values of some labels (empty:
    /// without the label): made by `docker run --label`, or from another compose file.
    pub(crate) fn foreign_twin(&mut self, project: &str, service: &str, labels: &[(&str, &str)]) {
        self.foreign_container(project, service, service);
        let engines = self.engines.iter_mut();
        let twin = engines
            .flat_map(|engine| &mut engine.containers)
            .rfind(|one| one.project == project && one.service == service)
            .unwrap();
        for (label, value) in labels {
            let label = format!("com.docker.compose.{label}");
            match value.is_empty() {
                true => drop(twin.labels.remove(&label)),
                false => drop(twin.labels.insert(label, (*value).to_owned())),
            }
        }
    }

    /// Leaves half of a deployment: the container of a service is stopped, and its replacement is created and not started.
    pub(crate) fn half_replace(&mut self, project: &str, service: &str) -> String {
        let replacement = self.run_one_off(project, service);
        let now = self.now();
        let engines = self.engines.iter_mut();
        let engine = engines
            .into_iter()
            .find(|engine| engine.find(&replacement).is_some())
            .unwrap();
        let of_service =
            |c: &&super::engine::Container| c.service == service && c.id != replacement;
        let old = engine
            .services(project)
            .find(of_service)
            .unwrap()
            .id
            .clone();
        engine.get_mut(&old).unwrap().end(now);
        let container = engine.get_mut(&replacement).unwrap();
        container
            .labels
            .insert(ONE_OFF.to_owned(), "False".to_owned());
        let label = "com.docker.compose.replace".to_owned();
        container.labels.insert(label, old.clone());
        container.name = format!("{}_{project}-{service}-1", &old[..12]);
        container.life.phase = Phase::Created;
        replacement
    }

    /// Adds a container as `compose run` does, labelled as one-off.
    pub(crate) fn run_one_off(&mut self, project: &str, service: &str) -> String {
        let (id, now) = (self.hex(64), self.now());
        let engines = self.engines.iter_mut();
        let engine = engines
            .into_iter()
            .find(|e| e.services(project).any(|c| c.service == service));
        let engine = engine.unwrap_or_else(|| panic!("no container of {project}/{service}"));
        let mut container = engine
            .services(project)
            .find(|c| c.service == service)
            .unwrap()
            .clone();
        container
            .labels
            .insert(ONE_OFF.to_owned(), "True".to_owned());
        container.life.phase = Phase::Started(now);
        container.name = format!("{project}-{service}-run-{}", &id[..12]);
        (container.id, container.created) = (id.clone(), now);
        engine.containers.push(container);
        id
    }

    // ── users ───────────────────────────────────────────────────────────────────────────────────────────────────

    /// Adds a standard user without any access; returns the id and an API key.
    pub(crate) fn user_standard(&mut self, name: &str, password: &str) -> (i64, String) {
        let id = self.users.add(name, password, false);
        let key = self.new_key();
        self.users.add_key(id, &key);
        (id, key)
    }

    /// Grants or revokes a standard user's access to an environment.
    pub(crate) fn may_use_environment(&mut self, user: i64, environment: EnvironmentId, may: bool) {
        let users = &mut self
            .environments
            .iter_mut()
            .find(|e| e.id == environment)
            .unwrap()
            .users;
        users.retain(|other| *other != user);
        users.extend(may.then_some(user));
    }

    /// Grants or revokes a standard user's access to a stack.
    pub(crate) fn may_use_stack(&mut self, user: i64, stack: StackId, may: bool) {
        let access = &mut self.stack_mut(stack).access;
        let users = &mut access.as_mut().unwrap().users;
        users.retain(|other| *other != user);
        users.extend(may.then_some(user));
    }

    /// Sets whether standard users may manage stacks in an environment.
    pub(crate) fn stack_management(&mut self, environment: EnvironmentId, allowed: bool) {
        self.environments
            .iter_mut()
            .find(|e| e.id == environment)
            .unwrap()
            .stack_management = allowed;
    }

    /// Sets whether standard users may mount host paths in an environment.
    pub(crate) fn bind_mounts(&mut self, environment: EnvironmentId, allowed: bool) {
        self.environments
            .iter_mut()
            .find(|e| e.id == environment)
            .unwrap()
            .bind_mounts = allowed;
    }

    /// Revokes all API keys of a user.
    pub(crate) fn revoke_keys(&mut self, user: i64) {
        self.users.revoke_keys(user);
    }

    /// Adds an API key for a user.
    pub(crate) fn add_api_key(&mut self, name: &str, key: &str) {
        let user = self.users.list.iter().find(|user| user.name == name);
        let id = user.expect("the user exists").id;
        self.users.add_key(id, key);
    }

    /// Changes a user's password; API keys stay.
    pub(crate) fn change_password(&mut self, name: &str, password: &str) {
        self.users
            .list
            .iter_mut()
            .find(|u| u.name == name)
            .unwrap()
            .password = password.to_owned();
    }

    /// A user's password.
    pub(crate) fn password_of(&self, name: &str) -> String {
        self.users
            .list
            .iter()
            .find(|u| u.name == name)
            .unwrap()
            .password
            .clone()
    }

    /// Removes the administrator, as before the initial setup.
    pub(crate) fn without_administrator(&mut self, setup: Setup) {
        self.users.list.clear();
        self.users.setup = setup;
    }
}
