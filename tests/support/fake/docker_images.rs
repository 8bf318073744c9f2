//! Images through the Docker API: local images, pulls, tags, removal, and the `distribution` call to a registry.

use serde_json::{Value, json};

use super::engine::EngineStyle;
use super::filters::Filters;
use super::http::{Answer, Request};
use super::image::{ImageId, Reference, StoredRegistry};
use super::record::EnvironmentId;
use super::time::{rfc3339, seconds};
use super::world::World;

impl World {
    fn held(&mut self, environment: EnvironmentId, name: &str) -> Result<ImageId, Answer> {
        let found = self.engine_of(environment).find_image(name);
        found.ok_or_else(|| Answer::docker_error(404, &format!("No such image: {name}")))
    }

    fn image_json(&mut self, environment: EnvironmentId, id: &str) -> Value {
        let created = self.catalogue[id].created;
        let style = self.engine_style;
        let local = self.engine_of(environment).images[id].clone();
        let mut digests = local.digests.clone();
        if style.is_containerd() {
            let repositories = local.tags.iter().filter_map(|tag| tag.rsplit_once(':'));
            digests.extend(repositories.map(|(repository, _)| format!("{repository}@{id}")));
        }
        let mut image = json!({
            "Id": id, "RepoTags": local.tags, "RepoDigests": digests, "Created": rfc3339(Some(created)),
            "Os": "linux", "Architecture": "amd64", "Size": 2_473_213,
            "Metadata": { "LastTagTime": rfc3339(Some(created)) },
        });
        if style.is_containerd() {
            let kind = match local.pulled_from.is_empty() {
                true => "application/vnd.oci.image.manifest.v1+json",
                false => "application/vnd.oci.image.index.v1+json",
            };
            image["Descriptor"] = json!({ "mediaType": kind, "digest": id, "size": 697 });
        } else {
            image["Parent"] = json!("");
            image["VirtualSize"] = json!(2_473_213);
            image["GraphDriver"] = json!({ "Data": {}, "Name": "overlay2" });
        }
        if style == EngineStyle::Docker29 && !local.pulled_from.is_empty() {
            let from = local.pulled_from.iter();
            let pull: Vec<Value> = from.map(|from| json!({ "Repository": from })).collect();
            image["Identity"] = json!({ "Pull": pull });
        }
        image
    }

    pub(super) fn inspect_image(&mut self, environment: EnvironmentId, name: &str) -> Answer {
        match self.held(environment, name) {
            Ok(id) => Answer::json(200, &self.image_json(environment, &id)),
            Err(_) if self.engine_style == EngineStyle::Docker20 && name.starts_with("sha256:") => {
                Answer::docker_error(
                    404,
                    &format!("no such image: {name}: No such image: {name}"),
                )
            }
            Err(refusal) => refusal,
        }
    }

    pub(super) fn list_images(&mut self, environment: EnvironmentId, request: &Request) -> Answer {
        let filters = match Filters::of(request) {
            Ok(filters) => filters,
            Err(refusal) => return refusal,
        };
        let ids: Vec<ImageId> = self.engine_of(environment).images.keys().cloned().collect();
        let mut rows = Vec::new();
        for id in ids {
            let local = &self.engine_of(environment).images[&id];
            let named = |reference: &str| {
                local.tags.iter().any(|tag| {
                    tag == reference || tag.rsplit_once(':').is_some_and(|(r, _)| r == reference)
                }) || local
                    .digests
                    .iter()
                    .any(|d| d.split_once('@').is_some_and(|(r, _)| r == reference))
            };
            if filters.matches("reference", named) {
                let mut row = self.image_json(environment, &id);
                for (names, separator) in [("RepoTags", ':'), ("RepoDigests", '@')] {
                    let names = row[names].as_array_mut().unwrap();
                    // A list shows only the names that match the filter.
                    names.retain(|name| {
                        let name = name.as_str().unwrap();
                        filters.matches("reference", |wanted| {
                            let repository = name.rsplit_once(separator).map(|(first, _)| first);
                            name == wanted || repository == Some(wanted)
                        })
                    });
                }
                row["Containers"] = json!(if self.engine_style.is_containerd() {
                    0
                } else {
                    -1
                });
                row["SharedSize"] = json!(-1);
                row["Labels"] = json!({});
                row["ParentId"] = json!("");
                row["Created"] = json!(seconds(self.catalogue[&id].created));
                if row["RepoTags"] == json!([]) {
                    row["RepoTags"] = Value::Null;
                }
                rows.push(row);
            }
        }
        Answer::json(200, &Value::Array(rows))
    }

