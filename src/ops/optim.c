/* optim.c -- argument checks, dispatch and CPU slots of the optim family. Kernels: optim_lanes.c. */
#include "ops/optim_ops.h"
#include <string.h>
#include "ops/optim_lanes.h"
#include "pointwise/frame_scalar.h"

ks_status ks_sum_squares(ks_ctx *ctx, ks_precision precision, int64_t n, const void *x, double *sum) {
    ks_status st = KS_OK;
    KS_SLOT(ctx, optim, sum_squares);
    KS_CHECK(n >= 0 && sum && (x || n == 0), KS_ERR_ARG, "sum of squares: n=%lld or a NULL pointer", (long long)n);
    KS_CHECK(ks_precision_is_known(precision), KS_ERR_ARG, "sum of squares: precision=%d", (int)precision);
    KS_TRY(ctx->backend->optim->sum_squares(ctx, precision, n, x, sum));
done:
    return st;
}

ks_status ks_clip(ks_ctx *ctx, double clip, double n_frame, const double *sum_squares, const double *n_counted,
                  double *state) {
    ks_status st = KS_OK;
    KS_SLOT(ctx, optim, clip);
    KS_CHECK(clip >= 0 && n_frame > 0 && sum_squares && state, KS_ERR_ARG,
             "clip: clip=%g, n_frame=%g or a NULL pointer", clip, n_frame);
    KS_TRY(ctx->backend->optim->clip(ctx, clip, n_frame, sum_squares, n_counted, state));
done:
    return st;
}

ks_status ks_adamw_update(ks_ctx *ctx, ks_precision precision, int64_t n, const ks_adamw_scalars *c,
                          const double *state, const void *g, void *p, void *m, void *v) {
    ks_status st = KS_OK;
    KS_SLOT(ctx, optim, adamw_update);
    KS_CHECK(n >= 0 && c && state && ((g && p && m && v) || n == 0), KS_ERR_ARG, "adamw: n=%lld or a NULL pointer",
             (long long)n);
    KS_CHECK(ks_precision_is_known(precision), KS_ERR_ARG, "adamw: precision=%d", (int)precision);
    KS_CHECK(c->beta1 >= 0 && c->beta1 < 1 && c->beta2 >= 0 && c->beta2 < 1 && c->eps >= 1e-30, KS_ERR_ARG,
             "adamw: beta1=%g, beta2=%g (limit [0, 1)), eps=%g (limit >= 1e-30)", c->beta1, c->beta2, c->eps);
    if (n) KS_TRY(ctx->backend->optim->adamw_update(ctx, precision, n, c, state, g, p, m, v));
done:
    return st;
}

ks_status ks_pack_bf16(ks_ctx *ctx, ks_precision precision, int64_t n, const void *x, uint16_t *y) {
    ks_status st = KS_OK;
    KS_SLOT(ctx, optim, pack_bf16);
    KS_CHECK(n >= 0 && ((x && y) || n == 0), KS_ERR_ARG, "pack: n=%lld or a NULL pointer", (long long)n);
    KS_CHECK(ks_precision_is_known(precision), KS_ERR_ARG, "pack: precision=%d", (int)precision);
    if (n) KS_TRY(ctx->backend->optim->pack_bf16(ctx, precision, n, x, y));
done:
    return st;
}

ks_status ks_unpack_bf16(ks_ctx *ctx, ks_precision precision, int64_t n, const uint16_t *y, void *x) {
    ks_status st = KS_OK;
    KS_SLOT(ctx, optim, unpack_bf16);
    KS_CHECK(n >= 0 && ((x && y) || n == 0), KS_ERR_ARG, "unpack: n=%lld or a NULL pointer", (long long)n);
    KS_CHECK(ks_precision_is_known(precision), KS_ERR_ARG, "unpack: precision=%d", (int)precision);
    if (n) KS_TRY(ctx->backend->optim->unpack_bf16(ctx, precision, n, y, x));
done:
    return st;
}

/* ---- CPU ---- */

static const ks_optim_lanes *lanes(void) {
#if defined(__x86_64__)
    const char *isa = ks_cpu_isa();
    if (!strcmp(isa, "avx512")) return &ks_optim_lanes_avx512;
    if (!strcmp(isa, "avx2")) return &ks_optim_lanes_avx2;
#endif
    return &ks_optim_lanes_base;
}

