/* handsfree: the audio half of a hands-free voice device, for firmware in C99.
 *
 * Who may call what: the two period functions belong to the audio interrupts, one each; everything
 * else belongs to one context, the main loop or one task. Nothing is called back, nothing is
 * allocated, nothing waits, nothing panics. Generated from the library's source; do not edit. */

#ifndef HANDSFREE_H
#define HANDSFREE_H

#include <stddef.h>
#include <stdint.h>

/* Eight-byte words of memory for a terminal: uint64_t memory[HANDSFREE_MEMORY_WORDS]; */
#if UINTPTR_MAX > 0xffffffffu
#define HANDSFREE_MEMORY_WORDS HANDSFREE_MEMORY_WORDS_64
#else
#define HANDSFREE_MEMORY_WORDS HANDSFREE_MEMORY_WORDS_32
#endif

// Most samples of a frame of 10 ms, all channels: mono at 16 kHz.
#define HANDSFREE_FRAME_SAMPLES 160

// Tracks that play at once.
#define HANDSFREE_TRACKS 2

// Frames of 10 ms that a track's queue holds.
#define HANDSFREE_QUEUE_FRAMES 7

// Samples of what was played that are kept to find its echo in: 250 ms.
#define HANDSFREE_HISTORY_SAMPLES 4000

// Frames that each ring between an interrupt and the main loop holds.
#define HANDSFREE_RING_FRAMES 3

// Samples that one call of handsfree_capture_poll() may deliver.
#define HANDSFREE_POLL_SAMPLES 640

// Eight-byte words of memory for a terminal where pointers have 32 bits.
#define HANDSFREE_MEMORY_WORDS_32 4096

// Eight-byte words of memory for a terminal where pointers have 64 bits.
#define HANDSFREE_MEMORY_WORDS_64 4608

// What happened.
enum handsfree_event_kind
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  // The first frame of a track went into the mix.
  HANDSFREE_TRACK_STARTED = 1,
  // A track had nothing to play; said once.
  HANDSFREE_TRACK_STARVED = 2,
  // A track was mixed to its end.
  HANDSFREE_TRACK_ENDED = 3,
  // A track was paused.
  HANDSFREE_TRACK_PAUSED = 4,
  // A track plays again.
  HANDSFREE_TRACK_RESUMED = 5,
  // A track was interrupted.
  HANDSFREE_TRACK_INTERRUPTED = 6,
  // A device has another format than before; number is 0 for the microphone, 1 for the loudspeaker.
  HANDSFREE_DEVICE_CHANGED = 7,
  // The voice path failed; frames pass it for a second. Number says how often.
  HANDSFREE_VOICE_TRIPPED = 8,
  // The voice path failed once more and stays passed by.
  HANDSFREE_VOICE_GIVEN_UP = 9,
  // Something that this version has no name for.
  HANDSFREE_OTHER = 10,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum handsfree_event_kind handsfree_event_kind;
