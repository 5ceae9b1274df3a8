//! Worker side: what the loudspeaker played, as the voice processor is to hear it.
//!
//! First form: in the order of arrival. The place in the flow is its final one; the reading by time
//! (design, idea 3) replaces what is inside.

use crate::dsp::FrameConverter;
use crate::format::{Format, SampleRate};
use crate::frame::{Frame, PcmRef};

/// Cuts the reference stream, with its short runs and gaps, into whole frames at the terminal's
/// rate.
#[derive(Debug)]
pub struct EchoReference<const CAP: usize> {
    /// 10 ms at the playback device's rate, being put together.
    block: Frame<CAP>,
    converter: FrameConverter<CAP>,
    converted: Frame<CAP>,
}

impl<const CAP: usize> EchoReference<CAP> {
    /// All zero bytes.
    pub(crate) const fn new() -> Self {
        Self { block: Frame::EMPTY, converter: FrameConverter::new(), converted: Frame::EMPTY }
    }

    /// Forgets everything heard.
    pub(crate) fn reset(&mut self) {
        self.block.begin(Format::UNSET);
        self.converter.reset();
    }

    /// Takes a reference frame and hands every whole 10 ms at rate `to` to `heard`.
    ///
    /// What was lost before the frame is replaced by silence, up to a second of it: more than that
    /// no canceller remembers.
    pub(crate) fn push<const SLOTS: usize>(
        &mut self,
        frame: &Frame<CAP, SLOTS>,
        to: SampleRate,
        mut heard: impl FnMut(PcmRef<'_>),
    ) {
        let format = frame.format();
        if self.block.format() != format {
            self.block.begin(format);
            self.converter.reset();
        }
        let mut silent = (frame.stamp.lost as usize).min(format.rate_hz() as usize);
        while silent > 0 {
            silent -= self.block.extend_silence(silent).max(1).min(silent);
            self.hand_over(to, &mut heard);
        }
        let mut rest = frame.samples();
        while !rest.is_empty() {
            let channels = format.channels().max(1);
            let room = self.block.extend(rest.len() / channels);
            let taken = room.len().max(1).min(rest.len());
            let (now, later) = rest.split_at(taken);
            room.iter_mut().zip(now).for_each(|(to, &from)| *to = from);
            rest = later;
            self.hand_over(to, &mut heard);
        }
    }

    fn hand_over(&mut self, to: SampleRate, heard: &mut impl FnMut(PcmRef<'_>)) {
        if self.block.missing() > 0 {
            return;
        }
        self.converter.convert(&self.block, to, &mut self.converted);
        heard(self.converted.pcm());
        self.block.begin(self.block.format());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_runs_and_gaps_become_whole_frames_in_order() {
        let format = Format::new(8_000, 1).unwrap();
        let mut reference = EchoReference::<80>::new();
        let mut heard = Vec::new();
        let mut pieces = Vec::new();
        let mut frame = Frame::<80, 2>::EMPTY;
        let mut next = 1i16;
        for (len, lost) in [(80, 0), (13, 0), (80, 5), (80, 200), (27, 0), (80, 0)] {
            frame.clear(format, len);
            frame.stamp.lost = lost;
            pieces.extend(core::iter::repeat_n(0, lost as usize));
            for s in frame.samples_mut() {
                *s = next;
                next += 1;
            }
            pieces.extend_from_slice(frame.samples());
            reference.push(&frame, format.rate(), |pcm| heard.extend_from_slice(pcm.samples));
        }
        assert_eq!(heard, pieces[..heard.len()]);
        assert_eq!(heard.len(), pieces.len() / 80 * 80);
    }
}
