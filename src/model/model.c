/* model.c -- see model.h: choice of the kind, named sizes, reference geometries. */
#include "ksgrad/model.h"
#include <math.h>
#include <string.h>
#include "model/model_kind.h"

static const ks_model_kind *const k_kinds[] = {&ks_model_kind_qpt};

ks_status ks_model_size(const char *size, ks_model_options *opt) {
    ks_status st = KS_OK;
    static const struct {
        const char *name;
        int64_t     d_model, heads, layers;
    } k_sizes[] = {{"tiny", 192, 6, 12},
                   {"small", 384, 6, 12},
                   {"base", 768, 12, 12},
                   {"medium", 1024, 16, 24},
                   {"large", 1280, 16, 36}};
    KS_CHECK(size && opt, KS_ERR_ARG, "model size: NULL argument");
    for (size_t k = 0; k < sizeof k_sizes / sizeof *k_sizes; k++)
        if (!strcmp(size, k_sizes[k].name)) {
            opt->d_model = k_sizes[k].d_model;
            opt->heads   = k_sizes[k].heads;
            opt->layers  = k_sizes[k].layers;
            return KS_OK;
        }
    KS_CHECK(0, KS_ERR_CONFIG, "model size '%s' is none of tiny, small, base, medium, large", size);
done:
    return st;
}

ks_status ks_model_create(ks_ctx *ctx, const ks_model_options *opt, uint64_t seed, ks_model **out) {
    ks_status st    = KS_OK;
    ks_model *model = NULL;
    KS_CHECK(ctx && opt && out, KS_ERR_ARG, "model: NULL argument");
    *out = NULL;
    KS_CHECK(memchr(opt->kind, 0, sizeof opt->kind), KS_ERR_ARG, "model: the kind's name does not end");
    KS_TRY(KS_ZNEW(model, 1));
    model->ctx = ctx;
    model->opt = *opt;
    for (size_t k = 0; k < sizeof k_kinds / sizeof *k_kinds; k++)
        if (!strcmp(opt->kind, k_kinds[k]->name)) model->kind = k_kinds[k];
    KS_CHECK(model->kind, KS_ERR_CONFIG, "model kind '%s' is unknown; there is: qpt", opt->kind);
    KS_TRY(ks_params_create(ctx, opt->precision, &model->params));
    KS_TRY(model->kind->create(model));
    KS_TRY(ks_params_finish(model->params, seed));
    *out  = model;
    model = NULL;
done:
    ks_model_destroy(&model);
    return st;
}

void ks_model_destroy(ks_model **pmodel) {
    if (!pmodel || !*pmodel) return;
    ks_model *model = *pmodel;
    if (model->kind) model->kind->destroy(model);
    ks_params_destroy(&model->params);
    for (int64_t k = 0; k < model->n_reference; k++) {
        KS_FREE(model->reference[k].Z);
        KS_FREE(model->reference[k].pos);
    }
    KS_FREE(model->reference);
    KS_FREE(*pmodel);
}

ks_params              *ks_model_params(ks_model *model) { return model->params; }
const ks_model_options *ks_model_get_options(const ks_model *model) { return &model->opt; }
int64_t                 ks_model_n_reference(const ks_model *model) { return model->n_reference; }

int64_t ks_model_find_reference(const ks_model *model, int64_t n_atom, const int32_t *Z) {
    for (int64_t k = 0; k < model->n_reference; k++)
        if (model->reference[k].n_atom == n_atom && !memcmp(model->reference[k].Z, Z, (size_t)n_atom * sizeof *Z))
            return k;
    return -1;
}

ks_status ks_model_set_reference(ks_model *model, int64_t n_atom, const int32_t *Z, const double *pos_host) {
    ks_status           st    = KS_OK;
    ks_model_reference *grown = NULL, fresh = {n_atom, NULL, NULL};
    int64_t             at = -1;
    KS_CHECK(model && n_atom >= 1 && Z && pos_host, KS_ERR_ARG, "reference geometry: n_atom=%lld or a NULL argument",
             (long long)n_atom);
    for (int64_t a = 0; a < n_atom; a++)
        KS_CHECK(Z[a] >= 1, KS_ERR_ARG, "reference geometry: atom %lld has Z=%d", (long long)a, Z[a]);
    for (int64_t i = 0; i < 3 * n_atom; i++)
        KS_CHECK(isfinite(pos_host[i]), KS_ERR_ARG, "reference geometry: atom %lld has no finite position",
                 (long long)i / 3);
    at = ks_model_find_reference(model, n_atom, Z);
    if (at >= 0) {
        memcpy(model->reference[at].pos, pos_host, (size_t)(3 * n_atom) * sizeof *pos_host);
    } else {
        KS_TRY(KS_NEW(fresh.Z, n_atom));
        KS_TRY(KS_NEW(fresh.pos, 3 * n_atom));
        memcpy(fresh.Z, Z, (size_t)n_atom * sizeof *Z);
        memcpy(fresh.pos, pos_host, (size_t)(3 * n_atom) * sizeof *pos_host);
        KS_TRY(KS_ZNEW(grown, model->n_reference + 1));
        if (model->n_reference) memcpy(grown, model->reference, (size_t)model->n_reference * sizeof *grown);
        KS_FREE(model->reference);
        model->reference                       = grown;
        model->reference[model->n_reference++] = fresh;
        fresh.Z                                = NULL;
        fresh.pos                              = NULL;
    }
    model->version++;
done:
    KS_FREE(fresh.Z);
    KS_FREE(fresh.pos);
    return st;
}

