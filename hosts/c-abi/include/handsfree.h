/* handsfree: the audio half of a hands-free voice device, for firmware in C99.
 *
 * Calling contexts: each audio interrupt calls its own period function. One other context, the main
 * loop or one task, calls all other functions. The library calls no callbacks, allocates no memory,
 * never waits and never panics. Generated from the library's source; do not edit. */

#ifndef HANDSFREE_H
#define HANDSFREE_H

#include <stddef.h>
#include <stdint.h>

/* Size of a terminal in words of eight bytes: uint64_t memory[HANDSFREE_MEMORY_WORDS]; */
#if UINTPTR_MAX > 0xffffffffu
#define HANDSFREE_MEMORY_WORDS HANDSFREE_MEMORY_WORDS_64
#else
#define HANDSFREE_MEMORY_WORDS HANDSFREE_MEMORY_WORDS_32
#endif

// Maximum number of samples in a frame of 10 ms, all channels together: one channel at 16 kHz.
#define HANDSFREE_FRAME_SAMPLES 160

// Number of tracks that can play at the same time.
#define HANDSFREE_TRACKS 2

// Number of frames of 10 ms that a track's queue holds.
#define HANDSFREE_QUEUE_FRAMES 7

// Number of played samples that are kept as the echo reference: 250 ms.
#define HANDSFREE_HISTORY_SAMPLES 4000

// Number of frames that each ring between an interrupt and the main loop holds.
#define HANDSFREE_RING_FRAMES 3

// Maximum number of samples that one call of handsfree_capture_poll() delivers.
#define HANDSFREE_POLL_SAMPLES 640

// Size of a terminal in words of eight bytes, for targets with pointers of 32 bits.
#define HANDSFREE_MEMORY_WORDS_32 4096

// Size of a terminal in words of eight bytes, for targets with pointers of 64 bits.
#define HANDSFREE_MEMORY_WORDS_64 4608

// Length of the echo that the echo canceller cancels, in milliseconds: 32 to 512.
#define HANDSFREE_CANCELLER_TAIL_MS 128

// Size of an echo canceller in words of eight bytes.
#define HANDSFREE_CANCELLER_WORDS 7232

// Number of frames of 10 ms that a detector of speech keeps: 300 ms before the start of speech, 300 ms until it is
// noticed, and 40 ms by which its reader may be late.
#define HANDSFREE_SPEECH_FRAMES 64

// Size of a detector of speech in words of eight bytes.
#define HANDSFREE_SPEECH_WORDS 4096

// Status code that a function returns.
enum handsfree_status
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  // The call succeeded.
  HANDSFREE_OK = 0,
  // A pointer is null that must not be null.
  HANDSFREE_ERROR_NULL = -1,
  // The memory is smaller than handsfree_memory_bytes().
  HANDSFREE_ERROR_MEMORY = -2,
  // The memory or a buffer is not aligned for its type.
  HANDSFREE_ERROR_ALIGNMENT = -3,
  // The memory holds no terminal: none was created, or it was destroyed.
  HANDSFREE_ERROR_NOT_CREATED = -4,
  // The memory already holds a terminal.
  HANDSFREE_ERROR_CREATED_TWICE = -5,
  // The device was not configured, or was stopped.
  HANDSFREE_ERROR_NOT_CONFIGURED = -6,
  // The number of samples is not a whole number of sample frames, exceeds the configured period, or
  // does not match the required size of a buffer.
  HANDSFREE_ERROR_LENGTH = -7,
  // The sample rate is not supported, or differs from the terminal's in a build without rate
  // conversion.
  HANDSFREE_ERROR_RATE = -8,
  // The number of channels is not supported.
  HANDSFREE_ERROR_CHANNELS = -9,
  // A frame of 10 ms in this format exceeds HANDSFREE_FRAME_SAMPLES.
  HANDSFREE_ERROR_FRAME = -10,
  // The period is empty or longer than the rings.
  HANDSFREE_ERROR_PERIOD = -11,
  // The latency is longer than HANDSFREE_HISTORY_SAMPLES.
  HANDSFREE_ERROR_LATENCY = -12,
  // The gain is outside 0 to 64.
  HANDSFREE_ERROR_GAIN = -13,
  // Another value is outside its documented range.
  HANDSFREE_ERROR_VALUE = -14,
  // All tracks are in use.
  HANDSFREE_ERROR_NO_TRACK = -15,
  // No track with this number is open.
  HANDSFREE_ERROR_UNKNOWN_TRACK = -16,
  // The queue is full; retry after about 10 ms.
  HANDSFREE_ERROR_FULL = -17,
  // A terminal uses the canceller.
  HANDSFREE_ERROR_IN_USE = -18,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum handsfree_status handsfree_status;
