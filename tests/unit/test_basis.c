/* test_basis.c -- shipped basis sets against PySCF (tests/fixtures/basis_golden.txt), the reader on good and bad files.
 */
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "ks_test.h"

#define FIXTURES KS_TEST_SOURCE_DIR "/tests/fixtures/"

/* The real solid harmonics of system.h, in PySCF's order. */
static double harmonic(int l, int m, const double d[3]) {
    const double x = d[0], y = d[1], z = d[2];
    if (l == 0) return 0.28209479177387814;
    if (l == 1) return 0.48860251190291992 * d[m];
    switch (m) {
    case 0:
        return 1.0925484305920792 * x * y;
    case 1:
        return 1.0925484305920792 * y * z;
    case 2:
        return 0.31539156525252005 * (2 * z * z - x * x - y * y);
    case 3:
        return 1.0925484305920792 * x * z;
    default:
        return 0.54627421529603959 * (x * x - y * y);
    }
}

static double radial(const ks_shells *s, const ks_shell *sh, double r2) {
    double v = 0.0;
    for (int k = 0; k < sh->n_prim; k++) v += s->coef[sh->prim + k] * exp(-s->exponent[sh->prim + k] * r2);
    return v;
}

static double chi(const ks_shells *s, int64_t ao, const double *pos, const double p[3]) {
    for (int64_t k = 0; k < s->n_shell; k++) {
        const ks_shell *sh = &s->shell[k];
        if (ao < sh->ao || ao > sh->ao + 2 * sh->l) continue;
        const double *a    = pos + 3 * sh->atom;
        const double  d[3] = {p[0] - a[0], p[1] - a[1], p[2] - a[2]};
        return harmonic(sh->l, (int)ao - sh->ao, d) * radial(s, sh, d[0] * d[0] + d[1] * d[1] + d[2] * d[2]);
    }
    return NAN;
}

static const ks_shell *shell_of(const ks_shells *s, int64_t ao) {
    for (int64_t k = 0; k < s->n_shell; k++)
        if (ao >= s->shell[k].ao && ao <= s->shell[k].ao + 2 * s->shell[k].l) return &s->shell[k];
    return NULL;
}

/* Overlap of two functions of one atom: same l and m or zero; integral of r^(2l+2) exp(-a r^2). */
static double one_centre(const ks_shells *s, int64_t i, int64_t j) {
    const ks_shell *a = shell_of(s, i), *b = shell_of(s, j);
    double          v = 0.0;
    if (a->atom != b->atom || a->l != b->l || i - a->ao != j - b->ao) return 0.0;
    for (int p = 0; p < a->n_prim; p++)
        for (int q = 0; q < b->n_prim; q++)
            v += s->coef[a->prim + p] * s->coef[b->prim + q] * tgamma(a->l + 1.5) /
                 (2.0 * pow(s->exponent[a->prim + p] + s->exponent[b->prim + q], a->l + 1.5));
    return v;
}

