/* test_eri_class.c -- the ERI kernels of all 21 classes, every place of the store (both triangles, each slot),
 * against the stored integrals of the CPU, which op.eri.cpu compares with PySCF. */
#include <string.h>
#include "ks_test.h"
#include "cuda/backend_cuda.h"
#include "cuda/eri_pool.h"
#include "int_data.h"
#include "ksgrad/integrals.h"
#include "op_driver.h"

/* Size n: system; every one has frames that differ. */
enum { H2, WATER, HCN, HARD, N_SYSTEM };
static const int64_t n_frame_of[N_SYSTEM] = {5, 2, 1, 1};

typedef struct setup {
    ks_basis   *basis;
    ks_system  *sys;
    int_data    data; /* HARD: shells of its own */
    double      pos[12];
    ks_eri_cuda eri;
    double     *pos_dev;
    int32_t    *slot_dev;
    int64_t     n_frame;
} setup;

static ks_status open_system(int64_t n, setup *s) {
    static const int32_t Z[3][3]   = {{1, 1}, {8, 1, 1}, {1, 6, 7}};
    static const double  pos[3][9] = {{0, 0, 0, 0, 0, 1.4},
                                      {0, 0, 0.22, 0, 1.43, -0.89, 0.05, -1.41, -0.9},
                                      {0, 0.1, -3.0, 0, 0, -0.95, 0.2, 0, 1.23}};
    ks_status            st        = KS_OK;
    s->n_frame                     = n_frame_of[n];
    if (n == HARD) {
        int_data_open("hard", &s->data);
        s->sys = s->data.sys;
        memcpy(s->pos, s->data.pos, sizeof s->pos);
    } else {
        KS_TRY(ks_basis_load(n == H2 ? "sto-3g" : "def2-svp", &s->basis));
        KS_TRY(ks_system_create(s->basis, n == H2 ? 2 : 3, Z[n], &s->sys));
        memcpy(s->pos, pos[n], sizeof pos[n]);
    }
done:
    return st;
}

static double position(const setup *s, int64_t f, int64_t i) { return s->pos[i] + 0.07 * (double)(f * (i % 5)); }
/* A permutation without a pattern. */
static int32_t slot_of(const setup *s, int64_t f) { return (int32_t)((3 * f + 1) % s->n_frame); }

static ks_status build(t_case *c) {
    ks_status st = KS_OK;
    setup    *s  = calloc(1, sizeof *s);
    double    pos[5 * 12];
    int32_t   slot[5];
    void     *p = NULL;
    c->user     = s;
    KS_TRY(open_system(c->n, s));
    for (int64_t f = 0; f < s->n_frame; f++) {
        slot[f] = slot_of(s, f);
        for (int64_t i = 0; i < 3 * s->sys->n_atom; i++) pos[f * 3 * s->sys->n_atom + i] = position(s, f, i);
    }
    s->eri        = (ks_eri_cuda){.sys = s->sys, .capacity = s->n_frame, .n_ao = s->sys->n_ao};
    s->eri.n_pair = s->eri.ld = s->eri.n_ao * (s->eri.n_ao + 1) / 2; /* no padding: every place is an output */
    KS_TRY(ks_eri_tables_cuda_create(c->ctx, s->sys, &s->eri.tables));
    s->eri.order = ks_eri_tables_cuda_order(s->eri.tables);
    KS_TRY(ks_mem_alloc(c->ctx, sizeof pos, &p));
    s->pos_dev = p;
    KS_TRY(ks_mem_to_backend(c->ctx, p, pos, sizeof pos));
    KS_TRY(ks_mem_alloc(c->ctx, sizeof slot, &p));
    s->slot_dev = p;
    KS_TRY(ks_mem_to_backend(c->ctx, p, slot, sizeof slot));
    c->out_size[0] = s->n_frame * s->eri.n_pair * s->eri.ld;
done:
    return st;
}

static void drop(t_case *c) {
    setup *s = c->user;
    ks_eri_tables_cuda_destroy(c->ctx, &s->eri.tables);
    ks_mem_free(c->ctx, (void **)&s->pos_dev);
    ks_mem_free(c->ctx, (void **)&s->slot_dev);
    if (s->data.shell) int_data_close(&s->data);
    else {
        ks_system_destroy(&s->sys);
        ks_basis_destroy(&s->basis);
    }
    free(s);
}

static ks_status fwd(t_case *c, void *const in[], void *const out[]) {
    setup *s = c->user;
    (void)in;
    s->eri.store = out[0];
    return ks_eri_build_cuda(c->ctx, &s->eri, s->n_frame, s->slot_dev, s->pos_dev);
}

