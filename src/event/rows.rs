//! Payloads that say what happened at known places: a row of pointers reads them. The rows of the senders that
//! stackhook knows stand in the table; sender `custom` brings its own.

use serde_json::Value;

use super::pointers::{all, expect, one, texts};
use super::{Event, Payload, Reading, Told, Unreadable, Wishes, git, quoted};
use crate::image::Reference;
use crate::limits;
use crate::stack::order::Cause;

/// Where a payload says what: pointers, which start at the element of `each`.
#[derive(Debug, Clone, Default)]
pub(super) struct Row<'a> {
    /// Whether this row is for the payload at all; of several rows the first counts.
    pub(super) when: When<'a>,
    /// One event per element.
    pub(super) each: Option<&'a str>,
    pub(super) event: Name<'a>,
    /// A full ref, which says itself whether it is a branch or a tag.
    pub(super) full_ref: Option<&'a str>,
    pub(super) branch: Option<&'a str>,
    pub(super) tag: Option<&'a str>,
    pub(super) repository: Option<&'a str>,
    pub(super) image: Option<&'a str>,
    pub(super) host: Host<'a>,
    pub(super) commit: Option<&'a str>,
    pub(super) id: Option<&'a str>,
    /// Places, of which the first that is there counts, and the values of which one must stand there.
    pub(super) require: Vec<(Vec<&'a str>, Vec<&'a str>)>,
}

/// Whether a row is for a payload.
#[derive(Debug, Clone, Copy, Default)]
pub(super) enum When<'a> {
    #[default]
    Always,
    /// This text stands there.
    Is(&'a str, &'a str),
    /// The payload is a list.
    List,
}

