#include "src/daemon/services/egress.hpp"

#include <gtest/gtest.h>

#include <deque>

#include "profiles/edit.hpp"
#include "tests/unit/daemon/session_lab.hpp"

// A filtered machine through its life, with a guest in memory; what is decided is tested in tests/unit/egress.

namespace cl {
namespace {

using namespace std::chrono_literals;
using test::outcome;
using test::play;
using test::SessionLab;
using test::until;

/// Who has connected in the guest, and how many of them were reset.
struct Connections {
  std::deque<GuestListener::Arrival> waiting;
  int dropped = 0;
};

class FakeListener : public GuestListener {
 public:
  explicit FakeListener(std::shared_ptr<Connections> all) : all_(std::move(all)) {}
  asio::awaitable<Arrival> next() override {
    while (all_->waiting.empty()) co_await sleep_for(1ms);
    const Arrival arrival = all_->waiting.front();
    all_->waiting.pop_front();
    co_return arrival;
  }
  asio::awaitable<std::unique_ptr<ByteStream>> take(Arrival) override { throw Error(Errc::internal, "not expected"); }
  asio::awaitable<void> drop(Arrival) override {
    ++all_->dropped;
    co_return;
  }

 private:
  std::shared_ptr<Connections> all_;
};

class EgressLab : public SessionLab {
 public:
  explicit EgressLab(const std::string& egress) {
    keep(egress);
    guest->listen = [this](const std::string& where) -> std::unique_ptr<GuestListener> {
      places += where + "\n";
      if (!refuses.empty()) throw Error(Errc::guest_failed, "the guest cannot listen at " + where).because(refuses);
      return std::make_unique<FakeListener>(connections);
    };
  }
  void keep(const std::string& egress) const {
    write_atomically(paths.config,
                     set_in_file(read_file(paths.config), *find_key("network.egress"), egress, "the profile"));
  }
  void connect(const std::string& address, std::uint16_t port) const {
    connections->waiting.push_back({1, address, port});
  }

  std::string places;   ///< where the guest was told to listen
  std::string refuses;  ///< why it cannot
  std::shared_ptr<Connections> connections = std::make_shared<Connections>();
};

/// "COUNT WHAT" of each.
std::string refusals(const Session& session) {
  std::string all;
  for (const EgressRefusal& one : session.state().egress_refusals)
    all += std::to_string(one.count) + " " + one.what + "\n";
  return all;
}

TEST(EgressService, CountsWhatItRefusesUntilTheMachineStops) {
  EgressLab lab("a.example:443");
  auto life = [&](Session& session) -> asio::awaitable<void> {
    EXPECT_EQ(co_await outcome(session.start({})), "");
    EXPECT_EQ(lab.places, "tcp 0.0.0.0 11080\n");
    lab.connect("11.22.33.44", 443);
    lab.connect("11.22.33.44", 443);
    lab.connect("\x1b[2J", 1);
    co_await until([&] { return lab.connections->dropped == 3; });
    co_await until([&] { return session.state().egress_refusals.size() == 2; });
    EXPECT_EQ(refusals(session),
              "1 the machine asks for '\\x1b[2J:1', which is no address\n"
              "2 11.22.33.44:443 is not in network.egress\n");
    EXPECT_EQ(co_await outcome(session.stop(false)), "");
    EXPECT_EQ(refusals(session), "");
  };
  play(lab, life);
}

TEST(EgressService, EachMachineHasTheListThatItWasStartedWith) {
  EgressLab lab("11.22.33.44:443");
  auto life = [&](Session& session) -> asio::awaitable<void> {
    EXPECT_EQ(co_await outcome(session.start({})), "");
    EXPECT_EQ(co_await outcome(session.stop(false)), "");
    lab.keep("11.22.33.55:443");
    EXPECT_EQ(co_await outcome(session.start({})), "");
    lab.connect("11.22.33.44", 443);
    co_await until([&] { return !session.state().egress_refusals.empty(); });
    EXPECT_EQ(refusals(session), "1 11.22.33.44:443 is not in network.egress\n");
    EXPECT_EQ(co_await outcome(session.stop(false)), "");
  };
  play(lab, life);
}

TEST(EgressService, SaysWhyItCanTakeNothing) {
  EgressLab lab("a.example:443");
  lab.refuses = "Address already in use";
  auto life = [&](Session& session) -> asio::awaitable<void> {
    EXPECT_EQ(co_await outcome(session.start({})), "");
    co_await until([&] { return !session.state().egress_refusals.empty(); });
    EXPECT_NE(refusals(session).find("every connection, since they cannot be taken: "), std::string::npos);
    EXPECT_NE(refusals(session).find("Address already in use"), std::string::npos) << refusals(session);
    EXPECT_EQ(co_await outcome(session.stop(false)), "");
  };
  play(lab, life);
}

TEST(EgressService, AMachineWithoutTheSettingsOrWithoutACardListensNowhere) {
  for (const char* egress : {"[]", "none"}) {
    EgressLab lab(egress);
    auto life = [&](Session& session) -> asio::awaitable<void> {
      EXPECT_EQ(co_await outcome(session.start({})), "");
      EXPECT_EQ(lab.places, "");
      EXPECT_EQ(co_await outcome(session.stop(false)), "");
    };
    play(lab, life);
  }
}

}  // namespace
}  // namespace cl
