//! Sender `generic`: the one body that stackhook itself describes, so every mistake in it is reported.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{
    DefaultScheme, Definition, EventKind, Fact, ParseSettings, Parser, SetupText, is_id,
    strict_json,
};
use crate::event::{
    Event, EventRef, ParseError, ParseOutcome, ParsedDelivery, RequestedChanges, quoted,
};
use crate::image::Reference;
use crate::limits;
use crate::signature::{SchemeName, Verified, check_age};
use crate::stack::order::Cause;

/// A value of a variable set by a delivery (characters).
const VARIABLE_VALUE_MAX: usize = 256;

const FACTS: &[Fact] = Fact::GIT;

pub(super) const SENDER: Definition = Definition {
    name: "generic",
    default_scheme: DefaultScheme::Always(SchemeName::Generic),
    // In the order of the documentation; the first one is the default.
    events: &[
        EventKind::git("stack_update", FACTS),
        EventKind::git("image_update", FACTS),
        EventKind::git("deployment", FACTS),
    ],
    parse: Parser::Code(parse),
    is_pipeline: true,
    setup: SetupText {
        location: "a pipeline, a script, anything that can run curl: see the snippets below",
        subscribe: "stack_update, image_update or deployment in the body; ping is answered and not acted on",
        notes: &[
            "send \"time\" (Unix seconds) in the body: without it the same body always has the same signature, and anyone who records it can repeat it",
            "send an \"id\" that is new every time: two identical bodies within the same second are one request, and the second is answered as the first",
            "sign exactly the bytes that are sent: printf '%s', not echo, and --data-binary, not -d",
        ],
        ..SetupText::DEFAULT
    },
    ..Definition::DEFAULT
};

const PING: &str = "ping";

/// Every field of the body.
const FIELDS: &[&str] = &[
    "event",
    "stack",
    "image",
    "env",
    "force",
    "branch",
    "tag",
    "repository",
    "time",
    "id",
];

/// Parses the body: its time first, then everything else.
fn parse(
    verified: &Verified<'_>,
    settings: &ParseSettings<'_>,
) -> Result<ParseOutcome, ParseError> {
    let body = object(verified.bytes())?;
    let mistaken = misspelled(&body);
    let time = time(&body)?;
    // A misspelled time is checked too: a replay learns nothing else about the body.
    let misspelled_time = mistaken.iter().find(|(_, known)| *known == "time");
    let misspelled_time = misspelled_time.and_then(|(own, _)| body.get(*own)?.as_u64());
    for time in [time, misspelled_time].into_iter().flatten() {
        check_age(time, settings.unix).map_err(ParseError::Stale)?;
    }
    if let Some((own, known)) = mistaken.first() {
        return Err(ParseError::Malformed(format!(
            "unknown field {}; did you mean \"{known}\"? other unknown fields are ignored",
            quoted(own)
        )));
    }
    let name = text(&body, "event")?.unwrap_or_else(|| "stack_update".to_owned());
    if name == PING {
        return Ok(ParseOutcome::Ignored(PING.to_owned()));
    }
    if !SENDER.events.iter().any(|kind| kind.name == name) {
        let known: Vec<&str> = SENDER.events.iter().map(|kind| kind.name).collect();
        return Err(ParseError::Malformed(format!(
            "unknown event {}; the known events are {}, {PING}",
            quoted(&name),
            known.join(", ")
        )));
    }
    let requested = RequestedChanges {
        stack: text(&body, "stack")?,
        set: variables(&body)?,
        force: flag(&body, "force")?,
    };
    // A signed body without a time can be repeated at any later date.
    let replayable = time.is_none() && verified.timestamp().is_none();
    if replayable && (requested.force || !requested.set.is_empty()) {
        return Err(ParseError::Malformed(
            "\"env\" and \"force\" need \"time\", the Unix seconds of now".to_owned(),
        ));
    }
    let images = images(&body)?;
    let branch = fact(&body, "branch")?.map(EventRef::Branch);
    let tag = fact(&body, "tag")?.map(EventRef::Tag);
    Ok(ParseOutcome::Delivery(ParsedDelivery {
        id: id(&body)?,
        time,
        requested,
        events: vec![Event {
            name,
            cause: if images.is_empty() {
                Cause::Asked
            } else {
                Cause::Image
            },
            refs: branch.into_iter().chain(tag).collect(),
            repository: fact(&body, "repository")?,
            images,
            ..Event::default()
        }],
    }))
}

/// Unknown fields whose names are nearly those of known ones, each with the known one.
fn misspelled(body: &Map<String, Value>) -> Vec<(&str, &'static str)> {
    let unknown = body.keys().filter(|own| !FIELDS.contains(&own.as_str()));
    let near = |own: &&String| FIELDS.iter().copied().find(|known| is_near(own, known));
    unknown
        .filter_map(|own| Some((own.as_str(), near(&own)?)))
        .collect()
}

