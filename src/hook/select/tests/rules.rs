//! The effect of a hook's rules on events.

use super::*;
use crate::event::{ChangedPaths, EventRef};
use crate::image::Pattern;

fn patterns(texts: &[&str]) -> Vec<Pattern> {
    texts
        .iter()
        .map(|text| Pattern::parse(text).unwrap())
        .collect()
}

/// Checks the effect of rules on an event: the selection, or words of the refusal.
#[track_caller]
fn check_rules(rules: &Rules, event: Event, expected: Result<&[&str], &str>) {
    let hook = hook("generic", &["app"], rules.clone());
    let mut told = told(None);
    let shown = format!("{rules:?} {event:?}");
    told.events = vec![event];
    match (hook.orders(&told, None, &stacks()), expected) {
        (Ok(orders), Ok(expected)) => {
            let shown_images: Vec<String> = match &orders[0].1.images {
                Selection::All => Vec::new(),
                Selection::Only(named) => named.iter().map(ToString::to_string).collect(),
            };
            assert_eq!(shown_images, expected, "{shown}");
        }
        (Err(SelectionError::Ignored(words)), Err(expected)) => {
            assert!(words.contains(expected), "{shown}: {words}");
        }
        (orders, _) => panic!("{shown}: {orders:?}"),
    }
}

fn on(branch: Option<&str>, tag: Option<&str>) -> Event {
    Event {
        refs: {
            let branch = branch.map(|name| EventRef::Branch(name.to_owned()));
            let tag = tag.map(|name| EventRef::Tag(name.to_owned()));
            branch.into_iter().chain(tag).collect()
        },
        ..event("stack_update")
    }
}

#[test]
fn branches_and_tags_are_one_rule_about_the_ref() {
    let none = Rules::default();
    let branches = Rules {
        branches: globs(&["main", "release/*"]),
        ..Rules::default()
    };
    let tags = Rules {
        tags: globs(&["v*"]),
        ..Rules::default()
    };
    let both = Rules {
        tags: globs(&["v*"]),
        ..branches.clone()
    };
    let silent = || on(None, None);
    let (branch, tag) = (|name| on(Some(name), None), |name| on(None, Some(name)));

    check_rules(&none, silent(), Ok(&[]));
    check_rules(&branches, branch("main"), Ok(&[]));
    check_rules(&branches, branch("release/1"), Ok(&[]));
    check_rules(
        &branches,
        branch("release/1/2"),
        Err("\"branches\" (main, release/*) does not allow branch \"release/1/2\""),
    );
    check_rules(&branches, branch("Main"), Err("does not allow"));
    check_rules(&branches, branch("xmain"), Err("does not allow"));
    check_rules(
        &branches,
        tag("main"),
        Err("tag \"main\", and only rule \"branches\""),
    );
    check_rules(&branches, silent(), Err("\"branches\" needs a branch"));
    check_rules(&tags, tag("v1"), Ok(&[]));
    check_rules(
        &tags,
        tag("1"),
        Err("\"tags\" (v*) does not allow tag \"1\""),
    );
    check_rules(
        &tags,
        branch("v1"),
        Err("branch \"v1\", and only rule \"tags\""),
    );
    check_rules(&tags, silent(), Err("\"tags\" needs a tag"));
    check_rules(&both, branch("main"), Ok(&[]));
    check_rules(&both, tag("v1"), Ok(&[]));
    check_rules(&both, branch("v1"), Err("\"branches\""));
    check_rules(&both, tag("main"), Err("\"tags\""));
    check_rules(&both, silent(), Err("needs"));
}

#[test]
fn events_and_repositories_are_filtered() {
    let events = Rules {
        events: globs(&["deployment"]),
        ..Rules::default()
    };
    check_rules(&events, event("deployment"), Ok(&[]));
    check_rules(
        &events,
        event("stack_update"),
        Err("event \"stack_update\" is not wanted: rule \"events\" allows deployment"),
    );
    let repositories = Rules {
        repositories: globs(&["Acme/*"]),
        ..Rules::default()
    };
    let of = |name: &str| Event {
        repository: Some(name.to_owned()),
        ..event("stack_update")
    };
    check_rules(&repositories, of("ACME/web"), Ok(&[]));
    check_rules(
        &repositories,
        of("acme/web/x"),
        Err("does not allow repository \"acme/web/x\""),
    );
    check_rules(&repositories, of("evil/acme/web"), Err("does not allow"));
    check_rules(
        &repositories,
        event("stack_update"),
        Err("needs a repository"),
    );
}

