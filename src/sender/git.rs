//! Common parts of the payloads of Git hosts: refs, hashes that mean "deleted", lists of commits, runs of workflows.

use serde_json::Value;

use crate::event::{ChangedPaths, Event, EventRef, quoted};

/// The text at a pointer, unless it is empty.
pub(super) fn text<'v>(value: &'v Value, pointer: &str) -> Option<&'v str> {
    value
        .pointer(pointer)
        .and_then(Value::as_str)
        .filter(|text| !text.is_empty())
}

/// An owned copy of the text at a pointer.
pub(super) fn owned(value: &Value, pointer: &str) -> Option<String> {
    text(value, pointer).map(str::to_owned)
}

/// Returns whether the value at a pointer is `true`.
pub(super) fn is_true(value: &Value, pointer: &str) -> bool {
    value.pointer(pointer).and_then(Value::as_bool) == Some(true)
}

/// Returns whether a hash consists of zeros, which means that the ref was deleted.
pub(super) fn is_zero(hash: &str) -> bool {
    !hash.is_empty() && hash.bytes().all(|digit| digit == b'0')
}

/// An event about a full ref. `Err`: it is neither a branch nor a tag, such as a note or a merge request.
pub(super) fn on_ref(name: &str, full: Option<&str>) -> Result<Event, String> {
    let full = full.ok_or("the event names no ref")?;
    // Builds of Azure DevOps write "LG:", the ref, and ":" with the commit.
    let full = match full.strip_prefix("LG:") {
        Some(version) => version.rsplit_once(':').map_or(version, |(full, _)| full),
        None => full,
    };
    let (branch, tag) = (
        full.strip_prefix("refs/heads/"),
        full.strip_prefix("refs/tags/"),
    );
    let own = match (branch, tag) {
        (Some(branch), _) => EventRef::Branch(branch.to_owned()),
        (_, Some(tag)) => EventRef::Tag(tag.to_owned()),
        (None, None) => return Err(format!("{} is neither a branch nor a tag", quoted(full))),
    };
    Ok(Event {
        name: name.to_owned(),
        refs: vec![own],
        ..Event::default()
    })
}

/// An event about a ref that may be written short; `kind` says what it is then.
pub(super) fn on_short_ref(name: &str, short: Option<&str>, kind: &str) -> Result<Event, String> {
    let short = short.ok_or("the event names no ref")?;
    match (short.starts_with("refs/"), kind) {
        (true, _) => on_ref(name, Some(short)),
        (false, "branch") => on_ref(name, Some(&format!("refs/heads/{short}"))),
        (false, "tag") => on_ref(name, Some(&format!("refs/tags/{short}"))),
        (false, _) => Err(format!(
            "a ref of kind {} is neither a branch nor a tag",
            quoted(kind)
        )),
    }
}

/// A ref whose kind the sender does not state: a branch, a tag or a commit. A full ref states it.
pub(super) fn unknown_ref(name: Option<&str>) -> Vec<EventRef> {
    let kind = |name: &str| {
        let own = |prefix: &str| name.strip_prefix(prefix).map(str::to_owned);
        own("refs/heads/")
            .map(EventRef::Branch)
            .or_else(|| own("refs/tags/").map(EventRef::Tag))
            .unwrap_or_else(|| EventRef::Unknown(name.to_owned()))
    };
    name.map(kind).into_iter().collect()
}

/// A new branch or tag, as GitHub, Gitea and its family report it.
pub(super) fn create(body: &Value) -> Result<Event, String> {
    let kind = text(body, "/ref_type").unwrap_or_default();
    on_short_ref("create", text(body, "/ref"), kind)
}

/// The event with the repository at a pointer, if the payload has one there.
pub(super) fn in_repository(event: Event, body: &Value, pointer: &str) -> Event {
    Event {
        repository: owned(body, pointer).or(event.repository),
        ..event
    }
}

/// The files of all listed commits. The list is complete only if there are commits, each of them lists its files, and
/// `all_listed` confirms that no commit is missing.
pub(super) fn paths(body: &Value, all_listed: bool) -> Option<ChangedPaths> {
    let commits = body.get("commits")?.as_array()?;
    let mut paths = ChangedPaths {
        files: Vec::new(),
        is_complete: all_listed && !commits.is_empty(),
    };
    for commit in commits {
        let lists = ["added", "modified", "removed"].map(|list| commit.get(list));
        paths.is_complete &= lists.iter().any(|list| list.is_some_and(Value::is_array));
        let files = lists.into_iter().flatten().filter_map(Value::as_array);
        paths
            .files
            .extend(files.flatten().filter_map(Value::as_str).map(str::to_owned));
    }
    paths.files.sort_unstable();
    paths.files.dedup();
    Some(paths)
}

/// Number of listed commits.
pub(super) fn commit_count(body: &Value) -> usize {
    body.get("commits")
        .and_then(Value::as_array)
        .map_or(0, Vec::len)
}

/// Requires one of `values` at a pointer.
///
/// Errors: the value that is there instead.
pub(super) fn require(body: &Value, pointer: &str, values: &[&str]) -> Result<(), String> {
    match text(body, pointer) {
        Some(value) if values.contains(&value) => Ok(()),
        Some(value) => Err(format!(
            "\"{pointer}\" is {}, not {}",
            quoted(value),
            values.join(" or ")
        )),
        None => Err(format!("nothing at \"{pointer}\"")),
    }
}

/// Refuses a run that was started before a merge or by a comment. Its workflow may build unapproved code from a branch that is
/// also called "main". Every other trigger is accepted, because the list of triggers grows.
///
/// Errors: the trigger that is refused, or that none is stated.
pub(super) fn refuse_unmerged(trigger: Option<&str>) -> Result<(), String> {
    match trigger {
        Some(trigger)
            if trigger.starts_with("pull_request")
                || trigger == "merge_group"
                || trigger.ends_with("_comment") =>
        {
            Err(format!(
                "the run was started by {}, before a merge or by a comment",
                quoted(trigger)
            ))
        }
        Some(_) => Ok(()),
        None => Err("the run does not state its trigger".to_owned()),
    }
}

/// A successful run of a workflow, as GitHub and Gitea report it.
pub(super) fn workflow_run(body: &Value) -> Result<Event, String> {
    require(body, "/action", &["completed"])?;
    require(body, "/workflow_run/conclusion", &["success"])?;
    let trigger = text(body, "/workflow_run/event");
    refuse_unmerged(trigger)?;
    let own = text(body, "/repository/full_name");
    if own.is_none() || text(body, "/workflow_run/head_repository/full_name") != own {
        return Err("a run of a fork".to_owned());
    }
    let file = text(body, "/workflow_run/path").or_else(|| text(body, "/workflow/path"));
    // The path may be followed by "@" and the ref from which the workflow was read.
    let file = file.map(|path| path.split('@').next().unwrap_or(path));
    let name = text(body, "/workflow/name").or_else(|| text(body, "/workflow_run/name"));
    Ok(Event {
        name: "workflow_run".to_owned(),
        refs: unknown_ref(text(body, "/workflow_run/head_branch")),
        workflows: [name, file]
            .into_iter()
            .flatten()
            .map(str::to_owned)
            .collect(),
        is_chained: trigger == Some("workflow_run"),
        ..Event::default()
    })
}
