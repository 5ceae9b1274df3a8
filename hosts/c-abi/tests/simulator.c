/* The simulated board refuses invalid configurations with the codes of handsfree.h, and a seed repeats a run exactly. */
#include <handsfree_simulator.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

static int failures;

static void expect(int32_t found, int32_t wanted, const char *what, int line)
{
    if (found == wanted) return;
    printf("simulator.c:%d: %s: %d, expected %d\n", line, what, (int)found, (int)wanted);
    failures++;
}
#define EXPECT(call, wanted) expect((int32_t)(call), (int32_t)(wanted), #call, __LINE__)

static handsfree_board_config good(void)
{
    handsfree_board_config config;
    memset(&config, 0, sizeof config);
    config.rate_hz = 16000;
    config.period_sample_frames = 160;
    config.playback_ppm = 300;
    config.render_latency_us = 20000;
    config.jitter_us = 100;
    config.echo_gain = 1;
    config.noise_level = 0.001;
    config.seed = 1;
    return config;
}

#define REFUSED(field, value, code)                                                                                    \
    do {                                                                                                               \
        handsfree_board_config config = good();                                                                        \
        handsfree_board *board = NULL;                                                                                 \
        config.field = value;                                                                                          \
        EXPECT(handsfree_board_create(&config, &board), code);                                                         \
        EXPECT(board == NULL, 1);                                                                                      \
    } while (0)

/* Rework_steps a hash of a run: of all samples recorded while a ramp is played, and of all times. */
static uint64_t run(uint64_t seed)
{
    handsfree_board_config config = good();
    handsfree_board *board = NULL;
    handsfree_board_period period;
    uint64_t hash = 1469598103934665603u, played = 0, recorded = 0, work_steps = 0;
    size_t i;
    config.seed = seed;
    EXPECT(handsfree_board_create(&config, &board), HANDSFREE_OK);
    EXPECT(handsfree_board_step(board, NULL), HANDSFREE_ERROR_NULL);
    while (recorded < 16000) {
        switch (handsfree_board_step(board, &period)) {
        case HANDSFREE_BOARD_CAPTURE:
            EXPECT(period.time.position, recorded);
            for (i = 0; i < period.count; i++) hash = (hash ^ (uint16_t)period.samples[i]) * 1099511628211u;
            recorded += period.count;
            break;
        case HANDSFREE_BOARD_PLAYBACK:
            EXPECT(period.time.position, played);
            for (i = 0; i < period.count; i++) period.samples[i] = (int16_t)(played++ * 97);
            break;
        case HANDSFREE_BOARD_WORK:
            EXPECT(period.samples == NULL && period.count == 0, 1);
            work_steps++;
            break;
        default:
            EXPECT(0, 1);
            return 0;
        }
        hash = (hash ^ (uint64_t)period.time.converter_ns) * 1099511628211u;
    }
    handsfree_board_destroy(board);
    EXPECT(played >= 16000 && played <= 16160, 1);
    EXPECT(work_steps >= 100, 1);
    return hash;
}

int main(void)
{
    handsfree_board *board = NULL;
    handsfree_board_config config = good();
    handsfree_board_period period;
    EXPECT(handsfree_board_create(NULL, &board), HANDSFREE_ERROR_NULL);
    EXPECT(handsfree_board_create(&config, NULL), HANDSFREE_ERROR_NULL);
    EXPECT(handsfree_board_step(NULL, &period), HANDSFREE_ERROR_NULL);
    handsfree_board_destroy(NULL);
    REFUSED(rate_hz, 7999, HANDSFREE_ERROR_RATE);
    REFUSED(period_sample_frames, 0, HANDSFREE_ERROR_PERIOD);
    REFUSED(period_sample_frames, 8193, HANDSFREE_ERROR_PERIOD);
    REFUSED(capture_ppm, -10001, HANDSFREE_ERROR_VALUE);
    REFUSED(playback_ppm, NAN, HANDSFREE_ERROR_VALUE);
    REFUSED(capture_latency_us, 10000001, HANDSFREE_ERROR_VALUE);
    REFUSED(render_latency_us, 10000001, HANDSFREE_ERROR_VALUE);
    REFUSED(jitter_us, -1, HANDSFREE_ERROR_VALUE);
    REFUSED(echo_gain, 65, HANDSFREE_ERROR_VALUE);
    REFUSED(noise_level, 1.1, HANDSFREE_ERROR_VALUE);
    EXPECT(run(1) == run(1), 1);
    EXPECT(run(1) != run(2), 1);
    printf(failures ? "simulator: %d wrong results\n" : "simulator: invalid configurations are refused and a seed repeats its run\n", failures);
    return failures != 0;
}
