//! The scene of every cell: a stack of three services, up for an hour, beside another stack that shares an image.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::fake::{Behaviour, EngineStyle, Era, StackId, World};
use crate::redeploy::bench::{Bench, GOOD};
use crate::stack::outcome::{Outcome, StackReport};

/// A service with a health check, one without, and a job that has completed.
pub(super) const FILE: &str = "
services:
  web:
    image: ghcr.io/acme/web:${TAG}
    restart: unless-stopped
    environment:
      GREETING: ${GREETING}
  worker:
    image: ghcr.io/acme/shared:1
    restart: unless-stopped
  job:
    image: ghcr.io/acme/job:1
    restart: \"no\"
";

/// The same for a swarm.
const SWARM: &str = "
services:
  web:
    image: ghcr.io/acme/web:${TAG}
    environment:
      GREETING: ${GREETING}
    deploy:
      replicas: 2
      update_config: {order: start-first, monitor: 3s}
  worker:
    image: ghcr.io/acme/shared:1
  job:
    image: ghcr.io/acme/job:1
    deploy:
      mode: replicated-job
";

/// The reference that both stacks use.
pub(super) const SHARED: &str = "ghcr.io/acme/shared:1";

/// The stack that must never be touched.
const BESIDE: &str = "
services:
  side:
    image: ghcr.io/acme/shared:1
    restart: unless-stopped
";

/// The kind of a stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Sort {
    /// Compose, its file kept by Portainer.
    File,
    /// Compose, its file in a Git repository.
    Git,
    /// Docker Swarm, its file kept by Portainer.
    Swarm,
}

impl Sort {
    pub(super) const ALL: [Sort; 3] = [Sort::File, Sort::Git, Sort::Swarm];
}

/// The bench, set.
pub(super) struct Scene {
    pub(super) bench: Bench,
    pub(super) sort: Sort,
    pub(super) era: Era,
    pub(super) stack: StackId,
    /// The variables that the stack must have at the end, where it is not updated with others.
    pub(super) env: Option<Vec<(String, String)>>,
}

/// A git stack's link to its repository, which an update must not change.
#[derive(Debug, Clone, PartialEq)]
struct Link {
    url: String,
    reference: String,
    credentials: Option<(String, String)>,
}

/// The state of the stack at one moment.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Look {
    services: Units,
    /// Of the stack beside.
    beside: Units,
    pub(super) env: Option<Vec<(String, String)>>,
    git: Option<Link>,
    environment: i64,
    /// The image that the shared tag stands for on the host.
    shared: Option<String>,
}

/// Containers or tasks by service: id, image, and whether it runs.
type Units = BTreeMap<String, BTreeSet<(String, String, bool)>>;

fn units(world: &mut World, project: &str) -> Units {
    let mut services = Units::new();
    for seen in world.containers(project) {
        let runs = matches!(seen.state, "running" | "restarting");
        let units = services.entry(seen.service).or_default();
        units.insert((seen.id, seen.image_id, runs));
    }
    for (service, id, image) in world.swarm_tasks(project) {
        let units = services.entry(service).or_default();
        units.insert((id, image, true));
    }
    services
}

impl Scene {
    pub(super) fn new(sort: Sort, era: Era) -> Scene {
        Scene::after(sort, era, |_| ())
    }

    /// On engines of this release.
    pub(super) fn on(style: EngineStyle, sort: Sort, era: Era) -> Scene {
        Scene::after(sort, era, |world| world.use_engine(style))
    }

    fn after(sort: Sort, era: Era, first: impl FnOnce(&mut World)) -> Scene {
        let mut stack = 0;
        let mut bench = Bench::with(era, |world| {
            first(world);
            world.push("ghcr.io/acme/job:1", Behaviour::ExitsOnce { code: 0 });
            world.push("ghcr.io/acme/web:1", GOOD);
            world.push("ghcr.io/acme/shared:1", Behaviour::Runs);
            world.compose_stack("beside", BESIDE, &[]);
            let env = [("TAG", "1"), ("GREETING", "hello")];
            stack = match sort {
                Sort::File => world.compose_stack("web-stack", FILE, &env),
                Sort::Git => {
                    let url = "https://git.example/web-stack.git";
                    world.git_repository(url, FILE, Some(("robot", "pw-sentinel-git")));
                    world.git_stack_from(url, "web-stack", &env)
                }
                Sort::Swarm => world.swarm_stack("web-stack", SWARM, &env),
            };
        });
        bench.stack.healthy_within = Duration::from_secs(30);
        bench.timeout = Duration::from_secs(300);
        Scene {
            bench,
            sort,
            era,
            stack,
            env: Some(vec![
                ("TAG".to_owned(), "1".to_owned()),
                ("GREETING".to_owned(), "hello".to_owned()),
            ]),
        }
    }

    pub(super) fn push(&self, image: &str, behaviour: Behaviour) -> String {
        let reference = format!("ghcr.io/acme/{image}");
        self.bench
            .fake
            .world(|world| world.push(&reference, behaviour))
    }

