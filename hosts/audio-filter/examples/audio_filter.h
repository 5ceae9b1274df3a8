/* Functions that a filter exports. The first six are required. A host finds them by their names. */
#ifndef AUDIO_FILTER_H
#define AUDIO_FILTER_H

#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32)
#define AUDIO_FILTER_API __declspec(dllexport)
#else
#define AUDIO_FILTER_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* Called once, before any other function. `options` is JSON: {"url":"...","token":"..."}. May block. Returns 0 on
 * success. */
AUDIO_FILTER_API int32_t audio_filter_on_load(const char *options);

/* Makes a session for one channel. `options` is the application's text for this filter; `stream_info` is JSON with url,
 * roomId, roomName, participantIdentity, participantId and trackId. Returns NULL to switch the filter off for this
 * stream. */
AUDIO_FILTER_API void *audio_filter_create(uint32_t sample_rate, const char *options, const char *stream_info);

/* Destroys a session. Called once for each session, never while the session processes a frame. */
AUDIO_FILTER_API void audio_filter_destroy(const void *self);

/* Processes 10 ms: reads and writes exactly `n` samples. Called by the audio worker, so it must not allocate, lock or
 * wait. */
AUDIO_FILTER_API void audio_filter_process_int16(const void *self, size_t n, const int16_t *in, int16_t *out);

/* Processes 10 ms of floats with full scale at 1.0; otherwise like audio_filter_process_int16. */
AUDIO_FILTER_API void audio_filter_process_float(const void *self, size_t n, const float *in, float *out);

/* Passes new stream information as JSON. Never called while the session processes a frame. */
AUDIO_FILTER_API void audio_filter_update_stream_info(const void *self, const char *stream_info);

/* Optional, all three functions or none: makes and runs a session with different input and output rates. */
AUDIO_FILTER_API void *audio_filter_create_v2(uint32_t in_rate, uint32_t out_rate, const char *options,
                                              const char *stream_info);
AUDIO_FILTER_API void audio_filter_process_int16_v2(const void *self, size_t n_in, const int16_t *in, size_t n_out,
                                                    int16_t *out);
AUDIO_FILTER_API void audio_filter_process_float_v2(const void *self, size_t n_in, const float *in, size_t n_out,
                                                    float *out);

/* Optional: passes new credentials for the filter as a whole. Never called while any session processes a frame. */
AUDIO_FILTER_API void audio_filter_update_token(const char *url, const char *token);

#ifdef __cplusplus
}
#endif

#endif
