//! The way from nothing to the first update that starts by itself, as a list whose first open entry is what to do next.

use crate::site::desk::SETTINGS_PAGE;
use crate::site::page::words::sentence;
use crate::site::page::{Known, Mood, connection, hooks};
use crate::site::template::Fields;

/// The list; nothing once the last step is done.
pub(super) fn first_steps(known: &Known<'_>) -> Option<Fields> {
    let came = known
        .history
        .iter()
        .filter(|delivery| delivery.hook != SETTINGS_PAGE);
    let updated = came
        .clone()
        .any(|delivery| delivery.reports().any(|report| report.outcome.is_good()));
    let steps = [
        portainer(known),
        stacks(known),
        delivery(known, came.count() > 0),
        match updated {
            true => step(Mood::Good, "A delivery led to a good end", "", ""),
            false => step(
                Mood::Soft,
                "A delivery leads to a good end",
                "",
                "It shows up below with how it ended and why. To see an update without a delivery, press “Dry run” and then “Update now” at a stack.",
            ),
        },
    ];
    let done = updated && steps.iter().all(|(mood, _)| *mood == Mood::Good);
    let steps = steps.into_iter().map(|(_, fields)| fields);
    (!done).then(|| Fields::default().list("steps", steps.collect::<Vec<_>>()))
}

fn step(mood: Mood, title: &str, says: &str, what_to_do: &str) -> (Mood, Fields) {
    let fields = Fields::default()
        .text("class", mood.class())
        .text("title", title)
        .text("says", says)
        .text("do", what_to_do)
        .text("command", "");
    (mood, fields)
}

fn portainer(known: &Known<'_>) -> (Mood, Fields) {
    match known.look.as_ref().map(|look| &look.portainer) {
        None => step(
            Mood::Soft,
            "Portainer answers",
            "It is being looked at.",
            "",
        ),
        Some(Ok(portal)) => {
            let words = connection::words(known, portal);
            step(Mood::Good, "Portainer answers", &words, "")
        }
        Some(Err(away)) => step(
            Mood::Bad,
            "Portainer does not answer as it should",
            &sentence(&away.why),
            &format!(
                "Address and credentials come from: {}. Mend them, start stackhook again, and load this page. In Portainer, an API key is made under My account, Access tokens.",
                known.sources("portainer.", "")
            ),
        ),
    }
}

fn stacks(known: &Known<'_>) -> (Mood, Fields) {
    let title = "Every configured stack can be updated";
    let Some(look) = &known.look else {
        return step(Mood::Soft, title, "", "");
    };
    if look.portainer.is_err() {
        return step(
            Mood::Soft,
            title,
            "",
            "That is found out when Portainer answers.",
        );
    }
    let bad: Vec<String> = known
        .site
        .stacks
        .iter()
        .filter_map(|stack| match look.stacks.get(&stack.key)? {
            Err(why) => Some(format!("{}: {why}.", stack.name)),
            Ok(view) => Some(format!("{}: {}.", stack.name, view.ready.as_ref().err()?)),
        })
        .collect();
    match bad.is_empty() {
        true => step(Mood::Good, title, "", ""),
        false => step(
            Mood::Bad,
            "A configured stack cannot be updated",
            &bad.join(" "),
            &format!(
                "The configured names come from: {}. A name is right when it is the one that Portainer shows under Stacks. Mend it, and start stackhook again.",
                known.sources("stack.", ".name")
            ),
        ),
    }
}

fn delivery(known: &Known<'_>, came: bool) -> (Mood, Fields) {
    if came {
        return step(Mood::Good, "A delivery has come", "", "");
    }
    let with_command = |hook| Some((hook, hooks::command(known, hook)?));
    let by_hand = known.site.hooks.iter().find_map(with_command);
    let rejected = known
        .site
        .recent
        .rejections()
        .iter()
        .any(|one| !one.hook.is_empty());
    let understood = !known.site.recent.idle().is_empty();
    let (mood, says) = match (understood, rejected) {
        (true, _) => (
            Mood::Warn,
            "Something came with the right proof, but led to no update; the reason stands under Deliveries.",
        ),
        (false, true) => (
            Mood::Warn,
            "Something came and was turned away; the reason stands under Rejections.",
        ),
        (false, false) => (Mood::Soft, "None has come yet."),
    };
    let (words, command) = match by_hand {
        Some((hook, command)) => (
            format!(
                "Send one from any machine that reaches this address, with the hook’s secret ({}) in the variable SECRET:",
                known.sources(&hooks::secret_key(hook), "")
            ),
            command,
        ),
        None => (
            "Set up the sender with the URL that stands under Webhooks, and let it send one."
                .to_owned(),
            String::new(),
        ),
    };
    let (mood, fields) = step(mood, "A delivery comes", says, &words);
    (mood, fields.text("command", command))
}
