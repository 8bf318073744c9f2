//! Configuration by variables alone.

use super::{FIVE, Place, check_variables};
use crate::config::{Credentials, Need, Trust};
use crate::hook::{SchemeName, Sender};
use crate::stack::PullMode;

#[test]
fn five_variables_are_a_whole_configuration() {
    let loaded = Place::with(FIVE).loaded(Need::Serve);
    let config = loaded.config;
    assert_eq!(config.listen, "127.0.0.1:8484".parse().unwrap());
    let portainer = config.portainer.unwrap();
    assert_eq!(portainer.url, "http://portainer:9000");
    assert!(
        matches!(portainer.credentials, Credentials::ApiKey(key) if key.is(b"ptr_0123456789abcdef"))
    );
    assert_eq!(portainer.trust, Trust::PublicRoots);
    assert_eq!(portainer.timeout.as_secs(), 1800);
    let [stack] = &config.stacks[..] else {
        panic!("one stack")
    };
    assert_eq!(
        (stack.key.as_str(), stack.name.as_str()),
        ("app-stack", "app-stack")
    );
    assert_eq!(config.default_stack.as_ref(), Some(&stack.key));
    let [hook] = &config.hooks[..] else {
        panic!("one hook")
    };
    assert_eq!(
        (hook.name.as_str(), hook.sender),
        ("update", Sender::default())
    );
    assert_eq!(
        (hook.scheme.name, hook.scheme.header.as_str()),
        (SchemeName::Generic, "x-portainer-signature")
    );
    assert_eq!(hook.stacks, std::slice::from_ref(&stack.key));
    assert_eq!(hook.default_stack.as_ref(), Some(&stack.key));
    assert_eq!(hook.wait.as_secs(), 600);
    assert!(hook.secrets[0].is(b"correct-horse-battery"));
    assert_eq!(loaded.warnings.len(), 1, "{:?}", loaded.warnings);
    assert!(loaded.warnings[0].starts_with("state_dir is not set"));
}

#[test]
fn variables_are_checked_like_the_file() {
    check_variables(
        &[("STACKHOOK_LISTEN", "8484")],
        "STACKHOOK_LISTEN: expected an address before the port: \"127.0.0.1:8484\" for this host alone, \"0.0.0.0:8484\" or \"[::]:8484\" for everybody",
    );
    check_variables(
        &[("STACKHOOK_LISTEN", "10.0.0.1")],
        "STACKHOOK_LISTEN: expected a port after the address, such as \"127.0.0.1:8484\" or \"[::]:8484\"",
    );
    check_variables(
        &[("STACKHOOK_LISTEN", "\"[::]:8484\"")],
        "STACKHOOK_LISTEN: is wrapped in quotes, which count as part of the value (Docker's env files keep them); leave them out",
    );
    check_variables(
        &[("PORTAINER_INSECURE", "yes")],
        "PORTAINER_INSECURE: expected true or false",
    );
    check_variables(&[("PORTAINER_INSECURE", "1")], "");
    check_variables(
        &[("STACKHOOK_TRUSTED_PROXIES", "10.0.0.1, 10.0.0.2,")],
        "STACKHOOK_TRUSTED_PROXIES: an element is empty",
    );
    check_variables(&[("STACKHOOK_TRUSTED_PROXIES", "10.0.0.1, ::1")], "");
    check_variables(
        &[("PORTAINER_WEBHOOK_SENDER", "git-hub")],
        "PORTAINER_WEBHOOK_SENDER: expected generic, github, gitlab, gitea, forgejo, gogs, bitbucket, azure-devops, dockerhub, quay, harbor, distribution, acr, ecr, diun, wud or custom; did you mean \"github\"?",
    );
    check_variables(
        &[("PORTAINER_API_KEY_FILE", "/run/x")],
        "PORTAINER_API_KEY: is set, and PORTAINER_API_KEY_FILE too; only one of them can count",
    );
    check_variables(
        &[("PORTAINER_WEBHOOK_SECRET_FILE", "/run/x")],
        "PORTAINER_WEBHOOK_SECRET: is set, and PORTAINER_WEBHOOK_SECRET_FILE too; only one of them can count",
    );
    check_variables(
        &[("PORTAINER_PASSWORD", "x y z")],
        "PORTAINER_PASSWORD: an API key is given (PORTAINER_API_KEY) and a user or password too; only one of them can count: PORTAINER_API_KEY, or PORTAINER_USER and PORTAINER_PASSWORD",
    );
    check_variables(
        &[("PORTAINER_STACK_NAME_", "x")],
        "PORTAINER_STACK_NAME_: what follows PORTAINER_STACK_NAME_ becomes the stack's key: letters, digits and _",
    );
    check_variables(
        &[("STACKHOOK_NOTIFY_FORMAT", "json")],
        "STACKHOOK_NOTIFY_FORMAT: has no URL; set STACKHOOK_NOTIFY_URL or STACKHOOK_NOTIFY_URL_FILE (url or url_file)",
    );
    check_variables(
        &[("STACKHOOK_STAFF_USER", "me")],
        "STACKHOOK_STAFF_USER: has no password; set STACKHOOK_STAFF_PASSWORD or STACKHOOK_STAFF_PASSWORD_FILE (password or password_file)",
    );
    check_variables(
        &[
            ("STACKHOOK_STAFF_PASSWORD", "long enough"),
            ("STACKHOOK_NOTIFY_URL", "https://x/"),
        ],
        "",
    );
}

