/* test_jk.c -- Coulomb and exchange matrices: PySCF, linearity and symmetry, several densities, slots, threads. */
#include "int_data.h"
#include "op_driver.h"

static int_data data;

/* n densities of one frame; the first is the golden matrix. */
static void fill_D(const t_case *c, double *x) {
    const int64_t n2 = data.n_ao * data.n_ao;
    for (int64_t i = 0; i < n2 && c->n; i++) x[i] = data.M[i];
}
static void symmetrise(const t_case *c, double *x) {
    const int64_t n = data.n_ao;
    for (int64_t m = 0; m < c->n; m++)
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j < i; j++) x[(m * n + i) * n + j] = x[(m * n + j) * n + i];
}
/* A pool of frames at pos (host memory). */
static ks_status pool_open(ks_ctx *ctx, int64_t capacity, int64_t n_frame, const int32_t *slot, const double *pos,
                           ks_eri **out) {
    ks_status    st    = KS_OK;
    const size_t bytes = (size_t)(3 * data.n_atom * n_frame) * sizeof *pos;
    double      *x     = NULL;
    KS_TRY(ks_eri_create(ctx, data.sys, capacity, out));
    KS_TRY(ks_mem_alloc(ctx, bytes, (void **)&x));
    KS_TRY(ks_mem_to_backend(ctx, x, pos, bytes));
    KS_TRY(ks_eri_build(ctx, *out, n_frame, slot, x));
done:
    ks_mem_free(ctx, (void **)&x);
    return st;
}
static ks_status build(t_case *c) {
    ks_eri         *eri = NULL;
    const ks_status st  = pool_open(c->ctx, 1, 1, NULL, data.pos, &eri);
    c->user             = eri;
    c->in_size[0] = c->out_size[0] = c->out_size[1] = c->n * data.n_ao * data.n_ao;
    return st;
}
static void      drop(t_case *c) { ks_eri_destroy((ks_eri **)&c->user); }
static ks_status fwd(t_case *c, void *const in[], void *const out[]) {
    return ks_jk(c->ctx, c->user, 1, NULL, c->n, in[0], out[0], out[1]);
}
static ks_status adj(t_case *c, void *const in[], void *const saved[], void *const out_bar[], void *const in_bar[]) {
    (void)in;
    (void)saved;
    return in_bar[0] ? ks_jk_adj(c->ctx, c->user, 1, NULL, c->n, out_bar[0], out_bar[1], in_bar[0]) : KS_OK;
}
static ks_status bad(t_case *c, int k, void *const in[], void *const out[]) {
    const int32_t far[1] = {1}, neg[1] = {-1};
    if (!ks_ctx_is_host(c->ctx) && (k == 1 || k == 2)) k = 0; /* the host does not read slots in device memory */
    switch (k) {
    case 0:
        return ks_jk(c->ctx, c->user, 2, NULL, 1, in[0], out[0], out[1]);
    case 1:
        return ks_jk(c->ctx, c->user, 1, far, 1, in[0], out[0], out[1]);
    case 2:
        return ks_jk(c->ctx, c->user, 1, neg, 1, in[0], out[0], out[1]);
    case 3:
        return ks_jk(c->ctx, c->user, 1, NULL, -1, in[0], out[0], out[1]);
    case 4:
        return ks_jk(c->ctx, NULL, 1, NULL, 1, in[0], out[0], out[1]);
    case 5:
        return ks_jk(c->ctx, c->user, 1, NULL, 1, NULL, out[0], out[1]);
    default:
        return ks_jk_adj(c->ctx, c->user, 1, NULL, 1, in[0], NULL, NULL);
    }
}
static void golden(const t_case *c, double *const in[], double *const ref[]) {
    const int64_t n2 = data.n_ao * data.n_ao;
    (void)in;
    for (int64_t i = 0; i < c->n * n2; i++) {
        ref[0][i] = c->n == 1 ? data.J[i] : NAN;
        ref[1][i] = c->n == 1 ? data.K[i] : NAN;
    }
}
/* Relative to the largest element: sums of 600 to 1,100 products of size one, each integral good to 1e-14 in both codes;
 * measured 1e-14. */
