/* integrals.c -- argument checks and dispatch of the integrals family (ksgrad/integrals.h), and the CPU slots. */
#include "ops/integrals_ops.h"
#include "ops/integrals_cpu.h"

enum { MAX_FRAME = 1 << 20, MAX_DM = 1 << 16 };

static ks_status check_system(const ks_ctx *ctx, const ks_system *sys, int64_t n_frame) {
    ks_status st = KS_OK;
    KS_CHECK(ctx && sys, KS_ERR_ARG, "integrals: NULL argument");
    KS_CHECK(n_frame >= 0 && n_frame <= MAX_FRAME, KS_ERR_ARG, "n_frame=%lld, limit 0..%d", (long long)n_frame,
             MAX_FRAME);
    KS_CHECK(sys->basis.l_max <= KS_L_MAX && sys->guess.l_max <= KS_L_MAX, KS_ERR_UNSUPPORTED,
             "angular momentum %d, limit %d (s, p, d)",
             sys->basis.l_max > sys->guess.l_max ? sys->basis.l_max : sys->guess.l_max, KS_L_MAX);
done:
    return st;
}

/* Where slots can be read: inside the pool; unique: no slot twice (a build would write it twice). */
static ks_status check_slots(const ks_eri *eri, int64_t n_frame, const int32_t *slot, int unique) {
    ks_status st = KS_OK;
    if (!slot)
        KS_CHECK(n_frame <= eri->capacity, KS_ERR_ARG, "n_frame=%lld, pool of %lld slots", (long long)n_frame,
                 (long long)eri->capacity);
    for (int64_t f = 0; slot && ks_ctx_is_host(eri->ctx) && f < n_frame; f++) {
        KS_CHECK(slot[f] >= 0 && slot[f] < eri->capacity, KS_ERR_ARG, "slot[%lld]=%d, limit 0..%lld", (long long)f,
                 slot[f], (long long)eri->capacity - 1);
        for (int64_t g = 0; unique && g < f; g++)
            KS_CHECK(slot[g] != slot[f], KS_ERR_ARG, "slot %d given twice", slot[f]);
    }
done:
    return st;
}

ks_status ks_int1e(ks_ctx *ctx, const ks_system *sys, int64_t n_frame, const double *pos, double *S, double *T,
                   double *V, double *dip) {
    ks_status st = KS_OK;
    KS_TRY(check_system(ctx, sys, n_frame));
    if (n_frame == 0) goto done;
    KS_CHECK(pos, KS_ERR_ARG, "int1e: pos is NULL");
    KS_SLOT(ctx, integrals, int1e);
    KS_TRY(ctx->backend->integrals->int1e(ctx, sys, n_frame, pos, S, T, V, dip));
done:
    return st;
}

ks_status ks_int1e_guess(ks_ctx *ctx, const ks_system *sys, int64_t n_frame, const double *pos, double *S12) {
    ks_status st = KS_OK;
    KS_TRY(check_system(ctx, sys, n_frame));
    if (n_frame == 0) goto done;
    KS_CHECK(pos && S12, KS_ERR_ARG, "int1e_guess: NULL argument");
    KS_SLOT(ctx, integrals, int1e_guess);
    KS_TRY(ctx->backend->integrals->int1e_guess(ctx, sys, n_frame, pos, S12));
done:
    return st;
}

ks_status ks_eri_bytes(ks_ctx *ctx, const ks_system *sys, int64_t *bytes_per_frame) {
    ks_status st = KS_OK;
    KS_CHECK(bytes_per_frame, KS_ERR_ARG, "eri_bytes: NULL argument");
    KS_TRY(check_system(ctx, sys, 0));
    KS_SLOT(ctx, integrals, eri_bytes);
    KS_TRY(ctx->backend->integrals->eri_bytes(ctx, sys, bytes_per_frame));
done:
    return st;
}

ks_status ks_eri_create(ks_ctx *ctx, const ks_system *sys, int64_t capacity, ks_eri **out) {
    ks_status st  = KS_OK;
    ks_eri   *eri = NULL;
    KS_CHECK(out, KS_ERR_ARG, "eri: NULL argument");
    KS_TRY(check_system(ctx, sys, 0));
    KS_CHECK(capacity >= 0 && capacity <= MAX_FRAME, KS_ERR_ARG, "capacity=%lld, limit 0..%d", (long long)capacity,
             MAX_FRAME);
    KS_SLOT(ctx, integrals, eri_open);
    KS_TRY(KS_ZNEW(eri, 1));
    *eri = (ks_eri){ctx, sys, capacity, NULL};
    KS_TRY(ctx->backend->integrals->eri_open(ctx, sys, capacity, &eri->impl));
    *out = eri;
    eri  = NULL;
done:
    KS_FREE(eri);
    return st;
}

