/* machine.h -- clocks and memory of the machine. Private. */
#ifndef KS_CORE_MACHINE_H
#define KS_CORE_MACHINE_H
#include <stdint.h>

double ks_wall_seconds(void); /* monotonic */
double ks_cpu_seconds(void);  /* of this process, all threads */

/* Bytes that this process may still take: free memory of the machine, and what its control group leaves. */
int64_t ks_memory_available(void);
#endif
