/* test_geometry.c -- geometry files: npz layouts, xyz, extended xyz, selections; good, damaged and cut ones. */
#include <string.h>
#include <unistd.h>
#include "ks_test.h"

#define FIXTURE(name) KS_TEST_SOURCE_DIR "/tests/fixtures/geom_" name ".npz"

static const double W[3][3] = {{0, 0, 0.1173}, {0, 0.7572, -0.4692}, {0, -0.7572, -0.4692}};

static const char *temp_file(const char *suffix, const void *bytes, size_t n) {
    static char path[64];
    snprintf(path, sizeof path, "/tmp/ksgrad_geom_%d%s", (int)getpid(), suffix);
    FILE *f = fopen(path, "wb");
    if (f) {
        if (n) fwrite(bytes, 1, n, f);
        fclose(f);
    }
    return path;
}
static const char *temp_text(const char *text) { return temp_file(".xyz", text, strlen(text)); }

/* The frames of make_geometry.py; tol in Angstrom. */
static void check_waters(const char *path, int64_t n_frame, int first, double tol, int energies, int forces,
                         const char *unit) {
    ks_frames *f = NULL;
    T_OK(ks_frames_read(path, &f));
    T_CHECK(f->n_frame == n_frame && f->atom_off[n_frame] == 3 * n_frame && strcmp(f->source, path) == 0, "%s", path);
    T_CHECK(!!f->external_energy == energies && !!f->external_force == forces, "%s: external data", path);
    T_CHECK(strcmp(f->external_unit, unit) == 0, "%s: unit '%s'", path, f->external_unit);
    for (int64_t k = 0; k < n_frame; k++)
        for (int a = 0; a < 3; a++) {
            T_CHECK(f->Z[3 * k + a] == (a ? 1 : 8), "Z %d", f->Z[3 * k + a]);
            for (int x = 0; x < 3; x++) {
                T_CLOSE(f->pos[9 * k + 3 * a + x] * KS_BOHR_ANG, W[a][x] + 0.1 * (double)(k + first), tol, 0);
                if (forces) T_CLOSE(f->external_force[9 * k + 3 * a + x], 0.01 * (double)k + 0.1 * a + x, 1e-15, 0);
            }
        }
    for (int64_t k = 0; k < n_frame; k++) {
        T_CHECK(f->charge[k] == 0, "charge");
        if (energies) T_CHECK(f->external_energy[k] == -100 - (double)k, "energy %g", f->external_energy[k]);
    }
    ks_frames_destroy(&f);
}

static void npz_layouts(void) {
    check_waters(FIXTURE("md17"), 3, 0, 1e-15, 1, 1, "kcal/mol");
    check_waters(FIXTURE("rmd17"), 3, 0, 1e-15, 1, 1, "kcal/mol");
    check_waters(FIXTURE("f4"), 3, 0, 4e-8, 0, 0, "unknown"); /* single precision */
    check_waters(FIXTURE("fortran"), 3, 0, 1e-15, 1, 1, "unknown");
    check_waters(FIXTURE("single"), 1, 1, 1e-15, 0, 0, "unknown");
    check_waters(FIXTURE("bohr"), 3, 0, 1e-15, 0, 0, "unknown");
    check_waters(FIXTURE("v2"), 3, 0, 1e-15, 0, 0, "unknown");
    check_waters(FIXTURE("v3"), 3, 0, 1e-15, 0, 0, "unknown");
    ks_frames *f = NULL;
    T_OK(ks_frames_read(FIXTURE("perframe"), &f));
    for (int k = 0; k < 3; k++)
        for (int a = 0; a < 3; a++) T_CHECK(f->Z[3 * k + a] == (a == k ? 8 : 1), "frame %d atom %d", k, a);
    ks_frames_destroy(&f);
}

static void refused(const char *path, ks_status code, const char *w1, const char *w2) {
    ks_frames *f = NULL;
    T_ERR(ks_frames_read(path, &f), code);
    T_CHECK(strstr(ks_error_message(), w1) && strstr(ks_error_message(), w2), "message: %s", ks_error_message());
    T_CHECK(!f, "no object on failure");
    ks_frames_destroy(&f);
}