static void compare_with_pyscf(void) {
    FILE   *f = fopen(FIXTURES "basis_golden.txt", "r");
    char    word[64], name[64];
    int     n_atom = 0, n_point = 0, n_ao = 0;
    int32_t Z[8];
    double  pos[24], point[3][3], v;
    T_CHECK(f, "fixture missing");
    if (!f) return;
    ks_system *s = NULL;
    while (fscanf(f, "%63s", word) == 1) {
        if (strcmp(word, "molecule") == 0) {
            if (fscanf(f, "%d", &n_atom) != 1) break;
            for (int a = 0; a < n_atom; a++)
                if (fscanf(f, "%d %lf %lf %lf", &Z[a], pos + 3 * a, pos + 3 * a + 1, pos + 3 * a + 2) != 4) return;
        } else if (strcmp(word, "point") == 0) {
            if (fscanf(f, "%lf %lf %lf", &point[n_point][0], &point[n_point][1], &point[n_point][2]) != 3) return;
            n_point++;
        } else if (strcmp(word, "e_nuc") == 0) {
            if (fscanf(f, "%lf", &v) != 1) return;
            ks_basis *b = NULL;
            double    e = 0;
            T_OK(ks_basis_load("sto-3g", &b));
            T_OK(ks_system_create(b, n_atom, Z, &s));
            T_OK(ks_nuclear_repulsion(s, 1, pos, &e));
            T_CLOSE(e, v, 0, 1e-14); /* ten terms */
            ks_system_destroy(&s);
            ks_basis_destroy(&b);
        } else if (strcmp(word, "set") == 0) {
            if (fscanf(f, "%63s %d", name, &n_ao) != 2) return;
            ks_basis *b = NULL;
            T_OK(ks_basis_load(name, &b));
            ks_system_destroy(&s);
            T_OK(ks_system_create(b, n_atom, Z, &s));
            T_CHECK(strcmp(s->basis_name, name) == 0, "%s", s->basis_name);
            T_CHECK(s->n_ao == n_ao && s->basis.n_ao == n_ao, "%lld", (long long)s->n_ao);
            for (int i = 0; i < n_ao; i++) {
                int atom, l, m;
                if (fscanf(f, "%d %d %d", &atom, &l, &m) != 3) return;
                T_CHECK(s->ao_atom[i] == atom && s->ao_l[i] == l && s->ao_m[i] == m, "%s AO %d: %d %d %d", name, i,
                        s->ao_atom[i], s->ao_l[i], s->ao_m[i]);
                for (int p = 0; p < 3; p++) {
                    if (fscanf(f, "%lf", &v) != 1) return;
                    /* PySCF cuts AO values below about 1e-16; the sums have at most 14 terms of size below 10. */
                    T_CLOSE(chi(&s->basis, i, pos, point[p]), v, 1e-14, 1e-13);
                }
            }
            ks_basis_destroy(&b);
        } else if (strcmp(word, "overlap") == 0) {
            if (fscanf(f, "%63s", name) != 1) return;
            for (int i = 0; i < n_ao; i++)
                for (int j = 0; j < n_ao; j++) {
                    if (fscanf(f, "%lf", &v) != 1) return;
                    T_CLOSE(one_centre(&s->basis, i, j), v, 1e-13, 0);
                    if (i == j) T_CLOSE(one_centre(&s->basis, i, j), 1.0, 1e-14, 0);
                }
        } else if (strcmp(word, "minao") == 0) {
            if (fscanf(f, "%d", &n_ao) != 1) return;
            T_CHECK(s->guess.n_ao == n_ao, "%lld", (long long)s->guess.n_ao);
            double total = 0.0;
            for (int i = 0; i < n_ao; i++) {
                int    atom, l, m;
                double occ;
                if (fscanf(f, "%d %d %d %lf", &atom, &l, &m, &occ) != 4) return;
                const ks_shell *sh = shell_of(&s->guess, i);
                T_CHECK(sh->atom == atom && sh->l == l && i - sh->ao == m, "guess function %d", i);
                T_CLOSE(s->guess_occ[i], occ, 1e-15, 0);
                total += s->guess_occ[i];
                for (int p = 0; p < 3; p++) {
                    if (fscanf(f, "%lf", &v) != 1) return;
                    T_CLOSE(chi(&s->guess, i, pos, point[p]), v, 1e-14, 1e-13);
                }
            }
            T_CLOSE(total, (double)s->n_electron, 1e-13, 0);
        } else {
            T_CHECK(0, "fixture: '%s'", word);
            break;
        }
    }
    ks_system_destroy(&s);
    fclose(f);
}

static const char *write_temp(const char *text) {
    static char path[64];
    snprintf(path, sizeof path, "/tmp/ksgrad_basis_%d.gbs", (int)getpid());
    FILE *f = fopen(path, "w");
    if (f) {
        fputs(text, f);
        fclose(f);
    }
    return path;
}