static const t_op op = {.name   = "jk",
                        .flags  = T_LINEAR,
                        .n      = 1,
                        .n_size = 5,
                        .sizes  = {0, 1, 2, 4, 7},
                        .build  = build,
                        .drop   = drop,
                        .fwd    = fwd,
                        .adj    = adj,
                        .golden = golden,
                        .bad    = bad,
                        .n_bad  = 7,
                        .in     = {{.name = "D", .diff = 1, .fill = fill_D, .project = symmetrise, .tol = 1e-14}},
                        .out    = {{.name = "J", .diff = 1, .tol = 5e-14}, {.name = "K", .diff = 1, .tol = 5e-14}}};

static void run(const char *name) {
    printf("-- %s\n", name);
    int_data_open(name, &data);
    t_op_run(&op);
    int_data_close(&data);
}

/* J and K (frames, n_dm, n, n, one behind the other) of frames in slots (backend memory, or NULL); bits 1 and 2 of want. */
static void jk_of(ks_ctx *ctx, const ks_eri *eri, int64_t n_frame, const int32_t *slot, int64_t n_dm, const double *D,
                  int want, double *JK) {
    const int64_t n = n_frame * n_dm * data.n_ao * data.n_ao;
    double       *x = int_data_put(ctx, n, D), *y = int_data_put(ctx, 2 * n, JK);
    T_OK(ks_jk(ctx, eri, n_frame, slot, n_dm, x, want & 1 ? y : NULL, want & 2 ? y + n : NULL));
    int_data_get(ctx, 2 * n, y, JK);
    ks_mem_free(ctx, (void **)&x);
    ks_mem_free(ctx, (void **)&y);
}

/* Frames in slots, in any order, with several densities: the same bits as one frame with one density at a time; J or K
 * alone gives the same bits as both. */
static void test_slots(void) {
    enum { B = 3, DM = 3, CAP = 5 };
    const int32_t slot[B + 1] = {4, 0, 2, 4};
    ks_ctx       *ctx = t_op_ctx(2), *one = t_op_ctx(1);
    ks_eri       *eri = NULL, *single = NULL;
    int32_t      *slots = NULL;
    int_data_open("water", &data);
    const int64_t n2 = data.n_ao * data.n_ao, n3 = 3 * data.n_atom, all = B * DM * n2;
    double       *pos = malloc((size_t)(B * n3) * sizeof *pos), *D = malloc((size_t)all * sizeof *D);
    double       *JK = malloc((size_t)(4 * all) * sizeof *JK), *ref = JK + 2 * all;
    for (int64_t i = 0; i < B * n3; i++)
        pos[i] = data.pos[i % n3] + 0.2 * ks_rng_uniform(3, KS_STREAM_TEST, 1, (uint64_t)i);
    for (int64_t i = 0; i < all; i++) D[i] = ks_rng_uniform(3, KS_STREAM_TEST, 2, (uint64_t)i);
    for (int64_t m = 0; m < B * DM; m++)
        for (int64_t i = 0, n = data.n_ao; i < n; i++)
            for (int64_t j = 0; j < i; j++) D[m * n2 + i * n + j] = D[m * n2 + j * n + i];
    T_OK(ks_mem_alloc(ctx, sizeof slot, (void **)&slots));
    T_OK(ks_mem_to_backend(ctx, slots, slot, sizeof slot));
    T_OK(pool_open(ctx, CAP, B, slots, pos, &eri));
    for (int f = 0; f < B; f++) {
        T_OK(pool_open(one, 1, 1, NULL, pos + f * n3, &single));
        for (int m = 0; m < DM; m++) {
            const int64_t at = (f * DM + m) * n2;
            jk_of(one, single, 1, NULL, 1, D + at, 3, JK);
            memcpy(ref + at, JK, (size_t)n2 * sizeof *JK);
            memcpy(ref + all + at, JK + n2, (size_t)n2 * sizeof *JK);
        }
        ks_eri_destroy(&single);
    }
    const size_t bytes = (size_t)all * sizeof *D;
    jk_of(ctx, eri, B, slots, DM, D, 3, JK);
    T_CHECK(!memcmp(JK, ref, 2 * bytes), "frames in slots differ from single frames");
    memset(JK, 0xff, 2 * bytes);
    jk_of(ctx, eri, B, slots, DM, D, 1, JK);
    jk_of(ctx, eri, B, slots, DM, D, 2, JK);
    T_CHECK(!memcmp(JK, ref, 2 * bytes), "J or K alone differs from both");
    for (int f = B - 1; f >= 0; f--) { /* single frames in other order */
        jk_of(ctx, eri, 1, slots + f, DM, D + f * DM * n2, 1, JK);
        T_CHECK(!memcmp(JK, ref + f * DM * n2, bytes / B), "slot %d", slot[f]);
    }
    memmove(D, D + DM * n2, 2 * bytes / B); /* frames 1, 2, 0 */
    for (int64_t i = 0; i < DM * n2; i++) D[2 * DM * n2 + i] = ks_rng_uniform(3, KS_STREAM_TEST, 2, (uint64_t)i);
    for (int64_t m = 2 * DM; m < B * DM; m++)
        for (int64_t i = 0, n = data.n_ao; i < n; i++)
            for (int64_t j = 0; j < i; j++) D[m * n2 + i * n + j] = D[m * n2 + j * n + i];
    jk_of(ctx, eri, B, slots + 1, DM, D, 1, JK);
    T_CHECK(!memcmp(JK, ref + DM * n2, 2 * bytes / B) && !memcmp(JK + 2 * DM * n2, ref, bytes / B),
            "slots in other order");
    ks_mem_free(ctx, (void **)&slots);
    ks_eri_destroy(&eri);
    free(pos), free(D), free(JK);
    int_data_close(&data);
    ks_ctx_destroy(&ctx);
    ks_ctx_destroy(&one);
}

