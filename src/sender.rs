//! Senders: the kinds of system that post. Each has one file with everything that is known about it, and one line in the list below.

mod git;
mod pointer;
mod layout;
mod strict_json;

use std::fmt;
use std::time::Duration;

use crate::event::{Event, ParseError, ParseOutcome, ParsedDelivery, RequestedChanges};
use crate::limits;
use crate::message;
use crate::secret::{Hash, Secret};
use crate::signature::{HmacForm, Scheme, SchemeName, TokenKind, Verified};
use layout::Layout;
pub(crate) use layout::{Payload, RegistryAliases};

/// The time for which a delivery of sender `generic` waits for its outcome by default.
const WAIT_GENERIC: Duration = Duration::from_secs(10 * 60);

/// Declares the module of each sender and lists them in the order of the documentation.
macro_rules! senders {
    ($($module:ident),+ $(,)?) => {
        $(mod $module;)+

        impl Sender {
            /// Every sender, in the order of the documentation.
            pub(crate) const ALL: &'static [Sender] = &[$(Sender(&$module::SENDER)),+];
            /// Every sender's name in the configuration.
            pub(crate) const NAMES: &'static [&'static str] = &[$($module::SENDER.name),+];
        }

        /// For each sender, deliveries of every event that its set-up text names.
        #[cfg(test)]
        pub(crate) const SAMPLES: &[(Sender, fn() -> Vec<Sample>)] =
            &[$((Sender(&$module::SENDER), $module::samples)),+];
    };
}

senders! {
    generic,
    github,
    gitlab,
    gitea,
    forgejo,
    gogs,
    bitbucket,
    azure_devops,
    dockerhub,
    quay,
    harbor,
    distribution,
    acr,
    ecr,
    diun,
    wud,
    nexus,
    custom,
}

/// A kind of system that posts.
#[derive(Clone, Copy)]
pub(crate) struct Sender(&'static Definition);

/// Everything that is known about a sender.
pub(crate) struct Definition {
    /// Name in the configuration.
    name: &'static str,
    /// The scheme of a hook that names none.
    default_scheme: DefaultScheme,
    /// The header and form in which this sender carries a token.
    token: (&'static str, TokenKind),
    /// The header and hash with which this sender signs, where that is not one of the named schemes.
    hmac: (&'static str, Hash),
    /// Every event that it can state; empty: any name, or none.
    events: &'static [EventKind],
    parse: Parser,
    /// A delivery names one stack and waits for its outcome: sender `generic`.
    is_pipeline: bool,
    /// The option `registry` may rename the registry of its images.
    has_registry_alias: bool,
    setup: SetupText,
}

impl Definition {
    /// A sender that sends a bearer token and JSON.
    const DEFAULT: Definition = Definition {
        name: "",
        default_scheme: DefaultScheme::Always(SchemeName::Token),
        token: ("authorization", TokenKind::Bearer),
        hmac: ("", Hash::Sha256),
        events: &[],
        parse: Parser::Payload,
        is_pipeline: false,
        has_registry_alias: false,
        setup: SetupText::DEFAULT,
    };
}

/// The parser of a verified body.
enum Parser {
    /// A function of the sender.
    Code(fn(&Verified<'_>, &ParseSettings<'_>) -> Result<ParseOutcome, ParseError>),
    /// Pointers to the values; of several layouts the first that fits counts.
    Layouts(fn() -> Vec<Layout<'static>>),
    /// The layout that `[hook.payload]` describes: sender `custom`.
    Payload,
}

/// The scheme of a hook that names none.
#[derive(Clone, Copy)]
enum DefaultScheme {
    Always(SchemeName),
    /// GitLab: signing tokens begin with `whsec_`, secret tokens do not.
    BySecret,
}

/// Parts of a hook's configuration that change how a body is parsed.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ParseSettings<'h> {
    /// Sender `custom`.
    pub(crate) payload: Option<&'h Payload>,
    /// Names of registries in deliveries, and the names that stacks use.
    pub(crate) registry: &'h [(String, String)],
    /// Now (Unix seconds).
    pub(crate) unix: u64,
}

/// An event that a sender can state.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EventKind {
    /// Name in rule `events`.
    pub(crate) name: &'static str,
    /// It is acted on when the hook has no rule `events`.
    pub(crate) is_default: bool,
    /// It publishes something (an image, a package, a release) that has no branch, so rule `branches` does not limit it.
    pub(crate) is_publication: bool,
    /// The facts that it can state.
    pub(crate) facts: &'static [Fact],
}

impl EventKind {
    /// An event about a Git ref that is acted on by default.
    const fn git(name: &'static str, facts: &'static [Fact]) -> EventKind {
        EventKind {
            name,
            is_default: true,
            is_publication: false,
            facts,
        }
    }

    /// A published image or release that is acted on by default.
    const fn publication(name: &'static str, facts: &'static [Fact]) -> EventKind {
        EventKind {
            is_publication: true,
            ..EventKind::git(name, facts)
        }
    }

    /// The event of a registry that only reports images.
    const fn image(name: &'static str) -> EventKind {
        EventKind::publication(name, Fact::IMAGE)
    }

    /// The same, acted on only if rule `events` names it.
    const fn on_request(self) -> EventKind {
        EventKind {
            is_default: false,
            ..self
        }
    }
}

/// A fact that rules can ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fact {
    Branch,
    /// Tag of a repository or of an image.
    Tag,
    Repository,
    Paths,
    Workflow,
    Environment,
    Prerelease,
}

impl Fact {
    const GIT: &[Fact] = &[Fact::Branch, Fact::Tag, Fact::Repository];
    const PUSH: &[Fact] = &[Fact::Branch, Fact::Tag, Fact::Repository, Fact::Paths];
    const RUN: &[Fact] = &[Fact::Branch, Fact::Tag, Fact::Repository, Fact::Workflow];
    const DEPLOYMENT: &[Fact] = &[Fact::Branch, Fact::Tag, Fact::Repository, Fact::Environment];
    const IMAGE: &[Fact] = &[Fact::Tag, Fact::Repository];
}

/// Text that tells a person how to set up the sender.
pub(crate) struct SetupText {
    /// The place in the sender's own pages.
    pub(crate) location: &'static str,
    /// The events to choose there.
    pub(crate) subscribe: &'static str,
    /// The content type can be chosen there.
    pub(crate) json_content_type: bool,
    /// Rules that fit these events, as lines for the `[[hook]]` section.
    pub(crate) rules: &'static str,
    /// Caveats for the person who sets it up.
    pub(crate) notes: &'static [&'static str],
}

