//! Services and tasks in Docker's API.

use serde_json::{Value, json};

use super::auth::{Caller, flag, payload, text};
use super::filters::Filters;
use super::http::{Answer, Request};
use super::life::Behaviour;
use super::record::EnvironmentId;
use super::swarm::{CourseEnd, Generation, STARTS_IN, Service};
use super::time::{Millis, millis, rfc3339};
use super::world::World;

/// The number of tasks that Docker keeps for each slot, including running ones.
const HISTORY: usize = 5;

impl World {
    pub(super) fn list_services(
        &mut self,
        caller: &Caller,
        environment: EnvironmentId,
        request: &Request,
    ) -> Answer {
        let filters = match (self.swarm.cluster.is_empty(), Filters::of(request)) {
            (true, _) => return not_a_manager(),
            (_, Err(refusal)) => return refusal,
            (_, Ok(filters)) => filters,
        };
        let status = request
            .query("status")
            .is_some_and(|s| matches!(s, "1" | "true"));
        let now = self.now();
        let services = self.visible_services(caller, environment, now);
        let fits = |s: &&Service| {
            let label = [("com.docker.stack.namespace".to_owned(), s.stack.clone())]
                .into_iter()
                .collect();
            filters.labels_match(&label)
                && filters.matches("name", |name| s.name.starts_with(name))
                && filters.matches("id", |id| s.id.starts_with(id))
        };
        let rows = services.iter().filter(fits).map(|service| {
            let mut row = service_json(service, now);
            if status {
                let tasks = service.tasks(now);
                let count = |state: &str| tasks.iter().filter(|t| t.state == state && t.desired == "running").count();
                row["ServiceStatus"] = json!({
                    "RunningTasks": count("running"), "DesiredTasks": service.replicas, "CompletedTasks": count("complete"),
                });
            }
            row
        });
        Answer::json(200, &rows.collect())
    }

    pub(super) fn inspect_service(
        &mut self,
        caller: &Caller,
        environment: EnvironmentId,
        id: &str,
    ) -> Answer {
        let now = self.now();
        let services = self.visible_services(caller, environment, now);
        match services.iter().find(|s| s.id == id || s.name == id) {
            Some(service) => Answer::json(200, &service_json(service, now)),
            None => Answer::docker_error(404, &format!("service {id} not found")),
        }
    }

    pub(super) fn list_tasks(
        &mut self,
        caller: &Caller,
        environment: EnvironmentId,
        request: &Request,
    ) -> Answer {
        let filters = match (self.swarm.cluster.is_empty(), Filters::of(request)) {
            (true, _) => return not_a_manager(),
            (_, Err(refusal)) => return refusal,
            (_, Ok(filters)) => filters,
        };
        let now = self.now();
        let mut rows = Vec::new();
        for service in self.visible_services(caller, environment, now) {
            let label = [(
                "com.docker.stack.namespace".to_owned(),
                service.stack.clone(),
            )]
            .into_iter()
            .collect();
            if filters.labels_match(&label)
                && filters.matches("service", |s| s == service.name || s == service.id)
            {
                let tasks = service.tasks(now);
                let wanted = tasks
                    .iter()
                    .filter(|t| filters.matches("desired-state", |state| t.desired == state));
                rows.extend(wanted.map(|task| task_json(task, &service)));
            }
        }
        Answer::json(200, &Value::Array(rows))
    }

    /// The running or completed tasks of a Swarm stack: the service's name in the file, the task's id, and its image.
    pub(crate) fn swarm_tasks(&mut self, stack: &str) -> Vec<(String, String, String)> {
        let now = self.now();
        self.swarm.settle(now);
        let services = self.swarm.services.iter().filter(|s| s.stack == stack);
        let prefix = format!("{stack}_");
        services
            .flat_map(|service| {
                let name = service.name.trim_start_matches(&prefix);
                let tasks = service.tasks(now).into_iter();
                tasks
                    .filter(|t| matches!(t.state, "running" | "complete"))
                    .map(|t| (name.to_owned(), t.id, t.image))
            })
            .collect()
    }

    /// `PUT /api/endpoints/{id}/forceupdateservice`.
    pub(super) fn force_update_service(
        &mut self,
        caller: &Caller,
        environment: EnvironmentId,
        request: &Request,
    ) -> Result<Answer, Answer> {
        self.environment_open(caller, environment)?;
        let body = payload(request)?;
        let now = self.now();
        self.swarm.settle(now);
        if self.force_update(&text(&body, "ServiceID"), flag(&body, "PullImage"), now) {
            return Ok(Answer::json(200, &json!({ "Warnings": null })));
        }
        Err(Answer::error(
            500,
            "Error looking up service",
            "Error response from daemon: service not found",
        ))
    }

