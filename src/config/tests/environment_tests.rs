//! Configuration by variables alone.

use super::{FIVE, Place};
use crate::config::{Credentials, Need, Trust};
use crate::hook::{SchemeName, Sender};

#[test]
fn five_variables_are_a_whole_configuration() {
    let loaded = Place::with(FIVE).loaded(Need::Serve);
    let config = loaded.config;
    assert_eq!(config.listen, "0.0.0.0:8484".parse().unwrap());
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
        ("update", Sender::Generic)
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
