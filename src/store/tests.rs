//! The files of the state directory: torn, damaged, foreign, open to other users, and used by two processes.

use std::collections::BTreeSet;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
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

/// Opens the journal. Another test may just have forked, and its child holds a lock until it executes its program.
fn open(dir: &TempDir) -> (Journal, Vec<Entry>) {
    Journal::open(dir.path(), 1000, Duration::from_secs(20)).unwrap()
}

/// Creates a directory with a journal of this many entries.
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
    // The last flip leaves valid JSON: only the checksum finds it.
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
    let Err(CannotOpen::Taken(message)) = Journal::open(dir.path(), 1, Duration::ZERO) else {
        panic!("two servers");
    };
    let holder = format!("stackhook serve (process {})", std::process::id());
    assert!(message.contains(&holder), "{message}");
    drop(first);
    open(&dir);
}

#[test]
fn refuses_a_state_dir_that_is_a_file() {
    let dir = TempDir::new();
    let path = dir.path().join("file");
    fs::write(&path, "").unwrap();
    let Err(CannotOpen::Setup(message)) = Journal::open(&path, 1, Duration::ZERO) else {
        panic!("a file is a directory");
    };
    assert!(message.contains("not a directory"), "{message}");
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
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| {
                let report = move |holder: &str| sender.send(holder.to_owned()).unwrap();
                drop(locks.acquire(LockKey::Stack(7), soon, &report).unwrap());
            });
            receiver.recv_timeout(soon).unwrap();
            drop(first);
            waiter.join().unwrap();
        });
    }
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
    let Err(LockError::Held(holder)) =
        command.acquire(LockKey::Environment(1), Duration::ZERO, &silent)
    else {
        panic!("two locks");
    };
    assert!(holder.starts_with("stackhook serve (process "), "{holder}");
    let other = command.acquire(LockKey::Environment(2), Duration::ZERO, &silent);
    assert!(
        other.is_ok(),
        "each environment has its own lock: {other:?}"
    );
    drop(guard);
    // Another test may just have forked, and its child holds a lock until it executes its program.
    let free = command.acquire(LockKey::Environment(1), Duration::from_secs(20), &silent);
    assert!(free.is_ok(), "{free:?}");
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

/// Checks a store on disk or in memory.
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

/// A model of a power cut: which bytes of files, and which names in directories, were written to disk.
pub(crate) mod power_cut {
    use std::collections::HashMap;
    use std::fs::{self, File};
    use std::os::unix::fs::MetadataExt as _;
    use std::path::{Path, PathBuf};
    use std::sync::{LazyLock, Mutex};

    /// Device and number of a file.
    type Inode = (u64, u64);

    /// The length of each file when it was last synced.
    static FILES: LazyLock<Mutex<HashMap<Inode, u64>>> = LazyLock::new(Mutex::default);
    /// The files in each directory when it was last synced.
    static DIRECTORIES: LazyLock<Mutex<HashMap<PathBuf, HashMap<PathBuf, Inode>>>> =
        LazyLock::new(Mutex::default);

    fn inode(metadata: &fs::Metadata) -> Inode {
        (metadata.dev(), metadata.ino())
    }

    pub(crate) fn note_file(file: &File) {
        let metadata = file.metadata().unwrap();
        let mut files = FILES.lock().unwrap();
        files.insert(inode(&metadata), metadata.len());
    }

    pub(crate) fn note_directory(dir: &Path) {
        let entries = fs::read_dir(dir).unwrap().filter_map(|entry| {
            let entry = entry.unwrap();
            Some((entry.path(), inode(&entry.metadata().ok()?)))
        });
        let entries = entries.collect();
        DIRECTORIES.lock().unwrap().insert(dir.to_owned(), entries);
    }

    /// Returns the content that a file would have after a power cut; `None` if it would not exist or would be an older file.
    pub(crate) fn content_after(path: &Path) -> Option<Vec<u8>> {
        let directories = DIRECTORIES.lock().unwrap();
        let synced = *directories.get(path.parent()?)?.get(path)?;
        if inode(&fs::metadata(path).ok()?) != synced {
            return None;
        }
        let length = FILES.lock().unwrap().get(&synced).copied().unwrap_or(0);
        let bytes = fs::read(path).unwrap();
        Some(bytes[..usize::try_from(length).unwrap()].to_owned())
    }

    /// Returns true if a removed file would exist again after a power cut.
    pub(crate) fn returns(path: &Path) -> bool {
        let directories = DIRECTORIES.lock().unwrap();
        let names = directories.get(path.parent().unwrap());
        names.is_some_and(|names| names.contains_key(path))
    }
}

