#include <gtest/gtest.h>
#include <malloc.h>
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#include <sanitizer/allocator_interface.h>
#include <sanitizer/lsan_interface.h>
#define CL_TEST_ASAN
#endif
#endif

#include <algorithm>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/write.hpp>

#include "provision/ssh/pump.hpp"
#include "tests/fakes/choppy_stream.hpp"
#include "tests/integration/ssh_lab.hpp"
#include "tests/support/run.hpp"

namespace cl::test {
namespace {

/// A task's end as something to wait for, with its failure.
class Running {
 public:
  Running(TaskGroup& tasks, const asio::any_io_executor& executor, asio::awaitable<void> work)
      : state_(std::make_shared<State>(executor)) {
    tasks.spawn("test", finish(state_, std::move(work)));
  }
  asio::awaitable<std::string> end() {
    co_await state_->done.wait();
    co_return state_->failure;
  }

 private:
  struct State {
    explicit State(const asio::any_io_executor& executor) : done(executor) {}
    Event done;
    std::string failure;
  };
  static asio::awaitable<void> finish(std::shared_ptr<State> state, asio::awaitable<void> work) {
    try {
      co_await std::move(work);
    } catch (const Error& error) {
      state->failure = std::string(to_string(error.code())) + ": " + one_line(error);
    } catch (const std::exception& error) {
      state->failure = error.what();
    }
    state->done.set();
  }
  std::shared_ptr<State> state_;
};

asio::awaitable<void> expect_bytes(ByteStream& stream, std::size_t count) {
  std::vector<char> space(64 * 1024);
  std::size_t at = 0;
  for (;;) {
    const std::size_t got = co_await stream.read_some(space);
    if (got == 0) break;
    if (std::string_view(space.data(), got) != pattern(got, at))
      throw Error(Errc::internal, "other bytes after " + std::to_string(at));
    at += got;
  }
  if (at != count) throw Error(Errc::internal, std::to_string(at) + " bytes instead of " + std::to_string(count));
}

asio::awaitable<void> write_pattern(ByteStream& stream, std::size_t count) {
  constexpr std::size_t step = 200'000;
  for (std::size_t at = 0; at < count; at += step) {
    const std::string part = pattern(std::min(step, count - at), at);
    co_await stream.write(part);
  }
  co_await stream.shutdown_write();
}

asio::awaitable<void> echo_on_a_channel(Guest& guest, std::string path, std::size_t count) {
  auto stream = co_await guest.open_unix(std::move(path));
  TaskGroup tasks(co_await asio::this_coro::executor);
  Running writer(tasks, co_await asio::this_coro::executor, write_pattern(*stream, count));
  co_await expect_bytes(*stream, count);
  const std::string failure = co_await writer.end();
  if (!failure.empty()) throw Error(Errc::internal, failure);
}

asio::awaitable<std::string> echo_everything(Transport how, std::string config, int channels, std::size_t count) {
  auto executor = co_await asio::this_coro::executor;
  SshLab lab(executor);
  co_await lab.set_up(std::move(config));
  auto guest = co_await lab.connect(how);
  const std::string path = lab.echo_socket();
  std::vector<Running> all;
  for (int i = 0; i < channels; ++i) all.emplace_back(lab.tasks(), executor, echo_on_a_channel(*guest, path, count));
  std::string failures;
  for (Running& one : all) failures += co_await one.end();
  co_await lab.stop();
  co_return failures;
}

TEST(Streams, TwoHundredAtOnceKeepTheirBytes) {
  EXPECT_EQ(run(echo_everything(Transport::whole, "", 200, 100'000), 60s), "");
}

TEST(Streams, SurviveATransportThatSplitsEverything) {
  EXPECT_EQ(run(echo_everything(Transport::split, "", 5, 10'000), 60s), "");
}

TEST(Streams, FiftyMegabytesEachWaySurviveTinySocketBuffers) {
  EXPECT_EQ(run(echo_everything(Transport::tiny, "", 1, 50'000'000), 100s), "");
}

TEST(Streams, WorkOverTcpToo) { EXPECT_EQ(run(echo_everything(Transport::tcp, "", 10, 300'000), 60s), ""); }

TEST(Streams, ShareTinySocketBuffers) { EXPECT_EQ(run(echo_everything(Transport::tiny, "", 20, 500'000), 60s), ""); }

TEST(Streams, SurviveNewKeysInTheMiddle) {
#ifdef CL_TEST_ASAN
  const __lsan::ScopedDisabler libssh2_forgets_the_old_host_key;  // 51 bytes for each new key exchange, in 1.10
#endif
  EXPECT_EQ(run(echo_everything(Transport::whole, "RekeyLimit 1M", 3, 8'000'000), 60s), "");
  EXPECT_EQ(run(echo_everything(Transport::tiny, "RekeyLimit 256K", 3, 2'000'000), 60s), "");
}

asio::awaitable<std::string> half_close(Transport how) {
  SshLab lab(co_await asio::this_coro::executor);
  co_await lab.set_up();
  auto guest = co_await lab.connect(how);
  // The echo server ends its direction only after ours.
  auto stream = co_await guest->open_unix(lab.echo_socket());
  const std::string_view first = "first", second = "second";
  co_await stream->write(first);
  std::string all = co_await read_exactly(*stream, first.size());
  co_await stream->write(second);
  co_await stream->shutdown_write();
  all += co_await read_to_end(*stream);
  // The source ends its direction at once; ours goes on.
  auto source = co_await guest->open_unix(lab.source_socket(3));
  all += co_await read_to_end(*source) == pattern(3) ? " and its end" : " and nothing";
  co_await source->shutdown_write();
  co_await lab.stop();
  co_return all;
}

TEST(Streams, HalfCloseEachWay) {
  EXPECT_EQ(run(half_close(Transport::whole), 30s), "firstsecond and its end");
  EXPECT_EQ(run(half_close(Transport::split), 30s), "firstsecond and its end");
}

struct Refusals {
  std::string unix_socket, tcp_port, good;
  Errc code = Errc::internal;
};

asio::awaitable<Refusals> connect_to_nobody() {
  SshLab lab(co_await asio::this_coro::executor);
  co_await lab.set_up();
  auto guest = co_await lab.connect();
  Refusals refusals;
  try {
    co_await guest->open_unix("/nonexistent/docker.sock");
  } catch (const Error& error) {
    refusals.unix_socket = one_line(error);
    refusals.code = error.code();
  }
  try {
    co_await guest->open_tcp("127.0.0.1", 1);
  } catch (const Error& error) {
    refusals.tcp_port = one_line(error);
  }
  const GuestResult result = co_await run_in_guest(*guest, "echo alive", "");
  refusals.good = result.output;
  co_await lab.stop();
  co_return refusals;
}

TEST(Streams, ARefusedOneNamesItselfAndHarmsNothing) {
  const Refusals refusals = run(connect_to_nobody(), 30s);
  EXPECT_EQ(refusals.code, Errc::guest_failed);
  EXPECT_NE(refusals.unix_socket.find("/nonexistent/docker.sock"), std::string::npos) << refusals.unix_socket;
  EXPECT_NE(refusals.unix_socket.find("connect failed"), std::string::npos) << refusals.unix_socket;
  EXPECT_NE(refusals.tcp_port.find("127.0.0.1 port 1"), std::string::npos) << refusals.tcp_port;
  EXPECT_EQ(refusals.good, "alive\n");
}

asio::awaitable<void> greet_once(asio::ip::tcp::acceptor& acceptor) {
  asio::ip::tcp::socket peer = co_await acceptor.async_accept(asio::use_awaitable);
  const std::string_view text = "hello over TCP";
  co_await asio::async_write(peer, asio::buffer(text), asio::use_awaitable);
}

asio::awaitable<std::string> read_from_tcp() {
  auto executor = co_await asio::this_coro::executor;
  SshLab lab(executor);
  co_await lab.set_up();
  auto guest = co_await lab.connect();
  asio::ip::tcp::acceptor acceptor(executor, asio::ip::tcp::endpoint(asio::ip::address_v4::loopback(), 0));
  Running server(lab.tasks(), executor, greet_once(acceptor));
  auto stream = co_await guest->open_tcp("127.0.0.1", acceptor.local_endpoint().port());
  const std::string text = co_await read_to_end(*stream);
  co_await server.end();
  co_await lab.stop();
  co_return text;
}

TEST(Streams, LeadToTcpPortsToo) { EXPECT_EQ(run(read_from_tcp(), 30s), "hello over TCP"); }

struct Ends {
  std::string reader, writer, opener;
  bool lost = false;
};

asio::awaitable<void> read_for_ever(ByteStream& stream) {
  std::vector<char> space(64 * 1024);
  while (co_await stream.read_some(space) > 0) {
  }
}

asio::awaitable<void> write_for_ever(ByteStream& stream) {
  const std::string part(100'000, 'x');
  for (;;) co_await stream.write(part);
}

asio::awaitable<void> open_for_ever(Guest& guest, std::string path) {
  for (;;) co_await guest.open_unix(path);
}

asio::awaitable<Ends> kill_the_server() {
  auto executor = co_await asio::this_coro::executor;
  SshLab lab(executor);
  co_await lab.set_up();
  auto guest = co_await lab.connect();
  const std::string echo = lab.echo_socket();
  auto stream = co_await guest->open_unix(echo);
  Running reader(lab.tasks(), executor, read_for_ever(*stream));
  Running writer(lab.tasks(), executor, write_for_ever(*stream));
  Running opener(lab.tasks(), executor, open_for_ever(*guest, echo));
  auto other = co_await guest->open_unix(echo);  // traffic is under way
  lab.kill_servers();
  co_await guest->lost();
  Ends ends;
  ends.lost = true;
  ends.reader = co_await reader.end();
  ends.writer = co_await writer.end();
  ends.opener = co_await opener.end();
  co_await lab.stop();
  co_return ends;
}

TEST(Loss, OfTheServerFailsEverythingThatWaits) {
  const Ends ends = run(kill_the_server(), 30s);
  EXPECT_TRUE(ends.lost);
  EXPECT_TRUE(ends.reader.starts_with("io: ")) << ends.reader;
  EXPECT_TRUE(ends.writer.starts_with("io: ")) << ends.writer;
  EXPECT_TRUE(ends.opener.starts_with("guest_failed: ")) << ends.opener;
}

asio::awaitable<std::string> read_after_loss() {
  SshLab lab(co_await asio::this_coro::executor);
  co_await lab.set_up();
  auto guest = co_await lab.connect();
  ExecRequest request;
  const std::string said = (lab.directory() / "said").string();
  request.command = "printf last-words; touch " + said + "; exec cat";
  auto process = co_await guest->exec(std::move(request));
  // The server serves its channels in order: once this has been heard, so has the other, though nobody has read it.
  co_await run_in_guest(*guest, "while [ ! -e " + said + " ]; do sleep 0.01; done; echo heard", "");
  lab.kill_servers();
  co_await guest->lost();
  std::vector<char> space(100);
  const std::size_t got = co_await process->io().read_some(space);
  std::string text(space.data(), got);
  try {
    co_await process->io().read_some(space);
  } catch (const Error& error) {
    text += std::string(" then ") + std::string(to_string(error.code()));
  }
  co_await lab.stop();
  co_return text;
}

TEST(Loss, KeepsWhatHadComeBefore) { EXPECT_EQ(run(read_after_loss(), 30s), "last-words then io"); }

asio::awaitable<std::string> outlive_the_guest() {
  auto executor = co_await asio::this_coro::executor;
  SshLab lab(executor);
  co_await lab.set_up();
  auto guest = co_await lab.connect();
  auto stream = co_await guest->open_unix(lab.echo_socket());
  auto waiting = co_await guest->open_unix(lab.echo_socket());
  Running reader(lab.tasks(), executor, read_for_ever(*waiting));
  Running lost(lab.tasks(), executor, guest->lost());
  co_await asio::post(executor, asio::use_awaitable);
  guest.reset();
  std::string all = co_await reader.end() + "|" + co_await lost.end() + "|";
  try {
    const std::string_view text = "too late";
    co_await stream->write(text);
  } catch (const Error& error) {
    all += one_line(error);
  }
  stream.reset();
  co_await lab.stop();
  co_return all;
}

TEST(Guest, DestroyedFirstFailsItsStreamsAndLeavesThemSafe) {
  EXPECT_EQ(run(outlive_the_guest(), 30s),
            "io: the connection to the guest is lost: it was closed on our side||"
            "the connection to the guest is lost: it was closed on our side");
}

asio::awaitable<std::string> drop_streams() {
  auto executor = co_await asio::this_coro::executor;
  SshLab lab(executor);
  co_await lab.set_up();
  auto guest = co_await lab.connect();
  const std::string echo = lab.echo_socket();
  for (int i = 0; i < 20; ++i) {
    auto stream = co_await guest->open_unix(echo);
    if (i % 2 == 0) {
      const std::string text = pattern(300'000);
      co_await stream->write(text);
    }
  }
  // With a reader still waiting.
  auto stream = co_await guest->open_unix(echo);
  Running reader(lab.tasks(), executor, read_for_ever(*stream));
  co_await asio::post(executor, asio::use_awaitable);
  stream->close();
  stream->close();
  std::string all = co_await reader.end();
  try {
    co_await stream->shutdown_write();
  } catch (const Error& error) {
    all += "|" + one_line(error);
  }
  co_await echo_on_a_channel(*guest, echo, 10'000);
  co_await lab.stop();
  co_return all;
}

TEST(Streams, DroppedWithoutAWordHarmNothing) {
  EXPECT_EQ(run(drop_streams(), 30s), "io: the stream was closed|the stream was closed");
}

asio::awaitable<void> read_once(ByteStream& stream) {
  std::vector<char> space(64 * 1024);
  co_await stream.read_some(space);
}

asio::awaitable<void> drop(asio::awaitable<std::unique_ptr<ByteStream>> opening) { co_await std::move(opening); }

/// Cancels reads, writes and openings in each state they can be in, with traffic on another channel all the time.
asio::awaitable<std::string> cancel_operations() {
  auto executor = co_await asio::this_coro::executor;
  SshLab lab(executor);
  co_await lab.set_up();
  auto guest = co_await lab.connect();
  const std::string echo = lab.echo_socket(), deaf = lab.deaf_socket();
  Running traffic(lab.tasks(), executor, echo_on_a_channel(*guest, echo, 5'000'000));
  auto silent = co_await guest->open_unix(deaf);
  auto stuffed = co_await guest->open_unix(deaf);
  std::string all;
  for (int i = 0; i < 10; ++i) {
    TaskGroup group(executor);
    Running reading(group, executor, read_once(*silent));
    Running first_opening(group, executor, drop(guest->open_unix(echo)));
    Running second_opening(group, executor, drop(guest->open_unix(echo)));
    for (int turns = 0; turns < i; ++turns) co_await asio::post(executor, asio::use_awaitable);
    co_await group.stop();
    const std::string how = co_await reading.end();
    if (!how.starts_with("Operation canceled [system:125")) all += "not cancelled: " + how;
  }
  TaskGroup group(executor);
  Running writing(group, executor, write_for_ever(*stuffed));
  co_await echo_on_a_channel(*guest, echo, 3'000'000);  // long enough for the other to be stuck in its window
  co_await group.stop();
  all += co_await writing.end();
  stuffed.reset();
  all += "|" + co_await traffic.end();
  co_await echo_on_a_channel(*guest, echo, 10'000);
  co_await lab.stop();
  co_return all;
}

TEST(Cancellation, OfAnyOperationLeavesTheOtherChannelsIntact) {
  EXPECT_EQ(run(cancel_operations(), 60s), "Operation canceled [system:125]|");
}

std::size_t allocated_now() {
#ifdef CL_TEST_ASAN
  return __sanitizer_get_current_allocated_bytes();
#else
  return ::mallinfo2().uordblks;
#endif
}

struct Stall {
  std::size_t grown = 0;
  std::string other, late;
};

/// A channel nobody reads, whose server sends without end, beside one that is used.
asio::awaitable<Stall> stall_a_reader() {
  SshLab lab(co_await asio::this_coro::executor);
  co_await lab.set_up();
  auto guest = co_await lab.connect();
  const std::string echo = lab.echo_socket();
  co_await echo_on_a_channel(*guest, echo, 3'000'000);
  constexpr std::size_t count = 30'000'000;
  const std::size_t before = allocated_now();
  auto stalled = co_await guest->open_unix(lab.source_socket(count));
  Stall stall;
  // Traffic that takes many round trips, until the other has sent what it may.
  for (int i = 0; i < 20; ++i) co_await echo_on_a_channel(*guest, echo, 500'000);
  stall.grown = allocated_now() - before;
  co_await expect_bytes(*stalled, count);
  co_await lab.stop();
  co_return stall;
}

TEST(Memory, OfAChannelThatNobodyReadsIsBounded) {
  const Stall stall = run(stall_a_reader(), 60s);
  if (in_one_process()) EXPECT_GT(stall.grown, 1U << 20) << "the server filled the window";
  EXPECT_LT(stall.grown, 3U << 20) << "the window, and this test's own source with its buffer";
}

asio::awaitable<void> exchange(ByteStream& stream, int times) {
  const std::string text = "small";
  for (int i = 0; i < times; ++i) {
    co_await stream.write(text);
    const std::string back = co_await read_exactly(stream, text.size());
    if (back != text) throw Error(Errc::internal, "another answer");
  }
}

/// Small exchanges while two channels move all they can, each way. Fails by the time limit if the bulk starves them.
asio::awaitable<std::string> exchange_beside_bulk() {
  auto executor = co_await asio::this_coro::executor;
  SshLab lab(executor);
  co_await lab.set_up();
  auto guest = co_await lab.connect();
  auto bulk = co_await guest->open_unix(lab.echo_socket());
  TaskGroup group(executor);
  Running reader(group, executor, read_for_ever(*bulk));
  Running writer(group, executor, write_for_ever(*bulk));
  auto small = co_await guest->open_unix(lab.echo_socket());
  Running exchanges(lab.tasks(), executor, exchange(*small, 100));
  const std::string failure = co_await exchanges.end();
  co_await group.stop();
  co_await lab.stop();
  co_return failure;
}

TEST(Fairness, SmallExchangesGoOnBesideBulk) { EXPECT_EQ(run(exchange_beside_bulk(), 60s), ""); }

}  // namespace
}  // namespace cl::test
