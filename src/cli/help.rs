//! What `--help` says, for the program and for each of its commands.

/// Whose help is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Topic {
    /// The program's.
    Program,
    /// `serve`
    Serve,
    /// `generate-secret`
    GenerateSecret,
    /// `test-connection`
    TestConnection,
    /// `show-config`
    ShowConfig,
    /// `redeploy`
    Redeploy,
    /// `rollback`
    Rollback,
    /// `pause`
    Pause,
    /// `resume`
    Resume,
    /// `status`
    Status,
    /// `trigger`
    Trigger,
    /// `sign`
    Sign,
    /// `healthcheck`
    Healthcheck,
}

/// The help on `topic`, with a line end.
pub(crate) fn text(topic: Topic) -> &'static str {
    match topic {
        Topic::Program => PROGRAM,
        Topic::Serve => SERVE,
        Topic::GenerateSecret => GENERATE_SECRET,
        Topic::TestConnection => TEST_CONNECTION,
        Topic::ShowConfig => SHOW_CONFIG,
        Topic::Redeploy => REDEPLOY,
        Topic::Rollback => ROLLBACK,
        Topic::Pause => PAUSE,
        Topic::Resume => RESUME,
        Topic::Status => STATUS,
        Topic::Trigger => TRIGGER,
        Topic::Sign => SIGN,
        Topic::Healthcheck => HEALTHCHECK,
    }
}

const PROGRAM: &str = "\
A signed webhook in, a Portainer stack redeployed, and the truth about how it ended.

Usage: stackhook [--config FILE] COMMAND

Commands:
  serve              receive webhooks
  generate-secret    print a new secret for a hook
  test-connection    check Portainer, the credentials and every configured stack
  show-config        print the configuration in force and where each value comes from
  redeploy [STACK…]  redeploy now, straight through Portainer
  rollback STACK     back to the images that ran before the last update
  pause STACK        skip deliveries for a stack, until it is resumed or for a time
  resume STACK       update a paused stack again
  status [STACK…]    print state, running images, pause, blocked images and last deliveries
  trigger [STACK…]   send a signed delivery to a running stackhook, and report its end
  sign [FILE]        print the headers that sign a body, or how to set up a sender
  healthcheck        ask the running server on this host whether it is well

Options:
  --config FILE      the configuration file; else $STACKHOOK_CONFIG, ./stackhook.toml,
                     /etc/stackhook/stackhook.toml, or the environment alone
  -h, --help         this text; after a command, that command's
  -V, --version      the version

Exit codes:
  0    fine
  1    it ran and failed: Portainer refused, a stack is not well, something was not found
  2    the command line is wrong
  75   try again later: not reachable, time is over, or nobody knows how it ended
  78   the configuration is wrong
  130  stopped by a second signal
";

const SERVE: &str = "\
Receives webhooks and redeploys stacks, until SIGTERM or SIGINT.

Usage: stackhook [--config FILE] serve

It says \"listening on http://ADDRESS\" on stderr when it is ready. A second signal ends it at once, with 130.
";

const GENERATE_SECRET: &str = "\
Prints a new secret for a hook and its sender: 32 letters and digits.

Usage: stackhook generate-secret [--format FORMAT]

Options:
  --format FORMAT    plain (the default), or standard-webhooks: whsec_ and 32 bytes in base64
";

const TEST_CONNECTION: &str = "\
Checks Portainer, the credentials and every configured stack; changes nothing.

Usage: stackhook [--config FILE] test-connection [--notify]

Options:
  --notify           also send a test notice to where [notify] leads

Prints who we are there, the environments, the stacks that can be seen, and for each configured stack how it would be
redeployed. Ends with 0 when everything is as it should be, 1 when something is not, 75 when Portainer cannot be
reached, 78 when the configuration is wrong.
";

const SHOW_CONFIG: &str = "\
Prints the configuration in force: each key, its value and where it comes from. Secrets are not shown.

Usage: stackhook [--config FILE] show-config

