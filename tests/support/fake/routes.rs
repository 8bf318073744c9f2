//! Routing of requests, and Portainer's own routes; the Docker proxy and the stacks have files of their own.

use serde_json::{Value, json};

use super::auth::{Caller, Setup, field, flag, payload, text, user_json};
use super::deploy::Purpose;
use super::http::{Answer, Request};
use super::record::{EnvironmentId, Kind};
use super::stacks::Reply;
use super::world::World;

impl World {
    /// Answers a request, or returns the deployment that its answer waits for.
    pub(super) fn handle(&mut self, request: &Request) -> Reply {
        self.advance();
        if let Some(refusal) = self.refuse_early(request) {
            return refusal.into();
        }
        let now = self.now();
        let parts: Vec<&str> = request.path.trim_matches('/').split('/').collect();
        let public = match (request.method.as_str(), parts.as_slice()) {
            ("POST", ["api", "auth"]) => self.log_in(request, now),
            ("GET", ["api", "status"] | ["api", "system", "status"]) => self.status(),
            ("GET", ["api", "settings", "public"]) => {
                Answer::json(200, &public_settings(self.oauth))
            }
            ("GET", ["api", "users", "admin", "check"]) if self.users.setup == Setup::Done => {
                Answer::empty(204)
            }
            ("GET", ["api", "users", "admin", "check"]) => {
                let details = "Object not found inside the database";
                Answer::error(
                    404,
                    "No administrator account found inside the database",
                    details,
                )
            }
            ("POST", ["api", "stacks", "webhooks", id]) => self.native_webhook(id, now),
            (_, ["api", "auth" | "status"] | ["api", "stacks", "webhooks", _]) => {
                Answer::empty(405)
            }
            _ => return self.authenticated(request, &parts),
        };
        public.into()
    }

    fn authenticated(&mut self, request: &Request, parts: &[&str]) -> Reply {
        if !known(parts) {
            return Answer::text(404, "404 page not found\n").into();
        }
        let caller = match self.caller(request) {
            Ok(caller) => caller,
            Err(refusal) => return refusal.into(),
        };
        self.dispatch(&caller, request, parts)
            .unwrap_or_else(Reply::from)
    }

    fn dispatch(
        &mut self,
        caller: &Caller,
        request: &Request,
        parts: &[&str],
    ) -> Result<Reply, Answer> {
        let now = self.now();
        let answer = match (request.method.as_str(), &parts[1..]) {
            ("GET", ["system", "version"]) => self.version(),
            ("GET", ["users", "me"]) => Answer::json(200, &user_json(&caller.user)),
            ("POST", ["users", _, "tokens"]) => self.make_key(caller, request, now),
            ("POST", ["users"]) => self.make_user(caller, request)?,
            ("GET", ["stacks"]) => self.list_stacks(caller, request),
            ("GET", ["stacks", id]) => self.get_stack(caller, id)?,
            ("GET", ["stacks", id, "file"]) => self.get_stack_file(caller, id)?,
            ("PUT", ["stacks", id]) => return self.update_stack(caller, id, request, now),
            ("PUT", ["stacks", id, "git", "redeploy"]) => {
                return self.redeploy_git(caller, id, request, now);
            }
            ("POST", ["stacks", "create", "standalone", "string"]) => {
                return self.create_stack(caller, Kind::Compose, request, now);
            }
            ("POST", ["stacks", "create", "swarm", "string"]) => {
                return self.create_stack(caller, Kind::Swarm, request, now);
            }
            ("POST", ["stacks", "create", "standalone", "repository"]) => {
                return self.create_git(caller, request, now);
            }
            ("POST", ["stacks", id, "start"]) => {
                return self.start_or_stop(caller, id, Purpose::Start, request, now);
            }
            ("POST", ["stacks", id, "stop"]) => {
                return self.start_or_stop(caller, id, Purpose::Stop, request, now);
            }
            ("GET", ["endpoints"]) => self.list_environments(caller),
            ("GET", ["endpoints", id]) => {
                let id = self.environment_id(id)?;
                self.environment_open(caller, id)?;
                Answer::json(
                    200,
                    &self
                        .environments
                        .iter()
                        .find(|e| e.id == id)
                        .unwrap()
                        .json(),
                )
            }
            ("PUT", ["endpoints", id]) => self.change_environment(caller, id, request)?,
            ("PUT", ["endpoints", id, "settings"]) => self.change_settings(caller, id, request)?,
            ("DELETE", ["endpoints", id]) => {
                administrator(caller)?;
                let id = self.environment_id(id)?;
                self.remove_environment(id);
                Answer::empty(204)
            }
            ("GET", ["endpoints", id, "registries"]) => self.list_registries(caller, id)?,
            ("PUT", ["endpoints", id, "forceupdateservice"]) => {
                let id = self.environment_id(id)?;
                self.force_update_service(caller, id, request)?
            }
            ("PUT", ["resource_controls", id]) => self.change_access(caller, id, request)?,
            (_, ["endpoints", id, "docker", ..]) => {
                let id = self.environment_id(id)?;
                let path = request
                    .path
                    .split_once("/docker/")
                    .map_or("", |(_, path)| path)
                    .to_owned();
                if self.environments.iter().any(|one| one.id == id && one.down) {
                    return Ok(Answer::new(502, "text/plain", "").into());
                }
                self.docker(caller, id, &path, request)
            }
            _ => Answer::empty(405),
        };
        Ok(answer.into())
    }

