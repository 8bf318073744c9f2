//! The usual scene: a Portainer with the stack `shop`, and stackhook in front of it.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};

use super::client::Reply;
use super::fake::{Behaviour, Call, Era, Fake, Fault, Gate, Seen, When};
use super::program::{Setup, Stackhook};

/// The secret of hook `update`.
pub(crate) const SECRET: &str = "a-secret-of-32-characters-or-more";
/// A secret value in the stack's Env.
pub(crate) const DATABASE_PASSWORD: &str = "hush-hush-database";
/// The initial Env of the stack.
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
/// Two services with short health checks.
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
/// Options that shorten the wait for bad containers and allow a variable.
pub(crate) const QUICK: &str = "
[[stack]]
name = \"shop\"
healthy_within = \"1s\"
env = [\"TAG\"]
";

/// A Portainer whose stack `shop` has been healthy for an hour, on environment 2, with an option that an update could lose.
pub(crate) fn portainer(era: Era) -> Fake {
    portainer_with(era, FILE)
}

/// Pushes a new image of `web` whose pull waits until the gate opens.
pub(crate) fn pull_held(fake: &Fake) -> Gate {
    fake.world(|world| world.push(WEB, GOOD));
    let gate = Gate::default();
    let pull = When::every("POST", "/api/endpoints/2/docker/images/create");
    fake.fault(pull, Fault::Hold(gate.clone()));
    gate
}

/// The same Portainer with another Compose file.
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

/// Sets the required variables besides those for Portainer.
pub(crate) fn variables(setup: Setup) -> Setup {
    setup
        .env("PORTAINER_STACK_NAME", "shop")
        .env("PORTAINER_WEBHOOK_SECRET", SECRET)
        .secret(DATABASE_PASSWORD)
}

/// Portainer and stackhook, and the containers at the start.
pub(crate) struct Shop {
    pub(crate) fake: Fake,
    pub(crate) server: Stackhook,
    pub(crate) before: BTreeMap<String, Seen>,
}

impl Shop {
    /// Starts both with environment variables only, and the API key.
    pub(crate) fn open(era: Era) -> Shop {
        let fake = portainer(era);
        let setup = Setup::with(&fake);
        Shop::with(fake, setup)
    }

    /// Starts both with a configuration that detects bad containers within a second.
    pub(crate) fn quick(era: Era) -> Shop {
        Shop::configured(portainer(era), QUICK)
    }

    /// Starts stackhook with this configuration file.
    pub(crate) fn configured(fake: Fake, file: &str) -> Shop {
        let setup = Setup::with(&fake).file("stackhook.toml", file);
        Shop::with(fake, setup)
    }

    /// Starts stackhook with a setup that already names Portainer.
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

    /// Takes the current containers as the state to compare with.
    pub(crate) fn look(&mut self) {
        self.fake.forget_calls();
        self.before = self.now();
    }

    /// Pushes a new image; returns its id.
    pub(crate) fn push(&self, reference: &str, behaviour: Behaviour) -> String {
        self.fake.world(|world| world.push(reference, behaviour))
    }

    /// Posts a signed body to the default hook.
    #[track_caller]
    pub(crate) fn deliver(&self, body: &str) -> Reply {
        self.server.signed("/webhook/update/", SECRET, body)
    }

    /// The same; waits for the result for longer than a client does.
    #[track_caller]
    pub(crate) fn deliver_patiently(&self, body: &str) -> Reply {
        let headers = [("Prefer", "respond-async")];
        let reply = self
            .server
            .signed_with("/webhook/update/", SECRET, &headers, body);
        assert_eq!(reply.status, 202, "{}", reply.text());
        let url = reply.header("Location").unwrap().to_owned();
        let deadline = Instant::now() + Duration::from_secs(600);
        loop {
            let waits = [("Prefer", "wait=15")];
            let reply = self.server.request("GET", &url, &waits, b"");
            if reply.status != 202 {
                return reply;
            }
            assert!(Instant::now() < deadline, "{}", reply.text());
        }
    }

    /// Services whose container was replaced.
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

    /// Images pulled through the Docker proxy, sorted.
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

    /// Asserts the stored Env, in this order.
    #[track_caller]
    pub(crate) fn env_is(&self, expected: &[(&str, &str)]) {
        let env = self.fake.world(|world| world.stack("shop").env.clone());
        let expected: Vec<(String, String)> = expected
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        assert_eq!(env, Some(expected));
    }

    /// Asserts that no request changed anything.
    #[track_caller]
    pub(crate) fn is_untouched(&self) {
        assert_eq!(self.fake.puts().len(), 0, "an update was sent");
        assert_eq!(self.now(), self.before);
        self.env_is(&ENV);
    }
}

/// Asserts the status code and the three agreed keys.
#[track_caller]
pub(crate) fn says(reply: &Reply, code: u16, message: &str, update_result: &str) {
    let body = reply.json();
    let said = json!([body["message"], body["update_result"]]);
    assert_eq!(reply.status, code, "{body}");
    assert_eq!(said, json!([message, update_result]));
    assert_eq!(body["success"], json!(code < 300));
}

/// Asserts a failed delivery whose message contains all of these texts.
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

/// The current Unix time, for bodies with a `time`.
pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap().as_secs()
}

/// Runs every cell of a matrix on its own thread, because cells mostly wait. Names the cells that fail.
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
