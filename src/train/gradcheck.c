/* gradcheck.c -- see gradcheck.h. */
#include "ksgrad/gradcheck.h"
#include <math.h>
#include <stddef.h>
#include <string.h>
#include "core/machine.h"
#include "ksgrad/rng.h"

enum { N_LEVEL = 9 };
static const double WIDEST    = 0.1;  /* first step; each level halves it */
static const double ZERO_FILL = 0.02; /* standard deviation, as of the other weights */

typedef struct check {
    ks_ctx                     *ctx;
    const ks_batch             *batch;
    const ks_refine_options    *refine_opt;
    const ks_loss_weights      *weights;
    ks_model                   *model;
    const ks_gradcheck_options *opt;
    ks_refine                  *refine;
    ks_loss                    *loss;
    int64_t                     mat, vec, n_frame, n_param;
    uint32_t                    draw;                        /* random arrays so far */
    double                     *H0, *P, *F0, *H_ref, *P_ref; /* host batch matrices: where the stages stand */
    double                     *cot[3];                      /* host batch matrices: cotangents of H, P, F */
    double *b[6], *b_vec, *b_E, *b_terms; /* backend: batch matrices, orbitals, energies, loss terms */
    double *h, *h_E, *h_mask, *h_gap;     /* host scratch: a batch matrix, per frame */
    double *theta, *theta_d;              /* host (n_param): parameters, scratch */
} check;

/* A stage: x (n) on the host, value and gradient there. */
typedef struct stage {
    const char *name, *what;
    int64_t     n;
    double      scale; /* length of a direction */
    int         is_param;
    double     *x;
    ks_status (*value)(check *c, const double *x, double *L);
    ks_status (*gradient)(check *c, const double *x, double *g);
} stage;

static double dot(int64_t n, const double *a, const double *b) {
    double s = 0;
    for (int64_t i = 0; i < n; i++) s += a[i] * b[i];
    return s;
}

static ks_status upload(check *c, double *dst, const double *src) {
    return ks_mem_to_backend(c->ctx, dst, src, (size_t)c->mat * sizeof *src);
}
static ks_status download(check *c, double *dst, const double *src) {
    return ks_mem_to_host(c->ctx, dst, src, (size_t)c->mat * sizeof *src);
}

/* Random symmetric matrices of every frame, each of Frobenius norm `norm`. */
static void random_matrices(check *c, double norm, double *out) {
    const uint32_t step = c->draw++;
    for (int64_t s = 0; s < c->batch->n_segment; s++) {
        const ks_segment *seg = &c->batch->segment[s];
        const int64_t     n = seg->tensors->sys->n_ao, off = ks_batch_mat_offset(c->batch, s);
        for (int64_t k = 0; k < seg->n_frame * seg->tensors->method.n_spin; k++) {
            double *m = out + off + k * n * n, sum = 0;
            for (int64_t i = 0; i < n; i++)
                for (int64_t j = 0; j <= i; j++) {
                    const double v =
                        ks_rng_normal(c->opt->seed, KS_STREAM_CHECK, step, (uint64_t)(off + k * n * n + i * n + j));
                    m[i * n + j] = m[j * n + i] = v;
                    sum += i == j ? v * v : 2 * v * v;
                }
            for (int64_t i = 0; i < n * n; i++) m[i] *= norm / sqrt(sum);
        }
    }
}

/* Random numbers for the parameters proper; padding stays 0. */
static void random_parameters(check *c, double *out) {
    const ks_params *p    = ks_model_params(c->model);
    const uint32_t   step = c->draw++;
    memset(out, 0, (size_t)c->n_param * sizeof *out);
    for (int64_t k = 0; k < ks_params_count(p); k++) {
        const ks_param *q = ks_params_get(p, k);
        for (int64_t i = q->offset; i < q->offset + q->size; i++)
            out[i] = ks_rng_normal(c->opt->seed, KS_STREAM_CHECK, step, (uint64_t)i);
    }
}

/* ---- stages ---- */

static ks_status sum_energies(check *c, const double *E, double *L) {
    ks_status st = ks_mem_to_host(c->ctx, c->h_E, E, (size_t)c->n_frame * sizeof *E);
    *L           = 0;
    for (int64_t k = 0; k < c->n_frame; k++) *L += c->h_E[k];
    return st;
}