    // ── Portainer itself ────────────────────────────────────────────────────────────────────────────────────────

    fn status(&self) -> Answer {
        Answer::json(
            200,
            &json!({ "Version": self.version_number(), "InstanceID": self.instance }),
        )
    }

    fn version_number(&self) -> &'static str {
        match (self.is_2_40, self.is_2_41) {
            (true, _) => "2.40.0",
            (_, true) => "2.41.1",
            _ => self.era.version(),
        }
    }

    fn version(&self) -> Answer {
        let version = self.version_number();
        Answer::json(
            200,
            &json!({
                "UpdateAvailable": false, "LatestVersion": "", "ServerVersion": version, "ServerEdition": "CE",
                "DatabaseVersion": version, "Build": { "GoVersion": "go1.23", "Env": ["SECRET_OF_PORTAINER=never-log-this"] },
            }),
        )
    }

    // ── users ───────────────────────────────────────────────────────────────────────────────────────────────────

    fn make_user(&mut self, caller: &Caller, request: &Request) -> Result<Answer, Answer> {
        administrator(caller)?;
        let body = payload(request)?;
        let id = self.users.add(
            &text(&body, "Username"),
            &text(&body, "Password"),
            field(&body, "Role") == Some(&json!(1)),
        );
        Ok(Answer::json(
            200,
            &user_json(self.users.list.iter().find(|u| u.id == id).unwrap()),
        ))
    }

    fn change_access(
        &mut self,
        caller: &Caller,
        id: &str,
        request: &Request,
    ) -> Result<Answer, Answer> {
        administrator(caller)?;
        let body = payload(request)?;
        let users = field(&body, "Users")
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default();
        let access = self
            .stacks
            .iter_mut()
            .filter_map(|s| s.access.as_mut())
            .find(|access| access.id.to_string() == id);
        let access = access.ok_or_else(|| {
            Answer::error(404, "Unable to find a resource control", "Object not found")
        })?;
        access.users = users.iter().filter_map(Value::as_i64).collect();
        Ok(Answer::json(200, &access.json()))
    }

    // ── environments ────────────────────────────────────────────────────────────────────────────────────────────

    fn environment_id(&self, text: &str) -> Result<EnvironmentId, Answer> {
        let id: EnvironmentId = text.parse().map_err(|_| {
            let details = format!("Strconv.Atoi: parsing \"{text}\": invalid syntax");
            Answer::error(
                400,
                "Invalid environment identifier route variable",
                &details,
            )
        })?;
        if self.environments.iter().any(|e| e.id == id) {
            return Ok(id);
        }
        let details = format!("Object not found inside the database (bucket=endpoints, key={id})");
        Err(Answer::error(
            404,
            "Unable to find an environment with the specified identifier inside the database",
            &details,
        ))
    }

    fn list_environments(&self, caller: &Caller) -> Answer {
        let open = self
            .environments
            .iter()
            .filter(|e| self.environment_open(caller, e.id).is_ok());
        let list: Vec<Value> = open.map(super::record::Environment::json).collect();
        let count = list.len().to_string();
        Answer::json(200, &Value::Array(list))
            .with("X-Total-Count", count.clone())
            .with("X-Total-Available", count)
    }

    fn change_environment(
        &mut self,
        caller: &Caller,
        id: &str,
        request: &Request,
    ) -> Result<Answer, Answer> {
        administrator(caller)?;
        let id = self.environment_id(id)?;
        let body = payload(request)?;
        let environment = self.environments.iter_mut().find(|e| e.id == id).unwrap();
        if let Some(policies) = field(&body, "UserAccessPolicies").and_then(Value::as_object) {
            environment.users = policies
                .keys()
                .filter_map(|user| user.parse().ok())
                .collect();
        }
        Ok(Answer::json(200, &environment.json()))
    }

    fn change_settings(
        &mut self,
        caller: &Caller,
        id: &str,
        request: &Request,
    ) -> Result<Answer, Answer> {
        administrator(caller)?;
        let id = self.environment_id(id)?;
        let body = payload(request)?;
        let environment = self.environments.iter_mut().find(|e| e.id == id).unwrap();
        if field(&body, "allowStackManagementForRegularUsers").is_some() {
            environment.stack_management = flag(&body, "allowStackManagementForRegularUsers");
        }
        if field(&body, "allowBindMountsForRegularUsers").is_some() {
            environment.bind_mounts = flag(&body, "allowBindMountsForRegularUsers");
        }
        Ok(Answer::json(200, &environment.settings()))
    }

    fn list_registries(&self, caller: &Caller, id: &str) -> Result<Answer, Answer> {
        let id = self.environment_id(id)?;
        let open = self.environment_open(caller, id).is_ok();
        let rows = self.registries.stored.iter().filter(|_| open).map(|stored| {
            json!({
                "Id": stored.id, "Type": 3, "Name": stored.name, "URL": stored.host, "BaseURL": "", "Authentication": true,
                "Username": stored.user(), "RegistryAccesses": {},
            })
        });
        Ok(Answer::json(200, &rows.collect()))
    }
}

