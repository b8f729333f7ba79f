/* qpt.c -- the transformer of arXiv 2402.04030 with this project's options (src/README.md section 5): parameters, tables of a
 * composition, layout of the activations. Forward and adjoint: qpt_step.c.
 *
 *   u = feature(R (r - c)) Wp^T + bp per atom;  x = table[kind] / sqrt(d) + u[atom of the AO]
 *   per block: x += proj(attention(LN(x)));  x += out(gelu(fc(LN(x))))
 *   q, k from LN(x):  W' = (q k^T + k q^T) / (2 sqrt d), or q q^T / sqrt(d) with head = qpt
 *   W = S^1/2 (D^T W' D) S^1/2 with output = lowdin, D^T W' D with output = ao
 *
 * The softmax of QPT's code runs over the queries; here it runs over the keys. Seven matrices, each divided by its
 * largest element, bias the scores of every block, mixed over the heads by a learned (heads, 7) matrix.
 *
 * Initial weights: normal with variance 1 / (3 fan-in), like PyTorch's linear layer and close to GPT-2's 0.02 at d =
 * 1024; those that write into the residual stream divided by sqrt(2 layers); k of the bilinear head zero, so that W =
 * 0. */
#include "model/qpt.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- parameters ---- */

static ks_status add(ks_model *model, const char *prefix, const char *name, int64_t rows, int64_t cols, ks_init init,
                     double std, int decay, int64_t *index) {
    char          full[64];
    const int64_t shape[2] = {rows, cols};
    snprintf(full, sizeof full, "%s%s", prefix, name);
    return ks_params_add(model->params, full, cols ? 2 : 1, shape, init, std, decay, index);
}

static ks_status add_linear(ks_model *model, const char *prefix, int64_t d_in, int64_t d_out, double std, int64_t *w,
                            int64_t *b) {
    ks_status st = KS_OK;
    KS_TRY(add(model, prefix, ".weight", d_out, d_in, std > 0 ? KS_INIT_NORMAL : KS_INIT_ZERO, std, 1, w));
    KS_TRY(add(model, prefix, ".bias", d_out, 0, KS_INIT_ZERO, 0, 0, b));
done:
    return st;
}

static ks_status add_norm(ks_model *model, const char *prefix, int64_t d, int64_t *gain, int64_t *shift) {
    ks_status st = KS_OK;
    KS_TRY(add(model, prefix, ".gain", d, 0, KS_INIT_ONE, 0, 0, gain));
    KS_TRY(add(model, prefix, ".shift", d, 0, KS_INIT_ZERO, 0, 0, shift));
done:
    return st;
}

static ks_status add_block(ks_model *model, int64_t l, qpt_block *p) {
    ks_status     st = KS_OK;
    const int64_t d = model->opt.d_model, h = model->opt.heads;
    const double  in = 1 / sqrt(3.0 * (double)d), residual = 1 / sqrt(2.0 * (double)model->opt.layers);
    char          name[64];
#define NAME(suffix) (snprintf(name, sizeof name, "block.%02lld." suffix, (long long)l), name)
    KS_TRY(add_norm(model, NAME("ln1"), d, &p->ln1_gain, &p->ln1_shift));
    KS_TRY(add_linear(model, NAME("attn.qkv"), d, 3 * d, in, &p->qkv_w, &p->qkv_b));
    if (model->opt.bias == KS_BIAS_LEARNED)
        KS_TRY(add(model, NAME("attn.mix"), "", h, N_BIAS, KS_INIT_NORMAL, 1 / sqrt((double)N_BIAS), 0, &p->mix));
    KS_TRY(add_linear(model, NAME("attn.proj"), d, d, in * residual, &p->proj_w, &p->proj_b));
    KS_TRY(add_norm(model, NAME("ln2"), d, &p->ln2_gain, &p->ln2_shift));
    KS_TRY(add_linear(model, NAME("mlp.fc"), d, 4 * d, in, &p->fc_w, &p->fc_b));
    KS_TRY(add_linear(model, NAME("mlp.out"), 4 * d, d, 0.5 * in * residual, &p->out_w, &p->out_b));
#undef NAME
done:
    return st;
}

