#include "provision/channel/mux.hpp"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/write.hpp>
#include <functional>
#include <optional>

#include "src/base/task_group.hpp"
#include "tests/support/run.hpp"

/// The host's end of the data channel against a guest's end that the test speaks itself.
namespace cl::test {
namespace {

using mux::FrameType;
using mux::Mux;
using mux::turn;
using mux::window;

const std::string nonce = "0123456789abcdef";

struct Peer {
  explicit Peer(const asio::any_io_executor& executor) : from(executor), to(executor) {}

  /// Transports of two sockets; ours are the other ends.
  Transport connect() {
    error_code ignored;
    from.close(ignored);
    to.close(ignored);
    UniqueFd in = pair(to), out = pair(from);
    return {std::move(in), std::move(out)};
  }
  static UniqueFd pair(asio::local::stream_protocol::socket& ours) {
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) throw io_error("socketpair", errno);
    ours.assign(asio::local::stream_protocol(), ends[0]);
    return UniqueFd(ends[1]);
  }

  asio::awaitable<void> put(std::string bytes) {
    if (!single_bytes) {
      co_await asio::async_write(to, asio::buffer(bytes), asio::use_awaitable);
      co_return;
    }
    for (const char c : bytes) {
      co_await asio::async_write(to, asio::buffer(&c, 1), asio::use_awaitable);
      co_await asio::post(to.get_executor(), asio::use_awaitable);
    }
  }
  asio::awaitable<void> tell(std::uint32_t stream, FrameType type, std::string payload = {}) {
    std::string bytes;
    mux::append_header(bytes, stream, type, payload.size());
    bytes += payload;
    co_await put(std::move(bytes));
  }
  asio::awaitable<std::string> take(std::size_t count) {
    std::string bytes(count, '\0');
    co_await asio::async_read(from, asio::buffer(bytes), asio::use_awaitable);
    co_return bytes;
  }
  /// The next frame as "STREAM TYPE PAYLOAD"; of data only the size.
  asio::awaitable<std::string> hear() {
    const std::string head = co_await take(mux::header_size);
    auto byte = [&head](std::size_t at) { return static_cast<unsigned char>(head[at]); };
    const unsigned length = byte(5) * 65536U + byte(6) * 256U + byte(7);
    last_payload = co_await take(length);
    std::string text = std::to_string(byte(2) * 256U + byte(3)) + " " + head[4];
    if (head[4] == 'd') {
      text += " " + std::to_string(length);
    } else if (head[4] == 'c') {
      text += " " + std::to_string(*mux::read_number(last_payload));
    } else if (length > 0) {
      text += " " + last_payload;
    }
    co_return text;
  }
  /// How many bytes are there to be read now.
  std::size_t waiting() { return from.available(); }

  asio::local::stream_protocol::socket from, to;
  std::string last_payload;
  bool single_bytes = false;
};

using StreamPtr = std::unique_ptr<ByteStream>;

struct Bed {
  explicit Bed(asio::any_io_executor ex) : executor(ex), peer(ex), tasks(ex) {
    made = Mux::start(executor, peer.connect(), nonce);
  }
  asio::awaitable<void> up() {
    co_await peer.put(nonce);
    co_await peer.take(nonce.size());
  }
  /// Opens a stream that the peer accepts.
  asio::awaitable<StreamPtr> open() {
    std::optional<StreamPtr> stream;
    spawn(opening(stream));
    const std::string frame = co_await peer.hear();
    co_await peer.tell(static_cast<std::uint32_t>(std::stoul(frame)), FrameType::opened);
    while (!stream) co_await settle();
    co_return std::move(*stream);
  }
  asio::awaitable<void> opening(std::optional<StreamPtr>& into) {
    auto stream = co_await made->open_unix("/x");
    into = std::move(stream);
  }
  void spawn(asio::awaitable<void> work) { tasks.spawn("test", std::move(work)); }
  asio::awaitable<void> settle() {
    for (int i = 0; i < 50; ++i) co_await asio::post(executor, asio::use_awaitable);
  }
  asio::awaitable<void> end() {
    made->stop();
    co_await tasks.stop();
  }

