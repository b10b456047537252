#include "src/forward/port_owner.hpp"

#include <gtest/gtest.h>

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ip/v6_only.hpp>

#include "src/base/child.hpp"
#include "src/base/file.hpp"
#include "tests/support/run.hpp"
#include "tests/support/temp_dir.hpp"

namespace cl::test {
namespace {

/// A process that looks like another profile's daemon, and holds a port.
asio::awaitable<std::string> clash_with(std::string profile, std::uint16_t port) {
  TempDir directory;
  // perl takes its script's name for its first argument, so that the command line is "colima-like daemon PROFILE 3".
  write_atomically(directory / "daemon", "use Socket; socket(S,2,1,6); bind(S,pack('SnNx8',2," + std::to_string(port) +
                                             ",0)) or die; listen(S,5); $| = 1; print qq(listening\n); sleep 60;");
  Command command;
  command.argv = {"bash", "-c",
                  "cd " + directory.path().string() + " && exec -a /x/colima-like perl daemon " + profile + " 3"};
  std::string owner;
  Event listening(co_await asio::this_coro::executor);
  OnLine on_line = [&](std::string_view) { listening.set(); };
  auto look = [](Event& ready, std::uint16_t number, std::string& into) -> asio::awaitable<void> {
    co_await ready.wait();
    const HostPort wanted{Protocol::tcp, asio::ip::address_v4::loopback(), number};
    const auto owners = port_owners({wanted});
    if (const auto found = owners.find(wanted); found != owners.end()) into = found->second;
  };
  auto executor = co_await asio::this_coro::executor;
  auto both = asio::experimental::make_parallel_group(
      asio::co_spawn(executor, cl::run(std::move(command), "", std::chrono::seconds(30), on_line), asio::deferred),
      asio::co_spawn(executor, look(listening, port, owner), asio::deferred));
  co_await both.async_wait(asio::experimental::wait_for_one(), asio::as_tuple(asio::use_awaitable));
  co_return owner;
}

TEST(PortOwner, IsNamedByItsProfileWhenItIsOneOfOurs) {
  for (const char* program : {"bash", "perl"})
    if (!find_program(program)) GTEST_SKIP() << program << " is not installed";
  asio::io_context io(1);
  const std::uint16_t port =
      asio::ip::tcp::acceptor(io, asio::ip::tcp::endpoint(asio::ip::tcp::v4(), 0)).local_endpoint().port();
  EXPECT_EQ(run(clash_with("work", port), std::chrono::seconds(40)), "profile 'work' of colima-like");
}

/// A program has the port in IPv4, and this process has it in IPv6.
asio::awaitable<std::string> clash_of_families() {
  namespace ip = asio::ip;
  auto executor = co_await asio::this_coro::executor;
  ip::tcp::acceptor ours(executor);
  ours.open(ip::tcp::v6());
  ours.set_option(ip::v6_only(true));
  ours.bind({ip::address_v6::any(), 0});
  ours.listen();
  const std::string owner = co_await clash_with("work", ours.local_endpoint().port());
  co_return owner;
}

TEST(PortOwner, IsNeverThisProcessWhichHoldsThePortInTheOtherFamily) {
  for (const char* program : {"bash", "perl"})
    if (!find_program(program)) GTEST_SKIP() << program << " is not installed";
  EXPECT_EQ(run(clash_of_families(), std::chrono::seconds(40)), "profile 'work' of colima-like");
}

}  // namespace
}  // namespace cl::test
