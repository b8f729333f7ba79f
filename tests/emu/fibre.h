/* fibre.h -- stacks that give way to each other. Boost.Context's assembly switch (10 ns) where its library is there
 * (KS_EMU_BOOST), ucontext (500 ns) otherwise; AddressSanitizer is told about every switch. */
#ifndef KS_EMU_FIBRE_H
#define KS_EMU_FIBRE_H
#include <cstddef>

struct fibre;
/* k-th fibre: stacks start at different offsets, or their tops would share one set of every cache. */
fibre *fibre_create(size_t stack_bytes, size_t k);
void   fibre_destroy(fibre *f);
/* f runs body(arg), which never returns, from the start when it is switched to next. */
void fibre_start(fibre *f, void (*body)(void *), void *arg);
void fibre_switch(fibre *to); /* NULL: the stack of the program */
#endif
