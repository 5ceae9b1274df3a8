//! Control side: loading filters, and making processors from them.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use handsfree_core::capture::Credentials;
use handsfree_core::{Format, SampleRate};

use crate::config::{SampleType, SessionConfig};
use crate::converter::FilterConverter;
use crate::engine::Engine;
use crate::error::FilterError;
use crate::ffi::{Plugin, Session};
use crate::lanes::{Lane, LaneSample, Lanes};
use crate::processor::FilterProcessor;
use crate::shared::Shared;
use crate::text;

/// Loaded filters by module id; never removed, because a filter cannot be told to stop what its `on_load` began.
static REGISTRY: Mutex<BTreeMap<String, Arc<Module>>> = Mutex::new(BTreeMap::new());

/// A panic while one of this crate's locks was held left what it guards as it was, so a poisoned lock is as good.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A loaded filter.
pub(crate) struct Module {
    id: String,
    /// As it was given.
    file: PathBuf,
    /// With links resolved: what tells files apart.
    identity: PathBuf,
    plugin: Arc<Plugin>,
    /// Held for every call that is not about a frame, so that no two of them overlap within one filter.
    turn: Mutex<Vec<Weak<Shared>>>,
}

/// What the sessions of one processor are made from.
pub(crate) struct Recipe {
    pub(crate) input: Format,
    pub(crate) output: Format,
    pub(crate) samples: SampleType,
    pub(crate) options: CString,
    pub(crate) stream_info: CString,
}

/// The right to call what is not about a frame.
pub(crate) struct Turn<'a> {
    processors: MutexGuard<'a, Vec<Weak<Shared>>>,
}

impl Module {
    pub(crate) fn turn(&self) -> Turn<'_> {
        Turn { processors: lock(&self.turn) }
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// Sessions for all channels, or none.
    pub(crate) fn create(&self, recipe: &Recipe, _turn: &Turn<'_>) -> Result<Box<dyn Lane>, FilterError> {
        match recipe.samples {
            SampleType::Int16 => self.lanes::<i16>(recipe),
            SampleType::Float => self.lanes::<f32>(recipe),
        }
    }

    fn lanes<S: LaneSample>(&self, recipe: &Recipe) -> Result<Box<dyn Lane>, FilterError> {
        let (input, output) = (recipe.input, recipe.output);
        let (in_rate_hz, out_rate_hz) = (input.rate_hz(), output.rate_hz());
        if in_rate_hz != out_rate_hz && !self.plugin.has_v2::<S>() {
            let (file, samples) = (self.file.clone(), recipe.samples);
            return Err(FilterError::NeedsV2 { file, samples, in_rate_hz, out_rate_hz });
        }
        let session = |channel| {
            Session::<S>::create(&self.plugin, in_rate_hz, out_rate_hz, &recipe.options, &recipe.stream_info)
                .ok_or_else(|| FilterError::NoSession {
                    file: self.file.clone(),
                    channel,
                    in_rate_hz,
                    out_rate_hz,
                })
        };
        let sessions = (0..input.channels()).map(session).collect::<Result<Vec<_>, _>>()?;
        Ok(Box::new(Lanes::new(sessions, input.sample_frames(), output.sample_frames())))
    }

    /// Tells the filter of new credentials while none of its sessions processes a frame.
    pub(crate) fn update_token(&self, credentials: &Credentials<'_>) -> Result<bool, FilterError> {
        let url = text::c_text("url", credentials.url)?;
        let token = text::c_text("token", credentials.token)?;
        if !self.plugin.takes_token() {
            return Ok(false);
        }
        let mut turn = self.turn();
        turn.processors.retain(|processor| processor.strong_count() > 0);
        let processors: Vec<_> = turn.processors.iter().filter_map(Weak::upgrade).collect();
        let still =
            processors.iter().map(|processor| processor.take_slot()).collect::<Result<Vec<_>, _>>()?;
        let told = self.plugin.update_token(&url, &token);
        drop(still);
        Ok(told)
    }
}

/// A filter in a shared library, loaded once for the process under its module id. Control side.
///
/// A handle: clones stand for the same filter. The library stays loaded until the process ends, also when all
/// handles are gone, because the interface has no call that would end what `on_load` began.
#[derive(Clone)]
pub struct AudioFilter {
    module: Arc<Module>,
}

