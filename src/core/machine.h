/* machine.h -- clocks and memory of the machine. Private. */
#ifndef KS_CORE_MACHINE_H
#define KS_CORE_MACHINE_H
#include <stddef.h>
#include <stdint.h>

double ks_wall_seconds(void); /* monotonic */
double ks_cpu_seconds(void);  /* of this process, all threads */

/* Bytes that this process may still take: free memory of the machine, and what its control group leaves. */
int64_t ks_memory_available(void);

/* Folder k of those that may hold the shipped data (basis/, samples): the source tree's datasets, the installation's
 * share folder, ../share/ksgrad beside the program (a folder that was moved). 0 when there is no such k. */
int ks_data_folder(int k, char *path, size_t size);
#endif
