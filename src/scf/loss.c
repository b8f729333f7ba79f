/* loss.c -- training losses on a refinement result, with cotangents; see ksgrad/loss.h. */
#include <math.h>
#include "ksgrad/loss.h"
#include "scf/scf_impl.h"

struct ks_loss {
    ks_ctx         *ctx;
    ks_loss_weights w;
    /* grown to the largest batch and kept */
    int64_t mat_cap, vec_cap, frame_cap;
    double *mat;   /* (N_MAT, mat_cap): H_bar, P_bar, F_bar and work matrices */
    double *eps;   /* (vec_cap) */
    double *frame; /* (N_FRAME, frame_cap): E_bar, norms of residuals, the gaps and the frames that count */
};

enum { MAT_H_BAR, MAT_P_BAR, MAT_F_BAR, MAT_A, MAT_B, MAT_C, MAT_P2, MAT_F2, N_MAT };
enum { FR_E_BAR, FR_VALUE, FR_GAP, FR_MASK, N_FRAME };

ks_status ks_loss_create(ks_ctx *ctx, const ks_loss_weights *weights, ks_loss **out) {
    ks_status st = KS_OK;
    ks_loss  *l  = NULL;
    KS_CHECK(ctx && weights && out, KS_ERR_ARG, "loss: NULL argument");
    const double w[5] = {weights->energy, weights->commutator, weights->self_consistency, weights->hamiltonian,
                         weights->density};
    double       sum  = 0.0;
    for (int i = 0; i < 5; i++) {
        KS_CHECK(w[i] >= 0.0 && isfinite(w[i]), KS_ERR_ARG, "loss weight %d is %g: weights are finite and not negative",
                 i, w[i]);
        sum += w[i];
    }
    KS_CHECK(sum > 0.0, KS_ERR_ARG, "all loss weights are zero");
    KS_TRY(KS_ZNEW(l, 1));
    l->ctx = ctx;
    l->w   = *weights;
    *out   = l;
    l      = NULL;
done:
    ks_loss_destroy(&l);
    return st;
}

int64_t ks_loss_bytes(const ks_system *sys, int n_spin) {
    return (int64_t)sizeof(double) * (N_MAT * n_spin * sys->n_ao * sys->n_ao + n_spin * sys->n_ao + N_FRAME);
}

static void release(ks_loss *l) {
    ks_mem_free(l->ctx, (void **)&l->mat);
    ks_mem_free(l->ctx, (void **)&l->eps);
    ks_mem_free(l->ctx, (void **)&l->frame);
    l->mat_cap = l->vec_cap = l->frame_cap = 0;
}

void ks_loss_destroy(ks_loss **loss) {
    if (!loss || !*loss) return;
    release(*loss);
    KS_FREE(*loss);
}

static ks_status reserve(ks_loss *l, const ks_batch *batch) {
    ks_status     st       = KS_OK;
    const int64_t mat_size = ks_batch_mat_size(batch), vec_size = ks_batch_vec_size(batch),
                  n_frame = ks_batch_n_frame(batch);
    int64_t bytes         = 0;
    if (mat_size <= l->mat_cap && vec_size <= l->vec_cap && n_frame <= l->frame_cap) return KS_OK;
    const int64_t mat_cap = mat_size > l->mat_cap ? mat_size : l->mat_cap,
                  vec_cap = vec_size > l->vec_cap ? vec_size : l->vec_cap;
    const int64_t n_cap   = n_frame > l->frame_cap ? n_frame : l->frame_cap;
    release(l);
    KS_TRY(ks_mul_i64(N_MAT * mat_cap, (int64_t)sizeof(double), &bytes));
    KS_TRY(ks_mem_alloc(l->ctx, (size_t)bytes, (void **)&l->mat));
    KS_TRY(ks_mem_alloc(l->ctx, (size_t)vec_cap * sizeof(double), (void **)&l->eps));
    KS_TRY(ks_mem_alloc(l->ctx, (size_t)(N_FRAME * n_cap) * sizeof(double), (void **)&l->frame));
    l->mat_cap = mat_cap, l->vec_cap = vec_cap, l->frame_cap = n_cap;
done:
    return st;
}

typedef struct step { /* one call of ks_loss_step */
    ks_loss                *l;
    const ks_batch         *batch;
    const ks_refine_result *r;
    int64_t                 n_frame;
    int                     want_adj, live[N_MAT]; /* live: cotangent in use */
    double                 *terms;
} step;

static double *mat(const step *s, int which) { return s->l->mat + which * s->l->mat_cap; }
static double *fr(const step *s, int which) { return s->l->frame + which * s->l->frame_cap; }

