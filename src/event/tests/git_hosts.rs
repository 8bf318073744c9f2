//! GitHub, GitLab, the Gitea family and Bitbucket: what is acted on, and what never is.

mod github;
mod gitlab;
mod gitea;
mod bitbucket;

use serde_json::Value;

use super::super::Sender;
use super::summary_of;

const ZERO: &str = "0000000000000000000000000000000000000000";
const HASH: &str = "1234567890123456789012345678901234567890";

#[track_caller]
fn check(sender: Sender, event: &str, body: &Value, expected: &str) {
    let header = match sender {
        Sender::Github => "X-GitHub-Event",
        Sender::Gitea => "X-Gitea-Event",
        Sender::Forgejo => "X-Forgejo-Event",
        Sender::Gogs => "X-Gogs-Event",
        Sender::Bitbucket => "X-Event-Key",
        _ => "X-Nobody-Looks",
    };
    let summary = summary_of(sender, None, &[(header, event)], &body.to_string());
    assert_eq!(summary, expected, "{event}: {body}");
}

/// `body` with something else at one place.
fn with(body: &Value, pointer: &str, value: Value) -> Value {
    let mut body = body.clone();
    *body
        .pointer_mut(pointer)
        .unwrap_or_else(|| panic!("{pointer}")) = value;
    body
}
