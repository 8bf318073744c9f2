//! Deploys: one queue for the whole Portainer process, each deploy a list of steps with their times. Nothing runs in the background:
//! the steps that are due are done whenever somebody looks.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::compose::{Condition, File};
use super::record::{EnvironmentId, GitLink, Kind, Stack, StackId};
use super::time::{Millis, millis, seconds};
use super::world::World;

/// What a deploy is for; decides what the record says afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Create,
    Update,
    Start,
    Stop,
}

/// What a deploy is to bring about.
#[derive(Clone, Debug)]
pub(super) struct Update {
    pub(super) purpose: Purpose,
    /// Where the stack is to be; an update may move it.
    pub(super) environment: EnvironmentId,
    pub(super) file: String,
    pub(super) env: Option<Vec<(String, String)>>,
    pub(super) prune: bool,
    pub(super) pull: bool,
    /// Recreate every container.
    pub(super) recreate: bool,
    /// The link to store; `None` for a stack that is (or becomes) a file stack.
    pub(super) git: Option<GitLink>,
    pub(super) by: String,
}

/// Names a deploy while somebody waits for it.
pub(super) type Ticket = u64;

/// The queue, and how the deploys that left it ended.
#[derive(Debug, Default)]
pub(super) struct Deploys {
    queue: VecDeque<Deploy>,
    ended: BTreeMap<Ticket, Result<(), String>>,
    last: Ticket,
}

#[derive(Debug)]
struct Deploy {
    ticket: Ticket,
    stack: StackId,
    project: String,
    environment: EnvironmentId,
    update: Update,
    steps: VecDeque<Step>,
    due: Millis,
}

#[derive(Clone, Debug)]
enum Step {
    Pull,
    /// Look at what is there and write the steps to what is wanted.
    Plan,
    Create {
        service: String,
        number: u32,
        instead_of: Option<String>,
    },
    Stop {
        id: String,
    },
    Stopped {
        id: String,
    },
    /// The replacement takes the old one's place and name.
    Swap {
        old: String,
        name: String,
    },
    Remove {
        id: String,
    },
    Await {
        service: String,
        name: String,
        condition: Condition,
    },
    Start {
        name: String,
    },
    /// Stop everything, then remove it.
    Down,
    RemoveAll,
    Swarm,
    Fail(String),
    Finish,
}

impl Deploys {
    /// How a deploy ended; `None` while it waits or runs.
    pub(super) fn take(&mut self, ticket: Ticket) -> Option<Result<(), String>> {
        self.ended.remove(&ticket)
    }

    /// When the next step is due.
    pub(super) fn due(&self) -> Option<Millis> {
        self.queue.front().map(|deploy| deploy.due)
    }

    /// Whether a deploy of this stack waits or runs.
    pub(super) fn concerns(&self, stack: StackId) -> bool {
        self.queue.iter().any(|deploy| deploy.stack == stack)
    }

    /// The process dies: nobody goes on with anything.
    pub(super) fn abandon(&mut self) {
        self.queue.clear();
    }
}

impl World {
    /// Does every step that is due by now, each at its own time.
    pub(super) fn advance(&mut self) {
        let now = self.now();
        self.advance_to(now);
    }

    /// Queues a deploy behind all others.
    pub(super) fn submit(&mut self, id: StackId, update: Update, now: Millis) -> Ticket {
        let stack = self.stack_mut(id).clone();
        let mut steps = VecDeque::new();
        if update.purpose == Purpose::Stop {
            steps.extend([Step::Down, Step::RemoveAll]);
        } else if stack.kind == Kind::Swarm {
            steps.push_back(Step::Swarm);
        } else {
            if self.era.answers_at_once() && stack.status == 4 {
                steps.extend([Step::Down, Step::RemoveAll]);
            }
            steps.extend(update.pull.then_some(Step::Pull));
            steps.push_back(Step::Plan);
        }
        steps.push_back(Step::Finish);
        if self.era.answers_at_once() && update.purpose == Purpose::Update {
            self.store(id, &update, now);
            let stack = self.stack_mut(id);
            stack.deployment_status.clear();
            stack.note(3, now, "");
        }
        self.deploys.last += 1;
        let ticket = self.deploys.last;
        self.deploys.queue.push_back(Deploy {
            ticket,
            stack: id,
            project: stack.name,
            environment: update.environment,
            update,
            steps,
            due: now,
        });
        ticket
    }

