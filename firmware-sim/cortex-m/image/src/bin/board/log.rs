//! defmt logger that writes its frames to the host by semihosting.

use core::cell::RefCell;

use cortex_m_semihosting::hio::{self, HostStream};
use critical_section::{Mutex, RestoreState};

struct Host {
    stream: Option<HostStream>,
    encoder: defmt::Encoder,
    restore: Option<RestoreState>,
}

static HOST: Mutex<RefCell<Host>> =
    Mutex::new(RefCell::new(Host { stream: None, encoder: defmt::Encoder::new(), restore: None }));

impl Host {
    fn start(&mut self) {
        if self.stream.is_none() {
            self.stream = hio::hstdout().ok();
        }
        let Self { stream, encoder, .. } = self;
        encoder.start_frame(|bytes| send(stream, bytes));
    }

    fn write(&mut self, bytes: &[u8]) {
        let Self { stream, encoder, .. } = self;
        encoder.write(bytes, |bytes| send(stream, bytes));
    }

    fn end(&mut self) {
        let Self { stream, encoder, .. } = self;
        encoder.end_frame(|bytes| send(stream, bytes));
    }
}

fn send(stream: &mut Option<HostStream>, bytes: &[u8]) {
    if let Some(stream) = stream {
        // A host that cannot take the log must not stop the image.
        let _ = stream.write_all(bytes);
    }
}

fn with_host(work: impl FnOnce(&mut Host)) {
    critical_section::with(|token| work(&mut HOST.borrow_ref_mut(token)));
}

#[defmt::global_logger]
struct Logger;

// SAFETY: interrupts are masked from `acquire` to `release`, and there is one core.
unsafe impl defmt::Logger for Logger {
    fn acquire() {
        // SAFETY: `release` ends the critical section in the same context.
        let restore = unsafe { critical_section::acquire() };
        with_host(|host| {
            host.restore = Some(restore);
            host.start();
        });
    }

    unsafe fn flush() {}

    unsafe fn release() {
        let mut restore = None;
        with_host(|host| {
            host.end();
            restore = host.restore.take();
        });
        if let Some(restore) = restore {
            // SAFETY: the state comes from `acquire` in this context.
            unsafe { critical_section::release(restore) };
        }
    }

    unsafe fn write(bytes: &[u8]) {
        with_host(|host| host.write(bytes));
    }
}

defmt::timestamp!("{=u64:us}", handsfree_image::clock::now().as_nanos() as u64 / 1_000);
