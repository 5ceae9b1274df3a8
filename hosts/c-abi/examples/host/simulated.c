/* A minute of hands-free conversation on a virtual clock, without a sound card: the far end speaks, its echo
 * comes back a quarter as loud after 30 ms on a clock that is 200 ppm slower, then the near end speaks. The
 * light voice path turns the echo down and lets the near end through. */
#include <handsfree.h>

#include <stdio.h>
#include <stdlib.h>

#define RATE 16000
#define PERIOD 160
#define SECONDS 60
#define ROOM 480
#define TAPE 65536

static uint64_t memory[HANDSFREE_MEMORY_WORDS];
static int16_t tape[TAPE];
static uint32_t seed = 1;

/* Even noise. */
static int16_t noise(int amplitude)
{
    seed = seed * 1664525u + 1013904223u;
    return (int16_t)(((int32_t)(seed >> 16) - 32768) * amplitude / 32768);
}

static void must(int32_t answer, const char *what)
{
    if (answer >= 0) return;
    fprintf(stderr, "%s: %s\n", what, handsfree_status_name(answer));
    exit(EXIT_FAILURE);
}

static double level(double sum, double count)
{
    return count > 0 ? sum / count : 0;
}

int main(void)
{
    const double playback_ns = 10e6, capture_ns = 10e6 * 1.0002;
    handsfree *terminal;
    handsfree_config config = {RATE, 1, 1, 1};
    handsfree_device device = {RATE, 1, PERIOD, 0, PERIOD, 20000};
    handsfree_stats stats;
    handsfree_event event;
    uint64_t played = 0, captured = 0;
    double echo_in = 0, echo_out = 0, near_in = 0, near_out = 0, echo_count = 0, near_count = 0;
    uint32_t track;
    int16_t speech[PERIOD], period[PERIOD], heard[HANDSFREE_POLL_SAMPLES];
    int i;

    must(handsfree_create(memory, sizeof memory, &config, &terminal), "create");
    must(handsfree_capture_configure(terminal, &device), "capture");
    must(handsfree_playback_configure(terminal, &device), "playback");
    must(handsfree_track_open(terminal, &track), "track");
    while (captured < (uint64_t)SECONDS * RATE) {
        double next_play = (double)(played / PERIOD + 1) * playback_ns;
        double next_capture = (double)(captured / PERIOD + 1) * capture_ns;
        double second = (double)captured / RATE;
        int far = second < 20 || (second >= 40 && second < 50), near = second >= 30 && second < 40;
        handsfree_time time;
        int32_t count;
        for (i = 0; i < PERIOD; i++) speech[i] = far ? noise(9000) : 0;
        while (handsfree_track_push(terminal, track, speech, PERIOD) == PERIOD) {}
        must(handsfree_playback_poll(terminal), "playback poll");
        if (next_play <= next_capture) {
            time.position = played;
            time.called_ns = (int64_t)next_play;
            time.converter_ns = (int64_t)(next_play + playback_ns);
            must(handsfree_playback_period(terminal, period, PERIOD, &time), "playback period");
            for (i = 0; i < PERIOD; i++) tape[(played + (uint64_t)i) % TAPE] = period[i];
            played += PERIOD;
        } else {
            double in = 0, out = 0;
            for (i = 0; i < PERIOD; i++) {
                /* When this sample was recorded, and what the loudspeaker played a room earlier. */
                double at = (double)(captured + (uint64_t)i) / PERIOD * capture_ns;
                double position = (at / playback_ns - 2) * PERIOD - ROOM;
                int32_t echo = 0;
                if (position >= 0) {
                    uint64_t whole = (uint64_t)position;
                    double part = position - (double)whole;
                    echo = (int32_t)((tape[whole % TAPE] * (1 - part) + tape[(whole + 1) % TAPE] * part) / 4);
                }
                period[i] = (int16_t)(echo + noise(40) + (near ? noise(8000) : 0));
                in += (double)period[i] * period[i];
            }
            time.position = captured;
            time.called_ns = (int64_t)next_capture;
            time.converter_ns = (int64_t)(next_capture - capture_ns);
            must(handsfree_capture_period(terminal, period, PERIOD, &time), "capture period");
            count = handsfree_capture_poll(terminal, time.called_ns, heard, HANDSFREE_POLL_SAMPLES);
            must(count, "capture poll");
            for (i = 0; i < count; i++) out += (double)heard[i] * heard[i];
            if (second > 10 && second < 19) {
                echo_in += in;
                echo_out += out;
                echo_count += PERIOD;
            } else if (second > 35 && near) {
                near_in += in;
                near_out += out;
                near_count += PERIOD;
            }
            captured += PERIOD;
        }
        while (handsfree_event_poll(terminal, &event) == 1) {}
    }
    must(handsfree_read_stats(terminal, &stats), "stats");
    printf("echo: mean square %.0f in, %.0f out\n", level(echo_in, echo_count), level(echo_out, echo_count));
    printf("near end: mean square %.0f in, %.0f out\n", level(near_in, near_count), level(near_out, near_count));
    printf("xruns %u, reference lost %u, delay %u us\n", (unsigned)stats.xruns,
           (unsigned)stats.reference_lost_sample_frames, (unsigned)stats.delay_us);
    must(handsfree_destroy(terminal), "destroy");
    if (stats.xruns != 0 || stats.reference_lost_sample_frames != 0 || echo_out * 300 > echo_in || near_out * 1.25 < near_in) {
        fprintf(stderr, "the conversation is not as it should be\n");
        return EXIT_FAILURE;
    }
    printf("all is well\n");
    return EXIT_SUCCESS;
}
