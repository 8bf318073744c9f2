//! The faults of the matrix, one variant for each kind.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::fake::{Behaviour, Era, Fake, Fault, Gate, When, World};
use crate::image::Reference;
use crate::redeploy::bench::{GOOD, Watcher};
use crate::redeploy::matrix::scene::{FILE, Look, Scene, Sort};
use crate::stack::order::{Cause, ImageFilter, Order, Selection};

/// The event in a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Case {
    /// Every service has a newer image, and all become healthy.
    AllNewer,
    /// No service has a newer image.
    NothingNewer,
    /// Only `web` has a newer image.
    OneNewer,
    /// A variable names a tag that does not exist.
    BadTag,
    /// The registry does not answer.
    RegistryDown,
    /// The registry asks for credentials, and Portainer has them.
    PrivateRegistry,
    /// The registry asks for credentials, and Portainer has none.
    LockedRegistry,
    /// The stack's file is not YAML.
    BrokenFile,
    /// The new image of `web` cannot be started.
    FailingUp,
    /// It never gets healthy.
    Unhealthy,
    /// It dies again and again.
    CrashLoop,
    /// The job's new image exits with 1.
    ExitsOne,
    /// The job's new image exits with 0.
    CompletesWithZero,
    /// The update is done, and the connection closes instead of the answer.
    LostConnection,
    /// The connection closes before Portainer has seen the update.
    LostBefore,
    /// A proxy gives up waiting.
    GatewayTimeout,
    /// Our own time is over while Portainer still deploys.
    TimeOut,
    /// Portainer says that another deployment is under way.
    Conflict,
    /// The API key is not known any more.
    DeadKey,
    /// The API key dies between the pull and the update.
    KeyDies,
    /// Portainer dies in the middle of the deployment and comes back.
    Restarted,
    /// The same, and nothing listens for a while.
    PortainerAway,
    /// The engine dies when the update is sent, and returns.
    EngineDies,
    /// The engine dies when the update is verified, and returns.
    EngineRestarts,
    /// The agent of the environment is away.
    EnvironmentDown,
    /// A person's variables are being deployed.
    SaveInProgress,
    /// A person changes a variable while we look.
    Edited,
    /// The Docker proxy refuses.
    ProxyRefused,
    /// The container list is empty, before and after.
    EmptyList,
    /// Another stack has moved the shared tag, and the order is about `web` alone.
    SharedTag,
}

const DOCKER: &str = "/api/endpoints/1/docker/";
const UPDATE: &str = "/api/stacks/";

impl Case {
    pub(super) const ALL: [Case; 30] = [
        Case::AllNewer,
        Case::NothingNewer,
        Case::OneNewer,
        Case::BadTag,
        Case::RegistryDown,
        Case::PrivateRegistry,
        Case::LockedRegistry,
        Case::BrokenFile,
        Case::FailingUp,
        Case::Unhealthy,
        Case::CrashLoop,
        Case::ExitsOne,
        Case::CompletesWithZero,
        Case::LostConnection,
        Case::LostBefore,
        Case::GatewayTimeout,
        Case::TimeOut,
        Case::Conflict,
        Case::DeadKey,
        Case::KeyDies,
        Case::Restarted,
        Case::PortainerAway,
        Case::EngineDies,
        Case::EngineRestarts,
        Case::EnvironmentDown,
        Case::SaveInProgress,
        Case::Edited,
        Case::ProxyRefused,
        Case::EmptyList,
        Case::SharedTag,
    ];

