//! Selection of the stacks of a delivery, and the orders for them.

mod rules;

use std::time::Duration;

use super::*;
use crate::event::{Event, ParseOutcome, RequestedChanges};
use crate::hook::{HookName, Rules, Scheme, SchemeName, Sender};
use crate::image::Reference;
use crate::secret::Secret;
use crate::signature::tests::proven;
use crate::stack::order::{Cause, ImageFilter, Selection};
use crate::stack::{PullMode, RollBack};

fn key(text: &str) -> StackKey {
    StackKey::parse(text).unwrap()
}

fn stack(name: &str, portainer: &str, env: &[&str]) -> Stack {
    Stack {
        key: key(name),
        name: portainer.to_owned(),
        environment: None,
        pull: PullMode::First,
        except: Vec::new(),
        env: env.iter().map(|name| (*name).to_owned()).collect(),
        healthy_within: Duration::ZERO,
        rollback: RollBack::Never,
        cleanup: false,
    }
}

fn stacks() -> Vec<Stack> {
    vec![
        stack("app", "app-stack", &["IMAGE_TAG"]),
        stack("web", "Web", &[]),
        stack("twin", "twins", &[]),
        stack("other-twin", "twins", &[]),
        stack("foreign", "foreign", &[]),
    ]
}

fn hook(sender: &str, stacks: &[&str], rules: Rules) -> Hook {
    Hook {
        name: HookName::parse("update").unwrap(),
        sender: Sender::parse(sender).unwrap(),
        scheme: Scheme::plain(SchemeName::Generic),
        secrets: vec![Secret::new("0123456789abcdef").unwrap()],
        stacks: stacks.iter().map(|name| key(name)).collect(),
        default_stack: None,
        rules,
        wait: Duration::ZERO,
        allow_from: Vec::new(),
        payload: None,
        registry: Vec::new(),
    }
}

fn generic(stacks: &[&str]) -> Hook {
    hook("generic", stacks, Rules::default())
}

fn told(stack: Option<&str>) -> ParsedDelivery {
    ParsedDelivery {
        id: None,
        time: None,
        requested: RequestedChanges {
            stack: stack.map(str::to_owned),
            ..RequestedChanges::default()
        },
        events: vec![event("stack_update")],
    }
}

fn event(name: &str) -> Event {
    Event {
        name: name.to_owned(),
        ..Event::default()
    }
}

/// Checks the stacks that are selected if the body names `body` and the path names `path`, or words of the refusal.
#[track_caller]
fn check(hook: &Hook, body: Option<&str>, path: Option<&str>, expected: Result<&[&str], &str>) {
    let path = path.map(key);
    let orders = hook.orders(&told(body), path.as_ref(), &stacks());
    match (orders, expected) {
        (Ok(orders), Ok(expected)) => {
            let keys: Vec<&str> = orders.iter().map(|(key, _)| key.as_str()).collect();
            assert_eq!(keys, expected, "{body:?} {path:?}");
        }
        (Err(SelectionError::Refused(words)), Err(expected)) => {
            assert!(words.contains(expected), "{body:?} {path:?}: {words}");
        }
        (orders, _) => panic!("{body:?} {path:?}: {orders:?}"),
    }
}

#[test]
fn a_body_names_a_stack_by_key_or_name_without_case() {
    let hook = generic(&["app", "web", "twin", "other-twin"]);
    check(&hook, Some("app"), None, Ok(&["app"]));
    check(&hook, Some("APP"), None, Ok(&["app"]));
    check(&hook, Some("app-stack"), None, Ok(&["app"]));
    check(&hook, Some("App-Stack"), None, Ok(&["app"]));
    check(&hook, Some("web"), None, Ok(&["web"]));
    check(&hook, Some("twin"), None, Ok(&["twin"]));
    check(&hook, Some("twins"), None, Err("several stacks"));
    for unknown in ["", "foreign", "ap", "app "] {
        check(
            &hook,
            Some(unknown),
            None,
            Err("the stacks of this hook are app, web, twin, other-twin"),
        );
    }
}

#[test]
fn selects_by_path_default_or_only_stack_if_the_body_names_none() {
    let mut hook = generic(&["app", "web"]);
    check(
        &hook,
        None,
        None,
        Err("the stacks of this hook are app, web"),
    );
    check(&hook, None, Some("web"), Ok(&["web"]));
    hook.default_stack = Some(key("app"));
    check(&hook, None, None, Ok(&["app"]));
    check(&hook, None, Some("web"), Ok(&["web"]));
    check(&hook, Some("web"), None, Ok(&["web"]));
    check(&generic(&["web"]), None, None, Ok(&["web"]));
    check(
        &generic(&["web"]),
        None,
        Some("app"),
        Err("no stack \"app\""),
    );
}

