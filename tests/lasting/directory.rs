//! A state directory that cannot be used: the words name it, and the command in them helps.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::Path;
use std::process::Command;

use crate::support::fake::Era;
use crate::support::program::{Output, Setup};
use crate::support::shop::{self, variables};

const UID: u32 = 65532;

/// Nobody but root can be somebody else.
fn is_root() -> bool {
    let root = fs::metadata("/proc/self").unwrap().uid() == 0;
    if !root {
        println!("not tried, because that takes root");
    }
    root
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[track_caller]
fn refused(output: &Output, dir: &Path, words: &[&str]) {
    assert_eq!(
        (output.code, output.stdout.as_str()),
        (Some(78), ""),
        "{output:?}"
    );
    let dir = dir.to_str().unwrap();
    for words in [dir, "65532"].iter().chain(words) {
        assert!(
            output.stderr.contains(words),
            "{words:?} is not in {output:?}"
        );
    }
}

/// As user [`UID`], on `dir` below a directory of root's: refused in these words, of `serve` and of a command beside it; and once root has
/// run the command in them, it starts.
#[track_caller]
fn check(set: impl FnOnce(&Path), words: &[&str]) {
    let fake = shop::portainer(Era::A);
    let setup = variables(Setup::with(&fake)).run_by(UID);
    let dir = setup.path().join("state");
    set(&dir);
    let setup = setup.env("STACKHOOK_STATE_DIR", dir.to_str().unwrap());
    let output = setup.run(&["serve"]);
    refused(&output, &dir, words);
    // A warning about the mode of the directory may come before the error.
    let (_, command) = output.stderr.rsplit_once("to fix it, run: ").unwrap();
    let command = command.lines().next().unwrap();
    let done = Command::new("sh").args(["-c", command]).status().unwrap();
    assert!(done.success(), "{command}");
    let server = setup.serve();
    assert_eq!(server.get("/healthz").status, 200);
    assert_eq!(fs::metadata(&dir).unwrap().uid(), UID);
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
    // A file in it that root left there.
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
fn a_state_dir_behind_a_closed_door_is_told_as_that() {
    if !is_root() {
        return;
    }
    let fake = shop::portainer(Era::A);
    let setup = variables(Setup::with(&fake)).run_by(UID);
    let door = setup.path().join("door");
    let dir = door.join("state");
    fs::create_dir_all(&dir).unwrap();
    mode(&door, 0o700);
    let setup = setup.env("STACKHOOK_STATE_DIR", dir.to_str().unwrap());
    let words = [
        "may not enter",
        "door\" (uid 0, mode 700)",
        "name another directory",
    ];
    refused(&setup.run(&["serve"]), &dir, &words);
    refused(&setup.run(&["redeploy", "shop"]), &dir, &words);
}