/* A cotangent matrix, zeroed at first use. */
static ks_status bar(step *s, int which, double **out) {
    ks_status st = KS_OK;
    *out         = mat(s, which);
    if (!s->live[which]) KS_TRY(ks_mem_zero(s->l->ctx, *out, (size_t)ks_batch_mat_size(s->batch) * sizeof **out));
    s->live[which] = 1;
done:
    return st;
}

/* terms[which] += sum over counted frames of |A_f|^2, times per_segment[s] when given. */
static ks_status add_norms(step *s, const double *A, int which, const double *per_segment) {
    ks_status     st   = KS_OK;
    const int64_t n_sg = s->batch->n_segment;
    double       *norm = fr(s, FR_VALUE);
    KS_TRY(ks_batch_dot(s->l->ctx, s->batch, 1.0, A, A, 0, norm, 1));
    for (int64_t g = 0; g < (per_segment ? n_sg : 1); g++) {
        const int64_t at = per_segment ? ks_batch_frame_offset(s->batch, g) : 0;
        KS_TRY(ks_masked_sum(s->l->ctx, per_segment ? s->batch->segment[g].n_frame : s->n_frame,
                             per_segment ? per_segment[g] : 1.0, fr(s, FR_MASK) + at, norm + at, 1, s->terms + which));
    }
done:
    return st;
}

/* out = w A on the frames that count, else 0. */
static ks_status scaled(step *s, double w, const double *A, double *out) {
    const ks_mat_term t = {A, w, fr(s, FR_MASK), 1};
    return ks_batch_combine(s->l->ctx, s->batch, 1, &t, 0, out);
}

/* |c|^2 with c = X (F P S - S P F) X at the last density: c_bar = 2 w c. */
static ks_status commutator_term(step *s, double w) {
    ks_status st    = KS_OK;
    ks_ctx   *ctx   = s->l->ctx;
    double   *F_bar = NULL, *P_bar = NULL;
    KS_TRY(ks_commutator_fwd(ctx, s->batch, s->r->F, s->r->P, mat(s, MAT_A)));
    KS_TRY(add_norms(s, mat(s, MAT_A), KS_TERM_COMMUTATOR, NULL));
    if (!s->want_adj) goto done;
    KS_TRY(scaled(s, 2.0 * w, mat(s, MAT_A), mat(s, MAT_A)));
    KS_TRY(bar(s, MAT_F_BAR, &F_bar));
    KS_TRY(bar(s, MAT_P_BAR, &P_bar));
    KS_TRY(ks_commutator_adj(ctx, s->batch, s->r->F, s->r->P, mat(s, MAT_A), F_bar, P_bar));
done:
    return st;
}

/* The mask of the refinement and, when self-consistency needs a P(H) and F[P(H)] of its own (the reported H is not H0
 * itself), these two, whose gap counts like any other. */
static ks_status prepare(step *s, int extra) {
    ks_status     st   = KS_OK;
    ks_ctx       *ctx  = s->l->ctx;
    double       *mask = fr(s, FR_MASK);
    const ks_term gap  = {ks_vec_dense(s->r->gap, 1), 1.0, NULL, 0};
    KS_TRY(ks_combine(ctx, s->n_frame, 1, 1, &gap, 0, fr(s, FR_GAP)));
    if (extra) {
        KS_TRY(ks_density_fwd(ctx, s->batch, s->r->H, mat(s, MAT_C), s->l->eps, mat(s, MAT_P2)));
        KS_TRY(ks_fock_fwd(ctx, s->batch, mat(s, MAT_P2), mat(s, MAT_C), mat(s, MAT_F2), NULL));
        KS_TRY(ks_batch_gap(ctx, s->batch, s->l->eps, 1, fr(s, FR_GAP)));
    }
    KS_TRY(ks_mask(ctx, s->n_frame, NULL, fr(s, FR_GAP), KS_GAP_MIN, s->r->mask, mask));
    KS_TRY(ks_masked_sum(ctx, s->n_frame, 1.0, mask, NULL, 1, s->terms + KS_TERM_COUNTED));
    KS_TRY(ks_min(ctx, s->n_frame, fr(s, FR_GAP), s->terms + KS_TERM_MIN_GAP));
    KS_TRY(ks_masked_sum(ctx, s->n_frame, 1.0, mask, s->r->E, 1, s->terms + KS_TERM_ENERGY));
done:
    return st;
}

/* |R|^2 with R = X (F[P(H)] - H) X. R_bar = 2 w R; F2_bar = X R_bar X runs back through F2 = F[P(H)], H_bar -= the
 * same. When the reported H is H0, P(H) and F2 are the last density and build (extra = 0). */
