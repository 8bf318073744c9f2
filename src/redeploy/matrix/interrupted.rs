//! Others at the same time: people who edit and redeploy, deployments that take minutes, Portainer that dies, records that
//! cannot be kept.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use crate::fake::{Behaviour, Era, Fault, Gate, When, World};
use crate::portainer::Update;
use crate::redeploy;
use crate::redeploy::bench::{GOOD, Kept, Watcher, client};
use crate::redeploy::matrix::expected::{
    ALL, NONE, WEB, after_rollback, failed, unchanged, updated,
};
use crate::redeploy::matrix::scene::{FILE, SHARED, Scene, Sort};
use crate::redeploy::matrix::{check, play};
use crate::stack::order::Order;
use crate::stack::outcome::{Fault as Whose, Outcome};
use crate::stack::{PullMode, RollBack};

#[test]
fn a_file_that_a_person_changes_meanwhile_is_the_one_that_is_deployed() {
    for era in Era::ALL {
        let scene = Scene::new(Sort::File, era);
        scene.push("web:1", GOOD);
        let file = FILE.replace("  worker:", "    labels:\n      edited: \"yes\"\n  worker:");
        let (stack, edited) = (scene.stack, file.clone());
        let watcher = Watcher::act(&scene.bench.fake, "pulling", 1, move |world| {
            world.stack_mut(stack).file = edited.clone();
        });
        check(
            &scene,
            &Order::default(),
            &watcher,
            &updated(1, WEB, &["1 of 3"]),
        );
        let now = scene
            .bench
            .fake
            .world(|world| world.stack("web-stack").file.clone());
        assert_eq!(now, file);
    }
}

#[test]
fn a_person_who_keeps_changing_the_stack_wins() {
    for sort in Sort::ALL {
        let mut scene = Scene::new(sort, Era::A);
        scene.push("web:1", GOOD);
        let stack = scene.stack;
        scene.env = Some(vec![("TAG".to_owned(), "1".to_owned())]);
        let watcher = Watcher::act(&scene.bench.fake, "inspecting", 100, move |world| {
            let stack = world.stack_mut(stack);
            stack.update_date += 1;
            stack.env = Some(vec![("TAG".to_owned(), "1".to_owned())]);
        });
        let says = &["keeps being changed", "nothing was sent"];
        check(&scene, &Order::default(), &watcher, &failed(0, NONE, says));
        let looks = watcher
            .steps
            .lock()
            .unwrap()
            .iter()
            .filter(|step| step.starts_with("inspecting"))
            .count();
        assert_eq!(looks, 3);
    }
}

/// An update of this stack by a person, without changes, with a pull or without.
fn person(scene: &Scene, stack: &str, pull: bool) -> impl Fn() -> bool + Send + Sync + 'static {
    let (fake, stack) = (Arc::clone(&scene.bench.fake), stack.to_owned());
    move || {
        let portainer = client(&fake, fake.api_key());
        let records = portainer.stacks().unwrap();
        let record = records.into_iter().find(|one| one.name == stack).unwrap();
        let file = portainer.file(record.id).unwrap();
        let update = Update::new(&record, &file, &Default::default(), pull);
        let done = portainer.update(update, Duration::from_secs(60)).is_ok();
        // Its jobs have ended before we look.
        fake.clock().fetch_add(2_000, Ordering::SeqCst);
        done
    }
}

#[test]
fn a_person_who_redeploys_at_the_same_moment_does_no_harm() {
    for era in Era::ALL {
        for step in ["inspecting", "pulling", "updating"] {
            let scene = Scene::new(Sort::File, era);
            scene.push("web:1", GOOD);
            let (redeploy, done) = (person(&scene, "web-stack", false), std::sync::Once::new());
            let act = move || done.call_once(|| assert!(redeploy()));
            let watcher = Watcher {
                at: Some((step, Box::new(act))),
                ..Watcher::default()
            };
            let played = play(&scene, &Order::default(), &watcher, || ());
            assert_eq!(played.never, [""; 0], "{era:?} {step} {:?}", played.report);
            let ended = played.report.outcome;
            assert!(
                matches!(ended, Outcome::Updated | Outcome::Unchanged),
                "{era:?} {step} {:?}",
                played.report
            );
            assert_eq!(played.changed, ["web".to_owned()].into(), "{era:?} {step}");
            assert!(played.puts <= 3, "{era:?} {step} {}", played.puts);
        }
    }
}

