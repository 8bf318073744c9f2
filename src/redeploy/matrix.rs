//! Every kind of stack, every era of Portainer, and every way it can go wrong: how each of them ends, and what holds in all of them.
//! The scenes are set in [`scene`], what goes wrong in [`case`], and what must come of it stands in [`expected`].

mod scene;
mod case;
mod expected;

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::thread;

use crate::fake::Era;
use crate::stack::outcome::{Outcome, StackReport};

use case::Case;
use expected::{Expected, expected};
use scene::{Scene, Sort};

/// Cells that run side by side; most of their time is spent waiting for each other's thread.
const SIDE_BY_SIDE: usize = 8;

/// One cell of the matrix.
type Cell = (Sort, Case, Era);

/// What came of a cell: what the table shows, and what is wrong with it.
struct Came {
    cell: Cell,
    shown: String,
    wrong: Vec<String>,
}

#[test]
fn whatever_goes_wrong_ends_as_it_should() {
    let mut cells = Vec::new();
    for sort in Sort::ALL {
        for case in Case::ALL {
            cells.extend(Era::ALL.map(|era| (sort, case, era)));
        }
    }
    let came = run_all(&cells);
    print(&came);
    assert_eq!(came.len(), cells.len());
    let wrong: Vec<String> = came
        .iter()
        .filter(|came| !came.wrong.is_empty())
        .map(|came| format!("{:?}: {}", came.cell, came.wrong.join("; ")))
        .collect();
    assert!(
        wrong.is_empty(),
        "{} of {} cells:\n{}",
        wrong.len(),
        cells.len(),
        wrong.join("\n")
    );
}

fn run_all(cells: &[Cell]) -> Vec<Came> {
    let next = Mutex::new(cells.iter());
    let done = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..SIDE_BY_SIDE {
            scope.spawn(|| {
                while let Some(cell) = { next.lock().unwrap().next() } {
                    let came = run(*cell);
                    done.lock().unwrap().push(came);
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap();
    done.sort_by_key(|came| came.cell);
    done
}

fn run(cell: Cell) -> Came {
    let (sort, case, era) = cell;
    let mut scene = Scene::new(sort, era);
    let (order, watcher) = case.prepare(&mut scene);
    let before = scene.look();
    scene.bench.fake.forget_calls();
    let report = scene.bench.run_watched(&order, &watcher);
    case.afterwards(&scene);
    let after = scene.look();
    let puts = scene.bench.fake.puts();
    let changed = after.changed_since(&before);
    let shown = format!(
        "{:<9} {} PUT {}",
        report.outcome.name(),
        puts.len(),
        words(&changed)
    );
    let mut wrong = against(&expected(sort, case, era), &report, puts.len(), &changed);
    wrong.extend(scene.what_never_happens(&before, &after, &report, case.env(sort, &before)));
    Came { cell, shown, wrong }
}

fn against(
    expected: &Expected,
    report: &StackReport,
    puts: usize,
    changed: &BTreeSet<String>,
) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut check = |what: &str, is: String, should: String| {
        if is != should {
            wrong.push(format!(
                "{what} is {is}, not {should} ({:?} {:?})",
                report.outcome, report.message
            ));
        }
    };
    check(
        "outcome",
        format!("{:?}", report.outcome),
        format!("{:?}", expected.outcome),
    );
    check("PUTs", puts.to_string(), expected.puts.to_string());
    check(
        "in another container",
        words(changed),
        words(&expected.changed),
    );
    if matches!(report.outcome, Outcome::Updated | Outcome::Unchanged) {
        check(
            "verified",
            format!("{:?}", report.verified),
            format!("{:?}", Some(expected.verified)),
        );
    }
    for fragment in &expected.says {
        if !report.message.contains(fragment) {
            wrong.push(format!("{:?} does not say {fragment:?}", report.message));
        }
    }
    wrong
}

fn words(services: &BTreeSet<String>) -> String {
    match services.is_empty() {
        true => "-".to_owned(),
        false => services.iter().cloned().collect::<Vec<_>>().join(","),
    }
}

/// One line a case, one column an era.
#[allow(clippy::print_stdout, reason = "the table is what the test shows")]
fn print(came: &[Came]) {
    for row in came.chunk_by(|one, other| (one.cell.0, one.cell.1) == (other.cell.0, other.cell.1))
    {
        let (sort, case, _) = row[0].cell;
        let cells: Vec<String> = row
            .iter()
            .map(|came| format!("{:<40}", came.shown))
            .collect();
        println!(
            "{:<6} {:<22} {}",
            format!("{sort:?}"),
            format!("{case:?}"),
            cells.join(" ")
        );
    }
}
