//! `compose pull` and `compose up`: the images that they need, the containers that they create, and the conditions that they wait for.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::compose::{Condition, File, Service};
use super::deploy::{Deploy, Purpose, Step};
use super::engine::Container;
use super::image::{ImageId, Reference};
use super::record::{EnvironmentId, Stack};
use super::time::Millis;
use super::world::World;

impl World {
    fn load(&mut self, deploy: &Deploy) -> Result<File, String> {
        let path = format!("/data/compose/{}/docker-compose.yml", deploy.stack);
        let env = Stack::variables(deploy.update.env.as_ref());
        let mut file = File::load(&deploy.update.file, &env, &path)
            .map_err(|e| format!("failed to load the compose file: {e}"))?;
        let profiles = env
            .iter()
            .find(|(name, _)| name == "COMPOSE_PROFILES")
            .map_or("", |(_, value)| value);
        let profiles: Vec<&str> = profiles.split(',').collect();
        file.services.retain(|s| {
            s.profiles.is_empty() || s.profiles.iter().any(|p| profiles.contains(&p.as_str()))
        });
        for service in file.services.iter_mut().filter(|s| s.image.is_empty()) {
            service.image = format!("{}-{}", deploy.project, service.name);
        }
        Ok(file)
    }

    /// `compose pull`: tries every image, so that a failure may leave the tags of others moved. Returns the number of images.
    pub(super) fn pull_images(&mut self, deploy: &Deploy) -> Result<u64, String> {
        let file = self.load(deploy)?;
        let wanted: Vec<_> = file
            .services
            .iter()
            .filter(|s| !s.build && !matches!(s.pull_policy.as_deref(), Some("never" | "build")))
            .collect();
        for service in &wanted {
            valid_reference(&service.image)?;
        }
        let wanted: Vec<&str> = wanted
            .iter()
            .filter(|s| {
                let if_missing =
                    matches!(s.pull_policy.as_deref(), Some("missing" | "if_not_present"));
                let if_missing = if_missing || self.pulls_missing_only();
                let engine = self.engine_of(deploy.environment);
                !if_missing || engine.find_image(&s.image).is_none()
            })
            .map(|s| s.image.as_str())
            .collect();
        if !self.failed_pull_moves_others {
            for image in &wanted {
                self.look_up(image)?;
            }
        }
        let mut outcome = Ok(u64::try_from(wanted.len()).unwrap());
        for image in wanted {
            if let Err(why) = self.fetch(deploy.environment, image) {
                outcome = outcome.and(Err(why));
            }
        }
        outcome
    }

    /// Pulls on the daemon with Portainer's stored credentials.
    fn fetch(&mut self, environment: EnvironmentId, image: &str) -> Result<(), String> {
        let (reference, id) = self.look_up(image)?;
        let digest = self.digest(&id);
        self.engine_of(environment)
            .receive(&reference, &id, &digest);
        Ok(())
    }

    /// The registry's image for a reference, or the daemon's error.
    fn look_up(&self, image: &str) -> Result<(Reference, ImageId), String> {
        let reference = valid_reference(image)?;
        let stored = self
            .registries
            .stored_for(&reference.host)
            .filter(|_| self.compose_logs_in);
        let found = self.registries.resolve(&reference, stored);
        let id = found.map_err(|e| format!("Error response from daemon: {}", e.message))?;
        Ok((reference, id))
    }

    /// Checks that every image is on the engine before `up` changes a container.
    fn have_images(&mut self, deploy: &Deploy, file: &File) -> Result<(), String> {
        let fetches = self.up_pulls_missing || deploy.update.purpose != Purpose::Update;
        for service in &file.services {
            let reference = valid_reference(&service.image)?;
            let policy = service.pull_policy.as_deref().unwrap_or("missing");
            let missing = self
                .engine_of(deploy.environment)
                .find_image(&service.image)
                .is_none();
            let always =
                matches!(policy, "always" | "daily" | "weekly") || policy.starts_with("every_");
            let fetched = match (missing, always) {
                (false, false) => Ok(()),
                (true, _) if service.build || policy == "never" => Err(format!(
                    "Error response from daemon: No such image: {}",
                    reference.familiar()
                )),
                (true, false) if !fetches && self.registries.resolve(&reference, None).is_ok() => {
                    Err(format!(
                        "Error response from daemon: No such image: {}",
                        reference.familiar()
                    ))
                }
                _ => self.fetch(deploy.environment, &service.image),
            };
            fetched?;
        }
        Ok(())
    }

