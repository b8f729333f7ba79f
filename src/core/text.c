/* text.c -- see text.h. */
#include "core/text.h"
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "ksgrad/context.h"

enum { WORD_MAX = 63 };

int ks_text_distance(const char *a, const char *b) {
    int          row[3][WORD_MAX + 1];
    const size_t la = strnlen(a, WORD_MAX), lb = strnlen(b, WORD_MAX);
    for (size_t j = 0; j <= lb; j++) row[1][j] = (int)j;
    for (size_t i = 1; i <= la; i++) {
        int *before = row[(i + 2) % 3], *last = row[(i + 0) % 3], *now = row[(i + 1) % 3];
        now[0] = (int)i;
        for (size_t j = 1; j <= lb; j++) {
            int best = last[j - 1] + (a[i - 1] != b[j - 1]);
            if (last[j] + 1 < best) best = last[j] + 1;
            if (now[j - 1] + 1 < best) best = now[j - 1] + 1;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && before[j - 2] + 1 < best)
                best = before[j - 2] + 1;
            now[j] = best;
        }
    }
    return row[(la + 1) % 3][lb];
}

const char *ks_text_nearest(const char *word, int n, const char *const *names) {
    const int   length = (int)strnlen(word, WORD_MAX);
    int         best   = length < 6 ? 2 : length / 3 + 1; /* exclusive */
    const char *found  = NULL;
    for (int i = 0; i < n; i++) {
        const int d = ks_text_distance(word, names[i]);
        if (d < best) {
            best  = d;
            found = names[i];
        }
    }
    for (int i = 0; i < n && !found && length >= 2; i++)
        if (!strncmp(names[i], word, (size_t)length)) found = names[i];
    return found;
}

int ks_text_real(const char *text, double *out) {
    char        *end = NULL;
    const size_t n   = strlen(text);
    if (n == 0 || strspn(text, "+-0123456789.eE") != n) return -1;
    errno          = 0;
    const double x = strtod(text, &end);
    if (*end || end == text || !isfinite(x)) return -1;
    *out = x;
    return 0;
}

int ks_text_fortran(const char *text, double *out) {
    char         buf[64];
    const size_t n = strlen(text);
    if (n >= sizeof buf) return -1;
    for (size_t i = 0; i <= n; i++) buf[i] = text[i] == 'd' || text[i] == 'D' ? 'e' : text[i];
    return ks_text_real(buf, out);
}

int ks_text_decimal(const char *text, int64_t *out) {
    char *end = NULL;
    if (*text == '\0' || !strchr("0123456789+-", *text)) return -1;
    errno             = 0;
    const long long v = strtoll(text, &end, 10);
    if (end == text || *end || errno) return -1;
    *out = v;
    return 0;
}

int ks_text_int(const char *text, int64_t *out) {
    double x;
    if (ks_text_decimal(text, out) == 0) return 0;
    if (ks_text_real(text, &x) || x != floor(x) || fabs(x) > 9007199254740992.0) return -1;
    *out = (int64_t)x;
    return 0;
}

int ks_file_exists(const char *path) {
    struct stat s;
    return stat(path, &s) == 0 && S_ISREG(s.st_mode);
}

ks_status ks_text_read(const char *path, int64_t max_bytes, char **text, int64_t *n) {
    ks_status   st  = KS_OK;
    FILE       *f   = NULL;
    char       *buf = NULL;
    struct stat s;
    *text = NULL;
    *n    = 0;
    KS_CHECK(stat(path, &s) == 0, KS_ERR_IO, "%s: %s", path, strerror(errno));
    KS_CHECK(S_ISREG(s.st_mode), KS_ERR_IO, "%s: not a regular file", path);
    KS_CHECK((int64_t)s.st_size <= max_bytes, KS_ERR_DATA, "%s: %lld bytes, the limit for this kind of file is %lld",
             path, (long long)s.st_size, (long long)max_bytes);
    f = fopen(path, "rb");
    KS_CHECK(f, KS_ERR_IO, "%s: %s", path, strerror(errno));
    KS_TRY(KS_NEW(buf, (int64_t)s.st_size + 1));
    const size_t got = fread(buf, 1, (size_t)s.st_size, f);
    KS_CHECK(got == (size_t)s.st_size && !ferror(f), KS_ERR_IO, "%s: %zu of %lld bytes could be read", path, got,
             (long long)s.st_size);
    const char *nul = memchr(buf, '\0', got);
    KS_CHECK(!nul, KS_ERR_DATA, "%s: byte %lld is NUL: this is not a text file", path, (long long)(nul - buf));
    buf[got] = '\0';
    *n       = (int64_t)got;
    *text    = buf;
    buf      = NULL;
done:
    if (f) fclose(f);
    KS_FREE(buf);
    return st;
}

char *ks_lines_next(ks_lines *lines) {
    char *line = lines->next;
    if (!line || *line == '\0') return NULL;
    char *end = strchr(line, '\n');
    lines->number++;
    if (end) {
        *end        = '\0';
        lines->next = end + 1;
        if (end > line && end[-1] == '\r') end[-1] = '\0';
    } else {
        lines->next = NULL;
    }
    return line;
}

int ks_tokens(char *line, int max, char **token) {
    int   k    = 0;
    char *save = NULL;
    for (char *t = strtok_r(line, " \t\r\f\v", &save); t; t = strtok_r(NULL, " \t\r\f\v", &save)) {
        if (k < max) token[k] = t;
        k++;
    }
    return k;
}
