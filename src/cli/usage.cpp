#include "src/cli/usage.hpp"

#include <algorithm>
#include <sstream>
#include <utility>

#include "src/cli/launch.hpp"
#include "src/cli/output.hpp"

namespace cl::cli {
namespace {

constexpr double microseconds = 1e6;  // in a second

}  // namespace

std::optional<UsageSample> UsageReader::take(std::string_view reading) {
  Reading now = read(reading);
  std::optional<UsageSample> sample;
  if (before_) sample = between(*before_, now);
  before_ = std::move(now);
  return sample;
}

UsageReader::Reading UsageReader::read(std::string_view reading) {
  Reading now;
  std::istringstream lines{std::string(reading)};
  for (std::string line, kind; std::getline(lines, line);) {
    std::istringstream words(line);
    words >> kind;
    if (kind == "cpu") {
      double user = 0, system = 0, idle = 0, wait = 0, steal = 0, count = 0;
      words >> user >> system >> idle >> wait >> steal >> count;
      now.machine.cpu = (user + system + steal) / microseconds;
      now.time = (user + system + idle + wait + steal) / std::max(count, 1.0) / microseconds;
    } else if (kind == "memory") {
      words >> now.total >> now.available;
    } else if (kind == "network") {
      std::string card;
      std::uint64_t received = 0, sent = 0;
      words >> card >> received >> sent;
      if (!card.starts_with('e')) continue;  // bridges and their ends carry the same bytes again
      now.machine.received += received;
      now.machine.sent += sent;
    } else if (kind == "container") {
      std::string id, limit, read, written, processes;
      Counters container;
      words >> id >> container.cpu >> container.memory >> limit >> read >> written >> processes >> container.received >>
          container.sent;
      container.cpu /= microseconds;
      if (!id.empty()) now.containers[id] = container;
    }
  }
  now.machine.memory = now.total - std::min(now.total, now.available);
  return now;
}

UsageSample UsageReader::between(const Reading& from, const Reading& to) {
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

asio::awaitable<UsageSource> UsageSource::open(ProfilePaths paths, std::chrono::milliseconds interval) {
  rpc::Connection daemon = co_await reach_daemon(paths, false);
  rpc::Statistics asked;
  asked.interval_ms = interval.count();
  const rpc::Request request(asked);
  co_await daemon.write_line(rpc::encode(request));
  rpc::Watcher watcher;
  watcher.on_note = [](const std::string& note) { print_note(note); };
  co_await rpc::await_answer(daemon, std::move(watcher));
  co_return UsageSource(std::move(daemon));
}

asio::awaitable<std::optional<UsageSample>> UsageSource::next() {
  constexpr std::string_view last_line = "\n.\n";
  for (;;) {
    for (auto end = text_.find(last_line); end != std::string::npos; end = text_.find(last_line)) {
      const auto sample = reader_.take(std::string_view(text_).substr(0, end + 1));
      text_.erase(0, end + last_line.size());
      if (sample) co_return sample;
    }
    const auto frame = co_await daemon_.read_frame();
    if (!frame) co_return std::nullopt;
    text_ += frame->payload;
  }
}

}  // namespace cl::cli
