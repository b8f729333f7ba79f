/* eval_run.c -- one chunk of frames: predictions, refinements, references, metrics. */
#include <math.h>
#include <stddef.h>
#include <string.h>
#include "core/machine.h"
#include "ksgrad/eval.h"
#include "ksgrad/linalg.h"

const char *ks_eval_row_name(int row) {
    static const char *const name[KS_EVAL_ROWS] = {"model", "no_network", "no_network_qpt"};
    return row >= 0 && row < KS_EVAL_ROWS ? name[row] : "";
}

ks_scf_options ks_label_defaults(void) {
    ks_scf_options opt = ks_scf_defaults();
    opt.conv_energy    = 1e-11;
    opt.conv_grad      = 1e-8;
    opt.max_cycle      = 100;
    return opt;
}

typedef struct work {
    ks_ctx                *ctx;
    const ks_chunk        *chunk;
    const ks_eval_options *opt;
    ks_eval_frame         *frame;
    int64_t                mat, vec, n_most;
    double                *H0, *F;                        /* backend batch matrices */
    double                *hH, *hP, *hF;                  /* host batch matrices of a row */
    double                *ref_H, *ref_C, *S, *X;         /* host batch matrices */
    double                *ref_eps, *ref_energy, *ref_mu; /* host; (vec), (n_frame), (n_frame, 3) */
    double                *eps, *C, *dip;                 /* host, one frame */
    double                *E, *mask;                      /* host (n_frame) */
    ks_scf_frame          *scf;                           /* (n_frame) */
    ks_segment            *one;                           /* (n_frame) segments of one frame each */
    ks_batch               counted;                       /* the frames whose SCF cycles are counted, */
    int64_t                n_counted, *counted_k;         /* and their batch positions in the chunk */
} work;

static void work_free(work *w) {
    double **backend[] = {&w->H0, &w->F};
    double **host[]    = {&w->hH,      &w->hP,         &w->hF,     &w->ref_H, &w->ref_C, &w->S,   &w->X,   &w->eps,
                          &w->ref_eps, &w->ref_energy, &w->ref_mu, &w->C,     &w->E,     &w->dip, &w->mask};
    for (size_t k = 0; k < sizeof backend / sizeof *backend; k++) ks_mem_free(w->ctx, (void **)backend[k]);
    for (size_t k = 0; k < sizeof host / sizeof *host; k++) ks_host_free((void **)host[k]);
    KS_FREE(w->scf);
    KS_FREE(w->one);
    KS_FREE(w->counted.segment);
    KS_FREE(w->counted_k);
}

static ks_status work_alloc(work *w) {
    ks_status       st      = KS_OK;
    const ks_batch *batch   = w->chunk->batch;
    const int64_t   n_frame = w->chunk->n_frame;
    w->mat                  = ks_batch_mat_size(batch);
    w->vec                  = ks_batch_vec_size(batch);
    for (int64_t s = 0; s < batch->n_segment; s++)
        if (batch->segment[s].tensors->sys->n_ao > w->n_most) w->n_most = batch->segment[s].tensors->sys->n_ao;
    double **mats[] = {&w->hH, &w->hP, &w->hF, &w->ref_H, &w->ref_C, &w->S, &w->X};
    for (size_t k = 0; k < sizeof mats / sizeof *mats; k++)
        KS_TRY(ks_host_alloc(w->mat, sizeof(double), (void **)mats[k]));
    KS_TRY(ks_mem_alloc(w->ctx, (size_t)w->mat * sizeof(double), (void **)&w->H0));
    KS_TRY(ks_mem_alloc(w->ctx, (size_t)w->mat * sizeof(double), (void **)&w->F));
    KS_TRY(KS_NEW(w->ref_eps, w->vec));
    KS_TRY(KS_NEW(w->ref_energy, n_frame));
    KS_TRY(KS_NEW(w->ref_mu, 3 * n_frame));
    KS_TRY(KS_NEW(w->E, n_frame));
    KS_TRY(KS_NEW(w->mask, n_frame));
    KS_TRY(KS_NEW(w->eps, w->n_most));
    KS_TRY(KS_NEW(w->C, w->n_most * w->n_most));
    KS_TRY(KS_NEW(w->dip, 3 * w->n_most * w->n_most));
    KS_TRY(KS_ZNEW(w->scf, n_frame));
    KS_TRY(KS_NEW(w->one, n_frame));
    KS_TRY(KS_NEW(w->counted.segment, batch->n_segment));
    KS_TRY(KS_NEW(w->counted_k, n_frame));
done:
    return st;
}

