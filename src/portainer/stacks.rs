//! What a stack object means, and the update that is made from it: of everything Portainer would erase, nothing can be forgotten, because the
//! only maker of an [`Update`] takes it from the record.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::wire::{self, EnvironmentId, StackId, Variable};

/// A stack as Portainer has it.
#[derive(Clone)]
pub(crate) struct Record {
    /// Portainer's number of it.
    pub(crate) id: StackId,
    /// Its name, normalised by Portainer.
    pub(crate) name: String,
    /// What runs it.
    pub(crate) kind: Kind,
    /// What it runs on.
    pub(crate) environment: EnvironmentId,
    /// What Portainer says of it; never proof that anything runs (contract 1).
    pub(crate) status: Status,
    /// Its variables, in Portainer's order.
    pub(crate) env: Vec<Variable>,
    /// The last successful update in seconds since 1970, by Portainer's clock; 0 after creation.
    pub(crate) update_date: i64,
    /// The rights its git settings ask for.
    pub(crate) source: Source,
    /// Whether it has further files, which the API does not show.
    pub(crate) has_more_files: bool,
    /// The last words of a deploy, where the release tells them (2.41 and later).
    pub(crate) deployment_message: Option<String>,
    echo: Echo,
}

/// What the next update would erase if it were left out.
#[derive(Clone)]
struct Echo {
    prune: bool,
    git: Option<Git>,
    webhook: Option<String>,
    registries: Option<Vec<wire::RegistryId>>,
}

#[derive(Clone)]
struct Git {
    reference: String,
    config_hash: String,
    user: Option<(String, i64)>,
}

/// What runs a stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A swarm's manager.
    Swarm,
    /// Compose on one engine.
    Compose,
    /// Kubernetes.
    Kubernetes,
    /// A number that is not known here.
    Other(i64),
}

/// What Portainer says of a stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Status {
    /// Deployed once, and not stopped.
    Active,
    /// Stopped by a person.
    Inactive,
    /// Being deployed just now.
    Deploying,
    /// The last deploy failed; the next update takes it down first.
    Error,
    /// Very old records and unknown numbers.
    Unsaid,
}

/// The rights to a git stack's Source, an object of its own since Portainer 2.43.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// The stack has none: a file stack, or an older release.
    Open,
    /// This user sees it. Only its owner and administrators may redeploy.
    Visible,
    /// It is not shared with this user, and Portainer refuses the redeploy.
    Hidden,
}

/// Where a stack's file comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Portainer keeps it.
    File,
    /// A Git repository.
    Git {
        /// The commit that is deployed; empty where the release does not tell.
        config_hash: String,
        /// The reference it follows, such as `refs/heads/main`.
        reference: String,
    },
}

impl Record {
    /// The project that its containers carry in a label. Compose writes project names in lower case, with letters, digits, `_` and
    /// `-` only; Swarm uses the name as it is.
    pub(crate) fn project(&self) -> String {
        if self.kind != Kind::Compose {
            return self.name.clone();
        }
        let name = self.name.to_lowercase();
        let allowed =
            |c: &char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-');
        let name: String = name.chars().filter(allowed).collect();
        name.trim_start_matches(['_', '-']).to_owned()
    }

    /// Where its file comes from (contract 4).
    pub(crate) fn origin(&self) -> Origin {
        match &self.echo.git {
            None => Origin::File,
            Some(git) => Origin::Git {
                config_hash: git.config_hash.clone(),
                reference: git.reference.clone(),
            },
        }
    }

    /// The registries that are assigned to it, where the release has that setting.
    pub(crate) fn registries(&self) -> &[wire::RegistryId] {
        self.echo.registries.as_deref().unwrap_or_default()
    }

    /// Its variables by name; of a repeated one the last.
    pub(crate) fn variables(&self) -> BTreeMap<String, String> {
        let pair = |variable: &Variable| (variable.name.clone(), variable.value.clone());
        self.env.iter().map(pair).collect()
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("id", &self.id)
            .field("name", &self.name)
            .field("kind", &self.kind)
            .field("environment", &self.environment)
            .field("status", &self.status)
            .field("env", &self.env)
            .field("update_date", &self.update_date)
            .field("origin", &self.origin())
            .finish_non_exhaustive()
    }
}

