/* geometry.c -- frames in memory, selections, and which reader a file goes to. */
#include "ksgrad/geometry.h"
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "io/frames.h"
#include "core/text.h"
#include "ksgrad/context.h"
#include "ksgrad/data.h"

ks_status ks_frames_alloc(const char *source, int64_t n_frame, int64_t n_atom, int energies, int forces,
                          ks_frames **out) {
    ks_status  st = KS_OK;
    ks_frames *f  = NULL;
    int64_t    n3 = 0;
    *out          = NULL;
    KS_TRY(ks_mul_i64(n_atom, 3, &n3));
    KS_TRY(KS_ZNEW(f, 1));
    f->n_frame = n_frame;
    KS_TRY(ks_host_strdup(source ? source : "", &f->source));
    KS_TRY(KS_ZNEW(f->atom_off, n_frame + 1));
    KS_TRY(KS_ZNEW(f->Z, n_atom));
    KS_TRY(KS_ZNEW(f->pos, n3));
    KS_TRY(KS_ZNEW(f->charge, n_frame));
    if (energies) KS_TRY(KS_ZNEW(f->external_energy, n_frame));
    if (forces) KS_TRY(KS_ZNEW(f->external_force, n3));
    snprintf(f->external_unit, sizeof f->external_unit, "unknown");
    *out = f;
    f    = NULL;
done:
    ks_frames_destroy(&f);
    return st;
}

void ks_frames_destroy(ks_frames **frames) {
    if (!frames || !*frames) return;
    ks_frames *f = *frames;
    KS_FREE(f->source);
    KS_FREE(f->atom_off);
    KS_FREE(f->Z);
    KS_FREE(f->pos);
    KS_FREE(f->charge);
    KS_FREE(f->external_energy);
    KS_FREE(f->external_force);
    KS_FREE(*frames);
}

ks_status ks_frames_check(const ks_frames *f) {
    ks_status st = KS_OK;
    KS_CHECK(f->n_frame >= 1, KS_ERR_DATA, "%s: no frames", f->source);
    for (int64_t k = 0; k < f->n_frame; k++) {
        const int64_t a0 = f->atom_off[k], n = f->atom_off[k + 1] - a0;
        KS_CHECK(n >= 1 && n <= KS_FRAME_MAX_ATOM, KS_ERR_DATA, "%s: frame %lld has %lld atoms, expected 1 to %d",
                 f->source, (long long)k, (long long)n, KS_FRAME_MAX_ATOM);
        for (int64_t a = 0; a < n; a++) {
            const double *r = f->pos + 3 * (a0 + a);
            KS_CHECK(ks_element_symbol(f->Z[a0 + a]), KS_ERR_DATA,
                     "%s: frame %lld, atom %lld: atomic number %d, expected 1 to 118", f->source, (long long)k,
                     (long long)a, (int)f->Z[a0 + a]);
            KS_CHECK(isfinite(r[0]) && isfinite(r[1]) && isfinite(r[2]) && fabs(r[0]) < 1e6 && fabs(r[1]) < 1e6 &&
                         fabs(r[2]) < 1e6,
                     KS_ERR_DATA,
                     "%s: frame %lld, atom %lld: coordinates (%g, %g, %g) bohr, expected finite numbers below 1e6",
                     f->source, (long long)k, (long long)a, r[0], r[1], r[2]);
            for (int64_t b = 0; b < a; b++) {
                const double *s = f->pos + 3 * (a0 + b);
                const double  x = r[0] - s[0], y = r[1] - s[1], z = r[2] - s[2], d2 = x * x + y * y + z * z;
                KS_CHECK(d2 >= KS_ATOM_MIN_BOHR * KS_ATOM_MIN_BOHR, KS_ERR_DATA,
                         "%s: frame %lld: atoms %lld and %lld are %.3g bohr apart, the limit is %g", f->source,
                         (long long)k, (long long)b, (long long)a, sqrt(d2), KS_ATOM_MIN_BOHR);
            }
        }
    }
done:
    return st;
}

ks_status ks_frames_select(const ks_frames *in, int64_t n, const int64_t *index, ks_frames **out) {
    ks_status  st     = KS_OK;
    ks_frames *f      = NULL;
    int64_t    n_atom = 0;
    KS_CHECK(in && out && n >= 0 && (index || n == 0), KS_ERR_ARG, "selection of %lld frames", (long long)n);
    *out = NULL;
    for (int64_t k = 0; k < n; k++) {
        KS_CHECK(index[k] >= 0 && index[k] < in->n_frame, KS_ERR_ARG, "%s: frame %lld of %lld", in->source,
                 (long long)index[k], (long long)in->n_frame);
        n_atom += in->atom_off[index[k] + 1] - in->atom_off[index[k]];
    }
    KS_TRY(ks_frames_alloc(in->source, n, n_atom, in->external_energy != NULL, in->external_force != NULL, &f));
    memcpy(f->external_unit, in->external_unit, sizeof f->external_unit);
    for (int64_t k = 0; k < n; k++) {
        const int64_t from = in->atom_off[index[k]], m = in->atom_off[index[k] + 1] - from, to = f->atom_off[k];
        f->atom_off[k + 1] = to + m;
        f->charge[k]       = in->charge[index[k]];
        if (m) memcpy(f->Z + to, in->Z + from, (size_t)m * sizeof *f->Z);
        if (m) memcpy(f->pos + 3 * to, in->pos + 3 * from, (size_t)m * 3 * sizeof *f->pos);
        if (m && f->external_force)
            memcpy(f->external_force + 3 * to, in->external_force + 3 * from, (size_t)m * 3 * sizeof(double));
        if (f->external_energy) f->external_energy[k] = in->external_energy[index[k]];
    }
    *out = f;
    f    = NULL;
done:
    ks_frames_destroy(&f);
    return st;
}

