//! The state behind the fake's API, which tests prepare and inspect: registries, engines, stacks, users.

use std::collections::BTreeMap;
use std::time::Duration;

use super::auth::Users;
use super::deploy::Deploys;
use super::engine::{Engine, EngineStyle};
use super::era::Era;
use super::git::Repository;
use super::image::{Image, ImageId, Registries};
use super::life::{Behaviour, Healthcheck};
use super::record::{Environment, EnvironmentId, Stack, StackId};
use super::swarm::Swarm;
use super::time::{Clock, Millis};

/// The durations of the engine's work, without stopping and health checks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// Pulling one image.
    pub(crate) pull: Duration,
    /// The three attempts of a failing pull, in releases that repeat it.
    pub(crate) pull_retries: Duration,
    /// Creating or removing one container.
    pub(crate) create: Duration,
    /// Starting one container.
    pub(crate) start: Duration,
}

/// The state of one fake.
#[derive(Debug)]
pub(crate) struct World {
    /// The durations of the engine's work; a few milliseconds by default.
    pub(crate) pace: Pace,
    /// True if `up` pulls an image that the engine does not have; otherwise it fails.
    pub(crate) up_pulls_missing: bool,
    /// True if compose gets the registry credentials that Portainer has stored; 2.24.0 gives it none.
    pub(crate) compose_logs_in: bool,
    /// True if a pull that fails for one image of a stack still moves the tags of others; both have been observed.
    pub(crate) failed_pull_moves_others: bool,
    /// Makes Portainer die in the next deployment, after the first container that it replaces has been stopped.
    pub(crate) dies_in_next_deploy: bool,
    /// The service whose container the next deployment creates but does not start.
    pub(crate) next_start_is_lost: Option<String>,
    pub(super) era: Era,
    pub(super) is_2_40: bool,
    pub(super) is_2_41: bool,
    /// True if users sign in with OAuth; passwords are refused.
    pub(crate) oauth: bool,
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
    /// The number of restarts of the Portainer process.
    pub(super) lives: u64,
    pub(super) instance: String,
    pub(super) engine_style: EngineStyle,
    pub(super) last_stack: StackId,
    pub(super) last_access: i64,
    random: u64,
}

impl World {
    pub(super) fn new(era: Era, clock: Clock, seed: u64) -> World {
        let mut world = World {
            pace: Pace {
                pull: Duration::from_millis(3),
                pull_retries: Duration::from_secs(49),
                create: Duration::from_millis(3),
                start: Duration::from_millis(3),
            },
            up_pulls_missing: false,
            compose_logs_in: true,
            failed_pull_moves_others: true,
            dies_in_next_deploy: false,
            era,
            next_start_is_lost: None,
            is_2_40: false,
            is_2_41: false,
            oauth: false,
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
            engine_style: EngineStyle::Docker20,
            last_stack: 0,
            last_access: 0,
            random: seed,
        };
        world.instance = format!("{}-{}-{}", world.hex(8), world.hex(4), world.hex(12));
        world.environment("local");
        world
    }

    // ── Portainer itself ────────────────────────────────────────────────────────────────────────────────────────

    /// Kills and restarts Portainer: deployments end where they are, JWTs become invalid, open requests get no answer.
    pub(crate) fn portainer_dies(&mut self) {
        self.lives += 1;
        self.users.forget_jwts();
        let now = self.now();
        self.abandon_deploys(now);
    }

    /// Imitates 2.41 within [`Era::C`]: pulls only missing images, and records a commit before it is deployed.
    pub(crate) fn imitate_2_41(&mut self) {
        assert_eq!(self.era, Era::C, "2.41 belongs to this era");
        self.is_2_41 = true;
    }

    /// Imitates 2.40 within [`Era::B2`]: honours `Prune`, and validates a standard user's file with the current loader.
    pub(crate) fn imitate_2_40(&mut self) {
        assert_eq!(self.era, Era::B2, "2.40 belongs to this era");
        self.is_2_40 = true;
    }

    /// Tells whether compose stacks honour `Prune`, and `Option` remembers it: from 2.40 on.
    pub(super) fn honours_prune(&self) -> bool {
        self.era >= Era::C || self.is_2_40
    }

    /// Tells whether any deployment is queued or runs.
    pub(crate) fn is_deploying(&self) -> bool {
        self.deploys.busy()
    }

    /// Tells whether `PullImage` pulls only images that are not on the host.
    pub(crate) fn pulls_missing_only(&self) -> bool {
        self.era.pulls_missing_only() || self.is_2_41
    }

    /// Upgrades Portainer to another era, with a restart.
    pub(crate) fn upgrade(&mut self, era: Era) {
        self.era = era;
        self.portainer_dies();
    }

    /// The current time on the fake's clock.
    pub(crate) fn now(&self) -> Millis {
        self.clock.now()
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

    /// New pseudo-random hex digits.
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

    pub(super) fn add_environment(&mut self, name: &str, engine: usize) -> EnvironmentId {
        let id = self.environments.last().map_or(1, |last| last.id + 1);
        self.environments.push(Environment {
            id,
            name: name.to_owned(),
            engine,
            users: Vec::new(),
            down: false,
            stack_management: true,
            bind_mounts: true,
        });
        id
    }

    pub(super) fn new_image(&mut self, behaviour: Behaviour) -> Image {
        let digest = format!("sha256:{}", self.hex(64));
        let id = if self.engine_style.is_containerd() {
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
