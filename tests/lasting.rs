//! Nothing accepted is lost and nothing is done twice: bursts, crashes, full disks and stops, through the real program.

mod crowds;
mod directory;
mod kills;
mod pause;

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::client::{self, Reply};
use crate::support::fake::{Behaviour, Call, Era, Fake, Fault, When};
use crate::support::program::{Setup, Stackhook};
use crate::support::shop::{self, GOOD, SECRET, WEB, now, pull_held, side_by_side, variables};

const FILE: &str = "
state_dir = \"state\"
[[stack]]
name = \"shop\"
healthy_within = \"5s\"
env = [\"TAG\", \"MARK\"]
";

fn setup(fake: &Fake) -> Setup {
    variables(Setup::with(fake).file("stackhook.toml", FILE))
}

/// A signed delivery that asks to be answered at once: its status URL, or why there is none.
fn accept(server: &Stackhook, body: &str) -> Result<String, u16> {
    let headers = [("Prefer", "respond-async")];
    let reply = server.signed_with("/webhook/update/", SECRET, &headers, body);
    match reply.status {
        202 => Ok(reply.header("Location").unwrap().to_owned()),
        status => Err(status),
    }
}

/// Waits until a redeploy is on its way: it pulls.
#[track_caller]
fn pulls(fake: &Fake) {
    let deadline = Instant::now() + Duration::from_secs(20);
    let pull = |call: &Call| call.path.ends_with("/images/create");
    while !fake.calls().iter().any(pull) {
        assert!(Instant::now() < deadline, "{:?}", fake.calls());
        std::thread::yield_now();
    }
}

/// The reply at the end of a delivery.
#[track_caller]
fn end(server: &Stackhook, url: &str) -> (u16, Value) {
    let deadline = Instant::now() + Duration::from_secs(240);
    loop {
        let waits = [("Prefer", "wait=20")];
        let reply = server.request("GET", url, &waits, b"");
        match reply.status {
            202 => assert!(Instant::now() < deadline, "{}", reply.text()),
            status => return (status, reply.json()),
        }
    }
}

#[test]
fn a_hundred_at_once_make_two_updates_and_each_gets_the_truth() {
    let fake = shop::portainer(Era::A);
    let server = setup(&fake).serve();
    let put = When::every("PUT", "/api/stacks/");
    fake.fault(put, Fault::Delay(Duration::from_secs(1)));
    fake.world(|world| world.push(WEB, GOOD));
    fake.forget_calls();
    side_by_side(0..100, |_| {
        let headers = [("Prefer", "wait=30")];
        let reply = server.signed_with("/webhook/update/", SECRET, &headers, "{}");
        let body = match reply.status {
            202 => end(&server, reply.header("Location").unwrap()).1,
            _ => reply.json(),
        };
        assert_eq!(body["status"], "succeeded", "{body}");
    });
    assert!(fake.puts().len() <= 2, "{} updates", fake.puts().len());
}

#[test]
fn killed_by_the_update_that_it_sent_it_finds_out_how_that_ended() {
    let fake = shop::portainer(Era::A);
    let server = setup(&fake).serve();
    let new = fake.world(|world| world.push(WEB, GOOD));
    fake.forget_calls();
    let put = When::next("PUT", "/api/stacks/");
    fake.fault(put, Fault::Delay(Duration::from_secs(1)));
    let url = accept(&server, "{}").unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while fake.puts().is_empty() {
        assert!(Instant::now() < deadline);
        std::thread::yield_now();
    }
    let server = server.kill().1.serve();
    let (code, body) = end(&server, &url);
    assert_eq!(
        (code, &body["stacks"][0]["outcome"]),
        (200, &json!("updated")),
        "{body}"
    );
    assert_eq!(fake.puts().len(), 1);
    let web = fake.world(|world| world.containers("shop"));
    assert!(web.iter().any(|one| one.image_id == new));
}

#[test]
fn a_full_disk_turns_deliveries_away_and_sends_nothing() {
    let fake = shop::portainer(Era::A);
    // Files may not grow beyond 8 KiB; who writes more gets an error, as on a full disk.
    let server = setup(&fake).limited("-f 16 && trap '' XFSZ").serve();
    let gate = pull_held(&fake);
    fake.forget_calls();
    let mut urls = Vec::new();
    let refused = (0..200).find_map(|_| match accept(&server, "{}") {
        Ok(url) => {
            urls.push(url);
            None
        }
        Err(status) => Some(status),
    });
    assert_eq!(refused, Some(503));
    assert!(urls.len() > 3, "{}", urls.len());
    assert_eq!(server.get("/healthz").status, 200);
    server.wait_for_log("the journal cannot be written");
    gate.open();
    let (code, body) = end(&server, &urls[0]);
    assert_eq!(code, 503, "{body}");
    assert!(
        body["update_result"]
            .as_str()
            .unwrap()
            .contains("nothing was sent"),
        "{body}"
    );
    assert_eq!(fake.puts().len(), 0);
    // With room again, all that was accepted is still known.
    let (_, setup) = server.kill();
    let server = setup.limited("-f unlimited").serve();
    for url in &urls {
        let (code, body) = end(&server, url);
        assert!(matches!(code, 200 | 503), "{body}");
    }
}

#[test]
fn a_stop_in_the_middle_is_quick_tells_who_waits_and_goes_on_afterwards() {
    let fake = shop::portainer(Era::A);
    let server = setup(&fake).serve();
    let gate = pull_held(&fake);
    server.signal("HUP");
    server.wait_for_log("SIGHUP is ignored");
    let reply = std::thread::scope(|scope| {
        let waiter = scope.spawn(|| server.signed("/webhook/update/", SECRET, "{}"));
        pulls(&fake);
        server.signal("TERM");
        waiter.join().unwrap()
    });
    assert_eq!(reply.status, 503, "{}", reply.text());
    assert!(reply.header("Retry-After").is_some());
    let url = reply.json()["status_url"].as_str().unwrap().to_owned();
    let told = Instant::now();
    let (output, setup) = server.wait();
    // It would be eight seconds, if it waited for what runs.
    assert!(told.elapsed() < Duration::from_secs(8));
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    gate.open();
    let server = setup.serve();
    let (code, body) = end(&server, &url);
    assert_eq!(code, 200, "{body}");
    assert_eq!(fake.puts().len(), 1);
}

#[test]
fn without_a_state_dir_a_stop_waits_for_what_runs_and_a_second_signal_does_not() {
    let fake = shop::portainer(Era::A);
    let gate = pull_held(&fake);
    let server = variables(Setup::with(&fake)).serve();
    let reply = std::thread::scope(|scope| {
        let waiter = scope.spawn(|| server.signed("/webhook/update/", SECRET, "{}"));
        pulls(&fake);
        server.signal("TERM");
        waiter.join().unwrap()
    });
    assert_eq!(
        (reply.status, reply.json()["status"].clone()),
        (503, json!("unknown"))
    );
    let (output, setup) = server.wait();
    assert_eq!(output.code, Some(0));
    let server = setup.serve();
    fake.forget_calls();
    accept(&server, "{}").unwrap();
    pulls(&fake);
    server.signal("TERM");
    server.wait_for_log("stopping");
    server.signal("INT");
    assert_eq!(server.wait().0.code, Some(130));
    gate.open();
}

#[test]
fn a_second_server_on_the_directory_waits_and_gives_up() {
    let fake = shop::portainer(Era::A);
    let server = setup(&fake).serve();
    let began = Instant::now();
    let other = server.setup().run(&["serve"]);
    assert!(began.elapsed() >= Duration::from_secs(15));
    assert_eq!(other.code, Some(75), "{}", other.stderr);
    assert!(other.stderr.contains("uses"), "{}", other.stderr);
}

#[test]
fn a_state_dir_that_cannot_be_one_is_a_matter_of_the_configuration() {
    let fake = shop::portainer(Era::A);
    let setup = variables(Setup::with(&fake))
        .file("state", "not a directory")
        .env("STACKHOOK_STATE_DIR", "state");
    let output = setup.run(&["serve"]);
    assert_eq!(output.code, Some(78));
    assert!(
        output.stderr.contains("not a directory"),
        "{}",
        output.stderr
    );
}

/// Checks that a reply is the earlier one, marked as repeated.
#[track_caller]
fn is_repeated(reply: &Reply, earlier: &Reply) {
    assert_eq!(reply.status, earlier.status);
    let (mut expected, found) = (earlier.json(), reply.json());
    assert_eq!(expected.get("repeated"), None);
    assert!(found["first_ended_at"].is_string(), "{found}");
    expected["repeated"] = json!(true);
    expected["first_ended_at"] = found["first_ended_at"].clone();
    assert_eq!(found, expected);
}

#[test]
fn replays_never_run_again_and_duplicates_only_after_a_failure() {
    let fake = shop::portainer(Era::A);
    let server = setup(&fake).serve();
    fake.world(|world| world.push(WEB, GOOD));
    fake.forget_calls();
    let timed = json!({"time": now(), "force": true}).to_string();
    let with_id = json!({"id": "build-7"}).to_string();
    let first = server.signed("/webhook/update/", SECRET, &timed);
    assert_eq!(first.status, 200, "{}", first.text());
    is_repeated(&server.signed("/webhook/update/", SECRET, &timed), &first);
    // To another path it is the same signed request.
    is_repeated(
        &server.signed("/webhook/update/shop/", SECRET, &timed),
        &first,
    );
    let second = server.signed("/webhook/update/", SECRET, &with_id);
    is_repeated(
        &server.signed("/webhook/update/", SECRET, &with_id),
        &second,
    );
    let other = json!({"id": "build-7", "image": WEB}).to_string();
    let other = server.signed("/webhook/update/", SECRET, &other);
    assert_ne!(other.json()["delivery"], second.json()["delivery"]);
    assert_eq!(fake.puts().len(), 1);

    // What failed may be tried again, but not by a replay; also after a restart.
    fake.world(|world| world.remove_from_registry(WEB));
    let timed = json!({"time": now(), "id": "build-8"}).to_string();
    let failed = server.signed("/webhook/update/", SECRET, &timed);
    let with_id = json!({"id": "build-9"}).to_string();
    let failed_too = server.signed("/webhook/update/", SECRET, &with_id);
    assert_eq!((failed.status, failed_too.status), (502, 502));
    let server = server.kill().1.serve();
    is_repeated(&server.signed("/webhook/update/", SECRET, &timed), &failed);
    let again = server.signed("/webhook/update/", SECRET, &with_id);
    assert_ne!(again.json()["delivery"], failed_too.json()["delivery"]);
}

#[test]
fn a_duplicate_of_what_runs_waits_for_its_end() {
    let fake = shop::portainer(Era::A);
    let server = setup(&fake).serve();
    let gate = pull_held(&fake);
    fake.forget_calls();
    let body = json!({"id": "build-7"}).to_string();
    accept(&server, &body).unwrap();
    let replies: Vec<_> = std::thread::scope(|scope| {
        let post = || server.signed("/webhook/update/", SECRET, &body);
        let waiting: Vec<_> = (0..3).map(|_| scope.spawn(post)).collect();
        let deadline = Instant::now() + Duration::from_secs(20);
        while server.log().matches("duplicate delivery").count() < 3 {
            assert!(Instant::now() < deadline, "{}", server.log());
            std::thread::yield_now();
        }
        gate.open();
        waiting.into_iter().map(|one| one.join().unwrap()).collect()
    });
    for reply in &replies {
        assert_eq!((reply.status, reply.text()), (200, replies[0].text()));
    }
    assert_eq!(fake.puts().len(), 1);
}

#[test]
fn trigger_follows_a_delivery_and_ends_as_it_did() {
    let fake = shop::portainer(Era::A);
    let server = setup(&fake).serve();
    let url = format!("http://{}", server.address);
    fake.world(|world| world.push(WEB, GOOD));
    let sender = || {
        Setup::new()
            .env("STACKHOOK_URL", &url)
            .env("PORTAINER_WEBHOOK_SECRET", SECRET)
    };
    let updated = sender().run(&["trigger", "--env", "TAG=1", "shop"]);
    assert_eq!((updated.code, updated.stderr.as_str()), (Some(0), ""));
    assert!(
        updated
            .stdout
            .starts_with("shop on remote: updated, 1 of 2 services updated"),
        "{}",
        updated.stdout
    );
    let quiet = sender().run(&["trigger", "--quiet"]);
    assert_eq!(
        (quiet.code, quiet.stdout.as_str(), quiet.stderr.as_str()),
        (Some(0), "", "")
    );
    let json = sender().run(&["trigger", "--json", "--no-wait"]);
    let reply: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!((json.code, &reply["success"]), (Some(0), &json!(true)));
    fake.world(|world| world.remove_from_registry(WEB));
    let failed = sender().run(&["trigger", "shop"]);
    assert_eq!(failed.code, Some(1), "{}", failed.stderr);
    assert!(
        failed.stderr.starts_with("stackhook: shop: shop: "),
        "{}",
        failed.stderr
    );
    let unknown = sender().run(&["trigger", "shop", "nonsense"]);
    assert_eq!(unknown.code, Some(78), "{}", unknown.stderr);
    let forger = Setup::new().env("STACKHOOK_URL", &url).env(
        "PORTAINER_WEBHOOK_SECRET",
        "another-secret-of-32-characters",
    );
    let rejected = forger.run(&["trigger"]);
    assert_eq!(rejected.code, Some(78));
    let reason = "rejected (401): wrong secret, or the clocks differ by more than 5 minutes";
    assert!(rejected.stderr.contains(reason), "{rejected:?}");
    let guessed = sender().run(&["trigger", "--url", "127.0.0.1:8484"]);
    assert_eq!(guessed.code, Some(78), "{guessed:?}");
    assert!(
        guessed.stderr.contains("http://127.0.0.1:8484"),
        "{guessed:?}"
    );
    assert_eq!(
        sender().run(&["trigger", "--env", "OTHER=1"]).code,
        Some(78)
    );
    let nobody = sender().env("STACKHOOK_URL", "http://127.0.0.1:1");
    assert_eq!(nobody.run(&["trigger"]).code, Some(75));
    assert_eq!(
        Setup::new()
            .env("STACKHOOK_URL", &url)
            .run(&["trigger"])
            .code,
        Some(78)
    );
}

#[test]
fn variables_that_trigger_signs_arrive_in_the_container() {
    let fake = shop::portainer(Era::A);
    let file = FILE.replace("\"MARK\"", "\"MARK\", \"GREETING\"");
    let server = variables(Setup::with(&fake).file("stackhook.toml", &file)).serve();
    let trigger = |arguments: &[&str]| {
        let sender = Setup::new()
            .env("STACKHOOK_URL", &format!("http://{}", server.address))
            .env("PORTAINER_WEBHOOK_SECRET", SECRET);
        sender.run(&[&["trigger", "shop"], arguments].concat())
    };
    let web = || fake.world(|world| world.container("shop", "web").environment);
    let output = trigger(&["--env", "GREETING=good-morning"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    let set = web();
    assert!(set.contains(&"GREETING=good-morning".to_owned()), "{set:?}");
    let others = format!("DATABASE_PASSWORD={}", shop::DATABASE_PASSWORD);
    assert!(set.contains(&others), "the others are kept");
    // What is not on the list changes nothing, and the words say where the list is.
    let output = trigger(&["--env", "GREETING=x", "--env", "DATABASE_PASSWORD=mine"]);
    assert_eq!(output.code, Some(78), "{output:?}");
    for words in ["DATABASE_PASSWORD", "its list \"env\" has"] {
        assert!(output.stderr.contains(words), "{output:?}");
    }
    assert_eq!(web(), set);
    assert_eq!(fake.puts().len(), 1);
}

#[test]
fn trigger_outlives_a_restart_of_the_server_that_it_follows() {
    let fake = shop::portainer(Era::A);
    // An address of its own: while it is down, no other process gets its port.
    let setup = setup(&fake).env("STACKHOOK_LISTEN", "127.42.0.1:0");
    let server = setup.serve();
    let address = server.address;
    let gate = pull_held(&fake);
    let sender = Setup::new()
        .env("STACKHOOK_URL", &format!("http://{address}"))
        .env("PORTAINER_WEBHOOK_SECRET", SECRET);
    std::thread::scope(|scope| {
        let trigger = scope.spawn(|| sender.run(&["trigger"]));
        server.wait_for_log("delivery accepted");
        let (_, setup) = server.kill();
        let server = setup.env("STACKHOOK_LISTEN", &address.to_string()).serve();
        gate.open();
        let output = trigger.join().unwrap();
        assert_eq!(output.code, Some(0), "{} {}", output.stderr, server.log());
    });
    assert_eq!(fake.puts().len(), 1);
}

#[test]
fn a_command_and_the_server_take_turns() {
    let fake = shop::portainer(Era::A);
    let server = setup(&fake).serve();
    let gate = pull_held(&fake);
    fake.forget_calls();
    let url = accept(&server, "{}").unwrap();
    pulls(&fake);
    let deadline = Instant::now() + Duration::from_secs(20);
    let command = std::thread::scope(|scope| {
        let command = scope.spawn(|| server.setup().run(&["redeploy"]));
        // It finds the stack, and goes no further.
        let finds = || {
            fake.calls()
                .iter()
                .filter(|call| call.path == "/api/stacks")
                .count()
        };
        while finds() < 2 {
            assert!(Instant::now() < deadline);
            std::thread::yield_now();
        }
        gate.open();
        command.join().unwrap()
    });
    assert_eq!(end(&server, &url).0, 200);
    assert_eq!(command.code, Some(0), "{}", command.stderr);
    assert!(command.stdout.contains("unchanged"), "{}", command.stdout);
    assert_eq!(fake.puts().len(), 1);
}

#[test]
fn an_environment_is_changed_by_one_redeploy_at_a_time_and_another_one_beside_it() {
    // More than there are runners.
    let neighbours: Vec<String> = (0..20).map(|number| format!("neighbour{number}")).collect();
    let fake = shop::portainer(Era::A);
    fake.world(|world| {
        let remote = world.stack("shop").environment;
        let other = world.environment("other");
        for neighbour in &neighbours {
            world.compose_stack_in(remote, neighbour, shop::FILE, &shop::ENV);
        }
        world.compose_stack_in(other, "elsewhere", shop::FILE, &shop::ENV);
    });
    let configured = neighbours.iter().map(String::as_str).chain(["elsewhere"]);
    let configured = configured.map(|name| format!("[[stack]]\nname = \"{name}\"\n"));
    let file = format!("{FILE}{}", configured.collect::<String>());
    let setup = variables(Setup::with(&fake).file("stackhook.toml", &file));
    let server = setup.serve();
    let gate = pull_held(&fake);
    let ask = |stack: &str| accept(&server, &json!({"stack": stack}).to_string()).unwrap();
    let step = |url: &str| server.get(url).json()["stacks"][0]["step"].to_string();
    let until = |url: &str, words: &str| {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !step(url).contains(words) {
            assert!(Instant::now() < deadline, "{}", step(url));
            std::thread::yield_now();
        }
    };
    let first = ask("shop");
    until(&first, "pulling");
    let others: Vec<String> = neighbours.iter().map(|name| ask(name)).collect();
    for other in &others {
        until(other, "waiting for another redeploy");
    }
    assert_eq!(end(&server, &ask("elsewhere")).0, 200, "not held up");
    for other in &others {
        assert!(step(other).contains("waiting for another redeploy"));
    }
    gate.open();
    for url in [&first].into_iter().chain(&others) {
        assert_eq!(end(&server, url).0, 200);
    }
}

#[test]
fn a_stack_that_is_verified_does_not_hold_up_its_environment() {
    const OTHER: &str = "ghcr.io/acme/other:1";
    let fake = shop::portainer(Era::A);
    fake.world(|world| {
        let remote = world.stack("shop").environment;
        world.push(OTHER, GOOD);
        let file = format!("services:\n  other:\n    image: {OTHER}\n");
        world.compose_stack_in(remote, "neighbour", &file, &[]);
        let slow = Behaviour::Healthy {
            after: Duration::from_secs(5),
        };
        world.push(WEB, slow);
        world.push(OTHER, GOOD);
    });
    let file = FILE.replace("\"5s\"", "\"30s\"");
    let file = format!("{file}[[stack]]\nname = \"neighbour\"\nhealthy_within = \"1s\"\n");
    let server = variables(Setup::with(&fake).file("stackhook.toml", &file)).serve();
    let ask = |stack: &str| accept(&server, &json!({"stack": stack}).to_string()).unwrap();
    let first = ask("shop");
    let step = || server.get(&first).json()["stacks"][0]["step"].to_string();
    let deadline = Instant::now() + Duration::from_secs(60);
    while !step().contains("waiting for web") {
        assert!(Instant::now() < deadline, "{}", step());
        std::thread::yield_now();
    }
    assert_eq!(end(&server, &ask("neighbour")).0, 200);
    assert_eq!(server.get(&first).status, 202, "it is still verified");
    assert_eq!(end(&server, &first).0, 200);
}

#[test]
fn the_status_of_an_unknown_delivery_is_not_found() {
    let fake = shop::portainer(Era::A);
    let server = setup(&fake).serve();
    let stranger = format!("/webhook/deliveries/{}/", "0".repeat(32));
    let reply =
        client::parse(&server.raw(&client::request(server.address, "GET", &stranger, &[], b"")));
    assert_eq!(reply.status, 404);
}
