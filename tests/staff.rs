//! The settings page over plain HTTP: its content, its actions and its safety.

mod lines;
mod notices;
mod numbers;
mod validity;

use std::time::{Duration, Instant};

use crate::support::fake::{Behaviour, Era, Fault, When};
use crate::support::program::Setup;
use crate::support::shop::{self, DATABASE_PASSWORD, GOOD, QUICK, SECRET, WEB};
use crate::support::staff::{
    PAGE, PASSWORD, SAME_ORIGIN, basic, confirmation, get, page, post, press, press_once, serve,
    set_up, shop, token, twenty_five_stacks, wait_for,
};

#[test]
fn requires_the_password() {
    let (_fake, server) = shop();
    for target in [PAGE, "/settings/webhooks", "/metrics"] {
        let reply = server.get(target);
        assert_eq!(reply.status, 401, "{target}");
        assert!(
            reply
                .header("WWW-Authenticate")
                .unwrap()
                .starts_with("Basic realm=")
        );
        assert_eq!(reply.header("Cache-Control"), Some("no-store"));
    }
    let forged = server.post(PAGE, &[SAME_ORIGIN], b"action=pause&stack=shop");
    assert_eq!(forged.status, 401);
    let home = server.get("/");
    assert_eq!(
        (home.status, home.header("Location")),
        (303, Some("settings/webhooks/"))
    );
    let slash = get(&server, "/settings/webhooks");
    assert_eq!(
        (slash.status, slash.header("Location")),
        (303, Some("webhooks/"))
    );
}

