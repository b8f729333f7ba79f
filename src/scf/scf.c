/* scf.c -- converged SCF of a batch: commutator DIIS, every frame by its own criterion.
 *
 * A cycle is P = P(F_ext), F = F[P], the commutator, the extrapolation. When a frame meets the criterion its energy
 * is far better than its orbital energies, whose error is of first order in the density (aspirin, PBE: 4e-11 and 5e-6
 * Ha). So it gets one more cycle, a second one if the energy still moved by more than a tenth of the criterion, and
 * what is reported as F is the extrapolation that includes the last build, closer to the limit than F[P] itself by a
 * factor of about ten. Frames that are done leave the arrays, so that the remaining cycles work only on the others. */
#include "ksgrad/scf.h"
#include <math.h>
#include "scf/diis.h"

ks_scf_options ks_scf_defaults(void) { return (ks_scf_options){1e-9, 1e-5, 50, 8}; }

/* Energy changes below this are rounding, whatever the criterion. */
static const double ENERGY_NOISE = 1e-11;

/* Results of one segment; NULL: not wanted. */
typedef struct seg_out {
    double       *F, *P, *C, *eps;
    ks_scf_frame *frames;
} seg_out;

typedef struct seg_run {
    int64_t               n_act; /* frames still iterating */
    const ks_scf_options *opt;
    ks_seg                all, act;
    int32_t              *id, *slot, *keep; /* (n_frame) host: place in the segment and slot of the active frames */
    int32_t              *index_b;          /* (3, n_frame) backend: the same three */
    int32_t              *all_slot;         /* (n_frame) host */
    int32_t              *met; /* (n_frame) host: cycles since the criterion was met; -1: start not finite */
    double *P, *F, *Fx, *C, *eps, *c, *JK, *Vxc, *tmp; /* backend, (n_frame, n_spin, n, n); eps (n_frame, n_spin, n) */
    double *E, *n_elec, *norm;                         /* (n_frame) backend */
    double *E_host, *E_last, *n_elec_host, *norm_host; /* (n_frame) host */
    double *F_all, *P_all;                             /* results of all frames, backend */
    ks_diis diis;
} seg_run;

static int32_t *id_b(const seg_run *r) { return r->index_b; }
static int32_t *slot_b(const seg_run *r) { return r->index_b + r->all.n_frame; }
static int32_t *keep_b(const seg_run *r) { return r->index_b + 2 * r->all.n_frame; }

static ks_status upload(ks_ctx *ctx, int64_t n, const int32_t *host, int32_t *dst) {
    return ks_mem_to_backend(ctx, dst, host, (size_t)n * sizeof *host);
}

static ks_status take(ks_ctx *ctx, seg_run *r) {
    ks_status     st = KS_OK;
    ks_arena     *a = ks_ctx_scratch(ctx), *host = ks_ctx_host_scratch(ctx);
    const int64_t B = r->all.n_frame, len = r->all.n * r->all.n * r->all.ts->method.n_spin;
    double      **mats[] = {&r->P, &r->F, &r->Fx, &r->C, &r->c, &r->JK, &r->Vxc, &r->tmp, &r->F_all, &r->P_all};
    double      **vecs[] = {&r->E, &r->n_elec, &r->norm},
           **host_vecs[] = {&r->E_host, &r->E_last, &r->n_elec_host, &r->norm_host};
    for (size_t i = 0; i < sizeof mats / sizeof *mats; i++)
        KS_TRY(ks_arena_take(a, B * len, sizeof(double), (void **)mats[i]));
    for (size_t i = 0; i < sizeof vecs / sizeof *vecs; i++)
        KS_TRY(ks_arena_take(a, B, sizeof(double), (void **)vecs[i]));
    for (size_t i = 0; i < sizeof host_vecs / sizeof *host_vecs; i++)
        KS_TRY(ks_arena_take(host, B, sizeof(double), (void **)host_vecs[i]));
    KS_TRY(KS_TAKE(a, r->eps, r->all.n_mat * r->all.n));
    KS_TRY(KS_TAKE(a, r->index_b, 3 * B));
    KS_TRY(KS_TAKE(host, r->id, B));
    KS_TRY(KS_TAKE(host, r->slot, B));
    KS_TRY(KS_TAKE(host, r->all_slot, B));
    KS_TRY(KS_TAKE(host, r->keep, B));
    KS_TRY(KS_TAKE(host, r->met, B));
    KS_TRY(ks_mem_to_host(ctx, r->all_slot, r->all.slot, (size_t)B * sizeof *r->all_slot));
    KS_TRY(ks_diis_init(ctx, r->opt->diis_space, B, len, &r->diis));
    for (int64_t f = 0; f < B; f++) r->id[f] = (int32_t)f, r->slot[f] = r->all_slot[f], r->met[f] = 0;
    KS_TRY(upload(ctx, B, r->id, id_b(r)));
    KS_TRY(upload(ctx, B, r->slot, slot_b(r)));
    r->n_act = B;
    r->act   = ks_seg_make(r->all.ts, B, slot_b(r));
done:
    return st;
}

