#include "src/cli/usage.hpp"

#include <algorithm>
#include <sstream>

#include "src/cli/remote.hpp"

namespace cl::cli {
namespace {

constexpr double ticks_per_second = 100;  // USER_HZ, the same on every Linux that we run

/// Lines: "@ UPTIME", /proc/stat's first, two of /proc/meminfo, "n" and a line of /proc/net/dev for each card, and for
/// each container "c ID MICROSECONDS BYTES" and "m" with a line of its own /proc/net/dev; "." ends a reading. Builtins
/// alone: on an emulated CPU each program that is started takes milliseconds. Containers' cgroups are where dockerd's
/// cgroupfs or systemd driver, or podman, makes them.
constexpr const char* program = R"(
cards() {
  while read -r line; do case $line in e*:*) echo "$1 $line" ;; esac; done < "$2" 2>/dev/null
}
pause=0.5
while :; do
  read -r up rest < /proc/uptime && echo "@ $up"
  read -r line < /proc/stat && echo "$line"
  while read -r key value unit; do case $key in MemTotal:|MemAvailable:) echo "$key $value" ;; esac; done < /proc/meminfo
  cards n /proc/net/dev
  for d in /sys/fs/cgroup/docker/* /sys/fs/cgroup/system.slice/docker-*.scope /sys/fs/cgroup/machine.slice/libpod-*.scope; do
    [ -r "$d/memory.current" ] || continue
    key= used= bytes= first=
    read -r key used < "$d/cpu.stat"
    read -r bytes < "$d/memory.current"
    id=${d##*/} id=${id#docker-} id=${id#libpod-}
    echo "c ${id%.scope} $used $bytes"
    read -r first < "$d/cgroup.procs" && cards m "/proc/$first/net/dev"
  done 2>/dev/null
  echo .
  sleep "$pause" || exit
  pause=)";

class GuestUsage : public UsageSource {
 public:
  explicit GuestUsage(RemoteCommand command) : command_(std::move(command)) {}
  asio::awaitable<std::optional<UsageSample>> next() override {
    while (auto line = co_await command_.read_line())
      if (auto sample = reader_.take(*line)) co_return sample;
    co_return std::nullopt;
  }

 private:
  RemoteCommand command_;
  UsageReader reader_;
};

}  // namespace

std::optional<UsageSample> UsageReader::take(std::string_view line) {
  std::istringstream words{std::string(line)};
  std::string first;
  words >> first;
  if (first == "@") {
    now_ = {};
    words >> now_.time;
  } else if (first == "cpu") {
    // user nice system idle iowait irq softirq steal: all but the fourth and fifth are work.
    double value = 0;
    for (int i = 0; i < 8 && words >> value; ++i)
      if (i != 3 && i != 4) now_.machine.cpu += value / ticks_per_second;
  } else if (first == "MemTotal:" || first == "MemAvailable:") {
    std::uint64_t kib = 0;
    words >> kib;
    (first == "MemTotal:" ? now_.total : now_.available) = kib * 1024;
  } else if (first == "c") {
    double microseconds = 0;
    Counters container;
    words >> container_ >> microseconds >> container.memory;
    container.cpu = microseconds / 1e6;
    now_.containers[container_] = container;
  } else if (first == "n" || first == "m") {
    // "eth0: received packets errs drop fifo frame compressed multicast sent ...": the name may touch its first number.
    std::string rest;
    std::getline(words, rest);
    std::istringstream numbers(rest.substr(std::min(rest.find(':') + 1, rest.size())));
    std::uint64_t value = 0;
    Counters* into = &now_.machine;
    if (first == "m") into = &now_.containers[container_];
    for (int i = 0; i < 9 && numbers >> value; ++i) {
      if (i == 0) into->received += value;
      if (i == 8) into->sent += value;
    }
  } else if (first == ".") {
    now_.machine.memory = now_.total - std::min(now_.total, now_.available);
    std::optional<UsageSample> sample;
    if (before_) sample = between(*before_, now_);
    before_ = std::move(now_);
    now_ = {};
    return sample;
  }
  return std::nullopt;
}

UsageSample UsageReader::between(const Reading& from, const Reading& to) const {
  const double seconds = std::max(to.time - from.time, 0.01);
  auto usage = [seconds](const std::string& id, const Counters& was, const Counters& is) {
    auto rate = [seconds](std::uint64_t a, std::uint64_t b) {
      return b < a ? 0 : static_cast<std::uint64_t>(static_cast<double>(b - a) / seconds);
    };
    return Usage{id, std::max(is.cpu - was.cpu, 0.0) / seconds * 100, is.memory, rate(was.received, is.received),
                 rate(was.sent, is.sent)};
  };
  UsageSample sample;
  sample.machine = usage("", from.machine, to.machine);
  sample.memory_total = to.total;
  for (const auto& [id, is] : to.containers) {
    const auto was = from.containers.find(id);
    // One that is new has used nothing yet that could be told.
    sample.containers.push_back(usage(id, was == from.containers.end() ? is : was->second, is));
  }
  return sample;
}

asio::awaitable<std::unique_ptr<UsageSource>> guest_usage(ProfilePaths paths, int interval) {
  RemoteCommand command =
      co_await RemoteCommand::start(std::move(paths), program + std::to_string(interval) + "\ndone");
  co_await command.end_input();
  co_return std::make_unique<GuestUsage>(std::move(command));
}

}  // namespace cl::cli
