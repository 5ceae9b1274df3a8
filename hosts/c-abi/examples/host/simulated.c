/* Ten seconds of hands-free conversation on the simulated board, without a sound card. The far end speaks, and its echo
 * returns through a living room after 80 ms, to a microphone with a clock that is 200 ppm slower. Then the near end speaks.
 * The light voice path attenuates the echo and passes the near end. The program compares what the terminal reports with
 * what the board did. */
#include <handsfree.h>
#include <handsfree_simulator.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RATE 16000
#define PERIOD 160
#define DRIFT_PPM 200
#define SECOND_NS 1000000000
#define FAR_SAMPLES (6 * RATE)

static uint64_t memory[HANDSFREE_MEMORY_WORDS];
static uint32_t seed = 1;

/* Returns the next sample of a steady noise. */
static int16_t noise(int amplitude)
{
    seed = seed * 1664525u + 1013904223u;
    return (int16_t)(((int32_t)(seed >> 16) - 32768) * amplitude / 32768);
}

static void must(int32_t result, const char *what)
{
    if (result >= 0) return;
    fprintf(stderr, "%s: %s\n", what, handsfree_status_name(result));
    exit(EXIT_FAILURE);
}

static void expect(int holds, const char *what)
{
    if (holds) return;
    fprintf(stderr, "failed: expected that %s\n", what);
    exit(EXIT_FAILURE);
}

static double power(const int16_t *samples, size_t count)
{
    double sum = 0;
    size_t i;
    for (i = 0; i < count; i++) sum += (double)samples[i] * samples[i];
    return sum;
}

