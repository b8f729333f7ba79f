/* params.c -- see params.h. */
#include "ksgrad/params.h"
#include <stdio.h>
#include <string.h>
#include "ksgrad/rng.h"

enum { ALIGN_BYTES = 64 };

struct ks_params {
    ks_ctx            *ctx; /* borrowed */
    ks_precision       precision;
    int64_t            count, capacity;
    ks_param          *param; /* (count) */
    int64_t            total, n_scalar;
    int                finished;
    int64_t            n_flat[4]; /* elements */
    void              *flat[4];   /* data, grad, m, v */
    ks_params_listener listener;
    void              *listener_user;
};

static const char k_flat_names[] = "pgmv";

ks_status ks_params_create(ks_ctx *ctx, ks_precision precision, ks_params **out) {
    ks_status st = KS_OK;
    KS_CHECK(ctx && out, KS_ERR_ARG, "params: NULL argument");
    KS_CHECK(ks_precision_is_known(precision), KS_ERR_ARG, "params: precision=%d", (int)precision);
    KS_TRY(KS_ZNEW(*out, 1));
    (*out)->ctx       = ctx;
    (*out)->precision = precision;
done:
    return st;
}

void ks_params_destroy(ks_params **params) {
    if (!params || !*params) return;
    for (int k = 0; k < 4; k++) ks_mem_free((*params)->ctx, &(*params)->flat[k]);
    KS_FREE((*params)->param);
    KS_FREE(*params);
}

size_t ks_params_elem_bytes(const ks_params *params) {
    return params->precision == KS_FP64 ? sizeof(double) : sizeof(float);
}

static ks_status reserve_one(ks_params *params) {
    ks_status     st    = KS_OK;
    ks_param     *grown = NULL;
    const int64_t cap   = params->capacity ? 2 * params->capacity : 32;
    if (params->count < params->capacity) return KS_OK;
    KS_TRY(KS_ZNEW(grown, cap));
    if (params->count) memcpy(grown, params->param, (size_t)params->count * sizeof *grown);
    KS_FREE(params->param);
    params->param    = grown;
    params->capacity = cap;
done:
    return st;
}

ks_status ks_params_add(ks_params *params, const char *name, int rank, const int64_t *shape, ks_init init,
                        double init_std, int decay, int64_t *index) {
    ks_status st   = KS_OK;
    ks_param *p    = NULL;
    int64_t   size = 1, padded = 0;
    KS_CHECK(params && name && shape && index, KS_ERR_ARG, "parameter: NULL argument");
    KS_CHECK(!params->finished, KS_ERR_ARG, "parameter %s added after the registry was finished", name);
    KS_CHECK(rank >= 1 && rank <= 4, KS_ERR_ARG, "parameter %s: rank=%d, limit 1..4", name, rank);
    KS_CHECK(strlen(name) > 0 && strlen(name) < sizeof p->name, KS_ERR_ARG,
             "parameter name '%s': length %zu, limit 1..%zu", name, strlen(name), sizeof p->name - 1);
    KS_CHECK(init == KS_INIT_ZERO || init == KS_INIT_ONE || (init == KS_INIT_NORMAL && init_std >= 0), KS_ERR_ARG,
             "parameter %s: initialiser %d, std %g", name, (int)init, init_std);
    for (int64_t k = 0; k < params->count; k++)
        KS_CHECK(strcmp(params->param[k].name, name), KS_ERR_ARG, "parameter %s registered twice", name);
    for (int k = 0; k < rank; k++) KS_TRY(ks_mul_i64(size, shape[k], &size));
    KS_TRY(reserve_one(params));
    p = &params->param[params->count];
    memcpy(p->name, name, strlen(name) + 1);
    p->rank = rank;
    for (int k = 0; k < 4; k++) p->shape[k] = k < rank ? shape[k] : 1;
    p->offset   = params->total;
    p->size     = size;
    p->init     = init;
    p->init_std = init_std;
    p->decay    = decay != 0;
    padded      = ALIGN_BYTES / (int64_t)ks_params_elem_bytes(params);
    KS_CHECK(size <= INT64_MAX / 16 - params->total, KS_ERR_ARG, "parameter %s: %lld elements overflow the total", name,
             (long long)size);
    params->total += (size + padded - 1) / padded * padded;
    params->n_scalar += size;
    *index = params->count++;
done:
    return st;
}

/* One parameter's initial values, in the precision of the registry. */
static void init_values(const ks_param *p, ks_precision precision, uint64_t seed, uint32_t index, int n_thread,
                        void *out) {
    float  *f = out;
    double *d = out;
#pragma omp parallel for schedule(static) num_threads(n_thread) if (p->size > 4096)
    for (int64_t i = 0; i < p->size; i++) {
        double x = p->init == KS_INIT_ONE ? 1.0 : 0.0;
        if (p->init == KS_INIT_NORMAL) x = p->init_std * ks_rng_normal(seed, KS_STREAM_INIT, index, (uint64_t)i);
        if (precision == KS_FP64) d[i] = x;
        else f[i] = (float)x;
    }
}

