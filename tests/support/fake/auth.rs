//! Authentication: users, logins and their limit, JWTs, API keys, and the refusals of each.

use std::collections::{BTreeMap, VecDeque};

use serde_json::{Value, json};

use super::http::{Answer, Request};
use super::time::{Millis, seconds};
use super::world::World;

/// A user of Portainer.
#[derive(Clone, Debug)]
pub(super) struct User {
    pub(super) id: i64,
    pub(super) name: String,
    pub(super) password: String,
    pub(super) administrator: bool,
}

/// The state of the initial setup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Setup {
    /// An administrator exists.
    Done,
    /// No administrator yet, within the first five minutes.
    Open,
    /// No administrator in time, so Portainer has locked itself.
    TimedOut,
}

/// The users and their credentials.
#[derive(Debug)]
pub(super) struct Users {
    pub(super) list: Vec<User>,
    pub(super) setup: Setup,
    /// User id by API key.
    keys: BTreeMap<String, i64>,
    /// Time of the last recorded use by API key.
    last_used: BTreeMap<String, Millis>,
    jwts: BTreeMap<String, i64>,
    logins: VecDeque<Millis>,
    banned_until: Millis,
    keys_made: i64,
}

/// More logins than this within a second ban the address for an hour.
const LOGINS_A_SECOND: usize = 10;

impl Users {
    pub(super) fn new() -> Users {
        Users {
            list: Vec::new(),
            setup: Setup::Done,
            keys: BTreeMap::new(),
            last_used: BTreeMap::new(),
            jwts: BTreeMap::new(),
            logins: VecDeque::new(),
            banned_until: 0,
            keys_made: 0,
        }
    }

    pub(super) fn add(&mut self, name: &str, password: &str, administrator: bool) -> i64 {
        let id = self.list.last().map_or(1, |last| last.id + 1);
        self.list.push(User {
            id,
            name: name.to_owned(),
            password: password.to_owned(),
            administrator,
        });
        id
    }

    pub(super) fn add_key(&mut self, user: i64, key: &str) {
        self.keys_made += 1;
        self.keys.insert(key.to_owned(), user);
    }

    /// Revokes all API keys of a user.
    pub(super) fn revoke_keys(&mut self, user: i64) {
        self.keys.retain(|_, owner| *owner != user);
    }

    /// Invalidates every JWT, as a restart of Portainer does.
    pub(super) fn forget_jwts(&mut self) {
        self.jwts.clear();
    }

    fn get(&self, id: i64) -> Option<&User> {
        self.list.iter().find(|user| user.id == id)
    }
}

/// An authenticated caller.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    pub(super) user: User,
    by_key: bool,
}

impl World {
    /// Tells whether the request has to wait for the database: it writes, or its API key's last use is due to be recorded (once a minute).
    pub(super) fn waits_for_database(&mut self, request: &Request) -> bool {
        let now = self.now();
        let key = request.header("x-api-key").unwrap_or_default();
        let last = self.users.last_used.get(key);
        let due =
            self.users.keys.contains_key(key) && last.is_none_or(|last| *last + 60_000 <= now);
        let is_update = request.method == "PUT" && request.path.starts_with("/api/stacks/");
        let writes = request.writes() && !request.path.contains("/docker/") && !is_update;
        if self.era.deploy_locks_database() && self.deploys.busy() && (due || writes) {
            return true;
        }
        if due {
            self.users.last_used.insert(key.to_owned(), now);
        }
        false
    }

    /// The refusals that precede authentication: no administrator, and writes with a cookie or from another origin.
    pub(super) fn refuse_early(&self, request: &Request) -> Option<Answer> {
        let open = matches!(
            request.path.as_str(),
            "/api/status" | "/api/settings/public"
        );
        if self.users.setup == Setup::TimedOut && !open {
            let answer = Answer::plain_error(303, "Administrator initialization timeout");
            return Some(answer.with("redirect-reason", "AdminInitTimeout"));
        }
        if self.era.checks_origin() {
            let foreign = request.header("origin").is_some()
                || request.header("sec-fetch-site") == Some("cross-site");
            return (request.writes() && foreign).then(|| Answer::text(403, "Forbidden\n"));
        }
        (request.writes() && cookie(request).is_some())
            .then(|| Answer::text(403, "Forbidden - CSRF token not found in request\n"))
    }

    /// Authenticates a request.
    pub(super) fn caller(&self, request: &Request) -> Result<Caller, Answer> {
        let key = request
            .header("x-api-key")
            .or_else(|| {
                let in_query = request.query("x-api-key");
                in_query.filter(|_| !self.era.checks_origin())
            })
            .filter(|key| !key.is_empty());
        let authorization = request.header("authorization");
        if key.is_some() && authorization.is_some() && self.era.checks_origin() {
            let words = "API key and auth header are not allowed at the same time";
            return Err(Answer::error(401, words, "Unauthorized"));
        }
        if key.is_some() && authorization.is_some() {
            return Err(Answer::plain_error(
                403,
                "api key and auth header are not allowed at the same time",
            ));
        }
        let found = match (key, authorization.or_else(|| cookie(request))) {
            (Some(key), _) => self.users.keys.get(key),
            (None, Some(jwt)) => self
                .users
                .jwts
                .get(jwt.strip_prefix("Bearer ").unwrap_or(jwt)),
            (None, None) => {
                return Err(Answer::error(
                    401,
                    "A valid authorization token is missing",
                    "Unauthorized",
                ));
            }
        };
        let user = found.and_then(|id| self.users.get(*id)).cloned();
        user.map(|user| Caller {
            user,
            by_key: key.is_some(),
        })
        .ok_or_else(|| Answer::error(401, "Invalid JWT token", "Unauthorized"))
    }

