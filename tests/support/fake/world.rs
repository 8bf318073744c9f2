//! Everything behind the fake's API, and what a test sets up and looks at: the registry, engines, stacks, users.

use std::collections::BTreeMap;
use std::time::Duration;

use super::auth::{Setup, Users};
use super::deploy::Deploys;
use super::engine::Engine;
use super::era::Era;
use super::git::Repository;
use super::image::{Image, ImageId, Reference, Registries};
use super::life::{Behaviour, Healthcheck};
use super::record::{Environment, EnvironmentId, Stack, StackId};
use super::swarm::Swarm;
use super::time::{Clock, Millis};

/// How long the engine's work takes; stopping and waiting for health come on top.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// Pulling one image.
    pub(crate) pull: Duration,
    /// Making or removing one container.
    pub(crate) create: Duration,
    /// Starting one container.
    pub(crate) start: Duration,
}

/// The world behind one fake.
#[derive(Debug)]
pub(crate) struct World {
    /// How long the engine's work takes; a few milliseconds unless a test says otherwise.
    pub(crate) pace: Pace,
    /// Whether `up` fetches an image that the engine does not have. Off: it fails, as contract section 6a says.
    pub(crate) up_pulls_missing: bool,
    /// Whether a pull that fails for one image of a stack still moves the tags of others; both have been seen.
    pub(crate) failed_pull_moves_others: bool,
    /// The next deploy ends in the middle: Portainer dies when it has stopped the first container that it replaces.
    pub(crate) dies_in_next_deploy: bool,
    pub(super) era: Era,
    pub(super) clock: Clock,
    pub(super) users: Users,
    pub(super) environments: Vec<Environment>,
    pub(super) engines: Vec<Engine>,
    pub(super) catalogue: BTreeMap<ImageId, Image>,
    pub(super) registries: Registries,
    pub(super) stacks: Vec<Stack>,
    pub(super) repositories: Vec<Repository>,
    pub(super) swarm: Swarm,
    pub(super) deploys: Deploys,
    /// Counts the lives of the Portainer process.
    pub(super) lives: u64,
    pub(super) instance: String,
    containerd_store: bool,
    last_stack: StackId,
    pub(super) last_access: i64,
    random: u64,
}

/// A container as a test sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Compose service.
    pub(crate) service: String,
    /// Name without slash.
    pub(crate) name: String,
    /// Container id.
    pub(crate) id: String,
    /// `Config.Image`.
    pub(crate) image_ref: String,
    /// Id of the image it runs.
    pub(crate) image_id: ImageId,
    /// `created`, `running`, `restarting`, `exited`.
    pub(crate) state: &'static str,
    /// `starting`, `healthy`, `unhealthy`; none without a health check.
    pub(crate) health: Option<&'static str>,
    /// Of the last run that ended.
    pub(crate) exit_code: i64,
    /// `RestartCount`.
    pub(crate) restarts: u32,
    /// The environment of its process, `NAME=value`.
    pub(crate) environment: Vec<String>,
}

impl World {
    pub(super) fn new(era: Era, clock: Clock, seed: u64) -> World {
        let mut world = World {
            pace: Pace {
                pull: Duration::from_millis(3),
                create: Duration::from_millis(3),
                start: Duration::from_millis(3),
            },
            up_pulls_missing: false,
            failed_pull_moves_others: true,
            dies_in_next_deploy: false,
            era,
            clock,
            users: Users::new(),
            environments: Vec::new(),
            engines: Vec::new(),
            catalogue: BTreeMap::new(),
            registries: Registries::default(),
            stacks: Vec::new(),
            repositories: Vec::new(),
            swarm: Swarm::default(),
            deploys: Deploys::default(),
            lives: 0,
            instance: String::new(),
            containerd_store: false,
            last_stack: 0,
            last_access: 0,
            random: seed,
        };
        world.instance = format!("{}-{}-{}", world.hex(8), world.hex(4), world.hex(12));
        world.environment("local");
        world
    }

    // ── registry ────────────────────────────────────────────────────────────────────────────────────────────────