    /// `up`: creates every container, service by service, then starts all of them in dependency order.
    pub(super) fn plan(&mut self, deploy: &mut Deploy) -> Result<(), String> {
        let file = self.load(deploy)?;
        self.have_images(deploy, &file)?;
        let mut steps = VecDeque::new();
        let mut recreated = BTreeSet::new();
        let mut kept_names = BTreeMap::new();
        let clears_leftovers = self.era.clears_leftovers();
        let engine = self.engine_of(deploy.environment);
        for service in &file.services {
            let image = engine.find_image(&service.image).unwrap();
            let dependency_moved = service
                .depends_on
                .iter()
                .any(|(name, _)| recreated.contains(name));
            for number in 1..=service.replicas {
                let name = container_name(&deploy.project, service, number);
                let is_current = |c: &Container| c.image == image && c.config_hash == service.hash;
                let mut mine: Vec<&Container> = engine
                    .services(&deploy.project)
                    .filter(|c| c.service == service.name && c.number == number)
                    .collect();
                mine.sort_by_key(|c| (clears_leftovers && !is_current(c), c.name != name));
                if clears_leftovers {
                    let leftovers = mine.split_off(mine.len().min(1));
                    steps.extend(leftovers.into_iter().flat_map(|c| removal(&c.id)));
                }
                let Some(old) = mine.first() else {
                    steps.push_back(Step::Create {
                        service: service.name.clone(),
                        number,
                        instead_of: None,
                    });
                    continue;
                };
                let stale = !is_current(old);
                kept_names.insert(name.clone(), old.name.clone());
                if stale || dependency_moved || deploy.update.recreate {
                    recreated.insert(service.name.clone());
                    kept_names.remove(&name);
                    let old = old.id.clone();
                    steps.push_back(Step::Create {
                        service: service.name.clone(),
                        number,
                        instead_of: Some(old.clone()),
                    });
                    steps.push_back(Step::Stop { id: old.clone() });
                    steps.push_back(Step::Stopped { id: old.clone() });
                    steps.push_back(Step::Swap { old, name });
                }
            }
            let too_many = engine
                .services(&deploy.project)
                .filter(|c| c.service == service.name && c.number > service.replicas);
            steps.extend(too_many.flat_map(|c| removal(&c.id)));
        }
        if deploy.update.prune && self.honours_prune() {
            let engine = self.engine_of(deploy.environment);
            let orphans = engine
                .services(&deploy.project)
                .filter(|c| file.service(&c.service).is_none());
            steps.extend(orphans.flat_map(|c| removal(&c.id)));
        }
        let named = |service: &Service, number| {
            let name = container_name(&deploy.project, service, number);
            kept_names.get(&name).cloned().unwrap_or(name)
        };
        for service in &file.services {
            for (needed, condition) in &service.depends_on {
                if let Some(dependency) = file.service(needed) {
                    let name = named(dependency, 1);
                    steps.push_back(Step::Await {
                        service: needed.clone(),
                        name,
                        condition: *condition,
                    });
                }
            }
            for number in 1..=service.replicas {
                steps.push_back(Step::Start {
                    name: named(service, number),
                });
            }
        }
        steps.append(&mut deploy.steps);
        deploy.steps = steps;
        Ok(())
    }

    /// Tells whether a dependency's condition is met; an error if it never will be.
    pub(super) fn met(
        &mut self,
        deploy: &Deploy,
        service: &str,
        name: &str,
        condition: Condition,
        at: Millis,
    ) -> Result<bool, String> {
        let engine = self.engine_of(deploy.environment);
        let Some(container) = engine.find(name) else {
            return Ok(true);
        };
        let look = container.life.look(at);
        match condition {
            Condition::Started => Ok(true),
            Condition::Completed => match (look.state, look.exit_code) {
                ("exited", 0) => Ok(true),
                ("exited", code) => Err(format!(
                    "service \"{service}\" didn't complete successfully: exit {code}"
                )),
                _ => Ok(false),
            },
            Condition::Healthy => match (look.health.map(|(health, _)| health), look.state) {
                (None, _) => Err(format!("container {name} has no healthcheck configured")),
                (_, "exited") => Err(format!(
                    "dependency failed to start: container {name} exited ({})",
                    look.exit_code
                )),
                (Some("healthy"), _) => Ok(true),
                (Some("unhealthy"), _) => Err(format!(
                    "dependency failed to start: container {name} is unhealthy"
                )),
                _ => Ok(false),
            },
        }
    }

    pub(super) fn create(
        &mut self,
        deploy: &Deploy,
        service: &str,
        number: u32,
        instead_of: Option<&str>,
        at: Millis,
    ) -> Result<(), String> {
        let file = self.load(deploy)?;
        let service = file.service(service).unwrap();
        let container = self.new_container(
            &deploy.project,
            deploy.environment,
            service,
            number,
            instead_of,
            at,
        );
        let engine = self.engine_of(deploy.environment);
        if let Some(other) = engine.containers.iter().find(|c| c.name == container.name) {
            let (name, id) = (&container.name, &other.id);
            return Err(format!(
                "Error response from daemon: Conflict. The container name \"/{name}\" is already in use by container \"{id}\". \
                 You have to remove (or rename) that container to be able to reuse that name."
            ));
        }
        engine.containers.push(container);
        Ok(())
    }
}

fn removal(id: &str) -> [Step; 3] {
    [
        Step::Stop { id: id.to_owned() },
        Step::Stopped { id: id.to_owned() },
        Step::Remove { id: id.to_owned() },
    ]
}

fn valid_reference(image: &str) -> Result<Reference, String> {
    Reference::parse(image).ok_or_else(|| {
        format!("unable to get image '{image}': Error response from daemon: no such image: {image}: invalid reference format")
    })
}

/// The name of a replacement until the old container is removed.
pub(super) fn provisional_name(old: &str, name: &str) -> String {
    format!("{}_{name}", &old[..12])
}

pub(super) fn container_name(project: &str, service: &Service, number: u32) -> String {
    service
        .container_name
        .clone()
        .unwrap_or_else(|| format!("{project}-{}-{number}", service.name))
}
