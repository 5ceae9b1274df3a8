//! Worker side: one session of a filter, for one channel. Made and destroyed on the control side.

use std::ffi::{CStr, c_void};
use std::ptr::NonNull;
use std::sync::Arc;

use super::functions::{FilterSample, Process, ProcessV2};
use super::plugin::Plugin;

/// Function that processes a session's frames. It has the version that made the session: the two are never mixed.
enum ProcessFunction<S> {
    V1(Process<S>),
    V2(ProcessV2<S>),
}

/// Session of a filter for samples of type `S`; dropping it destroys the filter's session.
pub(crate) struct FilterSession<S: FilterSample> {
    this: NonNull<c_void>,
    process: ProcessFunction<S>,
    plugin: Arc<Plugin>,
}

// SAFETY: a session may move between threads: LiveKit's host calls one from whichever thread of its pool is free.
unsafe impl<S: FilterSample> Send for FilterSession<S> {}

impl<S: FilterSample> FilterSession<S> {
    /// Makes a session with version 2 of the interface if the filter has all of it. Otherwise uses version 1, which has a
    /// single rate and receives `in_rate_hz`. Returns `None` if the filter returns NULL.
    pub(crate) fn create(
        plugin: &Arc<Plugin>,
        in_rate_hz: u32,
        out_rate_hz: u32,
        options: &CStr,
        stream_info: &CStr,
    ) -> Option<Self> {
        let (options, stream_info) = (options.as_ptr(), stream_info.as_ptr());
        let functions = &plugin.functions;
        let (this, process) = match (functions.create_v2, S::process_v2(functions)) {
            (Some(create), Some(process)) => {
                // SAFETY: guarantees 1 and 4 of this module.
                let this = unsafe { create(in_rate_hz, out_rate_hz, options, stream_info) };
                (this, ProcessFunction::V2(process))
            }
            _ => {
                // SAFETY: guarantees 1 and 4 of this module.
                let this = unsafe { (functions.create)(in_rate_hz, options, stream_info) };
                (this, ProcessFunction::V1(S::process_v1(functions)))
            }
        };
        Some(Self { this: NonNull::new(this)?, process, plugin: Arc::clone(plugin) })
    }

    /// Makes the filter read `input` and write `wanted` samples to the start of `output`. `output` should be longer than
    /// that, so that a filter that writes too much corrupts no other memory. Version 1 receives only the input's length.
    pub(crate) fn process(&mut self, input: &[S], output: &mut [S], wanted: usize) {
        let wanted = wanted.min(output.len());
        let this = self.this.as_ptr().cast_const();
        match self.process {
            ProcessFunction::V1(process) => {
                let n = input.len().min(wanted);
                // SAFETY: guarantees 1, 3 and 4 of this module: both slices hold at least `n` samples.
                unsafe { process(this, n, input.as_ptr(), output.as_mut_ptr()) }
            }
            ProcessFunction::V2(process) => {
                // SAFETY: guarantees 1, 3 and 4 of this module: each slice holds at least the given number of samples.
                unsafe { process(this, input.len(), input.as_ptr(), wanted, output.as_mut_ptr()) }
            }
        }
    }

    /// Passes new stream information to the filter.
    pub(crate) fn update_stream_info(&mut self, stream_info: &CStr) {
        let update = self.plugin.functions.update_stream_info;
        // SAFETY: guarantees 1, 3 and 4 of this module.
        unsafe { update(self.this.as_ptr().cast_const(), stream_info.as_ptr()) }
    }
}

impl<S: FilterSample> Drop for FilterSession<S> {
    fn drop(&mut self) {
        // SAFETY: guarantees 1 and 2 of this module.
        unsafe { (self.plugin.functions.destroy)(self.this.as_ptr().cast_const()) }
    }
}
