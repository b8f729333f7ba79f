/* test_jk_store.c -- J and K on the CUDA backend from a store that this test fills itself, with numbers that have the
 * eightfold symmetry of integrals, against the definition: every size of the last group of rows, slots in any order, an odd
 * number of densities, any order of AOs. What fails here is jk.cu alone. */
#include "cuda/backend_cuda.h"
#include "cuda/eri_pool.h"
#include "ks_test.h"
#include "op_driver.h"
#include <string.h>

enum { CAP = 3, B = 2, DM = 3 };
static const int32_t slots[B] = {2, 0};

typedef struct pool {
    ks_eri_cuda eri;
    int64_t    *order; /* (n) PySCF AO of each place */
    double     *host;  /* the store */
    int32_t    *order_mem, *slot_mem;
} pool;

static int64_t pair(int64_t i, int64_t j) { return i > j ? i * (i + 1) / 2 + j : j * (j + 1) / 2 + i; }

static ks_status upload(ks_ctx *ctx, const void *src, size_t bytes, void *out) {
    ks_status st = KS_OK;
    void     *p  = NULL;
    KS_TRY(ks_mem_alloc(ctx, bytes, &p));
    memcpy(out, &p, sizeof p);
    KS_TRY(ks_mem_to_backend(ctx, p, src, bytes));
done:
    return st;
}

/* The numbers of a pool follow from n alone. Columns behind the last pair are NaN: nobody may read them. */
static ks_status pool_open(ks_ctx *ctx, int64_t n, pool **out) {
    ks_status     st     = KS_OK;
    const int64_t n_pair = n * (n + 1) / 2, ld = (n_pair + 15) / 16 * 16;
    pool         *p     = calloc(1, sizeof *p);
    int32_t      *order = calloc((size_t)n, sizeof *order);
    p->order            = calloc((size_t)n, sizeof *p->order);
    p->host             = malloc((size_t)(CAP * n_pair * ld) * sizeof *p->host);
    ks_rng_permutation(7, KS_STREAM_TEST, (uint32_t)n, n, p->order);
    for (int64_t i = 0; i < n; i++) order[i] = (int32_t)p->order[i];
    for (int64_t s = 0; s < CAP; s++)
        for (int64_t r = 0; r < n_pair; r++)
            for (int64_t c = 0; c < ld; c++)
                p->host[(s * n_pair + r) * ld + c] =
                    c < n_pair ? 2.0 * ks_rng_uniform(9, KS_STREAM_TEST, (uint32_t)s, (uint64_t)pair(r, c)) - 1.0 : NAN;
    p->eri = (ks_eri_cuda){.capacity = CAP, .n_ao = n, .n_pair = n_pair, .ld = ld};
    *out   = p;
    KS_TRY(upload(ctx, p->host, (size_t)(CAP * n_pair * ld) * sizeof *p->host, &p->eri.store));
    KS_TRY(upload(ctx, order, (size_t)n * sizeof *order, &p->order_mem));
    KS_TRY(upload(ctx, slots, sizeof slots, &p->slot_mem));
    p->eri.order.ao = p->order_mem;
done:
    free(order);
    return st;
}

static void pool_close(ks_ctx *ctx, pool *p) {
    ks_mem_free(ctx, (void **)&p->eri.store);
    ks_mem_free(ctx, (void **)&p->order_mem);
    ks_mem_free(ctx, (void **)&p->slot_mem);
    free(p->order), free(p->host), free(p);
}

static ks_status build(t_case *c) {
    pool           *p  = NULL;
    const ks_status st = pool_open(c->ctx, c->n, &p);
    c->user            = p;
    c->in_size[0] = c->out_size[0] = c->out_size[1] = B * DM * c->n * c->n;
    return st;
}
static void drop(t_case *c) { pool_close(c->ctx, c->user); }

static void symmetrise(const t_case *c, double *x) {
    for (int64_t m = 0; m < B * DM; m++)
        for (int64_t i = 0, n = c->n; i < n; i++)
            for (int64_t j = 0; j < i; j++) x[(m * n + i) * n + j] = x[(m * n + j) * n + i];
}
static ks_status fwd(t_case *c, void *const in[], void *const out[]) {
    const pool *p = c->user;
    return ks_jk_cuda(c->ctx, &p->eri, B, p->slot_mem, DM, in[0], out[0], out[1]);
}
static ks_status adj(t_case *c, void *const in[], void *const saved[], void *const out_bar[], void *const in_bar[]) {
    const pool *p = c->user;
    (void)in;
    (void)saved;
    return in_bar[0] ? ks_jk_adj_cuda(c->ctx, &p->eri, B, p->slot_mem, DM, out_bar[0], out_bar[1], in_bar[0]) : KS_OK;
}

