//! Requests of staff to the settings page, and a receiver for notices.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::client::Reply;
use super::fake::{Era, Fake};
use super::program::{Setup, Stackhook};
use super::shop;

pub(crate) const PASSWORD: &str = "staff-password-of-the-tests";
pub(crate) const PAGE: &str = "/settings/webhooks/";

/// Starts stackhook with a settings page and a state directory.
pub(crate) fn serve(fake: &Fake, file: &str) -> Stackhook {
    set_up(fake, file).serve()
}

/// The same setup, not started.
pub(crate) fn set_up(fake: &Fake, file: &str) -> Setup {
    let setup = Setup::with(fake).file("stackhook.toml", file);
    let state = setup.path().join("state");
    shop::variables(setup)
        .env("STACKHOOK_STATE_DIR", state.to_str().unwrap())
        .env("STACKHOOK_STAFF_PASSWORD", PASSWORD)
}

/// Starts the usual shop with a settings page.
pub(crate) fn shop() -> (Fake, Stackhook) {
    let fake = shop::portainer(Era::A);
    let server = serve(&fake, shop::QUICK);
    (fake, server)
}

/// A Portainer with 25 stacks, and the server for them; the update of the last one has failed.
pub(crate) fn twenty_five_stacks() -> (Fake, Stackhook) {
    let fake = shop::portainer(Era::A);
    let mut file = shop::QUICK.to_owned();
    fake.world(|world| {
        let remote = world.stack("shop").environment;
        for number in 1..=24 {
            let image = format!("ghcr.io/acme/app{number}:1");
            world.push(&image, shop::GOOD);
            let services = format!("services:\n  app:\n    image: {image}\n");
            world.compose_stack_in(remote, &format!("app{number}"), &services, &[]);
            file.push_str(&format!("\n[[stack]]\nname = \"app{number}\"\n"));
        }
    });
    let server = serve(&fake, &file);
    fake.world(|world| world.remove_from_registry("ghcr.io/acme/app24:1"));
    let reply = server.signed("/webhook/update/", shop::SECRET, r#"{"stack":"app24"}"#);
    assert_eq!(reply.status, 502, "{}", reply.text());
    (fake, server)
}

/// The value of `Authorization` for staff.
pub(crate) fn basic(password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("staff:{password}")))
}

/// Requests a path as staff.
#[track_caller]
pub(crate) fn get(server: &Stackhook, target: &str) -> Reply {
    server.request("GET", target, &[("Authorization", &basic(PASSWORD))], b"")
}

/// The HTML of the settings page.
#[track_caller]
pub(crate) fn page(server: &Stackhook) -> String {
    let reply = get(server, PAGE);
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.text().to_owned()
}

/// Presses a button of the page as a browser does, confirms the dry run where one is shown, and follows the redirect.
#[track_caller]
pub(crate) fn press(server: &Stackhook, action: &str, stack: &str) -> String {
    let first = press_once(server, action, stack);
    if !matches!(action, "update" | "force" | "rollback") {
        return first;
    }
    let until = Instant::now() + Duration::from_secs(30);
    let mut shown = first;
    loop {
        let confirm = confirmation(&shown, stack);
        let confirm = confirm.unwrap_or_else(|| panic!("no dry run of {stack} in {shown}"));
        let form = format!("{action}&confirm={confirm}");
        let reply = post(server, &token(&shown), &form, stack, &[SAME_ORIGIN]);
        assert_eq!(reply.status, 303, "{}", reply.text());
        shown = page(server);
        if reply.header("Location") == Some(&format!("./#stack-{stack}")) {
            return shown;
        }
        assert!(Instant::now() < until, "{action} is not confirmed: {shown}");
    }
}

/// The headers that a browser sends with the page's own forms.
pub(crate) const SAME_ORIGIN: (&str, &str) = ("Sec-Fetch-Site", "same-origin");

/// Presses a button of the page once.
#[track_caller]
pub(crate) fn press_once(server: &Stackhook, action: &str, stack: &str) -> String {
    let reply = post(server, &token(&page(server)), action, stack, &[SAME_ORIGIN]);
    assert_eq!(reply.status, 303, "{}", reply.text());
    assert!(reply.header("Location").unwrap().starts_with("./#"));
    page(server)
}

/// The number that confirms the dry run shown for a stack.
pub(crate) fn confirmation(page: &str, stack: &str) -> Option<String> {
    let (_, panel) = page.split_once(&format!("id=\"check-{stack}\""))?;
    let (_, rest) = panel.split_once("name=\"confirm\" value=\"")?;
    Some(rest.split_once('"')?.0.to_owned())
}

/// Posts the form with these headers.
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

/// The form token of the page.
#[track_caller]
pub(crate) fn token(page: &str) -> String {
    let (_, rest) = page.split_once("name=\"token\" value=\"").unwrap();
    rest.split_once('"').unwrap().0.to_owned()
}

/// Waits until the page contains a text.
#[track_caller]
pub(crate) fn wait_for(server: &Stackhook, words: &str) -> String {
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        let page = page(server);
        if page.contains(words) {
            return page;
        }
        assert!(
            Instant::now() < until,
            "{words:?} is not on the page:\n{page}"
        );
        thread::sleep(Duration::from_millis(100));
    }
}

/// A receiver for notices: records requests and answers with the configured status.
#[derive(Debug)]
pub(crate) struct Receiver {
    address: SocketAddr,
    status: Arc<AtomicU16>,
    came: Arc<Mutex<Vec<String>>>,
}

impl Receiver {
    /// Answers 200 to everything.
    pub(crate) fn start() -> Receiver {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let receiver = Receiver {
            address: listener.local_addr().unwrap(),
            status: Arc::new(AtomicU16::new(200)),
            came: Arc::default(),
        };
        let (status, came) = (Arc::clone(&receiver.status), Arc::clone(&receiver.came));
        thread::spawn(move || {
            for stream in listener.incoming().take(200).map_while(Result::ok) {
                let Some(request) = whole(&stream) else {
                    continue;
                };
                came.lock().unwrap().push(request);
                let status = status.load(Ordering::SeqCst);
                let reply = format!("HTTP/1.1 {status} Said\r\nContent-Length: 0\r\n\r\n");
                let _ = (&stream).write_all(reply.as_bytes());
            }
        });
        receiver
    }

    /// Address with a secret path.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/told/nobody-may-see-this-path", self.address)
    }

    pub(crate) fn answer(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }

    /// Waits for at least this many requests; returns their heads and bodies.
    #[track_caller]
    pub(crate) fn came(&self, least: usize) -> Vec<String> {
        let until = Instant::now() + Duration::from_secs(30);
        loop {
            let came = self.came.lock().unwrap().clone();
            if came.len() >= least {
                return came;
            }
            assert!(Instant::now() < until, "only {came:?}");
            thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Reads a whole request; `None` if it is cut off.
fn whole(stream: &TcpStream) -> Option<String> {
    let mut reader = BufReader::new(stream);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let from = head.len();
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
        let line = head[from..].trim_end().to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length: ") {
            length = value.parse().ok()?;
        }
        if line.is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(head + &String::from_utf8(body).ok()?)
}
