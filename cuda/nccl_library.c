/* nccl_library.c -- see nccl_library.h. */
#define _GNU_SOURCE
#include "nccl_library.h"
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void   *g_library; /* NULL: not loaded yet */
static ks_nccl g_nccl;

static ks_status open_library(void **out) {
    ks_status         st       = KS_OK;
    const char *const own      = getenv("KS_NCCL");
    const char *const name[2]  = {own ? own : "libnccl.so.2", "/usr/local/cuda/lib64/libnccl.so.2"};
    char              why[640] = "";
    for (int k = 0; k < (own ? 1 : 2) && !(*out = dlopen(name[k], RTLD_NOW | RTLD_LOCAL)); k++)
        snprintf(why + strlen(why), sizeof why - strlen(why), "%s%.300s", k ? "; " : "", dlerror());
    KS_CHECK(*out, KS_ERR_UNSUPPORTED,
             "NCCL is not there (%s): install NCCL 2.18 or newer, or name its folder in LD_LIBRARY_PATH or its file in "
             "KS_NCCL",
             why);
done:
    return st;
}

/* Sums in NVLink's switches (NVLS) come in no fixed order; without them equal runs give equal bits. Who sets one of the two
 * variables decides. Before the library reads its environment. */
static void choose_algorithms(void) {
    if (!getenv("NCCL_ALGO")) (void)setenv("NCCL_NVLS_ENABLE", "0", 0);
}

ks_status ks_nccl_load(const ks_nccl **out) {
    ks_status st      = KS_OK;
    void     *library = NULL;
    ks_nccl   n       = {.version = 0};
    Dl_info   info    = {.dli_fname = NULL};
    if (g_library) {
        *out = &g_nccl;
        return KS_OK;
    }
    choose_algorithms();
    KS_TRY(open_library(&library));
#define X(name)                                                                                                        \
    *(void **)&n.name = dlsym(library, #name);                                                                         \
    KS_CHECK(n.name, KS_ERR_UNSUPPORTED, "NCCL has no function %s: install NCCL 2.18 or newer", #name);
    KS_NCCL_FUNCTIONS(X)
#undef X
    KS_CHECK(n.ncclGetVersion(&n.version) == ncclSuccess, KS_ERR_UNSUPPORTED, "NCCL does not say its version");
    n.path = dladdr(*(void **)&n.ncclGetVersion, &info) && info.dli_fname ? info.dli_fname : "libnccl.so.2";
    KS_CHECK(n.version >= KS_NCCL_OLDEST, KS_ERR_UNSUPPORTED,
             "NCCL %d.%d.%d (%s) is too old: install NCCL 2.18 or newer, or name its folder in LD_LIBRARY_PATH",
             n.version / 10000, n.version % 10000 / 100, n.version % 100, n.path);
    g_nccl    = n;
    g_library = library;
    library   = NULL;
    *out      = &g_nccl;
done:
    if (library) (void)dlclose(library);
    return st;
}

void ks_nccl_library_describe(char *out, size_t size) {
    const ks_nccl *n = NULL;
    if (ks_nccl_load(&n) == KS_OK) {
        snprintf(out, size, "%d.%d.%d, %s", n->version / 10000, n->version % 10000 / 100, n->version % 100, n->path);
    } else {
        snprintf(out, size, "%s", ks_error_message());
        ks_error_clear();
    }
}
