/* machine.c -- see machine.h. */
#define _GNU_SOURCE
#include "core/machine.h"
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static double seconds_of(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

double ks_wall_seconds(void) { return seconds_of(CLOCK_MONOTONIC); }
double ks_cpu_seconds(void) { return seconds_of(CLOCK_PROCESS_CPUTIME_ID); }

/* First number of a file; -1 when there is none ("max" of a control group without a limit). */
static double read_number(const char *path) {
    FILE  *f = fopen(path, "r");
    double x = -1;
    if (f && fscanf(f, "%lf", &x) != 1) x = -1;
    if (f) fclose(f);
    return x;
}

int64_t ks_memory_available(void) {
    FILE  *f = fopen("/proc/meminfo", "r");
    char   line[256];
    double kib = -1;
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "MemAvailable: %lf", &kib) == 1) break;
    if (f) fclose(f);
    double bytes =
        kib > 0 ? kib * 1024 : 2.0 * 1024 * 1024 * 1024; /* unknown: a modest guess, overridden by device.memory_gib */
    const double limit = read_number("/sys/fs/cgroup/memory.max"), used = read_number("/sys/fs/cgroup/memory.current");
    if (limit > 0 && used >= 0 && limit - used < bytes) bytes = limit - used;
    return (int64_t)bytes;
}

int ks_data_folder(int k, char *path, size_t size) {
    static const char *const fixed[] = {KS_SOURCE_DATADIR, KS_INSTALL_DATADIR};
    char                     self[4096];
    if (k < 0 || k > 2) return 0;
    if (k < 2) return (size_t)snprintf(path, size, "%s", fixed[k]) < size;
    const ssize_t n     = readlink("/proc/self/exe", self, sizeof self - 1);
    self[n > 0 ? n : 0] = '\0';
    char *slash         = strrchr(self, '/');
    if (!slash) return 0;
    *slash = '\0';
    return (size_t)snprintf(path, size, "%s/../share/ksgrad", self) < size;
}
