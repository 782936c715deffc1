//! Tries states, in as many threads as there are processors, and says what was
//! found.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use crate::calls;
use crate::check::{Duty, Knowledge, check};
use crate::disk::{Disk, Event, Operation};
use crate::drive::Mark;
use crate::materialise::{fingerprint, materialise};
use crate::packages::Packages;
use crate::states::{Chooser, Cut, LOSSES, Loss};

/// Failures that are told in full.
const TOLD: usize = 10;
/// In how many attempts at another state none has to be found until there are
/// taken to be no more.
const ATTEMPTS: usize = 20_000;

/// Returns whether all states were survived.
pub fn replay(
    directory: &Path,
    trace: &Path,
    states: usize,
    seed: u64,
    scratch: &Path,
) -> Result<bool> {
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    let text = fs::read_to_string(trace).with_context(|| format!("{}", trace.display()))?;
    let disk = calls::read(&text, &directory.join("store"), &directory.join("marks"))?;
    let marks = marks(&disk)?;
    let knowledge = Knowledge {
        packages: Packages::new(&directory.join("packages")),
        expected: serde_json::from_slice(&fs::read(directory.join("expected.json"))?)?,
    };
    let syncs = disk
        .events
        .iter()
        .filter(|event| matches!(event, Event::Sync(_)));
    println!(
        "recorded: {} operations, {} synchronisations, {} steps",
        disk.operations.len(),
        syncs.count(),
        marks.len()
    );

    let start = Instant::now();
    let cuts = choose(&disk, states, seed);
    let scratch = tempfile::Builder::new()
        .prefix("cuts-")
        .tempdir_in(scratch)?;
    let (next, failures) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    thread::scope(|scope| -> Result<()> {
        let threads = thread::available_parallelism()?.get();
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                let scratch = scratch.path();
                let (disk, cuts, marks, knowledge) = (&disk, &cuts, &marks, &knowledge);
                let (next, failures) = (&next, &failures);
                scope.spawn(move || -> Result<()> {
                    let runtime = tokio::runtime::Builder::new_current_thread()
                        .enable_all()
                        .build()?;
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        let Some(cut) = cuts.get(number) else { break };
                        let state = disk.state(cut.carried_out.iter().copied(), cut.torn);
                        let root = scratch.join(number.to_string());
                        fs::create_dir(&root)?;
                        materialise(disk, &state, &root)?;
                        let outcome = runtime.block_on(check(knowledge, &root, &duty(marks, cut)));
                        match outcome {
                            Ok(()) => fs::remove_dir_all(&root)?,
                            // The store was not stopped, and may not be done with it.
                            Err(error) => failures
                                .lock()
                                .expect("nobody panics with it")
                                .push((cut, error)),
                        }
                    }
                    Ok(())
                })
            })
            .collect();
        workers
            .into_iter()
            .try_for_each(|worker| worker.join().expect("a worker has panicked"))
    })?;

    let failures = failures.into_inner().expect("nobody panics with it");
    for (cut, error) in failures.iter().take(TOLD) {
        tell(&disk, &marks, cut, error);
    }
    table(&cuts, &failures);
    let seconds = start.elapsed().as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "it is for people")]
    let rate = cuts.len() as f64 / seconds;
    println!("\n{seconds:.1} s, {rate:.0} states a second, seed {seed}");
    Ok(failures.is_empty())
}

/// Marks, with the numbers of their events; the first is what there is before.
fn marks(disk: &Disk) -> Result<Vec<(usize, Mark)>> {
    let mut marks = vec![(0, Mark::default())];
    for (number, event) in disk.events.iter().enumerate() {
        if let Event::Mark(line) = event {
            marks.push((number, serde_json::from_str(line)?));
        }
    }
    ensure!(marks.len() > 1, "nothing was marked");
    Ok(marks)
}

fn duty<'a>(marks: &'a [(usize, Mark)], cut: &Cut) -> Duty<'a> {
    let done = marks
        .partition_point(|(event, _)| *event <= cut.event)
        .max(1);
    let before = &marks[done - 1].1;
    let after = marks.get(done).map_or(before, |mark| &mark.1);
    Duty { before, after }
}

