//! One Docker engine: its images and containers. Access control is Portainer's task.

use std::collections::{BTreeMap, BTreeSet};

use super::image::{ImageId, Reference};
use super::life::{Life, Phase};
use super::time::{Millis, millis};

/// The label of a container that `compose run` created.
pub(super) const ONE_OFF: &str = "com.docker.compose.oneoff";

/// A container with its compose labels.
#[derive(Clone, Debug)]
pub(super) struct Container {
    pub(super) id: String,
    /// The name without Docker's leading slash.
    pub(super) name: String,
    /// The compose project; empty without one.
    pub(super) project: String,
    pub(super) service: String,
    pub(super) number: u32,
    /// `Config.Image`: the reference that it was created from.
    pub(super) reference: String,
    pub(super) image: ImageId,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) environment: Vec<String>,
    pub(super) config_hash: String,
    pub(super) ports: Vec<String>,
    pub(super) created: Millis,
    /// The time that stopping takes (ms).
    pub(super) stop: Millis,
    pub(super) log: Vec<String>,
    pub(super) life: Life,
}

impl Container {
    /// Ends the process now, as after SIGTERM.
    pub(super) fn end(&mut self, at: Millis) {
        let look = self.life.look(at);
        if let (Phase::Started(started), true) = (self.life.phase, look.state != "exited") {
            self.life.phase = Phase::Stopped {
                started,
                at,
                code: 0,
            };
        }
    }
}

/// The release that the engines imitate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum EngineStyle {
    /// Docker 20.10 with a graph driver.
    #[default]
    Docker20,
    /// Docker 27 with the containerd image store: the origin of an image is not recorded.
    Docker27,
    /// Docker 29 with the containerd image store.
    Docker29,
    /// Podman's Docker API.
    Podman,
}

impl EngineStyle {
    /// Tells whether image ids are digests of indexes or manifests.
    pub(super) fn is_containerd(self) -> bool {
        matches!(self, EngineStyle::Docker27 | EngineStyle::Docker29)
    }

    /// Version and API version.
    pub(super) fn versions(self) -> (&'static str, &'static str) {
        match self {
            EngineStyle::Docker20 => ("20.10.24+dfsg1", "1.41"),
            EngineStyle::Docker27 => ("27.5.1", "1.47"),
            EngineStyle::Docker29 => ("29.7.2", "1.55"),
            EngineStyle::Podman => ("5.2.2", "1.41"),
        }
    }
}

/// An image on an engine.
#[derive(Clone, Debug, Default)]
pub(super) struct Local {
    /// `repository:tag`, as Docker prints it.
    pub(super) tags: BTreeSet<String>,
    /// `repository@sha256:…`; empty for an image that was built on this host.
    pub(super) digests: BTreeSet<String>,
    /// The repositories that it was pulled from, without the registry's port.
    pub(super) pulled_from: BTreeSet<String>,
}

/// One engine.
#[derive(Debug, Default)]
pub(super) struct Engine {
    pub(super) images: BTreeMap<ImageId, Local>,
    pub(super) containers: Vec<Container>,
    /// Host ports that another program uses, `127.0.0.1:5000`.
    pub(super) taken_ports: BTreeSet<String>,
    /// True if the daemon does not answer.
    pub(super) unreachable: bool,
}

impl Engine {
    /// The image behind an id, a short id, a digest reference or a tag.
    pub(super) fn find_image(&self, text: &str) -> Option<ImageId> {
        let hex = text.strip_prefix("sha256:").unwrap_or(text);
        if hex.len() >= 12 && hex.bytes().all(|b| b.is_ascii_hexdigit()) {
            let found = self
                .images
                .keys()
                .find(|id| id["sha256:".len()..].starts_with(hex));
            if found.is_some() {
                return found.cloned();
            }
        }
        let reference = Reference::parse(text)?;
        let wanted = match &reference.digest {
            Some(digest) => format!("{}@{digest}", reference.familiar_repository()),
            None => reference.familiar(),
        };
        let by_id = |id: &str, local: &Local| {
            let prefix = format!("{}:", reference.familiar_repository());
            reference.digest.as_deref() == Some(id)
                && local.tags.iter().any(|tag| tag.starts_with(&prefix))
        };
        let found = self.images.iter().find(|(id, local)| {
            local.tags.contains(&wanted) || local.digests.contains(&wanted) || by_id(id, local)
        });
        found.map(|(id, _)| id.clone())
    }

    /// Moves a tag to this image.
    pub(super) fn tag(&mut self, reference: &Reference, id: &str) {
        let tag = reference.familiar();
        for local in self.images.values_mut() {
            local.tags.remove(&tag);
        }
        self.images
            .entry(id.to_owned())
            .or_default()
            .tags
            .insert(tag);
    }

    /// Stores a pulled image.
    pub(super) fn receive(&mut self, reference: &Reference, id: &str, digest: &str) {
        if reference.digest.is_none() {
            self.tag(reference, id);
        }
        let local = self.images.entry(id.to_owned()).or_default();
        // In the containerd store the digests are derived from the tags.
        if id != digest || reference.digest.is_some() {
            local
                .digests
                .insert(format!("{}@{digest}", reference.familiar_repository()));
        }
        let host = reference.host.split(':').next().unwrap_or_default();
        local
            .pulled_from
            .insert(format!("{host}/{}", reference.repository));
    }

    /// Finds a container by id, by a prefix of its id, or by name.
    pub(super) fn find(&self, text: &str) -> Option<&Container> {
        let text = text.trim_start_matches('/');
        self.containers
            .iter()
            .find(|c| c.id == text || c.name == text || (text.len() >= 8 && c.id.starts_with(text)))
    }

    pub(super) fn get_mut(&mut self, id: &str) -> Option<&mut Container> {
        self.containers.iter_mut().find(|c| c.id == id)
    }

    pub(super) fn remove(&mut self, id: &str) {
        self.containers.retain(|c| c.id != id);
    }

    /// The containers of a compose project, including one-off ones.
    pub(super) fn project<'a>(&'a self, project: &'a str) -> impl Iterator<Item = &'a Container> {
        self.containers.iter().filter(move |c| c.project == project)
    }

    /// The containers that `up` manages.
    pub(super) fn services<'a>(&'a self, project: &'a str) -> impl Iterator<Item = &'a Container> {
        self.project(project)
            .filter(|c| c.labels.get(ONE_OFF).is_none_or(|yes| yes == "False"))
            .filter(|c| {
                let has = |label| {
                    c.labels
                        .contains_key(&format!("com.docker.compose.{label}"))
                };
                has("service") && has("config-hash")
            })
    }

    /// The time that stopping a container takes at `now`: 0 if it does not run.
    pub(super) fn stop_time(&self, id: &str, now: Millis) -> Millis {
        self.find(id).map_or(0, |c| {
            if c.life.look(now).state == "running" {
                c.stop
            } else {
                0
            }
        })
    }

    /// A host port that a container needs and another program uses.
    pub(super) fn port_clash(&self, id: &str, now: Millis) -> Option<String> {
        let wanted = &self.find(id)?.ports;
        let held = |port: &String| {
            self.taken_ports.contains(port)
                || self.containers.iter().any(|c| {
                    c.id != id
                        && c.ports.contains(port)
                        && matches!(c.life.look(now).state, "running" | "restarting")
                })
        };
        wanted.iter().find(|port| held(port)).cloned()
    }
}

/// The time that a container takes to stop: the time of its process, at most the grace period.
pub(super) fn stop_time(needs: std::time::Duration, grace: std::time::Duration) -> Millis {
    millis(needs.min(grace))
}
