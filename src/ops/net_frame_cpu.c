/* net_frame_cpu.c -- CPU slots of frame.h; formulas of one molecule in src/pointwise/frame_point.h. */
#include <lapacke.h>
#include <math.h>
#include <string.h>
#include "ops/net_cpu.h"
#include "pointwise/frame_point.h"

enum { ROW_BLOCK = 64, MAX_BLOCK = 5 };

ks_status ks_frame_fwd_cpu(ks_ctx *ctx, ks_frame_kind kind, int64_t n_frame, int64_t n_atom, const int32_t *Z,
                           const double *ref, const int32_t bond[3], const double *pos, const int32_t *slot,
                           double *rot, double *pos_out) {
    ks_status st = KS_OK;
    (void)ctx;
    for (int64_t b = 0; b < n_frame; b++) {
        const int found = ks_frame_at(kind, n_atom, Z, ref, bond, pos + (slot ? slot[b] : b) * n_atom * 3, rot + 9 * b,
                                      pos_out + b * n_atom * 3);
        KS_CHECK(found != KS_FRAME_FLAT, KS_ERR_DATA,
                 "frame %lld of the batch: atoms %d, %d, %d lie on a line, so model.frame bond is undefined",
                 (long long)b, bond[0], bond[1], bond[2]);
        KS_CHECK(found == KS_FRAME_FOUND, KS_ERR_NUMERIC, "frame %lld of the batch: an atom has no finite position",
                 (long long)b);
    }
done:
    return st;
}

ks_status   ks_position_fwd_cpu(ks_ctx *ctx, ks_precision precision, int64_t n_frame, int64_t n_atom, const double *pos,
                                void *feature) {
#pragma omp parallel for schedule(static) num_threads(ctx->n_thread) if (n_frame * n_atom > ROW_BLOCK)
    for (int64_t i = 0; i < n_frame * n_atom; i++) {
        double f[KS_POS_FEATURES];
        for (int x = 0; x < 3; x++) {
            const double c1 = cos(KS_POS_OMEGA * pos[3 * i + x]), s1 = sin(KS_POS_OMEGA * pos[3 * i + x]);
            double       c = 1, s = 0;
            f[x] = pos[3 * i + x];
            for (int k = 0; k < KS_POS_FREQ; k++) {
                f[3 + 3 * k + x]                 = c;
                f[3 + 3 * (KS_POS_FREQ + k) + x] = s;
                ks_angle_step(c1, s1, &c, &s);
            }
        }
        if (precision == KS_FP64) memcpy((double *)feature + i * KS_POS_FEATURES, f, sizeof f);
        else
            for (int k = 0; k < KS_POS_FEATURES; k++) ((float *)feature)[i * KS_POS_FEATURES + k] = (float)f[k];
    }
    return KS_OK;
}

/* m = D m D^T in place for one frame (D^T m D when inverse); block (3, 25) holds D of s, p, d. */
static void rotate_matrix(const ks_ao_blocks *blocks, int inverse, const double *rot, double *m) {
    const int64_t n = blocks->n_ao;
    double        D[3][25];
    for (int l = 0; l <= 2; l++)
        for (int i = 0; i < 2 * l + 1; i++)
            for (int j = 0; j < 2 * l + 1; j++)
                D[l][i * (2 * l + 1) + j] = ks_shell_rotation_at(l, rot, inverse ? j : i, inverse ? i : j);
    for (int64_t k = 0; k < blocks->n_shell; k++) { /* rows */
        const int     w = 2 * blocks->l[k] + 1;
        const double *d = D[blocks->l[k]];
        double       *r = m + blocks->ao[k] * n;
        if (w == 1) continue;
        for (int64_t c = 0; c < n; c++) {
            double x[MAX_BLOCK];
            for (int i = 0; i < w; i++) {
                x[i] = 0;
                for (int j = 0; j < w; j++) x[i] += d[i * w + j] * r[j * n + c];
            }
            for (int i = 0; i < w; i++) r[i * n + c] = x[i];
        }
    }
    for (int64_t s = 0; s < n; s++) /* columns */
        for (int64_t k = 0; k < blocks->n_shell; k++) {
            const int     w = 2 * blocks->l[k] + 1;
            const double *d = D[blocks->l[k]];
            double       *r = m + s * n + blocks->ao[k], x[MAX_BLOCK];
            if (w == 1) continue;
            for (int i = 0; i < w; i++) {
                x[i] = 0;
                for (int j = 0; j < w; j++) x[i] += d[i * w + j] * r[j];
            }
            for (int i = 0; i < w; i++) r[i] = x[i];
        }
}

