//! The reader of journals takes any bytes.

use std::sync::atomic::{AtomicU64, Ordering};

use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use handsfree_core::capture::{Bypass, IntakeConfig};
use handsfree_core::journal::{Journal, Record};
use handsfree_core::{Instant, PackedI24, PeriodTime};
use handsfree_fuzz::fuzz;

handsfree_core::session! { type Memory = Session { rate_hz: 8_000, tracks: 1 }; const FORMAT: SessionFormat; }

/// Returns the journal of an intake that got two periods.
fn sample() -> Vec<u8> {
    let mut memory = Box::new(Memory::new());
    let mut journal = Box::new(Journal::<64>::new());
    let (writer, mut reader) = journal.split();
    let mut halves = memory.split::<NoopRawMutex, _, _>(FORMAT, Bypass, ()).unwrap();
    halves.intake.write_journal(writer);
    halves.intake.configure(IntakeConfig::new(FORMAT.rate)).unwrap();
    for position in [0, 80] {
        let time = PeriodTime { position, converter: Instant::ORIGIN, called: Instant::ORIGIN };
        halves.intake.on_period(&[1_234i16; 80], time);
    }
    let mut bytes = Vec::new();
    while let Some(line) = reader.pop() {
        bytes.extend(line);
    }
    bytes.extend(Record::end(0));
    bytes
}

/// Records read over all executions.
static RECORDS: AtomicU64 = AtomicU64::new(0);

fn read(bytes: &[u8]) {
    let mut rest = bytes;
    while let Ok(Some((record, after))) = Record::read(rest) {
        assert_eq!(rest.len() - after.len(), Record::bytes(rest), "a record is as long as it says");
        RECORDS.fetch_add(1, Ordering::Relaxed);
        match record {
            Record::CapturePeriod { samples, .. } => {
                let bytes = samples.iter::<i16>().count() * 2
                    + samples.iter::<f32>().count() * 4
                    + samples.iter::<PackedI24>().count() * 3;
                assert!(bytes <= rest.len());
            }
            Record::Cleaned { format, samples, .. } | Record::PlaybackFrame { format, samples } => {
                if let Ok(frame) = samples.to_frame::<480, 1>(format) {
                    assert!(frame.samples().len() <= 480);
                }
            }
            _ => {}
        }
        rest = after;
    }
}

#[test]
fn any_bytes_are_records_or_malformed() {
    let sample = sample();
    let mut records = 0;
    let mut rest = &sample[..];
    while let Ok(Some((_, after))) = Record::read(rest) {
        records += 1;
        rest = after;
    }
    assert!(records >= 4 && rest.is_empty(), "the sample is valid: {records} records");
    let executions = fuzz("journal", 200_000, &[sample], read);
    let records = RECORDS.load(Ordering::Relaxed);
    println!("journal: {records} records");
    assert!(records > executions / 2, "{executions} executions read {records} records");
}
