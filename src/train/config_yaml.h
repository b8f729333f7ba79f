/* config_yaml.h -- YAML text -> a small tree with line and column of every node. Private. */
#ifndef KS_CONFIG_YAML_H
#define KS_CONFIG_YAML_H
#include <stddef.h>
#include "ksgrad/arena.h"

typedef enum ks_node_kind { KS_NODE_SCALAR, KS_NODE_LIST, KS_NODE_MAP } ks_node_kind;

typedef struct ks_node {
    ks_node_kind    kind;
    int             line, column; /* from 1 */
    const char     *text;         /* SCALAR */
    int             is_quoted;
    struct ks_node *child; /* LIST: elements; MAP: key, value, key, value, ... */
    struct ks_node *next;
} ks_node;

/* root: the document's only node, NULL for an empty document; lives in the arena. Tags, anchors, aliases, a second
 * document, repeated keys and keys that are not plain words are KS_ERR_CONFIG "name:line:column: ...". name may end
 * in a fixed text without position when with_position is 0. */
KS_NODISCARD ks_status ks_yaml_parse(const char *text, size_t length, const char *name, int with_position,
                                     ks_arena *arena, ks_node **root);
#endif
