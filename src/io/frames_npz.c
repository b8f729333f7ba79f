/* frames_npz.c -- geometries from .npz: the layouts of MD17 (z, R, E, F) and rMD17 (nuclear_charges, coords, energies,
 * forces), and reference files with Z and pos_bohr or pos_angstrom. */
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include "io/frames.h"
#include "io/npz.h"
#include "ksgrad/context.h"

typedef struct layout {
    const char *Z, *pos, *energy, *force; /* NULL: not read */
    const char *unit;                     /* of the energies, when the file does not say */
    double      to_bohr;
} layout;

static const layout layouts[] = {
    {"z", "R", "E", "F", "unknown", 1.0 / KS_BOHR_ANG},
    {"nuclear_charges", "coords", "energies", "forces", "kcal/mol", 1.0 / KS_BOHR_ANG},
    {"Z", "pos_bohr", NULL, NULL, "unknown", 1.0},
    {"Z", "pos_angstrom", NULL, NULL, "unknown", 1.0 / KS_BOHR_ANG},
};

static const char *shape_text(int rank, const int64_t *shape, char *buf, size_t n) {
    size_t used = (size_t)snprintf(buf, n, "(");
    for (int k = 0; k < rank && used < n; k++)
        used += (size_t)snprintf(buf + used, n - used, k ? ", %lld" : "%lld", (long long)shape[k]);
    if (used < n) snprintf(buf + used, n - used, ")");
    return buf;
}

static ks_status length_unit(ks_npz *npz, const char *path, double *to_bohr) {
    ks_status st = KS_OK;
    char      unit[32];
    if (!ks_npz_has(npz, "r_unit")) goto done;
    KS_TRY(ks_npz_read_text(npz, "r_unit", unit, sizeof unit));
    if (strcasecmp(unit, "Ang") == 0 || strcasecmp(unit, "Angstrom") == 0 || strcasecmp(unit, "A") == 0)
        *to_bohr = 1.0 / KS_BOHR_ANG;
    else if (strcasecmp(unit, "bohr") == 0 || strcasecmp(unit, "a0") == 0 || strcasecmp(unit, "au") == 0)
        *to_bohr = 1.0;
    else KS_CHECK(0, KS_ERR_DATA, "%s: array 'r_unit' says '%s', expected Ang or bohr", path, unit);
done:
    return st;
}

