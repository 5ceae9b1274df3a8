/* Every invalid call returns its error code and leaves the terminal unchanged. */
#include <handsfree.h>

#include <stdio.h>
#include <string.h>

static int failures;

static void expect(int32_t found, int32_t wanted, const char *what, int line)
{
    if (found == wanted) return;
    printf("misuse.c:%d: %s: %s (%d), expected %s (%d)\n", line, what, handsfree_status_name(found), (int)found,
           handsfree_status_name(wanted), (int)wanted);
    failures++;
}
#define EXPECT(call, wanted) expect((int32_t)(call), (int32_t)(wanted), #call, __LINE__)

static uint64_t memory[HANDSFREE_MEMORY_WORDS], other[HANDSFREE_MEMORY_WORDS];
static uint64_t canceller_memory[HANDSFREE_CANCELLER_WORDS], speech_memory[HANDSFREE_SPEECH_WORDS];
static int16_t samples[HANDSFREE_POLL_SAMPLES];
static int32_t wide[160];

static handsfree_config good_config(void)
{
    handsfree_config config;
    config.rate_hz = 16000;
    config.near_channels = 1;
    config.far_channels = 1;
    config.light_voice = 1;
    config.canceller = NULL;
    return config;
}

static handsfree_device good_device(void)
{
    handsfree_device device;
    memset(&device, 0, sizeof device);
    device.rate_hz = 16000;
    device.channels = 1;
    device.max_period_sample_frames = 160;
    return device;
}

static void test_creation(void)
{
    handsfree *terminal = NULL;
    handsfree_config config = good_config();
    EXPECT(handsfree_create(NULL, sizeof memory, &config, &terminal), HANDSFREE_ERROR_NULL);
    EXPECT(handsfree_create(memory, sizeof memory, NULL, &terminal), HANDSFREE_ERROR_NULL);
    EXPECT(handsfree_create(memory, sizeof memory, &config, NULL), HANDSFREE_ERROR_NULL);
    EXPECT(handsfree_create((char *)memory + 1, sizeof memory - 8, &config, &terminal), HANDSFREE_ERROR_ALIGNMENT);
    EXPECT(handsfree_create(memory, handsfree_memory_bytes() - 1, &config, &terminal), HANDSFREE_ERROR_MEMORY);
    config.rate_hz = 7999;
    EXPECT(handsfree_create(memory, sizeof memory, &config, &terminal), HANDSFREE_ERROR_RATE);
    config.rate_hz = 16050;
    EXPECT(handsfree_create(memory, sizeof memory, &config, &terminal), HANDSFREE_ERROR_RATE);
    config = good_config();
    config.near_channels = 0;
    EXPECT(handsfree_create(memory, sizeof memory, &config, &terminal), HANDSFREE_ERROR_CHANNELS);
    config = good_config();
    config.far_channels = 2;
    EXPECT(handsfree_create(memory, sizeof memory, &config, &terminal), HANDSFREE_ERROR_FRAME);
    config = good_config();
    config.light_voice = 2;
    EXPECT(handsfree_create(memory, sizeof memory, &config, &terminal), HANDSFREE_ERROR_VALUE);
    EXPECT(terminal == NULL, 1);
    config = good_config();
    EXPECT(handsfree_create(memory, sizeof memory, &config, &terminal), HANDSFREE_OK);
    EXPECT((void *)terminal == (void *)memory, 1);
    EXPECT(handsfree_create(memory, sizeof memory, &config, &terminal), HANDSFREE_ERROR_CREATED_TWICE);
    EXPECT(handsfree_destroy(terminal), HANDSFREE_OK);
    EXPECT(handsfree_destroy(terminal), HANDSFREE_ERROR_NOT_CREATED);
    EXPECT(handsfree_destroy(NULL), HANDSFREE_ERROR_NULL);
    EXPECT(handsfree_create(memory, sizeof memory, &config, &terminal), HANDSFREE_OK);
}

