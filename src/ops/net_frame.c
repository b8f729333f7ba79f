/* net_frame.c -- argument checks and dispatch of the geometry side of a network (frame.h). CPU slots: net_frame_cpu.c.
 */
#include "ksgrad/frame.h"
#include "ksgrad/linalg.h"
#include "ops/linalg_ops.h"
#include "ops/net_ops.h"

/* n_frame x n x n doubles must fit. */
static ks_status check_matrices(const char *op, int64_t n_frame, int64_t n) {
    ks_status st    = KS_OK;
    int64_t   bytes = (int64_t)sizeof(double);
    KS_CHECK(n_frame >= 0 && n >= 0, KS_ERR_ARG, "%s: n_frame=%lld, n=%lld", op, (long long)n_frame, (long long)n);
    if (n_frame && n) {
        KS_TRY(ks_mul_i64(bytes, n, &bytes));
        KS_TRY(ks_mul_i64(bytes, n, &bytes));
        KS_TRY(ks_mul_i64(bytes, n_frame, &bytes));
    }
done:
    return st;
}

ks_status ks_frame_fwd(ks_ctx *ctx, ks_frame_kind kind, int64_t n_frame, int64_t n_atom, const int32_t *Z,
                       const double *ref, const int32_t bond[3], const double *pos, const int32_t *slot, double *rot,
                       double *pos_out) {
    ks_status st = KS_OK;
    KS_SLOT(ctx, net, frame_fwd);
    KS_CHECK(kind >= KS_FRAME_NONE && kind <= KS_FRAME_INERTIA, KS_ERR_ARG, "frame: kind=%d", (int)kind);
    KS_CHECK(n_atom >= 1, KS_ERR_ARG, "frame: n_atom=%lld, limit >= 1", (long long)n_atom);
    KS_TRY(check_matrices("frame", n_frame, n_atom));
    KS_CHECK(n_frame == 0 || (Z && pos && rot && pos_out), KS_ERR_ARG, "frame: an array is NULL");
    KS_CHECK(kind != KS_FRAME_KABSCH || ref, KS_ERR_ARG, "frame: kabsch needs a reference geometry");
    if (kind == KS_FRAME_BOND) {
        KS_CHECK(bond, KS_ERR_ARG, "frame: bond needs three atoms");
        for (int k = 0; k < 3; k++)
            KS_CHECK(bond[k] >= 0 && bond[k] < n_atom, KS_ERR_ARG, "frame: bond atom %d, limit 0..%lld", bond[k],
                     (long long)n_atom - 1);
        KS_CHECK(!(bond[0] || bond[1] || bond[2]) || (bond[0] != bond[1] && bond[0] != bond[2] && bond[1] != bond[2]),
                 KS_ERR_ARG, "frame: bond atoms %d, %d, %d are not three atoms", bond[0], bond[1], bond[2]);
    }
    if (n_frame)
        KS_TRY(ctx->backend->net->frame_fwd(ctx, kind, n_frame, n_atom, Z, ref, bond, pos, slot, rot, pos_out));
done:
    return st;
}

ks_status ks_position_fwd(ks_ctx *ctx, ks_precision precision, int64_t n_frame, int64_t n_atom, const double *pos,
                          void *feature) {
    ks_status st = KS_OK;
    int64_t   n  = 0;
    KS_SLOT(ctx, net, position_fwd);
    KS_CHECK(ks_precision_is_known(precision), KS_ERR_ARG, "position: precision=%d", (int)precision);
    precision = ks_element_precision(precision);
    KS_TRY(ks_mul_i64(n_frame, n_atom, &n));
    KS_TRY(ks_mul_i64(n, KS_POS_FEATURES * (int64_t)sizeof(double), &n));
    KS_CHECK((pos && feature) || n == 0, KS_ERR_ARG, "position: an array is NULL");
    if (n) KS_TRY(ctx->backend->net->position_fwd(ctx, precision, n_frame, n_atom, pos, feature));
done:
    return st;
}

static ks_status check_blocks(const ks_ao_blocks *blocks, int64_t n_frame) {
    ks_status st = KS_OK;
    KS_CHECK(blocks && blocks->n_shell >= 0, KS_ERR_ARG, "rotate: no shells");
    KS_TRY(check_matrices("rotate", n_frame, blocks->n_ao));
    KS_CHECK(blocks->n_ao == 0 || (blocks->l && blocks->ao), KS_ERR_ARG, "rotate: shells are NULL");
done:
    return st;
}

