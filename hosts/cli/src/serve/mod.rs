//! Control side: `handsfree serve`, which owns the devices and lets many programs share them over a Unix socket.
//!
//! One thread accepts connections, and each connection has a thread of its own, so that a client that stalls only
//! stalls itself. The microphone's thread gives each block to bounded queues and never waits for a client.

mod connection;
mod control;
mod event_hub;
mod microphone;
pub mod protocol;
mod service;
pub mod socket;
#[cfg(target_os = "linux")]
mod sound_server;
mod speaker;
mod status;
#[cfg(target_os = "linux")]
pub mod virtual_devices;

use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration as WallDuration, Instant};

use handsfree::failure::Failure;
use handsfree::host::ChosenHost;
use handsfree::terminal::MAX_WAITING;
use handsfree::{
    HostChoice, InputCapture, InputOptions, MediaDevices, MediaError, MediaEvent, OutputOptions,
};
use handsfree_core::audio_io::{Direction, Event};
use handsfree_core::{Duration, SampleRate};
use handsfree_host::supervisor::Notice;

pub use self::event_hub::ServiceEvent;
use self::service::{ServiceParts, ServiceState, lock};
use self::socket::{ServiceSocket, SocketAccess};
use crate::args::ServeArgs;
use crate::console;
use crate::interrupts::{handle_interrupts, is_interrupted};
use crate::report::{direction_name, session_note};
use crate::run::host_config;
use crate::watchdog::{Watchdog, WorkerRounds};

/// Interval at which the main loop looks for events.
const POLL: WallDuration = WallDuration::from_millis(20);
/// Interval at which xruns are reported, together.
const XRUN_INTERVAL: WallDuration = WallDuration::from_millis(200);
/// Time for which the microphone's thread waits for a frame before it looks whether the service ends.
const FRAME_TIMEOUT: WallDuration = WallDuration::from_millis(100);
/// Value of `--input` or `--output` that selects no device.
const NO_DEVICE: &str = "none";

/// Runs the service until it is interrupted.
///
/// # Errors
/// Returns an error that names the device, socket or value that cannot be used.
pub fn serve(args: &ServeArgs) -> Result<(), Failure> {
    #[cfg(target_os = "linux")]
    check_virtual(args)?;
    // The socket comes first, so that a second service fails before it opens a device.
    let socket = open_socket(args)?;
    handle_interrupts()?;
    let host = HostChoice::from(args.devices.io).resolve()?;
    let host_name = host.name();
    let rounds = WorkerRounds::default();
    let mut watchdog =
        Watchdog::from_environment(rounds.clone()).map_err(|error| Failure::run(error.to_string()))?;
    let (devices, input) = open_devices(args, host, &rounds)?;
    let player = match is_none(args.devices.output.as_deref()) {
        true => None,
        false => {
            let mut player = devices.open_output(output_options(args));
            player.start().map_err(|error| device_failure(&error))?;
            Some(player)
        }
    };
    let state = Arc::new(ServiceState::new(ServiceParts {
        host_name,
        rate_hz: args.devices.rate,
        max_clients: args.max_clients as usize,
        has_microphone: input.is_some(),
        devices,
        player,
    }));
    let own_events = args.json.then(|| state.events.subscribe());
    let microphone = input.map(|input| spawn_microphone(input, Arc::clone(&state))).transpose()?;
    #[cfg(target_os = "linux")]
    let virtual_devices = args
        .virtual_devices
        .then(|| virtual_devices::VirtualDevices::start(&state, args.virtual_default))
        .transpose()?;
    let accepting = {
        let (listener, state) = (
            socket.listener.try_clone().map_err(|error| Failure::run(format!("the socket: {error}")))?,
            Arc::clone(&state),
        );
        spawn("accept", move || connection::accept_all(&listener, &state))?
    };
    let place =
        socket.path.as_deref().unwrap_or(Path::new("the service manager's socket")).display().to_string();
    console::message(&format!("serving on {place}"));
    if let Err(error) = watchdog.ready() {
        console::message(&format!("note: the service manager was not told of the start: {error}"));
    }
    watch(&state, own_events.as_ref(), &mut watchdog);
    // Without it the service manager sees the end itself.
    _ = watchdog.stopping();
    #[cfg(target_os = "linux")]
    drop(virtual_devices);
    state.is_ending.store(true, Ordering::Relaxed);
    state.hub.close();
    state.close_all();
    // A connection of our own wakes the thread that accepts; where that fails, the process's end does.
    if socket.path.as_deref().is_some_and(|path| UnixStream::connect(path).is_ok()) {
        _ = accepting.join();
    }
    if let Some(microphone) = microphone {
        // A panic in the thread has already been printed.
        _ = microphone.join();
    }
    // Closes the loudspeaker's device; a thread of a client may still hold the state.
    drop(lock(&state.player).take());
    Ok(())
}

