/* What a filter exports. The first six are required. A host looks for them by name. */
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

/* Once, before anything else. `options` is JSON: {"url":"...","token":"..."}. May block. 0 accepts. */
AUDIO_FILTER_API int32_t audio_filter_on_load(const char *options);

/* One session, which is one channel. `options` is what the application wrote for this filter, `stream_info` is JSON with
 * url, roomId, roomName, participantIdentity, participantId and trackId. NULL: the filter is off for this stream. */
AUDIO_FILTER_API void *audio_filter_create(uint32_t sample_rate, const char *options, const char *stream_info);

AUDIO_FILTER_API void audio_filter_destroy(const void *self);

/* 10 ms: reads and writes exactly `n` samples. Called by the audio worker: no allocation, no lock, no waiting. */
AUDIO_FILTER_API void audio_filter_process_int16(const void *self, size_t n, const int16_t *in, int16_t *out);

/* The same with floats, full scale at 1.0. */
AUDIO_FILTER_API void audio_filter_process_float(const void *self, size_t n, const float *in, float *out);

/* The stream's JSON has changed. Never while the session processes. */
AUDIO_FILTER_API void audio_filter_update_stream_info(const void *self, const char *stream_info);

/* Optional, but all three or none of them: a session that may take and give different rates. */
AUDIO_FILTER_API void *audio_filter_create_v2(uint32_t in_rate, uint32_t out_rate, const char *options,
                                              const char *stream_info);
AUDIO_FILTER_API void audio_filter_process_int16_v2(const void *self, size_t n_in, const int16_t *in, size_t n_out,
                                                    int16_t *out);
AUDIO_FILTER_API void audio_filter_process_float_v2(const void *self, size_t n_in, const float *in, size_t n_out,
                                                    float *out);

/* Optional: new credentials, for the filter as a whole. Never while any session processes. */
AUDIO_FILTER_API void audio_filter_update_token(const char *url, const char *token);

#ifdef __cplusplus
}
#endif

#endif
