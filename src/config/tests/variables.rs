//! Configuration by variables alone.

use super::{FIVE, Place};
use crate::config::{ConfigScope, Credentials, Trust, load_listen};
use crate::hook::{SchemeName, Sender};
use crate::stack::PullMode;

#[test]
fn five_variables_are_a_complete_configuration() {
    let loaded = Place::with(FIVE).loaded(ConfigScope::Serve);
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
    assert!(loaded.warnings[0].contains("can be replayed"));
}

#[test]
fn rejects_values_that_are_not_utf8_in_known_variables_only() {
    use std::os::unix::ffi::OsStringExt as _;
    let mut place = Place::with(FIVE);
    let broken = std::ffi::OsString::from_vec(vec![b'a', 0xff]);
    place.variables.insert("LANG".to_owned(), broken.clone());
    place.loaded(ConfigScope::Serve);
    place.variables.insert("STACKHOOK_LOG".to_owned(), broken);
    assert_eq!(
        place.problems(ConfigScope::Serve),
        "STACKHOOK_LOG: is not UTF-8"
    );
}

#[test]
fn serve_names_everything_that_is_missing() {
    assert_eq!(
        Place::new().problems(ConfigScope::Serve),
        "portainer.url: is missing; set PORTAINER_URL, or url in [portainer], such as \"http://portainer:9000\"\n\
         portainer: has no credentials; set PORTAINER_API_KEY or PORTAINER_API_KEY_FILE (api_key or api_key_file), or PORTAINER_USER and PORTAINER_PASSWORD\n\
         stack: none is configured; set PORTAINER_STACK_NAME to the stack's name in Portainer, or add a [[stack]] with its name\n\
         hook: none is configured; set PORTAINER_WEBHOOK_SECRET or PORTAINER_WEBHOOK_SECRET_FILE to a text that \"stackhook generate-secret\" prints"
    );
    let empty = Place::with(&[
        ("PORTAINER_URL", ""),
        ("PORTAINER_WEBHOOK_SENDER", "github"),
        ("STACKHOOK_LOG", ""),
    ]);
    assert_eq!(
        empty.problems(ConfigScope::Sender),
        "PORTAINER_WEBHOOK_SENDER: hook \"update\" has no secret, and an open hook is never served; set PORTAINER_WEBHOOK_SECRET or PORTAINER_WEBHOOK_SECRET_FILE, or secret or secret_file, to a text that \"stackhook generate-secret\" prints"
    );
}

#[test]
fn commands_require_only_what_they_use() {
    let nothing = Place::new();
    load_listen(None, &nothing.env()).unwrap();
    nothing.loaded(ConfigScope::Show);
    let sender = Place::with(&[
        ("PORTAINER_WEBHOOK_SECRET", "0123456789abcdef"),
        ("PORTAINER_API_KEY_FILE", "/no/such"),
    ]);
    let config = sender.loaded(ConfigScope::Sender).config;
    assert_eq!(config.hooks.len(), 1);
    assert!(config.portainer.is_none());
    let redeploy = Place::with(&[
        ("PORTAINER_URL", "http://p:9000"),
        ("PORTAINER_API_KEY", "k"),
        ("PORTAINER_WEBHOOK_SECRET_FILE", "/no/such"),
        ("STACKHOOK_STAFF_PASSWORD_FILE", "/no/such"),
    ]);
    let config = redeploy.loaded(ConfigScope::Portainer).config;
    assert!(config.portainer.is_some() && config.hooks.is_empty() && config.staff.is_none());
    let mut healthcheck = Place::with(&[
        ("STACKHOOK_LISTEN", "[::]:1"),
        ("PORTAINER_URL", "nonsense"),
    ]);
    healthcheck.write("stackhook.toml", "surprise = 1\nlisten = 2\n");
    let listen = |place: &Place| load_listen(None, &place.env()).map_err(|error| error.to_string());
    assert_eq!(listen(&healthcheck), Ok("[::]:1".parse().unwrap()));
    healthcheck.set("STACKHOOK_LISTEN", "[::]");
    assert!(
        listen(&healthcheck)
            .unwrap_err()
            .starts_with("STACKHOOK_LISTEN: ")
    );
    healthcheck.set("STACKHOOK_LISTEN", "");
    assert_eq!(
        listen(&healthcheck).unwrap_err(),
        "stackhook.toml:2: listen: expected a text in quotes, found a number"
    );
    healthcheck.write("stackhook.toml", "surprise = 1\nlisten = \"127.0.0.1:2\"\n");
    assert_eq!(listen(&healthcheck), Ok("127.0.0.1:2".parse().unwrap()));
    healthcheck.write("stackhook.toml", "surprise\n");
    assert!(
        listen(&healthcheck)
            .unwrap_err()
            .starts_with("stackhook.toml:1: ")
    );
}

