#include "tests/fakes/choppy_stream.hpp"

#include <algorithm>
#include <boost/asio/post.hpp>
#include <vector>

namespace cl::test {
namespace {

/// Wakes the one waiter there may be. Nothing is lost without one: waiters check their condition first.
asio::awaitable<void> wait_change(asio::steady_timer& change) {
  change.expires_at(asio::steady_timer::time_point::max());
  co_await change.async_wait(no_throw);
  const auto state = co_await asio::this_coro::cancellation_state;
  if (state.cancelled() != asio::cancellation_type::none)
    throw boost::system::system_error(asio::error::operation_aborted);
}

}  // namespace

struct MemoryStream::Direction {
  Direction(const asio::any_io_executor& executor, std::size_t limit)
      : capacity(limit), arrived(executor), drained(executor) {}

  std::size_t capacity;
  std::string bytes;
  bool ended = false;        // by shutdown_write() or the writer's close()
  bool reader_gone = false;  // the reader's close()
  bool broken = false;       // what is unread can still be read, then it is a reset
  asio::steady_timer arrived, drained;

  void wake() noexcept {
    arrived.cancel();
    drained.cancel();
  }
};

MemoryStream::Pair MemoryStream::pair(const asio::any_io_executor& executor, std::size_t capacity) {
  auto there = std::make_shared<Direction>(executor, capacity);
  auto back = std::make_shared<Direction>(executor, capacity);
  return {std::unique_ptr<MemoryStream>(new MemoryStream(back, there)),
          std::unique_ptr<MemoryStream>(new MemoryStream(there, back))};
}

MemoryStream::MemoryStream(std::shared_ptr<Direction> in, std::shared_ptr<Direction> out)
    : in_(std::move(in)), out_(std::move(out)) {}

MemoryStream::~MemoryStream() { close(); }

asio::awaitable<std::size_t> MemoryStream::read_some(std::span<char> space) {
  auto in = in_;  // the stream may be closed, but not destroyed, while this waits
  for (;;) {
    if (closed_) throw Error(Errc::io, "the stream was closed");
    if (!in->bytes.empty()) break;
    if (in->broken) throw Error(Errc::io, "connection reset");
    if (in->ended) co_return 0;
    co_await wait_change(in->arrived);
  }
  const std::size_t count = std::min(space.size(), in->bytes.size());
  std::copy_n(in->bytes.begin(), count, space.begin());
  in->bytes.erase(0, count);
  in->drained.cancel();
  co_return count;
}

asio::awaitable<void> MemoryStream::write(std::span<const char> bytes) {
  auto out = out_;
  while (!bytes.empty()) {
    if (closed_) throw Error(Errc::io, "the stream was closed");
    if (out->ended) throw Error(Errc::internal, "write after shutdown_write");
    if (out->broken) throw Error(Errc::io, "connection reset");
    if (out->reader_gone) throw Error(Errc::io, "broken pipe");
    const std::size_t room = out->capacity - std::min(out->capacity, out->bytes.size());
    if (room == 0) {
      co_await wait_change(out->drained);
      continue;
    }
    const std::size_t count = std::min({room, bytes.size(), fuse_});
    out->bytes.append(bytes.data(), count);
    bytes = bytes.subspan(count);
    if (fuse_ != no_fuse) fuse_ -= count;
    out->arrived.cancel();
    if (fuse_ == 0) {
      out->broken = in_->broken = true;
      in_->wake();
    }
  }
}

asio::awaitable<void> MemoryStream::shutdown_write() {
  if (closed_) throw Error(Errc::io, "the stream was closed");
  if (out_->broken) throw Error(Errc::io, "connection reset");
  out_->ended = true;
  out_->arrived.cancel();
  co_return;
}

void MemoryStream::close() noexcept {
  if (closed_) return;
  closed_ = true;
  out_->ended = true;
  in_->reader_gone = true;
  out_->wake();
  in_->wake();
}

void MemoryStream::reset() noexcept {
  for (auto* direction : {in_.get(), out_.get()}) {
    direction->broken = true;
    direction->bytes.clear();
    direction->wake();
  }
}

void MemoryStream::reset_after_writing(std::size_t count) noexcept { fuse_ = count; }

std::size_t MemoryStream::unread_by_peer() const noexcept { return out_->bytes.size(); }

namespace {

class ChoppyStream : public ByteStream {
 public:
  ChoppyStream(std::unique_ptr<ByteStream> inner, Chop chop) : inner_(std::move(inner)), chop_(chop) {}

  asio::awaitable<std::size_t> read_some(std::span<char> space) override {
    co_return co_await inner_->read_some(space.first(std::min(space.size(), chop_.read)));
  }
  asio::awaitable<void> write(std::span<const char> bytes) override {
    auto executor = co_await asio::this_coro::executor;
    while (!bytes.empty()) {
      const std::size_t count = std::min(bytes.size(), chop_.write);
      co_await inner_->write(bytes.first(count));
      bytes = bytes.subspan(count);
      co_await asio::post(executor, asio::use_awaitable);
    }
  }
  asio::awaitable<void> shutdown_write() override { co_await inner_->shutdown_write(); }
  void close() noexcept override { inner_->close(); }

 private:
  std::unique_ptr<ByteStream> inner_;
  Chop chop_;
};

}  // namespace

std::unique_ptr<ByteStream> choppy(std::unique_ptr<ByteStream> inner, Chop chop) {
  return std::make_unique<ChoppyStream>(std::move(inner), chop);
}

asio::awaitable<std::string> read_to_end(ByteStream& stream) {
  std::string all;
  std::vector<char> space(4096);
  for (;;) {
    const std::size_t got = co_await stream.read_some(space);
    if (got == 0) co_return all;
    all.append(space.data(), got);
  }
}

asio::awaitable<std::string> read_exactly(ByteStream& stream, std::size_t count) {
  std::string all;
  std::vector<char> space(4096);
  while (all.size() < count) {
    const std::size_t most = std::min(space.size(), count - all.size());
    const std::size_t got = co_await stream.read_some(std::span(space).first(most));
    if (got == 0) break;
    all.append(space.data(), got);
  }
  co_return all;
}

}  // namespace cl::test
