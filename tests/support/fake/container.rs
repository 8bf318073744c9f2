//! Creates and starts the containers of a compose service, with the labels that compose writes.

use std::collections::BTreeMap;

use super::compose::Service;
use super::engine::{Container, stop_time};
use super::life::{Behaviour, Life, Phase, Restart};
use super::record::EnvironmentId;
use super::time::Millis;
use super::up::{container_name, provisional_name};
use super::world::World;

impl World {
    pub(super) fn new_container(
        &mut self,
        project: &str,
        environment: EnvironmentId,
        service: &Service,
        number: u32,
        instead_of: Option<&str>,
        at: Millis,
    ) -> Container {
        let image = self
            .engine_of(environment)
            .find_image(&service.image)
            .unwrap();
        let facts = self.catalogue[&image].clone();
        let name = container_name(project, service, number);
        let mut labels = service.labels.clone();
        labels.extend(compose_labels(project, service, number, &image));
        if let Some(old) = instead_of {
            labels.insert("com.docker.compose.replace".to_owned(), old.to_owned());
        }
        let health = service
            .healthcheck
            .clone()
            .or(facts.healthcheck)
            .filter(|_| !service.healthcheck_off);
        Container {
            id: self.hex(64),
            name: instead_of.map_or_else(|| name.clone(), |old| provisional_name(old, &name)),
            project: project.to_owned(),
            service: service.name.clone(),
            number,
            reference: service.image.clone(),
            image,
            labels,
            environment: service.environment.clone(),
            config_hash: service.hash.clone(),
            ports: service.ports.clone(),
            created: at,
            stop: stop_time(facts.stops_in, service.stop_grace),
            log: facts.log,
            life: Life {
                behaviour: facts.behaviour,
                restart: Restart::parse(&service.restart),
                health,
                phase: Phase::Created,
            },
        }
    }

    /// Starts a container; returns false if it already runs.
    pub(super) fn start_container(
        &mut self,
        environment: EnvironmentId,
        name: &str,
        at: Millis,
    ) -> Result<bool, String> {
        let noise = self.hex(64);
        let engine = self.engine_of(environment);
        let Some(container) = engine.find(name) else {
            return Ok(false);
        };
        let id = container.id.clone();
        if matches!(container.life.look(at).state, "running" | "restarting") {
            return Ok(false);
        }
        if container.life.behaviour == Behaviour::CannotStart {
            return Err("Error response from daemon: OCI runtime create failed: runc create failed: unable to start container \
                        process: exec: \"/app\": permission denied: unknown"
                .to_owned());
        }
        if let Some(port) = engine.port_clash(&id, at) {
            if port.starts_with("0.0.0.0:") {
                return Err(format!(
                    "Error response from daemon: driver failed programming external connectivity on endpoint {name} ({noise}): \
                     Bind for {port} failed: port is already allocated"
                ));
            }
            return Err(format!(
                "Error response from daemon: driver failed programming external connectivity on endpoint {name} ({noise}): \
                 Error starting userland proxy: listen tcp4 {port}: bind: address already in use"
            ));
        }
        engine.get_mut(&id).unwrap().life.phase = Phase::Started(at);
        Ok(true)
    }
}

fn compose_labels(
    project: &str,
    service: &Service,
    number: u32,
    image: &str,
) -> BTreeMap<String, String> {
    let depends_on: Vec<String> = service
        .depends_on
        .iter()
        .map(|(name, condition)| format!("{name}:{}:false", condition.name()))
        .collect();
    [
        ("config-hash", service.hash.clone()),
        ("container-number", number.to_string()),
        ("depends_on", depends_on.join(",")),
        ("image", image.to_owned()),
        ("oneoff", "False".to_owned()),
        ("project", project.to_owned()),
        ("project.config_files", String::new()),
        ("project.working_dir", "/".to_owned()),
        ("service", service.name.clone()),
        ("version", String::new()),
    ]
    .into_iter()
    .map(|(name, value)| (format!("com.docker.compose.{name}"), value))
    .collect()
}
