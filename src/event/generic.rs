//! Sender `generic`: the one body that stackhook itself describes, so whatever is wrong with it is said.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{Event, Reading, Told, Unreadable, Wishes, is_id, quoted, strict};
use crate::image::Reference;
use crate::limits;
use crate::signature::{Verified, fresh};
use crate::stack::order::Cause;

/// The events, in the order of the documentation; the first one is meant when none is named.
pub(super) const EVENTS: &[&str] = &["stack_update", "image_update", "deployment", PING];
const PING: &str = "ping";

/// Reads the body: its time first, then what it asks for.
pub(super) fn read(verified: &Verified<'_>, unix: u64) -> Result<Reading, Unreadable> {
    let body = object(verified.bytes())?;
    let time = time(&body)?;
    if let Some(time) = time {
        fresh(time, unix).map_err(Unreadable::Stale)?;
    }
    let name = text(&body, "event")?.unwrap_or_else(|| "stack_update".to_owned());
    if name == PING {
        return Ok(Reading::Ignored("ping".to_owned()));
    }
    if !EVENTS.contains(&name.as_str()) {
        return Err(Unreadable::Malformed(format!(
            "unknown event {}; known are {}",
            quoted(&name),
            EVENTS.join(", ")
        )));
    }
    let wishes = Wishes {
        stack: text(&body, "stack")?,
        set: variables(&body)?,
        force: flag(&body, "force")?,
    };
    // A body without time is a password for what it says, for ever.
    let replayable = time.is_none() && verified.stamp().is_none();
    if replayable && (wishes.force || !wishes.set.is_empty()) {
        return Err(Unreadable::Malformed(
            "\"env\" and \"force\" need \"time\", the Unix seconds of now".to_owned(),
        ));
    }
    let images = images(&body)?;
    Ok(Reading::Told(Told {
        id: id(&body)?.or_else(|| verified.stamp().map(|stamp| stamp.id.clone())),
        time,
        wishes,
        events: vec![Event {
            name,
            cause: if images.is_empty() {
                Cause::Asked
            } else {
                Cause::Image
            },
            branch: fact(&body, "branch")?,
            tag: fact(&body, "tag")?,
            repository: fact(&body, "repository")?,
            images,
            paths: None,
        }],
    }))
}

fn object(bytes: &[u8]) -> Result<Map<String, Value>, Unreadable> {
    if bytes.trim_ascii().is_empty() {
        return Ok(Map::new());
    }
    match strict::from_slice(bytes) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(Unreadable::Malformed(
            "the body is JSON, but no object".to_owned(),
        )),
        Err(error) => Err(Unreadable::not_read(&error)),
    }
}

fn wrong(field: &str, must: &str) -> Unreadable {
    Unreadable::Malformed(format!("\"{field}\" must be {must}"))
}

fn time(body: &Map<String, Value>) -> Result<Option<u64>, Unreadable> {
    body.get("time")
        .map(|time| {
            time.as_u64()
                .ok_or_else(|| wrong("time", "a whole number, the Unix seconds of now"))
        })
        .transpose()
}

fn text(body: &Map<String, Value>, field: &str) -> Result<Option<String>, Unreadable> {
    body.get(field)
        .map(|value| match value {
            Value::String(text) => Ok(text.clone()),
            _ => Err(wrong(field, "a text")),
        })
        .transpose()
}

/// Pipelines fill these from variables of which one is always empty: an empty text states nothing.
fn fact(body: &Map<String, Value>, field: &str) -> Result<Option<String>, Unreadable> {
    Ok(text(body, field)?.filter(|text| !text.is_empty()))
}

fn flag(body: &Map<String, Value>, field: &str) -> Result<bool, Unreadable> {
    match body.get(field) {
        None => Ok(false),
        Some(Value::Bool(flag)) => Ok(*flag),
        Some(_) => Err(wrong(field, "true or false")),
    }
}

fn id(body: &Map<String, Value>) -> Result<Option<String>, Unreadable> {
    let id = text(body, "id")?;
    match id.as_ref().is_none_or(|id| is_id(id)) {
        true => Ok(id),
        false => Err(wrong("id", "1 to 200 bytes without control characters")),
    }
}

/// A text or a list of texts. Nothing is not everything: an empty list is a mistake.
fn images(body: &Map<String, Value>) -> Result<Vec<Reference>, Unreadable> {
    let list = match body.get("image") {
        None => return Ok(Vec::new()),
        Some(Value::Array(list)) => list.as_slice(),
        Some(one) => std::slice::from_ref(one),
    };
    if list.is_empty() || list.len() > limits::NAMED_MAX {
        return Err(wrong("image", "one reference or a list of 1 to 64"));
    }
    list.iter()
        .map(|image| match image {
            Value::String(image) => Reference::parse(image).map_err(|error| {
                Unreadable::Malformed(format!("image {} cannot be read: {error}", quoted(image)))
            }),
            _ => Err(wrong("image", "a text or a list of texts")),
        })
        .collect()
}

fn variables(body: &Map<String, Value>) -> Result<BTreeMap<String, String>, Unreadable> {
    let variables = match body.get("env") {
        None => return Ok(BTreeMap::new()),
        Some(Value::Object(variables)) if variables.len() <= limits::NAMED_MAX => variables,
        Some(_) => return Err(wrong("env", "an object of at most 64 variables")),
    };
    let mut harmless = BTreeMap::new();
    for (name, value) in variables {
        match value {
            Value::String(value) if is_harmless(value) => {
                harmless.insert(name.clone(), value.clone());
            }
            // The value is not repeated: it may be a secret put in the wrong place.
            _ => {
                return Err(Unreadable::Malformed(format!(
                    "the value of variable {} must be a text of 1 to 256 letters, digits and . _ @ : / + -",
                    quoted(name)
                )));
            }
        }
    }
    Ok(harmless)
}

/// What tags, digests and versions consist of; nothing that a compose file would interpolate or split.
fn is_harmless(value: &str) -> bool {
    let allowed = |sign: u8| sign.is_ascii_alphanumeric() || b"._@:/+-".contains(&sign);
    (1..=limits::VARIABLE_VALUE_MAX).contains(&value.len()) && value.bytes().all(allowed)
}
