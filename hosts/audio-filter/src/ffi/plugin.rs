//! Control side: an open filter and the calls that are not about one session.

use std::ffi::CStr;
use std::path::Path;

use super::functions::Functions;
use super::libraries::Libraries;
use super::session::Sample;
use crate::error::FilterError;

/// A filter's functions beside the libraries that they are in.
pub(crate) struct Plugin {
    pub(super) functions: Functions,
    libraries: Libraries,
}

impl Plugin {
    /// Opens the libraries and finds the functions; the filter's `on_load` has not been called then.
    pub(crate) fn open(file: &Path, dependencies: &[&Path]) -> Result<Self, FilterError> {
        let libraries = Libraries::open(file, dependencies)?;
        let found = libraries.filter().map_or_else(|| Err(Vec::new()), Functions::find);
        match found {
            Ok(functions) => Ok(Self { functions, libraries }),
            Err(symbols) => Err(FilterError::MissingSymbols { file: file.to_owned(), symbols }),
        }
    }

    /// Calls the filter's `on_load` with its JSON; 0 accepts.
    ///
    /// From here on the libraries stay open for as long as the process lives: the interface has no call that
    /// makes a filter stop what `on_load` began, and a thread of its own would lose its code.
    pub(crate) fn on_load(self, options: &CStr) -> Result<Self, i32> {
        // SAFETY: promises 1 and 4 of this module.
        let code = unsafe { (self.functions.on_load)(options.as_ptr()) };
        if code == 0 {
            return Ok(self);
        }
        std::mem::forget(self.libraries);
        Err(code)
    }

    /// Tells the filter of new credentials; false when it has no function for that.
    pub(crate) fn update_token(&self, url: &CStr, token: &CStr) -> bool {
        let Some(update_token) = self.functions.update_token else {
            return false;
        };
        // SAFETY: promises 1 and 4 of this module.
        unsafe { update_token(url.as_ptr(), token.as_ptr()) };
        true
    }

    /// Whether there is a function for new credentials.
    pub(crate) fn takes_token(&self) -> bool {
        self.functions.update_token.is_some()
    }

    /// Whether version 2 is there as a whole for samples of this type. Half of it is not used.
    pub(crate) fn has_v2<S: Sample>(&self) -> bool {
        self.functions.create_v2.is_some() && S::process_v2(self).is_some()
    }
}
