/* tensors.c -- pools of geometry tensors: everything that follows from one geometry and no network. */
#include <math.h>
#include "scf/scf_impl.h"

/* Frames are prepared in groups of this size, which bounds the scratch (uracil: 1.5 MB a frame). */
enum { CHUNK = 32 };

/* Atoms closer than this (bohr) are an error of the input: the H-H bond is 1.4, the closest contact in a
 * vibrating molecule above 1. */
static const double DISTANCE_MIN = 0.1;

/* (n, n) matrices per slot, spin-free and per spin, as listed in batch.h. */
#define SHARED_LIST(DO) DO(S) DO(T) DO(V) DO(hcore) DO(S_half) DO(X)
#define SPIN_LIST(DO) DO(P0) DO(JK0) DO(Vxc0) DO(F0)
enum { N_SHARED = 6, N_SPIN_MAT = 4, N_DIP = 3, N_SCALAR = 2 };

ks_status ks_tensors_bytes(ks_ctx *ctx, const ks_system *sys, const ks_method *method, int64_t *bytes_per_slot) {
    ks_status st  = KS_OK;
    int64_t   eri = 0, grid = 0, nn;
    KS_CHECK(ctx && sys && method && method->xc && bytes_per_slot, KS_ERR_ARG, "tensors: NULL argument");
    nn = sys->n_ao * sys->n_ao;
    KS_TRY(ks_eri_bytes(ctx, sys, &eri));
    if (method->xc->family != KS_XC_NONE) KS_TRY(ks_grid_bytes(ctx, sys, method->grid_level, &grid));
    *bytes_per_slot =
        eri + grid +
        (int64_t)sizeof(double) * ((N_SHARED + N_DIP + N_SPIN_MAT * method->n_spin) * nn + N_SCALAR + 3 * sys->n_atom);
done:
    return st;
}

ks_status ks_tensors_create(ks_ctx *ctx, const ks_system *sys, const ks_method *method, int64_t capacity,
                            ks_tensors **out) {
    ks_status   st  = KS_OK;
    ks_tensors *t   = NULL;
    double     *occ = NULL;
    int64_t     nn, m, cap_nn;
    KS_CHECK(ctx && sys && method && method->xc && out, KS_ERR_ARG, "tensors: NULL argument");
    KS_CHECK(capacity > 0, KS_ERR_ARG, "tensors: capacity %lld is not positive", (long long)capacity);
    KS_CHECK(method->n_spin == 1, KS_ERR_UNSUPPORTED, "n_spin = %d: only closed shells (n_spin = 1) are supported",
             method->n_spin);
    KS_CHECK(method->grid_level >= 0 && method->grid_level <= KS_GRID_LEVEL_MAX, KS_ERR_ARG,
             "grid level %d is outside 0..%d", method->grid_level, KS_GRID_LEVEL_MAX);
    nn = sys->n_ao * sys->n_ao, m = sys->guess.n_ao;
    KS_TRY(ks_mul_i64(capacity, nn * (int64_t)sizeof(double), &cap_nn));
    KS_TRY(KS_ZNEW(t, 1));
    t->ctx = ctx, t->sys = sys, t->method = *method, t->capacity = capacity;
#define ALLOC(name) KS_TRY(ks_mem_alloc(ctx, (size_t)cap_nn, (void **)&t->name));
    SHARED_LIST(ALLOC)
#undef ALLOC
#define ALLOC(name) KS_TRY(ks_mem_alloc(ctx, (size_t)(cap_nn * method->n_spin), (void **)&t->name));
    SPIN_LIST(ALLOC)
#undef ALLOC
    KS_TRY(ks_mem_alloc(ctx, (size_t)(3 * cap_nn), (void **)&t->dip));
    KS_TRY(ks_mem_alloc(ctx, (size_t)(capacity * sys->n_atom * 3) * sizeof(double), (void **)&t->pos));
    KS_TRY(ks_mem_alloc(ctx, (size_t)capacity * sizeof(double), (void **)&t->e_nuc));
    KS_TRY(ks_mem_alloc(ctx, (size_t)capacity * sizeof(double), (void **)&t->E0));
    KS_TRY(KS_ZNEW(t->n_occ_host, capacity * method->n_spin));
    KS_TRY(ks_mem_alloc(ctx, (size_t)(capacity * method->n_spin) * sizeof *t->n_occ, (void **)&t->n_occ));
    KS_TRY(ks_mem_zero(ctx, t->n_occ, (size_t)(capacity * method->n_spin) * sizeof *t->n_occ));
    KS_TRY(ks_mem_alloc(ctx, (size_t)(m * m) * sizeof(double), (void **)&t->guess_occ));
    KS_TRY(KS_ZNEW(occ, m * m));
    for (int64_t k = 0; k < m; k++) occ[k * m + k] = sys->guess_occ[k];
    KS_TRY(ks_mem_to_backend(ctx, t->guess_occ, occ, (size_t)(m * m) * sizeof(double)));
    KS_TRY(ks_eri_create(ctx, sys, capacity, &t->eri));
    if (method->xc->family != KS_XC_NONE) KS_TRY(ks_grid_create(ctx, sys, method->grid_level, capacity, &t->grid));
    *out = t;
    t    = NULL;
done:
    KS_FREE(occ);
    ks_tensors_destroy(&t);
    return st;
}

