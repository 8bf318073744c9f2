//! The settings page in a real browser. Needs chromium and chromium-driver, so it runs only when it is asked for:
//! `cargo test browser -- --ignored`, as `.ci/run` does. With `SCREENSHOTS=directory` it leaves pictures there.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::support::browser::Browser;
use crate::support::fake::Behaviour;
use crate::support::program::Stackhook;
use crate::support::shop::{GOOD, QUICK, SECRET, WEB, pull_held};
use crate::support::staff::{self, PASSWORD};

/// Signs in, and opens the page once more, because scripts may not fetch from an address with a password in it.
#[track_caller]
fn sign_in(browser: &Browser, server: &Stackhook, host: &str) {
    let page = format!("{host}:{}{}", server.address.port(), staff::PAGE);
    browser.open(&format!("http://staff:{PASSWORD}@{page}"));
    browser.open(&format!("http://{page}"));
}

fn button(action: &str) -> String {
    format!("#stack-shop > form.actions > button[value={action}]")
}

/// Presses a button of the shop, and confirms what its dry run shows. The card of a healthy stack is closed at first.
fn press(browser: &Browser, action: &str) {
    browser.run("document.getElementById('stack-shop').open = true");
    browser.click(&button(action));
    // The button cannot be pressed at once, so that a double tap confirms nothing.
    let confirm = format!("#check-shop button[value={action}]");
    browser.wait_for("Nothing was changed");
    thread::sleep(Duration::from_millis(1000));
    browser.click(&confirm);
}

/// The text of an element, also where a closed card hides it.
fn hidden_text(browser: &Browser, css: &str) -> String {
    let text = browser.run(&format!(
        "return document.querySelector('{css}').textContent"
    ));
    text.as_str().unwrap().to_owned()
}

/// Whether the page scrolls sideways at this width.
fn scrolls_sideways(browser: &Browser, width: u32) -> bool {
    let size = json!({"width": width, "height": 844, "deviceScaleFactor": 2, "mobile": true});
    browser.devtools("Emulation.setDeviceMetricsOverride", size);
    let wide = browser.run("return document.documentElement.scrollWidth > window.innerWidth || window.innerWidth > window.screen.width");
    wide == true
}

fn light(browser: &Browser, scheme: &str) {
    let feature = json!([{"name": "prefers-color-scheme", "value": scheme}]);
    browser.devtools("Emulation.setEmulatedMedia", json!({"features": feature}));
}

fn phone(browser: &Browser) {
    let size = json!({"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": true});
    browser.devtools("Emulation.setDeviceMetricsOverride", size);
}

fn desk(browser: &Browser) {
    browser.devtools("Emulation.clearDeviceMetricsOverride", json!({}));
}

