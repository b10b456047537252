#include "src/app/about.hpp"

#include <boost/version.hpp>

#include "provision/ssh/library.hpp"
#include "src/base/failure.hpp"
#include "src/base/host.hpp"
#include "src/base/version.hpp"
#include "vm/hash.hpp"
#include "vm/qemu/binary.hpp"

namespace cl {
namespace {

namespace json = boost::json;

std::string compiler() {
#if defined(__clang__)
  return fmt::format("clang {}.{}.{}", __clang_major__, __clang_minor__, __clang_patchlevel__);
#else
  return fmt::format("gcc {}.{}.{}", __GNUC__, __GNUC_MINOR__, __GNUC_PATCHLEVEL__);
#endif
}

std::string_view c_library() {
#if defined(__APPLE__)
  return "libSystem";
#elif defined(__GLIBC__)
  return "glibc";
#else
  return "musl";
#endif
}

std::string boost_version() {
  return fmt::format("{}.{}.{}", BOOST_VERSION / 100000, BOOST_VERSION / 100 % 1000, BOOST_VERSION % 100);
}

std::string fmt_version() {
  return fmt::format("{}.{}.{}", FMT_VERSION / 10000, FMT_VERSION / 100 % 100, FMT_VERSION % 100);
}

asio::awaitable<json::object> qemu_found(std::string arch) {
  json::object found{{"version", nullptr}, {"path", nullptr}, {"problem", nullptr}};
  try {
    const QemuBinary qemu = co_await find_qemu(arch);
    found["version"] = qemu.version;
    found["path"] = qemu.path.string();
  } catch (const Error& error) {
    found["problem"] = one_line(error);
  }
  co_return found;
}

}  // namespace

asio::awaitable<json::object> about() {
  const HostFacts host = host_facts();
  json::object all{{"version", program_version()}};
  all["commit"] = program_commit().empty() ? json::value() : json::value(program_commit());
  all["os"] = host.os;
  all["arch"] = host.arch;
  all["build"] = json::object{{"compiler", compiler()}, {"c_library", c_library()}};
  all["libraries"] = json::object{{"boost", boost_version()},
                                  {"fmt", fmt_version()},
                                  {"libssh2", ssh::library_version()},
                                  {"openssl", tls_library_version()}};
  all["qemu"] = co_await qemu_found(host.arch);
  co_return all;
}

}  // namespace cl
