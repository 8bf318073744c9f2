//! The settings page: view structs filled from one snapshot of what is known, and the templates beside this file. Decides nothing.

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

use crate::config::show::Shown;
use crate::delivery::Delivery;
use crate::delivery::ledger::Failure;
use crate::scheduler::probe::{Look, Portal};
use crate::secret;
use crate::site::Site;
use crate::site::desk::{Desk, SCRIPT, STYLE};
use crate::site::page::text::{Moment, sentence};
use crate::stack::Stack;

/// Everything that a page is made from, read once.
pub(super) struct Snapshot<'s> {
    site: &'s Site,
    desk: &'s Desk,
    /// The beginning of all addresses.
    base: &'s str,
    look: Option<Arc<Look>>,
    /// Newest first.
    history: Vec<Delivery>,
    failures: Vec<Failure>,
    /// Unix seconds; `None` for the state that is compared, which leaves out what changes by itself.
    now: Option<u64>,
}

impl Snapshot<'_> {
    /// Whether Portainer answered as it should when it was last asked.
    fn is_portainer_up(&self) -> bool {
        self.portal().is_some()
    }

    fn portal(&self) -> Option<&Portal> {
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
struct Page<'a> {
    style: &'static str,
    script: &'static str,
    token: &'a str,
    state: String,
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
    connection: connection::Connection,
    settings: Vec<&'a Shown>,
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
    fn snapshot<'s>(&'s self, desk: &'s Desk, base: &'s str, now: Option<u64>) -> Snapshot<'s> {
        Snapshot {
            site: self,
            desk,
            base,
            look: desk.probe.last(),
            history: self.scheduler.history(),
            failures: self.scheduler.failures(),
            now,
        }
    }

    /// The settings page as HTML.
    pub(super) fn settings_html(&self, desk: &Desk, base: &str) -> String {
        let state = self.page_state(desk, base);
        let now = self.clock.unix();
        rendered(&self.snapshot(desk, base, Some(now)), state)
    }

    /// A digest of everything on the page that does not change by itself.
    pub(super) fn page_state(&self, desk: &Desk, base: &str) -> String {
        let page = rendered(&self.snapshot(desk, base, None), String::new());
        let mut digest = secret::to_hex(&secret::sha256(&[page.as_bytes()]));
        digest.truncate(16);
        digest
    }

    /// The page of a single delivery as HTML.
    pub(super) fn delivery_page(&self, desk: &Desk, delivery: &Delivery) -> String {
        let now = self.clock.unix();
        let snapshot = self.snapshot(desk, "", Some(now));
        let page = DeliveryPage {
            style: STYLE,
            script: SCRIPT,
            now: snapshot.moment(now),
            delivery: history::delivery(&snapshot, delivery),
        };
        page.render().unwrap_or_default()
    }

    /// A text that changes with every event of the stack.
    pub(super) fn stack_marker(&self, desk: &Desk, stack: &Stack) -> String {
        let snapshot = self.snapshot(desk, "", None);
        known::Known::new(&snapshot, stack).marker()
    }
}

fn rendered(snapshot: &Snapshot<'_>, state: String) -> String {
    let (site, desk) = (snapshot.site, snapshot.desk);
    let mut cards: Vec<stacks::Card> = site
        .stacks
        .iter()
        .map(|stack| stacks::card(snapshot, stack))
        .collect();
    // Stable: within a group the order of the configuration stays.
    cards.sort_by_key(|card| (card.group, Reverse(card.tone)));
    let Headline {
        tone,
        text,
        key,
        explanation,
    } = headline(snapshot, &cards);
    // After a failure nobody has time for a tour.
    let has_time = tone != Tone::Bad || snapshot.history.is_empty();
    let first_steps = has_time.then(|| steps::first_steps(snapshot));
    let (settings, defaults): (Vec<&Shown>, Vec<&Shown>) =
        desk.shown.iter().partition(|row| row.source != "default");
    let mut defaults: Vec<String> = defaults.iter().map(|row| default_line(row)).collect();
    // What every stack has by default is one line, not one for each.
    let mut known = BTreeSet::new();
    defaults.retain(|line| known.insert(line.clone()));
    let page = Page {
        style: STYLE,
        script: SCRIPT,
        token: desk.token.expose(),
        state,
        now: snapshot.moment(snapshot.now.unwrap_or_default()),
        tone,
        headline: text,
        headline_key: key,
        explanation,
        is_looking: snapshot.look.is_none(),
        is_running: cards.iter().any(|card| card.running.is_some()),
        first_steps: first_steps.flatten().unwrap_or_default(),
        stacks: cards,
        is_address_guessed: desk.public_url.is_none(),
        hooks: hooks::cards(snapshot),
        deliveries: history::deliveries(snapshot),
        rejections: history::rejections(snapshot),
        connection: connection::connection(snapshot),
        settings,
        defaults: defaults.join("\n"),
        is_persistent: site.scheduler.lasts(),
        version: env!("CARGO_PKG_VERSION"),
    };
    page.render().unwrap_or_default()
}

/// `stack.*.pull = first`: the name of the stack or hook does not matter for a default.
fn default_line(row: &Shown) -> String {
    let mut parts = row.key.splitn(3, '.');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(kind @ ("stack" | "hook")), Some(_), Some(rest)) => {
            format!("{kind}.*.{rest} = {}", row.value)
        }
        _ => format!("{} = {}", row.key, row.value),
    }
}

/// The state of the worst stack.
fn headline(snapshot: &Snapshot<'_>, cards: &[stacks::Card]) -> Headline {
    let plain = |tone, text: String| Headline {
        tone,
        text,
        key: String::new(),
        explanation: String::new(),
    };
    let Some(look) = &snapshot.look else {
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
                let names: Vec<&str> = chosen.iter().map(|card| card.title.as_str()).collect();
                let text = format!("{} {many}: {}", names.len(), names.join(", "));
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
    let text = match snapshot.history.is_empty() {
        true => format!("{text}; no delivery yet"),
        false => text,
    };
    plain(Tone::Good, text)
}
