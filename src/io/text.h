/* text.h -- small helpers of the text readers: a whole file in memory, lines, tokens, strict numbers. */
#ifndef KS_IO_TEXT_H
#define KS_IO_TEXT_H
#include <stdint.h>
#include "ksgrad/status.h"

/* The bytes of a regular file plus a closing NUL; *n excludes it. Larger than max_bytes is KS_ERR_DATA, not to be
 * opened or read KS_ERR_IO. The caller frees *text with KS_FREE. */
KS_NODISCARD ks_status ks_file_read(const char *path, int64_t max_bytes, char **text, int64_t *n);
/* As ks_file_read; a NUL byte inside (a binary file) is KS_ERR_DATA. */
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

/* 1 and *out when the whole token is a finite number. D and d are exponent letters too (Fortran). */
int ks_parse_f64(const char *token, double *out);
int ks_parse_i64(const char *token, int64_t *out);
#endif
