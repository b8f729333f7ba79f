/* trainer_data.c -- see train.h: the data of a run. */
#include <stdio.h>
#include <string.h>
#include "core/hash.h"
#include "ksgrad/train.h"

/* ---- split ---- */

static ks_status split_in_order(int64_t n_frame, const int64_t sizes[KS_N_PART], ks_split **out) {
    ks_status st   = KS_OK;
    ks_split *s    = NULL;
    int64_t   next = 0;
    KS_CHECK(sizes[0] + sizes[1] + sizes[2] <= n_frame, KS_ERR_DATA,
             "split of %lld + %lld + %lld frames, the file has %lld", (long long)sizes[0], (long long)sizes[1],
             (long long)sizes[2], (long long)n_frame);
    KS_TRY(KS_ZNEW(s, 1));
    snprintf(s->method, sizeof s->method, "index");
    for (int p = 0; p < KS_N_PART; p++) {
        s->n[p] = sizes[p];
        KS_TRY(KS_NEW(s->index[p], sizes[p]));
        for (int64_t i = 0; i < sizes[p]; i++) s->index[p][i] = next++;
    }
    *out = s;
    s    = NULL;
done:
    ks_split_destroy(&s);
    return st;
}

static ks_status split_named(const ks_config *c, ks_split **out) {
    ks_status st   = KS_OK;
    ks_data  *data = NULL;
    KS_CHECK(ks_data_is_data(c->data.file), KS_ERR_CONFIG,
             "data.split: '%s' is a name, but %s is not a ksgrad data file with named splits; "
             "give {method, seed, sizes}, or convert it with 'ksgrad data convert'",
             c->data.split, c->data.file);
    KS_TRY(ks_data_open(c->data.file, &data));
    KS_TRY(ks_data_split_read(data, c->data.split, out));
done:
    ks_data_close(&data);
    return st;
}

ks_status ks_config_split(const ks_config *c, int64_t n_frame, ks_split **out) {
    ks_status st               = KS_OK;
    int64_t   sizes[KS_N_PART] = {c->data.split_sizes[0], c->data.split_sizes[1], c->data.split_sizes[2]};
    if (c->data.split[0]) {
        KS_TRY(split_named(c, out));
        goto done;
    }
    if (c->data.split_n == 0) {
        sizes[KS_PART_VALID] = sizes[KS_PART_TEST] = n_frame / 10;
        sizes[KS_PART_TRAIN]                       = n_frame - 2 * (n_frame / 10);
    }
    KS_CHECK(sizes[0] + sizes[1] + sizes[2] <= n_frame, KS_ERR_CONFIG,
             "data.split.sizes: %lld + %lld + %lld frames, but %s has %lld", (long long)sizes[0], (long long)sizes[1],
             (long long)sizes[2], c->data.file, (long long)n_frame);
    if (c->data.split_method == KS_SPLIT_INDEX) KS_TRY(split_in_order(n_frame, sizes, out));
    else
        KS_TRY(ks_split_make(c->data.split_method == KS_SPLIT_RANDOM ? "random" : "numpy-legacy",
                             (uint64_t)c->data.split_seed, n_frame, sizes, out));
done:
    return st;
}

/* ---- systems ---- */

static ks_status find_systems(ks_run_data *d) {
    ks_status        st = KS_OK;
    const ks_frames *f  = d->frames;
    ks_system      **grown;
    KS_TRY(KS_NEW(d->frame_system, f->n_frame));
    for (int64_t i = 0; i < f->n_frame; i++) {
        const int64_t  n = f->atom_off[i + 1] - f->atom_off[i];
        const int32_t *Z = f->Z + f->atom_off[i];
        int64_t        s = i ? d->frame_system[i - 1] : 0; /* most files hold runs of one composition */
        if (i && !ks_system_is_same(d->system[s], n, Z))
            for (s = 0; s < d->n_system && !ks_system_is_same(d->system[s], n, Z); s++) {
            }
        if (!i || s == d->n_system) {
            grown = NULL;
            KS_TRY(KS_ZNEW(grown, d->n_system + 1));
            if (d->n_system) memcpy(grown, d->system, (size_t)d->n_system * sizeof *grown);
            KS_FREE(d->system);
            d->system = grown;
            s         = d->n_system;
            KS_TRY(ks_system_create(d->basis, n, Z, &d->system[s]));
            d->n_system++;
        }
        d->frame_system[i] = (int32_t)s;
    }
done:
    return st;
}

