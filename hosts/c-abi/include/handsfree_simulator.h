/* handsfree's simulated board, for C99 programs on a host: a microphone, a loudspeaker and a living room on a
 * virtual clock. The program takes one step after the other and serves the interrupts itself; nothing is called
 * back. One thread. Codes are those of handsfree.h. Generated from the library's source; do not edit. */

#ifndef HANDSFREE_SIMULATOR_H
#define HANDSFREE_SIMULATOR_H

#include <stddef.h>
#include <stdint.h>
#include "handsfree.h"

// The microphone's interrupt is due: `samples` were recorded.
#define HANDSFREE_BOARD_CAPTURE 1

// The loudspeaker's interrupt is due: `samples` are to be filled.
#define HANDSFREE_BOARD_PLAYBACK 2

// The main loop's turn, some time after an interrupt.
#define HANDSFREE_BOARD_WORK 3

// A simulated board.
typedef struct handsfree_board handsfree_board;

// How a board and its room are.
typedef struct handsfree_board_config {
  // Rate of microphone and loudspeaker, in hertz; both are mono and of 16 bits.
  uint32_t rate_hz;
  // Their period in sample frames, 1 to 8192.
  uint32_t period_sample_frames;
  // How much faster than nominal the microphone's clock runs, at most 10000 ppm either way.
  double capture_ppm;
  // The same for the loudspeaker's clock.
  double playback_ppm;
  // From the microphone's converter to its interrupt, beside the period, at most 10 s.
  uint32_t capture_latency_us;
  // From the loudspeaker's interrupt to its converter, at most 10 s.
  uint32_t render_latency_us;
  // Times are wrong by up to so much either way, at most 1000000.
  double jitter_us;
  // How loud the microphone hears the loudspeaker through a living room, 0 to 64; 1 is what air does in 0.4 m.
  double echo_gain;
  // How loud the room's noise is, 0 to 1, 1 being an RMS of full scale.
  double noise_level;
  // The same seed and the same program give the same run.
  uint64_t seed;
} handsfree_board_config;

// What an interrupt is about.
typedef struct handsfree_board_period {
  // The period's samples, mono, valid until the next step; null where it is the main loop's turn. What is in
  // a loudspeaker's period at the next step is what it plays.
  int16_t *samples;
  // How many.
  size_t count;
  // When and where in its stream, ready for handsfree_capture_period() and handsfree_playback_period();
  // in the main loop's turn `called_ns` is the time now.
  handsfree_time time;
} handsfree_board_period;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// Makes a board at time 0, both its streams running. Answers 0, or a code of `handsfree.h`.
//
// # Safety
// `config` and `made` point to what they say, or are null.
int32_t handsfree_board_create(const struct handsfree_board_config *config, struct handsfree_board **made);

// Goes to the next thing that is due and answers what it is: HANDSFREE_BOARD_CAPTURE, HANDSFREE_BOARD_PLAYBACK or
// HANDSFREE_BOARD_WORK; `period` says more. Or a code.
//
// # Safety
// `board` was made by handsfree_board_create() or is null, `period` points to a period or is null. One thread.
int32_t handsfree_board_step(struct handsfree_board *board,
                             struct handsfree_board_period *period);

// Ends a board; null is allowed.
//
// # Safety
// `board` was made by handsfree_board_create() and is not used again, or is null.
void handsfree_board_destroy(struct handsfree_board *board);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* HANDSFREE_SIMULATOR_H */
