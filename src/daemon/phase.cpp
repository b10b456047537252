#include "src/daemon/phase.hpp"

#include <type_traits>

namespace cl {

std::string_view to_string(const Phase& phase) noexcept {
  struct Words {
    std::string_view operator()(const phase::Stopped&) const { return "stopped"; }
    std::string_view operator()(const phase::Saved&) const { return "suspended"; }
    std::string_view operator()(const phase::Preparing&) const { return "starting"; }
    std::string_view operator()(const phase::Booting&) const { return "starting"; }
    std::string_view operator()(const phase::Running&) const { return "running"; }
    std::string_view operator()(const phase::Degraded&) const { return "degraded"; }
    std::string_view operator()(const phase::Blocked&) const { return "blocked"; }
    std::string_view operator()(const phase::Suspending&) const { return "suspending"; }
    std::string_view operator()(const phase::Paused&) const { return "suspended"; }
    std::string_view operator()(const phase::Stopping&) const { return "stopping"; }
    std::string_view operator()(const phase::Unreachable&) const { return "degraded"; }
  };
  return std::visit(Words{}, phase);
}

std::optional<LiveMachine> machine_of(const Phase& phase) {
  auto find = [](const auto& one) -> std::optional<LiveMachine> {
    if constexpr (requires { one.machine; }) {
      return one.machine;
    } else {
      return std::nullopt;
    }
  };
  return std::visit(find, phase);
}

bool is_stable(const Phase& phase) noexcept {
  return !is<phase::Preparing, phase::Booting, phase::Suspending, phase::Stopping>(phase);
}

bool may_follow(const Phase& from, const Phase& to) noexcept {
  using namespace phase;
  if (is<Stopped>(from)) return is<Preparing, Booting, Saved, Paused, Unreachable>(to);
  if (is<Saved>(from)) return is<Preparing, Stopped>(to);
  if (is<Preparing>(from)) return is<Booting, Stopped, Saved, Unreachable>(to);
  if (is<Booting>(from)) return is<Running, Degraded, Blocked, Stopping, Stopped, Saved, Preparing>(to);
  if (is<Running>(from)) return is<Degraded, Blocked, Suspending, Stopping, Stopped, Booting>(to);
  if (is<Degraded>(from)) return is<Running, Blocked, Booting, Stopping, Stopped>(to);
  if (is<Blocked>(from)) return is<Running, Degraded, Booting, Stopping, Stopped>(to);
  if (is<Suspending>(from)) return is<Saved, Paused, Running, Degraded, Stopped>(to);
  if (is<Paused>(from)) return is<Booting, Stopping, Stopped, Preparing>(to);
  if (is<Stopping>(from)) return is<Stopped, Saved, Degraded>(to);
  return is<Booting, Stopped, Saved>(to);  // Unreachable
}

}  // namespace cl
