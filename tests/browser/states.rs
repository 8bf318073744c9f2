//! Every state of the page in a real browser: light and dark, on a phone and on a desk, with and without scripts. Measured are
//! headline, broken words, sideways scrolling and requests; axe-core checks accessibility.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use super::{browse, crash, crash_with_log, resize, set_theme};
use crate::support::fake::{Era, Fake, Fault, When};
use crate::support::program::Stackhook;
use crate::support::shop::{self, GOOD, QUICK, SECRET, WEB, pull_held};
use crate::support::staff::{self, PAGE};

/// A name that would be markup, a script and an endless word.
const HOSTILE: &str = "<img src=x onerror=\"document.title='owned'\"> & wwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwww";

/// A server in some state, and the page that shows it.
struct Scene {
    _fake: Fake,
    server: Stackhook,
    path: String,
}

impl Scene {
    /// The settings page.
    fn page(fake: Fake, server: Stackhook) -> Scene {
        Scene {
            _fake: fake,
            server,
            path: PAGE.to_owned(),
        }
    }
}

/// The expected tone and the beginning of the headline, and words that are on the page.
struct Expected {
    tone: &'static str,
    headline: &'static str,
    words: &'static [&'static str],
}

/// Returns the faults of the page in this window, a sentence each.
const FAULTS: &str = r#"
    const faults = [], tone = arguments[0], wide = innerWidth > 700;
    const h1 = document.querySelector('h1');
    if (document.querySelectorAll('h1').length !== 1) faults.push('not one h1');
    const size = element => parseFloat(getComputedStyle(element).fontSize);
    if (size(h1) < (wide ? 27 : 22)) faults.push('the headline has only ' + size(h1) + ' px');
    for (const element of document.querySelectorAll('main *'))
        if (size(element) >= size(h1)) faults.push('larger than the headline: ' + element.outerHTML.slice(0, 80));
    if (tone) {
        const sample = document.body.appendChild(document.createElement('i'));
        sample.style.color = 'var(--' + ({ progress: 'accent', neutral: 'muted' }[tone] || tone) + ')';
        const [is, wanted] = [h1, sample].map(element => getComputedStyle(element).color);
        if (is !== wanted) faults.push('the headline is ' + is + ' instead of ' + tone + ', ' + wanted);
        sample.remove();
    }
    document.querySelectorAll('details').forEach(details => { details.open = true; });
    const root = document.documentElement;
    if (root.scrollWidth > innerWidth || innerWidth > screen.width) faults.push('scrolls sideways: ' + root.scrollWidth);
    for (const element of document.querySelectorAll('.scroll'))
        if (element.scrollWidth > element.clientWidth + 1) faults.push('a table scrolls sideways: ' + element.getAttribute('aria-label'));
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), range = document.createRange();
    for (let node = walker.nextNode(); node; node = walker.nextNode()) {
        if (innerWidth < 390 || node.parentElement.closest('script, style, noscript, pre, td.details')) continue;
        for (const word of node.data.matchAll(/[\p{L}\p{N}·_]{2,24}(?![\p{L}\p{N}_])/gu)) {
            if (/[\p{L}\p{N}_]/u.test(node.data[word.index - 1] || ' ')) continue;
            const end = word.index + word[0].length;
            const token = node.data.slice(0, end).match(/\S*$/)[0] + node.data.slice(end).match(/^\S*/)[0];
            if (token.length > 24) continue;
            range.setStart(node, word.index);
            range.setEnd(node, end);
            const lines = new Set(Array.from(range.getClientRects(), box => Math.round(box.top)));
            if (lines.size > 1) faults.push('broken word: ' + word[0]);
        }
    }
    for (const entry of performance.getEntriesByType('resource'))
        if (!/\/(state\/)?$/.test(entry.name)) faults.push('another request: ' + entry.name);
    if (document.title === 'owned' || document.images.length) faults.push('foreign markup');
    const hidden = !!document.querySelector('[data-copy][hidden]'), shown = !!document.querySelector('[data-copy]:not([hidden])');
    if (arguments[1] ? hidden : shown) faults.push('copy buttons do not fit the browser');
    return faults;
"#;