#else
typedef int32_t handsfree_status;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// Kind of an event.
enum handsfree_event_kind
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  // The first frame of a track was mixed.
  HANDSFREE_TRACK_STARTED = 1,
  // An open track has no samples to play; reported once until it plays again.
  HANDSFREE_TRACK_STARVED = 2,
  // The last frame of a track was mixed.
  HANDSFREE_TRACK_ENDED = 3,
  // A track was paused.
  HANDSFREE_TRACK_PAUSED = 4,
  // A track was resumed.
  HANDSFREE_TRACK_RESUMED = 5,
  // A track was interrupted.
  HANDSFREE_TRACK_INTERRUPTED = 6,
  // A device has a new format; `number` is 0 for the microphone and 1 for the loudspeaker.
  HANDSFREE_DEVICE_CHANGED = 7,
  // The voice processing failed and is bypassed for a second; `number` counts the failures.
  HANDSFREE_VOICE_TRIPPED = 8,
  // The voice processing failed again after its retries and stays bypassed.
  HANDSFREE_VOICE_GIVEN_UP = 9,
  // An event without a kind of its own in this version.
  HANDSFREE_OTHER = 10,
  // The echo was removed before and no longer is; it is searched.
  HANDSFREE_ECHO_LOST = 11,
  // The echo was found; `number` is the time in ms by which it comes later than the devices' times say, as a signed
  // 32-bit number.
  HANDSFREE_ECHO_FOUND = 12,
  // A device is more than 2 % away from the rate that it states; `number` is the rate in hertz that was measured,
  // `track` is 0 for the microphone and 1 for the loudspeaker.
  HANDSFREE_RATE_UNTRUE = 13,
  // A device stood still without reporting it; `number` is the length in sample frames of the device, `track` is 0 for
  // the microphone and 1 for the loudspeaker.
  HANDSFREE_DEVICE_STALLED = 14,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum handsfree_event_kind handsfree_event_kind;
#else
typedef int32_t handsfree_event_kind;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// Kind of an event of speech.
enum handsfree_speech_kind
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  // A person has started to speak, or makes a sound like speech.
  HANDSFREE_SPEECH_STARTED = 1,
  // The sound has lasted too long for a cough.
  HANDSFREE_SPEECH_CONFIRMED = 2,
  // The sound has ended.
  HANDSFREE_SPEECH_ENDED = 3,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum handsfree_speech_kind handsfree_speech_kind;
#else
typedef int32_t handsfree_speech_kind;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// What an agent is to do with its voice.
enum handsfree_barge_in_action
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  // Nothing.
  HANDSFREE_BARGE_IN_NONE = 0,
  // Pause the voice: handsfree_track_pause().
  HANDSFREE_BARGE_IN_PAUSE = 1,
  // Go on, because it was a cough: handsfree_track_resume().
  HANDSFREE_BARGE_IN_RESUME = 2,
  // Stop, because a person speaks: handsfree_track_interrupt().
  HANDSFREE_BARGE_IN_INTERRUPT = 3,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum handsfree_barge_in_action handsfree_barge_in_action;
#else
typedef int32_t handsfree_barge_in_action;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// Opaque terminal in memory of HANDSFREE_MEMORY_WORDS words.
typedef struct handsfree handsfree;

// Opaque echo canceller in memory of HANDSFREE_CANCELLER_WORDS words.
typedef struct handsfree_canceller handsfree_canceller;

// Opaque detector of speech in memory of HANDSFREE_SPEECH_WORDS words.
typedef struct handsfree_speech handsfree_speech;

// Settings of a canceller. handsfree_canceller_defaults() sets them.
typedef struct handsfree_canceller_settings {
  // Echo that is suppressed against talker that is kept, from -100 (keeps the talker) to 100 (suppresses
  // the echo). Default: 0.
  int32_t echo_over_talker;
  // 1 to suppress the residual echo. With 0 the output is the linear one, as speech recognition wants
  // it, and 10 ms earlier. Default: 1.
  uint32_t suppressor;
  // 1 for noise like the room's in place of suppressed echo. Default: 1.
  uint32_t comfort_noise;
  // How far the room's steady noise is turned down, in dB, from 0 (not at all) to 24. It needs the
  // suppressor. Default: 0.
  uint32_t noise_reduction_db;
  // 1 to remove what is below 80 Hz. Default: 1.
  uint32_t high_pass;
  // 1 for a linear output that each frame has corrected. With 0 it has more echo in the first seconds, and 4 %
  // of the instructions are spared with a tail of 128 ms; the output with suppression is the same. Default: 1.
  uint32_t corrected_linear;
} handsfree_canceller_settings;