#[test]
fn a_deployment_of_another_stack_is_waited_for_however_long_it_takes() {
    const SLOW: &str = "
services:
  slow:
    image: ghcr.io/acme/slow:1
    stop_grace_period: 10m
";
    for era in Era::ALL {
        let mut scene = Scene::new(Sort::File, era);
        scene.bench.timeout = Duration::from_secs(1800);
        let began = scene.bench.fake.world(|world| {
            let old = world.push("ghcr.io/acme/slow:1", Behaviour::Runs);
            world.image(&old).stops_in = Duration::from_secs(600);
            world.compose_stack("slow", SLOW, &[]);
            world.push("ghcr.io/acme/slow:1", Behaviour::Runs);
            world.now()
        });
        scene.push("web:1", GOOD);
        // Time passes only once we wait for our own answer.
        scene.bench.fake.skip_waiting(false);
        let slow = person(&scene, "slow", true);
        thread::scope(|scope| {
            let first = scope.spawn(slow);
            let fake = &scene.bench.fake;
            for _ in 0..10_000 {
                if fake.puts().len() == 1 {
                    break;
                }
                thread::sleep(Duration::from_millis(2));
            }
            let fake = Arc::clone(fake);
            let watcher = Watcher {
                at: Some(("updating", Box::new(move || fake.skip_waiting(true)))),
                ..Watcher::default()
            };
            let should = updated(1, WEB, &["1 of 3 services updated"]);
            let played = play(&scene, &Order::default(), &watcher, || ());
            let report = &played.report;
            assert_eq!(report.outcome, should.outcome, "{era:?} {report:?}");
            assert_eq!(played.changed, should.changed, "{era:?} {report:?}");
            assert_eq!(played.never, [""; 0], "{era:?} {report:?}");
            assert!(first.join().unwrap());
        });
        let took = scene.bench.fake.world(|world| world.now()) - began;
        assert!(took >= 600_000, "{era:?}: {took} ms");
    }
}

#[test]
fn what_an_interrupted_deployment_left_in_the_way_is_removed_by_one_more_update() {
    let era = Era::A;
    let scene = Scene::new(Sort::File, era);
    scene.push("web:1", GOOD);
    scene
        .bench
        .fake
        .world(|world| world.dies_in_next_deploy = true);
    assert!(!person(&scene, "web-stack", true)());
    let should = updated(2, ALL, &["all healthy"]);
    check(&scene, &Order::default(), &Watcher::default(), &should);
}

#[test]
fn updates_a_failed_stack_only_if_that_cannot_make_it_worse() {
    for era in [Era::C, Era::D] {
        let failed_once = |pull| {
            let mut scene = Scene::new(Sort::File, era);
            scene.bench.stack.pull = pull;
            scene
                .bench
                .fake
                .world(|world| world.stack_mut(scene.stack).status = 4);
            scene
        };
        // Nothing is newer, and what runs is healthy.
        let scene = failed_once(PullMode::First);
        let order = Order::default();
        let says = &["nothing newer", "last deployment of this stack failed"];
        check(
            &scene,
            &order,
            &Watcher::default(),
            &unchanged(0, NONE, says),
        );
        // Everything is pulled before.
        scene.push("web:1", GOOD);
        check(
            &scene,
            &order,
            &Watcher::default(),
            &updated(1, after_rollback(era), &["all healthy"]),
        );
        let mut scene = failed_once(PullMode::Portainer);
        if era == Era::D {
            // Portainer would pull after it has taken the stack down.
            let says = &["would take it down", "stackhook redeploy app --force"];
            check(&scene, &order, &Watcher::default(), &failed(0, NONE, says));
        }
        let force = Order {
            force: true,
            ..Order::default()
        };
        check(
            &scene,
            &force,
            &Watcher::default(),
            &updated(1, ALL, &["3 of 3"]),
        );
        // Nothing is left that could be taken down.
        scene = failed_once(PullMode::Portainer);
        scene.bench.fake.world(|world| {
            for seen in world.containers("web-stack") {
                world.stop_container(&seen.id);
            }
        });
        check(
            &scene,
            &order,
            &Watcher::default(),
            &updated(1, ALL, &["3 of 3"]),
        );
    }
}