    /// A new image in the registry behind this reference; no engine has it yet.
    pub(crate) fn push(&mut self, reference: &str, behaviour: Behaviour) -> ImageId {
        let image = self.new_image(behaviour);
        let parsed = Reference::parse(reference)
            .unwrap_or_else(|| panic!("no image reference: {reference}"));
        self.registries.put(&parsed, &image);
        image.id
    }

    /// An image that is already known, in the registry behind one more reference.
    pub(crate) fn push_again(&mut self, reference: &str, id: &str) {
        let parsed = Reference::parse(reference).unwrap();
        self.registries.put(&parsed, &self.catalogue[id]);
    }

    /// Digest of an image's manifest.
    pub(crate) fn digest(&self, id: &str) -> String {
        self.catalogue[id].digest.clone()
    }

    /// The image's properties, to be changed before containers are made of it.
    pub(crate) fn image(&mut self, id: &str) -> &mut Image {
        self.catalogue
            .get_mut(id)
            .unwrap_or_else(|| panic!("no such image: {id}"))
    }

    /// The registry forgets a tag.
    pub(crate) fn remove_from_registry(&mut self, reference: &str) {
        self.registries
            .remove(&Reference::parse(reference).unwrap());
    }

    /// Nobody answers at this registry host.
    pub(crate) fn registry_down(&mut self, host: &str, down: bool) {
        self.registries.set_down(host, down);
    }

    /// The registry refuses because of too many pulls.
    pub(crate) fn registry_limits(&mut self, host: &str, limited: bool) {
        self.registries.set_limited(host, limited);
    }

    /// The registry asks for credentials; Portainer has them stored under the id returned.
    pub(crate) fn registry_private(&mut self, host: &str, user: &str, password: &str) -> i64 {
        self.registry_locked(host, user, password);
        self.registries.store(host, user, password)
    }

    /// The registry asks for credentials that Portainer does not have.
    pub(crate) fn registry_locked(&mut self, host: &str, user: &str, password: &str) {
        self.registries.lock(host, user, password);
    }

    // ── engines ─────────────────────────────────────────────────────────────────────────────────────────────────

    /// A further environment with an engine of its own.
    pub(crate) fn environment(&mut self, name: &str) -> EnvironmentId {
        self.engines.push(Engine::default());
        self.add_environment(name, self.engines.len() - 1)
    }

    /// A further environment on the engine of another one.
    pub(crate) fn environment_beside(&mut self, name: &str, other: EnvironmentId) -> EnvironmentId {
        let engine = self
            .environments
            .iter()
            .find(|e| e.id == other)
            .unwrap()
            .engine;
        self.add_environment(name, engine)
    }

    /// Gives an environment another name.
    pub(crate) fn rename_environment(&mut self, id: EnvironmentId, name: &str) {
        let environment = self.environments.iter_mut().find(|e| e.id == id);
        environment.unwrap().name = name.to_owned();
    }

    /// Removes an environment from Portainer; its stacks become orphans, its engine goes on.
    pub(crate) fn remove_environment(&mut self, id: EnvironmentId) {
        self.environments.retain(|e| e.id != id);
    }

    /// An image that was built on the engine: it has no registry digest, unless the engine uses the containerd store.
    pub(crate) fn local_image(
        &mut self,
        reference: &str,
        environment: EnvironmentId,
        behaviour: Behaviour,
    ) -> ImageId {
        let image = self.new_image(behaviour);
        let parsed = Reference::parse(reference).unwrap();
        let containerd = self.containerd_store;
        let engine = self.engine_of(environment);
        engine.tag(&parsed, &image.id);
        if containerd {
            engine.receive(&parsed, &image.id, &image.digest);
        }
        image.id
    }

    /// Lets a tag on the engine name another image that the engine has or gets by this.
    pub(crate) fn retag(&mut self, reference: &str, environment: EnvironmentId, id: &str) {
        self.engine_of(environment)
            .tag(&Reference::parse(reference).unwrap(), id);
    }

