//! The Docker API behind `/api/endpoints/{id}/docker/`: containers and images, with Docker's own errors and Portainer's filter for
//! standard users.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::auth::Caller;
use super::engine::{Container, Engine};
use super::http::{Answer, Request};
use super::image::{ImageId, Reference, StoredRegistry};
use super::life::Look;
use super::record::{Access, EnvironmentId};
use super::time::{Millis, rfc3339, seconds};
use super::world::World;

impl World {
    /// One request to the proxy; `path` is what follows `/docker`.
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
        match (request.method.as_str(), parts.as_slice()) {
            ("GET", ["info"]) => self.docker_info(environment),
            ("GET", ["version"]) => Answer::json(
                200,
                &json!({ "Version": "20.10.24+dfsg1", "ApiVersion": "1.41" }),
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
        let engine = self.engine_of(environment);
        let running = engine
            .containers
            .iter()
            .filter(|c| c.life.look(now).state == "running")
            .count();
        Answer::json(
            200,
            &json!({
                "ServerVersion": "20.10.24+dfsg1", "Containers": engine.containers.len(), "ContainersRunning": running,
                "Images": engine.images.len(), "Name": "fake", "OperatingSystem": "a model of one",
                "Swarm": {
                    "LocalNodeState": if cluster.is_empty() { "inactive" } else { "active" },
                    "ControlAvailable": !cluster.is_empty(),
                    "Cluster": { "ID": cluster },
                },
            }),
        )
    }

    // ── containers ──────────────────────────────────────────────────────────────────────────────────────────────

    /// The access control that Portainer puts on what a stack of this name owns.
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
                let row = list_row(&container, &look, self.engine_of(environment), access, now);
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

    // ── images ──────────────────────────────────────────────────────────────────────────────────────────────────

    fn held(&mut self, environment: EnvironmentId, name: &str) -> Result<ImageId, Answer> {
        let found = self.engine_of(environment).find_image(name);
        found.ok_or_else(|| Answer::docker_error(404, &format!("No such image: {name}")))
    }

    fn image_json(&mut self, environment: EnvironmentId, id: &str) -> Value {
        let created = self.catalogue[id].created;
        let local = &self.engine_of(environment).images[id];
        json!({
            "Id": id, "RepoTags": local.tags, "RepoDigests": local.digests, "Created": rfc3339(Some(created)),
            "Os": "linux", "Architecture": "amd64", "Size": 2_473_213,
        })
    }

    fn inspect_image(&mut self, environment: EnvironmentId, name: &str) -> Answer {
        match self.held(environment, name) {
            Ok(id) => Answer::json(200, &self.image_json(environment, &id)),
            Err(refusal) => refusal,
        }
    }

    fn list_images(&mut self, environment: EnvironmentId, request: &Request) -> Answer {
        let filters = match Filters::of(request) {
            Ok(filters) => filters,
            Err(refusal) => return refusal,
        };
        let ids: Vec<ImageId> = self.engine_of(environment).images.keys().cloned().collect();
        let mut rows = Vec::new();
        for id in ids {
            let local = &self.engine_of(environment).images[&id];
            let named = |reference: &str| {
                local.tags.iter().any(|tag| {
                    tag == reference || tag.rsplit_once(':').is_some_and(|(r, _)| r == reference)
                }) || local
                    .digests
                    .iter()
                    .any(|d| d.split_once('@').is_some_and(|(r, _)| r == reference))
            };
            if filters.matches("reference", named) {
                let mut row = self.image_json(environment, &id);
                row["Created"] = json!(seconds(self.catalogue[&id].created));
                if row["RepoTags"] == json!([]) {
                    row["RepoTags"] = Value::Null;
                }
                rows.push(row);
            }
        }
        Answer::json(200, &Value::Array(rows))
    }

    fn pull_image(&mut self, environment: EnvironmentId, request: &Request) -> Answer {
        let (from, tag) = (
            request.query("fromImage").unwrap_or_default(),
            request.query("tag").unwrap_or_default(),
        );
        let name = match (tag.is_empty(), tag.starts_with("sha256:")) {
            (true, _) => from.to_owned(),
            (false, true) => format!("{from}@{tag}"),
            (false, false) => format!("{from}:{tag}"),
        };
        let Some(reference) = Reference::parse(&name) else {
            return Answer::docker_error(400, "invalid reference format");
        };
        let credentials = request
            .header("x-registry-auth")
            .and_then(|auth| self.stored_by_header(auth))
            .cloned();
        let id = match self.registries.resolve(&reference, credentials.as_ref()) {
            Ok(id) => id,
            Err(error) => return Answer::docker_error(error.status, &error.message),
        };
        let digest = self.digest(&id);
        let before = self
            .engine_of(environment)
            .find_image(&reference.familiar());
        self.engine_of(environment)
            .receive(&reference, &id, &digest);
        let short = reference
            .repository
            .strip_prefix("library/")
            .unwrap_or(&reference.repository);
        let mut lines = vec![
            json!({ "status": format!("Pulling from {short}"), "id": reference.tag_or_latest() }),
        ];
        let news = if before.as_ref() == Some(&id) {
            "Image is up to date"
        } else {
            "Downloaded newer image"
        };
        if before.as_ref() != Some(&id) {
            lines.extend(layer_progress(&digest["sha256:".len()..][..12]));
        }
        lines.push(json!({ "status": format!("Digest: {digest}") }));
        lines.push(json!({ "status": format!("Status: {news} for {}", reference.familiar()) }));
        let body: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
        Answer::new(200, "application/json", body)
    }

    /// `X-Registry-Auth` as Portainer reads it: padded standard base64 of `{"registryId":N}`; anything else is no credentials.
    fn stored_by_header(&self, header: &str) -> Option<&StoredRegistry> {
        let object: Value = serde_json::from_slice(&base64(header)?).ok()?;
        let id = object.get("registryId")?.as_i64()?;
        self.registries.stored.iter().find(|stored| stored.id == id)
    }

    fn tag_image(&mut self, environment: EnvironmentId, name: &str, request: &Request) -> Answer {
        let id = match self.held(environment, name) {
            Ok(id) => id,
            Err(refusal) => return refusal,
        };
        let repository = request.query("repo").unwrap_or_default();
        let tag = request
            .query("tag")
            .filter(|tag| !tag.is_empty())
            .unwrap_or("latest");
        match Reference::parse(&format!("{repository}:{tag}")) {
            Some(reference) => {
                self.engine_of(environment).tag(&reference, &id);
                Answer::empty(201)
            }
            None => Answer::docker_error(400, "invalid reference format"),
        }
    }

    fn delete_image(
        &mut self,
        environment: EnvironmentId,
        name: &str,
        request: &Request,
    ) -> Answer {
        let id = match self.held(environment, name) {
            Ok(id) => id,
            Err(refusal) => return refusal,
        };
        let forced = request
            .query("force")
            .is_some_and(|f| matches!(f, "1" | "true"));
        let now = self.now();
        let engine = self.engine_of(environment);
        let user = engine.containers.iter().find(|c| c.image == id);
        let by_id = !engine.images[&id]
            .tags
            .iter()
            .any(|tag| Reference::parse(name).is_some_and(|r| r.familiar() == *tag));
        let short = &id["sha256:".len()..][..12];
        if let Some(container) = user.filter(|c| !forced || c.life.look(now).state == "running") {
            let what = if matches!(container.life.look(now).state, "running" | "restarting") {
                format!(
                    "conflict: unable to delete {short} (cannot be forced) - image is being used by running container {}",
                    &container.id[..12]
                )
            } else {
                format!(
                    "conflict: unable to delete {short} (must be forced) - image is being used by stopped container {}",
                    &container.id[..12]
                )
            };
            return Answer::docker_error(409, &what);
        }
        if by_id && engine.images[&id].tags.len() > 1 && !forced {
            let what = format!(
                "conflict: unable to delete {short} (must be forced) - image is referenced in multiple repositories"
            );
            return Answer::docker_error(409, &what);
        }
        let mut gone = Vec::new();
        if by_id || engine.images[&id].tags.len() == 1 {
            let local = engine.images.remove(&id).unwrap();
            gone.extend(
                local
                    .tags
                    .iter()
                    .chain(&local.digests)
                    .map(|tag| json!({ "Untagged": tag })),
            );
            gone.push(json!({ "Deleted": id }));
        } else {
            let tag = Reference::parse(name).unwrap().familiar();
            engine.images.get_mut(&id).unwrap().tags.remove(&tag);
            gone.push(json!({ "Untagged": tag }));
        }
        Answer::json(200, &Value::Array(gone))
    }

    /// What the registry has; Portainer sends no stored credentials along.
    fn distribution(&self, name: &str) -> Answer {
        let Some(reference) = Reference::parse(name) else {
            return Answer::docker_error(400, "invalid reference format");
        };
        match self.registries.resolve(&reference, None) {
            Ok(id) => Answer::json(
                200,
                &json!({
                    "Descriptor": {
                        "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
                        "digest": self.catalogue[&id].digest,
                        "size": 528,
                    },
                    "Platforms": [{ "architecture": "amd64", "os": "linux" }],
                }),
            ),
            Err(error) if error.status == 404 => {
                Answer::docker_error(404, "manifest unknown: manifest unknown")
            }
            Err(error) => Answer::docker_error(error.status, &error.message),
        }
    }
}

/// Docker's `filters` query: `{"label":["a=b"]}` or `{"label":{"a=b":true}}`.
pub(super) struct Filters(BTreeMap<String, Vec<String>>);

impl Filters {
    pub(super) fn of(request: &Request) -> Result<Filters, Answer> {
        let Some(text) = request.query("filters").filter(|text| !text.is_empty()) else {
            return Ok(Filters(BTreeMap::new()));
        };
        let parsed: Value =
            serde_json::from_str(text).map_err(|_| Answer::docker_error(400, "invalid filter"))?;
        let object = parsed
            .as_object()
            .ok_or_else(|| Answer::docker_error(400, "invalid filter"))?;
        let values = |value: &Value| match value {
            Value::Array(items) => items
                .iter()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect(),
            Value::Object(map) => map.keys().cloned().collect(),
            _ => Vec::new(),
        };
        Ok(Filters(
            object
                .iter()
                .map(|(name, value)| (name.clone(), values(value)))
                .collect(),
        ))
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Whether one of the values of a filter fits; without such a filter all fit.
    pub(super) fn matches(&self, name: &str, fits: impl Fn(&str) -> bool) -> bool {
        self.0
            .get(name)
            .is_none_or(|values| values.iter().any(|value| fits(value)))
    }

    /// Every label asked for must be there.
    pub(super) fn labels_match(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.get("label").is_none_or(|wanted| {
            wanted.iter().all(|label| match label.split_once('=') {
                Some((name, value)) => labels.get(name).is_some_and(|v| v == value),
                None => labels.contains_key(label),
            })
        })
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

fn layer_progress(layer: &str) -> [Value; 4] {
    let line = |status: &str| json!({ "status": status, "progressDetail": {}, "id": layer });
    let mut downloading = line("Downloading");
    downloading["progressDetail"] = json!({ "current": 36_445, "total": 2_473_213 });
    downloading["progress"] = json!("[>      ]  36.45kB/2.473MB");
    [
        line("Pulling fs layer"),
        downloading,
        line("Verifying Checksum"),
        line("Pull complete"),
    ]
}

/// Standard base64 with padding, and nothing else.
fn base64(text: &str) -> Option<Vec<u8>> {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    if !text.len().is_multiple_of(4) {
        return None;
    }
    let bare = text.trim_end_matches('=');
    if text.len() - bare.len() > 2 {
        return None;
    }
    let mut out = Vec::new();
    let (mut bits, mut count) = (0u32, 0);
    for letter in bare.bytes() {
        let six = LETTERS.iter().position(|l| *l == letter)?;
        bits = (bits << 6) | u32::try_from(six).unwrap();
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push(u8::try_from((bits >> count) & 0xff).unwrap());
        }
    }
    Some(out)
}
