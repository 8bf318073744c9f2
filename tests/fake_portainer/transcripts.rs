//! Replays of exchanges recorded from a real Portainer 2.24. Each fake starts in the state in which its recording began,
//! and status codes, content types, keys, values and error texts have to be equal. Ids, digests and dates are normalised; the
//! identity of a container or image across answers is compared, too.
//!
//! The recordings are not part of the repository; without them nothing is compared, and the tests print that.

mod releases;
mod replay;

use std::sync::atomic::Ordering;
use std::time::Duration;

use self::replay::{Recording, Replay, STACK_FILE};
use crate::support::fake::{Behaviour, EngineStyle, Era, Fake, Setup};

const WEB: &str = "127.0.0.1:5000/web:1";
const WORKER: &str = "127.0.0.1:5000/worker:1";
const SLOW: &str = "services:\n  a:\n    image: 127.0.0.1:5000/slow:1\n    restart: unless-stopped\n    stop_grace_period: 20s\n  b:\n    image: 127.0.0.1:5000/slow:1\n    restart: unless-stopped\n    depends_on: [a]\n";
const GIT_FILE: &str = "services:\n  api:\n    image: 127.0.0.1:5000/web:${TAG}\n    restart: unless-stopped\n  db:\n    image: 127.0.0.1:5000/worker:1\n    restart: unless-stopped\n";
const PRIVATE: &str = "http://127.0.0.1:5080/private/shop.git";
const WEBHOOK: &str = "9f1c2f4e-6a3b-4d4e-8a5a-0d5c3e2b1a00";

/// A fake whose registry has the images of the recordings.
fn registry() -> Fake {
    let fake = Fake::start(Era::A);
    fake.skip_waiting(true);
    fake.world(|w| {
        w.rename_environment(1, "primary");
        w.registry_down("127.0.0.1:5999", true);
        w.registry_down("docker.io", true);
        w.push(WORKER, Behaviour::Runs);
    });
    push_web(&fake);
    fake
}

/// As [`registry`], with the stack `shop`, id 3.
fn shop() -> Fake {
    let fake = registry();
    fake.world(|w| {
        w.next_stack_is(3);
        let id = w.compose_stack("shop", STACK_FILE, &[("TAG", "1"), ("GREETING", "hello")]);
        w.stack_mut(id).updated_by = "admin".to_owned();
    });
    fake
}

/// As [`shop`], with the Git stack `gitshop`, id 4, its webhook, and a second environment.
fn gitshop() -> Fake {
    let fake = shop();
    fake.world(|w| {
        let git = w.password_of("admin");
        w.git_repository(PRIVATE, GIT_FILE, Some(("u", &git)));
        let id = w.git_stack_from(PRIVATE, "gitshop", &[("TAG", "1")]);
        let stack = w.stack_mut(id);
        (stack.webhook, stack.updated_by) = (Some(WEBHOOK.to_owned()), "admin".to_owned());
        w.environment("second");
    });
    fake
}

fn push_web(fake: &Fake) {
    push(
        fake,
        Behaviour::Healthy {
            after: Duration::from_secs(2),
        },
    );
}

fn push(fake: &Fake, behaviour: Behaviour) {
    fake.world(|w| {
        let id = w.push(WEB, behaviour);
        // The recorded images have no health check of their own; the compose file has.
        w.image(&id).healthcheck = None;
    });
}

fn advance(fake: &Fake, seconds: u64) {
    fake.clock().fetch_add(seconds * 1000, Ordering::SeqCst);
}

#[test]
fn authentication_is_as_recorded() {
    Replay::of("auth").on(Fake::start(Era::A)).run();
}

#[test]
fn the_login_limit_is_as_recorded() {
    let fake = Fake::start(Era::A);
    Replay::of("rate-limit")
        .on(fake)
        .before(1, |fake| {
            for _ in 0..9 {
                super::client::send(
                    fake,
                    "POST",
                    "/api/auth",
                    &[],
                    Some("{\"Username\":\"a\",\"Password\":\"b\"}"),
                );
            }
        })
        .before(3, |fake| advance(fake, 3))
        .run();
}

#[test]
fn a_portainer_without_an_administrator_is_as_recorded() {
    let fake = Fake::start(Era::A);
    fake.world(|w| w.without_administrator(Setup::Open));
    Replay::of("uninitialised")
        .on(fake)
        .before(6, |fake| {
            fake.world(|w| w.without_administrator(Setup::TimedOut))
        })
        .run();
}

#[test]
fn status_and_environments_are_as_recorded() {
    Replay::of("status").on(registry()).run();
}

