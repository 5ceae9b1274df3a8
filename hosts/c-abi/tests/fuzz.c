/* Calls the library in any order with any arguments that its contracts allow, from seeds. What must hold: every result is a
 * count or a known code, nothing outside the memory and the buffers is written, a period is filled completely, no more is heard
 * of a track than was pushed, and a destroyed terminal takes no call.
 *
 * HANDSFREE_FUZZ_EXECUTIONS is the number of executions, HANDSFREE_FUZZ_SEED the seed of the only one. */
#include <handsfree.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXECUTIONS 2000
#define LONGEST_PERIOD 1024
#define GUARD 0xA5A5A5A5A5A5A5A5u
#define UNTOUCHED 0x5A5A
#define OPEN_TRACKS 3

/* Memory between two guards. */
static struct { uint64_t before[8], words[HANDSFREE_MEMORY_WORDS], after[8]; } terminal_memory;
static struct { uint64_t before[8], words[HANDSFREE_CANCELLER_WORDS], after[8]; } canceller_memory;
static struct { uint64_t before[8], words[HANDSFREE_SPEECH_WORDS], after[8]; } speech_memory;
static int16_t samples[8 * LONGEST_PERIOD + 64];
static int32_t wide[8 * LONGEST_PERIOD + 64];

static uint64_t seed, state;
static const char *call;
static unsigned long delivered_samples, refused_calls, calls;

/* A track, and the number of its sample frames that were pushed. */
static struct { uint32_t number; uint64_t pushed; } tracks[OPEN_TRACKS];

#define REQUIRE(condition) require(condition, #condition, __LINE__)
static void require(int holds, const char *what, int line)
{
    if (holds) return;
    printf("fuzz.c:%d: %s does not hold after %s: repeat this execution alone with HANDSFREE_FUZZ_SEED=%llu\n", line, what,
           call, (unsigned long long)seed);
    exit(1);
}

