//! Every variable that means something, and what to say of those that only look so.

use super::surroundings::Surroundings;
use crate::near::nearest;

/// Variables that stand for a key: section, key, variable.
pub(super) const PLAIN: &[(&str, &str, &str)] = &[
    ("", "listen", "STACKHOOK_LISTEN"),
    ("", "public_url", "STACKHOOK_PUBLIC_URL"),
    ("", "state_dir", "STACKHOOK_STATE_DIR"),
    ("", "trusted_proxies", "STACKHOOK_TRUSTED_PROXIES"),
    ("", "max_body", "STACKHOOK_MAX_BODY"),
    ("", "log", "STACKHOOK_LOG"),
    ("", "log_format", "STACKHOOK_LOG_FORMAT"),
    ("portainer", "url", "PORTAINER_URL"),
    ("portainer", "user", "PORTAINER_USER"),
    ("portainer", "ca_file", "PORTAINER_CA_FILE"),
    (
        "portainer",
        "certificate_sha256",
        "PORTAINER_CERTIFICATE_SHA256",
    ),
    ("portainer", "insecure", "PORTAINER_INSECURE"),
    ("portainer", "timeout", "PORTAINER_TIMEOUT"),
    ("notify", "format", "STACKHOOK_NOTIFY_FORMAT"),
    ("staff", "user", "STACKHOOK_STAFF_USER"),
];

/// Secrets: section, key, variable (also with `_FILE`), and the file in the credentials directory.
pub(super) const SECRET: &[(&str, &str, &str, Option<&str>)] = &[
    (
        "portainer",
        "api_key",
        "PORTAINER_API_KEY",
        Some("portainer-api-key"),
    ),
    (
        "portainer",
        "password",
        "PORTAINER_PASSWORD",
        Some("portainer-password"),
    ),
    ("notify", "url", "STACKHOOK_NOTIFY_URL", None),
    ("notify", "secret", "STACKHOOK_NOTIFY_SECRET", None),
    (
        "staff",
        "password",
        "STACKHOOK_STAFF_PASSWORD",
        Some("staff-password"),
    ),
];

pub(super) const STACK_NAME: &str = "PORTAINER_STACK_NAME";
pub(super) const STACK_NAME_OF: &str = "PORTAINER_STACK_NAME_";
pub(super) const ENVIRONMENT: &str = "PORTAINER_ENVIRONMENT";
pub(super) const WEBHOOK_SECRET: &str = "PORTAINER_WEBHOOK_SECRET";
pub(super) const WEBHOOK_SENDER: &str = "PORTAINER_WEBHOOK_SENDER";
pub(super) const WEBHOOK_CREDENTIAL: &str = "webhook-secret";
/// Variables that are no keys.
pub(super) const OTHERS: &[&str] = &["STACKHOOK_CONFIG", "STACKHOOK_URL"];

/// Whether a variable means something here.
pub(super) fn is_known(name: &str) -> bool {
    known().any(|known| known == name) || name.starts_with(STACK_NAME_OF)
}

fn known() -> impl Iterator<Item = String> {
    let with_file = |name: &'static str| [name.to_owned(), format!("{name}_FILE")];
    let plain = PLAIN.iter().map(|(_, _, name)| *name);
    let others = [STACK_NAME, ENVIRONMENT, WEBHOOK_SENDER];
    plain
        .chain(others)
        .chain(OTHERS.iter().copied())
        .map(str::to_owned)
        .chain(
            SECRET
                .iter()
                .flat_map(move |(_, _, name, _)| with_file(name)),
        )
        .chain(with_file(WEBHOOK_SECRET))
}

/// Warns about variables that look like ours and mean nothing.
pub(super) fn unknown(surroundings: &Surroundings, warnings: &mut Vec<String>) {
    let rest_of = |name: &str| name.split_once('_').map(|(_, rest)| rest.to_owned());
    let known: Vec<(String, String)> = known()
        .filter_map(|name| Some((rest_of(&name)?, name)))
        .collect();
    let mut injected = Vec::new();
    for (name, value) in &surroundings.variables {
        let ours = ["PORTAINER_", "STACKHOOK_"]
            .iter()
            .find_map(|prefix| name.strip_prefix(prefix));
        match ours {
            Some(_) if value.is_empty() || is_known(name) => {}
            Some(rest) if is_injected(rest) => injected.push(name.as_str()),
            Some(rest) => {
                let near = nearest(rest, known.iter().map(|(rest, _)| rest.as_str()))
                    .and_then(|near| known.iter().find(|(rest, _)| rest == near))
                    .map_or_else(String::new, |(_, name)| format!("; did you mean {name}?"));
                warnings.push(format!("{name}: unknown variable, ignored{near}"));
            }
            None => {}
        }
    }
    if let Some(first) = injected.first() {
        warnings.push(format!(
            "{} variables such as {first} are ignored: Docker or Kubernetes sets them for a container or \
             service of that name",
            injected.len()
        ));
    }
}

/// Names that Kubernetes' services and Docker's links make, after the service's name.
fn is_injected(rest: &str) -> bool {
    let has_number = |text: &str| text.starts_with(|sign: char| sign.is_ascii_digit());
    let port = rest.split("PORT_").nth(1).is_some_and(has_number);
    let word = |word: &str| rest == word || rest.ends_with(&format!("_{word}"));
    port || rest.contains("SERVICE_PORT")
        || rest.starts_with("ENV_")
        || rest == "NAME"
        || ["PORT", "SERVICE_HOST"].into_iter().any(word)
}
