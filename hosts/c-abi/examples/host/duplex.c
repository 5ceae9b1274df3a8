/* Twelve seconds with the echo canceller on the simulated board, without a sound card. The far end speaks all the time; its
 * echo returns through a living room after 40 ms, to a microphone whose clock is 100 ppm slower. From the seventh second on
 * the near end speaks too. The program compares the echo and the talker in the output with those at the microphone. */
#include <handsfree.h>
#include <handsfree_simulator.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RATE 16000
#define PERIOD 160
#define SECONDS 12
/* With suppression of residual echo the output is a frame late. */
#define LATE HANDSFREE_FRAME_SAMPLES

static uint64_t memory[HANDSFREE_MEMORY_WORDS], canceller_memory[HANDSFREE_CANCELLER_WORDS], speech_memory[HANDSFREE_SPEECH_WORDS];
static int16_t talker[SECONDS * RATE + PERIOD], microphone[SECONDS * RATE + PERIOD];

/* Returns the next sample of noise in syllables of a third of a second with pauses, below about 2 kHz. */
static int16_t speech(uint32_t *seed, int32_t *low, uint64_t position, int32_t amplitude)
{
    int32_t phase = (int32_t)(position % 5333), level = phase < 4000 ? amplitude : 0;
    *seed = *seed * 1664525u + 1013904223u;
    *low += ((int32_t)(*seed >> 16) - 32768 - *low) / 2;
    return (int16_t)(*low * level / 32768);
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

int main(void)
{
    handsfree *terminal;
    handsfree_canceller *canceller;
    handsfree_speech *detector;
    handsfree_speech_event said, started = {0, 0, 0, 0};
    handsfree_canceller_settings settings;
    handsfree_canceller_reading early, late;
    handsfree_board *board;
    handsfree_board_period period;
    handsfree_config config = {RATE, 1, 1, 0, NULL};
    handsfree_device input = {RATE, 1, PERIOD, 0, 0, 0};
    handsfree_device loudspeaker = {RATE, 1, PERIOD, 0, PERIOD, 40000};
    handsfree_board_config room;
    handsfree_stats stats;
    uint64_t captured = 0, delivered = 0, pushed = 0, noticed = 0, words = 0;
    uint32_t early_events = 0, interruptions = 0;
    double echo_in = 0, echo_out = 0, echo_linear = 0, talk = 0, kept = 0;
    uint32_t track, far_seed = 1, near_seed = 2;
    int32_t far_low = 0, near_low = 0, count, i;
    int16_t far[PERIOD], cleaned[HANDSFREE_POLL_SAMPLES], linear[HANDSFREE_FRAME_SAMPLES];

    memset(&early, 0, sizeof early);
    memset(&room, 0, sizeof room);
    room.rate_hz = RATE;
    room.period_sample_frames = PERIOD;
    room.playback_ppm = 100;
    room.render_latency_us = 40000;
    room.jitter_us = 20;
    room.echo_gain = 1;
    room.noise_level = 0.0005;
    room.seed = 1;
    must(handsfree_board_create(&room, &board), "board");
    must(handsfree_canceller_defaults(&settings), "defaults");
    settings.echo_over_talker = 0;
    must(handsfree_canceller_create(canceller_memory, sizeof canceller_memory, &settings, &canceller), "canceller");
    must(handsfree_speech_create(speech_memory, sizeof speech_memory, &detector), "detector of speech");
    config.canceller = canceller;
    must(handsfree_create(memory, sizeof memory, &config, &terminal), "create");
    must(handsfree_capture_configure(terminal, &input), "capture");
    must(handsfree_playback_configure(terminal, &loudspeaker), "playback");
    must(handsfree_track_open(terminal, &track), "track");
    for (i = 0; i < PERIOD; i++) far[i] = speech(&far_seed, &far_low, (uint64_t)i, 16000);
    while (captured < SECONDS * RATE) {
        int32_t due = handsfree_board_step(board, &period);
        must(due, "step");
        switch (due) {
        case HANDSFREE_BOARD_CAPTURE:
            for (i = 0; i < (int32_t)period.count; i++, captured++) {
                talker[captured] = captured < 7 * RATE ? 0 : speech(&near_seed, &near_low, captured + 2000, 3000);
                period.samples[i] = (int16_t)(period.samples[i] + talker[captured]);
                microphone[captured] = period.samples[i];
            }
            must(handsfree_capture_period(terminal, period.samples, period.count, &period.time), "capture period");
            break;
        case HANDSFREE_BOARD_PLAYBACK:
            must(handsfree_playback_period(terminal, period.samples, period.count, &period.time), "playback period");
            break;
        case HANDSFREE_BOARD_WORK:
            while ((count = handsfree_track_push(terminal, track, far, PERIOD)) > 0) {
                must(count, "push");
                pushed += (uint64_t)count;
                for (i = 0; i < PERIOD; i++) far[i] = speech(&far_seed, &far_low, pushed + (uint64_t)i, 16000);
            }
            must(handsfree_playback_poll(terminal), "playback poll");
            count = handsfree_capture_poll(terminal, period.time.called_ns, cleaned, HANDSFREE_POLL_SAMPLES);
            must(count, "capture poll");
            if (count > 0) {
                int32_t found = handsfree_speech_poll(detector, terminal, cleaned, (size_t)count, 1, &said);
                must(found, "speech poll");
                if (found == 1 && said.kind == HANDSFREE_SPEECH_STARTED) {
                    if (delivered < 7 * RATE) early_events++;
                    else if (noticed == 0) noticed = delivered, started = said;
                }
                if (found == 1 && said.action == HANDSFREE_BARGE_IN_INTERRUPT) interruptions++;
                while (handsfree_speech_read(detector, linear, HANDSFREE_FRAME_SAMPLES) > 0) words += HANDSFREE_FRAME_SAMPLES;
            }
            for (i = 0; i < count; i++, delivered++) {
                double in = delivered < LATE ? 0 : microphone[delivered - LATE], out = cleaned[i];
                double near = delivered < LATE ? 0 : talker[delivered - LATE];
                if (delivered > 3 * RATE && delivered < 7 * RATE) {
                    echo_in += in * in;
                    echo_out += out * out;
                } else if (delivered > 8 * RATE) {
                    talk += near * near;
                    kept += near * out;
                }
            }
            if (count > 0 && delivered > 3 * RATE && delivered < 7 * RATE) {
                must(handsfree_canceller_linear(canceller, linear, HANDSFREE_FRAME_SAMPLES), "linear");
                for (i = 0; i < HANDSFREE_FRAME_SAMPLES; i++) echo_linear += (double)linear[i] * linear[i];
                must(handsfree_canceller_read(canceller, &early), "read");
            }
            break;
        }
    }
    must(handsfree_canceller_read(canceller, &late), "read");
    must(handsfree_read_stats(terminal, &stats), "stats");
    printf("energy of the echo %.2e at the microphone, %.2e in the linear output, %.2e in the output; talker kept by %.2f\n", echo_in,
           echo_linear, echo_out, kept / talk);
    printf("far end alone: ERL %.1f dB, ERLE %.1f dB, lag %u ms, residual %.2f, talker %.2f, convergence %.3f; both: talker %.2f\n",
           early.erl_db, early.erle_db, (unsigned)early.echo_lag_ms, early.residual_echo_likelihood, early.near_end_likelihood,
           early.convergence, late.near_end_likelihood);
    printf("speech from sample %lu on, noticed at %lu, %u too early; %.2f s handed over, %u interruptions\n",
           (unsigned long)started.position, (unsigned long)noticed, (unsigned)early_events, (double)words / RATE,
           (unsigned)interruptions);
    expect(stats.xruns == 0 && stats.reference_lost_sample_frames == 0, "no sample is lost");
    expect(echo_linear * 30 < echo_in, "the filter removes 15 dB of the echo");
    expect(echo_out * 1000 < echo_in, "the echo is 30 dB lower in the output");
    expect(kept > 0.6 * talk && kept < 1.1 * talk, "the talker is kept while both speak");
    expect(early.is_known == 1 && early.erle_db > 15 && early.convergence > 0.95f,
           "the canceller has converged");
    expect(early.near_end_likelihood < 0.5f && late.near_end_likelihood > 0.5f, "the canceller knows who speaks");
    expect(early_events == 0 && noticed > 7 * RATE && noticed < 7 * RATE + RATE / 5, "the talker is noticed within 200 ms");
    expect(interruptions >= 1 && words > 2 * RATE, "the talker interrupts, and the words are handed over");
    must(handsfree_destroy(terminal), "destroy");
    must(handsfree_canceller_destroy(canceller), "destroy the canceller");
    handsfree_board_destroy(board);
    printf("all checks passed\n");
    return EXIT_SUCCESS;
}
