//! Control side: opening a filter's file after those of its dependencies, and closing them in the opposite order.

use std::path::{Path, PathBuf};

use libloading::Library;

use crate::error::FilterError;
use crate::file;

/// A filter's libraries, dependencies first. Dropping it closes the filter before what it depends on.
#[derive(Default)]
pub(super) struct Libraries {
    opened: Vec<(PathBuf, Library)>,
}

/// Who finds a library's symbols.
#[derive(Clone, Copy)]
enum Visible {
    /// Those that name it as a dependency in their own file.
    ByName,
    /// Everything that is opened later.
    ToAll,
}

impl Libraries {
    /// Opens `dependencies` in their order, then `filter`.
    pub(super) fn open(filter: &Path, dependencies: &[&Path]) -> Result<Self, FilterError> {
        let mut libraries = Self::default();
        for dependency in dependencies {
            libraries.add(dependency).map_err(|error| FilterError::Dependency {
                file: filter.to_owned(),
                error: Box::new(error),
            })?;
        }
        libraries.add(filter)?;
        Ok(libraries)
    }

    /// The filter's own library, which was opened last.
    pub(super) fn filter(&self) -> Option<&Library> {
        self.opened.last().map(|(_, library)| library)
    }

    fn add(&mut self, path: &Path) -> Result<(), FilterError> {
        let path = file::check(path)?;
        let opened = open(&path, Visible::ByName).or_else(|error| {
            // A library that does not name its dependencies finds their symbols only if all see them. That is
            // not done at once, for then they also stand in front of other filters' symbols of the same name.
            if self.opened.is_empty() {
                return Err(error);
            }
            for (earlier, _) in &self.opened {
                // Visibility outlives this second handle.
                open(earlier, Visible::ToAll)?;
            }
            open(&path, Visible::ByName)
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

/// All symbols are bound at once: one that is nowhere must fail here, not at its first call in a frame.
#[cfg(unix)]
fn open(path: &Path, visible: Visible) -> Result<Library, libloading::Error> {
    use libloading::os::unix::{Library as UnixLibrary, RTLD_GLOBAL, RTLD_LOCAL, RTLD_NOW};

    let scope = match visible {
        Visible::ByName => RTLD_LOCAL,
        Visible::ToAll => RTLD_GLOBAL,
    };
    // SAFETY: opening runs the library's initialisers. `AudioFilter::load` says that its caller trusts them.
    unsafe { UnixLibrary::open(Some(path), RTLD_NOW | scope) }.map(Library::from)
}

#[cfg(not(unix))]
fn open(path: &Path, _visible: Visible) -> Result<Library, libloading::Error> {
    // SAFETY: opening runs the library's initialisers. `AudioFilter::load` says that its caller trusts them.
    unsafe { Library::new(path) }
}