fn open_socket(args: &ServeArgs) -> Result<ServiceSocket, Failure> {
    if let Some(passed) = socket::passed_socket()? {
        return Ok(passed);
    }
    let access = SocketAccess { mode: args.mode, group: args.group.clone() };
    socket::bind(&socket::service_path(args.socket.as_deref()), &access)
}

/// Refuses virtual devices that would play into themselves.
#[cfg(target_os = "linux")]
fn check_virtual(args: &ServeArgs) -> Result<(), Failure> {
    #[cfg(feature = "cpal")]
    let is_on_server = matches!(args.devices.io, crate::args::HostArg::Auto | crate::args::HostArg::Cpal);
    #[cfg(not(feature = "cpal"))]
    let is_on_server = false;
    if args.virtual_default && is_on_server && (args.devices.input.is_none() || args.devices.output.is_none())
    {
        return Err(Failure::usage(
            "--virtual-default: expected --input and --output, because the defaults become the virtual devices themselves",
        ));
    }
    Ok(())
}

fn is_none(device: Option<&str>) -> bool {
    device == Some(NO_DEVICE)
}

/// Starts the host with a terminal on it, and opens the microphone.
fn open_devices(
    args: &ServeArgs,
    host: ChosenHost,
    rounds: &WorkerRounds,
) -> Result<(MediaDevices, Option<InputCapture>), Failure> {
    let switches = &args.devices;
    let rate = SampleRate::new(switches.rate)?;
    switches.switches.check_build(rate.hz())?;
    let config = host_config(switches, rate)?;
    if is_none(switches.input.as_deref()) && is_none(switches.output.as_deref()) {
        return Err(Failure::usage("--input none and --output none: expected at least one device"));
    }
    if let Some(notice) = host.notice() {
        console::message(&format!("note: {notice}"));
    }
    let mut builder = MediaDevices::builder()
        .rate_hz(switches.rate)
        .voice(switches.switches.config())
        .canceller(switches.switches.canceller_choice())
        .acoustic_delay(!switches.no_echo_search)
        .adaptive_latency(switches.adaptive_latency)
        .voice_deadline(Duration::from_millis(switches.voice_deadline_ms.into()));
    if let Some(index) = switches.input_loopback {
        builder = builder.loopback_channel(index);
    }
    let devices = builder
        .open_with(host.clock(), |work| Ok(host.open(&config, rounds.counted(work))?.io))
        .map_err(|error| device_failure(&error))?;
    let input = match is_none(switches.input.as_deref()) {
        true => None,
        false => Some(devices.open_input(input_options(args)).map_err(|error| device_failure(&error))?),
    };
    Ok((devices, input))
}

fn period(args: &ServeArgs) -> u32 {
    let switches = &args.devices;
    (switches.period_ms * f64::from(switches.rate) / 1e3).round().max(1.0) as u32
}

fn input_options(args: &ServeArgs) -> InputOptions {
    let switches = &args.devices;
    let highest = switches.input_channel.iter().chain(&switches.input_loopback).max();
    let needed = highest.map_or(1, |&highest| u32::from(highest) + 1);
    InputOptions {
        input_device: switches.input.clone(),
        queue_capacity: MAX_WAITING,
        input_channel_index: switches.input_channel,
        device_channels: Some(switches.input_channels.max(needed)),
        period_sample_frames: Some(period(args)),
        ..InputOptions::default()
    }
}

fn output_options(args: &ServeArgs) -> OutputOptions {
    OutputOptions {
        output_device: args.devices.output.clone(),
        device_channels: Some(args.devices.output_channels),
        period_sample_frames: Some(period(args)),
    }
}