impl From<wire::Stack> for Record {
    fn from(stack: wire::Stack) -> Record {
        // From 2.43 on a stack from an app template has a workflow, too.
        let from_git =
            !stack.from_app_template && (stack.git_config.is_some() || stack.workflow_id != 0);
        let source = match (from_git && stack.workflow_id != 0, &stack.git_config) {
            (false, _) => Source::Open,
            (true, Some(_)) => Source::Visible,
            (true, None) => Source::Hidden,
        };
        let git = from_git.then(|| match stack.git_config {
            None => Git {
                reference: String::new(),
                config_hash: String::new(),
                user: None,
            },
            Some(git) => Git {
                reference: git.reference_name,
                config_hash: git.config_hash,
                user: git
                    .authentication
                    .map(|user| (user.username, user.git_credential_id)),
            },
        });
        Record {
            id: stack.id,
            name: stack.name,
            kind: match stack.r#type {
                1 => Kind::Swarm,
                2 => Kind::Compose,
                3 => Kind::Kubernetes,
                other => Kind::Other(other),
            },
            environment: stack.endpoint_id,
            status: match stack.status {
                1 => Status::Active,
                2 => Status::Inactive,
                3 => Status::Deploying,
                4 => Status::Error,
                _ => Status::Unsaid,
            },
            env: stack.env,
            update_date: stack.update_date,
            source,
            has_more_files: !stack.additional_files.is_empty(),
            deployment_message: stack
                .deployment_status
                .into_iter()
                .map(|status| super::words::shown(&status.message))
                .rfind(|message| !message.is_empty()),
            echo: Echo {
                prune: stack.option.prune,
                git,
                webhook: stack.webhook,
                registries: stack.registries,
            },
        }
    }
}

/// One update, ready to be sent, and sent at most once: it is taken by value.
pub(crate) struct Update {
    pub(super) stack: StackId,
    pub(super) name: String,
    pub(super) environment: EnvironmentId,
    pub(super) body: Body,
}

pub(super) enum Body {
    File(wire::FileUpdate),
    Git(wire::GitUpdate),
}

impl Update {
    /// The stack as `record` has it, with `file` (which a stack from Git ignores), the variables of `set` on top of its own, and, with
    /// `repull`, every image pulled by Portainer.
    pub(crate) fn of(
        record: &Record,
        file: &str,
        set: &BTreeMap<String, String>,
        repull: bool,
    ) -> Update {
        let env = merged(&record.env, set);
        let echo = record.echo.clone();
        let body = match echo.git {
            None => Body::File(wire::FileUpdate {
                stack_file_content: file.to_owned(),
                env,
                prune: echo.prune,
                pull_image: repull,
                repull_image_and_redeploy: repull,
                webhook: echo.webhook,
                registries: echo.registries,
            }),
            Some(git) => {
                let repository_authentication = git.user.is_some();
                let (user, credential) = git.user.unwrap_or_default();
                Body::Git(wire::GitUpdate {
                    repository_reference_name: git.reference,
                    repository_authentication,
                    repository_username: user,
                    repository_password: "",
                    repository_git_credential_id: credential,
                    env,
                    prune: echo.prune,
                    pull_image: repull,
                    repull_image_and_redeploy: repull,
                })
            }
        };
        Update {
            stack: record.id,
            name: record.name.clone(),
            environment: record.environment,
            body,
        }
    }
}

impl Update {
    /// The same without these variables: they did not exist before an update that is taken back.
    pub(crate) fn without(mut self, names: &[&str]) -> Update {
        let (Body::File(wire::FileUpdate { env, .. }) | Body::Git(wire::GitUpdate { env, .. })) =
            &mut self.body;
        env.retain(|variable| !names.contains(&variable.name.as_str()));
        self
    }
}

impl fmt::Debug for Update {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Update")
            .field("stack", &self.stack)
            .field("environment", &self.environment)
            .finish_non_exhaustive()
    }
}

/// Portainer's order is kept, new variables follow.
fn merged(env: &[Variable], set: &BTreeMap<String, String>) -> Vec<Variable> {
    let kept = env.iter().map(|variable| Variable {
        name: variable.name.clone(),
        value: set.get(&variable.name).unwrap_or(&variable.value).clone(),
    });
    let new = set
        .iter()
        .filter(|(name, _)| !env.iter().any(|variable| variable.name == **name))
        .map(|(name, value)| Variable {
            name: name.clone(),
            value: value.clone(),
        });
    kept.chain(new).collect()
}

#[cfg(test)]
mod tests;