/* Sums over all k, l of the places a, b; D and the results are in PySCF order. */
static void golden(const t_case *c, double *const in[], double *const ref[]) {
    const pool   *p = c->user;
    const int64_t n = c->n, ld = p->eri.ld, n_pair = p->eri.n_pair;
    for (int64_t m = 0; m < B * DM; m++) {
        const double *v = p->host + slots[m / DM] * n_pair * ld, *D = in[0] + m * n * n;
        for (int64_t a = 0; a < n; a++)
            for (int64_t b = 0; b < n; b++) {
                double J = 0.0, K = 0.0;
                for (int64_t k = 0; k < n; k++)
                    for (int64_t l = 0; l < n; l++) {
                        const double d = D[p->order[k] * n + p->order[l]];
                        J += v[pair(a, b) * ld + pair(k, l)] * d;
                        K += v[pair(a, k) * ld + pair(b, l)] * d;
                    }
                ref[0][(m * n + p->order[a]) * n + p->order[b]] = J;
                ref[1][(m * n + p->order[a]) * n + p->order[b]] = K;
            }
    }
}

/* 42: two tiles of l, rows without edges and rows with (jk.cu, load_values). Tolerance: that of a sum of 256 terms, of the
 * largest element, which has n^2 products of random sign, 1,764 at n = 42; measured 4e-15. */
static const t_op op = {
    .name   = "jk_store",
    .flags  = T_LINEAR | T_NOT_ON_CPU,
    .n      = 6,
    .n_size = 6,
    .sizes  = {1, 2, 3, 4, 5, 42},
    .trials = 1,
    .build  = build,
    .drop   = drop,
    .fwd    = fwd,
    .adj    = adj,
    .golden = golden,
    .in     = {{.name = "D", .diff = 1, .project = symmetrise, .tol = 64 * TOL_EPS}},
    .out    = {{.name = "J", .diff = 1, .tol = 64 * TOL_EPS}, {.name = "K", .diff = 1, .tol = 64 * TOL_EPS}}};

/* A frame or a density alone, J or K alone: the bits of all together. */
static void test_alone(int64_t n) {
    ks_ctx      *ctx = t_op_ctx(1);
    pool        *p   = NULL;
    const size_t one = (size_t)(n * n), all = B * DM * one, bytes = all * sizeof(double);
    double      *D = malloc(bytes), *ref = malloc(2 * bytes), *got = malloc(2 * bytes), *D_mem, *JK_mem;
    for (size_t i = 0; i < all; i++) D[i] = ks_rng_uniform(3, KS_STREAM_TEST, 2, i);
    T_OK(pool_open(ctx, n, &p));
    T_OK(upload(ctx, D, bytes, &D_mem));
    T_OK(ks_mem_alloc(ctx, 2 * bytes, (void **)&JK_mem));
    T_OK(ks_jk_cuda(ctx, &p->eri, B, p->slot_mem, DM, D_mem, JK_mem, JK_mem + all));
    T_OK(ks_mem_to_host(ctx, ref, JK_mem, 2 * bytes));
    T_OK(ks_jk_cuda(ctx, &p->eri, B, p->slot_mem, DM, D_mem, JK_mem, NULL));
    T_OK(ks_jk_cuda(ctx, &p->eri, B, p->slot_mem, DM, D_mem, NULL, JK_mem + all));
    T_OK(ks_mem_to_host(ctx, got, JK_mem, 2 * bytes));
    T_CHECK(!memcmp(got, ref, 2 * bytes), "J or K alone");
    T_OK(
        ks_jk_cuda(ctx, &p->eri, 1, p->slot_mem + 1, DM, D_mem + DM * one, JK_mem + DM * one, JK_mem + all + DM * one));
    for (int m = 0; m < DM; m++) /* the densities of frame 0 one by one */
        T_OK(ks_jk_cuda(ctx, &p->eri, 1, p->slot_mem, 1, D_mem + m * one, JK_mem + m * one, JK_mem + all + m * one));
    T_OK(ks_mem_to_host(ctx, got, JK_mem, 2 * bytes));
    T_CHECK(!memcmp(got, ref, 2 * bytes), "a frame or a density alone");
    T_OK(ks_jk_cuda(ctx, &p->eri, B, NULL, DM, D_mem, JK_mem, NULL)); /* no slots: 0, 1; frame 1 was slot 0 */
    T_OK(ks_jk_cuda(ctx, &p->eri, 1, NULL, DM, D_mem + DM * one, JK_mem + DM * one, NULL));
    T_OK(ks_mem_to_host(ctx, got, JK_mem, bytes));
    T_CHECK(!memcmp(got + DM * one, ref + DM * one, bytes / B), "frames without slots");
    ks_mem_free(ctx, (void **)&D_mem);
    ks_mem_free(ctx, (void **)&JK_mem);
    pool_close(ctx, p);
    free(D), free(ref), free(got);
    ks_ctx_destroy(&ctx);
}

int main(int argc, char **argv) {
    t_op_init(argc, argv);
    t_op_run(&op);
    test_alone(7);
    test_alone(42);
    return t_done("jk_store", 25);
}