/// Returns whether `own` differs from a known name by case, plural or hyphens, or by one letter if the name has five or more.
fn is_near(own: &str, known: &str) -> bool {
    let plain = |byte: &u8| !matches!(byte, b'-' | b'_' | b' ' | b'.');
    let own: Vec<u8> = own.to_lowercase().bytes().filter(plain).collect();
    let known = known.as_bytes();
    let plural = [b"s".as_slice(), b"es"]
        .iter()
        .any(|ending| own.strip_suffix(*ending) == Some(known));
    own == known || plural || (known.len() >= 5 && is_one_letter_off(&own, known))
}

/// Returns whether the names differ by one inserted, missing, changed or swapped letter.
fn is_one_letter_off(own: &[u8], known: &[u8]) -> bool {
    let same = own.iter().zip(known).take_while(|(a, b)| a == b).count();
    let (own, known) = (own.split_at(same).1, known.split_at(same).1);
    match (own, known) {
        ([_, own @ ..], known) if own == known => true,
        (own, [_, known @ ..]) if own == known => true,
        ([_, own @ ..], [_, known @ ..]) if own == known => true,
        ([a, b, own @ ..], [c, d, known @ ..]) => (a, b, own) == (d, c, known),
        _ => false,
    }
}

fn object(bytes: &[u8]) -> Result<Map<String, Value>, ParseError> {
    if bytes.trim_ascii().is_empty() {
        return Ok(Map::new());
    }
    match strict_json::from_slice(bytes) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(ParseError::Malformed(
            "the body is JSON, but not an object".to_owned(),
        )),
        Err(error) => Err(error.into()),
    }
}

fn wrong(field: &str, must: &str) -> ParseError {
    ParseError::Malformed(format!("\"{field}\" must be {must}"))
}

fn time(body: &Map<String, Value>) -> Result<Option<u64>, ParseError> {
    body.get("time")
        .map(|time| {
            time.as_u64()
                .ok_or_else(|| wrong("time", "a whole number, the Unix seconds of now"))
        })
        .transpose()
}

fn text(body: &Map<String, Value>, field: &str) -> Result<Option<String>, ParseError> {
    body.get(field)
        .map(|value| match value {
            Value::String(text) => Ok(text.clone()),
            _ => Err(wrong(field, "a text")),
        })
        .transpose()
}

/// An optional fact. Pipelines fill it from variables that may be empty: an empty text states nothing.
fn fact(body: &Map<String, Value>, field: &str) -> Result<Option<String>, ParseError> {
    Ok(text(body, field)?.filter(|text| !text.is_empty()))
}

fn flag(body: &Map<String, Value>, field: &str) -> Result<bool, ParseError> {
    match body.get(field) {
        None => Ok(false),
        Some(Value::Bool(flag)) => Ok(*flag),
        Some(_) => Err(wrong(field, "true or false")),
    }
}

fn id(body: &Map<String, Value>) -> Result<Option<String>, ParseError> {
    let id = text(body, "id")?;
    match id.as_ref().is_none_or(|id| is_id(id)) {
        true => Ok(id),
        false => Err(wrong("id", "1 to 200 bytes without control characters")),
    }
}

/// One image or a list. An empty list is a mistake: it could mean none or all.
fn images(body: &Map<String, Value>) -> Result<Vec<Reference>, ParseError> {
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
                ParseError::Malformed(format!("image {} cannot be read: {error}", quoted(image)))
            }),
            _ => Err(wrong("image", "a text or a list of texts")),
        })
        .collect()
}

fn variables(body: &Map<String, Value>) -> Result<BTreeMap<String, String>, ParseError> {
    let variables = match body.get("env") {
        None => return Ok(BTreeMap::new()),
        Some(Value::Object(variables)) if variables.len() <= limits::NAMED_MAX => variables,
        Some(_) => return Err(wrong("env", "an object of at most 64 variables")),
    };
    let mut plain = BTreeMap::new();
    for (name, value) in variables {
        match value {
            Value::String(value) if is_plain(value) => {
                plain.insert(name.clone(), value.clone());
            }
            // The value is not repeated: it may be a secret put in the wrong place.
            _ => {
                return Err(ParseError::Malformed(format!(
                    "the value of variable {} must be a text of 1 to 256 letters, digits and . _ @ : / + -",
                    quoted(name)
                )));
            }
        }
    }
    Ok(plain)
}

/// Returns whether a value has only the characters of tags, digests and versions: nothing that a compose file would interpolate or split.
fn is_plain(value: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._@:/+-".contains(&byte);
    (1..=VARIABLE_VALUE_MAX).contains(&value.len()) && value.bytes().all(allowed)
}

#[cfg(test)]
pub(super) fn samples() -> Vec<super::Sample> {
    let events = ["stack_update", "image_update", "deployment"];
    let sample = |event| super::Sample {
        event,
        headers: Vec::new(),
        body: serde_json::json!({"event": event}),
    };
    events.into_iter().map(sample).collect()
}
