#include "vm/vz/binary.hpp"

#include <charconv>
#include <cstdlib>
#include <optional>
#include <tuple>

#include "src/base/child.hpp"
#include "src/base/file.hpp"

namespace cl {
namespace {

/// 0.6.2 has what we rely on: a disk that is qcow2 is refused instead of read as raw, and leaks of descriptors and
/// half-closed networks are gone.
constexpr std::tuple least{0, 6, 2};
constexpr const char* install_hint = "install it with 'brew install vfkit', or use 'vm.driver: qemu'";
constexpr const char* update_hint = "update it with 'brew upgrade vfkit', or use 'vm.driver: qemu'";

}  // namespace

bool parse_vfkit_version(std::string_view output, VfkitBinary& into) {
  constexpr std::string_view before = "vfkit version: ";
  const auto at = output.find(before);
  if (at == std::string_view::npos) return false;
  std::string_view rest = output.substr(at + before.size());
  if (rest.starts_with('v')) rest.remove_prefix(1);
  rest = rest.substr(0, rest.find_first_not_of("0123456789."));
  const char* next = rest.data();
  const char* const end = rest.data() + rest.size();
  for (int* number : {&into.major, &into.minor, &into.patch}) {
    if (number != &into.major && (next == end || *next++ != '.')) return false;
    const auto got = std::from_chars(next, end, *number);
    if (got.ec != std::errc{}) return false;
    next = got.ptr;
  }
  into.version = rest;
  return true;
}

asio::awaitable<VfkitBinary> find_vfkit() {
  const char* stand_in = std::getenv("COLIMA_LIKE_VFKIT");
  const auto path = find_program(stand_in != nullptr && *stand_in != '\0' ? stand_in : "vfkit");
  if (!path) throw Error(Errc::host_requirement, "vfkit, which runs vz machines, is not installed", install_hint);
  Command command;
  command.argv = {path->string(), "--version"};
  const Finished answer = co_await run(command, "", std::chrono::seconds(10));
  VfkitBinary found;
  found.path = *path;
  if (!answer.status.ok() || !parse_vfkit_version(answer.output, found))
    throw Error(Errc::host_requirement, path->string() + " does not work", install_hint)
        .because(answer.status.ok() ? "it does not tell its version, but '" + last_lines(answer.output, 1) + "'"
                                    : answer.status.str() + ": " + last_lines(answer.errors, 3));
  if (std::tuple(found.major, found.minor, found.patch) < least)
    throw Error(Errc::host_requirement,
                path->string() + " is vfkit " + found.version + ", but 0.6.2 or newer is needed", update_hint)
        .because("older ones lose connections; Podman's installer brings one of those");
  co_return found;
}

}  // namespace cl
