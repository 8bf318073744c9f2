//! `/api/stacks`: list, read, update, stop and start stacks, in Portainer's order of checks and with its messages.

use serde_json::{Value, json};

use super::auth::{Caller, field, flag, payload, text};
use super::deploy::{Purpose, Ticket, Update};
use super::http::{Answer, Request};
use super::record::{EnvironmentId, Kind, Stack, StackId};
use super::time::Millis;
use super::world::World;

/// The result of a route: an answer, or a deployment to wait for.
pub(super) enum Reply {
    /// The answer is ready.
    Now(Answer),
    /// The answer follows the end of this deployment.
    After {
        ticket: Ticket,
        stack: StackId,
        purpose: Purpose,
    },
}

impl From<Answer> for Reply {
    fn from(answer: Answer) -> Reply {
        Reply::Now(answer)
    }
}

impl World {
    /// `GET /api/stacks`.
    pub(super) fn list_stacks(&self, caller: &Caller, request: &Request) -> Answer {
        let filters: Value = request
            .query("filters")
            .and_then(|f| serde_json::from_str(f).ok())
            .unwrap_or(Value::Null);
        let wanted = match field(&filters, "EndpointID") {
            None => None,
            Some(Value::Number(id)) => id.as_i64(),
            Some(other) => {
                let rest = format!("{other}}}")
                    .replace('\\', "\\\\")
                    .replace('"', "\\\"");
                let details = format!(
                    "Json: cannot unmarshal \"{rest}\" into Go struct field stacks.stackListOperationFilters.EndpointID of type int"
                );
                return Answer::error(400, "Invalid query parameter: filters", &details);
            }
        };
        let visible = |stack: &&Stack| {
            wanted.is_none_or(|id| id == stack.environment)
                && (caller.user.administrator || self.may_use(caller, stack).is_ok())
        };
        let list: Vec<Value> = self
            .stacks
            .iter()
            .filter(visible)
            .map(|s| self.stack_json(caller, s))
            .collect();
        Answer::json(200, &Value::Array(list))
    }

    /// `GET /api/stacks/{id}`.
    pub(super) fn get_stack(&self, caller: &Caller, id: &str) -> Result<Answer, Answer> {
        let stack = self.readable(caller, id)?;
        Ok(Answer::json(200, &self.stack_json(caller, stack)))
    }

    /// The stack object for a caller; without access to the Source it has no Git link.
    fn stack_json(&self, caller: &Caller, stack: &Stack) -> Value {
        let mut value = stack.json(self.era, true);
        if !self.sees_source(caller, stack) {
            value["GitConfig"] = Value::Null;
        }
        value
    }

    /// Tells whether the caller sees the stack's Source.
    pub(super) fn sees_source(&self, caller: &Caller, stack: &Stack) -> bool {
        let shared = |source: &super::record::Source| {
            source.users.contains(&caller.user.id) || source.owners.contains(&caller.user.id)
        };
        caller.user.administrator
            || !self.era.has_sources()
            || stack.source.as_ref().is_none_or(shared)
    }

    /// `GET /api/stacks/{id}/file`.
    pub(super) fn get_stack_file(&self, caller: &Caller, id: &str) -> Result<Answer, Answer> {
        let stack = self.readable(caller, id)?;
        if stack.settings_saved && self.era.answers_at_once() {
            return Err(Answer::error(
                409,
                "Unable to retrieve the stack file",
                "The git settings of the stack have changed and are not deployed yet",
            ));
        }
        Ok(Answer::json(
            200,
            &json!({ "StackFileContent": stack.file }),
        ))
    }