    /// The engine pulls, without Portainer's doing.
    pub(crate) fn pull(&mut self, reference: &str, environment: EnvironmentId) -> ImageId {
        let parsed = Reference::parse(reference).unwrap();
        let stored = self.registries.stored_for(&parsed.host);
        let id = self.registries.resolve(&parsed, stored).unwrap();
        let digest = self.digest(&id);
        self.engine_of(environment).receive(&parsed, &id, &digest);
        id
    }

    /// The id that a reference has on the engine.
    pub(crate) fn local_id(
        &mut self,
        reference: &str,
        environment: EnvironmentId,
    ) -> Option<ImageId> {
        self.engine_of(environment).find_image(reference)
    }

    /// The engine forgets an image.
    pub(crate) fn remove_local_image(&mut self, id: &str, environment: EnvironmentId) {
        self.engine_of(environment).images.remove(id);
    }

    /// The engines keep images in containerd's store: an image's id is its digest, and built images have digests too.
    pub(crate) fn use_containerd_store(&mut self) {
        self.containerd_store = true;
    }

    /// Something else on the host holds a port, `127.0.0.1:5000`.
    pub(crate) fn take_port(&mut self, environment: EnvironmentId, port: &str) {
        self.engine_of(environment)
            .taken_ports
            .insert(port.to_owned());
    }

    /// The daemon behind an environment does not answer.
    pub(crate) fn engine_down(&mut self, environment: EnvironmentId, down: bool) {
        self.engine_of(environment).unreachable = down;
    }

    // ── users ───────────────────────────────────────────────────────────────────────────────────────────────────

    /// A standard user without any access; returns its id and an API key of it.
    pub(crate) fn user_standard(&mut self, name: &str, password: &str) -> (i64, String) {
        let id = self.users.add(name, password, false);
        let key = self.new_key();
        self.users.add_key(id, &key);
        (id, key)
    }

    /// Gives a standard user access to an environment, or takes it.
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

    /// Shares a stack with a standard user, or ends that.
    pub(crate) fn may_use_stack(&mut self, user: i64, stack: StackId, may: bool) {
        let access = &mut self.stack_mut(stack).access;
        let users = &mut access.as_mut().unwrap().users;
        users.retain(|other| *other != user);
        users.extend(may.then_some(user));
    }

    /// Whether regular users may manage stacks in an environment.
    pub(crate) fn stack_management(&mut self, environment: EnvironmentId, allowed: bool) {
        self.environments
            .iter_mut()
            .find(|e| e.id == environment)
            .unwrap()
            .stack_management = allowed;
    }

    /// Whether regular users may mount host paths in an environment.
    pub(crate) fn bind_mounts(&mut self, environment: EnvironmentId, allowed: bool) {
        self.environments
            .iter_mut()
            .find(|e| e.id == environment)
            .unwrap()
            .bind_mounts = allowed;
    }

