/* test_scf_reference.c -- guess, first Fock matrix, SCF and QPT refinement with its gradient, against PySCF's
 * reference files (KSGRAD_SHARED/data/reference or <source>/../shared/data/reference; skipped, and said so, when
 * absent). */
#include <glob.h>
#include <unistd.h>
#include "io/npz.h"
#include "scf_case.h"

typedef struct t_ref {
    ks_npz *z;
    char    meta[1024];
} t_ref;

static double *array(const t_ref *r, const char *name, int64_t *n) {
    int     rank     = 0;
    int64_t shape[8] = {0}, size = 1;
    double *x = NULL;
    T_OK(ks_npz_read_f64(r->z, name, &rank, shape, &x));
    for (int i = 0; i < rank; i++) size *= shape[i];
    if (n) *n = size;
    return x;
}
static void field(const t_ref *r, const char *key, char *out, size_t size) { /* a value of the flat JSON in meta */
    char        quoted[40];
    const char *at;
    size_t      k = 0;
    snprintf(quoted, sizeof quoted, "\"%s\": ", key);
    at = strstr(r->meta, quoted);
    if (at)
        for (at += strlen(quoted); *at && *at != ',' && *at != '}' && k + 1 < size; at++)
            if (*at != '"') out[k++] = *at;
    out[k] = 0;
}

static void close_to(const char *file, const char *what, int64_t n, const double *a, const double *b, double tol) {
    const double d = t_max_diff(n, a, b);
    T_CHECK(d <= tol, "%s %s: largest difference %.3g, limit %.1g", file, what, d, tol);
}

static void check_refine(ks_ctx *ctx, const char *file, const t_ref *r, ks_batch *batch, int64_t nn) {
    const ks_refine_options opt = {KS_REFINE_QPT, 3};
    ks_refine              *rf  = NULL;
    ks_refine_result        res;
    double                 *W = array(r, "ref_W", NULL), *P3 = array(r, "ref_P3", NULL), *F3 = array(r, "ref_F3", NULL),
           *Wb = array(r, "ref_W_bar", NULL), *E = array(r, "ref_E", NULL);
    double *h = t_host(nn), *H0 = t_dev(ctx, nn), *bar = t_dev(ctx, nn), *E_bar = t_dev(ctx, 1), one = 1.0, scale = 0.0;
    t_get(ctx, h, batch->segment[0].tensors->F0, nn);
    for (int64_t i = 0; i < nn; i++) h[i] += W[i];
    t_put(ctx, H0, h, nn);
    t_put(ctx, E_bar, &one, 1);
    T_OK(ks_refine_create(ctx, &opt, &rf));
    T_OK(ks_refine_fwd(ctx, rf, batch, H0, 1, &res));
    T_OK(ks_refine_adj(ctx, rf, batch, E_bar, NULL, NULL, NULL, bar));
    double e;
    t_get(ctx, &e, res.E, 1);
    T_CHECK(fabs(e - E[0]) <= 2e-8, "%s ref_E differs by %.3g", file, e - E[0]);
    t_get(ctx, h, res.P, nn);
    close_to(file, "ref_P3", nn, h, P3, 1e-7);
    t_get(ctx, h, res.F, nn);
    close_to(file, "ref_F3", nn, h, F3, 1e-7);
    t_get(ctx, h, bar, nn);
    for (int64_t i = 0; i < nn; i++) scale = fmax(scale, fabs(Wb[i]));
    T_CHECK(t_max_diff(nn, h, Wb) <= 1e-6 * scale, "%s ref_W_bar: relative error %.3g", file,
            t_max_diff(nn, h, Wb) / scale);
    printf("    refine: E %.1e  W_bar %.1e (relative)\n", e - E[0], t_max_diff(nn, h, Wb) / scale);
    ks_refine_destroy(&rf);
    ks_mem_free(ctx, (void **)&H0), ks_mem_free(ctx, (void **)&bar), ks_mem_free(ctx, (void **)&E_bar);
    KS_FREE(W), KS_FREE(P3), KS_FREE(F3), KS_FREE(Wb), KS_FREE(E), free(h);
}

