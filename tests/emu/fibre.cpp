/* fibre.cpp -- see fibre.h. One scheduler, on the stack that calls fibre_resume. */
#include "fibre.h"
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <sys/mman.h>
#include <unistd.h>
#ifdef KS_EMU_BOOST
#include <boost/context/detail/fcontext.hpp>
namespace bc = boost::context::detail;
#else
#include <ucontext.h>
#endif

#if defined(__SANITIZE_ADDRESS__)
#define KS_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define KS_ASAN 1
#endif
#endif
#ifdef KS_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

struct fibre {
    char  *base; /* mapping: one guard page, then the stack */
    size_t bytes, shift;
    void (*body)(void *);
    void *arg;
#ifdef KS_EMU_BOOST
    bc::fcontext_t ctx;
#else
    ucontext_t ctx;
#endif
};

static fibre *g_current;
#ifdef KS_EMU_BOOST
static bc::fcontext_t g_scheduler;
#else
static ucontext_t g_scheduler;
#endif
#ifdef KS_ASAN
static const void *g_sched_stack;
static size_t      g_sched_bytes;
#endif

static size_t page() { return (size_t)sysconf(_SC_PAGESIZE); }

fibre *fibre_create(size_t stack_bytes, size_t k) {
    fibre *f = new fibre();
    f->bytes = (stack_bytes + page() - 1) / page() * page();
    f->shift = k * 1088 % (stack_bytes / 4) / 64 * 64;
    f->base  = (char *)mmap(nullptr, f->bytes + page(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK,
                            -1, 0);
    if (f->base == MAP_FAILED || mprotect(f->base, page(), PROT_NONE) != 0) {
        fprintf(stderr, "emu: cannot map a fibre's stack\n");
        abort();
    }
    return f;
}

void fibre_destroy(fibre *f) {
#ifdef KS_ASAN
    __asan_unpoison_memory_region(f->base + page(), f->bytes);
#endif
    munmap(f->base, f->bytes + page());
    delete f;
}

/* What every switch has to tell AddressSanitizer: where it goes, and on arrival where it came from. */
static void leave_for_fibre(void **fake, const fibre *f) {
#ifdef KS_ASAN
    __sanitizer_start_switch_fiber(fake, f->base + page(), f->bytes);
#else
    (void)fake, (void)f;
#endif
}
static void arrive_in_scheduler(void *fake) {
#ifdef KS_ASAN
    __sanitizer_finish_switch_fiber(fake, nullptr, nullptr);
#else
    (void)fake;
#endif
}
static void leave_for_scheduler(void **fake) {
#ifdef KS_ASAN
    __sanitizer_start_switch_fiber(fake, g_sched_stack, g_sched_bytes);
#else
    (void)fake;
#endif
}
static void arrive_in_fibre(void *fake) {
#ifdef KS_ASAN
    __sanitizer_finish_switch_fiber(fake, &g_sched_stack, &g_sched_bytes);
#else
    (void)fake;
#endif
}

#ifdef KS_EMU_BOOST
static void enter(bc::transfer_t t) {
    g_scheduler = t.fctx;
    arrive_in_fibre(nullptr);
    g_current->body(g_current->arg);
    leave_for_scheduler(nullptr); /* NULL: this stack's fake frames are over */
    bc::jump_fcontext(g_scheduler, nullptr);
    abort();
}
#else
static void enter() {
    arrive_in_fibre(nullptr);
    g_current->body(g_current->arg);
    leave_for_scheduler(nullptr);
    swapcontext(&g_current->ctx, &g_scheduler);
    abort();
}
#endif

void fibre_start(fibre *f, void (*body)(void *), void *arg) {
    f->body = body;
    f->arg  = arg;
#ifdef KS_ASAN
    __asan_unpoison_memory_region(f->base + page(), f->bytes); /* what the last run's frames left */
#endif
#ifdef KS_EMU_BOOST
    f->ctx = bc::make_fcontext(f->base + page() + f->bytes - f->shift, f->bytes - f->shift, enter);
#else
    getcontext(&f->ctx);
    f->ctx.uc_stack.ss_sp = f->base + page();
    f->ctx.uc_stack.ss_size = f->bytes - f->shift;
    f->ctx.uc_link = nullptr;
    makecontext(&f->ctx, enter, 0);
#endif
}

void fibre_resume(fibre *f) {
    void *fake = nullptr;
    g_current  = f;
    leave_for_fibre(&fake, f);
#ifdef KS_EMU_BOOST
    f->ctx = bc::jump_fcontext(f->ctx, nullptr).fctx;
#else
    swapcontext(&g_scheduler, &f->ctx);
#endif
    arrive_in_scheduler(fake);
    g_current = nullptr;
}

void fibre_yield() {
    void *fake = nullptr;
    leave_for_scheduler(&fake);
#ifdef KS_EMU_BOOST
    g_scheduler = bc::jump_fcontext(g_scheduler, nullptr).fctx;
#else
    swapcontext(&g_current->ctx, &g_scheduler);
#endif
    arrive_in_fibre(fake);
}
