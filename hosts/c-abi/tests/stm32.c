/* Runs examples/stm32/audio.c with a HAL and a DMA of this file's own, in virtual time: the microphone hears what the loudspeaker plays, some
 * interrupts come late, one too late, and once the interface has a fault. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../examples/stm32/audio.h"

#define RATE_HZ 16000u
#define RING 320u
#define CYCLES_PER_FRAME 1000u /* 16 MHz */

static DWT_Type dwt;
DWT_Type *DWT = &dwt;
static CoreDebug_Type core_debug;
CoreDebug_Type *CoreDebug = &core_debug;
uint32_t SystemCoreClock = RATE_HZ * CYCLES_PER_FRAME;

static DMA_HandleTypeDef microphone_dma = {RING * 2}, loudspeaker_dma = {RING * 2};
static SAI_HandleTypeDef microphone = {0, &microphone_dma}, loudspeaker = {&loudspeaker_dma, 0};
static int32_t *heard_ring, *played_ring;
static uint32_t heard_at, played_at, restarts;
static uint64_t now_frames;

HAL_StatusTypeDef HAL_SAI_Receive_DMA(SAI_HandleTypeDef *sai, uint8_t *data, uint16_t size)
{
    assert(sai == &microphone && size == RING * 2);
    heard_ring = (int32_t *)(void *)data;
    heard_at = 0;
    restarts++;
    return HAL_OK;
}

HAL_StatusTypeDef HAL_SAI_Transmit_DMA(SAI_HandleTypeDef *sai, uint8_t *data, uint16_t size)
{
    assert(sai == &loudspeaker && size == RING * 2);
    played_ring = (int32_t *)(void *)data;
    played_at = 0;
    restarts++;
    return HAL_OK;
}

HAL_StatusTypeDef HAL_SAI_DMAStop(SAI_HandleTypeDef *sai)
{
    (void)sai;
    return HAL_OK;
}

/* Lets the converters run for some sample frames. */
static void run(uint32_t frames)
{
    while (frames-- > 0) {
        assert(played_ring[2 * played_at] == played_ring[2 * played_at + 1]);
        heard_ring[2 * heard_at] = played_ring[2 * played_at];
        heard_ring[2 * heard_at + 1] = 0x55555555; /* nothing is in this slot */
        heard_at = (heard_at + 1) % RING;
        played_at = (played_at + 1) % RING;
        now_frames++;
    }
    microphone_dma.remaining = (RING - heard_at) * 2;
    loudspeaker_dma.remaining = (RING - played_at) * 2;
    dwt.CYCCNT = 0xFFFF0000u + (uint32_t)(now_frames * CYCLES_PER_FRAME);
}

static void interrupts(void)
{
    HAL_SAI_TxHalfCpltCallback(&loudspeaker);
    HAL_SAI_RxCpltCallback(&microphone);
}

int main(void)
{
    uint64_t *memory = calloc(HANDSFREE_MEMORY_WORDS, sizeof *memory);
    static int16_t ramp[160], clean[HANDSFREE_POLL_SAMPLES];
    handsfree *terminal;
    handsfree_config config;
    handsfree_device device = audio_device();
    handsfree_stats stats;
    uint32_t track, turn, i, restarts_before;
    int32_t value = 0, last = 0, ordered = 0, jumps = 0;

    dwt.CYCCNT = 0xFFFF0000u;
    (void)audio_now_ns();
    memset(&config, 0, sizeof config);
    config.rate_hz = RATE_HZ;
    config.near_channels = config.far_channels = 1;
    assert(handsfree_create(memory, HANDSFREE_MEMORY_WORDS * sizeof *memory, &config, &terminal) == HANDSFREE_OK);
    assert(handsfree_capture_configure(terminal, &device) == HANDSFREE_OK);
    assert(handsfree_playback_configure(terminal, &device) == HANDSFREE_OK);
    assert(handsfree_track_open(terminal, &track) == HANDSFREE_OK);
    assert(audio_start(terminal, &microphone, &loudspeaker));
    assert(dwt.CTRL == DWT_CTRL_CYCCNTENA_Msk && core_debug.DEMCR == CoreDebug_DEMCR_TRCENA_Msk);
    restarts_before = restarts;

    for (turn = 0; turn < 2000; turn++) {
        const uint32_t late = turn % 7 == 3 ? 60 : turn % 11 == 5 ? 3 : 0;
        int32_t count;
        run(160 - (uint32_t)(now_frames % 160) + late);
        if (turn == 500) run(1000); /* all interrupts are 62 ms late */
        if (turn == 1000) HAL_SAI_ErrorCallback(&microphone);
        if (turn == 1010) HAL_SAI_ErrorCallback(&loudspeaker);
        interrupts();
        audio_poll();
        for (;;) {
            for (i = 0; i < 160; i++) ramp[i] = (int16_t)(1 + (value + (int32_t)i) % 30000);
            if (handsfree_track_push(terminal, track, ramp, 160) != 160) break;
            value += 160;
        }
        assert(handsfree_playback_poll(terminal) >= 0);
        while ((count = handsfree_capture_poll(terminal, audio_now_ns(), clean, HANDSFREE_POLL_SAMPLES)) > 0) {
            for (i = 0; i < (uint32_t)count; i++) {
                if (clean[i] == 0) continue;
                if (clean[i] == last % 30000 + 1) ordered++;
                else jumps++;
                last = clean[i];
            }
        }
    }
    assert(handsfree_read_stats(terminal, &stats) == HANDSFREE_OK);
    printf("stm32: %d samples in order, %d jumps; %u gaps of the microphone, %u of the loudspeaker, %u restarts\n", (int)ordered, (int)jumps,
           (unsigned)stats.capture_gaps, (unsigned)stats.playback_gaps, (unsigned)(restarts - restarts_before));
    assert(ordered > 310000);
    /* One for the interrupts that were too late, and one for each restart in which something was heard. */
    assert(jumps >= 1 && jumps <= 3);
    assert(stats.capture_gaps == 2 && stats.playback_gaps == 2);
    assert(restarts - restarts_before == 2);
    assert(handsfree_destroy(terminal) == HANDSFREE_OK);
    free(memory);
    return 0;
}
