//! Compose files, parsed independently of the product: interpolation, services, and the errors of compose's loader.

use std::collections::BTreeMap;
use std::time::Duration;

use yaml_serde::{Mapping, Value};

use super::interpolate::interpolate_tree;
use super::life::Healthcheck;

/// A compose file after interpolation.
#[derive(Clone, Debug)]
pub(super) struct File {
    /// The services, each after those that it depends on.
    pub(super) services: Vec<Service>,
}

/// A service of a compose file.
#[derive(Clone, Debug)]
pub(super) struct Service {
    pub(super) name: String,
    pub(super) image: String,
    /// True if the service has a `build` section, so that its image is not pulled.
    pub(super) build: bool,
    pub(super) environment: Vec<String>,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) depends_on: Vec<(String, Condition)>,
    pub(super) healthcheck: Option<Healthcheck>,
    pub(super) healthcheck_off: bool,
    pub(super) restart: String,
    pub(super) stop_grace: Duration,
    pub(super) ports: Vec<String>,
    pub(super) profiles: Vec<String>,
    pub(super) replicas: u32,
    pub(super) container_name: Option<String>,
    pub(super) pull_policy: Option<String>,
    pub(super) binds_host_paths: bool,
    /// A hash that changes with the configuration and not with the image behind the reference.
    pub(super) hash: String,
    /// The `deploy` section, for swarm.
    pub(super) deploy: Value,
}

/// The condition under which a dependency counts as met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Condition {
    Started,
    Healthy,
    Completed,
}

impl Condition {
    pub(super) fn name(self) -> &'static str {
        match self {
            Condition::Started => "service_started",
            Condition::Healthy => "service_healthy",
            Condition::Completed => "service_completed_successfully",
        }
    }
}

impl File {
    /// Parses a file as compose's loader does; the error is the loader's text. `path` is the location of the file in Portainer.
    pub(super) fn load(text: &str, env: &[(String, String)], path: &str) -> Result<File, String> {
        let mut tree: Value = yaml_serde::from_str(text).map_err(|e| yaml_error(&e.to_string()))?;
        tree.apply_merge().map_err(|e| yaml_error(&e.to_string()))?;
        interpolate_tree(&mut tree, "", &|name| {
            env.iter()
                .rev()
                .find(|(n, _)| n == name)
                .map(|(_, value)| value.clone())
        })?;
        let services = match tree.get("services") {
            Some(Value::Mapping(services)) => services,
            _ => return Err("empty compose file".to_owned()),
        };
        let mut read = Vec::new();
        for (name, body) in services {
            read.push(service(&scalar(name), body, path)?);
        }
        Ok(File {
            services: in_dependency_order(read)?,
        })
    }

    pub(super) fn service(&self, name: &str) -> Option<&Service> {
        self.services.iter().find(|s| s.name == name)
    }
}

const KNOWN: &[&str] = &[
    "annotations",
    "build",
    "cap_add",
    "cap_drop",
    "command",
    "configs",
    "container_name",
    "cpus",
    "depends_on",
    "deploy",
    "devices",
    "dns",
    "entrypoint",
    "env_file",
    "environment",
    "expose",
    "extends",
    "extra_hosts",
    "healthcheck",
    "hostname",
    "image",
    "init",
    "ipc",
    "labels",
    "links",
    "logging",
    "mem_limit",
    "network_mode",
    "networks",
    "pid",
    "platform",
    "ports",
    "privileged",
    "profiles",
    "pull_policy",
    "read_only",
    "restart",
    "scale",
    "secrets",
    "security_opt",
    "shm_size",
    "stdin_open",
    "stop_grace_period",
    "stop_signal",
    "sysctls",
    "tmpfs",
    "tty",
    "ulimits",
    "user",
    "volumes",
    "working_dir",
];

fn service(name: &str, body: &Value, path: &str) -> Result<Service, String> {
    let none = Mapping::new();
    let map = body.as_mapping().unwrap_or(&none);
    for key in map.keys().map(scalar) {
        if !KNOWN.contains(&key.as_str()) && !key.starts_with("x-") {
            return Err(format!(
                "validating {path}: services.{name} Additional property {key} is not allowed"
            ));
        }
    }
    let image = body.get("image").map(scalar).unwrap_or_default();
    let build = body.get("build").is_some();
    if image.is_empty() && !build {
        return Err(format!(
            "service \"{name}\" has neither an image nor a build context specified: invalid compose project"
        ));
    }
    let deploy = body.get("deploy").cloned().unwrap_or(Value::Null);
    let replicas = body
        .get("scale")
        .or_else(|| deploy.get("replicas"))
        .and_then(|v| scalar(v).parse().ok());
    let check = body.get("healthcheck");
    let off = check.is_some_and(|c| {
        c.get("disable").is_some_and(|d| scalar(d) == "true")
            || list(c.get("test")).first().is_some_and(|t| t == "NONE")
    });
    let mut hashed = map.clone();
    for left_out in ["scale", "deploy"] {
        hashed.remove(left_out);
    }
    Ok(Service {
        name: name.to_owned(),
        image,
        build,
        environment: pairs(body.get("environment"))
            .into_iter()
            .map(|(n, v)| format!("{n}={v}"))
            .collect(),
        labels: pairs(body.get("labels")).into_iter().collect(),
        depends_on: depends_on(body.get("depends_on")),
        healthcheck: check.filter(|_| !off).map(healthcheck),
        healthcheck_off: off,
        restart: body.get("restart").map_or_else(|| "no".to_owned(), scalar),
        stop_grace: body
            .get("stop_grace_period")
            .map_or(Duration::from_secs(10), |v| duration(&scalar(v))),
        ports: list(body.get("ports"))
            .iter()
            .filter_map(|port| host_port(port))
            .collect(),
        profiles: list(body.get("profiles")),
        replicas: replicas.unwrap_or(1),
        container_name: body.get("container_name").map(scalar),
        pull_policy: body.get("pull_policy").map(scalar),
        binds_host_paths: list(body.get("volumes"))
            .iter()
            .any(|v| v.starts_with(['/', '.', '~'])),
        hash: hash(&yaml_serde::to_string(&hashed).unwrap_or_default()),
        deploy,
    })
}

