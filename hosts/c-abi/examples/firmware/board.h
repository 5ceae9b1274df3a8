/* The board mps2-an386 as emulated by QEMU: two timers that stand for DMA interrupts, a counter, and an exit to the host. */
#ifndef BOARD_H
#define BOARD_H

#include <stdint.h>

#define BOARD_TICK_NS 40
#define BOARD_CAPTURE_TICKS 250000u
/* The loudspeaker's clock is 100 ppm fast. */
#define BOARD_PLAYBACK_TICKS 249975u

void board_start(void);
/* Returns the nanoseconds since board_start(). Call it at least once every two minutes, or the counter wraps unnoticed. */
int64_t board_now_ns(void);
/* Return the nanoseconds since the last interrupt of each timer. */
int64_t board_since_capture_ns(void);
int64_t board_since_playback_ns(void);
void board_sleep(void);
void board_print(const char *text);
void board_print_number(const char *name, uint32_t number);
void board_exit(int failed);
/* Returns the largest stack usage so far, in bytes. */
uint32_t board_stack_used(void);

/* Interrupt handlers that the application defines. */
void capture_interrupt(void);
void playback_interrupt(void);

#endif
