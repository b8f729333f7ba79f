/* main.c -- the program: verbs, exit codes. */
#include <stdio.h>
#include "ksgrad/ksgrad.h"

int main(int argc, char **argv) {
    (void)argc;
    (void)argv;
    printf("ksgrad %s\n", ks_version());
    return 0;
}
