/* test_rho_tiles.c -- the rho kernels where one AO tile is not enough: propane in def2-SVP, 82 AOs in two tiles,
 * against the CPU. The nine checks are in tests/ops/test_rho.c, on a molecule with one tile. */
#include <string.h>
#include "ks_test.h"
#include "ksgrad/grid.h"
#include "op_driver.h"

enum { N_ATOM = 11, N_FRAME = 2 };
static const int32_t Z[N_ATOM] = {6, 6, 6, 1, 1, 1, 1, 1, 1, 1, 1};
/* A rough propane; bohr. */
static const double first[3 * N_ATOM] = {0,     0,     1.1,   2.4,  0,   -0.5, -2.4, 0,     -0.5, 0,     1.66,
                                         2.35,  0,     -1.66, 2.35, 4.1, 0,    0.7,  2.5,   1.68, -1.75, 2.5,
                                         -1.68, -1.75, -4.1,  0,    0.7, -2.5, 1.68, -1.75, -2.5, -1.68, -1.75};

typedef struct answer {
    int64_t n_feat, n_P;
    double *feat, *P_bar;
} answer;

static double random_at(uint64_t i) { return ks_rng_uniform(5, KS_STREAM_TEST, 0, i) - 0.5; }

/* Features of a random symmetric P, and the adjoint of random cotangents of them. */
static void evaluate(ks_ctx *ctx, const ks_system *sys, answer *a) {
    ks_grid      *grid = NULL;
    double        pos[N_FRAME * 3 * N_ATOM];
    const int32_t slot[N_FRAME] = {1, 0};
    const int64_t n             = sys->n_ao;
    void         *pos_b = NULL, *P_b = NULL, *feat_b = NULL, *bar_b = NULL, *P_bar_b = NULL;
    for (int i = 0; i < N_FRAME * 3 * N_ATOM; i++)
        pos[i] = first[i % (3 * N_ATOM)] + 0.1 * random_at(1000000u + (uint64_t)i);
    T_OK(ks_mem_alloc(ctx, sizeof pos, &pos_b));
    T_OK(ks_mem_to_backend(ctx, pos_b, pos, sizeof pos));
    T_OK(ks_grid_create(ctx, sys, 0, N_FRAME, &grid));
    T_OK(ks_grid_build(ctx, grid, N_FRAME, slot, pos_b));
    T_OK(ks_grid_n_points(sys, 0, &a->n_feat));
    a->n_feat *= 4 * N_FRAME;
    a->n_P                  = N_FRAME * n * n;
    const size_t feat_bytes = (size_t)a->n_feat * sizeof(double), P_bytes = (size_t)a->n_P * sizeof(double);
    double      *P = malloc(P_bytes), *bar = malloc(feat_bytes);
    a->feat  = malloc(feat_bytes);
    a->P_bar = malloc(P_bytes);
    for (int64_t b = 0; b < N_FRAME; b++)
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j <= i; j++)
                P[(b * n + i) * n + j] = P[(b * n + j) * n + i] = random_at((uint64_t)((b * n + i) * n + j));
    for (int64_t i = 0; i < a->n_feat; i++) bar[i] = random_at(2000000u + (uint64_t)i);
    T_OK(ks_mem_alloc(ctx, P_bytes, &P_b));
    T_OK(ks_mem_alloc(ctx, P_bytes, &P_bar_b));
    T_OK(ks_mem_alloc(ctx, feat_bytes, &feat_b));
    T_OK(ks_mem_alloc(ctx, feat_bytes, &bar_b));
    T_OK(ks_mem_to_backend(ctx, P_b, P, P_bytes));
    T_OK(ks_mem_to_backend(ctx, bar_b, bar, feat_bytes));
    T_OK(ks_mem_zero(ctx, P_bar_b, P_bytes));
    T_OK(ks_rho_fwd(ctx, grid, KS_XC_GGA, N_FRAME, slot, P_b, feat_b));
    T_OK(ks_rho_adj(ctx, grid, KS_XC_GGA, N_FRAME, slot, bar_b, P_bar_b));
    T_OK(ks_mem_to_host(ctx, a->feat, feat_b, feat_bytes));
    T_OK(ks_mem_to_host(ctx, a->P_bar, P_bar_b, P_bytes));
    ks_mem_free(ctx, &pos_b);
    ks_mem_free(ctx, &P_b);
    ks_mem_free(ctx, &P_bar_b);
    ks_mem_free(ctx, &feat_b);
    ks_mem_free(ctx, &bar_b);
    ks_grid_destroy(&grid);
    free(P);
    free(bar);
}

static double difference(const double *a, const double *b, int64_t n) {
    double worst = 0.0, largest = 0.0;
    for (int64_t i = 0; i < n; i++) {
        worst = t_worse(worst, fabs(a[i] - b[i]));
        if (fabs(b[i]) > largest) largest = fabs(b[i]);
    }
    return worst / largest;
}

int main(int argc, char **argv) {
    ks_basis  *basis = NULL;
    ks_system *sys   = NULL;
    ks_ctx    *ctx, *cpu = NULL;
    answer     got, ref;
    t_op_init(argc, argv);
    ctx = t_op_ctx(1);
    T_OK(ks_basis_load("def2-svp", &basis));
    T_OK(ks_system_create(basis, N_ATOM, Z, &sys));
    T_CHECK(sys->n_ao == 82, "%lld AOs", (long long)sys->n_ao);
    T_OK(ks_ctx_create(NULL, &cpu));
    evaluate(ctx, sys, &got);
    evaluate(cpu, sys, &ref);
    const double d_feat = difference(got.feat, ref.feat, ref.n_feat), d_P = difference(got.P_bar, ref.P_bar, ref.n_P);
    printf("relative differences: features %.2e, cotangent of P %.2e\n", d_feat, d_P);
    T_CLOSE(d_feat, 0.0, 1e-9, 0.0); /* the CPU leaves out AOs below 1e-9 of up to 82 next to values of about 10 */
    T_CLOSE(d_P, 0.0, 1e-9, 0.0);
    free(got.feat);
    free(got.P_bar);
    free(ref.feat);
    free(ref.P_bar);
    ks_system_destroy(&sys);
    ks_basis_destroy(&basis);
    ks_ctx_destroy(&ctx);
    ks_ctx_destroy(&cpu);
    return t_done("rho_tiles", 38);
}
