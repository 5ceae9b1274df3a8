//! `libhandsfree_simulator.a`: a simulated board with its room, for C programs on a host that serve the
//! interrupts themselves. Firmware links only `libhandsfree.a`.
//!
//! The program advances the board to the next event on its virtual clock. The library calls no callbacks.
#![deny(missing_docs)]
#![allow(non_camel_case_types, reason = "the names are C's")]

mod config;

use std::ptr;

use handsfree_core::Clock;
use handsfree_core::audio_io::Direction;
use handsfree_core::time::PeriodTime;
use handsfree_sim::board::{SimulatedBoard, Step};

pub use config::handsfree_board_config;
use config::{ERROR_NULL, create_board};

/// The program serves the interrupts, so the board holds no frames of its own and the smallest sizes are
/// sufficient.
type BareBoard = SimulatedBoard<'static, 1, 1>;

/// Result of handsfree_board_step(): the microphone's interrupt is due and `samples` were recorded.
pub const HANDSFREE_BOARD_CAPTURE: i32 = 1;
/// Result of handsfree_board_step(): the loudspeaker's interrupt is due and the program must fill
/// `samples`.
pub const HANDSFREE_BOARD_PLAYBACK: i32 = 2;
/// Result of handsfree_board_step(): the main loop runs, some time after an interrupt.
pub const HANDSFREE_BOARD_WORK: i32 = 3;

/// A simulated board.
pub struct handsfree_board {
    board: BareBoard,
}

/// The structure of the same name in `handsfree.h`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct handsfree_time {
    position: u64,
    converter_ns: i64,
    called_ns: i64,
}

/// Description of the event that is due.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct handsfree_board_period {
    /// Samples of the period, one channel, valid until the next step; null when the main loop runs. The
    /// board plays the content that a loudspeaker's period has at the next step.
    pub samples: *mut i16,
    /// Number of samples.
    pub count: usize,
    /// Position and time of the period, as handsfree_capture_period() and handsfree_playback_period()
    /// expect them. When the main loop runs, `called_ns` is the present time.
    pub time: handsfree_time,
}

/// Creates a board at time 0 with both streams running and stores it in `created`. Returns 0 or an error
/// code of `handsfree.h`.
///
/// # Safety
/// `config` points to a configuration and `created` to a pointer, or they are null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn handsfree_board_create(
    config: *const handsfree_board_config,
    created: *mut *mut handsfree_board,
) -> i32 {
    if config.is_null() || created.is_null() {
        return ERROR_NULL;
    }
    // SAFETY: by the contract above.
    match create_board(unsafe { &*config }) {
        Ok(mut board) => {
            board.start_bare();
            // SAFETY: as above.
            unsafe { created.write(Box::into_raw(Box::new(handsfree_board { board }))) };
            0
        }
        Err(code) => code,
    }
}

/// Advances to the next event and describes it in `period`. Returns its kind, HANDSFREE_BOARD_CAPTURE,
/// HANDSFREE_BOARD_PLAYBACK or HANDSFREE_BOARD_WORK, or an error code.
///
/// # Safety
/// `board` was created by handsfree_board_create() or is null, `period` points to a period or is null.
/// All calls come from one thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn handsfree_board_step(
    board: *mut handsfree_board,
    period: *mut handsfree_board_period,
) -> i32 {
    if board.is_null() || period.is_null() {
        return ERROR_NULL;
    }
    // SAFETY: by the contract above.
    let board = unsafe { &mut (*board).board };
    let (kind, due) = match board.step() {
        Step::Capture | Step::Playback => match board.period() {
            Some(due) => {
                let kind = match due.direction {
                    Direction::Capture => HANDSFREE_BOARD_CAPTURE,
                    Direction::Playback => HANDSFREE_BOARD_PLAYBACK,
                };
                let (samples, count) = (due.samples.as_mut_ptr(), due.samples.len());
                (kind, handsfree_board_period { samples, count, time: due.time.into() })
            }
            None => unreachable!("the caller serves all interrupts of a bare board"),
        },
        Step::Worker | Step::Idle => {
            let now = board.clock().now();
            let time = PeriodTime { position: 0, converter: now, called: now };
            let no_period = handsfree_board_period { samples: ptr::null_mut(), count: 0, time: time.into() };
            (HANDSFREE_BOARD_WORK, no_period)
        }
    };
    // SAFETY: as above.
    unsafe { period.write(due) };
    kind
}

/// Destroys a board. Null is allowed.
///
/// # Safety
/// `board` was created by handsfree_board_create() and is not used again, or is null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn handsfree_board_destroy(board: *mut handsfree_board) {
    if !board.is_null() {
        // SAFETY: by the contract above.
        drop(unsafe { Box::from_raw(board) });
    }
}

impl From<PeriodTime> for handsfree_time {
    fn from(time: PeriodTime) -> Self {
        Self {
            position: time.position,
            converter_ns: time.converter.as_nanos(),
            called_ns: time.called.as_nanos(),
        }
    }
}
