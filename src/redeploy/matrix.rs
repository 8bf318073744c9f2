//! Every kind of stack, every era of Portainer, and every way it can go wrong: how each of them ends, and what holds in all of them.
//! The scenes are set in [`scene`], what goes wrong in [`case`], and what must come of it stands in [`expected`].

mod scene;
mod case;
mod expected;
mod settings;
mod interrupted;
mod refused;
mod rights;
mod figures;

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::thread;

use crate::fake::{EngineStyle, Era};
use crate::redeploy::bench::Watcher;
use crate::stack::order::Order;
use crate::stack::outcome::{Outcome, StackReport};

use case::Case;
use expected::{Expected, expected};
use scene::{Scene, Sort};

/// Cells that run side by side; most of their time is spent waiting for each other's thread.
const SIDE_BY_SIDE: usize = 8;

/// One cell of the matrix.
type Cell = (Sort, Case, Era, EngineStyle);

/// The engines besides the first one, with which every kind of stack and era is tried.
const OTHER_ENGINES: [EngineStyle; 2] = [EngineStyle::Docker29, EngineStyle::Podman];

/// The result of a cell: its text in the table, and its deviations from the expectation.
struct CellResult {
    cell: Cell,
    shown: String,
    wrong: Vec<String>,
}

#[test]
fn whatever_goes_wrong_ends_as_it_should() {
    let mut cells = Vec::new();
    for sort in Sort::ALL {
        for case in Case::ALL {
            cells.extend(Era::ALL.map(|era| (sort, case, era, EngineStyle::Docker20)));
        }
    }
    for case in Case::ALL {
        for era in [Era::A, Era::C] {
            cells.extend(OTHER_ENGINES.map(|style| (Sort::File, case, era, style)));
        }
    }
    // `CELLS=EngineDies` runs only some of the cells.
    if let Ok(part) = std::env::var("CELLS") {
        cells.retain(|cell| format!("{cell:?}").contains(&part));
        assert!(!cells.is_empty(), "no cell is named {part:?}");
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

fn run_all(cells: &[Cell]) -> Vec<CellResult> {
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

fn run(cell: Cell) -> CellResult {
    let (sort, case, era, style) = cell;
    let mut scene = Scene::on(style, sort, era);
    let (order, watcher) = case.prepare(&mut scene);
    scene.env = case.env(sort, &scene.look());
    let mut played = play(&scene, &order, &watcher, || case.afterwards(&scene));
    if !played.down.is_empty() && !case.may_leave_down(sort) {
        let down = words(&played.down);
        played.never.push(format!("{down} ran before and is down"));
    }
    let shown = format!(
        "{:<9} {} PUT {}",
        played.report.outcome.name(),
        played.puts,
        words(&played.changed)
    );
    let mut wrong = played.against(&expected(sort, case, era, style));
    if case.next_succeeds(sort, era) {
        let next = scene.bench.run(&Order::default());
        if !matches!(next.outcome, Outcome::Updated | Outcome::Unchanged) {
            wrong.push(format!("the next update is {next:?}"));
        }
    }
    CellResult { cell, shown, wrong }
}

/// The result of one redeploy.
struct Played {
    report: StackReport,
    puts: usize,
    changed: BTreeSet<String>,
    /// The services that ran before and do not run now.
    down: BTreeSet<String>,
    /// Violations of the rules that hold in every cell.
    never: Vec<String>,
}

fn play(scene: &Scene, order: &Order, watcher: &Watcher, afterwards: impl FnOnce()) -> Played {
    let before = scene.look();
    scene.bench.fake.forget_calls();
    let report = scene.bench.run_watched(order, watcher);
    afterwards();
    let after = scene.look();
    Played {
        puts: scene.bench.fake.puts().len(),
        changed: after.changed_since(&before),
        down: after.down_since(&before),
        never: scene.violations(&before, &after, &report),
        report,
    }
}

/// For tests outside the matrix: the same demands on one redeploy.
#[track_caller]
fn check(scene: &Scene, order: &Order, watcher: &Watcher, should: &Expected) -> StackReport {
    let played = play(scene, order, watcher, || ());
    let wrong = played.against(should);
    assert!(
        wrong.is_empty(),
        "{:?} {:?}: {}",
        scene.sort,
        scene.era,
        wrong.join("; ")
    );
    played.report
}

impl Played {
    /// Lists the deviations from the expectation.
    fn against(&self, should: &Expected) -> Vec<String> {
        let (outcome, message) = (self.report.outcome, &self.report.message);
        let mut wrong = self.never.clone();
        let mut check = |what: &str, is: String, should: String| {
            if is != should {
                wrong.push(format!("{what} is {is}, not {should}"));
            }
        };
        check(
            "outcome",
            format!("{outcome:?}"),
            format!("{:?}", should.outcome),
        );
        check("PUTs", self.puts.to_string(), should.puts.to_string());
        check(
            "in another container",
            words(&self.changed),
            words(&should.changed),
        );
        if matches!(outcome, Outcome::Updated | Outcome::Unchanged) {
            let verified = Some(should.verified);
            check(
                "verified",
                format!("{:?}", self.report.verified),
                format!("{verified:?}"),
            );
        }
        for words in &should.says {
            if !message.contains(words) {
                wrong.push(format!("it does not say {words:?}"));
            }
        }
        if !wrong.is_empty() {
            wrong.push(format!("{outcome:?} {message:?}"));
        }
        wrong
    }
}

fn words(services: &BTreeSet<String>) -> String {
    match services.is_empty() {
        true => "-".to_owned(),
        false => services.iter().cloned().collect::<Vec<_>>().join(","),
    }
}

/// One line a case, one column an era and an engine.
#[allow(clippy::print_stdout, reason = "the table is what the test shows")]
fn print(came: &[CellResult]) {
    let row = |came: &CellResult| (came.cell.0, came.cell.1);
    for row in came.chunk_by(|one, other| row(one) == row(other)) {
        let (sort, case, ..) = row[0].cell;
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