#else
typedef int32_t handsfree_event_kind;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// What a function answers.
enum handsfree_status
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  // It worked.
  HANDSFREE_OK = 0,
  // A pointer that must not be null is.
  HANDSFREE_ERROR_NULL = -1,
  // The memory is smaller than handsfree_memory_bytes().
  HANDSFREE_ERROR_MEMORY = -2,
  // The memory, or a buffer, is not aligned.
  HANDSFREE_ERROR_ALIGNMENT = -3,
  // The memory holds no terminal: it was not created, or was destroyed.
  HANDSFREE_ERROR_NOT_CREATED = -4,
  // The memory holds a terminal already.
  HANDSFREE_ERROR_CREATED_TWICE = -5,
  // The device was not configured, or was stopped.
  HANDSFREE_ERROR_NOT_CONFIGURED = -6,
  // A number of samples that is no whole number of sample frames, more than the configured period, or
  // more or less than a buffer must have.
  HANDSFREE_ERROR_LENGTH = -7,
  // A sample rate that is not supported, or not the terminal's where rates are not converted.
  HANDSFREE_ERROR_RATE = -8,
  // A number of channels that is not supported.
  HANDSFREE_ERROR_CHANNELS = -9,
  // 10 ms of the format do not fit HANDSFREE_FRAME_SAMPLES.
  HANDSFREE_ERROR_FRAME = -10,
  // A period of no length, or longer than the rings.
  HANDSFREE_ERROR_PERIOD = -11,
  // A latency that HANDSFREE_HISTORY_SAMPLES do not reach across.
  HANDSFREE_ERROR_LATENCY = -12,
  // A gain that is not 0 to 64.
  HANDSFREE_ERROR_GAIN = -13,
  // Another value that is none of those listed for it.
  HANDSFREE_ERROR_VALUE = -14,
  // All tracks are in use.
  HANDSFREE_ERROR_NO_TRACK = -15,
  // No track of that number is open.
  HANDSFREE_ERROR_UNKNOWN_TRACK = -16,
  // The queue is full; try again after some 10 ms.
  HANDSFREE_ERROR_FULL = -17,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum handsfree_status handsfree_status;
#else
typedef int32_t handsfree_status;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// A terminal, in memory of HANDSFREE_MEMORY_WORDS_32 or _64 words. Its content is nobody's business.
typedef struct handsfree handsfree;

// What a terminal reports.
typedef struct handsfree_event {
  // What happened.
  handsfree_event_kind kind;
  // To which track, or 0.
  uint32_t track;
  // How many sample frames of the track were mixed, where that is told.
  uint64_t position;
  // What the kind says of it.
  uint32_t number;
} handsfree_event;

// How a device is.
typedef struct handsfree_device {
  // Its rate in hertz.
  uint32_t rate_hz;
  // Its channels, interleaved.
  uint32_t channels;
  // The longest period, in sample frames.
  uint32_t max_period_sample_frames;
  // Which clock drives it: the same number other than 0 for both devices says that it is one clock.
  uint32_t clock_domain;
  // Loudspeaker: how long the main loop may be late, in sample frames, before silence is heard.
  uint32_t slack_sample_frames;
  // Loudspeaker: its latency in microseconds, as far as it is known.
  uint32_t latency_us;
} handsfree_device;

// When and where in its stream a period was.
typedef struct handsfree_time {
  // Sample frames of the stream before this period. A jump ahead says that some were lost.
  uint64_t position;
  // When the period's first sample was (microphone) or will be (loudspeaker) at the converter, in
  // nanoseconds of the caller's clock.
  int64_t converter_ns;
  // Now, on the same clock.
  int64_t called_ns;
} handsfree_time;

// The counters of a terminal. They wrap.
typedef struct handsfree_stats {
  // Periods of the microphone.
  uint32_t capture_periods;
  // Frames handed to the main loop.
  uint32_t capture_frames;
  // Frames dropped because the main loop did not take them.
  uint32_t capture_overruns;
  // Jumps of the microphone's position.
  uint32_t capture_gaps;
  // Periods of the loudspeaker.
  uint32_t playback_periods;
  // Frames played.
  uint32_t playback_frames;
  // Runs of silence because the main loop made nothing.
  uint32_t playback_underruns;
  // Jumps of the loudspeaker's position.
  uint32_t playback_gaps;
  // Frames delivered to the application.
  uint32_t delivered_frames;
  // Sample frames of the reference that were lost.
  uint32_t reference_lost_sample_frames;
  // Frames whose reference was silence, because nothing played or it was not known in time.
  uint32_t reference_silence_frames;
  // Frames in which an open track had nothing to play.
  uint32_t starved_frames;
  // Samples of the mix that were clipped.
  uint32_t clipped_samples;
  // Loudspeaker to microphone, as told by the devices' times, in microseconds.
  uint32_t delay_us;
  // Overruns, underruns and gaps in all.
  uint32_t xruns;
} handsfree_stats;