static ks_status alloc_flat(ks_params *params, int flat, int64_t n) {
    ks_status    st    = KS_OK;
    const size_t bytes = (size_t)n * ks_params_elem_bytes(params);
    ks_mem_free(params->ctx, &params->flat[flat]);
    params->n_flat[flat] = 0;
    KS_TRY(ks_mem_alloc(params->ctx, bytes, &params->flat[flat]));
    KS_TRY(ks_mem_zero(params->ctx, params->flat[flat], bytes));
    params->n_flat[flat] = n;
done:
    return st;
}

ks_status ks_params_finish(ks_params *params, uint64_t seed) {
    ks_status    st   = KS_OK;
    void        *host = NULL;
    const size_t elem = params ? ks_params_elem_bytes(params) : 0;
    int64_t      most = 0;
    KS_CHECK(params && !params->finished, KS_ERR_ARG, "registry is NULL or finished already");
    for (int k = 0; k < 4; k++) KS_TRY(alloc_flat(params, k, params->total + (k < 2 ? KS_PARAMS_SLACK : 0)));
    for (int64_t k = 0; k < params->count; k++)
        if (params->param[k].size > most) most = params->param[k].size;
    KS_TRY(ks_host_alloc(most, elem, &host));
    for (int64_t k = 0; k < params->count; k++) {
        const ks_param *p = &params->param[k];
        init_values(p, params->precision, seed, (uint32_t)k, ks_ctx_threads(params->ctx), host);
        KS_TRY(ks_mem_to_backend(params->ctx, (char *)params->flat[0] + (size_t)p->offset * elem, host,
                                 (size_t)p->size * elem));
        KS_TRY(ks_sync(params->ctx)); /* host is reused */
    }
    params->finished = 1;
done:
    if (st != KS_OK && params && !params->finished)
        for (int k = 0; k < 4; k++) ks_mem_free(params->ctx, &params->flat[k]);
    ks_host_free(&host);
    return st;
}

int64_t         ks_params_count(const ks_params *params) { return params->count; }
int64_t         ks_params_total(const ks_params *params) { return params->total; }
int64_t         ks_params_n_scalar(const ks_params *params) { return params->n_scalar; }
ks_precision    ks_params_precision(const ks_params *params) { return params->precision; }
const ks_param *ks_params_get(const ks_params *params, int64_t index) {
    return index >= 0 && index < params->count ? &params->param[index] : NULL;
}

static void *element(const ks_params *params, int flat, int64_t index) {
    if (index < 0 || index >= params->count || !params->flat[flat]) return NULL;
    return (char *)params->flat[flat] + (size_t)params->param[index].offset * ks_params_elem_bytes(params);
}
void *ks_params_data(ks_params *params, int64_t index) { return element(params, 0, index); }
void *ks_params_grad(ks_params *params, int64_t index) { return element(params, 1, index); }

void *ks_params_flat(ks_params *params, char which) {
    const char *at = which ? strchr(k_flat_names, which) : NULL;
    return at ? params->flat[at - k_flat_names] : NULL;
}

ks_status ks_params_zero_grad(ks_params *params) {
    return ks_mem_zero(params->ctx, params->flat[1], (size_t)params->n_flat[1] * ks_params_elem_bytes(params));
}

int64_t ks_params_n_moment(const ks_params *params) { return params->n_flat[2]; }

ks_status ks_params_shard(ks_params *params, int64_t n) {
    ks_status st = KS_OK;
    KS_CHECK(params && params->finished && n >= 0, KS_ERR_ARG,
             "a share of %lld moments, or of a registry that is NULL or not finished", (long long)n);
    for (int k = 2; k < 4; k++) ks_mem_free(params->ctx, &params->flat[k]); /* both before the new ones */
    for (int k = 2; k < 4; k++) KS_TRY(alloc_flat(params, k, n));
done:
    return st;
}

/* Words of 8 bytes; FNV-1a's prime with the high half folded in, like the files of a checkpoint. */
ks_status ks_params_hash(ks_ctx *ctx, ks_params *params, uint64_t *hash) {
    enum { BLOCK = 1 << 17 }; /* words */
    ks_status st   = KS_OK;
    uint64_t *word = NULL, h = 0xcbf29ce484222325ULL;
    size_t    bytes = 0, n = 0;
    KS_CHECK(ctx && params && params->finished && hash, KS_ERR_ARG, "hash of the weights: NULL argument or no weights");
    bytes = (size_t)params->total * ks_params_elem_bytes(params); /* whole lines of 64 bytes */
    KS_TRY(KS_NEW(word, BLOCK));
    for (size_t at = 0; at < bytes; at += n) {
        n = bytes - at < BLOCK * sizeof *word ? bytes - at : BLOCK * sizeof *word;
        KS_TRY(ks_mem_to_host(ctx, word, (const char *)params->flat[0] + at, n));
        for (size_t i = 0; i < n / sizeof *word; i++) {
            h = (h ^ word[i]) * 0x100000001b3ULL;
            h ^= h >> 32;
        }
    }
    *hash = h;
done:
    KS_FREE(word);
    return st;
}

void ks_params_listen(ks_params *params, ks_params_listener listener, void *user) {
    params->listener      = listener;
    params->listener_user = user;
}

ks_status ks_params_ready(ks_params *params, int64_t index) {
    const ks_param *p = ks_params_get(params, index);
    return p && params->listener ? params->listener(params->listener_user, p->offset) : KS_OK;
}
