/* nodelist.h -- Slurm's short forms: "node[001-003,007],gpu5,rack[1-2]n[01-04]" and "2(x3),1". Private. */
#ifndef KS_NODELIST_H
#define KS_NODELIST_H
#include <stddef.h>
#include <stdint.h>
#include "ksgrad/status.h"

/* Number of hosts of a list (n, may be NULL), and host k of it from 0 (may be NULL). Items stand in the order in which
 * they are written, of several brackets the last one runs fastest; the digits of a range's first number are its width.
 * KS_ERR_DATA names the list and where it goes wrong; so does a k outside it, or more hosts than a million. */
KS_NODISCARD ks_status ks_nodelist_host(const char *list, int64_t k, char *host, size_t size, int64_t *n);

/* Tasks of node k in "2(x3),1" (2, 2, 2, 1); -1 when the list is shorter. total: of all nodes. Either may be NULL. */
KS_NODISCARD ks_status ks_nodelist_tasks(const char *list, int64_t k, int64_t *tasks, int64_t *total);
#endif