#[test]
fn nothing_is_sent_that_could_not_be_written_down() {
    for sort in Sort::ALL {
        let scene = Scene::new(sort, Era::A);
        scene.push("web:1", GOOD);
        let local = || {
            scene
                .bench
                .fake
                .world(|world| world.local_id("ghcr.io/acme/web:1", 1))
        };
        let before = local();
        let watcher = Watcher {
            cannot_note_images: sort != Sort::Swarm,
            cannot_write: true,
            ..Watcher::default()
        };
        let says = &["the journal cannot be written", "nothing was sent"];
        let report = check(&scene, &Order::default(), &watcher, &failed(0, NONE, says));
        assert_eq!((report.fault, local()), (Some(Whose::NotWritten), before));
        let watcher = Watcher {
            cannot_write: true,
            ..Watcher::default()
        };
        let report = check(&scene, &Order::default(), &watcher, &failed(0, NONE, says));
        assert_eq!(report.fault, Some(Whose::NotWritten));
    }
}

#[test]
fn a_pull_that_breaks_off_in_the_middle_is_a_failed_pull() {
    for (fault, says) in [
        (
            Fault::PullBreaks("toomanyrequests".to_owned()),
            "toomanyrequests",
        ),
        (Fault::CutShort, "cannot pull"),
        (Fault::LoginPage, "cannot pull"),
    ] {
        let mut scene = Scene::new(Sort::File, Era::A);
        scene.bench.patience = Duration::ZERO;
        scene.push("web:1", GOOD);
        let path = "/api/endpoints/1/docker/images/create";
        scene.bench.fake.fault(When::every("POST", path), fault);
        check(
            &scene,
            &Order::default(),
            &Watcher::default(),
            &failed(0, NONE, &[says]),
        );
    }
}

#[test]
fn a_rollback_without_the_previous_image_is_refused() {
    for era in Era::ALL {
        let scene = Scene::new(Sort::File, era);
        let old = scene
            .bench
            .fake
            .world(|world| world.container("web-stack", "web").image_id);
        scene.push("web:1", Behaviour::CannotStart);
        let watcher = Watcher::act(&scene.bench.fake, "updating", 1, move |world| {
            world.remove_local_image(&old, 1);
        });
        let changed = if era.failure_takes_down() { NONE } else { WEB };
        let should = failed(
            1,
            changed,
            &[
                "cannot roll back",
                "ghcr.io/acme/web:1",
                "gone from the host",
            ],
        );
        check(&scene, &Order::default(), &watcher, &should);
    }
}

/// Another stack that runs the newest `web:1`.
fn other_stack_with_newest_web(world: &mut World) {
    const OTHER: &str = "
services:
  side:
    image: ghcr.io/acme/web:1
    restart: unless-stopped
";
    world.pull("ghcr.io/acme/web:1", 1);
    world.compose_stack("other", OTHER, &[]);
}

