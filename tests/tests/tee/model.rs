//! Random operations on a tee, compared with a simple model.

use std::collections::VecDeque;

use handsfree_core::SessionEvent;
use handsfree_core::playback::TrackTap;
use handsfree_core::tee::{SinkId, TapFilter, Tee, TeeError, TeeReader, TeeSink, TeeWriter};
use handsfree_sim::noise::Rng;
use handsfree_tests::{for_seeds, one_in, pick};

use super::{CAP, LENGTH, SinkItem, all, frame, paused, pop};

/// State of a sink in the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SinkState {
    Away,
    Arriving,
    Attached,
    Leaving,
}

const FRAMES: usize = 5;
const TRACKS: usize = 2;
const EVENTS: usize = 31;

/// A model of one sink.
struct SinkModel {
    at: SinkState,
    id: Option<SinkId>,
    filter: TapFilter,
    removed: bool,
    abandoned: bool,
    queue: VecDeque<SinkItem>,
    /// True while the reader holds the oldest event, so that there is space for one more.
    held: bool,
    losses: Vec<(u32, u32, bool)>,
    dropped: (u32, u32),
}

impl SinkModel {
    fn new() -> Self {
        Self {
            at: SinkState::Away,
            id: None,
            filter: TapFilter::All,
            removed: false,
            abandoned: false,
            queue: VecDeque::new(),
            held: false,
            losses: Vec::new(),
            dropped: (0, 0),
        }
    }

    fn hears(&self, track: u32) -> bool {
        self.at == SinkState::Attached && self.filter.wants(track)
    }

    fn look(&mut self) {
        if self.at == SinkState::Arriving {
            self.at = SinkState::Attached;
            self.losses.clear();
        }
        if self.at == SinkState::Attached && (self.removed || self.abandoned) {
            self.at = SinkState::Leaving;
        }
    }

    fn waiting(&self, audio: bool) -> usize {
        self.queue.iter().filter(|item| matches!(item, SinkItem::Audio { .. }) == audio).count()
    }

    fn frame(&mut self, track: u32, position: u64, mut lost: u32, mut fresh: bool) {
        if !self.hears(track) {
            return;
        }
        let known = self.losses.iter().position(|loss| loss.0 == track);
        if let Some((_, more, again)) = known.map(|index| self.losses.swap_remove(index)) {
            lost += more;
            fresh |= again;
        }
        if self.waiting(true) < FRAMES - 1 {
            self.queue.push_back(SinkItem::Audio { track, position, lost, fresh });
            return;
        }
        self.dropped.0 += 1;
        if self.losses.len() < TRACKS {
            self.losses.push((track, lost + LENGTH, fresh));
        }
    }

    fn pop(&mut self) -> Option<SinkItem> {
        self.held = self.waiting(false) > 0;
        let item = self.queue.pop_front();
        self.held &= !matches!(item, Some(SinkItem::Event(_)));
        item
    }

    fn event(&mut self, event: SessionEvent, track: u32) {
        if !self.hears(track) {
            return;
        }
        if self.waiting(false) < EVENTS + usize::from(self.held) {
            self.queue.push_back(SinkItem::Event(event));
        } else {
            self.dropped.1 += 1;
        }
        if matches!(event, SessionEvent::TrackEnded { .. }) {
            self.losses.retain(|loss| loss.0 != track);
        }
    }
}

const SINKS: usize = 4;
const MAX_SINKS: usize = 3;