#[track_caller]
fn check_state(name: &str, scene: &Scene, expected: &Expected) {
    let browser = browse(&scene.server);
    let url = format!("http://{}{}", scene.server.address, scene.path);
    let mut faults: Vec<String> = Vec::new();
    for scripts in [true, false] {
        let disabled = json!({"value": !scripts});
        browser.devtools("Emulation.setScriptExecutionDisabled", disabled);
        for (theme, width) in [
            ("light", 1280),
            ("dark", 1280),
            ("light", 390),
            ("dark", 390),
            ("light", 320),
        ] {
            let place = format!(
                "{name}-{theme}-{width}{}",
                if scripts { "" } else { "-plain" }
            );
            set_theme(&browser, theme);
            resize(&browser, width);
            browser.wait(expected.headline, || {
                browser.open(&url);
                browser.text("h1").starts_with(expected.headline)
            });
            browser.picture(&place);
            let text = browser.run("return document.body.textContent");
            let text = text.as_str().unwrap();
            let missing = expected
                .words
                .iter()
                .filter(|words| !text.contains(**words));
            faults.extend(missing.map(|words| format!("{place}: {words:?} is not in {text}")));
            let measured = browser.run_with(FAULTS, json!([expected.tone, scripts]));
            let accessibility = if scripts { browser.axe() } else { json!([]) };
            for found in [measured, accessibility] {
                let found = found.as_array().unwrap().iter();
                faults.extend(found.map(|fault| format!("{place}: {fault}")));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// One test for each state: its name, its scene, and what is expected.
macro_rules! states {
    ($($name:ident, $scene:expr, $tone:literal, $headline:literal, [$($words:literal),*];)*) => {$(
        #[test]
        #[ignore = "needs chromium and chromium-driver"]
        fn $name() {
            let expected = Expected { tone: $tone, headline: $headline, words: &[$($words),*] };
            check_state(stringify!($name), &$scene, &expected);
        }
    )*};
}

states! {
    first_steps, first_visit(), "good", "shop is healthy; no delivery yet", ["First steps", "Portainer answers", "None has arrived yet"];
    healthy, updated(), "good", "shop is healthy", ["1 of 2 services updated", "built", "none of the last 2 deliveries failed"];
    updating, held(), "progress", "shop is being updated", ["pulling ghcr.io/acme/web:1", "updating"];
    failed, after_a_crash(QUICK), "bad", "shop: update failed (web keeps restarting, exit code 3", ["What helps", "Roll back", "line 19"];
    failed_and_restored, after_a_crash(&quick_with("rollback = \"when-unhealthy\"")), "warn", "shop: update failed, previous images restored", ["failed, restored", "Nothing needs to be done right now", "is blocked"];
    unknown_result, lost(), "warn", "shop: result of the update unknown", ["result unknown", "Try the update again"];
    paused, pressed("pause"), "warn", "shop is paused", ["they are not replayed", "Resume"];
    blocked_image, rolled_back(), "warn", "shop is healthy; blocked: ghcr.io/acme/web:1", ["is blocked", "Allow it again", "rolled back"];
    unreachable_portainer, unreachable(), "bad", "Portainer cannot be reached", ["connection refused", "PORTAINER_URL"];
    wrong_stack_name, with_stack("[[stack]]\nkey = \"other\"\nname = \"Store\""), "bad", "Store (other) cannot be updated", ["Portainer has: shop"];
    rejected_deliveries, rejections(), "good", "shop is healthy", ["The secret differs on the two sides", "The sender signs nothing"];
    dry_run_to_confirm, pressed("update"), "good", "shop is healthy", ["Nothing was changed", "Update now", "Cancel"];
    delivery_page, delivery(), "bad", "shop: failed", ["Verify the containers: failed", "recreated", "line 19"];
    unknown_page, unknown_address(), "", "Not found", ["There is nothing here", "Open the settings page"];
    webhook_address, at("/webhook/update/"), "", "Not a page to open", ["This address takes only POST", "Open the settings page"];
    hostile_name, hostile(), "bad", "2 stacks need attention: shop, <img src=x onerror=", ["</code></pre><script>"];
}

fn quick_with(option: &str) -> String {
    format!("{QUICK}{option}\n")
}

fn first_visit() -> Scene {
    let (fake, server) = staff::shop();
    Scene::page(fake, server)
}

/// An update after an earlier one.
fn updated() -> Scene {
    let (fake, server) = staff::shop();
    for _ in 0..2 {
        fake.world(|world| world.push(WEB, GOOD));
        assert_eq!(server.signed("/webhook/update/", SECRET, "{}").status, 200);
    }
    Scene::page(fake, server)
}

/// An update whose pull never ends.
fn held() -> Scene {
    let (fake, server) = staff::shop();
    pull_held(&fake);
    staff::press(&server, "update", "shop");
    staff::wait_for(&server, "pulling ghcr.io/acme/web:1");
    Scene::page(fake, server)
}

fn after_a_crash(file: &str) -> Scene {
    let fake = shop::portainer(Era::A);
    let server = staff::serve(&fake, file);
    crash(&fake);
    assert_eq!(server.signed("/webhook/update/", SECRET, "{}").status, 502);
    Scene::page(fake, server)
}

/// An update whose request was lost, so that its result stays open.
fn lost() -> Scene {
    let (fake, server) = staff::shop();
    fake.world(|world| world.push(WEB, GOOD));
    fake.fault(When::next("PUT", "/api/stacks/"), Fault::CloseBefore);
    staff::press(&server, "update", "shop");
    // Portainer is asked for more than a minute before that is given up.
    let until = Instant::now() + Duration::from_secs(180);
    while !staff::page(&server).contains("result unknown") {
        assert!(Instant::now() < until, "{}", staff::page(&server));
        thread::sleep(Duration::from_secs(1));
    }
    Scene::page(fake, server)
}

fn pressed(action: &str) -> Scene {
    let (fake, server) = staff::shop();
    fake.world(|world| world.push(WEB, GOOD));
    staff::press_once(&server, action, "shop");
    Scene::page(fake, server)
}

fn rolled_back() -> Scene {
    let scene = after_a_crash(QUICK);
    staff::press(&scene.server, "rollback", "shop");
    scene
}

fn unreachable() -> Scene {
    let (mut fake, server) = staff::shop();
    fake.go_down();
    Scene::page(fake, server)
}

fn with_stack(section: &str) -> Scene {
    let fake = shop::portainer(Era::A);
    let server = staff::serve(&fake, &format!("{QUICK}\n{section}\n"));
    Scene::page(fake, server)
}

fn rejections() -> Scene {
    let (fake, server) = staff::shop();
    let wrong = "0".repeat(64);
    server.post(
        "/webhook/update/",
        &[("X-Portainer-Signature", &wrong)],
        b"{}",
    );
    server.post("/webhook/update/", &[], b"{}");
    Scene::page(fake, server)
}

fn delivery() -> Scene {
    let (fake, server) = staff::shop();
    crash(&fake);
    let reply = server.signed("/webhook/update/", SECRET, "{}");
    let id = reply.json()["delivery"].as_str().unwrap().to_owned();
    Scene {
        path: format!("{PAGE}deliveries/{id}/"),
        ..Scene::page(fake, server)
    }
}

fn at(path: &str) -> Scene {
    Scene {
        path: path.to_owned(),
        ..first_visit()
    }
}

fn unknown_address() -> Scene {
    at("/nothing/of/this/name")
}

/// Two failed stacks: one with a hostile name, one with a hostile log.
fn hostile() -> Scene {
    let fake = shop::portainer(Era::A);
    let stack = format!("[[stack]]\nkey = \"evil\"\nname = '''{HOSTILE}'''");
    let server = staff::serve(&fake, &format!("{QUICK}\n{stack}\n"));
    let log = format!("</code></pre><script>document.title='owned'</script>{HOSTILE}\u{202e}");
    crash_with_log(&fake, vec![log]);
    let body = "{\"stack\":\"shop\"}";
    assert_eq!(server.signed("/webhook/update/", SECRET, body).status, 502);
    Scene::page(fake, server)
}

/// With many stacks the failed one is on the first screen, and the page stays short and small.
#[test]
#[ignore = "needs chromium and chromium-driver"]
fn twenty_five_stacks_stay_short_with_the_failed_one_in_sight() {
    let (_fake, server) = staff::twenty_five_stacks();
    staff::wait_for(&server, "app24: update failed");
    let browser = browse(&server);
    let url = format!("http://{}{PAGE}", server.address);
    for (width, at_most) in [(1280, 3_000), (390, 6_000)] {
        resize(&browser, width);
        browser.open(&url);
        browser.picture(&format!("many-light-{width}"));
        let measured = browser.run(
            "const failed = document.getElementById('stack-app24').getBoundingClientRect(), loaded = performance.getEntriesByType('navigation')[0];
             return [document.documentElement.scrollHeight, failed.top, innerHeight, loaded.encodedBodySize]",
        );
        let number = |index: usize| measured[index].as_f64().unwrap();
        assert!(number(0) <= f64::from(at_most), "{width} px: {measured}");
        assert!(
            number(1) < number(2),
            "the failed stack is below the first screen: {measured}"
        );
        assert!(number(3) <= 65_536.0, "{measured}");
        assert_eq!(browser.axe(), json!([]), "{width}");
    }
}
