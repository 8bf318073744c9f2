//! Every documented mistake in the file and in variables, with the message that names it.

use super::{FIVE, Place};
use crate::config::ConfigScope;

/// Files, and the problems with them. A problem with a line number is one of the file.
const FILES: &[(&str, &str)] = &[
    (
        "[portainer]\napi_key = 7\n",
        "2: portainer.api_key: expected a text in quotes, found a number",
    ),
    (
        "[portainer\nurl = \"http://x\"\nurll = 1\n",
        "1: unclosed table, expected `]`",
    ),
    (
        "log = \"a\nmax_body = \"x\"\n[[stack]]\nname = \"a\"\npull = 1\n",
        "1: invalid basic string, expected `\"`",
    ),
    (
        "log = \"info\"\nlog = \"info\"\n[staff]\n[staff]\n",
        "2: duplicate key\n4: duplicate key",
    ),
    (
        "[[stack]\nname = \"a\"\n\n[portainer]\npassword = \"abc\\qdef\"\n",
        "1: unclosed array table, expected `]`\n5: only certain characters may follow a backslash; write \\\\, or put the text in single quotes",
    ),
    (
        "state_dir = \"\"\"never closed\n\n[portainer]\n",
        "4: invalid multi-line basic string, expected `\"`",
    ),
    (
        "log = \"info\"\nkey value\n]\n",
        "2: key with no value, expected `=`\n3: missing table open, expected `[`",
    ),
    (
        "[portainer]\nurll = \"http://x\"\n",
        "2: portainer.urll: unknown key; did you mean \"url\"?",
    ),
    (
        "[[stacks]]\nname = \"a\"\n",
        "1: stacks: unknown key; did you mean \"stack\"?",
    ),
    (
        "[portainer]\nlog = \"debug\"\n",
        "2: portainer.log: unknown key; it belongs to the top of the file, before any section",
    ),
    (
        "pull = \"first\"\n",
        "1: pull: unknown key; it belongs to [[stack]]",
    ),
    (
        "api_key = \"x\"\n",
        "1: api_key: unknown key; it belongs to [portainer]",
    ),
    ("proxy = 1\n", "1: proxy: unknown key"),
    (
        "\"ptr_secret text/with anything\" = 1\n",
        "1: (not shown): unknown key",
    ),
    (
        "[portainer.tls]\nfoo = 1\n",
        "1: portainer.tls: unknown key",
    ),
    (
        "[[hook]]\nname=\"b\"\nsecret=\"0123456789abcdef\"\nsender=\"custom\"\n[hook.payload]\ntags = \"/a\"\n",
        "6: hook.payload.tags: unknown key; did you mean \"tag\"?",
    ),
    (
        "listen = 8484\n",
        "1: listen: expected a text in quotes, found a number",
    ),
    (
        "log = true\n",
        "1: log: expected a text in quotes, found true or false",
    ),
    (
        "log = 1.5\n",
        "1: log: expected a text in quotes, found a fraction",
    ),
    (
        "log = 2020-01-01\n",
        "1: log: expected a text in quotes, found a date or a time",
    ),
    (
        "log = [\"info\"]\n",
        "1: log: expected a text in quotes, found a list",
    ),
    (
        "log = {}\n",
        "1: log: expected a text in quotes, found a section",
    ),
    (
        "trusted_proxies = \"10.0.0.1\"\n",
        "1: trusted_proxies: expected a list of texts, such as [\"…\", \"…\"], found a text",
    ),
    (
        "trusted_proxies = [\n\"10.0.0.1\",\n2]\n",
        "3: trusted_proxies: expected a text in quotes, found a number",
    ),
    (
        "[portainer]\ninsecure = \"yes\"\n",
        "2: portainer.insecure: expected true or false, found a text",
    ),
    (
        "portainer = 1\n",
        "1: portainer: expected one section [portainer], found a number",
    ),
    (
        "[[portainer]]\nurl = \"x\"\n",
        "1: portainer: expected one section [portainer], found a list",
    ),
    (
        "[stack]\nname = \"x\"\n",
        "1: stack: expected sections [[stack]], with two brackets on each side, found a section",
    ),
    (
        "hook = [1]\n",
        "1: hook: expected sections [[hook]], with two brackets on each side, found a number",
    ),
    (
        "portainer = [\"http://p:9000\"]\nstaff = [\"me\", \"password-in-a-list\"]\nhook = [[\"a\"]]\n",
        "1: portainer: expected one section [portainer], found a list\n2: staff: expected one section [staff], found a list\n3: hook: expected sections [[hook]], with two brackets on each side, found a list",
    ),
    ("log = \"\"\n", "1: log: is empty"),
    (
        "trusted_proxies = [\"\"]\n",
        "1: trusted_proxies: an element is empty",
    ),
    (
        "listen = \":8484\"",
        "1: listen: expected an address before the port: \"127.0.0.1:8484\" for this host only, \"0.0.0.0:8484\" or \"[::]:8484\" for all addresses",
    ),
    (
        "public_url = \"hooks.example.com\"",
        "1: public_url: expected a URL that begins with http:// or https://",
    ),
    (
        "public_url = \"https://hooks.example.com/?a=1\"",
        "1: public_url: has a query (from the \"?\" on); leave it out",
    ),
    (
        "trusted_proxies = [\"10.0.0.0/33\"]",
        "1: trusted_proxies: expected addresses or networks, such as \"10.0.0.0/8\"",
    ),
    (
        "max_body = \"1MB\"",
        "1: max_body: expected a size such as \"1MiB\", \"512KiB\" or a number of bytes",
    ),
    ("max_body = \"33MiB\"", "1: max_body: must be at most 32MiB"),
    ("max_body = 0", "1: max_body: must be greater than 0"),
    (
        "max_body = -1",
        "1: max_body: expected a size such as \"1MiB\", \"512KiB\" or a number of bytes",
    ),
    (
        "log = \"trace\"",
        "1: log: expected error, warn, info or debug",
    ),
    (
        "log = \"Debug\"",
        "1: log: expected error, warn, info or debug; did you mean \"debug\"?",
    ),
    (
        "log_format = \"jsn\"",
        "1: log_format: expected auto, text or json; did you mean \"json\"?",
    ),
    (
        "public_url = \"https://me:word@host\"",
        "1: public_url: contains a user name or a password, which does not belong in this URL",
    ),
    (
        "public_url = \"https://host/#!/home\"",
        "1: public_url: has a fragment (from the \"#\" on); leave it out",
    ),
    (
        "public_url = \"https://host:99999\"",
        "1: public_url: the port must be a number from 1 to 65535",
    ),
    ("public_url = \"https://:80\"", "1: public_url: has no host"),
    (
        "[portainer]\ntimeout = \"0s\"",
        "2: portainer.timeout: expected more than 0s",
    ),
    (
        "[portainer]\ntimeout = \"25h\"",
        "2: portainer.timeout: expected at most 24h",
    ),
    (
        "[portainer]\ntimeout = \"30\"",
        "2: portainer.timeout: expected a duration such as \"30s\", \"10m\" or \"1h\"",
    ),
    (
        "[portainer]\ncertificate_sha256 = \"ab\"",
        "2: portainer.certificate_sha256: expected the SHA-256 of a certificate: 64 hexadecimal digits, with or without colons",
    ),
    (
        "[portainer]\nca_file = \"no.pem\"",
        "2: portainer.ca_file: cannot read \"DIR/no.pem\": there is no such file",
    ),
    (
        "[portainer]\nuser = \"me\"",
        "2: portainer: an API key is given (PORTAINER_API_KEY) and a user or password too; set only one of them: PORTAINER_API_KEY, or PORTAINER_USER and PORTAINER_PASSWORD",
    ),
    (
        "[portainer]\nheaders = { \"X-API-Key\" = \"secret-one\" }",
        "2: portainer.headers: must not set \"X-API-Key\", which stackhook itself needs",
    ),
    (
        "[portainer.headers]\n\"X A\" = \"secret-two\"\nX-B = \"gr\u{fc}n\"\nX-C = \"\"\ncookie = \"secret-three\"",
        "2: portainer.headers: has a name that is not a valid header name\n3: portainer.headers: has a value for \"X-B\" with characters other than printable ASCII\n4: portainer.headers: has a value for \"X-C\" that is empty\n5: portainer.headers: must not set \"cookie\", which stackhook itself needs",
    ),
    (
        "[portainer]\nheaders = { X-A = \"secret-four\" }\nheaders_file = \"no-such\"",
        "2: portainer.headers: \"headers_file\" is given too; set only one of them",
    ),
    (
        "[portainer]\napi_key = \"a\"\napi_key_file = \"./b\"\n",
        "3: portainer.api_key_file: \"api_key\" is given too; set only one of them",
    ),
    (
        "[notify]\n",
        "1: notify: has no URL; set STACKHOOK_NOTIFY_URL or STACKHOOK_NOTIFY_URL_FILE (url or url_file)",
    ),
    (
        "[notify]\nurl = \"ntfy.sh/x\"",
        "2: notify.url: expected a URL that begins with http:// or https://",
    ),
    (
        "[notify]\nurl = \"https://ntfy.sh/x\"\nformat = \"teams\"",
        "3: notify.format: expected json, slack, discord, ntfy, gotify or apprise",
    ),
    (
        "[notify]\nurl = \"https://ntfy.sh/x\"\nformat = \"ntfy\"\nsecret = \"whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz\"",
        "4: notify.secret: format ntfy cannot be signed; leave the secret out",
    ),
    (
        "[notify]\nurl = \"https://ntfy.sh/x\"\nsecret = \"0123456789abcdef\"",
        "3: notify.secret: is not a Standard Webhooks secret: expected whsec_ and then base64 of 24 to 64 bytes, as \"stackhook generate-secret --format standard-webhooks\" prints it",
    ),
    (
        "[staff]\n",
        "1: staff: has no password; set STACKHOOK_STAFF_PASSWORD or STACKHOOK_STAFF_PASSWORD_FILE (password or password_file)",
    ),
    (
        "[staff]\npassword = \"1234567\"",
        "2: staff.password: must have at least 8 characters; \"stackhook generate-secret\" prints a long one",
    ),
    (
        "[staff]\npassword = \"12345678\"\nuser = \"a:b\"",
        "3: staff.user: a user name for Basic authentication must not contain a colon",
    ),
    (
        "[[stack]]\n",
        "1: stack.name: is missing: the stack's name in Portainer",
    ),
    (
        "[[stack]]\nname = \"a\"\n\n[[stack]]\nkey = \"a\"\nname = \"b\"",
        "5: stack.key: \"a\" is already the key of another stack (stackhook.toml:2); give one of them another key",
    ),
    (
        "[[stack]]\nkey = \".a\"\nname = \"a\"",
        "2: stack.key: expected at most 128 letters, digits, \"_\", \"-\" and \".\", not beginning with a dot",
    ),
    (
        "[[stack]]\nname = \"..\"",
        "2: stack.name: this name cannot be turned into a key; give the stack a key",
    ),
    (
        "[[stack]]\nname = \" a\"",
        "2: stack.name: begins or ends with a space",
    ),
    (
        "[[stack]]\nname = \"a\"\npull = \"frist\"",
        "3: stack.pull: expected first, portainer or never; did you mean \"first\"?",
    ),
    (
        "[[stack]]\nname = \"a\"\nrollback = \"always\"",
        "3: stack.rollback: expected when-down, when-unhealthy or never",
    ),
    (
        "[[stack]]\nname = \"a\"\ncleanup = 1",
        "3: stack.cleanup: expected true or false, found a number",
    ),
    (
        "[[stack]]\nname = \"a\"\nhealthy_within = \"1 m\"",
        "3: stack.healthy_within: expected a duration such as \"30s\", \"10m\" or \"1h\"",
    ),
    (
        "[[stack]]\nname = \"a\"\nenv = [\"A B\", \"1A\", \"OK_1\"]",
        "3: stack.env: expected names of variables, such as \"IMAGE_TAG\"",
    ),
    (
        "[[stack]]\nname = \"a\"\nexcept = [\"Postgres\"]",
        "3: stack.except: the repository must be in lower case",
    ),
    (
        "[[stack]]\nname = \"a\"\nexcept = [\"postgres:*\"]\npull = \"portainer\"",
        "3: stack.except: with pull = \"portainer\" Portainer pulls every image; leave \"except\" out or use pull = \"first\"",
    ),
    (
        "[[hook]]\nname = \"b\"\nsender = \"gitlab\"\nsecret = \"whsec_c2hvcnQ=\"",
        "4: hook.secret: is not a Standard Webhooks secret: expected whsec_ and then base64 of 24 to 64 bytes, as \"stackhook generate-secret --format standard-webhooks\" prints it",
    ),
    (
        "[[hook]]\nname = \"b\"\nscheme = \"token\"\nsecret = \"0123456789abcdeföä\"",
        "4: hook.secret: contains a character that no header can carry",
    ),
    (
        "[[hook]]\nname = \"b\"",
        "1: hook.secret: hook \"b\" has no secret, and an open hook is never served; set secret or secret_file, to a text that \"stackhook generate-secret\" prints",
    ),
    (
        "[[stack]]\nkey = \"a\"\nname = \"\"\n[[hook]]\nname = \"b\"\nsecret = \"0123456789abcdef\"\nstacks = [\"a\"]",
        "3: stack.name: is empty",
    ),
    ("log = \n", "1: a text needs quotes around it"),
    ("log = info\n", "1: a text needs quotes around it"),
    (
        "\n[portainer]\napi_key = ptr_0123\n",
        "3: a text needs quotes around it",
    ),
    (
        "[portainer]\ninsecure = true\ncertificate_sha256 = \"ab:ab:ab:ab:ab:ab:ab:ab:ab:ab:ab:ab:ab:ab:ab:ab:ab:ab:ab:ab:ab:ab:ab:ab:ab:ab:ab:ab:ab:ab:ab:AB\"",
        "2: portainer: set only one of ca_file, certificate_sha256 and insecure; another is at stackhook.toml:3",
    ),
    (
        "[[hook]]\nname = \"b\"\nsender = \"gitlab\"\nsecret = \"whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz\\n0123456789abcdef\"",
        "4: hook.secret: mixes signing tokens of GitLab (whsec_…) with secret tokens; one hook can check only one kind",
    ),
    (
        "[[hook]]\nsecret = \"0123456789abcdef\"\n[[hook]]\nsecret = \"0123456789abcdef\"\n",
        "3: hook.name: \"update\" is already the name of another hook (stackhook.toml:1)",
    ),
    (
        "[[hook]]\nname = \"a/b\"\nsecret = \"0123456789abcdef\"\n",
        "2: hook.name: expected at most 128 letters, digits, \"_\", \"-\" and \".\", not beginning with a dot",
    ),
    (
        "[[hook]]\nname = \"app-stack\"\nsecret = \"0123456789abcdef\"\n",
        "2: hook.name: \"app-stack\" is also the key of a stack of hook \"update\", so /webhook/update/app-stack/ would be ambiguous; rename one of them",
    ),
    (
        "[[stack]]\nname = \"a\"\npull = \"portainer\"\n[[hook]]\nname = \"b\"\nsecret = \"0123456789abcdef\"\nimages = [\"nginx\"]\n",
        "7: hook.images: its stack \"a\" has pull = \"portainer\", where Portainer pulls every image; leave \"images\" out or use pull = \"first\"",
    ),
    (
        "notify = 1\n",
        "1: notify: expected sections [[notify]] or one [notify], found a number",
    ),
    (
        "[portainer]\ninsecure = \"ptr_secret\"\n",
        "2: portainer.insecure: expected true or false, found a text",
    ),
    (
        "max_body = 1.5",
        "1: max_body: expected a text in quotes, found a fraction",
    ),
    (
        "log = 99999999999999999999999999999999999999999",
        "1: log: expected a text in quotes, found a number",
    ),
    (
        "urll = 1\nlogg = 2\n[staff]\npass = 3\n[[hook]]\n[hook.payload]\nimag = 4\n",
        "1: urll: unknown key\n2: logg: unknown key; did you mean \"log\"?\n3: staff: has no password; set STACKHOOK_STAFF_PASSWORD or STACKHOOK_STAFF_PASSWORD_FILE (password or password_file)\n4: staff.pass: unknown key\n6: hook.payload: belongs to sender custom, but this hook's sender is generic, whose payload is known\n7: hook.payload.imag: unknown key; did you mean \"image\"?",
    ),
];