    /// A deploy of the past, for set-up: done at once, with the times it would have had.
    pub(super) fn deploy_in_the_past(&mut self, id: StackId, update: Update, began: Millis) {
        let ticket = self.submit(id, update, began);
        self.advance();
        if let Err(why) = self
            .deploys
            .take(ticket)
            .expect("a deploy that ends within the hour")
        {
            panic!("this stack cannot be set up: {why}");
        }
    }

    fn advance_to(&mut self, now: Millis) {
        while self.deploys.due().is_some_and(|due| due <= now) {
            let mut deploy = self.deploys.queue.pop_front().unwrap();
            let life = self.lives;
            let at = deploy.due;
            let Some(step) = deploy.steps.pop_front() else {
                continue;
            };
            match self.take_step(&mut deploy, step, at) {
                Ok(Some(took)) => {
                    deploy.due = at + took;
                    if self.lives == life {
                        self.deploys.queue.push_front(deploy);
                    }
                }
                Ok(None) => self.end(&deploy, Ok(())),
                Err(why) => self.end(&deploy, Err(why)),
            }
        }
    }

    fn end(&mut self, deploy: &Deploy, outcome: Result<(), String>) {
        self.deploys.ended.insert(deploy.ticket, outcome);
        if let Some(next) = self.deploys.queue.front_mut() {
            next.due = next.due.max(deploy.due);
        }
    }

    /// One step: how long until the next one, `None` after the last.
    fn take_step(
        &mut self,
        deploy: &mut Deploy,
        step: Step,
        at: Millis,
    ) -> Result<Option<Millis>, String> {
        let pace = self.pace;
        let (create, start) = (millis(pace.create), millis(pace.start));
        let unreachable = self.engine_of(deploy.environment).unreachable;
        if unreachable && !matches!(step, Step::Fail(_) | Step::Finish) {
            let why = "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?";
            deploy.steps = VecDeque::from([Step::Fail(format!(
                "failed to deploy a stack: compose up operation failed: {why}"
            ))]);
            return Ok(Some(0));
        }
        let took = match step {
            Step::Pull => match self.pull_images(deploy) {
                Ok(count) => millis(pace.pull) * count,
                Err(why) => {
                    let why = format!(
                        "failed to pull images of the stack: compose pull operation failed: {why}"
                    );
                    deploy.steps = VecDeque::from([Step::Fail(why)]);
                    millis(pace.pull)
                }
            },
            Step::Plan => match self.plan(deploy) {
                Ok(()) => 0,
                Err(why) => self.up_failed(deploy, &why),
            },
            Step::Create {
                service,
                number,
                instead_of,
            } => match self.create(deploy, &service, number, instead_of.as_deref(), at) {
                Ok(()) => create,
                Err(why) => self.up_failed(deploy, &why),
            },
            Step::Stop { id } => self.engine_of(deploy.environment).stop_time(&id, at),
            Step::Stopped { id } => {
                if let Some(container) = self.engine_of(deploy.environment).get_mut(&id) {
                    container.end(at);
                }
                if std::mem::take(&mut self.dies_in_next_deploy) {
                    self.portainer_dies();
                }
                1
            }
            Step::Swap { old, name } => {
                let engine = self.engine_of(deploy.environment);
                engine.remove(&old);
                let provisional = provisional_name(&old, &name);
                if let Some(new) = engine.containers.iter_mut().find(|c| c.name == provisional) {
                    new.name = name;
                }
                create
            }
            Step::Remove { id } => {
                self.engine_of(deploy.environment).remove(&id);
                create
            }
            Step::Await {
                service,
                name,
                condition,
            } => match self.met(deploy, &service, &name, condition, at) {
                Ok(true) => 0,
                Ok(false) => {
                    deploy.steps.push_front(Step::Await {
                        service,
                        name,
                        condition,
                    });
                    100
                }
                Err(why) => self.up_failed(deploy, &why),
            },
            Step::Start { name } => match self.start_container(deploy.environment, &name, at) {
                Ok(true) => start,
                Ok(false) => 0,
                Err(why) => self.up_failed(deploy, &why),
            },
            Step::Down => {
                let engine = self.engine_of(deploy.environment);
                let ids: Vec<String> = engine
                    .project(&deploy.project)
                    .map(|c| c.id.clone())
                    .collect();
                ids.iter()
                    .map(|id| engine.stop_time(id, at))
                    .max()
                    .unwrap_or(0)
            }
            Step::RemoveAll => {
                let engine = self.engine_of(deploy.environment);
                engine.containers.retain(|c| c.project != deploy.project);
                self.swarm_removed(&deploy.project);
                create
            }
            Step::Swarm => match self.deploy_swarm(deploy.stack, &deploy.update, at) {
                Ok(()) => create,
                Err(why) => {
                    deploy.steps = VecDeque::from([Step::Fail(why)]);
                    create
                }
            },
            Step::Fail(why) => {
                if self.era.answers_at_once() {
                    self.stack_mut(deploy.stack).note(4, at, &why);
                }
                return Err(why);
            }
            Step::Finish => {
                self.finish(deploy, at);
                return Ok(None);
            }
        };
        Ok(Some(took))
    }

