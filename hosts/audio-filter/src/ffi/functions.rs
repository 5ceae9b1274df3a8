//! Control side: the functions of the interface and the names they are found by.

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
pub(super) type Process<S> =
    unsafe extern "C" fn(this: *const c_void, n: usize, input: *const S, output: *mut S);
pub(super) type ProcessV2<S> =
    unsafe extern "C" fn(this: *const c_void, n_in: usize, input: *const S, n_out: usize, output: *mut S);
pub(super) type UpdateStreamInfo = unsafe extern "C" fn(this: *const c_void, stream_info: *const c_char);
pub(super) type UpdateToken = unsafe extern "C" fn(url: *const c_char, token: *const c_char);

/// What a filter exports. Valid as long as its library is open.
#[derive(Clone, Copy)]
pub(super) struct Functions {
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

impl Functions {
    /// Looks the functions up, or names all required ones that are not there.
    pub(super) fn find(library: &Library) -> Result<Self, Vec<&'static str>> {
        // SAFETY: each name is asked for as the type that the interface gives it.
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
            found().ok_or_else(|| missing.into_iter().filter(|(is, _)| *is).map(|(_, name)| name).collect())
        }
    }
}

/// A function by its name; `None` also for a symbol whose value is null, which some linkers can make.
///
/// # Safety
/// `F` is a function pointer of the type that the library's author gave the function.
unsafe fn symbol<F: Copy>(library: &Library, name: &str) -> Option<F> {
    // SAFETY: as this function's. An `Option` of a function pointer is a pointer that may be null.
    let found = unsafe { library.get::<Option<F>>(name.as_bytes()) };
    found.ok().and_then(|function| *function)
}
