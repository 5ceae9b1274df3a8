/*
 * ALSA plug-in "handsfree": the cleaned microphone of `handsfree serve` as a capture device, without a sound server.
 * It starts `handsfree mic` and hands on what that command writes. docs/recipes/alsa.md says how it is built and used.
 *
 * Application side: all functions are called by the application's thread, through libasound.
 */
#define _GNU_SOURCE /* pipe2 */
#include <alsa/asoundlib.h>
#include <alsa/pcm_external.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

/* Longest command, in bytes. */
#define COMMAND_BYTES 1024
/* Limits of the buffer that an application may ask for, in bytes: 5 ms at 8 kHz mono to 5 s at 48 kHz stereo. */
#define MIN_PERIOD_BYTES 80
#define MAX_BUFFER_BYTES (1 << 20)

struct handsfree {
	snd_pcm_ioplug_t io;
	/* Command without the switches for rate and channels. */
	char *command;
	/* Process of the command; 0 if none runs. */
	pid_t child;
	/* End of the pipe that the command writes; -1 if none runs. */
	int fd;
	/* The last sample frames that were read, by their position modulo the buffer's size. */
	char *buffer;
	/* Position behind the last sample frame in the buffer. */
	snd_pcm_uframes_t filled;
	size_t frame_bytes;
};

static void end_command(struct handsfree *pcm)
{
	if (pcm->fd >= 0)
		close(pcm->fd);
	pcm->fd = -1;
	if (pcm->child > 0) {
		kill(pcm->child, SIGTERM);
		while (waitpid(pcm->child, NULL, 0) < 0 && errno == EINTR)
			;
	}
	pcm->child = 0;
}

static int begin_command(struct handsfree *pcm)
{
	char command[COMMAND_BYTES];
	int ends[2];
	int length = snprintf(command, sizeof(command), "exec %s -q -t raw -f S16_LE -r %u -c %u", pcm->command,
			      pcm->io.rate, pcm->io.channels);

	if (length < 0 || (size_t)length >= sizeof(command))
		return -EINVAL;
	if (pipe2(ends, O_CLOEXEC) < 0)
		return -errno;
	pcm->child = fork();
	if (pcm->child < 0) {
		int error = -errno;
		close(ends[0]);
		close(ends[1]);
		pcm->child = 0;
		return error;
	}
	if (pcm->child == 0) {
		/* Only calls that are safe between fork and exec. */
		dup2(ends[1], STDOUT_FILENO);
		execl("/bin/sh", "sh", "-c", command, (char *)NULL);
		_exit(127);
	}
	close(ends[1]);
	pcm->fd = ends[0];
	return 0;
}

/* Begins anew, also after the application was too slow: what waits is dropped with the command. */
static int on_prepare(snd_pcm_ioplug_t *io)
{
	struct handsfree *pcm = io->private_data;

	end_command(pcm);
	free(pcm->buffer);
	pcm->buffer = calloc(io->buffer_size, pcm->frame_bytes);
	if (!pcm->buffer)
		return -ENOMEM;
	pcm->filled = 0;
	return begin_command(pcm);
}

static int on_start(snd_pcm_ioplug_t *io)
{
	(void)io;
	return 0;
}

static int on_stop(snd_pcm_ioplug_t *io)
{
	(void)io;
	return 0;
}

static int on_hw_params(snd_pcm_ioplug_t *io, snd_pcm_hw_params_t *params)
{
	struct handsfree *pcm = io->private_data;

	(void)params;
	pcm->frame_bytes = 2 * io->channels;
	return 0;
}