    /// Lets it happen, or be about to.
    pub(super) fn prepare(self, scene: &mut Scene) -> (Order, Watcher) {
        let mut order = Order::default();
        let mut watcher = Watcher::default();
        let crash = Behaviour::CrashLoop {
            every: Duration::from_millis(500),
            code: 3,
        };
        match self {
            Case::AllNewer => {
                newer(scene, GOOD);
                scene.push("job:1", Behaviour::ExitsOnce { code: 0 });
                scene.push("shared:1", Behaviour::Runs);
            }
            Case::NothingNewer => {
                let commit = scene.bench.fake.world(|world| {
                    let stack = world.stack("web-stack");
                    stack.git.as_ref().map(|git| git.config_hash.clone())
                });
                if commit.is_some() {
                    order.cause = Cause::Push(commit);
                }
            }
            Case::OneNewer => newer(scene, GOOD),
            Case::BadTag => {
                order.set = [("TAG".to_owned(), "9".to_owned())].into();
            }
            Case::RegistryDown => {
                newer(scene, GOOD);
                let down = |world: &mut World| world.registry_down("ghcr.io", true);
                scene.bench.fake.world(down);
            }
            Case::PrivateRegistry => {
                newer(scene, GOOD);
                scene.bench.fake.world(|world| {
                    world.registry_private("ghcr.io", "robot", "pw-sentinel-registry")
                });
            }
            Case::LockedRegistry => {
                newer(scene, GOOD);
                scene.bench.fake.world(|world| {
                    world.registry_locked("ghcr.io", "robot", "pw-sentinel-registry")
                });
            }
            Case::BrokenFile => {
                let file = FILE.replace("services:", "services: [");
                scene.bench.fake.world(|world| match scene.sort {
                    Sort::File | Sort::Swarm => world.stack_mut(scene.stack).file = file,
                    Sort::Git => drop(world.commit(scene.stack, &file)),
                });
            }
            Case::FailingUp => newer(scene, Behaviour::CannotStart),
            Case::Unhealthy => newer(scene, Behaviour::NeverHealthy),
            Case::CrashLoop => newer(scene, crash),
            Case::ExitsOne => drop(scene.push("job:1", Behaviour::ExitsOnce { code: 1 })),
            Case::CompletesWithZero => drop(scene.push("job:1", Behaviour::ExitsOnce { code: 0 })),
            Case::LostConnection => {
                newer(scene, GOOD);
                on_update(scene, Fault::CloseAfter);
            }
            Case::LostBefore => {
                newer(scene, GOOD);
                on_update(scene, Fault::CloseBefore);
            }
            Case::GatewayTimeout => {
                newer(scene, GOOD);
                on_update(scene, Fault::GaveUp(504));
            }
            Case::TimeOut => {
                newer(scene, GOOD);
                if scene.era >= Era::C {
                    scene
                        .bench
                        .fake
                        .world(|world| world.pace.create = Duration::from_secs(3600));
                } else {
                    // The client's own time is real: no clock skips what a socket waits for.
                    on_update(scene, Fault::Hold(Gate::default()));
                    scene.bench.timeout = Duration::from_secs(3);
                }
            }
            Case::Conflict => {
                newer(scene, GOOD);
                let words = r#"{"message":"Unable to update stack","details":"Stack deployment is already in progress"}"#;
                on_update(
                    scene,
                    Fault::Answer(409, "application/json", words.to_owned()),
                );
            }
            Case::DeadKey => {
                newer(scene, GOOD);
                scene.bench.fake.world(|world| world.revoke_keys(1));
            }
            Case::KeyDies => {
                newer(scene, GOOD);
                watcher = Watcher::act(&scene.bench.fake, "updating", 1, |world| {
                    world.revoke_keys(1);
                });
            }
            Case::Restarted if scene.sort == Sort::Swarm => {
                newer(scene, GOOD);
                watcher = Watcher::act(&scene.bench.fake, "updating", 1, |world| {
                    world.portainer_dies();
                });
            }
            Case::Restarted => {
                newer(scene, GOOD);
                scene
                    .bench
                    .fake
                    .world(|world| world.dies_in_next_deploy = true);
            }
            Case::PortainerAway => {
                newer(scene, GOOD);
                let begin = match scene.sort {
                    // It takes the services at once, so that it can only be away before.
                    Sort::Swarm => "updating the stack",
                    Sort::File | Sort::Git => {
                        let dies = |world: &mut World| world.dies_in_next_deploy = true;
                        scene.bench.fake.world(dies);
                        "waiting for the deployment"
                    }
                };
                let leave = Fake::stop_listening;
                watcher = Watcher::away(&scene.bench.fake, begin, 20, leave, Fake::start_listening);
            }
            Case::EngineDies | Case::EngineRestarts => {
                newer(scene, GOOD);
                let begin = match self {
                    Case::EngineDies => "updating the stack",
                    // The job has ended by then.
                    _ => "waiting for w",
                };
                let die = |fake: &Fake| fake.world(|world| world.engine_dies(1));
                let return_ = |fake: &Fake| fake.world(|world| world.engine_returns(1));
                watcher = Watcher::away(&scene.bench.fake, begin, 20, die, return_);
            }
            Case::EnvironmentDown => {
                newer(scene, GOOD);
                let down = |world: &mut World| world.environment_down(1, true);
                scene.bench.fake.world(down);
            }
            Case::SaveInProgress => {
                newer(scene, GOOD);
                let (stack, sort) = (scene.stack, scene.sort);
                scene.bench.fake.world(|world| {
                    if sort != Sort::Swarm {
                        let web = world.container("web-stack", "web").id;
                        world.slow_to_stop(&web, Duration::from_secs(5));
                    }
                    world.person_saves(stack, edited());
                });
            }
            Case::Edited => {
                newer(scene, GOOD);
                let stack = scene.stack;
                watcher = Watcher::act(&scene.bench.fake, "inspecting", 1, move |world| {
                    let stack = world.stack_mut(stack);
                    stack.update_date += 1;
                    stack.env = edited();
                });
            }
            Case::ProxyRefused => {
                newer(scene, GOOD);
                let words = r#"{"message":"Access denied to resource","details":"Access denied to resource"}"#;
                let refused = || Fault::Answer(403, "application/json", words.to_owned());
                scene.bench.fake.fault(When::every("*", DOCKER), refused());
            }
            Case::EmptyList => {
                newer(scene, GOOD);
                let none = Fault::Answer(200, "application/json", "[]".to_owned());
                let list = match scene.sort {
                    Sort::File | Sort::Git => format!("{DOCKER}containers/json"),
                    Sort::Swarm => format!("{DOCKER}services"),
                };
                scene.bench.fake.fault(When::every("GET", &list), none);
            }
            Case::SharedTag => {
                newer(scene, GOOD);
                scene.move_shared_tag();
                order = only("ghcr.io/acme/web:1");
            }
        }
        (order, watcher)
    }