static void make_hash(ks_run_data *d) {
    const ks_frames *f       = d->frames;
    const int64_t    n_total = f->atom_off[f->n_frame];
    uint64_t         h       = KS_HASH_START;
    h                        = ks_hash_bytes(h, f->atom_off, (size_t)(f->n_frame + 1) * sizeof f->atom_off[0]);
    h                        = ks_hash_bytes(h, f->Z, (size_t)n_total * sizeof f->Z[0]);
    h                        = ks_hash_bytes(h, f->pos, (size_t)(n_total * 3) * sizeof f->pos[0]);
    h                        = ks_hash_bytes(h, f->charge, (size_t)f->n_frame * sizeof f->charge[0]);
    for (int p = 0; p < KS_N_PART; p++)
        h = ks_hash_bytes(h, d->split->index[p], (size_t)d->split->n[p] * sizeof(int64_t));
    d->hash = h;
}

/* ---- labels ---- */

static ks_status open_labels(const ks_config *c, ks_run_data *d) {
    ks_status st = KS_OK;
    ks_method method;
    int64_t   n_train = 0, n_valid = 0;
    d->needs_labels  = c->loss.hamiltonian > 0 || c->loss.density > 0;
    const char *term = c->loss.hamiltonian > 0 ? "loss.hamiltonian" : "loss.density";
    if (!ks_data_is_data(c->data.file)) {
        KS_CHECK(
            !d->needs_labels, KS_ERR_DATA,
            "%s > 0 needs labels, but %s has none: 0 of %lld training frames; make them with 'ksgrad data convert' "
            "and 'ksgrad data label'",
            term, c->data.file, (long long)d->split->n[KS_PART_TRAIN]);
        goto done;
    }
    KS_TRY(ks_config_method(c, &method));
    snprintf(d->label_method.xc, sizeof d->label_method.xc, "%s", method.xc->name);
    snprintf(d->label_method.basis, sizeof d->label_method.basis, "%s", ks_basis_name(d->basis));
    d->label_method.grid_level = method.grid_level;
    KS_TRY(ks_data_open(c->data.file, &d->labels));
    for (int64_t i = 0; i < d->split->n[KS_PART_TRAIN]; i++)
        n_train += ks_data_has_label(d->labels, &d->label_method, d->split->index[KS_PART_TRAIN][i]);
    for (int64_t i = 0; i < d->split->n[KS_PART_VALID]; i++)
        n_valid += ks_data_has_label(d->labels, &d->label_method, d->split->index[KS_PART_VALID][i]);
    KS_CHECK(!d->needs_labels || n_train == d->split->n[KS_PART_TRAIN], KS_ERR_DATA,
             "%s > 0 needs a label of %s/%s, grid %d, for every training frame: %s has %lld of %lld (and %lld of %lld "
             "validation frames); make them with "
             "'ksgrad data label'",
             term, d->label_method.xc, d->label_method.basis, d->label_method.grid_level, c->data.file,
             (long long)n_train, (long long)d->split->n[KS_PART_TRAIN], (long long)n_valid,
             (long long)d->split->n[KS_PART_VALID]);
    if (n_train + n_valid == 0) ks_data_close(&d->labels);
done:
    return st;
}

ks_status ks_run_data_open(const ks_config *c, ks_run_data **out) {
    ks_status    st = KS_OK;
    ks_run_data *d  = NULL;
    KS_CHECK(c && out, KS_ERR_ARG, "run data: NULL argument");
    KS_CHECK(c->data.file[0], KS_ERR_CONFIG, "data.file is missing: which geometries?");
    KS_TRY(KS_ZNEW(d, 1));
    KS_TRY(ks_frames_read(c->data.file, &d->frames));
    KS_TRY(ks_config_split(c, d->frames->n_frame, &d->split));
    KS_CHECK(d->split->n[KS_PART_TRAIN] > 0, KS_ERR_CONFIG, "data.split: no training frames in %s (%lld frames)",
             c->data.file, (long long)d->frames->n_frame);
    KS_TRY(ks_basis_load(c->method.basis, &d->basis));
    KS_TRY(find_systems(d));
    make_hash(d);
    KS_TRY(open_labels(c, d));
    *out = d;
    d    = NULL;
done:
    ks_run_data_close(&d);
    return st;
}

void ks_run_data_close(ks_run_data **pdata) {
    if (!pdata || !*pdata) return;
    ks_run_data *d = *pdata;
    ks_data_close(&d->labels);
    for (int64_t s = 0; s < d->n_system; s++) ks_system_destroy(&d->system[s]);
    KS_FREE(d->system);
    KS_FREE(d->frame_system);
    ks_split_destroy(&d->split);
    ks_basis_destroy(&d->basis);
    ks_frames_destroy(&d->frames);
    KS_FREE(*pdata);
}