#[test]
fn creating_a_file_stack_is_as_recorded() {
    let fake = registry();
    fake.world(|w| w.next_stack_is(3));
    Replay::of("file-stack-create").on(fake).run();
}

#[test]
fn an_update_without_env_is_as_recorded() {
    Replay::of("file-stack-env-omitted").on(shop()).run();
}

#[test]
fn an_update_is_as_recorded() {
    Replay::of("file-stack-redeploy")
        .on(shop())
        .before_note("new image behind web:1; worker:1 unchanged", push_web)
        .before_note("4 s later", |fake| advance(fake, 4))
        .before_note("new image behind web:1, but PullImage false", push_web)
        .run();
}

#[test]
fn failed_updates_are_as_recorded() {
    Replay::of("file-stack-failures")
        .on(shop())
        .before_note("clean start", push_web)
        .run();
}

#[test]
fn a_failed_up_that_takes_the_stack_down_is_as_recorded() {
    let fake = shop();
    fake.world(|w| w.take_port(1, "127.0.0.1:5000"));
    Replay::of("file-stack-up-failure-takes-down")
        .on(fake)
        .run();
}

#[test]
fn recreation_along_depends_on_is_as_recorded() {
    Replay::of("depends-on-recreate")
        .on(shop())
        .before_note("new image for web only", push_web)
        .run();
}

#[test]
fn waiting_for_a_healthy_dependency_is_as_recorded() {
    Replay::of("depends-on-service-healthy")
        .on(shop())
        .before_note(
            "good new image: the PUT takes as long as web needs to become healthy",
            push_web,
        )
        .before_note("sick new image", |fake| push(fake, Behaviour::NeverHealthy))
        .before_note("repaired", push_web)
        .run();
}

#[test]
fn another_environment_in_an_update_is_as_recorded() {
    let fake = shop();
    fake.world(|w| w.environment_beside("other", 1));
    Replay::of("endpoint-rehoming").on(fake).run();
}

#[test]
fn stopped_stacks_are_as_recorded() {
    Replay::of("inactive-stack")
        .on(gitshop())
        .before_note(
            "update a stopped stack: it is started and Status becomes 1",
            push_web,
        )
        .before_note("start a stopped one", |fake| {
            super::client::post(fake, "/api/stacks/3/stop?endpointId=1");
        })
        .run();
}

#[test]
fn local_images_removed_services_and_partial_pulls_are_as_recorded() {
    let fake = shop();
    fake.world(|w| {
        w.failed_pull_moves_others = false;
        let worker = w.local_id(WORKER, 1).unwrap();
        w.retag("local-only:1", 1, &worker);
    });
    Replay::of("misc")
        .on(fake)
        .before_note(
            "web has a new image, worker has an unknown tag, PullImage true",
            push_web,
        )
        .run();
}

#[test]
fn orphans_are_as_recorded() {
    let fake = gitshop();
    fake.world(|w| w.next_stack_is(6));
    Replay::of("orphan-stack").on(fake).run();
}

#[test]
fn the_death_of_portainer_in_a_deployment_is_as_recorded() {
    let fake = registry();
    let push_slow = |fake: &Fake| {
        fake.world(|w| {
            let id = w.push("127.0.0.1:5000/slow:1", Behaviour::Runs);
            w.image(&id).stops_in = Duration::from_secs(8);
        });
    };
    push_slow(&fake);
    fake.world(|w| {
        w.next_stack_is(7);
        w.compose_stack("slow", SLOW, &[])
    });
    Replay::of("portainer-restart")
        .on(fake)
        .before_note(
            "the PUT, with Portainer killed 3 s after it was sent",
            move |fake| {
                push_slow(fake);
                fake.world(|w| w.dies_in_next_deploy = true);
                let body =
                    serde_json::json!({ "StackFileContent": SLOW, "Env": [], "PullImage": true })
                        .to_string();
                let headers = [("X-API-Key", fake.api_key())];
                assert!(
                    super::client::send(
                        fake,
                        "PUT",
                        "/api/stacks/7?endpointId=1",
                        &headers,
                        Some(&body)
                    )
                    .is_none()
                );
            },
        )
        .run();
}

#[test]
fn creating_a_slow_stack_is_as_recorded() {
    let fake = registry();
    fake.world(|w| {
        w.push("127.0.0.1:5000/slow:1", Behaviour::Runs);
        w.next_stack_is(7);
    });
    Replay::of("disconnect").on(fake).run();
}