ks_status ks_model_get_reference(const ks_model *model, int64_t k, int64_t *n_atom, const int32_t **Z,
                                 const double **pos_host) {
    ks_status st = KS_OK;
    KS_CHECK(model && n_atom && Z && pos_host, KS_ERR_ARG, "reference geometry: NULL argument");
    KS_CHECK(k >= 0 && k < model->n_reference, KS_ERR_ARG, "reference geometry %lld of %lld", (long long)k,
             (long long)model->n_reference);
    *n_atom   = model->reference[k].n_atom;
    *Z        = model->reference[k].Z;
    *pos_host = model->reference[k].pos;
done:
    return st;
}

static ks_status check_batch(const ks_model *model, const ks_batch *batch) {
    ks_status st = KS_OK;
    for (int64_t s = 0; s < batch->n_segment; s++) {
        const ks_segment *seg = &batch->segment[s];
        KS_CHECK(seg->tensors && seg->tensors->sys && seg->n_frame >= 0 && (seg->slot || seg->n_frame == 0), KS_ERR_ARG,
                 "segment %lld is incomplete", (long long)s);
        KS_CHECK(seg->tensors->method.n_spin <= 1, KS_ERR_UNSUPPORTED,
                 "segment %lld: n_spin=%d; networks of open shells are not there yet", (long long)s,
                 seg->tensors->method.n_spin);
        for (int64_t b = 0; ks_ctx_is_host(model->ctx) && b < seg->n_frame; b++)
            KS_CHECK(seg->slot[b] >= 0 && seg->slot[b] < seg->tensors->capacity, KS_ERR_ARG,
                     "segment %lld, frame %lld: slot %d, limit 0..%lld", (long long)s, (long long)b, seg->slot[b],
                     (long long)seg->tensors->capacity - 1);
        for (int64_t m = 0; m < seg->tensors->sys->n_ao; m++)
            KS_CHECK(seg->tensors->sys->ao_kind[m] >= 0 && seg->tensors->sys->ao_kind[m] < model->opt.n_ao_kind,
                     KS_ERR_DATA,
                     "%s: AO kind %d is outside the model's vocabulary of %lld: another basis set or element than in "
                     "training",
                     seg->tensors->sys->formula, seg->tensors->sys->ao_kind[m], (long long)model->opt.n_ao_kind);
    }
done:
    return st;
}

ks_status ks_model_fwd(ks_ctx *ctx, ks_model *model, const ks_batch *batch, int want_adj, double *W) {
    ks_status st = KS_OK;
    KS_CHECK(ctx && model && batch && W && model->ctx == ctx, KS_ERR_ARG, "model: NULL argument or another context");
    KS_TRY(check_batch(model, batch));
    KS_TRY(model->kind->fwd(model, batch, want_adj, W));
done:
    return st;
}

ks_status ks_model_adj(ks_ctx *ctx, ks_model *model, const ks_batch *batch, const double *W_bar) {
    ks_status st = KS_OK;
    KS_CHECK(ctx && model && batch && W_bar && model->ctx == ctx, KS_ERR_ARG,
             "model: NULL argument or another context");
    KS_TRY(model->kind->adj(model, batch, W_bar));
done:
    return st;
}

ks_status ks_model_bytes(const ks_model *model, const ks_system *sys, int64_t *bytes_per_frame) {
    ks_status st = KS_OK;
    KS_CHECK(model && sys && bytes_per_frame, KS_ERR_ARG, "model bytes: NULL argument");
    KS_TRY(model->kind->bytes(model, sys, bytes_per_frame));
done:
    return st;
}
