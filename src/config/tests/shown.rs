//! The settings that `show-config` prints.

use super::{FIVE, Place};
use crate::config::ConfigScope;
use crate::config::schema::SECTIONS;

#[test]
fn shows_every_effective_value_with_its_source() {
    let mut place = Place::with(FIVE);
    place.write("hook", "0123456789abcdef\nfedcba98765432100\n");
    place.write(
        "stackhook.toml",
        "log = \"debug\"\n[[stack]]\nkey = \"db\"\nname = \"db-stack\"\nexcept = [\"postgres:*\", \"redis\"]\n\
         [[hook]]\nname = \"b\"\nsender = \"harbor\"\nsecret_file = \"hook\"\nstacks = [\"db\"]\n[staff]\npassword = \"12345678\"\n",
    );
    place.set("PORTAINER_URL", "https://portainer/portainer/api/");
    let shown = place.loaded(ConfigScope::Show).shown;
    let given: Vec<String> = shown
        .iter()
        .filter(|row| row.source != "default")
        .map(|row| place.plain(&format!("{} | {} | {}", row.key, row.value, row.source)))
        .collect();
    assert_eq!(
        given,
        [
            "log | debug | stackhook.toml:1",
            "portainer.url | https://portainer/portainer | PORTAINER_URL",
            "portainer.api_key | set | PORTAINER_API_KEY",
            "stack.db.name | db-stack | stackhook.toml:4",
            "stack.db.environment | local | PORTAINER_ENVIRONMENT",
            "stack.db.except | postgres:*, redis | stackhook.toml:5",
            "stack.app-stack.name | app-stack | PORTAINER_STACK_NAME",
            "stack.app-stack.environment | local | PORTAINER_ENVIRONMENT",
            "hook.b.sender | harbor | stackhook.toml:8",
            "hook.b.secret | 2 secrets | stackhook.toml:9 -> DIR/hook",
            "hook.b.stacks | db | stackhook.toml:10",
            "hook.update.secret | set | PORTAINER_WEBHOOK_SECRET",
            "hook.update.default_stack | app-stack | PORTAINER_STACK_NAME",
            "staff.password | set | stackhook.toml:12",
        ]
    );
}

#[test]
fn every_key_has_a_row_even_if_it_is_not_set() {
    let mut place = Place::with(FIVE);
    place.set("STACKHOOK_STAFF_PASSWORD", "12345678");
    place.set("STACKHOOK_NOTIFY_URL", "https://ntfy.example.com/x");
    place.set("PORTAINER_WEBHOOK_SENDER", "custom");
    place.write("stackhook.toml", "[[hook]]\nscheme = \"token\"\n");
    let shown = place.loaded(ConfigScope::Show).shown;
    // Not set here, part of another row, or only shown where it is set.
    let others = [
        "hook.hash",
        "hook.encoding",
        "hook.label",
        "hook.signed",
        "hook.timestamp_header",
        "hook.workflows",
        "hook.deployment_environments",
        "hook.prereleases",
        "hook.registry",
        "hook.payload",
        "hook.name",
        "stack.key",
        "portainer.user",
        "portainer.password",
        "notify.secret",
    ];
    for (section, keys) in SECTIONS {
        for key in keys()
            .iter()
            .filter(|key| !key.ends_with("_file") || **key == "ca_file")
        {
            let path = match *section {
                "" => (*key).to_owned(),
                section => format!("{section}.{key}"),
            };
            let is_section =
                SECTIONS.iter().any(|(kind, _)| kind == key) || *section == "hook.payload";
            let row = path
                .replace("stack.", "stack.app-stack.")
                .replace("hook.", "hook.update.");
            let here = shown.iter().any(|shown| shown.key == row);
            assert!(
                here || is_section || others.contains(&path.as_str()),
                "{row}"
            );
        }
    }
}
