/* qpt_step.c -- forward and adjoint of the "qpt" network over a batch, segment by segment; see qpt.c. */
#include <math.h>
#include <stddef.h>
#include "model/qpt.h"

#define P(index) ks_params_data(model->params, (index))
#define G(index) ks_params_grad(model->params, (index))

typedef struct tables { /* pointers into a qpt_system's table */
    const int32_t *kind, *atom, *Z;
    ks_ao_blocks   blocks;
} tables;

static tables tables_of(const qpt_system *sys) {
    tables t;
    t.kind           = sys->table;
    t.atom           = t.kind + sys->n_ao;
    t.Z              = t.atom + sys->n_ao;
    t.blocks.n_ao    = sys->n_ao;
    t.blocks.n_shell = sys->n_shell;
    t.blocks.l       = t.Z + sys->n_atom;
    t.blocks.ao      = t.blocks.l + sys->n_shell;
    return t;
}

/* Room for the activations of a batch: counted, and allocated anew only when it does not fit. */
static ks_status prepare(ks_model *model, const ks_batch *batch, int want_adj, qpt_work *work) {
    ks_status  st    = KS_OK;
    qpt_state *s     = model->state;
    size_t     bytes = 0, most = 0;
    qpt_work   unused;
    s->n_act = 0;
    if (batch->n_segment > s->act_capacity) {
        KS_FREE(s->act);
        KS_FREE(s->layer);
        s->act_capacity = 0;
        KS_TRY(KS_ZNEW(s->act, batch->n_segment));
        KS_TRY(KS_ZNEW(s->layer, batch->n_segment * model->opt.layers));
        s->act_capacity = batch->n_segment;
    }
    for (int64_t i = 0; i < batch->n_segment; i++) {
        const ks_segment *seg = &batch->segment[i];
        qpt_act          *a   = &s->act[i];
        size_t            own = 0;
        *a                    = (qpt_act){
                               .tensors = seg->tensors, .B = seg->n_frame, .T = seg->tensors->sys->n_ao, .A = seg->tensors->sys->n_atom};
        a->layer = s->layer + i * model->opt.layers;
        KS_TRY(qpt_find_system(model, seg->tensors->sys, &a->system));
        KS_TRY(qpt_bind_act(model, want_adj, NULL, &bytes, a));
        KS_TRY(qpt_bind_work(model, want_adj, a, NULL, &own, &unused));
        if (own > most) most = own;
    }
    if (bytes + most > s->memory_bytes) {
        ks_mem_free(model->ctx, &s->memory);
        s->memory_bytes = 0;
        KS_TRY(ks_mem_alloc(model->ctx, bytes + most, &s->memory));
        s->memory_bytes = bytes + most;
    }
    bytes = 0;
    for (int64_t i = 0; i < batch->n_segment; i++) KS_TRY(qpt_bind_act(model, want_adj, s->memory, &bytes, &s->act[i]));
    for (int64_t i = 0; i < batch->n_segment; i++) { /* all segments share the scratch, each with its own cut */
        most = bytes;
        KS_TRY(qpt_bind_work(model, want_adj, &s->act[i], s->memory, &most, &work[i]));
    }
    s->n_act = want_adj ? batch->n_segment : 0;
done:
    return st;
}

/* The seven biases. All but the Gram matrix are data: rotated into the frame, divided by their largest element. */
static ks_status bias_fwd(ks_model *model, const qpt_act *a, const tables *t, const qpt_work *w) {
    ks_status          st   = KS_OK;
    ks_ctx            *ctx  = model->ctx;
    const ks_precision prec = model->opt.precision;
    const ks_tensors  *x    = a->tensors;
    const size_t       each = (size_t)(a->B * a->T * a->T) * ks_params_elem_bytes(model->params);
    char              *bias = a->bias;
    const struct {
        int           which;
        const double *M;
    } plain[] = {{BIAS_HCORE, x->hcore}, {BIAS_P0, x->P0}, {BIAS_JK0, x->JK0}, {BIAS_VXC0, x->Vxc0}, {BIAS_F0, x->F0}};
    KS_TRY(ks_gram_fwd(ctx, prec, a->B, a->T, a->A, model->opt.d_model, t->atom, a->u, bias + BIAS_GRAM * each, a->gram,
                       a->top));
    for (size_t k = 0; k < sizeof plain / sizeof *plain; k++) {
        KS_TRY(ks_rotate_fwd(ctx, a->B, &t->blocks, 0, a->rot, plain[k].M, a->slot, w->m1));
        KS_TRY(ks_bias_fwd(ctx, prec, a->B, a->T, w->m1, bias + (size_t)plain[k].which * each));
    }
    KS_TRY(ks_rotate_fwd(ctx, a->B, &t->blocks, 0, a->rot, x->hcore, a->slot, w->m1));
    KS_TRY(ks_rotate_fwd(ctx, a->B, &t->blocks, 0, a->rot, x->S, a->slot, w->m2));
    KS_TRY(ks_cholesky_transform_fwd(ctx, a->B, a->T, w->m2, w->m1));
    KS_TRY(ks_bias_fwd(ctx, prec, a->B, a->T, w->m1, bias + BIAS_LOEWDIN * each));
done:
    return st;
}

