# The CUDA backend: NVIDIA's toolkit (nvcc; the static runtime; cuBLAS and cuSOLVER, linked dynamically), for sm_80, sm_90
# and sm_100 unless CMAKE_CUDA_ARCHITECTURES says otherwise. Neither a GPU nor a driver is needed to build or to start.
if(NOT CMAKE_CUDA_COMPILER AND NOT DEFINED ENV{CUDACXX})
  find_program(KS_NVCC nvcc HINTS /usr/local/cuda/bin)
  if(NOT KS_NVCC)
    message(FATAL_ERROR "KS_CUDA=ON, but no nvcc was found: install NVIDIA's CUDA toolkit, or name nvcc with CUDACXX")
  endif()
  set(CMAKE_CUDA_COMPILER ${KS_NVCC})
endif()
enable_language(CUDA)
find_package(CUDAToolkit REQUIRED)

file(GLOB KS_CUDA_SOURCES CONFIGURE_DEPENDS cuda/*.cu cuda/ops/*.cu)
file(GLOB KS_CUDA_C_SOURCES CONFIGURE_DEPENDS cuda/*.c)
add_library(ks_cuda_objects OBJECT ${KS_CUDA_SOURCES})
target_include_directories(ks_cuda_objects PRIVATE include src ${CMAKE_SOURCE_DIR})
set_target_properties(ks_cuda_objects PROPERTIES CUDA_STANDARD 17 POSITION_INDEPENDENT_CODE ON CUDA_RUNTIME_LIBRARY Static
  # registers and spills of each kernel beside its object file, for the test cuda.kernels
  CUDA_COMPILER_LAUNCHER "bash;${CMAKE_SOURCE_DIR}/cuda/ptxas_log.sh;${CMAKE_CUDA_COMPILER_LAUNCHER}")
set(KS_NVCC_FLAGS -Xptxas=-v -Xcompiler=-Wall,-Wextra,-Wshadow)
if(KS_WERROR)
  string(APPEND KS_NVCC_FLAGS ",-Werror")
  list(APPEND KS_NVCC_FLAGS -Werror=all-warnings)
endif()
target_compile_options(ks_cuda_objects PRIVATE ${KS_NVCC_FLAGS})

target_sources(ks PRIVATE $<TARGET_OBJECTS:ks_cuda_objects> ${KS_CUDA_C_SOURCES})
target_include_directories(ks PRIVATE ${CMAKE_SOURCE_DIR})
target_include_directories(ks SYSTEM PRIVATE ${CUDAToolkit_INCLUDE_DIRS})
target_compile_definitions(ks PRIVATE KS_CUDA)
if(KS_SHARED)
  set_property(TARGET ks ksgrad APPEND PROPERTY INSTALL_RPATH ${CUDAToolkit_LIBRARY_DIR} /usr/local/cuda/lib64)
endif()
target_link_libraries(ks PRIVATE CUDA::cudart_static CUDA::cublas CUDA::cublasLt CUDA::cusolver)
