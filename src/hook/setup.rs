//! What to enter at a hook's sender, so that its deliveries are accepted and only the wanted ones act. Printed by `sign --setup` and
//! shown on the settings page; it names where the secret goes, never the secret.

use std::fmt::Write as _;

use super::snippets::{self, Snippet};
use super::{Hook, HookName, Sender};
use crate::event::default_events;
use crate::signature::{Scheme, SchemeName, TokenKind};

/// What to enter.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Setup {
    /// Which hook, and for which sender.
    pub(crate) title: String,
    /// Field and value.
    pub(crate) fields: Vec<(&'static str, String)>,
    /// What surprises people.
    pub(crate) notes: Vec<String>,
    /// Ready jobs for pipelines.
    pub(crate) snippets: Vec<Snippet>,
}

/// The address of a hook below the address of the server.
pub(crate) fn url(base: &str, hook: &Hook) -> String {
    let base = base.trim_end_matches('/');
    match hook.name.as_str() {
        HookName::DEFAULT => format!("{base}/webhook/update/"),
        name => format!("{base}/webhook/update/{name}/"),
    }
}

/// What to enter at the sender of a hook that is reached under `url`.
pub(crate) fn of(hook: &Hook, url: &str) -> Setup {
    let address = match hook.scheme.name {
        SchemeName::UrlToken => format!("{url}?token=SECRET (the hook's secret, percent-encoded)"),
        _ => url.to_owned(),
    };
    let mut fields = vec![("Where", place(hook.sender).to_owned()), ("URL", address)];
    fields.extend(proof(hook));
    if takes_content_type(hook.sender) {
        fields.push(("Content type", "application/json".to_owned()));
    }
    fields.push(("Events", events(hook)));
    fields.push(("Rules", rules(hook)));
    let stacks: Vec<&str> = hook.stacks.iter().map(|stack| stack.as_str()).collect();
    if !stacks.is_empty() {
        fields.push(("Stacks", stacks.join(", ")));
    }
    let snippets = match (hook.sender, hook.scheme.name) {
        (Sender::Generic, SchemeName::Generic) => snippets::all(url, &hook.scheme.header),
        _ => Vec::new(),
    };
    let title = format!(
        "hook {:?}, sender {}",
        hook.name.as_str(),
        hook.sender.name()
    );
    Setup {
        title,
        fields,
        notes: notes(hook),
        snippets,
    }
}

/// As plain text.
pub(crate) fn text(setup: &Setup) -> String {
    let mut text = format!("{}\n\n", setup.title);
    for (field, value) in &setup.fields {
        let _ = writeln!(text, "{field:<14}{value}");
    }
    for note in &setup.notes {
        let _ = writeln!(text, "\n* {note}");
    }
    for snippet in &setup.snippets {
        let _ = writeln!(text, "\n--- {} ---\n{}", snippet.title, snippet.text);
    }
    text
}

/// Where in the sender's own pages.
fn place(sender: Sender) -> &'static str {
    match sender {
        Sender::Generic => {
            "a pipeline, a script, anything that can run curl: see the snippets below"
        }
        Sender::Github => "repository or organisation > Settings > Webhooks > Add webhook",
        Sender::Gitlab => "project or group > Settings > Webhooks > Add new webhook",
        Sender::Gitea | Sender::Forgejo => {
            "repository > Settings > Webhooks > Add webhook > Gitea or Forgejo"
        }
        Sender::Gogs => "repository > Settings > Webhooks > Add a new webhook > Gogs",
        Sender::Bitbucket => "repository > Repository settings > Webhooks > Add webhook",
        Sender::AzureDevops => {
            "project > Project settings > Service hooks > Create subscription > Web Hooks"
        }
        Sender::Dockerhub => "repository > Webhooks > New webhook",
        Sender::Quay => {
            "repository > Settings > Events and notifications > Create notification > Webhook POST"
        }
        Sender::Harbor => "project > Webhooks > New webhook, notify type http",
        Sender::Distribution => {
            "the registry's configuration file, under notifications > endpoints"
        }
        Sender::Acr => "container registry > Services > Webhooks > Add",
        Sender::Ecr => {
            "EventBridge > a rule on ECR Image Action, with an API destination as its target"
        }
        Sender::Diun => "diun.yml, under notif > webhook",
        Sender::Wud => "the environment of WUD: WUD_TRIGGER_HTTP_…",
        Sender::Custom => "the webhook settings of the system that posts",
    }
}