#[test]
#[ignore = "needs chromium and chromium-driver"]
fn from_the_first_visit_to_a_successful_update() {
    let (fake, server) = staff::shop();
    let browser = Browser::start();
    browser.open(&format!("http://{}{}", server.address, staff::PAGE));
    assert!(
        !browser.page().contains("Stacks"),
        "the page needs the password"
    );
    sign_in(&browser, &server, "127.0.0.1");
    browser.wait_for("Portainer answers");
    browser.wait_for("First steps");
    browser.picture("first-steps-light");

    // Copying, where the browser allows it, and where it does not.
    let permissions = json!({"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]});
    browser.devtools("Browser.grantPermissions", permissions);
    let copy = "#hook-update .copy [data-copy]";
    browser.click(copy);
    browser.wait_for("Copied");
    sign_in(&browser, &server, "stackhook.test");
    assert_eq!(browser.run("return window.isSecureContext"), false);
    browser.click(copy);
    browser.wait_for("Copied");
    sign_in(&browser, &server, "127.0.0.1");
    let port = server.address.port();
    assert_eq!(
        browser.run("return navigator.clipboard.readText()"),
        format!("http://stackhook.test:{port}/webhook/update/")
    );

    browser.click("button[value=test]");
    browser.wait_for("administrator");

    fake.world(|world| world.push(WEB, GOOD));
    browser.run("document.getElementById('stack-shop').open = true");
    browser.click(&button("update"));
    browser.wait_for("Nothing was changed");
    browser.picture("dry-run-light");
    browser.click("#check-shop button[value=dismiss]");
    browser.wait_until_gone("Nothing was changed");
    press(&browser, "update");
    browser.wait_for("1 of 2 services updated, all healthy");
    browser.wait_for_text("#stack-shop .badge", "healthy");
    let url = browser.run("return location.pathname + location.hash");
    assert_eq!(url, format!("{}#stack-shop", staff::PAGE));

    assert_eq!(server.signed("/webhook/update/", SECRET, "{}").status, 200);
    browser.open(&format!("http://127.0.0.1:{port}{}", staff::PAGE));
    browser.wait_for_text("h1", "shop is healthy");
    assert!(
        !browser.page().contains("First steps"),
        "nothing is left to do"
    );
    browser.picture("healthy-light");
    light(&browser, "dark");
    browser.picture("healthy-dark");
    light(&browser, "light");
    assert!(!scrolls_sideways(&browser, 320));
    phone(&browser);
    browser.picture("healthy-phone");
    desk(&browser);
}

#[test]
#[ignore = "needs chromium and chromium-driver"]
fn a_failure_shows_its_cause_its_log_and_the_way_back() {
    let (fake, server) = staff::shop();
    fake.world(|world| {
        let every = Duration::from_millis(1);
        world.push(WEB, Behaviour::CrashLoop { every, code: 3 })
    });
    assert_eq!(server.signed("/webhook/update/", SECRET, "{}").status, 502);
    let browser = Browser::start();
    sign_in(&browser, &server, "127.0.0.1");
    browser.wait_for("Last lines of the log of web");
    let headline = browser.text("h1");
    assert!(headline.starts_with("shop: update failed"), "{headline}");
    let size =
        browser.run("return parseFloat(getComputedStyle(document.querySelector('h1')).fontSize)");
    assert!(size.as_f64() >= Some(24.0), "{size}");
    assert!(
        !browser.page().contains("First steps"),
        "only the failure matters"
    );
    let failure = browser.text("#stack-shop .panel").to_lowercase();
    for words in [
        "exit code 3",
        "starting",
        "what runs now",
        "what helps",
        "roll back to the images",
    ] {
        assert!(failure.contains(words), "{words:?} is not in {failure}");
    }
    assert_eq!(browser.text(".panel button.primary"), "Roll back");
    browser.picture("failed-light");
    light(&browser, "dark");
    browser.picture("failed-dark");
    light(&browser, "light");
    assert!(!scrolls_sideways(&browser, 320));
    phone(&browser);
    browser.picture("failed-phone");
    desk(&browser);
    browser.click(".panel button.primary");
    browser.wait_for_text("#stack-shop .badge", "healthy");
    browser.run("document.getElementById('stack-shop').open = true");
    browser.wait_for("is blocked until a newer image arrives");
    browser.picture("rolled-back-light");

    browser.click(&button("pause"));
    browser.wait_for("they are not replayed");
    browser.wait_for_text("#stack-shop .badge", "paused");
    browser.picture("paused-light");
    browser.click(&button("resume"));
    browser.wait_until_gone("they are not replayed");
}

#[test]
#[ignore = "needs chromium and chromium-driver"]
fn without_javascript_the_page_refreshes_itself() {
    let (fake, server) = staff::shop();
    let pull = pull_held(&fake);
    let browser = Browser::start();
    browser.devtools(
        "Emulation.setScriptExecutionDisabled",
        json!({"value": true}),
    );
    sign_in(&browser, &server, "127.0.0.1");
    assert!(
        browser.text("time").ends_with(" UTC"),
        "only a script makes it local"
    );
    assert!(
        !browser.has("[data-copy]:not([hidden])"),
        "a button that needs the script is hidden"
    );
    browser.click("#stack-shop > summary");
    browser.click(&button("update"));
    browser.wait_for("Nothing was changed");
    thread::sleep(Duration::from_millis(1000));
    browser.click("#check-shop button[value=update]");
    // DevTools stop scripts but let the parser skip what is for browsers without: so the refresh is looked for, and done by hand.
    let refresh = "<noscript><meta http-equiv=\"refresh\" content=\"3\">";
    staff::wait_for(&server, refresh);
    pull.open();
    staff::wait_for(&server, "1 of 2 services updated, all healthy");
    browser.open(&format!(
        "http://127.0.0.1:{}{}",
        server.address.port(),
        staff::PAGE
    ));
    browser.wait_for("1 of 2 services updated, all healthy");
    assert!(
        !staff::page(&server).contains(refresh),
        "at the end it refreshes once a minute"
    );
}

#[test]
#[ignore = "needs chromium and chromium-driver"]
fn hostile_names_stay_text_and_a_forged_form_does_nothing() {
    let hostile = "<img src=x onerror=\"document.title='owned'\">";
    let fake = crate::support::shop::portainer(crate::support::fake::Era::A);
    fake.world(|world| {
        let file = format!("services:\n  web:\n    image: {WEB}\n");
        world.compose_stack(hostile, &file, &[]);
    });
    let file = format!("{QUICK}\n[[stack]]\nkey = \"evil\"\nname = '''{hostile}'''\n");
    let server = staff::serve(&fake, &file);
    let browser = Browser::start();
    sign_in(&browser, &server, "127.0.0.1");
    browser.wait_for("onerror=");
    assert_eq!(browser.run("return document.images.length"), 0);
    // The title may name the stack, as text.
    assert_ne!(browser.run("return document.title"), "owned");
    // Nor would it run if it were markup: the policy forbids it.
    browser.run("var s = document.createElement('script'); s.textContent = 'document.title = \"owned\"'; document.body.append(s)");
    assert_ne!(browser.run("return document.title"), "owned");
    browser.picture("hostile");

    let target = format!("http://127.0.0.1:{}{}", server.address.port(), staff::PAGE);
    browser.open(&format!(
        "data:text/html,<form method=post action={target}><input name=action value=pause><input name=stack value=shop></form>"
    ));
    browser.run("document.forms[0].submit()");
    browser.wait_for("nothing was done");
    browser.open(&target);
    browser.wait_for("onerror=");
    assert!(!hidden_text(&browser, "#stack-list").contains("they are not replayed"));
}

#[test]
#[ignore = "needs chromium and chromium-driver"]
fn problems_are_shown_with_what_to_do() {
    let mut fake = crate::support::shop::portainer(crate::support::fake::Era::A);
    let file = format!("{QUICK}\n[[stack]]\nkey = \"other\"\nname = \"Store\"\n");
    let server = staff::serve(&fake, &file);
    let browser = Browser::start();
    sign_in(&browser, &server, "127.0.0.1");
    browser.wait_for("Store (other) cannot be updated");
    let steps = browser.text("[aria-labelledby=first-steps]");
    for words in [
        "A configured stack cannot be updated",
        "Portainer has: shop",
        "stackhook.toml",
    ] {
        assert!(steps.contains(words), "{words:?} is not in {steps}");
    }
    browser.picture("wrong-name-light");
    fake.go_down();
    browser.click("button[value=test]");
    browser.wait_for_text("h1", "Portainer cannot be reached");
    assert_eq!(browser.text("#stack-shop .badge"), "state unknown");
    let steps = browser.text("[aria-labelledby=first-steps]");
    for words in ["Connection refused", "PORTAINER_URL", "PORTAINER_API_KEY"] {
        let found = steps.to_lowercase().contains(&words.to_lowercase());
        assert!(found, "{words:?} is not in {steps}");
    }
    browser.picture("unreachable-light");
    phone(&browser);
    browser.picture("unreachable-phone");
    desk(&browser);
    fake.come_back();
    browser.click("button[value=test]");
    browser.wait_for_text("#stack-shop .badge", "healthy");
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
    // A name that is no secure context, so that the browser sends an Origin and no Sec-Fetch-Site.
    let public = format!("http://stackhook.test:{port}/deploy/");
    let server = staff::set_up(&fake, QUICK)
        .env("STACKHOOK_PUBLIC_URL", &public)
        .serve();
    under_a_path(listener, server.address);
    let browser = Browser::start();
    let page = format!("stackhook.test:{port}/deploy{}", staff::PAGE);
    browser.open(&format!("http://staff:{PASSWORD}@{page}"));
    browser.open(&format!("http://{page}"));
    browser.wait_for("Portainer answers");
    let url = browser.run("return document.getElementById('url-update').value");
    assert_eq!(url, format!("{public}webhook/update/"));
    let pull = pull_held(&fake);
    press(&browser, "update");
    browser.wait_for("pulling ghcr.io/acme/web:1");
    pull.open();
    // The script follows the delivery, and renews the page at its end.
    browser.wait_for("1 of 2 services updated, all healthy");
    let path = browser.run("return location.pathname + location.hash");
    assert_eq!(path, format!("/deploy{}#stack-shop", staff::PAGE));
    browser.click("footer a");
    browser.wait_for("stackhook_build_info");
}
