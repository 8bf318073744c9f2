//! Calls to Portainer through the real binary: credentials, gateways on the way, registries, and answers that cannot be trusted.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::newer_portainer::{TRIGGERED, UP_TO_DATE, UPDATED, V2_39, runs, start};
use crate::support::fake::{Call, Fake, Fault, When};
use crate::support::program::Setup;
use crate::support::shop::{
    ENV, FILE, GOOD, QUICK, SECRET, Shop, WEB, fails, now, says, side_by_side, variables,
};

#[test]
fn configured_headers_reach_portainer_and_stay_secret() {
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
        let sent = |call: &Call| {
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
            // The list is the engine's own; only the inspection is forged.
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
fn an_unreachable_environment_is_distinguished_from_an_unreachable_portainer() {
    let limited = format!("[portainer]\ntimeout = \"6s\"\n{QUICK}");
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
fn a_gateways_json_is_not_taken_for_an_answer_of_portainer() {
    let message = r#"{"message":"The upstream server is timing out"}"#;
    let json = |status| Fault::Answer(status, "application/json", message.to_owned());
    side_by_side([502, 503, 504], |status| {
        let shop = Shop::configured(
            {
                let fake = start(V2_39);
                fake.world(|world| world.compose_stack("shop", FILE, &ENV));
                fake
            },
            &format!("[portainer]\ntimeout = \"6s\"\n{QUICK}"),
        );
        // Portainer itself is unreachable for a moment: the call is repeated.
        shop.fake
            .fault(When::next("GET", "/api/stacks"), json(status));
        says(&shop.deliver("{}"), 200, TRIGGERED, UP_TO_DATE);
        shop.fake
            .fault(When::every("GET", "/api/stacks"), json(status));
        let reply = shop.deliver("{}");
        fails(
            &reply,
            504,
            &["Portainer is not there", "upstream server is timing out"],
        );
        shop.fake.heal();
        // An update whose answer is a gateway's may have been carried out, so it is not repeated.
        shop.push(WEB, GOOD);
        shop.fake
            .fault(When::next("PUT", "/api/stacks/"), json(status));
        let reply = shop.deliver("{}");
        assert_eq!(shop.fake.puts().len(), 1, "{}", reply.text());
        assert_ne!(reply.json()["success"], json!(true), "{}", reply.text());
    });
}

#[test]
fn a_gateways_error_for_an_environment_names_the_environment() {
    let limited = format!("[portainer]\ntimeout = \"6s\"\n{QUICK}");
    let page = |status| Fault::Answer(status, "text/html", "<html>time-out</html>".to_owned());
    let json = |status| {
        let text = r#"{"message":"The upstream server is timing out"}"#;
        Fault::Answer(status, "application/json", text.to_owned())
    };
    let faults = [page(502), page(504), json(502), json(504)];
    side_by_side(faults, |fault| {
        for (method, path, is_swarm) in [
            ("GET", "/api/endpoints/1/docker/containers", false),
            ("GET", "/api/endpoints/1/docker/images", false),
            ("POST", "/api/endpoints/1/docker/images/create", false),
            ("GET", "/api/endpoints/1/docker/services", true),
            ("GET", "/api/endpoints/1/docker/tasks", true),
        ] {
            let fake = start(V2_39);
            fake.world(|world| match is_swarm {
                true => {
                    world.become_swarm();
                    let file = FILE.replace("restart: unless-stopped", "deploy: {replicas: 1}");
                    world.swarm_stack("shop", &file, &ENV)
                }
                false => world.compose_stack("shop", FILE, &ENV),
            });
            let shop = Shop::configured(fake, &limited);
            shop.push(WEB, GOOD);
            shop.fake.fault(When::every(method, path), fault.clone());
            let reply = shop.deliver("{}");
            let text = reply.text();
            assert!(reply.status >= 500, "{path}: {text}");
            assert!(text.contains(r#"\"local\""#), "{path}: {text}");
            assert!(!text.contains("Portainer is not there"), "{path}: {text}");
            assert_eq!(shop.fake.puts().len(), 0, "{path}: {text}");
        }
    });
}

#[test]
fn a_hostile_answer_stays_within_the_documented_memory() {
    let listed = |entry: &str| {
        format!(
            "[{}]",
            vec![entry; 15_000_000 / (entry.len() + 1)].join(",")
        )
    };
    let answers = [
        (
            "/api/stacks",
            listed(r#"{"Id":1,"Name":"a","EndpointId":1}"#),
        ),
        (
            "/api/stacks",
            format!(
                r#"[{{"Id":1,"Name":"shop","EndpointId":1,"Env":{}}}]"#,
                listed(r#"{"name":""}"#)
            ),
        ),
        (
            "/api/endpoints/1/docker/containers/json",
            listed(r#"{"Id":"0123456789ab"}"#),
        ),
        (
            "/api/endpoints/1/docker/images/",
            format!(r#"{{"Id":"0123456789ab","RepoTags":{}}}"#, listed(r#""""#)),
        ),
    ];
    for (path, answer) in answers {
        let fake = start(V2_39);
        fake.world(|world| world.compose_stack("shop", FILE, &ENV));
        let shop = Shop::configured(fake, &format!("[portainer]\ntimeout = \"3s\"\n{QUICK}"));
        let fault = Fault::Answer(200, "application/json", answer);
        shop.fake.fault(When::every("GET", path), fault);
        std::thread::scope(|scope| {
            let deliveries = [(); 3].map(|()| {
                scope.spawn(|| shop.deliver(&json!({"time": now(), "force": true}).to_string()))
            });
            for delivery in deliveries {
                let reply = delivery.join().unwrap();
                let text = reply.text();
                assert!(
                    text.contains("more than 50000 list entries"),
                    "{path}: {text}"
                );
            }
        });
        let status = std::fs::read_to_string(format!("/proc/{}/status", shop.server.id())).unwrap();
        let peak = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))
            .unwrap();
        let kilobytes: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
        println!("{path}: {kilobytes} kB");
        assert!(kilobytes < 64 * 1024, "{path}: {peak}");
    }
}

/// A gateway in front of Portainer requires this header.
const GATEWAY_HEADER: &str = "cf-access-client-secret";
const GATEWAY_VALUE: &str = "cf-secret-0123456789";

/// stackhook with user, password and a gateway's header, in front of the stack `shop`.
fn with_login_and_header(fake: Fake, setup: impl Fn(Setup) -> Setup) -> Shop {
    let config = format!(
        "[portainer]\ntimeout = \"5s\"\nheaders = {{ \"{GATEWAY_HEADER}\" = \"{GATEWAY_VALUE}\" }}\n{QUICK}"
    );
    let login = Setup::new()
        .env("PORTAINER_URL", &fake.url())
        .env("PORTAINER_USER", fake.user())
        .env("PORTAINER_PASSWORD", fake.password())
        .secret(GATEWAY_VALUE)
        .file("stackhook.toml", &config);
    Shop::with(fake, setup(login))
}

/// A Portainer with the stack `shop`.
fn with_stack() -> Fake {
    let fake = start(V2_39);
    fake.world(|world| world.compose_stack("shop", FILE, &ENV));
    fake
}

fn calls_to(shop: &Shop, method: &str, path: &str) -> Vec<Call> {
    let calls = shop.fake.calls().into_iter();
    calls
        .filter(|call| call.method == method && call.path.starts_with(path))
        .collect()
}

#[test]
fn every_call_has_the_headers_of_the_gateway() {
    let shop = with_login_and_header(with_stack(), |setup| setup);
    // A restart ends the session, so the delivery logs in again.
    shop.fake.world(|world| world.portainer_dies());
    let web = shop.push(WEB, GOOD);
    says(&shop.deliver("{}"), 200, TRIGGERED, UPDATED);
    assert_eq!(runs(&shop, "web"), web);
    for (method, path) in [
        ("POST", "/api/auth"),
        ("GET", "/api/stacks"),
        ("POST", "/api/endpoints/1/docker/images/create"),
        ("PUT", "/api/stacks/"),
    ] {
        assert!(!calls_to(&shop, method, path).is_empty(), "{method} {path}");
    }
    for call in shop.fake.calls() {
        let value = call.headers.get(GATEWAY_HEADER).map(String::as_str);
        assert_eq!(value, Some(GATEWAY_VALUE), "{call:?}");
    }
}

#[test]
fn the_debug_log_has_paths_and_no_headers() {
    let shop = with_login_and_header(with_stack(), |setup| setup.env("STACKHOOK_LOG", "debug"));
    shop.push(WEB, GOOD);
    says(&shop.deliver("{}"), 200, TRIGGERED, UPDATED);
    let log = shop.server.log().to_ascii_lowercase();
    for path in ["get /api/stacks", "put /api/stacks/", "post /api/auth"] {
        assert!(log.contains(&format!("portainer: {path}")), "{path}: {log}");
    }
    for header in [GATEWAY_HEADER, "authorization", "bearer", "x-registry-auth"] {
        assert!(!log.contains(header), "{header}: {log}");
    }
}

#[test]
fn a_pull_uses_only_registries_with_credentials_for_the_repository() {
    let entry = |id: i64, url: &str, authentication: bool| json!({ "Id": id, "Name": url, "URL": url, "Authentication": authentication });
    for (registries, web, worker) in [
        (json!([entry(7, "ghcr.io/acme", true)]), Some(7), Some(7)),
        (
            json!([entry(7, "https://GHCR.io/acme/", true)]),
            Some(7),
            Some(7),
        ),
        // GitLab has an entry for each project, whose main image has the address of the entry.
        (json!([entry(7, "ghcr.io/acme/web", true)]), Some(7), None),
        (json!([entry(7, "ghcr.io/acme/w", true)]), None, None),
        (json!([entry(7, "ghcr.io/acm", true)]), None, None),
        (json!([entry(7, "ghcr.i", true)]), None, None),
        (json!([entry(7, "", true)]), None, None),
        (json!([entry(7, "ghcr.io/acme", false)]), None, None),
        (
            json!([entry(7, "ghcr.io/acme", false), entry(8, "ghcr.io", true)]),
            Some(8),
            Some(8),
        ),
        (json!(null), None, None),
    ] {
        let shop = Shop::configured(with_stack(), QUICK);
        shop.push(WEB, GOOD);
        shop.fake.fault(
            When::every("GET", "/api/endpoints/1/registries"),
            Fault::Answer(200, "application/json", registries.to_string()),
        );
        says(&shop.deliver("{}"), 200, TRIGGERED, UPDATED);
        let pulls = calls_to(&shop, "POST", "/api/endpoints/1/docker/images/create");
        assert_eq!(pulls.len(), 2, "{registries}");
        for pull in pulls {
            let is_web = pull.query.iter().any(|(_, value)| value.ends_with("/web"));
            let expected: Option<i64> = if is_web { web } else { worker };
            let sent = pull.headers.get("x-registry-auth").map(|header| {
                let credentials = STANDARD.decode(header).unwrap();
                serde_json::from_slice::<Value>(&credentials).unwrap()
            });
            let expected = expected.map(|id| json!({ "registryId": id }));
            assert_eq!(sent, expected, "{registries}: {pull:?}");
        }
    }
}

#[test]
fn a_pull_renews_a_session_that_has_ended() {
    let shop = with_login_and_header(with_stack(), |setup| setup);
    let web = shop.push(WEB, GOOD);
    says(
        &shop.deliver("{\"event\":\"deployment\"}"),
        200,
        TRIGGERED,
        UPDATED,
    );
    assert_eq!(runs(&shop, "web"), web);
    let ended = r#"{"message":"Invalid JWT token","details":"Unauthorized"}"#;
    let pull = "/api/endpoints/1/docker/images/create";
    shop.fake.fault(
        When::next("POST", pull),
        Fault::Answer(401, "application/json", ended.to_owned()),
    );
    let web = shop.push(WEB, GOOD);
    shop.fake.forget_calls();
    says(&shop.deliver("{}"), 200, TRIGGERED, UPDATED);
    assert_eq!(runs(&shop, "web"), web);
    assert_eq!(calls_to(&shop, "POST", "/api/auth").len(), 1);
    assert_eq!(calls_to(&shop, "POST", pull).len(), 3);
}

#[test]
fn an_update_that_a_gateway_rejects_is_sent_once() {
    let shop = with_login_and_header(with_stack(), |setup| setup);
    shop.push(WEB, GOOD);
    shop.fake.fault(
        When::next("PUT", "/api/stacks/"),
        Fault::Answer(401, "text/html", "<html>401 Unauthorized</html>".to_owned()),
    );
    let reply = shop.deliver("{}");
    assert_eq!(shop.fake.puts().len(), 1, "{}", reply.text());
    assert_ne!(reply.json()["success"], json!(true), "{}", reply.text());
}

#[test]
fn cloudflares_errors_are_temporary() {
    let page = |status| Fault::Answer(status, "text/html", "<html>522</html>".to_owned());
    side_by_side([520, 521, 522, 523, 524, 525, 530], |status| {
        let config = format!("[portainer]\ntimeout = \"6s\"\n{QUICK}");
        let shop = Shop::configured(with_stack(), &config);
        shop.fake
            .fault(When::next("GET", "/api/stacks"), page(status));
        says(&shop.deliver("{}"), 200, TRIGGERED, UP_TO_DATE);
        shop.fake
            .fault(When::every("GET", "/api/stacks"), page(status));
        let answer = format!("a proxy answers {status}");
        fails(&shop.deliver("{}"), 504, &[&answer]);
        let output = shop.server.setup().run(&["redeploy"]);
        assert_eq!(output.code, Some(75), "{output:?}");
        shop.fake.heal();
        // Cloudflare ends a request after 100 s; a pull may take longer.
        shop.push(WEB, GOOD);
        let pull = "/api/endpoints/1/docker/images/create";
        shop.fake.fault(When::every("POST", pull), page(status));
        let answer = format!("\"local\" ended with {status}");
        fails(
            &shop.deliver("{}"),
            504,
            &[&answer, "time limit of a proxy"],
        );
        assert_eq!(shop.fake.puts().len(), 0);
    });
}

#[test]
fn an_edge_agent_that_is_not_connected_is_waited_for() {
    for (details, message) in [
        ("Endpoint is offline", "Unable to get the active tunnel"),
        ("unable to open the tunnel", "Unable to open the tunnel"),
    ] {
        let config = format!("[portainer]\ntimeout = \"6s\"\n{QUICK}");
        let shop = Shop::configured(with_stack(), &config);
        let answer = json!({ "message": message, "details": details }).to_string();
        let answer = Fault::Answer(500, "application/json", answer);
        let docker = "/api/endpoints/1/docker/";
        shop.fake.fault(When::next("GET", docker), answer.clone());
        says(&shop.deliver("{}"), 200, TRIGGERED, UP_TO_DATE);
        shop.fake.fault(When::every("GET", docker), answer);
        fails(&shop.deliver("{}"), 504, &[message, "its agent"]);
        let output = shop.server.setup().run(&["redeploy"]);
        assert_eq!(output.code, Some(75), "{output:?}");
    }
}

#[test]
fn a_swarm_without_a_leader_is_waited_for() {
    let file = "services:\n  web:\n    image: ghcr.io/acme/web:1\n";
    let message = "rpc error: code = Unknown desc = The swarm does not have a leader. It's possible that too few managers are online.";
    for status in [500, 503] {
        let fake = start(V2_39);
        fake.world(|world| {
            world.become_swarm();
            world.swarm_stack("shop", file, &[])
        });
        let config = format!("[portainer]\ntimeout = \"6s\"\n{QUICK}");
        let shop = Shop::configured(fake, &config);
        let answer = json!({ "message": message }).to_string();
        let answer = Fault::Answer(status, "application/json", answer);
        let services = "/api/endpoints/1/docker/services";
        shop.fake.fault(When::next("GET", services), answer.clone());
        says(&shop.deliver("{}"), 200, TRIGGERED, UP_TO_DATE);
        shop.fake.fault(When::every("GET", services), answer);
        fails(
            &shop.deliver("{}"),
            504,
            &["does not have a leader", "Docker host"],
        );
    }
}

#[test]
fn a_sign_in_before_portainer_is_explained() {
    let page = |status| Fault::Answer(status, "text/html", "<html>Sign in</html>".to_owned());
    let target = "https://team.cloudflareaccess.com/cdn-cgi/access/login/portainer.example";
    for fault in [
        Fault::Redirect(target.to_owned()),
        Fault::LoginPage,
        page(401),
        page(403),
        page(407),
        Fault::Answer(403, "text/plain", "error code: 1020".to_owned()),
    ] {
        let shop = Shop::configured(with_stack(), QUICK);
        shop.fake.fault(When::every("*", "/"), fault.clone());
        fails(&shop.deliver("{}"), 502, &["[portainer] headers"]);
        for command in ["test-connection", "redeploy"] {
            let output = shop.server.setup().run(&[command]);
            assert_eq!(output.code, Some(1), "{fault:?} {command}: {output:?}");
            assert!(output.stderr.contains("[portainer] headers"), "{output:?}");
        }
    }
}
