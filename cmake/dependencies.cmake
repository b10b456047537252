# Third-party libraries; the reason for each is in docs/dependencies.md.
find_package(Threads REQUIRED)
find_package(Boost 1.83 REQUIRED COMPONENTS filesystem json)
find_package(yaml-cpp REQUIRED)
find_package(spdlog REQUIRED)
find_package(fmt REQUIRED)
find_package(CLI11 REQUIRED)

find_package(PkgConfig REQUIRED)
pkg_check_modules(LIBSSH2 REQUIRED IMPORTED_TARGET libssh2>=1.10)
# 1.11.0 lets a second write through while a packet is half sent, which corrupts the stream.
if(LIBSSH2_VERSION VERSION_EQUAL 1.11.0)
  message(FATAL_ERROR "libssh2 1.11.0 corrupts streams under load; use 1.10 or 1.11.1 and newer.")
endif()