/* sum E[P] over frames; its gradient is F[P]. */
static ks_status energy_value(check *c, const double *x, double *L) {
    ks_status st = KS_OK;
    KS_TRY(upload(c, c->b[0], x));
    KS_TRY(ks_fock_fwd(c->ctx, c->batch, c->b[0], NULL, c->b[1], c->b_E));
    KS_TRY(sum_energies(c, c->b_E, L));
done:
    return st;
}
static ks_status energy_gradient(check *c, const double *x, double *g) {
    ks_status st = KS_OK;
    KS_TRY(upload(c, c->b[0], x));
    KS_TRY(ks_fock_fwd(c->ctx, c->batch, c->b[0], NULL, c->b[1], c->b_E));
    KS_TRY(download(c, g, c->b[1]));
done:
    return st;
}

/* <F_bar, F[P]> */
static ks_status fock_value(check *c, const double *x, double *L) {
    ks_status st = KS_OK;
    KS_TRY(upload(c, c->b[0], x));
    KS_TRY(ks_fock_fwd(c->ctx, c->batch, c->b[0], NULL, c->b[1], NULL));
    KS_TRY(download(c, c->h, c->b[1]));
    *L = dot(c->mat, c->h, c->cot[2]);
done:
    return st;
}
static ks_status fock_gradient(check *c, const double *x, double *g) {
    ks_status st = KS_OK;
    KS_TRY(upload(c, c->b[0], x));
    KS_TRY(upload(c, c->b[1], c->cot[2]));
    KS_TRY(ks_mem_zero(c->ctx, c->b[2], (size_t)c->mat * sizeof(double)));
    KS_TRY(ks_fock_adj(c->ctx, c->batch, c->b[0], c->b[1], c->b[2]));
    KS_TRY(download(c, g, c->b[2]));
done:
    return st;
}

/* <P_bar, P(F)> */
static ks_status density_value(check *c, const double *x, double *L) {
    ks_status st = KS_OK;
    KS_TRY(upload(c, c->b[0], x));
    KS_TRY(ks_density_fwd(c->ctx, c->batch, c->b[0], c->b[1], c->b_vec, c->b[2]));
    KS_TRY(download(c, c->h, c->b[2]));
    *L = dot(c->mat, c->h, c->cot[1]);
done:
    return st;
}
static ks_status density_gradient(check *c, const double *x, double *g) {
    ks_status st = KS_OK;
    KS_TRY(upload(c, c->b[0], x));
    KS_TRY(ks_density_fwd(c->ctx, c->batch, c->b[0], c->b[1], c->b_vec, c->b[2]));
    KS_TRY(upload(c, c->b[2], c->cot[1]));
    KS_TRY(ks_mem_zero(c->ctx, c->b[3], (size_t)c->mat * sizeof(double)));
    KS_TRY(ks_density_adj(c->ctx, c->batch, c->b[1], c->b_vec, c->b[2], NULL, c->b[3]));
    KS_TRY(download(c, g, c->b[3]));
done:
    return st;
}

static ks_status check_masks(check *c, const ks_refine_result *r) {
    ks_status st = KS_OK;
    KS_TRY(ks_mem_to_host(c->ctx, c->h_mask, r->mask, (size_t)c->n_frame * sizeof *c->h_mask));
    KS_TRY(ks_mem_to_host(c->ctx, c->h_gap, r->gap, (size_t)c->n_frame * sizeof *c->h_gap));
    for (int64_t k = 0; k < c->n_frame; k++)
        KS_CHECK(c->h_mask[k] != 0.0, KS_ERR_NUMERIC,
                 "frame %lld of the batch meets a HOMO-LUMO gap of %.2e Ha (limit 1e-4) or a non-finite value: no "
                 "gradient there",
                 (long long)k, c->h_gap[k]);
done:
    return st;
}

