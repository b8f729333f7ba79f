/* version.c -- what this build is. KS_GIT_HASH comes from the build tree's generated header. */
#include "ks_version.h"
#include "ksgrad/context.h"

const char *ks_version(void) { return KS_VERSION " (git " KS_GIT_HASH ")"; }
const char *ks_build_info(void) { return KS_BUILD_INFO; }
