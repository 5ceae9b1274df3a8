//! Control side: opens the libraries of a filter, dependencies first, and closes them in reverse order.

use std::path::{Path, PathBuf};

use libloading::Library;

use crate::error::FilterError;
use crate::file;

/// Open libraries of a filter, dependencies first. Dropping them closes the filter before its dependencies.
#[derive(Default)]
pub(super) struct Libraries {
    opened: Vec<(PathBuf, Library)>,
}

/// Visibility of a library's symbols.
#[derive(Clone, Copy)]
enum SymbolVisibility {
    /// Visible to libraries that name this one as a dependency in their own file.
    ByName,
    /// Visible to every library that is opened later.
    ToAll,
}

impl Libraries {
    /// Opens `dependencies` in their order, then `filter`.
    ///
    /// # Safety
    /// Opening runs the initialisers of the libraries; the conditions are those of
    /// [`AudioFilter::load`](crate::AudioFilter::load).
    pub(super) unsafe fn open(filter: &Path, dependencies: &[&Path]) -> Result<Self, FilterError> {
        let mut libraries = Self::default();
        for dependency in dependencies {
            // SAFETY: the caller vouches for the library.
            unsafe { libraries.add(dependency) }.map_err(|error| FilterError::Dependency {
                file: filter.to_owned(),
                error: Box::new(error),
            })?;
        }
        // SAFETY: the caller vouches for the library.
        unsafe { libraries.add(filter) }?;
        Ok(libraries)
    }

    /// Returns the filter's own library, which was opened last.
    pub(super) fn filter(&self) -> Option<&Library> {
        self.opened.last().map(|(_, library)| library)
    }

    /// Opens one library.
    ///
    /// # Safety
    /// The conditions are those of [`open`](Self::open).
    unsafe fn add(&mut self, path: &Path) -> Result<(), FilterError> {
        let path = file::check(path)?;
        // SAFETY: the caller vouches for the library, here and below.
        let opened = unsafe { open(&path, SymbolVisibility::ByName) }.or_else(|error| {
            // A library that does not name its dependencies finds their symbols only if they are visible to all. This is
            // the second attempt because symbols that are visible to all also shadow other filters' symbols of the same
            // name.
            if self.opened.is_empty() {
                return Err(error);
            }
            for (earlier, _) in &self.opened {
                // The visibility persists after this second handle is dropped.
                // SAFETY: as above; this library was opened before.
                unsafe { open(earlier, SymbolVisibility::ToAll) }?;
            }
            // SAFETY: as above.
            unsafe { open(&path, SymbolVisibility::ByName) }
        });
        match opened {
            Ok(library) => {
                self.opened.push((path, library));
                Ok(())
            }
            Err(error) => Err(FilterError::NotALibrary { file: path, reason: error.to_string() }),
        }
    }
}

impl Drop for Libraries {
    fn drop(&mut self) {
        while let Some(library) = self.opened.pop() {
            drop(library);
        }
    }
}

/// Opens a library and binds all its symbols, so that an undefined symbol fails here instead of at its first call in a
/// frame.
///
/// # Safety
/// Opening runs the library's initialisers, for which the caller vouches.
#[cfg(unix)]
unsafe fn open(path: &Path, visibility: SymbolVisibility) -> Result<Library, libloading::Error> {
    use libloading::os::unix::{Library as UnixLibrary, RTLD_GLOBAL, RTLD_LOCAL, RTLD_NOW};

    let scope = match visibility {
        SymbolVisibility::ByName => RTLD_LOCAL,
        SymbolVisibility::ToAll => RTLD_GLOBAL,
    };
    // SAFETY: the caller vouches for the library's initialisers.
    unsafe { UnixLibrary::open(Some(path), RTLD_NOW | scope) }.map(Library::from)
}

/// Opens a library.
///
/// # Safety
/// Opening runs the library's initialisers, for which the caller vouches.
#[cfg(not(unix))]
unsafe fn open(path: &Path, _visibility: SymbolVisibility) -> Result<Library, libloading::Error> {
    // SAFETY: the caller vouches for the library's initialisers.
    unsafe { Library::new(path) }
}