// What a canceller has learned about the echo.
typedef struct handsfree_canceller_reading {
  // 1 once the far end has spoken for a second; before that all other numbers are 0.
  uint32_t is_known;
  // Level of the loudspeaker over its echo at the microphone, in dB.
  float erl_db;
  // Level of the microphone over the filter's error while the far end speaks, in dB.
  float erle_db;
  // Time from the reference to its strongest echo, in milliseconds.
  uint32_t echo_lag_ms;
  // Likelihood that the linear output holds echo, from 0 to 1.
  float residual_echo_likelihood;
  // Likelihood that the near talker speaks, from 0 to 1.
  float near_end_likelihood;
  // How far the filter has converged, from 0 (knows nothing) to 1.
  float convergence;
  // Number of changes of the echo path.
  uint32_t path_changes;
  // Number of times that the filter diverged and was repaired.
  uint32_t divergences;
} handsfree_canceller_reading;

// Event of a terminal.
typedef struct handsfree_event {
  // Kind of the event.
  handsfree_event_kind kind;
  // Number of the track concerned, or 0.
  uint32_t track;
  // Number of sample frames of the track that were mixed, for ended, paused and interrupted tracks;
  // otherwise 0.
  uint64_t position;
  // Additional value that the kind describes, otherwise 0.
  uint32_t number;
} handsfree_event;

// Configuration of a device.
typedef struct handsfree_device {
  // Sample rate, in hertz.
  uint32_t rate_hz;
  // Number of interleaved channels.
  uint32_t channels;
  // Length of the longest period, in sample frames.
  uint32_t max_period_sample_frames;
  // Identifier of the clock that drives the device. The same identifier other than 0 for both devices
  // declares that they share one clock.
  uint32_t clock_domain;
  // Loudspeaker only: delay of the main loop, in sample frames, up to which playback has no gap.
  uint32_t slack_sample_frames;
  // Loudspeaker only: expected latency, in microseconds.
  uint32_t latency_us;
} handsfree_device;

// Position and time of a period.
typedef struct handsfree_time {
  // Number of sample frames of the stream before this period. A jump ahead reports lost sample frames.
  uint64_t position;
  // Time at which the period's first sample was (microphone) or will be (loudspeaker) at the
  // converter, in nanoseconds of the caller's clock.
  int64_t converter_ns;
  // Time of the call, in nanoseconds of the caller's clock.
  int64_t called_ns;
} handsfree_time;

// Event of speech.
typedef struct handsfree_speech_event {
  // Kind of the event.
  handsfree_speech_kind kind;
  // What the agent is to do now.
  handsfree_barge_in_action action;
  // Time at which the first sample of the speech, or the first one behind it, was at the microphone.
  int64_t time_ns;
  // Position of that sample in the microphone's stream.
  uint64_t position;
} handsfree_speech_event;

// Counters of a terminal. They wrap at 2^32.
typedef struct handsfree_stats {
  // Number of periods of the microphone.
  uint32_t capture_periods;
  // Number of frames passed from the microphone to the main loop.
  uint32_t capture_frames;
  // Number of frames dropped because the main loop did not process them in time.
  uint32_t capture_overruns;
  // Number of jumps of the microphone's position.
  uint32_t capture_gaps;
  // Number of periods of the loudspeaker.
  uint32_t playback_periods;
  // Number of frames played.
  uint32_t playback_frames;
  // Number of runs of silence because the main loop had produced no frame.
  uint32_t playback_underruns;
  // Number of jumps of the loudspeaker's position.
  uint32_t playback_gaps;
  // Number of frames delivered to the application.
  uint32_t delivered_frames;
  // Number of sample frames of the echo reference that were lost.
  uint32_t reference_lost_sample_frames;
  // Number of frames with a silent echo reference, because nothing played or the reference was late.
  uint32_t reference_silence_frames;
  // Number of frames in which an open track had no samples.
  uint32_t starved_frames;
  // Number of samples of the mix that were clipped.
  uint32_t clipped_samples;
  // Delay from loudspeaker to microphone according to the devices' times, in microseconds.
  uint32_t delay_us;
  // Total number of overruns, underruns, gaps and stalls.
  uint32_t xruns;
} handsfree_stats;

