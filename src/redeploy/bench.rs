//! A redeploy on the bench: the real client against the fake Portainer, with a clock that skips waiting.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::clock::skipping::SkippingClock;
use crate::config;
use crate::fake::{Behaviour, Era, Fake, World};
use crate::portainer::Portainer;
use crate::redact::Redactor;
use crate::redeploy::record::InMemory;
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

/// The bench: the stack `web-stack` of [`FILE`], up and healthy for an hour.
pub(super) struct Bench {
    pub(super) fake: Arc<Fake>,
    pub(super) stack: Stack,
    pub(super) memory: InMemory,
    pub(super) patience: Duration,
    pub(super) timeout: Duration,
    clock: SkippingClock,
    portainer: Portainer,
    redactor: Redactor,
}

impl Bench {
    pub(super) fn new(era: Era) -> Bench {
        Bench::with(era, |world| {
            world.push("ghcr.io/acme/web:1", GOOD);
            world.push("ghcr.io/acme/worker:1", Behaviour::Runs);
            world.compose_stack("web-stack", FILE, &[("TAG", "1"), ("GREETING", "hello")]);
        })
    }

    /// The bench with another scene.
    pub(super) fn with(era: Era, set: impl FnOnce(&mut World)) -> Bench {
        let fake = Fake::start(era);
        fake.skip_waiting(true);
        fake.world(set);
        let clock = SkippingClock::new(fake.clock());
        let portainer = client(&fake, fake.api_key());
        fake.forget_calls();
        Bench {
            stack: stack("web-stack"),
            memory: InMemory::default(),
            patience: Duration::from_secs(60),
            timeout: Duration::from_secs(1800),
            clock,
            portainer,
            redactor: Redactor::new([fake.api_key().to_owned()]),
            fake: Arc::new(fake),
        }
    }

    /// From now on with the API key of another user.
    pub(super) fn log_in_as(&mut self, api_key: &str) {
        self.portainer = client(&self.fake, api_key);
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

    pub(super) fn context<'a>(&'a self, observer: &'a dyn Observer) -> Context<'a> {
        Context {
            portainer: &self.portainer,
            clock: &self.clock,
            observer,
            memory: &self.memory,
            redactor: &self.redactor,
            timeout: self.timeout,
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

/// A client of its own, as other programs and people have one.
pub(super) fn client(fake: &Fake, api_key: &str) -> Portainer {
    let settings = config::PortainerSettings {
        url: fake.url(),
        credentials: config::Credentials::ApiKey(Secret::new(api_key).unwrap()),
        trust: config::Trust::PublicRoots,
        headers: Vec::new(),
        timeout: Duration::from_secs(1800),
    };
    Portainer::new(&settings, Arc::new(SkippingClock::new(fake.clock()))).unwrap()
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

/// Records the steps; can refuse to write.
#[derive(Default)]
pub(super) struct Watcher {
    pub(super) steps: Mutex<Vec<String>>,
    pub(super) cannot_write: bool,
    /// Refuses already before a pull.
    pub(super) cannot_note_images: bool,
    /// Does something when a step is reached whose text begins so.
    pub(super) at: Option<(&'static str, Act)>,
}

impl Watcher {
    /// Does something with the world each time that a step is reached whose text begins so, at most this often.
    pub(super) fn act(
        fake: &Arc<Fake>,
        begin: &'static str,
        times: usize,
        act: impl Fn(&mut World) + Send + Sync + 'static,
    ) -> Watcher {
        let (fake, left) = (Arc::clone(fake), AtomicUsize::new(times));
        let act = move || {
            let less = |left: usize| left.checked_sub(1);
            if left
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, less)
                .is_ok()
            {
                fake.world(&act);
            }
        };
        Watcher {
            at: Some((begin, Box::new(act))),
            ..Watcher::default()
        }
    }

    /// Something leaves when this step is reached for the first time, and returns after these seconds of the fake's clock, which
    /// other threads move.
    pub(super) fn away(
        fake: &Arc<Fake>,
        begin: &'static str,
        seconds: u64,
        leave: fn(&Fake),
        come_back: fn(&Fake),
    ) -> Watcher {
        let (fake, is_there) = (Arc::clone(fake), AtomicBool::new(true));
        let act = move || {
            if is_there.swap(false, Ordering::SeqCst) {
                leave(&fake);
                let (fake, clock) = (Arc::downgrade(&fake), fake.clock());
                let back = clock.load(Ordering::SeqCst) + 1000 * seconds;
                std::thread::spawn(move || {
                    let is_time = || clock.load(Ordering::SeqCst) >= back;
                    while !is_time() && fake.strong_count() > 0 {
                        std::thread::sleep(Duration::from_millis(2));
                    }
                    fake.upgrade().as_deref().map(come_back)
                });
            }
        };
        Watcher {
            at: Some((begin, Box::new(act))),
            ..Watcher::default()
        }
    }
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
        match self.cannot_note_images {
            true => Err(NotWritten("the journal cannot be written".to_owned())),
            false => Ok(()),
        }
    }

    fn submitting(&self, _: &Submission) -> Result<(), NotWritten> {
        match self.cannot_write {
            true => Err(NotWritten("the journal cannot be written".to_owned())),
            false => Ok(()),
        }
    }
}

/// The daemon dies when this step is reached, and is back this many seconds later by the fake's clock.
pub(super) fn engine_away(bench: &Bench, step: &'static str, seconds: u64) -> Watcher {
    let (fake, left) = (Arc::clone(&bench.fake), AtomicUsize::new(1));
    let clock = fake.clock();
    let act = move || {
        if left.swap(0, Ordering::SeqCst) == 1 {
            fake.world(|world| world.engine_dies(1));
            let (fake, clock) = (Arc::clone(&fake), Arc::clone(&clock));
            let back = clock.load(Ordering::SeqCst) + 1000 * seconds;
            // Its return is an event of the fake's clock, which other threads move.
            std::thread::spawn(move || {
                let began = std::time::Instant::now();
                while clock.load(Ordering::SeqCst) < back
                    && began.elapsed() < Duration::from_secs(20)
                {
                    std::thread::sleep(Duration::from_millis(2));
                }
                fake.world(|world| world.engine_returns(1));
            });
        }
    };
    Watcher {
        at: Some((step, Box::new(act))),
        ..Watcher::default()
    }
}

/// Keeps the submission, as a journal does.
#[derive(Default)]
pub(super) struct Kept(pub(super) Mutex<Option<Submission>>);

impl Observer for Kept {
    fn step(&self, _: &Step) {}

    fn pulling(&self, _: &Images) -> Result<(), NotWritten> {
        Ok(())
    }

    fn submitting(&self, submission: &Submission) -> Result<(), NotWritten> {
        *self.0.lock().unwrap() = Some(submission.clone());
        Ok(())
    }
}
