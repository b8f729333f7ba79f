#!/bin/bash
# mpirun.sh MPIRUN N PROGRAM [arguments] -- N ranks of a test on this machine, however few cores it has.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 # the tests may run in a container
# Open MPI unloads its plug-ins before the leak checker looks, which can then neither name nor suppress what they leave
# behind; leaks of the communicator are looked for in the tests over TCP.
export ASAN_OPTIONS=detect_leaks=0
mpirun=$1 n=$2
shift 2
flags=()
"$mpirun" --version 2> /dev/null | grep -qi 'open *\(mpi\|rte\)' && flags=(--oversubscribe --bind-to none)
exec "$mpirun" "${flags[@]}" -np "$n" "$@"
