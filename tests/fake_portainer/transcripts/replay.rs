//! Sends the requests of a recording to a fake and compares the answers.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use serde_json::Value;

use super::super::client::{Answer, send};
use crate::support::fake::Fake;

/// The file of the stack `shop` in the recordings.
pub(super) const STACK_FILE: &str = "services:\n  web:\n    image: 127.0.0.1:5000/web:${TAG}\n    environment:\n      GREETING: ${GREETING}\n    restart: unless-stopped\n    healthcheck:\n      test: [\"CMD\", \"/app\", \"health\"]\n      interval: 1s\n      timeout: 1s\n      retries: 5\n      start_period: 10s\n  worker:\n    image: 127.0.0.1:5000/worker:1\n    restart: unless-stopped\n";

type Stage = Box<dyn Fn(&Fake)>;

/// The replay of one recording.
pub(super) struct Replay {
    name: String,
    exchanges: Option<Vec<Value>>,
    fake: Option<Fake>,
    stages: Vec<(String, Stage)>,
    left_out: Vec<String>,
    left_paths: Vec<&'static str>,
    /// Notes of container lists that are incomplete in the recording.
    shortened: Vec<String>,
    user: Option<(&'static str, &'static [&'static str])>,
    /// Ids of the recording mapped one to one to ids of the fake, so that identity and difference are compared.
    ids: BTreeMap<String, String>,
    user_key: String,
    jwt: String,
    last_key: String,
    /// The compose project of the last observation.
    project: String,
    /// The first file read of each stack.
    files: BTreeMap<String, Value>,
    /// The path of the last requested stack.
    stack: String,
}

/// A recording, and the initial state that it implies.
pub(super) struct Recording {
    pub(super) name: String,
    exchanges: Vec<Value>,
}

/// A stack of a recording: id, name, file and variables.
pub(super) type RecordedStack = (i64, String, String, Vec<(String, String)>);

impl Recording {
    /// The folder of the recordings, if it is available.
    fn folder() -> Option<PathBuf> {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .ancestors()
            .map(|folder| folder.join("shared/portainer/transcripts"))
            .find(|folder| folder.is_dir())
    }

    /// The names of all recordings; empty if they are not available.
    pub(super) fn names() -> Vec<String> {
        let Some(folder) = Recording::folder() else {
            return Vec::new();
        };
        let files = std::fs::read_dir(folder).unwrap();
        let files = files.map(|file| file.unwrap().file_name().into_string().unwrap());
        files
            .filter_map(|file| Some(file.strip_suffix(".json")?.to_owned()))
            .collect()
    }

    /// `None` if the recordings are not available.
    pub(super) fn read(name: &str) -> Option<Recording> {
        let path = Recording::folder()?.join(format!("{name}.json"));
        let text = std::fs::read_to_string(path).ok()?;
        let recording: Value = serde_json::from_str(&text).unwrap();
        Some(Recording {
            name: name.to_owned(),
            exchanges: recording["exchanges"].as_array().unwrap().clone(),
        })
    }

    /// `33` of `p33-update`.
    pub(super) fn number(&self) -> &str {
        &self.name[1..3]
    }

    /// One of the images of this release's recordings.
    pub(super) fn image(&self, name: &str) -> String {
        format!("127.0.0.1:5000/w{}/{name}:1", self.number())
    }

    /// The bodies of its answers, in order.
    pub(super) fn answers(&self) -> Vec<&Value> {
        let bodies = self.requests().map(|one| &one["response"]["body"]);
        bodies.collect()
    }

    fn requests(&self) -> impl Iterator<Item = &Value> {
        let requests = self.exchanges.iter();
        requests.filter(|one| one.get("request").is_some())
    }

    /// The stack at the beginning of the recording, if it has one.
    pub(super) fn stack(&self) -> Option<RecordedStack> {
        if self.name.ends_with("-proxy") {
            let (web, worker) = (self.image("web"), self.image("worker"));
            let file =
                format!("services:\n  web:\n    image: {web}\n  worker:\n    image: {worker}\n");
            return Some((5, format!("fact{}", self.number()), file, Vec::new()));
        }
        let record = |one: &&Value| one["response"]["body"]["Name"].is_string();
        let record = &self.requests().find(record)?["response"]["body"];
        let stored = self.requests().find_map(|one| {
            let file = &one["response"]["body"]["StackFileContent"];
            file.as_str().map(str::to_owned)
        });
        let sent = || {
            let sent = |one: &Value| {
                one["request"]["body"]["StackFileContent"]
                    .as_str()
                    .map(str::to_owned)
            };
            self.requests().find_map(sent)
        };
        let mut file = stored.or_else(sent)?;
        if self.name.ends_with("-prune") {
            let worker = self.image("worker");
            file.push_str(&format!(
                "  extra:\n    image: {worker}\n    stop_grace_period: 2s\n"
            ));
        }
        let variables = |env: &Value| -> Vec<(String, String)> {
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            let pairs = env.as_array().into_iter().flatten();
            pairs
                .map(|pair| (text(&pair["name"]), text(&pair["value"])))
                .collect()
        };
        let mut env = variables(&record["Env"]);
        match self.name.rsplit('-').next() {
            Some("port") => env.retain(|(name, _)| name == "TAG"),
            Some("failures") => {
                env = vec![
                    ("TAG".to_owned(), "1".to_owned()),
                    ("GREETING".to_owned(), "hi".to_owned()),
                ];
            }
            Some("restart") => env = vec![("A".to_owned(), "0".to_owned())],
            _ => {}
        }
        let id = record["Id"].as_i64().unwrap();
        Some((id, record["Name"].as_str().unwrap().to_owned(), file, env))
    }

    /// The occupied port in the fake's notation.
    pub(super) fn taken_port(&self) -> String {
        let env = &self.requests().nth(1).unwrap()["request"]["body"]["Env"];
        format!("0.0.0.0:{}", env[1]["value"].as_str().unwrap())
    }

    /// The interrupted update: path and body of the one after it, with a variable changed.
    pub(super) fn interrupted_update(&self) -> (String, String) {
        let put = self
            .requests()
            .find(|one| one["request"]["method"] == "PUT");
        let request = &put.unwrap()["request"];
        let mut body = request["body"].clone();
        body["Env"][0]["value"] = Value::from("1");
        (
            request["path"].as_str().unwrap().to_owned(),
            body.to_string(),
        )
    }

    /// The answers to requests during a slow deployment.
    pub(super) fn busy_answers(&self) -> Value {
        self.exchanges[0]["value"].clone()
    }
}

impl Replay {
    pub(super) fn of(name: &str) -> Replay {
        let recording = Recording::read(name);
        if recording.is_none() {
            println!("{name}: no recording here, nothing is compared");
        }
        Replay::new(name, recording.map(|recording| recording.exchanges))
    }

    /// A replay of a recording that has been read.
    pub(super) fn from_recording(recording: &Recording) -> Replay {
        Replay::new(&recording.name, Some(recording.exchanges.clone()))
    }

    fn new(name: &str, exchanges: Option<Vec<Value>>) -> Replay {
        Replay {
            name: name.to_owned(),
            exchanges,
            fake: None,
            stages: Vec::new(),
            left_out: Vec::new(),
            left_paths: Vec::new(),
            shortened: Vec::new(),
            user: None,
            ids: BTreeMap::new(),
            user_key: String::new(),
            jwt: String::new(),
            last_key: String::new(),
            project: match name.strip_prefix('p') {
                Some(rest) if rest.ends_with("-proxy") => format!("fact{}", &rest[..2]),
                _ => "shop".to_owned(),
            },
            files: BTreeMap::new(),
            stack: "/api/stacks/1".to_owned(),
        }
    }

    /// Continues with another recording of the same engine, which has the same ids.
    pub(super) fn then(mut self, name: &'static str) -> Replay {
        let next = Replay::of(name).exchanges;
        self.exchanges = self.exchanges.zip(next).map(|(mut exchanges, next)| {
            exchanges.extend(next);
            exchanges
        });
        self
    }

    pub(super) fn on(mut self, fake: Fake) -> Replay {
        self.fake = Some(fake);
        self
    }

    /// Runs a stage before the n-th exchange.
    pub(super) fn before(self, n: usize, stage: impl Fn(&Fake) + 'static) -> Replay {
        self.before_note(&format!("#{n}"), stage)
    }

    /// Runs a stage before the exchange or observation with this note; `NOTE #2` means its second occurrence, `NOTE` the first.
    pub(super) fn before_note(mut self, note: &str, stage: impl Fn(&Fake) + 'static) -> Replay {
        self.stages.push((note.to_owned(), Box::new(stage)));
        self
    }

    /// Skips an exchange, for a reason.
    pub(super) fn without(mut self, note: &str, _why: &str) -> Replay {
        self.left_out.push(note.to_owned());
        self
    }

    /// Skips requests whose path contains this part, for a reason.
    pub(super) fn without_path(mut self, part: &'static str, _why: &str) -> Replay {
        self.left_paths.push(part);
        self
    }

    /// Compares only the containers that a recording's list names, for a reason.
    pub(super) fn shortened(mut self, note: &str, _why: &str) -> Replay {
        self.shortened.push(note.to_owned());
        self
    }

    /// Sends requests as this standard user, except those with these beginnings.
    pub(super) fn calls_come_from(
        mut self,
        name: &'static str,
        administrators: &'static [&'static str],
    ) -> Replay {
        self.user = Some((name, administrators));
        self
    }

    #[track_caller]
    pub(super) fn run(mut self) {
        let Some(exchanges) = self.exchanges.take() else {
            return;
        };
        let fake = self.fake.take().unwrap();
        self.log_in(&fake);
        let mut seen: BTreeMap<String, usize> = BTreeMap::new();
        let mut used = vec![false; self.stages.len()];
        for (number, exchange) in exchanges.iter().enumerate() {
            let note = exchange
                .get("observation")
                .or_else(|| exchange.get("note"))
                .and_then(Value::as_str)
                .unwrap_or_default();
            let count = seen.entry(note.to_owned()).or_default();
            *count += 1;
            for (at, (wanted, stage)) in self.stages.iter().enumerate() {
                let here = *wanted == format!("#{number}")
                    || *wanted == format!("{note} #{count}")
                    || (*wanted == note && *count == 1);
                if here {
                    used[at] = true;
                    stage(&fake);
                }
            }
            let numbered = format!("{note} #{count}");
            if self
                .left_out
                .iter()
                .any(|left_out| left_out == note || *left_out == numbered)
            {
                continue;
            }
            let place = format!("{} exchange {number}, {note:?}", self.name);
            if exchange.get("observation").is_some() {
                self.observe(&fake, note, &exchange["value"], &place);
            } else {
                self.ask(&fake, exchange, note, &place);
            }
        }
        for (at, used) in used.iter().enumerate() {
            assert!(
                used,
                "{}: nothing is noted {:?}",
                self.name, self.stages[at].0
            );
        }
    }

    fn log_in(&mut self, fake: &Fake) {
        let body = format!(
            "{{\"Username\":\"admin\",\"Password\":\"{}\"}}",
            fake.password()
        );
        // Recordings about logins count their own logins.
        if !matches!(self.name.as_str(), "rate-limit" | "uninitialised") {
            let answer = send(fake, "POST", "/api/auth", &[], Some(&body)).unwrap();
            self.jwt = answer.body["jwt"].as_str().unwrap().to_owned();
        }
        fake.api_key().clone_into(&mut self.last_key);
    }

    fn ask(&mut self, fake: &Fake, exchange: &Value, note: &str, place: &str) {
        let (request, recorded) = (&exchange["request"], &exchange["response"]);
        let method = request["method"].as_str().unwrap();
        let path = self.fill_path(fake, request["path"].as_str().unwrap());
        if self
            .left_paths
            .iter()
            .any(|left_out| path.contains(left_out))
        {
            return;
        }
        let headers: Vec<(String, String)> = request["headers"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(name, value)| {
                (
                    name.clone(),
                    self.fill(fake, value.as_str().unwrap(), note, method, &path),
                )
            })
            .collect();
        let headers: Vec<(&str, &str)> = headers
            .iter()
            .map(|(n, v)| (n.as_str(), v.as_str()))
            .collect();
        let body = match &request["body"] {
            Value::Null => None,
            Value::String(raw) => Some(raw.clone()),
            body => Some(spaced(&self.fill_body(fake, body, note))),
        };
        let mut answer = send(fake, method, &path, &headers, body.as_deref())
            .unwrap_or_else(|| panic!("{place}: no answer"));
        if self.shortened.iter().any(|shortened| shortened == note) {
            let recorded = recorded["body"].as_array().unwrap();
            let here = answer.body.as_array_mut().unwrap();
            here.retain(|row| recorded.iter().any(|known| known["Names"] == row["Names"]));
        }
        if let Some(id) = path.strip_prefix("/api/stacks/") {
            let id = id.split(['/', '?']).next().unwrap_or_default();
            let id = format!("/api/stacks/{id}");
            if let file @ Value::String(_) = &answer.body["StackFileContent"] {
                self.files.entry(id.clone()).or_insert(file.clone());
            }
            self.stack = id;
        }
        assert_eq!(recorded["status"], answer.status, "{place}: {answer:?}");
        if let Some(kind) = recorded["headers"]["Content-Type"].as_str() {
            assert_eq!(answer.header("content-type"), Some(kind), "{place}");
        }
        if let Some(why) = recorded["headers"]["Redirect-Reason"].as_str() {
            assert_eq!(
                (answer.header("redirect-reason"), answer.header("location")),
                (Some(why), None),
                "{place}"
            );
        }
        if method == "POST" && path == "/api/users" {
            self.user_key = key_of(fake, &request["body"]["Username"]);
        }
        if let Some(key) = answer.body["rawAPIKey"].as_str() {
            key.clone_into(&mut self.last_key);
        }
        self.compare_body(&recorded["body"], &answer, place);
    }

    fn compare_body(&mut self, recorded: &Value, answer: &Answer, place: &str) {
        match (recorded, &answer.body) {
            (Value::String(_), _)
                if answer.header("content-type") == Some("application/octet-stream") =>
            {
                assert_eq!(
                    answer.bytes.get(1..4),
                    Some(&[0, 0, 0][..]),
                    "{place}: a frame's head"
                );
            }
            (Value::String(recorded), Value::String(here)) if recorded.contains("\r\n") => {
                let ends = |text: &str| {
                    let lines: Vec<Value> = text
                        .split_terminator("\r\n")
                        .map(|l| serde_json::from_str(l).unwrap())
                        .collect();
                    (
                        normal(&lines[0].to_string()),
                        normal(&lines[lines.len() - 1].to_string()),
                    )
                };
                assert_eq!(ends(recorded), ends(here), "{place}");
            }
            (Value::String(recorded), Value::Null) if recorded.is_empty() => {
                assert!(answer.bytes.is_empty(), "{place}: {answer:?}");
            }
            (recorded, here) => {
                if recorded.get("ProjectPath").is_some() {
                    let keys = |value: &Value| {
                        value
                            .as_object()
                            .unwrap()
                            .keys()
                            .cloned()
                            .collect::<Vec<_>>()
                    };
                    assert_eq!(keys(recorded), keys(here), "{place}");
                }
                self.compare(recorded, here, place);
            }
        }
    }

    /// Compares every field of the recording, which omits parts of long answers.
    fn compare(&mut self, recorded: &Value, here: &Value, place: &str) {
        match (recorded, here) {
            (Value::Object(recorded), Value::Object(_)) => {
                for (name, value) in recorded {
                    if ENGINE_INTERNALS.contains(&name.as_str()) {
                        continue;
                    }
                    let found = find(here, name);
                    assert!(
                        value.is_null() || found.is_some(),
                        "{place}: {name} is missing in {here}"
                    );
                    let found = found.unwrap_or(&Value::Null);
                    let numbered = name == "Id" && place.ends_with(" ResourceControl");
                    if !is_volatile(name) && !numbered {
                        self.compare(value, found, &format!("{place} {name}"));
                    }
                }
            }
            (Value::Array(recorded), Value::Array(here)) => {
                assert_eq!(recorded.len(), here.len(), "{place}: {here:?}");
                let (recorded, here) = (by_name(recorded), by_name(here));
                for (recorded, here) in recorded.iter().zip(here) {
                    self.compare(recorded, here, place);
                }
            }
            (Value::String(recorded), Value::String(here)) => {
                self.compare_text(recorded, here, place)
            }
            _ => assert_eq!(recorded, here, "{place}"),
        }
    }

    fn compare_text(&mut self, recorded: &str, here: &str, place: &str) {
        if recorded.starts_with('<') && recorded.ends_with('>') {
            return;
        }
        assert_eq!(normal(recorded), normal(here), "{place}");
        if let (Some(recorded), Some(here)) = (lone_id(recorded), lone_id(here)) {
            self.pair(&recorded, &here, place);
        }
    }

    /// Compares ids: equal ids of the recording must be equal here, and different ones different.
    fn pair(&mut self, recorded: &str, here: &str, place: &str) {
        let taken = self
            .ids
            .iter()
            .find(|(other, id)| *id == here && *other != recorded)
            .map(|(other, _)| other.clone());
        assert_eq!(
            taken, None,
            "{place}: {recorded} is new in the recording, and here it is the old {here}"
        );
        let known = self
            .ids
            .entry(recorded.to_owned())
            .or_insert_with(|| here.to_owned());
        assert_eq!(
            known, here,
            "{place}: {recorded} is an old one in the recording, and here it is new"
        );
    }

    /// Compares observed containers with the fake's by names, states and identities; waits for observed progress and compares
    /// its end.
    fn observe(&mut self, fake: &Fake, note: &str, value: &Value, place: &str) {
        if note.starts_with("status over time") {
            let last = value.as_array().unwrap().last().unwrap();
            fake.clock().fetch_add(120_000, Ordering::SeqCst);
            let status = super::super::client::get(fake, &self.stack).body["Status"].clone();
            return assert_eq!(last[1], status, "{place}");
        }
        if note == "the stored file is the old one" || note == "the file is the old one" {
            let now = super::super::client::get(fake, &format!("{}/file", self.stack)).body;
            let first = self
                .files
                .entry(self.stack.clone())
                .or_insert(now["StackFileContent"].clone());
            return assert_eq!(
                *value,
                Value::Bool(*first == now["StackFileContent"]),
                "{place}"
            );
        }
        if note == "API key in the query" {
            let path = format!(
                "/api/stacks?x-api-key={}",
                fake.api_key().replace('+', "%2B")
            );
            let answer = send(fake, "GET", &path, &[], None).unwrap();
            return assert_eq!(*value, Value::from(answer.status), "{place}");
        }
        if note == "web runs the newer image" {
            let newest = value["registry has"] == value["the container runs"];
            let reference = format!("127.0.0.1:5000/w{}/web:1", &self.name[1..3]);
            let project = self.project.clone();
            let (runs, has) = fake.world(|w| {
                (
                    w.container(&project, "web").image_id,
                    w.registry_id(&reference),
                )
            });
            return assert_eq!(newest, Some(runs) == has, "{place}");
        }
        let Some(rows) = value.as_array() else { return };
        let short = rows
            .iter()
            .all(|row| row.get("name").is_some() && row.get("id").is_some());
        if short && !rows.is_empty() {
            let name = rows[0]["name"].as_str().unwrap();
            let name = name.split_once('_').map_or(name, |(_, name)| name);
            name.split('-')
                .next()
                .unwrap()
                .clone_into(&mut self.project);
        }
        if short && (!rows.is_empty() || note.starts_with("after")) {
            return self.observe_short(fake, rows, place);
        }
        let containers = rows
            .iter()
            .all(|row| row.get("Names").is_some() && row.get("State").is_some());
        if !containers {
            return;
        }
        if let Some(row) = rows.first() {
            let name = row["Names"][0].as_str().unwrap().trim_start_matches('/');
            let name = name.split_once('_').map_or(name, |(_, name)| name);
            name.split('-')
                .next()
                .unwrap()
                .clone_into(&mut self.project);
        }
        let project = &self.project;
        let filter =
            format!("%7B%22label%22%3A%5B%22com.docker.compose.project%3D{project}%22%5D%7D");
        let path = format!("/api/endpoints/1/docker/containers/json?all=1&filters={filter}");
        let mut here = super::super::client::get(fake, &path).body;
        for row in here.as_array_mut().unwrap() {
            for id in ["Id", "ImageID"] {
                let short = row[id].as_str().unwrap().to_owned();
                let length = if id == "Id" { 12 } else { 19 };
                row[id] = Value::from(&short[..length]);
            }
        }
        self.compare(value, &here, place);
    }

    fn observe_short(&mut self, fake: &Fake, rows: &[Value], place: &str) {
        let project = self.project.clone();
        let mut here: Vec<(String, String, &str)> = fake.world(|w| {
            let seen = w.containers(&project).into_iter();
            seen.map(|one| (normal(&one.name), one.id[..12].to_owned(), one.state))
                .collect()
        });
        here.sort_unstable();
        let mut recorded: Vec<(String, String, &str)> = rows
            .iter()
            .map(|row| {
                let text = |name: &str| row[name].as_str().unwrap();
                (normal(text("name")), text("id").to_owned(), text("state"))
            })
            .collect();
        recorded.sort_unstable();
        let shape = |rows: &[(String, String, &str)]| -> Vec<String> {
            rows.iter()
                .map(|(name, _, state)| format!("{name} {state}"))
                .collect()
        };
        assert_eq!(shape(&recorded), shape(&here), "{place}");
        for ((_, recorded, _), (_, here, _)) in recorded.iter().zip(&here) {
            self.pair(recorded, here, place);
        }
    }

    /// Replaces ids of the recording in a path by those of the fake.
    fn fill_path(&self, fake: &Fake, path: &str) -> String {
        let path = path.replace("<api-key>", &self.last_key.replace('+', "%2B"));
        let mut out = path.clone();
        for word in path.split(['/', '?']) {
            let bare = word.strip_prefix("sha256:").unwrap_or(word);
            if bare.len() == 64 && bare.bytes().all(|b| b.is_ascii_hexdigit()) {
                let recorded = &bare[..12];
                let here = self.ids.get(recorded).cloned().unwrap_or_else(|| {
                    fake.world(|w| w.container(&self.project, "web").id[..12].to_owned())
                });
                out = out.replace(bare, &here);
            }
        }
        out
    }

    fn fill(&self, fake: &Fake, value: &str, note: &str, method: &str, path: &str) -> String {
        let wrong = note.starts_with("wrong API key")
            || note == "unknown API key"
            || note.starts_with("JWT with a wrong signature");
        let key = match self.user {
            Some((_, administrators))
                if !administrators
                    .iter()
                    .any(|a| format!("{method} {path}").starts_with(a)) =>
            {
                &self.user_key
            }
            _ => fake.api_key(),
        };
        let (key, jwt) = if wrong {
            ("ptr_wrong", "wrong.wrong.wrong")
        } else {
            (key, self.jwt.as_str())
        };
        value.replace("<api-key>", key).replace("<jwt>", jwt)
    }

    fn fill_body(&self, fake: &Fake, body: &Value, note: &str) -> Value {
        let wrong = note.starts_with("wrong password") || self.name == "rate-limit";
        let password = if wrong { "wrong" } else { fake.password() };
        let mut body: Value =
            serde_json::from_str(&body.to_string().replace("<password>", password)).unwrap();
        if let Some(service) = body.get_mut("ServiceID") {
            *service = Value::from("swarmy_web");
        }
        body
    }
}

/// An API key that a user creates, as in the recording.
fn key_of(fake: &Fake, name: &Value) -> String {
    let password = fake.password();
    let login = serde_json::json!({ "Username": name, "Password": password }).to_string();
    let jwt = send(fake, "POST", "/api/auth", &[], Some(&login))
        .unwrap()
        .body["jwt"]
        .as_str()
        .unwrap()
        .to_owned();
    let ask = serde_json::json!({ "password": password, "description": "x" }).to_string();
    let bearer = format!("Bearer {jwt}");
    let made = send(
        fake,
        "POST",
        "/api/users/2/tokens",
        &[("Authorization", &bearer)],
        Some(&ask),
    )
    .unwrap();
    made.body["rawAPIKey"].as_str().unwrap().to_owned()
}

/// Fields of the engine that describe its storage, its sizes and its limits.
const ENGINE_INTERNALS: &[&str] = &[
    "Driver",
    "GraphDriver",
    "ImageManifestDescriptor",
    "Metadata",
    "MinAPIVersion",
    "Parent",
    "ParentId",
    "Platforms",
    "Size",
    "Storage",
    "VirtualSize",
    "mediaType",
    "size",
];

/// Fields whose values are independent of behaviour: dates, counters, versions of other programs.
fn is_volatile(name: &str) -> bool {
    const NAMES: &[&str] = &[
        "Build",
        "ID",
        "UpdatedAt",
        "CompletedAt",
        "Version",
        "ProjectPath",
        "size",
        "Time",
        "ContainerID",
        "Timestamp",
        "PID",
        "Command",
        "Containers",
        "Created",
        "CreationDate",
        "FinishedAt",
        "Health",
        "InstanceID",
        "Kubernetes",
        "Labels",
        "LastCheckInDate",
        "NetworkSettings",
        "Pid",
        "Ports",
        "QueryDate",
        "StartedAt",
        "State.Health.Log",
        "Status text",
        "UpdateDate",
        "dateCreated",
        "id",
    ];
    NAMES.contains(&name)
}

/// A field by its name; the recordings shorten nested fields to `Spec.Name`, and a task's image to `Image`.
fn find<'a>(here: &'a Value, name: &str) -> Option<&'a Value> {
    let dotted = format!("/{}", name.replace('.', "/"));
    let task_image = (name == "Image").then_some("/Spec/ContainerSpec/Image");
    here.get(name)
        .or_else(|| here.pointer(&dotted))
        .or_else(|| here.pointer(task_image?))
}