static void must(ks_status st) { /* not a check of its own: the driver counts rows */
    if (st == KS_OK) return;
    printf("FAIL reference: %s\n", ks_error_trace());
    exit(1);
}

static void golden(const t_case *c, double *const in[], double *const ref[]) {
    const setup *s   = c->user;
    ks_ctx      *cpu = NULL;
    ks_eri      *eri = NULL;
    double       pos[12];
    (void)in;
    must(ks_ctx_create(NULL, &cpu));
    must(ks_eri_create(cpu, s->sys, 1, &eri));
    for (int64_t f = 0; f < s->n_frame; f++) {
        const int32_t *place = s->eri.order.place_host;
        const int64_t  n     = s->eri.n_ao;
        double        *store = ref[0] + slot_of(s, f) * s->eri.n_pair * s->eri.ld;
        for (int64_t i = 0; i < 3 * s->sys->n_atom; i++) pos[i] = position(s, f, i);
        must(ks_eri_build(cpu, eri, 1, NULL, pos));
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j <= i; j++)
                for (int64_t k = 0; k < n; k++)
                    for (int64_t l = 0; l <= k; l++) {
                        const int64_t a = place[i] > place[j] ? place[i] : place[j], b = place[i] + place[j] - a;
                        const int64_t d = place[k] > place[l] ? place[k] : place[l], e = place[k] + place[l] - d;
                        must(ks_eri_value(eri, 0, i, j, k, l,
                                          &store[(a * (a + 1) / 2 + b) * s->eri.ld + d * (d + 1) / 2 + e]));
                    }
    }
    ks_eri_destroy(&eri);
    ks_ctx_destroy(&cpu);
}

/* Slots that a call does not name stay, and the padding of the rows too; a frame has the same bits alone and in a
 * batch. */
static void test_slots(void) {
    setup   s   = {0};
    ks_ctx *ctx = t_op_ctx(1);
    t_case  c   = {.ctx = ctx, .n = WATER};
    T_OK(build(&c));
    s                = *(setup *)c.user;
    const int64_t ld = (s.eri.n_pair + 15) / 16 * 16, row = 4 * s.eri.n_pair * ld;
    double       *one = malloc((size_t)row * sizeof *one), *all = malloc((size_t)row * sizeof *all);
    const int32_t slot[2] = {3, 1};
    void         *p       = NULL;
    int64_t       changed = 0, differ = 0;
    T_OK(ks_mem_alloc(ctx, (size_t)row * sizeof *one, &p));
    for (int64_t i = 0; i < row; i++) one[i] = -7.0;
    T_OK(ks_mem_to_backend(ctx, p, one, (size_t)row * sizeof *one));
    s.eri.store    = p;
    s.eri.ld       = ld;
    s.eri.capacity = 4;
    T_OK(ks_mem_to_backend(ctx, s.slot_dev, slot, sizeof slot));
    T_OK(ks_eri_build_cuda(ctx, &s.eri, 2, s.slot_dev, s.pos_dev));
    T_OK(ks_mem_to_host(ctx, all, p, (size_t)row * sizeof *all));
    T_OK(ks_eri_build_cuda(ctx, &s.eri, 1, NULL, s.pos_dev + 9)); /* the second frame, into slot 0 */
    T_OK(ks_mem_to_host(ctx, one, p, (size_t)row * sizeof *one));
    for (int64_t i = 0; i < row; i++) {
        const int64_t at = i / (row / 4), in_row = i % ld;
        if (at == 0 && in_row < s.eri.n_pair) differ += one[i] != all[i + row / 4];
        if (at == 0 || at == 2 || in_row >= s.eri.n_pair) changed += all[i] != -7.0;
    }
    T_CHECK(changed == 0, "%lld places of other slots or of the padding changed", (long long)changed);
    T_CHECK(differ == 0, "%lld integrals depend on the batch", (long long)differ);
    ks_mem_free(ctx, &p);
    free(one);
    free(all);
    drop(&c);
    ks_ctx_destroy(&ctx);
}

int main(int argc, char **argv) {
    /* value: primitive quartets below 1e-15 are left out by a bound per lane block, of 4 or 8 lanes there and 32
     * here: up to 225 of them (hard: 256) next to values of about 1 */
    static const t_op op = {.name   = "eri_class",
                            .flags  = T_NOT_ON_CPU,
                            .n      = HCN,
                            .n_size = 4,
                            .sizes  = {H2, WATER, HCN, HARD},
                            .build  = build,
                            .drop   = drop,
                            .fwd    = fwd,
                            .golden = golden,
                            .out    = {{.name = "store", .tol = 1e-13}}};
    t_op_init(argc, argv);
    t_op_run(&op);
    test_slots();
    return t_done("eri_class", 5);
}
