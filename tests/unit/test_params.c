/* test_params.c -- the registry: order, alignment, initialisers, refusals, allocation faults; the schedule. */
#include <string.h>
#include "ks_test.h"

/* Every byte of the weights counts, and nothing else does. */
static void test_hash(ks_ctx *ctx, ks_params *params) {
    unsigned char *p    = ks_params_flat(params, 'p');
    const size_t   last = (size_t)ks_params_total(params) * ks_params_elem_bytes(params) - 1;
    const size_t   at[] = {0, 1, 7, 8, 4095, last / 2, last};
    uint64_t       h0 = 0, h = 0;
    T_OK(ks_params_hash(ctx, params, &h0));
    for (size_t k = 0; k < sizeof at / sizeof *at; k++) {
        p[at[k]] ^= 1;
        T_OK(ks_params_hash(ctx, params, &h));
        T_CHECK(h != h0, "byte %zu does not count", at[k]);
        p[at[k]] ^= 1;
    }
    p[last + 1] ^= 1; /* slack */
    *(char *)ks_params_flat(params, 'g') ^= 1;
    T_OK(ks_params_hash(ctx, params, &h));
    T_CHECK(h == h0, "more than the weights counts");
    p[last + 1] ^= 1;
    T_ERR(ks_params_hash(ctx, params, NULL), KS_ERR_ARG);
}

/* A share of the moments: zero, and refused by what needs all of them. */
static void test_share(ks_ctx *ctx, ks_params *params) {
    const ks_optim_options o = {.lr = 1e-3, .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-12, .steps = 10};
    double                 state[KS_STEP_N], sum = 0;
    int64_t                beyond = 0;
    T_CHECK(ks_params_n_moment(params) == ks_params_total(params), "whole at first");
    T_OK(ks_params_shard(params, 96));
    T_CHECK(ks_params_n_moment(params) == 96, "%lld moments", (long long)ks_params_n_moment(params));
    for (size_t i = 0; i < 96 * ks_params_elem_bytes(params); i++)
        beyond += ((char *)ks_params_flat(params, 'm'))[i] != 0 || ((char *)ks_params_flat(params, 'v'))[i] != 0;
    T_CHECK(beyond == 0, "moments of a share begin as zero");
    T_OK(ks_optim_upload(ctx, &o, 1, state));
    T_ERR(ks_adamw_step(ctx, params, &o, 1, NULL, &sum, state), KS_ERR_ARG);
    T_ERR(ks_adamw_range(ctx, params, &o, state, 0, ks_params_total(params) + 1, &sum, &sum), KS_ERR_ARG);
    T_ERR(ks_params_shard(params, -1), KS_ERR_ARG);
    T_OK(ks_params_shard(params, 0));
    T_CHECK(!ks_params_flat(params, 'm') && ks_params_n_moment(params) == 0, "an empty share");
}

