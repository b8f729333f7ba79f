/* launcher.h -- what tests of the launcher itself need beyond the CUDA calls of shim/cuda_runtime.h. */
#ifndef KS_EMU_LAUNCHER_H
#define KS_EMU_LAUNCHER_H
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif
/* Why the last kernel or call failed; "" if none. */
const char *ks_emu_message(void);
/* Forgets errors, pending work and the sticky state; device memory stays. */
void ks_emu_reset(void);
/* Order of threads and blocks; also KS_EMU_SEED in the environment. */
void ks_emu_seed(uint64_t seed);
#ifdef __cplusplus
}
#endif
#endif
