#include <dirent.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <set>
#include <vector>

#include "provision/agent/services.hpp"
#include "provision/agent/system.hpp"

// Counters of the guest and of its containers, once (docs/agent.md, "Statistics").

namespace cl::agent {
namespace {

using Number = unsigned long long;

const std::string groups = "/sys/fs/cgroup";

/// Calls `each(line)` for every line of a file.
template <class Each>
void for_lines(const std::string& path, const Each& each) {
  const std::string text = read_file(path.c_str());
  for (std::string_view rest = text; !rest.empty();) {
    const std::string line(rest.substr(0, rest.find('\n')));
    rest.remove_prefix(std::min(rest.size(), line.size() + 1));
    each(line);
  }
}

/// Of "NAME 12" or "NAME: 12 kB" in a file; 0 when it is not there.
Number value_of(const std::string& path, std::string_view name) {
  Number value = 0;
  for_lines(path, [&](const std::string& line) {
    if (line.starts_with(name) && line.size() > name.size() && std::strchr(": ", line[name.size()]) != nullptr)
      value = std::strtoull(line.c_str() + name.size() + 1, nullptr, 10);
  });
  return value;
}

std::string first_line(const std::string& path) {
  const std::string text = read_file(path.c_str());
  return text.substr(0, text.find('\n'));
}

void put(std::string& to, std::initializer_list<std::string> words) {
  const char* between = "";
  for (const std::string& word : words) {
    to += between + word;
    between = " ";
  }
  to += '\n';
}

std::string text(Number number) { return std::to_string(number); }

void cpu(std::string& to) {
  Number user = 0, nice = 0, system = 0, idle = 0, wait = 0, irq = 0, softirq = 0, steal = 0;
  std::sscanf(first_line("/proc/stat").c_str(), "cpu %llu %llu %llu %llu %llu %llu %llu %llu", &user, &nice, &system,
              &idle, &wait, &irq, &softirq, &steal);
  const Number tick = 1'000'000 / static_cast<Number>(::sysconf(_SC_CLK_TCK));
  put(to, {"cpu", text((user + nice) * tick), text((system + irq + softirq) * tick), text(idle * tick),
           text(wait * tick), text(steal * tick), text(static_cast<Number>(::sysconf(_SC_NPROCESSORS_ONLN)))});
}

void memory(std::string& to) {
  std::string words = "memory";
  for (const char* name : {"MemTotal", "MemAvailable", "SwapTotal", "SwapFree"})
    words += " " + text(value_of("/proc/meminfo", name) * 1024);
  to += words + "\n";
}

/// Each disk once, by its first mount point; a space in that is as /proc has it, \040.
void disks(std::string& to) {
  std::set<std::string> seen;
  for_lines("/proc/mounts", [&](const std::string& line) {
    const std::string device = line.substr(0, line.find(' '));
    if (!device.starts_with("/dev/") || !seen.insert(device).second) return;
    const std::string at = line.substr(device.size() + 1, line.find(' ', device.size() + 1) - device.size() - 1);
    struct statvfs size{};
    if (::statvfs(at.c_str(), &size) != 0) return;
    put(to, {"disk", at, text(Number{size.f_blocks} * size.f_frsize), text(Number{size.f_bavail} * size.f_frsize)});
  });
}

struct Traffic {
  Number received = 0, sent = 0;
};

/// Calls `each(interface, traffic)` for all but the loopback device.
template <class Each>
void for_interfaces(const std::string& file, const Each& each) {
  for_lines(file, [&](const std::string& line) {
    char name[64];
    Traffic traffic;
    if (std::sscanf(line.c_str(), " %63[^: |]: %llu %*u %*u %*u %*u %*u %*u %*u %llu", name, &traffic.received,
                    &traffic.sent) == 3 &&
        std::strcmp(name, "lo") != 0)
      each(std::string(name), traffic);
  });
}

void pressure(std::string& to) {
  for (const char* what : {"cpu", "memory", "io"}) {
    unsigned some = 0, some_part = 0, full = 0, full_part = 0;
    bool known = false;
    for_lines(std::string("/proc/pressure/") + what, [&](const std::string& line) {
      known |= std::sscanf(line.c_str(), "some avg10=%u.%2u", &some, &some_part) == 2;
      std::sscanf(line.c_str(), "full avg10=%u.%2u", &full, &full_part);
    });
    if (known) put(to, {"pressure", what, text(some * 100 + some_part), text(full * 100 + full_part)});
  }
}

std::vector<std::string> folders_in(const std::string& folder) {
  std::vector<std::string> names;
  DIR* const open = ::opendir(folder.c_str());
  if (open == nullptr) return names;
  while (const dirent* entry = ::readdir(open))
    if (entry->d_type == DT_DIR && entry->d_name[0] != '.') names.emplace_back(entry->d_name);
  ::closedir(open);
  return names;
}

/// Of a control group's name as engines give it: ID, docker-ID.scope, libpod-ID.scope; "" when it is none.
std::string container_id(std::string_view name) {
  if (name.ends_with(".scope")) name.remove_suffix(6);
  if (name.rfind('-') != std::string_view::npos) name.remove_prefix(name.rfind('-') + 1);
  if (name.size() != 64 || name.find_first_not_of("0123456789abcdef") != std::string_view::npos) return "";
  return std::string(name);
}

void container(std::string& to, const std::string& id, const std::string& group) {
  Number read = 0, written = 0;
  for_lines(group + "/io.stat", [&](const std::string& line) {
    Number in = 0, out = 0;
    if (std::sscanf(line.c_str(), "%*s rbytes=%llu wbytes=%llu", &in, &out) != 2) return;
    read += in;
    written += out;
  });
  Traffic all;
  const std::string process = first_line(group + "/cgroup.procs");
  if (!process.empty())
    for_interfaces("/proc/" + process + "/net/dev", [&all](const std::string&, const Traffic& traffic) {
      all.received += traffic.received;
      all.sent += traffic.sent;
    });
  const std::string limit = first_line(group + "/memory.max");
  auto number = [&group](const char* file) {
    return text(std::strtoull(first_line(group + file).c_str(), nullptr, 10));
  };
  put(to, {"container", id, text(value_of(group + "/cpu.stat", "usage_usec")), number("/memory.current"),
           limit.empty() ? "max" : limit, text(read), text(written), number("/pids.current"), text(all.received),
           text(all.sent)});
}

void containers(std::string& to) {
  for (const std::string& slice : folders_in(groups))
    for (const std::string& name : folders_in(groups + "/" + slice)) {
      const std::string id = container_id(name);
      if (!id.empty()) container(to, id, groups + "/" + slice + "/" + name);
    }
}

}  // namespace

void statistics(Channel& host, std::string_view) {
  std::string all;
  cpu(all);
  memory(all);
  disks(all);
  for_interfaces("/proc/net/dev", [&all](const std::string& name, const Traffic& traffic) {
    put(all, {"network", name, text(traffic.received), text(traffic.sent)});
  });
  pressure(all);
  containers(all);
  host.send_lines(all);
}

}  // namespace cl::agent