/// Lines of a hook with a name and a secret (lines 1 to 3), and the problems with them.
const HOOKS: &[(&str, &str)] = &[
    (
        "scheme = \"rsa\"",
        "4: hook.scheme: expected generic, github, gitea, forgejo, gogs, bitbucket, hmac, standard-webhooks, token or url-token",
    ),
    (
        "sender = \"github\"\nheader = \"X-A\"",
        "5: hook.header: belongs to schemes token, generic and hmac, but this hook's scheme is github",
    ),
    (
        "kind = \"raw\"",
        "4: hook.kind: belongs to scheme token, but this hook's scheme is generic",
    ),
    (
        "scheme = \"token\"\nkind = \"digest\"",
        "5: hook.kind: expected raw, bearer or basic",
    ),
    (
        "header = \"X A\"",
        "4: hook.header: expected the name of a header, such as \"Authorization\"",
    ),
    (
        "scheme = \"token\"\nkind = \"basic\"",
        "3: hook.secret: kind basic needs user:password as the secret",
    ),
    (
        "scheme = \"standard-webhooks\"",
        "3: hook.secret: is not a Standard Webhooks secret: expected whsec_ and then base64 of 24 to 64 bytes, as \"stackhook generate-secret --format standard-webhooks\" prints it",
    ),
    (
        "stacks = [\"app-stak\"]",
        "4: hook.stacks: names a stack that is not configured; did you mean \"app-stack\"?",
    ),
    (
        "stacks = []",
        "4: hook.stacks: names no stack; leave it out for all of them",
    ),
    ("wait = \"31m\"", "4: hook.wait: expected at most 30m"),
    (
        "allow_from = [\"example.com\"]",
        "4: hook.allow_from: expected addresses or networks, such as \"10.0.0.0/8\"",
    ),
    (
        "branches = [\"refs/heads/main\"]",
        "4: hook.branches: write the bare name, without refs/heads/",
    ),
    (
        "images = [\"a:b c\"]",
        "4: hook.images: the tag may have at most 128 letters, digits, \"_\", \".\" and \"-\", and must not begin with \".\" or \"-\"",
    ),
    (
        "payload = 1",
        "4: hook.payload: expected one section [hook.payload], found a number",
    ),
    (
        "[hook.payload]\nimage = \"/a\"",
        "4: hook.payload: belongs to sender custom, but this hook's sender is generic, whose payload is known",
    ),
    (
        "sender = \"custom\"\n[hook.payload]\nimage = \"a/b\"\ntag = \"/a~2\"",
        "6: hook.payload.image: expected a JSON pointer such as \"/artifact/tag\", with a / in front\n7: hook.payload.tag: a ~ in a JSON pointer is written ~0, and a / in a name ~1",
    ),
    (
        "sender = \"custom\"\n[hook.payload.require]\n\"a\" = \"b\"\n\"/b\" = []",
        "6: hook.payload.require: expected a JSON pointer such as \"/artifact/tag\", with a / in front\n7: hook.payload.require: an empty list can never match",
    ),
    (
        "sender = \"custom\"\n[hook.payload.require]\n\"/c\" = 1.5",
        "6: hook.payload.require: expected a text or a list of texts, found a fraction",
    ),
    (
        "events = []",
        "4: hook.events: is empty; leave it out if it should not limit anything",
    ),
    (
        "branches = []",
        "4: hook.branches: is empty; leave it out if it should not limit anything",
    ),
    (
        "tags = []",
        "4: hook.tags: is empty; leave it out if it should not limit anything",
    ),
    (
        "repositories = []",
        "4: hook.repositories: is empty; leave it out if it should not limit anything",
    ),
    (
        "images = []",
        "4: hook.images: is empty; leave it out if it should not limit anything",
    ),
    (
        "paths = []",
        "4: hook.paths: is empty; leave it out if it should not limit anything",
    ),
    (
        "allow_from = []",
        "4: hook.allow_from: is empty; leave it out if it should not limit anything",
    ),
    (
        "sender = \"custom\"\n[hook.payload]\nrequire = 1",
        "6: hook.payload.require: expected keys and values, such as { \"/status\" = \"success\" }, found a number",
    ),
];