/* First Fock matrix into Fx and the energy before the first cycle into E_last (infinite when a guess_F leaves it
 * unknown). */
static ks_status start(ks_ctx *ctx, seg_run *r, const double *guess_F, const double *guess_P) {
    ks_status     st = KS_OK;
    const int64_t B = r->n_act, len = r->diis.len;
    for (int64_t f = 0; f < B; f++) r->E_last[f] = INFINITY;
    if (guess_F) {
        const ks_term g = {ks_vec_dense(guess_F, len), 1.0, NULL, 0};
        KS_TRY(ks_combine(ctx, B, len, 1, &g, 0, r->Fx));
    } else if (guess_P) {
        KS_TRY(ks_fock_parts(ctx, &r->act, guess_P, NULL, r->JK, r->Vxc, r->Fx, r->E, NULL));
        KS_TRY(ks_mem_to_host(ctx, r->E_last, r->E, (size_t)B * sizeof *r->E));
    } else {
        const ks_term f0 = {ks_vec_pool(&r->act, r->act.ts->F0, len), 1.0, NULL, 0},
                      e0 = {ks_vec_pool(&r->act, r->act.ts->E0, 1), 1.0, NULL, 0};
        KS_TRY(ks_combine(ctx, B, len, 1, &f0, 0, r->Fx));
        KS_TRY(ks_combine(ctx, B, 1, 1, &e0, 0, r->E));
        KS_TRY(ks_mem_to_host(ctx, r->E_last, r->E, (size_t)B * sizeof *r->E));
    }
    KS_TRY(ks_dot(ctx, B, len, 1.0, ks_vec_dense(r->Fx, len), ks_vec_dense(r->Fx, len), 0, r->norm, 1));
    KS_TRY(ks_mem_to_host(ctx, r->norm_host, r->norm, (size_t)B * sizeof *r->norm));
    for (int64_t f = 0; f < B; f++)
        if (!isfinite(r->norm_host[f])) r->met[f] = -1;
done:
    return st;
}

/* One cycle up to the commutator: new P, F, E, c and the host copies of the frames' figures. */
static ks_status cycle(ks_ctx *ctx, seg_run *r) {
    ks_status     st    = KS_OK;
    const size_t  bytes = (size_t)r->n_act * sizeof(double);
    const int64_t len   = r->diis.len;
    KS_TRY(ks_density_frames(ctx, &r->act, r->Fx, r->C, r->eps, r->P));
    KS_TRY(ks_fock_parts(ctx, &r->act, r->P, r->C, r->JK, r->Vxc, r->F, r->E, r->n_elec));
    KS_TRY(ks_commutator_frames(ctx, &r->act, r->F, r->P, r->c));
    KS_TRY(
        ks_dot(ctx, r->n_act, len, 1.0 / (double)len, ks_vec_dense(r->c, len), ks_vec_dense(r->c, len), 0, r->norm, 1));
    KS_TRY(ks_mem_to_host(ctx, r->E_host, r->E, bytes));
    KS_TRY(ks_mem_to_host(ctx, r->n_elec_host, r->n_elec, bytes));
    KS_TRY(ks_mem_to_host(ctx, r->norm_host, r->norm, bytes));
done:
    return st;
}