// Configuration of a terminal.
typedef struct handsfree_config {
  // Sample rate of the tracks and of the samples delivered to the application, in hertz.
  uint32_t rate_hz;
  // Number of channels of the microphone's signal.
  uint32_t near_channels;
  // Number of channels of the loudspeaker's signal.
  uint32_t far_channels;
  // 1 for the light voice path, 0 for no voice processing. The light voice path is not an echo
  // canceller: it attenuates the microphone while only echo is present, and it also filters, gates
  // and levels the signal.
  uint32_t light_voice;
  // Echo canceller that the terminal uses until it is destroyed, or null for none. A terminal has the
  // light voice path or an echo canceller.
  struct handsfree_canceller *canceller;
} handsfree_config;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// Returns the size of a canceller in bytes. Its memory must be aligned to 8 bytes.
size_t handsfree_canceller_bytes(void);

// Stores the default settings.
//
// # Safety
// `settings` points to settings or is null.
handsfree_status handsfree_canceller_defaults(struct handsfree_canceller_settings *settings);

// Creates an echo canceller for HANDSFREE_CANCELLER_TAIL_MS in `memory` and stores a pointer to it, which
// equals `memory`, in `created`. The first 8 bytes of the memory must be 0 unless it holds a destroyed
// canceller. A null pointer for `settings` means the default settings. The canceller works once its
// pointer is in the configuration of a terminal with one channel each and HANDSFREE_FRAME_SAMPLES * 100 Hz.
//
// # Safety
// `memory` points to `bytes` bytes that nothing else uses, `settings` to settings and `created` to a
// pointer, or they are null.
handsfree_status handsfree_canceller_create(void *memory,
                                            size_t bytes,
                                            const struct handsfree_canceller_settings *settings,
                                            struct handsfree_canceller **created);

// Destroys a canceller. The terminal that uses it must be destroyed before.
//
// # Safety
// `canceller` is null or points to memory of a canceller's size and alignment.
handsfree_status handsfree_canceller_destroy(struct handsfree_canceller *canceller);

// Changes the settings from the next frame on; what was learned stays.
//
// # Safety
// `canceller` is a canceller's memory or null, `settings` points to settings or is null.
handsfree_status handsfree_canceller_configure(struct handsfree_canceller *canceller,
                                               const struct handsfree_canceller_settings *settings);

// Forgets what was learned and keeps the settings.
//
// # Safety
// `canceller` is a canceller's memory or null.
handsfree_status handsfree_canceller_reset(struct handsfree_canceller *canceller);

// Stores what a canceller has learned. It reads the whole filter, which takes about a tenth of the time of
// a frame.
//
// # Safety
// `canceller` is a canceller's memory or null, `reading` points to a reading or is null.
handsfree_status handsfree_canceller_read(struct handsfree_canceller *canceller,
                                          struct handsfree_canceller_reading *reading);

// Writes the linear output of the last frame, without suppression of residual echo, to `samples`: for
// speech recognition beside the output for people. Returns the number of samples, HANDSFREE_FRAME_SAMPLES,
// or an error code.
//
// # Safety
// `canceller` is a canceller's memory or null, `samples` points to `capacity` samples or is null.
int32_t handsfree_canceller_linear(struct handsfree_canceller *canceller, int16_t *samples, size_t capacity);

// Returns a readable name of a status code, "unknown" for any other number. The string is static.
const char *handsfree_status_name(int32_t code);

// Removes the oldest event and stores it in `event`. Returns 1, 0 if there is no event, or an error
// code.
//
// # Safety
// `terminal` is a terminal's memory or null, `event` points to an event or is null.
int32_t handsfree_event_poll(struct handsfree *terminal, struct handsfree_event *event);

// Configures the microphone. Call it before the microphone's interrupt is enabled.
//
// # Safety
// `terminal` is a terminal's memory or null, `device` points to a device or is null.
handsfree_status handsfree_capture_configure(struct handsfree *terminal,
                                             const struct handsfree_device *device);

// Configures the loudspeaker. Call it before the loudspeaker's interrupt is enabled. Frames are
// produced for the loudspeaker from then on.
//
// # Safety
// `terminal` is a terminal's memory or null, `device` points to a device or is null.
handsfree_status handsfree_playback_configure(struct handsfree *terminal,
                                              const struct handsfree_device *device);

