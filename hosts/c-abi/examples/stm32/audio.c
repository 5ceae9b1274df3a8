/* handsfree on ST's HAL: one SAI with a microphone and a loudspeaker block, circular DMA, and the HAL's callbacks.
 *
 * CubeMX: both blocks have 16 kHz, two slots of 32 bits with data of 32 bits (24 bits would be right-justified, and so 48 dB too quiet),
 * and circular DMA in words. The interrupts of both DMA streams and of the SAI have one priority, so that none interrupts another.
 *
 * The ring has two halves of 10 ms. Where an interrupt comes late, the DMA's counter and the cycle counter tell where the DMA is, so that
 * positions and times are right and a half that was overwritten is not delivered. The cycle counter stands still while the processor
 * sleeps on many chips: a main loop that sleeps needs a 32-bit timer in its place. On families whose DMA counts bytes (H5, U5), divide its
 * counter by 4. Memory that the processor caches (Cortex-M7) must be in a region without cache, or each half must be invalidated before
 * it is read and cleaned after it was written. */
#include "audio.h"

#define RATE_HZ 16000u
#define PERIOD 160u         /* sample frames in a half */
#define SLOTS 2u            /* the microphone is in slot 0, the loudspeaker in both */
#define RING (2u * PERIOD)  /* sample frames in the ring */

/* One direction: its ring, and where the DMA is in it. */
struct direction {
    SAI_HandleTypeDef *sai;
    int32_t ring[RING * SLOTS];
    int64_t looked_ns;      /* time of the last look at the DMA's counter */
    uint32_t index;         /* place of the DMA then, in sample frames */
    uint64_t head;          /* position that it has reached */
    uint64_t next;          /* position of the next half to read or write */
    uint64_t intact;        /* first position that the ring surely holds */
    volatile int faulty;    /* the slots may be shifted */
};

static struct direction capture, playback;
static handsfree *audio_terminal;

int64_t audio_now_ns(void)
{
    /* Extends the counter to 64 bits. An interrupt between reading and storing is harmless only if it cannot come. */
    static uint32_t last, wraps;
    uint32_t masked = 0, now;
    uint64_t cycles;
#if defined(__arm__)
    __asm__ volatile("mrs %0, primask\n cpsid i" : "=r"(masked) : : "memory");
#endif
    now = DWT->CYCCNT;
    if (now < last) wraps++;
    last = now;
    cycles = (uint64_t)wraps << 32 | now;
#if defined(__arm__)
    __asm__ volatile("msr primask, %0" : : "r"(masked) : "memory");
#endif
    (void)masked;
    return (int64_t)(cycles / SystemCoreClock * 1000000000u + cycles % SystemCoreClock * 1000000000u / SystemCoreClock);
}

static void start_cycle_counter(void)
{
    CoreDebug->DEMCR |= CoreDebug_DEMCR_TRCENA_Msk;
    /* A Cortex-M7 may need DWT->LAR = 0xC5ACCE55 before. */
    DWT->CTRL |= DWT_CTRL_CYCCNTENA_Msk;
}

/* Sample frames in the time since the last look. */
static uint64_t passed(const struct direction *direction, int64_t now_ns)
{
    int64_t ns = now_ns - direction->looked_ns;
    return ns <= 0 ? 0 : ((uint64_t)ns * RATE_HZ + 500000000u) / 1000000000u;
}

/* Looks where the DMA is. It tells its place in the ring; how often it went round, the time tells. */
static void look(struct direction *direction, const DMA_HandleTypeDef *dma, int64_t now_ns)
{
    uint32_t index = (RING * SLOTS - __HAL_DMA_GET_COUNTER(dma)) / SLOTS % RING;
    uint32_t ahead = (index + RING - direction->index) % RING;
    uint64_t time = passed(direction, now_ns);
    uint64_t rounds = time > ahead ? (time - ahead + RING / 2) / RING : 0;
    direction->head += ahead + rounds * RING;
    if (rounds > 0) direction->intact = direction->head - ahead;
    direction->index = index;
    direction->looked_ns = now_ns;
}

/* Returns the place of the next half in the ring's samples. */
static int32_t *next_half(struct direction *direction)
{
    uint64_t behind = direction->head + RING - direction->next;
    uint32_t index = (uint32_t)((direction->index + 2u * RING - behind % RING) % RING);
    return direction->ring + index / PERIOD * PERIOD * SLOTS;
}

static int64_t frames_ns(uint64_t frames)
{
    return (int64_t)(frames * 1000000000u / RATE_HZ);
}

/* Skips the halves that the DMA has begun to overwrite. Returns 1 if there were any. */
static int skip_overwritten(void)
{
    const uint64_t whole = capture.head > RING ? capture.head - RING : 0;
    const uint64_t oldest = whole > capture.intact ? whole : capture.intact;
    if (capture.next >= oldest) return 0;
    capture.next += (oldest - capture.next + PERIOD - 1) / PERIOD * PERIOD;
    return 1;
}