// How a terminal is to be.
typedef struct handsfree_config {
  // Rate of the terminal, in hertz: what tracks take and the application gets.
  uint32_t rate_hz;
  // Channels of the microphone's signal.
  uint32_t near_channels;
  // Channels of the loudspeaker's signal.
  uint32_t far_channels;
  // 1 for the light voice path, 0 for none. It is no echo canceller: it turns the microphone down
  // while only its echo is heard, and beside that filters, gates and levels it.
  uint32_t light_voice;
} handsfree_config;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// The name of a code, for people; "unknown" for a number that is none.
const char *handsfree_status_name(int32_t code);

// Takes the oldest event. Answers 1 with one in `event`, 0 where there is none, or a code.
//
// # Safety
// `terminal` is a terminal's memory or null, `event` points to an event or is null.
int32_t handsfree_event_poll(struct handsfree *terminal, struct handsfree_event *event);

// Says how the microphone is, before its interrupt is enabled.
//
// # Safety
// `terminal` is a terminal's memory or null, `device` points to a device or is null.
handsfree_status handsfree_capture_configure(struct handsfree *terminal,
                                             const struct handsfree_device *device);

// Says how the loudspeaker is, before its interrupt is enabled; from then on frames are made for it.
//
// # Safety
// `terminal` is a terminal's memory or null, `device` points to a device or is null.
handsfree_status handsfree_playback_configure(struct handsfree *terminal,
                                              const struct handsfree_device *device);

// Ends playback, after its interrupt was disabled. Tracks wait until it is configured again.
//
// # Safety
// `terminal` is a terminal's memory or null.
handsfree_status handsfree_playback_stop(struct handsfree *terminal);

// The microphone's interrupt: `count` samples, all channels, that were just recorded. Answers how many
// frames became complete, so that the main loop need be woken, or a code.
//
// # Safety
// `terminal` is a terminal's memory or null, `samples` points to `count` samples and `time` to a time, or
// they are null. Called by one interrupt.
int32_t handsfree_capture_period(struct handsfree *terminal,
                                 const int16_t *samples,
                                 size_t count,
                                 const struct handsfree_time *time);

// The same for samples of 32 bits.
//
// # Safety
// As for handsfree_capture_period().
int32_t handsfree_capture_period_32(struct handsfree *terminal,
                                    const int32_t *samples,
                                    size_t count,
                                    const struct handsfree_time *time);

// The loudspeaker's interrupt: fills `count` samples, all channels, which play next. Answers as
// handsfree_capture_period().
//
// # Safety
// As for handsfree_capture_period(), with samples that may be written.
int32_t handsfree_playback_period(struct handsfree *terminal,
                                  int16_t *samples,
                                  size_t count,
                                  const struct handsfree_time *time);

// The same for samples of 32 bits.
//
// # Safety
// As for handsfree_playback_period().
int32_t handsfree_playback_period_32(struct handsfree *terminal,
                                     int32_t *samples,
                                     size_t count,
                                     const struct handsfree_time *time);

// Makes frames for the loudspeaker as far as its ring wants them. Answers how many, or a code. To be
// called whenever an interrupt completed a frame, at least every few milliseconds.
//
// # Safety
// `terminal` is a terminal's memory or null.
int32_t handsfree_playback_poll(struct handsfree *terminal);

// Processes what the microphone recorded. Answers how many samples it put to `samples`, which must have
// room for HANDSFREE_POLL_SAMPLES, or a code. `now_ns` is the time, on the same clock as the periods'.
//
// # Safety
// `terminal` is a terminal's memory or null, `samples` points to `room` samples or is null.
int32_t handsfree_capture_poll(struct handsfree *terminal, int64_t now_ns, int16_t *samples, size_t room);

// How much faster the loudspeaker's clock runs than the microphone's, in parts in 10^9, to `drift_ppb`.
// Answers 1 once it is known to within 20 ppm, 0 before, or a code.
//
// # Safety
// `terminal` is a terminal's memory or null, `drift_ppb` points to a number or is null.
int32_t handsfree_drift(struct handsfree *terminal, int32_t *drift_ppb);