/* Records what the frames are at, moves finished ones out and closes the ranks. */
static ks_status retire(ks_ctx *ctx, seg_run *r, int n_cycle, ks_scf_frame *frames) {
    ks_status     st     = KS_OK;
    const int64_t len    = r->diis.len;
    int64_t       n_keep = 0;
    for (int64_t b = 0; b < r->n_act; b++) {
        ks_scf_frame *fr     = &frames[r->id[b]];
        const int     finite = r->met[b] >= 0 && isfinite(r->E_host[b]) && isfinite(r->norm_host[b]);
        fr->cycles           = n_cycle;
        fr->energy           = r->E_host[b];
        fr->grad_rms         = sqrt(r->norm_host[b]);
        fr->n_elec_grid      = r->n_elec_host[b];
        const double change  = fabs(r->E_host[b] - r->E_last[b]);
        const int    met =
            r->met[b] > 0 ? r->met[b] + 1 : change < r->opt->conv_energy && fr->grad_rms < r->opt->conv_grad;
        const int still = change < fmax(0.1 * r->opt->conv_energy, ENERGY_NOISE);
        fr->converged   = finite && met;
        if (finite && !(met == 2 && still) && met < 3 && n_cycle < r->opt->max_cycle) {
            r->met[n_keep]    = met;
            r->E_last[n_keep] = r->E_host[b];
            r->keep[n_keep++] = (int32_t)b;
            continue;
        }
        KS_TRY(ks_scatter(ctx, 1, len, r->Fx + b * len, id_b(r) + b, r->F_all));
        KS_TRY(ks_scatter(ctx, 1, len, r->P + b * len, id_b(r) + b, r->P_all));
    }
    if (n_keep == r->n_act) goto done;
    for (int64_t b = 0; b < n_keep; b++) r->id[b] = r->id[r->keep[b]], r->slot[b] = r->slot[r->keep[b]];
    if (n_keep > 0) {
        KS_TRY(upload(ctx, n_keep, r->keep, keep_b(r)));
        KS_TRY(upload(ctx, n_keep, r->id, id_b(r)));
        KS_TRY(upload(ctx, n_keep, r->slot, slot_b(r)));
        KS_TRY(ks_keep_frames(ctx, n_keep, keep_b(r), len, r->Fx, r->tmp));
        KS_TRY(ks_diis_keep(ctx, &r->diis, n_keep, r->keep, keep_b(r), r->tmp));
    }
    r->n_act = n_keep;
    r->act   = ks_seg_make(r->all.ts, n_keep, slot_b(r));
done:
    return st;
}

/* Orbitals of the final F, frontier energies and dipoles of all frames of the segment. */
static ks_status finish(ks_ctx *ctx, seg_run *r, const seg_out *out) {
    ks_status        st = KS_OK;
    ks_arena        *a = ks_ctx_scratch(ctx), *host = ks_ctx_host_scratch(ctx);
    const ks_seg    *sg  = &r->all;
    const ks_system *sys = sg->ts->sys;
    const int64_t    B = sg->n_frame, n = sg->n, nn = n * n, n_spin = sg->ts->method.n_spin, len = r->diis.len,
                  n_pos    = 3 * sys->n_atom;
    const size_t mat_bytes = (size_t)(B * len) * sizeof(double);
    double      *eps = NULL, *dip = NULL, *dip_b = NULL, *pos = NULL, *pos_b = NULL;
    KS_TRY(KS_TAKE(host, eps, sg->n_mat * n));
    KS_TRY(KS_TAKE(host, dip, 3 * sg->n_mat));
    KS_TRY(KS_TAKE(a, dip_b, 3 * sg->n_mat));
    KS_TRY(KS_TAKE(host, pos, B * n_pos));
    KS_TRY(KS_TAKE(a, pos_b, B * n_pos));
    KS_TRY(ks_density_frames(ctx, sg, r->F_all, r->C, r->eps, NULL));
    KS_TRY(ks_mem_to_host(ctx, eps, r->eps, (size_t)(sg->n_mat * n) * sizeof *eps));
    for (int64_t x = 0; x < 3; x++) {
        const ks_mats d = {sg->ts->dip + x * nn, n, 3 * nn, sg->slot, (int32_t)n_spin, 0};
        KS_TRY(ks_dot(ctx, sg->n_mat, nn, 1.0, ks_mats_dense(r->P_all, n, n), d, 0, dip_b + x, 3));
    }
    KS_TRY(ks_mem_to_host(ctx, dip, dip_b, (size_t)(3 * sg->n_mat) * sizeof *dip));
    const ks_term p = {ks_vec_pool(sg, sg->ts->pos, n_pos), 1.0, NULL, 0};
    KS_TRY(ks_combine(ctx, B, n_pos, 1, &p, 0, pos_b));
    KS_TRY(ks_mem_to_host(ctx, pos, pos_b, (size_t)(B * n_pos) * sizeof *pos));
    for (int64_t f = 0; f < B; f++) {
        ks_scf_frame *fr = &out->frames[f];
        fr->homo = -INFINITY, fr->lumo = INFINITY;
        for (int64_t s = 0; s < n_spin; s++) {
            const int32_t o = sg->ts->n_occ_host[r->all_slot[f] * n_spin + s];
            const double *e = eps + (f * n_spin + s) * n;
            if (o > 0) fr->homo = fmax(fr->homo, e[o - 1]);
            if (o < n) fr->lumo = fmin(fr->lumo, e[o]);
        }
        fr->gap = fr->lumo - fr->homo;
        for (int x = 0; x < 3; x++) {
            fr->dipole[x] = 0.0;
            for (int64_t at = 0; at < sys->n_atom; at++) fr->dipole[x] += sys->Z[at] * pos[f * n_pos + 3 * at + x];
            for (int64_t s = 0; s < n_spin; s++) fr->dipole[x] -= dip[(f * n_spin + s) * 3 + x];
        }
    }
    const ks_term src[3] = {{ks_vec_dense(r->F_all, len), 1.0, NULL, 0},
                            {ks_vec_dense(r->P_all, len), 1.0, NULL, 0},
                            {ks_vec_dense(r->C, len), 1.0, NULL, 0}};
    double *const dst[3] = {out->F, out->P, out->C};
    for (int i = 0; i < 3; i++)
        if (dst[i] && mat_bytes) KS_TRY(ks_combine(ctx, B, len, 1, &src[i], 0, dst[i]));
    if (out->eps) KS_TRY(ks_mem_to_backend(ctx, out->eps, eps, (size_t)(sg->n_mat * n) * sizeof *eps));
done:
    return st;
}

