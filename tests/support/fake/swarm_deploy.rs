//! `docker stack deploy`: submits services with their images pinned to the registry's digests.

use super::compose::{File, Service as Wanted};
use super::deploy::Update;
use super::image::Reference;
use super::life::{Behaviour, Healthcheck, Life, Phase, Restart};
use super::record::{Kind, Stack, StackId};
use super::swarm::{Generation, Service, Settings};
use super::time::Millis;
use super::world::World;

impl World {
    /// Adds a Swarm stack on environment 1 that has run for an hour; the engine becomes a swarm manager.
    pub(crate) fn swarm_stack(&mut self, name: &str, file: &str, env: &[(&str, &str)]) -> StackId {
        self.become_swarm();
        let id = self.record_only(1, name, Kind::Swarm, file, env);
        let cluster = self.swarm.cluster.clone();
        self.stack_mut(id).swarm_id = cluster;
        self.deploy_hour_old(id);
        id
    }

    /// Makes the engine a swarm manager; returns the cluster's id.
    pub(crate) fn become_swarm(&mut self) -> String {
        if self.swarm.cluster.is_empty() {
            self.swarm.cluster = self.swarm_id();
        }
        self.swarm.cluster.clone()
    }

    /// Makes this number of updates of a Swarm stack fail because the service is being written.
    pub(crate) fn swarm_out_of_sequence(&mut self, times: u32) {
        self.swarm.out_of_sequence = times;
    }

    /// The image in the spec of a Swarm service.
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

    /// `docker stack deploy`: submits the services and returns before anything has rolled out.
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

    /// `docker service rm`.
    pub(crate) fn remove_swarm_service(&mut self, name: &str) {
        let before = self.swarm.services.len();
        self.swarm.services.retain(|s| s.name != name);
        assert!(self.swarm.services.len() < before, "no service {name}");
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
            _ => self.pinned(&wanted.image, true),
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

    /// Starts a service's tasks again, with or without resolving the image again.
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
            // Portainer sends no credentials with a forced update.
            self.pinned(&bare, false)
        } else {
            old.image.clone()
        };
        let generation = self.generation(&image, health, &old.mark, at);
        let service = &mut self.swarm.services[index];
        service.force_update += 1;
        service.roll(Some(generation), at);
        true
    }

    /// The reference with the registry's digest; bare if the registry does not return one.
    fn pinned(&self, reference: &str, with_credentials: bool) -> String {
        let parsed = Reference::parse(reference);
        let stored = parsed
            .as_ref()
            .filter(|_| with_credentials)
            .and_then(|r| self.registries.stored_for(&r.host));
        match parsed.as_ref().map(|r| self.registries.resolve(r, stored)) {
            Some(Ok(id)) => format!("{reference}@{}", self.digest(&id)),
            _ => reference.to_owned(),
        }
    }

    /// A Swarm id: 25 letters and digits.
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
        // Without a digest the nodes start the local image of this name.
        let image_id = match digest {
            Some(digest) => self
                .catalogue
                .values()
                .find(|i| i.digest == digest)
                .map(|i| i.id.clone()),
            None => {
                let services = self.swarm.services.iter();
                services
                    .flat_map(|service| &service.generations)
                    .filter(|old| old.image.split('@').next() == Some(image))
                    .filter_map(|old| old.image_id.clone())
                    .next_back()
            }
        };
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
