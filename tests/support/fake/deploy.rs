//! Deployments: one queue for the whole Portainer process, each deployment a list of timed steps. Nothing runs in the background:
//! the steps that are due are executed by the next access to the world.

use std::collections::{BTreeMap, VecDeque};

use super::compose::Condition;
use super::record::{EnvironmentId, GitLink, Kind, StackId};
use super::time::{Millis, millis, seconds};
use super::up::provisional_name;
use super::world::World;

/// The purpose of a deployment, which decides how the record changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Create,
    Update,
    Start,
    Stop,
}

/// The target state of a deployment.
#[derive(Clone, Debug)]
pub(super) struct Update {
    pub(super) purpose: Purpose,
    /// The target environment; an update may move the stack.
    pub(super) environment: EnvironmentId,
    pub(super) file: String,
    pub(super) env: Option<Vec<(String, String)>>,
    pub(super) prune: bool,
    pub(super) pull: bool,
    /// Recreate every container.
    pub(super) recreate: bool,
    /// Take the stack down before anything else.
    pub(super) down_first: bool,
    /// The Git link to store; `None` for a stack that is, or becomes, a file stack.
    pub(super) git: Option<GitLink>,
    pub(super) by: String,
}

/// Identifies a deployment whose result a request waits for.
pub(super) type Ticket = u64;

/// The queue, and the results of finished deployments.
#[derive(Debug, Default)]
pub(super) struct Deploys {
    queue: VecDeque<Deploy>,
    ended: BTreeMap<Ticket, Result<(), String>>,
    last: Ticket,
}

/// A queued or running deployment.
#[derive(Debug)]
pub(super) struct Deploy {
    ticket: Ticket,
    pub(super) stack: StackId,
    pub(super) project: String,
    pub(super) environment: EnvironmentId,
    pub(super) update: Update,
    pub(super) steps: VecDeque<Step>,
    due: Millis,
    /// The stored file before the update, which a failure restores.
    file_before: String,
}

/// One step of a deployment.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Pull,
    /// Compares the containers with the target and appends the steps in between.
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
    /// Removes the old container and gives its name to the replacement.
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
    /// Stops all containers; [`Step::RemoveAll`] removes them.
    Down,
    RemoveAll,
    Swarm,
    Fail(String),
    Finish,
}

impl Deploys {
    /// Takes the result of a deployment; `None` while it is queued or runs.
    pub(super) fn take(&mut self, ticket: Ticket) -> Option<Result<(), String>> {
        self.ended.remove(&ticket)
    }

    /// The time at which the next step is due.
    pub(super) fn due(&self) -> Option<Millis> {
        self.queue.front().map(|deploy| deploy.due)
    }

    /// Tells whether a deployment of this stack is queued or runs.
    pub(super) fn concerns(&self, stack: StackId) -> bool {
        self.queue.iter().any(|deploy| deploy.stack == stack)
    }

    /// Tells whether any deployment is queued or runs.
    pub(super) fn busy(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Ends every deployment where it is, as the death of the process does.
    fn abandon(&mut self) -> Vec<Deploy> {
        self.queue.drain(..).collect()
    }
}

impl World {
    /// Executes every step that is due by now, each at its own time.
    pub(super) fn advance(&mut self) {
        let now = self.now();
        self.advance_to(now);
    }

    /// Queues a deployment behind all others.
    pub(super) fn submit(&mut self, id: StackId, update: Update, now: Millis) -> Ticket {
        let stack = self.stack_mut(id).clone();
        let deployed = stack.git.as_ref().map(|link| link.config_hash.clone());
        let mut steps = VecDeque::new();
        if update.purpose == Purpose::Stop {
            steps.extend([Step::Down, Step::RemoveAll]);
        } else if stack.kind == Kind::Swarm {
            steps.push_back(Step::Swarm);
        } else {
            if update.down_first {
                steps.extend([Step::Down, Step::RemoveAll]);
            }
            steps.extend(update.pull.then_some(Step::Pull));
            steps.push_back(Step::Plan);
        }
        steps.push_back(Step::Finish);
        match update.purpose {
            Purpose::Update if self.era.answers_at_once() => {
                self.store(id, &update, now);
                let counts_at_once = self.is_2_41;
                let stack = self.stack_mut(id);
                // The commit is recorded after the deployment; 2.41 records it before.
                if let (Some(link), Some(deployed), false) =
                    (&mut stack.git, deployed, counts_at_once)
                {
                    link.config_hash = deployed;
                }
                stack.start_status = stack.status;
                stack.deployment_status.clear();
                stack.note(3, now, "");
            }
            // The file is written before the deployment, and the record after it.
            Purpose::Update => self.stack_mut(id).file.clone_from(&update.file),
            Purpose::Create if self.era.answers_at_once() => {
                self.stack_mut(id).deployment_status = vec![(3, seconds(now), String::new())];
            }
            Purpose::Create | Purpose::Start | Purpose::Stop => {}
        }
        self.deploys.last += 1;
        let ticket = self.deploys.last;
        self.deploys.queue.push_back(Deploy {
            ticket,
            stack: id,
            // Compose allows only lower case.
            project: stack.name.to_lowercase(),
            environment: update.environment,
            update,
            steps,
            due: now,
            file_before: stack.file,
        });
        ticket
    }