/* Heads 2k and 2k+1 get matrix k of the published order: Hcore, Gram, L^-1 Hcore L^-T, P0, JK0, Vxc0, F0. */
static ks_status make_pairs(ks_model *model, qpt_state *s) {
    ks_status        st              = KS_OK;
    static const int k_order[N_BIAS] = {BIAS_HCORE, BIAS_GRAM, BIAS_LOEWDIN, BIAS_P0, BIAS_JK0, BIAS_VXC0, BIAS_F0};
    const int64_t    n               = model->opt.heads * N_BIAS;
    const size_t     elem            = ks_params_elem_bytes(model->params);
    double          *mix             = NULL;
    float           *single          = NULL;
    KS_TRY(KS_ZNEW(mix, n));
    KS_TRY(KS_ZNEW(single, n));
    for (int64_t h = 0; h < 2 * N_BIAS; h++) mix[h * N_BIAS + k_order[h / 2]] = 1;
    for (int64_t i = 0; i < n; i++) single[i] = (float)mix[i];
    KS_TRY(ks_mem_alloc(model->ctx, (size_t)n * elem, &s->pairs));
    KS_TRY(ks_mem_to_backend(model->ctx, s->pairs, model->opt.precision == KS_FP64 ? (void *)mix : (void *)single,
                             (size_t)n * elem));
    KS_TRY(ks_sync(model->ctx));
done:
    KS_FREE(mix);
    KS_FREE(single);
    return st;
}

static ks_status qpt_create(ks_model *model) {
    ks_status               st = KS_OK;
    const ks_model_options *o  = &model->opt;
    const int64_t           d  = o->d_model;
    const double            in = d > 0 ? 1 / sqrt(3.0 * (double)d) : 0;
    qpt_state              *s  = NULL;
    KS_CHECK(d >= 1 && d <= 65536, KS_ERR_CONFIG, "model.d_model=%lld, limit 1..65536", (long long)d);
    KS_CHECK(o->heads >= 1 && d % o->heads == 0, KS_ERR_CONFIG,
             "model.d_model=%lld is not a multiple of model.heads=%lld", (long long)d, (long long)o->heads);
    KS_CHECK(o->layers >= 1 && o->layers <= 99, KS_ERR_CONFIG, "model.layers=%lld, limit 1..99", (long long)o->layers);
    KS_CHECK(o->n_ao_kind >= 1, KS_ERR_ARG, "n_ao_kind=%lld, limit >= 1", (long long)o->n_ao_kind);
    KS_CHECK(ks_precision_is_known(o->precision), KS_ERR_CONFIG, "model.precision=%d is not fp32, fp64 or bf16",
             (int)o->precision);
    KS_CHECK(o->output == KS_OUTPUT_LOWDIN || o->output == KS_OUTPUT_AO, KS_ERR_CONFIG, "model.output=%d",
             (int)o->output);
    KS_CHECK(o->head == KS_HEAD_BILINEAR || o->head == KS_HEAD_QPT, KS_ERR_CONFIG, "model.head=%d", (int)o->head);
    KS_CHECK(o->bias == KS_BIAS_LEARNED || o->bias == KS_BIAS_PAIRS, KS_ERR_CONFIG, "model.bias=%d", (int)o->bias);
    KS_CHECK(o->bias != KS_BIAS_PAIRS || o->heads >= 2 * N_BIAS, KS_ERR_CONFIG,
             "model.bias=pairs gives each of the %d matrices two heads: model.heads=%lld, limit >= %d", N_BIAS,
             (long long)o->heads, 2 * N_BIAS);
    KS_TRY(KS_ZNEW(s, 1));
    model->state = s;
    KS_TRY(KS_ZNEW(s->block, o->layers));
    KS_TRY(add_linear(model, "position", KS_POS_FEATURES, d, 1 / sqrt(3.0 * KS_POS_FEATURES), &s->position_w,
                      &s->position_b));
    KS_TRY(add(model, "embedding", ".weight", o->n_ao_kind, d, KS_INIT_NORMAL, 1, 1, &s->table));
    for (int64_t l = 0; l < o->layers; l++) KS_TRY(add_block(model, l, &s->block[l]));
    KS_TRY(add_norm(model, "head.ln", d, &s->ln_gain, &s->ln_shift));
    KS_TRY(add_linear(model, "head.q", d, d, in, &s->q_w, &s->q_b));
    if (o->head == KS_HEAD_BILINEAR) KS_TRY(add_linear(model, "head.k", d, d, 0, &s->k_w, &s->k_b));
    if (o->bias == KS_BIAS_PAIRS) KS_TRY(make_pairs(model, s));
done:
    return st;
}

static void qpt_destroy(ks_model *model) {
    qpt_state *s = model->state;
    if (!s) return;
    for (int64_t k = 0; k < s->n_system; k++) {
        KS_FREE(s->system[k].host);
        ks_mem_free(model->ctx, (void **)&s->system[k].table);
        ks_mem_free(model->ctx, (void **)&s->system[k].ref);
    }
    KS_FREE(s->system);
    KS_FREE(s->block);
    KS_FREE(s->act);
    KS_FREE(s->layer);
    ks_mem_free(model->ctx, &s->pairs);
    ks_mem_free(model->ctx, &s->memory);
    KS_FREE(model->state);
}

