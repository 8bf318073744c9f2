//! Signature vectors collected from other programs, over real HTTP; read from `../shared/senders`, and skipped with a message if that does
//! not exist. Only vectors without a signed time and with a valid secret; the unit tests have all of them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use serde_json::Value;

use super::support::fake::Era;
use super::support::program::Setup;
use super::support::shop::{self, Shop};

const COLLECTION: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../shared/senders/vectors.json"
);

fn texts<'v>(vector: &'v Value, field: &str) -> Vec<&'v str> {
    let list = vector[field]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    list.iter().filter_map(Value::as_str).collect()
}

fn option<'v>(vector: &'v Value, name: &str) -> &'v str {
    vector["options"][name].as_str().unwrap_or_default()
}

/// Returns true if the vector can be configured and sent unchanged.
fn is_sendable(vector: &Value) -> bool {
    let scheme = vector["scheme"].as_str().unwrap_or_default();
    let secrets = texts(vector, "secrets");
    let plain = |text: &str| text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    let lines = vector["headers"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let plain_lines = lines
        .iter()
        .all(|line| plain(line[1].as_str().unwrap_or("\n")));
    let timeless = !matches!(scheme, "primitive" | "standard-webhooks");
    let fits = |secret: &&str| secret.len() >= 16 && plain(secret) && secret.trim() == *secret;
    let basic =
        option(vector, "kind") != "basic" || secrets.iter().all(|secret| secret.contains(':'));
    timeless
        && plain_lines
        && basic
        && !secrets.is_empty()
        && secrets.iter().all(fits)
        && vector["body"].is_string()
}

/// One hook for each set of secrets and options. Its rule ignores every verified delivery, so that nothing is redeployed.
fn hook(name: &str, vector: &Value) -> String {
    let quoted = |text: &str| Value::from(text).to_string();
    let mut toml = format!(
        "\n[[hook]]\nname = \"{name}\"\nsender = \"custom\"\nscheme = {}\n",
        vector["scheme"]
    );
    let _ = writeln!(
        toml,
        "secret_file = {}\nrepositories = [\"nobody/nothing\"]",
        quoted(&format!("{name}.secret"))
    );
    if matches!(vector["scheme"].as_str(), Some("token" | "generic"))
        && !option(vector, "header").is_empty()
    {
        let _ = writeln!(toml, "header = {}", quoted(option(vector, "header")));
    }
    if vector["scheme"] == "token" {
        let kind = option(vector, "kind");
        let _ = writeln!(
            toml,
            "kind = {}",
            quoted(if kind.is_empty() { "raw" } else { kind })
        );
    }
    toml
}

#[test]
fn every_collected_signature_has_the_expected_verdict_over_http() {
    if !Path::new(COLLECTION).exists() {
        println!("not compared: {COLLECTION} is not there");
        return;
    }
    let collection: Value =
        serde_json::from_str(&std::fs::read_to_string(COLLECTION).unwrap()).unwrap();
    let vectors: Vec<&Value> = collection["vectors"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|vector| is_sendable(vector))
        .collect();
    let fake = shop::portainer(Era::A);
    let mut setup = Setup::with(&fake);
    let mut file = "[[stack]]\nname = \"shop\"\n".to_owned();
    let mut names: BTreeMap<String, String> = BTreeMap::new();
    for vector in &vectors {
        let key = format!(
            "{}{}{:?}",
            vector["scheme"],
            vector["options"],
            texts(vector, "secrets")
        );
        if !names.contains_key(&key) {
            let name = format!("v{}", names.len());
            file.push_str(&hook(&name, vector));
            setup = setup.file(
                &format!("{name}.secret"),
                &texts(vector, "secrets").join("\n"),
            );
            names.insert(key, name);
        }
    }
    let shop = Shop::with(fake, setup.file("stackhook.toml", &file));
    let mut compared = BTreeMap::from([("accept", 0), ("reject", 0)]);
    for vector in &vectors {
        let key = format!(
            "{}{}{:?}",
            vector["scheme"],
            vector["options"],
            texts(vector, "secrets")
        );
        let query = vector["target"]
            .as_str()
            .and_then(|target| target.split_once('?'));
        let target = format!(
            "/webhook/update/{}/{}",
            names[&key],
            query
                .map(|(_, query)| format!("?{query}"))
                .unwrap_or_default()
        );
        let lines = vector["headers"].as_array().unwrap().iter();
        let lines: Vec<(&str, &str)> = lines
            .map(|line| (line[0].as_str().unwrap(), line[1].as_str().unwrap()))
            .collect();
        let reply = shop
            .server
            .post(&target, &lines, vector["body"].as_str().unwrap().as_bytes());
        // Verified and ignored by the rule, or verified but not JSON.
        let verified =
            reply.status == 200 || (reply.status == 400 && reply.text().contains("the body"));
        let expected = vector["expected"].as_str().unwrap();
        assert_eq!(
            verified,
            expected == "accept",
            "{}: {} {}",
            vector["id"],
            reply.status,
            reply.text()
        );
        *compared
            .get_mut(if verified { "accept" } else { "reject" })
            .unwrap() += 1;
    }
    println!(
        "{} of {} cases over HTTP: {compared:?}",
        vectors.len(),
        collection["count"]
    );
    assert!(
        compared["accept"] > 10 && compared["reject"] > 30,
        "{compared:?}"
    );
    assert!(shop.fake.puts().is_empty());
}