void ks_eri_destroy(ks_eri **eri) {
    if (!eri || !*eri) return;
    (*eri)->ctx->backend->integrals->eri_close((*eri)->ctx, (*eri)->impl);
    KS_FREE(*eri);
}

ks_status ks_eri_build(ks_ctx *ctx, ks_eri *eri, int64_t n_frame, const int32_t *slot, const double *pos) {
    ks_status st = KS_OK;
    KS_CHECK(eri && ctx == eri->ctx, KS_ERR_ARG, "eri_build: NULL argument or another context");
    KS_TRY(check_system(ctx, eri->sys, n_frame));
    KS_TRY(check_slots(eri, n_frame, slot, 1));
    if (n_frame == 0) goto done;
    KS_CHECK(pos, KS_ERR_ARG, "eri_build: pos is NULL");
    KS_SLOT(ctx, integrals, eri_build);
    KS_TRY(ctx->backend->integrals->eri_build(ctx, eri->impl, n_frame, slot, pos));
done:
    return st;
}

ks_status ks_eri_value(const ks_eri *eri, int32_t slot, int64_t i, int64_t j, int64_t k, int64_t l, double *value) {
    ks_status st = KS_OK;
    int64_t   n;
    KS_CHECK(eri && value, KS_ERR_ARG, "eri_value: NULL argument");
    KS_CHECK(slot >= 0 && slot < eri->capacity, KS_ERR_ARG, "eri_value: slot %d, limit 0..%lld", slot,
             (long long)eri->capacity - 1);
    n = eri->sys->n_ao;
    KS_CHECK(i >= 0 && j >= 0 && k >= 0 && l >= 0 && i < n && j < n && k < n && l < n, KS_ERR_ARG,
             "eri_value: (%lld %lld|%lld %lld), limit %lld", (long long)i, (long long)j, (long long)k, (long long)l,
             (long long)n - 1);
    KS_SLOT(eri->ctx, integrals, eri_value);
    KS_TRY(eri->ctx->backend->integrals->eri_value(eri->ctx, eri->impl, slot, i, j, k, l, value));
done:
    return st;
}

static ks_status check_jk(ks_ctx *ctx, const ks_eri *eri, int64_t n_frame, const int32_t *slot, int64_t n_dm) {
    ks_status st = KS_OK;
    KS_CHECK(eri && ctx == eri->ctx, KS_ERR_ARG, "jk: NULL argument or another context");
    KS_TRY(check_system(ctx, eri->sys, n_frame));
    KS_TRY(check_slots(eri, n_frame, slot, 0));
    KS_CHECK(n_dm >= 0 && n_dm <= MAX_DM, KS_ERR_ARG, "jk: n_dm=%lld, limit 0..%d", (long long)n_dm, MAX_DM);
done:
    return st;
}

ks_status ks_jk(ks_ctx *ctx, const ks_eri *eri, int64_t n_frame, const int32_t *slot, int64_t n_dm, const double *D,
                double *J, double *K) {
    ks_status st = KS_OK;
    KS_TRY(check_jk(ctx, eri, n_frame, slot, n_dm));
    if (n_frame == 0 || n_dm == 0 || (!J && !K)) goto done;
    KS_CHECK(D, KS_ERR_ARG, "jk: D is NULL");
    KS_SLOT(ctx, integrals, jk);
    KS_TRY(ctx->backend->integrals->jk(ctx, eri->impl, n_frame, slot, n_dm, D, J, K));
done:
    return st;
}

/* <J_bar, J[D]> + <K_bar, K[D]> = <J[J_bar] + K[K_bar], D>: both maps are symmetric, because (ij|kl) = (kl|ij). */
ks_status ks_jk_adj(ks_ctx *ctx, const ks_eri *eri, int64_t n_frame, const int32_t *slot, int64_t n_dm,
                    const double *J_bar, const double *K_bar, double *D_bar) {
    ks_status st = KS_OK;
    KS_TRY(check_jk(ctx, eri, n_frame, slot, n_dm));
    if (n_frame == 0 || n_dm == 0 || (!J_bar && !K_bar)) goto done;
    KS_CHECK(D_bar, KS_ERR_ARG, "jk_adj: D_bar is NULL");
    KS_SLOT(ctx, integrals, jk_adj);
    KS_TRY(ctx->backend->integrals->jk_adj(ctx, eri->impl, n_frame, slot, n_dm, J_bar, K_bar, D_bar));
done:
    return st;
}

const ks_ops_integrals ks_ops_integrals_cpu = {
    .int1e       = ks_int1e_cpu,
    .int1e_guess = ks_int1e_guess_cpu,
    .eri_bytes   = ks_eri_bytes_cpu,
    .eri_open    = ks_eri_open_cpu,
    .eri_close   = ks_eri_close_cpu,
    .eri_build   = ks_eri_build_cpu,
    .eri_value   = ks_eri_value_cpu,
    .jk          = ks_jk_cpu,
    .jk_adj      = ks_jk_adj_cpu,
};
