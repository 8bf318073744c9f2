//! Shows the main job without a Portainer: `cargo run --example demo` starts a stand-in for Portainer and the real stackhook, sends
//! four deliveries, and keeps running so that you can try more. With `--once` it exits after the deliveries, and fails unless every
//! step ended as described.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the output is the purpose of the demo"
)]

#[allow(
    dead_code,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "shared with the tests, which fail by panicking"
)]
#[path = "support/client.rs"]
mod client;
#[path = "support/fake.rs"]
mod fake;
#[path = "demo/output.rs"]
mod output;
#[allow(
    dead_code,
    clippy::indexing_slicing,
    reason = "shared with the tests; the sizes are fixed"
)]
#[path = "support/sign.rs"]
mod sign;
#[path = "demo/stackhook_process.rs"]
mod stackhook_process;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use client::Reply;
use fake::{Behaviour, Era, Fake, Seen};
use output::{has_same_container, indented, print_containers, title};
use stackhook_process::Stackhook;

/// Known to the sender and to stackhook. Yours comes from `stackhook generate-secret` and is kept private.
const SECRET: &str = "shown-because-it-is-a-demo";
/// Password of the settings page.
const STAFF_PASSWORD: &str = "also-shown-in-the-demo";
const IMAGE: &str = "ghcr.io/acme/web:1";
const BODY: &str = r#"{"event":"stack_update"}"#;
/// Good images are healthy at their first check, to keep the demo short.
const GOOD: Behaviour = Behaviour::Healthy {
    after: Duration::from_millis(100),
};
const FILE: &str = "
services:
  web:
    image: ghcr.io/acme/web:1
    restart: unless-stopped
    environment:
      GREETING: ${GREETING}
    healthcheck:
      test: [\"CMD\", \"/web\", \"health\"]
      interval: 200ms
  db:
    image: docker.io/library/postgres:17
    restart: unless-stopped
";

fn main() -> ExitCode {
    if let Some(exit) = stackhook_process::run_if_child() {
        return exit;
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let once = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => false,
        ["--once"] => true,
        _ => {
            eprintln!("usage: cargo run --example demo [-- --once]");
            return ExitCode::from(2);
        }
    };
    let result = Demo::start().and_then(|demo| {
        demo.run_all_steps()?;
        if once {
            println!("\n\nAll four steps ended as described.");
            return Ok(());
        }
        demo.keep_running()
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("\nthe demo failed: {reason}");
            ExitCode::FAILURE
        }
    }
}

struct Demo {
    portainer: Fake,
    stackhook: Stackhook,
}

impl Demo {
    fn start() -> Result<Demo, String> {
        let mut portainer = Fake::start(Era::B2);
        // 127.0.0.1, which readers recognize.
        portainer.move_to(SocketAddr::from(([127, 0, 0, 1], 0)));
        portainer.world(|world| {
            world.push(IMAGE, GOOD);
            world.push("postgres:17", Behaviour::Runs);
            world.compose_stack("shop", FILE, &[("GREETING", "hello")]);
        });
        let url = portainer.url();
        let settings = [
            ("PORTAINER_URL", url.as_str()),
            ("PORTAINER_API_KEY", portainer.api_key()),
            ("PORTAINER_STACK_NAME", "shop"),
            ("PORTAINER_WEBHOOK_SECRET", SECRET),
            ("STACKHOOK_STAFF_PASSWORD", STAFF_PASSWORD),
        ];
        let stackhook = Stackhook::start(&settings)?;
        println!(
            "stackhook in four steps. Everything runs on this machine, and nothing is kept.\n"
        );
        println!(
            "  Portainer  {url}   a stand-in; its stack \"shop\" has two services, web and db"
        );
        println!(
            "  stackhook  http://{}   the real program, started with\n",
            stackhook.address
        );
        for (name, value) in settings {
            println!("    {name}={value}");
        }
        println!("\nEvery step sends this request:\n");
        println!("    body='{BODY}'");
        println!(
            "    signature=$(printf %s \"$body\" | openssl dgst -sha256 -hmac \"$PORTAINER_WEBHOOK_SECRET\" -r | cut -d' ' -f1)"
        );
        println!(
            "    curl -H \"X-Portainer-Signature: $signature\" --data-binary \"$body\" http://{}/webhook/update/",
            stackhook.address
        );
        Ok(Demo {
            portainer,
            stackhook,
        })
    }

    fn run_all_steps(&self) -> Result<(), String> {
        self.deploy_new_image()?;
        self.reject_wrong_signature()?;
        self.fail_on_missing_image()?;
        self.roll_back_bad_release()
    }

    fn deploy_new_image(&self) -> Result<(), String> {
        let before = self.begin("1. A new image is deployed");
        let new = self.portainer.world(|world| world.push(IMAGE, GOOD));
        println!("  A pipeline pushes a new {IMAGE} and calls stackhook.");
        let reply = self.deliver(SECRET)?;
        let after = self.print_result(&before);

        let env = self
            .portainer
            .world(|world| world.stack("shop").env.clone());
        for (name, value) in env.iter().flatten() {
            println!("    the stack's variable {name} is still \"{value}\"");
        }
        ensure(reply.status == 200, "the delivery succeeds")?;
        ensure(
            has_same_container(&before, &after, "db"),
            "db keeps its container",
        )?;
        let web = service(&after, "web");
        ensure(
            web.is_some_and(|web| web.image_id == new && web.health == Some("healthy")),
            "web runs the new image and is healthy",
        )?;
        ensure(
            self.portainer.puts().len() == 1,
            "Portainer receives one update",
        )?;
        ensure(
            env == Some(vec![("GREETING".to_owned(), "hello".to_owned())]),
            "the variables are preserved",
        )
    }

    fn reject_wrong_signature(&self) -> Result<(), String> {
        let before = self.begin("2. A wrong signature is rejected");
        println!("  An attacker who does not know the secret signs with a guess.");
        let reply = self.deliver("just-a-guess")?;

        ensure(reply.status == 401, "the delivery is rejected")?;
        ensure(
            self.portainer.calls().is_empty(),
            "Portainer receives no request",
        )?;
        ensure(self.containers() == before, "nothing changes")?;
        println!("\n  Portainer received no request.");
        Ok(())
    }

    fn fail_on_missing_image(&self) -> Result<(), String> {
        let before = self.begin("3. A missing image changes nothing");
        println!(
            "  The tag {IMAGE} disappears from the registry; a typing mistake in the tag would look the same."
        );
        self.portainer
            .world(|world| world.remove_from_registry(IMAGE));
        let reply = self.deliver(SECRET)?;
        let after = self.print_result(&before);

        ensure(reply.status == 502, "the delivery fails")?;
        ensure(reply.text().contains(IMAGE), "the reply names the image")?;
        ensure(
            self.portainer.puts().is_empty(),
            "Portainer receives no update",
        )?;
        ensure(after == before, "nothing changes")
    }

    fn roll_back_bad_release(&self) -> Result<(), String> {
        let before = self.begin("4. A bad release is rolled back");
        let bad = self
            .portainer
            .world(|world| world.push(IMAGE, Behaviour::CannotStart));
        println!("  A pipeline pushes an image whose container cannot start.");
        let reply = self.deliver(SECRET)?;
        let after = self.print_result(&before);

        ensure(reply.status == 502, "the delivery fails")?;
        ensure(reply.text().contains("web"), "the reply names the service")?;
        let (old, web) = (service(&before, "web"), service(&after, "web"));
        ensure(
            web.is_some_and(|web| web.image_id != bad && web.health == Some("healthy"))
                && web.map(|web| &web.image_id) == old.map(|old| &old.image_id),
            "web runs the previous image again",
        )?;
        ensure(
            has_same_container(&before, &after, "db"),
            "db keeps its container",
        )
    }

    /// Runs until Ctrl-C, or until stackhook exits.
    fn keep_running(self) -> Result<(), String> {
        let Demo {
            portainer,
            stackhook,
        } = self;
        let address = stackhook.address;
        title("Your turn");
        println!("  Everything keeps running until Ctrl-C.\n");
        println!("    settings page   http://{address}/settings/webhooks/");
        println!("    login           user \"staff\", password \"{STAFF_PASSWORD}\"");
        println!("    a request       as above; export PORTAINER_WEBHOOK_SECRET={SECRET}");
        println!("    Enter           pushes a new image that works");
        println!("\n  The log of stackhook from now on:\n");
        let push = move || {
            portainer.world(|world| world.push(IMAGE, GOOD));
            println!("    (a new {IMAGE} is in the registry)");
        };
        push();
        thread::spawn(move || {
            for _ in std::io::stdin().lines().map_while(Result::ok) {
                push();
            }
            // Standard input is closed; the stand-in must stay alive.
            loop {
                thread::park();
            }
        });
        for line in &stackhook.log {
            println!("    {line}");
        }
        Err("stackhook exited".to_owned())
    }

    /// Prints a title; returns the containers before the step.
    fn begin(&self, step: &str) -> Vec<Seen> {
        title(step);
        self.portainer.forget_calls();
        self.containers()
    }

    /// Sends the request and prints the reply and the log.
    fn deliver(&self, secret: &str) -> Result<Reply, String> {
        let signature = sign::hex_hmac(secret, BODY.as_bytes());
        let headers = [("X-Portainer-Signature", signature.as_str())];
        let to = self.stackhook.address;
        let request = client::request(to, "POST", "/webhook/update/", &headers, BODY.as_bytes());
        let began = Instant::now();
        let reply = client::parse(&client::exchange(to, &request));
        let seconds = began.elapsed().as_secs_f64();
        println!("\n  Reply after {seconds:.1} s: {}\n", reply.status);
        print!("{}", indented(reply.text()));
        println!("\n  Log:\n");
        self.stackhook
            .print_log(&format!("status={}", reply.status))?;
        Ok(reply)
    }

    fn print_result(&self, before: &[Seen]) -> Vec<Seen> {
        let after = self.containers();
        println!("\n  Containers in Portainer:\n");
        print_containers(before, &after);
        after
    }

    fn containers(&self) -> Vec<Seen> {
        self.portainer.world(|world| world.containers("shop"))
    }
}

fn service<'a>(containers: &'a [Seen], name: &str) -> Option<&'a Seen> {
    containers
        .iter()
        .find(|container| container.service == name)
}

/// A promise of the demo; the demo fails if it does not hold.
fn ensure(holds: bool, promise: &str) -> Result<(), String> {
    if holds {
        Ok(())
    } else {
        Err(format!("not true: {promise}"))
    }
}
