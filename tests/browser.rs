//! The settings page in a real browser. Needs chromium and chromium-driver, so it runs only on request:
//! `cargo test browser -- --ignored`, as `.ci/run` does. With `SCREENSHOTS=directory` it leaves pictures there.

mod states;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::browser::{Browser, ENTER, TAB};
use crate::support::fake::{Behaviour, Fake};
use crate::support::program::Stackhook;
use crate::support::shop::{GOOD, QUICK, SECRET, WEB, pull_held};
use crate::support::staff::{self, PAGE, PASSWORD};
use crate::support::tls::TlsFront;

/// Signs in, and opens the page again, because scripts may not fetch from an address with a password in it. `host` includes the port.
#[track_caller]
fn sign_in(browser: &Browser, scheme: &str, host: &str) {
    browser.open(&format!("{scheme}://staff:{PASSWORD}@{host}{PAGE}"));
    browser.open(&format!("{scheme}://{host}{PAGE}"));
}

/// The host and port of the server.
fn host(server: &Stackhook) -> String {
    server.address.to_string()
}

/// Starts a browser that has signed in.
#[track_caller]
fn browse(server: &Stackhook) -> Browser {
    let browser = Browser::start();
    sign_in(&browser, "http", &host(server));
    browser
}

/// Emulates the setting "light" or "dark".
fn set_theme(browser: &Browser, theme: &str) {
    let feature = json!([{"name": "prefers-color-scheme", "value": theme}]);
    browser.devtools("Emulation.setEmulatedMedia", json!({"features": feature}));
}

/// Emulates a window of this width: below 700 px a phone.
fn resize(browser: &Browser, width: u32) {
    let is_phone = width < 700;
    let size = json!({
        "width": width, "height": if is_phone { 844 } else { 900 },
        "screenWidth": width, "screenHeight": if is_phone { 844 } else { 900 },
        "deviceScaleFactor": if is_phone { 2 } else { 1 }, "mobile": is_phone,
    });
    browser.devtools("Emulation.setDeviceMetricsOverride", size);
}

/// Opens the card of the shop, which is closed while it is healthy.
fn open_card(browser: &Browser) {
    browser.run("document.getElementById('stack-shop').open = true");
}

fn button(action: &str) -> String {
    format!("#stack-shop > form.actions > button[value={action}]")
}

fn confirmation(action: &str) -> String {
    format!("#check-shop button[value={action}]")
}

/// Presses a button of the shop, and confirms the dry run that it shows. The click is repeated until the button accepts it: against
/// double taps it does not do so at once.
fn press(browser: &Browser, action: &str) {
    open_card(browser);
    browser.click(&button(action));
    browser.wait_for("Nothing was changed");
    browser.click(&confirmation(action));
}

/// Makes the next image of the shop crash; its log has 20 lines.
fn crash(fake: &Fake) {
    let lines = (0..20).map(|line| format!("line {line}: no database"));
    crash_with_log(fake, lines.collect());
}

fn crash_with_log(fake: &Fake, log: Vec<String>) {
    fake.world(|world| {
        let every = Duration::from_millis(1);
        let bad = world.push(WEB, Behaviour::CrashLoop { every, code: 3 });
        world.image(&bad).log = log;
    });
}

#[test]
#[ignore = "needs chromium and chromium-driver"]
fn from_the_first_visit_to_a_successful_update() {
    let (fake, server) = staff::shop();
    let browser = Browser::start();
    browser.open(&format!("http://{}{PAGE}", host(&server)));
    assert!(
        !browser.page().contains("Stacks"),
        "the page needs the password"
    );
    sign_in(&browser, "http", &host(&server));
    browser.wait_for("First steps");
    browser.click("button[value=test]");
    browser.wait_for("administrator");

    fake.world(|world| world.push(WEB, GOOD));
    open_card(&browser);
    browser.click(&button("update"));
    browser.wait_for("Nothing was changed");
    browser.click(&confirmation("dismiss"));
    browser.wait_until_gone("Nothing was changed");
    press(&browser, "update");
    browser.wait_for("1 of 2 services updated, all healthy");
    browser.wait_for_text("#stack-shop .badge", "healthy");
    let url = browser.run("return location.pathname + location.hash");
    assert_eq!(url, format!("{PAGE}#stack-shop"));

    assert_eq!(server.signed("/webhook/update/", SECRET, "{}").status, 200);
    browser.wait_until_gone("First steps");
    browser.wait_for_text("h1", "shop is healthy");
}

