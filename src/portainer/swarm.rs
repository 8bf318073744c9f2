//! Swarm services and their tasks, and the call that makes a swarm update a service.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::auth::json_body;
use super::docker::{docker_path, filters};
use super::response::{PortainerError, nullable, one_line};
use super::{EnvironmentId, Portainer};
use crate::fetch::Method;

impl Portainer {
    /// The services of a swarm stack.
    pub(crate) fn services(
        &self,
        environment: EnvironmentId,
        stack: &str,
    ) -> Result<Vec<SwarmService>, PortainerError> {
        let filters = filters("label", &format!("com.docker.stack.namespace={stack}"));
        let path = docker_path(environment, &format!("/services?filters={filters}"));
        self.get_list(&format!("cannot list the services of {stack:?}"), &path)
    }

    /// The tasks of a service, by its name or id; old ones too.
    pub(crate) fn tasks(
        &self,
        environment: EnvironmentId,
        service: &str,
    ) -> Result<Vec<SwarmTask>, PortainerError> {
        let filters = filters("service", service);
        let path = docker_path(environment, &format!("/tasks?filters={filters}"));
        self.get_list(&format!("cannot list the tasks of {service:?}"), &path)
    }

    /// Makes the swarm recreate a service's tasks, with `pull` from the newest image. [`PortainerError::Interrupted`] as with
    /// [`Portainer::update`].
    pub(crate) fn force_update_service(
        &self,
        environment: EnvironmentId,
        id: &str,
        name: &str,
        pull: bool,
        answer_within: Duration,
    ) -> Result<(), PortainerError> {
        let path = format!("/api/endpoints/{environment}/forceupdateservice");
        let mut request = self.request(Method::Put, &path);
        request.body = json_body(&ForceUpdate {
            service_id: id,
            pull_image: pull,
        });
        request.answer_within = answer_within;
        let step = format!("cannot update the service {name:?}");
        self.call(&step, request).map(drop)
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ForceUpdate<'a> {
    #[serde(rename = "ServiceID")]
    service_id: &'a str,
    pull_image: bool,
}

/// A service of a swarm.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "ServiceObject")]
pub(crate) struct SwarmService {
    /// The id that Docker assigned.
    pub(crate) id: String,
    /// The name, `STACK_SERVICE`.
    pub(crate) name: String,
    /// The reference with the digest that it is pinned to; without a digest if it could not be resolved.
    pub(crate) image: String,
    /// A number that grows with every change, also of the swarm itself.
    pub(crate) version: u64,
    /// A number that grows with every forced update; a task carries the number by which it was created.
    pub(crate) force_update: u64,
    /// The kind and number of its tasks.
    pub(crate) mode: Mode,
    /// The state of the last update; absent before the first one and after one that changed nothing.
    pub(crate) update: Option<Rollout>,
}

/// The kind and number of a service's tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// A number of running tasks.
    Replicated(u64),
    /// A running task on each node.
    Global,
    /// A number of tasks that complete.
    Job(u64),
    /// A task on each node that completes.
    GlobalJob,
}

/// The state of a service's update.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rollout {
    /// `updating`, `completed`, `paused`, `rollback_started`, `rollback_paused`, `rollback_completed`.
    pub(crate) state: String,
    /// Docker's explanation.
    pub(crate) message: String,
}

