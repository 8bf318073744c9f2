//! Swarm services: the course of an update is computed at submission from the behaviour of its image, and inspected by time.

use std::time::Duration;

use yaml_serde::Value as Yaml;

use super::compose;
use super::image::ImageId;
use super::life::{Behaviour, Healthcheck, Life};
use super::record::EnvironmentId;
use super::time::{Millis, millis};

/// Time from a task's creation to its start if the image is on the node.
pub(super) const STARTS_IN: Millis = 300;

/// The swarm; at most one exists.
#[derive(Debug, Default)]
pub(super) struct Swarm {
    /// Empty if the engine is not a swarm manager.
    pub(super) cluster: String,
    pub(super) services: Vec<Service>,
    /// The number of next updates that fail with "update out of sequence".
    pub(super) out_of_sequence: u32,
}

/// A Swarm service.
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
    /// One for each spec that was rolled out; the last one is effective.
    pub(super) generations: Vec<Generation>,
    pub(super) update: Option<Course>,
}

/// `update_config` and the other relevant parts of `deploy`.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) stop_first: bool,
    pub(super) failure_action: String,
    pub(super) monitor: Millis,
    pub(super) restart_delay: Millis,
    /// Mode `replicated-job` or `global-job`: its tasks run to completion.
    pub(super) job: bool,
    /// Mode `global` or `global-job`: one task on the only node.
    pub(super) global: bool,
}

/// The tasks of one spec.
#[derive(Clone, Debug)]
pub(super) struct Generation {
    /// `ref@sha256:…`, or the bare reference if no registry had it.
    pub(super) image: String,
    pub(super) image_id: Option<ImageId>,
    pub(super) life: Life,
    /// The service's `ForceUpdate` when the spec became effective.
    pub(super) force_update: u64,
    /// Seed of the ids of its tasks.
    pub(super) mark: String,
    /// Creation time of its tasks.
    pub(super) since: Millis,
    /// Shutdown time of its tasks.
    pub(super) until: Option<Millis>,
}

/// The course of an update.
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
    /// Rolled back to the previous spec, which is effective from `at` on.
    RollsBack {
        at: Millis,
        completes: Millis,
        to: Box<Generation>,
        applied: bool,
    },
}

impl Swarm {
    /// Applies the rollbacks that are due.
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
    /// The effective spec.
    pub(super) fn current(&self) -> &Generation {
        self.generations.last().unwrap()
    }

    /// Rolls out a new spec; without a change, only increments the version and clears the last update.
    pub(super) fn roll(&mut self, new: Option<Generation>, at: Millis) {
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
        // With start-first the old tasks stop when the new ones run; if those never run, the old ones stay.
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
    /// The time at which its first task runs and is healthy; `None` if it never does.
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

    /// The time at which its first task fails; `None` if it never does.
    pub(super) fn first_failure(&self) -> Option<Millis> {
        let started = self.since + STARTS_IN;
        match &self.life.behaviour {
            Behaviour::CannotStart => Some(self.since + STARTS_IN / 2),
            Behaviour::CrashLoop { every, .. } | Behaviour::Recovers { every, .. } => {
                Some(started + millis(*every))
            }
            Behaviour::ExitsOnce { .. } => Some(started + 300),
            Behaviour::Finishes { after, .. } => Some(started + millis(*after)),
            Behaviour::NeverHealthy => {
                let check = self.life.health.as_ref()?;
                Some(started + millis(check.start_period + check.interval * check.retries))
            }
            Behaviour::Runs | Behaviour::Healthy { .. } | Behaviour::Sickens { .. } => None,
        }
    }
}

impl Settings {
    pub(super) fn of(deploy: &Yaml) -> Settings {
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