impl AudioFilter {
    /// Loads the filter in `file` after its `dependencies`, in their order, and calls its `on_load` with
    /// `credentials`, on this thread. If `module_id` stands for this file already, returns that filter and calls
    /// nothing.
    ///
    /// All paths are those of files: a name alone is looked for in the current directory. Dependencies are loaded as
    /// LiveKit does, so that the filter finds them by name; where that does not do they are made visible to all
    /// that is loaded later. All symbols are bound now, so that none is found missing in the middle of a stream.
    ///
    /// May take long: `on_load` may ask a server. One load runs at a time, others wait. Never call it on an audio
    /// thread.
    ///
    /// **Trust.** A library runs with all rights of this process from here on, as code does that is linked in; a
    /// broken one can crash the process, and a C++ exception that leaves it ends the process. What this crate
    /// checks is what can be seen from outside.
    ///
    /// # Errors
    /// [`FilterError`] names the file and what was wrong with it. Nothing is registered then and it may be tried
    /// again; after [`FilterError::Refused`] `on_load` is then called again.
    pub fn load(
        module_id: &str,
        file: &Path,
        dependencies: &[&Path],
        credentials: &Credentials<'_>,
    ) -> Result<Self, FilterError> {
        let mut registry = lock(&REGISTRY);
        let identity = file.canonicalize();
        if let Some(module) = registry.get(module_id) {
            return match identity {
                Ok(identity) if identity == module.identity => Ok(Self { module: Arc::clone(module) }),
                _ => Err(FilterError::ModuleTaken {
                    module_id: module_id.to_owned(),
                    loaded: module.file.clone(),
                    asked: file.to_owned(),
                }),
            };
        }
        let identity = identity.unwrap_or_else(|_| file.to_owned());
        if let Some(module) = registry.values().find(|module| module.identity == identity) {
            let module_id = module.id.clone();
            return Err(FilterError::FileTaken { file: file.to_owned(), module_id });
        }
        let options = text::load_options(credentials)?;
        let plugin = Plugin::open(file, dependencies)?
            .on_load(&options)
            .map_err(|code| FilterError::Refused { file: file.to_owned(), code })?;
        let module = Arc::new(Module {
            id: module_id.to_owned(),
            file: file.to_owned(),
            identity,
            plugin: Arc::new(plugin),
            turn: Mutex::default(),
        });
        registry.insert(module_id.to_owned(), Arc::clone(&module));
        Ok(Self { module })
    }

    /// The filter that was loaded under `module_id`. Waits while another one is being loaded.
    #[must_use]
    pub fn find(module_id: &str) -> Option<Self> {
        lock(&REGISTRY).get(module_id).map(|module| Self { module: Arc::clone(module) })
    }

    /// The id it was loaded under.
    #[must_use]
    pub fn module_id(&self) -> &str {
        &self.module.id
    }

    /// The file it was loaded from.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.module.file
    }

    /// Whether version 2 of the interface is there as a whole for such samples. It is used then, as by LiveKit's
    /// host. If `create_v2` or its `process` function is missing, version 1 is used: the two are never mixed.
    #[must_use]
    pub fn has_v2(&self, samples: SampleType) -> bool {
        match samples {
            SampleType::Int16 => self.module.plugin.has_v2::<i16>(),
            SampleType::Float => self.module.plugin.has_v2::<f32>(),
        }
    }

    /// A processor for frames of `format`: one session of the filter a channel, and all memory that frames need.
    /// Calls the filter's `create`, which may take long and may run while other sessions process frames.
    ///
    /// # Errors
    /// [`FilterError::NoSession`] when the filter gives NULL, [`FilterError::NulInText`].
    pub fn session(
        &self,
        format: Format,
        config: &SessionConfig<'_>,
    ) -> Result<FilterProcessor, FilterError> {
        self.engine(format, format, config).map(FilterProcessor::new)
    }

    /// A converter from frames of `input` to frames of the same channels at `out_rate`, by version 2 of the
    /// interface.
    ///
    /// # Errors
    /// As [`session`](Self::session), and [`FilterError::NeedsV2`] for two rates without version 2.
    pub fn converter(
        &self,
        input: Format,
        out_rate: SampleRate,
        config: &SessionConfig<'_>,
    ) -> Result<FilterConverter, FilterError> {
        let output = Format::with_rate(out_rate, input.channels() as u32).unwrap_or(input);
        self.engine(input, output, config).map(FilterConverter::new)
    }

    /// Tells the filter of new credentials, between two frames of all its sessions; frames pass meanwhile. False
    /// when the filter has no function for that.
    ///
    /// # Errors
    /// [`FilterError::Busy`] after [`PATIENCE`](crate::PATIENCE) with one frame, [`FilterError::NulInText`]; then
    /// the filter was told nothing.
    pub fn update_token(&self, credentials: &Credentials<'_>) -> Result<bool, FilterError> {
        self.module.update_token(credentials)
    }

    fn engine(
        &self,
        input: Format,
        output: Format,
        config: &SessionConfig<'_>,
    ) -> Result<Engine, FilterError> {
        let recipe = Recipe {
            input,
            output,
            samples: config.samples,
            options: text::c_text("options", config.options)?,
            stream_info: text::stream_info(&config.stream)?,
        };
        let mut turn = self.module.turn();
        let lane = self.module.create(&recipe, &turn)?;
        let shared = Arc::new(Shared::new(Arc::clone(&self.module), recipe, lane));
        turn.processors.retain(|processor| processor.strong_count() > 0);
        turn.processors.push(Arc::downgrade(&shared));
        Ok(Engine::new(shared, input, output, config.limit))
    }
}

impl fmt::Debug for AudioFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AudioFilter")
            .field("module_id", &self.module.id)
            .field("file", &self.module.file)
            .finish_non_exhaustive()
    }
}
