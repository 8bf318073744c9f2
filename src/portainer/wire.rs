//! Portainer's API as it is spelled: paths, answers and bodies, one to one. The only place that says "endpoint". What it means is said elsewhere.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Deserializer, Serialize};

/// Portainer's number of a stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct StackId(pub(crate) i64);

/// Portainer's number of an environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct EnvironmentId(pub(crate) i64);

/// Portainer's number of a registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct RegistryId(pub(crate) i64);

impl std::fmt::Display for StackId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::fmt::Display for EnvironmentId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::fmt::Display for RegistryId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

pub(super) const LOGIN: &str = "/api/auth";
pub(super) const STATUS: &str = "/api/system/status";
pub(super) const STATUS_BEFORE_2_15: &str = "/api/status";
pub(super) const ME: &str = "/api/users/me";
pub(super) const ENVIRONMENTS: &str = "/api/endpoints?excludeSnapshots=true";
pub(super) const STACKS: &str = "/api/stacks";

pub(super) const PUBLIC_SETTINGS: &str = "/api/settings/public";

/// `AuthenticationMethod` of a Portainer that signs people in with OAuth.
pub(super) const OAUTH: i64 = 3;
/// `Status` of an environment that Portainer cannot reach.
pub(super) const ENVIRONMENT_DOWN: i64 = 2;

pub(super) fn environment(id: EnvironmentId) -> String {
    format!("/api/endpoints/{id}?excludeSnapshots=true")
}

/// The environment that a path of the Docker proxy is about.
pub(super) fn environment_of(path: &str) -> Option<EnvironmentId> {
    let rest = path.strip_prefix("/api/endpoints/")?;
    let (id, rest) = rest.split_once('/')?;
    let proxied = rest.starts_with("docker/") || rest == "forceupdateservice";
    id.parse().ok().filter(|_| proxied).map(EnvironmentId)
}

pub(super) fn stack(id: StackId) -> String {
    format!("/api/stacks/{id}")
}

pub(super) fn file(id: StackId) -> String {
    format!("/api/stacks/{id}/file")
}

pub(super) fn update(id: StackId, environment: EnvironmentId) -> String {
    format!("/api/stacks/{id}?endpointId={environment}")
}

pub(super) fn redeploy_from_git(id: StackId, environment: EnvironmentId) -> String {
    format!("/api/stacks/{id}/git/redeploy?endpointId={environment}")
}

pub(super) fn registries(environment: EnvironmentId) -> String {
    format!("/api/endpoints/{environment}/registries")
}

pub(super) fn force_update(environment: EnvironmentId) -> String {
    format!("/api/endpoints/{environment}/forceupdateservice")
}

/// A path of the Docker API of this environment.
pub(super) fn docker(environment: EnvironmentId, rest: &str) -> String {
    format!("/api/endpoints/{environment}/docker{rest}")
}

/// Docker's `filters` parameter for one label or name.
pub(super) fn filters(by: &str, value: &str) -> String {
    in_query(&serde_json::json!({ by: [value] }).to_string())
}

/// Text as a value in a query.
pub(super) fn in_query(text: &str) -> String {
    const KEPT: &AsciiSet = &NON_ALPHANUMERIC
        .remove(b'-')
        .remove(b'.')
        .remove(b'_')
        .remove(b'~');
    utf8_percent_encode(text, KEPT).to_string()
}

/// A `Date` header as seconds since 1970 (RFC 9110 section 5.6.7; the two forms that nobody sends any more are not read).
pub(super) fn unix(date: &str) -> Option<u64> {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let (_, date) = date.split_once(", ")?;
    let mut words = date.strip_suffix(" GMT")?.splitn(4, ' ');
    let day: u64 = words.next()?.parse().ok()?;
    let name = words.next()?;
    let month = MONTHS.iter().position(|month| *month == name)?;
    let year: u64 = words.next()?.parse().ok()?;
    let mut time = words.next()?.splitn(3, ':').map(str::parse::<u64>);
    let (hour, minute, second) = (time.next()?.ok()?, time.next()?.ok()?, time.next()?.ok()?);
    if !(1970..=9999).contains(&year) || !(1..=31).contains(&day) {
        return None;
    }
    // The year is counted from March, so that the leap day is its last.
    let (year, month) = match month {
        0 | 1 => (year - 1, month + 10),
        _ => (year, month - 2),
    };
    let months = (153 * u64::try_from(month).ok()? + 2) / 5;
    let days =
        (365 * year + year / 4 - year / 100 + year / 400 + months + day).checked_sub(719_469)?;
    Some(days * 86_400 + hour * 3_600 + minute * 60 + second)
}

/// Portainer and Docker write `null` for what is empty.
pub(super) fn nullable<'de, D, T>(from: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Login<'a> {
    pub(super) username: &'a str,
    pub(super) password: &'a str,
}