/// Variables beside a working configuration, and the problems with them.
const VARIABLES: &[(&[(&str, &str)], &str)] = &[
    (
        &[("STACKHOOK_LISTEN", "8484")],
        "STACKHOOK_LISTEN: expected an address before the port: \"127.0.0.1:8484\" for this host only, \"0.0.0.0:8484\" or \"[::]:8484\" for all addresses",
    ),
    (
        &[("STACKHOOK_LISTEN", "10.0.0.1")],
        "STACKHOOK_LISTEN: expected a port after the address, such as \"127.0.0.1:8484\" or \"[::]:8484\"",
    ),
    (
        &[("STACKHOOK_LISTEN", "\"[::]:8484\"")],
        "STACKHOOK_LISTEN: is wrapped in quotes, which count as part of the value (Docker's env files keep them); leave them out",
    ),
    (
        &[("PORTAINER_INSECURE", "yes")],
        "PORTAINER_INSECURE: expected true or false",
    ),
    (
        &[("STACKHOOK_TRUSTED_PROXIES", "10.0.0.1, 10.0.0.2,")],
        "STACKHOOK_TRUSTED_PROXIES: an element is empty",
    ),
    (
        &[("PORTAINER_WEBHOOK_SENDER", "git-hub")],
        "PORTAINER_WEBHOOK_SENDER: expected generic, github, gitlab, gitea, forgejo, gogs, bitbucket, azure-devops, dockerhub, quay, harbor, distribution, acr, ecr, diun, wud, nexus or custom; did you mean \"github\"?",
    ),
    (
        &[("PORTAINER_API_KEY_FILE", "/run/x")],
        "PORTAINER_API_KEY: is set, and PORTAINER_API_KEY_FILE too; set only one of them",
    ),
    (
        &[("PORTAINER_WEBHOOK_SECRET_FILE", "/run/x")],
        "PORTAINER_WEBHOOK_SECRET: is set, and PORTAINER_WEBHOOK_SECRET_FILE too; set only one of them",
    ),
    (
        &[("PORTAINER_PASSWORD", "x y z")],
        "PORTAINER_PASSWORD: an API key is given (PORTAINER_API_KEY) and a user or password too; set only one of them: PORTAINER_API_KEY, or PORTAINER_USER and PORTAINER_PASSWORD",
    ),
    (
        &[("PORTAINER_STACK_NAME_", "x")],
        "PORTAINER_STACK_NAME_: the part after PORTAINER_STACK_NAME_ becomes the stack's key: letters, digits and _",
    ),
    (
        &[("STACKHOOK_NOTIFY_FORMAT", "json")],
        "STACKHOOK_NOTIFY_FORMAT: has no URL; set STACKHOOK_NOTIFY_URL or STACKHOOK_NOTIFY_URL_FILE (url or url_file)",
    ),
    (
        &[("STACKHOOK_STAFF_USER", "me")],
        "STACKHOOK_STAFF_USER: has no password; set STACKHOOK_STAFF_PASSWORD or STACKHOOK_STAFF_PASSWORD_FILE (password or password_file)",
    ),
];

