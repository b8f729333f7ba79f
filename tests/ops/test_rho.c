/* test_rho.c -- density and its gradient on the grid: the nine checks, values by brute force. */
#include "ks_test.h"
#include "op_driver.h"
#include "grid_golden.h"
#include "ops/grid_impl.h"

static ks_xc_family g_family;

typedef struct setup {
    ks_system *sys;
    ks_grid   *grid;
    double     pos[3][24];
    int32_t    slot[3];
    void      *slot_b; /* in backend memory */
} setup;

/* c->n frames of water in STO-3G, slightly different, in slots that are not in order. */
static ks_status build(t_case *c) {
    ks_status st = KS_OK;
    setup    *s  = calloc(1, sizeof *s);
    c->user      = s;
    s->sys       = golden_system("xc_h2o_sto-3g_pbe_1", "sto-3g", s->pos[0]);
    for (int b = 0; b < 3; b++) {
        for (int k = 0; k < 9; k++) s->pos[b][k] = s->pos[0][k] + 0.02 * b * (k % 4 - 1);
        s->slot[b] = (int32_t)(c->n - 1 - b);
    }
    double pos[27];
    for (int b = 0; b < 3; b++) memcpy(pos + 9 * b, s->pos[b], sizeof(double) * 9);
    s->slot_b = golden_put(c->ctx, s->slot, sizeof s->slot);
    KS_TRY(ks_grid_create(c->ctx, s->sys, 0, c->n, &s->grid));
    golden_build(c->ctx, s->grid, c->n, s->slot, pos, 3);
    c->in_size[0]  = c->n * s->sys->n_ao * s->sys->n_ao;
    c->out_size[0] = c->n * (g_family == KS_XC_GGA ? 4 : 1) * s->grid->n_point;
done:
    return st;
}

static void drop(t_case *c) {
    setup *s = c->user;
    ks_mem_free(c->ctx, &s->slot_b);
    ks_grid_destroy(&s->grid);
    ks_system_destroy(&s->sys);
    free(s);
}

static void symmetric(const t_case *c, double *P) {
    const int64_t n = ((const setup *)c->user)->sys->n_ao;
    for (int64_t b = 0; b < c->n; b++)
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j < i; j++) {
                double *a = P + b * n * n, v = 0.5 * (a[i * n + j] + a[j * n + i]);
                a[i * n + j] = a[j * n + i] = v;
            }
}

/* Features are compared in PySCF's order: CUDA has them so, the CPU (where memory is host memory) brings them. */
static ks_status fwd(t_case *c, void *const in[], void *const out[]) {
    const setup *s = c->user;
    if (!ks_ctx_is_host(c->ctx)) return ks_rho_fwd(c->ctx, s->grid, g_family, c->n, s->slot_b, in[0], out[0]);
    double         *feat = malloc(sizeof(double) * (size_t)(c->out_size[0] + 1));
    const ks_status st   = ks_rho_fwd(c->ctx, s->grid, g_family, c->n, s->slot_b, in[0], feat);
    if (st == KS_OK) golden_reorder(s->grid, g_family == KS_XC_GGA ? 4 : 1, c->n, s->slot, 1, feat, out[0]);
    free(feat);
    return st;
}

static ks_status adj(t_case *c, void *const in[], void *const saved[], void *const out_bar[], void *const in_bar[]) {
    const setup *s = c->user;
    (void)in;
    (void)saved;
    if (!ks_ctx_is_host(c->ctx)) return ks_rho_adj(c->ctx, s->grid, g_family, c->n, s->slot_b, out_bar[0], in_bar[0]);
    double *bar = malloc(sizeof(double) * (size_t)(c->out_size[0] + 1));
    golden_reorder(s->grid, g_family == KS_XC_GGA ? 4 : 1, c->n, s->slot, 0, out_bar[0], bar);
    const ks_status st = ks_rho_adj(c->ctx, s->grid, g_family, c->n, s->slot_b, bar, in_bar[0]);
    free(bar);
    return st;
}

static ks_status bad(t_case *c, int k, void *const in[], void *const out[]) {
    const setup  *s      = c->user;
    const int32_t far[2] = {(int32_t)c->n, 0};
    if (k == 4 && !ks_ctx_is_host(c->ctx)) return KS_ERR_ARG; /* slots are read by kernels only */
    if (k == 0) return ks_rho_fwd(c->ctx, s->grid, g_family, -1, s->slot_b, in[0], out[0]);
    if (k == 1) return ks_rho_fwd(c->ctx, s->grid, g_family, c->n, s->slot_b, NULL, out[0]);
    if (k == 2) return ks_rho_fwd(c->ctx, s->grid, KS_XC_NONE, c->n, s->slot_b, in[0], out[0]);
    if (k == 3) return ks_rho_fwd(c->ctx, NULL, g_family, c->n, s->slot_b, in[0], out[0]);
    return ks_rho_fwd(c->ctx, s->grid, g_family, 1, far, in[0], out[0]);
}

