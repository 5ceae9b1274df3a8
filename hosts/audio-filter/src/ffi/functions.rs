//! Control side: the functions of the interface, and the symbol names under which they are exported.

use std::ffi::{c_char, c_void};

use libloading::Library;

pub(super) type OnLoad = unsafe extern "C" fn(options: *const c_char) -> i32;
pub(super) type Create =
    unsafe extern "C" fn(rate_hz: u32, options: *const c_char, stream_info: *const c_char) -> *mut c_void;
pub(super) type CreateV2 = unsafe extern "C" fn(
    in_rate_hz: u32,
    out_rate_hz: u32,
    options: *const c_char,
    stream_info: *const c_char,
) -> *mut c_void;
pub(super) type Destroy = unsafe extern "C" fn(this: *const c_void);
pub(crate) type Process<S> =
    unsafe extern "C" fn(this: *const c_void, n: usize, input: *const S, output: *mut S);
pub(crate) type ProcessV2<S> =
    unsafe extern "C" fn(this: *const c_void, n_in: usize, input: *const S, n_out: usize, output: *mut S);
pub(super) type UpdateStreamInfo = unsafe extern "C" fn(this: *const c_void, stream_info: *const c_char);
pub(super) type UpdateToken = unsafe extern "C" fn(url: *const c_char, token: *const c_char);

/// Functions that a filter exports. They may be called only while the filter's library is open.
#[derive(Clone, Copy)]
pub(crate) struct FilterFunctions {
    pub(super) on_load: OnLoad,
    pub(super) create: Create,
    pub(super) destroy: Destroy,
    pub(super) process_int16: Process<i16>,
    pub(super) process_float: Process<f32>,
    pub(super) update_stream_info: UpdateStreamInfo,
    pub(super) create_v2: Option<CreateV2>,
    pub(super) process_int16_v2: Option<ProcessV2<i16>>,
    pub(super) process_float_v2: Option<ProcessV2<f32>>,
    pub(super) update_token: Option<UpdateToken>,
}

const ON_LOAD: &str = "audio_filter_on_load";
const CREATE: &str = "audio_filter_create";
const DESTROY: &str = "audio_filter_destroy";
const PROCESS_INT16: &str = "audio_filter_process_int16";
const PROCESS_FLOAT: &str = "audio_filter_process_float";
const UPDATE_STREAM_INFO: &str = "audio_filter_update_stream_info";
const CREATE_V2: &str = "audio_filter_create_v2";
const PROCESS_INT16_V2: &str = "audio_filter_process_int16_v2";
const PROCESS_FLOAT_V2: &str = "audio_filter_process_float_v2";
const UPDATE_TOKEN: &str = "audio_filter_update_token";

/// Sample type that filters process.
pub(crate) trait FilterSample: Copy + Send + 'static {
    #[doc(hidden)]
    fn process_v1(functions: &FilterFunctions) -> Process<Self>;
    #[doc(hidden)]
    fn process_v2(functions: &FilterFunctions) -> Option<ProcessV2<Self>>;
}

impl FilterSample for i16 {
    fn process_v1(functions: &FilterFunctions) -> Process<Self> {
        functions.process_int16
    }

    fn process_v2(functions: &FilterFunctions) -> Option<ProcessV2<Self>> {
        functions.process_int16_v2
    }
}

impl FilterSample for f32 {
    fn process_v1(functions: &FilterFunctions) -> Process<Self> {
        functions.process_float
    }

    fn process_v2(functions: &FilterFunctions) -> Option<ProcessV2<Self>> {
        functions.process_float_v2
    }
}

impl FilterFunctions {
    /// Looks the functions up. Returns the names of all missing required functions as the error.
    pub(super) fn find(library: &Library) -> Result<Self, Vec<&'static str>> {
        // SAFETY: each symbol is read as the type that the interface defines for its name.
        unsafe {
            let on_load = symbol::<OnLoad>(library, ON_LOAD);
            let create = symbol::<Create>(library, CREATE);
            let destroy = symbol::<Destroy>(library, DESTROY);
            let process_int16 = symbol::<Process<i16>>(library, PROCESS_INT16);
            let process_float = symbol::<Process<f32>>(library, PROCESS_FLOAT);
            let update_stream_info = symbol::<UpdateStreamInfo>(library, UPDATE_STREAM_INFO);
            let missing = [
                (on_load.is_none(), ON_LOAD),
                (create.is_none(), CREATE),
                (destroy.is_none(), DESTROY),
                (process_int16.is_none(), PROCESS_INT16),
                (process_float.is_none(), PROCESS_FLOAT),
                (update_stream_info.is_none(), UPDATE_STREAM_INFO),
            ];
            let found = || {
                Some(Self {
                    on_load: on_load?,
                    create: create?,
                    destroy: destroy?,
                    process_int16: process_int16?,
                    process_float: process_float?,
                    update_stream_info: update_stream_info?,
                    create_v2: symbol(library, CREATE_V2),
                    process_int16_v2: symbol(library, PROCESS_INT16_V2),
                    process_float_v2: symbol(library, PROCESS_FLOAT_V2),
                    update_token: symbol(library, UPDATE_TOKEN),
                })
            };
            found().ok_or_else(|| {
                missing.into_iter().filter(|(is_missing, _)| *is_missing).map(|(_, name)| name).collect()
            })
        }
    }
}

/// Returns a function by its symbol name, or `None` if the symbol is missing or null; some linkers can make null symbols.
///
/// # Safety
/// `F` must be a function pointer of the type with which the library defines the function.
unsafe fn symbol<F: Copy>(library: &Library, name: &str) -> Option<F> {
    // SAFETY: the caller guarantees the type. An `Option` of a function pointer is a nullable pointer.
    let found = unsafe { library.get::<Option<F>>(name.as_bytes()) };
    found.ok().and_then(|function| *function)
}