#[test]
fn wrong_passwords_are_answered_late_and_the_right_one_at_once() {
    let (_fake, server) = shop();
    let try_with = |password: &str| {
        let authorization = basic(password);
        let begun = Instant::now();
        let headers = [("Authorization", authorization.as_str())];
        let reply = server.request("GET", "/metrics", &headers, b"");
        (reply.status, begun.elapsed())
    };
    std::thread::scope(|scope| {
        // Many more than there are workers, all from the address of staff.
        let wrong: Vec<_> = (0..60)
            .map(|_| scope.spawn(|| try_with("not-the-password")))
            .collect();
        for _ in 0..20 {
            let (status, _) = try_with(PASSWORD);
            assert_eq!(status, 200, "the right one always gets in");
        }
        for guess in wrong {
            let (status, took) = guess.join().unwrap();
            assert_eq!(status, 401);
            assert!(took >= Duration::from_secs(2), "{took:?}");
        }
    });
    // A request without a password is answered at once, because browsers begin with one.
    let begun = Instant::now();
    assert_eq!(server.get("/metrics").status, 401);
    assert!(begun.elapsed() < Duration::from_secs(2));
    // Deliveries come from the same address, and are not slowed down.
    let reply = server.signed("/webhook/update/", SECRET, r#"{"event":"ping"}"#);
    assert_eq!(reply.status, 200);
}

#[test]
fn a_short_staff_password_and_an_untrusted_proxy_are_warned_about() {
    let fake = shop::portainer(Era::A);
    let setup = set_up(&fake, QUICK);
    let server = setup
        .env("STACKHOOK_STAFF_PASSWORD", "fifteen-letters")
        .serve();
    server.wait_for_log("the staff password has fewer than 16 characters");
    for _ in 0..3 {
        let headers = [("X-Forwarded-For", "192.0.2.1")];
        assert_eq!(server.request("GET", "/healthz", &headers, b"").status, 200);
    }
    server.wait_for_log("add it to \"trusted_proxies\"");
    assert_eq!(server.log().matches("X-Forwarded-For").count(), 1);
}

#[test]
fn forbids_caching_and_framing() {
    let (_fake, server) = shop();
    let reply = get(&server, PAGE);
    let header = |name: &str| reply.header(name).unwrap_or_default().to_owned();
    assert_eq!(header("Content-Type"), "text/html; charset=utf-8");
    assert_eq!(header("Cache-Control"), "no-store");
    assert_eq!(header("X-Content-Type-Options"), "nosniff");
    assert_eq!(header("Referrer-Policy"), "same-origin");
    let policy = header("Content-Security-Policy");
    // Style and script are allowed by one hash each, and nothing else is.
    assert!(
        !policy.contains("unsafe") && !policy.contains('*'),
        "{policy}"
    );
    for directive in ["style-src", "script-src"] {
        let mut allowed = policy
            .split("; ")
            .filter(|part| part.starts_with(directive));
        let sources: Vec<&str> = allowed.next().unwrap().split(' ').collect();
        assert!(
            sources.len() == 2 && sources[1].starts_with("'sha256-"),
            "{policy}"
        );
        assert_eq!(allowed.next(), None, "{policy}");
    }
    for part in [
        "default-src 'none'",
        "frame-ancestors 'none'",
        "form-action 'self'",
        "base-uri 'none'",
    ] {
        assert!(policy.contains(part), "{part} is not in {policy}");
    }
}

#[test]
fn shows_running_services_and_no_secret() {
    let (_fake, server) = shop();
    let page = wait_for(&server, "Portainer answers");
    for words in [
        "shop",
        "web",
        "worker",
        WEB,
        "healthy",
        "/webhook/update/",
        "Every configured stack can be updated",
    ] {
        assert!(page.contains(words), "{words:?} is not on the page");
    }
    // Its variables are counted, never shown; the harness looks for every secret in everything that was seen.
    assert!(
        page.contains("Its 3 variables in Portainer are kept."),
        "{page}"
    );
    assert!(!page.contains("hello"), "a value of a variable");
}

#[test]
fn confirms_an_update_by_its_dry_run_and_follows_it() {
    let (fake, server) = shop();
    let new = fake.world(|world| world.push(WEB, GOOD));
    let dry = press(&server, "dry-run", "shop");
    assert!(
        dry.contains("Would restart web with ghcr.io/acme/web:1"),
        "{dry}"
    );
    assert!(dry.contains("Keeps 3 variables"), "{dry}");
    assert!(!dry.contains("hello"), "a value of a variable is in {dry}");
    assert_eq!(fake.puts().len(), 0, "a dry run changes nothing");
    press(&server, "update", "shop");
    let page = wait_for(&server, "1 of 2 services updated, all healthy");
    assert!(page.contains("settings page"));
    assert!(
        !page.contains("Dry run"),
        "the dry run is out of date: {page}"
    );
    assert_eq!(
        fake.world(|world| world.container("shop", "web").image_id),
        new
    );
}

#[test]
fn shows_a_failure_with_its_log_and_rolls_back() {
    let (fake, server) = shop();
    let old = fake.world(|world| world.container("shop", "web").image_id);
    fake.world(|world| {
        let every = Duration::from_millis(1);
        let bad = world.push(WEB, Behaviour::CrashLoop { every, code: 3 });
        let mut log: Vec<String> = (0..30).map(|line| format!("line {line};")).collect();
        log.push(format!(
            "no login with {DATABASE_PASSWORD} and ptr_abcdefghijklmnopqrstuvwxyz0123456789abcdefgh at postgres://shop:pass-in-url@db/"
        ));
        log.push("<b>not bold</b>".to_owned());
        world.image(&bad).log = log;
    });
    let reply = server.signed("/webhook/update/", SECRET, "{}");
    assert_eq!(reply.status, 502, "{}", reply.text());
    assert!(
        reply.json()["stacks"][0].get("logs").is_none(),
        "logs are for staff alone"
    );
    let failed = page(&server);
    for words in [
        "The update failed",
        "exit code 3",
        "Last lines of the log of web",
        "line 29;",
        "no login with *** and *** at postgres://***@db/",
        "&#60;b&#62;not bold&#60;/b&#62;",
        "shop: update failed (web ",
        "Roll back to the images that ran before",
    ] {
        assert!(
            failed.contains(words),
            "{words:?} is not on the page:\n{failed}"
        );
    }
    assert!(!failed.contains("line 11;"), "more than 20 lines");
    assert!(!failed.contains("pass-in-url"), "{failed}");
    press(&server, "rollback", "shop");
    let back = wait_for(&server, "The previous images run again");
    assert!(
        back.contains("is not deployed again until something newer arrives"),
        "{back}"
    );
    assert_eq!(
        fake.world(|world| world.container("shop", "web").image_id),
        old
    );
}

#[test]
fn skips_a_paused_stack_until_it_is_resumed() {
    let (fake, server) = shop();
    fake.world(|world| world.push(WEB, GOOD));
    let paused = press(&server, "pause", "shop");
    assert!(paused.contains("<strong>Paused</strong>"), "{paused}");
    let reply = server.signed("/webhook/update/", SECRET, "{}");
    assert_eq!(reply.status, 409, "{}", reply.text());
    assert!(reply.text().contains("paused by staff since"));
    assert_eq!(fake.puts().len(), 0);
    let resumed = press(&server, "resume", "shop");
    assert!(!resumed.contains("<strong>Paused</strong>"), "{resumed}");
    assert_eq!(server.signed("/webhook/update/", SECRET, "{}").status, 200);
}

#[test]
fn rejects_forms_from_other_sites() {
    let (_fake, server) = shop();
    let token = token(&page(&server));
    let host = format!("http://{}", server.address);
    #[track_caller]
    fn refused(reply: &crate::support::client::Reply, words: &str) {
        assert_eq!(reply.status, 403, "{}", reply.text());
        assert!(reply.text().contains(words), "{}", reply.text());
    }
    let cross = [
        ("Sec-Fetch-Site", "cross-site"),
        ("Origin", "https://evil.example"),
    ];
    let reply = post(&server, &token, "pause", "shop", &cross);
    refused(&reply, "https://evil.example");
    refused(&reply, &host);
    refused(&reply, "STACKHOOK_PUBLIC_URL");
    refused(
        &post(&server, &token, "pause", "shop", &[("Origin", "null")]),
        "null",
    );
    refused(
        &post(&server, &token, "pause", "shop", &[]),
        "nothing was done",
    );
    let own = [("Origin", host.as_str())];
    refused(
        &post(&server, "guessed", "pause", "shop", &own),
        "load the page again",
    );
    refused(
        &post(&server, "", "pause", "shop", &own),
        "load the page again",
    );
    assert!(!page(&server).contains("<strong>Paused</strong>"));
    assert_eq!(post(&server, &token, "pause", "shop", &own).status, 303);
    assert!(page(&server).contains("<strong>Paused</strong>"));
    assert_eq!(post(&server, &token, "erase", "shop", &own).status, 400);
    assert_eq!(post(&server, &token, "pause", "nothing", &own).status, 400);
}

#[test]
fn escapes_hostile_names_and_messages() {
    let hostile = "<img src=x onerror=alert(1)>";
    let fake = shop::portainer(Era::A);
    let shop = fake.world(|world| {
        let file = format!("services:\n  web:\n    image: {WEB}\n");
        world.compose_stack(hostile, &file, &[]);
        world.stack("shop").id
    });
    let server = serve(
        &fake,
        &format!("{QUICK}\n[[stack]]\nkey = \"evil\"\nname = \"{hostile}\"\n"),
    );
    fake.fault(
        When::every("GET", &format!("/api/stacks/{shop}/file")),
        Fault::Answer(
            500,
            "application/json",
            format!("{{\"message\":\"{hostile}\"}}"),
        ),
    );
    let page = wait_for(&server, "Portainer answers");
    assert!(
        page.contains("&#60;img src=x onerror=alert(1)&#62;"),
        "{page}"
    );
    assert!(!page.contains("<img"), "{page}");
}

#[test]
fn shows_rejections_with_their_reason() {
    let (_fake, server) = shop();
    server.post(
        "/webhook/update/",
        &[("X-Portainer-Signature", &"0".repeat(64))],
        b"{}",
    );
    server.post("/webhook/update/", &[], b"{}");
    let page = page(&server);
    assert!(
        page.contains("The secret differs on the two sides"),
        "{page}"
    );
    assert!(page.contains("The sender signs nothing"), "{page}");
}

#[test]
fn first_steps_name_the_table_to_read() {
    let (_fake, server) = shop();
    let says = |words: &str| {
        let page = page(&server);
        assert!(page.contains(words), "{words:?} is not in {page}");
    };
    says("None has arrived yet");
    server.post("/webhook/update/", &[], b"{}");
    says("see the reason under Rejections");
    assert_eq!(
        server
            .signed("/webhook/update/", SECRET, "event=form")
            .status,
        400
    );
    says("see the reason under Deliveries");
    // The sender's secret is right, which is what one looks for there.
    assert!(!page(&server).contains("not since the start"));
}

#[test]
fn shows_the_secret_used_last_and_the_sender_setup() {
    let fake = shop::portainer(Era::A);
    let old = "the-older-secret-of-the-tests";
    let server = set_up(&fake, QUICK)
        .env("PORTAINER_WEBHOOK_SECRET", &format!("{SECRET}\n{old}"))
        .serve();
    let first = wait_for(&server, "Portainer answers");
    assert!(first.contains("2 set, all accepted, from PORTAINER_WEBHOOK_SECRET"));
    assert!(first.contains("not since the start"), "{first}");
    for (secret, words) in [
        (old, "secret 2 of 2, <time"),
        (SECRET, "secret 1 of 2, <time"),
    ] {
        let reply = server.signed("/webhook/update/", secret, "{}");
        assert_eq!(reply.status, 200, "{}", reply.text());
        assert!(page(&server).contains(words), "{words:?}");
    }
    // The command prints the same, with another beginning of the address.
    let address = format!("http://{}", server.address);
    let setup = server.setup().run(&["sign", "--setup", "--hook", "update"]);
    let mut same = 0;
    for line in setup.stdout.lines().map(str::trim) {
        let escaped = line.replace('&', "&#38;").replace('"', "&#34;");
        let escaped = escaped.replace('\'', "&#39;").replace('>', "&#62;");
        let escaped = escaped.replace('<', "&#60;");
        same += usize::from(!line.is_empty() && first.contains(&escaped));
    }
    assert!(same > 20, "{same} lines of {}", setup.stdout);
    assert!(first.contains(&format!("{address}/webhook/update/")));
}

#[test]
fn shows_a_command_for_the_first_delivery_where_it_would_work() {
    let by_hand = "Send one from any machine that reaches this address";
    let with_hook = |hook: &str| {
        let fake = shop::portainer(Era::A);
        let server = serve(&fake, &format!("{QUICK}\n[[hook]]\n{hook}\n"));
        wait_for(&server, "A delivery arrives")
    };
    let own_header = with_hook("header = \"X-Shop\"");
    assert!(own_header.contains(by_hand), "{own_header}");
    assert!(own_header.contains("X-Shop: sha256=$signature"));
    let token = with_hook("scheme = \"token\"");
    assert!(!token.contains(by_hand), "{token}");
    assert!(token.contains("Set up the sender with the URL"), "{token}");
}

#[test]
fn reports_an_unreachable_portainer() {
    let server = shop::variables(Setup::new())
        .env("PORTAINER_URL", "http://127.0.0.1:9")
        .env("PORTAINER_API_KEY", "an-api-key-that-nobody-knows")
        .env("STACKHOOK_STAFF_PASSWORD", PASSWORD)
        .serve();
    let page = wait_for(&server, "Portainer cannot be reached");
    assert!(page.contains("PORTAINER_URL"), "{page}");
    let metrics = get(&server, "/metrics");
    assert!(
        metrics.text().contains("\nstackhook_portainer_up 0\n"),
        "{}",
        metrics.text()
    );
}

#[test]
fn a_double_tap_does_not_confirm_a_dry_run() {
    let (fake, server) = shop();
    fake.world(|world| world.push(WEB, GOOD));
    let post = |form: &str| {
        let token = token(&page(&server));
        let reply = post(&server, &token, form, "shop", &[SAME_ORIGIN]);
        assert_eq!(reply.status, 303, "{}", reply.text());
        reply.header("Location").unwrap().to_owned()
    };
    for action in ["update", "rollback", "force"] {
        assert_eq!(post(action), "./#check-shop", "{action}");
        assert_eq!(post(action), "./#check-shop", "{action} again");
    }
    let shown = press_once(&server, "update", "shop");
    let number = confirmation(&shown, "shop").unwrap();
    // At once, of another action, or of another dry run.
    for form in [
        format!("update&confirm={number}"),
        format!("force&confirm={number}"),
        "update&confirm=999".to_owned(),
        "update&confirm=".to_owned(),
    ] {
        assert_eq!(post(&form), "./#check-shop", "{form}");
    }
    assert_eq!(fake.puts().len(), 0, "nothing was updated");
    let dismissed = press_once(&server, "dismiss", "shop");
    assert_eq!(confirmation(&dismissed, "shop"), None);
}

#[test]
fn a_dry_run_is_titled_by_its_result_and_dropped_after_the_next_event() {
    let (mut fake, server) = shop();
    wait_for(&server, "Portainer answers");
    let dry = press_once(&server, "update", "shop");
    assert!(dry.contains("Dry run: nothing would change"), "{dry}");
    fake.world(|world| world.push(WEB, GOOD));
    let dry = press_once(&server, "update", "shop");
    assert!(
        dry.contains("Dry run: an update would change the stack"),
        "{dry}"
    );
    assert_eq!(server.signed("/webhook/update/", SECRET, "{}").status, 200);
    let later = page(&server);
    assert!(!later.contains("Dry run"), "{later}");
    let dry = press_once(&server, "rollback", "shop");
    assert!(
        dry.contains("Dry run: a rollback would change the stack"),
        "{dry}"
    );
    assert!(dry.contains("Would recreate web: "), "{dry}");
    fake.go_down();
    let dry = press_once(&server, "update", "shop");
    let title = "Dry run not possible: Portainer cannot be reached";
    assert!(dry.contains(title), "{dry}");
    assert!(!dry.contains("nothing would"), "{dry}");
    assert!(
        !dry.contains("Update now"),
        "there is nothing to confirm: {dry}"
    );
    fake.come_back();
}

#[test]
fn advice_belongs_to_the_stage_that_failed() {
    let (fake, server) = shop();
    let crash = |fake: &crate::support::fake::Fake| {
        fake.world(|world| {
            let every = Duration::from_millis(1);
            world.push(WEB, Behaviour::CrashLoop { every, code: 3 });
        });
    };
    let update = || server.signed("/webhook/update/", SECRET, "{}").status;
    crash(&fake);
    assert_eq!(update(), 502);
    let verify = page(&server);
    assert!(
        verify.contains("Roll back to the images that ran before"),
        "{verify}"
    );
    press(&server, "rollback", "shop");
    wait_for(&server, "The previous images run again");
    fake.world(|world| world.remove_from_registry(WEB));
    assert_eq!(update(), 502);
    let pull = page(&server);
    assert!(
        pull.contains("Check that the image exists in the registry"),
        "{pull}"
    );
    assert!(!pull.contains("the failed image is blocked"), "{pull}");
    assert!(!pull.contains("from before the failed update"), "{pull}");
}

#[test]
fn shows_digests_where_images_are_named() {
    let (fake, server) = shop();
    let id = |fake: &crate::support::fake::Fake| {
        fake.world(|world| world.container("shop", "web").image_id)
    };
    let short = |id: &str| id.trim_start_matches("sha256:")[..7].to_owned();
    let old = id(&fake);
    fake.world(|world| world.push(WEB, GOOD));
    let reply = server.signed("/webhook/update/", SECRET, "{}");
    let new = id(&fake);
    let web = &reply.json()["stacks"][0]["services"];
    let web = web
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["service"] == "web")
        .unwrap()
        .clone();
    assert_eq!(
        (&web["image_id"], &web["previous_image_id"]),
        (&new.as_str().into(), &old.as_str().into())
    );
    let from_to = format!("web {} → {}", short(&old), short(&new));
    let page = wait_for(&server, &from_to);
    let shown = format!("<code class=\"muted\">{}</code>", short(&new));
    if !page.contains(&shown) {
        wait_for(&server, &shown);
    }
    press(&server, "rollback", "shop");
    let blocked = wait_for(&server, ">rolled back<");
    assert!(
        blocked.contains(&format!("{WEB} ({})</strong> was rolled back", short(&new))),
        "{blocked}"
    );
    assert!(blocked.contains(">rolled back<"), "{blocked}");
}