static void make_batches(work *w) {
    const ks_chunk *chunk = w->chunk;
    for (int64_t k = 0; k < chunk->n_frame; k++) {
        const ks_segment *seg = &chunk->batch->segment[chunk->segment[k]];
        w->one[k]             = (ks_segment){seg->tensors, 1, seg->slot + chunk->in_segment[k]};
    }
    /* A segment keeps the order of the file: those that are counted are its first ones. */
    for (int64_t s = 0, k = 0; s < chunk->batch->n_segment; s++) {
        ks_segment seg  = chunk->batch->segment[s];
        int64_t    next = k + seg.n_frame;
        for (seg.n_frame = 0; k < next && chunk->frame[k] < w->opt->n_cycles; k++, seg.n_frame++)
            w->counted_k[w->n_counted++] = k;
        if (seg.n_frame) w->counted.segment[w->counted.n_segment++] = seg;
        k = next;
    }
}

/* A per-slot (n, n) pool array of every frame into a host batch matrix. */
static ks_status pool_to_host(work *w, size_t member, double *out) {
    ks_status st = KS_OK;
    for (int64_t k = 0; k < w->chunk->n_frame; k++) {
        int32_t           slot = 0;
        const ks_tensors *t    = ks_chunk_tensors(w->chunk, k, &slot);
        const int64_t     nn   = t->sys->n_ao * t->sys->n_ao;
        const double     *src  = *(double *const *)((const char *)t + member);
        KS_TRY(
            ks_mem_to_host(w->ctx, out + ks_chunk_mat_offset(w->chunk, k), src + slot * nn, (size_t)nn * sizeof *out));
    }
done:
    return st;
}

/* Dipole of frame k with the density P (n, n), host. */
static ks_status frame_dipole(work *w, int64_t k, const double *P, double mu[3]) {
    ks_status         st   = KS_OK;
    int32_t           slot = 0;
    const ks_tensors *t    = ks_chunk_tensors(w->chunk, k, &slot);
    const int64_t     n = t->sys->n_ao, n_atom = t->sys->n_atom;
    double           *pos = NULL;
    KS_TRY(KS_NEW(pos, 3 * n_atom));
    KS_TRY(ks_mem_to_host(w->ctx, pos, t->pos + slot * 3 * n_atom, (size_t)(3 * n_atom) * sizeof *pos));
    KS_TRY(ks_mem_to_host(w->ctx, w->dip, t->dip + slot * 3 * n * n, (size_t)(3 * n * n) * sizeof *w->dip));
    ks_dipole(n_atom, t->sys->Z, pos, n, w->dip, P, mu);
done:
    KS_FREE(pos);
    return st;
}

/* ref_H, ref_energy, ref_mu, and from H the orbitals. Converged here when nobody supplies them. */
static ks_status references(work *w) {
    ks_status              st    = KS_OK;
    const ks_eval_options *o     = w->opt;
    const ks_chunk        *chunk = w->chunk;
    if (!o->reference) {
        KS_TRY(ks_scf_run(w->ctx, chunk->batch, &o->label, NULL, NULL, w->F, NULL, NULL, NULL, w->scf));
        KS_TRY(ks_mem_to_host(w->ctx, w->ref_H, w->F, (size_t)w->mat * sizeof(double)));
    }
    for (int64_t k = 0; k < chunk->n_frame; k++) {
        const ks_tensors *t   = ks_chunk_tensors(chunk, k, NULL);
        const int64_t     mat = ks_chunk_mat_offset(chunk, k);
        if (o->reference) {
            KS_TRY(o->reference(o->reference_user, chunk->frame[k], t->sys->n_ao, w->ref_H + mat, &w->ref_energy[k],
                                w->ref_mu + 3 * k));
            w->frame[k].ref_converged = 1;
        } else {
            w->ref_energy[k] = w->scf[k].energy;
            memcpy(w->ref_mu + 3 * k, w->scf[k].dipole, sizeof w->scf[k].dipole);
            w->frame[k].ref_converged = w->scf[k].converged != 0;
        }
        w->frame[k].energy_ref = w->ref_energy[k];
        KS_TRY(ks_orbitals(t->sys->n_ao, w->ref_H + mat, w->S + mat, w->ref_eps + ks_chunk_vec_offset(chunk, k),
                           w->ref_C + mat));
    }
done:
    return st;
}

/* Every metric of a frame that cannot be evaluated is NaN, not left out: a mean must not hide it. */
static void all_nan(ks_metrics *m) {
    for (int k = 0; k < KS_METRIC_cycles; k++) {
        m->has[k]   = 1;
        m->value[k] = (double)NAN;
    }
    m->has[KS_METRIC_commutator]   = 1;
    m->value[KS_METRIC_commutator] = (double)NAN;
}