static void npz_errors(void) {
    refused(FIXTURE("bad_keys"), KS_ERR_DATA, "positions", "nuclear_charges");
    refused(FIXTURE("bad_shape"), KS_ERR_DATA, "'R' has shape (3, 3, 2)", "n_atom, 3");
    refused(FIXTURE("bad_z"), KS_ERR_DATA, "'z' has shape (2)", "(3)");
    refused(FIXTURE("bad_zvalue"), KS_ERR_DATA, "200", "118");
    refused(FIXTURE("bad_zfloat"), KS_ERR_DATA, "'z'", "integers");
    refused(FIXTURE("bad_energy"), KS_ERR_DATA, "'E' has shape (2)", "(3)");
    refused(FIXTURE("bad_force"), KS_ERR_DATA, "'F' has shape (2, 3, 3)", "(3, 3, 3)");
    refused(FIXTURE("bad_unit"), KS_ERR_DATA, "r_unit", "feet");
    refused(FIXTURE("bad_big"), KS_ERR_UNSUPPORTED, "'R'", "big-endian");
    refused(FIXTURE("bad_nan"), KS_ERR_DATA, "frame 2, atom 1", "nan");
    refused(FIXTURE("bad_close"), KS_ERR_DATA, "frame 1: atoms 1 and 2", "0.001");
    refused(FIXTURE("bad_size"), KS_ERR_DATA, "'R' has 208 bytes", "216");
    refused(FIXTURE("bad_more"), KS_ERR_DATA, "'R' has 224 bytes", "216");
    refused(FIXTURE("bad_version"), KS_ERR_UNSUPPORTED, "'R'", "version 9");
    refused(FIXTURE("bad_header"), KS_ERR_DATA, "'R'", "shade");
    refused(FIXTURE("bad_object"), KS_ERR_DATA, "'R'", "");
    refused(FIXTURE("bad_huge"), KS_ERR_DATA, "'R'", "");
    refused("/no/such.npz", KS_ERR_IO, "/no/such.npz", "No such file");
    refused("/tmp", KS_ERR_IO, "/tmp", "");
    refused(temp_file(".npz", "hello", 5), KS_ERR_DATA, "zip", "");
    refused(temp_file(".npz", "PK\3\4 hello", 10), KS_ERR_DATA, "zip", "");
    refused(temp_file(".npz", "", 0), KS_ERR_DATA, "empty", "");
    remove(temp_file(".npz", "", 0));
}

static const char good[] = "3\nLattice=\"9 0 0 0 9 0 0 0 9\" pbc=\"F F F\" "
                           "Properties=species:S:1:pos:R:3:mass:R:1:forces:R:3 energy=-100 charge=-1\n"
                           "O 0.0 0.0 0.1173 15.99 0.0 1.0 2.0\n"
                           "H 0.0 0.7572 -0.4692 1.008 0.1 1.1 2.1\n"
                           "H 0.0 -0.7572 -0.4692 1.008 0.2 1.2 2.2\n"
                           "\n"
                           "2\nProperties=Z:I:1:pos:R:3:forces:R:3 energy=-2.5e1 name=\"a = b\"\n"
                           "7 0.0 0.0 0.0 0.0 0.0 0.0\n"
                           "7 0.0 0.0 1.1 0.0 0.0 1.0\n";

static void xyz(void) {
    ks_frames *f = NULL;
    T_OK(ks_frames_read(temp_text(good), &f));
    T_CHECK(f->n_frame == 2 && f->atom_off[1] == 3 && f->atom_off[2] == 5, "%lld frames", (long long)f->n_frame);
    T_CHECK(f->Z[0] == 8 && f->Z[2] == 1 && f->Z[3] == 7, "elements");
    T_CHECK(f->charge[0] == -1 && f->charge[1] == 0, "charges");
    T_CHECK(f->external_energy[0] == -100 && f->external_energy[1] == -25, "energies");
    T_CHECK(f->external_force[5] == 2.1 && f->external_force[14] == 1.0, "forces");
    T_CHECK(f->pos[5] == -0.4692 / KS_BOHR_ANG && f->pos[14] == 1.1 / KS_BOHR_ANG,
            "positions are divided, bit for bit");
    ks_frames_destroy(&f);
    /* Plain: CRLF, tabs, numbers for elements, lower case, extra columns, Fortran exponents, no final newline. */
    T_OK(ks_frames_read(
        temp_text("2\r\nwater energy=3 is not read here\r\no 0 0 0 ignored\r\n1\t0\t0\t9.6D-01\r\n1\n\nHe 1 2 3"), &f));
    T_CHECK(f->n_frame == 2 && f->Z[0] == 8 && f->Z[1] == 1 && f->Z[2] == 2, "plain");
    T_CHECK(f->pos[5] == 0.96 / KS_BOHR_ANG && !f->external_energy && !f->external_force, "plain values");
    ks_frames_destroy(&f);
}