/// Files without a problem.
const VALID_FILES: &[&str] = &[
    "",
    "\u{feff}log = \"debug\"\n",
    "log = \"debug\"\r\n[portainer]\r\ntimeout = \"5m\"\r\n",
    "max_body = 1048576",
    "[notify]\nurl = \"https://ntfy.sh/x?auth=y\"\nsecret = \"whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz\"",
    "[staff]\npassword = \"12345678\"",
    "[[stack]]\nname = \"app\"\nenvironment = 2\n[[stack]]\nkey = \"again\"\nname = \"app\"\nenvironment = \"2\"",
    "[[stack]]\nname = \"a\"\nhealthy_within = \"0s\"",
    "[[stack]]\nname = \"a\"\nexcept = []\npull = \"portainer\"",
    "[portainer]\ninsecure = false\ncertificate_sha256 = \"ab:ab:ab:ab:ab:ab:ab:ab:ab:ab:ab:ab:ab:ab:ab:ab:ab:ab:ab:ab:ab:ab:ab:ab:ab:ab:ab:ab:ab:ab:ab:AB\"",
    "[[stack]]\nname = \"a\"\npull = \"portainer\"\n[[hook]]\nname = \"b\"\nsecret = \"0123456789abcdef\"\nimages = [\"nginx\"]\nstacks = [\"app-stack\"]",
    "[[stack]]\nname = \"b\"\n[[hook]]\nstacks = [\"app-stack\"]\n[[hook]]\nname = \"b\"\nsecret = \"0123456789abcdef\"\n",
    "[[notify]]\nurl = \"https://a.example/x\"\n",
];