#[test]
fn a_delivery_has_a_page_for_staff() {
    let (fake, server) = shop();
    fake.world(|world| {
        let every = Duration::from_millis(1);
        let bad = world.push(WEB, Behaviour::CrashLoop { every, code: 3 });
        world.image(&bad).log = vec!["<b>cannot start</b>".to_owned()];
    });
    let reply = server.signed("/webhook/update/", SECRET, "{}");
    let id = reply.json()["delivery"].as_str().unwrap().to_owned();
    let address = format!("{PAGE}deliveries/{id}/");
    assert_eq!(server.get(&address).status, 401, "for staff alone");
    let link = format!("href=\"deliveries/{id}/\"");
    assert!(page(&server).contains(&link), "{link}");
    let detail = get(&server, &address);
    assert_eq!(detail.status, 200);
    for words in [
        "shop: failed",
        "Verify the containers: failed",
        "Pull the images: done",
        "exit code 3",
        "&#60;b&#62;cannot start&#60;/b&#62;",
        &id,
    ] {
        assert!(
            detail.text().contains(words),
            "{words:?} is not in {}",
            detail.text()
        );
    }
    let unknown = get(&server, &format!("{PAGE}deliveries/{}/", "0".repeat(32)));
    assert_eq!(unknown.status, 404);
    assert!(
        unknown.text().contains("no longer known"),
        "{}",
        unknown.text()
    );
    assert_eq!(get(&server, &format!("{PAGE}deliveries/x/")).status, 404);
}

