#include <gtest/gtest.h>

#include <deque>

#include "provision/guest.hpp"
#include "tests/fakes/choppy_stream.hpp"
#include "tests/support/run.hpp"

namespace cl::test {
namespace {

/// What a program of the fake guest does: says `output` and `errors`, reads its input or leaves, and ends.
struct Script {
  std::string output, errors;
  int exit_code = 0;
  bool reads_input = true;
  bool breaks = false;  ///< the connection is lost instead of the program's end
};

struct Record {
  std::string command, input;
};

class FakeProcess : public GuestProcess {
 public:
  FakeProcess(const asio::any_io_executor& executor, Script script, Record& record)
      : script_(std::move(script)), record_(record) {
    auto [ours, theirs] = MemoryStream::pair(executor, 1 << 24);
    near_ = std::move(ours);
    far_ = std::move(theirs);
  }
  asio::awaitable<void> begin() {
    co_await far_->write(script_.output);
    if (script_.breaks) {
      near_->reset();
    } else if (script_.reads_input) {
      co_await far_->shutdown_write();
    } else {
      far_->close();
    }
  }
  ByteStream& io() override { return *near_; }
  asio::awaitable<std::size_t> read_errors(std::span<char> space) override {
    const std::size_t count = std::min(space.size(), script_.errors.size());
    std::copy_n(script_.errors.begin(), count, space.begin());
    script_.errors.erase(0, count);
    co_return count;
  }
  asio::awaitable<void> resize(TerminalSize) override { co_return; }
  asio::awaitable<int> wait_exit() override {
    if (script_.reads_input) record_.input = co_await read_to_end(*far_);
    co_return script_.exit_code;
  }

 private:
  Script script_;
  Record& record_;
  std::unique_ptr<MemoryStream> near_, far_;
};

class FakeGuest : public Guest {
 public:
  explicit FakeGuest(Script s) : script(std::move(s)) {}
  asio::awaitable<std::unique_ptr<GuestProcess>> exec(ExecRequest request) override {
    record.command = request.command;
    auto process = std::make_unique<FakeProcess>(co_await asio::this_coro::executor, script, record);
    co_await process->begin();
    co_return process;
  }
  asio::awaitable<std::unique_ptr<ByteStream>> open_unix(std::string) override {
    throw Error(Errc::guest_failed, "this guest only runs commands");
  }
  asio::awaitable<std::unique_ptr<ByteStream>> open_tcp(std::string, std::uint16_t) override {
    throw Error(Errc::guest_failed, "this guest only runs commands");
  }
  asio::awaitable<void> lost() override { co_return; }
  Script script;
  Record record;
};

TEST(RunInGuest, CollectsEverything) {
  FakeGuest guest(Script{"out\n", "err\n", 3});
  const GuestResult result = run(run_in_guest(guest, "do it", "some input"));
  EXPECT_EQ(result.output, "out\n");
  EXPECT_EQ(result.errors, "err\n");
  EXPECT_EQ(result.exit_code, 3);
  EXPECT_EQ(guest.record.command, "do it");
  EXPECT_EQ(guest.record.input, "some input");
}

TEST(RunInGuest, HandsOutCompleteLines) {
  FakeGuest guest(Script{"one\ntwo\n\nunfinished", "", 0});
  std::vector<std::string> lines;
  auto keep = [&](std::string_view line) { lines.emplace_back(line); };
  run(run_in_guest(guest, "", "", keep));
  EXPECT_EQ(lines, (std::vector<std::string>{"one", "two", ""}));
}

TEST(RunInGuest, KeepsTheLastMegabyteOfEach) {
  const std::string much(3 << 20, 'x');
  FakeGuest guest(Script{much + "end of output", much + "end of errors", 0});
  const GuestResult result = run(run_in_guest(guest, "", ""));
  EXPECT_EQ(result.output.size(), 1U << 20);
  EXPECT_TRUE(result.output.ends_with("end of output"));
  EXPECT_EQ(result.errors.size(), 1U << 20);
  EXPECT_TRUE(result.errors.ends_with("end of errors"));
}

TEST(RunInGuest, DoesNotMindAProgramThatLeavesItsInput) {
  FakeGuest guest(Script{"done\n", "", 0, false});
  EXPECT_EQ(run(run_in_guest(guest, "", "unread")).output, "done\n");
}

/// Two pieces, and then an end or a disk that cannot be read.
struct Pieces : GuestInput {
  explicit Pieces(bool breaks) : breaks_(breaks) {}
  asio::awaitable<std::string> next() override {
    ++asked_;
    if (asked_ > 2 && breaks_) throw Error(Errc::io, "cannot read the archive");
    co_return asked_ > 2 ? "" : "piece " + std::to_string(asked_) + "\n";
  }

 private:
  bool breaks_;
  int asked_ = 0;
};

TEST(RunInGuest, FeedsInputPieceByPiece) {
  FakeGuest guest(Script{"done\n", "", 0});
  EXPECT_EQ(run(run_in_guest(guest, "", std::make_shared<Pieces>(false))).output, "done\n");
  EXPECT_EQ(guest.record.input, "piece 1\npiece 2\n");
  EXPECT_THROW(run(run_in_guest(guest, "", std::make_shared<Pieces>(true))), Error) << "not a command that got half";
}

TEST(RunInGuest, SaysThatTheGuestIsGoneWhenTheConnectionBreaks) {
  FakeGuest guest(Script{"part", "", 0, true, true});
  try {
    run(run_in_guest(guest, "", "input"));
    FAIL() << "it returned";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Errc::guest_failed);
    EXPECT_NE(one_line(error).find("connection reset"), std::string::npos) << one_line(error);
  }
}

}  // namespace
}  // namespace cl::test
