#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include "profiles/state.hpp"
#include "provision/channel/agent.hpp"
#include "provision/guest.hpp"
#include "provision/readiness.hpp"
#include "src/base/task_group.hpp"

namespace cl {

/// A guest with an agent (docs/agent.md): commands go by SSH, streams, datagrams and services by the agent. While that
/// is away streams go by SSH as well.
///
/// Keeps the agent up: greets it over the machine's ports or, where there are none, runs it over an SSH exec channel;
/// sends it by SSH when the guest has none or another build; and greets it again whenever it is lost. One thread only.
/// Owner's rule: await stop() before destruction.
///
/// It is large because it is the guest for everybody else, whether there is an agent or not: what keeps that up, what
/// goes round it, and the account of what went wrong with it decide about the same session.
class AgentGuest : public Guest {
 public:
  struct Config {
    Dial ports;                                     ///< to the machine's ports of the agent; none = over SSH
    std::string folder = "/run/colima-like/agent";  ///< of the guest, for an agent that is sent
    std::chrono::milliseconds answer{std::chrono::seconds(2)};     ///< of an agent that may be there, to a greeting
    std::chrono::milliseconds start{std::chrono::seconds(60)};     ///< until one that is sent has answered
    std::chrono::milliseconds again{std::chrono::seconds(1)};      ///< after a failure; grows to two minutes
    std::chrono::milliseconds patience{std::chrono::seconds(20)};  ///< of who wants a service, while it is away
    std::function<void()> on_state;                                ///< told when state() has changed
  };

  AgentGuest(const asio::any_io_executor& executor, std::shared_ptr<Guest> ssh, Config config);

  /// Whether streams go by the agent now.
  bool by_agent() const noexcept { return agent_ && agent_->usable(); }
  /// Why there is no agent; empty while there is one, or it is not known yet.
  const std::string& problem() const noexcept { return state_.problem; }
  /// That, and what else has gone wrong with it so far.
  const AgentState& state() const noexcept { return state_; }

  asio::awaitable<std::unique_ptr<GuestProcess>> exec(ExecRequest request) override;
  asio::awaitable<std::unique_ptr<ByteStream>> open_unix(std::string path) override;
  asio::awaitable<std::unique_ptr<ByteStream>> open_tcp(std::string host, std::uint16_t port) override;
  asio::awaitable<std::unique_ptr<MessageStream>> open_service(std::string what) override;
  asio::awaitable<std::unique_ptr<DatagramFlow>> open_udp(std::string address, std::uint16_t port,
                                                          DatagramFlow::OnDatagram on_datagram) override;
  asio::awaitable<std::unique_ptr<GuestListener>> listen(std::string where) override;
  asio::awaitable<void> lost() override;

  /// For who has reason to doubt that it works: an exchange that must end in `limit`, or the agent is greeted anew.
  asio::awaitable<void> check(std::chrono::milliseconds limit);

  // What Agent has for a machine that is saved and loaded; a session that cannot follow is given up, and nobody waits
  // for it. See there. Over SSH it rests as SSH does.
  asio::awaitable<void> quiesce();
  asio::awaitable<void> detached();
  asio::awaitable<void> reattach();
  void resume();

  /// Ends the session and what keeps it up. May be called again.
  asio::awaitable<void> stop();

 private:
  asio::awaitable<void> keep();
  asio::awaitable<void> serve_ports();
  asio::awaitable<void> serve_ssh();
  asio::awaitable<std::shared_ptr<Agent>> greet(std::chrono::milliseconds limit);
  asio::awaitable<std::unique_ptr<GuestProcess>> install(std::string how);
  asio::awaitable<void> follow(std::shared_ptr<Agent> agent);
  asio::awaitable<std::shared_ptr<Agent>> wait_for_agent();
  asio::awaitable<std::shared_ptr<Agent>> reach(std::string what);
  template <class T>
  asio::awaitable<T> watched(asio::awaitable<T> opening);
  void set_problem(std::string why);
  void note_loss(const Error& why);
  void note_refusal(const Error& why);

  std::shared_ptr<Guest> ssh_;
  Config config_;
  std::shared_ptr<Agent> agent_;  ///< from when it has answered until it is lost
  AgentState state_;
  bool stood_ = false;     ///< the last attempt led to an agent
  bool quiesced_ = false;  ///< there is no machine to greet it in
  Notifier changed_;       ///< of agent_, the problem, quiesced_
  TaskGroup tasks_;
};

}  // namespace cl