#[test]
fn the_state_changes_with_events_and_not_with_time() {
    let (fake, server) = shop();
    wait_for(&server, "Portainer answers");
    let state = || get(&server, &format!("{PAGE}state/"));
    let first = state();
    assert_eq!(first.status, 200, "{}", first.text());
    let etag = first.header("ETag").unwrap().to_owned();
    let page = page(&server);
    let shown = first.json()["state"].as_str().unwrap().to_owned();
    assert!(
        page.contains(&format!("data-state=\"{shown}\"")),
        "{shown} {page}"
    );
    let again = |etag: &str| {
        let authorization = basic(PASSWORD);
        let headers = [
            ("Authorization", authorization.as_str()),
            ("If-None-Match", etag),
        ];
        server.request("GET", &format!("{PAGE}state/"), &headers, b"")
    };
    assert_eq!(again(&etag).status, 304);
    assert_eq!(again("\"other\"").status, 200);
    fake.world(|world| world.remove_from_registry(WEB));
    assert_eq!(server.signed("/webhook/update/", SECRET, "{}").status, 502);
    assert_eq!(again(&etag).status, 200);
    assert_ne!(state().json()["state"], shown.as_str());
    assert_eq!(server.get(&format!("{PAGE}state/")).status, 401);
}

#[test]
fn twenty_five_stacks_fit_with_the_failed_one_first() {
    let (_fake, server) = twenty_five_stacks();
    let page = wait_for(&server, "app24: update failed (cannot pull");
    let (_, list) = page.split_once("id=\"stack-list\"").unwrap();
    let (_, first) = list.split_once("id=\"stack-").unwrap();
    assert!(first.starts_with("app24\""), "{}", &first[..60]);
    assert!(page.len() <= 64 * 1024, "{} bytes: {page}", page.len());
    assert_eq!(page.matches("<details class=\"card stack").count(), 24);
}

