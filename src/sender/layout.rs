//! Bodies with every value at a fixed place, parsed with a layout of pointers. Senders of known systems bring their layouts,
//! `[hook.payload]` describes the layout of sender `custom`.

use super::pointer::{Document, values};
use super::{ParseSettings, git, ignored, is_id, outcome};
use crate::event::{Event, EventRef, ParseError, ParseOutcome, quoted};
use crate::image::Reference;
use crate::limits;
use crate::signature::Verified;
use crate::stack::order::Cause;

/// `[hook.payload]`: pointers into the body of sender `custom`, in the order of the file.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Payload {
    /// One event per element; the other pointers then start there.
    pub(crate) each: Option<String>,
    pub(crate) event: Option<String>,
    pub(crate) branch: Option<String>,
    pub(crate) tag: Option<String>,
    pub(crate) repository: Option<String>,
    pub(crate) image: Option<String>,
    /// Text before every image, such as a registry and a project.
    pub(crate) image_prefix: Option<String>,
    pub(crate) commit: Option<String>,
    pub(crate) id: Option<String>,
    /// Pointers, and the values of which one must be there.
    pub(crate) require: Vec<(String, Vec<String>)>,
}

/// Names of registries in deliveries, and the names that stacks use.
pub(crate) type RegistryAliases = Vec<(String, String)>;

/// Pointers to the values of a body.
#[derive(Debug, Clone, Default)]
pub(super) struct Layout<'a> {
    /// The bodies that the layout is for.
    pub(super) when: When<'a>,
    /// One event per element.
    pub(super) each: Option<&'a str>,
    pub(super) event: EventName<'a>,
    /// Full refs, which state themselves whether they are branches or tags; the first pointer with a text counts.
    pub(super) full_ref: Vec<&'a str>,
    pub(super) branch: Option<&'a str>,
    pub(super) tag: Option<&'a str>,
    pub(super) repository: Option<&'a str>,
    /// Name of the workflow or pipeline that ran.
    pub(super) workflow: Option<&'a str>,
    pub(super) image: Option<&'a str>,
    pub(super) host: Host<'a>,
    pub(super) commit: Option<&'a str>,
    pub(super) id: Option<&'a str>,
    /// Pointers, of which the first with a text counts, and the allowed texts.
    pub(super) require: Vec<(Vec<&'a str>, Vec<&'a str>)>,
}

/// The bodies that a layout is for.
#[derive(Debug, Clone, Copy, Default)]
pub(super) enum When<'a> {
    #[default]
    Always,
    /// This text is at the pointer.
    Is(&'a str, &'a str),
    /// The body is a list.
    List,
}

