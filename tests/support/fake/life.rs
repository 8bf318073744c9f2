//! The life of a container as a function of time: its state is computed at each inspection from the time since its start.

use std::time::Duration;

use super::time::{Millis, age, millis};

/// The behaviour of the program in an image.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Behaviour {
    /// Keeps running; its health check, if it has one, always passes.
    Runs,
    /// Keeps running; the health check passes after some time.
    Healthy {
        /// Time from the start to the first passing check.
        after: Duration,
    },
    /// Keeps running; the health check never passes.
    NeverHealthy,
    /// Keeps running; the health check passes at first and fails after some time.
    Sickens {
        /// Time from the start to the first failing check.
        after: Duration,
    },
    /// Exits some time after each start.
    CrashLoop {
        /// Duration of each run.
        every: Duration,
        /// Exit code of each run.
        code: i64,
    },
    /// Exits a number of times, and then keeps running.
    Recovers {
        /// Number of runs that exit.
        crashes: u32,
        /// Duration of each of them.
        every: Duration,
        /// Their exit code.
        code: i64,
    },
    /// A job: exits 300 ms after its start.
    ExitsOnce {
        /// Its exit code.
        code: i64,
    },
    /// A job of some duration.
    Finishes {
        /// Duration of each run.
        after: Duration,
        /// Its exit code.
        code: i64,
    },
    /// Cannot be started: `up` fails with the daemon's error.
    CannotStart,
}

/// A health check, from the compose file or from the image.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Healthcheck {
    /// Time between checks.
    pub(crate) interval: Duration,
    /// Time one check may take.
    pub(crate) timeout: Duration,
    /// Failures in a row that make a container unhealthy.
    pub(crate) retries: u32,
    /// Time after the start in which failures do not count.
    pub(crate) start_period: Duration,
}

impl Default for Healthcheck {
    /// The health check of an image whose behaviour includes health; short intervals keep tests fast.
    fn default() -> Healthcheck {
        Healthcheck {
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            retries: 3,
            start_period: Duration::ZERO,
        }
    }
}

/// Docker's restart policies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Restart {
    No,
    OnFailure { at_most: Option<u32> },
    Always,
    UnlessStopped,
}

impl Restart {
    pub(super) fn parse(text: &str) -> Restart {
        match text.split_once(':').unwrap_or((text, "")) {
            ("always", _) => Restart::Always,
            ("unless-stopped", _) => Restart::UnlessStopped,
            ("on-failure", most) => Restart::OnFailure {
                at_most: most.parse().ok(),
            },
            _ => Restart::No,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Restart::No => "no",
            Restart::OnFailure { .. } => "on-failure",
            Restart::Always => "always",
            Restart::UnlessStopped => "unless-stopped",
        }
    }

    fn again(self, code: i64, restarts: u32) -> bool {
        match self {
            Restart::No => false,
            Restart::OnFailure { at_most } => {
                code != 0 && at_most.is_none_or(|most| restarts < most)
            }
            Restart::Always | Restart::UnlessStopped => true,
        }
    }
}

/// A container's process and the actions on it.
#[derive(Clone, Debug)]
pub(super) struct Life {
    pub(super) behaviour: Behaviour,
    pub(super) restart: Restart,
    pub(super) health: Option<Healthcheck>,
    pub(super) phase: Phase,
}

/// The last action on a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Created and not started.
    Created,
    /// Started at this time.
    Started(Millis),
    /// Started, then stopped on request.
    Stopped {
        started: Millis,
        at: Millis,
        code: i64,
    },
}

/// The state of a container at one moment.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Look {
    /// `created`, `running`, `restarting`, `exited`.
    pub(super) state: &'static str,
    pub(super) exit_code: i64,
    pub(super) started: Option<Millis>,
    pub(super) finished: Option<Millis>,
    pub(super) restarts: u32,
    /// `starting`, `healthy`, `unhealthy`, and the failing streak.
    pub(super) health: Option<(&'static str, u32)>,
}

