//! The scene of the main job: a Portainer with the stack `shop`, and stackhook in front of it.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::client::Reply;
use super::fake::{Behaviour, Call, Era, Fake, Fault, Gate, Seen, When};
use super::program::{Setup, Stackhook};

/// The secret of hook `update`.
pub(crate) const SECRET: &str = "a-secret-of-32-characters-or-more";
/// A value of the stack's Env that nobody may see.
pub(crate) const DATABASE_PASSWORD: &str = "hush-hush-database";
/// What the stack's Env is at the beginning.
pub(crate) const ENV: [(&str, &str); 3] = [
    ("TAG", "1"),
    ("DATABASE_PASSWORD", DATABASE_PASSWORD),
    ("GREETING", "hello"),
];
pub(crate) const WEB: &str = "ghcr.io/acme/web:1";
pub(crate) const WORKER: &str = "ghcr.io/acme/worker:1";
/// Healthy at the first check.
pub(crate) const GOOD: Behaviour = Behaviour::Healthy {
    after: Duration::from_millis(100),
};
/// Two services, which are quick to tell how they are.
pub(crate) const FILE: &str = "
services:
  web:
    image: ghcr.io/acme/web:${TAG}
    restart: unless-stopped
    environment:
      DATABASE_PASSWORD: ${DATABASE_PASSWORD}
      GREETING: ${GREETING}
    healthcheck: &quick
      test: [\"CMD\", \"/app\", \"health\"]
      interval: 200ms
      timeout: 200ms
      retries: 2
  worker:
    image: ghcr.io/acme/worker:1
    restart: unless-stopped
    healthcheck: *quick
";
/// What limits the waiting for bad containers, and what a delivery may set.
pub(crate) const QUICK: &str = "
[[stack]]
name = \"shop\"
healthy_within = \"1s\"
env = [\"TAG\"]
";

/// A Portainer whose stack `shop` has run well for an hour, on environment 2, with an option that an update may lose.
pub(crate) fn portainer(era: Era) -> Fake {
    portainer_with(era, FILE)
}

/// A new image of `web` whose pull is held back until the gate opens.
pub(crate) fn pull_held(fake: &Fake) -> Gate {
    fake.world(|world| world.push(WEB, GOOD));
    let gate = Gate::default();
    let pull = When::every("POST", "/api/endpoints/2/docker/images/create");
    fake.fault(pull, Fault::Hold(gate.clone()));
    gate
}

/// The same with another file.
pub(crate) fn portainer_with(era: Era, file: &str) -> Fake {
    let fake = Fake::start(era);
    fake.world(|world| {
        let remote = world.environment("remote");
        world.push(WEB, GOOD);
        world.push(WORKER, GOOD);
        let id = world.compose_stack_in(remote, "shop", file, &ENV);
        world.stack_mut(id).prune = Some(true);
    });
    fake
}

/// The variables without which there is no main job, beside Portainer's own.
pub(crate) fn variables(setup: Setup) -> Setup {
    setup
        .env("PORTAINER_STACK_NAME", "shop")
        .env("PORTAINER_WEBHOOK_SECRET", SECRET)
        .secret(DATABASE_PASSWORD)
}

/// Both together, and how the stack looked when it began.
pub(crate) struct Shop {
    pub(crate) fake: Fake,
    pub(crate) server: Stackhook,
    pub(crate) before: BTreeMap<String, Seen>,
}

impl Shop {
    /// Environment variables only, with the API key.
    pub(crate) fn open(era: Era) -> Shop {
        let fake = portainer(era);
        let setup = Setup::with(&fake);
        Shop::with(fake, setup)
    }

    /// The same with a file that knows what is bad within a second.
    pub(crate) fn quick(era: Era) -> Shop {
        Shop::configured(portainer(era), QUICK)
    }

    /// The same with a file.
    pub(crate) fn configured(fake: Fake, file: &str) -> Shop {
        let setup = Setup::with(&fake).file("stackhook.toml", file);
        Shop::with(fake, setup)
    }

    /// What speaks to Portainer is set up already.
    pub(crate) fn with(fake: Fake, setup: Setup) -> Shop {
        let server = variables(setup).serve();
        fake.forget_calls();
        let mut shop = Shop {
            fake,
            server,
            before: BTreeMap::new(),
        };
        shop.before = shop.now();
        shop
    }

    /// The containers, by service.
    pub(crate) fn now(&self) -> BTreeMap<String, Seen> {
        let seen = self.fake.world(|world| world.containers("shop"));
        seen.into_iter()
            .map(|one| (one.service.clone(), one))
            .collect()
    }

    /// From here on, what happens is compared with now.
    pub(crate) fn look(&mut self) {
        self.fake.forget_calls();
        self.before = self.now();
    }

    /// A new image behind a reference; its id.
    pub(crate) fn push(&self, reference: &str, behaviour: Behaviour) -> String {
        self.fake.world(|world| world.push(reference, behaviour))
    }

    /// Posts a signed body to the default hook.
    #[track_caller]
    pub(crate) fn deliver(&self, body: &str) -> Reply {
        self.server.signed("/webhook/update/", SECRET, body)
    }

    /// The services that run in another container than before.
    pub(crate) fn recreated(&self) -> Vec<String> {
        let id = |seen: &BTreeMap<String, Seen>, service: &str| {
            seen.get(service).map(|one| one.id.clone())
        };
        let now = self.now();
        let mut services: Vec<String> = now.keys().chain(self.before.keys()).cloned().collect();
        services.sort();
        services.dedup();
        services.retain(|service| id(&now, service) != id(&self.before, service));
        services
    }

    /// The images that were pulled through the Docker proxy, in the order of their names.
    pub(crate) fn pulled(&self) -> Vec<String> {
        let calls = self.fake.calls();
        let pulls = calls
            .iter()
            .filter(|call| call.path.ends_with("/images/create"));
        let value = |call: &Call, name: &str| {
            let pair = call.query.iter().find(|(own, _)| own == name);
            pair.map(|(_, value)| value.clone()).unwrap_or_default()
        };
        let mut pulled: Vec<String> = pulls
            .map(|call| format!("{}:{}", value(call, "fromImage"), value(call, "tag")))
            .collect();
        pulled.sort();
        pulled
    }

    /// The stored Env is this, in this order.
    #[track_caller]
    pub(crate) fn env_is(&self, expected: &[(&str, &str)]) {
        let env = self.fake.world(|world| world.stack("shop").env.clone());
        let expected: Vec<(String, String)> = expected
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        assert_eq!(env, Some(expected));
    }

    /// Nothing was sent that changes anything, and nothing has changed.
    #[track_caller]
    pub(crate) fn is_untouched(&self) {
        assert_eq!(self.fake.puts().len(), 0, "an update was sent");
        assert_eq!(self.now(), self.before);
        self.env_is(&ENV);
    }
}

/// The three agreed keys, and the status.
#[track_caller]
pub(crate) fn says(reply: &Reply, code: u16, message: &str, update_result: &str) {
    let body = reply.json();
    let said = json!([body["message"], body["update_result"]]);
    assert_eq!(reply.status, code, "{body}");
    assert_eq!(said, json!([message, update_result]));
    assert_eq!(body["success"], json!(code < 300));
}

/// A failed delivery whose words contain all of these.
#[track_caller]
pub(crate) fn fails(reply: &Reply, code: u16, words: &[&str]) -> Value {
    let body = reply.json();
    assert_eq!(reply.status, code, "{body}");
    assert_eq!(
        (&body["success"], &body["message"], &body["status"]),
        (
            &json!(false),
            &json!("Stack update failed"),
            &json!("failed")
        ),
        "{body}"
    );
    let text = body["update_result"].as_str().unwrap();
    for word in words {
        assert!(text.contains(word), "{word:?} is not in {text:?}");
    }
    body
}

/// Unix seconds, for bodies with a `time`.
pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap().as_secs()
}

/// Runs every cell of a matrix on a thread of its own, because they mostly wait. Whoever fails is named.
#[track_caller]
pub(crate) fn side_by_side<T: Clone + Debug + Send>(
    cells: impl IntoIterator<Item = T>,
    check: impl Fn(T) + Sync,
) {
    let check = &check;
    let failed: Vec<T> = std::thread::scope(|scope| {
        let start = |cell: T| (cell.clone(), scope.spawn(move || check(cell)));
        let running: Vec<_> = cells.into_iter().map(start).collect();
        let ended = running.into_iter();
        let failed = ended.filter_map(|(cell, thread)| thread.join().err().map(|_| cell));
        failed.collect()
    });
    assert!(failed.is_empty(), "failed: {failed:?}");
}