/// Variables without a problem.
const VALID_VARIABLES: &[&[(&str, &str)]] = &[
    &[("PORTAINER_INSECURE", "1")],
    &[("STACKHOOK_TRUSTED_PROXIES", "10.0.0.1, ::1")],
    &[
        ("STACKHOOK_STAFF_PASSWORD", "long enough"),
        ("STACKHOOK_NOTIFY_URL", "https://x/"),
    ],
];

/// Compares all rows, so that one run shows every difference.
#[track_caller]
fn check_all(rows: impl Iterator<Item = (String, Place, String)>) {
    let mut differences = String::new();
    for (input, place, expected) in rows {
        let found = match place.load(ConfigScope::Serve) {
            Ok(_) => String::new(),
            Err(problems) => place.plain(&problems.to_string()),
        };
        let begins_with_line = |line: &str| line.starts_with(|c: char| c.is_ascii_digit());
        let expected: Vec<String> = expected
            .lines()
            .map(|line| match begins_with_line(line) {
                true => format!("stackhook.toml:{line}"),
                false => line.to_owned(),
            })
            .collect();
        if found != expected.join("\n") {
            differences.push_str(&format!(
                "\n--- input\n{input}\n--- expected\n{}\n--- found\n{found}\n",
                expected.join("\n")
            ));
        }
    }
    assert!(differences.is_empty(), "{differences}");
}