    /// `PUT /api/stacks/{id}`.
    pub(super) fn update_stack(
        &mut self,
        caller: &Caller,
        id: &str,
        request: &Request,
        now: Millis,
    ) -> Result<Reply, Answer> {
        let id = self.stack_id(id)?;
        let environment = self.meant_environment(id, endpoint_id(request)?);
        self.editable(caller, id, environment)?;
        let body = payload(request)?;
        let file = text(&body, "StackFileContent");
        if file.is_empty() {
            return Err(Answer::error(
                400,
                "Invalid request payload",
                "Invalid stack file content",
            ));
        }
        let env = env_field(&body, request)?;
        self.not_deploying(id)?;
        self.bind_mounts_allowed(caller, environment, &file, env.as_ref())?;
        self.old_loader_accepts(caller, &file)?;
        let repull = self.era.pull_recreates() && flag(&body, "RepullImageAndRedeploy");
        let pull = flag(&body, "PullImage") || repull;
        let stack = self.stack_mut(id);
        let (git, from_app_template) = (stack.git.clone(), stack.from_app_template);
        let failed = stack.status == 4;
        let update = Update {
            purpose: Purpose::Update,
            environment,
            file,
            env,
            prune: flag(&body, "Prune"),
            pull,
            recreate: pull && self.era.pull_recreates(),
            down_first: failed && self.era.file_update_takes_failed_stack_down(),
            git: git.filter(|_| from_app_template),
            by: caller.user.name.clone(),
        };
        let ticket = self.submit(id, update, now);
        Ok(self.reply(ticket, id, Purpose::Update))
    }

    /// `POST /api/stacks/create/standalone/string` and `…/swarm/string`.
    pub(super) fn create_stack(
        &mut self,
        caller: &Caller,
        kind: Kind,
        request: &Request,
        now: Millis,
    ) -> Result<Reply, Answer> {
        let environment = endpoint_id(request)?;
        self.known_environment(environment)?;
        let body = payload(request)?;
        let (name, file) = (
            text(&body, "Name").to_lowercase(),
            text(&body, "StackFileContent"),
        );
        if self.stacks.iter().any(|s| s.name == name) {
            return Err(Answer::plain_error(
                409,
                &format!("A stack with the normalized name '{name}' already exists"),
            ));
        }
        let env = env_field(&body, request)?;
        let id = self.next_stack_id();
        let by = caller.user.name.clone();
        self.add_stack(id, environment, &name, kind, &file, env.clone(), &by, now);
        self.stack_mut(id).swarm_id = text(&body, "SwarmID");
        let update = Update {
            purpose: Purpose::Create,
            environment,
            file,
            env,
            prune: false,
            pull: false,
            recreate: false,
            down_first: false,
            git: None,
            by,
        };
        let ticket = self.submit(id, update, now);
        Ok(Reply::After {
            ticket,
            stack: id,
            purpose: Purpose::Create,
        })
    }

    /// `POST /api/stacks/{id}/start` and `…/stop`.
    pub(super) fn start_or_stop(
        &mut self,
        caller: &Caller,
        id: &str,
        purpose: Purpose,
        request: &Request,
        now: Millis,
    ) -> Result<Reply, Answer> {
        let id = self.stack_id(id)?;
        let environment = endpoint_id(request)?;
        self.editable(caller, id, environment)?;
        let stack = self.stack_mut(id).clone();
        let newer = self.era.answers_at_once();
        match (purpose, stack.status) {
            (Purpose::Stop, 3) if newer => {
                let words = "Stack deployment is in progress";
                return Err(Answer::error(409, "Unable to stop stack", words));
            }
            (Purpose::Start, 3) if newer => {
                let words = "Stack deployment is already in progress";
                return Err(Answer::error(409, "Unable to start stack", words));
            }
            (Purpose::Start, 1) if newer => {
                let words = "Stack is already active";
                return Err(Answer::error(409, "Unable to start stack", words));
            }
            (Purpose::Stop, 2) => {
                return Err(Answer::plain_error(400, "Stack is already inactive"));
            }
            (Purpose::Start, 1) => {
                let what = format!("A stack with the name '{}' is already running", stack.name);
                return Err(Answer::plain_error(409, &what));
            }
            _ => {}
        }
        let update = Update {
            purpose,
            environment,
            file: stack.file,
            env: stack.env,
            prune: false,
            pull: false,
            recreate: false,
            down_first: false,
            git: stack.git,
            by: caller.user.name.clone(),
        };
        let ticket = self.submit(id, update, now);
        Ok(Reply::After {
            ticket,
            stack: id,
            purpose,
        })
    }