#[test]
fn a_successful_rollout_is_as_recorded() {
    let fake = shop();
    fake.world(|w| {
        let (ops, _) = w.user_standard("ops", "pw");
        w.may_use_stack(ops, 3, true);
    });
    Replay::of("rollout-healthy")
        .on(fake)
        .before_note(
            "what the registry has now: digest differs from RepoDigests",
            push_web,
        )
        .without(
            "image list by reference",
            "the recording's engine still holds images of earlier recordings",
        )
        .before_note("pull through the proxy, newer image", push_web)
        .before_note(
            "PullImage false after the pull through the proxy: the new local image is used",
            push_web,
        )
        .run();
}

#[test]
fn a_crash_loop_is_as_recorded() {
    Replay::of("rollout-crash-loop")
        .on(shop())
        .before_note("redeploy to a crashing image", |fake| {
            push(
                fake,
                Behaviour::CrashLoop {
                    every: Duration::from_millis(500),
                    code: 3,
                },
            );
        })
        .before_note("inspect of the crash loop", |fake| advance(fake, 12))
        .run();
}

#[test]
fn a_process_that_exits_is_as_recorded() {
    Replay::of("rollout-exits-once")
        .on(shop())
        .before_note("redeploy", |fake| {
            push(fake, Behaviour::ExitsOnce { code: 3 })
        })
        .run();
}

#[test]
fn an_image_that_never_becomes_healthy_is_as_recorded() {
    Replay::of("rollout-unhealthy")
        .on(shop())
        .before_note("redeploy to a sick image", |fake| {
            push(fake, Behaviour::NeverHealthy)
        })
        .run();
}

#[test]
fn rights_of_a_standard_user_are_as_recorded() {
    let nth =
        |n: usize| format!("bind mount by a standard user when the environment forbids it #{n}");
    Replay::of("standard-user")
        .on(shop())
        .calls_come_from(
            "ops",
            &[
                "POST /api/users",
                "PUT /api/endpoints/1",
                "PUT /api/resource_controls/1",
            ],
        )
        .before_note(&nth(1), |fake| fake.world(|w| w.stack_management(1, true)))
        .before_note(&nth(2), |fake| fake.world(|w| w.bind_mounts(1, false)))
        .run();
}

#[test]
fn a_git_stack_is_as_recorded() {
    let fake = shop();
    fake.world(|w| {
        let git = w.password_of("admin");
        w.git_repository(PRIVATE, GIT_FILE, Some(("u", &git)));
    });
    let commit = |file: String| move |fake: &Fake| drop(fake.world(|w| w.commit(4, &file)));
    let bad = GIT_FILE.replace("worker:1", "worker:nope");
    Replay::of("git-stack")
        .on(fake)
        .before_note("nothing new at all", push_web)
        .before_note("new commit and new image", push_web)
        .before_note("new commit and new image", commit(GIT_FILE.to_owned()))
        .before_note("full again", push_web)
        .before_note(
            "new commit with an image that does not exist, PullImage true",
            commit(bad),
        )
        .before_note("recover", commit(GIT_FILE.to_owned()))
        .run();
}

#[test]
fn the_native_webhook_is_as_recorded() {
    let commit = |file: String| move |fake: &Fake| drop(fake.world(|w| w.commit(4, &file)));
    let bad = GIT_FILE.replace("worker:1", "worker:nope");
    let settle = |fake: &Fake| advance(fake, 3);
    Replay::of("git-stack-native-webhook")
        .on(gitshop())
        .before_note("no new commit, but a new image behind the tag", push_web)
        .before_note("new commit", commit(GIT_FILE.to_owned()))
        .before_note("3 s after", settle)
        .before_note(
            "new commit that cannot be deployed: 204 all the same",
            commit(bad),
        )
        .before_note("3 s after the bad commit", settle)
        .before_note("repaired", commit(GIT_FILE.to_owned()))
        .before_note("3 s after the repaired commit", settle)
        .run();
}

#[test]
fn a_plain_update_of_a_git_stack_is_as_recorded() {
    let fake = gitshop();
    fake.world(|w| w.git_repository("http://127.0.0.1:5080/shop.git", GIT_FILE, None));
    Replay::of("git-stack-plain-put-detaches").on(fake).run();
}

/// A Swarm manager whose registry has images that keep running.
fn swarm_fake() -> Fake {
    let fake = registry();
    fake.world(|w| {
        w.become_swarm();
        w.next_stack_is(9);
    });
    push(&fake, Behaviour::Runs);
    fake
}