/* sum E */
static ks_status refine_energy_value(check *c, const double *x, double *L) {
    ks_status        st = KS_OK;
    ks_refine_result r;
    KS_TRY(upload(c, c->b[0], x));
    KS_TRY(ks_refine_fwd(c->ctx, c->refine, c->batch, c->b[0], 0, &r));
    KS_TRY(check_masks(c, &r));
    KS_TRY(sum_energies(c, r.E, L));
done:
    return st;
}
static ks_status refine_gradient_of(check *c, const double *x, int all, double *g) {
    ks_status        st = KS_OK;
    ks_refine_result r;
    for (int64_t k = 0; k < c->n_frame; k++) c->h_E[k] = 1;
    KS_TRY(ks_mem_to_backend(c->ctx, c->b_E, c->h_E, (size_t)c->n_frame * sizeof(double)));
    KS_TRY(upload(c, c->b[0], x));
    KS_TRY(ks_refine_fwd(c->ctx, c->refine, c->batch, c->b[0], 1, &r));
    KS_TRY(check_masks(c, &r));
    for (int k = 0; k < 3; k++) KS_TRY(upload(c, c->b[1 + k], c->cot[k]));
    KS_TRY(ks_mem_zero(c->ctx, c->b[4], (size_t)c->mat * sizeof(double)));
    KS_TRY(ks_refine_adj(c->ctx, c->refine, c->batch, c->b_E, all ? c->b[1] : NULL, all ? c->b[2] : NULL,
                         all ? c->b[3] : NULL, c->b[4]));
    KS_TRY(download(c, g, c->b[4]));
done:
    return st;
}
static ks_status refine_energy_gradient(check *c, const double *x, double *g) { return refine_gradient_of(c, x, 0, g); }

/* sum E + <H_bar, H> + <P_bar, P> + <F_bar, F> */
static ks_status refine_all_value(check *c, const double *x, double *L) {
    ks_status        st = KS_OK;
    ks_refine_result r;
    KS_TRY(upload(c, c->b[0], x));
    KS_TRY(ks_refine_fwd(c->ctx, c->refine, c->batch, c->b[0], 0, &r));
    KS_TRY(check_masks(c, &r));
    KS_TRY(sum_energies(c, r.E, L));
    const double *const result[3] = {r.H, r.P, r.F};
    for (int k = 0; k < 3; k++) {
        KS_TRY(download(c, c->h, result[k]));
        *L += dot(c->mat, c->h, c->cot[k]);
    }
done:
    return st;
}
static ks_status refine_all_gradient(check *c, const double *x, double *g) { return refine_gradient_of(c, x, 1, g); }

/* The weighted loss as a function of H0; g NULL: value only. */
static ks_status loss_of(check *c, const double *x, double *L, double *g) {
    ks_status st = KS_OK;
    double    terms[KS_TERM_N];
    KS_TRY(upload(c, c->b[0], x));
    KS_TRY(ks_loss_terms_reset(c->ctx, c->b_terms));
    KS_TRY(upload(c, c->b[1], c->H_ref));
    KS_TRY(upload(c, c->b[2], c->P_ref));
    if (g) KS_TRY(ks_mem_zero(c->ctx, c->b[3], (size_t)c->mat * sizeof(double)));
    KS_TRY(ks_loss_step(c->ctx, c->loss, c->refine, c->batch, c->b[0], c->b[1], c->b[2], 1.0, g ? c->b[3] : NULL,
                        c->b_terms));
    KS_TRY(ks_mem_to_host(c->ctx, terms, c->b_terms, sizeof terms));
    KS_CHECK(terms[KS_TERM_COUNTED] == (double)c->n_frame, KS_ERR_NUMERIC,
             "%lld of %lld frames meet a HOMO-LUMO gap below 1e-4 Ha or a non-finite value: no gradient there",
             (long long)c->n_frame - (long long)terms[KS_TERM_COUNTED], (long long)c->n_frame);
    if (L) *L = ks_loss_value(c->weights, terms);
    if (g) KS_TRY(download(c, g, c->b[3]));
done:
    return st;
}
static ks_status loss_value(check *c, const double *x, double *L) { return loss_of(c, x, L, NULL); }
static ks_status loss_gradient(check *c, const double *x, double *g) { return loss_of(c, x, NULL, g); }

static ks_status set_parameters(check *c, const double *x) {
    return ks_mem_to_backend(c->ctx, ks_params_flat(ks_model_params(c->model), 'p'), x, (size_t)c->n_param * sizeof *x);
}

/* W of parameters x into c->h. */
static ks_status network(check *c, const double *x, int want_adj) {
    ks_status st = KS_OK;
    KS_TRY(set_parameters(c, x));
    KS_TRY(ks_model_fwd(c->ctx, c->model, c->batch, want_adj, c->b[5]));
    KS_TRY(download(c, c->h, c->b[5]));
done:
    return st;
}
static ks_status network_adjoint(check *c, const double *W_bar, double *g) {
    ks_status  st = KS_OK;
    ks_params *p  = ks_model_params(c->model);
    KS_TRY(ks_params_zero_grad(p));
    KS_TRY(upload(c, c->b[4], W_bar));
    KS_TRY(ks_model_adj(c->ctx, c->model, c->batch, c->b[4]));
    KS_TRY(ks_mem_to_host(c->ctx, g, ks_params_flat(p, 'g'), (size_t)c->n_param * sizeof *g));
done:
    return st;
}

