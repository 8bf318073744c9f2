//! Rules: whether a hook acts on an event, and on which images. A refusal names the rule and what the event said.

use super::{Hook, Rules};
use crate::event::{self, Event, quoted};
use crate::glob;
use crate::image::Reference;
use crate::stack::order::{ImageFilter, Selection};

/// Which images an event is about after all rules allowed it.
///
/// # Errors
/// Which rule refused, and what the event said.
pub(super) fn judge(hook: &Hook, event: &Event) -> Result<Selection, String> {
    let rules = &hook.rules;
    is_wanted(hook, event)?;
    is_on_ref(hook, event)?;
    is_in_repository(hook, event)?;
    is_about_paths(rules, event)?;
    select(rules, event)
}

fn is_wanted(hook: &Hook, event: &Event) -> Result<(), String> {
    let configured: Vec<&str> = hook.rules.events.iter().map(String::as_str).collect();
    let (wanted, whose) = match event::default_events(hook.sender) {
        _ if !configured.is_empty() => (configured.as_slice(), "rule \"events\" allows"),
        Some(default) => (default, "acted on by default are"),
        None => return Ok(()),
    };
    if event.name.is_empty() {
        return Err(unsaid(hook, "events", "event"));
    }
    match wanted.contains(&event.name.as_str()) {
        true => Ok(()),
        false => Err(format!(
            "event {} is not wanted: {whose} {}",
            quoted(&event.name),
            wanted.join(", ")
        )),
    }
}

/// `branches` and `tags` are one rule about the ref: what is said of either kind, by the rule for that kind.
fn is_on_ref(hook: &Hook, event: &Event) -> Result<(), String> {
    let Rules { branches, tags, .. } = &hook.rules;
    if branches.is_empty() && tags.is_empty() {
        return Ok(());
    }
    let named = |globs: &[String], name: &Option<String>| {
        let name = name.as_deref();
        name.is_some_and(|name| globs.iter().any(|glob| glob::matches(glob, name)))
    };
    if named(branches, &event.branch) || named(tags, &event.tag) {
        return Ok(());
    }
    Err(match (&event.branch, &event.tag) {
        (Some(branch), _) if !branches.is_empty() => {
            refusal("branches", branches, "branch", branch)
        }
        (_, Some(tag)) if !tags.is_empty() => refusal("tags", tags, "tag", tag),
        (Some(branch), _) => format!(
            "the event is about branch {}, and only rule \"tags\" is set",
            quoted(branch)
        ),
        (None, Some(tag)) => format!(
            "the event is about tag {}, and only rule \"branches\" is set",
            quoted(tag)
        ),
        (None, None) if tags.is_empty() => unsaid(hook, "branches", "branch"),
        (None, None) => unsaid(hook, "tags", "tag"),
    })
}

fn is_in_repository(hook: &Hook, event: &Event) -> Result<(), String> {
    let globs = &hook.rules.repositories;
    if globs.is_empty() {
        return Ok(());
    }
    let Some(repository) = &event.repository else {
        return Err(unsaid(hook, "repositories", "repository"));
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

/// A list that the sender cut short may have lost the file that matters, so it matches.
fn is_about_paths(rules: &Rules, event: &Event) -> Result<(), String> {
    if rules.paths.is_empty() {
        return Ok(());
    }
    let Some(paths) = &event.paths else {
        return Err(
            "rule \"paths\" needs the changed files, and the event does not list them".to_owned(),
        );
    };
    let touched = |file: &String| rules.paths.iter().any(|glob| glob::matches(glob, file));
    match !paths.complete || paths.files.iter().any(touched) {
        true => Ok(()),
        false => Err(format!(
            "rule \"paths\" ({}) matches none of the {} changed files",
            rules.paths.join(", "),
            paths.files.len()
        )),
    }
}

/// `images` filters what an event names; where it names nothing, the rule itself says what is pulled.
fn select(rules: &Rules, event: &Event) -> Result<Selection, String> {
    if event.images.is_empty() {
        return Ok(match rules.images.as_slice() {
            [] => Selection::All,
            patterns => {
                Selection::Only(patterns.iter().cloned().map(ImageFilter::Pattern).collect())
            }
        });
    }
    let allowed = |image: &&Reference| {
        rules.images.is_empty() || rules.images.iter().any(|pattern| pattern.matches(image))
    };
    let mut named: Vec<ImageFilter> = Vec::new();
    for image in event.images.iter().filter(allowed) {
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

fn refusal(rule: &str, globs: &[String], what: &str, said: &str) -> String {
    format!(
        "rule \"{rule}\" ({}) does not allow {what} {}",
        globs.join(", "),
        quoted(said)
    )
}

/// The fact that a rule asks for is not in the event; with sender `custom`, where it was looked for.
fn unsaid(hook: &Hook, rule: &str, what: &str) -> String {
    let pointer = hook.payload.as_ref().and_then(|payload| match what {
        "event" => payload.event.as_deref(),
        "branch" => payload.branch.as_deref(),
        "tag" => payload.tag.as_deref(),
        _ => payload.repository.as_deref(),
    });
    let article = if what == "event" { "an" } else { "a" };
    match pointer {
        Some(pointer) => {
            format!("rule \"{rule}\" needs {article} {what}, and there is none at \"{pointer}\"")
        }
        None => format!("rule \"{rule}\" needs {article} {what}, and the event names none"),
    }
}
