//! Tables of Compose files. The results of valid ones were compared with compose-go.

mod hostile;
mod verdicts;

use super::*;

fn env(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

/// The variables of a stack named `shop`.
fn variables(pairs: &[(&str, &str)]) -> Variables {
    Variables::for_compose("shop", &env(pairs), &BTreeMap::new())
}

/// One line for each service: image, then everything unusual.
fn told(file: &ComposeSpec) -> String {
    let service = |(name, wanted): (&String, &ServiceSpec)| {
        let mut line = format!(
            "{name} {}",
            wanted
                .image
                .as_ref()
                .map_or("-".to_owned(), Reference::familiar)
        );
        if wanted.source != ImageSource::Registry {
            line.push_str(" local");
        }
        if let Some(policy) = &wanted.pulls_itself {
            line.push_str(&format!(" pulls:{policy}"));
        }
        if wanted.optional {
            line.push_str(" optional");
        }
        line
    };
    file.services
        .iter()
        .map(service)
        .collect::<Vec<_>>()
        .join("\n")
}

#[track_caller]
fn check(file: &str, pairs: &[(&str, &str)], expected: &str) {
    let read = read(file, &variables(pairs)).unwrap_or_else(|why| panic!("{file}\n{why}"));
    assert_eq!(told(&read), expected, "{file}");
}

/// A file with the one service `web` of these lines.
fn web(lines: &str) -> String {
    format!("services:\n  web:\n    {}\n", lines.replace('\n', "\n    "))
}

#[track_caller]
fn check_web(lines: &str, pairs: &[(&str, &str)], expected: &str) {
    check(&web(lines), pairs, expected);
}

#[track_caller]
fn refused(file: &str, pairs: &[(&str, &str)], expected: &str) {
    let why = read(file, &variables(pairs)).expect_err(file).to_string();
    assert!(why.starts_with(expected), "{file}\n{why}");
    assert!(why.contains("; ") || why.contains(": "), "a way out: {why}");
}

#[track_caller]
fn refused_web(lines: &str, pairs: &[(&str, &str)], expected: &str) {
    refused(&web(lines), pairs, expected);
}

#[test]
fn images_are_read_with_the_default_tag() {
    check(
        "services:\n  web:\n    image: nginx\n  api:\n    image: ghcr.io/acme/api:2\n",
        &[],
        "api ghcr.io/acme/api:2\nweb nginx:latest",
    );
    check_web("image: web:1", &[], "web web:1");
    check_web("image: 'web:1'", &[], "web web:1");
    check_web("image: \"web:1\" # the tag", &[], "web web:1");
    check_web("image: !!str 12", &[], "web 12:latest");
    check_web("image: '12'", &[], "web 12:latest");
    check_web("image: >-\n  web:1", &[], "web web:1");
    check(
        "services:\n  web:\n    image: >-\n      web:1",
        &[],
        "web web:1",
    );
    check("services:\n  web:\n    image: web:1", &[], "web web:1");
    check("{services: {web: {image: 'web:1'}}}", &[], "web web:1");
    check(
        "\u{feff}---\nservices:\n  web:\n    image: web\n...\n",
        &[],
        "web web:latest",
    );
    check(
        "services:\r\n  web:\r\n    image: web:1\r\n",
        &[],
        "web web:1",
    );
}

#[test]
fn variables_are_filled_into_images() {
    check_web("image: web:${TAG}", &[("TAG", "1.2")], "web web:1.2");
    check_web("image: web:${TAG:-1}", &[], "web web:1");
    check_web("image: '${IMAGE:-web:${TAG:-1}}'", &[], "web web:1");
    check_web(
        "image: $REPO/web",
        &[("REPO", "ghcr.io/acme")],
        "web ghcr.io/acme/web:latest",
    );
    check_web("image: ${IMAGE}", &[("IMAGE", "12")], "web 12:latest");
}

#[test]
fn keys_are_not_interpolated() {
    check(
        "services:\n  web:\n    image: a\n    labels: {'${KEY}': 1}\nx-$OTHER: 1\n",
        &[],
        "web a:latest",
    );
}

#[test]
fn images_that_are_built_or_never_pulled_are_local() {
    check_web("build: .", &[], "web - local");
    check_web("build: ''", &[], "web - local");
    check_web("build: ${CONTEXT:-.}\nimage: web:1", &[], "web web:1 local");
    check_web("build: {context: $NOT_READ}", &[], "web - local");
    check_web("build: .\nimage: ''", &[], "web - local");
    check_web(
        "image: web\npull_policy: never",
        &[],
        "web web:latest local",
    );
    check_web(
        "image: web\npull_policy: build",
        &[],
        "web web:latest local",
    );
    check_web("image: web\npull_policy: missing", &[], "web web:latest");
    check_web(
        "image: web\npull_policy: ${POLICY:-if_not_present}",
        &[],
        "web web:latest",
    );
}

#[test]
fn reports_policies_by_which_compose_pulls_itself() {
    for policy in [
        "always",
        "daily",
        "weekly",
        "refresh",
        "every_12h",
        "every_1d12h",
    ] {
        let expected = format!("web web:latest pulls:{policy}");
        check_web(
            &format!("image: web\npull_policy: {policy}"),
            &[],
            &expected,
        );
    }
    check_web(
        "build: .\npull_policy: always",
        &[],
        "web - local pulls:always",
    );
    refused_web(
        "image: web\npull_policy: Always",
        &[],
        "the pull_policy of service \"web\" is not a known policy",
    );
    refused_web(
        "image: web\npull_policy: every_",
        &[],
        "the pull_policy of service \"web\" is not a known policy",
    );
    refused_web(
        "image: web\npull_policy: every_h",
        &[],
        "the pull_policy of service \"web\" is not a known policy",
    );
}

#[test]
fn profiles_and_no_replicas_make_a_service_optional() {
    check_web(
        "image: web\nprofiles: [debug]",
        &[],
        "web web:latest optional",
    );
    check_web("image: web\nprofiles: []", &[], "web web:latest");
    check_web("image: web\nscale: 0", &[], "web web:latest optional");
    check_web("image: web\nscale: \"0\"", &[], "web web:latest optional");
    check_web("image: web\nscale: 2", &[], "web web:latest");
    check_web(
        "image: web\ndeploy: {replicas: '${N:-0}'}",
        &[],
        "web web:latest optional",
    );
    check_web(
        "image: web\ndeploy: {replicas: '${N:-0}'}",
        &[("N", "3")],
        "web web:latest",
    );
    check_web("image: web\ndeploy: {mode: global}", &[], "web web:latest");
    check_web("image: web\ndeploy:", &[], "web web:latest");
    check_web(
        "image: web\nscale: 0\ndeploy: {replicas: 0}",
        &[],
        "web web:latest optional",
    );
    refused_web(
        "image: web\nscale: 0\ndeploy: {replicas: 1}",
        &[],
        "the scale of service \"web\" is another number",
    );
    refused_web(
        "image: web\nscale: '-1'",
        &[],
        "the scale of service \"web\" is not a count",
    );
    refused_web(
        "image: web\nscale: '+1'",
        &[],
        "the scale of service \"web\" is not a count",
    );
    refused_web(
        "image: web\nscale: ''",
        &[],
        "the scale of service \"web\" is not a count",
    );
    refused_web(
        "image: web\nscale:",
        &[],
        "the scale of service \"web\" has no value",
    );
    refused_web(
        "image: web\ndeploy: {replicas: many}",
        &[],
        "the deploy.replicas of service \"web\" is not a count",
    );
    refused_web(
        "image: web\nprofiles: debug",
        &[],
        "the profiles of service \"web\" is not a list",
    );
}

#[test]
fn aliases_and_merge_keys_are_followed() {
    check(
        "x-web: &web {image: 'a:1', scale: 0}\nservices:\n  web: *web\n",
        &[],
        "web a:1 optional",
    );
    check(
        "x-web: &web {image: 'a:1'}\nservices:\n  web:\n    <<: *web\n    scale: 0\n",
        &[],
        "web a:1 optional",
    );
    check(
        "x-web: &web {image: 'a:1'}\nservices:\n  web:\n    image: b\n    <<: *web\n",
        &[],
        "web b:latest",
    );
    check(
        "x-web: &web {image: 'a:1'}\nservices:\n  web:\n    <<: *web\n    image: b\n",
        &[],
        "web b:latest",
    );
    check(
        "services:\n  web:\n    <<: [{image: a}, {image: b, scale: 0}]\n",
        &[],
        "web a:latest optional",
    );
    check(
        "x-a: &a {image: a}\nx-b: &b {<<: *a, scale: 0}\nservices:\n  web: {<<: [*b]}\n",
        &[],
        "web a:latest optional",
    );
    check(
        "x-i: &i web:${TAG}\nservices:\n  web:\n    image: *i\n",
        &[("TAG", "2")],
        "web web:2",
    );
    check(
        "x-a: &a {image: a}\nx-b: &a {image: b}\nservices:\n  web: *a\n",
        &[],
        "web b:latest",
    );
    refused(
        "services:\n  web:\n    <<: a\n    image: b\n",
        &[],
        "\"<<\" in line 3 of the compose file is neither",
    );
    refused(
        "services:\n  web:\n    <<: [a]\n    image: b\n",
        &[],
        "\"<<\" in line 3 of the compose file is neither",
    );
    refused(
        "services: &a\n  web: *a\n",
        &[],
        "the compose file is not valid YAML: line 2: an alias has no anchor",
    );
    refused(
        "services:\n  web: *a\n",
        &[],
        "the compose file is not valid YAML: line 2: ",
    );
}

#[test]
fn other_files_are_not_certain() {
    refused(
        "include: [a.yml]\nservices:\n  web: {image: a}\n",
        &[],
        "\"include\": ",
    );
    refused("include: [a.yml]\n", &[], "\"include\": ");
    refused_web(
        "extends: {service: base}",
        &[],
        "\"extends\" in service \"web\": ",
    );
    refused(
        "x-a: &a {extends: base}\nservices:\n  web:\n    <<: *a\n    image: a\n",
        &[],
        "\"extends\" in service \"web\": ",
    );
    check(
        "x-a: {extends: base}\nservices:\n  web: {image: a}\n",
        &[],
        "web a:latest",
    );
}

#[test]
fn a_variable_without_a_value_is_not_certain_where_it_is_read() {
    refused_web(
        "image: web:${TAG}",
        &[],
        "variable \"TAG\" has neither a value nor a default, in the image of service \"web\"; set it",
    );
    check_web("image: web:${TAG:?no tag}", &[("TAG", "1")], "web web:1");
    check_web("image: web${TAG:+:1}", &[], "web web:latest");
    refused_web(
        "image: web:${TAG:?no tag}",
        &[],
        "the required variable \"TAG\" has no value; ",
    );
    refused_web(
        "image: web:$1",
        &[],
        "the image of service \"web\" has a \"$\"",
    );
    refused_web("image: web\nscale: $N", &[], "variable \"N\" has neither");
    refused_web(
        "image: web\nprofiles: [$P]",
        &[],
        "variable \"P\" has neither",
    );
    refused_web(
        "image: web\npull_policy: $P",
        &[],
        "variable \"P\" has neither",
    );
    refused_web("build: $P", &[], "variable \"P\" has neither");
    refused_web(
        "image: web\ndeploy: {replicas: $N}",
        &[],
        "variable \"N\" has neither",
    );
    check_web(
        "image: web\nports: [$PORT]\nenvironment: {A: $A}",
        &[],
        "web web:latest",
    );
}

#[test]
fn variables_of_processes_do_not_count_as_unset() {
    for name in ["HOSTNAME", "PATH", "DOCKER_HOST", "COMPOSE_PROFILES"] {
        refused_web(
            &format!("image: web:${{{name}:-1}}"),
            &[],
            &format!("variable \"{name}\" may be set in the environment"),
        );
    }
    check_web(
        "image: web:${HOSTNAME:-1}",
        &[("HOSTNAME", "2")],
        "web web:2",
    );
}

#[test]
fn delivered_values_are_certain_only_where_compose_takes_any_text() {
    let read_with = |lines: &str, stored: &str| {
        let delivered = BTreeMap::from([("NEW".to_owned(), "1".to_owned())]);
        let stored = env(&[("NEW", stored)]);
        read(
            &web(lines),
            &Variables::for_compose("shop", &stored, &delivered),
        )
    };
    for lines in [
        "image: web:$NEW",
        "image: web\nenvironment: {A: $NEW}",
        "image: web\nenvironment: [A=$NEW]",
        "image: web\nlabels: {a: $NEW}",
        "image: web\ncommand: [a, $NEW]",
        "image: web\nhealthcheck: {test: [CMD, $NEW]}",
    ] {
        assert!(read_with(lines, "0").is_ok(), "{lines}");
    }
    for lines in [
        "image: web\nports: ['$NEW:80']",
        "image: web\nprivileged: $NEW",
        "image: web\nmem_limit: $NEW",
        "image: web\nhealthcheck: {test: [CMD, a], retries: $NEW}",
        "image: web\ndeploy: {resources: {limits: {cpus: $NEW}}}",
        "image: web\nvolumes: ['$NEW:/data']",
        "image: web\nrestart: $NEW",
    ] {
        let why = read_with(lines, "0").unwrap_err();
        let expected = matches!(
            why,
            ComposeError::ParsedVariable(..) | ComposeError::Doubtful(_)
        );
        assert!(expected, "{lines}: {why}");
        // A value that was deployed before has been read by compose.
        let same = read_with(lines, "1");
        assert!(
            !matches!(same, Err(ComposeError::ParsedVariable(..))),
            "{lines}: {same:?}"
        );
    }
}

#[test]
fn platforms_follow_the_file_or_the_default_platform() {
    let platform = |lines: &str, pairs: &[(&str, &str)]| {
        let spec = read(&web(lines), &variables(pairs)).unwrap();
        spec.services["web"].platform.clone()
    };
    assert_eq!(platform("image: web", &[]), None);
    let arm = Some("linux/arm64".to_owned());
    assert_eq!(platform("image: web\nplatform: linux/arm64", &[]), arm);
    let default = [("DOCKER_DEFAULT_PLATFORM", "linux/arm64")];
    assert_eq!(platform("image: web", &default), arm);
    refused(
        "services:\n  a: {image: web, platform: linux/arm64}\n  b: {image: web}\n",
        &[],
        "services ask for web:latest for different platforms",
    );
}

#[test]
fn reports_variables_anywhere_in_the_file() {
    let file = "x-a: &a [$LISTED]\nservices:\n  web:\n    image: web:${TAG:-1}\n    environment:\n      A: $SET\n      \
                B: ${UNSET}\n      C: $EMPTY\n      D: '${NEEDED}'\n      E: ${HAS-${DEFAULT}}\n    command: *a\n    \
                x-$KEY: 1\n";
    let read = read(file, &variables(&[("SET", "1"), ("EMPTY", "")])).unwrap();
    let names = |set: &BTreeSet<String>| set.iter().cloned().collect::<Vec<_>>().join(" ");
    assert_eq!(
        names(&read.variables),
        "DEFAULT EMPTY HAS LISTED NEEDED SET TAG UNSET"
    );
    assert_eq!(names(&read.unset), "DEFAULT LISTED NEEDED UNSET");
}

#[test]
fn values_of_the_wrong_kind_are_not_certain() {
    refused_web("image: 12", &[], "the image of service \"web\" is a number");
    refused_web(
        "image: 1.10",
        &[],
        "the image of service \"web\" is a number",
    );
    refused_web(
        "image: true",
        &[],
        "the image of service \"web\" is a number",
    );
    refused_web(
        "image: [a]",
        &[],
        "the image of service \"web\" is not a text",
    );
    refused_web("image:", &[], "the image of service \"web\" has no value");
    refused_web(
        "image: ~\nbuild: .",
        &[],
        "the image of service \"web\" has no value",
    );
    refused_web(
        "image: Web:1",
        &[],
        "the image of service \"web\" is not a valid image reference: the repository",
    );
    refused_web(
        "image: 'web:1 '",
        &[],
        "the image of service \"web\" is not a valid image reference: the tag",
    );
    refused_web(
        "image: web:$TAG",
        &[("TAG", "")],
        "the image of service \"web\" is not a valid image reference: the tag",
    );
    refused_web(
        "image: web:$TAG",
        &[("TAG", "'!'")],
        "the image of service \"web\" is not a valid image reference: the tag",
    );
    refused_web(
        "image: !reset a\nbuild: .",
        &[],
        "the image of service \"web\" has a YAML tag",
    );
    refused_web("build: [.]", &[], "the build of service \"web\" is neither");
    refused_web(
        "build:\nimage: a",
        &[],
        "the build of service \"web\" has no value",
    );
    refused_web(
        "image: a\ndeploy: many",
        &[],
        "the deploy of service \"web\" is not a map",
    );
    refused_web(
        "restart: always",
        &[],
        "service \"web\" has neither an image nor a build; ",
    );
    refused(
        "services:\n  web:\n",
        &[],
        "the definition of service \"web\" is not a map",
    );
    refused(
        "services:\n  web: !reset {image: a}\n",
        &[],
        "the definition of service \"web\" has a YAML tag",
    );
    refused(
        "services:\n  we b: {image: a}\n",
        &[],
        "\"we b\" is not a valid service name",
    );
    refused(
        "services:\n  \"w\\e[1m\": {image: a}\n",
        &[],
        "\"w\\u{1b}[1m\" is not a valid service name",
    );
    refused(
        "services: []\n",
        &[],
        "the compose file's services is not a map",
    );
    refused("services: {}\n", &[], "the compose file has no services");
    refused("web: {image: a}\n", &[], "the compose file has no services");
    refused("[]", &[], "the compose file's top level is not a map");
}

#[test]
fn names_the_line_of_a_syntax_error() {
    refused("", &[], "the compose file is empty");
    refused("# nothing\n", &[], "the compose file is empty");
    refused(
        "services:\n  web:\n\timage: a\n",
        &[],
        "the compose file is not valid YAML: line 3: ",
    );
    refused(
        "services:\n  web: {image: a\n",
        &[],
        "the compose file is not valid YAML: line ",
    );
    refused(
        "services:\n  web:\n    image: a: b\n",
        &[],
        "the compose file is not valid YAML: line 3: ",
    );
    refused(
        "services:\n  web:\n    image: a\n    image: a\n",
        &[],
        "the compose file is not valid YAML: line 4: the key \"image\" occurs twice",
    );
    refused(
        "x: {a: 1, a: 2}\nservices: {web: {image: a}}\n",
        &[],
        "the compose file is not valid YAML: line 1: the key \"a\"",
    );
    refused(
        "services: {web: {image: a}}\n---\nservices: {}\n",
        &[],
        "the compose file has a second document in line 2",
    );
    refused(
        "services: {web: {image: a, [b]: c}}\n",
        &[],
        "the compose file is not valid YAML: line 1: a key is not",
    );
    refused(
        "services: {web: {image: a, !!merge <<: {}}}\n",
        &[],
        "the compose file has an error or an unusual key in line 1",
    );
}

#[test]
fn no_error_shows_a_value() {
    for lines in [
        "image: $S",
        "image: web:$S",
        "image: a\nscale: $S",
        "image: a\npull_policy: $S",
        "image: a@$S",
    ] {
        let why = read(&web(lines), &variables(&[("S", "hunter2 hunter2")])).unwrap_err();
        assert!(!format!("{why} {why:?}").contains("hunter2"), "{why}");
    }
}

#[test]
fn the_restart_policy_decides_between_job_and_service() {
    let role = |lines: &str| {
        let file = read(
            &web(&format!("image: a/b\n{lines}")),
            &variables(&[("R", "no")]),
        )
        .unwrap();
        file.services["web"].role
    };
    for (lines, expected) in [
        ("restart: \"no\"", Role::Job),
        ("restart: on-failure", Role::Job),
        ("restart: on-failure:3", Role::Job),
        ("restart: ${R}", Role::Job),
        ("restart: always", Role::Service),
        ("restart: unless-stopped", Role::Service),
        ("deploy: {restart_policy: {condition: none}}", Role::Job),
        (
            "deploy: {restart_policy: {condition: on-failure}}",
            Role::Job,
        ),
        ("deploy: {restart_policy: {condition: any}}", Role::Service),
        ("deploy: {restart_policy: {delay: 5s}}", Role::Service),
        (
            "restart: always\ndeploy: {restart_policy: {condition: none}}",
            Role::Job,
        ),
        ("deploy: {replicas: 1}", Role::Unstated),
        ("restart: sometimes", Role::Unstated),
        ("command: x", Role::Unstated),
    ] {
        assert_eq!(role(lines), expected, "{lines}");
    }
}

#[test]
fn a_service_whose_completion_is_awaited_is_a_job() {
    let file = "services:
  web:
    image: a/b
    depends_on:
      migrate: {condition: service_completed_successfully}
      db: {condition: service_started}
  migrate: {image: a/c}
  db: {image: a/d}
";
    let file = read(file, &variables(&[])).unwrap();
    let roles: Vec<Role> = ["web", "migrate", "db"]
        .map(|name| file.services[name].role)
        .to_vec();
    assert_eq!(roles, [Role::Unstated, Role::Job, Role::Unstated]);
}