#[derive(Deserialize)]
pub(super) struct LoggedIn {
    pub(super) jwt: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Release {
    pub(super) version: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct User {
    pub(super) id: i64,
    #[serde(default, deserialize_with = "nullable")]
    pub(super) username: String,
    #[serde(default, deserialize_with = "nullable")]
    pub(super) role: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Endpoint {
    pub(super) id: EnvironmentId,
    #[serde(default, deserialize_with = "nullable")]
    pub(super) name: String,
    #[serde(default, deserialize_with = "nullable")]
    pub(super) status: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct PublicSettings {
    #[serde(default, deserialize_with = "nullable")]
    pub(super) authentication_method: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Registry {
    pub(super) id: RegistryId,
    #[serde(default, deserialize_with = "nullable")]
    pub(super) name: String,
    #[serde(default, rename = "URL", deserialize_with = "nullable")]
    pub(super) url: String,
    #[serde(default, deserialize_with = "nullable")]
    pub(super) authentication: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct File {
    pub(super) stack_file_content: String,
}

/// One variable of a stack; its value may be an application's secret.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Variable {
    /// Its name.
    pub(crate) name: String,
    /// Its value. Never shown, never logged.
    #[serde(default, deserialize_with = "nullable")]
    pub(crate) value: String,
}

impl std::fmt::Debug for Variable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}=***", self.name)
    }
}

/// A stack object, as far as it is read or must be echoed (contract 4).
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Stack {
    pub(super) id: StackId,
    pub(super) name: String,
    #[serde(default, deserialize_with = "nullable")]
    pub(super) r#type: i64,
    pub(super) endpoint_id: EnvironmentId,
    #[serde(default, deserialize_with = "nullable")]
    pub(super) status: i64,
    #[serde(default, deserialize_with = "nullable")]
    pub(super) env: Vec<Variable>,
    #[serde(default, deserialize_with = "nullable")]
    pub(super) update_date: i64,
    #[serde(default, deserialize_with = "nullable")]
    pub(super) additional_files: Vec<String>,
    #[serde(default, deserialize_with = "nullable")]
    pub(super) option: StackOption,
    pub(super) git_config: Option<GitConfig>,
    #[serde(default, deserialize_with = "nullable")]
    pub(super) from_app_template: bool,
    #[serde(default, rename = "WorkflowID", deserialize_with = "nullable")]
    pub(super) workflow_id: i64,
    pub(super) webhook: Option<String>,
    pub(super) registries: Option<Vec<RegistryId>>,
    #[serde(default, deserialize_with = "nullable")]
    pub(super) deployment_status: Vec<DeploymentStatus>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct StackOption {
    #[serde(default, deserialize_with = "nullable")]
    pub(super) prune: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct GitConfig {
    #[serde(default, deserialize_with = "nullable")]
    pub(super) reference_name: String,
    pub(super) authentication: Option<GitAuthentication>,
    #[serde(default, deserialize_with = "nullable")]
    pub(super) config_hash: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct GitAuthentication {
    #[serde(default, deserialize_with = "nullable")]
    pub(super) username: String,
    #[serde(default, rename = "GitCredentialID", deserialize_with = "nullable")]
    pub(super) git_credential_id: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct DeploymentStatus {
    #[serde(default, deserialize_with = "nullable")]
    pub(super) message: String,
}

/// The body of an update of a stack whose file Portainer keeps.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct FileUpdate {
    pub(super) stack_file_content: String,
    pub(super) env: Vec<Variable>,
    pub(super) prune: bool,
    /// Until 2.35 this name re-pulls; later releases know the other one.
    pub(super) pull_image: bool,
    pub(super) repull_image_and_redeploy: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) webhook: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) registries: Option<Vec<RegistryId>>,
}

/// The body of an update of a stack whose file comes from Git.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct GitUpdate {
    pub(super) repository_reference_name: String,
    pub(super) repository_authentication: bool,
    pub(super) repository_username: String,
    /// Empty: the stored one.
    pub(super) repository_password: &'static str,
    #[serde(rename = "RepositoryGitCredentialID", skip_serializing_if = "is_zero")]
    pub(super) repository_git_credential_id: i64,
    pub(super) env: Vec<Variable>,
    pub(super) prune: bool,
    pub(super) pull_image: bool,
    pub(super) repull_image_and_redeploy: bool,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde asks for a reference"
)]
fn is_zero(number: &i64) -> bool {
    *number == 0
}

#[derive(Serialize)]
pub(super) struct ForceUpdate<'a> {
    #[serde(rename = "ServiceID")]
    pub(super) service_id: &'a str,
    #[serde(rename = "PullImage")]
    pub(super) pull_image: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_of_answers_are_read() {
        let check = |date: &str, seconds| assert_eq!(unix(date), seconds, "{date}");
        // The first is the example of RFC 9110; the others are from `date -u -d @N`.
        check("Sun, 06 Nov 1994 08:49:37 GMT", Some(784_111_777));
        check("Thu, 01 Jan 1970 00:00:00 GMT", Some(0));
        check("Tue, 29 Feb 2000 12:00:00 GMT", Some(951_825_600));
        check("Mon, 01 Mar 2100 00:00:00 GMT", Some(4_107_542_400));
        check("Tue, 24 Nov 2026 11:40:41 GMT", Some(1_795_520_441));
        check("Sunday, 06-Nov-94 08:49:37 GMT", None);
        check("Sun, 06 Nov 1994 08:49:37 CET", None);
        check("Sun, 00 Foo 1994 08:49:37 GMT", None);
        check("", None);
    }

    #[test]
    fn escapes_query_values() {
        assert_eq!(
            filters("label", "a=b \"c\""),
            "%7B%22label%22%3A%5B%22a%3Db%20%5C%22c%5C%22%22%5D%7D"
        );
        assert_eq!(in_query("127.0.0.1:5000/web"), "127.0.0.1%3A5000%2Fweb");
    }
}
