//! Control side: both directions of a board as an [`AudioIo`].

use core::sync::atomic::Ordering;

use embassy_sync::blocking_mutex::raw::RawMutex;
use handsfree_core::audio_io::{
    AudioIo, Capabilities, DeviceInfo, Direction, DirectionInfo, DirectionRequest, Directions, Event,
    StartError, StreamHalves, StreamInfo, StreamRequest,
};
use handsfree_core::capture::{Intake, IntakeConfig};
use handsfree_core::playback::{Outlet, OutletConfig};
use handsfree_core::{ChannelMap, Duration};

use crate::error::DmaError;
use crate::port::{DmaPort, PortContents, PortState};
use crate::stream::{DmaStream, StreamProperties};

/// Number of periods without an interrupt after which a device counts as lost, and the time that is added.
const LOST_AFTER_PERIODS: i64 = 4;
const LOST_AFTER: Duration = Duration::from_millis(20);

/// Control plane of a board's audio: starts and stops the streams of two ports, restarts them after a fault, and reports.
///
/// [`poll_event`](AudioIo::poll_event) must be called at least every 100 ms while a stream runs: it restarts a stream whose
/// interface has had a fault, so that the slots are in their places again. What was lost until then is an
/// [`Event::Xrun`]. A device whose interrupts stay away, such as one whose bit clock stopped, is [`Event::DeviceLost`]; it
/// can be stopped and started again at any time. There is no `DeviceReturned`: nothing tells that a clock runs again.
///
/// Where one interface serves both directions and playback makes its clock, a restart of playback stops the clock of capture for a moment.
/// The gap is counted by time if the clock domains are the same and it is longer than a sample frame.
#[derive(Debug)]
pub struct DmaIo<
    's,
    'a,
    M: RawMutex,
    C: DmaStream,
    P: DmaStream,
    const CAP: usize,
    const SLOTS: usize,
    const CAPTURE_PERIOD: usize,
    const PLAYBACK_PERIOD: usize,
> {
    capture: &'s DmaPort<M, C, Intake<'a, CAP>, CAPTURE_PERIOD>,
    playback: &'s DmaPort<M, P, Outlet<'a, CAP, SLOTS>, PLAYBACK_PERIOD>,
    reported: [Reported; 2],
    /// Number of frames, of those that control completed, that were told.
    taken_frames: u32,
}

/// What was reported of a direction.
#[derive(Clone, Copy, Debug, Default)]
struct Reported {
    faults: u32,
    lost_sample_frames: u32,
    is_lost: bool,
}

impl<
    's,
    'a,
    M: RawMutex,
    C: DmaStream,
    P: DmaStream,
    const CAP: usize,
    const SLOTS: usize,
    const CAPTURE_PERIOD: usize,
    const PLAYBACK_PERIOD: usize,
