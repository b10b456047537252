#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "src/base/task_group.hpp"
#include "src/daemon/service.hpp"

namespace cl {

struct Core;

/// What is wrong with `unit` by a line of the agent's `units` ("docker.service failed failed exit-code"):
/// "docker.service has failed (exit-code)"; empty while it runs, and while it comes or goes. Of the guest's words only
/// those that systemd has are taken over. Pure.
std::string unit_problem(std::string_view unit, std::string_view line);

/// Notices when the runtime's service fails in a machine that runs, or is stopped there. The guest's agent says so by
/// itself; nobody is asked again and again.
class RuntimeWatch : public Service {
 public:
  explicit RuntimeWatch(Core& core) : core_(core) {}

  std::string_view name() const noexcept override { return "the runtime's service"; }
  asio::awaitable<void> ready() override;
  asio::awaitable<void> resume() override { return ready(); }
  asio::awaitable<void> close() override;
  void describe(State& state) const override;

 private:
  asio::awaitable<void> follow(std::string unit);
  asio::awaitable<void> listen(std::string unit);
  void note(std::string problem);

  Core& core_;
  std::unique_ptr<TaskGroup> tasks_;
  std::string unit_;  ///< that is watched
  std::string problem_;
};

}  // namespace cl
