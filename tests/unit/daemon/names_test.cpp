#include "src/daemon/services/names.hpp"

#include <gtest/gtest.h>

#include <deque>

#include "profiles/edit.hpp"
#include "tests/unit/daemon/session_lab.hpp"

// Names for a machine whose network is not filtered, with a guest in memory.

namespace cl {
namespace {

using namespace std::chrono_literals;
using namespace std::string_literals;
using test::outcome;
using test::play;
using test::SessionLab;
using test::until;

struct Datagrams {
  std::deque<std::string> asked;
  std::vector<std::string> answered;
};

class FakeSocket : public MessageStream {
 public:
  explicit FakeSocket(std::shared_ptr<Datagrams> all) : all_(std::move(all)) {}
  asio::awaitable<std::optional<std::string>> read() override {
    while (all_->asked.empty()) co_await sleep_for(1ms);
    std::string asked = all_->asked.front();
    all_->asked.pop_front();
    co_return asked;
  }
  asio::awaitable<void> write(std::string_view message) override {
    all_->answered.emplace_back(message);
    co_return;
  }

 private:
  std::shared_ptr<Datagrams> all_;
};

class NamesLab : public SessionLab {
 public:
  NamesLab() {
    guest->service = [this](const std::string& what) -> std::unique_ptr<MessageStream> {
      if (!what.starts_with("listen udp ")) throw Error(Errc::guest_failed, "there is no service " + what);
      listens += what + "\n";
      return std::make_unique<FakeSocket>(datagrams);
    };
  }
  void keep(const std::string& key, const std::string& value) const {
    write_atomically(paths.config, set_in_file(read_file(paths.config), *find_key(key), value, "the profile"));
  }
  void ask(const std::string& label, char type) const {
    datagrams->asked.push_back("127.0.0.1 4000\nID\x01\0\0\x01\0\0\0\0\0\0"s + static_cast<char>(label.size()) + label +
                               "\0\0"s + type + "\0\x01"s);
  }
  std::string listens;
  std::shared_ptr<Datagrams> datagrams = std::make_shared<Datagrams>();
};

TEST(Names, AreAnsweredAsThisComputerKnowsThem) {
  NamesLab lab;
  auto life = [&](Session& session) -> asio::awaitable<void> {
    EXPECT_EQ(co_await outcome(session.start({})), "");
    co_await until([&] { return !lab.listens.empty(); });
    EXPECT_EQ(lab.listens, "listen udp 127.0.0.154 53\n");
    lab.ask("localhost", 1);
    co_await until([&] { return lab.datagrams->answered.size() == 1; });
    EXPECT_TRUE(lab.datagrams->answered.back().starts_with("127.0.0.1 4000\nID\x81\x80\0\x01\0\x01"s));
    EXPECT_TRUE(lab.datagrams->answered.back().ends_with("\0\x04\xc0\xa8\x40\x01"s))
        << "this computer, as the guest sees it";
    lab.ask("fd00::7", 28);
    co_await until([&] { return lab.datagrams->answered.size() == 2; });
    EXPECT_TRUE(lab.datagrams->answered.back().ends_with("\0\x10\xfd"s + std::string(14, '\0') + "\x07"));
    lab.datagrams->asked.emplace_back("127.0.0.1 4000\nthis is no question");
    co_await until([&] { return lab.datagrams->answered.size() == 3; });
    EXPECT_TRUE(lab.datagrams->answered.back().starts_with("127.0.0.1 4000\nth")) << "a format error";
    EXPECT_EQ(co_await outcome(session.stop(false)), "");
  };
  play(lab, life);
}

TEST(Names, OfAProfileThatHasServersOfItsOwnOrIsFilteredAreNotAskedHere) {
  for (const auto& [key, value, expected] : {std::tuple{"network.dns", "10.1.1.1", ""},
                                             {"network.egress", "none", ""},
                                             {"network.egress", "a.example:443", "listen udp 127.0.0.153 11053\n"}}) {
    NamesLab lab;
    lab.keep(key, value);
    auto life = [&, expected = expected](Session& session) -> asio::awaitable<void> {
      EXPECT_EQ(co_await outcome(session.start({})), "");
      co_await sleep_for(20ms);
      EXPECT_EQ(lab.listens, expected);
      EXPECT_EQ(co_await outcome(session.stop(false)), "");
    };
    play(lab, life);
  }
}

}  // namespace
}  // namespace cl
