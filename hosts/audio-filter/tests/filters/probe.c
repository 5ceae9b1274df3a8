/* A test filter that counts the calls it receives and, on demand, fails in every way that a filter can fail.
 *
 * At equal rates it delays by one sample and multiplies, so the output shows the state of each session. Options of a
 * session, separated by spaces: gain=0.5 fault=nan from=3 count=2 sleep_ms=30. Switches of the build: OMIT_*, V2,
 * HALF_V2, V2_INT16, TOKEN, ON_LOAD_CODE, ON_LOAD_REFUSALS, REFUSED_SESSION, NEEDS_DEPENDENCY, LIFE_LOG.
 */
#define _POSIX_C_SOURCE 200809L
#include "../../examples/audio_filter.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#ifndef ON_LOAD_CODE
#define ON_LOAD_CODE 0
#endif
/* Number of calls that return that code; all later calls return 0. */
#ifndef ON_LOAD_REFUSALS
#define ON_LOAD_REFUSALS 1000000
#endif
/* Number of the session, counted from 0, for which `create` returns NULL. */
#ifndef REFUSED_SESSION
#define REFUSED_SESSION -1
#endif

#ifdef NEEDS_DEPENDENCY
float dependency_gain(void);
#else
static float dependency_gain(void)
{
    return 1.0f;
}
#endif

enum { MAX_SESSIONS = 4096, TEXT_BYTES = 4096 };

struct session {
    int version;
    atomic_int alive;
    atomic_int inside;
    uint32_t in_rate;
    uint32_t out_rate;
    float gain;
    float last;
    char fault[16];
    long frame;
    long from;
    long count;
    long sleep_ms;
};

/* Never freed, so that calls on a destroyed session can be counted. */
static struct session sessions[MAX_SESSIONS];
static atomic_int on_loads, creates, v1_sessions, v2_sessions, destroys, v1_frames, v2_frames, infos, tokens;
static atomic_int misuses, overlaps, wrong_lengths, processing;
/* Set during a call that is not about a frame, and during the one that concerns all sessions. */
static atomic_int in_control_call, updating;
static uintptr_t on_load_thread;
static char on_load_options[TEXT_BYTES], create_options[TEXT_BYTES], create_info[TEXT_BYTES];
static char last_info[TEXT_BYTES], last_url[TEXT_BYTES], last_token[TEXT_BYTES];

AUDIO_FILTER_API int64_t probe_number(const char *name);
AUDIO_FILTER_API const char *probe_text(const char *name);

#define LIFE_NAME "filter"
#include "life.h"

static void copy(char *to, const char *from)
{
    snprintf(to, TEXT_BYTES, "%s", from);
}

static void option(const char *options, const char *key, char *value, size_t size)
{
    const char *at = strstr(options, key);

    value[0] = '\0';
    if (at != NULL) {
        at += strlen(key);
        snprintf(value, size, "%.*s", (int)strcspn(at, " "), at);
    }
}

static double number(const char *options, const char *key, double otherwise)
{
    char value[32];

    option(options, key, value, sizeof value);
    return value[0] == '\0' ? otherwise : strtod(value, NULL);
}

static void wait_us(long us)
{
    struct timespec time = {us / 1000000, us % 1000000 * 1000};

    while (nanosleep(&time, &time) != 0)
        ;
}

/* Waits without yielding the processor. */
static void spin_us(long us)
{
    struct timespec begun, now;

    clock_gettime(CLOCK_MONOTONIC, &begun);
    do
        clock_gettime(CLOCK_MONOTONIC, &now);
    while ((now.tv_sec - begun.tv_sec) * 1000000 + (now.tv_nsec - begun.tv_nsec) / 1000 < us);
}

/* Calls that are not about a frame must not overlap. Each one waits, so that overlapping calls are detected. */
static void begin_control_call(void)
{
    if (atomic_exchange(&in_control_call, 1))
        atomic_fetch_add(&overlaps, 1);
    wait_us(50);
}

static void end_control_call(void)
{
    atomic_store(&in_control_call, 0);
}

