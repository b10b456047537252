#include "src/forward/udp_forward.hpp"

#include <gtest/gtest.h>

#include <boost/asio/ip/udp.hpp>
#include <map>

#include "tests/support/run.hpp"

namespace cl::test {
namespace {

using Udp = asio::ip::udp;

/// An agent that answers each datagram with its flow's number and what it got.
class FlowGuest : public Guest {
 public:
  explicit FlowGuest(asio::any_io_executor executor) : changed(std::move(executor)) {}
  struct Flow final : DatagramFlow {
    Flow(FlowGuest& of, OnDatagram on_datagram)
        : guest(of), number(++of.opened), generation(of.generation), answer(std::move(on_datagram)) {
      ++guest.open;
    }
    Flow(const Flow&) = delete;
    Flow& operator=(const Flow&) = delete;
    ~Flow() override { --guest.open; }
    bool send(std::string_view datagram) override {
      if (!usable()) return false;
      ++guest.seen;
      answer(std::to_string(number) + ":" + std::string(datagram));
      return true;
    }
    bool usable() const noexcept override { return guest.awake && generation == guest.generation; }
    FlowGuest& guest;
    int number, generation;
    OnDatagram answer;
  };
  asio::awaitable<std::unique_ptr<DatagramFlow>> open_udp(std::string address, std::uint16_t port,
                                                          DatagramFlow::OnDatagram on_datagram) override {
    if (refuses) throw Error(Errc::guest_failed, "there is no agent in the guest for UDP");
    targets.push_back(address + " " + std::to_string(port));
    co_return std::make_unique<Flow>(*this, std::move(on_datagram));
  }
  asio::awaitable<std::unique_ptr<GuestProcess>> exec(ExecRequest) override { throw Error(Errc::internal, "no"); }
  asio::awaitable<std::unique_ptr<ByteStream>> open_unix(std::string) override { throw Error(Errc::internal, "no"); }
  asio::awaitable<std::unique_ptr<ByteStream>> open_tcp(std::string, std::uint16_t) override {
    throw Error(Errc::internal, "no");
  }
  asio::awaitable<void> lost() override { co_return; }

