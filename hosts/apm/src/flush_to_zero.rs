//! Calls into the library with subnormal numbers flushed to zero.
//!
//! After some seconds of a silent far end, the library's filters decay into subnormal numbers, and on x86 an operation
//! on one takes a hundred times as long. WebRTC flushes them itself (`DenormalDisabler`), but only where Clang
//! compiles it; a build by GCC has to be called this way.

/// Runs `call` with subnormal results, and on x86 subnormal inputs, taken as zero on this thread. On processors other
/// than x86-64 and AArch64 it only runs `call`.
///
/// `call` must do no floating-point arithmetic in Rust, which assumes the processor's default mode.
pub(crate) fn flush_to_zero<T>(call: impl FnOnce() -> T) -> T {
    let _mode = FlushToZero::new();
    call()
}

/// Restores the thread's mode when it is dropped, also while a panic unwinds.
struct FlushToZero {
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    before: mode::Register,
}

impl FlushToZero {
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    fn new() -> Self {
        let before = mode::read();
        mode::write(before | mode::FLUSH);
        Self { before }
    }

    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    fn new() -> Self {
        Self {}
    }
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
impl Drop for FlushToZero {
    fn drop(&mut self) {
        mode::write(self.before);
    }
}

/// The register MXCSR: Intel's manual, volume 1, section 10.2.3.
#[cfg(target_arch = "x86_64")]
mod mode {
    use core::arch::asm;

    pub(super) type Register = u32;

    /// The bits "flush to zero" (results) and "denormals are zeros" (inputs).
    pub(super) const FLUSH: Register = 1 << 15 | 1 << 6;

    pub(super) fn read() -> Register {
        let mut value: Register = 0;
        // SAFETY: the instruction writes the register's 32 bits to `value` and does nothing else.
        unsafe { asm!("stmxcsr [{}]", in(reg) &raw mut value, options(nostack, preserves_flags)) }
        value
    }

    pub(super) fn write(value: Register) {
        // SAFETY: `value` was read from the register, with at most the bits of FLUSH added, so that no reserved bit
        // is set and no exception unmasked.
        unsafe { asm!("ldmxcsr [{}]", in(reg) &raw const value, options(nostack, preserves_flags)) }
    }
}

/// The register FPCR: Arm's architecture manual, section D24.2.
#[cfg(target_arch = "aarch64")]
mod mode {
    use core::arch::asm;

    pub(super) type Register = u64;

    /// The bit FZ: results and inputs.
    pub(super) const FLUSH: Register = 1 << 24;

    pub(super) fn read() -> Register {
        let value: Register;
        // SAFETY: the instruction reads the register and does nothing else.
        unsafe { asm!("mrs {}, fpcr", out(reg) value, options(nostack, preserves_flags)) }
        value
    }

    pub(super) fn write(value: Register) {
        // SAFETY: `value` was read from the register, with at most the bit of FLUSH added.
        unsafe { asm!("msr fpcr, {}", in(reg) value, options(nostack, preserves_flags)) }
    }
}

#[cfg(all(test, any(target_arch = "x86_64", target_arch = "aarch64")))]
mod tests {
    use super::*;

    #[test]
    fn the_mode_is_set_during_the_call_and_restored_after_it() {
        let before = mode::read();
        let during = flush_to_zero(mode::read);
        assert_eq!(during, before | mode::FLUSH);
        assert_eq!(mode::read() & mode::FLUSH, before & mode::FLUSH);
    }

    #[test]
    fn a_panic_restores_the_mode() {
        let before = mode::read() & mode::FLUSH;
        std::panic::catch_unwind(|| flush_to_zero(|| panic!("planted"))).expect_err("the planted panic");
        assert_eq!(mode::read() & mode::FLUSH, before);
    }
}
