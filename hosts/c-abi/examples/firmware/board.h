/* The mps2-an386 as QEMU plays it: two timers in the place of DMA interrupts, a counter, and a way out. */
#ifndef BOARD_H
#define BOARD_H

#include <stdint.h>

#define BOARD_TICK_NS 40
#define BOARD_CAPTURE_TICKS 250000u
/* A clock that is 100 ppm fast. */
#define BOARD_PLAYBACK_TICKS 249975u

void board_start(void);
/* Nanoseconds since board_start(); to be asked at least once in two minutes. */
int64_t board_now_ns(void);
/* Nanoseconds since the timers interrupted last. */
int64_t board_since_capture_ns(void);
int64_t board_since_playback_ns(void);
void board_sleep(void);
void board_print(const char *text);
void board_print_number(const char *name, uint32_t number);
void board_exit(int failed);
/* Bytes of the stack that were ever used. */
uint32_t board_stack_used(void);

/* The application's. */
void capture_interrupt(void);
void playback_interrupt(void);

#endif