    /// All API keys of a user stop working.
    pub(crate) fn revoke_keys(&mut self, user: i64) {
        self.users.revoke_keys(user);
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

    /// Portainer without administrator, in its first five minutes or locked after them.
    pub(crate) fn without_administrator(&mut self, setup: Setup) {
        self.users.list.clear();
        self.users.setup = setup;
    }

    // ── Portainer itself ────────────────────────────────────────────────────────────────────────────────────────

    /// Portainer is killed and comes back at once: deploys stay where they are, JWTs die, open requests get no answer.
    pub(crate) fn portainer_dies(&mut self) {
        self.lives += 1;
        self.users.forget_jwts();
        self.deploys.abandon();
    }

    /// Portainer is upgraded: from now on it behaves as another era.
    pub(crate) fn upgrade(&mut self, era: Era) {
        self.era = era;
        self.portainer_dies();
    }

    /// Now, on the fake's clock.
    pub(crate) fn now(&self) -> Millis {
        self.clock.now()
    }

    // ── stacks, looked at ───────────────────────────────────────────────────────────────────────────────────────

    /// A stack's record by name; panics without it.
    pub(crate) fn stack(&self, name: &str) -> &Stack {
        self.stacks
            .iter()
            .find(|s| s.name == name)
            .unwrap_or_else(|| panic!("no stack {name}"))
    }

    /// The next stack gets this id.
    pub(crate) fn next_stack_is(&mut self, id: StackId) {
        self.last_stack = id - 1;
    }

    /// A stack's record by id, to be changed.
    pub(crate) fn stack_mut(&mut self, id: StackId) -> &mut Stack {
        self.stacks
            .iter_mut()
            .find(|s| s.id == id)
            .unwrap_or_else(|| panic!("no stack {id}"))
    }

    /// The containers of a compose stack, by service and name, wherever they run.
    pub(crate) fn containers(&self, project: &str) -> Vec<Seen> {
        let now = self.now();
        let all = self
            .engines
            .iter()
            .flat_map(|engine| engine.project(project));
        let mut seen: Vec<Seen> = all
            .map(|c| {
                let look = c.life.look(now);
                Seen {
                    service: c.service.clone(),
                    name: c.name.clone(),
                    id: c.id.clone(),
                    image_ref: c.reference.clone(),
                    image_id: c.image.clone(),
                    state: look.state,
                    health: look.health.map(|(health, _)| health),
                    exit_code: look.exit_code,
                    restarts: look.restarts,
                    environment: c.environment.clone(),
                }
            })
            .collect();
        seen.sort_by(|a, b| (&a.service, &a.name).cmp(&(&b.service, &b.name)));
        seen
    }

    /// The only container of a service; panics when there are none or several.
    pub(crate) fn container(&self, project: &str, service: &str) -> Seen {
        let mut found: Vec<Seen> = self
            .containers(project)
            .into_iter()
            .filter(|c| c.service == service)
            .collect();
        assert_eq!(
            found.len(),
            1,
            "containers of {project}/{service}: {found:?}"
        );
        found.remove(0)
    }

    /// Stops a container, as somebody on the host might.
    pub(crate) fn stop_container(&mut self, id: &str) {
        let now = self.now();
        self.engines
            .iter_mut()
            .find_map(|e| e.get_mut(id))
            .unwrap()
            .end(now);
    }

    /// Removes a container, as somebody on the host might.
    pub(crate) fn remove_container(&mut self, id: &str) {
        self.engines.iter_mut().for_each(|e| e.remove(id));
    }

    // ── for the rest of the fake ────────────────────────────────────────────────────────────────────────────────

    pub(super) fn engine_of(&mut self, environment: EnvironmentId) -> &mut Engine {
        let engine = self
            .environments
            .iter()
            .find(|e| e.id == environment)
            .map(|e| e.engine);
        &mut self.engines[engine.unwrap_or_else(|| panic!("no environment {environment}"))]
    }

    pub(super) fn next_stack_id(&mut self) -> StackId {
        self.last_stack += 1;
        self.last_stack
    }

    /// So many hex digits that were not seen before.
    pub(super) fn hex(&mut self, digits: usize) -> String {
        let mut out = String::new();
        while out.len() < digits {
            self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = self.random;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            out.push_str(&format!("{:016x}", z ^ (z >> 31)));
        }
        out.truncate(digits);
        out
    }

    fn add_environment(&mut self, name: &str, engine: usize) -> EnvironmentId {
        let id = self.environments.last().map_or(1, |last| last.id + 1);
        self.environments.push(Environment {
            id,
            name: name.to_owned(),
            engine,
            users: Vec::new(),
            stack_management: true,
            bind_mounts: true,
        });
        id
    }

    fn new_image(&mut self, behaviour: Behaviour) -> Image {
        let digest = format!("sha256:{}", self.hex(64));
        let id = if self.containerd_store {
            digest.clone()
        } else {
            format!("sha256:{}", self.hex(64))
        };
        let speaks_of_health = matches!(
            behaviour,
            Behaviour::Healthy { .. } | Behaviour::NeverHealthy | Behaviour::Sickens { .. }
        );
        let image = Image {
            id: id.clone(),
            digest,
            healthcheck: speaks_of_health.then(Healthcheck::default),
            behaviour,
            stops_in: Duration::ZERO,
            log: vec!["starting".to_owned()],
            created: self.now(),
        };
        self.catalogue.insert(id, image.clone());
        image
    }
}