#[test]
fn a_value_that_is_not_utf8_is_a_problem_only_where_it_counts() {
    use std::os::unix::ffi::OsStringExt as _;
    let mut place = Place::with(FIVE);
    let broken = std::ffi::OsString::from_vec(vec![b'a', 0xff]);
    place.variables.insert("LANG".to_owned(), broken.clone());
    place.loaded(Need::Serve);
    place.variables.insert("STACKHOOK_LOG".to_owned(), broken);
    assert_eq!(place.problems(Need::Serve), "STACKHOOK_LOG: is not UTF-8");
}

#[test]
fn a_server_says_all_that_it_lacks() {
    assert_eq!(
        Place::new().problems(Need::Serve),
        "portainer.url: is missing; set PORTAINER_URL, or url in [portainer], such as \"http://portainer:9000\"\n\
         portainer: has no credentials; set PORTAINER_API_KEY or PORTAINER_API_KEY_FILE (api_key or api_key_file), or PORTAINER_USER and PORTAINER_PASSWORD\n\
         stack: there is none; set PORTAINER_STACK_NAME to the stack's name in Portainer, or write a [[stack]] with its name\n\
         hook: there is none; set PORTAINER_WEBHOOK_SECRET or PORTAINER_WEBHOOK_SECRET_FILE to a text that \"stackhook generate-secret\" prints"
    );
    let empty = Place::with(&[
        ("PORTAINER_URL", ""),
        ("PORTAINER_WEBHOOK_SENDER", "github"),
        ("STACKHOOK_LOG", ""),
    ]);
    assert_eq!(
        empty.problems(Need::Sender),
        "PORTAINER_WEBHOOK_SENDER: hook \"update\" has no secret, and an open hook is never served; set PORTAINER_WEBHOOK_SECRET or PORTAINER_WEBHOOK_SECRET_FILE, or secret or secret_file, to a text that \"stackhook generate-secret\" prints"
    );
}

#[test]
fn commands_need_only_what_they_use() {
    let nothing = Place::new();
    nothing.loaded(Need::Listen);
    nothing.loaded(Need::Show);
    let sender = Place::with(&[
        ("PORTAINER_WEBHOOK_SECRET", "0123456789abcdef"),
        ("PORTAINER_API_KEY_FILE", "/no/such"),
    ]);
    let config = sender.loaded(Need::Sender).config;
    assert_eq!(config.hooks.len(), 1);
    assert!(config.portainer.is_none());
    let redeploy = Place::with(&[
        ("PORTAINER_URL", "http://p:9000"),
        ("PORTAINER_API_KEY", "k"),
        ("PORTAINER_WEBHOOK_SECRET_FILE", "/no/such"),
        ("STACKHOOK_STAFF_PASSWORD_FILE", "/no/such"),
    ]);
    let config = redeploy.loaded(Need::Portainer).config;
    assert!(config.portainer.is_some() && config.hooks.is_empty() && config.staff.is_none());
    let mut healthcheck = Place::with(&[
        ("STACKHOOK_LISTEN", "[::]:1"),
        ("PORTAINER_URL", "nonsense"),
    ]);
    healthcheck.write("stackhook.toml", "surprise = 1\nlisten = 2\n");
    assert_eq!(healthcheck.loaded(Need::Listen).config.listen.port(), 1);
    healthcheck.set("STACKHOOK_LISTEN", "");
    assert_eq!(
        healthcheck.problems(Need::Listen),
        "stackhook.toml:2: listen: expected a text in quotes, found a number"
    );
}