/* ---- tables of a composition ---- */

static void fill_table(const ks_system *sys, int32_t *t) {
    for (int64_t m = 0; m < sys->n_ao; m++) *t++ = sys->ao_kind[m];
    for (int64_t m = 0; m < sys->n_ao; m++) *t++ = sys->ao_atom[m];
    for (int64_t a = 0; a < sys->n_atom; a++) *t++ = sys->Z[a];
    for (int64_t k = 0; k < sys->basis.n_shell; k++) *t++ = sys->basis.shell[k].l;
    for (int64_t k = 0; k < sys->basis.n_shell; k++) *t++ = sys->basis.shell[k].ao;
}

static ks_status make_system(ks_model *model, const ks_system *sys, const int32_t *table, int64_t n_table) {
    ks_status   st    = KS_OK;
    qpt_state  *s     = model->state;
    qpt_system *grown = NULL, fresh = {sys->n_ao, sys->n_atom, sys->basis.n_shell, n_table, NULL, NULL, NULL, -1};
    KS_TRY(KS_NEW(fresh.host, n_table));
    memcpy(fresh.host, table, (size_t)n_table * sizeof *table);
    KS_TRY(ks_mem_alloc(model->ctx, (size_t)n_table * sizeof *table, (void **)&fresh.table));
    KS_TRY(ks_mem_alloc(model->ctx, (size_t)(3 * sys->n_atom) * sizeof *fresh.ref, (void **)&fresh.ref));
    KS_TRY(ks_mem_to_backend(model->ctx, fresh.table, fresh.host, (size_t)n_table * sizeof *table));
    KS_TRY(KS_ZNEW(grown, s->n_system + 1));
    if (s->n_system) memcpy(grown, s->system, (size_t)s->n_system * sizeof *grown);
    KS_FREE(s->system);
    s->system                = grown;
    s->system[s->n_system++] = fresh;
    fresh                    = (qpt_system){0};
done:
    KS_FREE(fresh.host);
    ks_mem_free(model->ctx, (void **)&fresh.table);
    ks_mem_free(model->ctx, (void **)&fresh.ref);
    return st;
}

ks_status qpt_find_system(ks_model *model, const ks_system *sys, int64_t *index) {
    ks_status           st      = KS_OK;
    qpt_state          *s       = model->state;
    ks_arena           *scratch = ks_ctx_host_scratch(model->ctx);
    const ks_arena_mark mark    = ks_arena_get_mark(scratch);
    const int64_t       n_table = 2 * sys->n_ao + sys->n_atom + 2 * sys->basis.n_shell;
    int32_t            *table   = NULL;
    qpt_system         *found   = NULL;
    KS_TRY(KS_TAKE(scratch, table, n_table));
    fill_table(sys, table);
    *index = -1;
    for (int64_t k = 0; k < s->n_system && *index < 0; k++) {
        const qpt_system *c = &s->system[k];
        if (c->n_ao == sys->n_ao && c->n_atom == sys->n_atom && c->n_shell == sys->basis.n_shell &&
            !memcmp(c->host, table, (size_t)n_table * sizeof *table))
            *index = k;
    }
    if (*index < 0) {
        KS_TRY(make_system(model, sys, table, n_table));
        *index = s->n_system - 1;
    }
    found = &s->system[*index];
    if (model->opt.frame == KS_FRAME_KABSCH && found->version != model->version) {
        const int64_t r = ks_model_find_reference(model, sys->n_atom, sys->Z);
        KS_CHECK(r >= 0, KS_ERR_ARG, "%s has no reference geometry, which model.frame kabsch needs", sys->formula);
        KS_TRY(ks_mem_to_backend(model->ctx, found->ref, model->reference[r].pos,
                                 (size_t)(3 * sys->n_atom) * sizeof(double)));
        found->version = model->version;
    }
done:
    ks_arena_release(scratch, mark);
    return st;
}

/* ---- layout ---- */

typedef struct carve {
    char  *base; /* NULL: counting */
    size_t used;
    int    overflow;
} carve;

static void *carve_take(carve *c, int64_t rows, int64_t cols, size_t elem) {
    size_t bytes = 0, end = 0;
    void  *at = c->base ? c->base + c->used : NULL;
    if (__builtin_mul_overflow(rows, cols, &bytes) || __builtin_mul_overflow(bytes, elem, &bytes) ||
        __builtin_add_overflow(c->used, bytes, &end) || end > (size_t)INT64_MAX - 64)
        c->overflow = 1;
    else c->used = (end + 63) / 64 * 64;
    return at;
}