static ks_status self_consistency_term(step *s, int extra, double w) {
    ks_status         st      = KS_OK;
    ks_ctx           *ctx     = s->l->ctx;
    const ks_mat_term diff[2] = {{extra ? mat(s, MAT_F2) : s->r->F, 1.0, NULL, 0}, {s->r->H, -1.0, NULL, 0}};
    double           *H_bar = NULL, *F_bar = NULL;
    KS_TRY(ks_batch_combine(ctx, s->batch, 2, diff, 0, mat(s, MAT_A)));
    KS_TRY(ks_basis_change(ctx, s->batch, 1, mat(s, MAT_A), 0, mat(s, MAT_A)));
    KS_TRY(add_norms(s, mat(s, MAT_A), KS_TERM_SELF_CONSISTENCY, NULL));
    if (!s->want_adj) goto done;
    KS_TRY(scaled(s, 2.0 * w, mat(s, MAT_A), mat(s, MAT_A)));
    KS_TRY(ks_basis_change(ctx, s->batch, 1, mat(s, MAT_A), 0, mat(s, MAT_B)));
    KS_TRY(bar(s, MAT_H_BAR, &H_bar));
    const ks_mat_term minus = {mat(s, MAT_B), -1.0, NULL, 0}, plus = {mat(s, MAT_B), 1.0, NULL, 0};
    KS_TRY(ks_batch_combine(ctx, s->batch, 1, &minus, 1, H_bar));
    if (extra) {
        KS_TRY(ks_mem_zero(ctx, mat(s, MAT_A), (size_t)ks_batch_mat_size(s->batch) * sizeof(double)));
        KS_TRY(ks_fock_adj(ctx, s->batch, mat(s, MAT_P2), mat(s, MAT_B), mat(s, MAT_A)));
        KS_TRY(ks_density_adj(ctx, s->batch, mat(s, MAT_C), s->l->eps, mat(s, MAT_A), fr(s, FR_MASK), H_bar));
    } else {
        KS_TRY(bar(s, MAT_F_BAR, &F_bar));
        KS_TRY(ks_batch_combine(ctx, s->batch, 1, &plus, 1, F_bar));
    }
done:
    return st;
}

/* Mean over the n_spin n^2 elements of (H - H_ref)^2: H_bar += 2 w (H - H_ref) / (n_spin n^2). */
static ks_status hamiltonian_term(step *s, const double *H_ref, double w) {
    ks_status           st      = KS_OK;
    ks_ctx             *ctx     = s->l->ctx;
    ks_arena           *host    = ks_ctx_host_scratch(ctx);
    const ks_arena_mark mark    = ks_arena_get_mark(host);
    const ks_mat_term   diff[2] = {{s->r->H, 1.0, NULL, 0}, {H_ref, -1.0, NULL, 0}};
    double             *inv = NULL, *H_bar = NULL;
    KS_TRY(KS_TAKE(host, inv, s->batch->n_segment));
    for (int64_t g = 0; g < s->batch->n_segment; g++) {
        const ks_seg sg = ks_seg_of(s->batch, g);
        inv[g]          = 1.0 / (double)(sg.n * sg.n * sg.ts->method.n_spin);
    }
    KS_TRY(ks_batch_combine(ctx, s->batch, 2, diff, 0, mat(s, MAT_A)));
    KS_TRY(add_norms(s, mat(s, MAT_A), KS_TERM_HAMILTONIAN, inv));
    if (!s->want_adj) goto done;
    KS_TRY(bar(s, MAT_H_BAR, &H_bar));
    for (int64_t g = 0; g < s->batch->n_segment; g++) {
        const ks_seg  sg  = ks_seg_of(s->batch, g);
        const int64_t len = sg.n * sg.n * sg.ts->method.n_spin, off = ks_batch_mat_offset(s->batch, g);
        const ks_term t = {ks_vec_dense(mat(s, MAT_A) + off, len), 2.0 * w * inv[g],
                           fr(s, FR_MASK) + ks_batch_frame_offset(s->batch, g), 1};
        KS_TRY(ks_combine(ctx, sg.n_frame, len, 1, &t, 1, H_bar + off));
    }
done:
    ks_arena_release(host, mark);
    return st;
}