fn administrator(caller: &Caller) -> Result<(), Answer> {
    let refusal = || Answer::error(403, "Access denied", "Access denied to resource");
    caller.user.administrator.then_some(()).ok_or_else(refusal)
}

/// Tells whether Portainer has a route here, with any method.
fn known(parts: &[&str]) -> bool {
    matches!(
        parts,
        ["api", "system", "version"]
            | ["api", "users"]
            | ["api", "users", "me"]
            | ["api", "users", _, "tokens"]
            | ["api", "stacks"]
            | ["api", "stacks", _]
            | ["api", "stacks", _, "file" | "start" | "stop"]
            | ["api", "stacks", _, "git", "redeploy"]
            | ["api", "stacks", "create", _, _]
            | ["api", "endpoints"]
            | ["api", "endpoints", _]
            | [
                "api",
                "endpoints",
                _,
                "settings" | "registries" | "forceupdateservice"
            ]
            | ["api", "endpoints", _, "docker", ..]
            | ["api", "resource_controls", _]
    )
}

fn public_settings(oauth: bool) -> Value {
    json!({
        "LogoURL": "", "AuthenticationMethod": if oauth { 3 } else { 1 }, "RequiredPasswordLength": 12,
        "GlobalDeploymentOptions": { "hideStacksFunctionality": false }, "EnableEdgeComputeFeatures": false,
        "Features": { "csp": false, "hsts": false }, "OAuthLoginURI": "", "OAuthLogoutURI": "", "EnableTelemetry": false,
        "KubeconfigExpiry": "0", "TeamSync": false, "IsAMTEnabled": false,
        "Edge": { "PingInterval": 0, "SnapshotInterval": 0, "CommandInterval": 0, "CheckinInterval": 5 },
        "IsDockerDesktopExtension": false,
    })
}