ks_status ks_rotate_fwd(ks_ctx *ctx, int64_t n_frame, const ks_ao_blocks *blocks, int inverse, const double *rot,
                        const double *M, const int32_t *slot, double *out) {
    ks_status st = KS_OK;
    KS_SLOT(ctx, net, rotate_fwd);
    KS_TRY(check_blocks(blocks, n_frame));
    if (n_frame == 0 || blocks->n_ao == 0) goto done;
    KS_CHECK(rot && M && out, KS_ERR_ARG, "rotate: an array is NULL");
    KS_TRY(ctx->backend->net->rotate_fwd(ctx, n_frame, blocks, inverse, rot, M, slot, out));
done:
    return st;
}

ks_status ks_rotate_adj(ks_ctx *ctx, int64_t n_frame, const ks_ao_blocks *blocks, int inverse, const double *rot,
                        const double *out_bar, double *M_bar) {
    ks_status st = KS_OK;
    KS_SLOT(ctx, net, rotate_adj);
    KS_TRY(check_blocks(blocks, n_frame));
    if (n_frame == 0 || blocks->n_ao == 0 || !M_bar) goto done;
    KS_CHECK(rot && out_bar, KS_ERR_ARG, "rotate: an array is NULL");
    KS_TRY(ctx->backend->net->rotate_adj(ctx, n_frame, blocks, inverse, rot, out_bar, M_bar));
done:
    return st;
}

/* out = A M A + beta out, of the matrix products of linalg.h. */
static ks_status congruence(ks_ctx *ctx, int64_t n_frame, int64_t n, const double *A, const int32_t *slot,
                            const double *M, double beta, double *out) {
    ks_status           st    = KS_OK;
    ks_arena           *arena = ks_ctx_scratch(ctx);
    const ks_arena_mark mark  = ks_arena_get_mark(arena);
    const ks_mats       a     = ks_mats_pool(A, n, slot, 1);
    double             *AM    = NULL;
    KS_TRY(KS_TAKE(arena, AM, n_frame * n * n));
    KS_TRY(ks_gemm(ctx, n_frame, 0, 0, n, n, n, 1.0, a, ks_mats_dense(M, n, n), 0.0, AM));
    KS_TRY(ks_gemm(ctx, n_frame, 0, 0, n, n, n, 1.0, ks_mats_dense(AM, n, n), a, beta, out));
done:
    ks_arena_release(arena, mark);
    return st;
}

ks_status ks_congruence_fwd(ks_ctx *ctx, int64_t n_frame, int64_t n, const double *A, const int32_t *slot,
                            const double *M, double *out) {
    ks_status st = KS_OK;
    KS_SLOT(ctx, linalg, gemm);
    KS_TRY(check_matrices("congruence", n_frame, n));
    if (n_frame == 0 || n == 0) goto done;
    KS_CHECK(A && M && out, KS_ERR_ARG, "congruence: an array is NULL");
    KS_TRY(congruence(ctx, n_frame, n, A, slot, M, 0.0, out));
done:
    return st;
}

/* <out_bar, A dM A> = <A out_bar A, dM> for symmetric A. */
ks_status ks_congruence_adj(ks_ctx *ctx, int64_t n_frame, int64_t n, const double *A, const int32_t *slot,
                            const double *out_bar, double *M_bar) {
    ks_status st = KS_OK;
    KS_SLOT(ctx, linalg, gemm);
    KS_TRY(check_matrices("congruence", n_frame, n));
    if (n_frame == 0 || n == 0 || !M_bar) goto done;
    KS_CHECK(A && out_bar, KS_ERR_ARG, "congruence: an array is NULL");
    KS_TRY(congruence(ctx, n_frame, n, A, slot, out_bar, 1.0, M_bar));
done:
    return st;
}

ks_status ks_cholesky_transform_fwd(ks_ctx *ctx, int64_t n_frame, int64_t n, double *S, double *H) {
    ks_status st = KS_OK;
    KS_SLOT(ctx, net, cholesky_transform_fwd);
    KS_TRY(check_matrices("cholesky transform", n_frame, n));
    if (n_frame == 0 || n == 0) goto done;
    KS_CHECK(S && H, KS_ERR_ARG, "cholesky transform: an array is NULL");
    KS_TRY(ctx->backend->net->cholesky_transform_fwd(ctx, n_frame, n, S, H));
done:
    return st;
}

ks_status ks_bias_fwd(ks_ctx *ctx, ks_precision precision, int64_t n_frame, int64_t n, const double *M, void *bias) {
    ks_status st = KS_OK;
    KS_SLOT(ctx, net, bias_fwd);
    KS_CHECK(ks_precision_is_known(precision), KS_ERR_ARG, "bias: precision=%d", (int)precision);
    precision = ks_element_precision(precision);
    KS_TRY(check_matrices("bias", n_frame, n));
    if (n_frame == 0 || n == 0) goto done;
    KS_CHECK(M && bias, KS_ERR_ARG, "bias: an array is NULL");
    KS_TRY(ctx->backend->net->bias_fwd(ctx, precision, n_frame, n, M, bias));
done:
    return st;
}
