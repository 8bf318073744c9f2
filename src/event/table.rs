//! The senders whose payloads say everything at fixed places, a row or two each.

use super::Sender;
use super::rows::{Host, Name, Row, When};

/// Only these tell of images; layers and configurations are pushed too.
const MANIFESTS: [&str; 5] = [
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v1+prettyjws",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
];

/// The rows of a sender; none for senders that need code or bring their own.
pub(super) fn rows(sender: Sender) -> Vec<Row<'static>> {
    match sender {
        Sender::Dockerhub => vec![Row {
            event: Name::Always("push"),
            repository: Some("/repository/repo_name"),
            image: Some("/repository/repo_name"),
            tag: Some("/push_data/tag"),
            host: Host::Always("docker.io"),
            ..Row::default()
        }],
        Sender::Quay => vec![Row {
            event: Name::Always("push"),
            repository: Some("/repository"),
            image: Some("/docker_url"),
            tag: Some("/updated_tags/*"),
            ..Row::default()
        }],
        Sender::Harbor => vec![
            Row {
                when: When::Is("/type", "PUSH_ARTIFACT"),
                each: Some("/event_data/resources/*"),
                event: Name::Always("PUSH_ARTIFACT"),
                repository: Some("#/event_data/repository/repo_full_name"),
                image: Some("/resource_url"),
                tag: Some("/tag"),
                ..Row::default()
            },
            // The same as CloudEvents.
            Row {
                when: When::Is("/type", "harbor.artifact.pushed"),
                each: Some("/data/resources/*"),
                event: Name::Always("PUSH_ARTIFACT"),
                repository: Some("#/data/repository/repo_full_name"),
                image: Some("/resource_url"),
                tag: Some("/tag"),
                id: Some("#/id"),
                ..Row::default()
            },
        ],
        Sender::Distribution => vec![Row {
            each: Some("/events/*"),
            event: Name::At("/action"),
            repository: Some("/target/repository"),
            image: Some("/target/repository"),
            tag: Some("/target/tag"),
            host: Host::At("/request/host"),
            id: Some("/id"),
            // A redeploy pulls: acting on pulls would never end.
            require: vec![
                (vec!["/action"], vec!["push"]),
                (vec!["/target/mediaType"], MANIFESTS.to_vec()),
            ],
            ..Row::default()
        }],
        Sender::Acr => vec![Row {
            event: Name::At("/action"),
            repository: Some("/target/repository"),
            image: Some("/target/repository"),
            tag: Some("/target/tag"),
            host: Host::At("/request/host"),
            id: Some("/id"),
            require: vec![(vec!["/action"], vec!["push"])],
            ..Row::default()
        }],
        Sender::Ecr => vec![Row {
            event: Name::At("/detail/action-type"),
            repository: Some("/detail/repository-name"),
            image: Some("/detail/repository-name"),
            tag: Some("/detail/image-tag"),
            host: Host::Ecr,
            id: Some("/id"),
            require: vec![
                (vec!["/detail/action-type"], vec!["PUSH"]),
                (vec!["/detail/result"], vec!["SUCCESS"]),
            ],
            ..Row::default()
        }],
        Sender::Diun => vec![Row {
            event: Name::At("/status"),
            image: Some("/image"),
            require: vec![(vec!["/status"], vec!["new", "update"])],
            ..Row::default()
        }],
        Sender::Wud => {
            // A newer tag than the one that runs is in /result/tag; the stack does not run it.
            let container = Row {
                event: Name::Always("update"),
                repository: Some("/image/name"),
                image: Some("/image/name"),
                tag: Some("/image/tag/value"),
                host: Host::At("/image/registry/url"),
                ..Row::default()
            };
            let batch = Row {
                when: When::List,
                each: Some("/*"),
                ..container.clone()
            };
            vec![batch, container]
        }
        Sender::AzureDevops => vec![
            Row {
                when: When::Is("/eventType", "git.push"),
                each: Some("/resource/refUpdates/*"),
                event: Name::Always("git.push"),
                full_ref: Some("/name"),
                repository: Some("#/resource/repository/name"),
                commit: Some("/newObjectId"),
                id: Some("#/id"),
                ..Row::default()
            },
            Row {
                when: When::Is("/eventType", "build.complete"),
                event: Name::Always("build.complete"),
                full_ref: Some("/resource/sourceBranch"),
                repository: Some("/resource/repository/name"),
                id: Some("/id"),
                require: vec![(
                    vec!["/resource/result", "/resource/status"],
                    vec!["succeeded"],
                )],
                ..Row::default()
            },
        ],
        Sender::Generic
        | Sender::Github
        | Sender::Gitlab
        | Sender::Gitea
        | Sender::Forgejo
        | Sender::Gogs
        | Sender::Bitbucket
        | Sender::Custom => Vec::new(),
    }
}
