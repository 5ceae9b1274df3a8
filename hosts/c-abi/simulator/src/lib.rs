//! `libhandsfree_simulator.a`: the simulated board and its room for a C program that serves the interrupts
//! itself, on a host. Firmware links `libhandsfree.a` alone.
//!
//! The program asks for the next thing that happens on the board's virtual clock; nothing is called back.
#![deny(missing_docs)]
#![allow(non_camel_case_types, reason = "the names are C's")]

mod config;

use std::ptr;

use handsfree_core::Clock;
use handsfree_core::audio_io::Direction;
use handsfree_core::time::PeriodTime;
use handsfree_sim::board::{Board, Step};

pub use config::handsfree_board_config;
use config::{ERROR_NULL, make};

/// Served by the program, so it has no frames of its own: the smallest sizes will do.
type BareBoard = Board<'static, 1, 1>;

/// The microphone's interrupt is due: `samples` were recorded.
pub const HANDSFREE_BOARD_CAPTURE: i32 = 1;
/// The loudspeaker's interrupt is due: `samples` are to be filled.
pub const HANDSFREE_BOARD_PLAYBACK: i32 = 2;
/// The main loop's turn, some time after an interrupt.
pub const HANDSFREE_BOARD_WORK: i32 = 3;

/// A simulated board.
pub struct handsfree_board {
    board: BareBoard,
}

/// As in `handsfree.h`, where it is described.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct handsfree_time {
    position: u64,
    converter_ns: i64,
    called_ns: i64,
}

/// What an interrupt is about.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct handsfree_board_period {
    /// The period's samples, mono, valid until the next step; null where it is the main loop's turn. What is in
    /// a loudspeaker's period at the next step is what it plays.
    pub samples: *mut i16,
    /// How many.
    pub count: usize,
    /// When and where in its stream, ready for handsfree_capture_period() and handsfree_playback_period();
    /// in the main loop's turn `called_ns` is the time now.
    pub time: handsfree_time,
}

/// Makes a board at time 0, both its streams running. Answers 0, or a code of `handsfree.h`.
///
/// # Safety
/// `config` and `made` point to what they say, or are null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn handsfree_board_create(
    config: *const handsfree_board_config,
    made: *mut *mut handsfree_board,
) -> i32 {
    if config.is_null() || made.is_null() {
        return ERROR_NULL;
    }
    // SAFETY: by the contract above.
    match make(unsafe { &*config }) {
        Ok(mut board) => {
            board.start_bare();
            // SAFETY: as above.
            unsafe { made.write(Box::into_raw(Box::new(handsfree_board { board }))) };
            0
        }
        Err(code) => code,
    }
}

/// Goes to the next thing that is due and answers what it is: HANDSFREE_BOARD_CAPTURE, HANDSFREE_BOARD_PLAYBACK or
/// HANDSFREE_BOARD_WORK; `period` says more. Or a code.
///
/// # Safety
/// `board` was made by handsfree_board_create() or is null, `period` points to a period or is null. One thread.
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
            None => unreachable!("a bare board's interrupts are the caller's"),
        },
        Step::Worker | Step::Idle => {
            let now = board.clock().now();
            let time = PeriodTime { position: 0, converter: now, called: now };
            let nothing = handsfree_board_period { samples: ptr::null_mut(), count: 0, time: time.into() };
            (HANDSFREE_BOARD_WORK, nothing)
        }
    };
    // SAFETY: as above.
    unsafe { period.write(due) };
    kind
}

/// Ends a board; null is allowed.
///
/// # Safety
/// `board` was made by handsfree_board_create() and is not used again, or is null.
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
