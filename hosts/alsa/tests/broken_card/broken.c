/* A simulated sound card (an ioplug of libasound) that moves samples by the clock and fails according to its mode.
 *
 *   pcm.eio { type broken  mode "eio" }
 *
 * mode             behaviour
 * healthy          The card works.
 * eio              From half a second on, every transfer fails with EIO.
 * gone             From half a second on, every transfer fails with ENODEV.
 * gone_at_restart  From half a second on, the card reports an xrun, and preparing it for a restart fails with ENODEV.
 * bad_state        From half a second on, every transfer fails with EBADFD.
 * poll_error       From half a second on, the descriptor is ready all the time with an error, and no sample moves.
 * closed           After half a second the descriptor is closed, so that waiting for it reports POLLNVAL.
 * short            Each transfer accepts 1 to 7 sample frames; every third one fails with EAGAIN or EINTR.
 * bad_delays       The reported delay is in turn negative, far too large (twice), and right.
 * stalled          From half a second on, the position stands still, although the state is running.
 * suspended        After half a second the card is suspended for two seconds. Preparing it fails with EAGAIN or ESTRPIPE
 *                  meanwhile.
 * suspended_long   As suspended, for a minute.
 * xrun             The card reports one xrun after half a second, and works afterwards.
 * xrun_in_transfer After half a second one transfer moves a part of its samples, and the next one reports an xrun.
 */
#define _GNU_SOURCE
#include <alsa/asoundlib.h>
#include <alsa/pcm_external.h>
#include <alsa/pcm_ioplug.h>
#include <errno.h>
#include <limits.h>
#include <stdint.h>
#include <string.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

struct broken {
    snd_pcm_ioplug_t io;
    char mode[32];
    int timer;
    int64_t started_ns;       /* Time of the last start; 0 while the card is stopped. */
    int64_t first_start_ns;   /* Time of the first start; 0 before it. */
    int64_t suspended_ns;     /* Time of the suspend; 0 before it. */
    unsigned transfers;
    unsigned queries;         /* Number of queries that were answered in turn with different results. */
    int failed;
    int cut;                  /* Whether one transfer was cut short. */
    uint32_t next_sample;     /* Value of the next captured sample. */
};

static int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static int has_mode(const struct broken *card, const char *mode)
{
    return strcmp(card->mode, mode) == 0;
}

/* Returns whether the card has run for half a second and must fail from now on. */
static int must_fail(const struct broken *card)
{
    return card->first_start_ns && now_ns() - card->first_start_ns > 500000000;
}

static int is_suspended_card(const struct broken *card)
{
    return has_mode(card, "suspended") || has_mode(card, "suspended_long");
}

static int broken_start(snd_pcm_ioplug_t *io)
{
    struct broken *card = io->private_data;
    card->started_ns = now_ns();
    if (!card->first_start_ns)
        card->first_start_ns = card->started_ns;
    int64_t period_ns = (int64_t)io->period_size * 1000000000 / io->rate;
    struct itimerspec each_period = {
        .it_interval = { .tv_nsec = period_ns },
        .it_value = { .tv_nsec = period_ns },
    };
    return timerfd_settime(card->timer, 0, &each_period, NULL);
}

static int broken_stop(snd_pcm_ioplug_t *io)
{
    struct broken *card = io->private_data;
    card->started_ns = 0;
    struct itimerspec never = { 0 };
    return timerfd_settime(card->timer, 0, &never, NULL);
}

static snd_pcm_sframes_t broken_pointer(snd_pcm_ioplug_t *io)
{
    struct broken *card = io->private_data;
    if (!card->started_ns)
        return 0;
    if (has_mode(card, "closed") && must_fail(card) && !card->failed) {
        card->failed = 1;
        close(card->timer);
        card->timer = -1;
    }
    if (is_suspended_card(card) && must_fail(card) && !card->failed) {
        card->failed = 1;
        card->suspended_ns = now_ns();
        /* The state is set here because libasound treats every error of this function as an xrun. */
        snd_pcm_ioplug_set_state(io, SND_PCM_STATE_SUSPENDED);
    }
    if (has_mode(card, "xrun") && must_fail(card) && !card->failed) {
        card->failed = 1;
        return -EPIPE;
    }
    if (has_mode(card, "gone_at_restart") && must_fail(card)) {
        card->failed = 1;
        return -EPIPE;
    }
    int64_t until_ns = now_ns();
    if ((has_mode(card, "stalled") || has_mode(card, "poll_error")) && must_fail(card))
        until_ns = card->first_start_ns + 500000000;
    if (until_ns < card->started_ns)
        until_ns = card->started_ns;
    int64_t frames = (int64_t)((double)(until_ns - card->started_ns) * io->rate / 1e9);
    return frames % io->buffer_size;
}

static snd_pcm_sframes_t broken_transfer(snd_pcm_ioplug_t *io, const snd_pcm_channel_area_t *areas,
                                         snd_pcm_uframes_t offset, snd_pcm_uframes_t size)
{
    struct broken *card = io->private_data;
    card->transfers++;
    if (has_mode(card, "eio") && must_fail(card))
        return -EIO;
    if (has_mode(card, "gone") && must_fail(card))
        return -ENODEV;
    if (has_mode(card, "bad_state") && must_fail(card))
        return -EBADFD;
    if (has_mode(card, "xrun_in_transfer") && must_fail(card) && !card->failed) {
        if (card->cut) {
            card->failed = 1;
            snd_pcm_ioplug_set_state(io, SND_PCM_STATE_XRUN);
            return -EPIPE;
        }
        card->cut = 1;
        size = size < 100 ? size : 100;
    }
    if (has_mode(card, "short")) {
        if (card->transfers % 3 == 0)
            return card->transfers % 2 ? -EAGAIN : -EINTR;
        snd_pcm_uframes_t limit = 1 + card->transfers % 7;
        size = size < limit ? size : limit;
    }
    if (io->stream == SND_PCM_STREAM_CAPTURE) {
        int16_t *samples = (int16_t *)((char *)areas[0].addr + areas[0].first / 8) + offset * (areas[0].step / 16);
        for (snd_pcm_uframes_t k = 0; k < size; k++)
            samples[k * (areas[0].step / 16)] = (int16_t)card->next_sample++;
    }
    return size;
}