#[test]
fn variables_override_only_their_own_value() {
    let mut place = Place::with(FIVE);
    place.write(
        "stackhook.toml",
        "[[stack]]\nname = \"app\"\npull = \"never\"\n[[stack]]\nkey = \"db\"\nname = \"App-Stack\"\nenvironment = \"far\"\n\
         [[hook]]\nsecret_file = \"/no/such\"\nwait = \"1m\"\nstacks = [\"app\", \"db\", \"app\"]\n",
    );
    place.set("PORTAINER_STACK_NAME_APP", "renamed");
    place.set("PORTAINER_STACK_NAME_TWO_WORDS", "two");
    let config = place.loaded(ConfigScope::Serve).config;
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
fn the_default_stack_must_be_unique() {
    let mut place = Place::with(FIVE);
    place.write("stackhook.toml", "[[stack]]\nkey = \"a\"\nname = \"app-stack\"\n[[stack]]\nkey = \"b\"\nname = \"app-stack\"\n");
    assert_eq!(
        place.problems(ConfigScope::Serve),
        "PORTAINER_STACK_NAME: 2 stacks have that name, so it cannot tell which is the default"
    );
    place.write(
        "stackhook.toml",
        "[[stack]]\nkey = \"app-stack\"\nname = \"other\"\n",
    );
    assert_eq!(
        place.problems(ConfigScope::Serve),
        "PORTAINER_STACK_NAME: \"app-stack\" is already the key of another stack (stackhook.toml:2); give one of them another key"
    );
    place.write("stackhook.toml", "");
    place.set("PORTAINER_STACK_NAME", "My App/ö");
    assert_eq!(
        place.loaded(ConfigScope::Serve).config.stacks[0]
            .key
            .as_str(),
        "My-App--"
    );
}

#[test]
fn warns_of_each_unknown_variable_and_once_of_injected_ones() {
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
        place.loaded(ConfigScope::Serve).warnings,
        [
            "PORTAINER_APIKEY: unknown variable, ignored; did you mean PORTAINER_API_KEY?",
            "STACKHOOK_COLOUR: unknown variable, ignored",
            "STACKHOOK_WEBHOOK_SECRET: unknown variable, ignored; did you mean PORTAINER_WEBHOOK_SECRET?",
            "9 variables such as PORTAINER_AGENT_SERVICE_HOST are ignored: Docker or Kubernetes sets them for a container or service of that name",
        ]
    );
}

#[test]
fn the_state_directory_defaults_to_the_first_of_systemd() {
    let mut place = Place::with(FIVE);
    place.set("STATE_DIRECTORY", "/var/lib/stackhook:/var/lib/other");
    let loaded = place.loaded(ConfigScope::Serve);
    assert_eq!(
        loaded.config.state_dir.unwrap().to_str(),
        Some("/var/lib/stackhook")
    );
    assert_eq!(loaded.warnings, Vec::<String>::new());
    place.set("STACKHOOK_STATE_DIR", "/elsewhere");
    assert_eq!(
        place
            .loaded(ConfigScope::Serve)
            .config
            .state_dir
            .unwrap()
            .to_str(),
        Some("/elsewhere")
    );
}

#[test]
fn a_wrong_type_in_the_file_is_reported_although_a_variable_overrides_it() {
    let mut place = Place::with(FIVE);
    place.set("STACKHOOK_LOG", "debug");
    place.set("PORTAINER_INSECURE", "false");
    place.write(
        "stackhook.toml",
        "log = 1\n[portainer]\ninsecure = \"no\"\n",
    );
    assert_eq!(
        place.problems(ConfigScope::Serve),
        "stackhook.toml:1: log: expected a text in quotes, found a number\n\
         stackhook.toml:3: portainer.insecure: expected true or false, found a text"
    );
    // A wrong value of the right type is not even parsed: the variable's is used.
    place.write("stackhook.toml", "log = \"loud\"\n");
    assert_eq!(
        place.loaded(ConfigScope::Serve).config.log,
        log::LevelFilter::Debug
    );
}