impl Life {
    /// The state of the container at `now`.
    pub(super) fn look(&self, now: Millis) -> Look {
        match self.phase {
            Phase::Created => Look {
                state: "created",
                exit_code: 0,
                started: None,
                finished: None,
                restarts: 0,
                health: self.health.is_some().then_some(("starting", 0)),
            },
            Phase::Started(at) => self.running_since(at, now),
            Phase::Stopped { started, at, code } => Look {
                state: "exited",
                exit_code: code,
                finished: Some(at),
                health: self.health.is_some().then_some(("unhealthy", 0)),
                ..self.running_since(started, at)
            },
        }
    }

    fn running_since(&self, first_start: Millis, now: Millis) -> Look {
        let mut start = first_start;
        let mut restarts = 0;
        let mut backoff = 100;
        let mut finished = None;
        for _ in 0..20_000 {
            let Some((lasts, code)) = self.run_ends(restarts) else {
                break;
            };
            let end = start + lasts;
            if end > now {
                break;
            }
            finished = Some(end);
            let down = |state, restarts| Look {
                state,
                exit_code: code,
                started: Some(start),
                finished,
                restarts,
                health: self.health.is_some().then_some(("unhealthy", 0)),
            };
            if !self.restart.again(code, restarts) {
                return down("exited", restarts);
            }
            restarts += 1;
            if lasts >= 10_000 {
                backoff = 100;
            }
            if end + backoff > now {
                return down("restarting", restarts);
            }
            start = end + backoff;
            backoff = (backoff * 2).min(60_000);
        }
        let health = self
            .health
            .as_ref()
            .map(|check| self.health_at(check, now - start));
        Look {
            state: "running",
            exit_code: 0,
            started: Some(start),
            finished,
            restarts,
            health,
        }
    }

    /// Duration and exit code of the run after this many restarts; `None` if it does not end.
    fn run_ends(&self, restarts: u32) -> Option<(Millis, i64)> {
        match &self.behaviour {
            Behaviour::CrashLoop { every, code } => Some((millis(*every), *code)),
            Behaviour::Recovers {
                crashes,
                every,
                code,
            } => (restarts < *crashes).then_some((millis(*every), *code)),
            Behaviour::ExitsOnce { code } => Some((300, *code)),
            Behaviour::Finishes { after, code } => Some((millis(*after), *code)),
            Behaviour::Runs
            | Behaviour::Healthy { .. }
            | Behaviour::NeverHealthy
            | Behaviour::Sickens { .. }
            | Behaviour::CannotStart => None,
        }
    }

    /// Health and failing streak at this time after a start: one check each interval, failures in the start period do not count.
    fn health_at(&self, check: &Healthcheck, up: Millis) -> (&'static str, u32) {
        let interval = millis(check.interval).max(1);
        let (mut status, mut streak, mut ever_passed) = ("starting", 0, false);
        for probe in 1..=(up / interval).min(50_000) {
            let at = probe * interval;
            if self.probe_passes(at) {
                (status, streak, ever_passed) = ("healthy", 0, true);
            } else if ever_passed || at >= millis(check.start_period) {
                streak += 1;
                if streak >= check.retries {
                    status = "unhealthy";
                }
            }
        }
        (status, streak)
    }

    fn probe_passes(&self, up: Millis) -> bool {
        match &self.behaviour {
            Behaviour::Healthy { after } => up >= millis(*after),
            Behaviour::Sickens { after } => up < millis(*after),
            Behaviour::NeverHealthy => false,
            Behaviour::Runs
            | Behaviour::CrashLoop { .. }
            | Behaviour::Recovers { .. }
            | Behaviour::ExitsOnce { .. }
            | Behaviour::Finishes { .. }
            | Behaviour::CannotStart => true,
        }
    }
}

impl Look {
    /// Docker's `Status` text in the container list.
    pub(super) fn status_text(&self, now: Millis) -> String {
        let since = |at: Option<Millis>| age(now.saturating_sub(at.unwrap_or(now)));
        match (self.state, self.health) {
            ("created", _) => "Created".to_owned(),
            ("restarting", _) => format!(
                "Restarting ({}) {} ago",
                self.exit_code,
                since(self.finished)
            ),
            ("exited", _) => format!("Exited ({}) {} ago", self.exit_code, since(self.finished)),
            (_, None) => format!("Up {}", since(self.started)),
            (_, Some(("starting", _))) => format!("Up {} (health: starting)", since(self.started)),
            (_, Some((health, _))) => format!("Up {} ({health})", since(self.started)),
        }
    }
}
