/* A terminal with two DMA interrupts and a main loop. It plays a tone, records it 10 ms later through a wire, and checks
 * after 20 seconds that no sample was lost. */
#include <handsfree.h>

#include "board.h"

#define PERIOD 160u
#define SECONDS 20u

static uint64_t memory[HANDSFREE_MEMORY_WORDS];
static handsfree *terminal;
static int16_t wire[PERIOD];
static volatile int32_t capture_fault, playback_fault;

void capture_interrupt(void)
{
    static uint64_t position;
    handsfree_time time;
    int32_t frames;
    time.called_ns = board_now_ns();
    time.converter_ns = time.called_ns - board_since_capture_ns() - (int64_t)BOARD_CAPTURE_TICKS * BOARD_TICK_NS;
    time.position = position;
    frames = handsfree_capture_period(terminal, wire, PERIOD, &time);
    if (frames < 0) capture_fault = frames;
    position += PERIOD;
}

void playback_interrupt(void)
{
    static uint64_t position;
    handsfree_time time;
    int32_t frames;
    time.called_ns = board_now_ns();
    time.converter_ns = time.called_ns - board_since_playback_ns() + (int64_t)BOARD_PLAYBACK_TICKS * BOARD_TICK_NS;
    time.position = position;
    frames = handsfree_playback_period(terminal, wire, PERIOD, &time);
    if (frames < 0) playback_fault = frames;
    position += PERIOD;
}

static void must(int32_t result, const char *what)
{
    if (result >= 0) return;
    board_print(what);
    board_print(": ");
    board_print(handsfree_status_name(result));
    board_print("\n");
    board_exit(1);
}

static void check(int holds, const char *what)
{
    if (holds) return;
    board_print("failed: expected that ");
    board_print(what);
    board_print("\n");
    board_exit(1);
}

int main(void)
{
    static int16_t tone[PERIOD], heard[HANDSFREE_POLL_SAMPLES];
    handsfree_config config;
    handsfree_device device;
    handsfree_event event;
    handsfree_stats stats;
    uint32_t track, i, delivered = 0, started = 0, loudest = 0;
    uint64_t left = 0;

    config.rate_hz = 16000;
    config.near_channels = 1;
    config.far_channels = 1;
    config.light_voice = 0;
    config.canceller = 0;
    must(handsfree_create(memory, sizeof memory, &config, &terminal), "create");
    device.rate_hz = 16000;
    device.channels = 1;
    device.max_period_sample_frames = PERIOD;
    device.clock_domain = 0;
    device.slack_sample_frames = PERIOD;
    device.latency_us = 20000;
    must(handsfree_capture_configure(terminal, &device), "capture");
    must(handsfree_playback_configure(terminal, &device), "playback");
    must(handsfree_track_open(terminal, &track), "track");
    for (i = 0; i < PERIOD; i++) tone[i] = (int16_t)((i / 8) % 2 ? 6000 : -6000);

    board_start();
    while (delivered < SECONDS * 16000u) {
        int32_t count;
        while (handsfree_track_push(terminal, track, tone, PERIOD) == (int32_t)PERIOD) {}
        must(handsfree_playback_poll(terminal), "playback poll");
        count = handsfree_capture_poll(terminal, board_now_ns(), heard, HANDSFREE_POLL_SAMPLES);
        must(count, "capture poll");
        for (i = 0; i < (uint32_t)count; i++) {
            uint32_t level = (uint32_t)(heard[i] < 0 ? -heard[i] : heard[i]);
            if (level > loudest) loudest = level;
        }
        delivered += (uint32_t)count;
        while (handsfree_event_poll(terminal, &event) == 1) {
            if (event.kind == HANDSFREE_TRACK_STARTED && event.track == track) started++;
        }
        board_sleep();
    }
    must(handsfree_track_heard(terminal, track, board_now_ns(), &left), "heard");
    must(handsfree_read_stats(terminal, &stats), "stats");
    must(capture_fault, "capture interrupt");
    must(playback_fault, "playback interrupt");
    board_print_number("memory_bytes", (uint32_t)handsfree_memory_bytes());
    board_print_number("stack_bytes", board_stack_used());
    board_print_number("delivered_samples", delivered);
    board_print_number("heard_samples", (uint32_t)left);
    board_print_number("xruns", stats.xruns);
    check(stats.xruns == 0, "no sample is lost");
    check(stats.reference_lost_sample_frames == 0, "the reference is complete");
    check(started == 1, "the track started once");
    check(loudest == 6000, "the recorded tone has the level that was played");
    check(left > (SECONDS - 1) * 16000u && left <= delivered + 4 * PERIOD, "the played position is known");
    board_print("all checks passed\n");
    board_exit(0);
    return 0;
}
