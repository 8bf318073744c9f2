//! The Docker API behind `/api/endpoints/{id}/docker/`: containers and images, with Docker's own errors and Portainer's filter for
//! standard users.

use serde_json::{Value, json};

use super::auth::Caller;
use super::engine::{Container, Engine, EngineStyle};
use super::filters::Filters;
use super::http::{Answer, Request};
use super::life::Look;
use super::record::{Access, EnvironmentId};
use super::time::{Millis, rfc3339, seconds};
use super::world::World;

impl World {
    /// Handles one request to the proxy; `path` is the part after `/docker`.
    pub(super) fn docker(
        &mut self,
        caller: &Caller,
        environment: EnvironmentId,
        path: &str,
        request: &Request,
    ) -> Answer {
        if let Err(refusal) = self.environment_open(caller, environment) {
            return refusal;
        }
        if self.engine_of(environment).unreachable {
            let details = "Dial unix /var/run/docker.sock: connect: connection refused";
            return Answer::error(
                500,
                "Unable to proxy the request via the Docker socket",
                details,
            );
        }
        let path = path.trim_start_matches('/');
        let path = path
            .strip_prefix('v')
            .filter(|p| p.starts_with(|c: char| c.is_ascii_digit()))
            .map_or(path, |versioned| {
                versioned.split_once('/').map_or("", |(_, rest)| rest)
            });
        let parts: Vec<&str> = path.split('/').collect();
        let api_version = self.engine_style.versions().1;
        self.docker_api(caller, environment, &parts, request)
            .with("Api-Version", api_version)
    }

    fn docker_api(
        &mut self,
        caller: &Caller,
        environment: EnvironmentId,
        parts: &[&str],
        request: &Request,
    ) -> Answer {
        match (request.method.as_str(), parts) {
            ("GET", ["info"]) => self.docker_info(environment),
            ("GET", ["version"]) => Answer::json(
                200,
                &json!({ "Version": self.engine_style.versions().0, "ApiVersion": self.engine_style.versions().1 }),
            ),
            ("GET", ["_ping"]) => Answer::text(200, "OK"),
            ("GET", ["containers", "json"]) => self.list_containers(caller, environment, request),
            ("GET", ["containers", id, "json"]) => self.inspect(caller, environment, id),
            ("GET", ["containers", id, "logs"]) => self.logs(caller, environment, id, request),
            ("GET", ["images", "json"]) => self.list_images(environment, request),
            ("POST", ["images", "create"]) => self.pull_image(environment, request),
            ("GET", ["images", name @ .., "json"]) => {
                self.inspect_image(environment, &name.join("/"))
            }
            ("POST", ["images", name @ .., "tag"]) => {
                self.tag_image(environment, &name.join("/"), request)
            }
            ("DELETE", ["images", name @ ..]) => {
                self.delete_image(environment, &name.join("/"), request)
            }
            ("GET", ["distribution", name @ .., "json"]) => self.distribution(&name.join("/")),
            ("GET", ["services"]) => self.list_services(caller, environment, request),
            ("GET", ["services", id]) => self.inspect_service(caller, environment, id),
            ("GET", ["tasks"]) => self.list_tasks(caller, environment, request),
            _ => Answer::docker_error(404, "page not found"),
        }
    }

    fn docker_info(&mut self, environment: EnvironmentId) -> Answer {
        let cluster = self.swarm.cluster.clone();
        let now = self.now();
        let style = self.engine_style;
        let (driver, status) = match style.is_containerd() {
            true => (
                "overlayfs",
                json!([["driver-type", "io.containerd.snapshotter.v1"]]),
            ),
            false => ("overlay2", json!([["Backing Filesystem", "extfs"]])),
        };
        let engine = self.engine_of(environment);
        let running = engine
            .containers
            .iter()
            .filter(|c| c.life.look(now).state == "running")
            .count();
        let mut info = json!({
            "ServerVersion": style.versions().0, "Driver": driver, "DriverStatus": status, "Containers": engine.containers.len(), "ContainersRunning": running,
            "Images": engine.images.len(), "Name": "fake", "OperatingSystem": "a model of one",
            "Swarm": {
                "LocalNodeState": if cluster.is_empty() { "inactive" } else { "active" },
                "ControlAvailable": !cluster.is_empty(),
                "Cluster": { "ID": cluster },
            },
        });
        if style == EngineStyle::Podman {
            info["BuildahVersion"] = json!("1.37.2");
        }
        Answer::json(200, &info)
    }

