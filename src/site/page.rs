//! The settings page: view structs filled from one data of what is known, and the templates beside this file. Decides nothing.

mod text;
mod known;
mod failure;
mod stacks;
mod hooks;
mod history;
mod connection;
mod steps;

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::Arc;

use askama::Template;

use crate::config::Setting;
use crate::delivery::Delivery;
use crate::delivery::ledger::StackFailure;
use crate::scheduler::probe::{Overview, PortainerInfo};
use crate::secret;
use crate::site::Site;
use crate::site::desk::{Desk, SCRIPT, STYLE};
use crate::site::page::text::{Moment, sentence};
use crate::stack::Stack;

/// Everything that a page is made from, read once.
pub(super) struct PageData<'s> {
    site: &'s Site,
    desk: &'s Desk,
    /// The beginning of all addresses.
    base: &'s str,
    look: Option<Arc<Overview>>,
    /// The last deliveries, newest first.
    history: Vec<Delivery>,
    failures: Vec<StackFailure>,
    /// The time of the page (Unix seconds).
    now: u64,
}

impl PageData<'_> {
    /// Returns true if the last answer of Portainer was a usable one.
    fn is_portainer_up(&self) -> bool {
        self.portal().is_some()
    }

    fn portal(&self) -> Option<&PortainerInfo> {
        self.look.as_ref()?.portainer.as_ref().ok()
    }

    fn moment(&self, unix: u64) -> Moment {
        Moment {
            unix,
            now: self.now,
        }
    }

    /// The sources of the settings whose keys have this beginning and end; settings that have their default are left out.
    fn sources(&self, beginning: &str, end: &str) -> String {
        let matches = |key: &str| key.starts_with(beginning) && key.ends_with(end);
        let rows = self.desk.shown.iter();
        let set = rows.filter(|row| matches(&row.key) && row.source != "default");
        let mut sources: Vec<&str> = set.map(|row| row.source.as_str()).collect();
        sources.dedup();
        sources.join(", ")
    }

    /// The address of Portainer's own interface, unless its host is a name that only containers know.
    fn portainer_address(&self) -> Option<&str> {
        let row = self
            .desk
            .shown
            .iter()
            .find(|row| row.key == "portainer.url")?;
        let url = row.value.trim_end_matches('/');
        let url = url.strip_suffix("/api").unwrap_or(url);
        let (scheme, rest) = url.split_once("://")?;
        let host = rest.split(['/', '?']).next()?;
        let is_public =
            host.contains('.') || host.starts_with('[') || host.starts_with("localhost");
        (matches!(scheme, "http" | "https") && is_public).then_some(url)
    }
}

/// The tone of a state, which decides its colour; later ones are worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Tone {
    Neutral,
    Good,
    Progress,
    Warn,
    Bad,
}

impl Tone {
    /// A class of its own: no class of text may have the same name.
    fn class(self) -> &'static str {
        match self {
            Tone::Neutral => "tone-neutral",
            Tone::Good => "tone-good",
            Tone::Progress => "tone-progress",
            Tone::Warn => "tone-warn",
            Tone::Bad => "tone-bad",
        }
    }

    /// For the icon of the page.
    fn colour(self) -> &'static str {
        match self {
            Tone::Neutral => "%2368727d",
            Tone::Good => "%231a7f37",
            Tone::Progress => "%230b5cad",
            Tone::Warn => "%23b07600",
            Tone::Bad => "%23c62f22",
        }
    }
}

/// The order of the stacks on the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Group {
    Failed,
    Running,
    Paused,
    /// Healthy, but an image or a value of a variable is blocked.
    Blocked,
    Healthy,
}

/// The state of everything in a line.
struct Headline {
    tone: Tone,
    text: String,
    /// The stack that it is about.
    key: String,
    explanation: String,
}