/* Unused in builds that omit its callers. */
__attribute__((unused)) static void *create(int version, uint32_t in_rate, uint32_t out_rate, const char *options, const char *stream_info)
{
    int index = atomic_fetch_add(&creates, 1);
    struct session *session = &sessions[index];

    begin_control_call();
    copy(create_options, options);
    copy(create_info, stream_info);
    end_control_call();
    if (index == REFUSED_SESSION || index >= MAX_SESSIONS)
        return NULL;
    session->version = version;
    session->in_rate = in_rate;
    session->out_rate = out_rate;
    session->gain = dependency_gain() * (float)number(options, "gain=", 1.0);
    session->from = (long)number(options, "from=", 0);
    session->count = (long)number(options, "count=", 1e9);
    session->sleep_ms = (long)number(options, "sleep_ms=", 0);
    option(options, "fault=", session->fault, sizeof session->fault);
    atomic_store(&session->alive, 1);
    atomic_fetch_add(version == 2 ? &v2_sessions : &v1_sessions, 1);
    return session;
}

/* Checks that the session is alive and has no other caller. */
static void enter(struct session *session, int version)
{
    if (!atomic_load(&session->alive) || session->version != version)
        atomic_fetch_add(&misuses, 1);
    if (atomic_exchange(&session->inside, 1) || atomic_load(&updating))
        atomic_fetch_add(&overlaps, 1);
    atomic_fetch_add(&processing, 1);
}

static void leave(struct session *session)
{
    atomic_fetch_sub(&processing, 1);
    atomic_store(&session->inside, 0);
}

static int faulty(struct session *session, const char *fault)
{
    return strcmp(session->fault, fault) == 0 && session->frame >= session->from
        && session->frame < session->from + session->count;
}

#define DEFINE_PROCESS(NAME, SAMPLE, HUGE_SAMPLE, NAN_SAMPLE, INF_SAMPLE)                                        \
    static void NAME##_any(struct session *session, size_t n_in, const SAMPLE *in, size_t n_out, SAMPLE *out)     \
    {                                                                                                             \
        size_t i, n = n_out;                                                                                      \
                                                                                                                  \
        if (n_in != session->in_rate / 100 || n_out != session->out_rate / 100)                                   \
            atomic_fetch_add(&wrong_lengths, 1);                                                                  \
        if (faulty(session, "nothing"))                                                                           \
            n = 0;                                                                                                \
        if (faulty(session, "short"))                                                                             \
            n = n_out / 2;                                                                                        \
        if (faulty(session, "long"))                                                                              \
            n = n_out * 2;                                                                                        \
        for (i = 0; i < n; i++) {                                                                                 \
            size_t at = i * n_in / n_out;                                                                         \
                                                                                                                  \
            if (n_in == n_out) {                                                                                  \
                out[i] = (SAMPLE)(session->gain * session->last);                                                 \
                session->last = (float)in[at];                                                                    \
            } else {                                                                                              \
                out[i] = (SAMPLE)(session->gain * (float)in[at]);                                                 \
            }                                                                                                     \
        }                                                                                                         \
        if (faulty(session, "nan"))                                                                               \
            out[n_out / 3] = NAN_SAMPLE;                                                                          \
        if (faulty(session, "inf"))                                                                               \
            out[n_out - 1] = INF_SAMPLE;                                                                          \
        if (faulty(session, "huge"))                                                                              \
            out[0] = HUGE_SAMPLE;                                                                                 \
        if (faulty(session, "slow"))                                                                              \
            wait_us(1000 * session->sleep_ms);                                                                    \
        if (faulty(session, "busy"))                                                                              \
            spin_us(1000 * session->sleep_ms);                                                                    \
        session->frame++;                                                                                         \
    }                                                                                                             \
                                                                                                                  \
    __attribute__((unused)) static void NAME##_v1_any(const void *self, size_t n, const SAMPLE *in, SAMPLE *out)  \
    {                                                                                                             \
        struct session *session = (struct session *)self;                                                         \
                                                                                                                  \
        enter(session, 1);                                                                                        \
        atomic_fetch_add(&v1_frames, 1);                                                                          \
        NAME##_any(session, n, in, n, out);                                                                       \
        leave(session);                                                                                           \
    }                                                                                                             \
                                                                                                                  \
    __attribute__((unused)) static void NAME##_v2_any(const void *self, size_t n_in, const SAMPLE *in,            \
                                                      size_t n_out, SAMPLE *out)                                  \
    {                                                                                                             \
        struct session *session = (struct session *)self;                                                         \
                                                                                                                  \
        enter(session, 2);                                                                                        \
        atomic_fetch_add(&v2_frames, 1);                                                                          \
        NAME##_any(session, n_in, in, n_out, out);                                                                \
        leave(session);                                                                                           \
    }

DEFINE_PROCESS(int16, int16_t, 32767, 0, 0)
DEFINE_PROCESS(float, float, 1e38f, NAN, INFINITY)