    /// The variables that the stack must have at the end.
    pub(super) fn env(self, sort: Sort, before: &Look) -> Option<Vec<(String, String)>> {
        match self {
            // A swarm's update is taken, whatever the swarm makes of it.
            Case::BadTag if sort == Sort::Swarm => {
                let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
                Some(vec![pair("TAG", "9"), pair("GREETING", "hello")])
            }
            Case::Edited | Case::SaveInProgress => edited(),
            _ => before.env.clone(),
        }
    }

    /// Returns true if the next update must succeed, because no image is at fault.
    pub(super) fn next_succeeds(self, sort: Sort, era: Era) -> bool {
        // Portainer takes the failed stack down, and the images on the nodes of a Swarm are unknown.
        let is_refused = self == Case::EngineDies && sort == Sort::Swarm && era == Era::D;
        !is_refused
            && matches!(
                self,
                Case::Restarted
                    | Case::PortainerAway
                    | Case::EngineDies
                    | Case::EngineRestarts
                    | Case::EnvironmentDown
                    | Case::SaveInProgress
                    | Case::LostBefore
                    | Case::LostConnection
                    | Case::Edited
            )
    }

    /// Returns true if a service that ran may be left without a running container.
    pub(super) fn may_leave_down(self, sort: Sort) -> bool {
        match self {
            // Git stacks cannot be rolled back.
            Case::FailingUp | Case::Restarted | Case::PortainerAway => sort == Sort::Git,
            // Swarm itself rolls a service back, where its `update_config` asks for that.
            Case::CrashLoop | Case::ExitsOne => sort == Sort::Swarm,
            _ => false,
        }
    }

    pub(super) fn afterwards(self, scene: &Scene) {
        scene.bench.fake.heal();
        let up = |world: &mut World| world.environment_down(1, false);
        scene.bench.fake.world(up);
        // Without an inspection, nothing has waited for the swarm.
        if matches!(self, Case::ProxyRefused | Case::EmptyList) {
            let ahead = scene.bench.fake.clock();
            ahead.fetch_add(10_000, Ordering::SeqCst);
        }
    }
}

fn newer(scene: &Scene, behaviour: Behaviour) {
    scene.push("web:1", behaviour);
}

fn on_update(scene: &Scene, fault: Fault) {
    scene.bench.fake.fault(When::next("PUT", UPDATE), fault);
}

/// An order about one image.
pub(super) fn only(image: &str) -> Order {
    let image = ImageFilter::Reference(Reference::parse(image).unwrap());
    Order {
        images: Selection::Only(vec![image]),
        ..Order::default()
    }
}

fn edited() -> Option<Vec<(String, String)>> {
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    Some(vec![pair("TAG", "1"), pair("GREETING", "good day")])
}
