#include "src/egress/checked_stream.hpp"

#include <gtest/gtest.h>

#include "tests/fakes/choppy_stream.hpp"
#include "tests/support/run.hpp"

namespace cl::test {
namespace {

asio::awaitable<std::string> passed(std::string client, bool ends) {
  auto ends_of = MemoryStream::pair(co_await asio::this_coro::executor);
  CheckedStream stream(std::move(ends_of.first),
                       [](const FirstBytes& first) { return first.name == "a.example" ? "" : "no " + first.name; });
  std::string said;
  co_await ends_of.second->write(std::string_view("banner"));
  said += co_await read_exactly(stream, 6) + "|";
  try {
    for (const char c : client) co_await stream.write(std::span(&c, 1));
    if (ends) co_await stream.shutdown_write();
  } catch (const Error& error) {
    said += one_line(error) + "|";
  }
  stream.close();
  said += co_await read_to_end(*ends_of.second);
  co_return said;
}

TEST(CheckedStream, HoldsBackUntilItIsKnownWhereItGoes) {
  const std::string good = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\nbody",
                    bad = "GET / HTTP/1.1\r\nHost: b.example\r\n\r\n";
  EXPECT_EQ(run(passed(good, false)), "banner|" + good);
  EXPECT_EQ(run(passed(bad + "secret", false)), "banner|no b.example|");
  EXPECT_EQ(run(passed("GET / HTTP/1.1\r\nHost: a.exa", false)), "banner|") << "nothing has been let through yet";
  EXPECT_EQ(run(passed("quit\r\n", false)), "banner|quit\r\n");
}

TEST(CheckedStream, AHalfRequestWithItsEndIsNoRequest) {
  EXPECT_EQ(run(passed("stop", true)), "banner|stop") << "a word of another protocol";
  EXPECT_EQ(run(passed("GET / HTTP/1.1\r\nHost: b.example\r\n", true)), "banner|no |");
}

}  // namespace
}  // namespace cl::test