/* Reads sample frames from the pipe, at most up to the end of the buffer's memory. Returns how many. */
static snd_pcm_sframes_t fill(struct handsfree *pcm, snd_pcm_uframes_t most)
{
	snd_pcm_uframes_t at = pcm->filled % pcm->io.buffer_size;
	char *to = pcm->buffer + at * pcm->frame_bytes;
	size_t left;

	if (most > pcm->io.buffer_size - at)
		most = pcm->io.buffer_size - at;
	for (left = most * pcm->frame_bytes; left > 0;) {
		ssize_t count = read(pcm->fd, to, left);
		if (count < 0 && errno == EINTR)
			continue;
		if (count < 0)
			return -errno;
		if (count == 0)
			return -ENODEV;
		to += count;
		left -= count;
	}
	pcm->filled += most;
	return most;
}

/* Returns the position behind the last sample frame that has come, within the buffer. What does not fit waits in the pipe,
 * so the buffer never overruns; `handsfree mic` drops and counts what a slow application misses. */
static snd_pcm_sframes_t on_pointer(snd_pcm_ioplug_t *io)
{
	struct handsfree *pcm = io->private_data;
	int bytes = 0;

	while (pcm->fd >= 0) {
		snd_pcm_uframes_t room = io->buffer_size - 1 - (pcm->filled - io->appl_ptr);
		snd_pcm_uframes_t waiting;
		snd_pcm_sframes_t count;

		if (ioctl(pcm->fd, FIONREAD, &bytes) < 0)
			return -errno;
		waiting = bytes / pcm->frame_bytes;
		if (waiting == 0) {
			struct pollfd end = { .fd = pcm->fd, .events = POLLIN };
			/* The service has ended, and everything was taken. */
			if (pcm->filled == io->appl_ptr && poll(&end, 1, 0) > 0 && (end.revents & POLLHUP) &&
			    !(end.revents & POLLIN))
				snd_pcm_ioplug_set_state(io, SND_PCM_STATE_DISCONNECTED);
			break;
		}
		if (room == 0)
			break;
		count = fill(pcm, waiting < room ? waiting : room);
		if (count < 0)
			return count;
	}
	return pcm->filled % io->buffer_size;
}

/* Copies what the application has not taken yet. libasound may ask for the same sample frames again. */
static snd_pcm_sframes_t on_transfer(snd_pcm_ioplug_t *io, const snd_pcm_channel_area_t *areas,
				     snd_pcm_uframes_t offset, snd_pcm_uframes_t size)
{
	struct handsfree *pcm = io->private_data;
	char *to = (char *)areas->addr + (areas->first + areas->step * offset) / 8;
	snd_pcm_uframes_t done;

	if (size > pcm->filled - io->appl_ptr)
		size = pcm->filled - io->appl_ptr;
	for (done = 0; done < size; done++)
		memcpy(to + done * pcm->frame_bytes,
		       pcm->buffer + (io->appl_ptr + done) % io->buffer_size * pcm->frame_bytes, pcm->frame_bytes);
	return size;
}

static int on_poll_descriptors_count(snd_pcm_ioplug_t *io)
{
	(void)io;
	return 1;
}

static int on_poll_descriptors(snd_pcm_ioplug_t *io, struct pollfd *descriptors, unsigned int space)
{
	struct handsfree *pcm = io->private_data;

	if (space < 1)
		return 0;
	descriptors[0].fd = pcm->fd;
	descriptors[0].events = POLLIN;
	return 1;
}

/* The end of the command is an error for an application that waits. */
static int on_poll_revents(snd_pcm_ioplug_t *io, struct pollfd *descriptors, unsigned int count,
			   unsigned short *revents)
{
	(void)io;
	*revents = 0;
	if (count > 0)
		*revents = descriptors[0].revents;
	if ((*revents & POLLHUP) && !(*revents & POLLIN))
		*revents = POLLERR | POLLIN;
	return 0;
}

static int on_close(snd_pcm_ioplug_t *io)
{
	struct handsfree *pcm = io->private_data;

	end_command(pcm);
	free(pcm->buffer);
	free(pcm->command);
	free(pcm);
	return 0;
}

