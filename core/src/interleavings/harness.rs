//! Both sides: runs a model in every order, and its controls.

use std::cell::Cell;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Once};

use crate::atomics::model::{self, Control};

/// Loads and stores of one run of a model. A model that takes more waits without a bound.
const MAX_BRANCHES: usize = 1_000;

/// Orderings that a model needs: end of the file's path, and part of each line, empty for all lines.
pub(crate) type Lines = (&'static str, &'static str);

/// Orders with at most this many preemptions, for models of which all orders take hours. A thread that waits or ends
/// is not preempted.
pub(crate) const THREE: Option<usize> = Some(3);

thread_local! {
    /// Whether panics of this thread are not to be printed.
    static EXPECTS_FAULT: Cell<bool> = const { Cell::new(false) };
}

/// Runs `run` in every order, or in those with at most `preemptions`, and returns how many there were.
fn explore(run: fn(), preemptions: Option<usize>) -> u64 {
    let orders = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&orders);
    let mut builder = loom::model::Builder::new();
    builder.max_branches = MAX_BRANCHES;
    builder.preemption_bound = preemptions;
    builder.check(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        run();
    });
    orders.load(Ordering::Relaxed)
}

/// Returns whether a thread of the model, or loom, panics with an ordering weakened.
fn finds_fault(run: fn(), preemptions: Option<usize>, control: Control) -> bool {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let printing = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !EXPECTS_FAULT.get() {
                printing(panic)
            }
        }));
    });
    model::weaken(Some(control));
    EXPECTS_FAULT.set(true);
    let outcome = catch_unwind(AssertUnwindSafe(|| explore(run, preemptions)));
    EXPECTS_FAULT.set(false);
    model::weaken(None);
    outcome.is_err()
}

/// Returns the line of the source at which a control is.
fn source_line(control: &Control) -> String {
    let (file, line) = control.place;
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    // The path is from the workspace's root, or from this package through `..`.
    let found = here.ancestors().find_map(|folder| std::fs::read_to_string(folder.join(file)).ok());
    let text = found.unwrap_or_else(|| panic!("{file} was not found from {}", here.display()));
    text.lines().nth(line as usize - 1).unwrap_or_default().trim().to_owned()
}

/// Explores `run`, and then each control in `lines`, which must fail.
pub(crate) fn prove(name: &str, run: fn(), preemptions: Option<usize>, lines: &[Lines]) {
    model::take_controls();
    let orders = explore(run, preemptions);
    assert!(orders > 1, "{name} has only one order");
    let mut missed = Vec::new();
    let mut found = 0;
    for control in model::take_controls() {
        let (file, line) = control.place;
        let text = source_line(&control);
        if !lines.iter().any(|(end, part)| file.ends_with(end) && text.contains(part)) {
            continue;
        }
        if finds_fault(run, preemptions, control) {
            found += 1;
        } else {
            missed.push(format!("{file}:{line} `{text}` with {:?}", control.weaker));
        }
    }
    let bound = preemptions.map_or(String::new(), |most| format!(" of at most {most} preemptions"));
    println!("{name}: {orders} orders{bound}, {found} weaker orderings found");
    assert!(missed.is_empty(), "{name} finds no fault: {missed:#?}");
    assert!(found >= lines.len(), "{name} has {found} controls, expected one for each of {lines:?}");
}

/// Returns memory for both threads of one run, with all its atomics made. It is never freed: a thread of loom may use
/// nothing shorter, and the test's process ends soon.
pub(crate) fn forever<T: fmt::Debug>(memory: T) -> &'static mut T {
    _ = format!("{memory:?}");
    Box::leak(Box::new(memory))
}

/// Runs both sides at once and returns their results. Neither is the thread that starts them, whose first access
/// after a start loom takes for one before it.
pub(crate) fn both<A: 'static, B: 'static>(
    one: impl FnOnce() -> A + 'static,
    other: impl FnOnce() -> B + 'static,
) -> (A, B) {
    let (one, other) = (loom::thread::spawn(one), loom::thread::spawn(other));
    (one.join().unwrap(), other.join().unwrap())
}