void ks_tensors_destroy(ks_tensors **tensors) {
    if (!tensors || !*tensors) return;
    ks_tensors *t = *tensors;
    ks_eri_destroy(&t->eri);
    ks_grid_destroy(&t->grid);
#define RELEASE(name) ks_mem_free(t->ctx, (void **)&t->name);
    SHARED_LIST(RELEASE)
    SPIN_LIST(RELEASE)
    RELEASE(dip)
    RELEASE(pos)
    RELEASE(e_nuc)
    RELEASE(E0)
    RELEASE(guess_occ)
    RELEASE(n_occ)
#undef RELEASE
    KS_FREE(t->n_occ_host);
    KS_FREE(*tensors);
}

static ks_status check_frame(const ks_system *sys, int64_t frame, const double *pos) {
    ks_status st = KS_OK;
    for (int64_t a = 0; a < sys->n_atom; a++)
        for (int x = 0; x < 3; x++)
            KS_CHECK(isfinite(pos[3 * a + x]), KS_ERR_DATA, "frame %lld (%s): coordinate %d of atom %lld is not finite",
                     (long long)frame, sys->formula, x, (long long)a);
    for (int64_t a = 0; a < sys->n_atom; a++)
        for (int64_t b = 0; b < a; b++) {
            const double dx = pos[3 * a] - pos[3 * b], dy = pos[3 * a + 1] - pos[3 * b + 1],
                         dz = pos[3 * a + 2] - pos[3 * b + 2];
            const double d  = sqrt(dx * dx + dy * dy + dz * dz);
            KS_CHECK(d >= DISTANCE_MIN, KS_ERR_DATA,
                     "frame %lld (%s): atoms %lld and %lld are %.3g bohr apart, limit %g", (long long)frame,
                     sys->formula, (long long)b, (long long)a, d, DISTANCE_MIN);
        }
done:
    return st;
}

static ks_status set_n_occ(ks_tensors *t, int64_t frame, int32_t slot, int32_t charge) {
    ks_status     st     = KS_OK;
    const int64_t n_elec = t->sys->n_electron - charge;
    KS_CHECK(n_elec > 0, KS_ERR_DATA, "frame %lld (%s): charge %d leaves %lld electrons", (long long)frame,
             t->sys->formula, charge, (long long)n_elec);
    KS_CHECK(
        n_elec % 2 == 0, KS_ERR_UNSUPPORTED,
        "frame %lld (%s) has %lld electrons at charge %d: an odd number needs open shells, which are not supported",
        (long long)frame, t->sys->formula, (long long)n_elec, charge);
    KS_CHECK(n_elec / 2 <= t->sys->n_ao, KS_ERR_DATA,
             "frame %lld (%s): %lld electrons at charge %d do not fit into %lld orbitals", (long long)frame,
             t->sys->formula, (long long)n_elec, charge, (long long)t->sys->n_ao);
    for (int s = 0; s < t->method.n_spin; s++) t->n_occ_host[slot * t->method.n_spin + s] = (int32_t)(n_elec / 2);
    if (n_elec / 2 > t->n_occ_max) t->n_occ_max = n_elec / 2;
done:
    return st;
}

