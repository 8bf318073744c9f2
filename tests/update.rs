//! Signed deliveries that update a stack: the state of Portainer afterwards, in every era.

use std::time::Duration;

use serde_json::json;

use crate::support::fake::{Behaviour, Era, ImageId};
use crate::support::program::Setup;
use crate::support::shop::{
    ENV, GOOD, QUICK, Shop, WEB, WORKER, fails, now, portainer, portainer_with, pull_held, says,
    side_by_side,
};

const TRIGGERED: &str = "Stack update triggered";
const UPDATED: &str = "Stack updated successfully";
const UP_TO_DATE: &str = "Stack is already up to date";

/// Asserts that only `web` runs another image, and nothing else has changed.
#[track_caller]
fn only_web_is_new(shop: &Shop, image: &ImageId) {
    assert_eq!(shop.recreated(), ["web"]);
    let web = &shop.now()["web"];
    assert_eq!(
        (&web.image_id, web.state, web.health),
        (image, "running", Some("healthy"))
    );
    shop.env_is(&ENV);
    let put = shop.fake.puts();
    assert_eq!(put.len(), 1, "{put:?}");
    let endpoint = ("endpointId".to_owned(), "2".to_owned());
    assert!(put[0].query.contains(&endpoint), "{:?}", put[0].query);
    assert_eq!(put[0].body["Prune"], true);
    assert_eq!(
        shop.fake.world(|world| world.stack("shop").prune),
        Some(true)
    );
}

/// A service with another image, without the ids of both.
fn without_ids(service: &serde_json::Value) -> serde_json::Value {
    let mut service = service.clone();
    let fields = service.as_object_mut().unwrap();
    let (new, old) = (
        fields.remove("image_id"),
        fields.remove("previous_image_id"),
    );
    assert!(
        new.is_some() && old.is_some() && new != old,
        "{new:?} {old:?}"
    );
    service
}

