//! Stack records, and the updates made from them. Only [`Update::new`] makes an update, and it takes from the record every field that
//! Portainer would otherwise erase.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::auth::json_body;
use super::response::{self, PortainerError, entries, nullable, one_line};
use super::{EnvironmentId, Portainer, RegistryId, StackId};
use crate::fetch::Method;

impl Portainer {
    /// The stacks that this user may see. A missing one may exist without being shared with this user.
    pub(crate) fn stacks(&self) -> Result<Vec<Record>, PortainerError> {
        self.get_list("cannot list the stacks", "/api/stacks")
    }

    /// The record of one stack.
    pub(crate) fn stack(&self, id: StackId) -> Result<Record, PortainerError> {
        let step = format!("cannot read the stack {id}");
        self.get(&step, &format!("/api/stacks/{id}"))
    }

    /// A stack's compose file; only the first one if the stack has several.
    pub(crate) fn file(&self, id: StackId) -> Result<String, PortainerError> {
        let step = format!("cannot read the file of the stack {id}");
        let file: StackFile = self.get(&step, &format!("/api/stacks/{id}/file"))?;
        Ok(file.stack_file_content)
    }

    /// Redeploys a stack and waits for the answer. [`PortainerError::Interrupted`] means that it is unknown whether Portainer did it.
    pub(crate) fn update(
        &self,
        update: Update,
        answer_within: Duration,
    ) -> Result<Record, PortainerError> {
        let step = format!("cannot update the stack {:?}", update.name);
        let mut request = self.request(Method::Put, &update.path());
        request.body = json_body(&update.body);
        request.answer_within = answer_within;
        let answer = self.call(&step, request)?;
        response::parse(&step, false, &answer)
    }
}

/// A stack as Portainer has recorded it.
#[derive(Clone, Deserialize)]
#[serde(from = "StackObject")]
pub(crate) struct Record {
    /// Portainer's number of the stack.
    pub(crate) id: StackId,
    /// The name, normalised by Portainer.
    pub(crate) name: String,
    /// The orchestrator of the stack.
    pub(crate) kind: Kind,
    /// The environment that the stack runs on.
    pub(crate) environment: EnvironmentId,
    /// The recorded status; never proof that a container runs.
    pub(crate) status: StackStatus,
    /// The variables, in Portainer's order.
    pub(crate) env: Vec<Variable>,
    /// The last update in seconds since 1970, by Portainer's clock; 0 after creation. Until 2.40 failed updates do not change it.
    pub(crate) update_date: i64,
    /// This user's access to the stack's git Source.
    pub(crate) source: SourceAccess,
    /// True if the stack has further files, which the API does not show.
    pub(crate) has_more_files: bool,
    /// The last message of a deployment, in 2.41 and later.
    pub(crate) deployment_message: Option<String>,
    preserved: PreservedFields,
}

/// Fields that an update would erase if it left them out.
#[derive(Clone)]
struct PreservedFields {
    prune: bool,
    git: Option<GitSettings>,
    webhook: Option<String>,
    registries: Option<Vec<RegistryId>>,
}

#[derive(Clone, Default)]
struct GitSettings {
    reference: String,
    config_hash: String,
    user: Option<(String, i64)>,
}

/// A variable of a stack; its value may be an application's secret.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Variable {
    /// The variable's name.
    pub(crate) name: String,
    /// The value, which is never shown and never logged.
    #[serde(default, deserialize_with = "nullable")]
    pub(crate) value: String,
}

impl fmt::Debug for Variable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}=***", self.name)
    }
}

/// The orchestrator of a stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A Docker swarm.
    Swarm,
    /// Compose on one engine.
    Compose,
    /// A Kubernetes cluster.
    Kubernetes,
    /// An unknown number.
    Other(i64),
}

/// The status that Portainer has recorded for a stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum StackStatus {
    /// Deployed and not stopped.
    Active,
    /// Stopped by a user.
    Inactive,
    /// A deployment is under way.
    Deploying,
    /// The last deployment failed. Some releases take the stack down before the next update.
    Error,
    /// A very old record, or an unknown number.
    #[serde(rename = "unsaid")]
    Unspecified,
}

/// This user's access to a git stack's Source, which is an object of its own since Portainer 2.43.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SourceAccess {
    /// The stack has no Source: a file stack, or an older release.
    NotNeeded,
    /// The Source is shared with this user. Only its owner and administrators may redeploy.
    Visible,
    /// The Source is not shared with this user, and Portainer refuses the redeploy.
    Hidden,
}

