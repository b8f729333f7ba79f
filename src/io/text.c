/* text.c -- see text.h. */
#include "io/text.h"
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "ksgrad/context.h"

int ks_file_exists(const char *path) {
    struct stat s;
    return stat(path, &s) == 0 && S_ISREG(s.st_mode);
}

ks_status ks_file_read(const char *path, int64_t max_bytes, char **text, int64_t *n) {
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
    buf[got] = '\0';
    *n       = (int64_t)got;
    *text    = buf;
    buf      = NULL;
done:
    if (f) fclose(f);
    KS_FREE(buf);
    return st;
}

ks_status ks_text_read(const char *path, int64_t max_bytes, char **text, int64_t *n) {
    ks_status st = KS_OK;
    KS_TRY(ks_file_read(path, max_bytes, text, n));
    const char *nul = memchr(*text, '\0', (size_t)*n);
    KS_CHECK(!nul, KS_ERR_DATA, "%s: byte %lld is NUL: this is not a text file", path, (long long)(nul - *text));
done:
    if (st != KS_OK) KS_FREE(*text);
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

int ks_parse_f64(const char *token, double *out) {
    char         buf[64];
    char        *end = NULL;
    const size_t n   = strlen(token);
    if (n == 0 || n >= sizeof buf) return 0;
    for (size_t i = 0; i < n; i++) {
        const char c = token[i];
        /* Digits, sign, point, exponent only: strtod alone would take "nan", "inf" and hexadecimal. */
        if (!strchr("0123456789+-.eEdD", c)) return 0;
        buf[i] = (c == 'd' || c == 'D') ? 'e' : c;
    }
    buf[n] = '\0';
    *out   = strtod(buf, &end);
    return end == buf + n && isfinite(*out);
}

int ks_parse_i64(const char *token, int64_t *out) {
    char *end = NULL;
    errno     = 0;
    if (*token == '\0' || !strchr("0123456789+-", *token)) return 0;
    *out = strtoll(token, &end, 10);
    return *end == '\0' && errno == 0;
}
