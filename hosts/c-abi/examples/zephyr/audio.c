/* handsfree on Zephyr's I2S driver: a thread of a high, cooperative priority that moves blocks of 10 ms between the driver and the terminal.
 *
 * i2s_configure() has set 16 kHz, two channels of 16 bits, blocks of BLOCK_BYTES and one slab with at least eight blocks for both
 * directions. The driver shows no DMA counter, so the times are those at which i2s_read() returns; the terminal filters their scatter. */
#include <handsfree.h>

#include "zephyr_stub.h"

#define RATE_HZ 16000u
#define PERIOD 160u
#define BLOCK_BYTES (PERIOD * 2u * sizeof(int16_t))
#define QUEUED 2u /* blocks of silence that are written before the start, and so wait in the driver from then on */

static int64_t now_ns(void)
{
    return (int64_t)k_ticks_to_ns_floor64((uint64_t)k_uptime_ticks());
}

static int64_t frames_ns(uint64_t frames)
{
    return (int64_t)(frames * 1000000000u / RATE_HZ);
}

/* Writes a block in which both channels have the samples; null is silence. Returns 0 or the driver's error. */
static int play(const struct device *i2s, struct k_mem_slab *slab, const int16_t *samples)
{
    void *block;
    int16_t *out;
    uint32_t i;
    int error = k_mem_slab_alloc(slab, &block, K_NO_WAIT);
    if (error != 0) return error;
    out = block;
    for (i = 0; i < PERIOD; i++) out[2 * i] = out[2 * i + 1] = samples ? samples[i] : 0;
    error = i2s_write(i2s, block, BLOCK_BYTES);
    if (error != 0) k_mem_slab_free(slab, block);
    return error;
}

/* Some drivers have no trigger for both directions at once. */
static int trigger(const struct device *i2s, enum i2s_trigger_cmd command)
{
    int error = i2s_trigger(i2s, I2S_DIR_BOTH, command);
    if (error == 0) return 0;
    error = i2s_trigger(i2s, I2S_DIR_RX, command);
    return error != 0 ? error : i2s_trigger(i2s, I2S_DIR_TX, command);
}

static int start(const struct device *i2s, struct k_mem_slab *slab)
{
    uint32_t block;
    for (block = 0; block < QUEUED; block++) {
        int error = play(i2s, slab, 0);
        if (error != 0) return error;
    }
    return trigger(i2s, I2S_TRIGGER_START);
}

/* The thread's loop. `frame_ready` wakes the main loop, which polls the terminal. Returns the driver's error if it cannot start. */
int audio_run(handsfree *terminal, const struct device *i2s, struct k_mem_slab *slab, void (*frame_ready)(void));
int audio_run(handsfree *terminal, const struct device *i2s, struct k_mem_slab *slab, void (*frame_ready)(void))
{
    static int16_t samples[PERIOD];
    handsfree_time heard = {0, 0, 0}, played = {0, 0, 0};
    int64_t last_ns = now_ns();
    int error = start(i2s, slab);
    while (error == 0) {
        void *block;
        size_t size;
        int32_t frames = 0;
        if (i2s_read(i2s, &block, &size) == 0) {
            const int16_t *in = block;
            uint32_t i;
            heard.called_ns = last_ns = now_ns();
            heard.converter_ns = last_ns - frames_ns(PERIOD);
            for (i = 0; i < PERIOD; i++) samples[i] = in[2 * i]; /* the microphone is on the left */
            k_mem_slab_free(slab, block);
            frames += handsfree_capture_period(terminal, samples, PERIOD, &heard) > 0;
            heard.position += PERIOD;
            played.called_ns = now_ns();
            /* One of the queued blocks was played while the block just read was recorded. */
            played.converter_ns = last_ns + frames_ns((QUEUED - 1u) * PERIOD);
            frames += handsfree_playback_period(terminal, samples, PERIOD, &played) > 0;
            played.position += PERIOD;
            if (play(i2s, slab, samples) == 0) {
                if (frames > 0) frame_ready();
                continue;
            }
        }
        /* An overrun or an underrun: the driver must be emptied and started again. What was lost is a jump of the positions. */
        (void)trigger(i2s, I2S_TRIGGER_DROP);
        (void)trigger(i2s, I2S_TRIGGER_PREPARE);
        /* Others run while a driver fails again and again. */
        (void)k_sleep(K_MSEC(1));
        error = start(i2s, slab);
        {
            const int64_t lost_ns = now_ns() - last_ns;
            const uint64_t lost = lost_ns > 0 ? (uint64_t)lost_ns * RATE_HZ / 1000000000u : 0;
            heard.position += lost;
            played.position += lost;
            last_ns += lost_ns;
        }
    }
    return error;
}
