//! The client against answers that a script gives, one connection after the other.

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::clock::skipping::SkippingClock;
use crate::config::{Credentials, Trust};
use crate::fetch::scripted::{Script, json};
use crate::secret::Secret;

const KEY: &str = "ptr_key/with+signs=";

fn settings(url: String, credentials: Credentials) -> config::Portainer {
    config::Portainer {
        url,
        credentials,
        trust: Trust::PublicRoots,
        timeout: Duration::from_secs(60),
    }
}

fn by_key(script: &Script) -> Portainer {
    let key = Credentials::ApiKey(Secret::new(KEY).unwrap());
    let clock = Arc::new(SkippingClock::new(Arc::default()));
    Portainer::new(&settings(script.url(), key), clock).unwrap()
}

#[test]
fn stacks_are_listed_with_the_api_key() {
    let script = Script::start(vec![json(
        200,
        r#"[{"Id":3,"Name":"shop","EndpointId":1,"Status":1,"Type":2,"Env":null}]"#,
    )]);
    let stacks = by_key(&script).stacks().unwrap();
    assert_eq!(stacks.len(), 1);
    let asked = script.asked();
    assert!(
        asked[0].starts_with("GET /api/stacks HTTP/1.1\r\n"),
        "{}",
        asked[0]
    );
    assert!(
        asked[0]
            .to_lowercase()
            .contains(&format!("x-api-key: {KEY}\r\n").to_lowercase())
    );
    assert!(!asked[0].to_lowercase().contains("authorization:"));
}