int main(void)
{
    handsfree *terminal;
    handsfree_board *board;
    handsfree_board_period period;
    handsfree_config config = {RATE, 1, 1, 1, NULL};
    handsfree_device microphone = {RATE, 1, PERIOD, 0, 0, 0};
    handsfree_device loudspeaker = {RATE, 1, PERIOD, 0, PERIOD, 80000};
    handsfree_board_config room;
    handsfree_stats stats;
    handsfree_event event;
    uint64_t captured = 0, delivered = 0, pushed = 0, heard = 0, played_position;
    double echo_in = 0, echo_out = 0, near_in = 0, near_out = 0, first_ns = -1, max_error = 0;
    uint32_t track;
    int32_t drift_ppb = 0, is_known = 0, has_ended = 0;
    int16_t speech[PERIOD], cleaned[HANDSFREE_POLL_SAMPLES];
    size_t i;

    memset(&room, 0, sizeof room);
    room.rate_hz = RATE;
    room.period_sample_frames = PERIOD;
    room.playback_ppm = DRIFT_PPM;
    room.render_latency_us = 80000;
    room.jitter_us = 50;
    room.echo_gain = 1;
    room.noise_level = 0.0005;
    room.seed = 1;
    must(handsfree_board_create(&room, &board), "board");
    must(handsfree_create(memory, sizeof memory, &config, &terminal), "create");
    must(handsfree_capture_configure(terminal, &microphone), "capture");
    must(handsfree_playback_configure(terminal, &loudspeaker), "playback");
    must(handsfree_track_open(terminal, &track), "track");
    for (i = 0; i < PERIOD; i++) speech[i] = noise(9000);
    while (captured < 10 * RATE) {
        double second = (double)captured / RATE;
        int32_t due = handsfree_board_step(board, &period), count;
        must(due, "step");
        switch (due) {
        case HANDSFREE_BOARD_CAPTURE:
            for (i = 0; second >= 7 && i < period.count; i++) period.samples[i] += noise(8000);
            if (second > 2 && second < 6) echo_in += power(period.samples, period.count);
            if (second > 8) near_in += power(period.samples, period.count);
            must(handsfree_capture_period(terminal, period.samples, period.count, &period.time), "capture period");
            captured += period.count;
            break;
        case HANDSFREE_BOARD_PLAYBACK:
            must(handsfree_playback_period(terminal, period.samples, period.count, &period.time), "playback period");
            for (i = 0; first_ns < 0 && i < period.count; i++) {
                double at_ns = (double)(period.time.position + i) * SECOND_NS / (RATE * (1 + DRIFT_PPM * 1e-6));
                if (period.samples[i] != 0) first_ns = at_ns + room.render_latency_us * 1e3;
            }
            break;
        case HANDSFREE_BOARD_WORK:
            while (pushed < FAR_SAMPLES && (count = handsfree_track_push(terminal, track, speech, PERIOD)) > 0) {
                must(count, "push");
                pushed += (uint64_t)count;
                for (i = 0; i < PERIOD; i++) speech[i] = noise(9000);
            }
            /* The flush is refused while the queue is full, and the next pass of the main loop retries it. */
            if (pushed == FAR_SAMPLES) handsfree_track_flush(terminal, track);
            must(handsfree_playback_poll(terminal), "playback poll");
            count = handsfree_capture_poll(terminal, period.time.called_ns, cleaned, HANDSFREE_POLL_SAMPLES);
            must(count, "capture poll");
            delivered += (uint64_t)count;
            if (second > 2 && second < 6) echo_out += power(cleaned, (size_t)count);
            if (second > 8) near_out += power(cleaned, (size_t)count);
            must(handsfree_track_heard(terminal, track, period.time.called_ns, &played_position), "heard");
            if (second > 2 && second < 5) {
                double elapsed_ns = (double)period.time.called_ns - first_ns;
                double error = (double)played_position - elapsed_ns * (RATE * (1 + DRIFT_PPM * 1e-6)) / SECOND_NS;
                if (error < 0) error = -error;
                if (error > max_error) max_error = error;
            }
            break;
        }
        while (handsfree_event_poll(terminal, &event) == 1) has_ended |= event.kind == HANDSFREE_TRACK_STARVED;
    }
    must(handsfree_read_stats(terminal, &stats), "stats");
    must(is_known = handsfree_drift(terminal, &drift_ppb), "drift");
    must(handsfree_track_heard(terminal, track, period.time.called_ns, &heard), "heard");
    printf("drift %.1f ppm, delay %u us, xruns %u, reference lost %u\n", drift_ppb / 1e3, (unsigned)stats.delay_us,
           (unsigned)stats.xruns, (unsigned)stats.reference_lost_sample_frames);
    printf("frames %u captured, %u delivered; track played %lu of %lu, position error at most %.1f\n",
           (unsigned)stats.capture_frames, (unsigned)stats.delivered_frames, (unsigned long)heard,
           (unsigned long)pushed, max_error);
    printf("energy of the echo %.0f in, %.0f out; of the near end %.0f in, %.0f out\n", echo_in, echo_out, near_in, near_out);
    expect(is_known == 1 && drift_ppb > (DRIFT_PPM - 10) * 1000 && drift_ppb < (DRIFT_PPM + 10) * 1000,
           "the drift is known to 10 ppm");
    expect(stats.delay_us > 79000 && stats.delay_us < 81000, "the delay is known to 1 ms");
    expect(stats.xruns == 0 && stats.reference_lost_sample_frames == 0, "no sample is lost");
    expect(stats.capture_periods == captured / PERIOD && stats.capture_frames == captured / PERIOD, "each period completes a frame");
    expect(delivered == (uint64_t)stats.delivered_frames * PERIOD && captured - delivered <= 2 * PERIOD, "all frames are delivered");
    expect(has_ended && pushed == FAR_SAMPLES && heard == pushed, "all of the track is played and its end is reported");
    expect(max_error < 3, "the played position is the sample at the loudspeaker");
    expect(echo_out * 300 < echo_in, "the echo is attenuated");
    expect(near_out * 1.25 > near_in, "the near end passes");
    must(handsfree_destroy(terminal), "destroy");
    handsfree_board_destroy(board);
    printf("all checks passed\n");
    return EXIT_SUCCESS;
}