/// The origin of a stack's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A file that Portainer stores.
    File,
    /// A Git repository.
    Git {
        /// The commit that is deployed; empty if unknown.
        config_hash: String,
        /// The reference that the stack follows, such as `refs/heads/main`.
        reference: String,
    },
}

impl Record {
    /// The project in the labels of the stack's containers. Compose writes project names in lower case, with letters, digits, `_`
    /// and `-` only; Swarm uses the name as it is.
    pub(crate) fn project(&self) -> String {
        if self.kind != Kind::Compose {
            return self.name.clone();
        }
        let name = self.name.to_lowercase();
        let allowed =
            |c: &char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-');
        let name: String = name.chars().filter(allowed).collect();
        name.trim_start_matches(['_', '-']).to_owned()
    }

    /// The origin of the stack's file.
    pub(crate) fn origin(&self) -> Origin {
        match &self.preserved.git {
            None => Origin::File,
            Some(git) => Origin::Git {
                config_hash: git.config_hash.clone(),
                reference: git.reference.clone(),
            },
        }
    }

    /// The registries that are assigned to the stack, in editions with that setting.
    pub(crate) fn registries(&self) -> &[RegistryId] {
        self.preserved.registries.as_deref().unwrap_or_default()
    }

    /// The variables by name, with the last value of a repeated one.
    pub(crate) fn variables(&self) -> BTreeMap<String, String> {
        let pair = |variable: &Variable| (variable.name.clone(), variable.value.clone());
        self.env.iter().map(pair).collect()
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("id", &self.id)
            .field("name", &self.name)
            .field("kind", &self.kind)
            .field("environment", &self.environment)
            .field("status", &self.status)
            .field("env", &self.env)
            .field("update_date", &self.update_date)
            .field("origin", &self.origin())
            .finish_non_exhaustive()
    }
}