> DmaIo<'s, 'a, M, C, P, CAP, SLOTS, CAPTURE_PERIOD, PLAYBACK_PERIOD>
{
    /// Returns the control plane of two ports; only one may exist for them. A direction whose port has no hardware does not
    /// exist.
    #[must_use]
    pub const fn new(
        capture: &'s DmaPort<M, C, Intake<'a, CAP>, CAPTURE_PERIOD>,
        playback: &'s DmaPort<M, P, Outlet<'a, CAP, SLOTS>, PLAYBACK_PERIOD>,
    ) -> Self {
        let reported = Reported { faults: 0, lost_sample_frames: 0, is_lost: false };
        Self { capture, playback, reported: [reported; 2], taken_frames: 0 }
    }

    /// Checks the request and configures the halves. Starts nothing.
    fn prepare(
        &self,
        request: &StreamRequest<'_>,
        halves: &mut StreamHalves<'a, CAP, SLOTS>,
    ) -> Result<StreamInfo, DmaError> {
        if request.capture.is_none() && request.playback.is_none() {
            return Err(DmaError::Misuse(
                "the request names no direction: expected capture, playback or both",
            ));
        }
        if request.capture.is_some() != halves.intake.is_some()
            || request.playback.is_some() != halves.outlet.is_some()
        {
            return Err(DmaError::Misuse(
                "expected a half together with a request for its direction, and only then",
            ));
        }
        if request.capture.is_some() && self.capture.with(|contents, _| contents.half.is_some()) == Some(true)
            || request.playback.is_some()
                && self.playback.with(|contents, _| contents.half.is_some()) == Some(true)
        {
            return Err(DmaError::Misuse("the direction runs already: expected it to be stopped first"));
        }
        let mut granted = StreamInfo::default();
        if let (Some(asked), Some(intake)) = (&request.capture, &mut halves.intake) {
            let properties = self
                .capture
                .with(|contents, _| contents.properties)
                .ok_or(DmaError::NotInstalled { direction: Direction::Capture })?;
            let map = match asked.map {
                Some(map) => map,
                None => ChannelMap::natural(properties.slots, 1)?,
            };
            let info = grant(&properties, asked, map.from_channels())?;
            intake.configure(IntakeConfig {
                rate: info.rate,
                map,
                gain: asked.gain,
                max_period_sample_frames: info.max_period_sample_frames,
                clock_domain: info.clock_domain,
            })?;
            granted.capture = Some(info);
        }
        if let (Some(asked), Some(outlet)) = (&request.playback, &mut halves.outlet) {
            let properties = self
                .playback
                .with(|contents, _| contents.properties)
                .ok_or(DmaError::NotInstalled { direction: Direction::Playback })?;
            let map = match asked.map {
                Some(map) => map,
                None => ChannelMap::natural(1, properties.slots)?,
            };
            let mut info = grant(&properties, asked, map.to_channels())?;
            // What is written when a period has been played is heard after all others of the ring.
            let queued = properties.ring_sample_frames() - properties.period_sample_frames;
            info.latency = info.latency + Duration::of_sample_frames(queued.into(), info.rate);
            outlet.configure(OutletConfig {
                rate: info.rate,
                map,
                max_period_sample_frames: info.max_period_sample_frames,
                worker_slack_sample_frames: asked.worker_slack_sample_frames,
                latency: info.latency,
                clock_domain: info.clock_domain,
            })?;
            granted.playback = Some(info);
        }
        Ok(granted)
    }

    /// Returns the number of frames completed since the last call by `poll_event`, `start` and `stop` in place of an interrupt that
    /// came during them. When it is not 0, the worker is to be woken. Control side.
    pub fn take_completed_frames(&mut self) -> u32 {
        let completed = |state: &PortState| state.completed_by_control.load(Ordering::Relaxed);
        let total = completed(&self.capture.state).wrapping_add(completed(&self.playback.state));
        total.wrapping_sub(core::mem::replace(&mut self.taken_frames, total))
    }
}

impl<
    'a,
    M: RawMutex,
    C: DmaStream,
    P: DmaStream,
    const CAP: usize,
    const SLOTS: usize,
    const CAPTURE_PERIOD: usize,
    const PLAYBACK_PERIOD: usize,
> AudioIo<'a, CAP, SLOTS> for DmaIo<'_, 'a, M, C, P, CAP, SLOTS, CAPTURE_PERIOD, PLAYBACK_PERIOD>
{
    type Error = DmaError;

    fn devices(&self, visit: &mut dyn FnMut(&DeviceInfo<'_>)) -> Result<(), DmaError> {
        for (direction, properties) in [
            (Direction::Capture, self.capture.with(|contents, _| contents.properties)),
            (Direction::Playback, self.playback.with(|contents, _| contents.properties)),
        ] {
            let Some(properties) = properties else { continue };
            visit(&DeviceInfo {
                id: properties.name,
                name: properties.name,
                direction,
                is_default: true,
                capabilities: Capabilities {
                    max_channels: properties.slots,
                    rates: &[properties.rate],
                    formats: &[],
                    period_sample_frames: (properties.period_sample_frames, properties.period_sample_frames),
                },
            });
        }
        Ok(())
    }

    fn start(
        &mut self,
        request: &StreamRequest<'_>,
        mut halves: StreamHalves<'a, CAP, SLOTS>,
    ) -> Result<StreamInfo, StartError<'a, CAP, SLOTS, DmaError>> {
        let info = match self.prepare(request, &mut halves) {
            Ok(info) => info,
            Err(error) => return Err(StartError { halves, error }),
        };
        let [captured, played] = &mut self.reported;
        // The loudspeaker first: a duplex interface often takes its clocks from it.
        if halves.outlet.is_some() {
            self.playback.with(|contents, state| {
                contents.half = halves.outlet.take();
                *played = Reported::new(state);
                contents.begin_playback::<PLAYBACK_PERIOD>(state);
            });
        }
        if halves.intake.is_some() {
            self.capture.with(|contents, state| {
                contents.half = halves.intake.take();
                *captured = Reported::new(state);
                contents.begin(state, 0);
            });
        }
        Ok(info)
    }

    fn stop(&mut self, directions: Directions) -> StreamHalves<'a, CAP, SLOTS> {
        let mut halves = StreamHalves::default();
        if directions.includes(Direction::Capture) {
            halves.intake = self
                .capture
                .with(|contents, _| {
                    let intake = contents.half.take();
                    if intake.is_some() {
                        contents.dma.stop();
                    }
                    intake
                })
                .flatten();
        }
        if directions.includes(Direction::Playback) {
            halves.outlet = self
                .playback
                .with(|contents, _| {
                    if contents.half.is_some() {
                        contents.stop_playback();
                    }
                    let mut outlet = contents.half.take();
                    if let Some(outlet) = &mut outlet {
                        outlet.stop();
                    }
                    outlet
                })
                .flatten();
        }
        halves
    }

    fn poll_event(&mut self) -> Option<Event> {
        let [captured, played] = &mut self.reported;
        let capture = self.capture.with(|contents, state| {
            captured.poll(contents, state, Direction::Capture, |contents| {
                contents.dma.stop();
                contents.begin(state, 0);
            })
        });
        capture.flatten().or_else(|| {
            let mut poll_playback = || {
                let mut restarted = 0;
                let event = self.playback.with(|contents, state| {
                    played.poll(contents, state, Direction::Playback, |contents| {
                        contents.stop_playback();
                        contents.begin_playback::<PLAYBACK_PERIOD>(state);
                        restarted = contents.properties.clock_domain;
                    })
                });
                (event.flatten(), restarted)
            };
            // A restart may stop the clock of capture for a moment. Capture is held meanwhile, so that no interrupt looks between the
            // pause and its note.
            let held = self.capture.with(|contents, _| {
                let (event, restarted) = poll_playback();
                if restarted != 0 && contents.properties.clock_domain == restarted {
                    contents.counter.expect_pause();
                }
                event
            });
            held.unwrap_or_else(|| poll_playback().0)
        })
    }
}