#[derive(Template)]
#[template(path = "page.html", config = "src/site/page/askama.toml")]
struct SettingsPage<'a> {
    style: &'static str,
    script: &'static str,
    token: &'a str,
    now: Moment,
    tone: Tone,
    headline: String,
    headline_key: String,
    explanation: String,
    is_looking: bool,
    is_running: bool,
    first_steps: Vec<steps::FirstStep>,
    stacks: Vec<stacks::Card>,
    is_address_guessed: bool,
    hooks: Vec<hooks::HookCard>,
    deliveries: Vec<history::DeliveryRow>,
    rejections: Vec<history::RejectionRow>,
    connection: connection::ConnectionCard,
    settings: Vec<&'a Setting>,
    defaults: String,
    is_persistent: bool,
    version: &'static str,
}

#[derive(Template)]
#[template(path = "delivery.html", config = "src/site/page/askama.toml")]
struct DeliveryPage {
    style: &'static str,
    script: &'static str,
    now: Moment,
    delivery: history::DeliveryView,
}

#[derive(Template)]
#[template(path = "message.html", config = "src/site/page/askama.toml")]
struct MessagePage<'a> {
    style: &'static str,
    title: &'a str,
    text: &'a str,
    /// Address and label of the way on.
    link: Option<(&'a str, &'a str)>,
}

/// A small page with one message, for browsers.
pub(super) fn message(title: &str, text: &str, link: Option<(&str, &str)>) -> String {
    let page = MessagePage {
        style: STYLE,
        title,
        text: &sentence(text),
        link,
    };
    page.render().unwrap_or_default()
}

impl Site {
    fn page_data<'s>(&'s self, desk: &'s Desk, base: &'s str) -> PageData<'s> {
        PageData {
            site: self,
            desk,
            base,
            look: desk.probe.last(),
            history: self.scheduler.history(),
            failures: self.scheduler.failures(),
            now: self.clock.unix(),
        }
    }

    /// The settings page as HTML.
    pub(super) fn settings_html(&self, desk: &Desk, base: &str) -> String {
        let html = rendered(&self.page_data(desk, base));
        let state = format!(" data-state=\"{}\"", state_of(&html));
        // Text cannot contain the quotes: they are escaped.
        html.replacen(" data-state=\"\"", &state, 1)
    }

    /// A digest of everything on the page that does not change by itself.
    pub(super) fn page_state(&self, desk: &Desk, base: &str) -> String {
        state_of(&rendered(&self.page_data(desk, base)))
    }

    /// The page of a single delivery as HTML.
    pub(super) fn delivery_page(&self, desk: &Desk, delivery: &Delivery) -> String {
        let data = self.page_data(desk, "");
        let page = DeliveryPage {
            style: STYLE,
            script: SCRIPT,
            now: data.moment(data.now),
            delivery: history::delivery(&data, delivery),
        };
        page.render().unwrap_or_default()
    }

    /// A text that changes with every event of the stack.
    pub(super) fn stack_marker(&self, desk: &Desk, stack: &Stack) -> String {
        known::Known::new(&self.page_data(desk, ""), stack).marker()
    }

    /// Returns true if the card of the stack offers this action directly, and `code` is that of the state which it was shown for.
    pub(super) fn is_offered(&self, desk: &Desk, stack: &Stack, action: &str, code: &str) -> bool {
        let card = stacks::card(&self.page_data(desk, ""), stack);
        let button = card.failure.and_then(|failure| failure.button);
        button.is_some_and(|button| button.action == action && button.code == code)
    }
}

/// A digest of the page without the parts that its script updates by itself: relative times, and the steps of running updates.
fn state_of(html: &str) -> String {
    let stable = html.split('<').map(|piece| match piece.split_once('>') {
        Some((tag, _)) if tag.starts_with("time data-clock") => b"",
        Some((tag, _)) if tag.starts_with("time ") || tag.starts_with("span data-step") => {
            tag.as_bytes()
        }
        _ => piece.as_bytes(),
    });
    let mut digest = secret::to_hex(&secret::sha256(&stable.collect::<Vec<&[u8]>>()));
    digest.truncate(16);
    digest
}