/* SplitMix64: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014, section 4. */
static uint64_t next(void)
{
    uint64_t mixed = state += 0x9E3779B97F4A7C15u;
    mixed = (mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9u;
    mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EBu;
    return mixed ^ (mixed >> 31);
}

static uint64_t below(uint64_t end) { return next() % end; }
static int one_in(uint64_t count) { return below(count) == 0; }

/* Returns the pointer, or rarely none. */
#define SOME(pointer) (one_in(40) ? NULL : (pointer))

static int32_t checked(const char *name, int32_t result)
{
    call = name;
    calls++;
    refused_calls += result < 0;
    REQUIRE(result >= HANDSFREE_ERROR_IN_USE);
    return result;
}
#define CALL(function, arguments) checked(#function, (int32_t)function arguments)

static void set_guards(void)
{
    size_t k;
    for (k = 0; k < 8; k++) {
        terminal_memory.before[k] = terminal_memory.after[k] = GUARD;
        canceller_memory.before[k] = canceller_memory.after[k] = GUARD;
        speech_memory.before[k] = speech_memory.after[k] = GUARD;
    }
}

static void check_guards(void)
{
    size_t k;
    for (k = 0; k < 8; k++) {
        REQUIRE(terminal_memory.before[k] == GUARD && terminal_memory.after[k] == GUARD);
        REQUIRE(canceller_memory.before[k] == GUARD && canceller_memory.after[k] == GUARD);
        REQUIRE(speech_memory.before[k] == GUARD && speech_memory.after[k] == GUARD);
    }
}

static uint32_t any_rate(void)
{
    static const uint32_t rates[] = {16000, 16000, 16000, 8000, 48000, 44100, 7999, 0, UINT32_MAX};
    return rates[below(sizeof rates / sizeof *rates)];
}

static uint32_t any_channels(void)
{
    static const uint32_t channels[] = {1, 1, 1, 2, 3, 8, 0, 65, UINT32_MAX};
    return channels[below(sizeof channels / sizeof *channels)];
}

static handsfree_time any_time(uint64_t *position, int64_t *now)
{
    handsfree_time time;
    *now += one_in(10) ? (int32_t)next() : 10000000;
    time.position = one_in(20) ? next() : one_in(20) ? *position + below(2000) : *position;
    time.called_ns = one_in(20) ? (int64_t)next() : *now;
    time.converter_ns = one_in(20) ? (int64_t)next() : *now - 10000000;
    return time;
}

static uint32_t any_track(void)
{
    return one_in(10) ? (uint32_t)next() : tracks[below(OPEN_TRACKS)].number;
}

/* Number of samples of a period, often that of the configuration. */
static size_t any_count(void) { return one_in(10) ? below(8 * LONGEST_PERIOD) : 160 * below(3); }

/* Fills the buffer, so that what a call writes is seen. */
static void clear_samples(void)
{
    size_t k;
    for (k = 0; k < sizeof samples / sizeof *samples; k++) samples[k] = UNTOUCHED;
}

static void check_untouched(size_t from)
{
    size_t k;
    for (k = from; k < sizeof samples / sizeof *samples; k++) REQUIRE(samples[k] == UNTOUCHED);
}

static void play(handsfree *terminal, uint64_t *position, int64_t *now)
{
    handsfree_time time = any_time(position, now);
    size_t count = any_count(), k;
    int32_t frames;
    if (one_in(4)) {
        for (k = 0; k < count + 1; k++) wide[k] = 0x5A5A5A5A;
        frames = CALL(handsfree_playback_period_32, (terminal, SOME(wide), count, SOME(&time)));
        REQUIRE(wide[count] == 0x5A5A5A5A);
    } else {
        clear_samples();
        frames = CALL(handsfree_playback_period, (terminal, SOME(samples), count, SOME(&time)));
        check_untouched(frames < 0 ? 0 : count);
    }
    if (frames >= 0) *position = time.position + count;
}

static void capture(handsfree *terminal, uint64_t *position, int64_t *now)
{
    handsfree_time time = any_time(position, now);
    size_t count = any_count(), k;
    int32_t frames;
    for (k = 0; k < count; k++) wide[k] = (int32_t)next();
    if (one_in(4)) {
        frames = CALL(handsfree_capture_period_32, (terminal, SOME(wide), count, SOME(&time)));
    } else {
        for (k = 0; k < count; k++) samples[k] = (int16_t)wide[k];
        frames = CALL(handsfree_capture_period, (terminal, SOME(samples), count, SOME(&time)));
    }
    if (frames >= 0) *position = time.position + count;
}

static void poll(handsfree *terminal, handsfree_speech *speech, int64_t now)
{
    size_t capacity = one_in(8) ? below(HANDSFREE_POLL_SAMPLES) : HANDSFREE_POLL_SAMPLES;
    handsfree_speech_event event;
    int32_t delivered;
    clear_samples();
    delivered = CALL(handsfree_capture_poll, (terminal, now, SOME(samples), capacity));
    REQUIRE(delivered <= (int32_t)capacity);
    check_untouched(delivered < 0 ? 0 : (size_t)delivered);
    if (delivered > 0) delivered_samples += (unsigned long)delivered;
    if (delivered > 0 && speech)
        REQUIRE(CALL(handsfree_speech_poll, (speech, terminal, SOME(samples), one_in(8) ? below(700) : (size_t)delivered,
                                             (uint32_t)below(one_in(8) ? 9 : 2), SOME(&event))) <= 1);
    if (!speech && !one_in(20)) return;
    clear_samples();
    delivered = CALL(handsfree_speech_read, (speech, SOME(samples), below(2) ? 160 : below(200)));
    REQUIRE(delivered <= HANDSFREE_FRAME_SAMPLES);
    check_untouched(delivered < 0 ? 0 : (size_t)delivered);
}

static void use_track(handsfree *terminal, int64_t now)
{
    uint32_t slot = (uint32_t)below(OPEN_TRACKS), number = any_track();
    uint64_t heard = 0;
    int32_t taken;
    size_t k, count;
    switch (below(9)) {
    case 0:
        if (CALL(handsfree_track_open, (terminal, SOME(&number))) == HANDSFREE_OK) {
            tracks[slot].number = number;
            tracks[slot].pushed = 0;
        }
        break;
    case 1:
    case 2:
        count = below(2000);
        for (k = 0; k < count; k++) samples[k] = (int16_t)next();
        number = tracks[slot].number;
        taken = CALL(handsfree_track_push, (terminal, number, SOME(samples), count));
        REQUIRE(taken <= (int32_t)count);
        /* A number may be in two places: a track that is not open any more is refused. */
        for (k = 0; k < OPEN_TRACKS && taken > 0; k++)
            if (tracks[k].number == number) tracks[k].pushed += (uint64_t)taken;
        break;
    case 3: CALL(handsfree_track_flush, (terminal, number)); break;
    case 4: CALL(handsfree_track_gain, (terminal, number, (uint32_t)next(), (uint32_t)next())); break;
    case 5: CALL(handsfree_track_pause, (terminal, number)); break;
    case 6: CALL(handsfree_track_resume, (terminal, number)); break;
    case 7: CALL(handsfree_track_interrupt, (terminal, number)); break;
    default:
        number = tracks[slot].number;
        if (one_in(6)) CALL(handsfree_track_finish, (terminal, number));
        else if (one_in(6)) CALL(handsfree_track_drop, (terminal, number));
        else if (CALL(handsfree_track_heard, (terminal, number, one_in(8) ? (int64_t)next() : now, SOME(&heard))) == HANDSFREE_OK)
            REQUIRE(heard <= tracks[slot].pushed);
    }
}

static void configure(handsfree *terminal)
{
    handsfree_device device;
    device.rate_hz = any_rate();
    device.channels = any_channels();
    device.max_period_sample_frames = one_in(8) ? (uint32_t)next() : (uint32_t)below(500);
    device.clock_domain = (uint32_t)below(3);
    device.slack_sample_frames = one_in(8) ? (uint32_t)next() : (uint32_t)below(200);
    device.latency_us = one_in(8) ? (uint32_t)next() : (uint32_t)below(100000);
    if (one_in(2)) CALL(handsfree_capture_configure, (terminal, SOME(&device)));
    else CALL(handsfree_playback_configure, (terminal, SOME(&device)));
}

/* Most devices are ready before their periods come. */
static void configure_well(handsfree *terminal)
{
    handsfree_device device;
    memset(&device, 0, sizeof device);
    device.rate_hz = 16000;
    device.channels = 1;
    device.max_period_sample_frames = 320;
    CALL(handsfree_capture_configure, (terminal, &device));
    CALL(handsfree_playback_configure, (terminal, &device));
}

static void any_canceller_call(handsfree_canceller *canceller)
{
    handsfree_canceller_settings settings;
    handsfree_canceller_reading reading;
    int32_t count;
    CALL(handsfree_canceller_defaults, (&settings));
    settings.echo_over_talker = (int32_t)below(250) - 125;
    settings.suppressor = (uint32_t)below(3);
    settings.noise_reduction_db = (uint32_t)below(30);
    switch (below(4)) {
    case 0: CALL(handsfree_canceller_configure, (canceller, SOME(&settings))); break;
    case 1: CALL(handsfree_canceller_reset, (canceller)); break;
    case 2: CALL(handsfree_canceller_read, (canceller, SOME(&reading))); break;
    default:
        clear_samples();
        count = CALL(handsfree_canceller_linear, (canceller, SOME(samples), below(2) ? 160 : below(200)));
        REQUIRE(count <= HANDSFREE_FRAME_SAMPLES);
        check_untouched(count < 0 ? 0 : (size_t)count);
    }
}

static void execute(void)
{
    handsfree *terminal = NULL;
    handsfree_canceller *canceller = NULL;
    handsfree_speech *speech = NULL;
    handsfree_config config;
    handsfree_event event;
    handsfree_stats stats;
    uint64_t played = 0, captured = 0, rest;
    size_t slot;
    int64_t now = 0;
    int32_t drift;
    memset(terminal_memory.words, 0, sizeof terminal_memory.words);
    memset(canceller_memory.words, 0, 16);
    memset(tracks, 0, sizeof tracks);
    set_guards();
    config.rate_hz = one_in(10) ? any_rate() : 16000;
    config.near_channels = one_in(10) ? any_channels() : 1;
    config.far_channels = one_in(10) ? any_channels() : 1;
    config.light_voice = (uint32_t)below(one_in(10) ? 9 : 2);
    config.canceller = NULL;
    if (one_in(8)) {
        CALL(handsfree_canceller_create, (canceller_memory.words, sizeof canceller_memory.words, NULL, &canceller));
        if (one_in(2)) config.light_voice = 0;
        config.canceller = canceller;
    }
    if (one_in(2)) CALL(handsfree_speech_create, (SOME(speech_memory.words), sizeof speech_memory.words, SOME(&speech)));
    CALL(handsfree_create, (terminal_memory.words, one_in(20) ? below(handsfree_memory_bytes()) : sizeof terminal_memory.words,
                            SOME(&config), SOME(&terminal)));
    rest = below(200);
    if (!terminal) {
        /* A terminal that was refused refuses every call too. */
        terminal = (handsfree *)(void *)terminal_memory.words;
        rest = below(10);
    } else if (!one_in(8)) {
        configure_well(terminal);
        for (slot = 0; slot < HANDSFREE_TRACKS; slot++) CALL(handsfree_track_open, (terminal, &tracks[slot].number));
    }
    for (; rest > 0; rest--) {
        switch (below(16)) {
        case 0: case 1: case 2: play(terminal, &played, &now); break;
        case 3: case 4: case 5: capture(terminal, &captured, &now); break;
        case 6: case 7: poll(terminal, speech, one_in(20) ? (int64_t)next() : now); break;
        case 8: case 9: CALL(handsfree_playback_poll, (terminal)); break;
        case 10: case 11: case 12: use_track(terminal, now); break;
        case 13:
            while (CALL(handsfree_event_poll, (terminal, &event)) == 1) REQUIRE(event.kind >= 1 && event.kind <= 14);
            break;
        case 14: if (one_in(4)) configure(terminal); else if (canceller) any_canceller_call(canceller); break;
        default:
            if (one_in(10)) CALL(handsfree_playback_stop, (terminal));
            CALL(handsfree_drift, (terminal, SOME(&drift)));
            CALL(handsfree_read_stats, (terminal, SOME(&stats)));
        }
        check_guards();
    }
    if (CALL(handsfree_destroy, (terminal)) == HANDSFREE_OK) {
        REQUIRE(CALL(handsfree_playback_poll, (terminal)) == HANDSFREE_ERROR_NOT_CREATED);
        REQUIRE(CALL(handsfree_destroy, (terminal)) == HANDSFREE_ERROR_NOT_CREATED);
    }
    if (canceller) REQUIRE(CALL(handsfree_canceller_destroy, (canceller)) == HANDSFREE_OK);
    check_guards();
}

int main(void)
{
    const char *count_text = getenv("HANDSFREE_FUZZ_EXECUTIONS"), *seed_text = getenv("HANDSFREE_FUZZ_SEED");
    uint64_t first = seed_text ? strtoull(seed_text, NULL, 10) : 0;
    uint64_t count = seed_text ? 1 : count_text ? strtoull(count_text, NULL, 10) : EXECUTIONS;
    for (seed = first; seed < first + count; seed++) {
        state = seed;
        execute();
    }
    printf("c: %llu executions, %lu calls, of which %lu were refused, %lu samples delivered\n", (unsigned long long)count, calls,
           refused_calls, delivered_samples);
    /* Executions of which nothing reaches the worker test little. */
    if (!seed_text && count >= EXECUTIONS && (delivered_samples < 160 * count || refused_calls > calls / 2)) {
        printf("fuzz.c: too few calls have an effect\n");
        return 1;
    }
    return 0;
}
