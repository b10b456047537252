#include "provision/channel/agent_listener.hpp"

#include "provision/channel/agent.hpp"

namespace cl {

asio::awaitable<GuestListener::Arrival> AgentListener::next() {
  const auto message = co_await arrivals_->read();
  if (!message) throw Error(Errc::guest_failed, "the guest does not listen any more");
  Arrival arrival;
  std::string_view words = *message;
  const std::string_view number = agent::take_word(words), address = agent::take_word(words);
  if (!agent::read_number(number, arrival.number) || (!words.empty() && !agent::read_number(words, arrival.port)))
    throw Error(Errc::protocol, "the guest's agent speaks nonsense of who has connected");
  arrival.address = address;
  co_return arrival;
}

asio::awaitable<std::unique_ptr<ByteStream>> AgentListener::take(Arrival arrival) {
  return agent_->open("taken " + std::to_string(arrival.number), "who connected in the guest is gone");
}

asio::awaitable<void> AgentListener::drop(Arrival arrival) {
  co_await arrivals_->write("drop " + std::to_string(arrival.number));
}

asio::awaitable<void> AgentListener::forget() { co_await arrivals_->write("forget"); }

}  // namespace cl
