//! Test support: SpeexDSP's echo canceller with its preprocessor, by the shared library of the system, to compare with.

use std::ffi::{c_int, c_void};
use std::ptr::NonNull;

use libloading::Library;

/// Name of the library, which `make setup` installs.
const FILE: &str = "libspeexdsp.so.1";
/// `SPEEX_ECHO_SET_SAMPLING_RATE` of speex_echo.h.
const SET_SAMPLING_RATE: c_int = 24;
/// `SPEEX_PREPROCESS_SET_DENOISE` of speex_preprocess.h. Without it the suppressor of the residual echo does nothing.
const SET_DENOISE: c_int = 0;
/// `SPEEX_PREPROCESS_SET_ECHO_STATE` of speex_preprocess.h.
const SET_ECHO_STATE: c_int = 24;

/// Samples by which the preprocessor's output is late: a frame of 10 ms at 16 kHz.
pub const LATE: usize = 160;

type Create = unsafe extern "C" fn(c_int, c_int) -> *mut c_void;
type Control = unsafe extern "C" fn(*mut c_void, c_int, *mut c_void) -> c_int;
type Cancel = unsafe extern "C" fn(*mut c_void, *const i16, *const i16, *mut i16);
type Run = unsafe extern "C" fn(*mut c_void, *mut i16) -> c_int;
type Destroy = unsafe extern "C" fn(*mut c_void);

/// Loads the library.
///
/// # Errors
/// Returns an error with the command that installs it.
fn load() -> Result<Library, String> {
    // SAFETY: the library's initialisers have no preconditions.
    unsafe { Library::new(FILE) }.map_err(|error| {
        format!("{FILE} is missing, `make setup` or `apt-get install libspeexdsp1` installs it: {error}")
    })
}

/// Checks that the library can be loaded.
///
/// # Errors
/// Returns an error with the command that installs it.
pub fn check() -> Result<(), String> {
    load().map(drop)
}

/// SpeexDSP for one microphone and one loudspeaker.
pub struct Speex {
    echo: NonNull<c_void>,
    preprocessor: NonNull<c_void>,
    cancel: Cancel,
    run: Run,
    destroy: [Destroy; 2],
    frame: usize,
    // The functions above belong to it.
    _library: Library,
}

impl Speex {
    /// Creates both parts for frames of `frame` samples.
    pub fn new(rate_hz: u32, frame: usize, tail: usize) -> Self {
        let library = load().unwrap_or_else(|error| panic!("{error}"));
        macro_rules! symbol {
            ($name:literal as $kind:ty) => {
                // SAFETY: the types above are those of speex_echo.h and speex_preprocess.h, version 1.2.
                *unsafe { library.get::<$kind>($name) }.expect("every version has this function")
            };
        }
        let echo_control = symbol!(b"speex_echo_ctl\0" as Control);
        let preprocess_control = symbol!(b"speex_preprocess_ctl\0" as Control);
        let (create_echo, create_preprocessor) = (
            symbol!(b"speex_echo_state_init\0" as Create),
            symbol!(b"speex_preprocess_state_init\0" as Create),
        );
        let (mut rate, mut on) = (rate_hz as c_int, 1 as c_int);
        // SAFETY: the sizes are positive; the controls take a pointer to an int or the echo canceller's state.
        let (echo, preprocessor) = unsafe {
            let echo = NonNull::new(create_echo(frame as c_int, tail as c_int)).expect("memory");
            echo_control(echo.as_ptr(), SET_SAMPLING_RATE, (&raw mut rate).cast());
            let preprocessor = NonNull::new(create_preprocessor(frame as c_int, rate)).expect("memory");
            preprocess_control(preprocessor.as_ptr(), SET_ECHO_STATE, echo.as_ptr());
            preprocess_control(preprocessor.as_ptr(), SET_DENOISE, (&raw mut on).cast());
            (echo, preprocessor)
        };
        Self {
            echo,
            preprocessor,
            cancel: symbol!(b"speex_echo_cancellation\0" as Cancel),
            run: symbol!(b"speex_preprocess_run\0" as Run),
            destroy: [
                symbol!(b"speex_preprocess_state_destroy\0" as Destroy),
                symbol!(b"speex_echo_state_destroy\0" as Destroy),
            ],
            frame,
            _library: library,
        }
    }

    /// Returns the outputs of the canceller and of the preprocessor for a frame.
    pub fn process(&mut self, far: &[i16], near: &[i16]) -> [Vec<i16>; 2] {
        assert!(far.len() == self.frame && near.len() == self.frame, "{} samples", near.len());
        let mut linear = vec![0; self.frame];
        // SAFETY: all three arrays have the length that the state was created with.
        unsafe { (self.cancel)(self.echo.as_ptr(), near.as_ptr(), far.as_ptr(), linear.as_mut_ptr()) };
        let mut full = linear.clone();
        // SAFETY: as above.
        unsafe { (self.run)(self.preprocessor.as_ptr(), full.as_mut_ptr()) };
        [linear, full]
    }
}

impl Drop for Speex {
    fn drop(&mut self) {
        let [destroy_preprocessor, destroy_echo] = self.destroy;
        // SAFETY: both states come from the functions of the same library and are not used again.
        unsafe {
            destroy_preprocessor(self.preprocessor.as_ptr());
            destroy_echo(self.echo.as_ptr());
        }
    }
}
