# Compiler flags for everything of ours, as one target to link.
add_library(project_options INTERFACE)
target_include_directories(project_options INTERFACE ${PROJECT_SOURCE_DIR})
target_compile_options(project_options INTERFACE -Wall -Wextra -Wpedantic -Wshadow -Wnon-virtual-dtor -Woverloaded-virtual)
target_compile_definitions(project_options INTERFACE
  BOOST_ASIO_NO_DEPRECATED BOOST_PROCESS_USE_STD_FS BOOST_ASIO_DISABLE_BOOST_ARRAY BOOST_ASIO_DISABLE_BOOST_BIND
  BOOST_ASIO_SEPARATE_COMPILATION)
if(APPLE)
  # It hides IPV6_PKTINFO without this; the precompiled headers include what hides it, so no source can say it for itself.
  target_compile_definitions(project_options INTERFACE __APPLE_USE_RFC_3542)
endif()
if(CMAKE_CXX_COMPILER_ID MATCHES "Clang")
  # For ccache: the same precompiled header has the same bytes.
  target_compile_options(project_options INTERFACE "SHELL:-Xclang -fno-pch-timestamp")
endif()
if(COLIMA_LIKE_SANITIZE)
  # Recycled coroutine frames would hide use-after-free from ASan.
  target_compile_definitions(project_options INTERFACE BOOST_ASIO_DISABLE_AWAITABLE_FRAME_RECYCLING)
  target_compile_options(project_options INTERFACE -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer)
  target_link_options(project_options INTERFACE -fsanitize=address,undefined)
else()
  harden(project_options)
endif()

# A linker that takes a quarter of the time, where there is one and nobody chose another. macOS's own is quick.
include(CheckLinkerFlag)
if(NOT APPLE AND NOT CMAKE_EXE_LINKER_FLAGS MATCHES "-fuse-ld=")
  foreach(linker lld mold)
    check_linker_flag(CXX -fuse-ld=${linker} COLIMA_LIKE_HAS_${linker})
    if(COLIMA_LIKE_HAS_${linker})
      target_link_options(project_options INTERFACE -fuse-ld=${linker})
      break()
    endif()
  endforeach()
endif()

# What nearly every source includes is parsed once, by cl_base, and taken over by all that link it. A source still has to
# include what it uses: tests/headers_alone.py and tests/macos_compile.py compile without this.
set(precompiled_headers
  <algorithm> <array> <chrono> <filesystem> <fstream> <functional> <map> <memory> <optional> <set> <span> <string>
  <string_view> <utility> <vector>
  <boost/asio/generic/stream_protocol.hpp> <boost/asio/ip/tcp.hpp> <boost/asio/local/stream_protocol.hpp>
  <boost/asio/post.hpp> <boost/asio/write.hpp> <boost/json.hpp> <fmt/format.h>
  [["src/base/async.hpp"]])

# add_module(NAME SOURCES a.cpp ... HEADERS a.hpp ... USES other modules or imported targets)
# One static library per box of the map.
function(add_module name)
  cmake_parse_arguments(ARG "" "" "SOURCES;HEADERS;USES" ${ARGN})
  add_library(${name} STATIC ${ARG_SOURCES})
  target_link_libraries(${name} PUBLIC project_options ${ARG_USES})
  target_sources(${name} PUBLIC FILE_SET HEADERS BASE_DIRS ${PROJECT_SOURCE_DIR} FILES ${ARG_HEADERS})
  if(name STREQUAL "cl_base")
    target_precompile_headers(${name} PRIVATE ${precompiled_headers})
  else()
    target_precompile_headers(${name} REUSE_FROM cl_base)
  endif()
endfunction()
