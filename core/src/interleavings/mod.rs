//! Both sides: what two threads can do to each other, in every order of their loads and stores (`make loom`).
//!
//! Each model runs the core's own types on two threads. loom repeats it for every order in which the threads can
//! take turns and for every value that a load may return under the C11 memory model, and reports how many these are.
//!
//! Each model has its controls: each ordering that it proves is weakened (Acquire and Release become Relaxed, a fence
//! is left out), one at a time, and loom must then find a fault. So an ordering that is weakened by mistake is found, an
//! ordering without a purpose is found as well, and a model that cannot see anything fails. Each ordering of the core
//! that is stronger than Relaxed must have a model.

mod devices;
mod harness;
mod published;
mod queue;
mod slot;
mod tee;

use harness::{Lines, THREE, both, forever, prove};

/// How often a side looks or tries in a model: a wait without a bound has no last order.
const LOOKS: u32 = 3;

#[test]
fn every_ordering_has_a_model() {
    let (slots, gates) = ([slot::CLOSED, slot::OPENED, slot::PAUSED], [slot::GATE, slot::GATE_CLOSED]);
    let proven =
        [published::PROVEN, queue::PROVEN, tee::PROVEN].into_iter().chain(slots).chain(gates).flatten();
    let proven: Vec<&Lines> = proven.collect();
    let mut folders = vec![std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    let mut orderings = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                let is_model = path.ends_with("atomics") || path.ends_with("interleavings");
                folders.extend((!is_model).then_some(path));
                continue;
            }
            let name = path.to_string_lossy().into_owned();
            for line in std::fs::read_to_string(&path).unwrap().lines() {
                if ["Acquire", "Release", "AcqRel", "SeqCst"]
                    .iter()
                    .any(|one| line.contains(&format!("Ordering::{one}")))
                {
                    let is_proven =
                        proven.iter().any(|(end, part)| name.ends_with(end) && line.contains(part));
                    assert!(is_proven, "{name}: `{}` has no model", line.trim());
                    orderings += 1;
                }
            }
        }
    }
    println!("{orderings} orderings have a model");
    assert!(orderings > 0);
}