/* One part of a slice: an optional integer up to ':' or the end. 1: there, 0: left out, -1: not an integer. */
static int slice_part(const char **p, int64_t *out) {
    char      *end   = NULL;
    const char first = **p;
    if (first == ':' || first == '\0') return 0;
    /* strtoll also takes blanks and a plus sign, which Python's slices on a command line have no use for. */
    if (first != '-' && (first < '0' || first > '9')) return -1;
    errno = 0;
    *out  = strtoll(*p, &end, 10);
    if (end == *p || errno) return -1;
    *p = end;
    return 1;
}

/* The clipping of slice.indices() in Python's reference. */
static int64_t clip(int64_t v, int64_t n, int64_t step) {
    const int64_t low = step < 0 ? -1 : 0, high = step < 0 ? n - 1 : n;
    if (v < 0) {
        v += n;
        return v < low ? low : v;
    }
    return v > high ? high : v;
}

ks_status ks_slice_parse(const char *spec, int64_t n, int64_t **index, int64_t *n_index) {
    ks_status   st     = KS_OK;
    int64_t    *idx    = NULL;
    int64_t     v[3]   = {0, 0, 1};
    int         has[3] = {0, 0, 0}, part = 0;
    const char *p = spec;
    KS_CHECK(spec && index && n_index && n >= 0, KS_ERR_ARG, "frames: NULL argument");
    *index   = NULL;
    *n_index = 0;
    for (;; part++) {
        has[part] = slice_part(&p, &v[part]);
        KS_CHECK(has[part] >= 0 && (*p == '\0' || (*p == ':' && part < 2)), KS_ERR_ARG,
                 "frames '%s': expected an index or a Python slice such as 5, 0:8, ::100, -3:", spec);
        if (*p == '\0') break;
        p++;
    }
    int64_t start, step = 1, count = 0;
    if (part == 0) {
        KS_CHECK(has[0], KS_ERR_ARG, "frames '': empty");
        start = v[0] < 0 ? v[0] + n : v[0];
        KS_CHECK(start >= 0 && start < n, KS_ERR_ARG, "frame %lld of %lld", (long long)v[0], (long long)n);
        count = 1;
    } else {
        step = part == 2 && has[2] ? v[2] : 1;
        KS_CHECK(step != 0 && step > -(INT64_MAX / 2) && step < INT64_MAX / 2, KS_ERR_ARG, "frames '%s': step %lld",
                 spec, (long long)step);
        start             = has[0] ? clip(v[0], n, step) : step < 0 ? n - 1 : 0;
        const int64_t end = has[1] ? clip(v[1], n, step) : step < 0 ? -1 : n;
        if (step > 0 && end > start) count = (end - start - 1) / step + 1;
        if (step < 0 && end < start) count = (start - end - 1) / -step + 1;
    }
    KS_CHECK(count > 0, KS_ERR_ARG, "frames '%s' of %lld selects nothing", spec, (long long)n);
    KS_TRY(KS_NEW(idx, count));
    for (int64_t k = 0; k < count; k++) idx[k] = start + k * step;
    *index   = idx;
    *n_index = count;
done:
    return st;
}

ks_status ks_frames_read(const char *path, ks_frames **out) {
    ks_status     st       = KS_OK;
    FILE         *f        = NULL;
    ks_data      *data     = NULL;
    unsigned char magic[8] = {0};
    KS_CHECK(path && *path && out, KS_ERR_ARG, "geometry: no file name");
    *out = NULL;
    f    = fopen(path, "rb");
    KS_CHECK(f, KS_ERR_IO, "%s: %s", path, strerror(errno));
    const size_t n = fread(magic, 1, sizeof magic, f);
    KS_CHECK(!ferror(f), KS_ERR_IO, "%s: %s", path, strerror(errno));
    KS_CHECK(n > 0, KS_ERR_DATA, "%s: empty file", path);
    const char *dot = strrchr(path, '.');
    if (memcmp(magic, "\x89HDF\r\n\x1a\n", 8) == 0) {
        KS_TRY(ks_data_open(path, &data));
        KS_TRY(ks_data_frames(data, -1, NULL, out));
    } else if (memcmp(magic, "PK", 2) == 0) {
        KS_TRY(ks_frames_read_npz(path, out));
    } else {
        KS_CHECK(!dot || (strcmp(dot, ".npz") != 0 && strcmp(dot, ".h5") != 0), KS_ERR_DATA,
                 "%s: neither a zip archive (.npz) nor HDF5 (.h5) by its first bytes", path);
        KS_TRY(ks_frames_read_xyz(path, out));
    }
done:
    if (f) fclose(f);
    ks_data_close(&data);
    if (st != KS_OK && out) ks_frames_destroy(out);
    return st;
}
