/* Declares the parts of Zephyr's I2S driver and kernel that audio.c uses, so that the example compiles without it. A firmware includes
 * <zephyr/kernel.h> and <zephyr/drivers/i2s.h> instead. */
#ifndef HANDSFREE_ZEPHYR_STUB_H
#define HANDSFREE_ZEPHYR_STUB_H

#include <stddef.h>
#include <stdint.h>

struct device;
struct k_mem_slab;
typedef struct {
    int64_t ticks;
} k_timeout_t;

enum i2s_dir { I2S_DIR_RX, I2S_DIR_TX, I2S_DIR_BOTH };
enum i2s_trigger_cmd { I2S_TRIGGER_START, I2S_TRIGGER_STOP, I2S_TRIGGER_DRAIN, I2S_TRIGGER_DROP, I2S_TRIGGER_PREPARE };

#define K_NO_WAIT ((k_timeout_t){0})
#define K_MSEC(ms) ((k_timeout_t){(ms)})

int i2s_read(const struct device *dev, void **block, size_t *size);
int i2s_write(const struct device *dev, void *block, size_t size);
int i2s_trigger(const struct device *dev, enum i2s_dir dir, enum i2s_trigger_cmd cmd);
int k_mem_slab_alloc(struct k_mem_slab *slab, void **mem, k_timeout_t timeout);
void k_mem_slab_free(struct k_mem_slab *slab, void *mem);
int32_t k_sleep(k_timeout_t timeout);
int64_t k_uptime_ticks(void);
uint64_t k_ticks_to_ns_floor64(uint64_t ticks);

#endif