/// A stack on the wire: the fields that are read or must be sent back.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct StackObject {
    id: StackId,
    name: String,
    #[serde(default, deserialize_with = "nullable")]
    r#type: i64,
    endpoint_id: EnvironmentId,
    #[serde(default, deserialize_with = "nullable")]
    status: i64,
    #[serde(default, deserialize_with = "entries")]
    env: Vec<Variable>,
    #[serde(default, deserialize_with = "nullable")]
    update_date: i64,
    #[serde(default, deserialize_with = "entries")]
    additional_files: Vec<String>,
    #[serde(default, deserialize_with = "nullable")]
    option: StackOption,
    git_config: Option<GitConfig>,
    #[serde(default, deserialize_with = "nullable")]
    from_app_template: bool,
    #[serde(default, rename = "WorkflowID", deserialize_with = "nullable")]
    workflow_id: i64,
    webhook: Option<String>,
    registries: Option<Vec<RegistryId>>,
    #[serde(default, deserialize_with = "entries")]
    deployment_status: Vec<DeploymentStatus>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct StackOption {
    #[serde(deserialize_with = "nullable")]
    prune: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct GitConfig {
    #[serde(default, deserialize_with = "nullable")]
    reference_name: String,
    authentication: Option<GitAuthentication>,
    #[serde(default, deserialize_with = "nullable")]
    config_hash: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct GitAuthentication {
    #[serde(default, deserialize_with = "nullable")]
    username: String,
    #[serde(default, rename = "GitCredentialID", deserialize_with = "nullable")]
    git_credential_id: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DeploymentStatus {
    #[serde(default, deserialize_with = "nullable")]
    message: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct StackFile {
    stack_file_content: String,
}

impl From<StackObject> for Record {
    fn from(stack: StackObject) -> Record {
        // From 2.43 on a stack from an app template has a workflow, too.
        let is_from_git =
            !stack.from_app_template && (stack.git_config.is_some() || stack.workflow_id != 0);
        let source = match (is_from_git && stack.workflow_id != 0, &stack.git_config) {
            (false, _) => SourceAccess::NotNeeded,
            (true, Some(_)) => SourceAccess::Visible,
            (true, None) => SourceAccess::Hidden,
        };
        let git = stack.git_config.map(|git| GitSettings {
            reference: git.reference_name,
            config_hash: git.config_hash,
            user: git
                .authentication
                .map(|user| (user.username, user.git_credential_id)),
        });
        let deployment = stack.deployment_status.into_iter();
        Record {
            id: stack.id,
            name: stack.name,
            kind: match stack.r#type {
                1 => Kind::Swarm,
                2 => Kind::Compose,
                3 => Kind::Kubernetes,
                other => Kind::Other(other),
            },
            environment: stack.endpoint_id,
            status: match stack.status {
                1 => StackStatus::Active,
                2 => StackStatus::Inactive,
                3 => StackStatus::Deploying,
                4 => StackStatus::Error,
                _ => StackStatus::Unspecified,
            },
            env: stack.env,
            update_date: stack.update_date,
            source,
            has_more_files: !stack.additional_files.is_empty(),
            deployment_message: deployment
                .map(|status| one_line(&status.message))
                .rfind(|message| !message.is_empty()),
            preserved: PreservedFields {
                prune: stack.option.prune,
                git: is_from_git.then(|| git.unwrap_or_default()),
                webhook: stack.webhook,
                registries: stack.registries,
            },
        }
    }
}

/// An update ready to be sent. Sending takes it by value, so it is sent at most once.
pub(crate) struct Update {
    stack: StackId,
    name: String,
    environment: EnvironmentId,
    pub(super) body: UpdateBody,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct UpdateBody {
    env: Vec<Variable>,
    prune: bool,
    /// Until 2.35 this field makes Portainer pull, from 2.36 on either of the two.
    pull_image: bool,
    repull_image_and_redeploy: bool,
    #[serde(flatten)]
    origin: OriginFields,
}

#[derive(Serialize)]
#[serde(untagged, rename_all_fields = "PascalCase")]
enum OriginFields {
    File {
        stack_file_content: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        webhook: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        registries: Option<Vec<RegistryId>>,
    },
    Git {
        repository_reference_name: String,
        repository_authentication: bool,
        repository_username: String,
        /// Empty for the stored password.
        repository_password: &'static str,
        #[serde(
            rename = "RepositoryGitCredentialID",
            skip_serializing_if = "Option::is_none"
        )]
        repository_git_credential_id: Option<i64>,
    },
}

impl Update {
    /// An update of the stack in `record` with `file` (ignored for a stack from Git) and the variables of `set` added to its own; with
    /// `repull` Portainer pulls every image.
    pub(crate) fn new(
        record: &Record,
        file: &str,
        set: &BTreeMap<String, String>,
        repull: bool,
    ) -> Update {
        let preserved = record.preserved.clone();
        let origin = match preserved.git {
            None => OriginFields::File {
                stack_file_content: file.to_owned(),
                webhook: preserved.webhook,
                registries: preserved.registries,
            },
            Some(git) => {
                let repository_authentication = git.user.is_some();
                let (repository_username, credential) = git.user.unwrap_or_default();
                OriginFields::Git {
                    repository_reference_name: git.reference,
                    repository_authentication,
                    repository_username,
                    repository_password: "",
                    repository_git_credential_id: Some(credential).filter(|id| *id != 0),
                }
            }
        };
        Update {
            stack: record.id,
            name: record.name.clone(),
            environment: record.environment,
            body: UpdateBody {
                env: merged(&record.env, set),
                prune: preserved.prune,
                pull_image: repull,
                repull_image_and_redeploy: repull,
                origin,
            },
        }
    }

    /// Removes variables, which did not exist before the update that is rolled back.
    pub(crate) fn without(mut self, names: &[&str]) -> Update {
        let is_kept = |variable: &Variable| !names.contains(&variable.name.as_str());
        self.body.env.retain(is_kept);
        self
    }

    /// The path of the call. It always names the stack's own environment: another one would move the stack there.
    fn path(&self) -> String {
        let git = match self.body.origin {
            OriginFields::File { .. } => "",
            OriginFields::Git { .. } => "/git/redeploy",
        };
        let (stack, environment) = (self.stack, self.environment);
        format!("/api/stacks/{stack}{git}?endpointId={environment}")
    }
}

impl fmt::Debug for Update {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Update")
            .field("stack", &self.stack)
            .field("environment", &self.environment)
            .finish_non_exhaustive()
    }
}

/// Applies `set` to the variables: their order is kept, and new variables follow.
fn merged(env: &[Variable], set: &BTreeMap<String, String>) -> Vec<Variable> {
    let mut merged = env.to_vec();
    for (name, value) in set {
        let mut is_new = true;
        for variable in merged.iter_mut().filter(|variable| variable.name == *name) {
            variable.value.clone_from(value);
            is_new = false;
        }
        if is_new {
            merged.push(Variable {
                name: name.clone(),
                value: value.clone(),
            });
        }
    }
    merged
}

#[cfg(test)]
mod tests;
