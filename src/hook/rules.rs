//! Rules: decide whether a hook acts on an event, and on which images. A refusal names the rule and the fact that the event states.

use super::{Hook, Rules};
use crate::event::{Event, EventRef, quoted};
use crate::glob;
use crate::image::Reference;
use crate::sender::{EventKind, Fact};
use crate::stack::order::{ImageFilter, Selection};

/// Selects the images of an event that all rules allow.
///
/// Errors: the rule that refuses the event, and the fact that it refuses.
pub(super) fn select_images(hook: &Hook, event: &Event) -> Result<Selection, String> {
    let rules = &hook.rules;
    let kind = hook.sender.event(&event.name);
    check_event(hook, event)?;
    check_ref(hook, kind, event)?;
    check_repository(hook, event)?;
    check_paths(rules, event)?;
    check_workflow(rules, kind, event)?;
    check_environment(rules, kind, event)?;
    if rules.ignore_prereleases && event.is_prerelease == Some(true) {
        return Err("the release is a prerelease, and rule \"prereleases\" is false".to_owned());
    }
    allowed_images(rules, event)
}

fn check_event(hook: &Hook, event: &Event) -> Result<(), String> {
    let default = hook.sender.default_events();
    let configured: Vec<&str> = hook.rules.events.iter().map(String::as_str).collect();
    let (wanted, source) = match configured.is_empty() {
        false => (configured, "rule \"events\" allows"),
        true if !default.is_empty() => (default, "acted on by default are"),
        true => return Ok(()),
    };
    if event.name.is_empty() {
        return Err(missing(hook, "events", "event"));
    }
    match wanted.contains(&event.name.as_str()) {
        true => Ok(()),
        false => Err(format!(
            "event {} is not wanted: {source} {}",
            quoted(&event.name),
            wanted.join(", ")
        )),
    }
}

/// `branches` and `tags` are one rule: each kind of ref is compared with the list for it, a ref of unknown kind with both lists.
fn check_ref(hook: &Hook, kind: Option<&EventKind>, event: &Event) -> Result<(), String> {
    let Rules { branches, tags, .. } = &hook.rules;
    if branches.is_empty() && tags.is_empty() {
        return Ok(());
    }
    let matches = |globs: &[String], name: &str| globs.iter().any(|glob| glob::matches(glob, name));
    let is_allowed = |own: &EventRef| match own {
        EventRef::Branch(name) => matches(branches, name),
        EventRef::Tag(name) | EventRef::ImageTag(name) => matches(tags, name),
        EventRef::Unknown(name) => matches(branches, name) || matches(tags, name),
    };
    if event.refs.iter().any(is_allowed) {
        return Ok(());
    }
    // A published image or release has no branch, so a rule about branches says nothing about it.
    if tags.is_empty() && kind.is_some_and(|kind| kind.is_publication) {
        return Ok(());
    }
    let Some(own) = event.refs.first() else {
        return Err(match tags.is_empty() {
            true => missing(hook, "branches", "branch"),
            false => missing(hook, "tags", "tag"),
        });
    };
    let lists: Vec<(&str, &[String])> = match own {
        EventRef::Branch(_) => vec![("branches", branches)],
        EventRef::Tag(_) | EventRef::ImageTag(_) => vec![("tags", tags)],
        EventRef::Unknown(_) => vec![("branches", branches), ("tags", tags)],
    };
    let set: Vec<String> = lists
        .into_iter()
        .filter(|(_, globs)| !globs.is_empty())
        .map(|(rule, globs)| format!("rule \"{rule}\" ({})", globs.join(", ")))
        .collect();
    Err(match set.is_empty() {
        false => format!("{} does not allow {own}", set.join(" and ")),
        true => {
            let only = if tags.is_empty() { "branches" } else { "tags" };
            format!("the event is about {own}, and only rule \"{only}\" is set")
        }
    })
}

fn check_repository(hook: &Hook, event: &Event) -> Result<(), String> {
    let globs = &hook.rules.repositories;
    if globs.is_empty() {
        return Ok(());
    }
    let Some(repository) = &event.repository else {
        return Err(missing(hook, "repositories", "repository"));
    };
    let lower = repository.to_lowercase();
    match globs
        .iter()
        .any(|glob| glob::matches(&glob.to_lowercase(), &lower))
    {
        true => Ok(()),
        false => Err(refusal("repositories", globs, "repository", repository)),
    }
}