// Ends playback. Call it after the loudspeaker's interrupt was disabled. Tracks wait until the
// loudspeaker is configured again.
//
// # Safety
// `terminal` is a terminal's memory or null.
handsfree_status handsfree_playback_stop(struct handsfree *terminal);

// Accepts `count` samples (of all channels together) that the microphone has recorded. Returns the
// number of frames that became complete, or an error code. If it is not 0, the main loop has work.
// Called by the microphone's interrupt.
//
// # Safety
// `terminal` is a terminal's memory or null, `samples` points to `count` samples and `time` to a time,
// or they are null. Called by one interrupt.
int32_t handsfree_capture_period(struct handsfree *terminal,
                                 const int16_t *samples,
                                 size_t count,
                                 const struct handsfree_time *time);

// Accepts samples of 32 bits; otherwise equal to handsfree_capture_period().
//
// # Safety
// The conditions of handsfree_capture_period() apply.
int32_t handsfree_capture_period_32(struct handsfree *terminal,
                                    const int32_t *samples,
                                    size_t count,
                                    const struct handsfree_time *time);

// Fills `count` samples (of all channels together) that the loudspeaker plays next. Returns the number
// of frames that it completed, or an error code. If it is not 0, the main loop has work. Called by the
// loudspeaker's interrupt.
//
// # Safety
// The conditions of handsfree_capture_period() apply, and `samples` must be writable.
int32_t handsfree_playback_period(struct handsfree *terminal,
                                  int16_t *samples,
                                  size_t count,
                                  const struct handsfree_time *time);

// Fills samples of 32 bits; otherwise equal to handsfree_playback_period().
//
// # Safety
// The conditions of handsfree_playback_period() apply.
int32_t handsfree_playback_period_32(struct handsfree *terminal,
                                     int32_t *samples,
                                     size_t count,
                                     const struct handsfree_time *time);

// Produces as many frames for the loudspeaker as its ring needs. Returns the number of frames, or an
// error code. Call it whenever an interrupt completed a frame, and at least every few milliseconds.
//
// # Safety
// `terminal` is a terminal's memory or null.
int32_t handsfree_playback_poll(struct handsfree *terminal);

// Processes what the microphone recorded and writes the cleaned samples to `samples`. `capacity` is the
// length of `samples`, at least HANDSFREE_POLL_SAMPLES. `now_ns` is the present time on the clock of
// the periods. Returns the number of samples written, or an error code.
//
// # Safety
// `terminal` is a terminal's memory or null, `samples` points to `capacity` samples or is null.
int32_t handsfree_capture_poll(struct handsfree *terminal, int64_t now_ns, int16_t *samples, size_t capacity);

// Stores in `drift_ppb` how much faster the loudspeaker's clock runs than the microphone's, in parts
// per billion. Returns 1 once the drift is known to within 20 ppm, 0 before that (`drift_ppb` is
// unchanged then), or an error code.
//
// # Safety
// `terminal` is a terminal's memory or null, `drift_ppb` points to a number or is null.
int32_t handsfree_drift(struct handsfree *terminal, int32_t *drift_ppb);

// Returns the size of a detector of speech in bytes. Its memory must be aligned to 8 bytes.
size_t handsfree_speech_bytes(void);

// Creates a detector of speech in `memory` and stores a pointer to it, which equals `memory`, in `created`.
// Whatever the memory holds is overwritten, so creating a detector again makes it forget everything.
//
// # Safety
// `memory` points to `bytes` bytes that nothing else uses and `created` to a pointer, or they are null.
handsfree_status handsfree_speech_create(void *memory, size_t bytes, struct handsfree_speech **created);

// Takes the samples that the last handsfree_capture_poll() of a terminal with an echo canceller wrote, `length`
// of them, and stores an event in `event` if there is one. `agent_speaks` is 1 while the agent speaks or its
// voice is paused, otherwise 0. Call it once after each poll that returned samples. Returns 1 for an event, 0
// for none, or an error code.
//
// # Safety
// `speech` is a detector's memory or null, `terminal` is a terminal's memory or null, `samples` points to
// `length` samples or is null, `event` points to an event or is null.
int32_t handsfree_speech_poll(struct handsfree_speech *speech,
                              struct handsfree *terminal,
                              const int16_t *samples,
                              size_t length,
                              uint32_t agent_speaks,
                              struct handsfree_speech_event *event);

