#include "src/forward/node_cover.hpp"

#include <gtest/gtest.h>

#include "tests/fakes/memory_messages.hpp"
#include "tests/support/run.hpp"

namespace cl::test {
namespace {

using namespace std::chrono_literals;

struct Bed {
  explicit Bed(const asio::any_io_executor& executor)
      : guest(std::make_shared<ServiceGuest>(executor)), cover(executor, config()) {}
  NodeCover::Config config() {
    return {"/run/s", "/home/u/a socket", [this] { return reach(guest); }, [this] { ++changes; }};
  }
  static asio::awaitable<std::shared_ptr<Guest>> reach(std::shared_ptr<ServiceGuest> guest) { co_return guest; }
  asio::awaitable<std::string> asked() {
    while (!guest->agent) co_await guest->begun.wait();
    co_return (co_await guest->agent->read()).value_or("the end");
  }
  std::shared_ptr<ServiceGuest> guest;
  int changes = 0;
  NodeCover cover;
};

asio::awaitable<void> look(NodeCover& cover, bool& done) {
  co_await cover.look();
  done = true;
}

asio::awaitable<std::string> looks() {
  const auto executor = co_await asio::this_coro::executor;
  Bed bed(executor);
  std::string said = co_await bed.asked();
  said += " " + bed.guest->asked;
  co_await bed.guest->agent->write("error there is none");
  bool done = false;
  TaskGroup tasks(executor);
  tasks.spawn("look", look(bed.cover, done));
  said += "; " + co_await bed.asked();
  said += "; " + bed.cover.problem() + (done ? " too early" : "");
  co_await bed.guest->agent->write("ok");
  while (!done) co_await sleep_for(1ms);
  said += bed.cover.problem() + "; " + std::to_string(bed.changes) + " changes";
  co_await bed.cover.forget();
  said += "; " + co_await bed.asked();
  co_await tasks.stop();
  co_await bed.cover.stop();
  co_return said;
}
TEST(NodeCover, SaysWhatTheGuestFindsAtEachLook) {
  EXPECT_EQ(run(looks()), "look cover /run/s /home/u/a socket; look; there is none; 2 changes; forget");
}

asio::awaitable<std::string> another_agent() {
  const auto executor = co_await asio::this_coro::executor;
  Bed bed(executor);
  co_await bed.asked();
  co_await bed.guest->agent->write("ok");
  bool done = false;
  TaskGroup tasks(executor);
  tasks.spawn("look", look(bed.cover, done));
  co_await bed.asked();
  bed.guest->agent->reset();
  while (!done) co_await sleep_for(1ms);
  std::string said = bed.cover.problem();
  const auto* lost = bed.guest->agent.get();
  while (bed.guest->agent.get() == lost) co_await bed.guest->begun.wait();
  said += "; " + co_await bed.asked();
  co_await bed.guest->agent->write("ok");
  while (!bed.cover.problem().empty()) co_await sleep_for(1ms);
  co_await tasks.stop();
  co_await bed.cover.stop();
  co_return said;
}
TEST(NodeCover, LooksAgainWhenTheAgentWasLost) { EXPECT_EQ(run(another_agent()), "the guest's agent is lost; look"); }

}  // namespace
}  // namespace cl::test
