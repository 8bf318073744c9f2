//! What the payloads of Git hosts have in common: refs, hashes that mean "deleted", lists of commits.

use serde_json::Value;

use super::{Event, Paths, quoted};

/// What a pointer leads to, when it is a text with something in it.
pub(super) fn text<'v>(value: &'v Value, pointer: &str) -> Option<&'v str> {
    value
        .pointer(pointer)
        .and_then(Value::as_str)
        .filter(|text| !text.is_empty())
}

/// The same, to be kept.
pub(super) fn owned(value: &Value, pointer: &str) -> Option<String> {
    text(value, pointer).map(str::to_owned)
}

/// Whether a pointer leads to `true`.
pub(super) fn is(value: &Value, pointer: &str) -> bool {
    value.pointer(pointer).and_then(Value::as_bool) == Some(true)
}

/// Whether a hash consists of zeros: the ref is gone.
pub(super) fn is_zero(hash: &str) -> bool {
    !hash.is_empty() && hash.bytes().all(|digit| digit == b'0')
}

/// An event about a full ref. `Err`: it is neither a branch nor a tag, such as a note or a merge request.
pub(super) fn on_ref(name: &str, full: Option<&str>) -> Result<Event, String> {
    let full = full.ok_or("the event names no ref")?;
    let (branch, tag) = match (
        full.strip_prefix("refs/heads/"),
        full.strip_prefix("refs/tags/"),
    ) {
        (Some(branch), _) => (Some(branch.to_owned()), None),
        (_, Some(tag)) => (None, Some(tag.to_owned())),
        (None, None) => return Err(format!("{} is neither a branch nor a tag", quoted(full))),
    };
    Ok(Event {
        name: name.to_owned(),
        branch,
        tag,
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

/// A new branch or tag, as GitHub, Gitea and its family tell of it.
pub(super) fn create(body: &Value) -> Result<Event, String> {
    let kind = text(body, "/ref_type").unwrap_or_default();
    on_short_ref("create", text(body, "/ref"), kind)
}

/// The event with the repository that the payload is about, unless it says nothing of it.
pub(super) fn in_repository(event: Event, body: &Value, pointer: &str) -> Event {
    Event {
        repository: owned(body, pointer).or(event.repository),
        ..event
    }
}

/// The files of all listed commits; complete only if there are commits, each of them lists its files, and the caller
/// knows that no commit is missing.
pub(super) fn paths(body: &Value, all_listed: bool) -> Option<Paths> {
    let commits = body.get("commits")?.as_array()?;
    let mut paths = Paths {
        files: Vec::new(),
        complete: all_listed && !commits.is_empty(),
    };
    for commit in commits {
        let lists = ["added", "modified", "removed"].map(|list| commit.get(list));
        paths.complete &= lists.iter().any(|list| list.is_some_and(Value::is_array));
        let files = lists.into_iter().flatten().filter_map(Value::as_array);
        paths
            .files
            .extend(files.flatten().filter_map(Value::as_str).map(str::to_owned));
    }
    paths.files.sort_unstable();
    paths.files.dedup();
    Some(paths)
}

/// How many commits are listed.
pub(super) fn listed(body: &Value) -> usize {
    body.get("commits")
        .and_then(Value::as_array)
        .map_or(0, Vec::len)
}

/// One of `values` must stand at `pointer`.
pub(super) fn wants(body: &Value, pointer: &str, values: &[&str]) -> Result<(), String> {
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