impl SetupText {
    const DEFAULT: SetupText = SetupText {
        location: "",
        subscribe: "",
        json_content_type: false,
        rules: "",
        notes: &[],
    };
}

impl Default for Sender {
    fn default() -> Sender {
        Sender(&generic::SENDER)
    }
}

impl PartialEq for Sender {
    fn eq(&self, other: &Sender) -> bool {
        self.0.name == other.0.name
    }
}

impl Eq for Sender {}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sender({})", self.0.name)
    }
}

impl Sender {
    /// The sender of that name.
    pub(crate) fn parse(name: &str) -> Option<Sender> {
        Sender::ALL.iter().copied().find(|own| own.0.name == name)
    }

    /// Name in the configuration.
    pub(crate) fn name(self) -> &'static str {
        self.0.name
    }

    /// Returns whether a delivery names one stack and waits for its outcome.
    pub(crate) fn is_pipeline(self) -> bool {
        self.0.is_pipeline
    }

    /// Returns whether `[hook.payload]` describes the body.
    pub(crate) fn has_payload(self) -> bool {
        matches!(self.0.parse, Parser::Payload)
    }

    /// Returns whether `registry` may rename the registry of its images.
    pub(crate) fn has_registry_alias(self) -> bool {
        self.0.has_registry_alias
    }

    /// The wait of a hook that configures none: pipelines wait for the outcome, other senders get an answer at once.
    pub(crate) fn default_wait(self) -> Duration {
        match self.0.is_pipeline {
            true => WAIT_GENERIC,
            false => Duration::ZERO,
        }
    }

    /// The scheme of a hook that names none. `Ok(None)`: it depends on secrets that are not known here.
    ///
    /// Errors: the secrets belong to different schemes.
    pub(crate) fn default_scheme(
        self,
        secrets: Option<&[Secret]>,
    ) -> Result<Option<SchemeName>, String> {
        match (self.0.default_scheme, secrets) {
            (DefaultScheme::Always(name), _) => Ok(Some(name)),
            (DefaultScheme::BySecret, None) => Ok(None),
            (DefaultScheme::BySecret, Some(secrets)) => {
                let is_signing = |secret: &&Secret| secret.expose().starts_with("whsec_");
                match secrets.iter().filter(is_signing).count() {
                    0 => Ok(Some(SchemeName::Token)),
                    count if count == secrets.len() => Ok(Some(SchemeName::StandardWebhooks)),
                    _ => Err(
                        "mixes signing tokens of GitLab (whsec_…) with secret tokens; one hook can check only one kind"
                            .to_owned(),
                    ),
                }
            }
        }
    }

    /// A scheme with the options that this sender uses.
    pub(crate) fn scheme(self, name: SchemeName) -> Scheme {
        let plain = Scheme::plain(name);
        let (token_header, token_kind) = self.0.token;
        let (hmac_header, hash) = self.0.hmac;
        match name {
            SchemeName::Token => Scheme {
                header: token_header.to_owned(),
                kind: token_kind,
                ..plain
            },
            SchemeName::Generic => Scheme {
                header: "x-portainer-signature".to_owned(),
                kind: TokenKind::Raw,
                ..plain
            },
            SchemeName::Hmac => Scheme {
                header: match hmac_header {
                    "" => "x-signature",
                    own => own,
                }
                .to_owned(),
                kind: TokenKind::Raw,
                hmac: HmacForm {
                    hash,
                    ..HmacForm::DEFAULT
                },
                ..plain
            },
            _ => Scheme {
                kind: TokenKind::Raw,
                ..plain
            },
        }
    }

    /// Every event that it can state; empty: any name, or none.
    pub(crate) fn events(self) -> &'static [EventKind] {
        self.0.events
    }

    /// The events that are acted on when the hook has no rule `events`; empty: every delivery.
    pub(crate) fn default_events(self) -> Vec<&'static str> {
        let events = self.0.events.iter();
        events
            .filter(|kind| kind.is_default)
            .map(|kind| kind.name)
            .collect()
    }

    /// The event of that name.
    pub(crate) fn event(self, name: &str) -> Option<&'static EventKind> {
        self.0.events.iter().find(|kind| kind.name == name)
    }

    pub(crate) fn setup(self) -> &'static SetupText {
        &self.0.setup
    }

    /// Parses a verified delivery.
    ///
    /// Errors: the mistake in the body, its time or its address.
    pub(crate) fn parse_delivery(
        self,
        verified: &Verified<'_>,
        settings: &ParseSettings<'_>,
    ) -> Result<ParseOutcome, ParseError> {
        refuse_parameters(verified)?;
        let mut outcome = match self.0.parse {
            Parser::Code(parse) => parse(verified, settings)?,
            Parser::Layouts(layouts) => layout::parse(&layouts(), verified, settings)?,
            Parser::Payload => {
                let layout = settings.payload.map(Layout::from_payload);
                layout::parse(&[layout.unwrap_or_default()], verified, settings)?
            }
        };
        // A signed id is preferred to one that anybody could change.
        let signed = verified.timestamp().and_then(|signed| signed.id.clone());
        if let (ParseOutcome::Delivery(delivery), Some(id)) = (&mut outcome, signed)
            && (delivery.id.is_none() || !self.0.is_pipeline)
        {
            delivery.id = Some(id);
        }
        Ok(outcome)
    }
}

