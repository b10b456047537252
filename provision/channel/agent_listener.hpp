#pragma once

#include <memory>

#include "provision/guest.hpp"

namespace cl {

class Agent;

/// A listening socket that the agent has in the guest; `arrivals` are the service's messages of who has connected.
class AgentListener final : public GuestListener {
 public:
  AgentListener(std::shared_ptr<Agent> agent, std::unique_ptr<MessageStream> arrivals)
      : agent_(std::move(agent)), arrivals_(std::move(arrivals)) {}

  asio::awaitable<Arrival> next() override;
  asio::awaitable<std::unique_ptr<ByteStream>> take(Arrival arrival) override;
  asio::awaitable<void> drop(Arrival arrival) override;
  asio::awaitable<void> forget() override;

 private:
  std::shared_ptr<Agent> agent_;
  std::unique_ptr<MessageStream> arrivals_;
};

}  // namespace cl