/* |D|^2 with D = S^1/2 (P - P_ref) S^1/2: P_bar += S^1/2 (2 w D) S^1/2. */
static ks_status density_term(step *s, const double *P_ref, double w) {
    ks_status         st      = KS_OK;
    ks_ctx           *ctx     = s->l->ctx;
    const ks_mat_term diff[2] = {{s->r->P, 1.0, NULL, 0}, {P_ref, -1.0, NULL, 0}};
    double           *P_bar   = NULL;
    KS_TRY(ks_batch_combine(ctx, s->batch, 2, diff, 0, mat(s, MAT_A)));
    KS_TRY(ks_basis_change(ctx, s->batch, 0, mat(s, MAT_A), 0, mat(s, MAT_A)));
    KS_TRY(add_norms(s, mat(s, MAT_A), KS_TERM_DENSITY, NULL));
    if (!s->want_adj) goto done;
    KS_TRY(scaled(s, 2.0 * w, mat(s, MAT_A), mat(s, MAT_A)));
    KS_TRY(bar(s, MAT_P_BAR, &P_bar));
    KS_TRY(ks_basis_change(ctx, s->batch, 0, mat(s, MAT_A), 1, P_bar));
done:
    return st;
}

ks_status ks_loss_terms_reset(ks_ctx *ctx, double *terms) {
    ks_status st              = KS_OK;
    double    zero[KS_TERM_N] = {0};
    KS_CHECK(ctx && terms, KS_ERR_ARG, "loss terms: NULL argument");
    zero[KS_TERM_MIN_GAP] = INFINITY;
    KS_TRY(ks_mem_to_backend(ctx, terms, zero, sizeof zero));
done:
    return st;
}

double ks_loss_value(const ks_loss_weights *w, const double *t) {
    double sum = w->energy * t[KS_TERM_ENERGY]; /* terms of weight 0 are not computed */
    if (w->commutator > 0.0) sum += w->commutator * t[KS_TERM_COMMUTATOR];
    if (w->self_consistency > 0.0) sum += w->self_consistency * t[KS_TERM_SELF_CONSISTENCY];
    if (w->hamiltonian > 0.0) sum += w->hamiltonian * t[KS_TERM_HAMILTONIAN];
    if (w->density > 0.0) sum += w->density * t[KS_TERM_DENSITY];
    return sum;
}

ks_status ks_loss_step(ks_ctx *ctx, ks_loss *l, ks_refine *refine, const ks_batch *batch, const double *H0,
                       const double *H_ref, const double *P_ref, double scale, double *H0_bar, double *terms) {
    ks_status        st = KS_OK;
    ks_refine_result r;
    KS_CHECK(ctx && l && ctx == l->ctx && refine && batch && H0 && terms, KS_ERR_ARG,
             "loss: NULL argument or another context");
    KS_CHECK(H_ref || l->w.hamiltonian == 0.0, KS_ERR_ARG,
             "loss.hamiltonian is %g but there are no reference Hamiltonians", l->w.hamiltonian);
    KS_CHECK(P_ref || l->w.density == 0.0, KS_ERR_ARG, "loss.density is %g but there are no reference densities",
             l->w.density);
    KS_TRY(ks_refine_fwd(ctx, refine, batch, H0, H0_bar != NULL, &r));
    step s = {.l        = l,
              .batch    = batch,
              .r        = &r,
              .n_frame  = ks_batch_n_frame(batch),
              .want_adj = H0_bar != NULL,
              .terms    = terms};
    if (s.n_frame == 0) return KS_OK;
    KS_TRY(reserve(l, batch));
    const int extra = l->w.self_consistency > 0.0 && !ks_refine_reports_input(refine);
    KS_TRY(prepare(&s, extra));
    if (l->w.commutator > 0.0) KS_TRY(commutator_term(&s, scale * l->w.commutator));
    if (l->w.self_consistency > 0.0) KS_TRY(self_consistency_term(&s, extra, scale * l->w.self_consistency));
    if (l->w.hamiltonian > 0.0) KS_TRY(hamiltonian_term(&s, H_ref, scale * l->w.hamiltonian));
    if (l->w.density > 0.0) KS_TRY(density_term(&s, P_ref, scale * l->w.density));
    if (!H0_bar) goto done;
    if (l->w.energy > 0.0) {
        const ks_term e = {ks_vec_dense(fr(&s, FR_MASK), 1), scale * l->w.energy, NULL, 0};
        KS_TRY(ks_combine(ctx, s.n_frame, 1, 1, &e, 0, fr(&s, FR_E_BAR)));
    }
    KS_TRY(ks_refine_adj(ctx, refine, batch, l->w.energy > 0.0 ? fr(&s, FR_E_BAR) : NULL,
                         s.live[MAT_H_BAR] ? mat(&s, MAT_H_BAR) : NULL, s.live[MAT_P_BAR] ? mat(&s, MAT_P_BAR) : NULL,
                         s.live[MAT_F_BAR] ? mat(&s, MAT_F_BAR) : NULL, H0_bar));
done:
    return st;
}