static void test_canceller(void)
{
    handsfree *terminal = NULL;
    handsfree_canceller *canceller = NULL, *none = (handsfree_canceller *)(void *)other;
    handsfree_canceller_settings settings;
    handsfree_canceller_reading reading;
    handsfree_config config = good_config();
    EXPECT(handsfree_canceller_defaults(NULL), HANDSFREE_ERROR_NULL);
    EXPECT(handsfree_canceller_defaults(&settings), HANDSFREE_OK);
    EXPECT(settings.echo_over_talker == 0 && settings.suppressor == 1 && settings.comfort_noise == 1, 1);
    EXPECT(settings.high_pass, 1);
    EXPECT(settings.noise_reduction_db, 0);
    settings.noise_reduction_db = 25;
    EXPECT(handsfree_canceller_create(canceller_memory, sizeof canceller_memory, &settings, &canceller), HANDSFREE_ERROR_VALUE);
    settings.noise_reduction_db = 24;
    EXPECT(handsfree_canceller_create(NULL, sizeof canceller_memory, NULL, &canceller), HANDSFREE_ERROR_NULL);
    EXPECT(handsfree_canceller_create(canceller_memory, sizeof canceller_memory, NULL, NULL), HANDSFREE_ERROR_NULL);
    EXPECT(handsfree_canceller_create((char *)canceller_memory + 4, sizeof canceller_memory - 4, NULL, &canceller),
           HANDSFREE_ERROR_ALIGNMENT);
    EXPECT(handsfree_canceller_create(canceller_memory, handsfree_canceller_bytes() - 1, NULL, &canceller),
           HANDSFREE_ERROR_MEMORY);
    settings.echo_over_talker = 101;
    EXPECT(handsfree_canceller_create(canceller_memory, sizeof canceller_memory, &settings, &canceller), HANDSFREE_ERROR_VALUE);
    settings.echo_over_talker = -100;
    settings.suppressor = 2;
    EXPECT(handsfree_canceller_create(canceller_memory, sizeof canceller_memory, &settings, &canceller), HANDSFREE_ERROR_VALUE);
    settings.suppressor = 0;
    EXPECT(canceller == NULL, 1);
    EXPECT(handsfree_canceller_read(none, &reading), HANDSFREE_ERROR_NOT_CREATED);
    EXPECT(handsfree_canceller_configure(none, &settings), HANDSFREE_ERROR_NOT_CREATED);
    EXPECT(handsfree_canceller_reset(none), HANDSFREE_ERROR_NOT_CREATED);
    EXPECT(handsfree_canceller_reset(NULL), HANDSFREE_ERROR_NULL);
    EXPECT(handsfree_canceller_create(canceller_memory, sizeof canceller_memory, &settings, &canceller), HANDSFREE_OK);
    EXPECT((void *)canceller == (void *)canceller_memory, 1);
    EXPECT(handsfree_canceller_create(canceller_memory, sizeof canceller_memory, NULL, &canceller),
           HANDSFREE_ERROR_CREATED_TWICE);
    EXPECT(handsfree_canceller_configure(canceller, NULL), HANDSFREE_ERROR_NULL);
    settings.high_pass = 7;
    EXPECT(handsfree_canceller_configure(canceller, &settings), HANDSFREE_ERROR_VALUE);
    settings.high_pass = 0;
    EXPECT(handsfree_canceller_configure(canceller, &settings), HANDSFREE_OK);
    EXPECT(handsfree_canceller_read(canceller, NULL), HANDSFREE_ERROR_NULL);
    EXPECT(handsfree_canceller_read(canceller, &reading), HANDSFREE_OK);
    EXPECT(reading.is_known, 0);
    EXPECT(handsfree_canceller_linear(canceller, NULL, 160), HANDSFREE_ERROR_NULL);
    EXPECT(handsfree_canceller_linear(canceller, samples, 159), HANDSFREE_ERROR_LENGTH);
    EXPECT(handsfree_canceller_linear(canceller, samples, 160), 160);
    /* A terminal takes a canceller or the light voice path, and only at the canceller's rate and with one channel each. */
    config.canceller = canceller;
    EXPECT(handsfree_create(memory, sizeof memory, &config, &terminal), HANDSFREE_ERROR_VALUE);
    config.light_voice = 0;
    config.rate_hz = 8000;
    EXPECT(handsfree_create(memory, sizeof memory, &config, &terminal), HANDSFREE_ERROR_RATE);
    config.near_channels = 2;
    config.rate_hz = 16000;
    EXPECT(handsfree_create(memory, sizeof memory, &config, &terminal), HANDSFREE_ERROR_CHANNELS);
    config.near_channels = 1;
    config.canceller = none;
    EXPECT(handsfree_create(memory, sizeof memory, &config, &terminal), HANDSFREE_ERROR_NOT_CREATED);
    config.canceller = canceller;
    EXPECT(handsfree_create(memory, sizeof memory, &config, &terminal), HANDSFREE_OK);
    EXPECT(handsfree_create(other, sizeof other, &config, &terminal), HANDSFREE_ERROR_IN_USE);
    EXPECT(handsfree_canceller_destroy(canceller), HANDSFREE_ERROR_IN_USE);
    EXPECT(handsfree_canceller_reset(canceller), HANDSFREE_OK);
    EXPECT(handsfree_destroy((handsfree *)(void *)memory), HANDSFREE_OK);
    EXPECT(handsfree_canceller_destroy(canceller), HANDSFREE_OK);
    EXPECT(handsfree_canceller_destroy(canceller), HANDSFREE_ERROR_NOT_CREATED);
}

