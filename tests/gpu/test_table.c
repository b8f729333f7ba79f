/* test_table.c -- the CUDA backend has every op that the CPU backend has. */
#include <string.h>
#include "core/backend.h"
#include "ks_test.h"
#include "op_driver.h"
#include "ops/grid_ops.h"
#include "ops/integrals_ops.h"
#include "ops/linalg_ops.h"
#include "ops/net_ops.h"
#include "ops/optim_ops.h"

static int64_t g_slots;

/* Tables of function pointers and nothing else. */
static void compare(const char *family, size_t bytes, const void *cpu, const void *cuda) {
    void (*const none)(void) = NULL;
    T_CHECK(cuda != NULL && bytes % sizeof none == 0, "%s: no table", family);
    for (size_t at = 0; cuda && at < bytes; at += sizeof none) {
        const int has = memcmp((const char *)cpu + at, &none, sizeof none) != 0,
                  got = memcmp((const char *)cuda + at, &none, sizeof none) != 0;
        T_CHECK(got || !has, "%s: slot %zu is empty", family, at / sizeof none);
        g_slots += got;
    }
}

int main(int argc, char **argv) {
    const ks_backend *a, *b;
    ks_ctx           *cpu, *dev;
    t_op_init(argc, argv);
    cpu = t_open("cpu", 1);
    dev = t_op_ctx(1);
    a = cpu->backend, b = dev->backend;
    T_CHECK(a != b, "the same backend");
    compare("integrals", sizeof(ks_ops_integrals), a->integrals, b->integrals);
    compare("grid", sizeof(ks_ops_grid), a->grid, b->grid);
    compare("linalg", sizeof(ks_ops_linalg), a->linalg, b->linalg);
    compare("net", sizeof(ks_ops_net), a->net, b->net);
    compare("optim", sizeof(ks_ops_optim), a->optim, b->optim);
    printf("%lld slots\n", (long long)g_slots);
    ks_ctx_destroy(&cpu);
    ks_ctx_destroy(&dev);
    return t_done("table", 50);
}
