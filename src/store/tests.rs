//! The files of the state directory: torn, damaged, foreign, open to other users, and used by two processes.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::lock::{LockError, LockKey, LockManager};
use super::stacks::{Pause, StackStore};
use super::*;
use crate::delivery::ledger::Entry;
use crate::limits;
use crate::stack::{PullMode, RollBack, Stack, StackKey};

/// A temporary directory, removed when it is dropped.
pub(crate) struct TempDir(PathBuf);

impl TempDir {
    pub(crate) fn new() -> TempDir {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::SeqCst);
        let name = format!("stackhook-journal-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        TempDir(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn entry(number: usize) -> Entry {
    let stack = StackKey::parse(&format!("app{number}")).unwrap();
    Entry::Started(stack)
}

fn open(dir: &TempDir) -> (Journal, Vec<Entry>) {
    Journal::open(dir.path(), 1000, Duration::ZERO).unwrap()
}

/// A directory with a journal of so many entries.
fn with_entries(number: usize) -> TempDir {
    let dir = TempDir::new();
    let (mut journal, _) = open(&dir);
    journal.rewrite(&[]).unwrap();
    for number in 0..number {
        journal.append(&entry(number), Sync::Now, Vec::new).unwrap();
    }
    dir
}

fn names(dir: &TempDir) -> Vec<String> {
    let entries = fs::read_dir(dir.path()).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn reads_back_entries_in_order_from_a_file_that_only_its_owner_may_read() {
    let dir = with_entries(3);
    assert_eq!(open(&dir).1, [entry(0), entry(1), entry(2)]);
    assert_eq!(names(&dir), ["journal", "lock", "locks", "stacks"]);
    let mode = |name: &str| {
        let metadata = fs::metadata(dir.path().join(name)).unwrap();
        metadata.permissions().mode() & 0o777
    };
    assert_eq!((mode("journal"), mode("lock")), (0o600, 0o600));
}

#[test]
fn truncates_a_torn_entry_and_appends_after_it() {
    let dir = with_entries(2);
    let whole = fs::read(dir.path().join("journal")).unwrap();
    let lines: Vec<&[u8]> = whole.split_inclusive(|byte| *byte == b'\n').collect();
    let header = lines[0].len();
    for cut in header..whole.len() {
        let torn = TempDir::new();
        fs::write(torn.path().join("journal"), &whole[..cut]).unwrap();
        let (mut journal, entries) = open(&torn);
        let expected = if cut < header + lines[1].len() { 0 } else { 1 };
        assert_eq!(entries.len(), expected, "{cut}");
        journal.append(&entry(7), Sync::Now, Vec::new).unwrap();
        drop(journal);
        let (_, entries) = open(&torn);
        assert_eq!(entries.last(), Some(&entry(7)), "{cut}");
        assert_eq!(entries.len(), expected + 1, "{cut}");
        assert_eq!(names(&torn), ["journal", "lock", "locks", "stacks"]);
    }
}

#[test]
fn skips_damaged_lines_and_keeps_the_damaged_file() {
    let dir = with_entries(3);
    let path = dir.path().join("journal");
    let whole = fs::read(&path).unwrap();
    let second = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    // Also a flip that leaves JSON JSON: the sum finds it.
    for at in [second, second + 30, second + 40] {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        fs::write(&path, &damaged).unwrap();
        let (mut journal, entries) = open(&dir);
        assert_eq!(entries, [entry(1), entry(2)], "{at}");
        assert!(journal.is_behind());
        journal.rewrite(&entries).unwrap();
        drop(journal);
        assert_eq!(open(&dir).1, [entry(1), entry(2)]);
        let aside = names(&dir)
            .into_iter()
            .rfind(|name| name.starts_with("journal.damaged-1000"));
        assert_eq!(fs::read(dir.path().join(aside.unwrap())).unwrap(), damaged);
        fs::read_dir(dir.path()).unwrap().for_each(|entry| {
            let entry = entry.unwrap();
            if entry.file_name().to_string_lossy().contains("damaged") {
                fs::remove_file(entry.path()).unwrap();
            }
        });
    }
}

#[test]
fn keeps_a_foreign_file_named_journal_and_leaves_other_files_alone() {
    for foreign in [
        "dear diary\n",
        "dear diary",
        "{\"journal\":\"else\",\"version\":1}\n",
    ] {
        let dir = TempDir::new();
        fs::write(dir.path().join("journal"), foreign).unwrap();
        fs::write(dir.path().join("notes.txt"), "mine").unwrap();
        let (mut journal, entries) = open(&dir);
        assert_eq!(entries, []);
        journal.append(&entry(1), Sync::Now, Vec::new).unwrap();
        drop(journal);
        assert_eq!(open(&dir).1, [entry(1)]);
        let kept = fs::read_to_string(dir.path().join("journal.damaged-1000")).unwrap();
        assert_eq!(kept, foreign);
        assert_eq!(
            fs::read_to_string(dir.path().join("notes.txt")).unwrap(),
            "mine"
        );
    }
}

#[test]
fn keeps_and_skips_entries_of_a_newer_version() {
    let dir = with_entries(1);
    let path = dir.path().join("journal");
    let newer = b"{\"teleported\":{\"stack\":\"app\"}}";
    let sum = crate::secret::to_hex(&crate::secret::sha256(&[newer]));
    let line = format!(
        "{{\"sum\":\"{}\",\"entry\":{}}}",
        &sum[..8],
        String::from_utf8_lossy(newer)
    );
    let text = fs::read_to_string(&path)
        .unwrap()
        .replace("\"version\":1", "\"version\":2");
    fs::write(&path, format!("{text}{line}\n")).unwrap();
    let (mut journal, entries) = open(&dir);
    assert_eq!(entries, [entry(0)]);
    assert!(!journal.is_behind(), "nothing is damaged");
    journal.rewrite(&entries).unwrap();
    journal.append(&entry(1), Sync::Now, Vec::new).unwrap();
    drop(journal);
    assert!(fs::read_to_string(&path).unwrap().contains(&line));
    assert_eq!(open(&dir).1, [entry(0), entry(1)]);
}

#[test]
fn replaces_a_grown_journal_by_the_current_state() {
    let dir = with_entries(0);
    let (mut journal, _) = open(&dir);
    let stack = StackKey::parse("app").unwrap();
    let submission = serde_json::json!("x".repeat(100_000));
    let large = Entry::Submitting { stack, submission };
    for _ in 0..60 {
        journal
            .append(&large, Sync::Later, || vec![entry(1)])
            .unwrap();
    }
    drop(journal);
    let length = fs::metadata(dir.path().join("journal")).unwrap().len();
    assert!(length < 2 * limits::JOURNAL_MIN, "{length}");
    assert_eq!(open(&dir).1.first(), Some(&entry(1)));
}

#[test]
fn names_the_holder_to_a_second_server() {
    let dir = TempDir::new();
    let (first, _) = open(&dir);
    let Err(CannotOpen::Taken(words)) = Journal::open(dir.path(), 1, Duration::ZERO) else {
        panic!("two servers");
    };
    assert!(
        words.contains(&format!("stackhook serve (process {})", std::process::id())),
        "{words}"
    );
    drop(first);
    open(&dir);
}

#[test]
fn refuses_a_state_dir_that_is_a_file() {
    let dir = TempDir::new();
    let path = dir.path().join("file");
    fs::write(&path, "").unwrap();
    let Err(CannotOpen::Setup(words)) = Journal::open(&path, 1, Duration::ZERO) else {
        panic!("a file is a directory");
    };
    assert!(words.contains("not a directory"), "{words}");
}

#[test]
fn gives_a_lock_to_one_holder_and_names_it_to_those_that_wait() {
    let dir = TempDir::new();
    for dir in [None, Some(dir.path())] {
        let locks = LockManager::new(dir, "serve").unwrap();
        let silent = |_: &str| {};
        let soon = Duration::from_secs(20);
        let first = locks.acquire(LockKey::Stack(7), soon, &silent).unwrap();
        let _other = locks
            .acquire(LockKey::Environment(7), soon, &silent)
            .unwrap();
        let held = locks.acquire(LockKey::Stack(7), Duration::ZERO, &silent);
        assert!(matches!(held, Err(LockError::Held(_))), "{held:?}");
        let (said, says) = std::sync::mpsc::channel();
        thread_scope(
            || drop(first),
            &says,
            || {
                let tell = move |who: &str| said.send(who.to_owned()).unwrap();
                drop(locks.acquire(LockKey::Stack(7), soon, &tell).unwrap());
            },
        );
    }
}

/// Runs `waiter` on a thread of its own, and `free` once it has said that it waits.
fn thread_scope(
    free: impl FnOnce(),
    says: &std::sync::mpsc::Receiver<String>,
    waiter: impl FnOnce() + Send,
) {
    std::thread::scope(|scope| {
        let waits = scope.spawn(waiter);
        says.recv_timeout(Duration::from_secs(20)).unwrap();
        free();
        waits.join().unwrap();
    });
}

#[test]
fn two_processes_share_locks_through_private_files() {
    // Two managers share nothing but the files, like two processes.
    let dir = TempDir::new();
    let serve = LockManager::new(Some(dir.path()), "serve").unwrap();
    let command = LockManager::new(Some(dir.path()), "redeploy").unwrap();
    let silent = |_: &str| {};
    let guard = serve
        .acquire(LockKey::Environment(1), Duration::ZERO, &silent)
        .unwrap();
    let Err(LockError::Held(who)) =
        command.acquire(LockKey::Environment(1), Duration::ZERO, &silent)
    else {
        panic!("two locks");
    };
    assert!(who.starts_with("stackhook serve (process "), "{who}");
    drop(guard);
    drop(
        command
            .acquire(LockKey::Environment(1), Duration::ZERO, &silent)
            .unwrap(),
    );
    let lock = fs::metadata(dir.path().join("locks/environment-1")).unwrap();
    assert_eq!(lock.permissions().mode() & 0o777, 0o600);
}

fn mode_of(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
}

fn make_fifo(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

#[test]
fn restricts_files_of_an_older_version_when_a_server_starts() {
    let dir = TempDir::new();
    let files = [
        "lock",
        "locks/stack-7",
        "stacks/7.json",
        "journal.damaged-1",
    ];
    fs::create_dir_all(dir.path().join("locks")).unwrap();
    fs::create_dir_all(dir.path().join("stacks")).unwrap();
    for name in files {
        fs::write(dir.path().join(name), "{}").unwrap();
        let wide = fs::Permissions::from_mode(0o644);
        fs::set_permissions(dir.path().join(name), wide).unwrap();
    }
    let outside = TempDir::new();
    let target = outside.path().join("target");
    fs::write(&target, "").unwrap();
    fs::set_permissions(&target, fs::Permissions::from_mode(0o644)).unwrap();
    symlink(&target, dir.path().join("locks/stack-8")).unwrap();
    open(&dir);
    for name in files {
        assert_eq!(mode_of(&dir.path().join(name)), 0o600, "{name}");
    }
    for name in ["locks", "stacks"] {
        assert_eq!(mode_of(&dir.path().join(name)), 0o700, "{name}");
    }
    assert_eq!(mode_of(&target), 0o644, "a link is not followed");
}

#[test]
fn creates_a_state_directory_for_its_owner_only() {
    let parent = TempDir::new();
    let dir = parent.path().join("a/b");
    drop(Journal::open(&dir, 1, Duration::ZERO).unwrap());
    for name in ["", "locks", "stacks"] {
        assert_eq!(mode_of(&dir.join(name)), 0o700, "{name:?}");
    }
}

#[test]
fn never_opens_anything_but_regular_files() {
    let dir = TempDir::new();
    for name in ["journal", "lock"] {
        let path = dir.path().join(name);
        let _ = fs::remove_file(&path);
        make_fifo(&path);
        let opened = Journal::open(dir.path(), 1, Duration::ZERO).map(|_| ());
        assert!(
            matches!(&opened, Err(CannotOpen::Setup(why)) if why.contains("regular file")),
            "{opened:?}"
        );
        assert_eq!(Journal::read(dir.path()).is_err(), name == "journal");
        fs::remove_file(&path).unwrap();
        let outside = dir.path().join("outside");
        fs::write(&outside, "kept").unwrap();
        symlink(&outside, &path).unwrap();
        assert!(Journal::open(dir.path(), 1, Duration::ZERO).is_err());
        assert_eq!(fs::read_to_string(&outside).unwrap(), "kept");
        fs::remove_file(&path).unwrap();
    }
    let stacks = StackStore::new(Some(dir.path())).unwrap();
    for name in ["7.json", "@app.paused", "@app.id", "told.json"] {
        make_fifo(&dir.path().join("stacks").join(name));
    }
    assert_eq!(stacks.record(7), None);
    assert_eq!(stacks.id_of(&key("app")), None);
    assert!(stacks.notified_states().is_empty());
    assert!(stacks.pause_of(&key("app"), 1).is_some(), "unreadable");
    stacks.resume(&key("app")).unwrap();
    assert_eq!(stacks.pause_of(&key("app"), 1), None);
    make_fifo(&dir.path().join("locks/stack-7"));
    let locks = LockManager::new(Some(dir.path()), "serve").unwrap();
    let lock = locks.acquire(LockKey::Stack(7), Duration::ZERO, &|_| {});
    assert!(matches!(lock, Err(LockError::Unusable(_))), "{lock:?}");
}

#[test]
fn removes_temporary_files_of_a_crash_but_not_those_in_use() {
    let dir = TempDir::new();
    drop(open(&dir));
    let (old, fresh) = ("stacks/7.json.new-4711", "stacks/8.json.new-4712");
    for name in [old, fresh] {
        fs::write(dir.path().join(name), "").unwrap();
    }
    let file = fs::File::options().write(true).open(dir.path().join(old));
    let hours_ago = std::time::SystemTime::now() - Duration::from_secs(3 * 60 * 60);
    file.unwrap().set_modified(hours_ago).unwrap();
    open(&dir);
    assert!(!dir.path().join(old).exists());
    assert!(dir.path().join(fresh).exists());
}

fn key(text: &str) -> StackKey {
    StackKey::parse(text).unwrap()
}

fn stack(key: &str, name: &str) -> Stack {
    Stack {
        key: StackKey::parse(key).unwrap(),
        name: name.to_owned(),
        environment: None,
        pull: PullMode::First,
        except: Vec::new(),
        env: Vec::new(),
        healthy_within: Duration::ZERO,
        rollback: RollBack::Never,
        cleanup: false,
    }
}

/// A test that must hold on disk and in memory.
fn check_stacks(stacks: &StackStore) {
    let app = key("app");
    assert_eq!((stacks.record(7), stacks.pause_of(&app, 0)), (None, None));
    stacks
        .set_record(7, &serde_json::json!({"held": ["a"]}))
        .unwrap();
    stacks
        .set_record(7, &serde_json::json!({"held": ["b"]}))
        .unwrap();
    assert_eq!(stacks.record(7), Some(serde_json::json!({"held": ["b"]})));
    assert_eq!(stacks.record(8), None);
    stacks.pause(&app, 1000, None).unwrap();
    stacks.pause(&app, 2000, None).unwrap();
    let since_1000 = Pause {
        since: 1000,
        until: None,
    };
    assert_eq!(stacks.pause_of(&app, 9999), Some(since_1000));
    assert_eq!(stacks.pause_of(&key("db"), 9999), None);
    stacks.pause(&app, 3000, Some(5000)).unwrap();
    let until_5000 = Pause {
        since: 1000,
        until: Some(5000),
    };
    assert_eq!(stacks.pause_of(&app, 4999), Some(until_5000));
    assert_eq!(stacks.pause_of(&app, 5000), None, "it is over");
    assert!(stacks.notified_states().is_empty());
    stacks.set_notified("app", true).unwrap();
    stacks.set_notified("db", true).unwrap();
    stacks.set_notified("app", false).unwrap();
    let states = serde_json::Value::Object(stacks.notified_states());
    assert_eq!(states, serde_json::json!({"app": false, "db": true}));
    stacks.resume(&app).unwrap();
    stacks.resume(&app).unwrap();
    assert_eq!(stacks.pause_of(&app, 4999), None);
    // A stack that was created again keeps its blocked images.
    stacks.set_id(&app, 7);
    stacks.set_id(&app, 9);
    assert_eq!(stacks.id_of(&app), Some(9));
    assert_eq!(stacks.record(9), Some(serde_json::json!({"held": ["b"]})));
}

#[test]
fn reads_back_the_data_of_a_stack() {
    check_stacks(&StackStore::new(None).unwrap());
    let dir = TempDir::new();
    check_stacks(&StackStore::new(Some(dir.path())).unwrap());
}

#[test]
fn keeps_pauses_and_records_over_a_restart() {
    let dir = TempDir::new();
    let stacks = StackStore::new(Some(dir.path())).unwrap();
    stacks.set_record(7, &serde_json::json!(1)).unwrap();
    stacks.pause(&key("app"), 1000, None).unwrap();
    let stacks = StackStore::read_only(Some(dir.path()));
    assert_eq!(stacks.record(7), Some(serde_json::json!(1)));
    assert!(stacks.pause_of(&key("app"), 2000).is_some());
    let names = fs::read_dir(dir.path().join("stacks")).unwrap();
    let names: BTreeSet<_> = names.map(|entry| entry.unwrap().file_name()).collect();
    let expected = ["7.json", "@app.paused"].map(Into::into);
    assert_eq!(names, expected.into(), "nothing else is left behind");
}

#[test]
fn sets_a_damaged_record_aside_and_treats_an_unreadable_pause_as_a_pause() {
    let dir = TempDir::new();
    let stacks = StackStore::new(Some(dir.path())).unwrap();
    let file = |name: &str| dir.path().join("stacks").join(name);
    fs::write(file("7.json"), "{\"held\":").unwrap();
    fs::write(file("@app.paused"), "?").unwrap();
    fs::write(file("@db.paused"), "1000 ?").unwrap();
    assert_eq!(stacks.record(7), None);
    assert!(file("7.json.damaged").exists());
    let endless = |since| Some(Pause { since, until: None });
    assert_eq!(stacks.pause_of(&key("app"), u64::MAX), endless(0));
    assert_eq!(stacks.pause_of(&key("db"), u64::MAX), endless(1000));
}

#[test]
fn reads_pauses_of_version_0_1_and_shares_them_between_two_keys() {
    let dir = TempDir::new();
    let stacks = StackStore::new(Some(dir.path())).unwrap();
    fs::write(dir.path().join("stacks/7.paused"), "1000\n").unwrap();
    let (shop, alias) = (key("shop"), key("shop-alias"));
    assert_eq!(stacks.pause_of(&shop, 2000), None, "not known yet");
    assert!(
        stacks.resume(&shop).is_err(),
        "it might be this one's pause"
    );
    for key in [&shop, &alias] {
        stacks.set_id(key, 7);
        let pause = stacks.pause_of(key, 2000).unwrap();
        assert_eq!(
            pause,
            Pause {
                since: 1000,
                until: None
            }
        );
    }
    stacks.resume(&alias).unwrap();
    assert_eq!(stacks.pause_of(&shop, 2000), None);
    stacks.pause(&alias, 3000, None).unwrap();
    assert!(stacks.pause_of(&shop, 4000).is_some());
    stacks.resume(&shop).unwrap();
    assert_eq!(stacks.pause_of(&alias, 4000), None);
}

#[test]
fn two_keys_for_one_name_share_a_pause_before_portainer_was_reached() {
    let configured = [stack("a", "shop"), stack("b", "shop"), stack("c", "blog")];
    let stacks = StackStore::new(None).unwrap().with_stacks(&configured);
    stacks.pause(&key("a"), 1000, None).unwrap();
    assert!(stacks.pause_of(&key("b"), 2000).is_some());
    assert_eq!(stacks.pause_of(&key("c"), 2000), None);
    stacks.resume(&key("b")).unwrap();
    assert_eq!(stacks.pause_of(&key("a"), 2000), None);
}