#[test]
fn a_swarm_stack_is_as_recorded() {
    let push_good = |fake: &Fake| push(fake, Behaviour::Runs);
    let settle = |fake: &Fake| advance(fake, 6);
    Replay::of("swarm-stack")
        .on(swarm_fake())
        .before_note("after create", settle)
        .before_note("new image, PullImage true", push_good)
        .before_note("6 s later", settle)
        .before_note("new image, PullImage false", push_good)
        .before_note("after the unknown tag", |fake| advance(fake, 4))
        .before_note("back", push_good)
        .before_note("back #2", settle)
        .before_note("crashing image", |fake| {
            fake.world(|w| w.swarm_out_of_sequence(1))
        })
        .before_note("repaired", push_good)
        .before_note("repaired #2", settle)
        .without(
            "after the unknown tag #2",
            "how many rejected tasks are left depends on the moment",
        )
        .without("7 s after the crashing image #2", "the same")
        .run();
}

const CAP: &str = "services:\n  web:\n    image: 127.0.0.1:5000/cap/web:1\n    restart: unless-stopped\n  db:\n    image: 127.0.0.1:5000/cap/db:1\n    restart: unless-stopped\n";
const WEB_ONLY: &str = "the recording of this list was cut down to web, the service it is about";
const CAP_WEB: &str = "127.0.0.1:5000/cap/web:1";
const CAP_DB: &str = "127.0.0.1:5000/cap/db:1";

/// An engine of this release with the stack `cap` of the recordings about engines.
fn cap(style: EngineStyle, stack: i64) -> Fake {
    let fake = registry();
    fake.world(|w| {
        w.use_engine(style);
        w.push(CAP_DB, Behaviour::Runs);
        w.next_stack_is(stack);
    });
    push_cap(&fake);
    fake.world(|w| {
        let id = w.compose_stack("cap", CAP, &[]);
        w.stack_mut(id).updated_by = "admin".to_owned();
    });
    fake
}

fn push_cap(fake: &Fake) {
    let after = Duration::from_secs(1);
    fake.world(|w| w.push(CAP_WEB, Behaviour::Healthy { after }));
}

#[test]
fn image_ids_and_rollback_with_a_graph_driver_are_as_recorded() {
    Replay::of("docker20-image-ids")
        .then("docker20-way-back")
        .on(cap(EngineStyle::Docker20, 43))
        .before(5, push_cap)
        .shortened("the container still runs the old one", WEB_ONLY)
        .run();
}

#[test]
fn image_ids_and_rollback_with_containerd_are_as_recorded() {
    Replay::of("docker29-containerd-image-ids")
        .then("docker29-containerd-way-back")
        .on(cap(EngineStyle::Docker29, 20))
        .before(5, push_cap)
        .shortened("the container still runs the old one", WEB_ONLY)
        .run();
}

/// As [`cap`], with images that were tagged, imported and built on the host.
fn host_only(style: EngineStyle) -> Fake {
    let fake = cap(style, 43);
    fake.world(|w| {
        let db = w.local_id(CAP_DB, 1).unwrap();
        w.retag("hostonly-tagged:1", 1, &db);
        w.local_image("hostonly-imported:1", 1, Behaviour::Runs);
        let built = w.local_image("myapp:latest", 1, Behaviour::Runs);
        w.retag("registry.example.com/team/myapp:1", 1, &built);
    });
    fake
}

#[test]
fn images_that_only_the_host_has_are_as_recorded() {
    Replay::of("docker20-host-only-image")
        .on(host_only(EngineStyle::Docker20))
        .run();
    for name in [
        "docker29-containerd-host-only-image",
        "docker29-containerd-built-image",
    ] {
        Replay::of(name).on(host_only(EngineStyle::Docker29)).run();
    }
}

#[test]
fn failed_pulls_of_both_engines_are_as_recorded() {
    for (name, style) in [
        ("docker20-pull-failures", EngineStyle::Docker20),
        ("docker29-containerd-pull-failures", EngineStyle::Docker29),
    ] {
        let fake = cap(style, 43);
        fake.world(|w| {
            w.push("127.0.0.1:5001/priv/web:1", Behaviour::Runs);
            w.registry_private("127.0.0.1:5001", "puller", "pw");
            if style == EngineStyle::Docker29 {
                w.pull("127.0.0.1:5001/priv/web:1", 1);
            }
        });
        Replay::of(name).on(fake).run();
    }
}

#[test]
fn the_same_content_under_a_new_index_is_as_recorded() {
    const WEB_9: &str = "127.0.0.1:5000/cap/web:9";
    for (name, style) in [
        (
            "docker20-same-content-new-attestation",
            EngineStyle::Docker20,
        ),
        (
            "docker29-containerd-same-content-new-attestation",
            EngineStyle::Docker29,
        ),
    ] {
        let fake = cap(style, 43);
        fake.world(|w| {
            w.push(WEB_9, Behaviour::Runs);
            w.pull(WEB_9, 1);
        });
        Replay::of(name)
            .on(fake)
            .before(2, |fake| drop(fake.world(|w| w.push_same_content(WEB_9))))
            .run();
    }
}

