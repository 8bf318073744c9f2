//! Mistakes in the file as such and at its top, each with its exact message.

use super::{FIVE, Place, check};
use crate::config::Need;

#[test]
fn an_empty_file_and_one_with_a_byte_order_mark_are_fine() {
    check("", "");
    check("\u{feff}log = \"debug\"\n", "");
    check("log = \"debug\"\r\n[portainer]\r\ntimeout = \"5m\"\r\n", "");
}

#[test]
fn syntax_errors_name_their_line_and_nothing_else() {
    let quotes = "a text needs quotes around it";
    check("log = \n", &format!("stackhook.toml:1: {quotes}"));
    check("log = info\n", &format!("stackhook.toml:1: {quotes}"));
    check(
        "\n[portainer]\napi_key = ptr_0123\n",
        &format!("stackhook.toml:3: {quotes}"),
    );
    check(
        "[portainer\nurl = \"http://x\"\nurll = 1\n",
        "stackhook.toml:1: unclosed table, expected `]`",
    );
    check(
        "log = \"a\nmax_body = \"x\"\n[[stack]]\nname = \"a\"\npull = 1\n",
        "stackhook.toml:1: invalid basic string, expected `\"`\n\
         stackhook.toml:2: max_body: expected a size such as \"1MiB\", \"512KiB\" or a number of bytes\n\
         stackhook.toml:5: stack.pull: expected a text in quotes, found a number",
    );
    check(
        "log = \"info\"\nlog = \"info\"\n[staff]\n[staff]\n",
        "stackhook.toml:2: duplicate key\nstackhook.toml:4: duplicate key",
    );
    check(
        "[[stack]\nname = \"a\"\n\n[portainer]\npassword = \"abc\\qdef\"\n",
        "stackhook.toml:1: unclosed array table, expected `]`\n\
         stackhook.toml:5: after a backslash only certain signs may follow; write \\\\, or put the text in single quotes",
    );
    check(
        "state_dir = \"\"\"never closed\n\n[portainer]\n",
        "stackhook.toml:4: invalid multi-line basic string, expected `\"`",
    );
    check(
        "log = \"info\"\nkey value\n]\n",
        "stackhook.toml:2: key with no value, expected `=`\nstackhook.toml:3: missing table open, expected `[`",
    );
}

#[test]
fn unknown_keys_come_with_what_was_meant() {
    check(
        "[portainer]\nurll = \"http://x\"\n",
        "stackhook.toml:2: portainer.urll: unknown key; did you mean \"url\"?",
    );
    check(
        "[[stacks]]\nname = \"a\"\n",
        "stackhook.toml:1: stacks: unknown key; did you mean \"stack\"?",
    );
    check(
        "[portainer]\nlog = \"debug\"\n",
        "stackhook.toml:2: portainer.log: unknown key; it belongs to the top of the file, before any section",
    );
    check(
        "pull = \"first\"\n",
        "stackhook.toml:1: pull: unknown key; it belongs to [[stack]]",
    );
    check(
        "api_key = \"x\"\n",
        "stackhook.toml:1: api_key: unknown key; it belongs to [portainer]",
    );
    check("proxy = 1\n", "stackhook.toml:1: proxy: unknown key");
    check(
        "\"ptr_secret text/with anything\" = 1\n",
        "stackhook.toml:1: (not shown): unknown key",
    );
    check(
        "[portainer.tls]\nfoo = 1\n",
        "stackhook.toml:1: portainer.tls: unknown key",
    );
    check(
        "[[hook]]\nname=\"b\"\nsecret=\"0123456789abcdef\"\nsender=\"custom\"\n[hook.payload]\ntags = \"/a\"\n",
        "stackhook.toml:6: hook.payload.tags: unknown key; did you mean \"tag\"?",
    );
}

#[test]
fn wrong_kinds_of_values_name_the_right_one() {
    check(
        "listen = 8484\n",
        "stackhook.toml:1: listen: expected a text in quotes, found a number",
    );
    check(
        "log = true\n",
        "stackhook.toml:1: log: expected a text in quotes, found true or false",
    );
    check(
        "log = 1.5\n",
        "stackhook.toml:1: log: expected a text in quotes, found a fraction",
    );
    check(
        "log = 2020-01-01\n",
        "stackhook.toml:1: log: expected a text in quotes, found a date or a time",
    );
    check(
        "log = [\"info\"]\n",
        "stackhook.toml:1: log: expected a text in quotes, found a list",
    );
    check(
        "log = {}\n",
        "stackhook.toml:1: log: expected a text in quotes, found a section",
    );
    check(
        "trusted_proxies = \"10.0.0.1\"\n",
        "stackhook.toml:1: trusted_proxies: expected a list of texts, such as [\"…\", \"…\"], found a text",
    );
    check(
        "trusted_proxies = [\n\"10.0.0.1\",\n2]\n",
        "stackhook.toml:3: trusted_proxies: expected texts in the list, found a number",
    );
    check(
        "[portainer]\ninsecure = \"yes\"\n",
        "stackhook.toml:2: portainer.insecure: expected true or false, found a text",
    );
    check(
        "portainer = 1\n",
        "stackhook.toml:1: portainer: expected one section [portainer], found a number",
    );
    check(
        "[[portainer]]\nurl = \"x\"\n",
        "stackhook.toml:1: portainer: expected one section [portainer], found a list",
    );
    check(
        "[stack]\nname = \"x\"\n",
        "stackhook.toml:1: stack: expected sections [[stack]], with two brackets on each side",
    );
    check(
        "hook = [1]\n",
        "stackhook.toml:1: hook: expected sections [[hook]], with two brackets on each side",
    );
    check("[portainer]\napi_key = 7\n", "");
    check("log = \"\"\n", "stackhook.toml:1: log: is empty");
    check(
        "trusted_proxies = [\"\"]\n",
        "stackhook.toml:1: trusted_proxies: an element is empty",
    );
}