static void xyz_errors(void) {
    refused(temp_text("3\n\nO 0 0 0\nH 0 0 1\n"), KS_ERR_DATA, ":4:", "2 of 3");
    refused(temp_text("x\n\nO 0 0 0\n"), KS_ERR_DATA, ":1:", "'x'");
    refused(temp_text("0\n\n"), KS_ERR_DATA, ":1:", "'0'");
    refused(temp_text("-1\n\n"), KS_ERR_DATA, ":1:", "'-1'");
    refused(temp_text("99999999999999999999\n\n"), KS_ERR_DATA, ":1:", "9999");
    refused(temp_text("999999999\n\nO 0 0 0\n"), KS_ERR_DATA, ":1:", "4096");
    refused(temp_text("1 2\n\nO 0 0 0\n"), KS_ERR_DATA, ":1:", "");
    refused(temp_text("1\n"), KS_ERR_DATA, ":1:", "comment");
    refused(temp_text("1\n\nO 0 0\n"), KS_ERR_DATA, ":3:", "3 columns");
    refused(temp_text("1\n\nO 0 0 abc\n"), KS_ERR_DATA, ":3:", "'abc'");
    refused(temp_text("1\n\nO 0 0 nan\n"), KS_ERR_DATA, ":3:", "'nan'");
    refused(temp_text("1\n\nO 0 0 inf\n"), KS_ERR_DATA, ":3:", "'inf'");
    refused(temp_text("1\n\nO 0 0 1e999\n"), KS_ERR_DATA, ":3:", "1e999");
    refused(temp_text("1\n\nO 0 0 1e9\n"), KS_ERR_DATA, ":3:", "1e9");
    refused(temp_text("1\n\nO 0 0 0x10\n"), KS_ERR_DATA, ":3:", "0x10");
    refused(temp_text("1\n\nXq 0 0 1\n"), KS_ERR_DATA, ":3:", "'Xq'");
    refused(temp_text("2\n\nH 0 0 1\nH 0 0 1.0001\n"), KS_ERR_DATA, "frame 0: atoms 0 and 1", "0.001");
    refused(temp_text("1\nProperties=species:S:1:pos:R:3\nO 0 0 1 5\n"), KS_ERR_DATA, ":3:", "expected 4");
    refused(temp_text("1\nProperties=species:S:1:pos:R:2\nO 0 0\n"), KS_ERR_DATA, ":2:", "pos:R:3");
    refused(temp_text("1\nProperties=species:S:1:pos:R\nO 0 0\n"), KS_ERR_DATA, ":2:", "pos");
    refused(temp_text("1\nProperties=species:S:1:pos:R:3:big:R:100000\nO 0 0 0\n"), KS_ERR_DATA, ":2:", "big");
    refused(temp_text("1\nLattice=\"9 0 0 0 9 0 0 0 9\"\nO 0 0 0\n"), KS_ERR_UNSUPPORTED, ":2:", "periodic");
    refused(temp_text("1\nLattice=\"9 0 0 0 9 0 0 0 9\" pbc=\"F F T\"\nO 0 0 0\n"), KS_ERR_UNSUPPORTED,
            ":2:", "periodic");
    refused(temp_text("1\nProperties=species:S:1:pos:R:3 energy=abc\nO 0 0 0\n"), KS_ERR_DATA, ":2:", "abc");
    refused(temp_text("1\ncharge=1.5\nO 0 0 0\n"), KS_ERR_DATA, ":2:", "1.5");
    refused(temp_text("1\nProperties=species:S:1:pos:R:3 energy=1\nO 0 0 0\n1\n\nO 0 0 0\n"), KS_ERR_DATA, "1 of 2",
            "energy");
    refused(temp_text("1\n\nO 0.00 0.00 0.0"), KS_ERR_DATA, "newline", "");
    refused(temp_text("\n\n"), KS_ERR_DATA, "no frames", "");
    refused(temp_file(".xyz", "1\n\nO 0 0 \0001\n", 13), KS_ERR_DATA, "NUL", "");
}