    pub(super) fn pull_image(&mut self, environment: EnvironmentId, request: &Request) -> Answer {
        let (from, tag) = (
            request.query("fromImage").unwrap_or_default(),
            request.query("tag").unwrap_or_default(),
        );
        let name = match (tag.is_empty(), tag.starts_with("sha256:")) {
            (true, _) => from.to_owned(),
            (false, true) => format!("{from}@{tag}"),
            (false, false) => format!("{from}:{tag}"),
        };
        let Some(reference) = Reference::parse(&name) else {
            return Answer::docker_error(400, "invalid reference format");
        };
        let auth = request.header("x-registry-auth");
        if self.era.reports_bad_registry_auth() && auth.is_some_and(|auth| base64(auth).is_none()) {
            return Answer::error(
                500,
                "Unable to proxy the request via the Docker socket",
                "Illegal base64 data at input byte 0",
            );
        }
        let credentials = auth.and_then(|auth| self.stored_by_header(auth)).cloned();
        let id = match self.registries.resolve(&reference, credentials.as_ref()) {
            Ok(id) => id,
            // Podman begins its answer before it contacts the registry.
            Err(error) if self.engine_style == EngineStyle::Podman => {
                let line =
                    json!({ "errorDetail": { "message": error.message }, "error": error.message });
                return Answer::new(200, "application/json", format!("{line}\r\n"));
            }
            Err(error) => return Answer::docker_error(error.status, &error.message),
        };
        let digest = self.digest(&id);
        let before = self
            .engine_of(environment)
            .find_image(&reference.familiar());
        self.engine_of(environment)
            .receive(&reference, &id, &digest);
        let short = reference
            .repository
            .strip_prefix("library/")
            .unwrap_or(&reference.repository);
        let mut lines = vec![
            json!({ "status": format!("Pulling from {short}"), "id": reference.tag_or_latest() }),
        ];
        let news = if before.as_ref() == Some(&id) {
            "Image is up to date"
        } else {
            "Downloaded newer image"
        };
        if before.as_ref() != Some(&id) {
            lines.extend(layer_progress(&digest["sha256:".len()..][..12]));
        }
        lines.push(json!({ "status": format!("Digest: {digest}") }));
        lines.push(json!({ "status": format!("Status: {news} for {}", reference.familiar()) }));
        if self.engine_style == EngineStyle::Podman {
            let layer = &digest["sha256:".len()..][..12];
            lines = layer_progress(layer)[..2].to_vec();
            let short = &id["sha256:".len()..][..12];
            lines.push(json!({ "status": "Download complete", "progressDetail": {}, "id": short }));
        }
        let body: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
        Answer::new(200, "application/json", body)
    }

    /// The registry in `X-Registry-Auth`: padded standard base64 of `{"registryId":N}`; anything else means no credentials.
    fn stored_by_header(&self, header: &str) -> Option<&StoredRegistry> {
        let object: Value = serde_json::from_slice(&base64(header)?).ok()?;
        let id = object.get("registryId")?.as_i64()?;
        self.registries.stored.iter().find(|stored| stored.id == id)
    }

    pub(super) fn tag_image(
        &mut self,
        environment: EnvironmentId,
        name: &str,
        request: &Request,
    ) -> Answer {
        let id = match self.held(environment, name) {
            Ok(id) => id,
            Err(refusal) => return refusal,
        };
        let repository = request.query("repo").unwrap_or_default();
        let tag = request
            .query("tag")
            .filter(|tag| !tag.is_empty())
            .unwrap_or("latest");
        match Reference::parse(&format!("{repository}:{tag}")) {
            Some(reference) => {
                self.engine_of(environment).tag(&reference, &id);
                Answer::empty(201)
            }
            None => Answer::docker_error(400, "invalid reference format"),
        }
    }