static void check_file(ks_ctx *ctx, const char *path) {
    const char *file = strrchr(path, '/') + 1;
    t_ref       r;
    int32_t     Zi[64], slot[1] = {0}, charge[1];
    int64_t     n_atom = 0;
    char        basis[32], xc[32], level[8], q[8], spin[8];
    T_OK(ks_npz_open(path, &r.z));
    T_OK(ks_npz_read_text(r.z, "meta", r.meta, sizeof r.meta));
    field(&r, "basis", basis, sizeof basis), field(&r, "xc", xc, sizeof xc), field(&r, "level", level, sizeof level);
    field(&r, "charge", q, sizeof q), field(&r, "spin", spin, sizeof spin);
    double    *Z = array(&r, "Z", &n_atom), *pos = array(&r, "pos_bohr", NULL);
    ks_basis  *shipped = NULL;
    ks_system *system  = NULL;
    const int  large   = n_atom > 12 || (n_atom > 8 && atoi(level) > 1); /* minutes on a busy machine */
    for (int64_t a = 0; a < n_atom; a++) Zi[a] = (int32_t)Z[a];
    if (ks_basis_load(basis, &shipped) != KS_OK || ks_system_create(shipped, n_atom, Zi, &system) != KS_OK) {
        printf("%-44s left out: %s\n", file, ks_error_message());
        ks_error_clear();
    } else if (large && !getenv("KSGRAD_TEST_ALL")) {
        printf("%-44s left out: set KSGRAD_TEST_ALL for the large ones\n", file);
    } else if (atoi(spin) == 0) {
        double *E = array(&r, "E", NULL), *eps = array(&r, "eps", NULL), *F = array(&r, "F", NULL),
               *dip = array(&r, "dipole_au", NULL), *cyc = array(&r, "cycles_default", NULL),
               *D        = array(&r, "dm_minao", NULL);
        charge[0]        = (int32_t)atoi(q);
        t_pool         p = t_pool_make(ctx, basis, xc, atoi(level), n_atom, Zi, 1, pos, charge);
        const int64_t  n = p.sys->n_ao, nn = n * n;
        ks_segment     seg   = {p.ts, 1, slot};
        ks_batch       batch = {1, &seg};
        ks_scf_options opt   = ks_scf_defaults();
        ks_scf_frame   fast, fr;
        double        *dF = t_dev(ctx, nn), *de = t_dev(ctx, n), *h = t_host(nn), *h2 = t_host(n);
        t_get(ctx, h, p.ts->P0, nn);
        close_to(file, "dm_minao", nn, h, D, 1e-10);
        T_OK(ks_scf_run(ctx, &batch, NULL, NULL, NULL, NULL, NULL, NULL, de, &fast));
        t_get(ctx, h2, de, n);
        opt.conv_energy = 1e-12, opt.conv_grad = 1e-9;
        T_OK(ks_scf_run(ctx, &batch, &opt, NULL, NULL, dF, NULL, NULL, de, &fr));
        t_get(ctx, h, de, n);
        printf(
            "%-44s cycles %2d (%2d tight, reference %2.0f)  E %8.1e  eps %.1e | default: E %.1e eps %.1e grad %.1e\n",
            file, fast.cycles, fr.cycles, cyc[0], fr.energy - E[0], t_max_diff(n, h, eps), fast.energy - fr.energy,
            t_max_diff(n, h, h2), fast.grad_rms);
        T_CHECK(fast.converged && fr.converged, "%s: not converged, gradient %g", file, fr.grad_rms);
        T_CHECK(fast.cycles <= (int)cyc[0] + 1, "%s: %d cycles, PySCF %g", file, fast.cycles, cyc[0]);
        T_CHECK(fabs(fast.energy - fr.energy) <= 1e-9 && t_max_diff(n, h, h2) <= 1e-6,
                "%s: default settings: E %.2g, eps %.2g from the limit", file, fast.energy - fr.energy,
                t_max_diff(n, h, h2));
        T_CHECK(fabs(fr.energy - E[0]) <= 2e-8, "%s: E differs by %.3g", file, fr.energy - E[0]);
        close_to(file, "eps", n, h, eps, 1e-7);
        t_get(ctx, h, dF, nn);
        close_to(file, "F", nn, h, F, 1e-7);
        close_to(file, "dipole", 3, fr.dipole, dip, 1e-6);
        if (ks_npz_has(r.z, "F0")) {
            double *F0 = array(&r, "F0", NULL), *E0 = array(&r, "E0", NULL), e;
            t_get(ctx, h, p.ts->F0, nn);
            close_to(file, "F0", nn, h, F0, 1e-8);
            t_get(ctx, &e, p.ts->E0, 1);
            T_CHECK(fabs(e - E0[0]) <= 2e-8, "%s: E0 differs by %.3g", file, e - E0[0]);
            KS_FREE(F0), KS_FREE(E0);
        }
        if (ks_npz_has(r.z, "ref_W")) check_refine(ctx, file, &r, &batch, nn);
        ks_mem_free(ctx, (void **)&dF), ks_mem_free(ctx, (void **)&de);
        KS_FREE(E), KS_FREE(eps), KS_FREE(F), KS_FREE(dip), KS_FREE(cyc), KS_FREE(D), free(h), free(h2);
        t_pool_drop(&p);
    } else {
        printf("%-44s left out: open shell\n", file);
    }
    ks_system_destroy(&system);
    ks_basis_destroy(&shipped);
    KS_FREE(Z), KS_FREE(pos);
    ks_npz_close(&r.z);
}

int main(int argc, char **argv) {
    const char *shared = getenv("KSGRAD_SHARED");
    char        pattern[1024];
    glob_t      g;
    ks_ctx     *ctx = NULL;
    snprintf(pattern, sizeof pattern, "%s/reference/pyscf_%s*.npz",
             shared ? shared : KS_TEST_SOURCE_DIR "/../shared/data", argc > 1 ? argv[1] : "");
    if (glob(pattern, 0, NULL, &g) != 0) {
        printf("skipped: no files match %s\n", pattern);
        return 77;
    }
    T_OK(ks_ctx_create(NULL, &ctx));
    for (size_t i = 0; i < g.gl_pathc; i++) check_file(ctx, g.gl_pathv[i]);
    ks_ctx_destroy(&ctx);
    globfree(&g);
    return t_done("scf_reference", 10);
}