/// Adds, removes, stalls and drops sinks at random, and compares all observable state with the model.
fn compare_with_model(rng: &mut Rng) {
    let mut sinks = [const { TeeSink::<CAP, FRAMES, TRACKS>::new() }; SINKS];
    let mut tee = Tee::<CAP, MAX_SINKS>::new();
    let (mut control, mut feed) = tee.split();
    let mut writers: [Option<TeeWriter<'_, CAP>>; SINKS] = [const { None }; SINKS];
    let mut readers: [Option<TeeReader<'_, CAP>>; SINKS] = [const { None }; SINKS];
    for ((sink, writer), reader) in sinks.iter_mut().zip(&mut writers).zip(&mut readers) {
        let (w, r) = sink.split();
        (*writer, *reader) = (Some(w), Some(r));
    }
    let mut model: [SinkModel; SINKS] = std::array::from_fn(|_| SinkModel::new());
    let (mut direct, mut position) = (true, 0);
    // Sinks read at once in some runs and rarely in others.
    let stall = pick(rng, &[1, 3, 60, 400]);
    for _ in 0..1_500 {
        let chosen = rng.range(0, SINKS as u64) as usize;
        let track = rng.range(1, 4) as u32;
        match rng.range(0, 24) {
            0 | 1 => {
                let Some(writer) = writers[chosen].take() else { continue };
                let filter = if one_in(rng, 2) { TapFilter::All } else { TapFilter::Track(track) };
                let taken = model.iter().filter(|sink| sink.at != SinkState::Away).count();
                assert_eq!(control.free(), MAX_SINKS - taken);
                match control.add(writer, filter) {
                    Ok(id) => {
                        assert!(taken < MAX_SINKS && !model[chosen].abandoned);
                        let sink = &mut model[chosen];
                        (sink.at, sink.id, sink.filter, sink.removed) =
                            (SinkState::Arriving, Some(id), filter, false);
                    }
                    Err(refused) => {
                        let abandoned = model[chosen].abandoned;
                        let no_free_slot = TeeError::NoSlot { sinks: MAX_SINKS };
                        assert!(abandoned || taken == MAX_SINKS);
                        assert_eq!(
                            refused.error,
                            if abandoned { TeeError::ReaderDropped } else { no_free_slot }
                        );
                        writers[chosen] = Some(refused.writer);
                    }
                }
            }
            2 => {
                let Some(id) = model[chosen].id else { continue };
                let away = model[chosen].at == SinkState::Away;
                assert_eq!(control.remove(id).is_err(), away);
                model[chosen].removed |= !away;
            }
            3 | 4 => match control.reclaim() {
                Some((id, writer)) => {
                    let index = model.iter().position(|sink| sink.id == Some(id)).unwrap();
                    assert_eq!(model[index].at, SinkState::Leaving);
                    model[index].at = SinkState::Away;
                    writers[index] = Some(writer);
                }
                None => assert!(model.iter().all(|sink| sink.at != SinkState::Leaving)),
            },
            5 => {
                feed.poll();
                model.iter_mut().for_each(SinkModel::look);
            }
            6 => {
                direct = one_in(rng, 2);
                control.set_direct(direct);
            }
            7 if one_in(rng, 40) => {
                readers[chosen] = None;
                model[chosen].abandoned = true;
            }
            8..11 => {
                position += 160;
                let event = match rng.range(0, 3) {
                    0 => paused(track, position),
                    1 => SessionEvent::TrackInterrupted { track, position },
                    _ => SessionEvent::TrackEnded { track, position },
                };
                feed.on_event(event);
                model.iter_mut().for_each(|sink| {
                    sink.look();
                    sink.event(event, track);
                });
            }
            _ => {
                // The same calls as the mixer makes.
                position += 160;
                let heard = model.iter().any(|sink| sink.hears(track));
                let arriving = model.iter().any(|sink| sink.at == SinkState::Arriving);
                assert_eq!(feed.replaces(track), !direct && heard);
                assert_eq!(feed.wants(track), heard || arriving);
                if feed.wants(track) {
                    let mut frame = frame(position);
                    (frame.stamp.lost, frame.stamp.fresh) = (rng.range(0, 2) as u32 * 7, one_in(rng, 9));
                    TrackTap::on_frame(&mut feed, track, &frame);
                    for sink in &mut model {
                        sink.frame(track, position, frame.stamp.lost, frame.stamp.fresh);
                        sink.look();
                    }
                }
            }
        }
        assert_eq!(feed.sinks(), model.iter().filter(|sink| sink.at == SinkState::Attached).count());
        for (reader, sink) in readers.iter_mut().zip(&mut model) {
            let Some(reader) = reader else { continue };
            assert_eq!((reader.dropped_frames(), reader.dropped_events()), sink.dropped);
            assert_eq!(reader.frames(), sink.waiting(true));
            if one_in(rng, stall) {
                for _ in 0..rng.range(0, 50) {
                    assert_eq!(pop(reader), sink.pop());
                }
            }
        }
    }
    for (reader, sink) in readers.iter_mut().zip(&model) {
        if let Some(reader) = reader {
            assert_eq!(all(reader), Vec::from(sink.queue.clone()));
        }
    }
}

#[test]
fn a_tee_agrees_with_its_model_under_random_operations() {
    for_seeds(150, compare_with_model);
}
