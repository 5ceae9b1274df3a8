/* Runs examples/zephyr/audio.c with an I2S driver of this file's own, in virtual time: the microphone hears what the loudspeaker plays 40 sample
 * frames before, and once the driver has an underrun. A canceller removes the echo only if the reference has the right place. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <handsfree.h>

#include "../examples/zephyr/zephyr_stub.h"

#define PERIOD 160
#define DELAY 40
#define READS 3000
#define FAILS_AT 2000

int audio_run(handsfree *terminal, const struct device *i2s, struct k_mem_slab *slab, void (*frame_ready)(void));

static handsfree *terminal;
static uint32_t track, reads, starts, frames;
static int16_t *queue[8];
static uint32_t queued;
static int16_t air[PERIOD + DELAY];
static int64_t time_ns;
static double echo, rest;
static uint32_t state = 1;

static int64_t now_ns(void)
{
    return time_ns;
}

int k_mem_slab_alloc(struct k_mem_slab *slab, void **mem, k_timeout_t timeout)
{
    (void)slab, (void)timeout;
    *mem = malloc(PERIOD * 2 * sizeof(int16_t));
    return 0;
}

void k_mem_slab_free(struct k_mem_slab *slab, void *mem)
{
    (void)slab;
    free(mem);
}

int32_t k_sleep(k_timeout_t timeout)
{
    time_ns += timeout.ticks * 1000000;
    return 0;
}

int64_t k_uptime_ticks(void)
{
    return time_ns;
}

uint64_t k_ticks_to_ns_floor64(uint64_t ticks)
{
    return ticks;
}

int i2s_trigger(const struct device *dev, enum i2s_dir dir, enum i2s_trigger_cmd cmd)
{
    (void)dev;
    /* As a driver without this direction. */
    if (dir == I2S_DIR_BOTH) return -88;
    if (cmd == I2S_TRIGGER_START && dir == I2S_DIR_TX) starts++;
    if (cmd == I2S_TRIGGER_DROP) {
        while (queued > 0) free(queue[--queued]);
    }
    /* The test's end: the second start is refused when all was read. */
    return cmd == I2S_TRIGGER_START && reads >= READS ? -5 : 0;
}

int i2s_write(const struct device *dev, void *block, size_t size)
{
    (void)dev;
    assert(size == PERIOD * 2 * sizeof(int16_t) && queued < 8);
    queue[queued++] = block;
    return 0;
}

/* One period passes: the oldest block is played, and what the microphone hears meanwhile is returned. */
int i2s_read(const struct device *dev, void **block, size_t *size)
{
    int16_t *heard;
    uint32_t i;
    (void)dev;
    reads++;
    if (reads == FAILS_AT || reads > READS) return -5;
    assert(queued > 0);
    time_ns += 10000000;
    memmove(air, air + PERIOD, DELAY * sizeof *air);
    for (i = 0; i < PERIOD; i++) air[DELAY + i] = queue[0][2 * i];
    free(queue[0]);
    queued--;
    memmove(queue, queue + 1, queued * sizeof *queue);
    heard = malloc(PERIOD * 2 * sizeof *heard);
    for (i = 0; i < PERIOD; i++) {
        heard[2 * i] = (int16_t)(air[i] / 2);
        heard[2 * i + 1] = 0x5555; /* nothing is in this channel */
        if (reads > 1000 && reads < FAILS_AT) echo += (double)heard[2 * i] * heard[2 * i];
    }
    *block = heard;
    *size = PERIOD * 2 * sizeof *heard;
    return 0;
}

/* The main loop's work. */
static void frame_ready(void)
{
    static int16_t clean[HANDSFREE_POLL_SAMPLES], noise[PERIOD];
    int32_t count;
    uint32_t i;
    for (;;) {
        for (i = 0; i < PERIOD; i++) {
            state = state * 1664525u + 1013904223u;
            noise[i] = (int16_t)((int32_t)(state >> 16) % 8000 - 4000);
        }
        if (handsfree_track_push(terminal, track, noise, PERIOD) != PERIOD) break;
    }
    assert(handsfree_playback_poll(terminal) >= 0);
    while ((count = handsfree_capture_poll(terminal, now_ns(), clean, HANDSFREE_POLL_SAMPLES)) > 0) {
        frames += (uint32_t)count / PERIOD;
        for (i = 0; i < (uint32_t)count; i++) {
            if (reads > 1000 && reads < FAILS_AT) rest += (double)clean[i] * clean[i];
        }
    }
}

int main(void)
{
    uint64_t *memory = calloc(HANDSFREE_MEMORY_WORDS, sizeof *memory);
    uint64_t *canceller_memory = calloc(HANDSFREE_CANCELLER_WORDS, sizeof *canceller_memory);
    handsfree_canceller_settings settings;
    handsfree_config config;
    handsfree_device device = {16000, 1, PERIOD, 1, PERIOD, 20000};
    handsfree_stats stats;
    double ratio;

    memset(&config, 0, sizeof config);
    config.rate_hz = 16000;
    config.near_channels = config.far_channels = 1;
    assert(handsfree_canceller_defaults(&settings) == HANDSFREE_OK);
    assert(handsfree_canceller_create(canceller_memory, HANDSFREE_CANCELLER_WORDS * sizeof *canceller_memory, &settings, &config.canceller)
           == HANDSFREE_OK);
    assert(handsfree_create(memory, HANDSFREE_MEMORY_WORDS * sizeof *memory, &config, &terminal) == HANDSFREE_OK);
    assert(handsfree_capture_configure(terminal, &device) == HANDSFREE_OK);
    assert(handsfree_playback_configure(terminal, &device) == HANDSFREE_OK);
    assert(handsfree_track_open(terminal, &track) == HANDSFREE_OK);
    assert(audio_run(terminal, 0, 0, frame_ready) == -5);
    assert(handsfree_read_stats(terminal, &stats) == HANDSFREE_OK);
    ratio = echo / (rest + 1);
    printf("zephyr: %u frames, %u starts, %u gaps; the echo's energy is reduced %.0f times\n", (unsigned)frames, (unsigned)starts,
           (unsigned)stats.capture_gaps, ratio);
    assert(frames >= READS - 5 && starts >= 2 && stats.capture_gaps == 1);
    /* A reference that is one period late reduces nothing. */
    assert(ratio > 1000);
    while (queued > 0) free(queue[--queued]);
    assert(handsfree_destroy(terminal) == HANDSFREE_OK);
    assert(handsfree_canceller_destroy(config.canceller) == HANDSFREE_OK);
    free(canceller_memory);
    free(memory);
    return 0;
}