/* One-electron part of up to CHUNK frames, and P0 when the guess needs no Fock matrix. */
static ks_status build_one_electron(ks_tensors *t, int64_t first, int64_t n_frame, const int32_t *slot,
                                    const double *pos) {
    ks_status           st      = KS_OK;
    ks_ctx             *ctx     = t->ctx;
    ks_arena           *scratch = ks_ctx_scratch(ctx);
    const ks_arena_mark mark    = ks_arena_get_mark(scratch);
    const int64_t       n = t->sys->n_ao, nn = n * n, len = n_frame * nn, m = t->sys->guess.n_ao;
    double *S = NULL, *T = NULL, *V = NULL, *h = NULL, *dip = NULL, *S_half = NULL, *X = NULL, *S12 = NULL, *P0 = NULL;
    KS_TRY(KS_TAKE(scratch, S, len));
    KS_TRY(KS_TAKE(scratch, T, len));
    KS_TRY(KS_TAKE(scratch, V, len));
    KS_TRY(KS_TAKE(scratch, h, len));
    KS_TRY(KS_TAKE(scratch, dip, 3 * len));
    KS_TRY(KS_TAKE(scratch, S_half, len));
    KS_TRY(KS_TAKE(scratch, X, len));
    KS_TRY(ks_int1e(ctx, t->sys, n_frame, pos, S, T, V, dip));
    const ks_term tv[2] = {{ks_vec_dense(T, nn), 1.0, NULL, 0}, {ks_vec_dense(V, nn), 1.0, NULL, 0}};
    KS_TRY(ks_combine(ctx, n_frame, nn, 2, tv, 0, h));
    KS_TRY(ks_lowdin(ctx, n_frame, n, S, first, S_half, X));
    KS_TRY(ks_scatter(ctx, n_frame, nn, S, slot, t->S));
    KS_TRY(ks_scatter(ctx, n_frame, nn, T, slot, t->T));
    KS_TRY(ks_scatter(ctx, n_frame, nn, V, slot, t->V));
    KS_TRY(ks_scatter(ctx, n_frame, nn, h, slot, t->hcore));
    KS_TRY(ks_scatter(ctx, n_frame, 3 * nn, dip, slot, t->dip));
    KS_TRY(ks_scatter(ctx, n_frame, nn, S_half, slot, t->S_half));
    KS_TRY(ks_scatter(ctx, n_frame, nn, X, slot, t->X));
    KS_TRY(KS_TAKE(scratch, P0, len));
    if (t->method.guess == KS_GUESS_MINAO) {
        KS_TRY(KS_TAKE(scratch, S12, n_frame * n * m));
        KS_TRY(ks_int1e_guess(ctx, t->sys, n_frame, pos, S12));
        KS_TRY(ks_guess_minao(ctx, t, n_frame, S, S12, P0));
    } else {
        const ks_seg sg = ks_seg_make(t, n_frame, slot);
        double      *C = NULL, *eps = NULL;
        KS_TRY(KS_TAKE(scratch, C, len));
        KS_TRY(KS_TAKE(scratch, eps, n_frame * n));
        KS_TRY(ks_density_frames(ctx, &sg, h, C, eps, P0));
    }
    KS_TRY(ks_scatter(ctx, n_frame, nn, P0, slot, t->P0));
done:
    ks_arena_release(scratch, mark);
    return st;
}

/* JK0, Vxc0, F0, E0 of up to CHUNK frames whose integrals and grid are there. */
static ks_status build_fock(ks_tensors *t, int64_t n_frame, const int32_t *slot) {
    ks_status           st      = KS_OK;
    ks_ctx             *ctx     = t->ctx;
    ks_arena           *scratch = ks_ctx_scratch(ctx);
    const ks_arena_mark mark    = ks_arena_get_mark(scratch);
    const ks_seg        sg      = ks_seg_make(t, n_frame, slot);
    const int64_t       nn = sg.n * sg.n * t->method.n_spin, len = n_frame * nn;
    const ks_term       p0 = {ks_vec_pool(&sg, t->P0, nn), 1.0, NULL, 0};
    double             *P = NULL, *JK = NULL, *Vxc = NULL, *F = NULL, *E = NULL;
    KS_TRY(KS_TAKE(scratch, P, len));
    KS_TRY(KS_TAKE(scratch, JK, len));
    KS_TRY(KS_TAKE(scratch, Vxc, len));
    KS_TRY(KS_TAKE(scratch, F, len));
    KS_TRY(KS_TAKE(scratch, E, n_frame));
    KS_TRY(ks_combine(ctx, n_frame, nn, 1, &p0, 0, P));
    KS_TRY(ks_fock_parts(ctx, &sg, P, NULL, JK, Vxc, F, E, NULL));
    KS_TRY(ks_scatter(ctx, n_frame, nn, JK, slot, t->JK0));
    KS_TRY(ks_scatter(ctx, n_frame, nn, Vxc, slot, t->Vxc0));
    KS_TRY(ks_scatter(ctx, n_frame, nn, F, slot, t->F0));
    KS_TRY(ks_scatter(ctx, n_frame, 1, E, slot, t->E0));
done:
    ks_arena_release(scratch, mark);
    return st;
}

