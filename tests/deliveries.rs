//! The stacks that a delivery selects, and the accepted bodies: everything else deploys nothing.

use serde_json::json;

use crate::support::client::Reply;
use crate::support::fake::{Era, Fake, World};
use crate::support::program::{Setup, Stackhook};
use crate::support::shop::{GOOD, QUICK, SECRET, Shop, WEB, fails, now, portainer};

const FILE: &str = "
services:
  web:
    image: ghcr.io/acme/NAME:1
    healthcheck:
      test: [\"CMD\", \"/app\", \"health\"]
      interval: 200ms
";

/// Two stacks by variables with a suffix, each with a new image in the registry.
fn app_and_db() -> (Fake, Stackhook) {
    let fake = Fake::start(Era::A);
    fake.world(|world| {
        for name in ["app", "db"] {
            let image = format!("ghcr.io/acme/{name}:1");
            world.push(&image, GOOD);
            world.compose_stack(&format!("{name}-stack"), &FILE.replace("NAME", name), &[]);
            world.push(&image, GOOD);
        }
    });
    let server = Setup::with(&fake)
        .env("PORTAINER_STACK_NAME_APP", "app-stack")
        .env("PORTAINER_STACK_NAME_DB", "db-stack")
        .env("PORTAINER_WEBHOOK_SECRET", SECRET)
        .serve();
    (fake, server)
}

/// The stacks that were updated, in the order of the updates.
fn updated(fake: &Fake) -> Vec<String> {
    let names =
        fake.world(|world| ["app-stack", "db-stack"].map(|name| (world.stack(name).id, name)));
    let of = |path: &str| {
        let id = path.strip_prefix("/api/stacks/").unwrap();
        names
            .iter()
            .find(|(own, _)| own.to_string() == id)
            .unwrap()
            .1
    };
    fake.puts()
        .iter()
        .map(|put| of(&put.path).to_owned())
        .collect()
}

#[test]
fn a_stack_is_meant_by_key_or_name_in_the_body_or_by_key_in_the_path() {
    #[track_caller]
    fn check(target: &str, body: &str, stack: &str) {
        let (fake, server) = app_and_db();
        let reply = server.signed(target, SECRET, body);
        assert_eq!(reply.status, 200, "{}", reply.text());
        assert_eq!(reply.json()["stacks"][0]["name"], stack);
        assert_eq!(updated(&fake), [stack]);
    }
    check("/webhook/update/", r#"{"stack":"app"}"#, "app-stack");
    check("/webhook/update", r#"{"stack":"db-stack"}"#, "db-stack");
    check("/webhook/update/app/", "", "app-stack");
    check("/webhook/update/db", "{}", "db-stack");
    check("/webhook/update/db/", r#"{"stack":"db"}"#, "db-stack");
    check("/webhook/update/APP/", r#"{"stack":"App"}"#, "app-stack");
}

/// Turned away with this code, the words of which are all there; nothing was asked of Portainer.
#[track_caller]
fn check_rejected(fake: &Fake, reply: &Reply, code: u16, words: &[&str]) {
    let body = reply.json();
    assert_eq!(reply.status, code, "{body}");
    assert_eq!(
        (&body["success"], &body["update_result"]),
        (&json!(false), &json!(null))
    );
    let message = body["message"].as_str().unwrap();
    assert!(message.starts_with("Nothing was deployed: "), "{message}");
    for word in words {
        assert!(message.contains(word), "{word:?} is not in {message:?}");
    }
    assert_eq!(body.as_object().unwrap().len(), 3, "no other key: {body}");
    assert_eq!(fake.calls().len(), 0, "Portainer is asked nothing");
}

#[test]
fn what_is_not_known_deploys_nothing_and_the_answer_lists_what_is() {
    let (fake, server) = app_and_db();
    fake.forget_calls();
    let check = |target: &str, body: &str, code: u16, words: &[&str]| {
        let reply = server.signed(target, SECRET, body);
        check_rejected(&fake, &reply, code, words);
    };
    let default = "/webhook/update/";
    check(default, "{}", 400, &["\"stack\"", "app", "db"]);
    check(default, r#"{"stack":"shop"}"#, 400, &["shop", "app", "db"]);
    let event = r#"{"stack":"app","event":"push"}"#;
    let known = ["push", "stack_update", "image_update", "deployment", "ping"];
    check(default, event, 400, &known);
    check(
        "/webhook/update/app/",
        r#"{"stack":"db"}"#,
        400,
        &["app", "db"],
    );
    check("/webhook/update/shop/", "{}", 404, &[]);
    // Names in a path are keys.
    check("/webhook/update/app-stack/", "{}", 404, &[]);
}

/// In the path as in the body; a key that is written exactly so is meant in any case.
#[test]
fn a_key_in_another_case_is_that_key_where_only_one_can_be_meant() {
    let fake = Fake::start(Era::A);
    let stack = |key: &str| format!("[[stack]]\nkey = \"{key}\"\nname = \"{key}-stack\"\n");
    let hook = |name: &str| {
        format!(
            "[[hook]]\nname = \"{name}\"\nsecret = \"{SECRET}\"\nstacks = [\"app\", \"db\", \"DB\"]\n"
        )
    };
    let file = ["app", "db", "DB"].map(stack).concat() + &["update", "web"].map(hook).concat();
    let server = Setup::with(&fake).file("stackhook.toml", &file).serve();
    for (name, status) in [
        ("app", 200),
        ("APP", 200),
        ("DB", 200),
        ("Db", 404),
        ("Web", 200),
        ("WEB2", 404),
    ] {
        let path = format!("/webhook/update/{name}/");
        let reply = server.signed(&path, SECRET, r#"{"event":"ping"}"#);
        assert_eq!(reply.status, status, "{name}: {}", reply.text());
    }
}

#[test]
fn a_body_that_is_not_what_is_agreed_deploys_nothing() {
    let shop = Shop::quick(Era::A);
    let check = |body: &str, words: &[&str]| {
        check_rejected(&shop.fake, &shop.deliver(body), 400, words);
    };
    check("{", &["JSON"]);
    check("[]", &["object"]);
    check("\u{feff}{}", &["JSON"]);
    check(r#"{"stack":1}"#, &["\"stack\""]);
    check(r#"{"image":"Not An Image"}"#, &["Not An Image"]);
    check(r#"{"env":{"TAG":"2"}}"#, &["\"env\"", "\"time\""]);
    check(r#"{"force":true}"#, &["\"force\"", "\"time\""]);
    check(r#"{"time":"yesterday"}"#, &["\"time\""]);
    let time = now();
    let env = |name: &str, value: &str| json!({"env": {name: value}, "time": time}).to_string();
    check(&env("GREETING", "hi"), &["GREETING", "TAG"]);
    check(&env("TAG", "2 --privileged"), &["TAG"]);
    check(&env("TAG", ""), &["TAG"]);
    shop.is_untouched();
}

#[test]
fn a_time_that_is_off_is_turned_away_like_a_wrong_signature() {
    let shop = Shop::quick(Era::A);
    let wrong = shop
        .server
        .signed("/webhook/update/", "another-secret-nobody-configured", "{}");
    assert_eq!(wrong.status, 401);
    for (time, reason) in [
        (now() - 310, "too_old"),
        (now() + 390, "too_new"),
        (0, "too_old"),
    ] {
        let body = json!({"env": {"TAG": "2"}, "time": time}).to_string();
        let reply = shop.deliver(&body);
        check_rejected(&shop.fake, &reply, 401, &[]);
        assert_eq!(reply.text(), wrong.text());
        shop.server.wait_for_log(&format!("reason={reason}"));
    }
    shop.is_untouched();
}

#[test]
fn who_repeats_an_old_delivery_does_not_fill_the_log() {
    let shop = Shop::quick(Era::A);
    let recorded = json!({"time": now() - 3600}).to_string();
    // A line every six seconds follows the first 20: all of these would take four minutes.
    for _ in 0..60 {
        assert_eq!(shop.deliver(&recorded).status, 401);
    }
    shop.deliver(r#"{"event":"ping"}"#);
    shop.server.wait_for_log("reason=ping");
    let lines = shop.server.log().matches("reason=too_old").count();
    assert!((20..60).contains(&lines), "{lines}");
}

#[test]
fn a_ping_is_answered_and_asks_nothing_of_portainer() {
    let shop = Shop::open(Era::A);
    let reply = shop.deliver(r#"{"event":"ping"}"#);
    let body = reply.json();
    assert_eq!(reply.status, 200);
    assert_eq!(
        json!([
            body["success"],
            body["message"],
            body["update_result"],
            body["status"]
        ]),
        json!([true, "Delivery ignored", "ping", "ignored"])
    );
    assert_eq!(shop.fake.calls().len(), 0);
}

#[test]
fn unknown_fields_are_ignored_with_every_content_type() {
    let shop = Shop::open(Era::A);
    let headers = [("Content-Type", "text/plain")];
    let body = r#"{"event":"deployment","who":{"is":["it"]},"stack":"shop"}"#;
    let reply = shop
        .server
        .signed_with("/webhook/update/", SECRET, &headers, body);
    assert_eq!(reply.status, 200, "{}", reply.text());
}

/// Small bodies are read on the thread of the connection, whose stack is small.
#[test]
fn nested_deeply_a_body_is_read_or_refused_and_the_server_stays() {
    let shop = Shop::open(Era::A);
    for (depth, code) in [(31, 200), (32, 400), (120, 400), (8000, 400)] {
        for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
            let inside = format!("{}1{}", open.repeat(depth), close.repeat(depth));
            let body = format!(r#"{{"event": "ping", "inside": {inside}}}"#);
            let reply = shop.server.signed("/webhook/update/", SECRET, &body);
            assert_eq!(reply.status, code, "{depth} {open}: {}", reply.text());
            let words = if code == 200 { "ping" } else { "nested deeper" };
            assert!(
                reply.text().contains(words),
                "{depth} {open}: {}",
                reply.text()
            );
        }
    }
    assert_eq!(shop.server.get("/healthz").status, 200);
}

#[test]
fn by_force_everything_is_submitted_and_nothing_is_lost() {
    let shop = Shop::quick(Era::A);
    let body = json!({"force": true, "time": now()}).to_string();
    let reply = shop.deliver(&body);
    assert_eq!(reply.status, 200, "{}", reply.text());
    // Nothing was newer, so the submit changed nothing, and it is not called an update.
    assert_eq!(reply.json()["stacks"][0]["outcome"], "unchanged");
    assert_eq!(shop.fake.puts().len(), 1);
    assert_eq!(shop.recreated(), [""; 0]);
}

#[test]
fn a_stack_that_portainer_does_not_have_is_named_with_those_it_has() {
    let fake = portainer(Era::A);
    let server = Setup::with(&fake)
        .file("stackhook.toml", &QUICK.replace("\"shop\"", "\"shoq\""))
        .env("PORTAINER_WEBHOOK_SECRET", SECRET)
        .serve();
    let reply = server.signed("/webhook/update/", SECRET, "{}");
    let words = [
        "no stack named \"shoq\"",
        "Portainer has: shop",
        "not shared",
    ];
    fails(&reply, 502, &words);
    assert_eq!(fake.puts().len(), 0);
}

#[test]
fn a_missing_stack_is_explained_by_access_rights() {
    let fake = portainer(Era::A);
    let robot = |world: &mut World| world.user_standard("robot", "a-password-of-a-robot");
    let (user, key) = fake.world(robot);
    let server = Setup::with(&fake)
        .env("PORTAINER_API_KEY", &key)
        .env("PORTAINER_STACK_NAME", "shop")
        .env("PORTAINER_WEBHOOK_SECRET", SECRET)
        .serve();
    let reply = server.signed("/webhook/update/", SECRET, "{}");
    let words = ["no stack named \"shop\"", "shows this user no stack at all"];
    fails(&reply, 502, &words);
    // Shared, and with the right to use the environment, it is updated.
    fake.world(|world| {
        let id = world.stack("shop").id;
        world.may_use_environment(user, 2, true);
        world.may_use_stack(user, id, true);
        world.push(WEB, GOOD);
    });
    let reply = server.signed("/webhook/update/", SECRET, "{}");
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(reply.json()["stacks"][0]["outcome"], "updated");
}

#[test]
fn unknown_addresses_and_wrong_methods_have_different_answers() {
    let shop = Shop::open(Era::A);
    let check = |method: &str, target: &str, code: u16, allow: Option<&str>| {
        let reply = shop.server.request(method, target, &[], b"");
        assert_eq!(
            (reply.status, reply.header("Allow")),
            (code, allow),
            "{method} {target}"
        );
        reply
    };
    check("GET", "/healthz", 200, None);
    check("HEAD", "/healthz/", 200, None);
    check("POST", "/healthz", 405, Some("GET, HEAD"));
    let looked = check("GET", "/webhook/update/", 405, Some("POST"));
    assert!(looked.text().contains("this address takes only POST"));
    check("PUT", "/webhook/update/shop", 405, Some("POST"));
    check("GET", "/webhook/deliveries/0123/", 404, None);
    check(
        "GET",
        "/webhook/deliveries/0123456789abcdef0123456789abcdef/",
        404,
        None,
    );
    check("GET", "/webhook/", 404, None);
    check("GET", "/webhook/update/a/b", 404, None);
    let home = check("GET", "/", 404, None);
    assert!(home.text().contains("STACKHOOK_STAFF_PASSWORD"));
    let settings = check("GET", "/settings/webhooks/", 404, None);
    assert!(settings.text().contains("STACKHOOK_STAFF_PASSWORD"));
    check("GET", "/metrics", 404, None);
    for mistaken in ["/update/", "/webhook/"] {
        let reply = check("POST", mistaken, 404, None);
        assert!(reply.text().contains("deliveries go to /webhook/update/"));
    }
    let unknown = check("GET", "/webhook/nothing", 404, None);
    assert_eq!(unknown.json()["success"], false);
    assert_eq!(shop.fake.calls().len(), 0);
}