/* The text must be refused with this code, and the message must hold both words. */
static void bad(const char *text, ks_status code, const char *word1, const char *word2) {
    ks_basis *b = NULL;
    T_ERR(ks_basis_load(write_temp(text), &b), code);
    T_CHECK(strstr(ks_error_message(), word1) && strstr(ks_error_message(), word2), "message: %s", ks_error_message());
    T_CHECK(!b, "no object on failure");
    ks_basis_destroy(&b);
}

static void bad_files(void) {
    bad("H 0\nS 2 1.0\n 1.0 0.5\n****\n", KS_ERR_DATA, ":4:", "exponent");
    bad("H 0\nS 2 1.0\n 1.0 0.5\n", KS_ERR_DATA, ":3:", "1 of 2");
    bad("H 0\nS 1 1.0\n 1.0 1.0\n", KS_ERR_DATA, ":3:", "****");
    bad("H 0\nS 1 1.0\n -1.0 1.0\n****\n", KS_ERR_DATA, ":3:", "-1.0");
    bad("H 0\nS 1 1.0\n nan 1.0\n****\n", KS_ERR_DATA, ":3:", "nan");
    bad("H 0\nS 1 1.0\n 1.0 x\n****\n", KS_ERR_DATA, ":3:", "'x'");
    bad("H 0\nS 1 1.0\n 1.0 0.0\n****\n", KS_ERR_DATA, ":2:", "zero");
    bad("H 0\nS 0 1.0\n****\n", KS_ERR_DATA, ":2:", "'0'");
    bad("H 0\nS 999999999999 1.0\n****\n", KS_ERR_DATA, ":2:", "999999999999");
    bad("H 0\nQ 1 1.0\n1 1\n****\n", KS_ERR_DATA, ":2:", "'Q'");
    bad("Xx 0\nS 1 1.0\n1 1\n****\n", KS_ERR_DATA, ":1:", "'Xx'");
    bad("H 0\nS 1 1.0\n1 1\n****\nH 0\nS 1 1.0\n1 1\n****\n", KS_ERR_DATA, ":5:", "line 1");
    bad("H 0\nSP 1 1.0\n1 1\n****\n", KS_ERR_DATA, ":3:", "2 coefficients");
    bad("H 0\nS 1 0.0\n1 1\n****\n", KS_ERR_DATA, ":2:", "scale");
    bad("H 0\nS 1 1.0 electrons=3\n1 1\n****\n", KS_ERR_DATA, ":2:", "electrons=3");
    bad("! nothing\n", KS_ERR_DATA, "no basis functions", "");
    bad("", KS_ERR_DATA, "no basis functions", "");
    ks_basis *b = NULL;
    T_ERR(ks_basis_load("no-such-basis", &b), KS_ERR_IO);
    T_CHECK(strstr(ks_error_message(), "no-such-basis.gbs"), "%s", ks_error_message());
    T_ERR(ks_basis_load("/no/such/file.gbs", &b), KS_ERR_IO);
    T_ERR(ks_basis_load("/tmp", &b), KS_ERR_IO);
    T_ERR(ks_basis_load("", &b), KS_ERR_ARG);
}