    /// `POST /api/auth`.
    pub(super) fn log_in(&mut self, request: &Request, now: Millis) -> Answer {
        if now < self.users.banned_until {
            return Answer::error(403, "Access denied", "Access denied to resource");
        }
        self.users.logins.push_back(now);
        while self
            .users
            .logins
            .front()
            .is_some_and(|first| *first + 1000 <= now)
        {
            self.users.logins.pop_front();
        }
        if self.users.logins.len() > LOGINS_A_SECOND {
            self.users.banned_until = now + 3_600_000;
            return Answer::error(403, "Access denied", "Access denied to resource");
        }
        let body = match payload(request) {
            Ok(body) => body,
            Err(refusal) => return refusal,
        };
        for field in ["Username", "Password"] {
            if text(&body, field).is_empty() {
                let what = format!("Invalid {}", field.to_lowercase());
                return Answer::error(400, "Invalid request payload", &what);
            }
        }
        let (name, password) = (text(&body, "Username"), text(&body, "Password"));
        let Some(user) = self
            .users
            .list
            .iter()
            .find(|u| u.name == name && u.password == password && !self.oauth)
        else {
            return Answer::error(422, "Invalid credentials", "Unauthorized");
        };
        let user = user.id;
        let jwt = format!("{}.{}.{}", self.hex(36), self.hex(80), self.hex(43));
        self.users.jwts.insert(jwt.clone(), user);
        let cookie = format!("portainer_api_key={jwt}; Path=/; HttpOnly; SameSite=Strict");
        Answer::json(200, &json!({ "jwt": jwt })).with("Set-Cookie", cookie)
    }

    /// `POST /api/users/{id}/tokens`.
    pub(super) fn make_key(&mut self, caller: &Caller, request: &Request, now: Millis) -> Answer {
        if caller.by_key {
            return Answer::error(401, "Auth not supported", "Authentication required");
        }
        let body = match payload(request) {
            Ok(body) => body,
            Err(refusal) => return refusal,
        };
        if text(&body, "password") != caller.user.password {
            let details = "Current password does not match the password provided. Please try again";
            return Answer::error(403, "Current password doesn't match", details);
        }
        let key = self.new_key();
        self.users.add_key(caller.user.id, &key);
        let made = json!({
            "id": self.users.keys_made, "userId": caller.user.id, "description": text(&body, "description"),
            "prefix": key[..7], "dateCreated": seconds(now), "lastUsed": 0, "digest": self.hex(43),
        });
        Answer::json(201, &json!({ "rawAPIKey": key, "apiKey": made }))
    }

    /// A key that looks like Portainer's, holds every character that base64 has, and is easy to find in any output.
    pub(super) fn new_key(&mut self) -> String {
        format!("ptr_sentinel/{}+key=", self.hex(24))
    }
}

/// The user object of `users/me`.
pub(super) fn user_json(user: &User) -> Value {
    json!({
        "Id": user.id, "Username": user.name, "Role": if user.administrator { 1 } else { 2 }, "TokenIssueAt": 0,
        "ThemeSettings": { "color": "" }, "UseCache": false, "PortainerAuthorizations": null, "EndpointAuthorizations": null,
    })
}

/// The JSON object in a body, or Portainer's refusal.
pub(super) fn payload(request: &Request) -> Result<Value, Answer> {
    let refuse = |details: &str| Err(Answer::error(400, "Invalid request payload", details));
    if request.body.is_empty() {
        return refuse("EOF");
    }
    match serde_json::from_slice::<Value>(&request.body) {
        Ok(value) if value.is_object() => Ok(value),
        _ => {
            let text = String::from_utf8_lossy(&request.body);
            let rest = text.trim_start().trim_start_matches('{');
            refuse(&format!(
                "Json: expected '\"' at the beginning of a string value: {rest}"
            ))
        }
    }
}

/// A field of a payload; names are compared without regard to case, as in Portainer's JSON parser.
pub(super) fn field<'a>(body: &'a Value, name: &str) -> Option<&'a Value> {
    body.as_object()?
        .iter()
        .find(|(key, _)| key.eq_ignore_ascii_case(name))
        .map(|(_, value)| value)
}

/// A text field; empty when it is missing.
pub(super) fn text(body: &Value, name: &str) -> String {
    field(body, name)
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned()
}

/// A flag; false when it is missing.
pub(super) fn flag(body: &Value, name: &str) -> bool {
    field(body, name)
        .and_then(Value::as_bool)
        .unwrap_or_default()
}

fn cookie(request: &Request) -> Option<&str> {
    let cookies = request.header("cookie")?;
    cookies
        .split(';')
        .find_map(|cookie| cookie.trim().strip_prefix("portainer_api_key="))
}