/// Where the event's name comes from.
#[derive(Debug, Clone, Copy, Default)]
pub(super) enum Name<'a> {
    /// The payload has none.
    #[default]
    Unsaid,
    At(&'a str),
    Always(&'a str),
}

/// Which registry an image without a host is on.
#[derive(Debug, Clone, Copy, Default)]
pub(super) enum Host<'a> {
    /// Nobody says: on every one.
    #[default]
    Unsaid,
    /// Host or URL.
    At(&'a str),
    Always(&'a str),
    /// Made of account and region.
    Ecr,
}

impl<'a> Row<'a> {
    /// The row that a configuration describes.
    pub(super) fn of(payload: &'a Payload) -> Row<'a> {
        let require = |(pointer, values): &'a (String, Vec<String>)| {
            let values = values.iter().map(String::as_str).collect();
            (vec![pointer.as_str()], values)
        };
        Row {
            each: payload.each.as_deref(),
            event: payload.event.as_deref().map_or(Name::Unsaid, Name::At),
            branch: payload.branch.as_deref(),
            tag: payload.tag.as_deref(),
            repository: payload.repository.as_deref(),
            image: payload.image.as_deref(),
            commit: payload.commit.as_deref(),
            id: payload.id.as_deref(),
            require: payload.require.iter().map(require).collect(),
            ..Row::default()
        }
    }
}

/// Reads a payload by the first row that is for it.
pub(super) fn read(rows: &[Row<'_>], body: &Value) -> Result<Reading, Unreadable> {
    let Some(row) = rows.iter().find(|row| is_for(row.when, body)) else {
        return Ok(Reading::Ignored(no_row(rows, body)));
    };
    let elements = match row.each {
        Some(each) => all(body, each),
        None => vec![body],
    };
    if elements.is_empty() {
        let each = row.each.unwrap_or_default();
        return Ok(Reading::Ignored(format!("nothing at \"{each}\"")));
    }
    let mut events: Vec<Event> = Vec::new();
    let mut reasons: Vec<String> = Vec::new();
    for element in &elements {
        match at_element(row, body, element, &mut reasons) {
            Ok(more) => events.extend(more),
            Err(reason) => reasons.push(reason),
        }
    }
    if events.len() > limits::NAMED_MAX {
        return Err(Unreadable::Malformed(format!(
            "the delivery tells of {} events; at most {} are read",
            events.len(),
            limits::NAMED_MAX
        )));
    }
    if events.is_empty() {
        reasons.sort_unstable();
        reasons.dedup();
        reasons.truncate(3);
        return Ok(Reading::Ignored(reasons.join("; ")));
    }
    let id = row
        .id
        .and_then(|id| elements.iter().find_map(|element| one(body, element, id)));
    Ok(Reading::Told(Told {
        id: id.filter(|id| super::is_id(id)),
        time: None,
        wishes: Wishes::default(),
        events,
    }))
}

fn is_for(when: When<'_>, body: &Value) -> bool {
    match when {
        When::Always => true,
        When::List => body.is_array(),
        When::Is(place, value) => one(body, body, place).is_some_and(|text| text == value),
    }
}

/// What stands where the rows look for the kind of event.
fn no_row(rows: &[Row<'_>], body: &Value) -> String {
    let place = rows.iter().find_map(|row| match row.when {
        When::Is(place, _) => Some(place),
        When::Always | When::List => None,
    });
    let place = place.unwrap_or_default();
    match one(body, body, place) {
        Some(text) => format!("event {} means nothing new", quoted(&text)),
        None => format!("nothing at \"{place}\""),
    }
}

fn at_element(
    row: &Row<'_>,
    body: &Value,
    element: &Value,
    reasons: &mut Vec<String>,
) -> Result<Vec<Event>, String> {
    for (places, values) in &row.require {
        expect(places, values, body, element)?;
    }
    let get = |pointer: Option<&str>| pointer.and_then(|pointer| one(body, element, pointer));
    let commit = get(row.commit);
    if commit.as_deref().is_some_and(git::is_zero) {
        return Err("a deletion".to_owned());
    }
    let name = match row.event {
        Name::Unsaid => String::new(),
        Name::Always(name) => name.to_owned(),
        Name::At(pointer) => get(Some(pointer)).unwrap_or_default(),
    };
    let on_ref = match get(row.full_ref) {
        Some(full) => git::on_ref(&name, Some(&full))?,
        None => Event::default(),
    };
    let event = Event {
        name,
        cause: commit.map_or(Cause::Asked, |commit| Cause::Push(Some(commit))),
        branch: get(row.branch)
            .and_then(|name| bare(name, "refs/heads/"))
            .or(on_ref.branch),
        tag: on_ref.tag,
        repository: get(row.repository),
        images: Vec::new(),
        paths: None,
    };
    let tags: Vec<String> = row
        .tag
        .map(|pointer| texts(body, element, pointer))
        .unwrap_or_default()
        .into_iter()
        .filter_map(|tag| bare(tag, "refs/tags/"))
        .collect();
    let Some(pointer) = row.image else {
        return Ok(match tags.is_empty() {
            true => vec![event],
            false => tags.into_iter().map(|tag| with_tag(&event, tag)).collect(),
        });
    };
    let names = texts(body, element, pointer);
    if names.is_empty() {
        return Err(format!("nothing at \"{pointer}\""));
    }
    let host = host(row.host, body, element);
    let mut events = Vec::new();
    for (name, tag) in pairs(&names, &tags) {
        match image(host.as_deref(), name, tag, row.tag) {
            Ok(image) => events.push(Event {
                cause: Cause::Image,
                tag: tag
                    .map(str::to_owned)
                    .or_else(|| image.tag().map(str::to_owned)),
                repository: event
                    .repository
                    .clone()
                    .or_else(|| Some(image.path().to_owned())),
                images: vec![image],
                ..event.clone()
            }),
            Err(reason) => reasons.push(reason),
        }
    }
    Ok(events)
}

fn with_tag(event: &Event, tag: String) -> Event {
    Event {
        tag: Some(tag),
        ..event.clone()
    }
}

/// Lists of equal length belong together element by element; otherwise every image has every tag.
fn pairs<'t>(names: &'t [String], tags: &'t [String]) -> Vec<(&'t str, Option<&'t str>)> {
    if tags.is_empty() {
        return names.iter().map(|name| (name.as_str(), None)).collect();
    }
    if names.len() == tags.len() {
        let tags = tags.iter().map(|tag| Some(tag.as_str()));
        return names.iter().map(String::as_str).zip(tags).collect();
    }
    names
        .iter()
        .flat_map(|name| {
            tags.iter()
                .map(move |tag| (name.as_str(), Some(tag.as_str())))
        })
        .collect()
}

/// A reference with a tag or digest: one without would stand for every tag, which is more than was pushed.
fn image(
    host: Option<&str>,
    name: &str,
    tag: Option<&str>,
    tag_place: Option<&str>,
) -> Result<Reference, String> {
    let bad = |error| format!("image {} cannot be read: {error}", quoted(name));
    if tag.is_some_and(|tag| tag.contains(':')) {
        return Err("a manifest without a tag".to_owned());
    }
    let located = match host {
        Some(host) => format!("{host}/{name}"),
        None => name.to_owned(),
    };
    let plain = Reference::on_any_registry(&located).map_err(bad)?;
    match (plain.tag().or(plain.digest()), tag, tag_place) {
        (Some(_), _, _) | (None, None, None) => Ok(plain),
        (None, Some(tag), _) => {
            Reference::on_any_registry(&format!("{located}:{tag}")).map_err(bad)
        }
        (None, None, Some(place)) => Err(format!("nothing at \"{place}\": no tag")),
    }
}

fn host(host: Host<'_>, body: &Value, element: &Value) -> Option<String> {
    match host {
        Host::Unsaid => None,
        Host::Always(host) => Some(host.to_owned()),
        Host::At(pointer) => {
            let text = one(body, element, pointer)?;
            let rest = text
                .split_once("://")
                .map_or(text.as_str(), |(_, rest)| rest);
            let host = rest.split('/').next().filter(|host| !host.is_empty())?;
            Some(match host {
                "registry-1.docker.io" | "registry.hub.docker.com" | "hub.docker.com" => {
                    "docker.io".to_owned()
                }
                host => host.to_owned(),
            })
        }
        Host::Ecr => {
            let account = one(body, element, "/account")?;
            let region = one(body, element, "/region")?;
            let china = if region.starts_with("cn-") { ".cn" } else { "" };
            Some(format!("{account}.dkr.ecr.{region}.amazonaws.com{china}"))
        }
    }
}

/// A short name, or a full one of the right kind.
fn bare(name: String, prefix: &str) -> Option<String> {
    match name.strip_prefix(prefix) {
        Some(short) => Some(short.to_owned()),
        None => (!name.starts_with("refs/")).then_some(name),
    }
}