// Writes the next 10 ms of a person's speech to `samples`: from 300 ms before its start until its end was
// noticed. Returns the number of samples, HANDSFREE_FRAME_SAMPLES, 0 if there are none, or an error code.
//
// # Safety
// `speech` is a detector's memory or null, `samples` points to `capacity` samples or is null.
int32_t handsfree_speech_read(struct handsfree_speech *speech, int16_t *samples, size_t capacity);

// Stores the counters in `stats`. May be called in any context.
//
// # Safety
// `terminal` is a terminal's memory or null, `stats` points to counters or is null.
handsfree_status handsfree_read_stats(struct handsfree *terminal, struct handsfree_stats *stats);

// Returns the size of a terminal in bytes. Its memory must be aligned to 8 bytes.
size_t handsfree_memory_bytes(void);

// Creates a terminal in `memory` and stores a pointer to it, which equals `memory`, in `created`. The
// first 8 bytes of the memory must be 0 unless it holds a destroyed terminal. The terminal owns the
// memory until it is destroyed.
//
// # Safety
// `memory` points to `bytes` bytes that nothing else uses, `config` points to a configuration and
// `created` to a pointer, or they are null. The configuration's canceller is a canceller's memory or null.
handsfree_status handsfree_create(void *memory,
                                  size_t bytes,
                                  const struct handsfree_config *config,
                                  struct handsfree **created);

// Destroys a terminal. The caller owns its memory again. Both audio interrupts must be disabled.
//
// # Safety
// `terminal` is null or points to memory of a terminal's size and alignment; nothing else uses it now.
handsfree_status handsfree_destroy(struct handsfree *terminal);

// Opens a track with the terminal's rate and the loudspeaker's channels, and stores its number in
// `track`.
//
// # Safety
// `terminal` is a terminal's memory or null, `track` points to a number or is null.
handsfree_status handsfree_track_open(struct handsfree *terminal, uint32_t *track);

// Queues `count` samples, a whole number of sample frames. Returns the number of samples accepted,
// which is smaller than `count` when the queue is full, or an error code.
//
// # Safety
// `terminal` is a terminal's memory or null, `samples` points to `count` samples or is null.
int32_t handsfree_track_push(struct handsfree *terminal,
                             uint32_t track,
                             const int16_t *samples,
                             size_t count);

// Completes an utterance: queues the last samples even if they do not fill a frame of 10 ms. Without
// this call after the last push, those samples wait for the next push. Returns HANDSFREE_ERROR_FULL
// while the queue has no space.
//
// # Safety
// `terminal` is a terminal's memory or null.
handsfree_status handsfree_track_flush(struct handsfree *terminal, uint32_t track);

// Changes the track's gain within `ramp_ms` milliseconds. `gain_q16` is the gain in units of 1/65536,
// from 0 to 64 * 65536.
//
// # Safety
// `terminal` is a terminal's memory or null.
handsfree_status handsfree_track_gain(struct handsfree *terminal,
                                      uint32_t track,
                                      uint32_t gain_q16,
                                      uint32_t ramp_ms);

// Pauses a track with a fade-out. Its queue is kept.
//
// # Safety
// `terminal` is a terminal's memory or null.
handsfree_status handsfree_track_pause(struct handsfree *terminal, uint32_t track);

// Resumes a track where it was paused.
//
// # Safety
// `terminal` is a terminal's memory or null.
handsfree_status handsfree_track_resume(struct handsfree *terminal, uint32_t track);

// Interrupts a track: fades it out and discards its queue.
//
// # Safety
// `terminal` is a terminal's memory or null.
handsfree_status handsfree_track_interrupt(struct handsfree *terminal, uint32_t track);

// Stores in `heard` the number of sample frames of the track that the loudspeaker has played up to the
// time `now_ns` on the clock of the periods.
//
// # Safety
// `terminal` is a terminal's memory or null, `heard` points to a number or is null.
handsfree_status handsfree_track_heard(struct handsfree *terminal,
                                       uint32_t track,
                                       int64_t now_ns,
                                       uint64_t *heard);

// Closes a track after its queue was played. Its number becomes invalid. Returns HANDSFREE_ERROR_FULL
// while the queue has no space for the last samples; the track stays open then.
//
// # Safety
// `terminal` is a terminal's memory or null.
handsfree_status handsfree_track_finish(struct handsfree *terminal, uint32_t track);

// Closes a track at once with a fade-out. Its number becomes invalid.
//
// # Safety
// `terminal` is a terminal's memory or null.
handsfree_status handsfree_track_drop(struct handsfree *terminal, uint32_t track);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* HANDSFREE_H */
