//! What staff see and do: the settings page over plain HTTP, and its safety.

mod lines;
mod notices;
mod numbers;
mod validity;

use crate::support::fake::{Behaviour, Era, Fault, When};
use crate::support::program::Setup;
use crate::support::shop::{self, DATABASE_PASSWORD, GOOD, QUICK, SECRET, WEB};
use crate::support::staff::{
    PAGE, PASSWORD, basic, get, page, post, press, serve, set_up, shop, token, wait_for,
};

#[test]
fn nobody_sees_anything_without_the_password() {
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
    let forged = server.post(
        PAGE,
        &[("Sec-Fetch-Site", "same-origin")],
        b"action=pause&stack=shop",
    );
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
fn wrong_passwords_are_slowed_down_and_the_right_one_then_too() {
    let (_fake, server) = shop();
    let try_with = |password: &str| {
        let authorization = basic(password);
        server
            .request("GET", "/metrics", &[("Authorization", &authorization)], b"")
            .status
    };
    assert_eq!(try_with(PASSWORD), 200);
    let wrong: Vec<u16> = (0..10).map(|_| try_with("not-the-password")).collect();
    assert_eq!(wrong, [401; 10]);
    // One more is let through every six seconds; a slow machine may meet that moment.
    let slowed = |_| {
        let wrong = (0..50).find(|_| try_with("not-the-password") == 429);
        assert!(wrong.is_some(), "guesses are not slowed down");
        try_with(PASSWORD) == 429
    };
    assert!((0..5).any(slowed), "the right one is looked at");
    // Deliveries come from the same address, and are not slowed down.
    let reply = server.signed("/webhook/update/", SECRET, r#"{"event":"ping"}"#);
    assert_eq!(reply.status, 200);
}

#[test]
fn every_reply_to_staff_is_kept_by_nobody_and_framed_by_nobody() {
    let (_fake, server) = shop();
    let reply = get(&server, PAGE);
    let header = |name: &str| reply.header(name).unwrap_or_default().to_owned();
    assert_eq!(header("Content-Type"), "text/html; charset=utf-8");
    assert_eq!(header("Cache-Control"), "no-store");
    assert_eq!(header("X-Content-Type-Options"), "nosniff");
    assert_eq!(header("Referrer-Policy"), "same-origin");
    let policy = header("Content-Security-Policy");
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
fn the_page_shows_what_runs_and_no_secret() {
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
fn an_update_from_the_page_is_followed_to_its_end() {
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
    assert_eq!(
        fake.world(|world| world.container("shop", "web").image_id),
        new
    );
}

#[test]
fn a_failure_is_shown_with_its_log_and_the_way_back_is_one_button() {
    let (fake, server) = shop();
    let old = fake.world(|world| world.container("shop", "web").image_id);
    fake.world(|world| {
        let every = std::time::Duration::from_millis(1);
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
        "What failed",
        "exit code 3",
        "Last lines of web",
        "line 29;",
        "no login with *** and *** at postgres://***@db/",
        "&lt;b&gt;not bold&lt;/b&gt;",
        "needs somebody",
        "Back to the previous images",
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
        back.contains("stays out until something newer comes"),
        "{back}"
    );
    assert_eq!(
        fake.world(|world| world.container("shop", "web").image_id),
        old
    );
}

#[test]
fn a_paused_stack_is_skipped_until_it_is_resumed() {
    let (fake, server) = shop();
    fake.world(|world| world.push(WEB, GOOD));
    let paused = press(&server, "pause", "shop");
    assert!(paused.contains("<strong>Paused</strong> since"), "{paused}");
    let reply = server.signed("/webhook/update/", SECRET, "{}");
    assert_eq!(reply.status, 409, "{}", reply.text());
    assert!(reply.text().contains("paused by staff since"));
    assert_eq!(fake.puts().len(), 0);
    let resumed = press(&server, "resume", "shop");
    assert!(!resumed.contains("<strong>Paused</strong>"), "{resumed}");
    assert_eq!(server.signed("/webhook/update/", SECRET, "{}").status, 200);
}

#[test]
fn a_form_from_elsewhere_does_nothing() {
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
fn hostile_names_and_messages_are_text() {
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
        page.contains("&lt;img src=x onerror=alert(1)&gt;"),
        "{page}"
    );
    assert!(!page.contains("<img"), "{page}");
}

#[test]
fn rejections_are_shown_with_their_reason_in_words() {
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
fn the_first_delivery_may_be_none_to_act_on_and_says_where_to_look() {
    let (_fake, server) = shop();
    let says = |words: &str| {
        let page = page(&server);
        assert!(page.contains(words), "{words:?} is not in {page}");
    };
    says("None has come yet");
    server.post("/webhook/update/", &[], b"{}");
    says("the reason stands under Rejections");
    assert_eq!(
        server
            .signed("/webhook/update/", SECRET, "event=form")
            .status,
        400
    );
    says("the reason stands under Deliveries");
    // The sender's secret is right, which is what one looks for there.
    assert!(!page(&server).contains("not since the start"));
}

#[test]
fn a_hook_says_which_secret_was_used_last_and_how_to_set_up_its_sender() {
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
        let escaped = line.replace('&', "&amp;").replace('"', "&quot;");
        let escaped = escaped.replace('\'', "&#39;").replace('>', "&gt;");
        let escaped = escaped.replace('<', "&lt;");
        same += usize::from(!line.is_empty() && first.contains(&escaped));
    }
    assert!(same > 20, "{same} lines of {}", setup.stdout);
    assert!(first.contains(&format!("{address}/webhook/update/")));
}

#[test]
fn the_command_for_a_first_delivery_signs_as_the_hook_reads_it() {
    let by_hand = "Send one from any machine that reaches this address";
    let with_hook = |hook: &str| {
        let fake = shop::portainer(Era::A);
        let server = serve(&fake, &format!("{QUICK}\n[[hook]]\n{hook}\n"));
        wait_for(&server, "A delivery comes")
    };
    let own_header = with_hook("header = \"X-Shop\"");
    assert!(own_header.contains(by_hand), "{own_header}");
    assert!(own_header.contains("X-Shop: sha256=$signature"));
    let token = with_hook("scheme = \"token\"");
    assert!(!token.contains(by_hand), "{token}");
    assert!(token.contains("Set up the sender with the URL"), "{token}");
}

#[test]
fn an_unreachable_portainer_is_said_with_what_to_do() {
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