static void test_speech(void)
{
    handsfree *none = (handsfree *)(void *)other, *terminal = (handsfree *)(void *)memory;
    handsfree_speech *speech = (handsfree_speech *)(void *)speech_memory;
    handsfree_speech_event event;
    handsfree_config config = good_config();
    EXPECT(handsfree_speech_create(NULL, sizeof speech_memory, &speech), HANDSFREE_ERROR_NULL);
    EXPECT(handsfree_speech_create(speech_memory, sizeof speech_memory, NULL), HANDSFREE_ERROR_NULL);
    EXPECT(handsfree_speech_create((char *)speech_memory + 4, sizeof speech_memory - 4, &speech), HANDSFREE_ERROR_ALIGNMENT);
    EXPECT(handsfree_speech_create(speech_memory, handsfree_speech_bytes() - 1, &speech), HANDSFREE_ERROR_MEMORY);
    EXPECT(handsfree_speech_read(NULL, samples, 160), HANDSFREE_ERROR_NULL);
    EXPECT(handsfree_speech_read(speech, samples, 160), HANDSFREE_ERROR_NOT_CREATED);
    EXPECT(handsfree_speech_poll(speech, none, samples, 160, 0, &event), HANDSFREE_ERROR_NOT_CREATED);
    EXPECT(handsfree_speech_create(speech_memory, sizeof speech_memory, &speech), HANDSFREE_OK);
    EXPECT((void *)speech == (void *)speech_memory, 1);
    EXPECT(handsfree_speech_poll(speech, none, samples, 160, 0, &event), HANDSFREE_ERROR_NOT_CREATED);
    EXPECT(handsfree_create(memory, sizeof memory, &config, &terminal), HANDSFREE_OK);
    EXPECT(handsfree_speech_poll(speech, terminal, NULL, 0, 0, &event), HANDSFREE_ERROR_NULL);
    EXPECT(handsfree_speech_poll(speech, terminal, samples, 0, 0, NULL), HANDSFREE_ERROR_NULL);
    EXPECT(handsfree_speech_poll(speech, terminal, samples, 160, 0, &event), HANDSFREE_ERROR_LENGTH);
    EXPECT(handsfree_speech_poll(speech, terminal, samples, 0, 2, &event), HANDSFREE_ERROR_VALUE);
    EXPECT(handsfree_speech_poll(speech, terminal, samples, 0, 0, &event), 0);
    EXPECT(handsfree_speech_read(speech, NULL, 160), HANDSFREE_ERROR_NULL);
    EXPECT(handsfree_speech_read(speech, samples, 159), HANDSFREE_ERROR_LENGTH);
    EXPECT(handsfree_speech_read(speech, samples, 160), 0);
    EXPECT(handsfree_destroy(terminal), HANDSFREE_OK);
}

static void test_calls_without_a_terminal(void)
{
    handsfree *none = (handsfree *)(void *)other;
    handsfree_device device = good_device();
    handsfree_time time = {0, 0, 0};
    handsfree_event event;
    handsfree_stats stats;
    uint32_t track;
    uint64_t heard;
    EXPECT(handsfree_capture_configure(none, &device), HANDSFREE_ERROR_NOT_CREATED);
    EXPECT(handsfree_playback_configure(none, &device), HANDSFREE_ERROR_NOT_CREATED);
    EXPECT(handsfree_playback_stop(none), HANDSFREE_ERROR_NOT_CREATED);
    EXPECT(handsfree_capture_period(none, samples, 160, &time), HANDSFREE_ERROR_NOT_CREATED);
    EXPECT(handsfree_playback_period(none, samples, 160, &time), HANDSFREE_ERROR_NOT_CREATED);
    EXPECT(handsfree_capture_poll(none, 0, samples, HANDSFREE_POLL_SAMPLES), HANDSFREE_ERROR_NOT_CREATED);
    EXPECT(handsfree_playback_poll(none), HANDSFREE_ERROR_NOT_CREATED);
    EXPECT(handsfree_track_open(none, &track), HANDSFREE_ERROR_NOT_CREATED);
    EXPECT(handsfree_track_push(none, 1, samples, 1), HANDSFREE_ERROR_NOT_CREATED);
    EXPECT(handsfree_track_heard(none, 1, 0, &heard), HANDSFREE_ERROR_NOT_CREATED);
    EXPECT(handsfree_event_poll(none, &event), HANDSFREE_ERROR_NOT_CREATED);
    EXPECT(handsfree_read_stats(none, &stats), HANDSFREE_ERROR_NOT_CREATED);
    EXPECT(handsfree_playback_poll(NULL), HANDSFREE_ERROR_NULL);
    EXPECT(handsfree_capture_period(NULL, samples, 160, &time), HANDSFREE_ERROR_NULL);
    EXPECT(handsfree_playback_poll((handsfree *)(void *)((char *)memory + 4)), HANDSFREE_ERROR_ALIGNMENT);
}