/* <W_bar, W(theta)> */
static ks_status network_value(check *c, const double *x, double *L) {
    const ks_status st = network(c, x, 0);
    *L                 = st == KS_OK ? dot(c->mat, c->h, c->cot[0]) : (double)NAN;
    return st;
}
static ks_status network_gradient(check *c, const double *x, double *g) {
    ks_status st = KS_OK;
    KS_TRY(network(c, x, 1));
    KS_TRY(network_adjoint(c, c->cot[0], g));
done:
    return st;
}

/* The loss of H0 = F0 + W(theta). */
static ks_status whole_value(check *c, const double *x, double *L) {
    ks_status st = KS_OK;
    KS_TRY(network(c, x, 0));
    for (int64_t i = 0; i < c->mat; i++) c->h[i] += c->F0[i];
    KS_TRY(loss_of(c, c->h, L, NULL));
done:
    return st;
}
static ks_status whole_gradient(check *c, const double *x, double *g) {
    ks_status st    = KS_OK;
    double   *W_bar = NULL;
    KS_TRY(KS_NEW(W_bar, c->mat));
    KS_TRY(network(c, x, 1));
    for (int64_t i = 0; i < c->mat; i++) c->h[i] += c->F0[i];
    KS_TRY(loss_of(c, c->h, NULL, W_bar));
    KS_TRY(network_adjoint(c, W_bar, g));
done:
    KS_FREE(W_bar);
    return st;
}

/* ---- differences ---- */

static ks_status value_at(check *c, const stage *s, const double *d, double h, double *at, double *L) {
    ks_status st = KS_OK;
    for (int64_t i = 0; i < s->n; i++) at[i] = s->x[i] + h * d[i];
    KS_TRY(s->value(c, at, L));
    KS_CHECK(isfinite(*L), KS_ERR_NUMERIC, "stage %s: the value is not finite", s->name);
done:
    return st;
}

static ks_status central(check *c, const stage *s, const double *d, double h, double *at, double *D) {
    ks_status st = KS_OK;
    double    up, down;
    KS_TRY(value_at(c, s, d, h, at, &up));
    KS_TRY(value_at(c, s, d, -h, at, &down));
    *D = (up - down) / (2 * h);
done:
    return st;
}

/* dL/dh along d by Ridders' method (Adv. Eng. Softw. 4, 75 (1982), DOI 10.1016/S0141-1195(82)80057-0): T[i][0] = D(h / 2^i),
 * T[i][j] = T[i][j-1] + (T[i][j-1] - T[i-1][j-1]) / (4^j - 1) removes one more even power of h; of the whole table the entry is
 * taken that differs least from its two parents. The adjoint has no part in that choice. */
static ks_status ridders(check *c, const stage *s, const double *d, double *at, double *best) {
    ks_status st = KS_OK;
    double    T[N_LEVEL][N_LEVEL], least = INFINITY;
    for (int i = 0; i < N_LEVEL; i++) {
        double four = 1;
        KS_TRY(central(c, s, d, WIDEST / (double)(1 << i), at, &T[i][0]));
        for (int j = 1; j <= i; j++) {
            four *= 4;
            T[i][j]          = T[i][j - 1] + (T[i][j - 1] - T[i - 1][j - 1]) / (four - 1);
            const double err = fmax(fabs(T[i][j] - T[i][j - 1]), fabs(T[i][j] - T[i - 1][j - 1]));
            if (err >= least) continue;
            least = err;
            *best = T[i][j];
        }
    }
    KS_CHECK(isfinite(least), KS_ERR_NUMERIC, "stage %s: the differences are not finite", s->name);
done:
    return st;
}

