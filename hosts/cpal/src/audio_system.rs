//! Control side: the choice of an audio system and the connections to it.

use std::str::FromStr as _;
use std::sync::Arc;

use cpal::HostId;

use crate::error::CpalError;
use crate::quiet;

/// An audio system to which any number of connections can be made.
#[derive(Clone)]
pub(crate) struct AudioSystem {
    pub(crate) name: String,
    connect: Arc<dyn Fn() -> Result<cpal::Host, cpal::Error> + Send + Sync>,
}

impl AudioSystem {
    pub(crate) fn new(
        name: String,
        connect: impl Fn() -> Result<cpal::Host, cpal::Error> + Send + Sync + 'static,
    ) -> Self {
        Self { name, connect: Arc::new(connect) }
    }

    pub(crate) fn connect(&self) -> Result<cpal::Host, CpalError> {
        quiet::silence_alsa();
        (self.connect)().map_err(|error| CpalError::of_host(&format!("connecting to {}", self.name), &error))
    }

    /// Returns whether a connection lists only the devices that were present when it was made.
    pub(crate) fn is_snapshot(&self) -> bool {
        self.name == "pipewire"
    }

    /// Returns whether callbacks run on a thread of cpal that has no real-time priority unless it requests one.
    pub(crate) fn has_plain_threads(&self) -> bool {
        matches!(self.name.as_str(), "pulseaudio" | "alsa")
    }

    /// Returns whether the default device is found by a single request instead of an enumeration of all devices.
    pub(crate) fn has_default_query(&self) -> bool {
        self.name == "pulseaudio"
    }

    /// Returns whether the system moves streams to another default device without a report by cpal.
    pub(crate) fn moves_streams(&self) -> bool {
        self.name == "pulseaudio"
    }
}

fn built_in() -> Vec<HostId> {
    // The host `custom` stands for implementations in Rust, to which there is no connection to make.
    cpal::ALL_HOSTS.iter().copied().filter(|id| id.to_string() != "custom").collect()
}

/// Returns the names of the audio systems that are built in, in order of preference: sound servers first, then
/// direct access to sound cards.
#[must_use]
pub fn hosts() -> Vec<String> {
    built_in().iter().map(ToString::to_string).collect()
}

/// Returns the name of the audio system that is used by default at this moment: a sound server that answered,
/// or the only system of the platform. Returns `None` if there are only sound cards without a server (ALSA),
/// for which `handsfree-alsa` is the better host.
#[must_use]
pub fn server() -> Option<String> {
    let system = choose(None).ok()?;
    (system.name != "alsa").then_some(system.name)
}

/// Returns the system of this name; for `None`, the first one that answers.
pub(crate) fn choose(name: Option<&str>) -> Result<AudioSystem, CpalError> {
    let system = |id: HostId| AudioSystem::new(id.to_string(), move || cpal::host_from_id(id));
    quiet::silence_alsa();
    match name {
        Some(name) => {
            let unknown = || CpalError::NoHost { requested: name.to_owned(), known: hosts() };
            let id = HostId::from_str(name).map_err(|_| unknown())?;
            if built_in().contains(&id) { Ok(system(id)) } else { Err(unknown()) }
        }
        None => {
            let available = cpal::available_hosts();
            let mut last_error =
                CpalError::NoHost { requested: "any that answers".to_owned(), known: hosts() };
            for id in built_in().into_iter().filter(|id| available.contains(id)) {
                // cpal counts a server as available if its socket exists, even if no server listens on it.
                match system(id).connect() {
                    Ok(_) => return Ok(system(id)),
                    Err(error) => last_error = error,
                }
            }
            Err(last_error)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_for_an_unknown_system_names_the_known_ones() {
        let error = choose(Some("gramophone")).err().unwrap();
        let text = error.to_string();
        assert!(text.contains("gramophone") && hosts().iter().all(|name| text.contains(name)), "{text}");
        assert!(choose(Some("custom")).is_err(), "it has no connection to make");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn sound_servers_are_preferred_to_sound_cards() {
        let hosts = hosts();
        assert_eq!(hosts.last().map(String::as_str), Some("alsa"), "{hosts:?}");
        assert_eq!(hosts.contains(&"pulseaudio".to_owned()), cfg!(feature = "pulseaudio"));
    }
}