fn with_file(file: &str) -> Place {
    let place = Place::with(FIVE);
    place.write("stackhook.toml", file);
    place
}

fn with_variables(variables: &[(&str, &str)]) -> Place {
    let mut place = Place::with(FIVE);
    for (name, value) in variables {
        place.set(name, value);
    }
    place
}

#[test]
fn names_every_mistake_in_the_file() {
    check_all(FILES.iter().map(|(file, problems)| {
        let text = (*file).to_owned();
        (text, with_file(file), (*problems).to_owned())
    }));
}

#[test]
fn names_every_mistake_in_a_hook() {
    check_all(HOOKS.iter().map(|(lines, problems)| {
        let file = format!("[[hook]]\nname = \"b\"\nsecret = \"0123456789abcdef\"\n{lines}\n");
        let place = with_file(&file);
        (file, place, (*problems).to_owned())
    }));
}

#[test]
fn names_every_mistake_in_variables() {
    check_all(VARIABLES.iter().map(|(variables, problem)| {
        let input = format!("{variables:?}");
        (input, with_variables(variables), (*problem).to_owned())
    }));
}

#[test]
fn accepts_what_is_valid() {
    check_all(VALID_FILES.iter().map(|file| {
        let text = (*file).to_owned();
        (text, with_file(file), String::new())
    }));
    check_all(VALID_VARIABLES.iter().map(|variables| {
        let input = format!("{variables:?}");
        (input, with_variables(variables), String::new())
    }));
}

