//! What a swarm says of services and tasks, as far as somebody reads it (contract 8).

use serde::Deserialize;

use super::wire::nullable;

/// A service of a swarm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Service {
    /// Docker's id.
    pub(crate) id: String,
    /// `stack_service`.
    pub(crate) name: String,
    /// The reference, with the digest it is pinned to; without one it could not be resolved.
    pub(crate) image: String,
    /// Grows with every change, also by the swarm itself.
    pub(crate) version: u64,
    /// Grows with every forced update; its tasks carry the number they were made by.
    pub(crate) force_update: u64,
    /// How many tasks there should be.
    pub(crate) mode: Mode,
    /// How its last update goes; absent until the first one, and after one that changed nothing.
    pub(crate) update: Option<Rollout>,
}

/// How many tasks a service should have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// So many that run.
    Replicated(u64),
    /// One a node.
    Global,
    /// So many that complete.
    Job(u64),
    /// One a node that completes.
    GlobalJob,
}

/// How an update of a service goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rollout {
    /// `updating`, `completed`, `paused`, `rollback_started`, `rollback_paused`, `rollback_completed`.
    pub(crate) state: String,
    /// Docker's words.
    pub(crate) message: String,
}

/// A task of a service; old ones stay in the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Task {
    /// The reference it was made from, with its digest.
    pub(crate) image: String,
    /// [`Service::force_update`] when it was made.
    pub(crate) force_update: u64,
    /// `running`, `complete`, `failed`, `rejected`, `preparing`, ….
    pub(crate) state: String,
    /// What the swarm wants it to be: `running`, `shutdown`, ….
    pub(crate) desired_state: String,
    /// Why it failed; mostly empty.
    pub(crate) error: String,
    /// The code of its end.
    pub(crate) exit_code: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ServiceEntry {
    #[serde(rename = "ID")]
    id: String,
    #[serde(default, deserialize_with = "nullable")]
    version: Version,
    spec: ServiceSpec,
    update_status: Option<UpdateStatus>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Version {
    index: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ServiceSpec {
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

impl From<ServiceEntry> for Service {
    fn from(entry: ServiceEntry) -> Service {
        let mode = entry.spec.mode;
        Service {
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
                    message: super::words::shown(&status.message),
                }),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct TaskEntry {
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

impl From<TaskEntry> for Task {
    fn from(entry: TaskEntry) -> Task {
        Task {
            image: entry.spec.container_spec.image,
            force_update: entry.spec.force_update,
            state: entry.status.state,
            desired_state: entry.desired_state,
            error: super::words::shown(&entry.status.err),
            exit_code: entry.status.container_status.exit_code,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn service(text: &str) -> Service {
        serde_json::from_str::<ServiceEntry>(text).unwrap().into()
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
            Service {
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
        let read = Task::from(serde_json::from_str::<TaskEntry>(text).unwrap());
        assert_eq!(
            read,
            Task {
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
