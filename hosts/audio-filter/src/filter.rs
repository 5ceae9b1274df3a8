//! Control side: loads filters, and makes processors from them.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use handsfree_core::capture::Credentials;
use handsfree_core::{Format, SampleRate};

use crate::config::{SampleType, SessionConfig};
use crate::converter::FilterConverter;
use crate::engine::FilterEngine;
use crate::error::FilterError;
use crate::ffi::Plugin;
use crate::module::{FilterModule, SessionParameters};
use crate::processor::FilterProcessor;
use crate::shared::SharedProcessorState;
use crate::slot::lock;
use crate::text;

/// Loaded filters by module id. Never removed, because no call stops what a filter's `on_load` started.
static REGISTRY: Mutex<BTreeMap<String, Arc<FilterModule>>> = Mutex::new(BTreeMap::new());

/// Filter in a shared library, loaded once for the process under its module id. Control side.
///
/// An `AudioFilter` is a handle: clones refer to the same filter. The library stays loaded until the process ends, even
/// when all handles are dropped, because the interface has no call that stops what `on_load` started.
#[derive(Clone)]
pub struct AudioFilter {
    module: Arc<FilterModule>,
}

impl AudioFilter {
    /// Loads the `dependencies` in their order, then the filter in `file`, and calls the filter's `on_load` with
    /// `credentials` on this thread. Returns the loaded filter, without calling it, when `module_id` refers to this file
    /// already.
    ///
    /// All paths are paths of files: a bare file name refers to the current directory. Dependencies are loaded like in
    /// LiveKit's host, so that the filter finds them by name; if that is not enough, their symbols are made visible to
    /// every library that is loaded later. All symbols are bound now, so that a missing one is found here instead of
    /// during a stream.
    ///
    /// May take long, because `on_load` may contact a server. Loads run one at a time; further calls wait. Must not be
    /// called on an audio thread.
    ///
    /// # Safety
    /// A loaded library runs with all rights of this process, like code that is linked in: its initialisers run in this
    /// call, and its functions in every later call for this filter. The caller vouches that the filter and its
    /// dependencies
    ///
    /// - do nothing unsound in their initialisers, on this thread, and at the end of the process,
    /// - export functions of the interface's types under the interface's names (`examples/audio_filter.h`),
    /// - stay within the buffers that they receive, and accept calls on different sessions from different threads,
    /// - let no C++ exception leave a function.
    ///
    /// This crate checks only what is visible from outside the library. The call of a safe function cannot load a filter:
    ///
    /// ```compile_fail,E0133
    /// # use handsfree_audio_filter::AudioFilter;
    /// # use handsfree_core::capture::Credentials;
    /// let filter = AudioFilter::load("gain", "gain.so".as_ref(), &[], &Credentials::default());
    /// ```
    ///
    /// # Errors
    /// Returns a [`FilterError`] that names the file and the problem. Nothing is registered in that case, and the load
    /// may be retried; after [`FilterError::Refused`] a retry calls `on_load` again.
    #[allow(unsafe_code, reason = "the caller vouches for foreign code")]
    pub unsafe fn load(
        module_id: &str,
        file: &Path,
        dependencies: &[&Path],
        credentials: &Credentials<'_>,
    ) -> Result<Self, FilterError> {
        let mut registry = lock(&REGISTRY);
        let resolved_file = file.canonicalize();
        if let Some(module) = registry.get(module_id) {
            return match resolved_file {
                Ok(resolved_file) if resolved_file == module.resolved_file() => {
                    Ok(Self { module: Arc::clone(module) })
                }
                _ => Err(FilterError::ModuleTaken {
                    module_id: module_id.to_owned(),
                    loaded: module.file().to_owned(),
                    asked: file.to_owned(),
                }),
            };
        }
        let resolved_file = resolved_file.unwrap_or_else(|_| file.to_owned());
        if let Some(module) = registry.values().find(|module| module.resolved_file() == resolved_file) {
            let module_id = module.id().to_owned();
            return Err(FilterError::FileTaken { file: file.to_owned(), module_id });
        }
        let options = text::load_options(credentials)?;
        // SAFETY: the caller vouches for the libraries.
        let plugin = unsafe { Plugin::open(file, dependencies) }?
            .on_load(&options)
            .map_err(|code| FilterError::Refused { file: file.to_owned(), code })?;
        let module = Arc::new(FilterModule::new(module_id, file, resolved_file, plugin));
        registry.insert(module_id.to_owned(), Arc::clone(&module));
        Ok(Self { module })
    }

