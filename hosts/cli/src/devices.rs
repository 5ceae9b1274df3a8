//! Control side: `handsfree devices`, which lists the audio devices.

use std::fmt::Write as _;

use handsfree::HostChoice;
use handsfree::device::Device;
use handsfree::failure::Failure;
use handsfree::host::HostConfig;
use handsfree_core::SampleRate;
use handsfree_core::audio_io::AudioIo;

use crate::args::DevicesArgs;

/// Returns the devices of the host that `args` name, and the host's message for the user, if any.
///
/// # Errors
/// Returns an error when the host does not respond.
pub fn list(args: &DevicesArgs) -> Result<(Vec<Device>, Option<&'static str>), Failure> {
    let host = HostChoice::from(args.io).resolve()?;
    let notice = host.notice();
    let rate = SampleRate::new(48_000)?;
    let config = HostConfig::new(rate);
    let open = host.open(&config, Box::new(|| {}))?;
    let mut devices = Vec::new();
    open.io.devices(&mut |info| devices.push(Device::from(info)))?;
    Ok((devices, notice))
}

/// Returns the devices as a table for people; `*` marks default devices.
#[must_use]
pub fn table(devices: &[Device]) -> String {
    let mut text = String::new();
    for device in devices {
        let rates: Vec<String> = device.rates_hz.iter().map(ToString::to_string).collect();
        let rates = if rates.is_empty() { "any".to_owned() } else { rates.join(", ") };
        let formats =
            if device.formats.is_empty() { String::new() } else { format!(", {}", device.formats.join(" ")) };
        let [shortest, longest] = device.period_sample_frames;
        // Writing to a String cannot fail.
        _ = writeln!(
            text,
            "{} {:<8}  {}\n    {}\n    up to {} channels, {rates} Hz{formats}, periods of {shortest} to {longest} sample frames",
            if device.is_default { '*' } else { ' ' },
            device.direction,
            device.id,
            device.name,
            device.max_channels,
        );
    }
    text
}