    /// Ends all deployments as the death of Portainer does: files are restored, and from 2.41 on the next start marks the stacks as failed.
    pub(super) fn abandon_deploys(&mut self, now: Millis) {
        for deploy in self.deploys.abandon() {
            self.restore_file(&deploy);
        }
        if self.era.answers_at_once() {
            for stack in self.stacks.iter_mut().filter(|stack| stack.status == 3) {
                stack.note(4, now, "Deployment interrupted by server restart");
            }
        }
    }

    /// Restores the file of a file stack; the checkout of a Git stack is not restored.
    fn restore_file(&mut self, deploy: &Deploy) {
        if deploy.update.purpose == Purpose::Update && deploy.update.git.is_none() {
            let stack = self.stacks.iter_mut().find(|one| one.id == deploy.stack);
            if let Some(stack) = stack {
                stack.file.clone_from(&deploy.file_before);
            }
        }
    }

    /// Executes a deployment at once with times in the past, for set-up.
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

    /// Executes one step; returns the time until the next one, `None` after the last.
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
                    let again = match self.pulls_missing_only() {
                        true => "failed to pull image: failed to pull image: ",
                        false => "",
                    };
                    let why = format!(
                        "failed to pull images of the stack: compose pull operation failed: {again}{why}"
                    );
                    deploy.steps = VecDeque::from([Step::Fail(why)]);
                    match self.pulls_missing_only() {
                        true => millis(pace.pull_retries),
                        false => millis(pace.pull),
                    }
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
            Step::Start { name } if self.loses_start(deploy, &name) => 0,
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
                Ok(()) if self.era.answers_at_once() => create.max(1000),
                Ok(()) => create,
                Err(why) => {
                    deploy.steps = VecDeque::from([Step::Fail(why)]);
                    create
                }
            },
            Step::Fail(why) => {
                self.restore_file(deploy);
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

    /// Tells whether the start of this container is skipped, once.
    fn loses_start(&mut self, deploy: &Deploy, name: &str) -> bool {
        let Some(service) = &self.next_start_is_lost else {
            return false;
        };
        let is_lost = name.contains(&format!("{}-{service}-", deploy.project));
        if is_lost {
            self.next_start_is_lost = None;
        }
        is_lost
    }

    /// Until 2.38 the whole project is taken down before the failure is reported.
    fn up_failed(&mut self, deploy: &mut Deploy, why: &str) -> Millis {
        let why = format!("failed to deploy a stack: compose up operation failed: {why}");
        deploy.steps.clear();
        if self.era.failure_takes_down() {
            deploy.steps.extend([Step::Down, Step::RemoveAll]);
        }
        deploy.steps.push_back(Step::Fail(why));
        0
    }

    fn finish(&mut self, deploy: &Deploy, at: Millis) {
        match deploy.update.purpose {
            Purpose::Create if self.era.answers_at_once() => {
                self.stack_mut(deploy.stack).note(1, at, "");
            }
            Purpose::Create | Purpose::Start => self.stack_mut(deploy.stack).status = 1,
            Purpose::Stop if self.era.answers_at_once() => {
                self.stack_mut(deploy.stack).note(2, at, "");
            }
            Purpose::Stop => self.stack_mut(deploy.stack).status = 2,
            Purpose::Update if self.era.answers_at_once() => {
                let stack = self.stack_mut(deploy.stack);
                stack.git.clone_from(&deploy.update.git);
                stack.note(1, at, "");
            }
            Purpose::Update => {
                self.store(deploy.stack, &deploy.update, at);
                self.stack_mut(deploy.stack).status = 1;
            }
        }
    }

    /// Writes an update into the record.
    fn store(&mut self, id: StackId, update: &Update, at: Millis) {
        let remembers_prune = self.honours_prune();
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
}