    pub(super) fn delete_image(
        &mut self,
        environment: EnvironmentId,
        name: &str,
        request: &Request,
    ) -> Answer {
        let id = match self.held(environment, name) {
            Ok(id) => id,
            Err(refusal) => return refusal,
        };
        let forced = request
            .query("force")
            .is_some_and(|f| matches!(f, "1" | "true"));
        let now = self.now();
        let engine = self.engine_of(environment);
        let user = engine.containers.iter().find(|c| c.image == id);
        let by_id = !engine.images[&id]
            .tags
            .iter()
            .any(|tag| Reference::parse(name).is_some_and(|r| r.familiar() == *tag));
        let short = &id["sha256:".len()..][..12];
        if let Some(container) = user.filter(|c| !forced || c.life.look(now).state == "running") {
            let what = if matches!(container.life.look(now).state, "running" | "restarting") {
                format!(
                    "conflict: unable to delete {short} (cannot be forced) - image is being used by running container {}",
                    &container.id[..12]
                )
            } else {
                format!(
                    "conflict: unable to delete {short} (must be forced) - image is being used by stopped container {}",
                    &container.id[..12]
                )
            };
            return Answer::docker_error(409, &what);
        }
        if by_id && engine.images[&id].tags.len() > 1 && !forced {
            let what = format!(
                "conflict: unable to delete {short} (must be forced) - image is referenced in multiple repositories"
            );
            return Answer::docker_error(409, &what);
        }
        let mut gone = Vec::new();
        if by_id || engine.images[&id].tags.len() == 1 {
            let local = engine.images.remove(&id).unwrap();
            gone.extend(
                local
                    .tags
                    .iter()
                    .chain(&local.digests)
                    .map(|tag| json!({ "Untagged": tag })),
            );
            gone.push(json!({ "Deleted": id }));
        } else {
            let tag = Reference::parse(name).unwrap().familiar();
            engine.images.get_mut(&id).unwrap().tags.remove(&tag);
            gone.push(json!({ "Untagged": tag }));
        }
        Answer::json(200, &Value::Array(gone))
    }

    /// The digest in the registry; Portainer does not send stored credentials with this call.
    pub(super) fn distribution(&self, name: &str) -> Answer {
        let Some(reference) = Reference::parse(name) else {
            return Answer::docker_error(400, "invalid reference format");
        };
        match self.registries.resolve(&reference, None) {
            Ok(id) => Answer::json(
                200,
                &json!({
                    "Descriptor": {
                        "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
                        "digest": self.catalogue[&id].digest,
                        "size": 528,
                    },
                    "Platforms": [{ "architecture": "amd64", "os": "linux" }],
                }),
            ),
            Err(error) if error.status == 404 => {
                Answer::docker_error(404, "manifest unknown: manifest unknown")
            }
            Err(error) if error.message.ends_with("no basic auth credentials") => {
                let Reference {
                    host, repository, ..
                } = &reference;
                let tag = reference.tag_or_latest();
                let scheme = match host.starts_with("127.") {
                    true => "http",
                    false => "https",
                };
                Answer::docker_error(
                    500,
                    &format!(
                        "Head \"{scheme}://{host}/v2/{repository}/manifests/{tag}\": no basic auth credentials"
                    ),
                )
            }
            Err(error) => Answer::docker_error(error.status, &error.message),
        }
    }
}

fn layer_progress(layer: &str) -> [Value; 4] {
    let line = |status: &str| json!({ "status": status, "progressDetail": {}, "id": layer });
    let mut downloading = line("Downloading");
    downloading["progressDetail"] = json!({ "current": 36_445, "total": 2_473_213 });
    downloading["progress"] = json!("[>      ]  36.45kB/2.473MB");
    [
        line("Pulling fs layer"),
        downloading,
        line("Verifying Checksum"),
        line("Pull complete"),
    ]
}

/// Standard base64 with padding, and nothing else.
fn base64(text: &str) -> Option<Vec<u8>> {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    if !text.len().is_multiple_of(4) {
        return None;
    }
    let bare = text.trim_end_matches('=');
    if text.len() - bare.len() > 2 {
        return None;
    }
    let mut out = Vec::new();
    let (mut bits, mut count) = (0u32, 0);
    for letter in bare.bytes() {
        let six = LETTERS.iter().position(|l| *l == letter)?;
        bits = (bits << 6) | u32::try_from(six).unwrap();
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push(u8::try_from((bits >> count) & 0xff).unwrap());
        }
    }
    Some(out)
}