static void refused_elements(void) {
    ks_basis     *b = NULL;
    ks_system    *s = NULL;
    const int32_t h = 1, c = 6, n = 7, na = 11;
    T_OK(ks_basis_load(
        write_temp("spherical\n****\nH 0\nS 1 1.0\n 1.0 1.0\n****\nC 0\nS 1 1.0\n 1.0 1.0\nF 1 1.0\n 0.8 1.0\n****\n"
                   "Na 0\nS 1 1.0\n 1.0 1.0\n****\n"),
        &b));
    T_OK(ks_system_create(b, 1, &h, &s));
    T_CHECK(s->n_ao_kind == 1, "only H is usable: %lld", (long long)s->n_ao_kind);
    ks_system_destroy(&s);
    T_ERR(ks_system_create(b, 1, &c, &s), KS_ERR_UNSUPPORTED);
    T_CHECK(strstr(ks_error_message(), ":10:") && strstr(ks_error_message(), "type F"), "%s", ks_error_message());
    T_ERR(ks_system_create(b, 1, &n, &s), KS_ERR_DATA);
    T_ERR(ks_system_create(b, 1, &na, &s), KS_ERR_UNSUPPORTED);
    ks_basis_destroy(&b);
    T_OK(
        ks_basis_load(write_temp("cartesian\n****\nH 0\nS 1 1.0\n 1.0 1.0\n****\nC 0\nD 1 1.0\n 0.8 1.0\n****\n"), &b));
    T_OK(ks_system_create(b, 1, &h, &s));
    ks_system_destroy(&s);
    T_ERR(ks_system_create(b, 1, &c, &s), KS_ERR_UNSUPPORTED);
    ks_basis_destroy(&b);
}

/* D exponents, SP shells, general contractions, scale factors, comments, CRLF. */
static void variants(void) {
    ks_basis     *b1 = NULL, *b2 = NULL;
    ks_system    *s1 = NULL, *s2 = NULL;
    const int32_t c = 6;
    T_OK(ks_basis_load(
        write_temp("# note\r\n****\r\nC 0\r\nP 1 1.0\r\n 0.5 1\r\nSP 2 2.0 ! scaled\r\n 1.0D+00 3.0D-01 0.4\r\n"
                   " 0.25 0.5 6.0d-1\r\nS 3 1.0\r\n 9. .1 0.0\r\n 3. .4 .2\r\n 1. 0 1.\r\n****\r\n"),
        &b1));
    T_OK(ks_system_create(b1, 1, &c, &s1));
    T_OK(ks_basis_load(
        write_temp(
            "C 0\nS 2 1.0\n4 .3\n1 .5\nS 2 1\n9 .1\n3 .4\nS 2 1\n3 .2\n1 1\nP 1 1\n.5 1\nP 2 1\n4 .4\n1 .6\n****\n"),
        &b2));
    T_OK(ks_system_create(b2, 1, &c, &s2));
    T_CHECK(s1->basis.n_shell == 5 && s2->basis.n_shell == 5 && s1->basis.n_prim == s2->basis.n_prim, "%lld shells",
            (long long)s1->basis.n_shell);
    for (int k = 0; k < 5; k++)
        T_CHECK(memcmp(&s1->basis.shell[k], &s2->basis.shell[k], sizeof(ks_shell)) == 0, "shell %d", k);
    for (int64_t p = 0; p < s1->basis.n_prim; p++) {
        T_CLOSE(s1->basis.exponent[p], s2->basis.exponent[p], 0, 1e-15);
        T_CLOSE(s1->basis.coef[p], s2->basis.coef[p], 0, 1e-14);
    }
    ks_system_destroy(&s1);
    ks_system_destroy(&s2);
    ks_basis_destroy(&b1);
    ks_basis_destroy(&b2);
}

/* A shipped file cut at every byte is refused or gives a smaller set of whole elements; never a changed element. */
static void truncation(void) {
    FILE       *f = fopen(KS_TEST_SOURCE_DIR "/datasets/basis/sto-3g.gbs", "r");
    static char text[8192];
    T_CHECK(f, "sto-3g.gbs");
    if (!f) return;
    const size_t n = fread(text, 1, sizeof text - 1, f);
    fclose(f);
    ks_basis     *full = NULL;
    ks_system    *sf = NULL, *sc = NULL;
    const int32_t elements[] = {1, 6, 7, 8, 9};
    int           read_ok    = 0;
    T_OK(ks_basis_load("sto-3g", &full));
    for (size_t cut = 0; cut < n; cut++) {
        const char saved   = text[cut];
        ks_basis  *b       = NULL;
        text[cut]          = '\0';
        const ks_status st = ks_basis_load(write_temp(text), &b);
        text[cut]          = saved;
        if (st != KS_OK) continue;
        read_ok++;
        for (int k = 0; k < 5; k++) {
            if (ks_system_create(b, 1, &elements[k], &sc) != KS_OK) continue;
            T_OK(ks_system_create(full, 1, &elements[k], &sf));
            T_CHECK(sc->n_ao == sf->n_ao && memcmp(sc->basis.coef, sf->basis.coef, (size_t)sf->basis.n_prim * 8) == 0,
                    "cut at %zu changes element %d", cut, elements[k]);
            ks_system_destroy(&sf);
            ks_system_destroy(&sc);
        }
        ks_basis_destroy(&b);
    }
    T_CHECK(read_ok >= 4, "%d cuts fall between elements", read_ok);
    ks_basis_destroy(&full);
}

