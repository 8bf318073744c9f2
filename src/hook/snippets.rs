//! Jobs for pipelines to copy. Each waits briefly and then polls the status URL until the redeploy has ended, which works behind proxies
//! with short timeouts. The secret is a variable of the pipeline, `PORTAINER_WEBHOOK_SECRET`. Each delivery has an `id` of its own: without it, two
//! jobs within one second would be one signed request, and the later one a replay.

/// A text to copy.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Snippet {
    /// Its use, such as the kind of pipeline.
    pub(crate) title: &'static str,
    /// The text itself.
    pub(crate) text: String,
}

/// Jobs for sh, python, GitHub Actions, GitLab CI and Jenkins.
pub(super) fn all(url: &str, header: &str) -> Vec<Snippet> {
    let header = if header.is_empty() {
        "X-Portainer-Signature"
    } else {
        header
    };
    let script = sh(url, header);
    let indented = |blanks: usize| {
        let indent = " ".repeat(blanks);
        script
            .lines()
            .map(|line| format!("{indent}{line}\n"))
            .collect::<String>()
    };
    vec![
        Snippet {
            title: "sh with curl and openssl",
            text: script.clone(),
        },
        Snippet {
            title: "python, which keeps the secret out of the process list",
            text: python(url, header),
        },
        Snippet {
            title: "GitHub Actions: a step after the image was pushed",
            text: format!(
                "- name: Redeploy\n  shell: sh\n  env:\n    PORTAINER_WEBHOOK_SECRET: ${{{{ secrets.PORTAINER_WEBHOOK_SECRET }}}}\n  run: |\n{}",
                indented(4)
            ),
        },
        Snippet {
            title: "GitLab CI: a job; PORTAINER_WEBHOOK_SECRET is a masked variable of the project",
            text: format!(
                "redeploy:\n  image: alpine:3\n  before_script:\n    - apk add --no-cache curl openssl\n  script:\n    - |\n{}",
                indented(6)
            ),
        },
        Snippet {
            title: "Jenkins: a stage; webhook-secret is a credential of kind secret text",
            text: format!(
                "stage('Redeploy') {{\n  steps {{\n    withCredentials([string(credentialsId: 'webhook-secret', variable: 'PORTAINER_WEBHOOK_SECRET')]) {{\n      sh '''\n{}      '''\n    }}\n  }}\n}}\n",
                // A Groovy string eats backslashes.
                indented(8).replace('\\', "\\\\")
            ),
        },
    ]
}

fn sh(url: &str, header: &str) -> String {
    format!(
        r#"set -eu
url='{url}'
body=$(printf '{{"event":"stack_update","id":"%s","time":%s}}' "$(openssl rand -hex 16)" "$(date +%s)")
signature=$(printf '%s' "$body" | openssl dgst -sha256 -hmac "$PORTAINER_WEBHOOK_SECRET" -r | cut -d' ' -f1)
reply=$(curl -sS -w '\n%{{http_code}}' -X POST -H "{header}: $signature" -H 'Content-Type: application/json' -H 'Prefer: wait=20' --data-binary "$body" "$url")
while [ "$(printf '%s\n' "$reply" | tail -n 1)" = 202 ]; do
  status=$(printf '%s\n' "$reply" | sed -n 's|.*"status_url":"\([^"]*\)".*|\1|p')
  reply=$(curl -sS -w '\n%{{http_code}}' -H 'Prefer: wait=20' "$(printf '%s' "$url" | sed 's|^\([a-z]*://[^/]*\).*|\1|')$status")
done
printf '%s\n' "$reply"
[ "$(printf '%s\n' "$reply" | tail -n 1)" = 200 ]
"#
    )
}

fn python(url: &str, header: &str) -> String {
    format!(
        r#"python3 - <<'END'
import hashlib, hmac, json, os, secrets, sys, time, urllib.error, urllib.parse, urllib.request

url = "{url}"
body = json.dumps({{"event": "stack_update", "id": secrets.token_hex(16), "time": int(time.time())}}).encode()
signature = hmac.new(os.environb[b"PORTAINER_WEBHOOK_SECRET"], body, hashlib.sha256).hexdigest()


def ask(url, body=None, headers={{}}):
    request = urllib.request.Request(url, body, {{"Prefer": "wait=20", **headers}})
    try:
        with urllib.request.urlopen(request, timeout=60) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as reply:
        return reply.code, reply.read().decode()


code, text = ask(url, body, {{"{header}": signature, "Content-Type": "application/json"}})
while code == 202:
    code, text = ask(urllib.parse.urljoin(url, json.loads(text)["status_url"]))
print(text, end="")
sys.exit(code != 200)
END
"#
    )
}