/* Metrics of batch position k in a row whose H, P, F, E are in the host arrays. */
static ks_status frame_metrics(work *w, int row, int64_t k) {
    ks_status         st   = KS_OK;
    ks_eval_frame    *f    = &w->frame[k];
    int32_t           slot = 0;
    const ks_tensors *t    = ks_chunk_tensors(w->chunk, k, &slot);
    const int64_t     n = t->sys->n_ao, mat = ks_chunk_mat_offset(w->chunk, k), vec = ks_chunk_vec_offset(w->chunk, k);
    const int64_t     n_occ = t->n_occ_host[slot * t->method.n_spin];
    ks_state          pred  = {w->E[k], {0, 0, 0}, w->hH + mat, w->eps, w->C};
    ks_state          ref   = {w->ref_energy[k], {0, 0, 0}, w->ref_H + mat, w->ref_eps + vec, w->ref_C + mat};
    double            rms   = 0;
    memcpy(ref.dipole, w->ref_mu + 3 * k, sizeof ref.dipole);
    f->has[row]    = 1;
    f->energy[row] = w->E[k];
    st             = ks_orbitals(n, pred.H, w->S + mat, w->eps, w->C);
    if (st == KS_ERR_NUMERIC) {
        ks_error_clear();
        all_nan(&f->row[row]);
        f->masked[row] = 1;
        return KS_OK;
    }
    KS_TRY(st);
    KS_TRY(frame_dipole(w, k, w->hP + mat, pred.dipole));
    KS_TRY(ks_metrics_frame(n, n_occ, w->S + mat, &pred, &ref, &f->row[row]));
    KS_TRY(ks_commutator_rms(n, w->hF + mat, w->hP + mat, w->S + mat, w->X + mat, &rms));
    f->row[row].value[KS_METRIC_commutator] = rms;
    f->row[row].has[KS_METRIC_commutator]   = 1;
done:
    return st;
}

static void set_cycles(ks_eval_frame *f, int row, int metric, const ks_scf_frame *scf) {
    f->row[row].value[metric] = scf->cycles;
    f->row[row].has[metric]   = 1;
    if (metric == KS_METRIC_cycles) f->unconverged[row] = !scf->converged;
}

/* SCF cycles from H (batch matrix of the whole chunk, in hH too, which is used up). */
static ks_status count_cycles(work *w, int row, const double *H) {
    ks_status       st    = KS_OK;
    const ks_chunk *chunk = w->chunk;
    if (w->n_counted == 0) return KS_OK;
    if (w->n_counted < chunk->n_frame) { /* their matrices move together */
        int64_t at = 0;
        for (int64_t i = 0; i < w->n_counted; i++) {
            const int64_t k = w->counted_k[i], n = ks_chunk_tensors(chunk, k, NULL)->sys->n_ao;
            memmove(w->hH + at, w->hH + ks_chunk_mat_offset(chunk, k), (size_t)(n * n) * sizeof *w->hH);
            at += n * n;
        }
        KS_TRY(ks_mem_to_backend(w->ctx, w->F, w->hH, (size_t)at * sizeof *w->hH));
        H = w->F;
    }
    KS_TRY(ks_scf_run(w->ctx, &w->counted, &w->opt->scf, H, NULL, NULL, NULL, NULL, NULL, w->scf));
    for (int64_t i = 0; i < w->n_counted; i++)
        set_cycles(&w->frame[w->counted_k[i]], row, KS_METRIC_cycles, &w->scf[i]);
done:
    return st;
}

/* Refines H0, fills the row's metrics and, when asked, counts the SCF cycles from the reported H. */
static ks_status run_row(work *w, int row, const ks_refine_options *refine_opt, double *seconds) {
    ks_status        st     = KS_OK;
    const ks_chunk  *chunk  = w->chunk;
    ks_refine       *refine = NULL;
    ks_refine_result r;
    const size_t     bytes = (size_t)w->mat * sizeof(double);
    KS_TRY(ks_refine_create(w->ctx, refine_opt, &refine));
    const double start = ks_wall_seconds();
    KS_TRY(ks_refine_fwd(w->ctx, refine, chunk->batch, w->H0, 0, &r));
    KS_TRY(ks_sync(w->ctx));
    *seconds += ks_wall_seconds() - start;
    KS_TRY(ks_mem_to_host(w->ctx, w->hH, r.H, bytes));
    KS_TRY(ks_mem_to_host(w->ctx, w->hP, r.P, bytes));
    KS_TRY(ks_mem_to_host(w->ctx, w->hF, r.F, bytes));
    KS_TRY(ks_mem_to_host(w->ctx, w->E, r.E, (size_t)chunk->n_frame * sizeof(double)));
    KS_TRY(ks_mem_to_host(w->ctx, w->mask, r.mask, (size_t)chunk->n_frame * sizeof(double)));
    for (int64_t k = 0; k < chunk->n_frame; k++) {
        w->frame[k].masked[row] = w->mask[k] == 0.0;
        KS_TRY(frame_metrics(w, row, k));
    }
    KS_TRY(count_cycles(w, row, r.H));
done:
    ks_refine_destroy(&refine);
    return st;
}