#[test]
fn compose_without_registry_credentials_is_as_recorded() {
    let fake = registry();
    fake.world(|w| {
        w.up_pulls_missing = true;
        w.compose_logs_in = false;
        w.push("127.0.0.1:5001/pc/web:1", Behaviour::Runs);
        let registry = w.registry_private("127.0.0.1:5001", "puller", "pw");
        w.rename_registry(registry, "priv");
        // The stack that cannot be created also takes an id.
        w.next_stack_is(45);
    });
    Replay::of("private-registry-compose").on(fake).run();
}

/// The recording has only the fields that differ while a user's save is being deployed, so it is compared field by field.
#[test]
fn a_save_in_progress_is_as_recorded() {
    let Some(recording) = Recording::read("edit-in-progress") else {
        return;
    };
    let [before, record, file, containers, after] = recording.answers()[..] else {
        panic!("another recording");
    };
    const IMAGE: &str = "127.0.0.1:5000/capedit459/web:1";
    let new_file = file["StackFileContent"].as_str().unwrap();
    let old_file = new_file.replace("    labels: {edited: \"yes\"}\n", "");
    assert_ne!(old_file, new_file);
    let fake = registry();
    fake.skip_waiting(false);
    fake.world(|w| {
        let id = w.push(
            IMAGE,
            Behaviour::Healthy {
                after: Duration::ZERO,
            },
        );
        w.image(&id).stops_in = Duration::from_secs(60);
        w.next_stack_is(5);
        w.compose_stack("capedit459", &old_file, &[("X", "old")]);
    });
    let get = |path: &str| super::client::get(&fake, path).body;
    let fields = |stack: &serde_json::Value| {
        let date = stack["UpdateDate"].as_i64().unwrap();
        let fields = ["Id", "Name", "Status", "Env", "UpdatedBy"];
        (fields.map(|field| stack[field].clone()), date > 0)
    };
    assert_eq!(fields(&get("/api/stacks/5")), fields(before));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let body = serde_json::json!({
                "StackFileContent": new_file, "Env": [{"name": "X", "value": "new"}], "PullImage": false
            });
            let answer = super::client::put(&fake, "/api/stacks/5?endpointId=1", &body);
            assert_eq!(answer.status, 200, "{:?}", answer.body);
        });
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        while !fake.world(|w| w.is_deploying()) {
            assert!(std::time::Instant::now() < deadline, "nothing is deployed");
            std::thread::yield_now();
        }
        std::thread::sleep(Duration::from_millis(50));
        assert_eq!(fields(&get("/api/stacks/5")), fields(record));
        assert_eq!(get("/api/stacks/5/file"), *file);
        let filter = "%7B%22label%22%3A%5B%22com.docker.compose.project%3Dcapedit459%22%5D%7D";
        let path = format!("/api/endpoints/1/docker/containers/json?all=1&filters={filter}");
        let mut now: Vec<(String, bool)> = get(&path)
            .as_array()
            .unwrap()
            .iter()
            .map(|one| {
                let replaces = one["Labels"]["com.docker.compose.replace"].is_string();
                (one["State"].as_str().unwrap().to_owned(), replaces)
            })
            .collect();
        now.sort();
        let mut recorded: Vec<(String, bool)> = containers
            .as_array()
            .unwrap()
            .iter()
            .map(|one| {
                let replaces = one["com.docker.compose.replace"].is_string();
                (one["State"].as_str().unwrap().to_owned(), replaces)
            })
            .collect();
        recorded.sort();
        assert_eq!(now, recorded);
        // The grace period of the old container.
        advance(&fake, 9);
    });
    assert_eq!(fields(&get("/api/stacks/5")), fields(after));
}

#[test]
fn docker_29_with_its_default_minimum_version_is_as_recorded() {
    const FILE: &str =
        "services:\n  web:\n    image: 127.0.0.1:5000/mapi812/web:1\n    restart: unless-stopped\n";
    let fake = registry();
    fake.world(|w| {
        w.use_engine(EngineStyle::Docker29);
        w.rename_environment(1, "local");
        w.push("127.0.0.1:5000/mapi812/web:1", Behaviour::Runs);
        w.next_stack_is(33);
        w.compose_stack("mapi812", FILE, &[]);
    });
    Replay::of("docker29-default-min-api").on(fake).run();
}