fn depends_on(value: Option<&Value>) -> Vec<(String, Condition)> {
    match value {
        Some(Value::Mapping(map)) => map
            .iter()
            .map(|(name, how)| {
                let condition = match how
                    .get("condition")
                    .map(scalar)
                    .unwrap_or_default()
                    .as_str()
                {
                    "service_healthy" => Condition::Healthy,
                    "service_completed_successfully" => Condition::Completed,
                    _ => Condition::Started,
                };
                (scalar(name), condition)
            })
            .collect(),
        other => list(other)
            .into_iter()
            .map(|name| (name, Condition::Started))
            .collect(),
    }
}

fn healthcheck(value: &Value) -> Healthcheck {
    let time = |name: &str, otherwise: u64| {
        value
            .get(name)
            .map_or(Duration::from_secs(otherwise), |v| duration(&scalar(v)))
    };
    Healthcheck {
        interval: time("interval", 30),
        timeout: time("timeout", 30),
        retries: value
            .get("retries")
            .and_then(|v| scalar(v).parse().ok())
            .unwrap_or(3),
        start_period: time("start_period", 0),
    }
}

/// `1m30s`, `500ms`, `10s`.
pub(super) fn duration(text: &str) -> Duration {
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let number: f64 = rest[..digits].parse().unwrap_or(0.0);
        rest = &rest[digits..];
        let unit = rest
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(rest.len());
        let seconds = match &rest[..unit] {
            "h" => 3600.0,
            "m" => 60.0,
            "ms" => 0.001,
            "us" => 0.000_001,
            _ => 1.0,
        };
        total += Duration::from_secs_f64(number * seconds);
        rest = &rest[unit..];
    }
    total
}

/// `127.0.0.1:5000:80` → `127.0.0.1:5000`, `8080:80` → `0.0.0.0:8080`; a port without a host side needs nothing.
fn host_port(port: &str) -> Option<String> {
    let (host, _container) = port.rsplit_once(':')?;
    Some(if host.contains(':') {
        host.to_owned()
    } else {
        format!("0.0.0.0:{host}")
    })
}

/// Sorts services so that each follows those it depends on, otherwise in the order of the file.
fn in_dependency_order(mut waiting: Vec<Service>) -> Result<Vec<Service>, String> {
    let names: Vec<String> = waiting.iter().map(|s| s.name.clone()).collect();
    for service in &waiting {
        if let Some((missing, _)) = service
            .depends_on
            .iter()
            .find(|(name, _)| !names.contains(name))
        {
            let name = &service.name;
            return Err(format!(
                "service \"{name}\" depends on undefined service \"{missing}\": invalid compose project"
            ));
        }
    }
    let mut ordered: Vec<Service> = Vec::new();
    while !waiting.is_empty() {
        let ready = waiting.iter().position(|s| {
            s.depends_on
                .iter()
                .all(|(d, _)| ordered.iter().any(|o| o.name == *d))
        });
        let Some(ready) = ready else {
            return Err("dependency cycle detected".to_owned());
        };
        ordered.push(waiting.remove(ready));
    }
    Ok(ordered)
}

/// A scalar as text; `None` for lists and maps.
pub(super) fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Bool(yes) => yes.to_string(),
        _ => String::new(),
    }
}

fn list(value: Option<&Value>) -> Vec<String> {
    match value {
        Some(Value::Sequence(items)) => items.iter().map(scalar).collect(),
        Some(Value::Null) | None => Vec::new(),
        Some(one) => vec![scalar(one)],
    }
}

fn pairs(value: Option<&Value>) -> Vec<(String, String)> {
    match value {
        Some(Value::Mapping(map)) => map
            .iter()
            .map(|(name, value)| (scalar(name), scalar(value)))
            .collect(),
        other => list(other)
            .iter()
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
    }
}

/// FNV-1a, repeated to the length of a SHA-256: only equality matters.
fn hash(text: &str) -> String {
    (0..4u64)
        .map(|round| {
            let start = 0xcbf2_9ce4_8422_2325 ^ round;
            let sum = text.bytes().fold(start, |sum, byte| {
                (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
            });
            format!("{sum:016x}")
        })
        .collect()
}

/// libyaml's error with the text and the line number of compose's YAML library, which counts from 0.
fn yaml_error(text: &str) -> String {
    let (what, place) = text.split_once(" at line ").unwrap_or((text, ""));
    let line: u64 = place
        .split(|c: char| !c.is_ascii_digit())
        .next()
        .and_then(|n| n.parse().ok())
        .unwrap_or(2);
    let what = what.rsplit(": ").next().unwrap_or(what);
    format!("yaml: line {}: {what}", line.saturating_sub(1))
}