#[test]
fn a_tag_that_other_stacks_use_is_restored_after_the_rollback() {
    for era in Era::ALL {
        // The other stack has moved the tag long before, or gets the image while we deploy.
        for meanwhile in [false, true] {
            let mut scene = Scene::new(Sort::File, era);
            scene.bench.stack.rollback = RollBack::WhenUnhealthy;
            let before = scene.look();
            let new = scene.push("web:1", Behaviour::NeverHealthy);
            let mut watcher = Watcher::default();
            if meanwhile {
                let fake = &scene.bench.fake;
                watcher = Watcher::act(fake, "updating", 1, other_stack_with_newest_web);
            } else {
                scene.bench.fake.world(other_stack_with_newest_web);
            }
            let says = &["web is unhealthy", "the previous images run again"];
            check(&scene, &Order::default(), &watcher, &failed(2, WEB, says));
            assert_eq!(before.images(), scene.look().images(), "{era:?}");
            let tag = scene
                .bench
                .fake
                .world(|world| world.local_id("ghcr.io/acme/web:1", 1));
            assert_eq!(tag, Some(new), "{era:?}");
        }
    }
}

#[test]
fn rolls_back_an_image_that_was_pulled_by_another_and_cannot_start() {
    for era in Era::ALL {
        let scene = Scene::new(Sort::File, era);
        let before = scene.look();
        scene.push("web:1", Behaviour::CannotStart);
        scene
            .bench
            .fake
            .world(|world| world.pull("ghcr.io/acme/web:1", 1));
        let changed = after_rollback(era);
        let says = &["the previous images run again"];
        check(
            &scene,
            &Order::default(),
            &Watcher::default(),
            &failed(2, changed, says),
        );
        assert_eq!(before.images(), scene.look().images(), "{era:?}");
    }
}

#[test]
fn the_rollback_of_one_service_does_not_move_the_others() {
    for era in Era::ALL {
        let scene = Scene::new(Sort::File, era);
        let before = scene.look();
        let newer = scene.move_shared_tag();
        scene.push("web:1", Behaviour::CannotStart);
        let changed = after_rollback(era);
        let says = &["the previous images run again, "];
        let order = super::case::only("ghcr.io/acme/web:1");
        check(
            &scene,
            &order,
            &Watcher::default(),
            &failed(2, changed, says),
        );
        assert_eq!(before.images(), scene.look().images(), "{era:?}");
        let tag = scene.bench.fake.world(|world| world.local_id(SHARED, 1));
        assert_eq!(tag, Some(newer), "{era:?}");
    }
}

#[test]
fn one_refused_service_of_several_is_no_reason_to_force_the_first_one_again() {
    let order = || {
        let mut order = super::case::only("ghcr.io/acme/web:1");
        let more = super::case::only("ghcr.io/acme/shared:1");
        order.merge(more);
        order
    };
    for (fault, outcome) in [
        (
            Fault::Answer(503, "text/html", "<html>".to_owned()),
            Outcome::Unknown,
        ),
        (Fault::CloseBefore, Outcome::Unknown),
        (
            Fault::Answer(
                409,
                "application/json",
                r#"{"message":"busy","details":"busy"}"#.to_owned(),
            ),
            Outcome::Failed,
        ),
        (
            Fault::Answer(
                401,
                "application/json",
                r#"{"message":"no","details":"no"}"#.to_owned(),
            ),
            Outcome::Failed,
        ),
    ] {
        let scene = Scene::new(Sort::Swarm, Era::A);
        scene.push("web:1", GOOD);
        scene.push("shared:1", Behaviour::Runs);
        let path = "/api/endpoints/1/forceupdateservice";
        scene
            .bench
            .fake
            .fault(When::nth(2, "PUT", path), fault.clone());
        let played = play(&scene, &order(), &Watcher::default(), || ());
        let report = &played.report;
        assert_eq!(
            (report.outcome, played.puts),
            (outcome, 2),
            "{fault:?} {report:?}"
        );
        assert_eq!(played.never, [""; 0], "{fault:?} {report:?}");
        assert!(!report.message.contains("nothing was sent"), "{report:?}");
    }
    let scene = Scene::new(Sort::Swarm, Era::A);
    scene.push("web:1", GOOD);
    scene.push("shared:1", Behaviour::Runs);
    check(
        &scene,
        &order(),
        &Watcher::default(),
        &updated(2, &["web", "worker"], &["2 of 3"]),
    );
}