static ks_status run_stage(check *c, const stage *s, ks_gradcheck_report report, void *user, double *max_error) {
    ks_status          st = KS_OK;
    ks_gradcheck_stage r  = {.name = s->name, .what = s->what, .n_direction = c->opt->n_direction};
    double            *g = NULL, *d = NULL, *at = NULL;
    const double       start = ks_wall_seconds();
    KS_TRY(KS_NEW(g, s->n));
    KS_TRY(KS_NEW(d, s->n));
    KS_TRY(KS_NEW(at, s->n));
    KS_TRY(s->gradient(c, s->x, g));
    const double norm = sqrt(dot(s->n, g, g));
    for (int k = 0; k < c->opt->n_direction; k++) {
        if (s->is_param) random_parameters(c, d);
        else random_matrices(c, 1.0, d);
        const double length = sqrt(dot(s->n, d, d));
        for (int64_t i = 0; i < s->n; i++) d[i] *= s->scale / length;
        const double adjoint    = dot(s->n, g, d) * (1 + c->opt->planted);
        const double typical    = 0.1 * norm * s->scale / sqrt((double)s->n);
        double       difference = 0;
        KS_TRY(ridders(c, s, d, at, &difference));
        const double scale = fmax(typical, fmax(fabs(adjoint), fabs(difference)));
        const double e     = scale > 0 ? fabs(adjoint - difference) / scale : 0;
        KS_CHECK(isfinite(e), KS_ERR_NUMERIC, "stage %s: the gradient is not finite", s->name);
        if (k && e <= r.max_error) continue;
        r.max_error  = e;
        r.adjoint    = adjoint;
        r.difference = difference;
    }
    r.seconds = ks_wall_seconds() - start;
    if (r.max_error > *max_error) *max_error = r.max_error;
    if (report) report(user, &r);
done:
    KS_FREE(g);
    KS_FREE(d);
    KS_FREE(at);
    return st;
}

/* ---- set-up ---- */

static ks_status pool_gather(check *c, size_t member, double *host) {
    ks_status st = KS_OK;
    KS_TRY(ks_batch_gather(c->ctx, c->batch, member, c->b[0]));
    KS_TRY(download(c, host, c->b[0]));
done:
    return st;
}

static ks_status setup_model(check *c) {
    ks_status  st = KS_OK;
    ks_params *p  = ks_model_params(c->model);
    KS_CHECK(ks_params_precision(p) == KS_FP64, KS_ERR_ARG, "a gradient check needs a network in fp64");
    c->n_param = ks_params_total(p);
    KS_TRY(KS_NEW(c->theta, c->n_param));
    KS_TRY(KS_NEW(c->theta_d, c->n_param));
    KS_TRY(ks_mem_to_host(c->ctx, c->theta, ks_params_flat(p, 'p'), (size_t)c->n_param * sizeof(double)));
    random_parameters(c, c->theta_d);
    for (int64_t k = 0; k < ks_params_count(p); k++) {
        const ks_param *q = ks_params_get(p, k);
        if (q->init != KS_INIT_ZERO) continue;
        for (int64_t i = q->offset; i < q->offset + q->size; i++)
            if (c->theta[i] == 0) c->theta[i] = ZERO_FILL * c->theta_d[i];
    }
done:
    return st;
}

static ks_status setup(check *c) {
    ks_status    st     = KS_OK;
    const size_t bytes  = (size_t)c->mat * sizeof(double);
    double     **host[] = {&c->H0, &c->P, &c->F0, &c->H_ref, &c->P_ref, &c->cot[0], &c->cot[1], &c->cot[2], &c->h};
    for (size_t k = 0; k < sizeof host / sizeof *host; k++)
        KS_TRY(ks_host_alloc(c->mat, sizeof(double), (void **)host[k]));
    for (int k = 0; k < 6; k++) KS_TRY(ks_mem_alloc(c->ctx, bytes, (void **)&c->b[k]));
    KS_TRY(ks_mem_alloc(c->ctx, (size_t)c->vec * sizeof(double), (void **)&c->b_vec));
    KS_TRY(ks_mem_alloc(c->ctx, (size_t)c->n_frame * sizeof(double), (void **)&c->b_E));
    KS_TRY(ks_mem_alloc(c->ctx, KS_TERM_N * sizeof(double), (void **)&c->b_terms));
    KS_TRY(KS_NEW(c->h_mask, c->n_frame));
    KS_TRY(KS_NEW(c->h_gap, c->n_frame));
    KS_TRY(KS_NEW(c->h_E, c->n_frame));
    KS_TRY(ks_refine_create(c->ctx, c->refine_opt, &c->refine));
    KS_TRY(ks_loss_create(c->ctx, c->weights, &c->loss));
    KS_TRY(pool_gather(c, offsetof(ks_tensors, F0), c->F0));
    for (int k = 0; k < 3; k++) random_matrices(c, 1.0, c->cot[k]);
    /* P(F0) plus a little: symmetric, not idempotent, so nothing vanishes by construction */
    KS_TRY(ks_density_fwd(c->ctx, c->batch, c->b[0], c->b[1], c->b_vec, c->b[2]));
    KS_TRY(download(c, c->P_ref, c->b[2]));
    random_matrices(c, 0.05, c->P);
    for (int64_t i = 0; i < c->mat; i++) c->P[i] += c->P_ref[i];
    random_matrices(c, 0.05, c->H_ref);
    for (int64_t i = 0; i < c->mat; i++) c->H_ref[i] += c->F0[i];
    if (c->model) {
        KS_TRY(setup_model(c));
        KS_TRY(network(c, c->theta, 0));
        memcpy(c->H0, c->h, bytes);
    } else {
        random_matrices(c, 0.05, c->H0);
    }
    for (int64_t i = 0; i < c->mat; i++) c->H0[i] += c->F0[i];
done:
    return st;
}

