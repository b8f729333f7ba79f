/* fibre.cpp -- see fibre.h. */
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
    void       *arg;
    const void *stack; /* for AddressSanitizer */
#ifdef KS_EMU_BOOST
    bc::fcontext_t ctx;
#else
    ucontext_t ctx;
#endif
};

static fibre  g_main; /* the program's own stack */
static fibre *g_current = &g_main;

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
static void leave(void **fake, const fibre *to) {
#ifdef KS_ASAN
    __sanitizer_start_switch_fiber(fake, to->stack, to->bytes);
#else
    (void)fake, (void)to;
#endif
}
static void arrive(void *fake, fibre *from) {
#ifdef KS_ASAN
    __sanitizer_finish_switch_fiber(fake, &from->stack, &from->bytes);
#else
    (void)fake, (void)from;
#endif
}

#ifdef KS_EMU_BOOST
static void enter(bc::transfer_t t) {
    fibre *const from = (fibre *)t.data;
    from->ctx         = t.fctx;
    arrive(nullptr, from);
    g_current->body(g_current->arg);
    abort();
}
#else
static fibre *g_from;
static void enter() {
    arrive(nullptr, g_from);
    g_current->body(g_current->arg);
    abort();
}
#endif

void fibre_start(fibre *f, void (*body)(void *), void *arg) {
    f->body  = body;
    f->arg   = arg;
    f->stack = f->base + page();
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

void fibre_switch(fibre *to) {
    void        *fake = nullptr;
    fibre *const self = g_current;
    g_current         = to ? to : &g_main;
    leave(&fake, g_current);
#ifdef KS_EMU_BOOST
    const bc::transfer_t t    = bc::jump_fcontext(g_current->ctx, self);
    fibre *const         from = (fibre *)t.data;
    from->ctx                 = t.fctx;
#else
    g_from = self;
    swapcontext(&self->ctx, &g_current->ctx);
    fibre *const from = g_from;
#endif
    arrive(fake, from);
}
