//! Control side: which audio system is used, and making a connection to it.

use std::str::FromStr as _;
use std::sync::Arc;

use cpal::HostId;

use crate::error::CpalError;

/// Makes a new connection to one audio system, again and again.
#[derive(Clone)]
pub(crate) struct Source {
    pub(crate) name: String,
    make: Arc<dyn Fn() -> Result<cpal::Host, cpal::Error> + Send + Sync>,
}

impl Source {
    pub(crate) fn of(
        name: String,
        make: impl Fn() -> Result<cpal::Host, cpal::Error> + Send + Sync + 'static,
    ) -> Self {
        Self { name, make: Arc::new(make) }
    }

    pub(crate) fn connect(&self) -> Result<cpal::Host, CpalError> {
        (self.make)().map_err(|error| CpalError::of_host(&format!("connecting to {}", self.name), &error))
    }

    /// Whether a connection shows only the devices that were there when it was made.
    pub(crate) fn is_snapshot(&self) -> bool {
        self.name == "pipewire"
    }

    /// Whether callbacks run on a thread of cpal's own, which nobody else gives a priority.
    pub(crate) fn has_plain_threads(&self) -> bool {
        matches!(self.name.as_str(), "pulseaudio" | "alsa")
    }

    /// Whether the default device is one question, and not a look at all of them.
    pub(crate) fn tells_default(&self) -> bool {
        self.name == "pulseaudio"
    }

    /// Whether streams are moved to another default device without a word to cpal.
    pub(crate) fn moves_streams(&self) -> bool {
        self.name == "pulseaudio"
    }

    /// Whether what is asked for as a period of the microphone is also the most that the system keeps of it.
    pub(crate) fn keeps_one_period(&self) -> bool {
        self.name == "pulseaudio"
    }
}

fn known() -> Vec<HostId> {
    // Only real ones: a host made of Rust has no connection to make.
    cpal::ALL_HOSTS.iter().copied().filter(|id| id.to_string() != "custom").collect()
}

/// The names of the audio systems that are built in, the preferred ones first: sound servers, then the
/// sound cards themselves.
#[must_use]
pub fn hosts() -> Vec<String> {
    known().iter().map(ToString::to_string).collect()
}

/// The audio system that would be used now where none is named, and whether it is a sound server that
/// answered or the only system that the platform has: `None` where there are at best sound cards without a
/// server (ALSA), which direct ALSA serves better.
#[must_use]
pub fn server() -> Option<String> {
    let found = choose(None).ok()?;
    (found.name != "alsa").then_some(found.name)
}

/// The system named, or the first that answers.
pub(crate) fn choose(asked: Option<&str>) -> Result<Source, CpalError> {
    let real = |id: HostId| Source::of(id.to_string(), move || cpal::host_from_id(id));
    match asked {
        Some(name) => {
            let none = || CpalError::NoHost { asked: name.to_owned(), known: hosts() };
            let id = HostId::from_str(name).map_err(|_| none())?;
            if known().contains(&id) { Ok(real(id)) } else { Err(none()) }
        }
        None => {
            let there = cpal::available_hosts();
            let mut answer = CpalError::NoHost { asked: "any that answers".to_owned(), known: hosts() };
            for id in known().into_iter().filter(|id| there.contains(id)) {
                // That a socket is there does not say that somebody listens.
                match real(id).connect() {
                    Ok(_) => return Ok(real(id)),
                    Err(error) => answer = error,
                }
            }
            Err(answer)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_that_is_not_built_in_is_named_with_those_that_are() {
        let error = choose(Some("gramophone")).err().unwrap();
        let text = error.to_string();
        assert!(text.contains("gramophone") && hosts().iter().all(|name| text.contains(name)), "{text}");
        assert!(choose(Some("custom")).is_err(), "there is none to connect to");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn sound_servers_come_before_sound_cards() {
        let hosts = hosts();
        assert_eq!(hosts.last().map(String::as_str), Some("alsa"), "{hosts:?}");
        assert_eq!(hosts.contains(&"pulseaudio".to_owned()), cfg!(feature = "pulseaudio"));
    }
}