#[test]
fn reports_all_problems_in_one_run_in_the_order_of_the_file() {
    let mut place = Place::with(&[
        ("STACKHOOK_LISTEN", "localhost:80"),
        ("PORTAINER_WEBHOOK_SECRET", "short"),
    ]);
    place.write(
        "stackhook.toml",
        "log = \"loud\"\n[portainer]\nuser = \"me\"\n[[stack]]\nname = \"a\"\npull = \"frist\"\n[[hook]]\nname = \"other\"\nstacks = [\"b\"]\n",
    );
    place.set("STACKHOOK_LOGG", "debug");
    let problems = place.load(ConfigScope::Serve).expect_err("many problems");
    let text = problems.to_string();
    let subjects = [
        "stackhook.toml:1: log: ",
        "stackhook.toml:3: portainer.user: has no password",
        "stackhook.toml:6: stack.pull: ",
        "stackhook.toml:7: hook.secret: hook \"other\" has no secret",
        "stackhook.toml:9: hook.stacks: ",
        "PORTAINER_WEBHOOK_SECRET: ",
        "STACKHOOK_LISTEN: ",
        "portainer.url: is missing",
    ];
    assert_eq!(text.lines().count(), subjects.len(), "{text}");
    for (line, subject) in text.lines().zip(subjects) {
        assert!(
            line.starts_with(subject),
            "{line:?} is not about {subject:?}"
        );
    }
    assert_eq!(
        problems.warnings[0],
        "STACKHOOK_LOGG: unknown variable, ignored; did you mean STACKHOOK_LOG?"
    );
}