  Notifier changed;
  bool awake = true;  ///< else whoever reaches for it wakes it, once it `may_wake`
  bool may_wake = true, refuses = false;
  int generation = 0;  ///< of the agent
  int opened = 0, open = 0, seen = 0;
  std::vector<std::string> targets;
};

struct Bed {
  explicit Bed(asio::any_io_executor executor)
      : guest(std::make_shared<FlowGuest>(executor)), peer(executor, Udp::endpoint(loopback, 0)) {
    auto reach = [this]() -> asio::awaitable<std::shared_ptr<Guest>> {
      while (!guest->may_wake) co_await guest->changed.wait();
      guest->awake = true;
      co_return guest;
    };
    UdpForward::Timings timings;
    timings.again = 1ms;
    timings.idle = idle;
    forward.emplace(executor, reach, timings);
    error_code ec;
    // A port that is free at this moment.
    const std::uint16_t number = Udp::socket(executor, Udp::endpoint(loopback, 0)).local_endpoint().port();
    port = forward->open(loopback, number, {"10.0.0.2", 53}, traffic, ec);
    if (ec) throw Error(Errc::io, ec.message());
    to = Udp::endpoint(loopback, number);
  }
  asio::awaitable<std::string> exchange(std::string datagram) {
    peer.send_to(asio::buffer(datagram), to);
    return answer();
  }
  asio::awaitable<std::string> answer() {
    std::string got(1000, '\0');
    got.resize(co_await peer.async_receive(asio::buffer(got), asio::use_awaitable));
    co_return got;
  }
  asio::awaitable<void> stop() {
    port.reset();
    co_await forward->stop();
  }
  static constexpr auto idle = std::chrono::milliseconds(200);
  const asio::ip::address loopback = asio::ip::make_address("127.0.0.1");
  std::shared_ptr<FlowGuest> guest;
  std::shared_ptr<Traffic> traffic = std::make_shared<Traffic>();
  Udp::socket peer;
  Udp::endpoint to;
  std::optional<UdpForward> forward;
  std::shared_ptr<UdpForward::Port> port;
};

asio::awaitable<std::string> one_flow() {
  Bed bed(co_await asio::this_coro::executor);
  std::string seen = co_await bed.exchange("a") + " " + co_await bed.exchange("b");
  seen += " of " + std::to_string(bed.guest->opened) + " to " + bed.guest->targets.at(0);
  seen += ", " + std::to_string(bed.traffic->a_to_b) + " and " + std::to_string(bed.traffic->b_to_a) + " bytes";
  co_await bed.stop();
  co_return seen + ", " + std::to_string(bed.guest->open) + " left";
}

TEST(UdpForward, AFlowHasOneSocketInTheGuest) {
  EXPECT_EQ(run(one_flow()), "1:a 1:b of 1 to 10.0.0.2 53, 2 and 6 bytes, 0 left");
}

asio::awaitable<std::string> lost_agent() {
  Bed bed(co_await asio::this_coro::executor);
  std::string seen = co_await bed.exchange("a");
  ++bed.guest->generation;
  seen += " " + co_await bed.exchange("b");
  co_await bed.stop();
  co_return seen;
}

TEST(UdpForward, AFlowOutlivesTheAgent) { EXPECT_EQ(run(lost_agent()), "1:a 2:b"); }

asio::awaitable<std::string> asleep() {
  Bed bed(co_await asio::this_coro::executor);
  std::string seen = co_await bed.exchange("a");
  bed.guest->awake = bed.guest->may_wake = false;
  for (const char* datagram : {"b", "c"}) bed.peer.send_to(asio::buffer(datagram, 1), bed.to);
  while (bed.traffic->a_to_b < 3) co_await sleep_for(1ms);
  seen += " " + std::to_string(bed.guest->seen);
  bed.guest->may_wake = true;
  bed.guest->changed.notify_all();
  seen += " " + co_await bed.answer() + " " + co_await bed.answer();
  co_await bed.stop();
  co_return seen;
}

TEST(UdpForward, ADatagramWakesTheGuestAndArrivesOnTheSameFlow) { EXPECT_EQ(run(asleep()), "1:a 1 1:b 1:c"); }

asio::awaitable<std::string> refused() {
  Bed bed(co_await asio::this_coro::executor);
  bed.guest->refuses = true;
  bed.peer.send_to(asio::buffer("a", 1), bed.to);
  while (bed.traffic->a_to_b < 1 || bed.forward->flows() > 0) co_await sleep_for(1ms);
  bed.guest->refuses = false;
  co_await sleep_for(5ms);
  std::string seen = co_await bed.exchange("b");
  co_await bed.stop();
  co_return seen;
}

TEST(UdpForward, WhatCouldNotBeSentIsLostAndTheNextIsNot) { EXPECT_EQ(run(refused()), "1:b"); }

asio::awaitable<std::string> too_much() {
  Bed bed(co_await asio::this_coro::executor);
  bed.guest->awake = bed.guest->may_wake = false;
  const std::string large(60'000, 'x');
  for (std::size_t i = 1; i <= 40; ++i) {
    bed.peer.send_to(asio::buffer(large), bed.to);
    while (bed.traffic->a_to_b < i * large.size()) co_await sleep_for(1ms);
  }
  bed.guest->may_wake = true;
  bed.guest->changed.notify_all();
  while (bed.guest->seen < 17) co_await sleep_for(1ms);
  co_await sleep_for(5ms);
  std::string seen = std::to_string(bed.guest->seen);
  co_await bed.stop();
  co_return seen;
}

TEST(UdpForward, AMegabyteWaitsForTheGuestAndNoMore) { EXPECT_EQ(run(too_much()), "17"); }

asio::awaitable<std::string> idle() {
  Bed bed(co_await asio::this_coro::executor);
  co_await bed.exchange("a");
  std::string seen = std::to_string(bed.guest->open);
  while (bed.forward->flows() > 0) co_await sleep_for(5ms);
  seen += std::to_string(bed.guest->open);
  seen += " " + co_await bed.exchange("b");
  co_await bed.stop();
  co_return seen;
}

TEST(UdpForward, ASilentFlowEnds) { EXPECT_EQ(run(idle()), "10 2:b"); }

}  // namespace
}  // namespace cl::test
