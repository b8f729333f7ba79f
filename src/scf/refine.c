/* refine.c -- unrolled refinement: objects, buffers and the forward sweep. Schemes: refine_scheme.c; adjoint:
 * refine_adj.c. */
#include "scf/refine_impl.h"

ks_status ks_refine_create(ks_ctx *ctx, const ks_refine_options *opt, ks_refine **out) {
    ks_status  st = KS_OK;
    ks_refine *r  = NULL;
    KS_CHECK(ctx && opt && out, KS_ERR_ARG, "refine: NULL argument");
    KS_TRY(KS_ZNEW(r, 1));
    r->ctx = ctx;
    r->opt = *opt;
    KS_TRY(ks_scheme_make(opt, &r->scheme));
    r->opt.n_build = r->scheme.n_build;
    *out           = r;
    r              = NULL;
done:
    ks_refine_destroy(&r);
    return st;
}

void ks_refine_destroy(ks_refine **refine) {
    if (!refine || !*refine) return;
    ks_refine *r = *refine;
    ks_mem_free(r->ctx, (void **)&r->mat);
    ks_mem_free(r->ctx, (void **)&r->eps);
    ks_mem_free(r->ctx, (void **)&r->bar);
    ks_mem_free(r->ctx, (void **)&r->frame);
    KS_FREE(*refine);
}

ks_status ks_refine_bytes(const ks_refine_options *opt, const ks_system *sys, int n_spin, int want_adj,
                          int64_t *bytes_per_frame) {
    ks_status st = KS_OK;
    ks_scheme s;
    KS_CHECK(opt && sys && bytes_per_frame, KS_ERR_ARG, "refine bytes: NULL argument");
    KS_TRY(ks_scheme_make(opt, &s));
    const int64_t vec = n_spin * sys->n_ao, mat = vec * sys->n_ao;
    *bytes_per_frame = (int64_t)sizeof(double) * (((want_adj ? 2 : 1) * s.n_var + s.n_density) * mat +
                                                  s.n_density * vec + ks_refine_frame_doubles(&s));
done:
    return st;
}

int ks_refine_reports_input(const ks_refine *refine) { return refine->scheme.var_H == 0; }

/* Backend array of n doubles in place of *ptr. */
static ks_status regrow(ks_ctx *ctx, int64_t n, double **ptr) {
    ks_status st    = KS_OK;
    int64_t   bytes = 0;
    ks_mem_free(ctx, (void **)ptr);
    KS_TRY(ks_mul_i64(n, (int64_t)sizeof **ptr, &bytes));
    KS_TRY(ks_mem_alloc(ctx, (size_t)bytes, (void **)ptr));
done:
    return st;
}

static ks_status reserve(ks_refine *r, int want_adj) {
    ks_status        st = KS_OK;
    const ks_scheme *s  = &r->scheme;
    if (r->mat_size > r->mat_cap || r->vec_size > r->vec_cap || r->n_frame > r->frame_cap) {
        const int64_t mat_cap = r->mat_size > r->mat_cap ? r->mat_size : r->mat_cap;
        const int64_t vec_cap = r->vec_size > r->vec_cap ? r->vec_size : r->vec_cap;
        const int64_t n_cap   = r->n_frame > r->frame_cap ? r->n_frame : r->frame_cap;
        r->mat_cap = r->vec_cap = r->frame_cap = 0; /* a failure below leaves a state that the next call repairs */
        KS_TRY(regrow(r->ctx, (s->n_var + s->n_density) * mat_cap, &r->mat));
        KS_TRY(regrow(r->ctx, s->n_density * vec_cap, &r->eps));
        KS_TRY(regrow(r->ctx, ks_refine_frame_doubles(s) * n_cap, &r->frame));
        r->mat_cap = mat_cap, r->vec_cap = vec_cap, r->frame_cap = n_cap;
    }
    if (want_adj && r->bar_cap < r->mat_cap) {
        r->bar_cap = 0;
        KS_TRY(regrow(r->ctx, s->n_var * r->mat_cap, &r->bar));
        r->bar_cap = r->mat_cap;
    }
done:
    return st;
}

/* Row n_in - 1 of the Gram matrix, then the weights. */
static ks_status mix_fwd(ks_refine *r, const ks_batch *batch, const ks_node *nd) {
    ks_status     st = KS_OK;
    const int64_t ld = r->scheme.n_build, k = nd->n_in;
    double       *gram = ks_refine_gram(r, 0);
    const double *d    = ks_refine_val(r, nd->in[k - 1]);
    for (int64_t i = 0; i < k; i++) { /* both triangles: the last call sets the diagonal element */
        KS_TRY(ks_batch_dot(r->ctx, batch, 1.0, d, ks_refine_val(r, nd->in[i]), 0, gram + (k - 1) * ld + i, ld * ld));
        KS_TRY(ks_batch_dot(r->ctx, batch, 1.0, d, ks_refine_val(r, nd->in[i]), 0, gram + i * ld + k - 1, ld * ld));
    }
    KS_TRY(ks_mix_fwd(r->ctx, r->n_frame, k, ld, KS_MIX_RIDGE, gram, ks_refine_weight(r, nd->save, 0)));
done:
    return st;
}