/// So many states, no two of them the same. First what was asked for and what was
/// synchronised, at renames, or at each moment if there is room; then what is chosen
/// at random.
fn choose(disk: &Disk, states: usize, seed: u64) -> Vec<Cut> {
    let mut chooser = Chooser::new(disk, seed);
    let mut seen = HashSet::new();
    let mut cuts = Vec::new();
    let mut add = |cut: Option<Cut>, cuts: &mut Vec<Cut>| {
        let Some(cut) = cut else { return false };
        let step = disk.events[..=cut.event]
            .iter()
            .filter(|event| matches!(event, Event::Mark(_)));
        let state = disk.state(cut.carried_out.iter().copied(), cut.torn);
        let is_new = seen.insert((step.count(), fingerprint(disk, &state)));
        if is_new {
            cuts.push(cut);
        }
        is_new
    };
    let is_everywhere = states > 3 * disk.events.len();
    for event in 0..disk.events.len() {
        if is_everywhere || is_at_rename(disk, event) {
            for loss in [Loss::Nothing, Loss::All] {
                let cut = chooser.cut(event, loss);
                add(cut, &mut cuts);
            }
        }
    }
    let mut in_vain = 0;
    while cuts.len() < states && in_vain < ATTEMPTS {
        let event = chooser.event();
        let loss = LOSSES[(cuts.len() + in_vain) % LOSSES.len()];
        let cut = chooser.cut(event, loss);
        in_vain = if add(cut, &mut cuts) { 0 } else { in_vain + 1 };
    }
    cuts
}

/// Whether there is a rename just before or after.
fn is_at_rename(disk: &Disk, event: usize) -> bool {
    let end = disk.events.len().min(event + 3);
    disk.events[event.saturating_sub(2)..end]
        .iter()
        .any(|event| match event {
            Event::Operation(number) => {
                let operation = &disk.operations[*number].operation;
                matches!(operation, Operation::Rename { .. })
            }
            _ => false,
        })
}

fn tell(disk: &Disk, marks: &[(usize, Mark)], cut: &Cut, error: &anyhow::Error) {
    let duty = duty(marks, cut);
    let event = match &disk.events[cut.event] {
        Event::Operation(number) => disk.operations[*number].text.clone(),
        Event::Sync(text) => text.clone(),
        Event::Mark(_) => "acknowledgement".to_owned(),
    };
    println!("\nFAILED  {error:#}");
    println!(
        "        during `{}`, after event {}: {event}",
        duty.after.step, cut.event
    );
    println!(
        "        lost ({:?}): {} operations",
        cut.loss,
        cut.lost.len()
    );
    for &number in cut.lost.iter().take(8) {
        println!("          {}", disk.operations[number].text);
    }
    if let Some((number, kept)) = cut.torn {
        println!(
            "        only {kept} bytes of: {}",
            disk.operations[number].text
        );
    }
}

fn table(cuts: &[Cut], failures: &[(&Cut, anyhow::Error)]) {
    let mut rows: BTreeMap<Loss, (usize, usize)> = BTreeMap::new();
    for cut in cuts {
        rows.entry(cut.loss).or_default().0 += 1;
    }
    for (cut, _) in failures {
        rows.entry(cut.loss).or_default().1 += 1;
    }
    println!("\n| of what is not synchronised, lost is | states | failed |");
    println!("| --- | ---: | ---: |");
    for (loss, (states, failed)) in rows {
        let words = match loss {
            Loss::Nothing => "nothing",
            Loss::All => "everything",
            Loss::One => "one operation",
            Loss::Two => "two operations",
            Loss::AllButOne => "everything but one operation",
            Loss::Some => "some at random",
            Loss::Torn => "the end of a write",
        };
        println!("| {words} | {states} | {failed} |");
    }
    println!("| all | {} | {} |", cuts.len(), failures.len());
}
