# Third-party libraries; the reason for each is in docs/dependencies.md.
find_package(Threads REQUIRED)
find_package(Boost 1.83 REQUIRED COMPONENTS filesystem json)
find_package(yaml-cpp REQUIRED)
find_package(spdlog REQUIRED)
find_package(fmt REQUIRED)
find_package(CLI11 REQUIRED)

find_package(PkgConfig REQUIRED)
pkg_check_modules(LIBSSH2 REQUIRED IMPORTED_TARGET libssh2>=1.10)
# 1.11.0, which Ubuntu 24.04 has, lets a second write through while a packet is half sent and so corrupts the stream.
# That cannot happen to us: libssh2 sends into a buffer of provision/channel/wire.cpp, which always takes a packet whole.
