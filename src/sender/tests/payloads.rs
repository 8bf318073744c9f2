//! Recorded deliveries of real senders, if they are available: `../shared/senders/payloads`.

use std::collections::BTreeSet;

use super::super::Payload;
use super::summary_of;

/// File, sender, header with the event's name, and the expected summary.
type Recording = (
    &'static str,
    &'static str,
    &'static [(&'static str, &'static str)],
    &'static str,
);

const EXPECTED: &[Recording] = &[
    (
        "github-push-branch.json",
        "github",
        &[("X-GitHub-Event", "push")],
        "push branch master of Codertocat/Hello-World commit 6113728 files README.md…",
    ),
    (
        "github-push-tag.json",
        "github",
        &[("X-GitHub-Event", "push")],
        "push tag v0.0.1 of bradrydzewski/drone-test-go commit d2b75aa files …",
    ),
    (
        "github-push-signed.json",
        "github",
        &[("X-GitHub-Event", "push")],
        "push branch master of Codertocat/Hello-World commit 199eddf files README.md",
    ),
    (
        "github-ping.json",
        "github",
        &[("X-GitHub-Event", "ping")],
        "ignored: ping",
    ),
    (
        "github-ping-organization.json",
        "github",
        &[("X-GitHub-Event", "ping")],
        "ignored: ping",
    ),
    (
        "github-package-published-emptytag.json",
        "github",
        &[("X-GitHub-Event", "package")],
        "ignored: a package of type \"npm\" is not an image",
    ),
    (
        "github-workflow_run-completed.json",
        "github",
        &[("X-GitHub-Event", "workflow_run")],
        "workflow_run ref master of octo-org/octo-repo workflow test|.github/workflows/test.yml",
    ),
    (
        "github-release-published.json",
        "github",
        &[("X-GitHub-Event", "release")],
        "release tag 0.0.1 of Codertocat/Hello-World",
    ),
    (
        "github-release-prereleased.json",
        "github",
        &[("X-GitHub-Event", "release")],
        "ignored: \"/action\" is \"prereleased\", not published or released",
    ),
    (
        "github-deployment_status-created.json",
        "github",
        &[("X-GitHub-Event", "deployment_status")],
        "ignored: \"/deployment_status/state\" is \"in_progress\", not success",
    ),
    (
        "gitea-push.json",
        "gitea",
        &[("X-Gitea-Event", "push")],
        "push branch master of example/example commit 67b5658 files example…",
    ),
    (
        "gitea-release.json",
        "gitea",
        &[("X-Gitea-Event", "release")],
        "release tag example of example/example",
    ),
    (
        "forgejo-push.json",
        "forgejo",
        &[("X-Forgejo-Event", "push")],
        "push branch main of gordon/hello-world commit ef98532 files CHANGELOG.md,app/controller/application.rb",
    ),
    (
        "forgejo-release.json",
        "forgejo",
        &[("X-Forgejo-Event", "release")],
        "release tag 0.0.5 of anbraten/demo",
    ),
    (
        "gogs-push.json",
        "gogs",
        &[("X-Gogs-Event", "push")],
        "push branch master of gogits/hello-world commit 4522cbc files README.md",
    ),
    (
        "bitbucket-cloud-push.json",
        "bitbucket",
        &[("X-Event-Key", "repo:push")],
        "repo:push branch name-of-branch of team_name/repo_name commit 709d658",
    ),
    (
        "bitbucket-cloud-push-tag.json",
        "bitbucket",
        &[("X-Event-Key", "repo:push")],
        "repo:push tag feature/x of brydzewski/foo commit 141977f",
    ),
    (
        "bitbucket-dc-refs_changed.json",
        "bitbucket",
        &[("X-Event-Key", "repo:refs_changed")],
        "ignored: a deletion",
    ),
    (
        "bitbucket-dc-push-signed.json",
        "bitbucket",
        &[("X-Event-Key", "repo:refs_changed")],
        "repo:refs_changed branch master of PRJ/my-repo commit 823b223",
    ),
    (
        "bitbucket-dc-ping.json",
        "bitbucket",
        &[("X-Event-Key", "diagnostics:ping")],
        "ignored: ping",
    ),
    (
        "azuredevops-git.push.json",
        "azure-devops",
        &[],
        "git.push branch main of Fabrikam-Fiber-Git commit 33b55f7; id 03c164c2-8912-4d5e-8009-3707d5f83734",
    ),
    (
        "azuredevops-build.complete.json",
        "azure-devops",
        &[],
        "build.complete branch master workflow ConsumerAddressModule; id 4a5d99d6-1c75-4e53-91b9-ee80057d4ce3",
    ),
    (
        "dockerhub-push.json",
        "dockerhub",
        &[],
        "push tag latest of svendowideit/testhook image docker.io/svendowideit/testhook:latest (image)",
    ),
    (
        "harbor-push_artifact.json",
        "harbor",
        &[],
        "ignored: a manifest without a tag",
    ),
    (
        "harbor-delete_artifact.json",
        "harbor",
        &[],
        "ignored: event \"DELETE_ARTIFACT\" means nothing new",
    ),
    (
        "distribution-push-no-tag.json",
        "distribution",
        &[],
        "ignored: \"/target/mediaType\" is \"application/vnd.docker.container.image.rootfs.diff+x-gtar\", which is not acted on; nothing at \"/target/tag\": no tag",
    ),
    (
        "distribution-push-tagged.json",
        "distribution",
        &[],
        "push tag latest of hello-world image 192.168.100.227:5000/hello-world:latest (image); id 320678d8-ca14-430f-8bb6-4ca139cd83f7",
    ),
    (
        "diun-new.json",
        "diun",
        &[],
        "new tag latest of crazymax/diun image docker.io/crazymax/diun:latest (image)",
    ),
    (
        "wud-container.json",
        "wud",
        &[],
        "update tag 2021.6.4 of test image 123456789.dkr.ecr.eu-west-1.amazonaws.com/test:2021.6.4 (image)",
    ),
    ("watchtower-shoutrrr-json.json", "custom", &[], ""),
    (
        "drone-plugin.json",
        "custom",
        &[],
        "push branch main of hello-world commit 7fd1a60",
    ),
];

/// The payload of the documented example for the drone-webhook plugin.
pub(super) fn drone() -> Payload {
    let at = |pointer: &str| Some(pointer.to_owned());
    Payload {
        event: at("/build/event"),
        branch: at("/build/branch"),
        tag: at("/build/tag"),
        repository: at("/repo/name"),
        commit: at("/build/commit"),
        require: vec![("/build/status".to_owned(), vec!["success".to_owned()])],
        ..Payload::default()
    }
}

#[test]
fn every_collected_payload_is_understood() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/senders/payloads");
    let Ok(files) = std::fs::read_dir(folder) else {
        eprintln!("skipped: {folder} is not at hand");
        return;
    };
    let mut unread: BTreeSet<String> = files
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "manifest.json")
        .collect();
    let mut wrong = Vec::new();
    for (file, sender, headers, expected) in EXPECTED {
        assert!(unread.remove(*file), "{file} is not there");
        let body = std::fs::read_to_string(format!("{folder}/{file}")).unwrap();
        let payload = match *file {
            "drone-plugin.json" => drone(),
            _ => Payload::default(),
        };
        let summary = summary_of(sender, Some(&payload), headers, &body);
        if summary != *expected {
            wrong.push(format!("{file}: {summary}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(unread.is_empty(), "files that no test reads: {unread:?}");
}