static ks_status segment_fwd(ks_model *model, const ks_segment *seg, qpt_act *a, const qpt_work *w, double *W) {
    ks_status               st   = KS_OK;
    ks_ctx                 *ctx  = model->ctx;
    const qpt_state        *s    = model->state;
    const ks_model_options *o    = &model->opt;
    const ks_precision      prec = o->precision;
    const int64_t           d = o->d_model, n = a->B * a->T;
    const tables            t = tables_of(&s->system[a->system]);
    a->slot                   = seg->slot;
    KS_TRY(ks_frame_fwd(ctx, o->frame, a->B, a->A, t.Z, s->system[a->system].ref, o->bond_atoms, a->tensors->pos,
                        a->slot, a->rot, a->pos));
    KS_TRY(ks_position_fwd(ctx, prec, a->B, a->A, a->pos, a->feature));
    KS_TRY(ks_linear_fwd(ctx, prec, a->B * a->A, KS_POS_FEATURES, d, a->feature, P(s->position_w), P(s->position_b),
                         a->u));
    KS_TRY(bias_fwd(model, a, &t, w));
    KS_TRY(ks_embedding_fwd(ctx, prec, a->B, a->T, a->A, o->n_ao_kind, d, 1 / sqrt((double)d), t.kind, t.atom,
                            P(s->table), a->u, a->layer[0].x));
    for (int64_t l = 0; l < o->layers; l++) {
        const qpt_block *p   = &s->block[l];
        const qpt_layer *y   = &a->layer[l];
        const void      *mix = s->pairs ? s->pairs : P(p->mix);
        KS_TRY(ks_layer_norm_fwd(ctx, prec, n, d, y->x, P(p->ln1_gain), P(p->ln1_shift), y->h1, y->stat1));
        KS_TRY(ks_linear_fwd(ctx, prec, n, d, 3 * d, y->h1, P(p->qkv_w), P(p->qkv_b), y->qkv));
        KS_TRY(ks_attention_fwd(ctx, prec, a->B, a->T, o->heads, d, N_BIAS, y->qkv, a->bias, mix, y->y, y->prob));
        KS_TRY(ks_linear_fwd(ctx, prec, n, d, d, y->y, P(p->proj_w), P(p->proj_b), w->f));
        KS_TRY(ks_residual_fwd(ctx, prec, n * d, y->x, w->f, y->x2));
        KS_TRY(ks_layer_norm_fwd(ctx, prec, n, d, y->x2, P(p->ln2_gain), P(p->ln2_shift), y->h2, y->stat2));
        KS_TRY(ks_linear_fwd(ctx, prec, n, d, 4 * d, y->h2, P(p->fc_w), P(p->fc_b), y->fc));
        KS_TRY(ks_gelu_fwd(ctx, prec, n * 4 * d, y->fc, y->g));
        KS_TRY(ks_linear_fwd(ctx, prec, n, 4 * d, d, y->g, P(p->out_w), P(p->out_b), w->f));
        KS_TRY(ks_residual_fwd(ctx, prec, n * d, y->x2, w->f, l + 1 < o->layers ? a->layer[l + 1].x : a->x_last));
    }
    KS_TRY(ks_layer_norm_fwd(ctx, prec, n, d, a->x_last, P(s->ln_gain), P(s->ln_shift), a->h_last, a->stat_last));
    KS_TRY(ks_linear_fwd(ctx, prec, n, d, d, a->h_last, P(s->q_w), P(s->q_b), a->q));
    if (o->head == KS_HEAD_BILINEAR) KS_TRY(ks_linear_fwd(ctx, prec, n, d, d, a->h_last, P(s->k_w), P(s->k_b), a->k));
    KS_TRY(ks_head_fwd(ctx, prec, a->B, a->T, d, a->q, a->k, w->m1));
    if (o->output == KS_OUTPUT_AO) {
        KS_TRY(ks_rotate_fwd(ctx, a->B, &t.blocks, 1, a->rot, w->m1, NULL, W));
    } else {
        KS_TRY(ks_rotate_fwd(ctx, a->B, &t.blocks, 1, a->rot, w->m1, NULL, w->m2));
        KS_TRY(ks_congruence_fwd(ctx, a->B, a->T, a->tensors->S_half, a->slot, w->m2, W));
    }
done:
    return st;
}

