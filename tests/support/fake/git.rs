//! Git stacks: repositories, `git/redeploy`, and Portainer's own stack webhook.

use serde_json::Value;

use super::auth::{Caller, field, flag, payload, text};
use super::deploy::{Purpose, Update};
use super::http::{Answer, Request};
use super::record::{EnvironmentId, GitLink, Kind, StackId};
use super::stacks::{Reply, endpoint_id, env_field};
use super::time::Millis;
use super::world::World;

/// A repository with one branch, `refs/heads/main`, and one file.
#[derive(Clone, Debug)]
pub(super) struct Repository {
    url: String,
    /// The required user name and password.
    private: Option<(String, String)>,
    commits: Vec<Commit>,
}

#[derive(Clone, Debug)]
struct Commit {
    hash: String,
    file: String,
}

impl World {
    /// Adds a repository with a first commit; private if it requires a user name and password.
    pub(crate) fn git_repository(&mut self, url: &str, file: &str, private: Option<(&str, &str)>) {
        let commits = vec![Commit {
            hash: self.hex(40),
            file: file.to_owned(),
        }];
        let private = private.map(|(user, password)| (user.to_owned(), password.to_owned()));
        self.repositories.push(Repository {
            url: url.to_owned(),
            private,
            commits,
        });
    }

    /// Adds a Git stack on environment 1 with a public repository of its own that has run for an hour.
    pub(crate) fn git_stack(&mut self, name: &str, file: &str, env: &[(&str, &str)]) -> StackId {
        let url = format!("https://git.example/{name}.git");
        self.git_repository(&url, file, None);
        self.git_stack_from(&url, name, env)
    }

    /// Adds a Git stack on environment 1 from this repository, with the required credentials, that has run for an hour.
    pub(crate) fn git_stack_from(
        &mut self,
        url: &str,
        name: &str,
        env: &[(&str, &str)],
    ) -> StackId {
        let repository = self
            .repositories
            .iter()
            .find(|r| r.url == url)
            .unwrap()
            .clone();
        let head = repository.commits.last().unwrap();
        let id = self.record_only(1, name, Kind::Compose, &head.file, env);
        self.stack_mut(id).git = Some(GitLink {
            url: url.to_owned(),
            reference_name: "refs/heads/main".to_owned(),
            credentials: repository.private.clone(),
            config_hash: head.hash.clone(),
        });
        self.deploy_hour_old(id);
        id
    }

    /// Adds a commit to the stack's repository without deploying it; returns its hash.
    pub(crate) fn commit(&mut self, stack: StackId, file: &str) -> String {
        let url = self.stack_mut(stack).git.as_ref().unwrap().url.clone();
        let hash = self.hex(40);
        let repository = self.repositories.iter_mut().find(|r| r.url == url).unwrap();
        repository.commits.push(Commit {
            hash: hash.clone(),
            file: file.to_owned(),
        });
        hash
    }

    /// `PUT /api/stacks/{id}/git/redeploy`: recreates every container, in every era.
    pub(super) fn redeploy_git(
        &mut self,
        caller: &Caller,
        id: &str,
        request: &Request,
        now: Millis,
    ) -> Result<Reply, Answer> {
        let id = self.stack_id(id)?;
        let stack = self.stack_mut(id).clone();
        let link = stack.git.clone().filter(|_| !stack.from_app_template);
        let link = link.filter(|_| self.sees_source(caller, &stack));
        let link = link.ok_or_else(|| Answer::plain_error(400, "Stack is not created from git"))?;
        let environment: EnvironmentId = request
            .query("endpointId")
            .and_then(|id| id.parse().ok())
            .unwrap_or(0);
        self.editable(caller, id, environment)?;
        let body = payload(request)?;
        let omitted = field(&body, "Env").is_none() && self.era.keeps_omitted_git_fields();
        let env = match omitted {
            true => stack.env.clone(),
            false => env_field(&body, request)?,
        };
        self.not_deploying(id)?;
        let owns = |source: &super::record::Source| source.owners.contains(&caller.user.id);
        if !caller.user.administrator
            && self.era.has_sources()
            && stack.source.as_ref().is_some_and(|source| !owns(source))
        {
            let words = "Unable to persist the Source of the stack: not enough permissions";
            return Err(Answer::plain_error(500, words));
        }
        let link = self.check_out(&self.asked_for(&link, &body))?;
        let file = self.commit_of(&link).file;
        self.old_loader_accepts(caller, &file)?;
        // The checkout is not restored if the deployment fails.
        self.stack_mut(id).file.clone_from(&file);
        self.stack_mut(id).settings_saved = false;
        let update = Update {
            purpose: Purpose::Update,
            environment,
            file,
            env,
            prune: flag(&body, "Prune"),
            pull: flag(&body, "PullImage")
                || (self.era.pull_recreates() && flag(&body, "RepullImageAndRedeploy")),
            recreate: true,
            down_first: self.era.answers_at_once() && stack.status == 4,
            git: Some(link),
            by: caller.user.name.clone(),
        };
        let ticket = self.submit(id, update, now);
        Ok(self.reply(ticket, id, Purpose::Update))
    }

