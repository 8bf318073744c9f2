//! Swarm services: every update's course is settled when it is submitted, from what its image will do, and looked at by time.

use std::time::Duration;

use yaml_serde::Value as Yaml;

use super::compose::{self, File, Service as Wanted};
use super::deploy::Update;
use super::image::{ImageId, Reference};
use super::life::{Behaviour, Healthcheck, Life, Phase, Restart};
use super::record::{EnvironmentId, Kind, Stack, StackId};
use super::time::{Millis, millis};
use super::world::World;

/// From a task's creation to its start, when the image is there.
pub(super) const STARTS_IN: Millis = 300;

/// The swarm of the world; there is at most one.
#[derive(Debug, Default)]
pub(super) struct Swarm {
    /// Empty: the engine is no swarm manager.
    pub(super) cluster: String,
    pub(super) services: Vec<Service>,
    /// So many updates fail with "update out of sequence" before one is taken.
    pub(super) out_of_sequence: u32,
}

/// One service.
#[derive(Clone, Debug)]
pub(super) struct Service {
    pub(super) id: String,
    /// `stack_service`.
    pub(super) name: String,
    pub(super) stack: String,
    pub(super) environment: EnvironmentId,
    pub(super) replicas: u32,
    pub(super) settings: Settings,
    pub(super) created: Millis,
    pub(super) updated: Millis,
    pub(super) version: u64,
    pub(super) force_update: u64,
    pub(super) health: Option<Healthcheck>,
    /// One for each spec that was rolled out, the last one being in force.
    pub(super) generations: Vec<Generation>,
    pub(super) update: Option<Course>,
}

/// `update_config` and what else of `deploy` matters.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) stop_first: bool,
    pub(super) failure_action: String,
    pub(super) monitor: Millis,
    pub(super) restart_delay: Millis,
    /// Mode `replicated-job` or `global-job`: its tasks are to end.
    pub(super) job: bool,
    /// Mode `global` or `global-job`: one task on each node, and there is one node.
    pub(super) global: bool,
}

/// The tasks of one spec.
#[derive(Clone, Debug)]
pub(super) struct Generation {
    /// `ref@sha256:…`, or the bare reference when no registry knew it.
    pub(super) image: String,
    pub(super) image_id: Option<ImageId>,
    pub(super) life: Life,
    /// The service's `ForceUpdate` when the spec came into force.
    pub(super) force_update: u64,
    /// Seed of the ids of its tasks.
    pub(super) mark: String,
    /// When its tasks are created.
    pub(super) since: Millis,
    /// When its tasks are told to shut down.
    pub(super) until: Option<Millis>,
}

/// How an update goes.
#[derive(Clone, Debug)]
pub(super) struct Course {
    pub(super) started: Millis,
    pub(super) end: CourseEnd,
}

#[derive(Clone, Debug)]
pub(super) enum CourseEnd {
    Completes {
        at: Millis,
    },
    Pauses {
        at: Millis,
    },
    /// Back to the spec before, which is in force from `at` on.
    RollsBack {
        at: Millis,
        completes: Millis,
        to: Box<Generation>,
        applied: bool,
    },
}

impl World {
    /// A swarm stack on environment 1, up for an hour; the engine becomes a swarm manager.
    pub(crate) fn swarm_stack(&mut self, name: &str, file: &str, env: &[(&str, &str)]) -> StackId {
        self.become_swarm();
        let id = self.record_only(1, name, Kind::Swarm, file, env);
        let cluster = self.swarm.cluster.clone();
        self.stack_mut(id).swarm_id = cluster;
        self.deploy_hour_old(id);
        id
    }

    /// The engine is a swarm manager; returns the cluster's id.
    pub(crate) fn become_swarm(&mut self) -> String {
        if self.swarm.cluster.is_empty() {
            self.swarm.cluster = self.swarm_id();
        }
        self.swarm.cluster.clone()
    }

    /// The next updates of a swarm stack fail, so many times, because the service is being written.
    pub(crate) fn swarm_out_of_sequence(&mut self, times: u32) {
        self.swarm.out_of_sequence = times;
    }

    /// The image that a swarm service has in its spec.
    pub(crate) fn swarm_image(&mut self, name: &str) -> String {
        let now = self.now();
        self.swarm.settle(now);
        let service = self
            .swarm
            .services
            .iter()
            .find(|s| s.name == name)
            .unwrap_or_else(|| panic!("no service {name}"));
        service.current().image.clone()
    }

