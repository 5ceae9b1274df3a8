//! What a machine consists of.

use std::path::{Path, PathBuf};

/// A machine to boot.
#[derive(Clone, Debug, Default)]
pub struct Options {
    pub(crate) modules: Vec<String>,
    pub(crate) programs: Vec<PathBuf>,
    pub(crate) files: Vec<(PathBuf, String)>,
    pub(crate) qemu: Vec<String>,
    pub(crate) kernel: Vec<String>,
    pub(crate) processors: Option<u32>,
    pub(crate) own_time: bool,
}

impl Options {
    /// No sound card, one processor.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Loads a module, with its parameters behind a space: `snd-aloop enable=1,1 index=0,1 id=A,B`. In the order of the calls.
    #[must_use]
    pub fn module(mut self, line: impl Into<String>) -> Self {
        self.modules.push(line.into());
        self
    }

    /// Puts a program of this machine into the guest's `/bin`, and its libraries where they are here.
    #[must_use]
    pub fn program(mut self, path: impl AsRef<Path>) -> Self {
        self.programs.push(path.as_ref().to_owned());
        self
    }

    /// Puts a file of this machine at a path of the guest.
    #[must_use]
    pub fn file(mut self, path: impl AsRef<Path>, guest_path: impl Into<String>) -> Self {
        self.files.push((path.as_ref().to_owned(), guest_path.into()));
        self
    }

    /// Adds arguments to QEMU's: `-device`, `qemu-xhci,id=xhci`.
    #[must_use]
    pub fn qemu<S: Into<String>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        self.qemu.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Adds a word to the kernel's command line.
    #[must_use]
    pub fn kernel(mut self, parameter: impl Into<String>) -> Self {
        self.kernel.push(parameter.into());
        self
    }

    /// How many processors the guest has.
    #[must_use]
    pub const fn processors(mut self, count: u32) -> Self {
        self.processors = Some(count);
        self
    }

    /// Gives the guest a time of its own: its clock counts its instructions, one a nanosecond, and skips what it sleeps
    /// through. So nothing in it is ever late because this machine is busy, and what it does takes as long each time; an
    /// hour in which nothing happens takes a moment. Its processor is then that of a small computer, about 20 times slower
    /// than its clock says here. For one processor; without effect under KVM.
    ///
    /// While it waits for the test, its time runs away: give it one script for all that belongs together.
    #[must_use]
    pub const fn own_time(mut self) -> Self {
        self.own_time = true;
        self
    }
}