#[test]
fn path_and_body_must_name_the_same_stack() {
    let hook = generic(&["app", "web"]);
    check(&hook, Some("App-Stack"), Some("app"), Ok(&["app"]));
    check(
        &hook,
        Some("web"),
        Some("app"),
        Err("the path is about stack \"app\", the body about \"web\""),
    );
}

#[test]
fn other_senders_update_all_stacks_of_the_hook() {
    let mut hook = hook("github", &["web", "app"], Rules::default());
    hook.default_stack = Some(key("app"));
    let mut told = told(None);
    told.events = vec![event("push")];
    let orders = hook.orders(&told, None, &stacks()).unwrap();
    let keys: Vec<&str> = orders.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(keys, ["web", "app"]);
    let orders = hook.orders(&told, Some(&key("app")), &stacks()).unwrap();
    assert_eq!(orders.len(), 1);
}

#[test]
fn only_listed_variables_may_be_set() {
    let hook = generic(&["app", "web"]);
    let mut told = told(Some("app"));
    told.requested.force = true;
    told.requested.set = BTreeMap::from([("IMAGE_TAG".to_owned(), "1".to_owned())]);
    let orders = hook.orders(&told, None, &stacks()).unwrap();
    assert_eq!(orders[0].1.set, told.requested.set);
    assert!(orders[0].1.force);

    told.requested.set.insert("PATH".to_owned(), "/".to_owned());
    let refused = hook.orders(&told, None, &stacks()).unwrap_err();
    assert_eq!(
        refused,
        SelectionError::Refused(
            "variable \"PATH\" may not be set on stack \"app\": its list \"env\" has IMAGE_TAG"
                .to_owned()
        )
    );
    told.requested.stack = Some("web".to_owned());
    let Err(SelectionError::Refused(words)) = hook.orders(&told, None, &stacks()) else {
        panic!();
    };
    assert!(words.contains("\"env\" is empty"), "{words}");
}

fn globs(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn images(texts: &[&str]) -> Vec<Reference> {
    texts
        .iter()
        .map(|text| Reference::parse(text).unwrap())
        .collect()
}

#[test]
fn merges_several_events_and_leaves_out_refused_ones() {
    let hook = hook(
        "distribution",
        &["app", "web"],
        Rules {
            tags: globs(&["v*"]),
            ..Rules::default()
        },
    );
    let pushed = |name: &str, tag: &str| Event {
        cause: Cause::Image,
        refs: vec![crate::event::EventRef::Tag(tag.to_owned())],
        images: images(&[&format!("{name}:{tag}")]),
        ..event("push")
    };
    let mut told = told(None);
    told.events = vec![
        pushed("acme/a", "v1"),
        pushed("acme/b", "dev"),
        pushed("acme/c", "v2"),
        pushed("acme/a", "v1"),
    ];
    let orders = hook.orders(&told, None, &stacks()).unwrap();
    assert_eq!(orders.len(), 2);
    let expected: Vec<ImageFilter> = images(&["acme/a:v1", "acme/c:v2"])
        .into_iter()
        .map(ImageFilter::Reference)
        .collect();
    for (_, order) in orders {
        assert_eq!(order.images, Selection::Only(expected.clone()));
        assert_eq!(order.cause, Cause::Image);
    }
    told.events = vec![
        pushed("acme/a", "dev"),
        pushed("acme/b", "dev"),
        pushed("acme/c", "x"),
    ];
    let Err(SelectionError::Ignored(words)) = hook.orders(&told, None, &stacks()) else {
        panic!();
    };
    assert_eq!(words.matches("\"dev\"").count(), 1, "{words}");
    assert!(words.contains("\"x\""), "{words}");
}

#[test]
fn a_delivery_becomes_orders_in_two_steps() {
    let rules = Rules {
        branches: globs(&["main"]),
        ..Rules::default()
    };
    let hook = hook("github", &["app"], rules);
    let orders = |branch: &str| {
        let body = format!("{{\"ref\": \"refs/heads/{branch}\", \"after\": \"abc\"}}");
        proven(
            &[("X-GitHub-Event", "push")],
            body.as_bytes(),
            |verified| match hook.parse_delivery(verified, 0).unwrap() {
                ParseOutcome::Delivery(told) => hook.orders(&told, None, &stacks()),
                ParseOutcome::Ignored(reason) => panic!("{reason}"),
            },
        )
    };
    let expected = Order {
        cause: Cause::Push(Some("abc".to_owned())),
        ..Order::default()
    };
    assert_eq!(orders("main"), Ok(vec![(key("app"), expected)]));
    assert!(matches!(orders("dev"), Err(SelectionError::Ignored(_))));
}