// Reads the counters, in any context.
//
// # Safety
// `terminal` is a terminal's memory or null, `stats` points to counters or is null.
handsfree_status handsfree_read_stats(struct handsfree *terminal, struct handsfree_stats *stats);

// Bytes of memory that a terminal needs, aligned to 8.
size_t handsfree_memory_bytes(void);

// Makes a terminal in `memory`, which must be 0 in its first 8 bytes or hold one that was destroyed, and
// which the terminal has until it is destroyed. `made` gets the terminal, which is the memory itself.
//
// # Safety
// `memory` points to `bytes` bytes that nothing else uses, `config` and `made` to what they say.
handsfree_status handsfree_create(void *memory,
                                  size_t bytes,
                                  const struct handsfree_config *config,
                                  struct handsfree **made);

// Ends a terminal; its memory is the caller's again. Both audio interrupts must be off.
//
// # Safety
// `terminal` is null or points to memory of a terminal's size and alignment; nothing else uses it now.
handsfree_status handsfree_destroy(struct handsfree *terminal);

// Opens a track of the terminal's rate and the loudspeaker's channels. `track` gets its number.
//
// # Safety
// `terminal` is a terminal's memory or null, `track` points to a number or is null.
handsfree_status handsfree_track_open(struct handsfree *terminal, uint32_t *track);

// Queues samples, whole sample frames. Answers how many were taken, fewer where the queue is full, or a
// code.
//
// # Safety
// `terminal` is a terminal's memory or null, `samples` points to `count` samples or is null.
int32_t handsfree_track_push(struct handsfree *terminal,
                             uint32_t track,
                             const int16_t *samples,
                             size_t count);

// Ends an utterance: hands on what does not fill a frame of 10 ms yet. To be called after its last push, or its
// last frame waits for the next one. HANDSFREE_ERROR_FULL where the queue has no room for it yet.
//
// # Safety
// `terminal` is a terminal's memory or null.
handsfree_status handsfree_track_flush(struct handsfree *terminal,
                                       uint32_t track);

// Moves to a gain, from 0 to 65536 * 64 in 1/65536, within some milliseconds.
//
// # Safety
// `terminal` is a terminal's memory or null.
handsfree_status handsfree_track_gain(struct handsfree *terminal,
                                      uint32_t track,
                                      uint32_t gain_q16,
                                      uint32_t ramp_ms);

// Fades out and keeps what is queued.
//
// # Safety
// `terminal` is a terminal's memory or null.
handsfree_status handsfree_track_pause(struct handsfree *terminal, uint32_t track);

// Goes on where it was paused.
//
// # Safety
// `terminal` is a terminal's memory or null.
handsfree_status handsfree_track_resume(struct handsfree *terminal, uint32_t track);

// Fades out and drops what is queued.
//
// # Safety
// `terminal` is a terminal's memory or null.
handsfree_status handsfree_track_interrupt(struct handsfree *terminal, uint32_t track);

// How many sample frames of the track had left the loudspeaker by a time, to `heard`.
//
// # Safety
// `terminal` is a terminal's memory or null, `heard` points to a number or is null.
handsfree_status handsfree_track_heard(struct handsfree *terminal,
                                       uint32_t track,
                                       int64_t now_ns,
                                       uint64_t *heard);

// Ends a track: what is queued is played, and its number is no more. HANDSFREE_ERROR_FULL where the queue
// has no room for the tail yet; then it is still open.
//
// # Safety
// `terminal` is a terminal's memory or null.
handsfree_status handsfree_track_finish(struct handsfree *terminal, uint32_t track);

// Takes a track away, with a fade.
//
// # Safety
// `terminal` is a terminal's memory or null.
handsfree_status handsfree_track_drop(struct handsfree *terminal, uint32_t track);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* HANDSFREE_H */