/* Every cut of a file is refused, or gives only whole frames of the original. */
static void truncation(const char *path, const char *suffix, int allow_frames) {
    static char bytes[16384];
    FILE       *f = fopen(path, "rb");
    T_CHECK(f, "%s", path);
    if (!f) return;
    const size_t n = fread(bytes, 1, sizeof bytes, f);
    fclose(f);
    ks_frames *full = NULL, *cut = NULL;
    T_OK(ks_frames_read(path, &full));
    int accepted = 0, wrong = 0;
    for (size_t k = 0; k < n; k++) {
        if (ks_frames_read(temp_file(suffix, bytes, k), &cut) != KS_OK) {
            wrong += cut != NULL;
            continue;
        }
        accepted++;
        /* Only the newline at the very end may be missing without loss. */
        wrong += cut->n_frame < 1 || cut->n_frame > full->n_frame ||
                 memcmp(cut->pos, full->pos, (size_t)cut->atom_off[cut->n_frame] * 3 * sizeof(double)) != 0 ||
                 memcmp(cut->atom_off, full->atom_off, (size_t)(cut->n_frame + 1) * sizeof(int64_t)) != 0 ||
                 (full->external_energy &&
                  memcmp(cut->external_energy, full->external_energy, (size_t)cut->n_frame * sizeof(double)) != 0);
        ks_frames_destroy(&cut);
    }
    T_CHECK(wrong == 0 && accepted <= allow_frames, "%s: %d cuts accepted, %d of them wrong", path, accepted, wrong);
    remove(temp_file(suffix, "", 0));
    ks_frames_destroy(&full);
}

/* One changed byte in an archive: an error or the same frames (names and dates carry no geometry). */
static void flips(const char *path) {
    static char bytes[16384];
    FILE       *f = fopen(path, "rb");
    if (!f) return;
    const size_t n = fread(bytes, 1, sizeof bytes, f);
    fclose(f);
    ks_frames *full = NULL, *other = NULL;
    int        wrong = 0, refused_n = 0;
    T_OK(ks_frames_read(path, &full));
    for (size_t k = 0; k < n; k++) {
        bytes[k] ^= 0x15;
        if (ks_frames_read(temp_file(".npz", bytes, n), &other) != KS_OK) refused_n++;
        else
            wrong += other->n_frame != full->n_frame ||
                     memcmp(other->pos, full->pos, (size_t)full->atom_off[full->n_frame] * 24) != 0;
        ks_frames_destroy(&other);
        bytes[k] ^= 0x15;
    }
    T_CHECK(wrong == 0 && refused_n > (int)n / 3, "%d of %zu changed archives refused, %d gave other frames", refused_n,
            n, wrong);
    remove(temp_file(".npz", "", 0));
    ks_frames_destroy(&full);
}

static void slices(void) {
    static const struct {
        const char *spec;
        int64_t     n, count, idx[8];
    } c[]        = {/* as Python's range(n)[spec] */
             {"5", 10, 1, {5}},
             {"-1", 10, 1, {9}},
             {"0:3", 10, 3, {0, 1, 2}},
             {":", 3, 3, {0, 1, 2}},
             {"::", 3, 3, {0, 1, 2}},
             {"::4", 10, 3, {0, 4, 8}},
             {"-3:", 10, 3, {7, 8, 9}},
             {":-8", 10, 2, {0, 1}},
             {"8:100", 10, 2, {8, 9}},
             {"-100:2", 10, 2, {0, 1}},
             {"::-1", 3, 3, {2, 1, 0}},
             {"7:2:-2", 10, 3, {7, 5, 3}},
             {"1:8:3", 10, 3, {1, 4, 7}},
             {"100::-5", 10, 2, {9, 4}},
             {":2:", 10, 2, {0, 1}},
             {"9::5", 10, 1, {9}},
             {":-4:-1", 10, 3, {9, 8, 7}},
             {"-2:-5:-1", 10, 3, {8, 7, 6}},
             {"2::9223372036854", 10, 1, {2}}};
    int64_t *idx = NULL, n = 0;
    for (size_t k = 0; k < sizeof c / sizeof c[0]; k++) {
        T_OK(ks_slice_parse(c[k].spec, c[k].n, &idx, &n));
        T_CHECK(n == c[k].count, "'%s': %lld", c[k].spec, (long long)n);
        for (int64_t i = 0; i < n && i < c[k].count; i++)
            T_CHECK(idx[i] == c[k].idx[i], "'%s'[%lld] = %lld", c[k].spec, (long long)i, (long long)idx[i]);
        KS_FREE(idx);
    }
    static const char *const bad[] = {"",       "a",   "10", "-11", "3:3", "5:2", "::0", "1:2:3:4",
                                      "1.5",    "0x1", " 1", "1 ",  "+1",  "::-", "1:b", "99999999999999999999",
                                      "2:5:-1", ":::"};
    for (size_t k = 0; k < sizeof bad / sizeof bad[0]; k++) {
        T_ERR(ks_slice_parse(bad[k], 10, &idx, &n), KS_ERR_ARG);
        T_CHECK(!idx && n == 0, "'%s'", bad[k]);
    }
    T_ERR(ks_slice_parse(":", 0, &idx, &n), KS_ERR_ARG);
}