static void captured(void)
{
    static int32_t samples[PERIOD];
    const int64_t called_ns = audio_now_ns();
    uint64_t head;
    int half;
    look(&capture, capture.sai->hdmarx, called_ns);
    head = capture.head;
    for (half = 0; half < 2 && !capture.faulty; half++) {
        const int32_t *from;
        handsfree_time time;
        uint32_t i;
        (void)skip_overwritten();
        if (capture.next + PERIOD > head) return;
        from = next_half(&capture);
        for (i = 0; i < PERIOD; i++) samples[i] = from[i * SLOTS];
        /* The DMA may have come round while they were copied. */
        look(&capture, capture.sai->hdmarx, audio_now_ns());
        if (skip_overwritten()) continue;
        time.position = capture.next;
        time.called_ns = called_ns;
        time.converter_ns = called_ns - frames_ns(head - capture.next);
        capture.next += PERIOD;
        (void)handsfree_capture_period_32(audio_terminal, samples, PERIOD, &time);
    }
}

static void played(void)
{
    static int32_t samples[PERIOD];
    const int64_t called_ns = audio_now_ns();
    int half;
    look(&playback, playback.sai->hdmatx, called_ns);
    for (half = 0; half < 2 && !playback.faulty; half++) {
        int32_t *to;
        handsfree_time time;
        uint32_t i;
        /* A half that the DMA has begun to play comes too late. */
        if (playback.next < playback.head) {
            playback.next += (playback.head - playback.next + PERIOD - 1) / PERIOD * PERIOD;
        }
        if (playback.next + PERIOD > playback.head + RING) return;
        time.position = playback.next;
        time.called_ns = called_ns;
        time.converter_ns = called_ns + frames_ns(playback.next - playback.head);
        (void)handsfree_playback_period_32(audio_terminal, samples, PERIOD, &time);
        to = next_half(&playback);
        for (i = 0; i < PERIOD; i++) to[i * SLOTS] = to[i * SLOTS + 1] = samples[i];
        playback.next += PERIOD;
    }
}

static int start(struct direction *direction, int is_playback)
{
    const int64_t now_ns = audio_now_ns();
    const uint16_t size = RING * SLOTS;
    HAL_StatusTypeDef status;
    uint32_t at;
    direction->head += direction->looked_ns == 0 ? 0 : passed(direction, now_ns);
    direction->intact = direction->head;
    direction->index = 0;
    direction->looked_ns = now_ns;
    direction->next = direction->head + (is_playback ? RING : 0);
    for (at = 0; at < RING * SLOTS; at++) direction->ring[at] = 0;
    status = is_playback ? HAL_SAI_Transmit_DMA(direction->sai, (uint8_t *)direction->ring, size)
                         : HAL_SAI_Receive_DMA(direction->sai, (uint8_t *)direction->ring, size);
    /* A refused start is tried again by audio_poll(). */
    direction->faulty = status != HAL_OK;
    return status == HAL_OK;
}

int audio_start(handsfree *terminal, SAI_HandleTypeDef *microphone, SAI_HandleTypeDef *loudspeaker)
{
    start_cycle_counter();
    audio_terminal = terminal;
    capture.sai = microphone;
    playback.sai = loudspeaker;
    return start(&playback, 1) && start(&capture, 0);
}

handsfree_device audio_device(void)
{
    handsfree_device device;
    device.rate_hz = RATE_HZ;
    device.channels = 1;
    device.max_period_sample_frames = PERIOD;
    device.clock_domain = 1; /* one SAI: one clock */
    device.slack_sample_frames = PERIOD;
    device.latency_us = 20000;
    return device;
}

void audio_poll(void)
{
    if (capture.faulty) {
        (void)HAL_SAI_DMAStop(capture.sai);
        (void)start(&capture, 0);
    }
    if (playback.faulty) {
        (void)HAL_SAI_DMAStop(playback.sai);
        (void)start(&playback, 1);
    }
}

void HAL_SAI_RxHalfCpltCallback(SAI_HandleTypeDef *sai)
{
    if (sai == capture.sai) captured();
}

void HAL_SAI_RxCpltCallback(SAI_HandleTypeDef *sai)
{
    if (sai == capture.sai) captured();
}

void HAL_SAI_TxHalfCpltCallback(SAI_HandleTypeDef *sai)
{
    if (sai == playback.sai) played();
}

void HAL_SAI_TxCpltCallback(SAI_HandleTypeDef *sai)
{
    if (sai == playback.sai) played();
}

/* An overrun loses a word, so that the slots are shifted from then on. The main loop restarts the interface. */
void HAL_SAI_ErrorCallback(SAI_HandleTypeDef *sai)
{
    if (sai == capture.sai) capture.faulty = 1;
    if (sai == playback.sai) playback.faulty = 1;
}