/* H0 of the first row: F0 + W, or somebody else's H. The network sees one frame at a time: a matrix product over the tokens
 * of several frames is cut into tiles by their number, and in fp32 that shows in the seventh digit of W. */
static ks_status first_h0(work *w, double *network_seconds) {
    ks_status              st = KS_OK;
    const ks_eval_options *o  = w->opt;
    if (o->model) {
        const ks_batch frames = {w->chunk->n_frame, w->one};
        const double   start  = ks_wall_seconds();
        KS_TRY(ks_model_fwd(w->ctx, o->model, &frames, 0, w->F));
        KS_TRY(ks_sync(w->ctx));
        *network_seconds += ks_wall_seconds() - start;
        const ks_term W = {ks_mats_dense(w->F, 1, w->mat), 1, NULL, 0};
        KS_TRY(ks_batch_gather(w->ctx, w->chunk->batch, offsetof(ks_tensors, F0), w->H0));
        KS_TRY(ks_combine(w->ctx, 1, w->mat, 1, &W, 1, w->H0));
    } else {
        for (int64_t k = 0; k < w->chunk->n_frame; k++)
            KS_TRY(o->prediction(o->prediction_user, w->chunk->frame[k], ks_chunk_tensors(w->chunk, k, NULL)->sys->n_ao,
                                 w->hH + ks_chunk_mat_offset(w->chunk, k), NULL, NULL));
        KS_TRY(ks_mem_to_backend(w->ctx, w->H0, w->hH, (size_t)w->mat * sizeof(double)));
    }
done:
    return st;
}

ks_status ks_eval_chunk(ks_ctx *ctx, const ks_chunk *chunk, const ks_eval_options *opt, ks_eval_frame *frame,
                        ks_eval_seconds *seconds) {
    ks_status               st     = KS_OK;
    const ks_refine_options qpt    = {KS_REFINE_QPT, 0};
    work                    w      = {.ctx = ctx, .chunk = chunk, .opt = opt, .frame = frame};
    double                  unused = 0;
    KS_CHECK(ctx && chunk && opt && frame && seconds, KS_ERR_ARG, "a NULL argument");
    KS_CHECK(chunk->n_frame > 0, KS_ERR_ARG, "an empty chunk");
    const int first = opt->model || opt->prediction;
    memset(frame, 0, (size_t)chunk->n_frame * sizeof *frame);
    for (int64_t k = 0; k < chunk->n_frame; k++) frame[k].frame = chunk->frame[k];
    KS_TRY(work_alloc(&w));
    make_batches(&w);
    KS_TRY(pool_to_host(&w, offsetof(ks_tensors, S), w.S));
    KS_TRY(pool_to_host(&w, offsetof(ks_tensors, X), w.X));
    KS_TRY(references(&w));
    seconds->tensors += chunk->build_seconds;
    if (first) {
        KS_TRY(first_h0(&w, &seconds->network));
        KS_TRY(run_row(&w, KS_EVAL_MODEL, &opt->refine, &seconds->refine));
    }
    KS_TRY(ks_batch_gather(ctx, chunk->batch, offsetof(ks_tensors, F0), w.H0));
    KS_TRY(run_row(&w, KS_EVAL_NO_NETWORK, &opt->refine, first ? &unused : &seconds->refine));
    KS_TRY(run_row(&w, KS_EVAL_NO_NETWORK_QPT, &qpt, &unused));
    if (w.n_counted) {
        KS_TRY(ks_scf_run(ctx, &w.counted, &opt->scf, NULL, NULL, NULL, NULL, NULL, NULL, w.scf));
        for (int64_t i = 0; i < w.n_counted; i++)
            for (int row = first ? 0 : 1; row < KS_EVAL_ROWS; row++)
                set_cycles(&frame[w.counted_k[i]], row, KS_METRIC_cycles_minao, &w.scf[i]);
    }
done:
    work_free(&w);
    return st;
}

double ks_eval_work(const ks_eval_options *opt, int64_t k) {
    const int    first = opt->model || opt->prediction, builds = opt->refine.n_build ? opt->refine.n_build : 4;
    const double tensors = 4, scf = 12; /* integrals and grid; a converged SCF from minao */
    double       all = tensors + 3 + builds * (1 + first);
    if (!opt->reference) all += scf;
    if (k < opt->n_cycles) all += scf * (2 + first);
    return all;
}
