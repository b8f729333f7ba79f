/* refine_adj.c -- the adjoint sweep of a refinement: the node list backwards, each node by its own adjoint.
 *
 * Cotangents that are known to be zero are not computed: with E_bar alone the last Fock build needs no second
 * derivatives, because dE/dP = F, and `none` needs none at all. */
#include "scf/refine_impl.h"

/* Cotangent of a variable, zeroed at first use. */
static ks_status bar_of(ks_refine *r, int var, double **out) {
    ks_status st = KS_OK;
    *out         = r->bar + var * r->bar_cap;
    if (!r->live[var]) KS_TRY(ks_mem_zero(r->ctx, *out, (size_t)r->mat_size * sizeof **out));
    r->live[var] = 1;
done:
    return st;
}

/* bar of var += alpha coef x for the frames that count (coef NULL: the mask). */
static ks_status seed(ks_refine *r, const ks_batch *batch, int var, const double *x, const double *coef) {
    ks_status         st  = KS_OK;
    double           *bar = NULL;
    const ks_mat_term t   = {x, 1.0, coef ? coef : ks_refine_mask(r), 1};
    KS_TRY(bar_of(r, var, &bar));
    KS_TRY(ks_batch_combine(r->ctx, batch, 1, &t, 1, bar));
done:
    return st;
}

/* out = sum_i alpha_i w_i x_i:  x_i_bar += alpha_i w_i out_bar,  w_i_bar += alpha_i <x_i, out_bar>. */
static ks_status combine_adj(ks_refine *r, const ks_batch *batch, const ks_node *nd, const double *out_bar) {
    ks_status      st    = KS_OK;
    const ks_node *m     = nd->mix >= 0 ? &r->scheme.node[nd->mix] : NULL;
    const double  *w     = m ? ks_refine_weight(r, m->save, 0) : NULL;
    double        *w_bar = m ? ks_refine_weight(r, m->save, 1) : NULL;
    if (m && !r->mix_live[nd->mix]) {
        KS_TRY(ks_mem_zero(r->ctx, w_bar, (size_t)(r->n_frame * m->n_in) * sizeof *w_bar));
        r->mix_live[nd->mix] = 1;
    }
    for (int i = 0; i < nd->n_in; i++) {
        double           *x_bar = NULL;
        const ks_mat_term t     = {out_bar, nd->alpha[i], w ? w + nd->weight[i] : NULL, m ? m->n_in : 0};
        KS_TRY(bar_of(r, nd->in[i], &x_bar));
        KS_TRY(ks_batch_combine(r->ctx, batch, 1, &t, 1, x_bar));
        if (m)
            KS_TRY(ks_batch_dot(r->ctx, batch, nd->alpha[i], ks_refine_val(r, nd->in[i]), out_bar, 1,
                                w_bar + nd->weight[i], m->n_in));
    }
done:
    return st;
}

/* Weights -> Gram matrix (ks_mix_adj), and the row made by this node, B_kj = <D_k, D_j>, j <= k, into its residuals:
 * the symmetric cotangent counts off-diagonal elements twice, and dB_kk = 2 <D_k, dD_k>, so D_k_bar += 2 B_bar_kj D_j
 * for all j and D_j_bar += 2 B_bar_kj D_k for j < k. Nodes with longer rows have been here before: row k of B_bar is
 * complete. */
static ks_status mix_adj(ks_refine *r, const ks_batch *batch, const ks_node *nd) {
    ks_status     st = KS_OK;
    const int64_t ld = r->scheme.n_build, k = nd->n_in - 1;
    double       *gram_bar = ks_refine_gram(r, 1), *d_bar = NULL, *j_bar = NULL;
    const double *row = gram_bar + k * ld;
    if (r->mix_live[nd - r->scheme.node])
        KS_TRY(ks_mix_adj(r->ctx, r->n_frame, nd->n_in, ld, KS_MIX_RIDGE, ks_refine_gram(r, 0),
                          ks_refine_weight(r, nd->save, 0), ks_refine_weight(r, nd->save, 1), gram_bar));
    KS_TRY(bar_of(r, nd->in[k], &d_bar));
    for (int64_t j = 0; j <= k; j++) {
        const ks_mat_term t  = {ks_refine_val(r, nd->in[j]), 2.0, row + j, ld * ld},
                          tj = {ks_refine_val(r, nd->in[k]), 2.0, row + j, ld * ld};
        KS_TRY(ks_batch_combine(r->ctx, batch, 1, &t, 1, d_bar));
        if (j == k) break;
        KS_TRY(bar_of(r, nd->in[j], &j_bar));
        KS_TRY(ks_batch_combine(r->ctx, batch, 1, &tj, 1, j_bar));
    }
done:
    return st;
}

