//! The steps to the first automatic update, as a list whose first open step is the next thing to do.

use crate::site::desk::SETTINGS_PAGE;
use crate::site::page::text::sentence;
use crate::site::page::{PageData, Tone, connection, hooks};
use crate::stack::outcome::Outcome;

/// A step to the first automatic update.
pub(super) struct FirstStep {
    pub(super) tone: Tone,
    pub(super) title: String,
    pub(super) says: String,
    pub(super) what_to_do: String,
    pub(super) command: String,
}

/// The steps; `None` once a delivery led to a redeploy, whatever came of it: from then on the state of the stack matters.
pub(super) fn first_steps(data: &PageData<'_>) -> Option<Vec<FirstStep>> {
    let mut came = false;
    for delivery in data.history.iter().filter(|one| one.hook != SETTINGS_PAGE) {
        came = true;
        if delivery
            .reports()
            .any(|report| report.outcome != Outcome::Skipped)
        {
            return None;
        }
    }
    let result = step(
        Tone::Neutral,
        "A delivery leads to an update",
        "",
        "Its outcome and the reason are listed under Deliveries. To see an update without a delivery, press “Update …” at a stack: it shows first what it would do.",
    );
    Some(vec![
        portainer(data),
        stacks(data),
        delivery(data, came),
        result,
    ])
}

fn step(tone: Tone, title: &str, says: &str, what_to_do: &str) -> FirstStep {
    FirstStep {
        tone,
        title: title.to_owned(),
        says: says.to_owned(),
        what_to_do: what_to_do.to_owned(),
        command: String::new(),
    }
}

fn portainer(data: &PageData<'_>) -> FirstStep {
    match data.look.as_ref().map(|look| &look.portainer) {
        None => step(Tone::Neutral, "Portainer answers", "It is being asked.", ""),
        Some(Ok(portal)) => {
            let words = connection::summary(data, portal);
            step(Tone::Good, "Portainer answers", &words, "")
        }
        Some(Err(away)) => step(
            Tone::Bad,
            "Portainer does not answer as it should",
            &sentence(&away.why),
            &format!(
                "Address and credentials come from: {}. Correct them, restart stackhook, and load this page again. In Portainer, API keys are created under My account, Access tokens.",
                data.sources("portainer.", "")
            ),
        ),
    }
}

fn stacks(data: &PageData<'_>) -> FirstStep {
    let title = "Every configured stack can be updated";
    let Some(look) = &data.look else {
        return step(Tone::Neutral, title, "", "");
    };
    if look.portainer.is_err() {
        return step(
            Tone::Neutral,
            title,
            "",
            "This is checked once Portainer answers.",
        );
    }
    let bad: Vec<String> = data
        .site
        .stacks
        .iter()
        .filter_map(|stack| match look.stacks.get(&stack.key)? {
            Err(why) => Some(format!("{}: {why}.", stack.name)),
            Ok(view) => Some(format!(
                "{}: {}.",
                stack.name,
                view.ready.as_ref().err()?.message
            )),
        })
        .collect();
    match bad.is_empty() {
        true => step(Tone::Good, title, "", ""),
        false => step(
            Tone::Bad,
            "A configured stack cannot be updated",
            &bad.join(" "),
            &format!(
                "The configured names come from: {}. The name must be the one that Portainer shows under Stacks. Correct it, and restart stackhook.",
                data.sources("stack.", ".name")
            ),
        ),
    }
}

fn delivery(data: &PageData<'_>, came: bool) -> FirstStep {
    if came {
        return step(Tone::Good, "A delivery has arrived", "", "");
    }
    let hooks = data.site.hooks.iter();
    let by_hand = hooks
        .map(AsRef::as_ref)
        .find_map(|hook| Some((hook, hooks::command(data, hook)?)));
    let rejected = data
        .site
        .recent
        .rejections()
        .iter()
        .any(|one| !one.hook.is_empty());
    let understood = !data.site.recent.idle().is_empty();
    let (tone, says) = match (understood, rejected) {
        (true, _) => (
            Tone::Warn,
            "A delivery was authenticated but led to no update; see the reason under Deliveries.",
        ),
        (false, true) => (
            Tone::Warn,
            "A request was rejected; see the reason under Rejections.",
        ),
        (false, false) => (Tone::Neutral, "None has arrived yet."),
    };
    let (words, command) = match by_hand {
        Some((hook, command)) => (
            format!(
                "Send one from any machine that reaches this address, with the hook’s secret ({}) in the variable SECRET:",
                data.sources(&hooks::secret_key(hook), "")
            ),
            command,
        ),
        None => (
            "Set up the sender with the URL shown under Webhooks, and let it send one.".to_owned(),
            String::new(),
        ),
    };
    FirstStep {
        command,
        ..step(tone, "A delivery arrives", says, &words)
    }
}
