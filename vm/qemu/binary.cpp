#include "vm/qemu/binary.hpp"

#include <charconv>

#include "src/base/child.hpp"
#include "src/base/file.hpp"

namespace cl {
namespace {

std::string hint_for_this_host(std::string_view arch) {
  return install_qemu_hint(read_file_if_exists("/etc/os-release").value_or(""), arch);
}

/// The value of NAME in a file of shell assignments, without its quotes.
std::string_view assigned(std::string_view text, std::string_view name) {
  while (!text.empty()) {
    const auto end = text.find('\n');
    std::string_view line = text.substr(0, end);
    text = end == std::string_view::npos ? std::string_view{} : text.substr(end + 1);
    if (!line.starts_with(name) || line.substr(name.size(), 1) != "=") continue;
    line.remove_prefix(name.size() + 1);
    if (line.size() >= 2 && line.front() == '"' && line.back() == '"') line = line.substr(1, line.size() - 2);
    return line;
  }
  return {};
}

}  // namespace

std::string install_qemu_hint(std::string_view os_release, std::string_view arch) {
  const std::string package = arch == "aarch64" ? "qemu-system-arm" : "qemu-system-x86";
  const std::string_view id = assigned(os_release, "ID");
  const std::string_view like = assigned(os_release, "ID_LIKE");
  if (os_release.empty()) return "install it with 'brew install qemu'";
  if (id == "debian" && assigned(os_release, "VERSION_ID") == "12")
    return "Debian 12's own QEMU is too old: add 'deb http://deb.debian.org/debian bookworm-backports main' to "
           "/etc/apt/sources.list.d/backports.list, then 'apt-get update && apt-get install -t bookworm-backports " +
           package + " qemu-utils'";
  if (id == "debian" || id == "ubuntu" || like.find("debian") != std::string_view::npos)
    return "install it with 'apt-get install " + package + " qemu-utils'";
  if (id == "fedora" || like.find("fedora") != std::string_view::npos)
    return "install it with 'dnf install " +
           std::string(arch == "aarch64" ? "qemu-system-aarch64" : "qemu-system-x86") + " qemu-img'";
  if (id == "arch") return "install it with 'pacman -S qemu-base'";
  return "install QEMU 8 or newer (package " + package + " or similar)";
}

bool parse_qemu_version(std::string_view output, QemuBinary& into) {
  constexpr std::string_view before = "QEMU emulator version ";
  const auto at = output.find(before);
  if (at == std::string_view::npos) return false;
  std::string_view rest = output.substr(at + before.size());
  rest = rest.substr(0, rest.find_first_not_of("0123456789."));
  const char* end = rest.data() + rest.size();
  const auto major = std::from_chars(rest.data(), end, into.major);
  if (major.ec != std::errc{} || major.ptr == end || *major.ptr != '.') return false;
  if (std::from_chars(major.ptr + 1, end, into.minor).ec != std::errc{}) return false;
  into.version = rest;
  return true;
}

asio::awaitable<QemuBinary> find_qemu(std::string arch) {
  const std::string name = "qemu-system-" + arch;
  const auto path = find_program(name);
  if (!path) throw Error(Errc::host_requirement, name + " is not installed", hint_for_this_host(arch));
  QemuBinary found;
  found.path = *path;

  // One run answers two questions: options are read in order, so an unknown -sandbox ends it before -version.
  Command command;
  command.argv = {path->string(), "-sandbox", std::string(sandbox_option), "-version"};
  Finished answer = co_await run(command, "", std::chrono::seconds(10));
  found.sandbox = answer.status.ok();
  if (!found.sandbox) {
    command.argv = {path->string(), "-version"};
    answer = co_await run(command, "", std::chrono::seconds(10));
  }
  if (!answer.status.ok() || !parse_qemu_version(answer.output, found))
    throw Error(Errc::host_requirement, path->string() + " does not work", hint_for_this_host(arch))
        .because(answer.status.ok() ? "it does not tell its version" : answer.status.str() + ": " + answer.errors);
  if (found.major < least_qemu_major)
    throw Error(Errc::host_requirement,
                path->string() + " is QEMU " + found.version + ", but QEMU 8 or newer is needed",
                hint_for_this_host(arch));
  co_return found;
}

}  // namespace cl