/// How the sender proves that it knows the secret.
fn proof(hook: &Hook) -> Vec<(&'static str, String)> {
    let secret = "the hook's secret, and nothing else".to_owned();
    match hook.scheme.name {
        SchemeName::Generic => {
            let header = header(&hook.scheme, "X-Portainer-Signature");
            vec![(
                "Header",
                format!(
                    "{header}: the hex HMAC-SHA256 of the raw body, keyed with the hook's secret"
                ),
            )]
        }
        SchemeName::StandardWebhooks if hook.sender == Sender::Gitlab => {
            vec![("Signing token", secret)]
        }
        SchemeName::Github
        | SchemeName::Gitea
        | SchemeName::Forgejo
        | SchemeName::Gogs
        | SchemeName::Bitbucket
        | SchemeName::StandardWebhooks => vec![("Secret", secret)],
        SchemeName::Token if hook.sender == Sender::Gitlab => vec![("Secret token", secret)],
        SchemeName::Token => {
            let value = match hook.scheme.kind {
                TokenKind::Raw => "the hook's secret".to_owned(),
                TokenKind::Bearer => "the word Bearer, a blank, the hook's secret".to_owned(),
                TokenKind::Basic => {
                    "user and password of Basic authentication: the two parts of the hook's secret"
                        .to_owned()
                }
            };
            let header = header(&hook.scheme, "Authorization");
            vec![("Header", format!("{header}: {value}"))]
        }
        SchemeName::UrlToken => Vec::new(),
    }
}

/// The header that a scheme reads, as people write it.
pub(crate) fn header(scheme: &Scheme, usual: &str) -> String {
    let header = match scheme.header.as_str() {
        "" => usual,
        header => header,
    };
    let word = |word: &str| {
        let mut signs = word.chars();
        signs.next().map_or_else(String::new, |first| {
            format!("{}{}", first.to_ascii_uppercase(), signs.as_str())
        })
    };
    header.split('-').map(word).collect::<Vec<_>>().join("-")
}

fn takes_content_type(sender: Sender) -> bool {
    matches!(
        sender,
        Sender::Github | Sender::Gitea | Sender::Forgejo | Sender::Gogs
    )
}

fn events(hook: &Hook) -> String {
    if !hook.rules.events.is_empty() {
        return format!(
            "{} (the hook's rule \"events\")",
            hook.rules.events.join(", ")
        );
    }
    match (hook.sender, default_events(hook.sender)) {
        (Sender::Github, _) => "\"Let me select individual events\": Pushes for a git stack; Workflow runs for images that a workflow builds; of the organisation also Packages".to_owned(),
        (Sender::Bitbucket, _) => "Repository push".to_owned(),
        (Sender::Generic, _) => "stack_update, image_update or deployment in the body; ping only answers".to_owned(),
        (_, Some(events)) => events.join(", "),
        (_, None) => "every delivery".to_owned(),
    }
}

fn rules(hook: &Hook) -> String {
    let rules = &hook.rules;
    let lists = [
        ("branches", &rules.branches),
        ("tags", &rules.tags),
        ("repositories", &rules.repositories),
        ("paths", &rules.paths),
    ];
    let mut set: Vec<String> = lists
        .into_iter()
        .filter(|(_, list)| !list.is_empty())
        .map(|(name, list)| format!("{name} = {list:?}"))
        .collect();
    let images: Vec<String> = rules.images.iter().map(ToString::to_string).collect();
    if !images.is_empty() {
        set.push(format!("images = {images:?}"));
    }
    match (set.is_empty(), proposal(hook.sender)) {
        (false, _) => set.join(", "),
        (true, Some(proposal)) => {
            format!("none: every branch, tag and image acts; consider {proposal} in this [[hook]]")
        }
        (true, None) => "none".to_owned(),
    }
}

