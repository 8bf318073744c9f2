//! The shapes of the values that are otherwise not read. A file that compose may refuse is not certain, because an update with it fails
//! only after it was sent. The shapes are the common spellings that every release from 2.0 to 2.16 accepts, and nothing else.

#[rustfmt::skip] // tables, one shape a line
mod keys;

use std::net::{Ipv4Addr, Ipv6Addr};

use super::interpolate::Template;
use super::reader::{Map, Node, NodeContent, is_boolean, is_not_text, is_null};
use super::variables::{Variables, is_project_name};
use crate::limits;
use Shape::{
    Any, Boolean, Choice, CommandLine, ContainerName, Duration, Either, HealthTest, Integer, Limit,
    List, MapOf, Null, Number, Object, Pairs, Port, Scalar, Signed, Size, SizeText, Text, Volume,
};
use keys::{FILE, RESOURCES, SERVICE, TEXTS};

/// The shape of a value.
#[derive(Clone, Copy)]
enum Shape {
    Any,
    Null,
    Text,
    /// A text or a number.
    Scalar,
    Boolean,
    Integer,
    /// A number, or -1 for none.
    Limit,
    /// From -1000 to 1000.
    Signed,
    Number,
    Size,
    /// A size that is not a plain number.
    SizeText,
    Duration,
    ContainerName,
    Port,
    Volume,
    /// A text that splits into words as in a shell.
    CommandLine,
    /// `NONE`, or `CMD` or `CMD-SHELL` and the command.
    HealthTest,
    /// One of these texts, which are separated by blanks.
    Choice(&'static str),
    List(&'static Shape),
    /// A map with any keys.
    MapOf(&'static Shape),
    /// A map of scalars, or a list of texts.
    Pairs,
    /// A map with these keys, of which the named ones are required.
    Object(&'static [(&'static str, Shape)], &'static str),
    Either(&'static [Shape]),
}

/// Checks everything but the services. The error is the path of the first doubtful value.
pub(super) fn check_top_level(top: &Map, variables: &Variables) -> Result<(), String> {
    check_object(top, FILE, "", variables)?;
    let project = top.get("name").and_then(|node| text_of(node, variables));
    if project.is_some_and(|name| !is_project_name(&name)) {
        return Err("name".to_owned());
    }
    for (kind, keys, one_of) in RESOURCES {
        for (name, node) in section(top, kind).into_iter().flatten() {
            let NodeContent::Map(entry) = &node.content else {
                continue;
            };
            let is_among = |names: &str, key: &str| words(names).any(|name| name == key);
            let sources = entry.keys().filter(|key| is_among(one_of, key)).count();
            let is_external = entry.contains_key("external");
            let is_valid = entry.keys().all(|key| {
                let is_known = match is_external {
                    true => is_among("external name", key),
                    false => is_among(keys, key),
                };
                is_known || key.starts_with("x-")
            });
            if !is_valid || !(one_of.is_empty() || sources == 1) || !is_plain_name(name) {
                return Err(format!("{kind}.{name}"));
            }
        }
    }
    Ok(())
}

/// Checks a service. The error is the key of the first doubtful value.
pub(super) fn check_service(
    name: &str,
    service: &Map,
    top: &Map,
    variables: &Variables,
) -> Result<(), String> {
    check_object(service, SERVICE, "", variables)?;
    let services = section(top, "services");
    let other_service = |other: &str| {
        let other = other.split(':').next().filter(|other| *other != name)?;
        services?.get(other)
    };
    let may_depend = |other: &str| {
        other_service(other).is_some_and(|node| !has_profiles(node) || has_profiles_map(service))
    };
    let is_host = |host: &Node| match &host.content {
        NodeContent::Text { text, .. } => text.contains([':', '=', '$']),
        NodeContent::List(_) | NodeContent::Map(_) => false,
    };
    for (key, node) in service {
        let mut names = names(node).into_iter();
        let is_valid = match key.as_ref() {
            "network_mode" => {
                let mode = text_of(node, variables).unwrap_or_default();
                let shared = mode.strip_prefix("service:");
                !service.contains_key("networks")
                    && shared.is_none_or(|shared| other_service(shared).is_some())
            }
            "depends_on" => names.all(may_depend),
            "links" => names.all(|other| other_service(other).is_some()),
            "volumes_from" => {
                names.all(|other| other.starts_with("container:") || other_service(other).is_some())
            }
            "networks" => {
                names.all(|network| network == "default" || has(top, "networks", network))
            }
            "secrets" | "configs" => names.all(|used| has(top, key, used)),
            "volumes" => items(node).all(|volume| is_defined_volume(volume, top)),
            "extra_hosts" => items(node).all(is_host),
            "build" => is_build(node, top),
            _ => true,
        };
        if !is_valid {
            return Err(key.to_string());
        }
    }
    Ok(())
}

/// Returns whether a build has at most one Dockerfile and only secrets that are defined.
fn is_build(node: &Node, top: &Map) -> bool {
    let NodeContent::Map(build) = &node.content else {
        return true;
    };
    let secrets = build.get("secrets").map(|node| names(node));
    let mut secrets = secrets.into_iter().flatten();
    let has_two = build.contains_key("dockerfile") && build.contains_key("dockerfile_inline");
    !has_two && secrets.all(|used| has(top, "secrets", used))
}

fn check_object(
    map: &Map,
    keys: &[(&str, Shape)],
    required: &str,
    variables: &Variables,
) -> Result<(), String> {
    if let Some(missing) = words(required).find(|key| !map.contains_key(*key)) {
        return Err(missing.to_owned());
    }
    for (key, node) in map.iter().filter(|(key, _)| !key.starts_with("x-")) {
        let own = keys
            .iter()
            .find(|(names, _)| words(names).any(|name| name == key.as_ref()));
        let (_, shape) = own.ok_or_else(|| key.to_string())?;
        check(node, *shape, variables).map_err(|inner| below(key, &inner))?;
    }
    Ok(())
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(' ').filter(|word| !word.is_empty())
}

fn below(key: &str, inner: &str) -> String {
    match inner {
        "" => key.to_owned(),
        inner => format!("{key}.{inner}"),
    }
}

/// The error is the path below the value; empty for the value itself.
fn check(node: &Node, shape: Shape, variables: &Variables) -> Result<(), String> {
    match (shape, &node.content) {
        (Any, _) => Ok(()),
        (Either(shapes), _) => {
            // The last error belongs to the most detailed shape.
            let mut result = Err(String::new());
            for shape in shapes {
                result = check(node, *shape, variables);
                if result.is_ok() {
                    break;
                }
            }
            result
        }
        (Object(keys, required), NodeContent::Map(map)) => {
            check_object(map, keys, required, variables)
        }
        (MapOf(shape), NodeContent::Map(map)) => map.iter().try_for_each(|(key, node)| {
            check(node, *shape, variables).map_err(|inner| below(key, &inner))
        }),
        (Pairs, NodeContent::Map(_)) => {
            check(node, MapOf(&Either(&[Null, Boolean, Scalar])), variables)
        }
        (Pairs, NodeContent::List(_)) => check(node, TEXTS, variables),
        (List(shape), NodeContent::List(list)) => list
            .iter()
            .try_for_each(|item| check(item, *shape, variables)),
        (HealthTest, NodeContent::List(list)) => {
            let first = list.first().and_then(|first| text_of(first, variables));
            match matches!(first.as_deref(), Some("CMD" | "CMD-SHELL" | "NONE")) {
                true => check(node, TEXTS, variables),
                false => Err(String::new()),
            }
        }
        (_, NodeContent::Text { text, plain }) => {
            let is_plain = *plain && !text.contains('$');
            let is_valid = match shape {
                Null => is_plain && is_null(text),
                _ if is_plain && is_null(text) => false,
                Text | CommandLine | HealthTest | Volume | SizeText | Duration | ContainerName
                    if is_plain && is_not_text(text) =>
                {
                    false
                }
                // Releases write dates and special numbers differently.
                Scalar if is_plain && is_not_text(text) => {
                    is_number(text.strip_prefix('-').unwrap_or(text))
                }
                Boolean if is_plain && is_boolean(text) => true,
                Text | Scalar | HealthTest => true,
                CommandLine if !text.contains('$') => is_command_line(text),
                // No valid value is longer, and every alias is checked again.
                _ if text.len() > limits::COMPOSE_VALUE_MAX => false,
                // A value that is not certain is reported where its variable is missing.
                shape => text_of(node, variables).is_none_or(|text| shape.accepts(&text)),
            };
            match is_valid {
                true => Ok(()),
                false => Err(String::new()),
            }
        }
        _ => Err(String::new()),
    }
}

impl Shape {
    /// Returns whether compose accepts this text, variables replaced.
    fn accepts(self, text: &str) -> bool {
        match self {
            Boolean => matches!(
                text.to_ascii_lowercase().as_str(),
                "true" | "false" | "yes" | "no" | "on" | "off" | "y" | "n"
            ),
            Integer => is_digits(text),
            Limit => is_digits(text) || text == "-1",
            Signed => text
                .parse()
                .is_ok_and(|number: i16| (-1000..=1000).contains(&number)),
            Number => is_number(text),
            Size | SizeText => {
                let lower = text.to_ascii_lowercase();
                let letters = ['k', 'm', 'g', 't'];
                let bare = match lower.strip_suffix("ib") {
                    Some(bare) if bare.ends_with(letters) => bare,
                    _ => lower.strip_suffix('b').unwrap_or(&lower),
                };
                is_number(bare.strip_suffix(letters).unwrap_or(bare)) || text == "-1"
            }
            Duration => is_duration(text),
            ContainerName => text.len() > 1 && is_plain_name(text),
            Port => is_port(text),
            Volume => (1..=3).contains(&text.split(':').count()) && !text.is_empty(),
            CommandLine => is_command_line(text),
            Choice(texts) => words(texts).any(|word| word == text),
            Any | Text | Scalar | HealthTest | Null | List(_) | MapOf(_) | Pairs | Object(..)
            | Either(_) => false,
        }
    }
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_number(text: &str) -> bool {
    match text.split_once('.') {
        Some((whole, fraction)) => is_digits(whole) && is_digits(fraction),
        None => is_digits(text),
    }
}

/// Letters, digits, `_`, `.` and `-`, beginning with a letter or digit.
fn is_plain_name(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphanumeric())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
}

/// Numbers with units, such as `1m30s`.
fn is_duration(text: &str) -> bool {
    let mut rest = text;
    while let Some(end) = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.') {
        let (amount, after) = rest.split_at(end);
        let units = ["ms", "us", "ns", "s", "m", "h"];
        match units.into_iter().find_map(|unit| after.strip_prefix(unit)) {
            Some(after) if is_number(amount) => rest = after,
            _ => return false,
        }
    }
    rest.is_empty() && !text.is_empty()
}

/// `[[address:]port:]port[/protocol]`, ports perhaps as ranges of equal length.
fn is_port(text: &str) -> bool {
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let range = |ports: &str| {
        let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
        let (first, last): (u16, u16) = (first.parse().ok()?, last.parse().ok()?);
        (first <= last && !ports.starts_with('+')).then(|| last - first)
    };
    let (before, target) = ports.rsplit_once(':').unwrap_or(("", ports));
    let (address, published) = before.rsplit_once(':').unwrap_or(("", before));
    let six = address
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let is_address = match six {
        Some(six) => six.parse::<Ipv6Addr>().is_ok(),
        None => address.is_empty() || address.parse::<Ipv4Addr>().is_ok(),
    };
    let is_range = match (range(target), range(published)) {
        (None, _) => false,
        (Some(_), None) => published.is_empty(),
        (Some(target), Some(published)) => target == published,
    };
    is_address
        && is_range
        && ["tcp", "udp", "sctp"].contains(&protocol.to_ascii_lowercase().as_str())
}

/// Returns whether every quote is closed.
fn is_command_line(text: &str) -> bool {
    let (mut quote, mut escaped) = (None, false);
    for letter in text.bytes() {
        match (quote, letter) {
            _ if escaped => escaped = false,
            (None | Some(b'"'), b'\\') => escaped = true,
            (None, b'"' | b'\'') => quote = Some(letter),
            (Some(open), _) if open == letter => quote = None,
            _ => {}
        }
    }
    quote.is_none() && !escaped
}

/// The interpolated text of a value; none for lists, maps, null and values that are not certain.
fn text_of(node: &Node, variables: &Variables) -> Option<String> {
    let NodeContent::Text { text, plain } = &node.content else {
        return None;
    };
    if *plain && is_null(text) {
        return None;
    }
    let template = Template::parse(text).ok()?;
    template.fill(variables).ok().map(|filled| filled.text)
}

/// The names in a list of texts or of maps with a `source`, or the keys of a map; texts with variables are left out.
fn names(node: &Node) -> Vec<&str> {
    match &node.content {
        NodeContent::Map(map) => map.keys().map(AsRef::as_ref).collect(),
        NodeContent::List(_) | NodeContent::Text { .. } => items(node)
            .filter_map(|item| match &item.content {
                NodeContent::Map(map) => map.get("source").and_then(|source| plain_text(source)),
                NodeContent::List(_) | NodeContent::Text { .. } => plain_text(item),
            })
            .collect(),
    }
}

fn items(node: &Node) -> impl Iterator<Item = &Node> {
    let list = match &node.content {
        NodeContent::List(list) => list.as_slice(),
        NodeContent::Map(_) | NodeContent::Text { .. } => &[],
    };
    list.iter().map(AsRef::as_ref)
}

/// A text without variables.
fn plain_text(node: &Node) -> Option<&str> {
    match &node.content {
        NodeContent::Text { text, .. } if !text.contains('$') => Some(text),
        NodeContent::Text { .. } | NodeContent::List(_) | NodeContent::Map(_) => None,
    }
}

fn section<'m>(top: &'m Map, key: &str) -> Option<&'m Map> {
    match &top.get(key)?.content {
        NodeContent::Map(map) => Some(map),
        NodeContent::List(_) | NodeContent::Text { .. } => None,
    }
}

fn has(top: &Map, key: &str, name: &str) -> bool {
    section(top, key).is_some_and(|map| map.contains_key(name))
}

fn has_profiles(node: &Node) -> bool {
    match &node.content {
        NodeContent::Map(map) => has_profiles_map(map),
        NodeContent::List(_) | NodeContent::Text { .. } => false,
    }
}

fn has_profiles_map(map: &Map) -> bool {
    map.get("profiles")
        .is_some_and(|node| items(node).next().is_some())
}

/// A volume with a name (`name:/path`, or a map of type `volume`) is defined at the top level; paths need no definition.
fn is_defined_volume(volume: &Node, top: &Map) -> bool {
    let source = match &volume.content {
        NodeContent::Map(map) => match map.get("type").and_then(|kind| plain_text(kind)) {
            Some("volume") => map.get("source").and_then(|source| plain_text(source)),
            _ => None,
        },
        NodeContent::List(_) | NodeContent::Text { .. } => plain_text(volume)
            .and_then(|short| short.split_once(':'))
            .map(|(source, _)| source)
            .filter(|source| !source.starts_with(['.', '/', '~', '\\']) && source.len() > 1),
    };
    source.is_none_or(|source| has(top, "volumes", source))
}