static void test_devices(handsfree *terminal)
{
    handsfree_device device = good_device();
    handsfree_time time = {0, 0, 0};
    /* Periods before the device is configured. */
    EXPECT(handsfree_capture_period(terminal, samples, 160, &time), HANDSFREE_ERROR_NOT_CONFIGURED);
    EXPECT(handsfree_playback_period(terminal, samples, 160, &time), HANDSFREE_ERROR_NOT_CONFIGURED);
    EXPECT(handsfree_capture_configure(terminal, NULL), HANDSFREE_ERROR_NULL);
    device.rate_hz = 48000;
    EXPECT(handsfree_capture_configure(terminal, &device), HANDSFREE_ERROR_FRAME);
    device.rate_hz = 8000;
    EXPECT(handsfree_capture_configure(terminal, &device), HANDSFREE_ERROR_RATE);
    device = good_device();
    device.channels = 65;
    EXPECT(handsfree_playback_configure(terminal, &device), HANDSFREE_ERROR_CHANNELS);
    device = good_device();
    device.max_period_sample_frames = 0;
    EXPECT(handsfree_capture_configure(terminal, &device), HANDSFREE_ERROR_PERIOD);
    device.max_period_sample_frames = 100000;
    EXPECT(handsfree_playback_configure(terminal, &device), HANDSFREE_ERROR_PERIOD);
    device = good_device();
    device.latency_us = 10000000;
    EXPECT(handsfree_playback_configure(terminal, &device), HANDSFREE_ERROR_LATENCY);
    /* A device that was refused is not configured. */
    EXPECT(handsfree_playback_period(terminal, samples, 160, &time), HANDSFREE_ERROR_NOT_CONFIGURED);
    device = good_device();
    device.channels = 2;
    EXPECT(handsfree_capture_configure(terminal, &device), HANDSFREE_OK);
    EXPECT(handsfree_capture_period(terminal, samples, 319, &time), HANDSFREE_ERROR_LENGTH);
    EXPECT(handsfree_capture_period(terminal, samples, 322, &time), HANDSFREE_ERROR_LENGTH);
    EXPECT(handsfree_capture_period(terminal, NULL, 320, &time), HANDSFREE_ERROR_NULL);
    EXPECT(handsfree_capture_period(terminal, samples, 320, NULL), HANDSFREE_ERROR_NULL);
    EXPECT(handsfree_capture_period(terminal, samples, 320, &time), 1);
    device = good_device();
    EXPECT(handsfree_playback_configure(terminal, &device), HANDSFREE_OK);
    EXPECT(handsfree_playback_period_32(terminal, wide, 161, &time), HANDSFREE_ERROR_LENGTH);
    EXPECT(handsfree_playback_period_32(terminal, (int32_t *)(void *)((char *)wide + 2), 1, &time),
           HANDSFREE_ERROR_ALIGNMENT);
    EXPECT(handsfree_playback_period_32(terminal, wide, 160, &time), 1);
    EXPECT(handsfree_capture_poll(terminal, 0, NULL, HANDSFREE_POLL_SAMPLES), HANDSFREE_ERROR_NULL);
    EXPECT(handsfree_capture_poll(terminal, 0, samples, HANDSFREE_POLL_SAMPLES - 1), HANDSFREE_ERROR_LENGTH);
    EXPECT(handsfree_playback_poll(terminal), 1);
    EXPECT(handsfree_playback_stop(terminal), HANDSFREE_OK);
    EXPECT(handsfree_playback_stop(terminal), HANDSFREE_OK);
    EXPECT(handsfree_playback_period(terminal, samples, 160, &time), HANDSFREE_ERROR_NOT_CONFIGURED);
}

