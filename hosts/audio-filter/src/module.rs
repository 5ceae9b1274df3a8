//! Control side: a loaded filter, from which sessions are made.

use std::ffi::CString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use handsfree_core::Format;
use handsfree_core::capture::Credentials;

use crate::config::SampleType;
use crate::error::FilterError;
use crate::ffi::{FilterSession, Plugin};
use crate::sessions::{ChannelSessions, CheckedSample, TypedSessions};
use crate::slot::{SessionSlot, lock};
use crate::text;

/// A loaded filter.
pub(crate) struct FilterModule {
    id: String,
    /// Path as it was given.
    file: PathBuf,
    /// Path with symbolic links resolved; equal for two paths to the same file.
    resolved_file: PathBuf,
    plugin: Arc<Plugin>,
    /// Slots of all processors of this filter. Locked during every call that is not about a frame, so that no two of
    /// these calls overlap within one filter.
    slots: Mutex<Vec<Weak<SessionSlot>>>,
}

/// Parameters from which the sessions of one processor are made.
pub(crate) struct SessionParameters {
    pub(crate) input: Format,
    pub(crate) output: Format,
    pub(crate) samples: SampleType,
    pub(crate) options: CString,
    pub(crate) stream_info: CString,
}

/// Exclusive right to call the functions of a filter that are not about a frame.
pub(crate) struct ControlCallGuard<'a> {
    slots: MutexGuard<'a, Vec<Weak<SessionSlot>>>,
}

impl ControlCallGuard<'_> {
    /// Adds a processor's slot, so that calls that concern the whole filter wait for its frames too.
    pub(crate) fn register(&mut self, slot: &Arc<SessionSlot>) {
        self.remove_dropped();
        self.slots.push(Arc::downgrade(slot));
    }

    fn remove_dropped(&mut self) {
        self.slots.retain(|slot| slot.strong_count() > 0);
    }
}

impl FilterModule {
    pub(crate) fn new(id: &str, file: &Path, resolved_file: PathBuf, plugin: Plugin) -> Self {
        Self {
            id: id.to_owned(),
            file: file.to_owned(),
            resolved_file,
            plugin: Arc::new(plugin),
            slots: Mutex::default(),
        }
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    pub(crate) fn resolved_file(&self) -> &Path {
        &self.resolved_file
    }

    pub(crate) fn has_v2(&self, samples: SampleType) -> bool {
        match samples {
            SampleType::Int16 => self.plugin.has_v2::<i16>(),
            SampleType::Float => self.plugin.has_v2::<f32>(),
        }
    }

    /// Waits until no other control calls the filter.
    pub(crate) fn lock_control_calls(&self) -> ControlCallGuard<'_> {
        ControlCallGuard { slots: lock(&self.slots) }
    }

    /// Makes sessions for all channels, or none.
    pub(crate) fn create_sessions(
        &self,
        parameters: &SessionParameters,
        _guard: &ControlCallGuard<'_>,
    ) -> Result<Box<dyn ChannelSessions>, FilterError> {
        match parameters.samples {
            SampleType::Int16 => self.create_typed_sessions::<i16>(parameters),
            SampleType::Float => self.create_typed_sessions::<f32>(parameters),
        }
    }

    fn create_typed_sessions<S: CheckedSample>(
        &self,
        parameters: &SessionParameters,
    ) -> Result<Box<dyn ChannelSessions>, FilterError> {
        let (input, output) = (parameters.input, parameters.output);
        let (in_rate_hz, out_rate_hz) = (input.rate_hz(), output.rate_hz());
        if in_rate_hz != out_rate_hz && !self.plugin.has_v2::<S>() {
            let (file, samples) = (self.file.clone(), parameters.samples);
            return Err(FilterError::NeedsV2 { file, samples, in_rate_hz, out_rate_hz });
        }
        let session = |channel| {
            let (options, stream_info) = (&parameters.options, &parameters.stream_info);
            FilterSession::<S>::create(&self.plugin, in_rate_hz, out_rate_hz, options, stream_info)
                .ok_or_else(|| FilterError::NoSession {
                    file: self.file.clone(),
                    channel,
                    in_rate_hz,
                    out_rate_hz,
                })
        };
        let sessions = (0..input.channels()).map(session).collect::<Result<Vec<_>, _>>()?;
        Ok(Box::new(TypedSessions::new(sessions, input.sample_frames(), output.sample_frames())))
    }

    /// Passes new credentials to the filter while none of its sessions processes a frame. Returns false when the
    /// filter has no function for credentials.
    pub(crate) fn update_token(&self, credentials: &Credentials<'_>) -> Result<bool, FilterError> {
        let url = text::c_text("url", credentials.url)?;
        let token = text::c_text("token", credentials.token)?;
        if !self.plugin.takes_token() {
            return Ok(false);
        }
        let mut guard = self.lock_control_calls();
        guard.remove_dropped();
        let slots: Vec<_> = guard.slots.iter().filter_map(Weak::upgrade).collect();
        let borrowed = slots.iter().map(|slot| slot.wait_and_borrow()).collect::<Result<Vec<_>, _>>()?;
        let updated = self.plugin.update_token(&url, &token);
        drop(borrowed);
        Ok(updated)
    }
}