#[test]
fn a_portainer_that_goes_away_between_two_services_is_no_reason_to_begin_again() {
    let scene = Scene::new(Sort::Swarm, Era::A);
    scene.push("web:1", GOOD);
    scene.push("shared:1", Behaviour::Runs);
    let mut order = super::case::only("ghcr.io/acme/web:1");
    order.merge(super::case::only("ghcr.io/acme/shared:1"));
    let (fake, gate) = (&scene.bench.fake, Gate::default());
    let path = "/api/endpoints/1/forceupdateservice";
    fake.fault(When::next("PUT", path), Fault::Hold(gate.clone()));
    let report = thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..4_000 {
                if !fake.puts().is_empty() {
                    break;
                }
                thread::sleep(Duration::from_millis(5));
            }
            fake.stop_listening();
            gate.open();
        });
        scene.bench.run(&order)
    });
    assert_eq!(
        (report.outcome, fake.puts().len()),
        (Outcome::Failed, 1),
        "{report:?}"
    );
    assert!(!report.message.contains("nothing was sent"), "{report:?}");
}

/// One named image of a swarm stack, with a variable for all of it.
fn with_greeting() -> Order {
    let mut order = super::case::only("ghcr.io/acme/web:1");
    order.set = [("GREETING".to_owned(), "good day".to_owned())].into();
    order
}

const FORCE: &str = "/api/endpoints/1/forceupdateservice";

#[test]
fn a_lost_answer_about_one_service_is_looked_up_and_the_next_one_is_sent() {
    for era in Era::ALL {
        for fault in [Fault::CloseAfter, Fault::GaveUp(504)] {
            let scene = Scene::new(Sort::Swarm, era);
            scene.push("web:1", GOOD);
            scene.push("shared:1", Behaviour::Runs);
            let mut order = super::case::only("ghcr.io/acme/web:1");
            order.merge(super::case::only("ghcr.io/acme/shared:1"));
            scene.bench.fake.fault(When::next("PUT", FORCE), fault);
            let should = updated(2, &["web", "worker"], &["2 of 3"]);
            check(&scene, &order, &Watcher::default(), &should);
        }
    }
}

#[test]
fn variables_that_arrive_without_an_answer_do_not_stand_for_the_image() {
    for era in Era::ALL {
        let mut scene = Scene::new(Sort::Swarm, era);
        let before = scene.look();
        scene.push("web:1", GOOD);
        scene.env = Some(vec![
            ("TAG".to_owned(), "1".to_owned()),
            ("GREETING".to_owned(), "good day".to_owned()),
        ]);
        let fake = &scene.bench.fake;
        fake.fault(When::next("PUT", "/api/stacks/"), Fault::CloseAfter);
        let should = updated(2, WEB, &["1 of 3"]);
        check(&scene, &with_greeting(), &Watcher::default(), &should);
        assert_ne!(before.images(), scene.look().images(), "{era:?}");
    }
}

#[test]
fn an_image_that_never_arrived_is_not_called_updated_because_the_variables_did() {
    for era in Era::ALL {
        let scene = Scene::new(Sort::Swarm, era);
        scene.push("web:1", GOOD);
        let fake = &scene.bench.fake;
        fake.fault(When::next("PUT", FORCE), Fault::CloseBefore);
        let kept = Kept::default();
        let context = scene.bench.context(&kept);
        let report = redeploy::run(&context, &scene.bench.stack, &with_greeting());
        assert_eq!(report.outcome, Outcome::Unknown, "{era:?} {report:?}");
        // Nor after a crash at that point.
        let submission = kept.0.lock().unwrap().take().unwrap();
        let report = redeploy::resume(&context, &scene.bench.stack, submission);
        assert_eq!(report.outcome, Outcome::Unknown, "{era:?} {report:?}");
        assert_eq!(fake.puts().len(), 2, "{era:?}");
    }
}
