#include "board.h"

#include <stddef.h>

#define REGISTER(address) (*(volatile uint32_t *)(uintptr_t)(address))
#define TIMER0 0x40000000u
#define TIMER1 0x40001000u
#define DUAL 0x40002000u
#define NVIC_ENABLE 0xE000E100u
#define CPACR 0xE000ED88u
#define PAINT 0xC0DEF00Du

extern uint32_t stack_top, data_begin, data_end, data_source, bss_begin, bss_end;
int main(void);

void *memcpy(void *to, const void *from, size_t count)
{
    unsigned char *out = to;
    const unsigned char *in = from;
    while (count-- > 0) *out++ = *in++;
    return to;
}

void *memset(void *to, int value, size_t count)
{
    unsigned char *out = to;
    while (count-- > 0) *out++ = (unsigned char)value;
    return to;
}

void *memmove(void *to, const void *from, size_t count)
{
    unsigned char *out = to;
    const unsigned char *in = from;
    if (out < in) return memcpy(to, from, count);
    while (count-- > 0) out[count] = in[count];
    return to;
}

void reset(void);
void reset(void)
{
    volatile uint32_t *word;
    const uint32_t *from = &data_source;
    uint32_t here;
    uint32_t *to;
    for (to = &data_begin; to < &data_end;) *to++ = *from++;
    for (to = &bss_begin; to < &bss_end;) *to++ = 0;
    for (word = &bss_end; (uintptr_t)word < (uintptr_t)&here - 256; word++) *word = PAINT;
    /* Enables the floating point unit, which the library uses. */
    REGISTER(CPACR) |= 0xFu << 20;
    __asm__ volatile("dsb\n isb");
    (void)main();
    board_exit(1);
}

static void fault(void)
{
    board_print("fault\n");
    board_exit(1);
}

static void timer0(void)
{
    REGISTER(TIMER0 + 12) = 1;
    capture_interrupt();
}

static void timer1(void)
{
    REGISTER(TIMER1 + 12) = 1;
    playback_interrupt();
}

typedef void (*handler)(void);
struct vectors {
    uint32_t *stack;
    handler handlers[26];
};

__attribute__((section(".vectors"), used)) static const struct vectors vectors = {
    &stack_top,
    {reset, fault, fault, fault, fault, fault, 0, 0, 0, 0, fault, fault, 0, fault, fault,
     0, 0, 0, 0, 0, 0, 0, 0, timer0, timer1, 0},
};

void board_start(void)
{
    REGISTER(DUAL) = 0xFFFFFFFFu;
    REGISTER(DUAL + 8) = 0xC2u;
    REGISTER(TIMER0 + 8) = REGISTER(TIMER0 + 4) = BOARD_CAPTURE_TICKS - 1;
    REGISTER(TIMER1 + 8) = REGISTER(TIMER1 + 4) = BOARD_PLAYBACK_TICKS - 1;
    REGISTER(TIMER0) = 9;
    REGISTER(TIMER1) = 9;
    REGISTER(NVIC_ENABLE) = 3u << 8;
}

int64_t board_now_ns(void)
{
    static uint32_t last, wraps;
    uint32_t masked, now;
    int64_t ticks;
    __asm__ volatile("mrs %0, primask\n cpsid i" : "=r"(masked) : : "memory");
    now = ~REGISTER(DUAL + 4);
    if (now < last) wraps++;
    last = now;
    ticks = (int64_t)(((uint64_t)wraps << 32) | now);
    __asm__ volatile("msr primask, %0" : : "r"(masked) : "memory");
    return ticks * BOARD_TICK_NS;
}

int64_t board_since_capture_ns(void)
{
    return (int64_t)(BOARD_CAPTURE_TICKS - 1 - REGISTER(TIMER0 + 4)) * BOARD_TICK_NS;
}

int64_t board_since_playback_ns(void)
{
    return (int64_t)(BOARD_PLAYBACK_TICKS - 1 - REGISTER(TIMER1 + 4)) * BOARD_TICK_NS;
}

void board_sleep(void)
{
    __asm__ volatile("wfi");
}

static void host(uint32_t operation, const void *argument)
{
    register uint32_t r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xAB" : "+r"(r0) : "r"(r1) : "memory");
}

void board_print(const char *text)
{
    host(4, text);
}

void board_print_number(const char *name, uint32_t number)
{
    char digits[12];
    size_t at = sizeof digits - 1;
    digits[at] = 0;
    digits[--at] = '\n';
    do {
        digits[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0 && at > 0);
    board_print(name);
    board_print(" ");
    board_print(&digits[at]);
}

void board_exit(int failed)
{
    /* Semihosting reasons ADP_Stopped_ApplicationExit and ADP_Stopped_RunTimeErrorUnknown. */
    for (;;) host(0x18, (const void *)(uintptr_t)(failed ? 0x20023u : 0x20026u));
}

uint32_t board_stack_used(void)
{
    const volatile uint32_t *word = &bss_end;
    while (word < &stack_top && *word == PAINT) word++;
    return (uint32_t)((uintptr_t)&stack_top - (uintptr_t)word);
}
