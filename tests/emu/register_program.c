/* register_program.c -- the CUDA backend in a ksgrad that is linked with the launcher: --backend cuda runs the kernels on
 * the CPU, one CUDA thread after another. For tests. */
#include "core/backend.h"

__attribute__((constructor)) static void register_cuda(void) {
    if (ks_backend_register(&ks_backend_cuda) != KS_OK) ks_error_clear(); /* then it is not there, and says so */
}
