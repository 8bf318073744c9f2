//! A redeploy on the bench: the real client against the fake Portainer, with a clock that skips what would be waited for.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::clock::skipping::SkippingClock;
use crate::config;
use crate::fake::{Behaviour, Era, Fake};
use crate::portainer::Portainer;
use crate::redact::Redactor;
use crate::redeploy::past::InMemory;
use crate::redeploy::{self, Context, Images, NotWritten, Observer, Step, Submission};
use crate::secret::Secret;
use crate::stack::order::Order;
use crate::stack::outcome::StackReport;
use crate::stack::{PullMode, RollBack, Stack, StackKey};

/// Two services, `web` with a health check that takes two seconds, `worker` without.
pub(super) const FILE: &str = "
services:
  web:
    image: ghcr.io/acme/web:${TAG}
    restart: unless-stopped
    environment:
      GREETING: ${GREETING}
    healthcheck:
      test: [\"CMD\", \"/app\", \"health\"]
      interval: 1s
      timeout: 1s
      retries: 3
  worker:
    image: ghcr.io/acme/worker:1
    restart: unless-stopped
";

pub(super) const GOOD: Behaviour = Behaviour::Healthy {
    after: Duration::from_secs(2),
};

/// The bench: the stack `web-stack` of [`FILE`], up and well for an hour.
pub(super) struct Bench {
    pub(super) fake: Fake,
    pub(super) stack: Stack,
    pub(super) memory: InMemory,
    pub(super) patience: Duration,
    clock: SkippingClock,
    portainer: Portainer,
    redactor: Redactor,
}

impl Bench {
    pub(super) fn new(era: Era) -> Bench {
        let fake = Fake::start(era);
        fake.skip_waiting(true);
        fake.world(|world| {
            world.push("ghcr.io/acme/web:1", GOOD);
            world.push("ghcr.io/acme/worker:1", Behaviour::Runs);
            world.compose_stack("web-stack", FILE, &[("TAG", "1"), ("GREETING", "hello")]);
        });
        let settings = config::Portainer {
            url: fake.url(),
            credentials: config::Credentials::ApiKey(Secret::new(fake.api_key()).unwrap()),
            trust: config::Trust::PublicRoots,
            timeout: Duration::from_secs(1800),
        };
        let clock = SkippingClock::new(fake.clock());
        let portainer = Portainer::new(&settings, Arc::new(clock.clone())).unwrap();
        fake.forget_calls();
        Bench {
            stack: stack("web-stack"),
            memory: InMemory::default(),
            patience: Duration::from_secs(60),
            clock,
            portainer,
            redactor: Redactor::new([fake.api_key().to_owned()]),
            fake,
        }
    }

    pub(super) fn run(&self, order: &Order) -> StackReport {
        self.run_watched(order, &Watcher::default())
    }

    pub(super) fn run_watched(&self, order: &Order, watcher: &Watcher) -> StackReport {
        redeploy::run(&self.context(watcher), &self.stack, order)
    }

    pub(super) fn roll_back(&self) -> StackReport {
        redeploy::roll_back(&self.context(&Watcher::default()), &self.stack)
    }

    pub(super) fn preview(&self, order: &Order) -> Result<Vec<String>, StackReport> {
        redeploy::preview(&self.context(&Watcher::default()), &self.stack, order)
    }

    fn context<'a>(&'a self, observer: &'a Watcher) -> Context<'a> {
        Context {
            portainer: &self.portainer,
            clock: &self.clock,
            observer,
            memory: &self.memory,
            redactor: &self.redactor,
            timeout: Duration::from_secs(1800),
            patience: self.patience,
        }
    }

    /// Container id by service.
    pub(super) fn containers(&self) -> BTreeMap<String, String> {
        let containers = self.fake.world(|world| world.containers("web-stack"));
        containers
            .into_iter()
            .map(|seen| (seen.service, seen.id))
            .collect()
    }

    /// Image id by service.
    pub(super) fn images(&self) -> BTreeMap<String, String> {
        let containers = self.fake.world(|world| world.containers("web-stack"));
        containers
            .into_iter()
            .map(|seen| (seen.service, seen.image_id))
            .collect()
    }

    /// The services that run in another container than `before`.
    pub(super) fn recreated(&self, before: &BTreeMap<String, String>) -> Vec<String> {
        let now = self.containers();
        now.into_iter()
            .filter(|(service, id)| before.get(service) != Some(id))
            .map(|(service, _)| service)
            .collect()
    }
}

pub(super) fn stack(name: &str) -> Stack {
    Stack {
        key: StackKey::parse("app").unwrap(),
        name: name.to_owned(),
        environment: None,
        pull: PullMode::First,
        except: Vec::new(),
        env: Vec::new(),
        healthy_within: Duration::from_secs(120),
        rollback: RollBack::WhenDown,
        cleanup: false,
    }
}

/// Something that happens in the middle of a redeploy.
pub(super) type Act = Box<dyn Fn() + Send + Sync>;

/// Notes what it is told; can refuse to write.
#[derive(Default)]
pub(super) struct Watcher {
    pub(super) steps: Mutex<Vec<String>>,
    pub(super) cannot_write: bool,
    /// Does something when a step is reached whose text begins so.
    pub(super) at: Option<(&'static str, Act)>,
}

impl Observer for Watcher {
    fn step(&self, step: &Step) {
        let text = step.to_string();
        self.steps.lock().unwrap().push(text.clone());
        if let Some((_, act)) = self
            .at
            .as_ref()
            .filter(|(begin, _)| text.starts_with(begin))
        {
            act();
        }
    }

    fn pulling(&self, _: &Images) -> Result<(), NotWritten> {
        Ok(())
    }

    fn submitting(&self, _: &Submission) -> Result<(), NotWritten> {
        match self.cannot_write {
            true => Err(NotWritten("the journal cannot be written".to_owned())),
            false => Ok(()),
        }
    }
}
