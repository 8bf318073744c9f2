//! The journal as a file: torn, damaged, foreign, in two hands.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::atomic::{AtomicU32, Ordering};

use super::lock::{NoTurn, Thing, Turns};
use super::*;
use crate::stack::StackKey;

/// A directory of a test, gone with it.
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
fn what_was_appended_is_read_back_in_order_and_nobody_else_may_read_it() {
    let dir = with_entries(3);
    assert_eq!(open(&dir).1, [entry(0), entry(1), entry(2)]);
    assert_eq!(names(&dir), ["journal", "lock", "locks", "stacks"]);
    let mode = |name: &str| {
        let metadata = fs::metadata(dir.path().join(name)).unwrap();
        metadata.permissions().mode() & 0o777
    };
    assert_eq!((mode("journal"), mode("lock")), (0o600, 0o644));
}

#[test]
fn whatever_a_crash_cut_off_is_cut_off_and_what_comes_after_it_is_readable() {
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
fn damage_in_the_middle_costs_the_lines_it_hits_and_the_file_is_kept() {
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
fn a_foreign_file_of_that_name_is_kept_and_foreign_files_beside_it_are_left_alone() {
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
fn what_a_newer_version_wrote_is_kept_and_skipped() {
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
fn a_journal_that_has_grown_is_replaced_by_what_it_amounts_to() {
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
fn a_second_server_on_the_directory_is_told_who_has_it() {
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
fn a_directory_that_is_none_is_refused_in_words() {
    let dir = TempDir::new();
    let path = dir.path().join("file");
    fs::write(&path, "").unwrap();
    let Err(CannotOpen::Setup(words)) = Journal::open(&path, 1, Duration::ZERO) else {
        panic!("a file is a directory");
    };
    assert!(words.contains("it is no directory"), "{words}");
}

#[test]
fn a_turn_is_had_by_one_and_whoever_waits_learns_for_whom() {
    let dir = TempDir::new();
    for dir in [None, Some(dir.path())] {
        let turns = Turns::new(dir, "serve").unwrap();
        let silent = |_: &str| {};
        let soon = Duration::from_secs(20);
        let first = turns.take(Thing::Stack(7), soon, &silent).unwrap();
        let _other = turns.take(Thing::Environment(7), soon, &silent).unwrap();
        let held = turns.take(Thing::Stack(7), Duration::ZERO, &silent);
        assert!(matches!(held, Err(NoTurn::Held(_))), "{held:?}");
        let (said, says) = std::sync::mpsc::channel();
        thread_scope(
            || drop(first),
            &says,
            || {
                let tell = move |who: &str| said.send(who.to_owned()).unwrap();
                drop(turns.take(Thing::Stack(7), soon, &tell).unwrap());
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
fn two_processes_share_turns_through_files_that_anybody_may_read() {
    // Two `Turns` know nothing of each other but the files, as two processes do.
    let dir = TempDir::new();
    let serve = Turns::new(Some(dir.path()), "serve").unwrap();
    let command = Turns::new(Some(dir.path()), "redeploy").unwrap();
    let silent = |_: &str| {};
    let turn = serve
        .take(Thing::Environment(1), Duration::ZERO, &silent)
        .unwrap();
    let Err(NoTurn::Held(who)) = command.take(Thing::Environment(1), Duration::ZERO, &silent)
    else {
        panic!("two turns");
    };
    assert!(who.starts_with("stackhook serve (process "), "{who}");
    drop(turn);
    drop(
        command
            .take(Thing::Environment(1), Duration::ZERO, &silent)
            .unwrap(),
    );
    let lock = fs::metadata(dir.path().join("locks/environment-1")).unwrap();
    assert_eq!(lock.permissions().mode() & 0o777, 0o644);
}
