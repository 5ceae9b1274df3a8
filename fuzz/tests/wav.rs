//! The reader of WAV files takes any bytes.

use std::io::Cursor;
use std::sync::atomic::{AtomicU64, Ordering};

use handsfree_fuzz::fuzz;
use handsfree_sim::wav::{StreamSamples, WavStream, mono_bytes};

/// Files that were not refused, over all executions.
static READ: AtomicU64 = AtomicU64::new(0);

fn read(bytes: &[u8]) {
    let Ok(mut stream) = WavStream::open(Cursor::new(bytes)) else { return };
    READ.fetch_add(1, Ordering::Relaxed);
    let (mut samples, mut total) = (Vec::new(), 0);
    while stream.next(&mut samples).expect("memory gives no error") == StreamSamples::Some {
        assert!(samples.iter().all(|sample| sample.is_finite()));
        assert_eq!(samples.len() % usize::from(stream.format().channels), 0, "whole sample frames");
        total += samples.len();
        // ADPCM is not read, so that each sample has at least a byte.
        assert!(total <= bytes.len(), "{total} samples of {} bytes", bytes.len());
    }
}

#[test]
fn any_bytes_are_a_wav_file_or_refused() {
    let tone: Vec<f32> = (0..40).map(|k| k as f32 / 40.0).collect();
    let samples = [mono_bytes(16_000, &tone).0, mono_bytes(48_000, &[]).0];
    let executions = fuzz("wav", 100_000, &samples, read);
    let read = READ.load(Ordering::Relaxed);
    println!("wav: {read} files read");
    assert!(read > executions / 20, "{executions} executions read {read} files");
}
