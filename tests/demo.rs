//! The whole job, for people without a Portainer: `cargo run --example demo` starts a stand-in for Portainer and the real
//! stackhook, shows what three deliveries do, and stays up for trying by hand. With `--once` it ends after the tour, and
//! its exit code says whether everything went as told.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "what it says is what it is for"
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
#[path = "demo/paper.rs"]
mod paper;
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
use fake::{Behaviour, Era, Fake, ImageId, Seen};
use paper::{indented, print_containers, same_container, short, title};
use stackhook_process::Stackhook;

/// Shared by whoever delivers and stackhook. Yours comes from `stackhook generate-secret` and is shown nowhere.
const SECRET: &str = "shown-because-it-is-a-demo";
const IMAGE: &str = "ghcr.io/acme/web:1";
const BODY: &str = r#"{"event":"stack_update"}"#;
/// Good images are healthy at their first check, so that nobody waits for the demo.
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
    if let Some(exit) = stackhook_process::is_this() {
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
    let told = Demo::start().and_then(|mut demo| {
        demo.tour()?;
        if once {
            println!("\n\nAll of it went as told.");
            return Ok(());
        }
        demo.stay()
    });
    match told {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("\nThis did not go as told: {why}.");
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
        let mut portainer = Fake::start(Era::A);
        // The address that everybody knows.
        portainer.move_to(SocketAddr::from(([127, 0, 0, 1], 0)));
        portainer.world(|world| {
            world.push(IMAGE, GOOD);
            world.push("postgres:17", Behaviour::Runs);
            world.compose_stack("shop", FILE, &[("GREETING", "hello")]);
        });
        let url = portainer.url();
        let settings = [
            ("PORTAINER_URL", url.as_str()),
            ("PORTAINER_USER", portainer.user()),
            ("PORTAINER_PASSWORD", portainer.password()),
            ("PORTAINER_STACK_NAME", "shop"),
            ("PORTAINER_WEBHOOK_SECRET", SECRET),
        ];
        let stackhook = Stackhook::start(&settings)?;
        println!(
            "A tour of stackhook. Everything runs on this machine, and nothing of it stays.\n"
        );
        println!(
            "  Portainer  {url}  a stand-in; its stack \"shop\" runs two services, web and db"
        );
        println!(
            "  stackhook  http://{}  the real one, on a free port, started with",
            stackhook.address
        );
        println!();
        for (name, value) in settings {
            println!("    {name}={value}");
        }
        Ok(Demo {
            portainer,
            stackhook,
        })
    }

    fn tour(&mut self) -> Result<(), String> {
        self.new_image()?;
        self.wrong_signature()?;
        self.missing_image()
    }

    fn new_image(&self) -> Result<(), String> {
        let before = self.containers();
        self.portainer.forget_calls();
        title("1. A new image");
        let new = self.push();
        println!("  A pipeline tells stackhook, with a signature that only the secret can make:\n");
        self.print_commands(SECRET);
        let reply = self.deliver(SECRET)?;

        let after = self.containers();
        println!("\n  What Portainer has now:\n");
        print_containers(&before, &after);
        let env = self
            .portainer
            .world(|world| world.stack("shop").env.clone());
        for (name, value) in env.iter().flatten() {
            println!("    the stack's variable {name} is still {value}");
        }
        told(reply.status == 200, "the delivery succeeds")?;
        told(
            same_container(&before, &after, "db"),
            "db keeps its container",
        )?;
        let web = after.iter().find(|one| one.service == "web");
        let runs = web.is_some_and(|web| web.image_id == new && web.health == Some("healthy"));
        told(runs, "web runs the new image and is healthy")?;
        told(self.portainer.puts().len() == 1, "there is one update")?;
        told(
            env == Some(vec![("GREETING".to_owned(), "hello".to_owned())]),
            "the variables are kept",
        )
    }

    fn wrong_signature(&self) -> Result<(), String> {
        let before = self.containers();
        self.portainer.forget_calls();
        title("2. A wrong signature");
        println!("  Somebody who does not know the secret tries a guess:\n");
        self.print_commands("just-a-guess");
        let reply = self.deliver("just-a-guess")?;

        told(reply.status == 401, "the delivery is turned away")?;
        let calls = self.portainer.calls();
        told(calls.is_empty(), "Portainer hears nothing of it")?;
        told(self.containers() == before, "nothing changes")?;
        println!("\n  Portainer heard nothing of it.");
        Ok(())
    }

    fn missing_image(&self) -> Result<(), String> {
        let before = self.containers();
        self.portainer.forget_calls();
        title("3. A bad image");
        println!(
            "  The registry's clean-up removes the tag {IMAGE} (a mistyped tag would look the same)."
        );
        println!("  The next delivery, with the right secret again:\n");
        self.portainer
            .world(|world| world.remove_from_registry(IMAGE));
        self.print_commands(SECRET);
        let reply = self.deliver(SECRET)?;

        let after = self.containers();
        println!("\n  What Portainer has now:\n");
        print_containers(&before, &after);
        told(reply.status == 502, "the delivery fails")?;
        told(reply.text().contains(IMAGE), "the reply names the image")?;
        told(self.portainer.puts().is_empty(), "there is no update")?;
        told(after == before, "nothing changes")
    }

    /// Until Ctrl-C, or until stackhook ends.
    fn stay(self) -> Result<(), String> {
        let Demo {
            portainer,
            stackhook,
        } = self;
        let address = stackhook.address;
        title("Now you");
        println!(
            "  All of it stays up until Ctrl-C. Copy the lines of step 1, with another body if you like.\n"
        );
        for (type_this, comes) in [
            ("Enter".to_owned(), "pushes a new image"),
            (
                format!("curl http://{address}/webhook/deliveries/ID/"),
                "a delivery's reply, once more",
            ),
            (
                format!("curl http://{address}/healthz"),
                "whether stackhook is well",
            ),
        ] {
            println!("    {type_this:<60} {comes}");
        }
        println!("\n  What stackhook logs from now on:\n");
        let push = move || {
            portainer.world(|world| world.push(IMAGE, GOOD));
            println!("    (a new {IMAGE} is in the registry)");
        };
        push();
        thread::spawn(move || {
            for _ in std::io::stdin().lines().map_while(Result::ok) {
                push();
            }
            // Nobody types any more, but the Portainer is still needed.
            loop {
                thread::park();
            }
        });
        for line in &stackhook.log {
            println!("    {line}");
        }
        Err("stackhook ended by itself".to_owned())
    }

    fn push(&self) -> ImageId {
        let old = self
            .portainer
            .world(|world| world.container("shop", "web").image_id);
        let new = self.portainer.world(|world| world.push(IMAGE, GOOD));
        println!(
            "  Somebody pushes {IMAGE}: the registry has {}, the stack runs {}.",
            short(&new),
            short(&old)
        );
        new
    }

    /// What to type for a delivery.
    fn print_commands(&self, secret: &str) {
        println!("    secret='{secret}'");
        println!("    body='{BODY}'");
        println!(
            "    hex=$(printf %s \"$body\" | openssl dgst -sha256 -hmac \"$secret\" | sed 's/.* //')"
        );
        println!(
            "    curl -H \"X-Portainer-Signature: sha256=$hex\" -d \"$body\" http://{}/webhook/update/",
            self.stackhook.address
        );
    }

    /// Does what the printed commands do, and shows what comes of it.
    fn deliver(&self, secret: &str) -> Result<Reply, String> {
        let signature = format!("sha256={}", sign::hex_hmac(secret, BODY.as_bytes()));
        let headers = [("X-Portainer-Signature", signature.as_str())];
        let to = self.stackhook.address;
        let request = client::request(to, "POST", "/webhook/update/", &headers, BODY.as_bytes());
        let began = Instant::now();
        let reply = client::parse(&client::exchange(to, &request));
        let seconds = began.elapsed().as_secs_f64();
        println!("\n  The reply after {seconds:.1} s: {}\n", reply.status);
        print!("{}", indented(reply.text()));
        println!("\n  What stackhook logs:\n");
        self.stackhook
            .print_log(&format!("status={}", reply.status))?;
        Ok(reply)
    }

    fn containers(&self) -> Vec<Seen> {
        self.portainer.world(|world| world.containers("shop"))
    }
}

/// What the demo promises; a promise that does not hold ends it.
fn told(holds: bool, what: &str) -> Result<(), String> {
    if holds {
        Ok(())
    } else {
        Err(format!("{what}: no"))
    }
}
