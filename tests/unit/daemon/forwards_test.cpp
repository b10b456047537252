#include "src/daemon/services/forwards.hpp"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <boost/asio/ip/tcp.hpp>
#include <deque>

#include "src/base/net/socket_stream.hpp"
#include "src/forward/tcp_forward.hpp"
#include "tests/fakes/choppy_stream.hpp"
#include "tests/unit/daemon/session_lab.hpp"

// The profile's forwards through starts, suspends and restarts of the daemon, with a guest in memory.

namespace cl {
namespace {

using namespace std::chrono_literals;
using test::outcome;
using test::play;
using test::SessionLab;
using test::until;
using Tcp = asio::ip::tcp;
using Stream = std::unique_ptr<ByteStream>;

HostPort free_port() {
  asio::io_context io(1);
  const auto loopback = asio::ip::address_v4::loopback();
  return {Protocol::tcp, loopback, Tcp::acceptor(io, {loopback, 0}).local_endpoint().port()};
}

std::string number(const HostPort& at) { return std::to_string(at.port); }

/// Says one thing, and ends when it is told to or, with `holds`, when the other end does. Notes what it hears.
class Speaker : public ByteStream {
 public:
  Speaker(std::string text, bool holds, std::shared_ptr<std::string> heard)
      : text_(std::move(text)), holds_(holds), heard_(std::move(heard)) {}
  asio::awaitable<std::size_t> read_some(std::span<char> space) override {
    const std::size_t count = std::min(space.size(), text_.size());
    std::copy_n(text_.begin(), count, space.begin());
    text_.erase(0, count);
    while (count == 0 && holds_) co_await sleep_for(1ms);
    co_return count;
  }
  asio::awaitable<void> write(std::span<const char> bytes) override {
    heard_->append(bytes.data(), bytes.size());
    co_return;
  }
  asio::awaitable<void> shutdown_write() override {
    holds_ = false;
    co_return;
  }
  void close() noexcept override { holds_ = false; }

 private:
  std::string text_;
  bool holds_;
  std::shared_ptr<std::string> heard_;
};

/// A listening socket of the guest, as the test moves it.
struct Place {
  std::string where;
  std::deque<std::uint32_t> waiting;
  std::vector<std::uint32_t> dropped;
  std::shared_ptr<std::string> heard = std::make_shared<std::string>();  ///< by those who were taken
  bool lost = false;
};

class FakeListener : public GuestListener {
 public:
  explicit FakeListener(std::shared_ptr<Place> place) : place_(std::move(place)) {}
  asio::awaitable<Arrival> next() override {
    while (place_->waiting.empty()) {
      if (place_->lost) throw Error(Errc::guest_failed, "the guest does not listen any more");
      co_await sleep_for(1ms);
    }
    Arrival arrival;
    arrival.number = place_->waiting.front();
    place_->waiting.pop_front();
    co_return arrival;
  }
  asio::awaitable<Stream> take(Arrival arrival) override {
    co_return std::make_unique<Speaker>("guest " + std::to_string(arrival.number), false, place_->heard);
  }
  asio::awaitable<void> drop(Arrival arrival) override {
    place_->dropped.push_back(arrival.number);
    co_return;
  }

 private:
  std::shared_ptr<Place> place_;
};

/// A guest in which somebody answers wherever one connects, and says where that was.
class ForwardLab : public SessionLab {
 public:
  explicit ForwardLab(const std::vector<std::string>& items = {}) {
    keep(items);
    guest->connect = [this](const std::string& where) -> Stream {
      if (!answers) return nullptr;
      return std::make_unique<Speaker>(where, holds, std::make_shared<std::string>());
    };
    guest->listen = [this](const std::string& where) -> std::unique_ptr<GuestListener> {
      if (!refuses.empty()) throw Error(Errc::guest_failed, "the guest cannot listen at " + where).because(refuses);
      places.push_back(std::make_shared<Place>());
      places.back()->where = where;
      return std::make_unique<FakeListener>(places.back());
    };
  }
  /// Writes them into the profile.
  void keep(const std::vector<std::string>& items) const {
    std::string list;
    for (const std::string& item : items) list += (list.empty() ? "\"" : ", \"") + item + "\"";
    std::string yaml = read_file(paths.config);
    yaml.erase(std::min(yaml.find("\nforwards: ["), yaml.size()));
    write_atomically(paths.config, yaml + "\nforwards: [" + list + "]\n");
  }

