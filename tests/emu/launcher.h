/* launcher.h -- what tests need of the launcher beyond the CUDA calls of shim/cuda_runtime.h. */
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
/* Order of threads, blocks and streams; also KS_EMU_SEED in the environment. */
void ks_emu_seed(uint64_t seed);

/* What a program finds that looks for a GPU: an error of cudaGetDeviceCount (35: driver too old, 100: no GPU), the
 * version of the driver (0: none), the compute capability. 0, 13000, 9: the launcher. */
void ks_emu_pretend(int error, int driver_version, int compute_major);

/* Calls of the program so far, the refused ones included: take two and subtract. KS_EMU_STATS=1 in the environment
 * prints them, and the time spent in each kernel, when the program ends. */
typedef struct ks_emu_counts {
    int64_t launches, graph_launches; /* kernels, library calls and fills; graphs */
    int64_t waits;                    /* of the host for a stream or the device */
    int64_t event_waits;              /* of the host for an event */
    int64_t allocations, frees;       /* device and pinned memory */
    int64_t copies_in, copies_out;    /* from and to the host */
} ks_emu_counts;
ks_emu_counts ks_emu_count(void);
#ifdef __cplusplus
}
#endif
#endif
