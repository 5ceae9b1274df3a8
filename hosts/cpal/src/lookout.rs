//! Control side: a thread that looks at the audio system now and then, because cpal tells of no device that
//! comes and of no other default.

use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, SyncSender};
use std::time::{Duration as Span, Instant as Moment};

use cpal::Host;
use cpal::traits::HostTrait;
use handsfree_core::audio_io::Direction;
use handsfree_host::request::{BOTH, index};

use crate::attendant::PATIENCE;
use crate::devices::{self, CpalDevice};
use crate::error::CpalError;
use crate::hosts::Source;
use crate::pulse;

/// How often it looks while a device is awaited.
const AWAIT_INTERVAL: Span = Span::from_millis(250);
/// How often it looks for another default where that is one question to a server.
const ASK_INTERVAL: Span = Span::from_millis(250);
/// How often it looks for another default where all devices are looked at for it.
const LOOK_INTERVAL: Span = Span::from_millis(1_000);

enum Order {
    List(SyncSender<Result<Vec<CpalDevice>, CpalError>>),
    /// Tells when this device, or any default one, is there; or stop waiting for one.
    Await(Direction, Option<Missing>),
}

/// A device that is gone.
#[derive(Debug)]
struct Missing {
    device: Option<String>,
}

/// What the thread saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// A device that was awaited is there.
    Returned(Direction),
    /// The default is another device.
    Default {
        direction: Direction,
        /// Its stable name.
        device: String,
        /// Whether this process's streams of the direction are there, as far as the audio system says.
        has_streams: bool,
    },
}

/// Control's end.
#[derive(Debug)]
pub(crate) struct Lookout {
    orders: Sender<Order>,
    news: Receiver<News>,
}

impl Lookout {
    pub(crate) fn spawn(source: Source) -> Result<Self, CpalError> {
        let (orders, taken) = mpsc::channel();
        let (tell, news) = mpsc::channel();
        std::thread::Builder::new()
            .name("cpal lookout".to_owned())
            .spawn(move || {
                let mut tower = Tower { source, host: None, defaults: [None, None], missing: [None, None] };
                tower.watch(&taken, &tell);
            })
            .map_err(|error| CpalError::Backend {
                doing: "starting a thread".to_owned(),
                message: error.to_string(),
            })?;
        Ok(Self { orders, news })
    }

    pub(crate) fn list(&self) -> Result<Vec<CpalDevice>, CpalError> {
        let silent = || CpalError::NoAnswer {
            doing: "asking for devices".to_owned(),
            waited_ms: PATIENCE.as_millis() as u32,
        };
        let (reply, answer) = mpsc::sync_channel(1);
        self.orders.send(Order::List(reply)).map_err(|_| silent())?;
        answer.recv_timeout(PATIENCE).map_err(|_| silent())?
    }

    /// Tells once when the device is there again.
    pub(crate) fn await_device(&self, direction: Direction, device: Option<String>) {
        // Without its thread nobody comes back; the supervisor tries by itself.
        _ = self.orders.send(Order::Await(direction, Some(Missing { device })));
    }

    pub(crate) fn forget(&self, direction: Direction) {
        _ = self.orders.send(Order::Await(direction, None));
    }

    pub(crate) fn news(&self) -> Option<News> {
        self.news.try_recv().ok()
    }
}

/// What the thread has.
struct Tower {
    source: Source,
    host: Option<Host>,
    defaults: [Option<String>; 2],
    missing: [Option<Missing>; 2],
}

impl Tower {
    /// Until control drops its end. Looks before the first order is taken, so that what changes from then on is
    /// seen, and however many orders come.
    fn watch(&mut self, orders: &Receiver<Order>, tell: &Sender<News>) {
        let mut next_look = Moment::now();
        loop {
            let left = next_look.saturating_duration_since(Moment::now());
            if left.is_zero() {
                self.look(tell);
                // From the end of the look: orders have a turn between two slow ones.
                next_look = Moment::now() + self.interval();
                continue;
            }
            match orders.recv_timeout(left) {
                Ok(Order::List(reply)) => _ = reply.send(self.list()),
                Ok(Order::Await(direction, missing)) => {
                    if missing.is_some() {
                        // Not at once: what was just lost may be listed for a while.
                        next_look = Moment::now() + AWAIT_INTERVAL;
                    }
                    self.missing[index(direction)] = missing;
                }
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    /// Between two looks.
    fn interval(&self) -> Span {
        let awaits = self.missing.iter().any(Option::is_some);
        match (awaits, self.source.tells_default()) {
            (true, _) => AWAIT_INTERVAL,
            (false, true) => ASK_INTERVAL,
            (false, false) => LOOK_INTERVAL,
        }
    }

    /// A connection: the one that is there, or a new one where it is of no use any more. One whose server
    /// lives is never given up, because cpal's PulseAudio host cannot close it.
    fn host(&mut self, is_well: impl FnOnce(&Host) -> bool) -> Result<&Host, CpalError> {
        let kept = self.host.take().filter(|host| !self.source.is_snapshot() && is_well(host));
        let host = match kept {
            Some(host) => host,
            None => self.source.connect()?,
        };
        Ok(self.host.insert(host))
    }

    fn list(&mut self) -> Result<Vec<CpalDevice>, CpalError> {
        let doing = format!("asking {} for devices", self.source.name);
        let host = self.host(|host| host.devices().is_ok())?;
        devices::list(host).map_err(|error| CpalError::of_host(&doing, &error))
    }

    fn look(&mut self, tell: &Sender<News>) {
        let mut missing = std::mem::take(&mut self.missing);
        let mut defaults = std::mem::take(&mut self.defaults);
        // Listing all devices costs some systems much, so only where there is no default any more.
        let has_default = |host: &Host| BOTH.iter().any(|&way| devices::default(host, way).is_some());
        let moves_streams = self.source.moves_streams();
        if let Ok(host) = self.host(|host| has_default(host) || host.devices().is_ok()) {
            for direction in BOTH {
                let known = &mut defaults[index(direction)];
                // That there is none for a while is told by the loss of the device.
                if let Some(now) = devices::default(host, direction)
                    && let Some(device) = devices::id(&now)
                    && known.as_ref() != Some(&device)
                    && known.replace(device.clone()).is_some()
                {
                    let has_streams = moves_streams && pulse::has_streams(direction, &now);
                    _ = tell.send(News::Default { direction, device, has_streams });
                }
                let awaited = &mut missing[index(direction)];
                let is_back = |missing: &Missing| {
                    devices::find(host, direction, missing.device.as_deref()).is_ok_and(|d| d.is_some())
                };
                if awaited.as_ref().is_some_and(is_back) {
                    *awaited = None;
                    _ = tell.send(News::Returned(direction));
                }
            }
        }
        self.missing = missing;
        self.defaults = defaults;
    }
}