#[test]
fn top_level_values_are_checked() {
    check(
        "listen = \":8484\"",
        "stackhook.toml:1: listen: expected an address before the port: \"127.0.0.1:8484\" for this host alone, \"0.0.0.0:8484\" or \"[::]:8484\" for everybody",
    );
    check(
        "public_url = \"hooks.example.com\"",
        "stackhook.toml:1: public_url: expected a URL that begins with http:// or https://",
    );
    check(
        "public_url = \"https://hooks.example.com/?a=1\"",
        "stackhook.toml:1: public_url: has a query (from the \"?\" on), which has no place here",
    );
    check(
        "trusted_proxies = [\"10.0.0.0/33\"]",
        "stackhook.toml:1: trusted_proxies: expected addresses or networks, such as \"10.0.0.0/8\"",
    );
    check(
        "max_body = \"1MB\"",
        "stackhook.toml:1: max_body: expected a size such as \"1MiB\", \"512KiB\" or a number of bytes",
    );
    check(
        "max_body = \"33MiB\"",
        "stackhook.toml:1: max_body: more than 32MiB is never accepted",
    );
    check(
        "max_body = 0",
        "stackhook.toml:1: max_body: 0 would let no delivery in",
    );
    check(
        "max_body = -1",
        "stackhook.toml:1: max_body: expected a size such as \"1MiB\", \"512KiB\" or a number of bytes",
    );
    check("max_body = 1048576", "");
    check(
        "log = \"trace\"",
        "stackhook.toml:1: log: expected error, warn, info or debug",
    );
    check(
        "log = \"Debug\"",
        "stackhook.toml:1: log: expected error, warn, info or debug; did you mean \"debug\"?",
    );
    check(
        "log_format = \"jsn\"",
        "stackhook.toml:1: log_format: expected auto, text or json; did you mean \"json\"?",
    );
}

#[test]
fn all_problems_come_in_one_run_in_the_order_of_the_file() {
    let mut place = Place::with(&[
        ("STACKHOOK_LISTEN", "localhost:80"),
        ("PORTAINER_WEBHOOK_SECRET", "short"),
    ]);
    place.write(
        "stackhook.toml",
        "log = \"loud\"\n[portainer]\nuser = \"me\"\nurll = 1\n[[stack]]\nname = \"a\"\npull = 1\n[[hook]]\nname = \"other\"\nstacks = [\"b\"]\n",
    );
    place.set("STACKHOOK_LOGG", "debug");
    let problems = place.load(Need::Serve).expect_err("many");
    assert_eq!(
        problems.to_string(),
        "stackhook.toml:1: log: expected error, warn, info or debug\n\
         stackhook.toml:3: portainer.user: has no password; set PORTAINER_PASSWORD or PORTAINER_PASSWORD_FILE (password or password_file), or an API key instead of the user\n\
         stackhook.toml:4: portainer.urll: unknown key; did you mean \"url\"?\n\
         stackhook.toml:7: stack.pull: expected a text in quotes, found a number\n\
         stackhook.toml:8: hook.secret: hook \"other\" has no secret, and an open hook is never served; set secret or secret_file, to a text that \"stackhook generate-secret\" prints\n\
         stackhook.toml:10: hook.stacks: names a stack that is not configured; did you mean \"a\"?\n\
         PORTAINER_WEBHOOK_SECRET: is shorter than 16 bytes; \"stackhook generate-secret\" prints one that cannot be guessed\n\
         STACKHOOK_LISTEN: names are not looked up; write \"127.0.0.1:8484\" or \"[::1]:8484\"\n\
         portainer.url: is missing; set PORTAINER_URL, or url in [portainer], such as \"http://portainer:9000\""
    );
    assert_eq!(
        problems.warnings[0],
        "STACKHOOK_LOGG: unknown variable, ignored; did you mean STACKHOOK_LOG?"
    );
}

#[test]
fn a_named_file_must_exist_and_others_need_not() {
    let mut place = Place::with(FIVE);
    place.set("STACKHOOK_CONFIG", "etc/no.toml");
    assert_eq!(
        place.problems(Need::Serve),
        "etc/no.toml: cannot read \"DIR/etc/no.toml\": there is no such file; --config or STACKHOOK_CONFIG names it"
    );
    place.set("STACKHOOK_CONFIG", "");
    place.loaded(Need::Serve);
    std::fs::create_dir(place.dir.join("stackhook.toml")).unwrap();
    assert_eq!(
        place.problems(Need::Serve),
        "stackhook.toml: cannot read \"DIR/stackhook.toml\": it is a directory (Docker makes one where a mounted file does not exist)"
    );
}

#[test]
fn the_nearest_file_is_read() {
    let mut place = Place::with(FIVE);
    let log = |place: &Place| place.loaded(Need::Serve).config.log.to_string();
    place.write("system.toml", "log = \"error\"");
    assert_eq!(log(&place), "ERROR");
    place.write("stackhook.toml", "log = \"warn\"");
    assert_eq!(log(&place), "WARN");
    place.write("other/named.toml", "log = \"debug\"\nstate_dir = \"state\"");
    place.set("STACKHOOK_CONFIG", "other/named.toml");
    assert_eq!(log(&place), "DEBUG");
    let state = place.loaded(Need::Serve).config.state_dir.unwrap();
    assert_eq!(
        state,
        place.dir.join("other/state"),
        "paths start from the file"
    );
    place.set("STACKHOOK_LOG", "info");
    assert_eq!(log(&place), "INFO");
}
