//! Both sides: loom's atomics with constructors that are `const`, and with one ordering weakened on request.
//!
//! loom makes an atomic at run time, the core makes its own in `const fn`s. An atomic here becomes loom's at its
//! first use, which must be before a model starts its threads; formatting memory with `Debug` uses all of its atomics.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::panic::Location;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use loom::sync::atomic as loomed;
use loom::thread::ThreadId;

/// Place in the source at which an atomic is used: file and line.
pub(crate) type Place = (&'static str, u32);

/// An ordering in the source and a weaker one, with which a model must fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Control {
    pub(crate) place: Place,
    pub(crate) asked: Ordering,
    pub(crate) weaker: Ordering,
}

thread_local! {
    /// Orderings stronger than Relaxed that the model has passed.
    static PASSED: RefCell<BTreeMap<Place, Ordering>> = const { RefCell::new(BTreeMap::new()) };
    /// The control of this run.
    static WEAKENED: Cell<Option<Control>> = const { Cell::new(None) };
}

/// Weakens the ordering at one place, or none. A fence becomes none at all.
pub(crate) fn weaken(control: Option<Control>) {
    WEAKENED.set(control);
}

/// Returns the controls for all places that were passed since the last call.
pub(crate) fn take_controls() -> Vec<Control> {
    let weaker = |asked| match asked {
        Ordering::SeqCst => vec![Ordering::AcqRel],
        Ordering::AcqRel => vec![Ordering::Acquire, Ordering::Release],
        _ => vec![Ordering::Relaxed],
    };
    let of_place =
        |(place, asked)| weaker(asked).into_iter().map(move |weaker| Control { place, asked, weaker });
    PASSED.take().into_iter().flat_map(of_place).collect()
}

fn ordering(asked: Ordering, caller: &'static Location<'static>) -> Ordering {
    if asked == Ordering::Relaxed {
        return asked;
    }
    let place = (caller.file(), caller.line());
    PASSED.with_borrow_mut(|passed| _ = passed.entry(place).or_insert(asked));
    match WEAKENED.get() {
        Some(control) if control.place == place => control.weaker,
        _ => asked,
    }
}

/// What the threads have done with an atomic. loom runs one thread at a time, so the last store in this order is the
/// last in the atomic's modification order.
#[derive(Debug)]
struct Accesses<T> {
    /// The thread of the last store, and its value: a load of the same thread returns it and is no access.
    last_store: Option<(ThreadId, T)>,
    /// Threads that loaded the atomic since their last store.
    loaded: Vec<ThreadId>,
}

/// An atomic of a running model.
#[derive(Debug)]
struct Made<A, T> {
    value: A,
    /// No thread loads it. A store to it shows loom an access to `value`: loom 0.7.2 keeps the last access of an atomic
    /// only, so a thread's load hides another thread's earlier load from its own store, and the order in which that
    /// load comes later would never be tried.
    shown: loomed::AtomicU32,
    accesses: Mutex<Accesses<T>>,
}

impl<A, T> Made<A, T> {
    fn accesses(&self) -> MutexGuard<'_, Accesses<T>> {
        self.accesses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn show(&self) {
        self.shown.store(0, Ordering::Relaxed);
    }
}

macro_rules! atomic {
    ($name:ident, $value:ty) => {
        pub(crate) struct $name {
            first: $value,
            // Boxed, because the stacks of loom's threads are short.
            made: OnceLock<Box<Made<loomed::$name, $value>>>,
        }

        impl $name {
            pub(crate) const fn new(first: $value) -> Self {
                Self { first, made: OnceLock::new() }
            }

            fn made(&self) -> &Made<loomed::$name, $value> {
                self.made.get_or_init(|| {
                    let accesses = Mutex::new(Accesses { last_store: None, loaded: Vec::new() });
                    let (value, shown) = (loomed::$name::new(self.first), loomed::AtomicU32::new(0));
                    Box::new(Made { value, shown, accesses })
                })
            }

            #[track_caller]
            pub(crate) fn load(&self, asked: Ordering) -> $value {
                let ordering = ordering(asked, Location::caller());
                let (made, thread) = (self.made(), loom::thread::current().id());
                if let Some((_, own)) = made.accesses().last_store.filter(|(last, _)| *last == thread) {
                    return own;
                }
                made.show();
                let value = made.value.load(ordering);
                made.accesses().loaded.push(thread);
                value
            }

            #[track_caller]
            pub(crate) fn store(&self, value: $value, asked: Ordering) {
                let ordering = ordering(asked, Location::caller());
                let (made, thread) = (self.made(), loom::thread::current().id());
                // Only after a load of this thread can loom have forgotten another's.
                if made.accesses().loaded.contains(&thread) {
                    made.show();
                }
                made.value.store(value, ordering);
                let mut accesses = made.accesses();
                accesses.loaded.retain(|&other| other != thread);
                accesses.last_store = Some((thread, value));
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.load(Ordering::Relaxed).fmt(f)
            }
        }
    };
}

atomic!(AtomicBool, bool);
atomic!(AtomicU32, u32);
atomic!(AtomicUsize, usize);

#[track_caller]
pub(crate) fn fence(asked: Ordering) {
    let ordering = ordering(asked, Location::caller());
    if ordering != Ordering::Relaxed {
        loomed::fence(ordering);
    }
}