/// Source of an event's name.
#[derive(Debug, Clone, Copy, Default)]
pub(super) enum EventName<'a> {
    #[default]
    Unspecified,
    At(&'a str),
    Always(&'a str),
}

/// Registry of an image without a host.
#[derive(Debug, Clone, Copy, Default)]
pub(super) enum Host<'a> {
    /// Not stated: the image is looked for on every registry.
    #[default]
    Unspecified,
    /// Host or URL at a pointer.
    At(&'a str),
    Always(&'a str),
    /// Text before the image: a host and perhaps the beginning of the path.
    Prefix(&'a str),
    /// Made of the account and region in an event of Amazon.
    Ecr,
}

impl<'a> Layout<'a> {
    /// The layout that a configuration describes.
    pub(super) fn from_payload(payload: &'a Payload) -> Layout<'a> {
        let require = |(pointer, values): &'a (String, Vec<String>)| {
            let values = values.iter().map(String::as_str).collect();
            (vec![pointer.as_str()], values)
        };
        Layout {
            each: payload.each.as_deref(),
            event: payload
                .event
                .as_deref()
                .map_or(EventName::Unspecified, EventName::At),
            branch: payload.branch.as_deref(),
            tag: payload.tag.as_deref(),
            repository: payload.repository.as_deref(),
            image: payload.image.as_deref(),
            host: payload
                .image_prefix
                .as_deref()
                .map_or(Host::Unspecified, Host::Prefix),
            commit: payload.commit.as_deref(),
            id: payload.id.as_deref(),
            require: payload.require.iter().map(require).collect(),
            ..Layout::default()
        }
    }
}

/// Parses a delivery with the first layout that is for it.
pub(super) fn parse(
    layouts: &[Layout<'_>],
    verified: &Verified<'_>,
    settings: &ParseSettings<'_>,
) -> Result<ParseOutcome, ParseError> {
    let body = &verified.json()?;
    let document = Document {
        headers: verified.headers(),
        body,
        element: body,
    };
    let Some(layout) = layouts.iter().find(|layout| is_for(layout.when, document)) else {
        return ignored(no_layout(layouts, document));
    };
    let elements = match layout.each {
        Some(each) => values(body, each),
        None => vec![body],
    };
    if elements.is_empty() {
        return ignored(format!(
            "nothing at \"{}\"",
            layout.each.unwrap_or_default()
        ));
    }
    let mut events: Vec<Event> = Vec::new();
    let mut reasons: Vec<String> = Vec::new();
    for element in &elements {
        match parse_element(layout, document.at(element), settings, &mut reasons) {
            Ok(more) => events.extend(more),
            Err(reason) => reasons.push(reason),
        }
    }
    if events.len() > limits::NAMED_MAX {
        return Err(ParseError::Malformed(format!(
            "the delivery has {} events; at most {} are read",
            events.len(),
            limits::NAMED_MAX
        )));
    }
    if events.is_empty() {
        reasons.sort_unstable();
        reasons.dedup();
        reasons.truncate(3);
        return ignored(reasons.join("; "));
    }
    let id = layout.id.and_then(|id| {
        let mut ids = elements
            .iter()
            .map(|element| document.at(element).first_text(id));
        ids.find_map(|id| id)
    });
    Ok(outcome(id.filter(|id| is_id(id)), Ok(events)))
}

fn is_for(when: When<'_>, document: Document<'_>) -> bool {
    match when {
        When::Always => true,
        When::List => document.body.is_array(),
        When::Is(pointer, value) => document
            .first_text(pointer)
            .is_some_and(|text| text == value),
    }
}

/// Names the text at the place where the layouts look for the kind of event.
fn no_layout(layouts: &[Layout<'_>], document: Document<'_>) -> String {
    let pointer = layouts.iter().find_map(|layout| match layout.when {
        When::Is(pointer, _) => Some(pointer),
        When::Always | When::List => None,
    });
    let pointer = pointer.unwrap_or_default();
    match document.first_text(pointer) {
        Some(text) => format!("event {} means nothing new", quoted(&text)),
        None => format!("nothing at \"{pointer}\""),
    }
}

fn parse_element(
    layout: &Layout<'_>,
    document: Document<'_>,
    settings: &ParseSettings<'_>,
    reasons: &mut Vec<String>,
) -> Result<Vec<Event>, String> {
    for (pointers, allowed) in &layout.require {
        document.require(pointers, allowed)?;
    }
    let get = |pointer: Option<&str>| pointer.and_then(|pointer| document.first_text(pointer));
    let commit = get(layout.commit);
    if commit.as_deref().is_some_and(git::is_zero) {
        return Err("a deletion".to_owned());
    }
    let name = match layout.event {
        EventName::Unspecified => String::new(),
        EventName::Always(name) => name.to_owned(),
        EventName::At(pointer) => get(Some(pointer)).unwrap_or_default(),
    };
    let full_ref = layout
        .full_ref
        .iter()
        .find_map(|pointer| get(Some(pointer)));
    let mut refs = match &full_ref {
        Some(full) => git::on_ref(&name, Some(full))?.refs,
        None => Vec::new(),
    };
    let branch = get(layout.branch).and_then(|name| bare(name, "refs/heads/"));
    refs.extend(branch.map(EventRef::Branch));
    let event = Event {
        name,
        cause: commit.map_or(Cause::Asked, |commit| Cause::Push(Some(commit))),
        refs,
        repository: get(layout.repository),
        workflows: get(layout.workflow).into_iter().collect(),
        ..Event::default()
    };
    let tags: Vec<String> = layout
        .tag
        .map(|pointer| document.texts(pointer))
        .unwrap_or_default()
        .into_iter()
        .filter_map(|tag| bare(tag, "refs/tags/"))
        .collect();
    let Some(pointer) = layout.image else {
        let with_tag = |tag| with_ref(&event, EventRef::Tag(tag));
        return Ok(match tags.is_empty() {
            true => vec![event],
            false => tags.into_iter().map(with_tag).collect(),
        });
    };
    let names = document.texts(pointer);
    if names.is_empty() {
        return Err(format!("nothing at \"{pointer}\""));
    }
    let host = host(layout.host, document);
    let mut events = Vec::new();
    for (name, tag) in pairs(&names, &tags) {
        let located = located(host.as_deref(), name, settings.registry);
        match image(&located, tag, layout.tag) {
            Ok(image) => {
                let tag = tag.or(image.tag()).map(str::to_owned);
                let event = match tag {
                    Some(tag) => with_ref(&event, EventRef::ImageTag(tag)),
                    None => event.clone(),
                };
                events.push(Event {
                    cause: Cause::Image,
                    repository: event
                        .repository
                        .clone()
                        .or_else(|| Some(image.path().to_owned())),
                    images: vec![image],
                    ..event
                });
            }
            Err(reason) => reasons.push(reason),
        }
    }
    Ok(events)
}

fn with_ref(event: &Event, more: EventRef) -> Event {
    let mut event = event.clone();
    event.refs.push(more);
    event
}

/// Pairs images and tags: lists of equal length by position, otherwise every image with every tag.
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

/// An image with its registry, under the name that stacks use for it.
fn located(host: Option<&str>, name: &str, aliases: &[(String, String)]) -> String {
    let located = match host {
        Some(host) if !name.starts_with(&format!("{host}/")) => format!("{host}/{name}"),
        _ => name.to_owned(),
    };
    let alias = aliases.iter().find_map(|(from, to)| {
        let path = located.strip_prefix(from.as_str())?.strip_prefix('/')?;
        Some(format!("{to}/{path}"))
    });
    alias.unwrap_or(located)
}

/// A reference with a tag or digest: one without would match every tag, which is more than was pushed.
fn image(located: &str, tag: Option<&str>, tag_pointer: Option<&str>) -> Result<Reference, String> {
    let bad = |error| format!("image {} cannot be read: {error}", quoted(located));
    if tag.is_some_and(|tag| tag.contains(':')) {
        return Err("a manifest without a tag".to_owned());
    }
    let plain = Reference::on_any_registry(located).map_err(bad)?;
    match (plain.tag().or(plain.digest()), tag, tag_pointer) {
        (Some(_), _, _) | (None, None, None) => Ok(plain),
        (None, Some(tag), _) => {
            Reference::on_any_registry(&format!("{located}:{tag}")).map_err(bad)
        }
        (None, None, Some(pointer)) => Err(format!("nothing at \"{pointer}\": no tag")),
    }
}

fn host(host: Host<'_>, document: Document<'_>) -> Option<String> {
    match host {
        Host::Unspecified => None,
        Host::Always(host) => Some(host.to_owned()),
        Host::Prefix(prefix) => Some(prefix.trim_end_matches('/').to_owned()),
        Host::At(pointer) => {
            let text = document.first_text(pointer)?;
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
            let account = document.first_text("/account")?;
            let region = document.first_text("/region")?;
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
