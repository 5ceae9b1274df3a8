//! Options of a machine: its modules, programs, devices and processors.

use std::path::{Path, PathBuf};

/// Options for [`Machine::boot`](crate::Machine::boot).
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
    /// Returns a machine without sound cards and with one processor.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Loads a module with parameters, such as `snd-aloop enable=1,1 index=0,1 id=A,B`. Modules load in the order of the
    /// calls.
    #[must_use]
    pub fn module(mut self, line: impl Into<String>) -> Self {
        self.modules.push(line.into());
        self
    }

    /// Copies a program of this computer into the guest's `/bin`, and its libraries to the same paths as here.
    #[must_use]
    pub fn program(mut self, path: impl AsRef<Path>) -> Self {
        self.programs.push(path.as_ref().to_owned());
        self
    }

    /// Copies a file of this computer to a path of the guest.
    #[must_use]
    pub fn file(mut self, path: impl AsRef<Path>, guest_path: impl Into<String>) -> Self {
        self.files.push((path.as_ref().to_owned(), guest_path.into()));
        self
    }

    /// Adds arguments for QEMU, such as `-device`, `qemu-xhci,id=xhci`.
    #[must_use]
    pub fn qemu<S: Into<String>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        self.qemu.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Adds a parameter to the kernel's command line.
    #[must_use]
    pub fn kernel(mut self, parameter: impl Into<String>) -> Self {
        self.kernel.push(parameter.into());
        self
    }

    /// Sets the number of processors of the guest; 1 unless set.
    #[must_use]
    pub const fn processors(mut self, count: u32) -> Self {
        self.processors = Some(count);
        self
    }

    /// Gives the guest its own time: its clock advances by one nanosecond per instruction and skips idle time. Load on this
    /// computer therefore never makes anything in the guest late, the same work always takes the same guest time, and an
    /// idle hour passes in a moment. One second of guest time in which the processor is busy takes about 20 s here. This
    /// requires a single processor, and has no effect under KVM.
    ///
    /// Guest time passes quickly while the guest waits for the test, so run operations that belong together in one script.
    #[must_use]
    pub const fn own_time(mut self) -> Self {
        self.own_time = true;
        self
    }
}
