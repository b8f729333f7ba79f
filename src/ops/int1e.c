/* int1e.c -- one-electron integrals on the CPU: every (frame, shell) row of pairs is one task. */
#include "ops/int1e.h"
#include <string.h>
#include "core/backend.h"
#include "ops/boys_table.h"
#include "ops/integrals_cpu.h"

enum { NUC_PAD = 8 };

static ks_int1e_pair_fn *pair_fn(void) {
#if defined(__x86_64__)
    const char *isa = ks_cpu_isa();
    if (!strcmp(isa, "avx512")) return ks_int1e_pair_avx512;
    if (!strcmp(isa, "avx2")) return ks_int1e_pair_avx2;
#endif
    return ks_int1e_pair_base;
}

/* nuc (4, n_pad) of one frame; padding repeats the first nucleus with charge 0 */
static void pack_nuclei(const ks_system *sys, const double *pos, int64_t n_pad, double *nuc) {
    for (int64_t i = 0; i < n_pad; i++) {
        const int64_t c = i < sys->n_atom ? i : 0;
        for (int d = 0; d < 3; d++) nuc[d * n_pad + i] = pos[3 * c + d];
        nuc[3 * n_pad + i] = i < sys->n_atom ? sys->Z[c] : 0.0;
    }
}

static void copy_block(const double *blk, int na, int nb, int64_t n, int64_t a0, int64_t b0, double *out) {
    for (int i = 0; i < na; i++)
        for (int j = 0; j < nb; j++) out[(a0 + i) * n + b0 + j] = out[(b0 + j) * n + a0 + i] = blk[i * nb + j];
}

ks_status ks_int1e_cpu(ks_ctx *ctx, const ks_system *sys, int64_t n_frame, const double *pos, double *S, double *T,
                       double *V, double *dip) {
    ks_status           st    = KS_OK;
    ks_arena           *arena = ks_ctx_scratch(ctx);
    const ks_arena_mark mark  = ks_arena_get_mark(arena);
    const ks_shells    *sh    = &sys->basis;
    const int64_t       n = sys->n_ao, n_pad = (sys->n_atom + NUC_PAD - 1) / NUC_PAD * NUC_PAD;
    ks_int1e_pair_fn   *fn   = pair_fn();
    const double       *boys = ks_boys_table();
    double             *nuc  = NULL;
    KS_TRY(KS_TAKE(arena, nuc, n_frame * 4 * n_pad));
    for (int64_t f = 0; f < n_frame; f++) pack_nuclei(sys, pos + 3 * sys->n_atom * f, n_pad, nuc + 4 * n_pad * f);
#pragma omp parallel for collapse(2) schedule(dynamic) num_threads(ctx->n_thread)
    for (int64_t f = 0; f < n_frame; f++)
        for (int64_t i = 0; i < sh->n_shell; i++) {
            const ks_shell    *a   = &sh->shell[sh->n_shell - 1 - i]; /* long rows first */
            const double      *R   = pos + 3 * sys->n_atom * f;
            const ks_int1e_job job = {sh, sh, R, R, n_pad, nuc + 4 * n_pad * f, boys};
            for (const ks_shell *b = sh->shell; b <= a; b++) {
                double    s[25], t[25], v[25], d[75];
                const int na = 2 * a->l + 1, nb = 2 * b->l + 1;
                fn(&job, a, b, S ? s : NULL, T ? t : NULL, V ? v : NULL, dip ? d : NULL);
                if (S) copy_block(s, na, nb, n, a->ao, b->ao, S + f * n * n);
                if (T) copy_block(t, na, nb, n, a->ao, b->ao, T + f * n * n);
                if (V) copy_block(v, na, nb, n, a->ao, b->ao, V + f * n * n);
                for (int c = 0; dip && c < 3; c++)
                    copy_block(d + 25 * c, na, nb, n, a->ao, b->ao, dip + (3 * f + c) * n * n);
            }
        }
done:
    ks_arena_release(arena, mark);
    return st;
}

ks_status ks_int1e_guess_cpu(ks_ctx *ctx, const ks_system *sys, int64_t n_frame, const double *pos, double *S12) {
    const ks_shells  *bra = &sys->basis, *ket = &sys->guess;
    ks_int1e_pair_fn *fn = pair_fn();
#pragma omp parallel for collapse(2) schedule(dynamic) num_threads(ctx->n_thread)
    for (int64_t f = 0; f < n_frame; f++)
        for (int64_t i = 0; i < bra->n_shell; i++) {
            const double      *R   = pos + 3 * sys->n_atom * f;
            const ks_shell    *a   = &bra->shell[i];
            const ks_int1e_job job = {bra, ket, R, R, 0, NULL, NULL};
            for (const ks_shell *b = ket->shell; b < ket->shell + ket->n_shell; b++) {
                double s[25];
                fn(&job, a, b, s, NULL, NULL, NULL);
                for (int ia = 0; ia < 2 * a->l + 1; ia++)
                    memcpy(S12 + (f * bra->n_ao + a->ao + ia) * ket->n_ao + b->ao, s + ia * (2 * b->l + 1),
                           (size_t)(2 * b->l + 1) * sizeof *s);
            }
        }
    return KS_OK;
}