/// Sorts containers by name and tasks by state; other lists keep their order.
fn by_name(rows: &[Value]) -> Vec<&Value> {
    let mut rows: Vec<&Value> = rows.iter().collect();
    if rows.iter().all(|row| row.get("Names").is_some()) {
        rows.sort_by_key(|row| normal(row["Names"][0].as_str().unwrap_or_default()));
    }
    if rows.iter().all(|row| row.get("DesiredState").is_some()) {
        rows.sort_by_key(|row| row["Status"]["State"].to_string());
    }
    rows
}

/// Normalises every id, digest and commit (12 or more hex digits) and every age in a text.
fn normal(text: &str) -> String {
    let mut out = String::new();
    let mut run = String::new();
    for letter in text.chars().chain(['\0']) {
        if letter.is_ascii_digit() || ('a'..='f').contains(&letter) {
            run.push(letter);
            continue;
        }
        out.push_str(if run.len() >= 12 { "<hex>" } else { &run });
        run.clear();
        out.push(letter);
    }
    let out = out.trim_end_matches('\0');
    if let Some((before, _task)) = out.split_once("early termination of task ") {
        return before.to_owned();
    }
    match out.split_once(' ') {
        Some(("Up", rest)) => format!("Up{}", rest.split_once(" (").map_or("", |_| " with health")),
        Some(("Exited" | "Restarting", rest)) => {
            rest.split(' ').next().unwrap_or_default().to_owned()
        }
        _ => out.to_owned(),
    }
}

/// The first twelve digits of a value that is an id.
fn lone_id(text: &str) -> Option<String> {
    let bare = text.strip_prefix("sha256:").unwrap_or(text);
    let is_id = bare.len() >= 12 && bare.len() != 40 && bare.bytes().all(|b| b.is_ascii_hexdigit());
    is_id.then(|| bare[..12].to_owned())
}

/// JSON in the recorder's format, with a space after `:` and `,`: one refusal quotes the request.
fn spaced(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let fields: Vec<String> = map
                .iter()
                .map(|(name, value)| format!("\"{name}\": {}", spaced(value)))
                .collect();
            format!("{{{}}}", fields.join(", "))
        }
        Value::Array(items) => format!(
            "[{}]",
            items.iter().map(spaced).collect::<Vec<_>>().join(", ")
        ),
        other => other.to_string(),
    }
}