ks_status qpt_bind_act(const ks_model *model, int want_adj, char *base, size_t *bytes, qpt_act *a) {
    ks_status     st   = KS_OK;
    const size_t  elem = ks_params_elem_bytes(model->params);
    const int64_t d = model->opt.d_model, h = model->opt.heads, n = a->B * a->T, n_layer = model->opt.layers;
    carve         c = {base, *bytes, 0};
    a->rot          = carve_take(&c, a->B, 9, sizeof(double));
    a->pos          = carve_take(&c, a->B * a->A, 3, sizeof(double));
    a->feature      = carve_take(&c, a->B * a->A, KS_POS_FEATURES, elem);
    a->u            = carve_take(&c, a->B * a->A, d, elem);
    a->gram         = carve_take(&c, a->B * a->A, a->A, elem);
    a->top          = carve_take(&c, a->B, 1, elem);
    a->bias         = carve_take(&c, N_BIAS * n, a->T, elem);
    a->x_last       = carve_take(&c, n, d, elem);
    a->h_last       = carve_take(&c, n, d, elem);
    a->stat_last    = carve_take(&c, n, 2, elem);
    a->q            = carve_take(&c, n, d, elem);
    a->k            = model->opt.head == KS_HEAD_QPT ? a->q : carve_take(&c, n, d, elem);
    for (int64_t l = 0; l < n_layer; l++) {
        qpt_layer one = {0};
        if (l && !want_adj) { /* nothing is kept: all blocks work in the same memory */
            if (a->layer) a->layer[l] = a->layer[0];
            continue;
        }
        one.x     = want_adj ? carve_take(&c, n, d, elem) : a->x_last;
        one.h1    = carve_take(&c, n, d, elem);
        one.stat1 = carve_take(&c, n, 2, elem);
        one.qkv   = carve_take(&c, n, 3 * d, elem);
        one.prob  = carve_take(&c, n * h, a->T, elem);
        one.y     = carve_take(&c, n, d, elem);
        one.x2    = carve_take(&c, n, d, elem);
        one.h2    = carve_take(&c, n, d, elem);
        one.stat2 = carve_take(&c, n, 2, elem);
        one.fc    = carve_take(&c, n, 4 * d, elem);
        one.g     = carve_take(&c, n, 4 * d, elem);
        if (a->layer) a->layer[l] = one;
    }
    KS_CHECK(!c.overflow, KS_ERR_ARG, "activations of %lld frames overflow", (long long)a->B);
    *bytes = c.used;
done:
    return st;
}

ks_status qpt_bind_work(const ks_model *model, int want_adj, const qpt_act *a, char *base, size_t *bytes, qpt_work *w) {
    ks_status     st   = KS_OK;
    const size_t  elem = ks_params_elem_bytes(model->params);
    const int64_t d = model->opt.d_model, n = a->B * a->T;
    carve         c = {base, *bytes, 0};
    *w              = (qpt_work){0};
    w->m1           = carve_take(&c, n, a->T, sizeof(double));
    w->m2           = carve_take(&c, n, a->T, sizeof(double));
    w->f            = carve_take(&c, n, d, elem);
    if (want_adj) {
        w->x_bar    = carve_take(&c, n, d, elem);
        w->h_bar    = carve_take(&c, n, d, elem);
        w->d_bar    = carve_take(&c, n, d, elem);
        w->wide1    = carve_take(&c, n, 4 * d, elem);
        w->wide2    = carve_take(&c, n, 4 * d, elem);
        w->bias_bar = carve_take(&c, n, a->T, elem);
        w->u_bar    = carve_take(&c, a->B * a->A, d, elem);
    }
    KS_CHECK(!c.overflow, KS_ERR_ARG, "scratch of %lld frames overflows", (long long)a->B);
    *bytes = c.used;
done:
    return st;
}

static ks_status qpt_bytes(const ks_model *model, const ks_system *sys, int64_t *bytes_per_frame) {
    ks_status st    = KS_OK;
    qpt_act   act   = {.B = 1, .T = sys->n_ao, .A = sys->n_atom};
    qpt_work  work  = {0};
    size_t    bytes = 0;
    KS_TRY(qpt_bind_act(model, 1, NULL, &bytes, &act));
    KS_TRY(qpt_bind_work(model, 1, &act, NULL, &bytes, &work));
    *bytes_per_frame = (int64_t)bytes;
done:
    return st;
}

const ks_model_kind ks_model_kind_qpt = {
    .name    = "qpt",
    .create  = qpt_create,
    .destroy = qpt_destroy,
    .fwd     = qpt_fwd,
    .adj     = qpt_adj,
    .bytes   = qpt_bytes,
};