    /// The answer to a request whose deployment has ended.
    pub(super) fn deploy_answer(
        &mut self,
        stack: StackId,
        purpose: Purpose,
        outcome: Result<(), String>,
    ) -> Answer {
        match outcome {
            Ok(()) => Answer::json(
                200,
                &self
                    .stack_mut(stack)
                    .clone()
                    .json(self.era, purpose == Purpose::Create),
            ),
            Err(why) => {
                if purpose == Purpose::Create {
                    self.stacks.retain(|s| s.id != stack);
                }
                Answer::plain_error(500, &why)
            }
        }
    }

    /// The answer to an update by era: after the deployment, or at once with Status 3.
    pub(super) fn reply(&mut self, ticket: Ticket, stack: StackId, purpose: Purpose) -> Reply {
        if self.era.answers_at_once() {
            self.deploy_answer(stack, purpose, Ok(())).into()
        } else {
            Reply::After {
                ticket,
                stack,
                purpose,
            }
        }
    }

    pub(super) fn stack_id(&self, text: &str) -> Result<StackId, Answer> {
        let id: StackId = text.parse().map_err(|_| {
            Answer::error(
                400,
                "Invalid stack identifier route variable",
                &not_a_number(text),
            )
        })?;
        if self.stacks.iter().any(|s| s.id == id) {
            return Ok(id);
        }
        let details = format!("Object not found inside the database (bucket=stacks, key={id})");
        Err(Answer::error(
            404,
            "Unable to find a stack with the specified identifier inside the database",
            &details,
        ))
    }

    /// The environment of an update; 0 is the stack's own in newer releases.
    fn meant_environment(&self, id: StackId, given: EnvironmentId) -> EnvironmentId {
        match self.stacks.iter().find(|stack| stack.id == id) {
            Some(stack) if given == 0 && self.era.accepts_environment_zero() => stack.environment,
            _ => given,
        }
    }

    /// Refuses a second update while one runs, from 2.41 on.
    pub(super) fn not_deploying(&self, id: StackId) -> Result<(), Answer> {
        let refused = self.era.answers_at_once() && self.deploys.concerns(id);
        let refusal = || {
            Answer::error(
                409,
                "Unable to update stack",
                "Stack deployment is already in progress",
            )
        };
        (!refused).then_some(()).ok_or_else(refusal)
    }
}

/// The `endpointId` of an update, which is an assignment.
pub(super) fn endpoint_id(request: &Request) -> Result<EnvironmentId, Answer> {
    let refuse = |details: &str| Answer::error(400, "Invalid query parameter: endpointId", details);
    let text = request
        .query("endpointId")
        .ok_or_else(|| refuse("Missing query parameter"))?;
    text.parse().map_err(|_| refuse(&not_a_number(text)))
}

fn not_a_number(text: &str) -> String {
    format!("Strconv.Atoi: parsing \"{text}\": invalid syntax")
}

/// `Env` of a payload; a missing one and null erase the stored variables.
pub(super) fn env_field(
    body: &Value,
    request: &Request,
) -> Result<Option<Vec<(String, String)>>, Answer> {
    match field(body, "Env") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Array(pairs)) => Ok(Some(
            pairs
                .iter()
                .map(|pair| (text(pair, "name"), text(pair, "value")))
                .collect(),
        )),
        Some(_) => {
            let whole = String::from_utf8_lossy(&request.body);
            let rest = whole
                .split_once("\"Env\":")
                .map_or("", |(_, rest)| rest.trim_start());
            let shown: String = rest.chars().take(32).collect();
            let shown = shown.replace('\\', "\\\\").replace('"', "\\\"");
            let details = format!(
                "Json: cannot unmarshal \"{shown}...\" into Go struct field stacks.updateComposeStackPayload.Env of type \
                 []portainer.Pair"
            );
            Err(Answer::error(400, "Invalid request payload", &details))
        }
    }
}
