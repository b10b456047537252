#include "src/daemon/services/data_path.hpp"

#include <utility>

#include "src/daemon/core.hpp"

namespace cl {

asio::awaitable<void> DataPath::ready() {
  const auto machine = machine_of(core_.phase());
  const auto link = core_.guest.link();
  if (!machine || !link || (*machine)->data_port()) co_return;
  const auto ports = (*machine)->ssh_ports();
  if (!second_ && ports.size() > 1) second_ = core_.guest.connect(ports[1]);
}

asio::awaitable<void> DataPath::close() {
  const auto second = std::exchange(second_, nullptr);
  if (second) co_await second->stop();
}

asio::awaitable<std::shared_ptr<Guest>> DataPath::carrier() {
  co_await core_.wake();
  if (second_ && second_->connected()) co_return second_->current();
  co_return co_await core_.guest.reach_for_client();
}

}  // namespace cl
