#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "profiles/paths.hpp"
#include "src/base/async.hpp"
#include "src/rpc/connection.hpp"

/// What a machine and its containers use at this moment, for `top`.
namespace cl::cli {

/// Of the machine, or of one container.
struct Usage {
  std::string id;              ///< of a container, whole; of the machine empty
  double cpu_percent = 0;      ///< of one CPU, since the sample before
  std::uint64_t memory = 0;    ///< bytes
  std::uint64_t received = 0;  ///< bytes per second, since the sample before
  std::uint64_t sent = 0;
};

struct UsageSample {
  Usage machine;
  std::uint64_t memory_total = 0;  ///< bytes that the machine has
  std::vector<Usage> containers;   ///< those that run, by id
};

/// Readings of counters (docs/agent.md, "Statistics") as samples. Pure.
class UsageReader {
 public:
  /// What was used since the reading before; nothing for the first. Lines that are not understood are passed over.
  std::optional<UsageSample> take(std::string_view reading);

 private:
  struct Counters {
    double cpu = 0;  ///< seconds of one CPU
    std::uint64_t memory = 0, received = 0, sent = 0;
  };
  struct Reading {
    double time = 0;  ///< seconds since the guest's boot, as its CPUs count
    std::uint64_t total = 0, available = 0;
    Counters machine;
    std::map<std::string, Counters> containers;
  };
  static Reading read(std::string_view reading);
  static UsageSample between(const Reading& from, const Reading& to);

  std::optional<Reading> before_;
};

/// The readings of a machine, which the daemon asks the guest's agent for.
class UsageSource {
 public:
  /// A suspended machine is woken first. The first sample comes half a second after this, then one each `interval`.
  static asio::awaitable<UsageSource> open(ProfilePaths paths, std::chrono::milliseconds interval);

  /// The next sample, when its time has come; nothing when the machine has gone.
  asio::awaitable<std::optional<UsageSample>> next();

 private:
  explicit UsageSource(rpc::Connection daemon) : daemon_(std::move(daemon)) {}

  rpc::Connection daemon_;
  UsageReader reader_;
  std::string text_;  ///< behind the last reading that was whole
};

}  // namespace cl::cli
