#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <poll.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>
#include <vector>

#include "provision/agent/services.hpp"
#include "provision/agent/system.hpp"
#include "src/base/unique_fd.hpp"

// On which ports of the guest, not of networks of containers, somebody listens. The kernel says when to look: trace
// events for what begins to listen and for TCP ports that close, and a netlink group for UDP ports that close. Without
// them it looks every two seconds.

namespace cl::agent {
namespace {

constexpr int looks_without_events = 2000;  // ms apart
constexpr std::size_t most_listeners = 10'000;
const std::string tracing = "/sys/kernel/tracing";

bool write_file(const std::string& path, std::string_view text) {
  const UniqueFd file(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  return file && ::write(file.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size());
}

bool is_number(const char* name) { return *name != '\0' && std::strspn(name, "0123456789") == std::strlen(name); }

/// Names in a folder, as far as `wanted` says.
template <class Wanted>
std::vector<std::string> names_in(const std::string& folder, const Wanted& wanted) {
  std::vector<std::string> names;
  DIR* const open = ::opendir(folder.c_str());
  if (open == nullptr) return names;
  while (const dirent* entry = ::readdir(open))
    if (wanted(entry->d_name)) names.emplace_back(entry->d_name);
  ::closedir(open);
  return names;
}

/// The kernel's word that something changed.
class Changes {
 public:
  Changes() {
    trees_ = tracing + "/instances/colima-like-" + std::to_string(::getpid());
    follows_ = follow();
  }
  Changes(const Changes&) = delete;
  Changes& operator=(const Changes&) = delete;
  ~Changes() {
    trace_.reset();
    ::rmdir(trees_.c_str());
  }

  /// False when the host wants no more.
  bool wait(int host) {
    pollfd watched[] = {{host, POLLIN, 0}, {trace_.get(), POLLIN, 0}, {closed_.get(), POLLIN, 0}};
    ::poll(watched, follows_ ? 3 : 1, follows_ ? -1 : looks_without_events);
    if (watched[0].revents != 0) return false;
    char told[65536];
    if (watched[1].revents != 0) (void)!::read(trace_.get(), told, sizeof told);
    if (watched[2].revents != 0) (void)!::recv(closed_.get(), told, sizeof told, MSG_DONTWAIT);
    return true;
  }

 private:
  /// A buffer of our own, so that nobody else who traces is disturbed. One whose process was killed is taken away.
  bool follow() {
    if (::access((tracing + "/instances").c_str(), F_OK) != 0)
      ::mount("tracefs", tracing.c_str(), "tracefs", MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr);
    const std::string ours = "colima-like-";
    for (const std::string& old : names_in(tracing + "/instances", [](const char*) { return true; })) {
      if (!old.starts_with(ours) || ::access(("/proc/" + old.substr(ours.size())).c_str(), F_OK) == 0) continue;
      ::rmdir((tracing + "/instances/" + old).c_str());
    }
    if (::mkdir(trees_.c_str(), 0700) != 0) return false;
    write_file(trees_ + "/buffer_size_kb", "64");
    if (!write_file(trees_ + "/buffer_percent", "0")) return false;  // one event is enough to wake us
    const std::string state = trees_ + "/events/sock/inet_sock_set_state/";
    if (!write_file(state + "filter", "newstate == 10 || oldstate == 10")) return false;  // 10: listening
    if (!write_file(state + "enable", "1")) return false;
    if (!write_file(trees_ + "/events/syscalls/sys_exit_bind/enable", "1")) return false;
    trace_.reset(::open((trees_ + "/trace_pipe").c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
    closed_.reset(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG));
    sockaddr_nl groups{};
    groups.nl_family = AF_NETLINK;
    groups.nl_groups = 2 | 8;  // UDP sockets that were closed, IPv4 and IPv6
    return trace_ && closed_ && ::bind(closed_.get(), reinterpret_cast<sockaddr*>(&groups), sizeof groups) == 0;
  }

  std::string trees_;
  UniqueFd trace_, closed_;
  bool follows_ = false;
};

/// "PROTOCOL ADDRESS PORT" by the socket's inode.
using Found = std::map<unsigned long, std::string>;

void read_table(const char* table, bool udp, bool v6, int first_own, int last_own, Found& found) {
  const std::string text = read_file((std::string("/proc/net/") + table).c_str());
  std::string_view rest = text;
  for (bool head = true; !rest.empty(); head = false) {
    const std::string line(rest.substr(0, rest.find('\n')));
    rest.remove_prefix(std::min(rest.size(), line.size() + 1));
    char hex[33] = "";
    unsigned port = 0, state = 0;
    unsigned long inode = 0;
    if (head || std::sscanf(line.c_str(), " %*d: %32[0-9A-F]:%X %*[0-9A-F]:%*X %X %*X:%*X %*X:%*X %*X %*d %*d %lu", hex,
                            &port, &state, &inode) != 4)
      continue;
    if (state != (udp ? 7U : 10U)) continue;
    // The numbers that the system takes by itself: a UDP socket there is a client.
    if (udp && static_cast<int>(port) >= first_own && static_cast<int>(port) <= last_own) continue;
    if (std::strlen(hex) != (v6 ? 32 : 8) || found.size() >= most_listeners) continue;
    // Each 32-bit word of the address is printed in the byte order of this machine.
    std::uint32_t words[4];
    for (int i = 0; i < (v6 ? 4 : 1); ++i)
      words[i] = static_cast<std::uint32_t>(std::strtoul(std::string(hex + 8 * i, 8).c_str(), nullptr, 16));
    char address[INET6_ADDRSTRLEN];
    if (::inet_ntop(v6 ? AF_INET6 : AF_INET, words, address, sizeof address) == nullptr) continue;
    found[inode] = std::string(udp ? "udp " : "tcp ") + address + " " + std::to_string(port);
  }
}

Found look() {
  Found found;
  int first = 1, last = 0;
  std::sscanf(read_file("/proc/sys/net/ipv4/ip_local_port_range").c_str(), "%d %d", &first, &last);
  read_table("tcp", false, false, first, last, found);
  read_table("tcp6", false, true, first, last, found);
  read_table("udp", true, false, first, last, found);
  read_table("udp6", true, true, first, last, found);
  return found;
}

std::string control_group(const std::string& process) {
  const std::string text = "\n" + read_file(("/proc/" + process + "/cgroup").c_str());
  const std::size_t at = text.find("\n0::");
  if (at == std::string::npos) return "-";
  const std::size_t begin = at + 4;
  return text.substr(begin, text.find_first_of(" \n", begin) - begin);
}

/// The control group of each socket's program; "" for those of the engine and its proxies, whose ports are published
/// ones.
using Owners = std::map<unsigned long, std::string>;

void name_owners(const Found& found, Owners& owners) {
  std::size_t unknown = 0;
  for (const auto& [inode, what] : found) unknown += owners.count(inode) == 0 ? 1 : 0;
  if (unknown == 0) return;
  auto processes = names_in("/proc", is_number);
  // The newest first: who has just begun to listen.
  std::sort(processes.begin(), processes.end(), [](const std::string& a, const std::string& b) {
    return a.size() != b.size() ? a.size() > b.size() : a > b;
  });
  for (const std::string& process : processes) {
    const std::string folder = "/proc/" + process + "/fd";
    for (const std::string& descriptor : names_in(folder, is_number)) {
      char to[64];
      const ssize_t size = ::readlink((folder + "/" + descriptor).c_str(), to, sizeof to - 1);
      if (size <= 0) continue;
      to[size] = '\0';
      unsigned long inode = 0;
      if (std::sscanf(to, "socket:[%lu]", &inode) != 1 || found.count(inode) == 0 || owners.count(inode) > 0) continue;
      const std::string name = read_file(("/proc/" + process + "/comm").c_str());
      const bool engine = name == "docker-proxy\n" || name == "dockerd\n";
      owners[inode] = engine ? "" : control_group(process);
      if (--unknown == 0) return;
    }
  }
}

std::string list_of(const Found& found, const Owners& owners) {
  std::vector<std::string> lines;
  for (const auto& [inode, what] : found) {
    const auto owner = owners.find(inode);
    if (owner == owners.end()) {
      lines.push_back(what + " -\n");
    } else if (!owner->second.empty()) {
      lines.push_back(what + " " + owner->second + "\n");
    }
  }
  std::sort(lines.begin(), lines.end());
  std::string list;
  for (const std::string& line : lines) list += line;
  return list + ".\n";
}

long cpu_milliseconds() {
  rusage used{};
  ::getrusage(RUSAGE_SELF, &used);
  return (used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1000 + (used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1000;
}

}  // namespace

void listeners(Channel& host, std::string_view) {
  Changes changes;
  Owners owners;
  std::string told;
  long used = 0;
  do {
    const Found found = look();
    std::erase_if(owners, [&found](const auto& owner) { return found.count(owner.first) == 0; });
    name_owners(found, owners);
    std::string list = list_of(found, owners);
    if (list != told) host.send_lines(list);
    told = std::move(list);
    // Not more than a fifth of a CPU for that, however busy the guest is.
    const long now = cpu_milliseconds();
    if (!host.wait(static_cast<int>(20 + 4 * (now - used)))) return;
    used = now;
  } while (changes.wait(host.fd()));
}

}  // namespace cl::agent