static ks_status run_segment(ks_ctx *ctx, const ks_seg *sg, const ks_scf_options *opt, const double *guess_F,
                             const double *guess_P, const seg_out *out) {
    ks_status           st = KS_OK;
    ks_arena           *a = ks_ctx_scratch(ctx), *host = ks_ctx_host_scratch(ctx);
    const ks_arena_mark mark = ks_arena_get_mark(a), host_mark = ks_arena_get_mark(host);
    seg_run             r = {.opt = opt, .all = *sg};
    KS_TRY(take(ctx, &r));
    KS_TRY(start(ctx, &r, guess_F, guess_P));
    for (int n = 1; r.n_act > 0; n++) {
        KS_TRY(cycle(ctx, &r));
        KS_TRY(ks_diis_step(ctx, &r.diis, r.n_act, r.F, r.c, r.Fx));
        KS_TRY(retire(ctx, &r, n, out->frames));
    }
    KS_TRY(finish(ctx, &r, out));
done:
    ks_arena_release(a, mark);
    ks_arena_release(host, host_mark);
    return st;
}

ks_status ks_scf_run(ks_ctx *ctx, const ks_batch *batch, const ks_scf_options *opt, const double *guess_F,
                     const double *guess_P, double *F, double *P, double *C, double *eps, ks_scf_frame *frames) {
    ks_status            st  = KS_OK;
    const ks_scf_options def = ks_scf_defaults(), *o = opt ? opt : &def;
    KS_CHECK(ctx && batch && frames, KS_ERR_ARG, "scf: NULL argument");
    KS_CHECK(o->conv_energy > 0 && o->conv_grad > 0 && o->max_cycle > 0, KS_ERR_ARG,
             "scf: convergence %g, %g and %d cycles must be positive", o->conv_energy, o->conv_grad, o->max_cycle);
    KS_CHECK(o->diis_space >= 1 && o->diis_space <= KS_MIX_MAX, KS_ERR_ARG, "scf: DIIS space %d, limits 1 and %d",
             o->diis_space, KS_MIX_MAX);
    for (int64_t s = 0; s < batch->n_segment; s++) {
        const ks_seg  sg  = ks_seg_of(batch, s);
        const int64_t off = ks_batch_mat_offset(batch, s);
        const seg_out out = {F ? F + off : NULL, P ? P + off : NULL, C ? C + off : NULL,
                             eps ? eps + ks_batch_vec_offset(batch, s) : NULL,
                             frames + ks_batch_frame_offset(batch, s)};
        if (sg.n_frame == 0) continue;
        KS_TRY(run_segment(ctx, &sg, o, guess_F ? guess_F + off : NULL, guess_P ? guess_P + off : NULL, &out));
    }
done:
    return st;
}