/// Compares a request with the hardware, which grants what it is.
fn grant(
    properties: &StreamProperties,
    asked: &DirectionRequest<'_>,
    mapped_channels: usize,
) -> Result<DirectionInfo, DmaError> {
    if asked.device.is_some_and(|name| name != properties.name) {
        return Err(DmaError::NoSuchDevice { name: properties.name });
    }
    if asked.rate != properties.rate {
        return Err(DmaError::Rate { asked: asked.rate, expected: properties.rate });
    }
    let expected = properties.slots;
    let channels = u32::try_from(mapped_channels).unwrap_or(u32::MAX);
    if channels != expected || asked.device_channels != expected {
        let asked = if channels == expected { asked.device_channels } else { channels };
        return Err(DmaError::Channels { asked, expected });
    }
    Ok(DirectionInfo {
        rate: properties.rate,
        device_channels: properties.slots,
        max_period_sample_frames: properties.period_sample_frames,
        latency: properties.latency,
        clock_domain: properties.clock_domain,
    })
}

impl Reported {
    /// Returns what happened before a start, which is not reported.
    fn new(state: &PortState) -> Self {
        Self {
            faults: state.faults.load(Ordering::Relaxed),
            lost_sample_frames: state.lost_sample_frames.load(Ordering::Relaxed),
            is_lost: false,
        }
    }

    /// Restarts a faulty direction, and returns what happened since the last call.
    fn poll<D: DmaStream, H>(
        &mut self,
        contents: &mut PortContents<D, H>,
        state: &PortState,
        direction: Direction,
        restart: impl FnOnce(&mut PortContents<D, H>),
    ) -> Option<Event> {
        contents.half.as_ref()?;
        // A DMA that stops at a fault has no interrupt any more.
        contents.take_fault(state);
        let before = core::mem::replace(self, Self { is_lost: self.is_lost, ..Self::new(state) });
        if self.faults != before.faults {
            let next = contents.next;
            restart(contents);
            return Some(xrun(direction, contents.next.saturating_sub(next)));
        }
        let lost = self.lost_sample_frames.wrapping_sub(before.lost_sample_frames);
        if lost > 0 {
            return Some(xrun(direction, lost.into()));
        }
        let StreamProperties { period_sample_frames, rate, .. } = contents.properties;
        let period = Duration::of_sample_frames(period_sample_frames.into(), rate);
        let limit = Duration::from_nanos(period.as_nanos() * LOST_AFTER_PERIODS) + LOST_AFTER;
        self.is_lost = state.unseen_for(contents.dma.now()) > limit;
        (self.is_lost && !before.is_lost).then_some(Event::DeviceLost { direction })
    }
}

fn xrun(direction: Direction, sample_frames: u64) -> Event {
    Event::Xrun { direction, sample_frames: u32::try_from(sample_frames).unwrap_or(u32::MAX) }
}
