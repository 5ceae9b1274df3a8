//! Checks what the capture direction delivered.

use std::ops::Range;

use handsfree_core::Frame;

use crate::fake::{CYCLE, World, sample_at};

/// Longest error of a sample frame's time, in sample frames: the DMA's counter tells whole ones. A clock that
/// is 1000 ppm wrong adds 0.16 in a period and a frame of 80, and the accesses to the hardware take some microseconds.
const TIME_ERROR: f64 = 1.0 + 0.2;

/// The same in a frame with a gap whose length only the time tells: a restart after a DMA that stopped, or a pause of the clock.
const GAP_TIME_ERROR: f64 = 2.0 + 0.2;

/// Frames that the worker received, as they come.
pub(crate) struct Recorded {
    slot: usize,
    /// Position that the next frame must have, with what it states as lost.
    position: Option<u64>,
    /// Number of the last sample frame that was heard.
    last: Option<u64>,
    /// Sample frames lost since.
    missing: u64,
    /// Sample frames near which something was lost whose number only the time tells, and by how much it may be wrong.
    inexact: Vec<(Range<u64>, u64)>,
    /// Sample frames around the stops of the clock. It is not known whether they came before or after the stop.
    untimed: Vec<Range<u64>>,
    /// Sample frames around gaps whose length only the time tells.
    gaps: Vec<Range<u64>>,
    pub(crate) sample_frames: u64,
    pub(crate) lost: u64,
}

impl Recorded {
    pub(crate) fn new(slot: usize) -> Self {
        Self {
            slot,
            position: None,
            last: None,
            missing: 0,
            inexact: Vec::new(),
            untimed: Vec::new(),
            gaps: Vec::new(),
            sample_frames: 0,
            lost: 0,
        }
    }

    /// Notes that what is lost near these sample frames may be counted wrong by this much.
    pub(crate) fn expect_error(&mut self, near: Range<u64>, sample_frames: u64) {
        self.inexact.push((near, sample_frames));
    }

    /// Notes that the clock stands still near these sample frames.
    pub(crate) fn expect_stop(&mut self, numbers: Range<u64>) {
        self.untimed.push(numbers);
    }

    /// Notes that there is a gap near these sample frames whose length only the time tells.
    pub(crate) fn expect_gap(&mut self, numbers: Range<u64>) {
        self.gaps.push(numbers);
    }

    /// Notes that the stream was stopped, after which the number of lost sample frames is not told.
    pub(crate) fn stopped(&mut self) {
        self.last = None;
    }

    pub(crate) fn take<const CAP: usize>(&mut self, frame: &Frame<CAP>, world: &World, context: &str) {
        let stamp = &frame.stamp;
        if let Some(expected) = self.position {
            assert_eq!(
                stamp.position,
                expected + u64::from(stamp.lost),
                "{context}: the position of a frame"
            );
        }
        self.position = Some(stamp.position + frame.sample_frames() as u64);
        self.missing += u64::from(stamp.lost);
        self.lost += u64::from(stamp.lost);
        let (hz, converted) = {
            let line = world.lines[0].borrow();
            (line.hz, line.converted)
        };
        let rate = f64::from(frame.format().rate_hz());
        let begin_ns = world.true_ns(stamp.time) as f64;
        for (at, &sample) in frame.samples().iter().enumerate() {
            // The core fills what is missing of a frame that it has begun.
            if sample == 0 {
                self.missing += 1;
                self.lost += 1;
                continue;
            }
            self.sample_frames += 1;
            let code = i64::from(sample) - 1;
            assert!(code >= 0, "{context}: sample {at} is {sample}, which was in the memory before");
            assert_eq!(code as usize % 4, self.slot, "{context}: sample {at} is of another slot");
            // The number of the sample frame, of which the sample tells the part within a cycle.
            let cycle = code as u64 / 4;
            let number = converted - (converted + CYCLE - cycle) % CYCLE;
            assert_eq!(sample_at(number, self.slot), sample);
            if let Some(last) = self.last {
                let expected = last + 1 + self.missing;
                let between =
                    self.inexact.iter().filter(|(near, _)| near.start <= number && last <= near.end);
                let slack: u64 = between.map(|(_, sample_frames)| sample_frames).sum();
                assert!(
                    number.abs_diff(expected) <= slack,
                    "{context}: sample frame {number} follows {last} with {} missing: expected {expected} (+-{slack})",
                    self.missing
                );
                assert!(number > last, "{context}: sample frame {number} comes after {last}");
            }
            self.missing = 0;
            self.last = Some(number);
            let time_ns = begin_ns + at as f64 / rate * 1e9;
            let true_ns = number as f64 / hz * 1e9;
            let error = (time_ns - true_ns) * 1e-9 * rate;
            let has_gap = self.gaps.iter().any(|near| near.contains(&number));
            let most = if has_gap { GAP_TIME_ERROR } else { TIME_ERROR };
            assert!(
                self.untimed.iter().any(|near| near.contains(&number)) || error.abs() <= most,
                "{context}: sample frame {number} has a time {error:.2} sample frames late"
            );
        }
    }
}
