/* nccl_fake.c -- a library with NCCL's names for test_nccl_library.c: of version VERSION, without ncclAllGather with LACKS. */
#define FUNCTION(name)                                                                                                 \
    int name(void);                                                                                                    \
    int name(void) { return 5; }
FUNCTION(ncclGetUniqueId)
FUNCTION(ncclCommInitRankConfig)
FUNCTION(ncclCommGetAsyncError)
FUNCTION(ncclCommFinalize)
FUNCTION(ncclCommDestroy)
FUNCTION(ncclCommAbort)
FUNCTION(ncclAllReduce)
FUNCTION(ncclReduceScatter)
#ifndef LACKS
FUNCTION(ncclAllGather)
#endif
FUNCTION(ncclGetErrorString)
FUNCTION(ncclGetLastError)
int ncclGetVersion(int *version);
int ncclGetVersion(int *version) {
    *version = VERSION;
    return 0;
}
