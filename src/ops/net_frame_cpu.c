/* net_frame_cpu.c -- CPU slots of frame.h; formulas of one molecule in src/pointwise/frame_point.h. */
#include <cblas.h>
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
        const double *p = pos + (slot ? slot[b] : b) * n_atom * 3;
        double       *r = rot + 9 * b, *out = pos_out + b * n_atom * 3, centre[3];
        int           flat = 0;
        ks_charge_centre(n_atom, Z, p, centre);
        switch (kind) {
        case KS_FRAME_NONE:
            ks_identity3(r);
            break;
        case KS_FRAME_KABSCH:
            ks_frame_kabsch(n_atom, Z, p, centre, ref, r);
            break;
        case KS_FRAME_INERTIA:
            ks_frame_inertia(n_atom, Z, p, centre, r);
            break;
        case KS_FRAME_BOND:
            flat = ks_frame_bond(n_atom, p, bond, r);
            memcpy(centre, p + 3 * bond[0], sizeof centre);
            break;
        }
        KS_CHECK(!flat, KS_ERR_DATA,
                 "frame %lld of the batch: atoms %d, %d, %d lie on a line, so model.frame bond is undefined",
                 (long long)b, bond[0], bond[1], bond[2]);
        for (int64_t a = 0; a < n_atom; a++) {
            const double d[3] = {p[3 * a] - centre[0], p[3 * a + 1] - centre[1], p[3 * a + 2] - centre[2]};
            for (int x = 0; x < 3; x++) {
                out[3 * a + x] = ks_dot3(r + 3 * x, d);
                KS_CHECK(isfinite(out[3 * a + x]), KS_ERR_NUMERIC,
                         "frame %lld of the batch: atom %lld has no finite position", (long long)b, (long long)a);
            }
        }
    }
done:
    return st;
}

/* cos and sin of f theta by the addition theorem: one sincos per coordinate, 19 steps of 1 ulp each. */
ks_status ks_position_fwd_cpu(ks_ctx *ctx, ks_precision precision, int64_t n_frame, int64_t n_atom, const double *pos,
                              void *feature) {
    const double omega = 2 * 3.14159265358979323846 / 20;
#pragma omp parallel for schedule(static) num_threads(ctx->n_thread) if (n_frame * n_atom > ROW_BLOCK)
    for (int64_t i = 0; i < n_frame * n_atom; i++) {
        double f[KS_POS_FEATURES];
        for (int x = 0; x < 3; x++) {
            const double c1 = cos(omega * pos[3 * i + x]), s1 = sin(omega * pos[3 * i + x]);
            double       c = 1, s = 0;
            f[x] = pos[3 * i + x];
            for (int k = 0; k < KS_POS_FREQ; k++) {
                const double next                = c * c1 - s * s1;
                f[3 + 3 * k + x]                 = c;
                f[3 + 3 * (KS_POS_FREQ + k) + x] = s;
                s                                = s * c1 + c * s1;
                c                                = next;
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
    for (int l = 0; l <= 2; l++) {
        double block[25];
        ks_shell_rotation(l, rot, block);
        for (int i = 0; i < 2 * l + 1; i++)
            for (int j = 0; j < 2 * l + 1; j++)
                D[l][i * (2 * l + 1) + j] = inverse ? block[j * (2 * l + 1) + i] : block[i * (2 * l + 1) + j];
    }
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
    const ks_arena_mark mark = ks_arena_get_mark(ctx->scratch);
    const int64_t       nn   = blocks->n_ao * blocks->n_ao;
    double             *tmp  = NULL;
    KS_TRY(check_shells(blocks));
    KS_TRY(KS_TAKE(ctx->scratch, tmp, n_frame * nn));
#pragma omp parallel for schedule(static) num_threads(ctx->n_thread) if (n_frame > 1)
    for (int64_t b = 0; b < n_frame; b++) {
        memcpy(tmp + b * nn, out_bar + b * nn, (size_t)nn * sizeof *tmp);
        rotate_matrix(blocks, !inverse, rot + 9 * b, tmp + b * nn);
        for (int64_t i = b * nn; i < (b + 1) * nn; i++) M_bar[i] += tmp[i];
    }
done:
    ks_arena_release(ctx->scratch, mark);
    return st;
}

/* out = A M A (+ out when add): blocks of rows of A M, times A. */
static ks_status congruence(ks_ctx *ctx, int64_t n_frame, int64_t n, const double *A, const int32_t *slot,
                            const double *M, int add, double *out) {
    ks_status           st    = KS_OK;
    const ks_arena_mark mark  = ks_arena_get_mark(ctx->scratch);
    const int64_t       count = (n + ROW_BLOCK - 1) / ROW_BLOCK;
    double             *tmp   = NULL;
    int                 ni    = 0;
    KS_TRY(ks_int(n, &ni));
    KS_TRY(KS_TAKE(ctx->scratch, tmp, n_frame * n * n));
#pragma omp parallel for schedule(static) num_threads(ctx->n_thread) if (n_frame * count > 1)
    for (int64_t i = 0; i < n_frame * count; i++) {
        const int64_t b = i / count, r = i % count * ROW_BLOCK, rows = n - r < ROW_BLOCK ? n - r : ROW_BLOCK;
        const double *a  = A + (slot ? slot[b] : b) * n * n;
        double       *am = tmp + b * n * n + r * n;
        cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)rows, ni, ni, 1, a + r * n, ni, M + b * n * n, ni,
                    0, am, ni);
        cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)rows, ni, ni, 1, am, ni, a, ni, add,
                    out + b * n * n + r * n, ni);
    }
done:
    ks_arena_release(ctx->scratch, mark);
    return st;
}

ks_status ks_congruence_fwd_cpu(ks_ctx *ctx, int64_t n_frame, int64_t n, const double *A, const int32_t *slot,
                                const double *M, double *out) {
    return congruence(ctx, n_frame, n, A, slot, M, 0, out);
}
/* <out_bar, A dM A> = <A out_bar A, dM> for symmetric A. */
ks_status ks_congruence_adj_cpu(ks_ctx *ctx, int64_t n_frame, int64_t n, const double *A, const int32_t *slot,
                                const double *out_bar, double *M_bar) {
    return congruence(ctx, n_frame, n, A, slot, out_bar, 1, M_bar);
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