    /// `docker stack deploy`: hands the services in, and is done before anything has rolled out.
    pub(super) fn deploy_swarm(
        &mut self,
        stack: StackId,
        update: &Update,
        at: Millis,
    ) -> Result<(), String> {
        if self.swarm.cluster.is_empty() {
            return Err("failed to deploy a stack: this node is not a swarm manager".to_owned());
        }
        self.swarm.settle(at);
        let record = self.stack_mut(stack).clone();
        let path = format!("{}/docker-compose.yml", record.project_path());
        let file = File::load(&update.file, &Stack::variables(update.env.as_ref()), &path)
            .map_err(|e| {
                format!("failed to deploy a stack: failed to load the compose file: {e}")
            })?;
        for wanted in &file.services {
            self.deploy_service(&record, wanted, update.pull, at)?;
        }
        if update.prune {
            let kept = |s: &Service| {
                file.services
                    .iter()
                    .any(|w| s.name == format!("{}_{}", record.name, w.name))
            };
            self.swarm
                .services
                .retain(|s| s.stack != record.name || kept(s));
        }
        Ok(())
    }

    pub(super) fn swarm_removed(&mut self, stack: &str) {
        self.swarm.services.retain(|s| s.stack != stack);
    }

    fn deploy_service(
        &mut self,
        stack: &Stack,
        wanted: &Wanted,
        pull: bool,
        at: Millis,
    ) -> Result<(), String> {
        let name = format!("{}_{}", stack.name, wanted.name);
        let found = self.swarm.services.iter().position(|s| s.name == name);
        if found.is_some() && self.swarm.out_of_sequence > 0 {
            self.swarm.out_of_sequence -= 1;
            return Err(format!(
                "failed to update service {name}: Error response from daemon: rpc error: code = Unknown desc = update out of sequence\n"
            ));
        }
        let current = found.map(|index| self.swarm.services[index].current().image.clone());
        let same_reference = current
            .as_ref()
            .is_some_and(|image| image.split('@').next() == Some(wanted.image.as_str()));
        let image = match current {
            Some(image) if !pull && same_reference => image,
            _ => self.pinned(&wanted.image),
        };
        let settings = Settings::of(&wanted.deploy);
        let generation = self.generation(&image, wanted.healthcheck.clone(), &wanted.hash, at);
        let Some(index) = found else {
            let service = Service {
                id: self.swarm_id(),
                name,
                stack: stack.name.clone(),
                environment: stack.environment,
                replicas: wanted.replicas,
                settings,
                created: at,
                updated: at,
                version: 11,
                force_update: 0,
                health: wanted.healthcheck.clone(),
                generations: vec![generation],
                update: None,
            };
            self.swarm.services.push(service);
            return Ok(());
        };
        let service = &mut self.swarm.services[index];
        (service.settings, service.replicas, service.health) =
            (settings, wanted.replicas, wanted.healthcheck.clone());
        let changed = service.current().image != generation.image
            || !service.current().mark.starts_with(&wanted.hash[..8]);
        service.roll(changed.then_some(generation), at);
        Ok(())
    }

    /// Starts a service's tasks anew, with the image looked up again or not.
    pub(super) fn force_update(&mut self, id: &str, pull: bool, at: Millis) -> bool {
        let Some(index) = self
            .swarm
            .services
            .iter()
            .position(|s| s.id == id || s.name == id)
        else {
            return false;
        };
        let (old, health) = (
            self.swarm.services[index].current().clone(),
            self.swarm.services[index].health.clone(),
        );
        let bare = old.image.split('@').next().unwrap_or_default().to_owned();
        let image = if pull {
            self.pinned(&bare)
        } else {
            old.image.clone()
        };
        let generation = self.generation(&image, health, &old.mark, at);
        let service = &mut self.swarm.services[index];
        service.force_update += 1;
        service.roll(Some(generation), at);
        true
    }

    /// The reference with the digest that the registry has for it; bare when nobody knows it.
    fn pinned(&self, reference: &str) -> String {
        let parsed = Reference::parse(reference);
        let stored = parsed
            .as_ref()
            .and_then(|r| self.registries.stored_for(&r.host));
        match parsed.as_ref().map(|r| self.registries.resolve(r, stored)) {
            Some(Ok(id)) => format!("{reference}@{}", self.digest(&id)),
            _ => reference.to_owned(),
        }
    }

    /// 25 letters and digits, as swarm names things.
    fn swarm_id(&mut self) -> String {
        let letter = |digit: char| char::from_digit((digit.to_digit(16).unwrap() * 7 + 3) % 36, 36);
        self.hex(25).chars().filter_map(letter).collect()
    }

    fn generation(
        &mut self,
        image: &str,
        health: Option<Healthcheck>,
        hash: &str,
        at: Millis,
    ) -> Generation {
        let digest = image.split_once('@').map(|(_, digest)| digest);
        let image_id = self
            .catalogue
            .values()
            .find(|i| Some(i.digest.as_str()) == digest)
            .map(|i| i.id.clone());
        let facts = image_id.as_ref().map(|id| self.catalogue[id].clone());
        let life = Life {
            behaviour: facts
                .as_ref()
                .map_or(Behaviour::CannotStart, |f| f.behaviour.clone()),
            restart: Restart::No,
            health: health.or_else(|| facts.and_then(|f| f.healthcheck)),
            phase: Phase::Created,
        };
        Generation {
            image: image.to_owned(),
            image_id,
            life,
            force_update: 0,
            mark: format!("{}{}", &hash[..8], self.hex(12)),
            since: at,
            until: None,
        }
    }
}