/* AO values and gradients at a point, written out again in another way: gradient of the radial part by its formula,
 * of the harmonics from tables of monomials. */
static void ao_at(const ks_system *sys, const double *pos, const double p[3], double (*ao)[4]) {
    static const struct {
        double c;
        int    e[3];
    } mono[9][3] = {
        {{0.28209479177387814, {0, 0, 0}}},
        {{0.4886025119029199, {1, 0, 0}}},
        {{0.4886025119029199, {0, 1, 0}}},
        {{0.4886025119029199, {0, 0, 1}}},
        {{1.0925484305920792, {1, 1, 0}}},
        {{1.0925484305920792, {0, 1, 1}}},
        {{0.6307831305050401, {0, 0, 2}}, {-0.31539156525252005, {2, 0, 0}}, {-0.31539156525252005, {0, 2, 0}}},
        {{1.0925484305920792, {1, 0, 1}}},
        {{0.5462742152960396, {2, 0, 0}}, {-0.5462742152960396, {0, 2, 0}}},
    };
    for (int64_t k = 0; k < sys->basis.n_shell; k++) {
        const ks_shell *sh = &sys->basis.shell[k];
        const double   *R = pos + 3 * sh->atom, d[3] = {p[0] - R[0], p[1] - R[1], p[2] - R[2]};
        for (int m = 0; m < 2 * sh->l + 1; m++) {
            double *a = ao[sh->ao + m];
            for (int f = 0; f < 4; f++) a[f] = 0.0;
            for (int q = 0; q < sh->n_prim; q++) {
                const double ex = sys->basis.exponent[sh->prim + q];
                const double g  = sys->basis.coef[sh->prim + q] * exp(-ex * (d[0] * d[0] + d[1] * d[1] + d[2] * d[2]));
                for (int t = 0; t < 3; t++) {
                    const double c = mono[sh->l * sh->l + m][t].c;
                    const int   *e = mono[sh->l * sh->l + m][t].e;
                    if (c == 0.0) continue;
                    const double y = c * pow(d[0], e[0]) * pow(d[1], e[1]) * pow(d[2], e[2]);
                    a[0] += y * g;
                    for (int x = 0; x < 3; x++) {
                        double dy = e[x] ? c * e[x] : 0.0;
                        for (int z = 0; z < 3 && dy != 0.0; z++) dy *= pow(d[z], e[z] - (z == x));
                        a[x + 1] += (dy - 2.0 * ex * d[x] * y) * g;
                    }
                }
            }
        }
    }
}

static void golden(const t_case *c, double *const in[], double *const ref[]) {
    const setup  *s = c->user;
    const int64_t n = s->sys->n_ao, np = s->grid->n_point;
    const int     n_feat = g_family == KS_XC_GGA ? 4 : 1;
    double(*ao)[4] = malloc(sizeof *ao * (size_t)n), *xyz = malloc(sizeof *xyz * (size_t)(3 * np));
    for (int64_t b = 0; b < c->n; b++) {
        if (ks_grid_export(c->ctx, s->grid, s->slot[b], xyz, NULL) != KS_OK) xyz[0] = NAN;
        for (int64_t g = 0; g < np; g++) {
            const double *P    = in[0] + b * n * n;
            double        f[4] = {0};
            ao_at(s->sys, s->pos[b], xyz + 3 * g, ao);
            for (int64_t i = 0; i < n; i++)
                for (int64_t j = 0; j < n; j++) {
                    f[0] += P[i * n + j] * ao[i][0] * ao[j][0];
                    for (int k = 1; k < 4; k++) f[k] += P[i * n + j] * (ao[i][k] * ao[j][0] + ao[i][0] * ao[j][k]);
                }
            for (int k = 0; k < n_feat; k++) ref[0][(b * n_feat + k) * np + g] = f[k];
        }
    }
    free(ao);
    free(xyz);
}

int main(int argc, char **argv) {
    t_op_init(argc, argv);
    const int is_emu = !strcmp(t_op_backend(), "emu");
    for (g_family = KS_XC_LDA; g_family <= KS_XC_GGA; g_family++) {
        /* value: AOs below 1e-9 are left out next to AOs up to 10, and |P| <= 1: 1e-10 of the largest value (1e2);
         * the CUDA kernel is dense, so its cotangent of P differs as much */
        const t_op op = {.name   = "rho",
                         .flags  = T_LINEAR,
                         .n      = 2,
                         .n_size = is_emu ? 2 : 4,
                         .sizes  = {0, 3, 1, 2},
                         .trials = is_emu ? 1 : 3, /* the launcher runs one thread at a time */
                         .build  = build,
                         .drop   = drop,
                         .fwd    = fwd,
                         .adj    = adj,
                         .golden = golden,
                         .bad    = bad,
                         .n_bad  = 5,
                         .in     = {{.name = "P", .diff = 1, .project = symmetric, .tol = 1e-10}},
                         .out    = {{.name = "feat", .diff = 1, .tol = 1e-10}}};
        t_op_run(&op);
    }
    return t_done("rho", 16);
}