fn device_failure(error: &MediaError) -> Failure {
    let message = format!("{error}: 'handsfree devices' lists the available devices");
    match error {
        MediaError::Config(_) => Failure::usage(error.to_string()),
        _ => Failure::run(message),
    }
}

pub(crate) fn spawn(
    name: &str,
    work: impl FnOnce() + Send + 'static,
) -> Result<std::thread::JoinHandle<()>, Failure> {
    std::thread::Builder::new()
        .name(name.into())
        .spawn(work)
        .map_err(|error| Failure::run(format!("the {name} thread could not be started: {error}")))
}

/// Starts the thread that hands the microphone to the clients.
fn spawn_microphone(
    mut input: InputCapture,
    state: Arc<ServiceState>,
) -> Result<std::thread::JoinHandle<()>, Failure> {
    spawn("microphone", move || {
        while !state.is_ending() {
            let Some(frame) = input.next_frame(FRAME_TIMEOUT) else { continue };
            match state.is_muted.load(Ordering::Relaxed) {
                true => state.hub.publish(&vec![0; frame.samples().len()], frame.stamp.lost),
                false => state.hub.publish(frame.samples(), frame.stamp.lost),
            }
        }
    })
}

/// Publishes the events of the devices until the service is interrupted.
fn watch(
    state: &ServiceState,
    own_events: Option<&std::sync::mpsc::Receiver<Arc<str>>>,
    watchdog: &mut Watchdog,
) {
    let mut xruns = state.devices.stats().xruns();
    let mut next_xrun_check_at = Instant::now() + XRUN_INTERVAL;
    while !is_interrupted() {
        while let Some(event) = state.devices.poll_event() {
            if let MediaEvent::Device(notice) = &event {
                note_flow(state, notice);
            }
            if let Some(event) = service_event(&event) {
                state.publish(&event);
            }
        }
        if Instant::now() >= next_xrun_check_at {
            next_xrun_check_at = Instant::now() + XRUN_INTERVAL;
            let now = state.devices.stats().xruns();
            let count = now.wrapping_sub(std::mem::replace(&mut xruns, now));
            if count > 0 {
                state.publish(&ServiceEvent::Xrun { count });
            }
        }
        for line in own_events.into_iter().flat_map(|events| events.try_iter()) {
            use std::io::Write as _;
            let mut stdout = std::io::stdout().lock();
            if stdout.write_all(line.as_bytes()).and_then(|()| stdout.flush()).is_err() {
                // A service must not end because its log is not read.
                break;
            }
        }
        // A message that is lost is sent again.
        _ = watchdog.poll(state.is_any_device_running(), Instant::now());
        std::thread::sleep(POLL);
    }
}

fn note_flow(state: &ServiceState, notice: &Notice) {
    let (direction, is_lost) = match notice {
        Notice::Lost { direction } => (*direction, true),
        Notice::Returned { direction, .. } => (*direction, false),
        _ => return,
    };
    state.lost[direction as usize].store(is_lost, Ordering::Relaxed);
}

fn service_event(event: &MediaEvent) -> Option<ServiceEvent> {
    let note = |message: String| Some(ServiceEvent::Note { message });
    let name = |direction: &Direction| direction_name(*direction);
    match event {
        MediaEvent::Device(Notice::Lost { direction }) => {
            Some(ServiceEvent::DeviceLost { direction: name(direction) })
        }
        MediaEvent::Device(Notice::Returned { direction, info }) => {
            Some(ServiceEvent::DeviceReturned { direction: name(direction), rate_hz: info.rate.hz() })
        }
        MediaEvent::Device(Notice::Moved { direction, .. }) => note(format!(
            "the default {} device has changed; the service now uses the new one",
            name(direction)
        )),
        MediaEvent::Device(Notice::Host(Event::RealTimeRefused)) => note(
            "the system refused real-time scheduling or memory locking; xruns are more likely".to_owned(),
        ),
        // A listener detects speech itself, in the samples that it gets.
        MediaEvent::Device(_) | MediaEvent::Speech(_) => None,
        MediaEvent::Session(event) => session_note(*event).and_then(note),
    }
}
