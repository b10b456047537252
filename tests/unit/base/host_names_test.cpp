#include "src/base/net/host_names.hpp"

#include <gtest/gtest.h>

#include <atomic>

#include "src/base/failure.hpp"
#include "src/base/task_group.hpp"
#include "tests/support/run.hpp"

namespace cl {
namespace {

using namespace std::chrono_literals;
using asio::ip::udp;

Addresses addresses(const std::vector<const char*>& texts) {
  Addresses all;
  for (const char* text : texts) all.push_back(asio::ip::make_address(text));
  return all;
}

asio::awaitable<void> look(HostNames& names, std::string name, std::string& said) {
  std::optional<Addresses> found;
  const auto failure = co_await failure_of(store(names.look_up(std::move(name)), found));
  said += failure ? one_line(*failure) : std::to_string(found->size());
  said += ' ';
}

asio::awaitable<void> ended(const TaskGroup& tasks) {
  while (tasks.size() > 0) co_await sleep_for(1ms);
}

TEST(HostNames, AreLookedUpByThisComputersResolver) {
  EXPECT_EQ(addresses_of("10.1.2.3"), addresses({"10.1.2.3"}));
  EXPECT_EQ(addresses_of("fd00::7"), addresses({"fd00::7"}));
  EXPECT_TRUE(addresses_of("localhost").front().is_loopback());
}

TEST(HostNames, LookUpsOfOneNameAreOneAndAreKeptForAWhile) {
  std::atomic<int> asked = 0;
  HostNames names([&](const std::string& name) {
    ++asked;
    std::this_thread::sleep_for(20ms);
    if (name == "broken") throw Error(Errc::io, "nobody knows");
    return name == "none" ? Addresses{} : addresses({"10.0.0.1", "10.0.0.2"});
  });
  test::run([&]() -> asio::awaitable<void> {
    std::string said;
    TaskGroup tasks(co_await asio::this_coro::executor);
    for (int i = 0; i < 3; ++i) tasks.spawn("look", look(names, "some", said));
    co_await ended(tasks);
    EXPECT_EQ(said, "2 2 2 ");
    EXPECT_EQ(asked, 1);
    co_await look(names, "some", said);
    EXPECT_EQ(asked, 1) << "it is known";
    names.forget();
    co_await look(names, "some", said);
    EXPECT_EQ(asked, 2);

    said.clear();
    for (int i = 0; i < 2; ++i) tasks.spawn("look", look(names, "broken", said));
    co_await ended(tasks);
    EXPECT_EQ(said, "nobody knows nobody knows ");
    co_await look(names, "broken", said);
    EXPECT_EQ(asked, 4) << "a failure is not kept";
    said.clear();
    co_await look(names, "none", said);
    EXPECT_EQ(said, "0 ");
  }());
}

TEST(HostNames, WhoWaitsForACancelledLookUpIsTold) {
  HostNames names([](const std::string&) {
    std::this_thread::sleep_for(50ms);
    return Addresses{};
  });
  test::run([&]() -> asio::awaitable<void> {
    std::string first, second;
    TaskGroup cancelled(co_await asio::this_coro::executor), tasks(co_await asio::this_coro::executor);
    cancelled.spawn("first", look(names, "name", first));
    co_await asio::post(asio::use_awaitable);
    tasks.spawn("second", look(names, "name", second));
    co_await asio::post(asio::use_awaitable);
    co_await cancelled.stop();
    co_await ended(tasks);
    EXPECT_EQ(first, "");
    EXPECT_EQ(second, "looking 'name' up was given up ");
  }());
}

TEST(HostNames, AsAGuestSeesThem) {
  const auto host = asio::ip::make_address("10.0.2.2");
  EXPECT_EQ(seen_from_guest(addresses({"127.0.1.1", "::1", "10.1.2.3", "fe80::1", "fd00::7", "0.0.0.0"}), host),
            addresses({"10.0.2.2", "10.1.2.3", "fd00::7"}));
}

TEST(NameServers, AreReadAsTheResolverDoes) {
  std::string all;
  for (const auto& server : name_servers("# nameserver 1.1.1.1\nnameserver 10.0.0.1\nnameserver\t::1  # mine\n"
                                         "nameservers 1.1.1.2\nnameserver nonsense\nsearch a.b\nnameserver 10.0.0.2"))
    all += server.address().to_string() + " ";
  EXPECT_EQ(all, "10.0.0.1 ::1 10.0.0.2 ");
  EXPECT_TRUE(name_servers("").empty());
  EXPECT_EQ(name_servers("nameserver 10.0.0.1\n").front().port(), 53);
}

/// A server that answers each datagram with those that `answers` has, as they are.
class Server {
 public:
  Server(const asio::any_io_executor& executor, std::vector<std::string> answers)
      : socket_(executor, udp::endpoint(asio::ip::address_v4::loopback(), 0)),
        answers_(std::move(answers)),
        tasks_(executor) {
    tasks_.spawn("server", serve());
  }
  udp::endpoint endpoint() const { return socket_.local_endpoint(); }
  asio::awaitable<void> stop() { return tasks_.stop(); }

 private:
  asio::awaitable<void> serve() {
    std::array<char, 512> space{};
    for (;;) {
      udp::endpoint from;
      co_await socket_.async_receive_from(asio::buffer(space), from, asio::use_awaitable);
      for (const std::string& answer : answers_)
        co_await socket_.async_send_to(asio::buffer(answer), from, asio::use_awaitable);
    }
  }
  udp::socket socket_;
  std::vector<std::string> answers_;
  TaskGroup tasks_;
};

TEST(NameServers, AreAskedInTheirOrderUntilOneKnows) {
  test::run([]() -> asio::awaitable<void> {
    const auto executor = co_await asio::this_coro::executor;
    udp::socket closed(executor, udp::endpoint(asio::ip::address_v4::loopback(), 0));
    const udp::endpoint nobody = closed.local_endpoint();
    closed.close();
    Server silent(executor, {}), failing(executor, {"ID\x81\x82"}),
        wrong_then_right(executor, {"XY\x81\x80", "ID\x81\x80ok"});
    const std::string answer = co_await ask_name_servers(
        "ID?", {nobody, silent.endpoint(), failing.endpoint(), wrong_then_right.endpoint()}, 100ms);
    EXPECT_EQ(answer, "ID\x81\x80ok");
    EXPECT_EQ(co_await ask_name_servers("ID?", {failing.endpoint(), nobody}, 100ms), "ID\x81\x82")
        << "nobody knows more";
    std::optional<std::string> none;
    const auto failure = co_await failure_of(store(ask_name_servers("ID?", {silent.endpoint()}, 50ms), none));
    EXPECT_TRUE(failure && one_line(*failure).starts_with("no name server of this computer answers"))
        << (failure ? one_line(*failure) : *none);
    for (Server* server : {&silent, &failing, &wrong_then_right}) co_await server->stop();
  }());
}

}  // namespace
}  // namespace cl
