//! The recorded exchanges of a real Portainer, if they lie beside the repository: all of them can be parsed and classified.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use serde::de::DeserializeOwned;

use super::super::*;
use crate::fetch::{FetchedAnswer, Method, OutgoingRequest, ResponseHead};

struct Recorded {
    name: String,
    method: String,
    path: String,
    sent: Value,
    answer: FetchedAnswer,
}

/// All exchanges, in order; none where the records are not there.
fn recorded() -> Vec<Recorded> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .map(|folder| folder.join("shared/portainer/transcripts"))
        .find(|folder| folder.is_dir());
    let Some(folder) = folder else {
        return Vec::new();
    };
    let files = std::fs::read_dir(folder).unwrap();
    let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    files.sort();
    let exchanges = files.iter().flat_map(|file| {
        let transcript: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
        let name = file.file_stem().unwrap().to_str().unwrap().to_owned();
        let exchanges = transcript["exchanges"].as_array().unwrap().clone();
        exchanges
            .into_iter()
            .filter(|exchange| exchange["response"]["status"].is_u64())
            .map(move |exchange| one(&name, &exchange))
    });
    exchanges.collect()
}

fn one(name: &str, exchange: &Value) -> Recorded {
    let (request, response) = (&exchange["request"], &exchange["response"]);
    let header = |name: &str| {
        let headers = response["headers"].as_object()?;
        let found = headers
            .iter()
            .find(|(one, _)| one.eq_ignore_ascii_case(name))?;
        Some(found.1.as_str().unwrap().to_owned())
    };
    let body = match &response["body"] {
        Value::Null => Vec::new(),
        Value::String(text) => text.clone().into_bytes(),
        json => serde_json::to_vec(json).unwrap(),
    };
    let head = ResponseHead {
        status: u16::try_from(response["status"].as_u64().unwrap()).unwrap(),
        content_type: header("content-type"),
        location: header("location"),
        date: header("date"),
        redirect_reason: header("redirect-reason"),
        api_version: None,
    };
    Recorded {
        name: name.to_owned(),
        method: request["method"].as_str().unwrap().to_owned(),
        path: request["path"].as_str().unwrap().to_owned(),
        sent: request["body"].clone(),
        answer: FetchedAnswer::new(head, body),
    }
}

impl Recorded {
    /// The route, with `*` for what differs between objects.
    fn route(&self) -> String {
        let path = self.path.split('?').next().unwrap();
        if let Some((_, rest)) = path.split_once("/docker/images/") {
            let end = rest.rsplit('/').next().unwrap();
            return format!("/docker/images/*/{end}");
        }
        if path.contains("/docker/distribution/") {
            return "/docker/distribution/*".to_owned();
        }
        let path = path.split_once("/docker/").map_or(path, |(_, rest)| rest);
        path.split('/')
            .map(|part| {
                match part.len() > 30
                    || part.bytes().all(|byte| byte.is_ascii_digit()) && !part.is_empty()
                {
                    true => "*",
                    false => part,
                }
            })
            .collect::<Vec<_>>()
            .join("/")
    }

    /// Tells whether the recording has not shortened the objects.
    fn is_whole(&self) -> bool {
        let body: Value = serde_json::from_slice(&self.answer.body).unwrap_or_default();
        let objects = body.as_array().cloned().unwrap_or_else(|| vec![body]);
        let whole = |object: &Value| {
            ["Id", "Name", "EndpointId", "Type"]
                .iter()
                .all(|field| !object[field].is_null())
        };
        self.path.starts_with("/api/stacks") && objects.iter().all(whole)
    }

    /// Tells whether every listed object kept its id; one recording lists containers without.
    fn has_ids(&self) -> bool {
        let body: Value = serde_json::from_slice(&self.answer.body).unwrap_or_default();
        let mut objects = body.as_array().into_iter().flatten();
        objects.all(|object| !object["Id"].is_null())
    }

    /// An update to this path, which must not be repeated.
    fn request(&self) -> OutgoingRequest {
        OutgoingRequest::new(Method::Put, self.path.as_str())
    }

    fn read<T: DeserializeOwned>(&self) -> T {
        response::parse("x", true, &self.answer)
            .unwrap_or_else(|error| panic!("{} {} {}: {error}", self.name, self.method, self.path))
    }
}