    fn visible_services(
        &mut self,
        caller: &Caller,
        environment: EnvironmentId,
        now: Millis,
    ) -> Vec<Service> {
        self.swarm.settle(now);
        let all = self
            .swarm
            .services
            .iter()
            .filter(|s| s.environment == environment);
        all.filter(|s| self.may_see(caller, environment, &s.stack))
            .cloned()
            .collect()
    }
}

/// The state of a task at one moment.
pub(super) struct Task {
    id: String,
    slot: u32,
    image: String,
    force_update: u64,
    pub(super) state: &'static str,
    pub(super) desired: &'static str,
    message: &'static str,
    error: Option<String>,
    exit_code: i64,
    at: Millis,
    created: Millis,
}

impl Service {
    /// All tasks that Docker still keeps.
    pub(super) fn tasks(&self, now: Millis) -> Vec<Task> {
        let mut tasks = Vec::new();
        for slot in 1..=self.replicas {
            let mut of_slot: Vec<Task> = self
                .generations
                .iter()
                .filter(|g| g.since <= now)
                .flat_map(|g| self.attempts(g, slot, now))
                .collect();
            of_slot.sort_by_key(|task| task.created);
            let mut too_many = of_slot.len().saturating_sub(HISTORY);
            of_slot.retain(|task| {
                let dropped = too_many > 0 && task.state != "running";
                too_many -= usize::from(dropped);
                !dropped
            });
            tasks.extend(of_slot);
        }
        tasks
    }

    /// The tasks of one spec in one slot: a running one, or a series of failed ones.
    fn attempts(&self, generation: &Generation, slot: u32, now: Millis) -> Vec<Task> {
        let end = generation.until.unwrap_or(Millis::MAX).min(now);
        let replaced = generation.until.is_some_and(|until| until <= now);
        let lasts = generation.first_failure().map(|at| at - generation.since);
        let mut tasks = Vec::new();
        let mut created = generation.since;
        for attempt in 0..10_000u32 {
            let id = task_id(&generation.mark, slot, attempt);
            let task = |state, desired, message, at| Task {
                id: id.clone(),
                slot,
                image: generation.image.clone(),
                force_update: generation.force_update,
                state,
                desired,
                message,
                error: None,
                exit_code: 0,
                at,
                created,
            };
            let recovered = matches!(generation.life.behaviour, Behaviour::Recovers { crashes, .. } if attempt >= crashes);
            let fails = lasts
                .filter(|_| !recovered)
                .map(|lasts| created + lasts)
                .filter(|at| *at <= end);
            let Some(fails) = fails else {
                let steady = generation
                    .runs_from()
                    .map_or(Millis::MAX, |from| created + (from - generation.since));
                tasks.push(
                    match (replaced, now >= steady, now >= created + STARTS_IN) {
                        (true, _, _) => task(
                            "shutdown",
                            "shutdown",
                            "shutdown",
                            generation.until.unwrap_or(now),
                        ),
                        (false, true, _) => task("running", "running", "started", steady),
                        (false, false, true) => {
                            task("starting", "running", "starting", created + STARTS_IN)
                        }
                        (false, false, false) => task("preparing", "running", "preparing", created),
                    },
                );
                return tasks;
            };
            let again = fails + self.settings.restart_delay;
            let code = match generation.life.behaviour {
                Behaviour::CrashLoop { code, .. }
                | Behaviour::Recovers { code, .. }
                | Behaviour::ExitsOnce { code } => code,
                _ => 1,
            };
            if self.settings.job && code == 0 {
                tasks.push(Task {
                    exit_code: 0,
                    ..task("complete", "complete", "finished", fails)
                });
                return tasks;
            }
            let desired = if end >= again || replaced {
                "shutdown"
            } else {
                "ready"
            };
            tasks.push(if generation.life.behaviour == Behaviour::CannotStart {
                let bare = generation.image.split('@').next().unwrap_or_default();
                let error = Some(format!("No such image: {bare}"));
                Task {
                    error,
                    ..task("rejected", desired, "preparing", fails)
                }
            } else {
                let (state, message) = if code == 0 {
                    ("complete", "finished")
                } else {
                    ("failed", "started")
                };
                let error = Some(format!("task: non-zero exit ({code})")).filter(|_| code != 0);
                Task {
                    error,
                    exit_code: code,
                    ..task(state, "shutdown", message, fails)
                }
            });
            if again > end {
                return tasks;
            }
            created = again;
        }
        tasks
    }