static const snd_pcm_ioplug_callback_t callbacks = {
	.start = on_start,
	.stop = on_stop,
	.pointer = on_pointer,
	.transfer = on_transfer,
	.close = on_close,
	.hw_params = on_hw_params,
	.prepare = on_prepare,
	.poll_descriptors_count = on_poll_descriptors_count,
	.poll_descriptors = on_poll_descriptors,
	.poll_revents = on_poll_revents,
};

static int set_limits(snd_pcm_ioplug_t *io)
{
	/* Conversions of the plug-in "plug" map their source; libasound calls on_transfer for that too. */
	static const unsigned int accesses[] = { SND_PCM_ACCESS_RW_INTERLEAVED, SND_PCM_ACCESS_MMAP_INTERLEAVED };
	static const unsigned int formats[] = { SND_PCM_FORMAT_S16_LE };
	int error;

	if ((error = snd_pcm_ioplug_set_param_list(io, SND_PCM_IOPLUG_HW_ACCESS, 2, accesses)) < 0 ||
	    (error = snd_pcm_ioplug_set_param_list(io, SND_PCM_IOPLUG_HW_FORMAT, 1, formats)) < 0 ||
	    (error = snd_pcm_ioplug_set_param_minmax(io, SND_PCM_IOPLUG_HW_CHANNELS, 1, 2)) < 0 ||
	    (error = snd_pcm_ioplug_set_param_minmax(io, SND_PCM_IOPLUG_HW_RATE, 8000, 48000)) < 0 ||
	    (error = snd_pcm_ioplug_set_param_minmax(io, SND_PCM_IOPLUG_HW_PERIOD_BYTES, MIN_PERIOD_BYTES,
						     MAX_BUFFER_BYTES / 2)) < 0)
		return error;
	return snd_pcm_ioplug_set_param_minmax(io, SND_PCM_IOPLUG_HW_BUFFER_BYTES, 2 * MIN_PERIOD_BYTES,
					       MAX_BUFFER_BYTES);
}

/* Configuration: command, a string, by default "handsfree mic". */
SND_PCM_PLUGIN_DEFINE_FUNC(handsfree)
{
	snd_config_iterator_t at, next;
	const char *command = "handsfree mic";
	struct handsfree *pcm;
	int error;

	(void)root;
	snd_config_for_each(at, next, conf)
	{
		snd_config_t *entry = snd_config_iterator_entry(at);
		const char *id;

		if (snd_config_get_id(entry, &id) < 0 || !strcmp(id, "comment") || !strcmp(id, "type") ||
		    !strcmp(id, "hint"))
			continue;
		if (!strcmp(id, "command") && snd_config_get_string(entry, &command) >= 0)
			continue;
		SNDERR("field '%s': expected command, a string", id);
		return -EINVAL;
	}
	if (stream != SND_PCM_STREAM_CAPTURE) {
		SNDERR("type handsfree: expected capture; playback is 'type file', see docs/recipes/alsa.md");
		return -EINVAL;
	}
	pcm = calloc(1, sizeof(*pcm));
	if (!pcm)
		return -ENOMEM;
	pcm->fd = -1;
	pcm->command = strdup(command);
	if (!pcm->command) {
		free(pcm);
		return -ENOMEM;
	}
	pcm->io.version = SND_PCM_IOPLUG_VERSION;
	pcm->io.name = "cleaned microphone of handsfree serve";
	pcm->io.callback = &callbacks;
	pcm->io.private_data = pcm;
	error = snd_pcm_ioplug_create(&pcm->io, name, stream, mode);
	if (error < 0) {
		free(pcm->command);
		free(pcm);
		return error;
	}
	error = set_limits(&pcm->io);
	if (error < 0) {
		/* This calls on_close. */
		snd_pcm_ioplug_delete(&pcm->io);
		return error;
	}
	*pcmp = pcm->io.pcm;
	return 0;
}
SND_PCM_PLUGIN_SYMBOL(handsfree);