  asio::any_io_executor executor;
  Peer peer;
  std::shared_ptr<Mux> made;
  TaskGroup tasks;
};

/// What `work` throws, on one line; "" for nothing.
asio::awaitable<std::string> failure_of(asio::awaitable<void> work) {
  try {
    co_await std::move(work);
  } catch (const Error& error) {
    co_return std::string(to_string(error.code())) + ": " + one_line(error);
  }
  co_return "";
}
asio::awaitable<void> drop(asio::awaitable<StreamPtr> opening) { co_await std::move(opening); }
asio::awaitable<void> drop(asio::awaitable<std::size_t> reading) { co_await std::move(reading); }

asio::awaitable<std::string> read(ByteStream& stream, std::size_t count) {
  std::string all(count, '\0');
  std::size_t have = 0;
  while (have < count) {
    const std::size_t got = co_await stream.read_some(std::span<char>(all).subspan(have));
    if (got == 0) break;
    have += got;
  }
  all.resize(have);
  co_return all;
}

// ---- a connection -----------------------------------------------------------------------------------------------

asio::awaitable<std::string> exchange(bool single_bytes) {
  Bed bed(co_await asio::this_coro::executor);
  bed.peer.single_bytes = single_bytes;
  co_await bed.settle();
  std::string seen = std::to_string(bed.peer.waiting()) + " bytes unasked; ";
  co_await bed.peer.put("what is left of an earlier connection 0123456789" + nonce);
  co_await bed.made->wait_up();
  const std::string said = co_await bed.peer.take(nonce.size());
  seen += said == nonce ? "nonce; " : "no nonce; ";
  auto stream = co_await bed.open();
  co_await stream->write(std::string_view("question"));
  seen += co_await bed.peer.hear() + " " + bed.peer.last_payload + "; ";
  co_await stream->shutdown_write();
  seen += co_await bed.peer.hear() + "; ";
  co_await bed.peer.tell(1, FrameType::data, "ans");
  co_await bed.peer.tell(1, FrameType::data, "wer");
  seen += co_await read(*stream, 6) + "; ";
  co_await bed.peer.tell(1, FrameType::eof);
  seen += std::to_string((co_await read(*stream, 1)).size()) + " bytes; ";
  seen += std::to_string(bed.made->streams()) + " streams; ";
  stream.reset();  // both have ended: nothing more is said
  co_await bed.settle();
  seen += std::to_string(bed.peer.waiting()) + " bytes";
  co_await bed.end();
  co_return seen;
}

const char* const whole_exchange = "0 bytes unasked; nonce; 1 d 8 question; 1 e; answer; 0 bytes; 0 streams; 0 bytes";

TEST(Mux, CarriesBothDirectionsToTheirOwnEnds) { EXPECT_EQ(run(exchange(false)), whole_exchange); }
TEST(Mux, CarriesThemInSingleBytes) { EXPECT_EQ(run(exchange(true)), whole_exchange); }

asio::awaitable<std::string> refused() {
  Bed bed(co_await asio::this_coro::executor);
  co_await bed.up();
  std::string failure;
  auto attempt = [](Bed& of, std::string& into) -> asio::awaitable<void> {
    auto opening = drop(of.made->open_tcp("127.0.0.1", 80));
    into = co_await failure_of(std::move(opening));
  };
  bed.spawn(attempt(bed, failure));
  const std::string frame = co_await bed.peer.hear();
  co_await bed.peer.tell(1, FrameType::refused, "Connection refused");
  while (failure.empty()) co_await bed.settle();
  const std::size_t left = bed.made->streams();
  co_await bed.end();
  co_return frame + " | " + failure + " | " + std::to_string(left);
}

TEST(Mux, TellsWhyNobodyIsThere) {
  EXPECT_EQ(run(refused()),
            "1 o tcp 127.0.0.1 80 | guest_failed: cannot connect to 127.0.0.1 port 80 in the guest: "
            "Connection refused | 0");
}

asio::awaitable<std::string> opening_cut_short() {
  Bed bed(co_await asio::this_coro::executor);
  co_await bed.up();
  auto opening = drop(bed.made->open_unix("/x"));
  std::string seen = co_await failure_of(with_timeout(20ms, "opening", std::move(opening)));
  for (int i = 0; i < 2; ++i) seen += " | " + co_await bed.peer.hear();
  co_await bed.peer.tell(1, FrameType::opened);  // too late, and no reason to end anything
  co_await bed.settle();
  seen += bed.made->usable() ? "" : " | ended";
  co_await bed.end();
  co_return seen;
}

TEST(Mux, GivesAStreamUpWhoseOpeningIsCutShort) {
  EXPECT_EQ(run(opening_cut_short()), "timed_out: opening took too long | 1 o unix /x | 1 x");
}

// ---- flow -------------------------------------------------------------------------------------------------------

/// Reads data frames until nothing more comes; how many bytes they had.
asio::awaitable<std::size_t> drain(Bed& bed) {
  std::size_t sum = 0;
  co_await bed.settle();
  while (bed.peer.waiting() > 0) {
    co_await bed.peer.hear();
    sum += bed.peer.last_payload.size();
    co_await bed.settle();
  }
  co_return sum;
}

asio::awaitable<std::string> credit_of_the_guest() {
  Bed bed(co_await asio::this_coro::executor);
  co_await bed.up();
  auto stream = co_await bed.open();
  const std::string bytes(window + 100'000, 'x');
  bool written = false;
  auto sending = [](ByteStream& to, const std::string& all, bool& done) -> asio::awaitable<void> {
    co_await to.write(all);
    done = true;
  };
  bed.spawn(sending(*stream, bytes, written));
  std::string seen = co_await drain(bed) == window ? "a window" : "not a window";
  seen += written ? ", done; " : ", waits; ";
  std::string number;
  mux::append_number(number, 60'000);
  co_await bed.peer.tell(1, FrameType::credit, number);
  seen += std::to_string(co_await drain(bed)) + "; ";
  co_await bed.peer.tell(1, FrameType::credit, number);
  seen += std::to_string(co_await drain(bed)) + (written ? ", done" : ", waits");
  co_await bed.end();
  co_return seen;
}

TEST(Mux, SendsNoMoreThanItHasCreditFor) {
  EXPECT_EQ(run(credit_of_the_guest()), "a window, waits; 60000; 40000, done");
}

asio::awaitable<std::string> credit_for_the_guest() {
  Bed bed(co_await asio::this_coro::executor);
  co_await bed.up();
  auto stream = co_await bed.open();
  for (std::size_t sent = 0; sent < window; sent += turn) {
    std::string bytes(turn, 'y');
    co_await bed.peer.tell(1, FrameType::data, std::move(bytes));
  }
  while (bed.made->unread() < window) co_await bed.settle();
  std::string seen = std::to_string(bed.peer.waiting()) + " bytes; ";  // nothing is read, so no credit
  std::string all;
  while (all.size() < window) all += co_await read(*stream, turn);
  seen += std::to_string(std::count(all.begin(), all.end(), 'y') == static_cast<long>(window));
  for (int i = 0; i < 4; ++i) seen += "; " + co_await bed.peer.hear();
  for (std::size_t sent = 0; sent < window; sent += turn) {
    std::string bytes(turn, 'y');
    co_await bed.peer.tell(1, FrameType::data, std::move(bytes));
  }
  co_await bed.peer.tell(1, FrameType::data, "1");
  co_await bed.made->lost();
  seen += "; " + bed.made->reason();
  co_await bed.end();
  co_return seen;
}

TEST(Mux, HoldsAWindowForAReaderThatStallsAndNoMore) {
  EXPECT_EQ(run(credit_for_the_guest()),
            "0 bytes; 1; 1 c 65536; 1 c 65536; 1 c 65536; 1 c 65536; "
            "the data channel's other end sends more than it may");
}

asio::awaitable<std::string> turns() {
  Bed bed(co_await asio::this_coro::executor);
  co_await bed.up();
  auto one = co_await bed.open(), other = co_await bed.open(), small = co_await bed.open();
  const std::string bytes(window, 'x');
  auto sending = [](ByteStream& to, std::string_view all) -> asio::awaitable<void> { co_await to.write(all); };
  bed.spawn(sending(*one, bytes));
  bed.spawn(sending(*other, bytes));
  co_await bed.settle();  // the transport is full now
  bed.spawn(sending(*small, "ping"));
  co_await bed.settle();
  std::size_t before = 0;
  int most_in_a_row = 0, in_a_row = 0;
  std::string last;
  for (;;) {
    const std::string frame = co_await bed.peer.hear();
    if (frame.starts_with("3 ")) break;
    before += bed.peer.last_payload.size();
    in_a_row = frame == last ? in_a_row + 1 : 1;
    if (before > 6 * turn) most_in_a_row = std::max(most_in_a_row, in_a_row);  // both were there from then on
    last = frame;
  }
  // What the kernel had, what was queued, and one turn of each.
  std::string seen = before <= 300 * 1024 + Mux::out_limit + 3 * turn ? "soon" : "after " + std::to_string(before);
  seen += ", " + std::to_string(most_in_a_row) + " in a row";
  co_await bed.end();
  co_return seen;
}

TEST(Mux, GivesStreamsTheirTurns) { EXPECT_EQ(run(turns()), "soon, 1 in a row"); }

// ---- ends -------------------------------------------------------------------------------------------------------

asio::awaitable<std::string> reset_by_the_guest() {
  Bed bed(co_await asio::this_coro::executor);
  co_await bed.up();
  auto stream = co_await bed.open();
  co_await bed.peer.tell(1, FrameType::data, "last words");
  co_await bed.peer.tell(1, FrameType::reset);
  co_await bed.settle();
  std::string seen = co_await read(*stream, 10);
  char space[8];
  auto reading = drop(stream->read_some(space));
  seen += " | " + co_await failure_of(std::move(reading));
  seen += " | " + co_await failure_of(stream->write(std::string_view("x")));
  stream.reset();
  co_await bed.settle();
  seen += " | " + std::to_string(bed.peer.waiting()) + " bytes, " + std::to_string(bed.made->streams()) + " streams";
  co_await bed.end();
  co_return seen;
}

TEST(Mux, TellsAResetAfterWhatCameBeforeIt) {
  EXPECT_EQ(run(reset_by_the_guest()),
            "last words | io: the connection in the guest broke: it was reset | "
            "io: the connection in the guest broke: it was reset | 0 bytes, 0 streams");
}

asio::awaitable<std::string> closed_by_its_owner() {
  Bed bed(co_await asio::this_coro::executor);
  co_await bed.up();
  auto stream = co_await bed.open();
  std::string failure;
  auto reading = [](ByteStream& from, std::string& into) -> asio::awaitable<void> {
    char space[8];
    auto work = drop(from.read_some(space));
    into = co_await failure_of(std::move(work));
  };
  bed.spawn(reading(*stream, failure));
  co_await bed.settle();
  stream->close();
  stream->close();
  while (failure.empty()) co_await bed.settle();
  std::string seen = failure + " | " + co_await bed.peer.hear();
  co_await bed.peer.tell(1, FrameType::data, "was under way");
  co_await bed.peer.tell(1, FrameType::eof);
  co_await bed.settle();
  seen += bed.made->usable() ? " | goes on" : " | ended";
  co_await bed.end();
  co_return seen;
}

TEST(Mux, ResetsAStreamThatIsClosedEarlyAndPassesOverWhatStillComes) {
  EXPECT_EQ(run(closed_by_its_owner()), "io: the stream was closed | 1 x | goes on");
}

asio::awaitable<std::string> nonsense(std::string bytes) {
  Bed bed(co_await asio::this_coro::executor);
  co_await bed.up();
  auto stream = co_await bed.open();
  co_await bed.peer.put(std::move(bytes));
  co_await bed.made->lost();
  char space[8];
  auto reading = drop(stream->read_some(space));
  const std::string failure = co_await failure_of(std::move(reading));
  auto opening = drop(bed.made->open_unix("/x"));
  const std::string later = co_await failure_of(std::move(opening));
  co_await bed.end();
  co_return failure.substr(0, 60) + " | " + later.substr(0, 70);
}

std::string frame(std::uint32_t stream, FrameType type, const std::string& payload = {}) {
  std::string bytes;
  mux::append_header(bytes, stream, type, payload.size());
  return bytes + payload;
}

TEST(Mux, EndsWithItsStreamsWhenTheGuestSpeaksNonsense) {
  const std::string ended = "io: the connection in the guest broke: the data channel's other end speaks nonsense";
  const std::string lost = "guest_failed: the data channel to the guest is lost: the data channel's other end";
  for (const std::string& bytes :
       {std::string("SSH-2.0-OpenSSH_9.2\r\n"), frame(2, FrameType::opened), frame(0, FrameType::data, "x"),
        frame(1, FrameType::open, "unix /x"), frame(1, FrameType::credit, "abc"), frame(1, FrameType::credit, "abcd"),
        frame(0, FrameType::paused)})
    EXPECT_EQ(run(nonsense(bytes)), ended.substr(0, 60) + " | " + lost.substr(0, 70)) << bytes;
}

asio::awaitable<std::string> stale_without_end() {
  Bed bed(co_await asio::this_coro::executor);
  auto flood = [](Peer& peer) -> asio::awaitable<void> {
    try {
      for (;;) co_await peer.put(std::string(256 * 1024, 'z'));
    } catch (const boost::system::system_error&) {
    }
  };
  bed.spawn(flood(bed.peer));
  const std::string failure = co_await failure_of(bed.made->wait_up());
  co_await bed.end();
  co_return failure;
}

TEST(Mux, DoesNotLookForItsNonceForEver) {
  EXPECT_EQ(run(stale_without_end()),
            "io: the data channel ended before the guest answered: it sends without an end, and not its nonce");
}

asio::awaitable<std::string> transport_lost() {
  Bed bed(co_await asio::this_coro::executor);
  co_await bed.up();
  auto stream = co_await bed.open();
  co_await bed.peer.tell(1, FrameType::data, "all");
  bed.peer.to.close();
  co_await bed.made->lost();
  std::string seen = co_await read(*stream, 3);
  seen += " | " + co_await failure_of(stream->write(std::string_view("x")));
  co_await bed.end();
  co_return seen;
}

TEST(Mux, EndsWithItsTransport) {
  EXPECT_EQ(run(transport_lost()), "all | io: the connection in the guest broke: the guest closed it");
}

// ---- another transport ------------------------------------------------------------------------------------------

asio::awaitable<std::string> parked() {
  Bed bed(co_await asio::this_coro::executor);
  co_await bed.up();
  auto stream = co_await bed.open();
  bool silent = false, written = false;
  auto park = [](Mux& what, bool& done) -> asio::awaitable<void> {
    co_await what.park();
    done = true;
  };
  bed.spawn(park(*bed.made, silent));
  std::string seen = co_await bed.peer.hear();
  auto sending = [](ByteStream& to, bool& done) -> asio::awaitable<void> {
    co_await to.write(std::string_view("later"));
    done = true;
  };
  bed.spawn(sending(*stream, written));
  co_await bed.settle();
  seen += silent ? " | too early" : "";
  co_await bed.peer.tell(1, FrameType::data, "before");
  co_await bed.peer.tell(0, FrameType::paused);
  while (!silent) co_await bed.settle();
  seen += " | " + std::to_string(bed.peer.waiting()) + " bytes, " + co_await read(*stream, 6);
  seen += written ? " | written" : "";
  seen += bed.made->usable() ? " | usable" : "";
  Transport next = bed.peer.connect();  // the first one ends
  co_await bed.made->unplugged();
  seen += bed.made->ended() ? " | ended" : "";
  bed.made->plug(std::move(next));
  co_await bed.settle();
  seen += " | " + std::to_string(bed.peer.waiting()) + " bytes";
  bed.made->unpark();
  for (int i = 0; i < 2; ++i) seen += " | " + co_await bed.peer.hear();
  co_await bed.peer.tell(1, FrameType::data, "after");
  seen += " | " + co_await read(*stream, 5);
  seen += written && bed.made->usable() ? "" : " | broken";
  co_await bed.end();
  co_return seen;
}

TEST(Mux, GoesOnOverAnotherTransport) {
  EXPECT_EQ(run(parked()), "0 p | 0 bytes, before | 0 bytes | 0 g | 1 d 5 | after");
}

asio::awaitable<std::string> resumed_without_a_transport() {
  Bed bed(co_await asio::this_coro::executor);
  co_await bed.up();
  auto stream = co_await bed.open();
  bed.spawn(bed.made->park());
  co_await bed.peer.hear();
  co_await bed.peer.tell(0, FrameType::paused);
  co_await bed.settle();
  bed.peer.to.close();
  co_await bed.made->unplugged();
  bed.made->unpark();
  char space[8];
  auto reading = drop(stream->read_some(space));
  const std::string failure = co_await failure_of(std::move(reading));
  co_await bed.end();
  co_return failure;
}

TEST(Mux, EndsWhenTheMachineGoesOnWithoutIt) {
  EXPECT_EQ(run(resumed_without_a_transport()),
            "io: the connection in the guest broke: the machine went on without it");
}

asio::awaitable<std::string> kept_running() {
  Bed bed(co_await asio::this_coro::executor);
  co_await bed.up();
  auto stream = co_await bed.open();
  bed.spawn(bed.made->park());
  co_await bed.peer.hear();
  co_await bed.peer.tell(0, FrameType::paused);
  co_await bed.settle();
  stream.reset();  // said once it goes on
  bed.made->unpark();
  std::string seen = co_await bed.peer.hear();
  seen += " | " + co_await bed.peer.hear();
  co_await bed.end();
  co_return seen;
}

TEST(Mux, GoesOnOverTheSameTransportWhenTheMachineIsNotSaved) { EXPECT_EQ(run(kept_running()), "0 g | 1 x"); }

}  // namespace
}  // namespace cl::test