static void select_frames(void) {
    ks_frames    *f = NULL, *g = NULL;
    const int64_t idx[3] = {1, 0, 1}, far[1] = {2};
    T_OK(ks_frames_read(temp_text(good), &f));
    T_OK(ks_frames_select(f, 3, idx, &g));
    T_CHECK(g->n_frame == 3 && g->atom_off[3] == 7 && g->Z[0] == 7 && g->Z[2] == 8 && g->Z[6] == 7, "order");
    T_CHECK(g->charge[1] == -1 && g->external_energy[2] == -25 && g->pos[20] == 1.1 / KS_BOHR_ANG &&
                g->external_force[11] == 2.1,
            "values");
    ks_frames_destroy(&g);
    T_ERR(ks_frames_select(f, 1, far, &g), KS_ERR_ARG);
    T_OK(ks_frames_select(f, 0, NULL, &g));
    T_CHECK(g->n_frame == 0, "empty");
    ks_frames_destroy(&g);
    ks_frames_destroy(&f);
    T_CHECK(ks_element_number("Uup") == 0 && ks_element_number("cl") == 17 && ks_element_number("118") == 118 &&
                ks_element_number("119") == 0 && ks_element_number("") == 0 && ks_element_number("6x") == 0 &&
                ks_element_number("0") == 0,
            "element numbers");
    T_CHECK(!ks_element_symbol(0) && !ks_element_symbol(119) && strcmp(ks_element_symbol(118), "Og") == 0,
            "element symbols");
}

static void faults(const char *path) {
    int n = 0;
    for (ks_status st = KS_ERR_NOMEM; st != KS_OK && n < 500;) {
        ks_frames    *f = NULL, *g = NULL;
        const int64_t idx[1] = {0};
        ks_alloc_fail_after(++n);
        st = ks_frames_read(path, &f);
        if (st == KS_OK) st = ks_frames_select(f, 1, idx, &g);
        ks_alloc_fail_after(0);
        T_CHECK(st == KS_OK || (st == KS_ERR_NOMEM && !g), "allocation %d: %s", n, ks_status_text(st));
        ks_frames_destroy(&f);
        ks_frames_destroy(&g);
    }
    T_CHECK(n > 12 && n < 500, "%d allocations", n);
}

int main(void) {
    npz_layouts();
    npz_errors();
    xyz();
    xyz_errors();
    char keep[64];
    snprintf(keep, sizeof keep, "/tmp/ksgrad_geom_keep_%d.xyz", (int)getpid());
    FILE *f = fopen(keep, "w");
    if (f) {
        fputs(good, f);
        fclose(f);
    }
    truncation(keep, ".xyz", 5); /* after frame 0 and its blank line, and without the last newline */
    truncation(FIXTURE("md17"), ".npz", 0);
    truncation(FIXTURE("v2"), ".npz", 0);
    flips(FIXTURE("rmd17"));
    flips(FIXTURE("v3"));
    slices();
    select_frames();
    faults(keep);
    faults(FIXTURE("md17"));
    remove(keep);
    remove(temp_text(""));
    return t_done("geometry", 400);
}
