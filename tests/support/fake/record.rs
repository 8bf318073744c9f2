//! Portainer's records of environments and stacks, and their JSON.

use serde_json::{Value, json};

use super::era::Era;
use super::time::{Millis, seconds};

/// Portainer's id of a stack.
pub(crate) type StackId = i64;
/// Portainer's id of an environment, which its API calls endpoint.
pub(crate) type EnvironmentId = i64;

/// An environment.
#[derive(Clone, Debug)]
pub(super) struct Environment {
    pub(super) id: EnvironmentId,
    pub(super) name: String,
    /// The index of its engine; two environments may share one.
    pub(super) engine: usize,
    /// Standard users with access to it.
    pub(super) users: Vec<i64>,
    /// True if its agent is down: `Status` is 2, and proxied calls fail.
    pub(super) down: bool,
    /// True if standard users may manage stacks.
    pub(super) stack_management: bool,
    /// True if standard users may mount host paths.
    pub(super) bind_mounts: bool,
}

impl Environment {
    pub(super) fn json(&self) -> Value {
        let users: serde_json::Map<String, Value> = self
            .users
            .iter()
            .map(|user| (user.to_string(), json!({ "RoleId": 0 })))
            .collect();
        json!({
            "Id": self.id, "Name": self.name, "Type": 1, "ContainerEngine": "", "URL": "unix:///var/run/docker.sock",
            "GroupId": 1, "PublicURL": "", "Gpus": null, "TLSConfig": { "TLS": false, "TLSSkipVerify": false },
            "AzureCredentials": { "ApplicationID": "", "TenantID": "", "AuthenticationKey": "" }, "TagIds": [], "Status": if self.down { 2 } else { 1 },
            "Snapshots": [], "UserAccessPolicies": users, "TeamAccessPolicies": {}, "EdgeKey": "", "EdgeCheckinInterval": 5,
            "Kubernetes": { "Snapshots": [], "Configuration": {}, "Flags": {} }, "ComposeSyntaxMaxVersion": "3.9",
            "SecuritySettings": self.settings(), "LastCheckInDate": 0, "QueryDate": 0, "Heartbeat": false,
            "PostInitMigrations": { "MigrateIngresses": false, "MigrateGPUs": false },
            "Edge": { "AsyncMode": false, "PingInterval": 0, "SnapshotInterval": 0, "CommandInterval": 0 },
            "Agent": { "Version": "" }, "AuthorizedUsers": null, "AuthorizedTeams": null, "Tags": null,
        })
    }

    pub(super) fn settings(&self) -> Value {
        json!({
            "allowBindMountsForRegularUsers": self.bind_mounts,
            "allowPrivilegedModeForRegularUsers": true,
            "allowVolumeBrowserForRegularUsers": false,
            "allowHostNamespaceForRegularUsers": true,
            "allowDeviceMappingForRegularUsers": true,
            "allowStackManagementForRegularUsers": self.stack_management,
            "allowContainerCapabilitiesForRegularUsers": true,
            "allowSysctlSettingForRegularUsers": true,
            "enableHostManagementFeatures": false,
        })
    }
}

/// The orchestrator of a stack; the number is Portainer's `Type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Type 1.
    Swarm = 1,
    /// Type 2.
    Compose = 2,
    /// Type 3.
    Kubernetes = 3,
}

/// A stack as Portainer stores it. Tests may read and change every field.
#[derive(Clone, Debug)]
pub(crate) struct Stack {
    /// Portainer's id.
    pub(crate) id: StackId,
    /// Normalised: lower case.
    pub(crate) name: String,
    /// The orchestrator.
    pub(crate) kind: Kind,
    /// The environment that it runs on.
    pub(crate) environment: EnvironmentId,
    /// `null` after an update without Env.
    pub(crate) env: Option<Vec<(String, String)>>,
    /// The stack's file as `/file` returns it.
    pub(crate) file: String,
    /// 1 active, 2 inactive, 3 deploying, 4 failed; 0 in very old records.
    pub(crate) status: i64,
    /// Seconds.
    pub(crate) creation_date: i64,
    /// User name.
    pub(crate) created_by: String,
    /// Seconds; 0 until the first update.
    pub(crate) update_date: i64,
    /// User name.
    pub(crate) updated_by: String,
    /// `Option.Prune`; `None`: `Option` is null.
    pub(crate) prune: Option<bool>,
    /// Set for a stack that comes from git.
    pub(crate) git: Option<GitLink>,
    /// Id of its native webhook.
    pub(crate) webhook: Option<String>,
    /// True for a stack from an app template, or detached from Git by a plain update.
    pub(crate) from_app_template: bool,
    /// Files besides the entry file.
    pub(crate) additional_files: Vec<String>,
    /// Access control. It belongs to environment and name, so it does not follow a stack to another environment.
    pub(crate) access: Option<Access>,
    /// The states of the last deployment (2.41 and later): status, time, message.
    pub(crate) deployment_status: Vec<(i64, i64, String)>,
    /// The status before the last deployment (2.41 and later).
    pub(crate) start_status: i64,
    /// True if Git settings were saved and not yet deployed: the file cannot be read (2.41 and later).
    pub(crate) settings_saved: bool,
    /// Rights to its Source (2.43 and later); `None`: every user of the stack has them.
    pub(crate) source: Option<Source>,
    /// The swarm's id; empty for other kinds.
    pub(crate) swarm_id: String,
    /// Further fields of the JSON object, as in Business Edition or later releases; they override others.
    pub(crate) extra: serde_json::Map<String, Value>,
}