ks_status ks_gradcheck_run(ks_ctx *ctx, const ks_batch *batch, const ks_refine_options *refine,
                           const ks_loss_weights *loss, ks_model *model, const ks_gradcheck_options *opt,
                           ks_gradcheck_report report, void *user, double *max_error) {
    ks_status st = KS_OK;
    check     c  = {.ctx = ctx, .batch = batch, .refine_opt = refine, .weights = loss, .model = model, .opt = opt};
    KS_CHECK(ctx && batch && refine && loss && opt && max_error, KS_ERR_ARG, "a NULL argument");
    KS_CHECK(opt->n_direction >= 1, KS_ERR_ARG, "n_direction=%d", opt->n_direction);
    *max_error = 0;
    c.mat      = ks_batch_mat_size(batch);
    c.vec      = ks_batch_vec_size(batch);
    c.n_frame  = ks_batch_n_frame(batch);
    KS_CHECK(c.n_frame > 0, KS_ERR_ARG, "an empty batch");
    KS_TRY(setup(&c));
    const double param_scale = model ? ZERO_FILL * sqrt((double)ks_params_n_scalar(ks_model_params(model))) : 1;
    const stage  stages[]    = {
            {"energy", "sum E[P], gradient F[P]", c.mat, 1, 0, c.P, energy_value, energy_gradient},
            {"fock", "<F_bar, F[P]>", c.mat, 1, 0, c.P, fock_value, fock_gradient},
            {"density", "<P_bar, P(F)>", c.mat, 1, 0, c.H0, density_value, density_gradient},
            {"refine E", "sum E after refinement", c.mat, 1, 0, c.H0, refine_energy_value, refine_energy_gradient},
            {"refine", "E, H, P and F after refinement", c.mat, 1, 0, c.H0, refine_all_value, refine_all_gradient},
            {"loss", "weighted loss of H0", c.mat, 1, 0, c.H0, loss_value, loss_gradient},
            {"network", "<W_bar, W(parameters)>", c.n_param, param_scale, 1, c.theta, network_value, network_gradient},
            {"whole", "weighted loss of the parameters", c.n_param, param_scale, 1, c.theta, whole_value, whole_gradient},
    };
    for (size_t k = 0; k < sizeof stages / sizeof *stages; k++)
        if (model || !stages[k].is_param) KS_TRY(run_stage(&c, &stages[k], report, user, max_error));
    if (model) KS_TRY(set_parameters(&c, c.theta));
done:;
    double **host[] = {&c.H0,     &c.P, &c.F0,  &c.H_ref, &c.P_ref,   &c.cot[0], &c.cot[1],
                       &c.cot[2], &c.h, &c.h_E, &c.theta, &c.theta_d, &c.h_mask, &c.h_gap};
    for (size_t k = 0; k < sizeof host / sizeof *host; k++) ks_host_free((void **)host[k]);
    for (int k = 0; k < 6; k++) ks_mem_free(ctx, (void **)&c.b[k]);
    ks_mem_free(ctx, (void **)&c.b_vec);
    ks_mem_free(ctx, (void **)&c.b_E);
    ks_mem_free(ctx, (void **)&c.b_terms);
    ks_loss_destroy(&c.loss);
    ks_refine_destroy(&c.refine);
    return st;
}
