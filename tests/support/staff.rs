//! Staff at their browser, as requests: signed in, on the settings page, pressing its buttons.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::client::Reply;
use super::fake::{Era, Fake};
use super::program::{Setup, Stackhook};
use super::shop;

pub(crate) const PASSWORD: &str = "staff-password-of-the-tests";
pub(crate) const PAGE: &str = "/settings/webhooks/";

/// The shop with a settings page and a state directory.
pub(crate) fn serve(fake: &Fake, file: &str) -> Stackhook {
    let setup = Setup::with(fake).file("stackhook.toml", file);
    let state = setup.path().join("state");
    shop::variables(setup)
        .env("STACKHOOK_STATE_DIR", state.to_str().unwrap())
        .env("STACKHOOK_STAFF_PASSWORD", PASSWORD)
        .serve()
}

/// The shop as it is in most tests.
pub(crate) fn shop() -> (Fake, Stackhook) {
    let fake = shop::portainer(Era::A);
    let server = serve(&fake, shop::QUICK);
    (fake, server)
}

/// The value of `Authorization`.
pub(crate) fn basic(password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("staff:{password}")))
}

/// What staff see.
#[track_caller]
pub(crate) fn get(server: &Stackhook, target: &str) -> Reply {
    server.request("GET", target, &[("Authorization", &basic(PASSWORD))], b"")
}

/// The page.
#[track_caller]
pub(crate) fn page(server: &Stackhook) -> String {
    let reply = get(server, PAGE);
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.text().to_owned()
}

/// Presses a button of the page, as a browser does; follows where it is sent.
#[track_caller]
pub(crate) fn press(server: &Stackhook, action: &str, stack: &str) -> String {
    let reply = post(
        server,
        &token(&page(server)),
        action,
        stack,
        &[("Sec-Fetch-Site", "same-origin")],
    );
    assert_eq!(reply.status, 303, "{}", reply.text());
    assert!(reply.header("Location").unwrap().starts_with("./#"));
    page(server)
}

/// Sends the form with these headers.
pub(crate) fn post(
    server: &Stackhook,
    token: &str,
    action: &str,
    stack: &str,
    headers: &[(&str, &str)],
) -> Reply {
    let body = format!("token={token}&action={action}&stack={stack}");
    let authorization = basic(PASSWORD);
    let mut all = vec![
        ("Authorization", authorization.as_str()),
        ("Content-Type", "application/x-www-form-urlencoded"),
    ];
    all.extend(headers);
    server.post(PAGE, &all, body.as_bytes())
}

/// What the forms of the page carry.
#[track_caller]
pub(crate) fn token(page: &str) -> String {
    let (_, rest) = page.split_once("name=\"token\" value=\"").unwrap();
    rest.split_once('"').unwrap().0.to_owned()
}

/// Waits until the page says so.
#[track_caller]
pub(crate) fn wait_for(server: &Stackhook, words: &str) -> String {
    let until = std::time::Instant::now() + std::time::Duration::from_secs(30);
    loop {
        let page = page(server);
        if page.contains(words) {
            return page;
        }
        assert!(
            std::time::Instant::now() < until,
            "{words:?} is not on the page:\n{page}"
        );
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
}