static ks_status combine_fwd(ks_refine *r, const ks_batch *batch, const ks_node *nd) {
    ks_status      st = KS_OK;
    ks_mat_term    t[KS_NODE_IN_MAX];
    const ks_node *m = nd->mix >= 0 ? &r->scheme.node[nd->mix] : NULL;
    const double  *w = m ? ks_refine_weight(r, m->save, 0) : NULL;
    for (int i = 0; i < nd->n_in; i++)
        t[i] = (ks_mat_term){ks_refine_val(r, nd->in[i]), nd->alpha[i], w ? w + nd->weight[i] : NULL, m ? m->n_in : 0};
    KS_TRY(ks_batch_combine(r->ctx, batch, nd->n_in, t, 0, ks_refine_val(r, nd->out)));
done:
    return st;
}

static ks_status node_fwd(ks_refine *r, const ks_batch *batch, const ks_node *nd) {
    ks_status        st  = KS_OK;
    const ks_scheme *s   = &r->scheme;
    double          *out = nd->out >= 0 ? ks_refine_val(r, nd->out) : NULL;
    const double    *in0 = ks_refine_val(r, nd->in[0]), *in1 = ks_refine_val(r, nd->in[1]);
    switch (nd->kind) {
    case KS_NODE_DENSITY:
        KS_TRY(ks_density_fwd(r->ctx, batch, in0, ks_refine_C(r, nd->save), ks_refine_eps(r, nd->save), out));
        break;
    case KS_NODE_FOCK: {
        const double *C = nd->density >= 0 ? ks_refine_C(r, s->node[nd->density].save) : NULL;
        KS_TRY(ks_fock_fwd(r->ctx, batch, in0, C, out, nd->out == s->var_F ? ks_refine_E(r) : NULL));
        break;
    }
    case KS_NODE_RESID: {
        const ks_mat_term diff[2] = {{in0, 1.0, NULL, 0}, {in1, -1.0, NULL, 0}};
        KS_TRY(ks_batch_combine(r->ctx, batch, 2, diff, 0, out));
        KS_TRY(ks_basis_change(r->ctx, batch, 0, out, 0, out));
        break;
    }
    case KS_NODE_COMM:
        KS_TRY(ks_commutator_fwd(r->ctx, batch, in0, in1, out));
        break;
    case KS_NODE_MIX:
        KS_TRY(mix_fwd(r, batch, nd));
        break;
    case KS_NODE_COMBINE:
        KS_TRY(combine_fwd(r, batch, nd));
        break;
    }
done:
    return st;
}

/* The frames that count: finite energy, no gap below the limit. */
static ks_status set_mask(ks_refine *r, const ks_batch *batch) {
    ks_status st = KS_OK;
    for (int d = 0; d < r->scheme.n_density; d++)
        KS_TRY(ks_batch_gap(r->ctx, batch, ks_refine_eps(r, d), d > 0, ks_refine_gap(r)));
    KS_TRY(ks_mask(r->ctx, r->n_frame, ks_refine_E(r), ks_refine_gap(r), KS_GAP_MIN, NULL, ks_refine_mask(r)));
done:
    return st;
}

ks_status ks_refine_fwd(ks_ctx *ctx, ks_refine *r, const ks_batch *batch, const double *H0, int want_adj,
                        ks_refine_result *out) {
    ks_status st = KS_OK;
    KS_CHECK(ctx && r && ctx == r->ctx && batch && H0 && out, KS_ERR_ARG, "refine: NULL argument or another context");
    memset(out, 0, sizeof *out);
    const ks_scheme *s = &r->scheme;
    r->saved           = 0;
    r->batch           = batch;
    r->mat_size        = ks_batch_mat_size(batch);
    r->vec_size        = ks_batch_vec_size(batch);
    r->n_frame         = ks_batch_n_frame(batch);
    if (r->n_frame == 0) return KS_OK;
    KS_TRY(reserve(r, want_adj));
    const ks_mat_term copy = {H0, 1.0, NULL, 0};
    KS_TRY(ks_batch_combine(ctx, batch, 1, &copy, 0, ks_refine_val(r, 0)));
    for (int i = 0; i < s->n_node; i++) KS_TRY(node_fwd(r, batch, &s->node[i]));
    KS_TRY(set_mask(r, batch));
    out->H    = ks_refine_val(r, s->var_H);
    out->P    = ks_refine_val(r, s->var_P);
    out->F    = ks_refine_val(r, s->var_F);
    out->C    = ks_refine_C(r, s->last_density);
    out->eps  = ks_refine_eps(r, s->last_density);
    out->E    = ks_refine_E(r);
    out->gap  = ks_refine_gap(r);
    out->mask = ks_refine_mask(r);
    r->saved  = want_adj;
done:
    return st;
}
