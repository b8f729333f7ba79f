/* text.h -- text helpers: numbers, spelling, whole files in memory, lines and tokens. Private. */
#ifndef KS_CORE_TEXT_H
#define KS_CORE_TEXT_H
#include <stdint.h>
#include "ksgrad/status.h"

/* Edit distance with adjacent transpositions (optimal string alignment); texts beyond 63 characters are cut. */
int ks_text_distance(const char *a, const char *b);

/* The nearest of names[0..n-1] within a distance of a third of the word's length (at least 1, transposition 1), or one
 * that begins with word; NULL when nothing is near. */
const char *ks_text_nearest(const char *word, int n, const char *const *names);

/* Whole text -> number; 0 on success. Hexadecimal, infinities, NaN, blanks and trailing characters are refused. */
int ks_text_real(const char *text, double *out);
/* D and d are exponent letters too (files written by Fortran programs). */
int ks_text_fortran(const char *text, double *out);
/* A sign and digits. */
int ks_text_decimal(const char *text, int64_t *out);
/* Integers as people write them: "2e5" is one, "2.5" is not. */
int ks_text_int(const char *text, int64_t *out);

/* The bytes of a regular file plus a closing NUL; *n excludes it. Larger than max_bytes, or with a NUL byte inside (a
 * binary file), is KS_ERR_DATA, not to be opened or read KS_ERR_IO. The caller frees *text with KS_FREE. */
KS_NODISCARD ks_status ks_text_read(const char *path, int64_t max_bytes, char **text, int64_t *n);

/* 1 when path names an existing regular file. */
int ks_file_exists(const char *path);

/* Cursor over the lines of a text, which it cuts up in place. */
typedef struct ks_lines {
    char   *next;
    int64_t number; /* of the line last returned, from 1 */
} ks_lines;
/* The next line without its line end (\n or \r\n), NULL at the end. */
char *ks_lines_next(ks_lines *lines);

/* Cuts line at blanks; token[0..k-1] point into it. Returns k; tokens past max are counted, not stored. */
int ks_tokens(char *line, int max, char **token);
#endif