impl Swarm {
    /// Puts rollbacks into force whose time has come.
    pub(super) fn settle(&mut self, now: Millis) {
        for service in &mut self.services {
            let Some(course) = &mut service.update else {
                continue;
            };
            if let CourseEnd::RollsBack {
                at, to, applied, ..
            } = &mut course.end
                && *at <= now
                && !*applied
            {
                *applied = true;
                service.updated = *at;
                service.version += 4;
                service.generations.last_mut().unwrap().until = Some(*at);
                service.generations.push(Generation {
                    since: *at,
                    until: None,
                    ..(**to).clone()
                });
            }
        }
    }
}

impl Service {
    /// The spec in force.
    pub(super) fn current(&self) -> &Generation {
        self.generations.last().unwrap()
    }

    /// Rolls a new spec out, or, with nothing new, only counts the version up and forgets the last update.
    fn roll(&mut self, new: Option<Generation>, at: Millis) {
        self.updated = at;
        self.version += 2;
        self.update = None;
        let Some(mut new) = new else { return };
        let old = self.current().clone();
        (new.since, new.force_update) = (at, self.force_update);
        let fails = new.first_failure().filter(|_| !self.settings.job);
        let steady = new.runs_from().unwrap_or(at + STARTS_IN);
        let watched_until = steady + self.settings.monitor;
        let end = match (
            fails.filter(|fails| *fails <= watched_until),
            self.settings.failure_action.as_str(),
        ) {
            (None, _) | (Some(_), "continue") => CourseEnd::Completes { at: watched_until },
            (Some(at), "rollback") => CourseEnd::RollsBack {
                at,
                completes: at + STARTS_IN + self.settings.monitor,
                to: Box::new(Generation {
                    mark: format!("{}b", old.mark),
                    ..old
                }),
                applied: false,
            },
            (Some(at), _) => CourseEnd::Pauses { at },
        };
        // With start-first the old tasks go when the new ones run; those that never run leave them alone.
        let replaced = if self.settings.stop_first {
            Some(at)
        } else {
            new.runs_from()
        };
        self.generations.last_mut().unwrap().until = replaced;
        self.generations.push(new);
        self.update = Some(Course { started: at, end });
    }
}

impl Generation {
    /// When its first task runs (and is healthy); `None`: never.
    pub(super) fn runs_from(&self) -> Option<Millis> {
        let started = self.since + STARTS_IN;
        match &self.life.behaviour {
            Behaviour::CannotStart | Behaviour::NeverHealthy => None,
            Behaviour::Healthy { after } => {
                let interval = millis(self.life.health.as_ref()?.interval).max(1);
                Some(started + millis(*after).div_ceil(interval) * interval)
            }
            _ => Some(started),
        }
    }

    /// When its first task fails; `None`: never.
    pub(super) fn first_failure(&self) -> Option<Millis> {
        let started = self.since + STARTS_IN;
        match &self.life.behaviour {
            Behaviour::CannotStart => Some(self.since + STARTS_IN / 2),
            Behaviour::CrashLoop { every, .. } | Behaviour::Recovers { every, .. } => {
                Some(started + millis(*every))
            }
            Behaviour::ExitsOnce { .. } => Some(started + 300),
            Behaviour::NeverHealthy => {
                let check = self.life.health.as_ref()?;
                Some(started + millis(check.start_period + check.interval * check.retries))
            }
            Behaviour::Runs | Behaviour::Healthy { .. } | Behaviour::Sickens { .. } => None,
        }
    }
}

impl Settings {
    fn of(deploy: &Yaml) -> Settings {
        let update = deploy.get("update_config");
        let text = |section: Option<&Yaml>, name: &str| {
            section
                .and_then(|s| s.get(name))
                .and_then(Yaml::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let time = |text: String, otherwise: u64| {
            if text.is_empty() {
                Duration::from_secs(otherwise)
            } else {
                compose::duration(&text)
            }
        };
        let action = text(update, "failure_action");
        Settings {
            stop_first: text(update, "order") != "start-first",
            failure_action: if action.is_empty() {
                "pause".to_owned()
            } else {
                action
            },
            monitor: millis(time(text(update, "monitor"), 5)),
            restart_delay: millis(time(text(deploy.get("restart_policy"), "delay"), 5)),
            job: text(Some(deploy), "mode").ends_with("-job"),
            global: text(Some(deploy), "mode").starts_with("global"),
        }
    }
}
