//! What differs between releases of Portainer and matters to users: each through the real binary.

use std::time::Duration;

use serde_json::json;

use crate::support::fake::{Behaviour, Era, Fake, Fault, Source, StackId, When};
use crate::support::program::Setup;
use crate::support::shop::{
    ENV, FILE, GOOD, QUICK, SECRET, Shop, WEB, WORKER, fails, says, side_by_side, variables,
};

const TRIGGERED: &str = "Stack update triggered";
const UPDATED: &str = "Stack updated successfully";
const UP_TO_DATE: &str = "Stack is already up to date";

/// A release: its era, and whether it is 2.41.
type Release = (Era, bool);

const V2_24: Release = (Era::A, false);
const V2_38: Release = (Era::B1, false);
const V2_39: Release = (Era::B2, false);
const V2_39_2: Release = (Era::B3, false);
const V2_41: Release = (Era::C, true);
const V2_43: Release = (Era::C, false);
const V2_45: Release = (Era::D, false);

fn start((era, is_2_41): Release) -> Fake {
    let fake = Fake::start(era);
    fake.world(|world| {
        if is_2_41 {
            world.imitate_2_41();
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

fn runs(shop: &Shop, service: &str) -> String {
    shop.now()[service].image_id.clone()
}

/// Waits until the deploy that goes on after an answer is over.
fn settle(shop: &Shop) {
    let done = || shop.fake.world(|world| !world.is_deploying());
    let began = std::time::Instant::now();
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
    // The image that runs is what the event is about; the checkout names another one.
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
        // A file that is not certain.
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
fn success_is_not_claimed_for_an_image_that_nobody_pulled() {
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
    side_by_side([V2_24, V2_38, V2_39, V2_43], |release| {
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
        match matches!(release.0, Era::B1 | Era::B2) {
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
fn an_environment_that_is_away_is_told_from_a_portainer_that_is() {
    let limited = format!("[portainer]\ntimeout = \"2s\"\n{QUICK}");
    let check = |break_it: fn(&Fake), words: &[&str]| {
        let fake = start(V2_39);
        fake.world(|world| world.compose_stack("shop", FILE, &ENV));
        break_it(&fake);
        let setup = Setup::with(&fake).file("stackhook.toml", &limited);
        let server = variables(setup).serve();
        let reply = server.signed("/webhook/update/", SECRET, "{}");
        let body = fails(&reply, 504, words);
        assert!(
            !body.to_string().contains("Portainer is not there"),
            "{body}"
        );
        let output = server.setup().run(&["redeploy"]);
        assert_eq!(output.code, Some(75), "{output:?}");
        for word in words {
            assert!(output.stderr.contains(word), "{output:?}");
        }
    };
    let down = |fake: &Fake| fake.world(|world| world.environment_down(1, true));
    check(down, &["the environment \"local\" is down", "agent"]);
    let limit = |fake: &Fake| {
        let page = Fault::Answer(
            504,
            "text/html",
            "<html>504 Gateway Time-out</html>".to_owned(),
        );
        fake.fault(When::every("GET", "/api/endpoints/1/docker/"), page);
    };
    check(
        limit,
        &["\"local\" ended with 504", "time limit of a proxy"],
    );
    let refused = |fake: &Fake| {
        let page = Fault::Answer(503, "text/plain", "no server available".to_owned());
        fake.fault(When::every("GET", "/api/endpoints/1/docker/"), page);
    };
    check(refused, &["\"local\" ended with 503", "Docker host"]);
}

#[test]
fn a_password_for_a_portainer_with_oauth_is_explained() {
    for (oauth, words) in [
        (true, "OAuth: use an API key"),
        (false, "check user and password"),
    ] {
        let fake = start(V2_39);
        fake.world(|world| {
            world.compose_stack("shop", FILE, &ENV);
            world.oauth = oauth;
        });
        let password = if oauth {
            fake.password()
        } else {
            "another password"
        };
        let setup = Setup::new()
            .env("PORTAINER_URL", &fake.url())
            .env("PORTAINER_USER", fake.user())
            .env("PORTAINER_PASSWORD", password);
        let output = variables(setup).run(&["test-connection"]);
        assert_eq!(output.code, Some(1), "{output:?}");
        assert!(output.stderr.contains(words), "{output:?}");
    }
}

#[test]
fn hostile_ids_of_a_docker_host_reach_no_path() {
    let victim = "/api/endpoints/2/docker/containers/";
    let hostile = "../../../2/docker/containers/0123456789ab";
    let good = "0123456789abcdef".repeat(4);
    let container = |id: &str, image: &str| {
        json!([{ "Id": id, "ImageID": image, "State": "running", "Labels": {
            "com.docker.compose.project": "shop", "com.docker.compose.service": "web" } }])
    };
    let image = json!({ "Id": hostile, "RepoTags": [WEB], "RepoDigests": [] });
    let inspected = json!({ "Id": good, "Image": hostile, "Config": { "Image": WEB } });
    for (path, answer) in [
        (
            "/api/endpoints/1/docker/containers/json",
            container(hostile, &good),
        ),
        (
            "/api/endpoints/1/docker/containers/json",
            container(&good, hostile),
        ),
        ("/api/endpoints/1/docker/images/", image),
        ("/api/endpoints/1/docker/containers/", inspected),
    ] {
        let fake = start(V2_39);
        fake.world(|world| world.compose_stack("shop", FILE, &ENV));
        if path.ends_with("containers/") {
            // The list stays the engine's own; the inspections lie.
            fake.fault(
                When::nth(2, "GET", path),
                Fault::Answer(200, "application/json", answer.to_string()),
            );
        } else {
            fake.fault(
                When::every("GET", path),
                Fault::Answer(200, "application/json", answer.to_string()),
            );
        }
        let config = QUICK.replace("env =", "cleanup = true\nenv =");
        let shop = Shop::configured(fake, &config);
        shop.push(WEB, GOOD);
        let reply = shop.deliver("{}");
        assert!(
            reply.text().contains("is not a valid id"),
            "{path}: {}",
            reply.text()
        );
        let calls = shop.fake.calls();
        let outside = calls
            .iter()
            .find(|call| call.path.contains("..") || call.path.starts_with(victim));
        assert!(outside.is_none(), "{path}: {outside:?}");
        assert!(calls.iter().all(|call| call.method != "DELETE"), "{path}");
    }
}

#[test]
fn a_bad_behaviour_is_not_hidden_by_the_release() {
    side_by_side([V2_39_2, V2_41, V2_45], |release| {
        let (shop, _) = git(release);
        shop.push(WEB, Behaviour::NeverHealthy);
        fails(&shop.deliver("{}"), 502, &["web is unhealthy"]);
    });
}

#[test]
fn further_headers_reach_portainer_and_stay_secret() {
    let value = "cf-secret-0123456789";
    let table = format!("[portainer]\nheaders = {{ \"CF-Access-Client-Secret\" = \"{value}\" }}\n");
    let file = "[portainer]\nheaders_file = \"headers\"\n".to_owned();
    for portainer in [table, file] {
        let fake = start(V2_39);
        fake.world(|world| world.compose_stack("shop", FILE, &ENV));
        let setup = Setup::with(&fake)
            .file("stackhook.toml", &format!("{portainer}{QUICK}"))
            .file(
                "headers",
                &format!("CF-Access-Client-Secret: {value}\nX-Other: b\n"),
            )
            .secret(value);
        let server = variables(setup).serve();
        says(
            &server.signed("/webhook/update/", SECRET, "{}"),
            200,
            TRIGGERED,
            UP_TO_DATE,
        );
        let calls = fake.calls();
        let sent = |call: &crate::support::fake::Call| {
            call.headers
                .get("cf-access-client-secret")
                .map(String::as_str)
                == Some(value)
        };
        assert!(!calls.is_empty() && calls.iter().all(sent), "{calls:?}");
        // A gateway that repeats the header in its error does not reveal it.
        let words = format!(r#"{{"message":"denied: {value}","details":"x"}}"#);
        fake.fault(
            When::every("GET", "/api/stacks"),
            Fault::Answer(500, "application/json", words),
        );
        fails(
            &server.signed("/webhook/update/", SECRET, "{\"event\":\"deployment\"}"),
            502,
            &["denied: ***"],
        );
        let shown = server.setup().run(&["show-config"]);
        assert!(
            shown.stdout.contains("CF-Access-Client-Secret"),
            "{shown:?}"
        );
    }
    let fake = start(V2_39);
    for header in [
        "\"Host\" = \"x\"",
        "\"X-API-Key\" = \"x\"",
        "\"a b\" = \"x\"",
        "\"X-A\" = \"b\\u0007\"",
    ] {
        let config = format!("[portainer]\nheaders = {{ {header} }}\n{QUICK}");
        let setup = variables(Setup::with(&fake).file("stackhook.toml", &config));
        let output = setup.run(&["show-config"]);
        assert_eq!(output.code, Some(78), "{header}: {output:?}");
    }
}