#[test]
#[ignore = "needs chromium and chromium-driver"]
fn every_code_block_is_copied_over_http_and_https() {
    let (fake, server) = staff::shop();
    crash(&fake);
    assert_eq!(server.signed("/webhook/update/", SECRET, "{}").status, 502);
    let tls = TlsFront::start(server.address);
    let browser = Browser::start();
    let permissions = json!({"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]});
    browser.devtools("Browser.grantPermissions", permissions);
    let port = server.address.port();
    for (scheme, host, is_secure) in [
        ("http", format!("stackhook.test:{port}"), false),
        ("https", format!("localhost:{}", tls.addr.port()), true),
    ] {
        sign_in(&browser, scheme, &host);
        browser.wait_for("shop: update failed");
        assert_eq!(browser.run("return isSecureContext"), is_secure);
        // No live update may replace a block between two steps of this test.
        browser.run("window.fetch = () => new Promise(() => {})");
        browser.run("document.querySelectorAll('details').forEach(d => { d.open = true; })");
        let blocks = browser.run("return document.querySelectorAll('pre').length");
        let buttons = browser.run("return document.querySelectorAll('pre').values().filter(pre => pre.parentNode.querySelector('[data-copy]')).toArray().length");
        assert!(blocks.as_u64() > Some(3), "{blocks}");
        assert_eq!(blocks, buttons, "a code block without a button");
        let all = browser.run("return document.querySelectorAll('[data-copy]').length");
        for index in 0..all.as_u64().unwrap() {
            browser.run_with(
                "document.querySelectorAll('[data-copy]')[arguments[0]].id = 'copy-now'",
                json!([index]),
            );
            browser.click("#copy-now");
            browser.wait_for_text("#copy-now", "Copied");
            let source = browser.run("const source = document.getElementById('copy-now').parentNode.querySelector('input, pre'); return source.value || source.textContent");
            // Without a secure context the clipboard cannot be read, but what is selected was copied.
            let copied = match is_secure {
                true => browser.run("return navigator.clipboard.readText()"),
                false => browser.run("const source = document.activeElement; return source.value || getSelection().toString()"),
            };
            let lines = |text: &str| {
                text.lines()
                    .map(str::trim_end)
                    .collect::<Vec<_>>()
                    .join("\n")
            };
            let (copied, source) = (copied.as_str().unwrap(), source.as_str().unwrap());
            assert_eq!(lines(copied), lines(source), "{scheme}, number {index}");
            browser.run("document.getElementById('copy-now').removeAttribute('id')");
        }
    }
}

#[test]
#[ignore = "needs chromium and chromium-driver"]
fn a_failed_card_leads_from_the_cause_to_the_log_and_rolls_back() {
    let (fake, server) = staff::shop();
    crash(&fake);
    assert_eq!(server.signed("/webhook/update/", SECRET, "{}").status, 502);
    let browser = browse(&server);
    browser.wait_for("Last lines of the log of web");
    assert!(
        !browser.page().contains("First steps"),
        "only the failure matters"
    );
    let order = browser.run(
        "const panel = document.querySelector('#stack-shop .panel'), text = panel.textContent;
         const log = panel.querySelector('pre'), box = log.getBoundingClientRect(), range = document.createRange();
         const lines = log.firstElementChild.firstChild; range.setStart(lines, lines.data.trimEnd().length - 1); range.setEnd(lines, lines.data.trimEnd().length);
         const last = range.getBoundingClientRect();
         return {
             order: ['The update failed', 'What helps', 'Roll back', 'What runs now', 'Last lines'].map(words => text.indexOf(words)),
             button: panel.querySelector('button.primary').getBoundingClientRect().bottom,
             end: last.bottom <= box.bottom + 1 && last.top >= box.top, scrolls: log.scrollHeight > log.clientHeight,
         }",
    );
    let places: Vec<i64> = order["order"]
        .as_array()
        .unwrap()
        .iter()
        .map(|at| at.as_i64().unwrap())
        .collect();
    assert!(places.is_sorted() && places[0] >= 0, "{places:?}");
    assert!(
        order["button"].as_f64() < Some(900.0),
        "the button that helps is below the fold: {order}"
    );
    assert_eq!(
        (&order["end"], &order["scrolls"]),
        (&json!(true), &json!(true)),
        "the log is at its end"
    );
    assert_eq!(browser.text(".panel button.primary"), "Roll back");
    browser.click(".panel button.primary");
    browser.wait_for_text("#stack-shop .badge", "healthy, image blocked");
    assert!(
        !browser.page().contains("First steps"),
        "a rollback by staff does not start the tour again"
    );
    browser.click("#stack-shop button[value=unblock]");
    browser.wait_for_text("#stack-shop .badge", "healthy");

    open_card(&browser);
    browser.click(&button("pause"));
    browser.wait_for_text("#stack-shop .badge", "paused");
    browser.click(&button("resume"));
    browser.wait_until_gone("they are not replayed");
}

#[test]
#[ignore = "needs chromium and chromium-driver"]
fn a_double_tap_confirms_nothing() {
    let (fake, server) = staff::shop();
    fake.world(|world| world.push(WEB, GOOD));
    let browser = browse(&server);
    browser.wait_for("Portainer answers");
    for width in [390, 1280] {
        resize(&browser, width);
        open_card(&browser);
        browser.double_tap(&button("update"));
        browser.wait_for("Nothing was changed");
        // Nor does a script or a screen reader, which need no pointer, confirm at once what was shown this moment.
        browser.click("#check-shop button[value=dismiss]");
        browser.wait_until_gone("Nothing was changed");
        assert_eq!(fake.puts().len(), 0, "an update was sent");
    }
    press(&browser, "update");
    browser.wait_for("1 of 2 services updated, all healthy");
    assert_eq!(fake.puts().len(), 1);
}

#[test]
#[ignore = "needs chromium and chromium-driver"]
fn an_open_page_shows_a_failed_delivery_and_keeps_its_place() {
    let (fake, server) = staff::shop();
    let browser = browse(&server);
    browser.wait_for_text("h1", "shop is healthy; no delivery yet");
    browser.run(
        "window.same = true; document.getElementById('setup-update').open = true;
         const summary = document.querySelector('#setup-update > summary'); summary.focus(); summary.scrollIntoView()",
    );
    let place =
        "return document.querySelector('#setup-update > summary').getBoundingClientRect().top";
    let before = browser.run(place).as_f64().unwrap();
    crash(&fake);
    assert_eq!(server.signed("/webhook/update/", SECRET, "{}").status, 502);
    let failed = Instant::now();
    browser.wait("the failure", || {
        browser.text("h1").starts_with("shop: update failed")
    });
    let after = failed.elapsed();
    assert!(after <= Duration::from_secs(15), "{after:?}");
    let kept = browser.run("return [window.same, document.activeElement.parentNode.id, document.getElementById('setup-update').open]");
    assert_eq!(
        kept,
        json!([true, "setup-update", true]),
        "reloaded, or lost its place"
    );
    let moved = browser.run(place).as_f64().unwrap() - before;
    assert!(moved.abs() <= 2.0, "what was read moved by {moved} px");
    let title = browser.run("return document.title");
    assert!(
        title.as_str().unwrap().starts_with("shop: update failed"),
        "{title}"
    );
    assert!(
        browser
            .run("return document.querySelector('link[rel=icon]').href")
            .as_str()
            .unwrap()
            .contains("c62f22")
    );
}

#[test]
#[ignore = "needs chromium and chromium-driver"]
fn the_keyboard_alone_reaches_and_triggers_everything() {
    let (fake, server) = staff::shop();
    crash(&fake);
    assert_eq!(server.signed("/webhook/update/", SECRET, "{}").status, 502);
    let browser = browse(&server);
    browser.wait_for("What helps");
    let targets = "window.targets = Array.from(document.querySelectorAll('a[href], button, input:not([type=hidden]), summary, [tabindex=\"0\"]'))
        .filter(element => !element.disabled && element.checkVisibility());";
    let count = browser
        .run(&format!("{targets} return targets.length"))
        .as_u64()
        .unwrap();
    let mut reached = std::collections::BTreeSet::new();
    for _ in 0..count + 3 {
        browser.press_key(TAB);
        let focused = browser.run(
            "const element = document.activeElement; return [targets.indexOf(element), getComputedStyle(element).outlineStyle !== 'none', element.outerHTML.slice(0, 120)]",
        );
        if let Some(index) = focused[0].as_u64() {
            assert_eq!(focused[1], true, "the focus cannot be seen on {focused}");
            reached.insert(index);
        }
    }
    let missing: Vec<_> = (0..count)
        .filter(|index| !reached.contains(index))
        .collect();
    let names = browser.run_with(
        "return arguments[0].map(index => targets[index].outerHTML.slice(0, 120))",
        json!([missing]),
    );
    assert_eq!(names, json!([]), "cannot be reached");

    tab_to(&browser, ".panel button.primary");
    browser.press_key(ENTER);
    browser.wait_for_text("#stack-shop .badge", "healthy, image blocked");
    tab_to(&browser, "#stack-shop button[value=unblock]");
    browser.press_key(ENTER);
    browser.wait_for_text("#stack-shop .badge", "healthy");
    tab_to(&browser, "#stack-shop > summary");
    // The target of the redirect is open already: the first stroke closes it.
    let is_open = || browser.run("return document.getElementById('stack-shop').open") == true;
    let before = is_open();
    browser.press_key(ENTER);
    assert_ne!(is_open(), before);
    if before {
        browser.press_key(ENTER);
    }
    fake.world(|world| world.push(WEB, GOOD));
    tab_to(&browser, &button("update"));
    browser.press_key(ENTER);
    browser.wait_for("Nothing was changed");
    let number = || hidden_value(&browser, "#check-shop [name=confirm]");
    let (first, sent) = (number(), fake.puts().len());
    // Pressed until it is accepted, because at once it is not.
    browser.wait("the update", || {
        if browser.has(&confirmation("update")) && number() == first {
            tab_to(&browser, &confirmation("update"));
            browser.press_key(ENTER);
        }
        fake.puts().len() > sent
    });
    browser.wait_for("1 of 2 services updated, all healthy");
}

/// Moves the focus by the Tab key alone.
#[track_caller]
fn tab_to(browser: &Browser, css: &str) {
    for _ in 0..150 {
        if browser.run_with(
            "return document.activeElement === document.querySelector(arguments[0])",
            json!([css]),
        ) == true
        {
            return;
        }
        browser.press_key(TAB);
    }
    panic!("{css} is not reached by the keyboard");
}

fn hidden_value(browser: &Browser, css: &str) -> String {
    let value = browser.run_with(
        "const e = document.querySelector(arguments[0]); return e ? e.value : ''",
        json!([css]),
    );
    value.as_str().unwrap().to_owned()
}

#[test]
#[ignore = "needs chromium and chromium-driver"]
fn without_javascript_the_page_refreshes_itself() {
    let (fake, server) = staff::shop();
    let pull = pull_held(&fake);
    let browser = Browser::start();
    let disabled = json!({"value": true});
    browser.devtools("Emulation.setScriptExecutionDisabled", disabled);
    sign_in(&browser, "http", &host(&server));
    assert!(
        browser.text("time").ends_with(" UTC"),
        "only a script makes it local"
    );
    browser.click("#stack-shop > summary");
    browser.click(&button("update"));
    browser.wait_for("Nothing was changed");
    browser.click(&confirmation("update"));
    // DevTools stop scripts, but the parser skips the content of noscript: so the refresh is looked for, and done by hand.
    let refresh = "<noscript><meta http-equiv=\"refresh\" content=\"3\">";
    staff::wait_for(&server, refresh);
    pull.open();
    staff::wait_for(&server, "1 of 2 services updated, all healthy");
    browser.open(&format!("http://{}{PAGE}", host(&server)));
    browser.wait_for("1 of 2 services updated, all healthy");
    let ended = staff::page(&server);
    assert!(
        !ended.contains(refresh) && ended.contains("content=\"60\""),
        "at the end it refreshes once a minute"
    );
}

#[test]
#[ignore = "needs chromium and chromium-driver"]
fn a_form_of_another_site_does_nothing() {
    let (_fake, server) = staff::shop();
    let browser = browse(&server);
    browser.wait_for_text("h1", "shop is healthy; no delivery yet");
    // The policy forbids scripts and styles that are not the page's own.
    browser.run("var s = document.createElement('script'); s.textContent = 'document.title = \"owned\"'; document.body.append(s)");
    assert_ne!(browser.run("return document.title"), "owned");
    browser.run("var s = document.createElement('style'); s.textContent = 'h1 { font-size: 3px }'; document.body.append(s)");
    assert_ne!(
        browser.run("return getComputedStyle(document.querySelector('h1')).fontSize"),
        "3px"
    );

    let target = format!("http://{}{PAGE}", host(&server));
    let token = staff::token(&staff::page(&server));
    browser.open(&format!(
        "data:text/html,<form method=post action={target}><input name=token value={token}><input name=action value=pause><input name=stack value=shop></form>"
    ));
    browser.run("document.forms[0].submit()");
    browser.wait_for_text("h1", "Not accepted");
    browser.wait_for("Nothing was done");
    browser.click("main a");
    browser.wait_for_text("#stack-shop .badge", "healthy");
}

#[test]
#[ignore = "needs chromium and chromium-driver"]
fn the_page_follows_an_outage_of_portainer() {
    let (mut fake, server) = staff::shop();
    let browser = browse(&server);
    browser.wait_for_text("#stack-shop .badge", "healthy");
    fake.go_down();
    browser.click("button[value=test]");
    browser.wait_for_text("h1", "Portainer cannot be reached");
    assert_eq!(browser.text("#stack-shop .badge"), "state unknown");
    // Pausing does not need Portainer.
    open_card(&browser);
    browser.click(&button("pause"));
    browser.wait_for_text("#stack-shop .badge", "paused");
    fake.come_back();
    browser.click("button[value=test]");
    browser.wait_for_text("h1", "shop is paused");
}

/// A proxy that publishes the server under `/deploy/`, as nginx does with a path behind `proxy_pass`; where it listens.
fn under_a_path(listener: TcpListener, server: SocketAddr) {
    thread::spawn(move || {
        for mut client in listener.incoming().take(500).map_while(Result::ok) {
            thread::spawn(move || {
                let mut head = Vec::new();
                let mut byte = [0];
                while !head.ends_with(b"\r\n") && client.read(&mut byte).is_ok_and(|read| read == 1)
                {
                    head.push(byte[0]);
                }
                let line = String::from_utf8_lossy(&head).into_owned();
                if !line.contains(" /deploy/") {
                    let _ = client.write_all(b"HTTP/1.1 404 Not here\r\nContent-Length: 0\r\n\r\n");
                    return;
                }
                let mut behind = TcpStream::connect(server).unwrap();
                let _ = behind.write_all(line.replacen(" /deploy/", " /", 1).as_bytes());
                let (mut from, mut to) = (client.try_clone().unwrap(), behind.try_clone().unwrap());
                thread::spawn(move || std::io::copy(&mut from, &mut to));
                let _ = std::io::copy(&mut behind, &mut client);
                let _ = client.shutdown(std::net::Shutdown::Both);
            });
        }
    });
}

#[test]
#[ignore = "needs chromium and chromium-driver"]
fn under_a_path_of_a_proxy_links_forms_and_progress_work() {
    let fake = crate::support::shop::portainer(crate::support::fake::Era::A);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    // Not a secure context, so that the browser sends an Origin and no Sec-Fetch-Site.
    let public = format!("http://stackhook.test:{port}/deploy/");
    let server = staff::set_up(&fake, QUICK)
        .env("STACKHOOK_PUBLIC_URL", &public)
        .serve();
    under_a_path(listener, server.address);
    let browser = Browser::start();
    sign_in(&browser, "http", &format!("stackhook.test:{port}/deploy"));
    browser.wait_for("Portainer answers");
    let url = browser.run("return document.getElementById('url-update').value");
    assert_eq!(url, format!("{public}webhook/update/"));
    let pull = pull_held(&fake);
    press(&browser, "update");
    browser.wait_for("pulling ghcr.io/acme/web:1");
    pull.open();
    browser.wait_for("1 of 2 services updated, all healthy");
    let path = browser.run("return location.pathname + location.hash");
    assert_eq!(path, format!("/deploy{}#stack-shop", PAGE));
    browser.open(&format!("{public}nothing"));
    browser.click("main a");
    browser.wait_for("1 of 2 services updated, all healthy");
    browser.click("footer a");
    browser.wait_for("stackhook_build_info");
}
