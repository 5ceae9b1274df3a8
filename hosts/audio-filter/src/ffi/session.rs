//! Worker side: one session of a filter, which is one channel. Made and destroyed on the control side.

use std::ffi::{CStr, c_void};
use std::ptr::NonNull;
use std::sync::Arc;

use super::functions::{Process, ProcessV2};
use super::plugin::Plugin;

/// A sample type that filters process.
pub(crate) trait Sample: Copy + Send + 'static {
    #[doc(hidden)]
    fn process_v1(plugin: &Plugin) -> Process<Self>;
    #[doc(hidden)]
    fn process_v2(plugin: &Plugin) -> Option<ProcessV2<Self>>;
}

impl Sample for i16 {
    fn process_v1(plugin: &Plugin) -> Process<Self> {
        plugin.functions.process_int16
    }

    fn process_v2(plugin: &Plugin) -> Option<ProcessV2<Self>> {
        plugin.functions.process_int16_v2
    }
}

impl Sample for f32 {
    fn process_v1(plugin: &Plugin) -> Process<Self> {
        plugin.functions.process_float
    }

    fn process_v2(plugin: &Plugin) -> Option<ProcessV2<Self>> {
        plugin.functions.process_float_v2
    }
}

/// Which version made the session decides which one processes: the two are never mixed.
enum Work<S> {
    V1(Process<S>),
    V2(ProcessV2<S>),
}

/// A filter's session for samples of type `S`; dropping it destroys it.
pub(crate) struct Session<S: Sample> {
    this: NonNull<c_void>,
    work: Work<S>,
    plugin: Arc<Plugin>,
}

// SAFETY: a session may move between threads: LiveKit's host calls one from whichever thread of its pool is free.
unsafe impl<S: Sample> Send for Session<S> {}

impl<S: Sample> Session<S> {
    /// A session by version 2 if the filter has it as a whole, else by version 1, which knows one rate only and is
    /// given the first. `None` if the filter gives NULL.
    pub(crate) fn create(
        plugin: &Arc<Plugin>,
        in_rate_hz: u32,
        out_rate_hz: u32,
        options: &CStr,
        stream_info: &CStr,
    ) -> Option<Self> {
        let (options, stream_info) = (options.as_ptr(), stream_info.as_ptr());
        let (this, work) = match (plugin.functions.create_v2, S::process_v2(plugin)) {
            (Some(create), Some(process)) => {
                // SAFETY: promises 1 and 4 of this module.
                let this = unsafe { create(in_rate_hz, out_rate_hz, options, stream_info) };
                (this, Work::V2(process))
            }
            _ => {
                // SAFETY: promises 1 and 4 of this module.
                let this = unsafe { (plugin.functions.create)(in_rate_hz, options, stream_info) };
                (this, Work::V1(S::process_v1(plugin)))
            }
        };
        Some(Self { this: NonNull::new(this)?, work, plugin: Arc::clone(plugin) })
    }

    /// Has the filter read `input` and write `wanted` samples to the start of `output`, which should be longer: a
    /// filter that writes too much then harms nobody. Version 1 is told the input's length only.
    pub(crate) fn process(&mut self, input: &[S], output: &mut [S], wanted: usize) {
        let wanted = wanted.min(output.len());
        let this = self.this.as_ptr().cast_const();
        match self.work {
            Work::V1(process) => {
                let n = input.len().min(wanted);
                // SAFETY: promises 1, 3 and 4 of this module: both slices hold at least `n` samples.
                unsafe { process(this, n, input.as_ptr(), output.as_mut_ptr()) }
            }
            Work::V2(process) => {
                // SAFETY: as above, each slice with its own length.
                unsafe { process(this, input.len(), input.as_ptr(), wanted, output.as_mut_ptr()) }
            }
        }
    }

    /// Tells the filter whose audio it is.
    pub(crate) fn update_stream_info(&mut self, stream_info: &CStr) {
        let update = self.plugin.functions.update_stream_info;
        // SAFETY: promises 1, 3 and 4 of this module.
        unsafe { update(self.this.as_ptr().cast_const(), stream_info.as_ptr()) }
    }
}

impl<S: Sample> Drop for Session<S> {
    fn drop(&mut self) {
        // SAFETY: promises 1 and 2 of this module.
        unsafe { (self.plugin.functions.destroy)(self.this.as_ptr().cast_const()) }
    }
}
