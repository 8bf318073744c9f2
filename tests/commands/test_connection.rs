//! `stackhook test-connection`

use serde_json::Value;

use crate::support::fake::{Behaviour, EngineStyle, Era, Fake, Fault, Kind, When};
use crate::support::program::Setup;
use crate::support::staff::Receiver;

const FILE: &str = "services:\n  web:\n    image: ghcr.io/acme/web:${TAG}\n    environment:\n      GREETING: ${GREETING}\n";

fn shop(era: Era) -> Fake {
    let fake = Fake::start(era);
    fake.world(|world| {
        world.push("ghcr.io/acme/web:1", Behaviour::Runs);
        let env = [("TAG", "1"), ("SMTP_PASSWORD", "hush-hush-smtp")];
        world.compose_stack("shop", FILE, &env);
    });
    fake
}

fn setup(fake: &Fake) -> Setup {
    Setup::with(fake)
        .env("PORTAINER_STACK_NAME", "shop")
        .secret("hush-hush-smtp")
}

#[test]
fn what_is_there_and_what_would_be_done_is_said() {
    let fake = shop(Era::C);
    let output = setup(&fake).run(&["test-connection"]);
    assert_eq!(
        (output.code, output.stderr.as_str()),
        (Some(0), ""),
        "{output:?}"
    );
    let url = fake.url();
    let expected = format!(
        "\
Portainer  {url}
TLS        none: anyone on the network path can read the credentials
Version    2.43.0
User       admin, an administrator

Environments
  ID  NAME   STATUS
  1   local  up

Stacks
  ID  NAME  ENVIRONMENT  KIND     FROM  STATUS
  1   shop  local        compose  file  active

Configured stacks
  shop: ready
    found with id 1 on the environment local
    runs on Docker 20.10.24+dfsg1 with the image store overlay2
    would be redeployed by its file, after pulling 1 image; only what is newer is recreated
    its containers can be seen (1)
    its 2 variables in Portainer are kept
    but its file uses the variable GREETING, which has neither value nor default
"
    );
    assert_eq!(output.stdout, expected);
    assert!(fake.calls().iter().all(|call| call.method == "GET"));
}

#[test]
fn suggests_a_similar_name_for_a_missing_stack() {
    let fake = shop(Era::C);
    let setup = setup(&fake).file("stackhook.toml", "[[stack]]\nkey = \"one\"\nname = \"1\"\n");
    let output = setup.run(&["test-connection"]);
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(
        output.stdout.contains("  one (1): not ready\n"),
        "{output:?}"
    );
    assert!(
        output.stdout.contains("  shop: ready\n"),
        "the others are looked at too: {output:?}"
    );
    assert!(
        output
            .stderr
            .contains("1 is the id of the stack named shop"),
        "{output:?}"
    );
    assert!(
        output.stderr.contains("not shared with this user"),
        "{output:?}"
    );
}

#[test]
fn what_stackhook_refuses_is_said_beforehand() {
    let fake = shop(Era::C);
    fake.world(|world| {
        world.push("portainer/portainer-ce:lts", Behaviour::Runs);
        let file = "services:\n  portainer:\n    image: portainer/portainer-ce:lts\n";
        world.compose_stack("management", file, &[]);
    });
    let setup = setup(&fake).env("PORTAINER_STACK_NAME_M", "management");
    let output = setup.run(&["test-connection"]);
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(
        output.stderr.contains("contains Portainer itself"),
        "{output:?}"
    );
}