#[test]
fn browsers_get_a_page_with_a_way_on_and_senders_do_not() {
    let (_fake, server) = shop();
    let browser = ("Accept", "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8");
    for (method, target, status, words) in [
        (
            "GET",
            "/nothing/of/this/name",
            404,
            "There is nothing here.",
        ),
        (
            "GET",
            "/webhook/update/",
            405,
            "This address takes only POST.",
        ),
        (
            "GET",
            "/webhook/update/nothing/",
            405,
            "This address takes only POST.",
        ),
        ("PUT", PAGE, 405, "This address takes only GET, HEAD, POST."),
        ("GET", PAGE, 401, "Sign in as staff."),
        (
            "GET",
            "/settings/webhooks/deliveries/x/",
            404,
            "No such delivery",
        ),
    ] {
        let reply = server.request(method, target, &[browser], b"");
        let (text, header) = (reply.text(), |name: &str| {
            reply.header(name).unwrap_or_default()
        });
        assert_eq!(reply.status, status, "{target}");
        assert_eq!(
            header("Content-Type"),
            "text/html; charset=utf-8",
            "{target}"
        );
        assert!(header("Content-Security-Policy").starts_with("default-src 'none'"));
        assert!(
            text.contains(words) && text.contains("/webhooks/\">"),
            "{target}: {text}"
        );
        let plain = server.request(method, target, &[("Accept", "*/*")], b"");
        assert_eq!(plain.status, status, "{target}");
        assert!(!plain.text().contains('<'), "{target}: {}", plain.text());
    }
    let not_allowed = server.request("GET", "/webhook/update/", &[browser], b"");
    assert_eq!(not_allowed.header("Allow"), Some("POST"));
    let sender = server.post("/webhook/update/", &[browser], b"{}");
    assert_eq!(
        (sender.status, sender.json()["success"].clone()),
        (401, false.into())
    );
    let without_page = shop::variables(Setup::with(&shop::portainer(Era::A))).serve();
    let home = without_page.get("/");
    assert_eq!(home.status, 404);
    assert!(
        home.text().contains("STACKHOOK_STAFF_PASSWORD"),
        "{}",
        home.text()
    );
}