#[test]
fn variables_change_only_their_own_value() {
    let mut place = Place::with(FIVE);
    place.write(
        "stackhook.toml",
        "[[stack]]\nname = \"app\"\npull = \"never\"\n[[stack]]\nkey = \"db\"\nname = \"App-Stack\"\nenvironment = \"far\"\n\
         [[hook]]\nsecret_file = \"/no/such\"\nwait = \"1m\"\nstacks = [\"app\", \"db\", \"app\"]\n",
    );
    place.set("PORTAINER_STACK_NAME_APP", "renamed");
    place.set("PORTAINER_STACK_NAME_TWO_WORDS", "two");
    let config = place.loaded(Need::Serve).config;
    let stacks: Vec<_> = config
        .stacks
        .iter()
        .map(|stack| {
            (
                stack.key.as_str(),
                stack.name.as_str(),
                stack.environment.as_deref(),
                stack.pull,
            )
        })
        .collect();
    assert_eq!(
        stacks,
        [
            ("app", "renamed", Some("local"), PullMode::Never),
            ("db", "App-Stack", Some("far"), PullMode::First),
            ("two-words", "two", Some("local"), PullMode::First),
        ]
    );
    assert_eq!(
        config.default_stack.unwrap().as_str(),
        "db",
        "the entry that has the name"
    );
    let [hook] = &config.hooks[..] else {
        panic!("one hook")
    };
    assert_eq!(hook.wait.as_secs(), 60);
    assert_eq!(hook.stacks.len(), 2, "each once");
    assert!(hook.secrets[0].is(b"correct-horse-battery"));
}

#[test]
fn the_default_stack_must_be_one() {
    let mut place = Place::with(FIVE);
    place.write("stackhook.toml", "[[stack]]\nkey = \"a\"\nname = \"app-stack\"\n[[stack]]\nkey = \"b\"\nname = \"app-stack\"\n");
    assert_eq!(
        place.problems(Need::Serve),
        "PORTAINER_STACK_NAME: 2 stacks have that name, so it cannot tell which is the default"
    );
    place.write(
        "stackhook.toml",
        "[[stack]]\nkey = \"app-stack\"\nname = \"other\"\n",
    );
    assert_eq!(
        place.problems(Need::Serve),
        "PORTAINER_STACK_NAME: \"app-stack\" is the key of another stack (stackhook.toml:2) already; give one of them another key"
    );
    place.write("stackhook.toml", "");
    place.set("PORTAINER_STACK_NAME", "My App/ö");
    assert_eq!(
        place.loaded(Need::Serve).config.stacks[0].key.as_str(),
        "My-App--"
    );
}

#[test]
fn strange_variables_are_told_and_injected_ones_only_once() {
    let mut place = Place::with(FIVE);
    place.set("STACKHOOK_STATE_DIR", "state");
    for (name, value) in [
        ("PORTAINER_APIKEY", "x"),
        ("STACKHOOK_WEBHOOK_SECRET", "x"),
        ("STACKHOOK_COLOUR", "x"),
        ("PORTAINER_EMPTY", ""),
        ("PORTAINER_PORT", "tcp://10.0.0.1:9000"),
        ("PORTAINER_PORT_9000_TCP", "tcp://10.0.0.1:9000"),
        ("PORTAINER_PORT_9000_TCP_ADDR", "10.0.0.1"),
        ("PORTAINER_SERVICE_HOST", "10.0.0.1"),
        ("PORTAINER_SERVICE_PORT_HTTP", "9000"),
        ("PORTAINER_AGENT_SERVICE_HOST", "10.0.0.1"),
        ("STACKHOOK_PORT", "tcp://10.0.0.1:8484"),
        ("STACKHOOK_ENV_PATH", "/bin"),
        ("PORTAINER_NAME", "/a/portainer"),
    ] {
        place.set(name, value);
    }
    assert_eq!(
        place.loaded(Need::Serve).warnings,
        [
            "PORTAINER_APIKEY: unknown variable, ignored; did you mean PORTAINER_API_KEY?",
            "STACKHOOK_COLOUR: unknown variable, ignored",
            "STACKHOOK_WEBHOOK_SECRET: unknown variable, ignored; did you mean PORTAINER_WEBHOOK_SECRET?",
            "9 variables such as PORTAINER_AGENT_SERVICE_HOST are ignored: Docker or Kubernetes sets them for a container or service of that name",
        ]
    );
}

#[test]
fn the_state_directory_is_the_first_of_systemds() {
    let mut place = Place::with(FIVE);
    place.set("STATE_DIRECTORY", "/var/lib/stackhook:/var/lib/other");
    let loaded = place.loaded(Need::Serve);
    assert_eq!(
        loaded.config.state_dir.unwrap().to_str(),
        Some("/var/lib/stackhook")
    );
    assert_eq!(loaded.warnings, Vec::<String>::new());
    place.set("STACKHOOK_STATE_DIR", "/elsewhere");
    assert_eq!(
        place.loaded(Need::Serve).config.state_dir.unwrap().to_str(),
        Some("/elsewhere")
    );
}