Ends with 78 when something is wrong, and says everything that is.
";

const REDEPLOY: &str = "\
Redeploys stacks now, straight through Portainer, and waits for the end.

Usage: stackhook [--config FILE] redeploy [STACK…] [OPTIONS]

A STACK is the key or the name of a configured stack. Without one: the only stack, or the one of PORTAINER_STACK_NAME.

Options:
  --all              every configured stack
  --image REF        only the services with this image; may be given several times
  --force            also if nothing is newer, and if the image was rolled back before
  --dry-run          only say what would happen; changes nothing
  --json             print one JSON object: status and stacks
  --quiet            print nothing when all went well

Of several stacks, exit code 1 (failed, or skipped) beats 75 (unknown, not reached), which beats 0.
";

const ROLLBACK: &str = "\
Brings back the images, and the variables, that a stack had before its last update, and waits for the end.

Usage: stackhook [--config FILE] rollback STACK [OPTIONS]

A STACK is the key or the name of a configured stack. What ran before is remembered in the state_dir that this command
shares with the server. The images that are rolled back stay out until newer ones are there.

Options:
  --json             print one JSON object: status and stacks
  --quiet            print nothing when all went well
";

const PAUSE: &str = "\
Pauses a stack: deliveries for it are skipped. Works beside a running server, and while Portainer is not reachable.

Usage: stackhook [--config FILE] pause STACK [--for TIME]

A STACK is the key or the name of a configured stack. Needs the state_dir that the server uses.

Options:
  --for TIME         how long, such as 30m, 2h or 3d; without it, until \"stackhook resume\"
";

const RESUME: &str = "\
Resumes updates of a paused stack. Deliveries that were skipped during the pause are not replayed.

Usage: stackhook [--config FILE] resume STACK
";

const STATUS: &str = "\
Prints the state of stacks: running images, pause, blocked images and the last deliveries. Changes nothing.

Usage: stackhook [--config FILE] status [STACK…] [--json]

Deliveries, pauses and blocked images are read from the state_dir, also while the server runs or Portainer is not reachable.
The state is healthy, unhealthy, updating, paused, failed or unknown.

Options:
  --json             print one JSON object
";

const TRIGGER: &str = "\
Sends a signed delivery to a running stackhook, follows it to its end, and ends as it did: for pipelines and cron.

Usage: stackhook [--config FILE] trigger [STACK…] [OPTIONS]

Needs only where it runs, and the secret of its hook \"update\" in PORTAINER_WEBHOOK_SECRET (or _FILE). A STACK is a key
or name over there; several are several deliveries, and the worst exit code wins.

Options:
  --url URL          where it runs; default $STACKHOOK_URL. Without a path, /webhook/update/ is meant
  --image REF        only the services with this image; may be given several times
  --env NAME=VALUE   set a variable of the stack that its \"env\" allows; may be given several times
  --force            also if nothing is newer
  --no-wait          end when it is accepted
  --json             print the reply, one object a delivery
  --quiet            print nothing when all went well

Ends with 0 when the stack is up to date and well, 1 when the deployment failed or was not made, 75 when nobody can say
or the server cannot be reached (try again), 78 when the delivery was turned away: secret, address, a name.
";

const SIGN: &str = "\
Prints the headers that prove a body to a hook, a line each, as curl reads them; or what to enter at the hook's sender.

Usage: stackhook [--config FILE] sign [FILE] [OPTIONS]
       stackhook sign body.json | curl -H @- --data-binary @body.json URL

The body is read from FILE, or from standard input. It is signed with the hook's first secret.

Options:
  --hook NAME        the hook; else the default one
  --scheme SCHEME    another scheme than the hook's own
  --setup            what to enter at the hook's sender, and ready jobs for pipelines
";

const HEALTHCHECK: &str = "\
Asks the running server on this host for /healthz. Reads only where it listens from the configuration.

Usage: stackhook [--config FILE] healthcheck

Ends with 0 when the server answers that it is well, with 1 when it does not.
";
