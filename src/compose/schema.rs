//! Checks of values that are otherwise not read: a file that compose may refuse is not certain, because an update with it
//! fails only after it was sent. The checks accept the common spellings of a value and nothing else.

use super::interpolate::Template;
use super::reader::{Content, Map, Node, is_boolean, is_not_text};
use super::variables::Variables;

/// The keys of a compose file.
const TOP_LEVEL: [&str; 9] = [
    "configs", "include", "models", "name", "networks", "secrets", "services", "version", "volumes",
];

/// The keys of a service in any release from 2.0 to 2.16.
const SERVICE: &str = " annotations attach blkio_config build cap_add cap_drop cgroup cgroup_parent command configs \
    container_name cpu_count cpu_percent cpu_period cpu_quota cpu_rt_period cpu_rt_runtime cpu_shares cpus cpuset \
    credential_spec depends_on deploy develop device_cgroup_rules devices dns dns_opt dns_search domainname entrypoint \
    env_file environment expose extends external_links extra_hosts gpus group_add healthcheck hostname image init ipc \
    isolation label_file labels links logging mac_address mem_limit mem_reservation mem_swappiness memswap_limit models \
    network_mode networks oom_kill_disable oom_score_adj pid pids_limit platform ports post_start pre_start pre_stop \
    privileged profiles provider pull_policy read_only restart runtime scale secrets security_opt shm_size stdin_open \
    stop_grace_period stop_signal storage_opt sysctls tmpfs tty ulimits use_api_socket user userns_mode uts volumes \
    volumes_from working_dir ";

/// The form of a value.
#[derive(Clone, Copy)]
enum Form {
    Boolean,
    Integer,
    Number,
    Size,
    Duration,
    Name,
}

const FORMS: [(&str, Form); 22] = [
    ("privileged", Form::Boolean),
    ("init", Form::Boolean),
    ("read_only", Form::Boolean),
    ("stdin_open", Form::Boolean),
    ("tty", Form::Boolean),
    ("oom_kill_disable", Form::Boolean),
    ("oom_score_adj", Form::Integer),
    ("pids_limit", Form::Integer),
    ("cpu_shares", Form::Integer),
    ("cpu_count", Form::Integer),
    ("mem_swappiness", Form::Integer),
    ("cpus", Form::Number),
    ("cpu_percent", Form::Number),
    ("mem_limit", Form::Size),
    ("mem_reservation", Form::Size),
    ("memswap_limit", Form::Size),
    ("shm_size", Form::Size),
    ("stop_grace_period", Form::Duration),
    ("container_name", Form::Name),
    ("healthcheck.interval", Form::Duration),
    ("healthcheck.timeout", Form::Duration),
    ("healthcheck.start_period", Form::Duration),
];