#[test]
fn images_filter_named_images_and_select_for_events_without_images() {
    let rules = Rules {
        images: patterns(&["ghcr.io/acme/web:v*", "nginx"]),
        ..Rules::default()
    };
    let of = |names: &[&str]| Event {
        images: images(names),
        ..event("stack_update")
    };
    check_rules(
        &Rules::default(),
        of(&["redis:7", "redis:7"]),
        Ok(&["redis:7"]),
    );
    check_rules(
        &rules,
        of(&["ghcr.io/acme/web:v1"]),
        Ok(&["ghcr.io/acme/web:v1"]),
    );
    check_rules(
        &rules,
        of(&["redis:7", "docker.io/library/nginx:1"]),
        Ok(&["nginx:1"]),
    );
    check_rules(
        &rules,
        of(&["redis:7", "ghcr.io/acme/web:main"]),
        Err("does not allow image \"redis:7, ghcr.io/acme/web:main\""),
    );
    check_rules(
        &rules,
        event("stack_update"),
        Ok(&["ghcr.io/acme/web:v*", "nginx"]),
    );
}

#[test]
fn paths_match_a_changed_file_or_an_incomplete_list() {
    let rules = Rules {
        paths: globs(&["deploy/**"]),
        ..Rules::default()
    };
    let of = |files: &[&str], is_complete| Event {
        paths: Some(ChangedPaths {
            files: globs(files),
            is_complete,
        }),
        ..event("stack_update")
    };
    check_rules(&rules, of(&["README", "deploy/a/b.yml"], true), Ok(&[]));
    check_rules(
        &rules,
        of(&["README", "src/deploy/x"], true),
        Err("none of the 2 changed files"),
    );
    check_rules(&rules, of(&["README"], false), Ok(&[]));
    check_rules(&rules, of(&[], true), Err("none of the 0"));
    check_rules(&rules, event("stack_update"), Err("does not list them"));
}

#[test]
fn all_rules_must_match() {
    let rules = Rules {
        branches: globs(&["main"]),
        repositories: globs(&["acme/web"]),
        ..Rules::default()
    };
    let of = |branch, repository: &str| Event {
        repository: Some(repository.to_owned()),
        ..on(Some(branch), None)
    };
    check_rules(&rules, of("main", "acme/web"), Ok(&[]));
    check_rules(&rules, of("dev", "acme/web"), Err("\"branches\""));
    check_rules(&rules, of("main", "acme/api"), Err("\"repositories\""));
}

/// Checks whether a hook of a Git host acts on an event, or words of the refusal.
#[track_caller]
fn check_events(sender: &str, events: &[&str], name: &str, expected: Result<(), &str>) {
    let rules = Rules {
        events: globs(events),
        ..Rules::default()
    };
    let mut told = told(None);
    told.events = vec![event(name)];
    let result = hook(sender, &["app"], rules).orders(&told, None, &stacks());
    match (result, expected) {
        (Ok(_), Ok(())) => {}
        (Err(SelectionError::Ignored(words)), Err(expected)) => {
            assert!(words.contains(expected), "{words}");
        }
        (result, _) => panic!("{sender:?} {events:?} {name:?}: {result:?}"),
    }
}

#[test]
fn acts_by_default_only_on_events_that_bring_something_new() {
    let github = "github";
    check_events(github, &[], "push", Ok(()));
    check_events(
        github,
        &[],
        "create",
        Err("acted on by default are push, workflow_run"),
    );
    check_events(github, &["create"], "create", Ok(()));
    check_events(
        github,
        &["create"],
        "push",
        Err("rule \"events\" allows create"),
    );
    check_events("custom", &[], "anything", Ok(()));
    check_events("quay", &[], "push", Ok(()));
    for sender in Sender::ALL {
        for kind in sender.events() {
            check_events(sender.name(), &[kind.name], kind.name, Ok(()));
        }
        for name in sender.default_events() {
            check_events(sender.name(), &[], name, Ok(()));
        }
    }
}

#[test]
fn names_the_pointer_of_a_missing_fact() {
    let mut hook = hook(
        "custom",
        &["app"],
        Rules {
            events: globs(&["built"]),
            ..Rules::default()
        },
    );
    hook.payload = Some(crate::hook::Payload {
        event: Some("/kind".to_owned()),
        branch: Some("/where".to_owned()),
        ..Default::default()
    });
    let mut told = told(None);
    told.events = vec![event("")];
    let refusal = |hook: &Hook| hook.orders(&told, None, &stacks()).unwrap_err();
    let needs = |text: &str| SelectionError::Ignored(text.to_owned());
    assert_eq!(
        refusal(&hook),
        needs("rule \"events\" needs an event, and there is none at \"/kind\"")
    );
    hook.rules = Rules {
        branches: globs(&["main"]),
        ..Rules::default()
    };
    assert_eq!(
        refusal(&hook),
        needs("rule \"branches\" needs a branch, and there is none at \"/where\"")
    );
}