static ks_status check_shells(const ks_ao_blocks *blocks) {
    ks_status st = KS_OK;
    for (int64_t k = 0; k < blocks->n_shell; k++) {
        KS_CHECK(blocks->l[k] >= 0 && blocks->l[k] <= KS_L_MAX, KS_ERR_UNSUPPORTED,
                 "rotate: shell %lld has l=%d, limit 0..%d", (long long)k, blocks->l[k], KS_L_MAX);
        KS_CHECK(blocks->ao[k] >= 0 && blocks->ao[k] + 2 * blocks->l[k] + 1 <= blocks->n_ao, KS_ERR_ARG,
                 "rotate: shell %lld starts at AO %d of %lld", (long long)k, blocks->ao[k], (long long)blocks->n_ao);
    }
done:
    return st;
}

ks_status ks_rotate_fwd_cpu(ks_ctx *ctx, int64_t n_frame, const ks_ao_blocks *blocks, int inverse, const double *rot,
                            const double *M, const int32_t *slot, double *out) {
    ks_status     st = KS_OK;
    const int64_t nn = blocks->n_ao * blocks->n_ao;
    KS_TRY(check_shells(blocks));
#pragma omp parallel for schedule(static) num_threads(ctx->n_thread) if (n_frame > 1)
    for (int64_t b = 0; b < n_frame; b++) {
        memcpy(out + b * nn, M + (slot ? slot[b] : b) * nn, (size_t)nn * sizeof *out);
        rotate_matrix(blocks, inverse, rot + 9 * b, out + b * nn);
    }
done:
    return st;
}

/* out = D M D^T is linear in M and <out_bar, D dM D^T> = <D^T out_bar D, dM>. */
ks_status ks_rotate_adj_cpu(ks_ctx *ctx, int64_t n_frame, const ks_ao_blocks *blocks, int inverse, const double *rot,
                            const double *out_bar, double *M_bar) {
    ks_status           st   = KS_OK;
    const ks_arena_mark mark = ks_arena_get_mark(ks_ctx_scratch(ctx));
    const int64_t       nn   = blocks->n_ao * blocks->n_ao;
    double             *tmp  = NULL;
    KS_TRY(check_shells(blocks));
    KS_TRY(KS_TAKE(ks_ctx_scratch(ctx), tmp, n_frame * nn));
#pragma omp parallel for schedule(static) num_threads(ctx->n_thread) if (n_frame > 1)
    for (int64_t b = 0; b < n_frame; b++) {
        memcpy(tmp + b * nn, out_bar + b * nn, (size_t)nn * sizeof *tmp);
        rotate_matrix(blocks, !inverse, rot + 9 * b, tmp + b * nn);
        for (int64_t i = b * nn; i < (b + 1) * nn; i++) M_bar[i] += tmp[i];
    }
done:
    ks_arena_release(ks_ctx_scratch(ctx), mark);
    return st;
}

ks_status ks_cholesky_transform_fwd_cpu(ks_ctx *ctx, int64_t n_frame, int64_t n, double *S, double *H) {
    ks_status st  = KS_OK;
    int64_t   bad = n_frame;
    int       ni  = 0;
    KS_TRY(ks_int(n, &ni));
#pragma omp parallel for schedule(static) num_threads(ctx->n_thread) reduction(min : bad) if (n_frame > 1)
    for (int64_t b = 0; b < n_frame; b++) {
        double *s = S + b * n * n, *h = H + b * n * n;
        /* Symmetric matrices read the same by columns: LAPACK's "L" is the lower triangle of our transposed storage. */
        if (LAPACKE_dpotrf_work(LAPACK_COL_MAJOR, 'L', ni, s, ni) ||
            LAPACKE_dsygst_work(LAPACK_COL_MAJOR, 1, 'L', ni, h, ni, s, ni)) {
            bad = b < bad ? b : bad;
            continue;
        }
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j < i; j++) h[i * n + j] = h[j * n + i];
    }
    KS_CHECK(bad == n_frame, KS_ERR_NUMERIC, "frame %lld of the batch: the overlap matrix is not positive definite",
             (long long)bad);
done:
    return st;
}

ks_status   ks_bias_fwd_cpu(ks_ctx *ctx, ks_precision precision, int64_t n_frame, int64_t n, const double *M,
                            void *bias) {
#pragma omp parallel for schedule(static) num_threads(ctx->n_thread) if (n_frame > 1)
    for (int64_t b = 0; b < n_frame; b++) {
        const double *m    = M + b * n * n;
        double        most = 0;
        for (int64_t i = 0; i < n * n; i++)
            if (fabs(m[i]) > most) most = fabs(m[i]); /* a NaN shows in its own element */
        const double scale = most == 0 ? 0 : 1 / most;
        if (precision == KS_FP64)
            for (int64_t i = 0; i < n * n; i++) ((double *)bias)[b * n * n + i] = scale * m[i];
        else
            for (int64_t i = 0; i < n * n; i++) ((float *)bias)[b * n * n + i] = (float)(scale * m[i]);
    }
    return KS_OK;
}
