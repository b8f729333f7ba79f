/* trainer_valid.c -- see train.h: validation.
 *
 * The frames, sorted by composition, are dealt out to the ranks one by one: each has its share of every composition.
 * Sums and counts are added in rank order, the same on all ranks; what is reported is a quotient of those. */
#include <math.h>
#include <string.h>
#include "train/trainer_impl.h"

void ks_valid_set_release(ks_valid_set *v) {
    for (int64_t s = 0; v->tensors && s < v->n_system; s++) ks_tensors_destroy(&v->tensors[s]);
    KS_FREE(v->tensors);
    KS_FREE(v->frame);
    KS_FREE(v->first);
    KS_FREE(v->slot);
    ks_mem_free(v->ctx, (void **)&v->slot_b);
    KS_FREE(v->charge);
    KS_FREE(v->pos);
    *v = (ks_valid_set){0};
}

ks_status ks_valid_set_create(ks_ctx *ctx, const ks_comm *comm, const ks_config *config, const ks_run_data *d,
                              const ks_method *method, int64_t capacity, ks_valid_set *v) {
    ks_status      st     = KS_OK;
    const int64_t *index  = d->split->index[KS_PART_VALID];
    const int64_t  n_rank = ks_comm_size(comm), rank = ks_comm_rank(comm);
    int64_t        max_atom = 0, dealt = 0;
    *v          = (ks_valid_set){.ctx = ctx};
    v->n_total  = d->split->n[KS_PART_VALID] < config->valid.frames ? d->split->n[KS_PART_VALID] : config->valid.frames;
    v->n_system = d->n_system;
    KS_TRY(KS_NEW(v->frame, (v->n_total + n_rank - 1) / n_rank));
    KS_TRY(KS_ZNEW(v->first, v->n_system + 1));
    KS_TRY(KS_ZNEW(v->tensors, v->n_system));
    for (int64_t s = 0; s < v->n_system; s++) {
        v->first[s] = v->n_frame;
        for (int64_t i = 0; i < v->n_total; i++)
            if (d->frame_system[index[i]] == s && dealt++ % n_rank == rank) v->frame[v->n_frame++] = index[i];
    }
    v->first[v->n_system] = v->n_frame;
    for (int64_t s = 0; s < v->n_system; s++) {
        const int64_t n = v->first[s + 1] - v->first[s];
        if (n == 0) continue;
        const int64_t share = (capacity * n + v->n_frame - 1) / v->n_frame;
        KS_TRY(ks_tensors_create(ctx, d->system[s], method, share < n ? share : n, &v->tensors[s]));
        if (d->system[s]->n_atom > max_atom) max_atom = d->system[s]->n_atom;
    }
    KS_TRY(KS_NEW(v->slot, v->n_frame));
    KS_TRY(ks_mem_alloc(ctx, (size_t)v->n_frame * sizeof *v->slot_b, (void **)&v->slot_b));
    KS_TRY(KS_NEW(v->charge, v->n_frame));
    KS_TRY(KS_NEW(v->pos, v->n_frame * max_atom * 3));
done:
    if (st != KS_OK) ks_valid_set_release(v);
    return st;
}

/* Sums over the frames of the validation set; counts are exact as doubles. */
enum {
    SUM_ENERGY,
    SUM_COUNTED,
    SUM_MASKED,
    SUM_COMMUTATOR, /* squared elements' mean */
    SUM_ENERGY_ERROR,
    SUM_H_ERROR,
    SUM_LABELS,
    N_SUM
};

/* Errors against the labels of the frames of a pass that have one; host work, between training steps. */
static ks_status label_errors(ks_trainer *t, const ks_batch *batch, const int64_t *frames, const ks_refine_result *r,
                              double *sum) {
    ks_status     st = KS_OK;
    const int64_t n = batch->segment[0].tensors->sys->n_ao, count = batch->segment[0].n_frame;
    double       *H = NULL, *ref = NULL, *E = NULL, *mask = NULL;
    KS_TRY(KS_NEW(H, n * n));
    KS_TRY(KS_NEW(ref, n * n));
    KS_TRY(KS_NEW(E, count));
    KS_TRY(KS_NEW(mask, count));
    KS_TRY(ks_mem_to_host(t->ctx, mask, r->mask, (size_t)count * sizeof *mask));
    KS_TRY(ks_mem_to_host(t->ctx, E, r->E, (size_t)count * sizeof *E));
    for (int64_t i = 0; i < count; i++) {
        ks_label label = {.n_ao = n, .F = ref};
        double   error = 0;
        if (mask[i] == 0.0 || !ks_data_has_label(t->data->labels, &t->data->label_method, frames[i])) continue;
        KS_TRY(ks_data_label_read(t->data->labels, &t->data->label_method, frames[i], &label));
        KS_TRY(ks_mem_to_host(t->ctx, H, r->H + i * n * n, (size_t)(n * n) * sizeof *H));
        for (int64_t k = 0; k < n * n; k++) error += fabs(H[k] - ref[k]);
        sum[SUM_H_ERROR] += error / (double)(n * n);
        sum[SUM_ENERGY_ERROR] += fabs(E[i] - label.energy);
        sum[SUM_LABELS] += 1;
    }
done:
    KS_FREE(H);
    KS_FREE(ref);
    KS_FREE(E);
    KS_FREE(mask);
    return st;
}