  bool answers = true, holds = false;
  std::string refuses;  ///< why the guest cannot listen
  std::vector<std::shared_ptr<Place>> places;
};

/// All that comes; "nobody" when no one answers.
asio::awaitable<std::string> said(asio::awaitable<Stream> connecting) {
  try {
    const Stream stream = co_await std::move(connecting);
    const std::string all = co_await test::read_to_end(*stream);
    co_return all.empty() ? "nobody" : all;
  } catch (const Error&) {
    co_return "nobody";
  }
}
asio::awaitable<std::string> said_at(const HostPort& at) { return said(connect_tcp("127.0.0.1", at.port)); }

/// "8080:80 open, ..."
std::string states(const Session& session) {
  std::string all;
  for (const ForwardState& one : session.state().forwards)
    all += (all.empty() ? "" : ", ") + one.forward + " " + one.state + (one.problem.empty() ? "" : ": " + one.problem);
  return all;
}

TEST(ForwardsService, OpensWhatTheProfileHasUntilTheMachineStops) {
  const HostPort at = free_port();
  ForwardLab lab;
  const fs::path socket = lab.directory / "x.sock";
  lab.keep({number(at) + ":80", socket.string() + ":/run/x.sock"});
  auto life = [&](Session& session) -> asio::awaitable<void> {
    EXPECT_EQ(co_await said_at(at), "nobody");
    EXPECT_EQ(co_await outcome(session.start({})), "");
    EXPECT_EQ(states(session), number(at) + ":80 open, " + socket.string() + ":/run/x.sock open");
    EXPECT_EQ(co_await said_at(at), "tcp 127.0.0.1 80");
    EXPECT_EQ(co_await said(connect_unix(socket)), "unix /run/x.sock");
    struct stat facts{};
    ::lstat(socket.c_str(), &facts);
    EXPECT_EQ(facts.st_mode & 0777, 0600u);
    lab.answers = false;
    EXPECT_EQ(co_await said_at(at), "nobody");
    const auto list = co_await session.forwards();
    EXPECT_EQ(list.at(0).out_of_it, std::string("tcp 127.0.0.1 80").size());
    EXPECT_EQ(co_await outcome(session.stop(false)), "");
    EXPECT_EQ(states(session), "");
    EXPECT_FALSE(fs::exists(socket));
    EXPECT_TRUE(session.idle());
  };
  play(lab, life);
}

TEST(ForwardsService, OpensAndClosesOneOfAMachineThatRuns) {
  const HostPort at = free_port();
  const std::string item = number(at) + ":80";
  ForwardLab lab;
  auto life = [&](Session& session) -> asio::awaitable<void> {
    EXPECT_NE((co_await outcome(session.add_forward(item))).find("nothing can be forwarded"), std::string::npos);
    EXPECT_EQ(co_await outcome(session.start({})), "");
    EXPECT_EQ(co_await outcome(session.add_forward(item)), "");
    EXPECT_EQ(co_await outcome(session.add_forward(item)), "") << "it is there already, and that is what was asked for";
    EXPECT_EQ(co_await said_at(at), "tcp 127.0.0.1 80");
    EXPECT_EQ(session.state().profile.forwards, std::vector<std::string>{item});
    const std::string other = co_await outcome(session.add_forward("127.0.0.1:" + number(at) + ":81"));
    EXPECT_EQ(other, "the forward " + item + " listens there already");
    EXPECT_NE((co_await outcome(session.add_forward("80"))).find("must have two ends"), std::string::npos);
    EXPECT_EQ(co_await outcome(session.remove_forward(item)), "");
    EXPECT_EQ(co_await outcome(session.remove_forward(item)), "");
    EXPECT_EQ(co_await said_at(at), "nobody");
    EXPECT_TRUE(session.state().profile.forwards.empty());
    EXPECT_EQ(co_await outcome(session.stop(false)), "");
  };
  play(lab, life);
}

TEST(ForwardsService, DoesNotKeepWhatCannotBeOpened) {
  const HostPort at = free_port();
  ForwardLab lab;
  auto life = [&](Session& session) -> asio::awaitable<void> {
    EXPECT_EQ(co_await outcome(session.start({})), "");
    asio::io_context io(1);
    const Tcp::acceptor somebody(io, {at.address, at.port});
    EXPECT_EQ(
        co_await outcome(session.add_forward(number(at) + ":80")),
        "the forward " + number(at) + ":80 cannot be opened: 127.0.0.1:" + number(at) + "/tcp is taken on this host");
    EXPECT_EQ(co_await outcome(session.add_forward("192.0.2.1:8080:80")),
              "the forward 192.0.2.1:8080:80 cannot be opened: this host has no address 192.0.2.1");
    write_atomically(lab.directory / "file", "mine");
    const std::string taken = co_await outcome(session.add_forward((lab.directory / "file").string() + ":80"));
    EXPECT_NE(taken.find("something that is no socket is there"), std::string::npos) << taken;
    EXPECT_EQ(read_file(lab.directory / "file"), "mine");
    const std::string long_path = (lab.directory / std::string(100, 'x')).string();
    const std::string too_long = co_await outcome(session.add_forward(long_path + ":80"));
    EXPECT_NE(too_long.find("bytes that a unix socket's path may have"), std::string::npos) << too_long;
    lab.refuses = "Address already in use";
    EXPECT_EQ(co_await outcome(session.add_forward("reverse:9000:9000")),
              "the forward reverse:9000:9000 cannot be opened: the guest cannot listen at tcp 127.0.0.1 9000: Address "
              "already in use");
    EXPECT_EQ(states(session), "");
    EXPECT_TRUE(session.state().profile.forwards.empty());
    EXPECT_EQ(co_await outcome(session.stop(false)), "");
  };
  play(lab, life);
}

TEST(ForwardsService, HasAtMostSoMany) {
  std::vector<std::string> items;
  for (std::size_t i = 1; i <= most_forwards; ++i) items.push_back("reverse:" + std::to_string(i) + ":80");
  ForwardLab lab(items);
  auto life = [&](Session& session) -> asio::awaitable<void> {
    EXPECT_EQ(co_await outcome(session.start({})), "");
    EXPECT_EQ(lab.places.size(), most_forwards);
    EXPECT_EQ(co_await outcome(session.add_forward("reverse:1000:80")),
              "64 forwards are open, and that is as many as may be");
    EXPECT_EQ(co_await outcome(session.stop(false)), "");
  };
  play(lab, life);
}

TEST(ForwardsService, TellsOfOneThatCannotBeOpenedAtAStartAndTriesItAgain) {
  const HostPort at = free_port();
  ForwardLab lab({number(at) + ":80"});
  auto life = [&](Session& session) -> asio::awaitable<void> {
    asio::io_context io(1);
    std::optional<Tcp::acceptor> somebody(std::in_place, io, Tcp::endpoint(at.address, at.port));
    const auto job = session.start({});
    const boost::json::object told = co_await job->result();
    EXPECT_NE(boost::json::serialize(told).find("the forward " + number(at) + ":80 is not open"), std::string::npos);
    EXPECT_NE(states(session).find("failed: 127.0.0.1:" + number(at)), std::string::npos);
    somebody.reset();
    auto is_open = [&] { return states(session) == number(at) + ":80 open"; };
    co_await until(is_open);
    EXPECT_EQ(co_await said_at(at), "tcp 127.0.0.1 80");
    EXPECT_EQ(co_await outcome(session.stop(false)), "");
  };
  play(lab, life);
}

TEST(ForwardsService, FollowsTheProfileWhenItIsApplied) {
  const HostPort first = free_port(), second = free_port(), third = free_port();
  ForwardLab lab({number(first) + ":1", number(second) + ":2"});
  lab.holds = true;
  auto life = [&](Session& session) -> asio::awaitable<void> {
    EXPECT_EQ(co_await outcome(session.start({})), "");
    const Stream open = co_await connect_tcp("127.0.0.1", second.port);
    EXPECT_EQ(co_await test::read_exactly(*open, 15), "tcp 127.0.0.1 2");
    lab.keep({number(second) + ":2", number(third) + ":3"});
    lab.holds = false;
    EXPECT_EQ(co_await outcome(session.apply({})), "");
    EXPECT_EQ(co_await said_at(first), "nobody");
    EXPECT_EQ(co_await said_at(third), "tcp 127.0.0.1 3");
    EXPECT_EQ((co_await session.forwards()).at(0).connections, 1u) << "what stays keeps its connections";
    EXPECT_EQ(co_await outcome(session.stop(false)), "");
  };
  play(lab, life);
}

TEST(ForwardsService, AClientWakesASuspendedMachine) {
  const HostPort at = free_port();
  ForwardLab lab({number(at) + ":80"});
  auto life = [&](Session& session) -> asio::awaitable<void> {
    EXPECT_EQ(co_await outcome(session.start({})), "");
    EXPECT_EQ(co_await outcome(session.suspend()), "");
    EXPECT_EQ(to_string(session.phase()), "suspended");
    EXPECT_EQ(co_await said_at(at), "tcp 127.0.0.1 80");
    EXPECT_EQ(to_string(session.phase()), "running");
    EXPECT_EQ(lab.driver->plans.size(), 2u);
    EXPECT_TRUE(lab.driver->plans.back().incoming) << "it was booted instead";
    EXPECT_EQ(co_await outcome(session.suspend()), "");
  };
  play(lab, life);
  lab.holds = true;
  auto next_daemon = [&](Session& session) -> asio::awaitable<void> {
    auto listens = [&] { return states(session) == number(at) + ":80 open"; };
    co_await until(listens);
    EXPECT_FALSE(session.idle()) << "the daemon would end, and nobody could wake the machine";
    const Stream open = co_await connect_tcp("127.0.0.1", at.port);
    EXPECT_EQ(co_await test::read_exactly(*open, 16), "tcp 127.0.0.1 80");
    auto is_awake = [&] { return !session.state().awake.empty(); };
    co_await until(is_awake);
    EXPECT_EQ(session.state().awake[0].what, "1 connection of forwards open");
    EXPECT_EQ(co_await outcome(session.stop(false)), "");
  };
  play(lab, next_daemon);
}

TEST(ForwardsService, OneIsAddedToASuspendedMachineWithoutWakingIt) {
  const HostPort at = free_port();
  ForwardLab lab;
  auto life = [&](Session& session) -> asio::awaitable<void> {
    EXPECT_EQ(co_await outcome(session.start({})), "");
    EXPECT_EQ(co_await outcome(session.suspend()), "");
    EXPECT_EQ(co_await outcome(session.add_forward(number(at) + ":80")), "");
    EXPECT_EQ(co_await outcome(session.add_forward("reverse:9000:9000")), "");
    EXPECT_EQ(to_string(session.phase()), "suspended");
    EXPECT_EQ(states(session), number(at) + ":80 open, reverse:9000:9000 waiting");
    EXPECT_TRUE(lab.places.empty());
    EXPECT_EQ(co_await said_at(at), "tcp 127.0.0.1 80");
    auto listens = [&] { return states(session) == number(at) + ":80 open, reverse:9000:9000 open"; };
    co_await until(listens);
    EXPECT_EQ(co_await outcome(session.stop(false)), "");
  };
  play(lab, life);
}

TEST(ForwardsService, ThisComputerAnswersWhoConnectsInTheGuest) {
  const HostPort at = free_port();
  ForwardLab lab({"reverse:9000:" + number(at)});
  auto life = [&](Session& session) -> asio::awaitable<void> {
    EXPECT_EQ(co_await outcome(session.start({})), "");
    EXPECT_EQ(states(session), "reverse:9000:" + number(at) + " open");
    Place& place = *lab.places.at(0);
    EXPECT_EQ(place.where, "tcp 127.0.0.1 9000");
    place.waiting.push_back(1);
    auto dropped = [&] { return place.dropped == std::vector<std::uint32_t>{1}; };
    co_await until(dropped);

    auto heard = std::make_shared<std::string>();
    auto open = [heard]() -> asio::awaitable<Stream> { co_return std::make_unique<Speaker>("here", false, heard); };
    error_code ec;
    TcpForward server(co_await asio::this_coro::executor, at, open, 10, ec);
    EXPECT_FALSE(ec);
    place.waiting.push_back(2);
    auto answered = [&] { return *place.heard == "here" && *heard == "guest 2"; };
    co_await until(answered);
    const auto list = co_await session.forwards();
    EXPECT_EQ(list.at(0).into_machine, 4u);
    EXPECT_EQ(list.at(0).out_of_it, 7u);

    // Over a suspend it goes on, and after the loss of the agent it is made anew.
    EXPECT_EQ(co_await outcome(session.suspend()), "");
    EXPECT_EQ(co_await outcome(session.start({})), "");
    EXPECT_EQ(lab.places.size(), 1u);
    place.lost = true;
    auto again = [&] { return lab.places.size() == 2 && states(session) == "reverse:9000:" + number(at) + " open"; };
    co_await until(again);
    lab.places[1]->waiting.push_back(3);
    auto answered_again = [&] { return *lab.places[1]->heard == "here"; };
    co_await until(answered_again);
    EXPECT_EQ(co_await outcome(session.stop(false)), "");
    co_await server.stop();
  };
  play(lab, life);
}

TEST(ForwardsService, ASocketOfTheGuestIsNotTakenFromAProgramThere) {
  ForwardLab lab;
  auto life = [&](Session& session) -> asio::awaitable<void> {
    EXPECT_EQ(co_await outcome(session.start({})), "");
    const std::string refused = co_await outcome(session.add_forward("reverse:/run/docker.sock:9000"));
    EXPECT_NE(refused.find("a program in the machine listens on /run/docker.sock already"), std::string::npos)
        << refused;
    EXPECT_TRUE(lab.places.empty());
    lab.answers = false;
    EXPECT_EQ(co_await outcome(session.add_forward("reverse:/run/x.sock:9000")), "");
    EXPECT_EQ(lab.places.at(0)->where, "unix /run/x.sock");
    EXPECT_EQ(co_await outcome(session.stop(false)), "");
  };
  play(lab, life);
}

TEST(ForwardsService, NamesWhoHasAPort) {
  const std::string at = number(free_port());
  ForwardLab lab({at + ":80"});
  auto life = [&](Session& session) -> asio::awaitable<void> {
    EXPECT_EQ(co_await outcome(session.start({})), "");
    EXPECT_EQ(co_await outcome(session.add_forward("0.0.0.0:" + at + ":81")),
              "the forward 0.0.0.0:" + at + ":81 cannot be opened: 0.0.0.0:" + at + "/tcp is taken by the forward " +
                  at + ":80 ('colima-like forward remove' closes it)");
    EXPECT_EQ(co_await outcome(session.stop(false)), "");
  };
  play(lab, life);
}

}  // namespace
}  // namespace cl