ks_status ks_tensors_build(ks_tensors *t, int64_t n_frame, const int32_t *slot, const double *pos,
                           const int32_t *charge) {
    ks_status           st      = KS_OK;
    ks_arena           *scratch = t ? ks_ctx_scratch(t->ctx) : NULL, *host = t ? ks_ctx_host_scratch(t->ctx) : NULL;
    const ks_arena_mark mark      = t ? ks_arena_get_mark(scratch) : (ks_arena_mark){0},
                        host_mark = t ? ks_arena_get_mark(host) : (ks_arena_mark){0};
    double  *e_nuc = NULL, *pos_b = NULL, *e_b = NULL;
    int32_t *slot_b = NULL;
    KS_CHECK(t && n_frame >= 0 && (n_frame == 0 || (slot && pos)), KS_ERR_ARG,
             "tensors build: NULL argument or %lld frames", (long long)n_frame);
    const int64_t n_pos = 3 * t->sys->n_atom;
    for (int64_t f = 0; f < n_frame; f++) {
        KS_CHECK(slot[f] >= 0 && slot[f] < t->capacity, KS_ERR_ARG, "slot %d of frame %lld is outside 0..%lld", slot[f],
                 (long long)f, (long long)t->capacity - 1);
        KS_TRY(check_frame(t->sys, f, pos + f * n_pos));
        KS_TRY(set_n_occ(t, f, slot[f], charge ? charge[f] : 0));
    }
    if (n_frame == 0) goto done;
    KS_TRY(ks_mem_to_backend(t->ctx, t->n_occ, t->n_occ_host,
                             (size_t)(t->capacity * t->method.n_spin) * sizeof *t->n_occ));
    KS_TRY(KS_TAKE(host, e_nuc, CHUNK));
    KS_TRY(KS_TAKE(scratch, e_b, CHUNK));
    KS_TRY(KS_TAKE(scratch, pos_b, CHUNK * n_pos));
    KS_TRY(KS_TAKE(scratch, slot_b, n_frame));
    KS_TRY(ks_mem_to_backend(t->ctx, slot_b, slot, (size_t)n_frame * sizeof *slot));
    for (int64_t f = 0; f < n_frame; f += CHUNK) {
        const int64_t n = f + CHUNK < n_frame ? CHUNK : n_frame - f;
        KS_TRY(ks_nuclear_repulsion(t->sys, n, pos + f * n_pos, e_nuc));
        KS_TRY(ks_mem_to_backend(t->ctx, e_b, e_nuc, (size_t)n * sizeof *e_nuc));
        KS_TRY(ks_mem_to_backend(t->ctx, pos_b, pos + f * n_pos, (size_t)(n * n_pos) * sizeof *pos));
        KS_TRY(ks_scatter(t->ctx, n, 1, e_b, slot_b + f, t->e_nuc));
        KS_TRY(ks_scatter(t->ctx, n, n_pos, pos_b, slot_b + f, t->pos));
        KS_TRY(build_one_electron(t, f, n, slot_b + f, pos_b));
        KS_TRY(ks_eri_build(t->ctx, t->eri, n, slot_b + f, pos_b));
        if (t->grid) KS_TRY(ks_grid_build(t->ctx, t->grid, n, slot_b + f, pos_b));
        KS_TRY(build_fock(t, n, slot_b + f));
    }
done:
    if (t) ks_arena_release(scratch, mark);
    if (t) ks_arena_release(host, host_mark);
    return st;
}