/* n frames of one composition, in the slots slot0...; built when they are not there yet. */
static ks_status run_pass(ks_trainer *t, int64_t s, const int64_t *frames, int64_t n, int64_t slot0, int build,
                          ks_model *model, double *sum) {
    ks_status        st      = KS_OK;
    ks_valid_set    *v       = &t->valid;
    const ks_frames *f       = t->data->frames;
    const int64_t    n_atom  = t->data->system[s]->n_atom;
    ks_segment       segment = {v->tensors[s], n, v->slot_b};
    ks_batch         batch   = {1, &segment};
    double           terms[KS_TERM_N];
    ks_refine_result result;
    for (int64_t i = 0; i < n; i++) {
        v->slot[i]   = (int32_t)(slot0 + i);
        v->charge[i] = f->charge[frames[i]];
        memcpy(v->pos + i * n_atom * 3, f->pos + 3 * f->atom_off[frames[i]], (size_t)(n_atom * 3) * sizeof(double));
    }
    KS_TRY(ks_mem_to_backend(t->ctx, v->slot_b, v->slot, (size_t)n * sizeof *v->slot));
    if (build) KS_TRY(ks_tensors_build(v->tensors[s], n, v->slot, v->pos, v->charge));
    KS_TRY(ks_pass_reserve(t->ctx, &t->buf, &batch, 0));
    KS_TRY(ks_pass_h0(t->ctx, model, &batch, 0, &t->buf));
    KS_TRY(ks_loss_terms_reset(t->ctx, t->eval_terms));
    KS_TRY(ks_loss_step(t->ctx, t->eval_loss, t->eval_refine, &batch, t->buf.H0, NULL, NULL, 1.0, NULL, t->eval_terms));
    KS_TRY(ks_mem_to_host(t->ctx, terms, t->eval_terms, sizeof terms));
    sum[SUM_ENERGY] += terms[KS_TERM_ENERGY];
    sum[SUM_COUNTED] += terms[KS_TERM_COUNTED];
    sum[SUM_MASKED] += (double)n - terms[KS_TERM_COUNTED];
    const double n_ao = (double)t->data->system[s]->n_ao;
    sum[SUM_COMMUTATOR] += terms[KS_TERM_COMMUTATOR] / (n_ao * n_ao);
    if (model && t->data->labels) {
        KS_TRY(ks_refine_fwd(t->ctx, t->eval_refine, &batch, t->buf.H0, 0, &result));
        KS_TRY(label_errors(t, &batch, frames, &result, sum));
    }
done:
    return st;
}

static ks_status run_set(ks_trainer *t, ks_model *model, double *sum) {
    ks_status     st = KS_OK;
    ks_valid_set *v  = &t->valid;
    memset(sum, 0, N_SUM * sizeof *sum);
    for (int64_t s = 0; s < v->n_system; s++) {
        const int64_t n = v->first[s + 1] - v->first[s];
        if (n == 0) continue;
        const int64_t cap  = v->tensors[s]->capacity;
        const int     fits = cap >= n;
        const int64_t most = t->plan.micro_batch < cap ? t->plan.micro_batch : cap;
        for (int64_t i = 0; i < n; i += most) {
            const int64_t count = n - i < most ? n - i : most;
            KS_TRY(run_pass(t, s, v->frame + v->first[s] + i, count, fits ? i : 0, !(fits && v->is_built), model, sum));
        }
    }
    v->is_built = 1; /* those that fit; compositions that do not are rebuilt each time anyway */
    KS_TRY(ks_comm_host_sum(t->comm, "validation", N_SUM, sum));
done:
    return st;
}

ks_status ks_trainer_validate(ks_trainer *t, ks_valid_result *out, int *is_best) {
    ks_status     st    = KS_OK;
    ks_valid_set *v     = &t->valid;
    const double  start = ks_wall_seconds();
    double        sum[N_SUM];
    KS_CHECK(v->n_total > 0, KS_ERR_ARG, "no validation frames");
    if (!v->has_no_network) {
        KS_TRY(run_set(t, NULL, sum));
        v->energy_no_network = sum[SUM_COUNTED] > 0 ? sum[SUM_ENERGY] / sum[SUM_COUNTED] : NAN;
        v->has_no_network    = 1;
    }
    KS_TRY(run_set(t, t->model, sum));
    const double n       = sum[SUM_COUNTED] > 0 ? sum[SUM_COUNTED] : NAN,
                 n_label = sum[SUM_LABELS] > 0 ? sum[SUM_LABELS] : NAN;
    *out                 = (ks_valid_result){.n_frame           = v->n_total,
                                             .n_masked          = (int64_t)sum[SUM_MASKED],
                                             .energy            = sum[SUM_ENERGY] / n,
                                             .energy_no_network = v->energy_no_network,
                                             .commutator_rms    = sqrt(sum[SUM_COMMUTATOR] / n),
                                             .energy_mae        = sum[SUM_ENERGY_ERROR] / n_label,
                                             .h_mae             = sum[SUM_H_ERROR] / n_label,
                                             .seconds           = ks_wall_seconds() - start};
    /* An energy over fewer frames is not comparable: such a model is never the best. */
    *is_best = out->n_masked == 0 && (t->best_step < 0 || out->energy < t->best_energy);
    if (*is_best) {
        t->best_energy = out->energy;
        t->best_step   = t->step;
    }
done:
    return st;
}