    /// `UpdateStatus`; absent before the first update and after one without a change.
    fn update_status(&self, now: Millis) -> Option<Value> {
        let course = self.update.as_ref()?;
        let started = rfc3339(Some(course.started));
        let failed = |generation: &Generation| task_id(&generation.mark, 1, 0);
        let value = |state: &str, message: &str, completed: Option<Millis>| {
            let mut value = json!({ "State": state, "StartedAt": started, "Message": message });
            if completed.is_some() {
                value["CompletedAt"] = json!(rfc3339(completed));
            }
            Some(value)
        };
        match &course.end {
            CourseEnd::Completes { at } if *at <= now => {
                value("completed", "update completed", Some(*at))
            }
            CourseEnd::Pauses { at } if *at <= now => {
                let task = failed(self.current());
                value(
                    "paused",
                    &format!("update paused due to failure or early termination of task {task}"),
                    None,
                )
            }
            CourseEnd::RollsBack { completes, .. } if *completes <= now => {
                value("rollback_completed", "rollback completed", Some(*completes))
            }
            CourseEnd::RollsBack { at, .. } if *at <= now => {
                let task = self
                    .generations
                    .iter()
                    .rev()
                    .nth(1)
                    .map(failed)
                    .unwrap_or_default();
                let message = format!(
                    "update rolled back due to failure or early termination of task {task}"
                );
                value("rollback_started", &message, None)
            }
            _ => value("updating", "update in progress", None),
        }
    }

    /// Increases with every write to the service, including those of a running update.
    fn version_at(&self, now: Millis) -> u64 {
        let ended = self
            .update
            .as_ref()
            .is_some_and(|course| match &course.end {
                CourseEnd::Completes { at } | CourseEnd::Pauses { at } => *at <= now,
                CourseEnd::RollsBack { completes, .. } => *completes <= now,
            });
        self.version + if ended { 3 } else { 0 }
    }
}

fn service_json(service: &Service, now: Millis) -> Value {
    let settings = &service.settings;
    let order = if settings.stop_first {
        "stop-first"
    } else {
        "start-first"
    };
    let replicas = service.replicas;
    let mode = match (settings.global, settings.job) {
        (true, false) => json!({ "Global": {} }),
        (true, true) => json!({ "GlobalJob": {} }),
        (false, false) => json!({ "Replicated": { "Replicas": replicas } }),
        (false, true) => {
            json!({ "ReplicatedJob": { "MaxConcurrent": replicas, "TotalCompletions": replicas } })
        }
    };
    let mut container = json!({ "Image": service.current().image, "Labels": { "com.docker.stack.namespace": service.stack } });
    if let Some(check) = &service.health {
        let ns = |time: std::time::Duration| millis(time) * 1_000_000;
        container["Healthcheck"] = json!({
            "Interval": ns(check.interval), "Timeout": ns(check.timeout), "StartPeriod": ns(check.start_period),
            "Retries": check.retries,
        });
    }
    let mut value = json!({
        "ID": service.id, "Version": { "Index": service.version_at(now) }, "CreatedAt": rfc3339(Some(service.created)),
        "UpdatedAt": rfc3339(Some(service.updated)),
        "Spec": {
            "Name": service.name,
            "Labels": { "com.docker.stack.namespace": service.stack, "com.docker.stack.image": service.current().image.split('@').next() },
            "TaskTemplate": {
                "ContainerSpec": container, "ForceUpdate": service.force_update,
                "RestartPolicy": { "Condition": "any", "Delay": settings.restart_delay * 1_000_000, "MaxAttempts": 0 },
            },
            "Mode": mode,
            "UpdateConfig": {
                "Parallelism": 1, "FailureAction": settings.failure_action, "Monitor": settings.monitor * 1_000_000,
                "MaxFailureRatio": 0, "Order": order,
            },
        },
        "Endpoint": { "Spec": {} },
    });
    if let Some(status) = service.update_status(now) {
        value["UpdateStatus"] = status;
    }
    value
}

fn task_json(task: &Task, service: &Service) -> Value {
    let container = if task.state == "rejected" {
        String::new()
    } else {
        format!("{}{}", task.id, task.id)
    };
    let mut status = json!({
        "Timestamp": rfc3339(Some(task.at)), "State": task.state, "Message": task.message,
        "ContainerStatus": { "ContainerID": container, "PID": 0, "ExitCode": task.exit_code },
    });
    if let Some(error) = &task.error {
        status["Err"] = json!(error);
    }
    json!({
        "ID": task.id, "Version": { "Index": service.version }, "CreatedAt": rfc3339(Some(task.created)),
        "UpdatedAt": rfc3339(Some(task.at)), "Labels": {}, "Spec": { "ContainerSpec": { "Image": task.image }, "ForceUpdate": task.force_update },
        "ServiceID": service.id, "Slot": task.slot, "NodeID": "a-node", "Status": status, "DesiredState": task.desired,
    })
}

fn task_id(mark: &str, slot: u32, attempt: u32) -> String {
    format!("{mark}t{slot}a{attempt}")
}

fn not_a_manager() -> Answer {
    let what = "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect this node to swarm \
                and try again.";
    Answer::docker_error(503, what)
}