static int broken_prepare(snd_pcm_ioplug_t *io)
{
    struct broken *card = io->private_data;
    card->started_ns = 0;
    if (has_mode(card, "gone_at_restart") && card->failed)
        return -ENODEV;
    /* libasound ignores the result of a plug-in's resume function, so a suspended card refuses to be prepared instead. */
    if (card->suspended_ns && now_ns() - card->suspended_ns < (has_mode(card, "suspended") ? 2 : 60) * (int64_t)1000000000)
        return card->queries++ % 2 ? -EAGAIN : -ESTRPIPE;
    return 0;
}

static int broken_delay(snd_pcm_ioplug_t *io, snd_pcm_sframes_t *delay)
{
    struct broken *card = io->private_data;
    snd_pcm_sframes_t queued = (snd_pcm_sframes_t)(io->appl_ptr - io->hw_ptr);
    if (io->stream == SND_PCM_STREAM_CAPTURE)
        queued = -queued;
    *delay = queued;
    if (has_mode(card, "bad_delays"))
        switch (card->queries++ % 4) {
        case 0: *delay = -480; break;
        case 1: *delay = LONG_MAX; break;
        case 2: *delay = 7000000000000000000; break;
        }
    return 0;
}

static int broken_revents(snd_pcm_ioplug_t *io, struct pollfd *fds, unsigned count, unsigned short *revents)
{
    struct broken *card = io->private_data;
    uint64_t ticks;
    if (count != 1)
        return -EINVAL;
    *revents = 0;
    if (has_mode(card, "poll_error") && must_fail(card)) {
        /* The timer is not read, so that it stays ready. */
        *revents = POLLERR;
        return 0;
    }
    if (fds[0].revents & POLLIN) {
        if (read(card->timer, &ticks, sizeof ticks) < 0 && errno != EAGAIN)
            return -errno;
        *revents = io->stream == SND_PCM_STREAM_CAPTURE ? POLLIN : POLLOUT;
    }
    return 0;
}

static int broken_close(snd_pcm_ioplug_t *io)
{
    struct broken *card = io->private_data;
    if (card->timer >= 0)
        close(card->timer);
    free(card);
    return 0;
}

static const snd_pcm_ioplug_callback_t callbacks = {
    .start = broken_start,
    .stop = broken_stop,
    .pointer = broken_pointer,
    .transfer = broken_transfer,
    .prepare = broken_prepare,
    .delay = broken_delay,
    .poll_revents = broken_revents,
    .close = broken_close,
};

static int constrain(snd_pcm_ioplug_t *io)
{
    static const unsigned access[] = { SND_PCM_ACCESS_RW_INTERLEAVED };
    static const unsigned formats[] = { SND_PCM_FORMAT_S16 };
    int error;
    if ((error = snd_pcm_ioplug_set_param_list(io, SND_PCM_IOPLUG_HW_ACCESS, 1, access)) < 0
        || (error = snd_pcm_ioplug_set_param_list(io, SND_PCM_IOPLUG_HW_FORMAT, 1, formats)) < 0
        || (error = snd_pcm_ioplug_set_param_minmax(io, SND_PCM_IOPLUG_HW_CHANNELS, 1, 2)) < 0
        || (error = snd_pcm_ioplug_set_param_minmax(io, SND_PCM_IOPLUG_HW_RATE, 48000, 48000)) < 0
        || (error = snd_pcm_ioplug_set_param_minmax(io, SND_PCM_IOPLUG_HW_PERIOD_BYTES, 64, 1 << 16)) < 0
        || (error = snd_pcm_ioplug_set_param_minmax(io, SND_PCM_IOPLUG_HW_PERIODS, 2, 64)) < 0)
        return error;
    return 0;
}

SND_PCM_PLUGIN_DEFINE_FUNC(broken)
{
    (void)root;
    const char *mode_name = "healthy";
    snd_config_iterator_t i, next;
    snd_config_for_each(i, next, conf) {
        snd_config_t *node = snd_config_iterator_entry(i);
        const char *id;
        if (snd_config_get_id(node, &id) >= 0 && strcmp(id, "mode") == 0)
            snd_config_get_string(node, &mode_name);
    }
    struct broken *card = calloc(1, sizeof *card);
    if (!card)
        return -ENOMEM;
    strncpy(card->mode, mode_name, sizeof card->mode - 1);
    card->timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    card->io.version = SND_PCM_IOPLUG_VERSION;
    card->io.name = "broken card";
    card->io.mmap_rw = 0;
    card->io.callback = &callbacks;
    card->io.private_data = card;
    card->io.poll_fd = card->timer;
    card->io.poll_events = POLLIN;
    card->io.flags = SND_PCM_IOPLUG_FLAG_MONOTONIC;
    int error = snd_pcm_ioplug_create(&card->io, name, stream, mode);
    if (error >= 0)
        error = constrain(&card->io);
    if (error < 0) {
        close(card->timer);
        free(card);
        return error;
    }
    *pcmp = card->io.pcm;
    return 0;
}

SND_PCM_PLUGIN_SYMBOL(broken);