    // ── containers ──────────────────────────────────────────────────────────────────────────────────────────────

    /// The access control that Portainer applies to the objects of a stack of this name.
    fn access_of(&self, environment: EnvironmentId, project: &str) -> Option<&Access> {
        self.stacks
            .iter()
            .find(|s| s.environment == environment && s.name == project)
            .and_then(|s| s.access_here())
    }

    pub(super) fn may_see(
        &self,
        caller: &Caller,
        environment: EnvironmentId,
        project: &str,
    ) -> bool {
        caller.user.administrator
            || self
                .access_of(environment, project)
                .is_some_and(|access| access.users.contains(&caller.user.id))
    }

    fn list_containers(
        &mut self,
        caller: &Caller,
        environment: EnvironmentId,
        request: &Request,
    ) -> Answer {
        let filters = match Filters::of(request) {
            Ok(filters) => filters,
            Err(refusal) => return refusal,
        };
        let all = request
            .query("all")
            .is_some_and(|all| matches!(all, "1" | "true" | "True"));
        let now = self.now();
        let mut rows: Vec<(Millis, Value)> = Vec::new();
        for container in self.engine_of(environment).containers.clone() {
            let look = container.life.look(now);
            let shown =
                (all || matches!(look.state, "running" | "restarting") || filters.has("status"))
                    && filters.labels_match(&container.labels)
                    && filters.matches("name", |name| {
                        container.name.contains(name.trim_start_matches('/'))
                    })
                    && filters.matches("id", |id| container.id.starts_with(id))
                    && filters.matches("status", |status| look.state == status);
            if shown && self.may_see(caller, environment, &container.project) {
                let access = self
                    .access_of(environment, &container.project)
                    .map(Access::json);
                let style = self.engine_style;
                let engine = self.engine_of(environment);
                let mut row = list_row(&container, &look, engine, access, now);
                if style == EngineStyle::Docker29 {
                    let (health, streak) = look.health.unwrap_or(("none", 0));
                    row["Health"] = json!({ "Status": health, "FailingStreak": streak });
                }
                rows.push((container.created, row));
            }
        }
        rows.sort_by_key(|(created, _)| std::cmp::Reverse(*created));
        Answer::json(200, &rows.into_iter().map(|(_, row)| row).collect())
    }

    fn visible(
        &mut self,
        caller: &Caller,
        environment: EnvironmentId,
        id: &str,
    ) -> Result<Container, Answer> {
        let found = self.engine_of(environment).find(id).cloned();
        let container =
            found.ok_or_else(|| Answer::docker_error(404, &format!("No such container: {id}")))?;
        if self.may_see(caller, environment, &container.project) {
            Ok(container)
        } else {
            Err(Answer::docker_error(403, "access denied to resource"))
        }
    }

    fn inspect(&mut self, caller: &Caller, environment: EnvironmentId, id: &str) -> Answer {
        let container = match self.visible(caller, environment, id) {
            Ok(container) => container,
            Err(refusal) => return refusal,
        };
        let now = self.now();
        let access = self
            .access_of(environment, &container.project)
            .map(Access::json);
        Answer::json(
            200,
            &inspection(&container, &container.life.look(now), access, now),
        )
    }