fn crash(fake: &crate::support::fake::Fake) {
    fake.world(|world| {
        let every = Duration::from_millis(1);
        world.push(WEB, Behaviour::CrashLoop { every, code: 3 });
    });
}

#[test]
fn the_button_of_a_failure_acts_only_on_the_failure_that_was_shown() {
    let (fake, server) = shop();
    let fail = || {
        crash(&fake);
        assert_eq!(server.signed("/webhook/update/", SECRET, "{}").status, 502);
        let page = page(&server);
        let (_, rest) = page.split_once("name=\"confirm\" value=\"").unwrap();
        rest.split_once('"').unwrap().0.to_owned()
    };
    let press = |form: &str| {
        let token = token(&page(&server));
        let reply = post(&server, &token, form, "shop", &[SAME_ORIGIN]);
        reply.header("Location").unwrap().to_owned()
    };
    let shown = fail();
    let later = fail();
    assert_ne!(shown, later);
    let sent = fake.puts().len();
    for stale in ["failure", "", shown.as_str()] {
        assert_eq!(
            press(&format!("rollback&confirm={stale}")),
            "./#check-shop",
            "{stale:?}"
        );
    }
    assert_eq!(
        press(&format!("force&confirm={later}")),
        "./#check-shop",
        "another action"
    );
    assert_eq!(fake.puts().len(), sent, "only dry runs");
    assert_eq!(press(&format!("rollback&confirm={later}")), "./#stack-shop");
    wait_for(&server, "<td class=\"tight\" data-label=\"Event\">rollback");
}

