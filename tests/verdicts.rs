//! Verdicts that a sender sees: each follows from what the Compose file says and from what happened, not from history, names or labels.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::client;
use crate::support::fake::{Behaviour, EngineStyle, Era, Fake};
use crate::support::program::Setup;
use crate::support::shop::{
    ENV, FILE, GOOD, QUICK, SECRET, Shop, WEB, WORKER, fails, now, portainer, portainer_with, says,
    side_by_side, variables,
};

const TRIGGERED: &str = "Stack update triggered";
const UPDATED: &str = "Stack updated successfully";
const MIGRATE: &str = "ghcr.io/acme/migrate:1";

/// Time for jobs that take a second or two.
const PATIENT: &str = "
[[stack]]
name = \"shop\"
healthy_within = \"6s\"
env = [\"TAG\"]
";

fn finishes(after: u64, code: i64) -> Behaviour {
    Behaviour::Finishes {
        after: Duration::from_secs(after),
        code,
    }
}

fn environment(name: &str, value: &str) -> String {
    json!({"env": {name: value}, "time": now()}).to_string()
}

/// The reply's row of one service.
#[track_caller]
fn row(body: &Value, service: &str) -> Value {
    let services = body["stacks"][0]["services"].as_array().unwrap();
    let row = services.iter().find(|one| one["service"] == service);
    row.unwrap_or_else(|| panic!("no {service} in {body}"))
        .clone()
}

#[track_caller]
fn text_of(body: &Value) -> String {
    body["stacks"][0]["message"].as_str().unwrap().to_owned()
}

/// `web` and a job that behaved like `before` and behaves like `after` in the image that is pushed.
fn shop_with_job(lines: &str, before: Behaviour, after: Behaviour) -> Shop {
    let file = format!(
        "services:\n  web:\n    image: {WEB}\n    restart: unless-stopped\n  migrate:\n    image: {MIGRATE}\n{lines}"
    );
    let fake = Fake::start(Era::A);
    fake.world(|world| {
        world.push(WEB, GOOD);
        world.push(MIGRATE, before);
        world.compose_stack("shop", &file, &ENV);
    });
    let shop = Shop::configured(fake, PATIENT);
    shop.push(WEB, GOOD);
    shop.push(MIGRATE, after);
    shop
}

const JOBS: [&str; 3] = [
    "    restart: \"no\"\n",
    "    restart: on-failure\n",
    "    deploy: {restart_policy: {condition: none}}\n",
];

#[test]
fn a_job_succeeds_by_its_exit_code_whatever_it_did_before() {
    let before = [finishes(7200, 0), finishes(1, 1), finishes(1, 0)];
    let cells = JOBS.map(|lines| before.clone().map(|before| (lines, before)));
    side_by_side(cells.into_iter().flatten(), |(lines, before)| {
        let shop = shop_with_job(lines, before, finishes(1, 0));
        let reply = shop.deliver("{}");
        says(&reply, 200, TRIGGERED, UPDATED);
        assert_eq!(row(&reply.json(), "migrate")["state"], "completed");
        assert_eq!(shop.fake.puts().len(), 1, "nothing is rolled back");
    });
}

#[test]
fn a_job_fails_by_its_exit_code_whatever_it_did_before() {
    let before = [finishes(7200, 0), finishes(1, 0)];
    side_by_side(before, |before| {
        let shop = shop_with_job(JOBS[0], before, finishes(2, 7));
        let reply = shop.deliver("{}");
        fails(&reply, 502, &["migrate is exited (exit code 7)"]);
    });
}

#[test]
fn a_job_that_still_runs_is_neither_verified_nor_rolled_back() {
    let config = PATIENT.replace("6s", "2s");
    side_by_side(["when-down", "when-unhealthy"], |when| {
        let config = format!("{config}rollback = \"{when}\"\n");
        let shop = shop_with_job(JOBS[0], finishes(1, 0), finishes(7200, 0));
        let shop = Shop::configured(shop.fake, &config);
        let reply = shop.deliver("{}");
        let body = reply.json();
        assert_eq!(reply.status, 200, "{body}");
        assert_eq!(body["stacks"][0]["verified"], false, "{body}");
        let text = text_of(&body);
        assert!(text.contains("not finished yet: migrate"), "{text}");
        assert_eq!(shop.fake.puts().len(), 1);
    });
}

#[test]
fn an_image_that_was_built_on_the_host_is_never_replaced_by_a_namesake() {
    const OWN: &str = "acme-own:latest";
    let styles = [
        EngineStyle::Docker20,
        EngineStyle::Docker29,
        EngineStyle::Podman,
    ];
    side_by_side(styles, |style| {
        let file = format!("{FILE}  own:\n    image: {OWN}\n    restart: unless-stopped\n");
        let fake = Fake::start(Era::A);
        let built = fake.world(|world| {
            world.use_engine(style);
            world.push(WEB, GOOD);
            world.push(WORKER, GOOD);
            let built = world.local_image(OWN, 1, Behaviour::Runs);
            world.compose_stack("shop", &file, &ENV);
            // Another owner has that name at the public registry.
            world.push(OWN, Behaviour::Runs);
            built
        });
        let shop = Shop::configured(fake, QUICK);
        let image = shop.push(WEB, GOOD);
        let reply = shop.deliver("{}");
        says(&reply, 200, TRIGGERED, UPDATED);
        assert_eq!(shop.now()["web"].image_id, image);
        assert_eq!(shop.now()["own"].image_id, built);
        let pulled = shop.pulled();
        assert!(pulled.iter().all(|one| !one.contains("own")), "{pulled:?}");
        let text = text_of(&reply.json());
        assert!(text.contains("was made on the host"), "{text}");
    });
}

/// Waits until something is the case.
#[track_caller]
fn wait_until(what: &str, is: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !is() {
        assert!(Instant::now() < deadline, "{what} never happens");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn an_engine_that_restarts_after_the_submit_is_waited_for() {
    side_by_side([Era::A, Era::C], |era| {
        let shop = Shop::configured(portainer(era), PATIENT);
        let slow = Behaviour::Healthy {
            after: Duration::from_millis(1500),
        };
        let image = shop.push(WEB, slow);
        std::thread::scope(|scope| {
            let delivery = scope.spawn(|| shop.deliver("{}"));
            wait_until("the update", || {
                let puts = shop.fake.puts();
                puts.iter().any(|put| put.status.is_some())
                    && shop.fake.world(|world| !world.is_deploying())
            });
            shop.fake.world(|world| world.engine_dies(2));
            std::thread::sleep(Duration::from_secs(3));
            shop.fake.world(|world| world.engine_returns(2));
            says(&delivery.join().unwrap(), 200, TRIGGERED, UPDATED);
        });
        assert_eq!(shop.now()["web"].image_id, image);
        assert_eq!(shop.fake.puts().len(), 1);
    });
}

/// Sends the update of a person who saves this file and these variables; returns when it has been deployed.
fn save(fake: &Fake, file: &str, env: &[(&str, &str)]) {
    let env: Vec<Value> = env
        .iter()
        .map(|(name, value)| json!({"name": name, "value": value}))
        .collect();
    let id = fake.world(|world| world.stack("shop").id);
    let body = json!({"StackFileContent": file, "Env": env, "Prune": true, "PullImage": false});
    let headers = [("X-API-Key", fake.api_key())];
    let address = fake.url().trim_start_matches("http://").parse().unwrap();
    let path = format!("/api/stacks/{id}?endpointId=2");
    let request = client::request(address, "PUT", &path, &headers, body.to_string().as_bytes());
    let reply = client::parse(&client::exchange(address, &request));
    assert_eq!(reply.status, 200, "{}", reply.text());
}

#[test]
fn the_variables_that_a_person_saves_meanwhile_are_kept() {
    side_by_side(Era::ALL, |era| {
        // The container that is replaced takes its time, so that the save is under way for a while.
        let fake = Fake::start(era);
        fake.world(|world| {
            let remote = world.environment("remote");
            let web = world.push(WEB, GOOD);
            world.image(&web).stops_in = Duration::from_secs(3);
            world.push(WORKER, GOOD);
            world.compose_stack_in(remote, "shop", FILE, &ENV);
        });
        let shop = Shop::configured(fake, QUICK);
        let image = shop.push(WEB, GOOD);
        let (mut env, file) = (ENV, format!("{FILE}    labels: {{edited: \"yes\"}}\n"));
        env[2].1 = "mine";
        std::thread::scope(|scope| {
            scope.spawn(|| save(&shop.fake, &file, &env));
            wait_until("the save", || {
                let containers = shop.fake.world(|world| world.containers("shop"));
                containers.iter().any(|one| one.state == "created")
            });
            says(&shop.deliver("{}"), 200, TRIGGERED, UPDATED);
        });
        shop.env_is(&env);
        assert_eq!(
            shop.fake.world(|world| world.stack("shop").file.clone()),
            file
        );
        assert_eq!(shop.now()["web"].image_id, image);
        assert_eq!(shop.fake.puts().len(), 2, "{era:?}: one each");
    });
}

#[test]
fn a_taken_port_blocks_no_image() {
    let file = "services:\n  web:\n    image: ghcr.io/acme/web:1\n    restart: unless-stopped\n    ports: [\"127.0.0.1:5000:80\"]\n";
    side_by_side([Era::A, Era::B2, Era::C], |era| {
        let shop = Shop::configured(portainer_with(era, file), QUICK);
        let image = shop.push(WEB, GOOD);
        shop.fake
            .world(|world| world.take_port(2, "127.0.0.1:5000"));
        let words = ["address already in use"];
        fails(&shop.deliver_patiently("{}"), 502, &words);
        shop.fake
            .world(|world| world.free_port(2, "127.0.0.1:5000"));
        says(&shop.deliver_patiently("{}"), 200, TRIGGERED, UPDATED);
        assert_eq!(shop.now()["web"].image_id, image);
    });
}

#[test]
fn a_value_that_was_rolled_back_is_not_deployed_again() {
    let shop = Shop::quick(Era::A);
    shop.push("ghcr.io/acme/web:2", Behaviour::CannotStart);
    let good = shop.push("ghcr.io/acme/web:3", GOOD);
    let words = ["the previous images run again"];
    let body = fails(&shop.deliver(&environment("TAG", "2")), 502, &words);
    // The message describes the state at the end: the variable has its old value again.
    assert!(!body.to_string().contains("stored the new value"), "{body}");
    shop.env_is(&ENV);
    let sent = shop.fake.puts().len();
    let again = shop.deliver(&environment("TAG", "2"));
    assert_eq!(again.status, 409, "{}", again.text());
    let text = text_of(&again.json());
    assert!(text.contains("the value of TAG was rolled back"), "{text}");
    assert_eq!(shop.fake.puts().len(), sent);
    let reply = shop.deliver(&environment("TAG", "3"));
    says(&reply, 200, TRIGGERED, UPDATED);
    assert_eq!(shop.now()["web"].image_id, good);
}

#[test]
fn only_the_image_at_fault_is_blocked() {
    let config = format!("{QUICK}rollback = \"when-unhealthy\"\n");
    side_by_side([Era::A, Era::B1, Era::C], |era| {
        let shop = Shop::configured(portainer(era), &config);
        shop.push(WEB, Behaviour::NeverHealthy);
        let innocent = shop.push(WORKER, GOOD);
        let words = ["web is unhealthy", "the previous images run again"];
        fails(&shop.deliver("{}"), 502, &words);
        let image = |service: &str| shop.now()[service].image_id.clone();
        assert_eq!(image("worker"), shop.before["worker"].image_id);
        let reply = shop.deliver("{}");
        says(&reply, 200, TRIGGERED, UPDATED);
        let text = text_of(&reply.json());
        assert!(text.contains("is blocked until a newer one"), "{text}");
        assert_eq!(image("worker"), innocent);
        assert_eq!(image("web"), shop.before["web"].image_id);
        let good = shop.push(WEB, GOOD);
        says(&shop.deliver("{}"), 200, TRIGGERED, UPDATED);
        assert_eq!((image("web"), image("worker")), (good, innocent.clone()));
    });
}

/// Two replicas of `web`, which Swarm rolls back by itself, and `worker`.
const SWARM: &str = "
services:
  web:
    image: ghcr.io/acme/web:${TAG}
    deploy:
      replicas: 2
      update_config: {failure_action: rollback, monitor: 2s}
  worker:
    image: ghcr.io/acme/worker:1
    deploy:
      mode: global
      update_config: {failure_action: pause, monitor: 2s}
";

/// The stack as Swarm services on environment 1.
fn swarm(era: Era) -> Shop {
    let fake = Fake::start(era);
    fake.world(|world| {
        world.push(WEB, Behaviour::Runs);
        world.push(WORKER, Behaviour::Runs);
        world.swarm_stack("shop", SWARM, &ENV);
    });
    Shop::configured(fake, PATIENT)
}

fn crashes() -> Behaviour {
    Behaviour::CrashLoop {
        every: Duration::from_millis(500),
        code: 3,
    }
}

#[test]
fn a_swarm_service_without_its_digest_is_no_success() {
    side_by_side([Era::A, Era::C], |era| {
        let shop = swarm(era);
        shop.push(WEB, Behaviour::Runs);
        shop.fake
            .world(|world| world.registry_down("ghcr.io", true));
        let reply = shop.deliver("{}");
        let body = reply.json();
        assert_eq!((reply.status, &body["status"]), (504, &json!("unknown")));
        assert_eq!(body["stacks"][0]["verified"], false, "{body}");
        let text = text_of(&body);
        assert!(text.contains("has no digest any more"), "{text}");
        assert_eq!(row(&body, "web")["new_image"], false);
    });
}

#[test]
fn a_named_image_that_needs_credentials_does_not_lose_its_digest() {
    let shop = swarm(Era::A);
    shop.push(WEB, Behaviour::Runs);
    let pinned = shop.fake.world(|world| {
        world.registry_private("ghcr.io", "robot", "pw-sentinel-registry");
        world.swarm_image("shop_web")
    });
    let body = json!({"image": WEB}).to_string();
    fails(&shop.deliver(&body), 502, &["needs credentials"]);
    assert_eq!(shop.fake.puts().len(), 0);
    assert_eq!(shop.fake.world(|w| w.swarm_image("shop_web")), pinned);
    says(&shop.deliver("{}"), 200, TRIGGERED, UPDATED);
}

#[test]
fn a_rollback_by_swarm_is_named_as_one_with_the_variables_that_stay() {
    side_by_side([Era::A, Era::C], |era| {
        let shop = swarm(era);
        shop.push("ghcr.io/acme/web:2", crashes());
        let reply = shop.deliver(&environment("TAG", "2"));
        let words = [
            "web",
            "rolled back",
            "Portainer has stored the new value of TAG",
        ];
        let body = fails(&reply, 502, &words);
        let text = text_of(&body);
        assert!(!text.contains("does not stay so"), "{text}");
        // Only the service that failed is a reason.
        assert!(!text.contains("worker"), "{text}");
        let image = shop.fake.world(|world| world.swarm_image("shop_web"));
        assert!(image.starts_with("ghcr.io/acme/web:1@"), "{image}");
    });
}

#[test]
fn a_global_service_is_judged_by_its_tasks() {
    side_by_side(
        [(Behaviour::Runs, 200), (crashes(), 502)],
        |(image, code)| {
            let shop = swarm(Era::A);
            shop.push(WORKER, image);
            let reply = shop.deliver("{}");
            match code {
                200 => says(&reply, 200, TRIGGERED, UPDATED),
                _ => drop(fails(&reply, code, &["worker", "non-zero exit (3)"])),
            }
        },
    );
}

#[test]
fn every_container_of_a_scaled_service_counts() {
    let file = "services:\n  web:\n    image: ghcr.io/acme/web:1\n    restart: unless-stopped\n    deploy: {replicas: 3}\n";
    let shop = Shop::configured(portainer_with(Era::A, file), PATIENT);
    let image = shop.push(WEB, GOOD);
    says(&shop.deliver("{}"), 200, TRIGGERED, UPDATED);
    let containers = || shop.fake.world(|world| world.containers("shop"));
    assert_eq!(containers().len(), 3);
    assert!(containers().iter().all(|one| one.image_id == image));
    // One of the three is stopped while the next update is verified.
    shop.push(
        WEB,
        Behaviour::Healthy {
            after: Duration::from_secs(1),
        },
    );
    shop.fake.forget_calls();
    std::thread::scope(|scope| {
        let delivery = scope.spawn(|| shop.deliver("{}"));
        wait_until("the update", || {
            let puts = shop.fake.puts();
            puts.iter().any(|put| put.status.is_some())
        });
        let second = containers()[1].id.clone();
        shop.fake.world(|world| world.stop_container(&second));
        let body = fails(&delivery.join().unwrap(), 502, &["web is exited"]);
        assert_eq!(row(&body, "web")["state"], "exited");
    });
}

#[test]
fn an_image_that_is_built_and_pushed_is_asked_for() {
    let file = "services:\n  web:\n    build: .\n    image: ghcr.io/acme/web:1\n    restart: unless-stopped\n";
    let fake = Fake::start(Era::A);
    fake.world(|world| {
        world.push(WEB, GOOD);
        world.pull(WEB, 1);
        world.compose_stack("shop", file, &ENV);
    });
    let shop = Shop::configured(fake, QUICK);
    let image = shop.push(WEB, GOOD);
    says(&shop.deliver("{}"), 200, TRIGGERED, UPDATED);
    assert_eq!(shop.now()["web"].image_id, image);
}

#[test]
fn a_default_that_the_repository_overrides_is_left_to_portainer() {
    let file = "services:\n  web:\n    image: ghcr.io/acme/web:${VERSION:-1}\n    restart: unless-stopped\n";
    let fake = Fake::start(Era::A);
    fake.world(|world| {
        world.push(WEB, GOOD);
        world.git_stack("shop", file, &[("OTHER", "1")]);
    });
    let shop = Shop::configured(fake, QUICK);
    says(&shop.deliver("{}"), 200, TRIGGERED, UPDATED);
    assert_eq!(shop.fake.puts()[0].body["PullImage"], true);
}

#[test]
fn a_leftover_container_is_a_note_and_fails_nothing() {
    let config = format!("{QUICK}rollback = \"when-unhealthy\"\n");
    side_by_side(Era::ALL, |era| {
        let shop = Shop::configured(portainer(era), &config);
        shop.fake
            .world(|world| world.foreign_container("shop", "worker", "old"));
        let image = shop.push(WEB, GOOD);
        let reply = shop.deliver("{}");
        says(&reply, 200, TRIGGERED, UPDATED);
        let text = text_of(&reply.json());
        // From 2.40 on Portainer removes it, because the stack asks for that.
        let note = match era >= Era::C {
            true => "no longer there: old",
            false => "left over, no part of the stack: old",
        };
        assert!(text.contains(note), "{text}");
        assert_eq!(shop.now()["web"].image_id, image);
        assert_eq!(shop.fake.puts().len(), 1);
    });
}

#[test]
fn a_record_in_another_case_has_the_same_containers() {
    let fake = portainer(Era::A);
    let id = fake.world(|world| world.stack("shop").id);
    fake.world(|world| world.stack_mut(id).name = "Shop".to_owned());
    let shop = Shop::configured(fake, QUICK);
    let image = shop.push(WEB, GOOD);
    let reply = shop.deliver("{}");
    says(&reply, 200, TRIGGERED, UPDATED);
    assert_eq!(row(&reply.json(), "web")["image_id"], json!(image));
}

#[test]
fn a_slow_service_is_not_called_failed_beside_a_failed_one() {
    let file = "services:\n  web:\n    image: ghcr.io/acme/web:1\n    restart: unless-stopped\n    healthcheck: {test: [\"CMD\", \"/app\"], interval: 1s, retries: 60}\n  worker:\n    image: ghcr.io/acme/worker:1\n    restart: \"no\"\n";
    let shop = Shop::configured(portainer_with(Era::A, file), PATIENT);
    shop.push(
        WEB,
        Behaviour::Healthy {
            after: Duration::from_secs(40),
        },
    );
    shop.push(WORKER, finishes(1, 4));
    let reply = shop.deliver("{}");
    let body = fails(&reply, 502, &["worker is exited (exit code 4)"]);
    let text = text_of(&body);
    assert!(!text.contains("web is"), "{text}");
    assert!(text.contains("not settled yet: web"), "{text}");
}

/// A standard user who sees only the containers of its own stack.
#[test]
fn a_user_with_the_least_rights_rolls_back() {
    let fake = portainer(Era::A);
    let key = fake.world(|world| {
        let (user, key) = world.user_standard("robot", "pw-sentinel-robot");
        let id = world.stack("shop").id;
        world.may_use_environment(user, 2, true);
        world.may_use_stack(user, id, true);
        key
    });
    let setup = Setup::new()
        .env("PORTAINER_URL", &fake.url())
        .env("PORTAINER_API_KEY", &key)
        .file("stackhook.toml", QUICK);
    let server = variables(setup).serve();
    let before = fake.world(|world| world.container("shop", "web").image_id);
    fake.world(|world| world.push(WEB, Behaviour::CannotStart));
    let reply = server.signed("/webhook/update/", SECRET, "{}");
    fails(&reply, 502, &["the previous images run again"]);
    let web = fake.world(|world| world.container("shop", "web"));
    assert_eq!((web.image_id, web.state), (before, "running"));
}