#[test]
fn rights_that_are_missing_are_named_in_portainers_words() {
    let fake = shop(Era::C);
    let key = fake.world(|world| {
        let (user, key) = world.user_standard("robot", "robots-own-password");
        let id = world.stack("shop").id;
        world.may_use_environment(user, 1, true);
        world.may_use_stack(user, id, true);
        key
    });
    let setup = setup(&fake).env("PORTAINER_API_KEY", &key);
    let output = setup.run(&["test-connection"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(
        output
            .stdout
            .contains("User       robot, not an administrator"),
        "{output:?}"
    );
    fake.world(|world| world.stack_management(1, false));
    let output = setup.run(&["test-connection"]);
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(
        output.stderr.contains("Stack management is disabled"),
        "{output:?}"
    );
}

#[test]
fn a_git_stack_is_said_to_be_redeployed_as_a_whole() {
    let fake = Fake::start(Era::D);
    fake.world(|world| {
        world.push("ghcr.io/acme/web:1", Behaviour::Runs);
        world.git_stack("shop", FILE, &[("TAG", "1"), ("GREETING", "hello")]);
    });
    let output = Setup::with(&fake)
        .env("PORTAINER_STACK_NAME", "shop")
        .run(&["test-connection"]);
    assert_eq!(
        (output.code, output.stderr.as_str()),
        (Some(0), ""),
        "{output:?}"
    );
    assert!(
        output
            .stdout
            .contains("would be redeployed from Git (refs/heads/main)"),
        "{output:?}"
    );
}

#[test]
fn errors_that_end_it_end_it_with_their_code() {
    #[track_caller]
    fn check(setup: Setup, code: i32, words: &str) {
        let output = setup.run(&["test-connection"]);
        assert_eq!(output.code, Some(code), "{output:?}");
        assert!(output.stderr.contains(words), "{words}: {output:?}");
    }
    let fake = shop(Era::C);
    let wrong_key = setup(&fake).env("PORTAINER_API_KEY", "ptr_somebody-elses");
    check(wrong_key, 1, "Invalid JWT token");
    let file = "[portainer]\nurl = \"x\"\n";
    check(
        Setup::new().file("stackhook.toml", file),
        78,
        "portainer.url",
    );
    fake.fault(When::every("GET", "/api"), Fault::LoginPage);
    check(setup(&fake), 1, "Portainer");
    let away = setup(&fake);
    drop(fake);
    check(away, 75, "cannot ask Portainer for its version");
}

#[test]
fn json_reports_every_stack_and_every_receiver() {
    let (fake, receiver) = (shop(Era::C), Receiver::start());
    let file = format!(
        "[[stack]]\nname = \"shop\"\n[[stack]]\nkey = \"blog\"\nname = \"shpo\"\n\
         [[notify]]\nurl = \"{}\"\nformat = \"slack\"\n\
         [[notify]]\nurl = \"http://127.0.0.1:9/x\"\nformat = \"ntfy\"\n",
        receiver.url()
    );
    let setup = Setup::with(&fake).file("stackhook.toml", &file);
    let setup = setup.secret("hush-hush-smtp");
    let output = setup.run(&["test-connection", "--json"]);
    assert_eq!(output.code, Some(1), "{output:?}");
    let value: Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(value["version"], "2.43.0");
    assert_eq!(value["user"], "admin");
    assert_eq!(value["administrator"], true);
    assert_eq!(value["environments"][0]["name"], "local");
    assert_eq!(value["stacks"][0]["kind"], "compose");
    assert_eq!(value["stacks"][0]["status"], "active");
    let configured = &value["configured"];
    assert_eq!(configured[0]["ready"], true);
    assert_eq!(configured[0]["facts"].as_array().unwrap().len(), 5);
    assert_eq!(configured[0]["warnings"].as_array().unwrap().len(), 1);
    assert_eq!(configured[1]["stack"], "blog");
    assert_eq!(configured[1]["ready"], false);
    assert!(configured[1]["message"].as_str().unwrap().contains("shpo"));
    let receivers = value["notify"].as_array().unwrap();
    let state = |index: usize| {
        (
            receivers[index]["format"].clone(),
            receivers[index]["ok"].clone(),
        )
    };
    assert_eq!(state(0), ("slack".into(), true.into()));
    assert_eq!(state(1), ("ntfy".into(), false.into()));
    assert_eq!(receivers.len(), 2);
    assert_eq!(receiver.came(1).len(), 1);

    let text = setup.run(&["test-connection", "--notify"]);
    assert_eq!(text.code, Some(1), "{text:?}");
    assert!(
        text.stdout
            .contains("format slack; the test notice was accepted\n"),
        "{text:?}"
    );
    assert!(
        text.stdout
            .contains("format ntfy; the test notice was not accepted\n"),
        "{text:?}"
    );
}

/// Runs it, and the dry run of the stack `shop`; both have to name `expected`.
#[track_caller]
fn check_warning(setup: &Setup, expected: &str) {
    for arguments in [&["test-connection"] as &[&str], &["redeploy", "--dry-run"]] {
        let output = setup.run(arguments);
        assert_eq!(output.code, Some(0), "{output:?}");
        assert!(output.stdout.contains(expected), "{expected}: {output:?}");
    }
}

#[test]
fn names_the_engine_and_its_image_store() {
    let fake = shop(Era::C);
    for (style, expected) in [
        (
            EngineStyle::Docker20,
            "Docker 20.10.24+dfsg1 with the image store overlay2",
        ),
        (
            EngineStyle::Docker27,
            "Docker 27.5.1 with the containerd image store",
        ),
        (
            EngineStyle::Docker29,
            "Docker 29.7.2 with the containerd image store",
        ),
        (
            EngineStyle::Podman,
            "Podman 5.2.2 with the image store overlay2",
        ),
    ] {
        fake.world(|world| world.use_engine(style));
        check_warning(&setup(&fake), &format!("runs on {expected}\n"));
    }
    assert!(fake.calls().iter().all(|call| call.method == "GET"));
}

#[test]
fn reports_an_environment_that_is_down() {
    let fake = shop(Era::C);
    fake.world(|world| world.environment_down(1, true));
    let setup = setup(&fake);
    for arguments in [&["test-connection"] as &[&str], &["redeploy", "--dry-run"]] {
        let output = setup.run(arguments);
        assert_eq!(output.code, Some(75), "{output:?}");
        assert!(
            output.stderr.contains("the environment \"local\" is down"),
            "{output:?}"
        );
    }
    let output = setup.run(&["test-connection"]);
    assert!(output.stdout.contains("  1   local  down\n"), "{output:?}");
    let output = setup.run(&["test-connection", "--json"]);
    let json: Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(json["environments"][0]["down"], true);
    assert_eq!(json["configured"][0]["ready"], false);
}

/// Built, imported and tagged images, on engines that record the origin and on one that does not.
#[test]
fn names_images_that_are_only_on_the_host() {
    for style in [
        EngineStyle::Docker20,
        EngineStyle::Docker27,
        EngineStyle::Docker29,
    ] {
        let fake = Fake::start(Era::C);
        fake.world(|world| {
            world.use_engine(style);
            world.push("ghcr.io/acme/web:1", Behaviour::Runs);
            world.local_image("acme/tool:1", 1, Behaviour::Runs);
            let file = "services:\n  web:\n    image: ghcr.io/acme/web:1\n  tool:\n    image: acme/tool:1\n";
            world.compose_stack("shop", file, &[]);
        });
        let setup = Setup::with(&fake).env("PORTAINER_STACK_NAME", "shop");
        let expected = "but tool: acme/tool:1 was made on the host, not pulled from a registry, so it is not pulled\n";
        check_warning(&setup, expected);
        let file = "[[stack]]\nname = \"shop\"\npull = \"portainer\"\n";
        check_warning(
            &Setup::with(&fake).file("stackhook.toml", file),
            "but tool: acme/tool:1 was made on the host, and Portainer would try to pull it",
        );
    }
}

#[test]
fn warns_about_a_stack_without_visible_containers() {
    let fake = Fake::start(Era::C);
    let key = fake.world(|world| {
        world.push("ghcr.io/acme/web:1", Behaviour::Runs);
        let id = world.record_only(1, "shop", Kind::Compose, FILE, &[("TAG", "1")]);
        let (user, key) = world.user_standard("robot", "robots-own-password");
        world.may_use_environment(user, 1, true);
        world.may_use_stack(user, id, true);
        key
    });
    check_warning(
        &setup(&fake),
        "but it has no container, so an update would start it",
    );
    let setup = setup(&fake).env("PORTAINER_API_KEY", &key);
    check_warning(&setup, "but Portainer shows this user no container of it");
}

#[test]
fn says_which_stacks_are_not_rolled_back() {
    let fake = Fake::start(Era::D);
    fake.world(|world| {
        world.push("ghcr.io/acme/web:1", Behaviour::Runs);
        world.git_stack("shop", FILE, &[("TAG", "1"), ("GREETING", "hello")]);
    });
    let setup = Setup::with(&fake).env("PORTAINER_STACK_NAME", "shop");
    let output = setup.run(&["test-connection"]);
    let expected =
        "    a failed update is not rolled back: the commit in Git decides which images run\n";
    assert!(output.stdout.contains(expected), "{output:?}");
    let file = "[[stack]]\nname = \"shop\"\nrollback = \"never\"\n";
    let setup = Setup::with(&fake).file("stackhook.toml", file);
    let output = setup.run(&["test-connection"]);
    assert!(!output.stdout.contains("not rolled back"), "{output:?}");
}