fn rendered(data: &PageData<'_>) -> String {
    let (site, desk) = (data.site, data.desk);
    let mut cards: Vec<stacks::Card> = site
        .stacks
        .iter()
        .map(|stack| stacks::card(data, stack))
        .collect();
    // Stable: within a group the order of the configuration stays.
    cards.sort_by_key(|card| (card.group, Reverse(card.tone)));
    let Headline {
        tone,
        text,
        key,
        explanation,
    } = headline(data, &cards);
    // After a failure, only what helps is shown.
    let has_failed = cards.iter().any(|card| card.failure.is_some());
    let first_steps = (!has_failed).then(|| steps::first_steps(data));
    let (settings, defaults): (Vec<&Setting>, Vec<&Setting>) =
        desk.shown.iter().partition(|row| row.source != "default");
    let mut defaults: Vec<String> = defaults.iter().map(|row| default_line(row)).collect();
    // What every stack has by default is one line, not one for each.
    let mut known = BTreeSet::new();
    defaults.retain(|line| known.insert(line.clone()));
    let page = SettingsPage {
        style: STYLE,
        script: SCRIPT,
        token: desk.token.expose(),
        now: data.moment(data.now),
        tone,
        headline: text,
        headline_key: key,
        explanation,
        is_looking: data.look.is_none(),
        is_running: cards.iter().any(|card| card.running.is_some()),
        first_steps: first_steps.flatten().unwrap_or_default(),
        stacks: cards,
        is_address_guessed: desk.public_url.is_none(),
        hooks: hooks::cards(data),
        deliveries: history::deliveries(data),
        rejections: history::rejections(data),
        connection: connection::connection(data),
        settings,
        defaults: defaults.join("\n"),
        is_persistent: site.scheduler.is_persistent(),
        version: env!("CARGO_PKG_VERSION"),
    };
    page.render().unwrap_or_default()
}

/// `stack.*.pull = first`: the name of the stack or hook does not matter for a default.
fn default_line(row: &Setting) -> String {
    let mut parts = row.key.splitn(3, '.');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(kind @ ("stack" | "hook")), Some(_), Some(rest)) => {
            format!("{kind}.*.{rest} = {}", row.value)
        }
        _ => format!("{} = {}", row.key, row.value),
    }
}

/// At most this many stacks are named in the headline.
const HEADLINE_NAMES: usize = 3;

/// The state of the worst stack.
fn headline(data: &PageData<'_>, cards: &[stacks::Card]) -> Headline {
    let plain = |tone, text: String| Headline {
        tone,
        text,
        key: String::new(),
        explanation: String::new(),
    };
    let Some(look) = &data.look else {
        return plain(Tone::Neutral, "Checking Portainer …".to_owned());
    };
    if let Err(away) = &look.portainer {
        let text = match away.unreachable {
            true => "Portainer cannot be reached",
            false => "Portainer cannot be used",
        };
        return Headline {
            explanation: sentence(&away.why),
            ..plain(Tone::Bad, text.to_owned())
        };
    }
    let groups = [
        (Group::Failed, Tone::Bad, "stacks need attention"),
        (Group::Failed, Tone::Warn, "stacks need attention"),
        (Group::Running, Tone::Progress, "stacks are being updated"),
        (Group::Paused, Tone::Warn, "stacks are paused"),
        (Group::Blocked, Tone::Warn, "stacks have blocked images"),
    ];
    for (group, tone, many) in groups {
        let chosen = cards
            .iter()
            .filter(|card| (card.group, card.tone) == (group, tone));
        let chosen: Vec<&stacks::Card> = chosen.collect();
        match chosen.as_slice() {
            [] => {}
            [card] => {
                return Headline {
                    key: card.key.clone(),
                    ..plain(tone, card.headline.clone())
                };
            }
            [first, ..] => {
                let shown = chosen.iter().take(HEADLINE_NAMES);
                let names: Vec<&str> = shown.map(|card| card.title.as_str()).collect();
                let more = match chosen.len() - names.len() {
                    0 => String::new(),
                    more => format!(" and {more} more"),
                };
                let text = format!("{} {many}: {}{more}", chosen.len(), names.join(", "));
                return Headline {
                    key: first.key.clone(),
                    ..plain(tone, text)
                };
            }
        }
    }
    let text = match cards {
        [card] => card.headline.clone(),
        cards => format!("All {} stacks are healthy", cards.len()),
    };
    let text = match data.history.is_empty() {
        true => format!("{text}; no delivery yet"),
        false => text,
    };
    plain(Tone::Good, text)
}