#[test]
fn changes_of_a_stack_survive_a_power_cut() {
    let dir = TempDir::new();
    let stacks = StackStore::new(Some(dir.path())).unwrap();
    let path = |name: &str| dir.path().join("stacks").join(name);
    for number in 1..3 {
        stacks.set_record(7, &serde_json::json!(number)).unwrap();
        let expected = format!("{number}\n").into_bytes();
        assert_eq!(power_cut::content_after(&path("7.json")), Some(expected));
    }
    stacks.set_notified("app", true).unwrap();
    let told = power_cut::content_after(&path("told.json"));
    assert_eq!(told, Some(b"{\"app\":true}\n".to_vec()));
    stacks.pause(&key("app"), 1000, None).unwrap();
    let pause = path("@app.paused");
    assert_eq!(power_cut::content_after(&pause), Some(b"1000\n".to_vec()));
    stacks.resume(&key("app")).unwrap();
    assert!(!power_cut::returns(&pause));
}

#[test]
fn syncing_a_file_calls_the_kernel() {
    // The kernel refuses to sync a pipe.
    let (_reader, writer) = std::io::pipe().unwrap();
    let pipe = fs::File::from(OwnedFd::from(writer));
    assert!(directory::sync_file(&pipe).is_err());
    assert!(directory::sync(Path::new("/nonexistent")).is_err());
}

#[test]
fn readers_see_the_old_or_the_new_content_of_a_replaced_file() {
    use std::io::Read as _;
    let dir = TempDir::new();
    let stacks = StackStore::new(Some(dir.path())).unwrap();
    stacks.set_record(7, &serde_json::json!("old")).unwrap();
    let mut reader = fs::File::open(dir.path().join("stacks/7.json")).unwrap();
    stacks.set_record(7, &serde_json::json!("new")).unwrap();
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert_eq!(text, "\"old\"\n");
    assert_eq!(stacks.record(7), Some(serde_json::json!("new")));
}

#[test]
fn a_failed_replacement_keeps_the_old_file() {
    let dir = TempDir::new();
    let stacks = StackStore::new(Some(dir.path())).unwrap();
    stacks.set_record(7, &serde_json::json!("old")).unwrap();
    // The temporary file cannot be created where a directory has its name.
    let blocker = format!("stacks/7.json.new-{}", std::process::id());
    fs::create_dir(dir.path().join(blocker)).unwrap();
    assert!(stacks.set_record(7, &serde_json::json!("new")).is_err());
    assert_eq!(stacks.record(7), Some(serde_json::json!("old")));
}

#[test]
fn a_failed_append_leaves_no_partial_line() {
    let dir = with_entries(1);
    let (mut journal, _) = open(&dir);
    // A file that is open for reading only cannot be written.
    journal.make_read_only();
    assert_eq!(
        journal.append(&entry(1), Sync::Now, Vec::new),
        Err(WriteError)
    );
    assert!(journal.is_behind());
    journal
        .append(&entry(2), Sync::Now, || vec![entry(0)])
        .unwrap();
    drop(journal);
    assert_eq!(open(&dir).1, [entry(0), entry(2)]);
}

#[test]
fn files_that_root_creates_belong_to_the_owner_of_the_directory() {
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        return;
    }
    let dir = TempDir::new();
    chown(dir.path(), Some(65532), Some(65531)).unwrap();
    let (mut journal, _) = open(&dir);
    journal.append(&entry(0), Sync::Now, Vec::new).unwrap();
    let stacks = StackStore::new(Some(dir.path())).unwrap();
    stacks.set_record(7, &serde_json::json!(1)).unwrap();
    stacks.set_id(&key("app"), 7);
    stacks.pause(&key("app"), 1000, None).unwrap();
    stacks.set_notified("app", true).unwrap();
    let locks = LockManager::new(Some(dir.path()), "serve").unwrap();
    for lock in [LockKey::Stack(7), LockKey::Environment(1)] {
        drop(locks.acquire(lock, Duration::ZERO, &|_| {}).unwrap());
    }
    let mut found = Vec::new();
    for directory in ["", "locks", "stacks"] {
        for entry in fs::read_dir(dir.path().join(directory)).unwrap() {
            let entry = entry.unwrap();
            let metadata = entry.metadata().unwrap();
            let owner = (metadata.uid(), metadata.gid());
            assert_eq!(owner, (65532, 65531), "{:?}", entry.path());
            found.push(entry.file_name());
        }
    }
    assert_eq!(found.len(), 10, "{found:?}");
    // Files of root in it, for example from an older version, are given to the owner at the next start.
    let foreign = ["journal", "lock", "locks/stack-7", "stacks/7.json"];
    for name in foreign {
        chown(dir.path().join(name), Some(0), Some(0)).unwrap();
    }
    drop(journal);
    open(&dir);
    for name in foreign {
        assert_eq!(fs::metadata(dir.path().join(name)).unwrap().uid(), 65532);
    }
}
