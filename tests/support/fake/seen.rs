//! Views for tests: the stacks' records and the current state of their containers.

use super::image::ImageId;
use super::life::Phase;
use super::record::{Stack, StackId};
use super::time::millis;
use super::world::World;

/// The state of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Compose service.
    pub(crate) service: String,
    /// Name without slash.
    pub(crate) name: String,
    /// Container id.
    pub(crate) id: String,
    /// `Config.Image`.
    pub(crate) image_ref: String,
    /// Id of the image it runs.
    pub(crate) image_id: ImageId,
    /// `created`, `running`, `restarting`, `exited`.
    pub(crate) state: &'static str,
    /// `starting`, `healthy`, `unhealthy`; none without a health check.
    pub(crate) health: Option<&'static str>,
    /// Exit code of the last finished run.
    pub(crate) exit_code: i64,
    /// `RestartCount`.
    pub(crate) restarts: u32,
    /// The environment of its process, `NAME=value`.
    pub(crate) environment: Vec<String>,
}

impl World {
    /// A stack's record by name; panics if it does not exist.
    pub(crate) fn stack(&self, name: &str) -> &Stack {
        self.stacks
            .iter()
            .find(|s| s.name == name)
            .unwrap_or_else(|| panic!("no stack {name}"))
    }

    /// Sets the id of the next stack.
    pub(crate) fn next_stack_is(&mut self, id: StackId) {
        self.last_stack = id - 1;
    }

    /// A mutable stack record by id.
    pub(crate) fn stack_mut(&mut self, id: StackId) -> &mut Stack {
        self.stacks
            .iter_mut()
            .find(|s| s.id == id)
            .unwrap_or_else(|| panic!("no stack {id}"))
    }

    /// The containers of a compose stack on all engines, sorted by service and name.
    pub(crate) fn containers(&self, project: &str) -> Vec<Seen> {
        let now = self.now();
        let all = self
            .engines
            .iter()
            .flat_map(|engine| engine.project(project));
        let mut seen: Vec<Seen> = all
            .map(|c| {
                let look = c.life.look(now);
                Seen {
                    service: c.service.clone(),
                    name: c.name.clone(),
                    id: c.id.clone(),
                    image_ref: c.reference.clone(),
                    image_id: c.image.clone(),
                    state: look.state,
                    health: look.health.map(|(health, _)| health),
                    exit_code: look.exit_code,
                    restarts: look.restarts,
                    environment: c.environment.clone(),
                }
            })
            .collect();
        seen.sort_by(|a, b| (&a.service, &a.name).cmp(&(&b.service, &b.name)));
        seen
    }

    /// The only container of a service; panics if there are none or several.
    pub(crate) fn container(&self, project: &str, service: &str) -> Seen {
        let mut found: Vec<Seen> = self
            .containers(project)
            .into_iter()
            .filter(|c| c.service == service)
            .collect();
        assert_eq!(
            found.len(),
            1,
            "containers of {project}/{service}: {found:?}"
        );
        found.remove(0)
    }

    /// Stops a container, as `docker stop` on the host does.
    pub(crate) fn stop_container(&mut self, id: &str) {
        let now = self.now();
        self.engines
            .iter_mut()
            .find_map(|e| e.get_mut(id))
            .unwrap()
            .end(now);
    }

    /// Restarts a container, as `docker restart` does.
    pub(crate) fn restart_container(&mut self, id: &str) {
        let now = self.now();
        let container = self.engines.iter_mut().find_map(|e| e.get_mut(id)).unwrap();
        container.life.phase = Phase::Started(now);
    }

    /// Sets the time that a container takes to stop.
    pub(crate) fn slow_to_stop(&mut self, id: &str, takes: std::time::Duration) {
        let container = self.engines.iter_mut().find_map(|e| e.get_mut(id));
        container.unwrap().stop = millis(takes);
    }

    /// Puts a container back into the state `created`.
    pub(crate) fn unstart_container(&mut self, id: &str) {
        let mut engines = self.engines.iter_mut();
        let container = engines.find_map(|engine| engine.get_mut(id)).unwrap();
        container.life.phase = Phase::Created;
    }

    /// Removes a container, as `docker rm` on the host does.
    pub(crate) fn remove_container(&mut self, id: &str) {
        self.engines.iter_mut().for_each(|e| e.remove(id));
    }
}