/// Checks the keys of the file and its version. The error is the path of the first doubtful value.
pub(super) fn check_top_level(top: &Map) -> Result<(), String> {
    for (key, value) in top {
        if !(TOP_LEVEL.contains(&key.as_ref()) || key.starts_with("x-")) {
            return Err(key.to_string());
        }
        let is_text = matches!(&value.content, Content::Text { text, plain } if !(*plain && is_not_text(text)));
        if matches!(key.as_ref(), "version" | "name") && !is_text {
            return Err(key.to_string());
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
    for (key, node) in service {
        let is_known = SERVICE.contains(&format!(" {key} ")) || key.starts_with("x-");
        let is_valid = match key.as_ref() {
            "environment" | "labels" | "annotations" => is_pairs(node),
            "ports" => items(node).is_none_or(|ports| {
                ports
                    .iter()
                    .all(|port| text_of(port, variables).is_none_or(|text| is_port(&text)))
            }),
            "restart" => {
                !matches!(&node.content, Content::Text { text, plain: true } if is_boolean(text))
            }
            "profiles" | "networks"
                if items(node).is_some_and(|list| list.iter().any(|item| is_plain_other(item))) =>
            {
                false
            }
            "network_mode" => !service.contains_key("networks"),
            "depends_on" => {
                let services = section(top, "services");
                names(node).iter().all(|other| {
                    let other_service = services.and_then(|services| services.get(*other));
                    *other != name
                        && other_service
                            .is_some_and(|node| !has_profiles(node) || has_profiles_map(service))
                })
            }
            "networks" => names(node)
                .iter()
                .all(|network| *network == "default" || has(top, "networks", network)),
            "secrets" | "configs" => names(node).iter().all(|used| has(top, key, used)),
            "volumes" => names(node)
                .iter()
                .all(|volume| is_defined_volume(volume, top)),
            "healthcheck" => true,
            _ => true,
        };
        if !is_known || !is_valid {
            return Err(key.to_string());
        }
    }
    for (path, form) in FORMS {
        let node = match path.split_once('.') {
            None => service.get(path),
            Some((outer, inner)) => service.get(outer).and_then(|node| match &node.content {
                Content::Map(map) => map.get(inner),
                Content::List(_) | Content::Text { .. } => None,
            }),
        };
        let text = node.and_then(|node| text_of(node, variables));
        if text.is_some_and(|text| !form.accepts(&text)) {
            return Err(path.to_owned());
        }
    }
    Ok(())
}

impl Form {
    fn accepts(self, text: &str) -> bool {
        let digits =
            |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = |text: &str| match text.split_once('.') {
            Some((whole, fraction)) => digits(whole) && digits(fraction),
            None => digits(text),
        };
        match self {
            Form::Boolean => matches!(
                text.to_ascii_lowercase().as_str(),
                "true" | "false" | "yes" | "no" | "on" | "off" | "y" | "n"
            ),
            Form::Integer => digits(text.strip_prefix('-').unwrap_or(text)),
            Form::Number => number(text),
            Form::Size => {
                let lower = text.to_ascii_lowercase();
                let bare = lower.strip_suffix('b').unwrap_or(&lower);
                number(bare.strip_suffix(['k', 'm', 'g', 't']).unwrap_or(bare)) || text == "-1"
            }
            Form::Duration => {
                let mut rest = text;
                while let Some(end) =
                    rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.')
                {
                    let (amount, after) = rest.split_at(end);
                    let unit = ["ms", "us", "ns", "s", "m", "h"]
                        .into_iter()
                        .find_map(|unit| after.strip_prefix(unit));
                    match unit {
                        Some(after) if number(amount) => rest = after,
                        _ => return false,
                    }
                }
                rest.is_empty() && !text.is_empty()
            }
            Form::Name => {
                text.len() > 1
                    && text.starts_with(|first: char| first.is_ascii_alphanumeric())
                    && text.bytes().all(|byte| {
                        byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-')
                    })
            }
        }
    }
}

/// The interpolated text of a value; none for lists, maps, null and values that are not certain.
fn text_of(node: &Node, variables: &Variables) -> Option<String> {
    let Content::Text { text, plain } = &node.content else {
        return None;
    };
    if *plain && super::reader::is_null(text) {
        return None;
    }
    let template = Template::parse(text).ok()?;
    template.fill(variables).ok().map(|filled| filled.text)
}

/// A map of texts, or a list of texts.
fn is_pairs(node: &Node) -> bool {
    let scalar = |node: &Node| matches!(node.content, Content::Text { .. });
    match &node.content {
        Content::Map(map) => map.values().all(|value| scalar(value)),
        Content::List(list) => list
            .iter()
            .all(|item| scalar(item) && !is_plain_other(item)),
        Content::Text { text, plain } => *plain && super::reader::is_null(text),
    }
}

fn is_plain_other(node: &Node) -> bool {
    matches!(&node.content, Content::Text { text, plain: true } if is_not_text(text))
}

/// `[host:]port[:port][/protocol]`, ports perhaps as ranges.
fn is_port(text: &str) -> bool {
    let text = text.split_once('/').map_or(text, |(ports, _)| ports);
    let numeric = |part: &str| {
        part.split('-')
            .all(|port| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let is_address = |part: &str| {
        part.is_empty()
            || part
                .bytes()
                .all(|byte| byte.is_ascii_hexdigit() || b".:[]".contains(&byte))
    };
    match text.rsplit_once(':') {
        None => numeric(text),
        Some((before, target)) => {
            let (address, published) = before.rsplit_once(':').unwrap_or(("", before));
            numeric(target) && (published.is_empty() || numeric(published)) && is_address(address)
        }
    }
}

fn items(node: &Node) -> Option<&[std::rc::Rc<Node>]> {
    match &node.content {
        Content::List(list) => Some(list),
        Content::Map(_) | Content::Text { .. } => None,
    }
}

/// The names in a list of texts or of maps with a `source`, or the keys of a map; texts with variables are left out.
fn names(node: &Node) -> Vec<&str> {
    let text =
        |node: &'_ Node| matches!(&node.content, Content::Text { text, .. } if !text.contains('$'));
    match &node.content {
        Content::Map(map) => map.keys().map(AsRef::as_ref).collect(),
        Content::List(list) => list
            .iter()
            .filter_map(|item| match &item.content {
                Content::Map(map) if map.get("type").is_none() => map.get("source"),
                _ => Some(item),
            })
            .filter(|item| text(item))
            .filter_map(|item| match &item.content {
                Content::Text { text, .. } => Some(text.as_str()),
                Content::Map(_) | Content::List(_) => None,
            })
            .collect(),
        Content::Text { .. } => Vec::new(),
    }
}

fn section<'m>(top: &'m Map, key: &str) -> Option<&'m Map> {
    match &top.get(key)?.content {
        Content::Map(map) => Some(map),
        Content::List(_) | Content::Text { .. } => None,
    }
}

fn has(top: &Map, key: &str, name: &str) -> bool {
    section(top, key).is_some_and(|map| map.contains_key(name))
}

fn has_profiles(node: &Node) -> bool {
    match &node.content {
        Content::Map(map) => has_profiles_map(map),
        Content::List(_) | Content::Text { .. } => false,
    }
}

fn has_profiles_map(map: &Map) -> bool {
    map.get("profiles")
        .is_some_and(|node| items(node).is_some_and(|list| !list.is_empty()))
}

/// A volume of the form `name:/path` is defined at the top level; paths need no definition.
fn is_defined_volume(volume: &str, top: &Map) -> bool {
    match volume.split_once(':') {
        Some((source, _)) if !source.starts_with(['.', '/', '~', '\\']) && source.len() > 1 => {
            has(top, "volumes", source)
        }
        _ => true,
    }
}