static ks_status node_adj(ks_refine *r, const ks_batch *batch, const ks_node *nd, int mix_used) {
    ks_status     st  = KS_OK;
    const double *in0 = ks_refine_val(r, nd->in[0]), *in1 = ks_refine_val(r, nd->in[1]);
    double       *bar0 = NULL, *bar1 = NULL;
    if (nd->kind == KS_NODE_MIX) return mix_used ? mix_adj(r, batch, nd) : KS_OK;
    if (!r->live[nd->out]) return KS_OK;
    const double *out_bar = r->bar + nd->out * r->bar_cap;
    switch (nd->kind) {
    case KS_NODE_DENSITY:
        KS_TRY(bar_of(r, nd->in[0], &bar0));
        KS_TRY(ks_density_adj(r->ctx, batch, ks_refine_C(r, nd->save), ks_refine_eps(r, nd->save), out_bar,
                              ks_refine_mask(r), bar0));
        break;
    case KS_NODE_FOCK:
        KS_TRY(bar_of(r, nd->in[0], &bar0));
        KS_TRY(ks_fock_adj(r->ctx, batch, in0, out_bar, bar0));
        break;
    case KS_NODE_RESID: { /* Q_bar += S^1/2 D_bar S^1/2, P_bar -= the same */
        double *D_bar = r->bar + nd->out * r->bar_cap;
        KS_TRY(ks_basis_change(r->ctx, batch, 0, D_bar, 0, D_bar));
        KS_TRY(bar_of(r, nd->in[0], &bar0));
        KS_TRY(bar_of(r, nd->in[1], &bar1));
        const ks_mat_term plus = {D_bar, 1.0, NULL, 0}, minus = {D_bar, -1.0, NULL, 0};
        KS_TRY(ks_batch_combine(r->ctx, batch, 1, &plus, 1, bar0));
        KS_TRY(ks_batch_combine(r->ctx, batch, 1, &minus, 1, bar1));
        break;
    }
    case KS_NODE_COMM:
        KS_TRY(bar_of(r, nd->in[0], &bar0));
        KS_TRY(bar_of(r, nd->in[1], &bar1));
        KS_TRY(ks_commutator_adj(r->ctx, batch, in0, in1, out_bar, bar0, bar1));
        break;
    case KS_NODE_COMBINE:
        KS_TRY(combine_adj(r, batch, nd, out_bar));
        break;
    case KS_NODE_MIX:
        break;
    }
done:
    return st;
}

ks_status ks_refine_adj(ks_ctx *ctx, ks_refine *r, const ks_batch *batch, const double *E_bar, const double *H_bar,
                        const double *P_bar, const double *F_bar, double *H0_bar) {
    ks_status st = KS_OK;
    KS_CHECK(ctx && r && ctx == r->ctx && batch && H0_bar, KS_ERR_ARG,
             "refine adjoint: NULL argument or another context");
    if (ks_batch_n_frame(batch) == 0) return KS_OK;
    KS_CHECK(r->saved && batch == r->batch, KS_ERR_ARG, "refine adjoint: no forward with want_adj of this batch");
    const ks_scheme *s        = &r->scheme;
    int              mix_used = 0;
    memset(r->live, 0, sizeof r->live);
    memset(r->mix_live, 0, sizeof r->mix_live);
    if (E_bar) {
        const ks_term masked = {ks_vec_dense(E_bar, 1), 1.0, ks_refine_mask(r), 1};
        KS_TRY(ks_combine(ctx, r->n_frame, 1, 1, &masked, 0, ks_refine_E_bar(r)));
        KS_TRY(seed(r, batch, s->var_P, ks_refine_val(r, s->var_F), ks_refine_E_bar(r)));
    }
    if (H_bar) KS_TRY(seed(r, batch, s->var_H, H_bar, NULL));
    if (P_bar) KS_TRY(seed(r, batch, s->var_P, P_bar, NULL));
    if (F_bar) KS_TRY(seed(r, batch, s->var_F, F_bar, NULL));
    if (s->n_mix)
        KS_TRY(ks_mem_zero(ctx, ks_refine_gram(r, 1), (size_t)(r->n_frame * s->n_build * s->n_build) * sizeof(double)));
    for (int i = s->n_node - 1; i >= 0; i--) {
        KS_TRY(node_adj(r, batch, &s->node[i], mix_used));
        for (int j = 0; j < s->n_node; j++) mix_used |= r->mix_live[j];
    }
    if (r->live[0]) {
        const ks_mat_term t = {r->bar, 1.0, ks_refine_mask(r), 1};
        KS_TRY(ks_batch_combine(ctx, batch, 1, &t, 1, H0_bar));
    }
done:
    return st;
}
