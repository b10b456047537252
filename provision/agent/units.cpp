#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/inotify.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <vector>

#include "provision/agent/services.hpp"
#include "provision/agent/system.hpp"
#include "provision/channel/protocol.hpp"
#include "src/base/unique_fd.hpp"

// How units of systemd are. The kernel says when to look: a unit's control group comes, goes, or gets its first process
// or loses its last.

namespace cl::agent {
namespace {

const std::string slice = "/sys/fs/cgroup/system.slice";
constexpr int settling = 50;     // ms: systemd is told of the same things
constexpr int look_again = 500;  // ms, once: what it made of them
constexpr std::uint32_t folder_changes = IN_CREATE | IN_DELETE;

std::string output_of(const std::vector<std::string>& words) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return "";
  const UniqueFd from(ends[0]);
  UniqueFd to(ends[1]);
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  ::posix_spawn_file_actions_adddup2(&actions, to.get(), 1);
  std::vector<char*> argv;
  for (const std::string& word : words) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  const char* const environment[] = {"PATH=/usr/bin:/bin", "LC_ALL=C", nullptr};
  pid_t pid = 0;
  const int failure =
      ::posix_spawn(&pid, argv[0], &actions, nullptr, argv.data(), const_cast<char* const*>(environment));
  ::posix_spawn_file_actions_destroy(&actions);
  to.reset();
  std::string text;
  if (failure != 0) return text;
  char piece[4096];
  for (;;) {
    const ssize_t got = ::read(from.get(), piece, sizeof piece);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    text.append(piece, static_cast<std::size_t>(got));
  }
  ::waitpid(pid, nullptr, 0);
  return text;
}

/// "NAME ACTIVE SUB RESULT" for each.
std::string look(const std::vector<std::string>& names) {
  std::vector<std::string> words{"/usr/bin/systemctl", "show", "--property=Id,ActiveState,SubState,Result", "--"};
  words.insert(words.end(), names.begin(), names.end());
  const std::string text = output_of(words);
  std::string list, id, active, sub, result = "-";
  auto finish = [&] {
    if (!id.empty()) list += id + " " + active + " " + sub + " " + result + "\n";
    id.clear();
    result = "-";
  };
  for (std::string_view rest = text; !rest.empty();) {
    const std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(rest.size(), line.size() + 1));
    const std::string_view value = line.substr(std::min(line.size(), line.find('=') + 1));
    if (line.empty()) finish();
    if (line.starts_with("Id=")) id = value;
    if (line.starts_with("ActiveState=")) active = value;
    if (line.starts_with("SubState=")) sub = value;
    if (line.starts_with("Result=")) result = value;
  }
  finish();
  return list;
}

}  // namespace

void units(Channel& host, std::string_view arguments) {
  std::vector<std::string> names;
  while (!arguments.empty()) names.emplace_back(take_word(arguments));
  const UniqueFd changes(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  if (!changes || ::inotify_add_watch(changes.get(), slice.c_str(), folder_changes) < 0) {
    host.send("error " + error_text(errno));
    return;
  }
  std::string told;
  for (;;) {
    for (const std::string& name : names)
      ::inotify_add_watch(changes.get(), (slice + "/" + name + "/cgroup.events").c_str(), IN_MODIFY);
    const std::string list = look(names);
    if (list != told) host.send_lines(list);
    const bool moved = list != told;
    told = list;
    pollfd watched[] = {{host.fd(), POLLIN, 0}, {changes.get(), POLLIN, 0}};
    ::poll(watched, 2, moved ? look_again : -1);
    if (watched[0].revents != 0) return;
    if (watched[1].revents != 0 && !host.wait(settling)) return;
    char events[4096];
    while (::read(changes.get(), events, sizeof events) > 0) {
    }
  }
}

}  // namespace cl::agent