#[test]
fn a_named_file_must_exist() {
    let mut place = Place::with(FIVE);
    place.set("STACKHOOK_CONFIG", "etc/no.toml");
    assert_eq!(
        place.problems(ConfigScope::Serve),
        "etc/no.toml: cannot read \"DIR/etc/no.toml\": there is no such file; --config or STACKHOOK_CONFIG names it"
    );
    place.set("STACKHOOK_CONFIG", "");
    place.loaded(ConfigScope::Serve);
    std::fs::create_dir(place.dir.join("stackhook.toml")).unwrap();
    assert_eq!(
        place.problems(ConfigScope::Serve),
        "stackhook.toml: cannot read \"DIR/stackhook.toml\": it is a directory (Docker creates one if a mounted file does not exist)"
    );
}

#[test]
fn reads_the_nearest_file() {
    let mut place = Place::with(FIVE);
    let log = |place: &Place| place.loaded(ConfigScope::Serve).config.log.to_string();
    place.write("system.toml", "log = \"error\"");
    assert_eq!(log(&place), "ERROR");
    place.write("stackhook.toml", "log = \"warn\"");
    assert_eq!(log(&place), "WARN");
    place.write("other/named.toml", "log = \"debug\"\nstate_dir = \"state\"");
    place.set("STACKHOOK_CONFIG", "other/named.toml");
    assert_eq!(log(&place), "DEBUG");
    let state = place.loaded(ConfigScope::Serve).config.state_dir.unwrap();
    assert_eq!(
        state,
        place.dir.join("other/state"),
        "paths start from the file"
    );
    place.set("STACKHOOK_LOG", "info");
    assert_eq!(log(&place), "INFO");
}