#[test]
fn updates_with_variables_only_in_every_era_with_key_or_password() {
    let cells = Era::ALL.map(|era| [(era, true), (era, false)]);
    side_by_side(cells.into_iter().flatten(), |(era, with_key)| {
        let fake = portainer(era);
        let setup = if with_key {
            Setup::with(&fake)
        } else {
            Setup::new()
                .env("PORTAINER_URL", &fake.url())
                .env("PORTAINER_USER", fake.user())
                .env("PORTAINER_PASSWORD", fake.password())
        };
        let shop = Shop::with(fake, setup);
        let image = shop.push(WEB, GOOD);
        let reply = shop.deliver(r#"{"event":"stack_update"}"#);
        says(&reply, 200, TRIGGERED, UPDATED);
        let body = reply.json();
        let stack = &body["stacks"][0];
        assert_eq!(
            json!([stack["stack"], stack["name"], stack["environment"]]),
            json!(["shop", "shop", "remote"])
        );
        assert_eq!(
            json!([stack["outcome"], stack["verified"], stack["message"]]),
            json!(["updated", true, "1 of 2 services updated, all healthy"])
        );
        assert_eq!(
            without_ids(&stack["services"][0]),
            json!({"service": "web", "image": WEB, "new_image": true, "recreated": true, "state": "healthy"})
        );
        only_web_is_new(&shop, &image);
        let logged = "redeploy ended: 1 of 2 services updated, all healthy";
        shop.server.wait_for_log(logged);
    });
}

#[test]
fn changes_nothing_if_no_image_is_newer() {
    side_by_side(Era::ALL, |era| {
        let shop = Shop::open(era);
        let reply = shop.deliver("");
        says(&reply, 200, TRIGGERED, UP_TO_DATE);
        assert_eq!(reply.json()["stacks"][0]["outcome"], "unchanged");
        assert_eq!(shop.pulled(), [WEB, WORKER]);
        shop.is_untouched();
    });
}

#[test]
fn pulls_and_restarts_only_the_named_image() {
    side_by_side(Era::ALL, |era| {
        let shop = Shop::open(era);
        let web = shop.push(WEB, GOOD);
        // The other image is newer in the registry, and already pulled on the host.
        let worker = shop.push(WORKER, GOOD);
        shop.fake.world(|world| world.pull(WORKER, 2));
        let reply = shop.deliver(r#"{"event":"image_update","image":"ghcr.io/acme/web:1"}"#);
        says(&reply, 200, TRIGGERED, UPDATED);
        assert_eq!(shop.pulled(), [WEB]);
        only_web_is_new(&shop, &web);
        // The tag points to the pulled image again.
        let local = shop.fake.world(|world| world.local_id(WORKER, 2));
        assert_eq!(local, Some(worker), "{era:?}");
    });
}

#[test]
fn pulls_a_new_tag_before_the_update() {
    side_by_side(Era::ALL, |era| {
        let shop = Shop::quick(era);
        let image = shop.push("ghcr.io/acme/web:2", GOOD);
        let body = json!({"env": {"TAG": "2"}, "time": now()});
        let reply = shop.deliver(&body.to_string());
        says(&reply, 200, TRIGGERED, UPDATED);
        let calls = shop.fake.calls();
        let at = |wanted: &str| {
            let found = calls
                .iter()
                .position(|call| format!("{} {}", call.method, call.path).contains(wanted));
            found.unwrap_or_else(|| panic!("{wanted}: {calls:?}"))
        };
        assert!(at("/images/create") < at("PUT /api/stacks/"), "{era:?}");
        assert!(shop.pulled().contains(&"ghcr.io/acme/web:2".to_owned()));
        assert_eq!(shop.recreated(), ["web"]);
        let web = &shop.now()["web"];
        assert_eq!(
            (web.image_ref.as_str(), &web.image_id),
            ("ghcr.io/acme/web:2", &image)
        );
        let mut env = ENV;
        env[0].1 = "2";
        shop.env_is(&env);
        assert_eq!(shop.fake.puts().len(), 1);
        let text = reply.text();
        assert!(text.contains("ghcr.io/acme/web:2"), "a tag is no secret");
    });
}

#[test]
fn an_exception_is_updated_only_if_named() {
    let file = QUICK.replace("env =", "except = [\"ghcr.io/acme/worker\"]\nenv =");
    side_by_side([Era::A, Era::D], |era| {
        let mut shop = Shop::configured(portainer(era), &file);
        let web = shop.push(WEB, GOOD);
        let worker = shop.push(WORKER, GOOD);
        says(&shop.deliver("{}"), 200, TRIGGERED, UPDATED);
        assert_eq!(shop.pulled(), [WEB]);
        only_web_is_new(&shop, &web);
        shop.look();
        let named = shop.deliver(r#"{"image":["ghcr.io/acme/worker:1"]}"#);
        says(&named, 200, TRIGGERED, UPDATED);
        assert_eq!(shop.recreated(), ["worker"]);
        assert_eq!(shop.now()["worker"].image_id, worker);
    });
}

#[test]
fn skips_an_image_outside_the_stack_and_lists_its_images() {
    let shop = Shop::open(Era::A);
    let reply = shop.deliver(r#"{"image":"ghcr.io/acme/wep:1"}"#);
    let body = fails(&reply, 409, &[WEB, WORKER]);
    assert_eq!(body["stacks"][0]["outcome"], "skipped");
    shop.is_untouched();
}

#[test]
fn a_bad_tag_changes_nothing_and_reports_the_registrys_message() {
    side_by_side(Era::ALL, |era| {
        let shop = Shop::quick(era);
        let body = json!({"env": {"TAG": "nope"}, "time": now()});
        let reply = shop.deliver(&body.to_string());
        let words = [
            "ghcr.io/acme/web:nope",
            "manifest unknown",
            "nothing was changed",
        ];
        fails(&reply, 502, &words);
        // The log line of the delivery has the reason.
        shop.server.wait_for_log("reason=\"shop: cannot pull");
        shop.is_untouched();
    });
}

#[test]
fn an_unhealthy_container_fails_every_delivery() {
    side_by_side(Era::ALL, |era| {
        let mut shop = Shop::quick(era);
        let bad = shop.push(WEB, Behaviour::NeverHealthy);
        let reply = shop.deliver("{}");
        let body = fails(&reply, 502, &["web", "unhealthy"]);
        assert_eq!(
            without_ids(&body["stacks"][0]["services"][0]),
            json!({"service": "web", "image": WEB, "new_image": true, "recreated": true, "state": "unhealthy"})
        );
        assert_eq!(shop.now()["web"].image_id, bad);
        shop.look();
        let again = shop.deliver("{}");
        fails(&again, 502, &["nothing newer, and web is still unhealthy"]);
        assert_eq!(shop.recreated(), [""; 0], "{era:?}");
        // The next good image fixes it.
        let good = shop.push(WEB, GOOD);
        says(&shop.deliver("{}"), 200, TRIGGERED, UPDATED);
        assert_eq!(shop.now()["web"].image_id, good);
        shop.env_is(&ENV);
    });
}

/// Deploys an image with this behaviour to a `web` without health check and with this restart policy.
fn check_bad(era: Era, restart: &str, behaviour: Behaviour, words: &[&str], rolled_back: bool) {
    let file =
        format!("services:\n  web:\n    image: ghcr.io/acme/web:1\n    restart: \"{restart}\"\n");
    let shop = Shop::configured(portainer_with(era, &file), QUICK);
    let bad = shop.push(WEB, behaviour);
    fails(&shop.deliver("{}"), 502, words);
    let runs = &shop.now()["web"].image_id;
    assert_eq!(runs == &bad, !rolled_back);
    assert_eq!(runs == &shop.before["web"].image_id, rolled_back);
    shop.env_is(&ENV);
}

#[test]
fn containers_that_do_not_stay_up_fail_with_state_and_exit_code() {
    // Inspected at the wrong moment, it seems to be running.
    let every = Duration::from_millis(600);
    let loops = Behaviour::CrashLoop { every, code: 3 };
    let loops_on = &["web is ", "exit code 3", "restarts"][..];
    let exits = Behaviour::ExitsOnce { code: 1 };
    let is_down = &[
        "web is exited (exit code 1)",
        "the previous images run again",
    ][..];
    let rows = [
        ("unless-stopped", loops, loops_on, false),
        ("no", exits, is_down, true),
    ];
    let cells = rows.map(|row| [Era::A, Era::C].map(|era| (era, row.clone())));
    side_by_side(
        cells.into_iter().flatten(),
        |(era, (restart, behaviour, words, rolled_back))| {
            check_bad(era, restart, behaviour, words, rolled_back);
        },
    );
}

#[test]
fn a_failed_update_reports_portainers_message_and_restores_the_images() {
    side_by_side(Era::ALL, |era| {
        let shop = Shop::quick(era);
        shop.push(WEB, Behaviour::CannotStart);
        let reply = shop.deliver("{}");
        fails(
            &reply,
            502,
            &[
                "unable to start container process",
                "the previous images run again",
            ],
        );
        let now = shop.now();
        for (service, before) in &shop.before {
            assert_eq!(
                (&now[service].image_id, now[service].state),
                (&before.image_id, "running"),
                "{era:?}"
            );
        }
        shop.env_is(&ENV);
    });
}

#[test]
fn does_not_overwrite_a_concurrent_edit() {
    let shop = Shop::open(Era::A);
    let gate = pull_held(&shop.fake);
    std::thread::scope(|scope| {
        let delivery = scope.spawn(|| shop.deliver("{}"));
        let deadline = std::time::Instant::now() + Duration::from_secs(20);
        while shop.pulled().is_empty() {
            assert!(std::time::Instant::now() < deadline, "it never pulls");
            std::thread::yield_now();
        }
        shop.fake.world(|world| {
            let id = world.stack("shop").id;
            let stack = world.stack_mut(id);
            stack.update_date += 60;
            stack.env.as_mut().unwrap()[2].1 = "edited".to_owned();
        });
        gate.open();
        says(&delivery.join().unwrap(), 200, TRIGGERED, UPDATED);
    });
    let mut env = ENV;
    env[2].1 = "edited";
    shop.env_is(&env);
    assert_eq!(shop.fake.puts().len(), 1);
}