/* $KSGRAD_BASIS_PATH, and the hash: of the numbers, not of the text. */
static void search_and_hash(void) {
    ks_basis *b = NULL;
    char      folder[48], path[128], one[80], two[65];
    snprintf(folder, sizeof folder, "/tmp/ksgrad_basis_dir_%d", (int)getpid());
    snprintf(path, sizeof path, "%s/my-sets.gbs", folder);
    T_CHECK(mkdir(folder, 0700) == 0, "%s", folder);
    FILE *f = fopen(path, "w");
    if (!f) return;
    fputs("! a comment\n****\nH 0\nS 2 1.0\n 2.0 0.5\n 0.5 0.5\n****\n", f);
    fclose(f);
    T_ERR(ks_basis_load("my-set*", &b), KS_ERR_IO);
    snprintf(one, sizeof one, "/nowhere:%s", folder);
    setenv("KSGRAD_BASIS_PATH", one, 1);
    T_OK(ks_basis_load("My-Set*", &b)); /* '*' is an 's' in the name of the file */
    T_CHECK(strcmp(ks_basis_name(b), "my-set*") == 0, "%s", ks_basis_name(b));
    ks_basis_sha256(b, one);
    ks_basis_destroy(&b);
    unsetenv("KSGRAD_BASIS_PATH");
    remove(path);
    rmdir(folder);
    /* The same function from coefficients of another norm. */
    T_OK(ks_basis_load(write_temp("H 0\nS 2 1.0\n 2.0D0 1.0\n 5.0e-1 1.0\n****\nNa 0\nS 1 1.0\n 1 1\n****\n"), &b));
    ks_basis_sha256(b, two);
    T_CHECK(strcmp(one, two) == 0, "%s %s", one, two);
    ks_basis_destroy(&b);
    T_OK(ks_basis_load(write_temp("H 0\nS 2 1.0\n 2.0 1.0\n 0.5 1.000001\n****\n"), &b));
    ks_basis_sha256(b, two);
    T_CHECK(strcmp(one, two) != 0, "%s", two);
    ks_basis_destroy(&b);
}

static void faults(void) {
    const int32_t Z[] = {8, 1, 1};
    int           n   = 0;
    for (ks_status st = KS_ERR_NOMEM; st != KS_OK;) {
        ks_basis  *b = NULL;
        ks_system *s = NULL;
        ks_alloc_fail_after(++n);
        st = ks_basis_load("6-31G*", &b);
        if (st == KS_OK) st = ks_system_create(b, 3, Z, &s);
        ks_alloc_fail_after(0);
        T_CHECK(st == KS_OK || (st == KS_ERR_NOMEM && !s), "allocation %d: %s", n, ks_status_text(st));
        ks_system_destroy(&s);
        ks_basis_destroy(&b);
        if (n > 1000) break;
    }
    T_CHECK(n > 20 && n < 1000, "%d allocations", n);
}

int main(void) {
    compare_with_pyscf();
    bad_files();
    refused_elements();
    variants();
    truncation();
    search_and_hash();
    faults();
    remove(write_temp(""));
    return t_done("basis", 8500);
}
