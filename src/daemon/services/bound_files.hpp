#pragma once

#include <boost/json/array.hpp>
#include <memory>
#include <set>
#include <string>

#include "provision/guest.hpp"
#include "src/base/async.hpp"
#include "src/base/task_group.hpp"
#include "src/daemon/service.hpp"

namespace cl {

struct Core;

/// Keeps the single files that running containers mount from virtiofs shares, when they are replaced on this computer:
/// the guest's agent has them open, so the container sees the old content then, as on Linux, and no stale handle.
class BoundFiles : public Service {
 public:
  explicit BoundFiles(Core& core);

  std::string_view name() const noexcept override { return "files that containers mount"; }
  asio::awaitable<void> ready() override;
  asio::awaitable<void> close() override;

  /// The engine's list of running containers.
  void set_containers(const boost::json::array& containers);

 private:
  asio::awaitable<void> follow(TaskGroup& tasks);
  asio::awaitable<void> hold(TaskGroup& tasks);
  asio::awaitable<void> notice_end(std::shared_ptr<MessageStream> agent, std::shared_ptr<bool> ended);

  Core& core_;
  std::set<std::string> wanted_;  ///< the guest's paths; what is no file there is passed over by the agent
  Notifier changed_;
  std::unique_ptr<TaskGroup> tasks_;
};

}  // namespace cl
