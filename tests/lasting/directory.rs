//! Permissions of the state directory: messages name the fix, and files stay private to its owner.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::fake::Era;
use crate::support::program::{Output, Setup};
use crate::support::shop::{self, GOOD, SECRET, WEB, variables};

const UID: u32 = 65532;

/// Returns true if the tests run as root, which alone can start programs as another user.
fn is_root() -> bool {
    let root = fs::metadata("/proc/self").unwrap().uid() == 0;
    if !root {
        println!("not tested, because it needs root");
    }
    root
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[track_caller]
fn is_refused(output: &Output, dir: &Path, messages: &[&str]) {
    assert_eq!(
        (output.code, output.stdout.as_str()),
        (Some(78), ""),
        "{output:?}"
    );
    let dir = dir.to_str().unwrap();
    for message in [dir, "65532"].iter().chain(messages) {
        assert!(
            output.stderr.contains(message),
            "{message:?} is not in {output:?}"
        );
    }
}

/// Starts a server as user [`UID`] on a directory that `prepare` made unusable. It is refused with these messages, and starts once
/// root has run the command in them.
#[track_caller]
fn check(prepare: impl FnOnce(&Path), messages: &[&str]) {
    let fake = shop::portainer(Era::A);
    let setup = variables(Setup::with(&fake)).run_by(UID);
    let dir = setup.path().join("state");
    prepare(&dir);
    let setup = setup.env("STACKHOOK_STATE_DIR", dir.to_str().unwrap());
    let output = setup.run(&["serve"]);
    is_refused(&output, &dir, messages);
    run_advice(&output.stderr);
    let server = setup.serve();
    assert_eq!(server.get("/healthz").status, 200);
    assert_eq!(fs::metadata(&dir).unwrap().uid(), UID);
}

/// Runs the one command that a log advises.
#[track_caller]
fn run_advice(log: &str) {
    let commands: Vec<&str> = log.split("to fix it, run: ").skip(1).collect();
    assert_eq!(commands.len(), 1, "one command fixes it: {log}");
    let command = commands[0].lines().next().unwrap();
    let done = Command::new("sh").args(["-c", command]).status().unwrap();
    assert!(done.success(), "{command}");
}

#[test]
fn an_unusable_state_dir_is_refused_with_the_command_that_fixes_it() {
    if !is_root() {
        return;
    }
    let of_user = |dir: &Path| {
        fs::create_dir(dir).unwrap();
        chown(dir, Some(UID), Some(UID)).unwrap();
    };
    check(
        |dir| fs::create_dir(dir).unwrap(),
        &[
            "belongs to uid 0, stackhook runs as uid 65532",
            "chown -R 65532:65532 ",
        ],
    );
    check(
        |dir| {
            of_user(dir);
            mode(dir, 0o500);
        },
        &[
            "belongs to uid 65532, which stackhook runs as, but its mode is 500",
            "chmod -R u+rwX ",
        ],
    );
    check(
        |_| (),
        &["does not exist", "install -d -m 700 -o 65532 -g 65532 "],
    );
    // A file that root left in it.
    check(
        |dir| {
            of_user(dir);
            fs::write(dir.join("journal"), "").unwrap();
            mode(&dir.join("journal"), 0o600);
        },
        &[
            "journal\" belongs to uid 0, stackhook runs as uid 65532",
            "chown -R 65532:65532 ",
        ],
    );
}

#[test]
fn a_state_dir_below_an_inaccessible_directory_is_refused_with_the_reason() {
    if !is_root() {
        return;
    }
    let fake = shop::portainer(Era::A);
    let setup = variables(Setup::with(&fake)).run_by(UID);
    let closed = setup.path().join("closed");
    let dir = closed.join("state");
    fs::create_dir_all(&dir).unwrap();
    mode(&closed, 0o700);
    let setup = setup.env("STACKHOOK_STATE_DIR", dir.to_str().unwrap());
    let messages = [
        "may not enter",
        "closed\" (uid 0, mode 700)",
        "name another directory",
    ];
    is_refused(&setup.run(&["serve"]), &dir, &messages);
    is_refused(&setup.run(&["redeploy", "shop"]), &dir, &messages);
}

/// Every file and directory in the state directory.
fn entries(dir: &Path) -> Vec<PathBuf> {
    let below = ["", "locks", "stacks"].map(|name| fs::read_dir(dir.join(name)).unwrap());
    let entries = below.into_iter().flatten();
    entries.map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn a_server_of_root_leaves_all_files_to_the_owner_of_the_state_dir() {
    if !is_root() {
        return;
    }
    let fake = shop::portainer(Era::A);
    let of_user = variables(Setup::with(&fake)).run_by(UID);
    let dir = of_user.path().join("state");
    fs::create_dir(&dir).unwrap();
    chown(&dir, Some(UID), Some(UID)).unwrap();
    mode(&dir, 0o700);
    let state_dir = dir.to_str().unwrap();
    let of_root = variables(Setup::with(&fake)).env("STACKHOOK_STATE_DIR", state_dir);
    let server = of_root.serve();
    fake.world(|world| world.push(WEB, GOOD));
    let reply = server.signed("/webhook/update/", SECRET, "{}");
    assert_eq!(reply.status, 200, "{}", reply.text());
    let paused = server.setup().run(&["pause", "shop"]);
    assert_eq!(paused.code, Some(0), "{paused:?}");
    drop(server.kill());
    let found = entries(&dir);
    assert!(found.len() >= 8, "{found:?}");
    for path in found {
        let metadata = fs::metadata(&path).unwrap();
        let owner = (metadata.uid(), metadata.gid());
        assert_eq!(owner, (UID, UID), "{path:?}");
    }
    // The usual user can go on with them.
    let server = of_user.env("STACKHOOK_STATE_DIR", state_dir).serve();
    let reply = server.signed("/webhook/update/", SECRET, "{}");
    assert_eq!(reply.status, 409, "{}", reply.text());
}

#[test]
fn an_open_state_dir_is_reported_with_the_command_that_fixes_it_and_its_files_are_private() {
    let fake = shop::portainer(Era::A);
    let setup = variables(Setup::with(&fake)).limited("-n 1024 && umask 0");
    let dir = setup.path().join("state");
    fs::create_dir(&dir).unwrap();
    mode(&dir, 0o755);
    let server = setup
        .env("STACKHOOK_STATE_DIR", dir.to_str().unwrap())
        .serve();
    let reply = server.signed("/webhook/update/", SECRET, "{}");
    assert_eq!(reply.status, 200, "{}", reply.text());
    for path in entries(&dir) {
        let metadata = fs::metadata(&path).unwrap();
        let expected = if metadata.is_dir() { 0o700 } else { 0o600 };
        assert_eq!(metadata.mode() & 0o777, expected, "{path:?}");
    }
    let log = server.log();
    assert!(log.contains("is open to other users (mode 755)"), "{log}");
    run_advice(&log);
    let server = server.kill().1.serve();
    let log = server.log();
    assert!(!log.contains("open to other users"), "{log}");
}