    /// Checks that `file` is whole, without loading it, and returns its absolute path: an interrupted copy of a library would
    /// kill the process when it is used. [`load`](Self::load) makes this check itself. A file that is no library at all
    /// passes, because only the system's loader knows what it can load.
    ///
    /// # Errors
    /// Returns a [`FilterError`] that names the file if it is missing, unreadable or no regular file, or if it ends before
    /// the segments that its header names.
    pub fn check(file: &Path) -> Result<PathBuf, FilterError> {
        crate::file::check(file)
    }

    /// Returns the filter that was loaded under `module_id`. Waits while another filter is being loaded.
    #[must_use]
    pub fn find(module_id: &str) -> Option<Self> {
        lock(&REGISTRY).get(module_id).map(|module| Self { module: Arc::clone(module) })
    }

    /// Returns the id under which the filter was loaded.
    #[must_use]
    pub fn module_id(&self) -> &str {
        self.module.id()
    }

    /// Returns the path from which the filter was loaded.
    #[must_use]
    pub fn file(&self) -> &Path {
        self.module.file()
    }

    /// Returns whether the filter has version 2 of the interface for this sample type.
    ///
    /// Version 2 is used when the filter exports both `create_v2` and the sample type's `process` function, like in
    /// LiveKit's host. Otherwise version 1 is used: functions of the two versions are never mixed.
    #[must_use]
    pub fn has_v2(&self, samples: SampleType) -> bool {
        self.module.has_v2(samples)
    }

    /// Makes a processor for frames of `format`, with one session of the filter for each channel and all memory that
    /// frames need.
    ///
    /// Calls the filter's `create`, which may take long and may run while other sessions process frames.
    ///
    /// # Errors
    /// Returns [`FilterError::NoSession`] when the filter's `create` returns NULL, and [`FilterError::NulInText`].
    pub fn session(
        &self,
        format: Format,
        config: &SessionConfig<'_>,
    ) -> Result<FilterProcessor, FilterError> {
        self.engine(format, format, config).map(FilterProcessor::new)
    }

    /// Makes a converter from frames of `input` to frames with the same channels at `out_rate`. Two different rates
    /// need version 2 of the interface.
    ///
    /// # Errors
    /// Returns the errors of [`session`](Self::session), and [`FilterError::NeedsV2`] for two different rates without
    /// version 2.
    pub fn converter(
        &self,
        input: Format,
        out_rate: SampleRate,
        config: &SessionConfig<'_>,
    ) -> Result<FilterConverter, FilterError> {
        let output = Format::with_rate(out_rate, input.channels() as u32).unwrap_or(input);
        self.engine(input, output, config).map(FilterConverter::new)
    }

    /// Passes new credentials to the filter between two frames of all its sessions; frames pass unfiltered meanwhile.
    /// Returns false when the filter has no function for credentials.
    ///
    /// # Errors
    /// Returns [`FilterError::Busy`] when a session processes one frame for [`UPDATE_TIMEOUT`](crate::UPDATE_TIMEOUT),
    /// and [`FilterError::NulInText`]. The filter was not called in these cases.
    pub fn update_token(&self, credentials: &Credentials<'_>) -> Result<bool, FilterError> {
        self.module.update_token(credentials)
    }

    fn engine(
        &self,
        input: Format,
        output: Format,
        config: &SessionConfig<'_>,
    ) -> Result<FilterEngine, FilterError> {
        let parameters = SessionParameters {
            input,
            output,
            samples: config.samples,
            options: text::c_text("options", config.options)?,
            stream_info: text::stream_info(&config.stream)?,
        };
        let shared = Arc::new(SharedProcessorState::new(Arc::clone(&self.module), parameters)?);
        Ok(FilterEngine::new(shared, input, output, config.limit))
    }
}

impl fmt::Debug for AudioFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AudioFilter")
            .field("module_id", &self.module_id())
            .field("file", &self.file())
            .finish_non_exhaustive()
    }
}