/* The chain of segment_fwd backwards. x_bar is the cotangent of the residual stream: a residual connection hands it to
 * both sides, so the branch reads it and adds its own share afterwards. Buffers of other cotangents are zeroed first.
 * Parameters get their gradients in the opposite order of their registration (qpt.c); is_last: what is behind is
 * complete, and READY says so. */
#define READY(index)                                                                                                   \
    do {                                                                                                               \
        if (is_last) KS_TRY(ks_params_ready(model->params, (index)));                                                  \
    } while (0)
static ks_status segment_adj(ks_model *model, const qpt_act *a, const qpt_work *w, const double *W_bar, int is_last) {
    ks_status               st   = KS_OK;
    ks_ctx                 *ctx  = model->ctx;
    const qpt_state        *s    = model->state;
    const ks_model_options *o    = &model->opt;
    const ks_precision      prec = o->precision;
    const int64_t           d = o->d_model, n = a->B * a->T;
    const size_t elem = ks_params_elem_bytes(model->params), narrow = (size_t)(n * d) * elem, wide = 4 * narrow;
    const size_t matrix = (size_t)(n * a->T) * sizeof(double);
    const tables t      = tables_of(&s->system[a->system]);
    void        *q_bar = w->wide1, *k_bar = o->head == KS_HEAD_QPT ? w->wide1 : w->wide2;
    KS_TRY(ks_mem_zero(ctx, w->m2, matrix));
    if (o->output == KS_OUTPUT_AO) {
        KS_TRY(ks_rotate_adj(ctx, a->B, &t.blocks, 1, a->rot, W_bar, w->m2));
    } else {
        KS_TRY(ks_mem_zero(ctx, w->m1, matrix));
        KS_TRY(ks_congruence_adj(ctx, a->B, a->T, a->tensors->S_half, a->slot, W_bar, w->m1));
        KS_TRY(ks_rotate_adj(ctx, a->B, &t.blocks, 1, a->rot, w->m1, w->m2));
    }
    KS_TRY(ks_mem_zero(ctx, w->wide1, narrow));
    KS_TRY(ks_mem_zero(ctx, w->wide2, narrow));
    KS_TRY(ks_head_adj(ctx, prec, a->B, a->T, d, a->q, a->k, w->m2, q_bar, k_bar));
    KS_TRY(ks_mem_zero(ctx, w->h_bar, narrow));
    KS_TRY(ks_linear_adj(ctx, prec, n, d, d, a->h_last, P(s->q_w), q_bar, w->h_bar, G(s->q_w), G(s->q_b)));
    if (o->head == KS_HEAD_BILINEAR)
        KS_TRY(ks_linear_adj(ctx, prec, n, d, d, a->h_last, P(s->k_w), k_bar, w->h_bar, G(s->k_w), G(s->k_b)));
    KS_TRY(ks_mem_zero(ctx, w->x_bar, narrow));
    KS_TRY(ks_layer_norm_adj(ctx, prec, n, d, a->x_last, P(s->ln_gain), a->stat_last, w->h_bar, w->x_bar, G(s->ln_gain),
                             G(s->ln_shift)));
    READY(s->ln_gain);
    KS_TRY(ks_mem_zero(ctx, w->bias_bar, (size_t)(n * a->T) * elem));
    for (int64_t l = o->layers - 1; l >= 0; l--) {
        const qpt_block *p = &s->block[l];
        const qpt_layer *y = &a->layer[l];
        KS_TRY(ks_mem_zero(ctx, w->wide1, wide));
        KS_TRY(ks_linear_adj(ctx, prec, n, 4 * d, d, y->g, P(p->out_w), w->x_bar, w->wide1, G(p->out_w), G(p->out_b)));
        READY(p->out_w);
        KS_TRY(ks_mem_zero(ctx, w->wide2, wide));
        KS_TRY(ks_gelu_adj(ctx, prec, n * 4 * d, y->fc, w->wide1, w->wide2));
        KS_TRY(ks_mem_zero(ctx, w->h_bar, narrow));
        KS_TRY(ks_linear_adj(ctx, prec, n, d, 4 * d, y->h2, P(p->fc_w), w->wide2, w->h_bar, G(p->fc_w), G(p->fc_b)));
        READY(p->fc_w);
        KS_TRY(ks_layer_norm_adj(ctx, prec, n, d, y->x2, P(p->ln2_gain), y->stat2, w->h_bar, w->x_bar, G(p->ln2_gain),
                                 G(p->ln2_shift)));
        READY(p->ln2_gain);

        KS_TRY(ks_mem_zero(ctx, w->d_bar, narrow));
        KS_TRY(ks_linear_adj(ctx, prec, n, d, d, y->y, P(p->proj_w), w->x_bar, w->d_bar, G(p->proj_w), G(p->proj_b)));
        READY(p->proj_w);
        KS_TRY(ks_mem_zero(ctx, w->wide1, 3 * narrow));
        KS_TRY(ks_attention_adj(ctx, prec, a->B, a->T, o->heads, d, N_BIAS, BIAS_GRAM + 1, y->qkv, a->bias,
                                s->pairs ? s->pairs : P(p->mix), y->prob, w->d_bar, w->wide1, w->bias_bar,
                                s->pairs ? NULL : G(p->mix)));
        KS_TRY(ks_mem_zero(ctx, w->h_bar, narrow));
        KS_TRY(ks_linear_adj(ctx, prec, n, d, 3 * d, y->h1, P(p->qkv_w), w->wide1, w->h_bar, G(p->qkv_w), G(p->qkv_b)));
        READY(p->qkv_w); /* and the mixing matrix behind it */
        KS_TRY(ks_layer_norm_adj(ctx, prec, n, d, y->x, P(p->ln1_gain), y->stat1, w->h_bar, w->x_bar, G(p->ln1_gain),
                                 G(p->ln1_shift)));
        READY(p->ln1_gain);
    }
    KS_TRY(ks_mem_zero(ctx, w->u_bar, (size_t)(a->B * a->A * d) * elem));
    KS_TRY(ks_gram_adj(ctx, prec, a->B, a->T, a->A, d, t.atom, a->u, a->gram, a->top, w->bias_bar, w->u_bar));
    KS_TRY(ks_embedding_adj(ctx, prec, a->B, a->T, a->A, o->n_ao_kind, d, 1 / sqrt((double)d), t.kind, t.atom, w->x_bar,
                            G(s->table), w->u_bar));
    KS_TRY(ks_linear_adj(ctx, prec, a->B * a->A, KS_POS_FEATURES, d, a->feature, P(s->position_w), w->u_bar, NULL,
                         G(s->position_w), G(s->position_b)));
    READY(s->position_w);
done:
    return st;
}
#undef READY