static void test_tracks(handsfree *terminal)
{
    uint32_t first = 0, second = 0, third = 0;
    int32_t drift_ppb = 7;
    uint64_t heard;
    EXPECT(handsfree_track_open(terminal, NULL), HANDSFREE_ERROR_NULL);
    EXPECT(handsfree_track_open(terminal, &first), HANDSFREE_OK);
    EXPECT(handsfree_track_open(terminal, &second), HANDSFREE_OK);
    EXPECT(handsfree_track_open(terminal, &third), HANDSFREE_ERROR_NO_TRACK);
    EXPECT(first != second && first != 0, 1);
    EXPECT(handsfree_track_push(terminal, first, NULL, 10), HANDSFREE_ERROR_NULL);
    EXPECT(handsfree_track_push(terminal, 12345, samples, 10), HANDSFREE_ERROR_UNKNOWN_TRACK);
    EXPECT(handsfree_track_push(terminal, 0, samples, 10), HANDSFREE_ERROR_UNKNOWN_TRACK);
    EXPECT(handsfree_track_push(terminal, first, samples, (size_t)-1), HANDSFREE_ERROR_LENGTH);
    EXPECT(handsfree_track_push(terminal, first, samples, 10), 10);
    EXPECT(handsfree_track_gain(terminal, first, 65u << 16, 0), HANDSFREE_ERROR_GAIN);
    EXPECT(handsfree_track_gain(terminal, first, 1u << 15, 20), HANDSFREE_OK);
    EXPECT(handsfree_track_heard(terminal, first, 0, NULL), HANDSFREE_ERROR_NULL);
    EXPECT(handsfree_track_heard(terminal, first, 0, &heard), HANDSFREE_OK);
    EXPECT(heard, 0);
    EXPECT(handsfree_track_pause(terminal, first), HANDSFREE_OK);
    EXPECT(handsfree_track_resume(terminal, first), HANDSFREE_OK);
    EXPECT(handsfree_track_interrupt(terminal, first), HANDSFREE_OK);
    while (handsfree_track_push(terminal, second, samples, 160) == 160) {}
    EXPECT(handsfree_track_flush(terminal, second), HANDSFREE_ERROR_FULL);
    EXPECT(handsfree_track_flush(terminal, first), HANDSFREE_OK);
    EXPECT(handsfree_track_flush(terminal, 12345), HANDSFREE_ERROR_UNKNOWN_TRACK);
    EXPECT(handsfree_track_finish(terminal, second), HANDSFREE_ERROR_FULL);
    EXPECT(handsfree_track_drop(terminal, second), HANDSFREE_OK);
    EXPECT(handsfree_track_drop(terminal, second), HANDSFREE_ERROR_UNKNOWN_TRACK);
    EXPECT(handsfree_track_finish(terminal, first), HANDSFREE_OK);
    EXPECT(handsfree_track_finish(terminal, first), HANDSFREE_ERROR_UNKNOWN_TRACK);
    EXPECT(handsfree_event_poll(terminal, NULL), HANDSFREE_ERROR_NULL);
    EXPECT(handsfree_read_stats(terminal, NULL), HANDSFREE_ERROR_NULL);
    EXPECT(handsfree_drift(terminal, NULL), HANDSFREE_ERROR_NULL);
    EXPECT(handsfree_drift(NULL, &drift_ppb), HANDSFREE_ERROR_NULL);
    EXPECT(handsfree_drift(terminal, &drift_ppb), 0);
    EXPECT(drift_ppb, 7);
}

static void test_status_names(void)
{
    int32_t code;
    EXPECT(strcmp(handsfree_status_name(0), "ok"), 0);
    EXPECT(strcmp(handsfree_status_name(1), "unknown"), 0);
    for (code = HANDSFREE_ERROR_IN_USE; code < 0; code++) EXPECT(strcmp(handsfree_status_name(code), "unknown") != 0, 1);
    EXPECT(strcmp(handsfree_status_name(HANDSFREE_ERROR_IN_USE - 1), "unknown"), 0);
}

int main(void)
{
    handsfree *terminal = (handsfree *)(void *)memory;
    test_calls_without_a_terminal();
    test_canceller();
    test_speech();
    test_creation();
    test_devices(terminal);
    test_tracks(terminal);
    test_status_names();
    printf(failures ? "misuse: %d wrong results\n" : "misuse: every invalid call returned its error code\n", failures);
    return failures != 0;
}