    /// Era A takes the whole project down before it reports.
    fn up_failed(&mut self, deploy: &mut Deploy, why: &str) -> Millis {
        let why = format!("failed to deploy a stack: compose up operation failed: {why}");
        deploy.steps.clear();
        if self.era.failure_takes_down() {
            deploy.steps.extend([Step::Down, Step::RemoveAll]);
        }
        deploy.steps.push_back(Step::Fail(why));
        0
    }

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

    /// `compose pull`: tries every image, so that a failure may leave others moved. Returns how many were asked for.
    fn pull_images(&mut self, deploy: &Deploy) -> Result<u64, String> {
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

    /// The daemon pulls with the credentials that Portainer has stored.
    fn fetch(&mut self, environment: EnvironmentId, image: &str) -> Result<(), String> {
        let (reference, id) = self.look_up(image)?;
        let digest = self.digest(&id);
        self.engine_of(environment)
            .receive(&reference, &id, &digest);
        Ok(())
    }

    /// What the registry has, as the daemon learns it.
    fn look_up(
        &self,
        image: &str,
    ) -> Result<(super::image::Reference, super::image::ImageId), String> {
        let reference = valid_reference(image)?;
        let stored = self.registries.stored_for(&reference.host);
        let found = self.registries.resolve(&reference, stored);
        let id = found.map_err(|e| format!("Error response from daemon: {}", e.message))?;
        Ok((reference, id))
    }

    /// Every image must be on the engine before `up` touches a container.
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

    /// `up`: first every container is made, service by service, then all are started in dependency order.
    fn plan(&mut self, deploy: &mut Deploy) -> Result<(), String> {
        let file = self.load(deploy)?;
        self.have_images(deploy, &file)?;
        let mut steps = VecDeque::new();
        let mut recreated = BTreeSet::new();
        let engine = self.engine_of(deploy.environment);
        for service in &file.services {
            let image = engine.find_image(&service.image).unwrap();
            let dependency_moved = service
                .depends_on
                .iter()
                .any(|(name, _)| recreated.contains(name));
            for number in 1..=service.replicas {
                let name = container_name(&deploy.project, service, number);
                let mine =
                    |c: &&super::engine::Container| c.service == service.name && c.number == number;
                let found = engine
                    .project(&deploy.project)
                    .find(|c| mine(c) && c.name == name);
                let Some(old) = found.or_else(|| engine.project(&deploy.project).find(mine)) else {
                    steps.push_back(Step::Create {
                        service: service.name.clone(),
                        number,
                        instead_of: None,
                    });
                    continue;
                };
                let stale = old.image != image || old.config_hash != service.hash;
                if stale || dependency_moved || deploy.update.recreate {
                    recreated.insert(service.name.clone());
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
                .project(&deploy.project)
                .filter(|c| c.service == service.name && c.number > service.replicas);
            steps.extend(too_many.flat_map(|c| removal(&c.id)));
        }
        if deploy.update.prune && self.era.honours_prune() {
            let engine = self.engine_of(deploy.environment);
            let orphans = engine
                .project(&deploy.project)
                .filter(|c| file.service(&c.service).is_none());
            steps.extend(orphans.flat_map(|c| removal(&c.id)));
        }
        for service in &file.services {
            for (needed, condition) in &service.depends_on {
                if let Some(dependency) = file.service(needed) {
                    let name = container_name(&deploy.project, dependency, 1);
                    steps.push_back(Step::Await {
                        service: needed.clone(),
                        name,
                        condition: *condition,
                    });
                }
            }
            for number in 1..=service.replicas {
                steps.push_back(Step::Start {
                    name: container_name(&deploy.project, service, number),
                });
            }
        }
        steps.append(&mut deploy.steps);
        deploy.steps = steps;
        Ok(())
    }

    /// Whether a dependency is as it should be; an error when it never will be.
    fn met(
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

    fn finish(&mut self, deploy: &Deploy, at: Millis) {
        match deploy.update.purpose {
            Purpose::Create | Purpose::Start => self.stack_mut(deploy.stack).status = 1,
            Purpose::Stop => self.stack_mut(deploy.stack).status = 2,
            Purpose::Update if self.era.answers_at_once() => {
                self.stack_mut(deploy.stack).note(1, at, "")
            }
            Purpose::Update => {
                self.store(deploy.stack, &deploy.update, at);
                self.stack_mut(deploy.stack).status = 1;
            }
        }
    }

    /// What an update writes into the record.
    fn store(&mut self, id: StackId, update: &Update, at: Millis) {
        let remembers_prune = self.era.honours_prune();
        let stack = self.stack_mut(id);
        if stack.git.is_some() && update.git.is_none() && !stack.from_app_template {
            stack.webhook = None;
            stack.from_app_template = true;
        }
        stack.environment = update.environment;
        stack.git.clone_from(&update.git);
        stack.file.clone_from(&update.file);
        stack.env.clone_from(&update.env);
        stack.update_date = seconds(at);
        stack.updated_by.clone_from(&update.by);
        if remembers_prune {
            stack.prune = Some(update.prune);
        }
    }

    fn create(
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

/// The name a replacement has until the old container is gone.
pub(super) fn provisional_name(old: &str, name: &str) -> String {
    format!("{}_{name}", &old[..12])
}

pub(super) fn container_name(
    project: &str,
    service: &super::compose::Service,
    number: u32,
) -> String {
    service
        .container_name
        .clone()
        .unwrap_or_else(|| format!("{project}-{}-{number}", service.name))
}

fn removal(id: &str) -> [Step; 3] {
    [
        Step::Stop { id: id.to_owned() },
        Step::Stopped { id: id.to_owned() },
        Step::Remove { id: id.to_owned() },
    ]
}

fn valid_reference(image: &str) -> Result<super::image::Reference, String> {
    super::image::Reference::parse(image).ok_or_else(|| {
        format!("unable to get image '{image}': Error response from daemon: no such image: {image}: invalid reference format")
    })
}