ks_status qpt_fwd(ks_model *model, const ks_batch *batch, int want_adj, double *W) {
    ks_status           st      = KS_OK;
    ks_arena           *scratch = ks_ctx_host_scratch(model->ctx);
    const ks_arena_mark mark    = ks_arena_get_mark(scratch);
    qpt_state          *s       = model->state;
    qpt_work           *work    = NULL;
    int64_t             at      = 0;
    KS_TRY(KS_TAKE(scratch, work, batch->n_segment));
    KS_TRY(prepare(model, batch, want_adj, work));
    for (int64_t i = 0; i < batch->n_segment; i++) {
        qpt_act *a = &s->act[i];
        if (a->B) KS_TRY(segment_fwd(model, &batch->segment[i], a, &work[i], W + at));
        at += a->B * a->T * a->T;
    }
done:
    if (st != KS_OK) s->n_act = 0;
    ks_arena_release(scratch, mark);
    return st;
}

ks_status qpt_adj(ks_model *model, const ks_batch *batch, const double *W_bar) {
    ks_status  st    = KS_OK;
    qpt_state *s     = model->state;
    size_t     bytes = 0;
    int64_t    at = 0, last = -1; /* segment with frames */
    KS_CHECK(s->n_act == batch->n_segment, KS_ERR_ARG,
             "model adjoint: no forward with want_adj of this batch came before");
    for (int64_t i = 0; i < batch->n_segment; i++) {
        KS_CHECK(s->act[i].tensors == batch->segment[i].tensors && s->act[i].B == batch->segment[i].n_frame, KS_ERR_ARG,
                 "model adjoint: segment %lld differs from the forward's", (long long)i);
        KS_TRY(qpt_bind_act(model, 1, s->memory, &bytes, &s->act[i]));
        if (s->act[i].B) last = i;
    }
    for (int64_t i = 0; i < batch->n_segment; i++) {
        const qpt_act *a    = &s->act[i];
        size_t         from = bytes;
        qpt_work       work;
        KS_TRY(qpt_bind_work(model, 1, a, s->memory, &from, &work));
        if (a->B) KS_TRY(segment_adj(model, a, &work, W_bar + at, i == last));
        at += a->B * a->T * a->T;
    }
done:
    s->n_act = 0;
    return st;
}
