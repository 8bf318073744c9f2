//! What a verified delivery says happened; what that means for stacks belongs to hooks.

use crate::named::named;

named! {
    /// The kind of system that posts.
    Sender:
    /// Anything that signs JSON as stackhook describes it.
    Generic = "generic",
    /// GitHub, GitHub Enterprise, and GHCR through it.
    Github = "github",
    /// GitLab.
    Gitlab = "gitlab",
    /// Gitea.
    Gitea = "gitea",
    /// Forgejo, Codeberg.
    Forgejo = "forgejo",
    /// Gogs.
    Gogs = "gogs",
    /// Bitbucket Cloud and Data Center.
    Bitbucket = "bitbucket",
    /// Azure DevOps service hooks.
    AzureDevops = "azure-devops",
    /// Docker Hub.
    Dockerhub = "dockerhub",
    /// Quay.
    Quay = "quay",
    /// Harbor.
    Harbor = "harbor",
    /// The CNCF registry, once `docker/distribution`.
    Distribution = "distribution",
    /// Azure Container Registry.
    Acr = "acr",
    /// Amazon ECR through EventBridge.
    Ecr = "ecr",
    /// Diun.
    Diun = "diun",
    /// What's Up Docker.
    Wud = "wud",
    /// Any JSON, read by the pointers of `[hook.payload]`.
    Custom = "custom",
}

/// Where the payload of sender `custom` says what (RFC 6901 pointers, `*` = every element), in the order of the file.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Payload {
    /// One event per element; the other pointers then start there.
    pub(crate) each: Option<String>,
    pub(crate) event: Option<String>,
    pub(crate) branch: Option<String>,
    pub(crate) tag: Option<String>,
    pub(crate) repository: Option<String>,
    pub(crate) image: Option<String>,
    pub(crate) commit: Option<String>,
    pub(crate) id: Option<String>,
    /// Pointer and the values of which one must stand there.
    pub(crate) require: Vec<(String, Vec<String>)>,
}