/// Rights to a git stack's Source, by user.
#[derive(Clone, Debug, Default)]
pub(crate) struct Source {
    /// Standard users whom it is shared with.
    pub(crate) users: Vec<i64>,
    /// Standard users who own it.
    pub(crate) owners: Vec<i64>,
}

/// Access control of a stack.
#[derive(Clone, Debug)]
pub(crate) struct Access {
    pub(super) id: i64,
    pub(super) resource: String,
    /// Standard users whom it is shared with; empty: administrators only.
    pub(crate) users: Vec<i64>,
}

/// The link of a stack to a git repository.
#[derive(Clone, Debug)]
pub(crate) struct GitLink {
    /// URL of the repository.
    pub(crate) url: String,
    /// `refs/heads/main`; empty after an update that omitted it.
    pub(crate) reference_name: String,
    /// User name and password, if the repository requires them.
    pub(crate) credentials: Option<(String, String)>,
    /// The deployed commit.
    pub(crate) config_hash: String,
}

impl Access {
    pub(super) fn json(&self) -> Value {
        let users: Vec<Value> = self
            .users
            .iter()
            .map(|user| json!({ "UserId": user, "AccessLevel": 1 }))
            .collect();
        json!({
            "Id": self.id, "ResourceId": self.resource, "SubResourceIds": [], "Type": 6, "UserAccesses": users,
            "TeamAccesses": [], "Public": false, "AdministratorsOnly": self.users.is_empty(), "System": false,
        })
    }
}

impl GitLink {
    fn json(&self) -> Value {
        let authentication = self
            .credentials
            .as_ref()
            .map(|(user, _)| json!({ "Username": user, "Password": "", "GitCredentialID": 0 }));
        json!({
            "URL": self.url, "ReferenceName": self.reference_name, "ConfigFilePath": "docker-compose.yml",
            "Authentication": authentication, "ConfigHash": self.config_hash, "TLSSkipVerify": false,
        })
    }
}

impl Stack {
    /// The access control that applies in the stack's current environment.
    pub(super) fn access_here(&self) -> Option<&Access> {
        let resource = format!("{}_{}", self.environment, self.name);
        self.access
            .as_ref()
            .filter(|access| access.resource == resource)
    }

    /// The folder of the stack's files in Portainer.
    pub(super) fn project_path(&self) -> String {
        format!("/data/compose/{}", self.id)
    }

    /// The variables for interpolation.
    pub(super) fn variables(env: Option<&Vec<(String, String)>>) -> Vec<(String, String)> {
        env.cloned().unwrap_or_default()
    }

    pub(super) fn note(&mut self, status: i64, at: Millis, message: &str) {
        self.status = status;
        self.deployment_status
            .push((status, seconds(at), message.to_owned()));
    }

    /// The stack object. An update's answer has no `ResourceControl` even when the stack has one.
    pub(super) fn json(&self, era: Era, with_access: bool) -> Value {
        let env = self.env.as_ref().map(|pairs| {
            pairs
                .iter()
                .map(|(name, value)| json!({ "name": name, "value": value }))
                .collect::<Vec<_>>()
        });
        let access = self.access_here().filter(|_| with_access).map(Access::json);
        let auto_update = self.webhook.as_ref().map(|webhook| {
            json!({ "Interval": "", "Webhook": webhook, "JobID": "", "ForceUpdate": false, "ForcePullImage": false })
        });
        let files = (!self.additional_files.is_empty()).then_some(&self.additional_files);
        let mut value = json!({
            "Id": self.id, "Name": self.name, "Type": self.kind as i64, "EndpointId": self.environment,
            "SwarmId": self.swarm_id, "EntryPoint": "docker-compose.yml", "Env": env, "ResourceControl": access,
            "Status": self.status, "ProjectPath": self.project_path(), "CreationDate": self.creation_date,
            "CreatedBy": self.created_by, "UpdateDate": self.update_date, "UpdatedBy": self.updated_by,
            "AdditionalFiles": files, "AutoUpdate": auto_update, "Option": self.prune.map(|prune| json!({ "Prune": prune, "HelmAtomic": false })),
            "GitConfig": self.git.as_ref().map(GitLink::json), "FromAppTemplate": self.from_app_template, "Namespace": "",
        });
        let object = value.as_object_mut().unwrap();
        if era.answers_at_once() {
            let history = self.deployment_status.iter();
            let history = history.map(|(status, time, message)| match message.is_empty() {
                true => json!({ "Status": status, "Time": time }),
                false => json!({ "Status": status, "Time": time, "Message": message }),
            });
            object.insert("DeploymentStatus".to_owned(), history.collect());
            object.insert("DeploymentStartStatus".to_owned(), json!(self.start_status));
            if self.git.is_some() && era.has_sources() {
                object.insert("WorkflowID".to_owned(), json!(self.id + 100));
            }
        }
        object.extend(self.extra.clone());
        value
    }
}