static void test_registry(ks_ctx *ctx, ks_precision precision) {
    ks_params    *params = NULL, *again = NULL;
    const int64_t shape[2] = {7, 5}, vec[1] = {33}, big[1] = {20000}, negative[1] = {-1},
                  huge[2] = {1LL << 40, 1LL << 40};
    int64_t w = -1, one = -1, nrm = -1, bad = -1;
    double  sum = 0, sum2 = 0;
    T_OK(ks_params_create(ctx, precision, &params));
    T_OK(ks_params_add(params, "a.weight", 2, shape, KS_INIT_NORMAL, 0.5, 1, &w));
    T_OK(ks_params_add(params, "a.gain", 1, vec, KS_INIT_ONE, 0, 0, &one));
    T_OK(ks_params_add(params, "b", 1, big, KS_INIT_NORMAL, 2.0, 1, &nrm));
    T_ERR(ks_params_add(params, "b", 1, vec, KS_INIT_ZERO, 0, 0, &bad), KS_ERR_ARG);
    T_ERR(ks_params_add(params, "", 1, vec, KS_INIT_ZERO, 0, 0, &bad), KS_ERR_ARG);
    T_ERR(ks_params_add(params, "c", 0, vec, KS_INIT_ZERO, 0, 0, &bad), KS_ERR_ARG);
    T_ERR(ks_params_add(params, "c", 1, negative, KS_INIT_ZERO, 0, 0, &bad), KS_ERR_ARG);
    T_ERR(ks_params_add(params, "c", 2, huge, KS_INIT_ZERO, 0, 0, &bad), KS_ERR_ARG);
    T_OK(ks_params_finish(params, 42));
    T_ERR(ks_params_add(params, "late", 1, vec, KS_INIT_ZERO, 0, 0, &bad), KS_ERR_ARG);
    T_ERR(ks_params_finish(params, 42), KS_ERR_ARG);
    T_CHECK(ks_params_count(params) == 3 && ks_params_n_scalar(params) == 35 + 33 + 20000, "count");
    for (int64_t k = 0; k < 3; k++) {
        const ks_param *p = ks_params_get(params, k);
        T_CHECK((size_t)p->offset * ks_params_elem_bytes(params) % 64 == 0, "%s starts at %lld", p->name,
                (long long)p->offset);
        T_CHECK(((uintptr_t)ks_params_data(params, k) | (uintptr_t)ks_params_grad(params, k)) % 64 == 0,
                "%s not aligned", p->name);
    }
    T_CHECK(ks_params_get(params, w)->decay == 1 && ks_params_get(params, one)->decay == 0, "decay flags");
    T_CHECK(ks_params_get(params, 3) == NULL && ks_params_data(params, -1) == NULL &&
                ks_params_flat(params, 'x') == NULL,
            "range");
    for (int64_t i = 0; i < 20000; i++) {
        const double x = precision == KS_FP64 ? ((double *)ks_params_data(params, nrm))[i]
                                              : (double)((float *)ks_params_data(params, nrm))[i];
        sum += x;
        sum2 += x * x;
    }
    T_CLOSE(sum / 20000, 0.0, 4 * 2.0 / 141.4, 0);  /* 4 standard errors of the mean */
    T_CLOSE(sum2 / 20000, 4.0, 4 * 4.0 / 100.0, 0); /* 4 standard errors of the variance */
    /* Same seed, same values, whatever the number of threads; first element from the documented counter. */
    const double first = 0.5 * ks_rng_normal(42, KS_STREAM_INIT, 0, 0);
    if (precision == KS_FP64) T_CHECK(*(double *)ks_params_data(params, w) == first, "first value");
    else T_CHECK(*(float *)ks_params_data(params, w) == (float)first, "first value");
    memset(ks_params_flat(params, 'g'), 0x11, (size_t)ks_params_total(params) * ks_params_elem_bytes(params));
    T_OK(ks_params_zero_grad(params));
    double norm = -1;
    T_OK(ks_grad_norm(ctx, params, &norm));
    T_CHECK(norm == 0.0, "norm %g of a zero gradient", norm);
    int64_t           beyond = 0;
    const size_t      elem = ks_params_elem_bytes(params), total = (size_t)ks_params_total(params);
    const char *const slack[2] = {(char *)ks_params_flat(params, 'p') + total * elem,
                                  (char *)ks_params_flat(params, 'g') + total * elem};
    for (size_t i = 0; i < KS_PARAMS_SLACK * elem; i++) beyond += slack[0][i] != 0 || slack[1][i] != 0;
    T_CHECK(beyond == 0, "%lld bytes of the slack are not zero", (long long)beyond);
    test_hash(ctx, params);
    test_share(ctx, params);
    ks_params_destroy(&params);
    for (int n = 1; n < 40; n++) { /* allocation n fails: an error, no leak, no crash */
        ks_status st;
        int64_t   k;
        ks_alloc_fail_after(n);
        st = ks_params_create(ctx, precision, &again);
        if (st == KS_OK) st = ks_params_add(again, "w", 2, shape, KS_INIT_NORMAL, 1, 1, &k);
        if (st == KS_OK) st = ks_params_finish(again, 1);
        ks_params_destroy(&again);
        if (st == KS_OK) break;
        T_CHECK(st == KS_ERR_NOMEM && n < 30, "n=%d: %s", n, ks_status_text(st));
    }
    ks_alloc_fail_after(0);
}

static void test_schedule(void) {
    const ks_optim_options o    = {.lr = 1e-3, .lr_min = 1e-5, .warmup = 10, .steps = 110};
    const ks_optim_options flat = {.lr = 1e-3, .lr_min = 1e-3, .warmup = 0, .steps = 10};
    T_CLOSE(ks_optim_lr(&o, 1), 1e-4, 1e-18, 0);
    T_CLOSE(ks_optim_lr(&o, 10), 1e-3, 1e-18, 0);
    T_CLOSE(ks_optim_lr(&o, 60), 0.5 * (1e-3 + 1e-5), 1e-17, 0); /* half of the cosine */
    T_CLOSE(ks_optim_lr(&o, 110), 1e-5, 0, 0);
    T_CLOSE(ks_optim_lr(&o, 5000), 1e-5, 0, 0);
    T_CLOSE(ks_optim_lr(&flat, 1), 1e-3, 1e-18, 0);
}

int main(void) {
    ks_ctx              *ctx = NULL;
    const ks_ctx_options two = {.backend = "cpu", .threads = 2};
    T_OK(ks_ctx_create(&two, &ctx));
    test_registry(ctx, KS_FP32);
    test_registry(ctx, KS_FP64);
    test_schedule();
    ks_ctx_destroy(&ctx);
    return t_done("params", 110);
}