/* Bytes as open takes them; a pool that cannot fit is refused with numbers, and nothing is lost. */
static void test_memory(void) {
    ks_ctx *ctx   = t_op_ctx(1);
    ks_eri *eri   = NULL;
    int64_t bytes = 0;
    int_data_open("water", &data);
    const int64_t n_pair = data.n_ao * (data.n_ao + 1) / 2;
    T_OK(ks_eri_bytes(ctx, data.sys, &bytes));
    T_CHECK(bytes > 0 && bytes % 64 == 0, "%lld bytes", (long long)bytes);
    if (!ks_ctx_is_host(ctx)) { /* the pair square */
        T_CHECK(bytes == n_pair * ((n_pair + 15) / 16 * 16) * 8, "%lld bytes", (long long)bytes);
        T_ERR(ks_eri_create(ctx, data.sys, ks_mem_available(ctx) / bytes + 1, &eri), KS_ERR_NOMEM);
        T_CHECK(!eri && strstr(ks_error_message(), "GB are left"), "%s", ks_error_message());
        ks_error_clear();
    }
    T_OK(ks_eri_create(ctx, data.sys, 0, &eri));
    ks_eri_destroy(&eri);
    int_data_close(&data);
    ks_ctx_destroy(&ctx);
}

/* K by definition from stored values, so that a wrong weight of a diagonal cannot hide: all (ik|jl) D_kl of the hard set. */
static void test_definition(void) {
    ks_ctx *ctx = t_op_ctx(1);
    ks_eri *eri = NULL;
    int_data_open("hard", &data);
    const int64_t n  = data.n_ao;
    double       *JK = malloc((size_t)(2 * n * n) * sizeof *JK), worst_j = 0.0, worst_k = 0.0;
    T_OK(pool_open(ctx, 1, 1, NULL, data.pos, &eri));
    jk_of(ctx, eri, 1, NULL, 1, data.M, 3, JK);
    for (int64_t i = 0; i < n; i += 3)
        for (int64_t j = 0; j < n; j += 2) {
            double J = 0.0, K = 0.0, v = 0.0, w = 0.0;
            for (int64_t k = 0; k < n; k++)
                for (int64_t l = 0; l < n; l++) {
                    if (ks_eri_value(eri, 0, i, j, k, l, &v) != KS_OK || ks_eri_value(eri, 0, i, k, j, l, &w) != KS_OK)
                        v = NAN;
                    J += v * data.M[k * n + l];
                    K += w * data.M[k * n + l];
                }
            worst_j = t_worse(worst_j, fabs(J - JK[i * n + j]));
            worst_k = t_worse(worst_k, fabs(K - JK[(n + i) * n + j]));
        }
    T_CLOSE(worst_j, 0.0, 1e-11, 0.0); /* sums of 1,000 terms up to 300 */
    T_CLOSE(worst_k, 0.0, 1e-11, 0.0);
    ks_eri_destroy(&eri);
    free(JK);
    int_data_close(&data);
    ks_ctx_destroy(&ctx);
}

int main(int argc, char **argv) {
    t_op_init(argc, argv);
    run("water");
    test_slots();
    test_memory();
    if (strcmp(t_op_backend(), "emu")) { /* minutes there, for what test_eri_class and test_jk_store show */
        run("hcn");
        run("hard");
        test_definition();
    }
    return t_done("jk", 55);
}