    /// `POST /api/stacks/create/standalone/repository`.
    pub(super) fn create_git(
        &mut self,
        caller: &Caller,
        request: &Request,
        now: Millis,
    ) -> Result<Reply, Answer> {
        let environment = endpoint_id(request)?;
        let body = payload(request)?;
        let link = GitLink {
            url: text(&body, "RepositoryURL"),
            reference_name: text(&body, "RepositoryReferenceName"),
            credentials: flag(&body, "RepositoryAuthentication").then(|| {
                (
                    text(&body, "RepositoryUsername"),
                    text(&body, "RepositoryPassword"),
                )
            }),
            config_hash: String::new(),
        };
        let link = self.check_out(&link)?;
        let file = self.commit_of(&link).file;
        let env = env_field(&body, request)?;
        let (id, by) = (self.next_stack_id(), caller.user.name.clone());
        self.add_stack(
            id,
            environment,
            &text(&body, "Name"),
            Kind::Compose,
            &file,
            env.clone(),
            &by,
            now,
        );
        let webhook = field(&body, "AutoUpdate")
            .map(|auto| text(auto, "Webhook"))
            .filter(|id| !id.is_empty());
        let stack = self.stack_mut(id);
        (stack.git, stack.webhook) = (Some(link.clone()), webhook);
        let update = Update {
            purpose: Purpose::Create,
            environment,
            file,
            env,
            prune: false,
            pull: false,
            recreate: false,
            down_first: false,
            git: Some(link),
            by,
        };
        let ticket = self.submit(id, update, now);
        Ok(Reply::After {
            ticket,
            stack: id,
            purpose: Purpose::Create,
        })
    }

    /// `POST /api/stacks/webhooks/{id}`: deploys only a new commit, and never reports the result.
    pub(super) fn native_webhook(&mut self, webhook: &str, now: Millis) -> Answer {
        if webhook.len() != 36 {
            let details = format!(
                "Uuid: incorrect UUID length {} in string \"{webhook}\"",
                webhook.len()
            );
            return Answer::error(400, "Invalid webhook identifier route variable", &details);
        }
        let Some(stack) = self
            .stacks
            .iter()
            .find(|s| s.webhook.as_deref() == Some(webhook))
            .cloned()
        else {
            return Answer::error(
                404,
                "Unable to find the stack by webhook ID",
                "Object not found inside the database",
            );
        };
        if let Err(refusal) = self.not_deploying(stack.id) {
            return refusal;
        }
        let link = stack.git.as_ref().and_then(|link| {
            self.check_out(link)
                .ok()
                .filter(|new| new.config_hash != link.config_hash)
        });
        if let Some(link) = link {
            let update = Update {
                purpose: Purpose::Update,
                environment: stack.environment,
                file: self.commit_of(&link).file,
                env: stack.env.clone(),
                prune: false,
                pull: true,
                recreate: false,
                down_first: false,
                git: Some(link),
                by: stack.created_by.clone(),
            };
            self.submit(stack.id, update, now);
        }
        Answer::empty(204)
    }

    /// The link after a payload; omitted fields are erased or kept, by era.
    fn asked_for(&self, stored: &GitLink, body: &Value) -> GitLink {
        let kept = |name: &str, keeps: bool| keeps && field(body, name).is_none();
        let reference_name = if kept(
            "RepositoryReferenceName",
            self.era.keeps_omitted_git_fields(),
        ) {
            stored.reference_name.clone()
        } else {
            text(body, "RepositoryReferenceName")
        };
        let credentials = if kept("RepositoryAuthentication", self.era.keeps_git_credentials()) {
            stored.credentials.clone()
        } else {
            flag(body, "RepositoryAuthentication").then(|| {
                let given = text(body, "RepositoryPassword");
                let stored = stored
                    .credentials
                    .as_ref()
                    .map(|(_, password)| password.clone())
                    .unwrap_or_default();
                (
                    text(body, "RepositoryUsername"),
                    if given.is_empty() { stored } else { given },
                )
            })
        };
        GitLink {
            url: stored.url.clone(),
            reference_name,
            credentials,
            config_hash: String::new(),
        }
    }

    /// The link with the current commit of its reference, or the error of the clone.
    fn check_out(&self, link: &GitLink) -> Result<GitLink, Answer> {
        let refuse = |details: &str| {
            Err(Answer::error(
                500,
                "Unable to clone git repository directory",
                details,
            ))
        };
        let Some(repository) = self.repositories.iter().find(|r| r.url == link.url) else {
            return refuse(
                "Unable to clone git repository: failed to clone git repository: repository not found",
            );
        };
        if repository.private.is_some() && repository.private != link.credentials {
            return refuse(
                "Invalid git credential: authentication failed, please ensure that the git credentials are correct",
            );
        }
        if !matches!(link.reference_name.as_str(), "" | "refs/heads/main") {
            return refuse(
                "Unable to clone git repository: failed to clone git repository: reference not found",
            );
        }
        Ok(GitLink {
            config_hash: repository.commits.last().unwrap().hash.clone(),
            ..link.clone()
        })
    }

    fn commit_of(&self, link: &GitLink) -> Commit {
        let commits = self
            .repositories
            .iter()
            .find(|r| r.url == link.url)
            .map(|r| &r.commits)
            .unwrap();
        commits
            .iter()
            .find(|commit| commit.hash == link.config_hash)
            .unwrap()
            .clone()
    }
}