    fn logs(
        &mut self,
        caller: &Caller,
        environment: EnvironmentId,
        id: &str,
        request: &Request,
    ) -> Answer {
        let container = match self.visible(caller, environment, id) {
            Ok(container) => container,
            Err(refusal) if refusal.status == 403 => {
                return Answer::error(
                    500,
                    "Unable to proxy the request via the Docker socket",
                    "Mime: no media type",
                );
            }
            Err(refusal) => return refusal,
        };
        let look = container.life.look(self.now());
        let runs = if look.started.is_some() {
            look.restarts.min(100) + 1
        } else {
            0
        };
        let lines: Vec<&String> = (0..runs).flat_map(|_| &container.log).collect();
        let tail = request
            .query("tail")
            .and_then(|t| t.parse().ok())
            .unwrap_or(lines.len());
        let mut body = Vec::new();
        for line in &lines[lines.len().saturating_sub(tail)..] {
            let (stream, text) = line
                .strip_prefix("stderr: ")
                .map_or((1, line.as_str()), |text| (2, text));
            let text = format!("{text}\n");
            body.extend([stream, 0, 0, 0]);
            body.extend(u32::try_from(text.len()).unwrap().to_be_bytes());
            body.extend(text.bytes());
        }
        Answer::new(200, "application/octet-stream", body)
    }
}

fn list_row(
    container: &Container,
    look: &Look,
    engine: &Engine,
    access: Option<Value>,
    now: Millis,
) -> Value {
    let tag_still_there =
        engine.find_image(&container.reference).as_ref() == Some(&container.image);
    let shown = if tag_still_there {
        &container.reference
    } else {
        &container.image
    };
    let network = format!("{}_default", container.project);
    let mut row = json!({
        "Id": container.id, "Names": [format!("/{}", container.name)], "Image": shown, "ImageID": container.image,
        "Command": "/app", "Created": seconds(container.created), "Ports": [], "Labels": container.labels,
        "State": look.state, "Status": look.status_text(now), "HostConfig": { "NetworkMode": network.clone() },
        "NetworkSettings": { "Networks": { network: {} } }, "Mounts": [],
    });
    if let Some(access) = access {
        row["Portainer"] = json!({ "ResourceControl": access });
    }
    row
}

fn inspection(container: &Container, look: &Look, access: Option<Value>, now: Millis) -> Value {
    let running = matches!(look.state, "running" | "restarting");
    let mut state = json!({
        "Status": look.state, "Running": running, "Paused": false, "Restarting": look.state == "restarting",
        "OOMKilled": false, "Dead": false, "Pid": if look.state == "running" { 4242 } else { 0 },
        "ExitCode": look.exit_code, "Error": "", "StartedAt": rfc3339(look.started), "FinishedAt": rfc3339(look.finished),
    });
    if let Some((health, streak)) = look.health {
        let log = match health {
            "healthy" => vec![probe(now, 0, "fine\n")],
            "unhealthy" if streak > 0 => vec![probe(now, 1, "not ready\n")],
            _ => Vec::new(),
        };
        state["Health"] = json!({ "Status": health, "FailingStreak": streak, "Log": log });
    }
    let mut config = json!({
        "Image": container.reference, "Labels": container.labels, "Env": container.environment, "Hostname": &container.id[..12],
    });
    if let Some(check) = &container.life.health {
        config["Healthcheck"] = json!({
            "Test": ["CMD", "/app", "health"], "Interval": nanoseconds(check.interval), "Timeout": nanoseconds(check.timeout),
            "StartPeriod": nanoseconds(check.start_period), "Retries": check.retries,
        });
    }
    let mut value = json!({
        "Id": container.id, "Created": rfc3339(Some(container.created)), "Path": "/app", "Args": [], "State": state,
        "Image": container.image, "Name": format!("/{}", container.name), "RestartCount": look.restarts, "Config": config,
        "HostConfig": { "RestartPolicy": { "Name": container.life.restart.name(), "MaximumRetryCount": 0 } },
        "Mounts": [],
    });
    if let Some(access) = access {
        value["Portainer"] = json!({ "ResourceControl": access });
    }
    value
}

fn probe(at: Millis, code: i64, output: &str) -> Value {
    json!({ "Start": rfc3339(Some(at)), "End": rfc3339(Some(at)), "ExitCode": code, "Output": output })
}

fn nanoseconds(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap()
}