#[test]
fn every_recorded_success_is_read() {
    let mut read = BTreeMap::new();
    // The records shorten most objects; in these nothing that is read was left out.
    let mut whole = 0;
    for one in recorded() {
        if one.answer.head.status != 200 {
            continue;
        }
        let route = format!("{} {}", one.method, one.route());
        match &*route {
            "GET /api/stacks" if one.is_whole() => drop(one.read::<Vec<Record>>()),
            "GET /api/stacks/*" | "PUT /api/stacks/*" | "PUT /api/stacks/*/git/redeploy"
                if one.is_whole() =>
            {
                assert_ne!(one.read::<Record>().kind, Kind::Other(0));
            }
            "GET /api/stacks/*/file" => drop(one.read::<stacks::StackFile>()),
            "GET /api/endpoints" => drop(one.read::<Vec<Environment>>()),
            "GET /api/endpoints/*/registries" => drop(one.read::<Vec<Registry>>()),
            "GET /api/users/me" => drop(one.read::<Me>()),
            "GET /api/system/status" | "GET /api/status" => drop(one.read::<Release>()),
            "POST /api/auth" => drop(one.read::<auth::LoginAnswer>()),
            "GET containers/json" if one.has_ids() => {
                for listed in one.read::<Vec<Listed>>() {
                    assert!(!listed.state.is_empty(), "{listed:?}");
                    whole += usize::from(
                        listed.image_id.starts_with("sha256:") && !listed.labels.service.is_empty(),
                    );
                }
            }
            "GET containers/*/json" => {
                let inspected = one.read::<Inspected>();
                whole += usize::from(
                    !inspected.reference.is_empty() && !inspected.restart_policy.is_empty(),
                );
            }
            "GET containers/*/logs" => assert!(!docker::log_text(&one.answer.body).contains('\0')),
            "GET /docker/images/*/json" if one.answer.body.starts_with(b"{") => {
                drop(one.read::<LocalImage>())
            }
            "GET /docker/distribution/*" => drop(one.read::<docker::Distribution>()),
            "GET tasks" => drop(one.read::<Vec<SwarmTask>>()),
            "POST /docker/images/*/create" => {
                let mut progress = pull::PullProgress::default();
                for line in one.answer.body.split(|byte| *byte == b'\n') {
                    progress.line(line).unwrap();
                }
                progress.end().unwrap();
            }
            _ => continue,
        }
        *read.entry(route).or_insert(0) += 1;
    }
    if !recorded().is_empty() {
        assert!(read.len() >= 16 && whole >= 5, "{whole} {read:#?}");
    }
}

#[test]
fn every_recorded_failure_keeps_the_message_of_portainer() {
    for one in recorded() {
        let status = one.answer.head.status;
        if status < 300 {
            continue;
        }
        let json = one.answer.head.content_type.as_deref() == Some("application/json");
        let body = json.then(|| serde_json::from_slice::<Value>(&one.answer.body).unwrap());
        let error = response::classify("cannot", &one.request(), one.answer.clone()).unwrap_err();
        let Some(body) = body else {
            assert!(
                matches!(error, PortainerError::Interrupted(_)),
                "{} {error:?}",
                one.path
            );
            continue;
        };
        let (message, _) = error.portainer_says().unwrap();
        assert_eq!(
            message,
            body["message"].as_str().unwrap().replace('\n', " ").trim(),
            "{}",
            one.path
        );
        assert!(
            !error.nothing_was_sent() || status == 303,
            "{} {error:?}",
            one.path
        );
    }
}

/// The bodies that were sent by hand and worked are those that an [`Update`] makes from the record before them.
#[test]
fn recorded_updates_are_what_an_update_sends() {
    let mut same = 0;
    let mut records = BTreeMap::new();
    for one in recorded() {
        let key = (
            one.name.clone(),
            one.path
                .split('?')
                .next()
                .unwrap()
                .replace("/git/redeploy", ""),
        );
        if one.method == "PUT"
            && one.answer.head.status == 200
            && let Some(record) = records.get(&key)
            && one.sent["PullImage"] == one.sent["RepullImageAndRedeploy"]
        {
            let env: Vec<stacks::Variable> =
                serde_json::from_value(one.sent["Env"].clone()).unwrap_or_default();
            let set = env
                .into_iter()
                .map(|variable| (variable.name, variable.value))
                .collect();
            let file = one.sent["StackFileContent"].as_str().unwrap_or_default();
            let update = Update::new(record, file, &set, one.sent["PullImage"] == true);
            let body = serde_json::to_value(update.body).unwrap();
            same += usize::from(body == one.sent);
        }
        if one.answer.head.status == 200 && one.is_whole() && one.answer.body.starts_with(b"{") {
            records.insert(key, one.read::<Record>());
        }
    }
    if !recorded().is_empty() {
        assert!(same >= 20, "only {same} updates are the same");
    }
}
