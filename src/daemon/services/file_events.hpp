#pragma once

#include <boost/json/array.hpp>
#include <memory>

#include "src/daemon/service.hpp"
#include "src/shares/events.hpp"

namespace cl {

struct Core;

/// Tells programs in containers what changes in shared folders on this host.
class FileEventService : public Service {
 public:
  explicit FileEventService(Core& core) : core_(core) {}

  std::string_view name() const noexcept override { return "file events"; }
  asio::awaitable<void> open() override;
  asio::awaitable<void> ready() override;
  /// Changes go on being noticed, and wait.
  asio::awaitable<void> quiesce() override;
  asio::awaitable<void> resume() override;
  asio::awaitable<void> close() override;
  void describe(State& state) const override;

  /// As the profile and its shares are now.
  void update();
  /// The engine's list of running containers.
  void set_containers(const boost::json::array& containers);

 private:
  Core& core_;
  std::unique_ptr<ShareEvents> events_;
};

}  // namespace cl