#ifndef OMIT_ON_LOAD
int32_t audio_filter_on_load(const char *options)
{
    copy(on_load_options, options);
    on_load_thread = (uintptr_t)pthread_self();
    return atomic_fetch_add(&on_loads, 1) < ON_LOAD_REFUSALS ? ON_LOAD_CODE : 0;
}
#endif

#ifndef OMIT_CREATE
void *audio_filter_create(uint32_t sample_rate, const char *options, const char *stream_info)
{
    return create(1, sample_rate, sample_rate, options, stream_info);
}
#endif

#ifndef OMIT_DESTROY
void audio_filter_destroy(const void *self)
{
    struct session *session = (struct session *)self;

    begin_control_call();
    if (atomic_load(&session->inside))
        atomic_fetch_add(&overlaps, 1);
    if (!atomic_exchange(&session->alive, 0))
        atomic_fetch_add(&misuses, 1);
    atomic_fetch_add(&destroys, 1);
    end_control_call();
}
#endif

#ifndef OMIT_PROCESS_INT16
void audio_filter_process_int16(const void *self, size_t n, const int16_t *in, int16_t *out)
{
    int16_v1_any(self, n, in, out);
}
#endif

#ifndef OMIT_PROCESS_FLOAT
void audio_filter_process_float(const void *self, size_t n, const float *in, float *out)
{
    float_v1_any(self, n, in, out);
}
#endif

#ifndef OMIT_UPDATE_STREAM_INFO
void audio_filter_update_stream_info(const void *self, const char *stream_info)
{
    struct session *session = (struct session *)self;

    begin_control_call();
    if (!atomic_load(&session->alive))
        atomic_fetch_add(&misuses, 1);
    if (atomic_exchange(&session->inside, 1))
        atomic_fetch_add(&overlaps, 1);
    copy(last_info, stream_info);
    atomic_store(&session->inside, 0);
    end_control_call();
    atomic_fetch_add(&infos, 1);
}
#endif

#if defined(V2) || defined(HALF_V2) || defined(V2_INT16)
void *audio_filter_create_v2(uint32_t in_rate, uint32_t out_rate, const char *options, const char *stream_info)
{
    return create(2, in_rate, out_rate, options, stream_info);
}
#endif

#if defined(V2) || defined(V2_INT16)
void audio_filter_process_int16_v2(const void *self, size_t n_in, const int16_t *in, size_t n_out, int16_t *out)
{
    int16_v2_any(self, n_in, in, n_out, out);
}
#endif

#if defined(V2)
void audio_filter_process_float_v2(const void *self, size_t n_in, const float *in, size_t n_out, float *out)
{
    float_v2_any(self, n_in, in, n_out, out);
}
#endif

#ifdef TOKEN
void audio_filter_update_token(const char *url, const char *token)
{
    begin_control_call();
    if (atomic_exchange(&updating, 1) || atomic_load(&processing) > 0)
        atomic_fetch_add(&overlaps, 1);
    copy(last_url, url);
    copy(last_token, token);
    if (atomic_load(&processing) > 0)
        atomic_fetch_add(&overlaps, 1);
    atomic_store(&updating, 0);
    end_control_call();
    atomic_fetch_add(&tokens, 1);
}
#endif

int64_t probe_number(const char *name)
{
    struct {
        const char *name;
        atomic_int *value;
    } numbers[] = {
        {"on_loads", &on_loads},       {"creates", &creates},     {"v1_sessions", &v1_sessions},
        {"v2_sessions", &v2_sessions}, {"destroys", &destroys},   {"v1_frames", &v1_frames},
        {"v2_frames", &v2_frames},     {"infos", &infos},         {"tokens", &tokens},
        {"misuses", &misuses},         {"overlaps", &overlaps},   {"wrong_lengths", &wrong_lengths},
    };
    size_t i;

    for (i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (strcmp(name, numbers[i].name) == 0)
            return atomic_load(numbers[i].value);
    if (strcmp(name, "on_load_thread_is_mine") == 0)
        return on_load_thread == (uintptr_t)pthread_self();
    return -1;
}

const char *probe_text(const char *name)
{
    if (strcmp(name, "on_load_options") == 0)
        return on_load_options;
    if (strcmp(name, "create_options") == 0)
        return create_options;
    if (strcmp(name, "create_info") == 0)
        return create_info;
    if (strcmp(name, "last_info") == 0)
        return last_info;
    if (strcmp(name, "last_url") == 0)
        return last_url;
    return strcmp(name, "last_token") == 0 ? last_token : "no such text";
}
