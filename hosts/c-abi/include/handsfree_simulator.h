/* The simulated board of handsfree, for C99 programs on a host: a microphone, a loudspeaker and a living room on a
 * virtual clock. The program advances the board step by step and serves the interrupts itself. The library calls no
 * callbacks. All calls must come from one thread. The codes are those of handsfree.h. Generated from the library's
 * source; do not edit. */

#ifndef HANDSFREE_SIMULATOR_H
#define HANDSFREE_SIMULATOR_H

#include <stddef.h>
#include <stdint.h>
#include "handsfree.h"

// Result of handsfree_board_step(): the microphone's interrupt is due and `samples` were recorded.
#define HANDSFREE_BOARD_CAPTURE 1

// Result of handsfree_board_step(): the loudspeaker's interrupt is due and the program must fill
// `samples`.
#define HANDSFREE_BOARD_PLAYBACK 2

// Result of handsfree_board_step(): the main loop runs, some time after an interrupt.
#define HANDSFREE_BOARD_WORK 3

// A simulated board.
typedef struct handsfree_board handsfree_board;

// Configuration of a simulated board and its room.
typedef struct handsfree_board_config {
  // Sample rate of microphone and loudspeaker, in hertz. Both have one channel of 16 bits.
  uint32_t rate_hz;
  // Period of microphone and loudspeaker in sample frames, 1 to 8192.
  uint32_t period_sample_frames;
  // Deviation of the microphone's clock from its nominal rate, -10000 to 10000 ppm; positive values
  // are fast.
  double capture_ppm;
  // Deviation of the loudspeaker's clock from its nominal rate, -10000 to 10000 ppm; positive values
  // are fast.
  double playback_ppm;
  // Delay from the microphone's converter to its interrupt in microseconds, in addition to the
  // period; at most 10 s.
  uint32_t capture_latency_us;
  // Delay from the loudspeaker's interrupt to its converter in microseconds; at most 10 s.
  uint32_t render_latency_us;
  // Largest error of the reported times in either direction, in microseconds; 0 to 1000000.
  double jitter_us;
  // Gain of the path through a living room from loudspeaker to microphone, 0 to 64; 1 is the loss
  // over 0.4 m of air.
  double echo_gain;
  // Level of the room's noise, 0 to 1; 1 is an RMS of full scale.
  double noise_level;
  // Seed of all randomness. A program with the same seed repeats its run exactly.
  uint64_t seed;
} handsfree_board_config;

// Description of the event that is due.
typedef struct handsfree_board_period {
  // Samples of the period, one channel, valid until the next step; null when the main loop runs. The
  // board plays the content that a loudspeaker's period has at the next step.
  int16_t *samples;
  // Number of samples.
  size_t count;
  // Position and time of the period, as handsfree_capture_period() and handsfree_playback_period()
  // expect them. When the main loop runs, `called_ns` is the present time.
  handsfree_time time;
} handsfree_board_period;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// Creates a board at time 0 with both streams running and stores it in `created`. Returns 0 or an error
// code of `handsfree.h`.
//
// # Safety
// `config` points to a configuration and `created` to a pointer, or they are null.
int32_t handsfree_board_create(const struct handsfree_board_config *config, struct handsfree_board **created);

// Advances to the next event and describes it in `period`. Returns its kind, HANDSFREE_BOARD_CAPTURE,
// HANDSFREE_BOARD_PLAYBACK or HANDSFREE_BOARD_WORK, or an error code.
//
// # Safety
// `board` was created by handsfree_board_create() or is null, `period` points to a period or is null.
// All calls come from one thread.
int32_t handsfree_board_step(struct handsfree_board *board, struct handsfree_board_period *period);

// Destroys a board. Null is allowed.
//
// # Safety
// `board` was created by handsfree_board_create() and is not used again, or is null.
void handsfree_board_destroy(struct handsfree_board *board);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* HANDSFREE_SIMULATOR_H */