    /// The stack beside has got a newer image under the shared tag, which so has moved on the host.
    pub(super) fn move_shared_tag(&self) -> String {
        let id = self.push("shared:1", Behaviour::Runs);
        self.bench.fake.world(|world| {
            world.pull(SHARED, 1);
            let beside = world.stack("beside").id;
            world.deploy_hour_old(beside);
            assert_eq!(world.container("beside", "side").image_id, id);
        });
        id
    }

    pub(super) fn look(&self) -> Look {
        self.bench.fake.world(|world| {
            let (services, beside) = (units(world, "web-stack"), units(world, "beside"));
            let shared = world.local_id(SHARED, 1);
            let stack = world.stack("web-stack");
            Look {
                shared,
                services,
                beside,
                env: stack.env.clone(),
                git: stack.git.as_ref().map(|link| Link {
                    url: link.url.clone(),
                    reference: link.reference_name.clone(),
                    credentials: link.credentials.clone(),
                }),
                environment: stack.environment,
            }
        })
    }

    fn file(&self) -> String {
        self.bench
            .fake
            .world(|world| world.stack("web-stack").file.clone())
    }

    /// Checks the rules that hold in every cell, whatever the outcome; returns the violations.
    pub(super) fn violations(
        &self,
        before: &Look,
        after: &Look,
        report: &StackReport,
    ) -> Vec<String> {
        let env = &self.env;
        let mut wrong = Vec::new();
        let mut never = |happened: bool, what: String| {
            if happened {
                wrong.push(format!(
                    "{what} ({:?} {:?})",
                    report.outcome, report.message
                ));
            }
        };
        never(
            before.beside != after.beside,
            "the stack beside was touched".to_owned(),
        );
        never(before.git != after.git, "the git link was lost".to_owned());
        never(
            before.environment != after.environment,
            "the stack was moved".to_owned(),
        );
        never(
            after.env != *env && !report.message.contains("has stored the new value of TAG"),
            format!("the variables are {:?}, not {env:?}", after.env),
        );
        // Whatever was tagged back for a while is tagged forward again.
        let older = |image: &String| before.runs("worker").contains(&(image.as_str(), true));
        never(
            before.shared != after.shared && after.shared.as_ref().is_some_and(older),
            "the shared tag was left with the older image".to_owned(),
        );
        for secret in ["pw-sentinel", "ptr_sentinel"] {
            never(
                report.message.contains(secret),
                "a secret is in the reply".to_owned(),
            );
        }
        if report.outcome != Outcome::Updated {
            for service in before.services.keys() {
                let differs = before.runs(service) != after.runs(service);
                let said = [
                    service.as_str(),
                    "no container is left",
                    "no containers or services",
                ]
                .iter()
                .any(|words| report.message.contains(words));
                never(
                    differs && !said,
                    format!("the reply does not say what became of {service}"),
                );
            }
        }
        let puts = self.bench.fake.puts();
        for put in &puts {
            let environment = put.query.iter().find(|(name, _)| name == "endpointId");
            let own = environment.is_some_and(|(_, id)| id == "1")
                || put.path == "/api/endpoints/1/forceupdateservice";
            never(!own, format!("a PUT goes to {} {environment:?}", put.path));
            let file = &put.body["StackFileContent"];
            never(
                file.is_string() && *file != *self.file(),
                format!("a PUT changes the file to {file}"),
            );
        }
        wrong
    }
}

impl Look {
    /// The services that have a container which they did not have.
    pub(super) fn changed_since(&self, before: &Look) -> BTreeSet<String> {
        let ids = |look: &Look, service: &str| -> BTreeSet<String> {
            let containers = look.services.get(service).into_iter().flatten();
            containers.map(|(id, ..)| id.clone()).collect()
        };
        let changed = |service: &&String| !ids(self, service).is_subset(&ids(before, service));
        self.services.keys().filter(changed).cloned().collect()
    }

    /// The services that ran before and of which nothing runs now.
    pub(super) fn down_since(&self, before: &Look) -> BTreeSet<String> {
        let runs = |look: &Look, service: &str| look.runs(service).iter().any(|(_, runs)| *runs);
        let down = |service: &&String| runs(before, service) && !runs(self, service);
        before.services.keys().filter(down).cloned().collect()
    }

    /// The images that each service runs.
    pub(super) fn images(&self) -> BTreeMap<&str, BTreeSet<(&str, bool)>> {
        let services = self.services.keys();
        services
            .map(|service| (service.as_str(), self.runs(service)))
            .collect()
    }

    /// The images that a service runs, and whether it runs.
    fn runs(&self, service: &str) -> BTreeSet<(&str, bool)> {
        let containers = self.services.get(service).into_iter().flatten();
        containers
            .map(|(_, image, runs)| (image.as_str(), *runs))
            .collect()
    }
}
