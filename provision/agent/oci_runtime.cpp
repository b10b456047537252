#include "provision/agent/oci_runtime.hpp"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>

#include "provision/agent/system.hpp"
#include "src/base/unique_fd.hpp"

namespace cl::agent {
namespace {

/// Beside the link by which this program is called: crun, mounted read-only by the guest's boot (colima-like/early).
constexpr const char* read_only_suffix = "-read-only";
/// crun's own sign that it was run from a place that a container cannot write to; it looks for itself, too, whether
/// /proc/self/exe is on a read-only mount (crun, src/libcrun/cloned_binary.c).
constexpr const char* cloned_sign = "_LIBCONTAINER_CLONED_BINARY";
/// A container's configuration is a few KiB.
constexpr std::size_t most_configuration = 16 << 20;

int fail(const char* what, std::string_view why) {
  std::fprintf(stderr, "libnetwork-setkey: %s: %.*s\n", what, static_cast<int>(why.size()), why.data());
  return 1;
}

bool write_all(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t n = ::write(fd, text.data(), text.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    text.remove_prefix(static_cast<std::size_t>(n));
  }
  return true;
}

/// The value of `--bundle` or `-b` in a call of `create`.
const char* bundle_of(int count, char** words) {
  bool creates = false;
  const char* bundle = nullptr;
  for (int at = 1; at < count; ++at) {
    const std::string_view word = words[at];
    if (word == "create") creates = true;
    if ((word == "--bundle" || word == "-b") && at + 1 < count) bundle = words[at + 1];
    if (word.starts_with("--bundle=")) bundle = words[at] + std::strlen("--bundle=");
  }
  return creates ? bundle : nullptr;
}

/// Has the hook by which dockerd calls itself call `program` in the configuration of a container; false when there is
/// no such hook. In JSON a quotation mark inside a string has a backslash in front: what is looked for is never a part
/// of what a user gave the container.
bool lead_hook_to(std::string_view program, std::string& configuration) {
  constexpr std::string_view before = R"({"path":"/proc/)", after = R"(/exe","args":["libnetwork-setkey",)";
  if (program.find_first_of("\"\\") != std::string_view::npos) return false;
  for (auto at = configuration.find(before); at != std::string::npos; at = configuration.find(before, at + 1)) {
    const auto digits = at + before.size();
    const auto end = configuration.find_first_not_of("0123456789", digits);
    if (end == std::string::npos || end == digits || configuration.compare(end, after.size(), after) != 0) continue;
    const auto path = digits - std::strlen("/proc/");
    configuration.replace(path, end + std::strlen("/exe") - path, program);
    return true;
  }
  return false;
}

/// Written beside the old one and put in its place whole: a shim that ends meanwhile leaves one or the other.
void change_configuration(const std::string& file) {
  char self[4096];
  const ssize_t length = ::readlink("/proc/self/exe", self, sizeof self);
  if (length <= 0 || length == sizeof self) return;
  std::string configuration = read_file(file.c_str(), most_configuration);
  if (configuration.size() >= most_configuration) return;
  if (!lead_hook_to(std::string_view(self, static_cast<std::size_t>(length)), configuration)) return;
  struct stat old{};
  if (::stat(file.c_str(), &old) != 0) return;
  const std::string changed = file + ".new";
  const UniqueFd to(::open(changed.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, old.st_mode & 0777));
  if (!to) return;
  if (!write_all(to.get(), configuration) || ::rename(changed.c_str(), file.c_str()) != 0) ::unlink(changed.c_str());
}

bool is_on_read_only_mount(const char* path) {
  struct statfs facts{};
  return ::statfs(path, &facts) == 0 && (facts.f_flags & ST_RDONLY) != 0;
}

std::string read_to_end(int fd) {
  std::string text;
  char piece[4096];
  while (text.size() < most_configuration) {
    const ssize_t n = ::read(fd, piece, sizeof piece);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    text.append(piece, static_cast<std::size_t>(n));
  }
  return text;
}

/// The digits of `"pid":` in a container's state; "" when there are none. Annotations, which are the user's, are
/// strings.
std::string process_in(std::string_view state) {
  constexpr std::string_view key = "\"pid\":";
  for (auto at = state.find(key); at != std::string_view::npos; at = state.find(key, at + 1)) {
    std::string_view rest = state.substr(at + key.size());
    rest.remove_prefix(std::min(rest.find_first_not_of(" \t\r\n"), rest.size()));
    const std::string_view digits = rest.substr(0, rest.find_first_not_of("0123456789"));
    if (!digits.empty()) return std::string(digits);
  }
  return "";
}

bool is_name(std::string_view word) {
  constexpr std::string_view known = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_.-";
  return !word.empty() && word.find_first_not_of(known) == std::string_view::npos;
}

}  // namespace

int run_oci_runtime(int count, char** words) {
  if (const char* bundle = bundle_of(count, words)) change_configuration(std::string(bundle) + "/config.json");
  const std::string read_only = std::string(words[0]) + read_only_suffix;
  if (is_on_read_only_mount(read_only.c_str())) {
    ::setenv(cloned_sign, "1", 1);
    ::execv(read_only.c_str(), words);
    ::unsetenv(cloned_sign);
  }
  ::execvp("crun", words);  // which does what it always does
  std::fprintf(stderr, "crun: %s\n", std::strerror(errno));
  return 127;
}

int set_network_key(int count, char** words) {
  constexpr std::string_view option = "-exec-root=";
  if (count != 4 || !std::string_view(words[1]).starts_with(option) || !is_name(words[2]) || !is_name(words[3]))
    return fail("its words", "are not -exec-root=FOLDER CONTAINER CONTROLLER");
  const std::string pid = process_in(read_to_end(STDIN_FILENO));
  if (pid.empty()) return fail("stdin", "is no state of a container");

  const std::string path = std::string(words[1]).substr(option.size()) + "/libnetwork/" + words[3] + ".sock";
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) return fail(path.c_str(), error_text(ENAMETOOLONG));
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  const UniqueFd controller(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!controller || ::connect(controller.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    return fail(path.c_str(), error_text(errno));
  if (!write_all(controller.get(),
                 std::string(R"({"ContainerID":")") + words[2] + R"(","Key":"/proc/)" + pid + R"(/ns/net"})"))
    return fail(path.c_str(), error_text(errno));
  char answer[1024];
  ssize_t length = 0;
  do length = ::read(controller.get(), answer, sizeof answer);
  while (length < 0 && errno == EINTR);
  if (length < 0) return fail(path.c_str(), error_text(errno));
  const std::string_view said(answer, static_cast<std::size_t>(length));
  return said == "success" ? 0 : fail(path.c_str(), said.empty() ? "ended without an answer" : said);
}

}  // namespace cl::agent
