/* A minimal filter: a gain that is set by the options, for example "gain=0.5".
 *
 *     cc -std=c99 -O2 -Wall -Wextra -Werror -shared -fPIC -o gain.so gain.c
 */
#include "audio_filter.h"

#include <stdlib.h>
#include <string.h>

struct session {
    float gain;
    /* Last sample of the previous frame, from which the interpolation to a different rate starts. */
    float last;
};

int32_t audio_filter_on_load(const char *options)
{
    (void)options;
    return 0;
}

void *audio_filter_create_v2(uint32_t in_rate, uint32_t out_rate, const char *options, const char *stream_info)
{
    static const char key[] = "gain=";
    struct session *session;
    double gain = 1.0;

    (void)in_rate;
    (void)out_rate;
    (void)stream_info;
    if (options[0] != '\0') {
        char *end;

        if (strncmp(options, key, sizeof key - 1) != 0)
            return NULL;
        gain = strtod(options + sizeof key - 1, &end);
        if (*end != '\0' || !(gain >= 0.0 && gain <= 100.0))
            return NULL;
    }
    session = malloc(sizeof *session);
    if (session == NULL)
        return NULL;
    session->gain = (float)gain;
    session->last = 0.0f;
    return session;
}

void *audio_filter_create(uint32_t sample_rate, const char *options, const char *stream_info)
{
    return audio_filter_create_v2(sample_rate, sample_rate, options, stream_info);
}

void audio_filter_destroy(const void *self)
{
    free((void *)self);
}

void audio_filter_update_stream_info(const void *self, const char *stream_info)
{
    (void)self;
    (void)stream_info;
}

static int16_t as_int16(float sample)
{
    if (sample >= 32767.0f)
        return 32767;
    if (sample <= -32768.0f)
        return -32768;
    return (int16_t)(sample < 0.0f ? sample - 0.5f : sample + 0.5f);
}

static float as_float(float sample)
{
    return sample;
}

/* Copies the samples at equal rates and interpolates linearly otherwise, which is sufficient for an example. */
#define DEFINE_PROCESS(NAME, SAMPLE, AS_SAMPLE)                                                                  \
    void NAME##_v2(const void *self, size_t n_in, const SAMPLE *in, size_t n_out, SAMPLE *out)                    \
    {                                                                                                             \
        struct session *session = (struct session *)self;                                                         \
        size_t i;                                                                                                 \
                                                                                                                  \
        for (i = 0; i < n_out; i++) {                                                                             \
            if (n_in == n_out) {                                                                                  \
                out[i] = AS_SAMPLE(session->gain * (float)in[i]);                                                 \
            } else {                                                                                              \
                size_t at = i * n_in / n_out;                                                                     \
                float part = (float)(i * n_in % n_out) / (float)n_out;                                            \
                float from = at == 0 ? session->last : (float)in[at - 1];                                         \
                                                                                                                  \
                out[i] = AS_SAMPLE(session->gain * (from + part * ((float)in[at] - from)));                       \
            }                                                                                                     \
        }                                                                                                         \
        session->last = (float)in[n_in - 1];                                                                      \
    }                                                                                                             \
                                                                                                                  \
    void NAME(const void *self, size_t n, const SAMPLE *in, SAMPLE *out)                                          \
    {                                                                                                             \
        NAME##_v2(self, n, in, n, out);                                                                           \
    }

DEFINE_PROCESS(audio_filter_process_int16, int16_t, as_int16)
DEFINE_PROCESS(audio_filter_process_float, float, as_float)
