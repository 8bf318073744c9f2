//! What the settings page shows, as fields of its template. Reads what scheduler, probe and memory know at this moment; decides nothing.

mod words;
mod told;
mod trouble;
mod stacks;
mod hooks;
mod lists;
mod connection;
mod steps;

use std::sync::Arc;

use crate::delivery::Delivery;
use crate::delivery::ledger::Failure;
use crate::scheduler::probe::Look;
use crate::site::Site;
use crate::site::desk::Desk;
use crate::site::page::words::{sentence, time, utc};
use crate::site::template::Fields;

/// Everything that the page is made from, read once.
pub(super) struct Known<'s> {
    site: &'s Site,
    desk: &'s Desk,
    /// What addresses begin with.
    base: &'s str,
    look: Option<Arc<Look>>,
    /// Newest first.
    history: Vec<Delivery>,
    failures: Vec<Failure>,
    unix: u64,
}

impl Known<'_> {
    /// Whether Portainer answered as it should when it was last looked at.
    fn sees_portainer(&self) -> bool {
        self.look
            .as_ref()
            .is_some_and(|look| look.portainer.is_ok())
    }

    /// Where the settings come from whose keys begin and end so; those that nobody set are left out.
    fn sources(&self, beginning: &str, end: &str) -> String {
        let meant = |key: &str| key.starts_with(beginning) && key.ends_with(end);
        let rows = self.desk.shown.iter();
        let set = rows.filter(|row| meant(&row.key) && row.source != "default");
        let mut sources: Vec<&str> = set.map(|row| row.source.as_str()).collect();
        sources.dedup();
        sources.join(", ")
    }
}

/// How a thing stands, and so how it looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Mood {
    Soft,
    Good,
    Warn,
    Bad,
}

impl Mood {
    fn class(self) -> &'static str {
        match self {
            Mood::Soft => "soft",
            Mood::Good => "good",
            Mood::Warn => "warn",
            Mood::Bad => "bad",
        }
    }
}

impl Site {
    /// All fields of the page.
    pub(super) fn fields(&self, desk: &Desk, base: &str) -> Fields {
        let known = Known {
            site: self,
            desk,
            base,
            look: desk.probe.last(),
            history: self.scheduler.history(),
            failures: self.scheduler.failures(),
            unix: self.clock.unix(),
        };
        let stacks: Vec<stacks::Card> = self
            .stacks
            .iter()
            .map(|stack| stacks::card(&known, stack))
            .collect();
        let (mood, headline, explanation) = headline(&known, &stacks);
        let under_way = stacks.iter().any(|card| card.is_running);
        // Whoever comes because something failed has no time for a tour.
        let at_leisure = mood != Mood::Bad || known.history.is_empty();
        let first_steps = steps::first_steps(&known).filter(|_| at_leisure);
        let lasting = match self.scheduler.lasts() {
            true => "go on",
            false => "are lost, because there is no state_dir",
        };
        let setting = |row: &crate::config::show::Shown| {
            Fields::default()
                .text("setting", row.key.as_str())
                .text("value", row.value.as_str())
                .text("source", row.source.as_str())
        };
        let fields = Fields::default()
            .text("token", desk.token.expose())
            .text("headline", headline)
            .text("headline_class", mood.class())
            .text("explanation", explanation)
            .given("looking", known.look.is_none())
            .given("under_way", under_way)
            .list("first_steps", first_steps)
            .list("stacks", stacks.into_iter().map(|card| card.fields))
            .given("guessed", desk.public_url.is_none())
            .list("settings", desk.shown.iter().map(setting))
            .text("lasting", lasting)
            .text("version", env!("CARGO_PKG_VERSION"))
            .text("made", time(known.unix))
            .text("made_words", utc(known.unix));
        connection::add(&known, lists::add(&known, hooks::add(&known, fields)))
    }
}

/// What somebody should know at first sight.
fn headline(known: &Known<'_>, stacks: &[stacks::Card]) -> (Mood, String, String) {
    let Some(look) = &known.look else {
        return (
            Mood::Soft,
            "Looking at Portainer …".to_owned(),
            String::new(),
        );
    };
    let names = |which: &dyn Fn(&&stacks::Card) -> bool| -> Vec<&str> {
        let chosen = stacks.iter().filter(which);
        chosen.map(|card| card.title.as_str()).collect()
    };
    if let Err(away) = &look.portainer {
        let headline = match away.unreachable {
            true => "Portainer cannot be reached",
            false => "Portainer cannot be used",
        };
        return (Mood::Bad, headline.to_owned(), sentence(&away.why));
    }
    let one_or_many = |names: &[&str], one: &str, many: &str| match names {
        [name] => format!("{name} {one}"),
        names => format!("{} stacks {many}: {}", names.len(), names.join(", ")),
    };
    let running = names(&|card| card.is_running);
    let bad = names(&|card| card.mood == Mood::Bad && !card.is_running);
    let warn = names(&|card| card.mood == Mood::Warn && !card.is_running);
    if !bad.is_empty() {
        let headline = one_or_many(&bad, "needs somebody", "need somebody");
        return (Mood::Bad, headline, String::new());
    }
    if !running.is_empty() {
        let headline = one_or_many(&running, "is being updated", "are being updated");
        return (Mood::Soft, headline, String::new());
    }
    if !warn.is_empty() {
        let headline = one_or_many(&warn, "is worth a look", "are worth a look");
        return (Mood::Warn, headline, String::new());
    }
    let headline = match (stacks, known.history.is_empty()) {
        (_, true) => "All is well; no delivery has come yet".to_owned(),
        ([card], _) => format!("{} is well", card.title),
        (stacks, _) => format!("All {} stacks are well", stacks.len()),
    };
    (Mood::Good, headline, String::new())
}