#[test]
fn blocked_images_are_shown_and_allowed_again_without_portainer() {
    let (mut fake, server) = shop();
    crash(&fake);
    assert_eq!(server.signed("/webhook/update/", SECRET, "{}").status, 502);
    press(&server, "rollback", "shop");
    let blocked = wait_for(&server, "shop is healthy; blocked: ghcr.io/acme/web:1 (");
    assert!(!blocked.contains("First steps"), "{blocked}");
    assert!(
        !blocked.contains("<details class=\"card stack"),
        "the card is open"
    );
    fake.go_down();
    let away = press_once(&server, "test", "shop");
    assert!(away.contains("Portainer cannot be reached"), "{away}");
    assert!(away.contains("is blocked: it is not deployed"), "{away}");
    let allowed = press_once(&server, "unblock", "shop");
    assert!(!allowed.contains("is blocked"), "{allowed}");
    fake.come_back();
    let reply = server.signed("/webhook/update/", SECRET, "{}");
    assert_eq!(
        reply.status,
        502,
        "the image is deployed again: {}",
        reply.text()
    );
}

#[test]
fn a_pause_that_cannot_be_ended_is_reported_at_the_stack() {
    let (_fake, server) = shop();
    // A directory in the place of the file can be neither read nor removed, not even by root.
    let path = server.setup().path().join("state/stacks/@shop.paused");
    std::fs::create_dir_all(path.join("in-the-way")).unwrap();
    let shown = press_once(&server, "resume", "shop");
    assert!(shown.contains("It could not be resumed"), "{shown}");
    assert!(shown.contains("<strong>Paused</strong>"), "{shown}");
}

#[test]
fn counts_and_bars_agree_also_after_a_restart() {
    let (fake, server) = shop();
    fake.world(|world| world.push(WEB, GOOD));
    assert_eq!(server.signed("/webhook/update/", SECRET, "{}").status, 200);
    crash(&fake);
    assert_eq!(server.signed("/webhook/update/", SECRET, "{}").status, 502);
    let agree = |server: &crate::support::program::Stackhook| {
        let page = wait_for(server, "shop: update failed");
        assert!(page.contains("1 of the last 2 deliveries failed"), "{page}");
        assert!(
            page.contains("The last 2 outcomes, oldest first: 1 failed, 1 not"),
            "{page}"
        );
    };
    agree(&server);
    server.signal("TERM");
    let (_, setup) = server.wait();
    agree(&setup.serve());
}