/// Refuses variables in the address. They are not signed, and nothing would come of them.
fn refuse_parameters(verified: &Verified<'_>) -> Result<(), ParseError> {
    let is_token = |name: &str| verified.has_url_token() && name == "token";
    let mut names = message::pairs(verified.query().unwrap_or_default())
        .map(|(name, _)| name)
        .filter(|name| !name.is_empty() && !is_token(name));
    let Some(name) = names.next() else {
        return Ok(());
    };
    let named = match name.len() <= 32
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    {
        true => format!("query parameter \"{name}\" is not read"),
        false => "query parameters are not read".to_owned(),
    };
    Err(ParseError::Malformed(format!(
        "{named}: variables and tags belong in the signed body, as \"env\" and \"image\" of sender generic"
    )))
}

/// A delivery with these events, or the reason why there are none.
fn outcome(id: Option<String>, events: Result<Vec<Event>, String>) -> ParseOutcome {
    match events {
        Ok(events) => ParseOutcome::Delivery(ParsedDelivery {
            id,
            time: None,
            requested: RequestedChanges::default(),
            events,
        }),
        Err(reason) => ParseOutcome::Ignored(reason),
    }
}

fn ignored(reason: impl Into<String>) -> Result<ParseOutcome, ParseError> {
    Ok(ParseOutcome::Ignored(reason.into()))
}

/// A header that holds an id or the name of an event.
fn header(verified: &Verified<'_>, name: &str) -> Option<String> {
    verified
        .headers()
        .get(name)
        .filter(|value| is_id(value))
        .map(str::to_owned)
}

fn is_id(text: &str) -> bool {
    (1..=limits::DELIVERY_ID_MAX).contains(&text.len()) && !text.contains(char::is_control)
}

/// A delivery as a sender makes it, for tests: header lines, without the signature, and the body.
#[cfg(test)]
pub(crate) struct Sample {
    /// The event as the sender's set-up text names it.
    pub(crate) event: &'static str,
    pub(crate) headers: Vec<(&'static str, &'static str)>,
    pub(crate) body: serde_json::Value,
}

#[cfg(test)]
impl Sample {
    fn new(event: &'static str, body: serde_json::Value) -> Sample {
        Sample {
            event,
            headers: Vec::new(),
            body,
        }
    }
}

#[cfg(test)]
mod tests;
