//! `stackhook redeploy`

use serde_json::Value;

use super::check;
use crate::support::fake::{Behaviour, Era, Fake};
use crate::support::program::Setup;

/// Health checks, which settle sooner than ten seconds without a restart.
const FILE: &str = "
services:
  web:
    image: ghcr.io/acme/web:1
    restart: unless-stopped
    healthcheck:
      test: [\"CMD\", \"true\"]
      interval: 1s
      timeout: 1s
";

/// A Portainer with the stacks `shop` and `blog`, configured under the keys `shop` and `news`.
fn two_stacks() -> (Fake, Setup) {
    let fake = Fake::start(Era::B2);
    fake.world(|world| {
        world.push("ghcr.io/acme/web:1", Behaviour::Runs);
        world.push("ghcr.io/acme/blog:1", Behaviour::Runs);
        world.compose_stack("shop", FILE, &[("DATABASE_PASSWORD", "hush-hush-database")]);
        world.compose_stack("blog", &FILE.replace("web:1", "blog:1"), &[]);
    });
    let file = "
        state_dir = \"state\"
        [[stack]]
        name = \"shop\"
        healthy_within = \"5s\"
        [[stack]]
        key = \"news\"
        name = \"blog\"
        healthy_within = \"5s\"
    ";
    let setup = Setup::with(&fake)
        .file("stackhook.toml", file)
        .secret("hush-hush-database");
    (fake, setup)
}

#[test]
fn a_stack_is_updated_and_its_services_are_listed() {
    let (fake, setup) = two_stacks();
    let image = fake.world(|world| world.push("ghcr.io/acme/web:1", Behaviour::Runs));
    let output = setup.run(&["redeploy", "shop"]);
    assert_eq!(
        (output.code, output.stderr.as_str()),
        (Some(0), ""),
        "{output:?}"
    );
    assert!(
        output.stdout.starts_with("shop on local: updated, "),
        "{output:?}"
    );
    let row = "\n  web  ghcr.io/acme/web:1  healthy  new image, recreated\n";
    assert!(output.stdout.contains(row), "{output:?}");
    let seen = fake.world(|world| world.container("shop", "web"));
    assert_eq!(seen.image_id, image);
}

#[test]
fn quiet_says_nothing_when_all_went_well() {
    let (fake, setup) = two_stacks();
    check(&setup, &["redeploy", "shop", "--quiet"], 0, "", "");
    check(
        &setup,
        &["redeploy", "shop", "--quiet", "--json"],
        0,
        "",
        "",
    );
    drop(fake);
    let output = setup.run(&["redeploy", "shop", "--quiet"]);
    assert_eq!(
        (output.code, output.stdout.as_str()),
        (Some(75), ""),
        "{output:?}"
    );
    assert_eq!(output.stderr.lines().count(), 1, "{output:?}");
}

#[test]
fn a_failure_ends_with_1_and_a_line_on_stderr() {
    let (fake, setup) = two_stacks();
    fake.world(|world| world.push("ghcr.io/acme/web:1", Behaviour::NeverHealthy));
    let output = setup.run(&["redeploy", "shop"]);
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(
        output.stdout.starts_with("shop on local: failed ("),
        "{output:?}"
    );
    assert!(
        output.stderr.starts_with("stackhook: shop: failed: "),
        "{output:?}"
    );
    assert_eq!(output.stderr.lines().count(), 1, "{output:?}");
}

#[test]
fn every_stack_is_attempted_and_a_failure_beats_what_may_pass() {
    let (fake, setup) = two_stacks();
    fake.world(|world| {
        world.remove_from_registry("ghcr.io/acme/web:1");
        world.push("ghcr.io/acme/blog:1", Behaviour::Runs);
    });
    let output = setup.run(&["redeploy", "--all", "--json"]);
    assert_eq!(output.code, Some(1), "{output:?}");
    let json: Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(json["status"], "failed");
    let outcomes: Vec<(&str, &str)> = json["stacks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| {
            (
                one["stack"].as_str().unwrap(),
                one["outcome"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(outcomes, [("shop", "failed"), ("news", "updated")]);
}

#[test]
fn an_image_that_the_stack_does_not_use_ends_with_1() {
    let (fake, setup) = two_stacks();
    let output = setup.run(&["redeploy", "shop", "--image", "ghcr.io/acme/blog"]);
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(
        output.stderr.starts_with("stackhook: shop: skipped: "),
        "{output:?}"
    );
    assert_eq!(fake.puts().len(), 0);
}

#[test]
fn a_dry_run_only_looks() {
    let (fake, setup) = two_stacks();
    fake.world(|world| world.push("ghcr.io/acme/web:1", Behaviour::Runs));
    fake.forget_calls();
    let output = setup.run(&["redeploy", "--all", "--dry-run"]);
    assert_eq!(
        (output.code, output.stderr.as_str()),
        (Some(0), ""),
        "{output:?}"
    );
    assert!(
        output.stdout.contains("shop:\n  the stack \"shop\" on "),
        "{output:?}"
    );
    assert!(
        output.stdout.contains("would pull ghcr.io/acme/web:1"),
        "{output:?}"
    );
    let (shop, news) = output.stdout.split_once("\nblog").unwrap();
    assert!(shop.contains("would restart web "), "{output:?}");
    assert!(news.contains("would restart nothing"), "{output:?}");
    let calls = fake.calls();
    assert!(!calls.is_empty() && calls.iter().all(|call| call.method == "GET"));
    assert!(
        !setup.path().join("state").exists(),
        "a dry run makes nothing"
    );
    let output = setup.run(&["redeploy", "--all", "--dry-run", "--json"]);
    let json: Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(json["stacks"][1]["stack"], "news");
    assert!(
        json["stacks"][0]["would"]
            .as_array()
            .is_some_and(|lines| lines.len() > 1)
    );
}

#[test]
fn a_stack_may_be_called_by_key_or_name_and_must_be_clear() {
    let (fake, setup) = two_stacks();
    let which = "stackhook: name a stack, or use --all; configured: shop, news\n";
    check(&setup, &["redeploy"], 2, "", which);
    let unknown =
        "stackhook: there is no stack \"shopp\"; did you mean \"shop\"?; configured: shop, news\n";
    check(&setup, &["redeploy", "shopp"], 2, "", unknown);
    let unknown = "stackhook: there is no stack \"database\"; configured: shop, news\n";
    check(&setup, &["redeploy", "database"], 2, "", unknown);
    for name in ["news", "blog", "BLOG"] {
        let output = setup.run(&["redeploy", name, "news", "--dry-run"]);
        assert_eq!(output.code, Some(0), "{output:?}");
        assert!(output.stdout.starts_with("blog:\n"), "{output:?}");
        assert_eq!(output.stdout.matches("blog:\n").count(), 1, "{output:?}");
    }
    let none = "stackhook: no stack is configured; set PORTAINER_STACK_NAME to the stack's name in Portainer\n";
    for arguments in [
        &["redeploy"] as &[&str],
        &["redeploy", "--all"],
        &["redeploy", "shop"],
    ] {
        check(&Setup::with(&fake), arguments, 78, "", none);
    }
    let setup = setup.env("PORTAINER_STACK_NAME", "blog");
    let output = setup.run(&["redeploy", "--dry-run"]);
    assert!(output.stdout.starts_with("blog:\n"), "{output:?}");
    drop(fake);
}

#[test]
fn an_interrupt_stops_watching_and_the_next_redeploy_reports_the_result() {
    let (fake, setup) = two_stacks();
    let submitted = || fake.calls().iter().any(|call| call.method == "PUT");
    let output = setup.interrupt(&["redeploy", "shop", "--force"], submitted);
    assert_eq!(output.code, Some(130), "{output:?}");
    assert!(
        output
            .stderr
            .contains("stopped watching; the update goes on in Portainer"),
        "{output:?}"
    );
    let output = setup.run(&["redeploy", "shop"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(output.stdout.contains("shop"), "{output:?}");
}

#[test]
fn an_interrupt_before_the_update_says_that_nothing_was_sent() {
    let (fake, setup) = two_stacks();
    let started = || !fake.calls().is_empty();
    let output = setup.interrupt(&["redeploy", "shop"], started);
    assert_eq!(output.code, Some(130), "{output:?}");
    let sent = fake.calls().iter().any(|call| call.method == "PUT");
    assert_eq!(
        output.stderr.contains("nothing was sent to Portainer"),
        !sent,
        "{output:?}"
    );
}

#[test]
fn a_portainer_that_is_away_ends_with_75_at_once() {
    let (fake, setup) = two_stacks();
    drop(fake);
    let began = std::time::Instant::now();
    let output = setup.run(&["redeploy", "shop"]);
    assert_eq!(output.code, Some(75), "{output:?}");
    assert!(output.stderr.contains("nothing was sent"), "{output:?}");
    // A delivery would be tried for a minute.
    assert!(began.elapsed().as_secs() < 50);
}

#[test]
fn a_reader_that_leaves_does_not_stop_the_redeploy() {
    let (fake, setup) = two_stacks();
    fake.world(|world| world.push("ghcr.io/acme/web:1", Behaviour::Runs));
    let output = setup.run_into_closed_pipe(&["redeploy", "--all"]);
    assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""));
    assert_eq!(fake.puts().len(), 1);
}

#[test]
fn a_dry_run_needs_no_state_dir_and_a_redeploy_says_what_it_lacks() {
    let (fake, _) = two_stacks();
    let setup = Setup::with(&fake)
        .env("PORTAINER_STACK_NAME", "shop")
        .secret("hush-hush-database");
    let output = setup.run(&["redeploy", "--dry-run"]);
    assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""));
    // Neither one that cannot be made, nor one that is a file.
    let setup = setup
        .file("file", "not a directory")
        .env("STACKHOOK_STATE_DIR", "file");
    let output = setup.run(&["redeploy", "--dry-run"]);
    assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""));
    let output = setup.run(&["redeploy"]);
    assert_eq!(output.code, Some(78), "{output:?}");
    assert!(output.stderr.contains("not a directory"), "{output:?}");
    let setup = setup.env("STACKHOOK_STATE_DIR", "");
    let output = setup.run(&["redeploy"]);
    assert!(output.stderr.contains("state_dir is not set"), "{output:?}");
}

