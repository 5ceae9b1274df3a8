//! Control side: an open filter, and the calls that concern the filter as a whole.

use std::ffi::CStr;
use std::path::Path;

use super::functions::{FilterFunctions, FilterSample};
use super::libraries::Libraries;
use crate::error::FilterError;

/// Functions of a filter, together with the libraries that contain them.
pub(crate) struct Plugin {
    pub(super) functions: FilterFunctions,
    libraries: Libraries,
}

impl Plugin {
    /// Opens the libraries and looks the functions up. Does not call the filter's `on_load`.
    ///
    /// # Safety
    /// The conditions are those of [`AudioFilter::load`](crate::AudioFilter::load).
    pub(crate) unsafe fn open(file: &Path, dependencies: &[&Path]) -> Result<Self, FilterError> {
        // SAFETY: the caller vouches for the libraries.
        let libraries = unsafe { Libraries::open(file, dependencies) }?;
        let found = libraries.filter().map_or_else(|| Err(Vec::new()), FilterFunctions::find);
        match found {
            Ok(functions) => Ok(Self { functions, libraries }),
            Err(symbols) => Err(FilterError::MissingSymbols { file: file.to_owned(), symbols }),
        }
    }

    /// Calls the filter's `on_load` with its JSON. Returns the filter's code as the error unless it is 0.
    ///
    /// From this call on the libraries stay open until the process ends, even after an error: the interface has no call
    /// that stops what `on_load` started, and closing a library would remove the code of a thread that runs it.
    pub(crate) fn on_load(self, options: &CStr) -> Result<Self, i32> {
        // SAFETY: guarantees 1 and 4 of this module.
        let code = unsafe { (self.functions.on_load)(options.as_ptr()) };
        if code == 0 {
            return Ok(self);
        }
        std::mem::forget(self.libraries);
        Err(code)
    }

    /// Passes new credentials to the filter. Returns false when the filter has no function for credentials.
    pub(crate) fn update_token(&self, url: &CStr, token: &CStr) -> bool {
        let Some(update_token) = self.functions.update_token else {
            return false;
        };
        // SAFETY: guarantees 1 and 4 of this module.
        unsafe { update_token(url.as_ptr(), token.as_ptr()) };
        true
    }

    /// Returns whether the filter has a function for new credentials.
    pub(crate) fn takes_token(&self) -> bool {
        self.functions.update_token.is_some()
    }

    /// Returns whether the filter has all functions of version 2 for this sample type. An incomplete version 2 is not used.
    pub(crate) fn has_v2<S: FilterSample>(&self) -> bool {
        self.functions.create_v2.is_some() && S::process_v2(&self.functions).is_some()
    }
}
