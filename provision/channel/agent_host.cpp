#include "provision/channel/agent_host.hpp"

#include <utility>

#include "provision/channel/agent_program.hpp"

namespace cl {

asio::awaitable<std::unique_ptr<GuestProcess>> AgentHost::exec(ExecRequest request) {
  auto service = co_await agent_->open_service(run_service(request));
  co_return co_await run_by_agent(std::move(service), std::move(request));
}

asio::awaitable<std::unique_ptr<ByteStream>> AgentHost::open_unix(std::string path) {
  return agent_->open_unix(std::move(path));
}

asio::awaitable<std::unique_ptr<ByteStream>> AgentHost::open_unix_at_once(std::string path) {
  co_return agent_->open_unix_at_once(path);
}

asio::awaitable<std::unique_ptr<ByteStream>> AgentHost::open_tcp(std::string host, std::uint16_t port) {
  return agent_->open_tcp(host == "localhost" ? "127.0.0.1" : std::move(host), port);
}

asio::awaitable<std::unique_ptr<MessageStream>> AgentHost::open_service(std::string what) {
  return agent_->open_service(std::move(what));
}

asio::awaitable<std::unique_ptr<DatagramFlow>> AgentHost::open_udp(std::string address, std::uint16_t port,
                                                                   DatagramFlow::OnDatagram on_datagram) {
  auto flow = agent_->open_udp(address, port, std::move(on_datagram));
  if (!flow) throw Error(Errc::guest_failed, "the host is lost");
  co_return flow;
}

asio::awaitable<std::unique_ptr<GuestListener>> AgentHost::listen(std::string where) {
  return agent_->listen(std::move(where));
}

asio::awaitable<void> AgentHost::lost() { return agent_->lost(); }

}  // namespace cl