fn proposal(sender: Sender) -> Option<&'static str> {
    match sender {
        Sender::Github => {
            Some("branches = [\"main\"], and images = [\"ghcr.io/you/app:*\"] for workflow runs")
        }
        Sender::Gitlab
        | Sender::Gitea
        | Sender::Forgejo
        | Sender::Gogs
        | Sender::Bitbucket
        | Sender::AzureDevops => Some("branches = [\"main\"]"),
        Sender::Dockerhub => Some("images = [\"docker.io/you/app:*\"] or tags = [\"v*\"]"),
        Sender::Quay => Some("images = [\"quay.io/you/app:*\"] or tags = [\"v*\"]"),
        Sender::Harbor
        | Sender::Distribution
        | Sender::Acr
        | Sender::Ecr
        | Sender::Diun
        | Sender::Wud => Some("images = [\"registry.example.com/you/app:*\"] or tags = [\"v*\"]"),
        Sender::Generic | Sender::Custom => None,
    }
}

/// What surprises people: how the sender reacts, and what it cannot reach.
fn notes(hook: &Hook) -> Vec<String> {
    let mut notes: Vec<&str> = match hook.sender {
        Sender::Generic => vec![
            "send \"time\" (Unix seconds) in the body: a body without it is signed the same for ever, and whoever records it can repeat it",
            "send an \"id\" that is new every time: two bodies that are the same to the letter, sent within the same second, are one request, and the second is answered as the first",
            "sign exactly the bytes that are sent: printf '%s', not echo, and --data-binary, not -d",
        ],
        Sender::Github => vec![
            "GitHub never repeats a failed delivery by itself, and does not call localhost or private addresses",
            "a push usually comes before its image is built; for images take workflow runs, with the hook's images set",
        ],
        Sender::Gitlab => vec![
            "GitLab 19 and later: take the signing token (whsec_…); earlier: the secret token",
            "a self-managed GitLab calls private addresses only when the administrator allows requests to the local network",
            "GitLab stops calling a hook after four failures in a row; a test that succeeds wakes it",
        ],
        Sender::Gitea | Sender::Forgejo => vec![
            "private addresses must be allowed in app.ini: [webhook] ALLOWED_HOST_LIST = private (or the host's name)",
            "the signature is of the JSON, so the content type must not be the form",
        ],
        Sender::Gogs => {
            vec!["private addresses must be allowed in app.ini: [security] LOCAL_NETWORK_ALLOWLIST"]
        }
        Sender::Bitbucket => vec!["Bitbucket Cloud reaches public addresses only"],
        Sender::AzureDevops => {
            vec!["basic authentication needs https; localhost and special addresses are refused"]
        }
        Sender::Dockerhub => vec![
            "Docker Hub cannot sign: the secret stands in the URL and in the log of every proxy on the way",
            "an image for several architectures is told several times; the deliveries are joined",
        ],
        Sender::Quay => vec![
            "Quay cannot sign: the secret stands in the URL and in the log of every proxy on the way",
            "Quay disables the notification after three failures",
        ],
        Sender::Harbor => vec![
            "Harbor sends the field \"auth header\" as it stands: enter the value as shown, without a word before it",
        ],
        Sender::Distribution => vec![
            "pull events are ignored here; ignoring them in the registry (ignore: actions: [pull]) spares the calls",
        ],
        Sender::Acr => vec!["choose the action push, and add the header under custom headers"],
        Sender::Ecr => vec![
            "EventBridge wants a public name with a public certificate; the connection's API key is the header",
        ],
        Sender::Diun => vec!["set method: POST, for Diun sends GET by default"],
        Sender::Wud => vec![
            "only updates under the tag that runs are deployed; a newer tag needs a change of the stack",
        ],
        Sender::Custom => vec![
            "what the payload says is read by the pointers of [hook.payload]; a value that a rule needs and that is missing is named in the reply",
        ],
    };
    if hook.scheme.name == SchemeName::Token && hook.sender != Sender::AzureDevops {
        notes.push("a token proves nothing about the body: use https");
    }
    notes.into_iter().map(str::to_owned).collect()
}
