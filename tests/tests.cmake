# Tests: a file is a test. tests/unit/test_X.c -> unit.X; tests/ops/test_X.c -> op.X.cpu, op.X.emu (the CUDA kernels on
# the CPU, for the ops named below) and, with KS_CUDA, op.X.cuda; tests/gpu/test_X.c -> the last two only; tests/e2e/test_X.sh -> e2e.X;
# tests/oracle/test_X.c -> oracle.X (KS_ORACLES). Exit code 77: skipped; ctest lists the skipped tests at its end.
set(KS_TEST_DIR ${CMAKE_SOURCE_DIR} CACHE STRING "Where the tests look for their data; '.': in the folder they are started in")
add_library(ks_test INTERFACE)
target_include_directories(ks_test INTERFACE ${CMAKE_SOURCE_DIR}/tests ${CMAKE_SOURCE_DIR}/src ${CMAKE_SOURCE_DIR}/include)
target_compile_definitions(ks_test INTERFACE KS_TEST_SOURCE_DIR="${KS_TEST_DIR}")
target_link_libraries(ks_test INTERFACE ks ks_flags)
add_library(ks_op_driver STATIC tests/op_driver.c tests/op_checks.c)
target_link_libraries(ks_op_driver PUBLIC ks_test)

# ks_add_test(test-name target label seconds [arguments of the program...])
function(ks_add_test name target label timeout)
  add_test(NAME ${name} COMMAND ${target} ${ARGN})
  # Several tests of two threads each may share two cores: threads that wait must not spin.
  set_tests_properties(${name} PROPERTIES LABELS "${label}" SKIP_RETURN_CODE 77 TIMEOUT ${timeout} ENVIRONMENT OMP_WAIT_POLICY=passive)
endfunction()

file(GLOB KS_UNIT_TESTS CONFIGURE_DEPENDS tests/unit/test_*.c)
foreach(src IN LISTS KS_UNIT_TESTS)
  get_filename_component(name ${src} NAME_WE)
  string(REGEX REPLACE "^test_" "" short ${name})
  add_executable(unit_${name} ${src})
  target_link_libraries(unit_${name} PRIVATE ks_op_driver)
  ks_add_test(unit.${short} unit_${name} unit 300)
endforeach()

# Op tests with large stored cases, too long for the launcher; op.grid and op.vxc compare the same kernels there.
set(KS_LONG_OPS vxc_reference)
if(NOT KS_CUDA) # the launcher and the real backend are the same symbols
  add_subdirectory(tests/emu)
endif()

# op.X.cuda with the real backend, op.X.emu with the launcher.
if(KS_CUDA)
  add_custom_target(ks_cuda_tests)
endif()
function(ks_add_cuda_test short src)
  if(KS_CUDA)
    add_executable(cuda_test_${short} ${src})
    target_link_libraries(cuda_test_${short} PRIVATE ks_op_driver)
    target_include_directories(cuda_test_${short} PRIVATE ${CMAKE_SOURCE_DIR})
    add_dependencies(ks_cuda_tests cuda_test_${short})
    ks_add_test(op.${short}.cuda cuda_test_${short} "op;cuda" 600 cuda)
  else()
    add_executable(emu_test_${short} ${src} tests/emu/register.c) # not in the library: only a weak reference asks for it
    target_link_libraries(emu_test_${short} PRIVATE ks_op_driver ks_emu)
    target_include_directories(emu_test_${short} PRIVATE ${CMAKE_SOURCE_DIR})
    target_compile_definitions(emu_test_${short} PRIVATE KS_EMU)
    set_target_properties(emu_test_${short} PROPERTIES LINKER_LANGUAGE CXX)
    ks_add_test(op.${short}.emu emu_test_${short} "op;emu" 600 emu)
  endif()
endfunction()

file(GLOB KS_OP_TESTS CONFIGURE_DEPENDS tests/ops/test_*.c)
foreach(src IN LISTS KS_OP_TESTS)
  get_filename_component(name ${src} NAME_WE)
  string(REGEX REPLACE "^test_" "" short ${name})
  add_executable(op_${name} ${src})
  target_link_libraries(op_${name} PRIVATE ks_op_driver)
  ks_add_test(op.${short}.cpu op_${name} "op;cpu" 600 cpu)
  if(KS_CUDA OR NOT short IN_LIST KS_LONG_OPS)
    ks_add_cuda_test(${short} ${src})
  endif()
endforeach()