ks_status ks_frames_read_npz(const char *path, ks_frames **out) {
    ks_status     st  = KS_OK;
    ks_npz       *npz = NULL;
    ks_frames    *f   = NULL;
    double       *pos = NULL, *energy = NULL, *force = NULL;
    int64_t      *Z      = NULL;
    const layout *l      = NULL;
    int           rank_Z = 0, rank_pos = 0, rank = 0;
    int64_t       shape_Z[KS_NPZ_MAX_RANK] = {0}, shape[KS_NPZ_MAX_RANK] = {0}, other[KS_NPZ_MAX_RANK] = {0};
    char          text[128], text2[128];
    *out = NULL;
    KS_TRY(ks_npz_open(path, &npz));
    for (size_t k = 0; !l && k < sizeof layouts / sizeof layouts[0]; k++)
        if (ks_npz_has(npz, layouts[k].Z) && ks_npz_has(npz, layouts[k].pos)) l = &layouts[k];
    if (!l) {
        char names[256];
        ks_npz_names(npz, names, sizeof names);
        KS_CHECK(0, KS_ERR_DATA, "%s: has arrays '%s', expected z and R (MD17) or nuclear_charges and coords (rMD17)",
                 path, names);
    }
    KS_TRY(ks_npz_read_f64(npz, l->pos, &rank_pos, shape, &pos));
    KS_CHECK((rank_pos == 3 && shape[2] == 3) || (rank_pos == 2 && shape[1] == 3), KS_ERR_DATA,
             "%s: array '%s' has shape %s, expected (n_frame, n_atom, 3)", path, l->pos,
             shape_text(rank_pos, shape, text, sizeof text));
    const int64_t n_frame = rank_pos == 3 ? shape[0] : 1, n_atom = shape[rank_pos - 2];
    KS_CHECK(n_frame >= 1 && n_atom >= 1 && n_atom <= KS_FRAME_MAX_ATOM, KS_ERR_DATA,
             "%s: array '%s' has shape %s, expected at least one frame and 1 to %d atoms", path, l->pos,
             shape_text(rank_pos, shape, text, sizeof text), KS_FRAME_MAX_ATOM);
    KS_TRY(ks_npz_read_i64(npz, l->Z, &rank_Z, shape_Z, &Z));
    KS_CHECK((rank_Z == 1 && shape_Z[0] == n_atom) || (rank_Z == 2 && shape_Z[0] == n_frame && shape_Z[1] == n_atom),
             KS_ERR_DATA, "%s: array '%s' has shape %s, expected (%lld)", path, l->Z,
             shape_text(rank_Z, shape_Z, text, sizeof text), (long long)n_atom);
    if (l->energy && ks_npz_has(npz, l->energy)) {
        KS_TRY(ks_npz_read_f64(npz, l->energy, &rank, other, &energy));
        KS_CHECK((rank == 0 && n_frame == 1) ||
                     (rank >= 1 && rank <= 2 && other[0] == n_frame && (rank == 1 || other[1] == 1)),
                 KS_ERR_DATA, "%s: array '%s' has shape %s, expected (%lld)", path, l->energy,
                 shape_text(rank, other, text, sizeof text), (long long)n_frame);
    }
    if (l->force && ks_npz_has(npz, l->force)) {
        KS_TRY(ks_npz_read_f64(npz, l->force, &rank, other, &force));
        KS_CHECK(rank == rank_pos && memcmp(other, shape, (size_t)rank * sizeof *shape) == 0, KS_ERR_DATA,
                 "%s: array '%s' has shape %s, expected %s as '%s'", path, l->force,
                 shape_text(rank, other, text, sizeof text), shape_text(rank_pos, shape, text2, sizeof text2), l->pos);
    }
    double to_bohr = l->to_bohr;
    if (l->to_bohr != 1.0) KS_TRY(length_unit(npz, path, &to_bohr));
    KS_TRY(ks_frames_alloc(path, n_frame, n_frame * n_atom, energy != NULL, force != NULL, &f));
    snprintf(f->external_unit, sizeof f->external_unit, "%s", l->unit);
    if (energy && ks_npz_has(npz, "e_unit"))
        KS_TRY(ks_npz_read_text(npz, "e_unit", f->external_unit, sizeof f->external_unit));
    for (int64_t k = 0; k < n_frame; k++) {
        f->atom_off[k + 1] = (k + 1) * n_atom;
        for (int64_t a = 0; a < n_atom; a++) {
            const int64_t z = Z[rank_Z == 1 ? a : k * n_atom + a];
            KS_CHECK(z >= 1 && z <= 118, KS_ERR_DATA,
                     "%s: array '%s': atomic number %lld of atom %lld, expected 1 to 118", path, l->Z, (long long)z,
                     (long long)a);
            f->Z[k * n_atom + a] = (int32_t)z;
        }
        if (energy) f->external_energy[k] = energy[k];
    }
    for (int64_t k = 0; k < n_frame * n_atom * 3; k++) {
        /* Divided, as every reader does it: equal geometries give equal bits whatever the format. */
        f->pos[k] = to_bohr == 1.0 ? pos[k] : pos[k] / KS_BOHR_ANG;
        if (force) f->external_force[k] = force[k];
    }
    KS_TRY(ks_frames_check(f));
    *out = f;
    f    = NULL;
done:
    ks_frames_destroy(&f);
    KS_FREE(pos);
    KS_FREE(energy);
    KS_FREE(force);
    KS_FREE(Z);
    ks_npz_close(&npz);
    return st;
}
