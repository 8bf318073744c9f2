//! Differences between releases of Portainer that matter to users, each through the real binary.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::client;
use crate::support::fake::{Behaviour, Era, Fake, Fault, Gate, Source, StackId, When};
use crate::support::program::Setup;
use crate::support::shop::{
    ENV, FILE, GOOD, QUICK, SECRET, Shop, WEB, WORKER, fails, now, says, side_by_side, variables,
};

pub(crate) const TRIGGERED: &str = "Stack update triggered";
pub(crate) const UPDATED: &str = "Stack updated successfully";
pub(crate) const UP_TO_DATE: &str = "Stack is already up to date";

/// A release: its era, and the version if it differs from the others of the era.
pub(crate) type Release = (Era, &'static str);

pub(crate) const V2_24: Release = (Era::A, "");
pub(crate) const V2_38: Release = (Era::B1, "");
pub(crate) const V2_39: Release = (Era::B2, "");
pub(crate) const V2_40: Release = (Era::B2, "2.40");
pub(crate) const V2_39_2: Release = (Era::B3, "");
pub(crate) const V2_41: Release = (Era::C, "2.41");
pub(crate) const V2_43: Release = (Era::C, "");
pub(crate) const V2_45: Release = (Era::D, "");

const RELEASES: [Release; 8] = [V2_24, V2_38, V2_39, V2_40, V2_39_2, V2_41, V2_43, V2_45];

/// A Portainer of this release with a second environment and both images in the registry.
pub(crate) fn start((era, version): Release) -> Fake {
    let fake = Fake::start(era);
    fake.world(|world| {
        match version {
            "2.40" => world.imitate_2_40(),
            "2.41" => world.imitate_2_41(),
            _ => {}
        }
        world.pace.pull_retries = Duration::from_millis(10);
        world.environment("remote");
        world.push(WEB, GOOD);
        world.push(WORKER, GOOD);
    });
    fake
}

/// A Portainer whose stack `shop` comes from git.
fn git(release: Release) -> (Shop, StackId) {
    let fake = start(release);
    let id = fake.world(|world| world.git_stack("shop", FILE, &ENV));
    (Shop::configured(fake, QUICK), id)
}

/// The id of the image that the container of a service runs.
pub(crate) fn runs(shop: &Shop, service: &str) -> String {
    shop.now()[service].image_id.clone()
}

/// Waits until the deployment that continues after the answer has finished.
fn settle(shop: &Shop) {
    let done = || shop.fake.world(|world| !world.is_deploying());
    let began = Instant::now();
    while !done() && began.elapsed() < Duration::from_secs(20) {
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn the_next_good_commit_heals_a_git_stack_after_a_bad_one() {
    side_by_side([V2_24, V2_39, V2_41, V2_43, V2_45], |release| {
        let (shop, id) = git(release);
        shop.fake
            .world(|world| world.commit(id, &FILE.replace("worker:1", "worker:gone")));
        let reply = shop.deliver("{}");
        fails(&reply, 502, &["worker:gone"]);
        settle(&shop);
        let web = shop.push(WEB, GOOD);
        shop.fake.world(|world| world.commit(id, FILE));
        says(&shop.deliver("{}"), 200, TRIGGERED, UPDATED);
        assert_eq!(runs(&shop, "web"), web);
        assert_eq!(shop.now()["worker"].state, "running");
    });
}

#[test]
fn an_image_event_is_not_judged_by_a_failed_checkout() {
    let (shop, id) = git(V2_43);
    shop.fake
        .world(|world| world.commit(id, &FILE.replace("web:${TAG}", "web:gone")));
    fails(&shop.deliver("{}"), 502, &["web:gone"]);
    settle(&shop);
    // The event names the image that runs; the checkout names another one.
    let event = r#"{"event":"image_update","image":"ghcr.io/acme/web:1"}"#;
    shop.fake.forget_calls();
    says(&shop.deliver(event), 200, TRIGGERED, UP_TO_DATE);
    assert_eq!(shop.fake.puts().len(), 0);
    assert_eq!(shop.now(), shop.before);
}

#[test]
fn images_are_newest_where_portainer_pulls_only_missing_ones() {
    side_by_side([V2_39_2, V2_41], |release| {
        let (shop, _) = git(release);
        let (web, worker) = (shop.push(WEB, GOOD), shop.push(WORKER, GOOD));
        says(&shop.deliver("{}"), 200, TRIGGERED, UPDATED);
        assert_eq!((runs(&shop, "web"), runs(&shop, "worker")), (web, worker));
        // A stack whose pull is left to Portainer.
        let fake = start(release);
        fake.world(|world| world.compose_stack("shop", FILE, &ENV));
        let config = QUICK.replace("env =", "pull = \"portainer\"\nenv =");
        let shop = Shop::configured(fake, &config);
        let web = shop.push(WEB, GOOD);
        says(&shop.deliver("{}"), 200, TRIGGERED, UPDATED);
        assert_eq!(runs(&shop, "web"), web);
        // A file that stackhook does not evaluate, so that it leaves the pull to Portainer.
        let fake = start(release);
        let file = format!("{FILE}x-note: &n {{}}\ninclude: []\n");
        fake.world(|world| world.compose_stack("shop", &file, &ENV));
        let shop = Shop::configured(fake, QUICK);
        let web = shop.push(WEB, GOOD);
        says(&shop.deliver("{}"), 200, TRIGGERED, UPDATED);
        assert_eq!(runs(&shop, "web"), web);
    });
}

#[test]
fn success_is_not_claimed_for_an_image_that_was_not_pulled() {
    side_by_side([V2_39_2, V2_41], |release| {
        let (shop, id) = git(release);
        shop.push(WEB, GOOD);
        shop.fake
            .world(|world| world.registry_down("ghcr.io", true));
        fails(
            &shop.deliver("{}"),
            502,
            &["pulls only images that are missing", "no such host"],
        );
        settle(&shop);
        shop.fake
            .world(|world| world.registry_down("ghcr.io", false));
        // A commit that names a tag which the host has, and which is older than the registry's.
        let stale = "ghcr.io/acme/other:1";
        shop.push(stale, GOOD);
        shop.fake.world(|world| world.pull(stale, 1));
        let newest = shop.push(stale, GOOD);
        shop.fake
            .world(|world| world.commit(id, &FILE.replace("ghcr.io/acme/worker:1", stale)));
        fails(
            &shop.deliver("{}"),
            502,
            &["the registry has a newer ghcr.io/acme/other:1"],
        );
        settle(&shop);
        says(&shop.deliver("{}"), 200, TRIGGERED, UPDATED);
        assert_eq!(runs(&shop, "worker"), newest);
    });
}

#[test]
fn a_failed_stack_that_runs_is_left_alone_if_nothing_is_newer() {
    side_by_side([V2_41, V2_43, V2_45], |release| {
        let fake = start(release);
        fake.world(|world| {
            let id = world.compose_stack("shop", FILE, &ENV);
            world.stack_mut(id).status = 4;
        });
        let shop = Shop::configured(fake, QUICK);
        says(&shop.deliver("{}"), 200, TRIGGERED, UP_TO_DATE);
        shop.is_untouched();
        let web = shop.push(WEB, GOOD);
        says(&shop.deliver("{}"), 200, TRIGGERED, UPDATED);
        assert_eq!(runs(&shop, "web"), web);
        assert_eq!(shop.now()["worker"].state, "running");
    });
}

#[test]
fn a_stack_from_an_app_template_is_updated_by_its_file() {
    side_by_side([V2_24, V2_39, V2_43, V2_45], |release| {
        let (shop, id) = git(release);
        shop.fake.world(|world| {
            world.stack_mut(id).from_app_template = true;
            world.commit(id, &FILE.replace("worker:1", "worker:from-upstream"));
        });
        let web = shop.push(WEB, GOOD);
        says(&shop.deliver("{}"), 200, TRIGGERED, UPDATED);
        assert_eq!(runs(&shop, "web"), web);
        let paths: Vec<String> = shop.fake.puts().into_iter().map(|put| put.path).collect();
        assert_eq!(paths, [format!("/api/stacks/{id}")]);
    });
}

#[test]
fn a_git_stack_is_redeployed_although_its_file_cannot_be_read() {
    side_by_side([V2_41, V2_43, V2_45], |release| {
        let (shop, id) = git(release);
        shop.fake
            .world(|world| world.stack_mut(id).settings_saved = true);
        let web = shop.push(WEB, GOOD);
        let reply = shop.deliver("{}");
        says(&reply, 200, TRIGGERED, UPDATED);
        assert!(
            reply.text().contains("without reading its file"),
            "{}",
            reply.text()
        );
        assert_eq!(runs(&shop, "web"), web);
    });
}

/// A git stack that a standard user redeploys, with these rights to its Source.
fn source(release: Release, rights: impl Fn(i64) -> Option<Source>) -> (Fake, Setup) {
    let fake = start(release);
    let key = fake.world(|world| {
        let id = world.git_stack("shop", FILE, &ENV);
        let (user, key) = world.user_standard("ops", "pw");
        world.may_use_environment(user, 1, true);
        world.may_use_stack(user, id, true);
        world.stack_mut(id).source = rights(user);
        key
    });
    let setup = Setup::new()
        .env("PORTAINER_URL", &fake.url())
        .env("PORTAINER_API_KEY", &key)
        .secret(&key)
        .file("stackhook.toml", QUICK);
    (fake, variables(setup))
}

#[test]
fn missing_rights_to_a_source_are_named_before_anything_is_sent() {
    for release in [V2_43, V2_45] {
        let (fake, setup) = source(release, |_| Some(Source::default()));
        for command in ["test-connection", "redeploy"] {
            let output = setup.run(&[command]);
            assert_eq!(output.code, Some(1), "{command}: {output:?}");
            assert!(
                output.stderr.contains("share the Source with this user"),
                "{output:?}"
            );
        }
        let server = setup.serve();
        fails(
            &server.signed("/webhook/update/", SECRET, "{}"),
            502,
            &["share the Source with this user"],
        );
        assert_eq!(fake.puts().len(), 0);
    }
}

#[test]
fn a_source_that_is_shared_but_not_owned_is_named() {
    let shared = |user| {
        Some(Source {
            users: vec![user],
            owners: Vec::new(),
        })
    };
    let (_fake, setup) = source(V2_43, shared);
    let output = setup.run(&["test-connection"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(
        output.stdout.contains("the owner of its git Source"),
        "{output:?}"
    );
    let server = setup.serve();
    let reply = server.signed("/webhook/update/", SECRET, "{}");
    fails(
        &reply,
        502,
        &["not enough permissions", "let this user own the Source"],
    );
    // The owner needs nothing else, and older releases have no Sources.
    let owned = |user| {
        Some(Source {
            users: Vec::new(),
            owners: vec![user],
        })
    };
    for (release, rights) in [(V2_43, true), (V2_39, false)] {
        let (_fake, setup) = source(release, |user| owned(user).filter(|_| rights));
        let server = setup.serve();
        says(
            &server.signed("/webhook/update/", SECRET, "{}"),
            200,
            TRIGGERED,
            UPDATED,
        );
    }
}

#[test]
fn the_old_parser_for_standard_users_is_named() {
    let file = format!("{FILE}    depends_on: {{web: {{condition: service_started}}}}\n");
    side_by_side([V2_24, V2_38, V2_39, V2_40, V2_43], |release| {
        let fake = start(release);
        let key = fake.world(|world| {
            let id = world.compose_stack("shop", &file, &ENV);
            let (user, key) = world.user_standard("ops", "pw");
            world.may_use_environment(user, 1, true);
            world.may_use_stack(user, id, true);
            world.push(WEB, GOOD);
            key
        });
        let setup = Setup::new()
            .env("PORTAINER_URL", &fake.url())
            .env("PORTAINER_API_KEY", &key)
            .secret(&key)
            .file("stackhook.toml", QUICK);
        let server = variables(setup).serve();
        let reply = server.signed("/webhook/update/", SECRET, "{}");
        match release == V2_38 || release == V2_39 {
            true => drop(fails(
                &reply,
                502,
                &["stack config file is invalid", "an administrator's API key"],
            )),
            false => says(&reply, 200, TRIGGERED, UPDATED),
        }
    });
}

#[test]
fn an_unhealthy_image_is_reported_in_every_release() {
    side_by_side(RELEASES, |release| {
        let (shop, _) = git(release);
        shop.push(WEB, Behaviour::NeverHealthy);
        fails(&shop.deliver("{}"), 502, &["web is unhealthy"]);
    });
}

/// The current state of every container, by service.
fn states(shop: &Shop) -> Vec<(String, &'static str)> {
    let services = shop.now().into_iter();
    services
        .map(|(service, container)| (service, container.state))
        .collect()
}

#[test]
fn a_stack_that_runs_is_left_alone_whatever_status_portainer_records() {
    let cells = RELEASES.map(|release| [0, 1, 4].map(|status| (release, status)));
    side_by_side(cells.into_iter().flatten(), |(release, status)| {
        let fake = start(release);
        fake.world(|world| {
            let id = world.compose_stack("shop", FILE, &ENV);
            world.stack_mut(id).status = status;
        });
        let shop = Shop::configured(fake, QUICK);
        says(&shop.deliver("{}"), 200, TRIGGERED, UP_TO_DATE);
        let output = shop.server.setup().run(&["redeploy"]);
        assert_eq!(output.code, Some(0), "{output:?}");
        shop.is_untouched();
    });
}

#[test]
fn a_service_left_created_by_an_update_without_a_newer_image_is_brought_back() {
    // The variable changes the configuration of both services and the image of none.
    let file = FILE
        .replace("web:${TAG}", "web:1")
        .replace(
            "worker:1\n",
            "worker:1\n    environment: {LEVEL: \"${TAG}\"}\n",
        )
        .replace("GREETING: ${GREETING}", "GREETING: ${TAG}");
    side_by_side(RELEASES, |release| {
        let fake = start(release);
        fake.world(|world| world.compose_stack("shop", &file, &ENV));
        let shop = Shop::configured(fake, QUICK);
        shop.fake
            .world(|world| world.next_start_is_lost = Some("worker".to_owned()));
        let body = json!({"env": {"TAG": "2"}, "time": now()}).to_string();
        let reply = shop.deliver(&body);
        settle(&shop);
        assert!(!shop.fake.puts().is_empty());
        let lost = shop.fake.world(|world| world.next_start_is_lost.clone());
        assert_eq!(lost, None, "the container of worker was started at once");
        let running = ["web", "worker"].map(|service| (service.to_owned(), "running"));
        assert_eq!(states(&shop), running, "{}", reply.text());
        assert!(reply.json()["success"].is_boolean(), "{}", reply.text());
    });
}

#[test]
fn a_service_that_is_found_created_is_brought_back_although_nothing_is_newer() {
    side_by_side(RELEASES, |release| {
        let fake = start(release);
        fake.world(|world| {
            let id = world.compose_stack("shop", FILE, &ENV);
            if release.0.answers_at_once() {
                world.stack_mut(id).status = 4;
            }
        });
        let shop = Shop::configured(fake, QUICK);
        shop.fake.world(|world| {
            let worker = world.container("shop", "worker").id;
            world.unstart_container(&worker);
        });
        let reply = shop.deliver("{}");
        settle(&shop);
        assert_eq!(reply.status, 200, "{}", reply.text());
        let running = ["web", "worker"].map(|service| (service.to_owned(), "running"));
        assert_eq!(states(&shop), running, "{}", reply.text());
    });
}

#[test]
fn a_command_and_a_delivery_wait_while_another_deployment_locks_the_database() {
    const SLOW: &str =
        "services:\n  a:\n    image: ghcr.io/acme/web:1\n    environment: {A: \"${A}\"}\n";
    side_by_side([V2_38, V2_39, V2_39_2], |release| {
        let fake = start(release);
        let slow = fake.world(|world| {
            world.compose_stack("shop", FILE, &ENV);
            world.add_api_key("admin", "ptr_deployer");
            world.compose_stack("slow", SLOW, &[("A", "1")])
        });
        let shop = Shop::configured(fake, QUICK);
        // The database has to record the next use of the key.
        shop.fake.clock().fetch_add(61_000, Ordering::SeqCst);
        shop.fake
            .world(|world| world.pace.create = Duration::from_secs(17));
        let body = json!({"StackFileContent": SLOW, "Env": [{"name": "A", "value": "2"}]});
        let path = format!("/api/stacks/{slow}?endpointId=1");
        let address = shop.fake.url().replace("http://", "").parse().unwrap();
        std::thread::scope(|scope| {
            let request = client::request(
                address,
                "PUT",
                &path,
                &[("X-API-Key", "ptr_deployer")],
                body.to_string().as_bytes(),
            );
            let deployment =
                scope.spawn(move || client::parse(&client::exchange(address, &request)));
            while !shop.fake.world(|world| world.is_deploying()) {
                std::thread::sleep(Duration::from_millis(5));
            }
            let began = Instant::now();
            let command = scope.spawn(|| shop.server.setup().run(&["redeploy"]));
            says(&shop.deliver("{}"), 200, TRIGGERED, UP_TO_DATE);
            let output = command.join().unwrap();
            assert_eq!(output.code, Some(0), "{output:?}");
            assert!(
                began.elapsed() > Duration::from_secs(30),
                "nothing was locked"
            );
            assert_eq!(deployment.join().unwrap().status, 200);
        });
    });
}

#[test]
fn a_portainer_that_stays_busy_ends_a_delivery_and_a_command_after_the_timeout() {
    let fake = start(V2_39);
    fake.world(|world| world.compose_stack("shop", FILE, &ENV));
    let config = format!("[portainer]\ntimeout = \"35s\"\n{QUICK}");
    let shop = Shop::configured(fake, &config);
    let gate = Gate::default();
    shop.fake
        .fault(When::every("GET", "/api/stacks"), Fault::Hold(gate.clone()));
    std::thread::scope(|scope| {
        let command = scope.spawn(|| shop.server.setup().run(&["redeploy"]));
        let began = Instant::now();
        let reply = shop.deliver("{}");
        assert_eq!(reply.status, 504, "{}", reply.text());
        let output = command.join().unwrap();
        assert_eq!(output.code, Some(75), "{output:?}");
        assert!(began.elapsed() >= Duration::from_secs(30));
    });
    gate.open();
}

#[test]
fn a_git_stack_is_redeployed_whatever_error_reading_its_file_ends_with() {
    side_by_side([404, 409, 500], |status| {
        let (shop, id) = git(V2_43);
        let answer = r#"{"message":"Unable to read the file","details":"no such file"}"#;
        let path = format!("/api/stacks/{id}/file");
        shop.fake.fault(
            When::every("GET", &path),
            Fault::Answer(status, "application/json", answer.to_owned()),
        );
        let web = shop.push(WEB, GOOD);
        let reply = shop.deliver("{}");
        says(&reply, 200, TRIGGERED, UPDATED);
        assert_eq!(runs(&shop, "web"), web);
    });
}

#[test]
fn a_stack_from_an_app_template_needs_no_source() {
    let (fake, setup) = source(V2_43, |_| Some(Source::default()));
    fake.world(|world| {
        let id = world.stack("shop").id;
        world.stack_mut(id).from_app_template = true;
        world.push(WEB, GOOD);
    });
    let server = setup.serve();
    let reply = server.signed("/webhook/update/", SECRET, "{}");
    says(&reply, 200, TRIGGERED, UPDATED);
}