# Kernels without a CPU slot of the same form.
file(GLOB KS_KERNEL_TESTS CONFIGURE_DEPENDS tests/gpu/test_*.c)
foreach(src IN LISTS KS_KERNEL_TESTS)
  get_filename_component(name ${src} NAME_WE)
  string(REGEX REPLACE "^test_" "" short ${name})
  ks_add_cuda_test(${short} ${src})
endforeach()

# The data plane between processes, started by the mpirun of the MPI that the build has.
add_executable(rank_test_transport tests/ranks/test_transport.c)
target_link_libraries(rank_test_transport PRIVATE ks_test)
if(KS_MPI AND MPIEXEC_EXECUTABLE)
  foreach(n RANGE 1 4)
    ks_add_test(ranks.mpi.${n} bash ranks 120 ${CMAKE_SOURCE_DIR}/tests/ranks/mpirun.sh ${MPIEXEC_EXECUTABLE} ${n} $<TARGET_FILE:rank_test_transport> mpi)
  endforeach()
endif()

# Second argument: the program with the launcher as its GPU, where it is built.
set(KS_E2E_EMU "")
if(TARGET emu_ksgrad)
  set(KS_E2E_EMU $<TARGET_FILE:emu_ksgrad>)
endif()
file(GLOB KS_E2E_TESTS CONFIGURE_DEPENDS tests/e2e/test_*.sh)
foreach(src IN LISTS KS_E2E_TESTS)
  get_filename_component(name ${src} NAME_WE)
  string(REGEX REPLACE "^test_" "" short ${name})
  ks_add_test(e2e.${short} bash e2e 1800 ${src} $<TARGET_FILE:ksgrad> ${KS_E2E_EMU})
endforeach()
set_tests_properties(e2e.eval_many PROPERTIES LABELS "e2e;slow")
# Several ranks; the last four need what a machine may not have (Slurm, torchrun, mpirun, network namespaces), and say so.
set_property(TEST e2e.failures e2e.failures_start PROPERTY LABELS e2e ranks)
set_property(TEST e2e.mpirun PROPERTY LABELS e2e ranks mpirun)
set_property(TEST e2e.torchrun PROPERTY LABELS e2e ranks torchrun)
set_property(TEST e2e.slurm PROPERTY LABELS e2e ranks slurm)
set_property(TEST e2e.hosts PROPERTY LABELS e2e ranks netns)

# The reducer in processes of their own, each with a device of its own.
ks_add_cuda_test(reducer tests/unit/test_reducer.c)

# Comparison with independent codes: libxc and libint2, which a user's build does not need.
if(KS_ORACLES)
  pkg_check_modules(LIBXC REQUIRED IMPORTED_TARGET libxc)
  pkg_check_modules(LIBINT2 REQUIRED IMPORTED_TARGET libint2)
  file(GLOB KS_ORACLE_TESTS CONFIGURE_DEPENDS tests/oracle/test_*.c tests/oracle/test_*.cpp)
  foreach(src IN LISTS KS_ORACLE_TESTS)
    get_filename_component(name ${src} NAME_WE)
    string(REGEX REPLACE "^test_" "" short ${name})
    add_executable(oracle_${name} ${src})
    target_link_libraries(oracle_${name} PRIVATE ks_op_driver PkgConfig::LIBXC PkgConfig::LIBINT2)
    if(CMAKE_CXX_COMPILER_ID STREQUAL GNU) # false alarm inside Boost's headers, which libint2 includes
      target_compile_options(oracle_${name} PRIVATE $<$<COMPILE_LANGUAGE:CXX>:-Wno-stringop-overread>)
    endif()
    ks_add_test(oracle.${short} oracle_${name} oracle 600)
  endforeach()
endif()

# What a CUDA build must pass without a GPU.
if(KS_CUDA)
  ks_add_test(cuda.kernels bash cuda-build 60 ${CMAKE_SOURCE_DIR}/tests/gpu/kernels.sh ${CMAKE_SOURCE_DIR} ${CMAKE_BINARY_DIR})
  ks_add_test(cuda.no_gpu bash cuda-build 300 ${CMAKE_SOURCE_DIR}/tests/gpu/no_gpu.sh $<TARGET_FILE:ksgrad> $<TARGET_FILE:ks>)
  ks_add_test(cuda.gpu_check bash cuda-build 600 ${CMAKE_SOURCE_DIR}/tests/gpu/gpu_check.sh ${CMAKE_SOURCE_DIR} $<TARGET_FILE:ksgrad>)
endif()
