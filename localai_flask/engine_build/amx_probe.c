/* Exits with 0 if the compiler translates `_tile_loadconfig` rightly, on any x86-64 processor; C and C++.

   GCC 12 tells its optimizer that the instruction reads the first bytes of its operand only, so that the stores of the
   others are dropped and llama.cpp dies of SIGILL at its first tile. Where the processor has AMX, the tiles say whether
   they were set up; elsewhere the instruction faults, and the operand can be looked for on the stack. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <immintrin.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

enum { ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18, RED_ZONE = 128, SEARCHED = 1024 };
struct tile_config { uint8_t palette, start_row, reserved[14]; uint16_t columns[16]; uint8_t rows[16]; };
static const uint8_t expected_rows[8] = {8, 8, 16, 16, 16, 16, 16, 16};

__attribute__((noinline)) static void use_tiles(void) {
    struct tile_config config __attribute__((aligned(64))) = {};
    config.palette = 1;
    config.columns[0] = 64; config.rows[0] = 8;
    config.columns[1] = 64; config.rows[1] = 8;
    config.columns[2] = 32; config.rows[2] = 16;
    config.columns[3] = 32; config.rows[3] = 16;
    config.columns[4] = 64; config.rows[4] = 16;
    config.columns[5] = 64; config.rows[5] = 16;
    config.columns[6] = 64; config.rows[6] = 16;
    config.columns[7] = 64; config.rows[7] = 16;
    _tile_loadconfig(&config);
    _tile_zero(0);
    _tile_release();
}

static void on_fault(int number, siginfo_t *info, void *context) {
    const greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
    const uint8_t *stack = (const uint8_t *)registers[REG_RSP] - RED_ZONE;
    (void)number; (void)info;
    for (int offset = 0; offset < SEARCHED; offset++)
        if (memcmp(stack + offset, expected_rows, sizeof expected_rows) == 0) _exit(0);
    _exit(1);
}

int main(void) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = on_fault;
    action.sa_flags = SA_SIGINFO;
    sigaction(SIGILL, &action, 0);
    sigaction(SIGSEGV, &action, 0);
    syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA);
    use_tiles();
    return 0;
}