/// A list of files that the sender cut short may lack the file that matters, so it is allowed.
fn check_paths(rules: &Rules, event: &Event) -> Result<(), String> {
    if rules.paths.is_empty() {
        return Ok(());
    }
    let Some(paths) = &event.paths else {
        return Err(
            "rule \"paths\" needs the changed files, and the event does not list them".to_owned(),
        );
    };
    let is_allowed = |file: &String| rules.paths.iter().any(|glob| glob::matches(glob, file));
    match !paths.is_complete || paths.files.iter().any(is_allowed) {
        true => Ok(()),
        false => Err(format!(
            "rule \"paths\" ({}) matches none of the {} changed files",
            rules.paths.join(", "),
            paths.files.len()
        )),
    }
}

/// Limits events that report a workflow; other events are not affected. The name, the path and the file name are compared.
fn check_workflow(rules: &Rules, kind: Option<&EventKind>, event: &Event) -> Result<(), String> {
    let globs = &rules.workflows;
    let matches = |name: &str| globs.iter().any(|glob| glob::matches(glob, name));
    let is_named = event.workflows.iter().any(|name| {
        let file = name.rsplit('/').next().unwrap_or(name);
        matches(name) || matches(file)
    });
    if is_named {
        return Ok(());
    }
    if event.is_chained {
        return Err(format!(
            "the run was started by another run, and rule \"workflows\" does not name {}",
            listed(&event.workflows)
        ));
    }
    let has_fact = !event.workflows.is_empty()
        || kind.is_some_and(|kind| kind.facts.contains(&Fact::Workflow));
    match (globs.is_empty() || !has_fact, event.workflows.is_empty()) {
        (true, _) => Ok(()),
        (false, true) => {
            Err("rule \"workflows\" needs a workflow, and the event names none".to_owned())
        }
        (false, false) => Err(format!(
            "rule \"workflows\" ({}) does not allow workflow {}",
            globs.join(", "),
            listed(&event.workflows)
        )),
    }
}

fn listed(names: &[String]) -> String {
    match names {
        [] => "it".to_owned(),
        names => {
            let names: Vec<String> = names.iter().map(|name| quoted(name)).collect();
            names.join(", ")
        }
    }
}

/// Limits events that report a deployment; other events are not affected.
fn check_environment(rules: &Rules, kind: Option<&EventKind>, event: &Event) -> Result<(), String> {
    let globs = &rules.deployment_environments;
    let has_fact = kind.is_some_and(|kind| kind.facts.contains(&Fact::Environment));
    if globs.is_empty() || !has_fact {
        return Ok(());
    }
    match &event.environment {
        None => Err(
            "rule \"deployment_environments\" needs an environment, and the event names none"
                .to_owned(),
        ),
        Some(name) if globs.iter().any(|glob| glob::matches(glob, name)) => Ok(()),
        Some(name) => Err(refusal(
            "deployment_environments",
            globs,
            "environment",
            name,
        )),
    }
}

/// `images` filters the images of an event. For an event without images, the rule itself says which images are pulled.
fn allowed_images(rules: &Rules, event: &Event) -> Result<Selection, String> {
    if event.images.is_empty() {
        return Ok(match rules.images.as_slice() {
            [] => Selection::All,
            patterns => {
                Selection::Only(patterns.iter().cloned().map(ImageFilter::Pattern).collect())
            }
        });
    }
    let is_allowed = |image: &&Reference| {
        rules.images.is_empty() || rules.images.iter().any(|pattern| pattern.matches(image))
    };
    let mut named: Vec<ImageFilter> = Vec::new();
    for image in event.images.iter().filter(is_allowed) {
        let image = ImageFilter::Reference(image.clone());
        if !named.contains(&image) {
            named.push(image);
        }
    }
    if named.is_empty() {
        let patterns: Vec<String> = rules.images.iter().map(ToString::to_string).collect();
        let images: Vec<String> = event.images.iter().map(|image| image.familiar()).collect();
        return Err(refusal("images", &patterns, "image", &images.join(", ")));
    }
    Ok(Selection::Only(named))
}

fn refusal(rule: &str, globs: &[String], noun: &str, stated: &str) -> String {
    format!(
        "rule \"{rule}\" ({}) does not allow {noun} {}",
        globs.join(", "),
        quoted(stated)
    )
}

/// The event lacks the fact that a rule needs; with sender `custom`, the pointer to it.
fn missing(hook: &Hook, rule: &str, noun: &str) -> String {
    let pointer = hook.payload.as_ref().and_then(|payload| match noun {
        "event" => payload.event.as_deref(),
        "branch" => payload.branch.as_deref(),
        "tag" => payload.tag.as_deref(),
        _ => payload.repository.as_deref(),
    });
    let article = if noun == "event" { "an" } else { "a" };
    match pointer {
        Some(pointer) => {
            format!("rule \"{rule}\" needs {article} {noun}, and there is none at \"{pointer}\"")
        }
        None => format!("rule \"{rule}\" needs {article} {noun}, and the event names none"),
    }
}
