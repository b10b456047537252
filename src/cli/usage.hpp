#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "profiles/paths.hpp"
#include "src/base/async.hpp"

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

/// Where samples come from: one command in the guest today.
class UsageSource {
 public:
  virtual ~UsageSource() = default;
  /// The next sample, when its time has come; nothing when the machine has gone.
  virtual asio::awaitable<std::optional<UsageSample>> next() = 0;
};

/// One small shell program in the guest, which reads /proc and the containers' cgroups every `interval` seconds and
/// starts no other program but `sleep`. The first sample comes half a second after the beginning.
asio::awaitable<std::unique_ptr<UsageSource>> guest_usage(ProfilePaths paths, int interval);

/// What that program writes, line by line, as samples. Pure.
class UsageReader {
 public:
  /// A sample when the line ends one, but the first: it takes two to see what was used between them.
  std::optional<UsageSample> take(std::string_view line);

 private:
  struct Counters {
    double cpu = 0;  ///< seconds of one CPU
    std::uint64_t memory = 0, received = 0, sent = 0;
  };
  struct Reading {
    double time = 0;  ///< seconds since the guest's boot
    std::uint64_t total = 0, available = 0;
    Counters machine;
    std::map<std::string, Counters> containers;
  };
  UsageSample between(const Reading& from, const Reading& to) const;

  std::optional<Reading> before_;
  Reading now_;
  std::string container_;
};

}  // namespace cl::cli
