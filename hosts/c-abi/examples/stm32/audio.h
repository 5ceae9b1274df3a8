#ifndef HANDSFREE_STM32_AUDIO_H
#define HANDSFREE_STM32_AUDIO_H

#include <handsfree.h>

#include "hal_stub.h"

/* Starts both directions. The terminal exists and its devices are configured with audio_device(). Returns 1 if the HAL has started
 * them. */
int audio_start(handsfree *terminal, SAI_HandleTypeDef *microphone, SAI_HandleTypeDef *loudspeaker);

/* Returns the configuration of both devices. */
handsfree_device audio_device(void);

/* Restarts an interface that has had a fault. To be called from the main loop. */
void audio_poll(void);

/* Returns the time of the cycle counter, in nanoseconds: the clock for all calls of handsfree. From any context. */
int64_t audio_now_ns(void);

#endif