static ks_status sum_squares_cpu(ks_ctx *ctx, ks_precision precision, int64_t n, const void *x, double *sum) {
    ks_status             st      = KS_OK;
    const ks_optim_lanes *k       = lanes();
    ks_arena             *arena   = ks_ctx_scratch(ctx);
    const ks_arena_mark   mark    = ks_arena_get_mark(arena);
    const int64_t         n_block = (n + KS_SUM_BLOCK - 1) / KS_SUM_BLOCK;
    double               *part    = NULL;
    KS_TRY(KS_TAKE(arena, part, n_block));
#pragma omp parallel for schedule(static) num_threads(ctx->n_thread) if (n_block > 1)
    for (int64_t b = 0; b < n_block; b++) {
        const int64_t i = b * KS_SUM_BLOCK, len = n - i < KS_SUM_BLOCK ? n - i : KS_SUM_BLOCK;
        part[b] = precision == KS_FP64 ? k->sum_squares_f64(len, (const double *)x + i)
                                       : k->sum_squares_f32(len, (const float *)x + i);
    }
    *sum = 0;
    for (int64_t b = 0; b < n_block; b++) *sum += part[b];
done:
    ks_arena_release(arena, mark);
    return st;
}

static ks_status clip_cpu(ks_ctx *ctx, double clip, double n_frame, const double *sum_squares, const double *n_counted,
                          double *state) {
    (void)ctx;
    ks_clip_point(clip, n_frame, *sum_squares, n_counted ? *n_counted : n_frame, &state[KS_STEP_NORM],
                  &state[KS_STEP_SCALE], &state[KS_STEP_OK]);
    return KS_OK;
}

static ks_status adamw_update_cpu(ks_ctx *ctx, ks_precision precision, int64_t n, const ks_adamw_scalars *c,
                                  const double *state, const void *g, void *p, void *m, void *v) {
    const ks_optim_lanes *k       = lanes();
    const int64_t         n_block = (n + KS_SUM_BLOCK - 1) / KS_SUM_BLOCK;
    if (state[KS_STEP_OK] == 0.0) return KS_OK;
#pragma omp parallel for schedule(static) num_threads(ctx->n_thread) if (n_block > 1)
    for (int64_t b = 0; b < n_block; b++) {
        const int64_t i = b * KS_SUM_BLOCK, len = n - i < KS_SUM_BLOCK ? n - i : KS_SUM_BLOCK;
        if (precision == KS_FP64)
            k->adamw_f64(len, c, state, (const double *)g + i, (double *)p + i, (double *)m + i, (double *)v + i);
        else k->adamw_f32(len, c, state, (const float *)g + i, (float *)p + i, (float *)m + i, (float *)v + i);
    }
    return KS_OK;
}

static ks_status pack_bf16_cpu(ks_ctx *ctx, ks_precision precision, int64_t n, const void *x, uint16_t *y) {
    const ks_optim_lanes *k       = lanes();
    const int64_t         n_block = (n + KS_SUM_BLOCK - 1) / KS_SUM_BLOCK;
#pragma omp parallel for schedule(static) num_threads(ctx->n_thread) if (n_block > 1)
    for (int64_t b = 0; b < n_block; b++) {
        const int64_t i = b * KS_SUM_BLOCK, len = n - i < KS_SUM_BLOCK ? n - i : KS_SUM_BLOCK;
        if (precision == KS_FP64) k->pack_f64(len, (const double *)x + i, y + i);
        else k->pack_f32(len, (const float *)x + i, y + i);
    }
    return KS_OK;
}

static ks_status unpack_bf16_cpu(ks_ctx *ctx, ks_precision precision, int64_t n, const uint16_t *y, void *x) {
    const ks_optim_lanes *k       = lanes();
    const int64_t         n_block = (n + KS_SUM_BLOCK - 1) / KS_SUM_BLOCK;
#pragma omp parallel for schedule(static) num_threads(ctx->n_thread) if (n_block > 1)
    for (int64_t b = 0; b < n_block; b++) {
        const int64_t i = b * KS_SUM_BLOCK, len = n - i < KS_SUM_BLOCK ? n - i : KS_SUM_BLOCK;
        if (precision == KS_FP64) k->unpack_f64(len, y + i, (double *)x + i);
        else k->unpack_f32(len, y + i, (float *)x + i);
    }
    return KS_OK;
}

const ks_ops_optim ks_ops_optim_cpu = {
    .sum_squares  = sum_squares_cpu,
    .clip         = clip_cpu,
    .adamw_update = adamw_update_cpu,
    .pack_bf16    = pack_bf16_cpu,
    .unpack_bf16  = unpack_bf16_cpu,
};