/// A task of a service; old ones stay in the list.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "TaskObject")]
pub(crate) struct SwarmTask {
    /// The reference that it was created from, with its digest.
    pub(crate) image: String,
    /// [`SwarmService::force_update`] when it was created.
    pub(crate) force_update: u64,
    /// `running`, `complete`, `failed`, `rejected`, `preparing`, ….
    pub(crate) state: String,
    /// The state that the swarm aims for: `running`, `shutdown`, ….
    pub(crate) desired_state: String,
    /// The reason for a failure; empty otherwise.
    pub(crate) error: String,
    /// The exit code of its container.
    pub(crate) exit_code: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ServiceObject {
    #[serde(rename = "ID")]
    id: String,
    #[serde(default, deserialize_with = "nullable")]
    version: Version,
    spec: ServiceSpecObject,
    update_status: Option<UpdateStatus>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Version {
    index: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ServiceSpecObject {
    name: String,
    #[serde(default, deserialize_with = "nullable")]
    task_template: TaskSpec,
    #[serde(default, deserialize_with = "nullable")]
    mode: ServiceMode,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct TaskSpec {
    #[serde(deserialize_with = "nullable")]
    container_spec: ContainerSpec,
    #[serde(deserialize_with = "nullable")]
    force_update: u64,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct ContainerSpec {
    #[serde(deserialize_with = "nullable")]
    image: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct ServiceMode {
    replicated: Option<Replicated>,
    global: Option<serde::de::IgnoredAny>,
    replicated_job: Option<ReplicatedJob>,
    global_job: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Replicated {
    replicas: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ReplicatedJob {
    total_completions: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct UpdateStatus {
    #[serde(default, deserialize_with = "nullable")]
    state: String,
    #[serde(default, deserialize_with = "nullable")]
    message: String,
}

impl From<ServiceObject> for SwarmService {
    fn from(entry: ServiceObject) -> SwarmService {
        let mode = entry.spec.mode;
        SwarmService {
            id: entry.id,
            name: entry.spec.name,
            image: entry.spec.task_template.container_spec.image,
            version: entry.version.index,
            force_update: entry.spec.task_template.force_update,
            mode: match (mode.replicated_job, mode.replicated) {
                _ if mode.global_job.is_some() => Mode::GlobalJob,
                _ if mode.global.is_some() => Mode::Global,
                (Some(job), _) => Mode::Job(job.total_completions.unwrap_or(1)),
                (None, replicated) => {
                    Mode::Replicated(replicated.and_then(|mode| mode.replicas).unwrap_or(1))
                }
            },
            update: entry
                .update_status
                .filter(|status| !status.state.is_empty())
                .map(|status| Rollout {
                    state: status.state,
                    message: one_line(&status.message),
                }),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct TaskObject {
    #[serde(default, deserialize_with = "nullable")]
    spec: TaskSpec,
    #[serde(default, deserialize_with = "nullable")]
    status: TaskStatus,
    #[serde(default, deserialize_with = "nullable")]
    desired_state: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct TaskStatus {
    #[serde(deserialize_with = "nullable")]
    state: String,
    #[serde(deserialize_with = "nullable")]
    err: String,
    #[serde(deserialize_with = "nullable")]
    container_status: ContainerStatus,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct ContainerStatus {
    #[serde(deserialize_with = "nullable")]
    exit_code: i64,
}

impl From<TaskObject> for SwarmTask {
    fn from(entry: TaskObject) -> SwarmTask {
        SwarmTask {
            image: entry.spec.container_spec.image,
            force_update: entry.spec.force_update,
            state: entry.status.state,
            desired_state: entry.desired_state,
            error: one_line(&entry.status.err),
            exit_code: entry.status.container_status.exit_code,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn service(text: &str) -> SwarmService {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn services_are_read_with_their_rollout() {
        let read = service(
            r#"{"ID":"rso","Version":{"Index":45},"Spec":{"Name":"shop_web","Labels":{},
            "TaskTemplate":{"ContainerSpec":{"Image":"acme/web:1@sha256:ab","Env":["A=b"]},"ForceUpdate":2,"Runtime":"container"},
            "Mode":{"Replicated":{"Replicas":3}}},"UpdateStatus":{"State":"paused","Message":"update paused","StartedAt":"x"}}"#,
        );
        let rollout = Rollout {
            state: "paused".to_owned(),
            message: "update paused".to_owned(),
        };
        assert_eq!(
            read,
            SwarmService {
                id: "rso".to_owned(),
                name: "shop_web".to_owned(),
                image: "acme/web:1@sha256:ab".to_owned(),
                version: 45,
                force_update: 2,
                mode: Mode::Replicated(3),
                update: Some(rollout),
            }
        );
    }

    #[test]
    fn every_mode_is_known_and_a_new_service_has_no_rollout() {
        let check = |mode: &str, meant| {
            let read = service(&format!(
                r#"{{"ID":"a","Spec":{{"Name":"b","Mode":{mode}}},"UpdateStatus":null}}"#
            ));
            assert_eq!((read.mode, read.update), (meant, None), "{mode}");
        };
        check(r#"{"Replicated":{"Replicas":0}}"#, Mode::Replicated(0));
        check(r#"{"Replicated":{}}"#, Mode::Replicated(1));
        check(r#"{"Global":{}}"#, Mode::Global);
        check(
            r#"{"ReplicatedJob":{"MaxConcurrent":1,"TotalCompletions":5}}"#,
            Mode::Job(5),
        );
        check(r#"{"GlobalJob":{}}"#, Mode::GlobalJob);
        check("null", Mode::Replicated(1));
    }

    #[test]
    fn tasks_are_read_with_what_became_of_them() {
        let text = r#"{"ID":"t1","Version":{"Index":1},"Spec":{"ContainerSpec":{"Image":"acme/web:nope"},"ForceUpdate":1},"ServiceID":"rso","Slot":1,
            "Status":{"Timestamp":"x","State":"rejected","Message":"preparing","Err":"No such image: acme/web:nope","ContainerStatus":null},"DesiredState":"shutdown"}"#;
        let read = serde_json::from_str::<SwarmTask>(text).unwrap();
        assert_eq!(
            read,
            SwarmTask {
                image: "acme/web:nope".to_owned(),
                force_update: 1,
                state: "rejected".to_owned(),
                desired_state: "shutdown".to_owned(),
                error: "No such image: acme/web:nope".to_owned(),
                exit_code: 0,
            }
        );
    }
}
