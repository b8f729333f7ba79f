/* elements.c -- element symbols; see geometry.h. */
#include <ctype.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "ksgrad/geometry.h"

static const char symbols[][3] = {
    "H",  "He", "Li", "Be", "B",  "C",  "N",  "O",  "F",  "Ne", "Na", "Mg", "Al", "Si", "P",  "S",  "Cl",
    "Ar", "K",  "Ca", "Sc", "Ti", "V",  "Cr", "Mn", "Fe", "Co", "Ni", "Cu", "Zn", "Ga", "Ge", "As", "Se",
    "Br", "Kr", "Rb", "Sr", "Y",  "Zr", "Nb", "Mo", "Tc", "Ru", "Rh", "Pd", "Ag", "Cd", "In", "Sn", "Sb",
    "Te", "I",  "Xe", "Cs", "Ba", "La", "Ce", "Pr", "Nd", "Pm", "Sm", "Eu", "Gd", "Tb", "Dy", "Ho", "Er",
    "Tm", "Yb", "Lu", "Hf", "Ta", "W",  "Re", "Os", "Ir", "Pt", "Au", "Hg", "Tl", "Pb", "Bi", "Po", "At",
    "Rn", "Fr", "Ra", "Ac", "Th", "Pa", "U",  "Np", "Pu", "Am", "Cm", "Bk", "Cf", "Es", "Fm", "Md", "No",
    "Lr", "Rf", "Db", "Sg", "Bh", "Hs", "Mt", "Ds", "Rg", "Cn", "Nh", "Fl", "Mc", "Lv", "Ts", "Og"};
enum { Z_MAX = sizeof symbols / sizeof symbols[0] };
_Static_assert(Z_MAX == 118, "one symbol per element");

const char *ks_element_symbol(int32_t Z) { return Z >= 1 && Z <= Z_MAX ? symbols[Z - 1] : NULL; }

int32_t ks_element_number(const char *text) {
    if (!text || !*text) return 0;
    if (isdigit((unsigned char)*text)) {
        char      *end = NULL;
        const long z   = strtol(text, &end, 10);
        return *end == '\0' && z >= 1 && z <= Z_MAX ? (int32_t)z : 0;
    }
    for (int z = 0; z < Z_MAX; z++)
        if (strcasecmp(text, symbols[z]) == 0) return z + 1;
    return 0;
}
