# Third-party libraries; the reason for each is in docs/dependencies.md.
find_package(Threads REQUIRED)
# Boost's own configuration files, for CMake's module is going away. Since 1.86 Boost.Process is a library to link.
find_package(Boost 1.83 CONFIG REQUIRED COMPONENTS filesystem json OPTIONAL_COMPONENTS process)
find_package(yaml-cpp REQUIRED)
if(NOT TARGET yaml-cpp::yaml-cpp)  # before 0.8
  add_library(yaml-cpp::yaml-cpp ALIAS yaml-cpp)
endif()
find_package(OpenSSL REQUIRED)
find_package(spdlog REQUIRED)
find_package(fmt REQUIRED)
find_package(CLI11 REQUIRED)

find_package(PkgConfig REQUIRED)
pkg_check_modules(LIBSSH2 REQUIRED IMPORTED_TARGET libssh2>=1.10)
# 1.11.0, which Ubuntu 24.04 has, lets a second write through while a packet is half sent and so corrupts the stream.
# That cannot happen to us: libssh2 sends into a buffer of provision/channel/wire.cpp, which always takes a packet whole.