#[test]
fn force_redeploys_a_paused_stack_and_remembers_its_number() {
    let (fake, setup) = two_stacks();
    let paused = setup.run(&["pause", "shop"]);
    assert_eq!(paused.code, Some(0), "{paused:?}");
    fake.world(|world| world.push("ghcr.io/acme/web:1", Behaviour::Runs));
    let skipped = setup.run(&["redeploy", "shop"]);
    assert_eq!(skipped.code, Some(1), "{skipped:?}");
    assert!(skipped.stdout.contains("skipped"), "{skipped:?}");
    assert!(fake.puts().is_empty());
    let number = setup.path().join("state/stacks/@shop.id");
    std::fs::remove_file(&number).ok();
    let forced = setup.run(&["redeploy", "shop", "--force"]);
    assert_eq!(forced.code, Some(0), "{forced:?}");
    assert_eq!(fake.puts().len(), 1);
    let remembered = std::fs::read_to_string(&number).unwrap();
    assert!(remembered.trim().parse::<u64>().is_ok(), "{remembered:?}");
    std::fs::remove_file(&number).unwrap();
    let rollback = setup.run(&["rollback", "shop"]);
    assert_eq!(rollback.code, Some(0), "{rollback:?}");
    assert_eq!(std::fs::read_to_string(&number).unwrap(), remembered);
}
