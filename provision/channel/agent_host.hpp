#pragma once

#include <memory>
#include <string>

#include "provision/channel/agent.hpp"
#include "provision/guest.hpp"

namespace cl {

/// A host of which one agent is all that is reached: its programs, too, are run by the agent.
class AgentHost : public Guest {
 public:
  explicit AgentHost(std::shared_ptr<Agent> agent) : agent_(std::move(agent)) {}

  asio::awaitable<std::unique_ptr<GuestProcess>> exec(ExecRequest request) override;
  asio::awaitable<std::unique_ptr<ByteStream>> open_unix(std::string path) override;
  asio::awaitable<std::unique_ptr<ByteStream>> open_unix_at_once(std::string path) override;
  /// Numeric addresses, and "localhost": nothing is looked up there.
  asio::awaitable<std::unique_ptr<ByteStream>> open_tcp(std::string host, std::uint16_t port) override;
  asio::awaitable<std::unique_ptr<MessageStream>> open_service(std::string what) override;
  asio::awaitable<std::unique_ptr<DatagramFlow>> open_udp(std::string address, std::uint16_t port,
                                                          DatagramFlow::OnDatagram on_datagram) override;
  asio::awaitable<std::unique_ptr<GuestListener>> listen(std::string where) override;
  asio::awaitable<void> lost() override;

 private:
  std::shared_ptr<Agent> agent_;
};

}  // namespace cl
