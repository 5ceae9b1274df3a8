//! The contract of the DMA host, on a fake of the hardware with random schedules and faults: every sample comes once and in
//! order or is counted, slots are never exchanged, and times are right within a sample.
//!
//! `DMA_SEED=123` runs one seed alone and prints what happens.
#![allow(missing_docs)]

mod control;
mod fake;
mod heard;
mod recorded;
mod schedule;

use schedule::Schedule;

/// Runs seeds, or the one that the environment names.
fn run(seeds: std::ops::Range<u64>) {
    let chosen = std::env::var("DMA_SEED").ok();
    let seeds = match chosen.as_deref().map(|text| text.parse::<u64>().expect("DMA_SEED: expected a number"))
    {
        Some(seed) => seed..seed + 1,
        None => seeds,
    };
    let mut totals = [0u64; 8];
    for seed in seeds.clone() {
        let mut schedule = Schedule::new(seed);
        schedule.run();
        for (total, count) in totals.iter_mut().zip(schedule.counts()) {
            *total += count;
        }
    }
    let [interrupts, captured, played, lost, repeated, faults, stopped, xruns] = totals;
    println!(
        "{} schedules: {interrupts} interrupts, {captured} sample frames captured and {played} played, {lost} lost, {repeated} \
         repeated, {faults} faults, {stopped} stopped clocks, {xruns} xruns told",
        seeds.end - seeds.start
    );
    // A schedule in which nothing happens proves nothing.
    if seeds.end - seeds.start > 100 {
        assert!(totals.iter().all(|&total| total > 100), "{totals:?}");
    }
}

#[test]
fn schedules_with_faults_lose_nothing_that_is_not_counted() {
    run(1..10_001);
}

#[test]
#[ignore = "soak: a million schedules"]
fn a_million_schedules_with_faults_lose_nothing_that_is_not_counted() {
    run(1..1_000_001);
}
