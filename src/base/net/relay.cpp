#include "src/base/net/relay.hpp"

#include <memory>

namespace cl {
namespace {

/// The bytes on their way in one direction. Most connections of a Docker client are quiet most of the time,
/// and a read must have its space before it waits: so it waits with little and grows with the stream.
class Space {
 public:
  std::span<char> get() {
    if (!bytes_) bytes_ = std::make_unique_for_overwrite<char[]>(sizes[level_]);
    return {bytes_.get(), sizes[level_]};
  }

  /// After a read of `got` bytes was handed on: more room for a stream that fills it, less for one that
  /// would fit into the next smaller one.
  void adapt(std::size_t got) {
    if (got == sizes[level_] && level_ + 1 < sizes.size()) {
      ++level_;
    } else if (level_ > 0 && got < sizes[level_ - 1]) {
      --level_;
    } else {
      return;
    }
    bytes_.reset();
  }

 private:
  static constexpr std::array<std::size_t, 3> sizes{2 * 1024, 32 * 1024, 256 * 1024};
  std::size_t level_ = 0;
  std::unique_ptr<char[]> bytes_;
};

struct Direction {
  ByteStream& from;
  ByteStream& to;
  std::uint64_t& count;
  std::uint64_t* shared_count;
};

/// What both directions share.
struct Ends {
  ByteStream& a;
  ByteStream& b;
  Traffic* shared;
  std::exception_ptr failure;  // the first one: the other direction then fails because we closed its streams

  void touch() const {
    if (shared != nullptr) shared->last = std::chrono::steady_clock::now();
  }
  void fail(std::exception_ptr why) {
    if (!failure) failure = std::move(why);
    a.close();
    b.close();
  }
};

asio::awaitable<void> copy(Direction way, Ends& ends) {
  try {
    Space space;
    for (;;) {
      const std::size_t got = co_await way.from.read_some(space.get());
      if (got == 0) break;
      co_await way.to.write(space.get().first(got));
      way.count += got;
      if (way.shared_count != nullptr) *way.shared_count += got;
      ends.touch();
      space.adapt(got);
    }
    co_await way.to.shutdown_write();
    ends.touch();
  } catch (...) {
    ends.fail(std::current_exception());
  }
}

std::string reason(const std::exception_ptr& failure) {
  try {
    std::rethrow_exception(failure);
  } catch (const Error& error) {
    return one_line(error);
  } catch (const std::exception& error) {
    return error.what();
  }
}

}  // namespace

asio::awaitable<RelayCount> relay(ByteStream& a, ByteStream& b, Traffic* shared) {
  auto executor = co_await asio::this_coro::executor;
  RelayCount count;
  Ends ends{a, b, shared, {}};
  const Direction there{a, b, count.a_to_b, shared != nullptr ? &shared->a_to_b : nullptr};
  const Direction back{b, a, count.b_to_a, shared != nullptr ? &shared->b_to_a : nullptr};
  auto both = asio::experimental::make_parallel_group(asio::co_spawn(executor, copy(there, ends), asio::deferred),
                                                      asio::co_spawn(executor, copy(back, ends), asio::deferred));
  // A cancellation goes to both; copy() throws nothing, so there is nothing to read from the results.
  co_await both.async_wait(asio::experimental::wait_for_all(), asio::as_tuple(asio::use_awaitable));

  const auto state = co_await asio::this_coro::cancellation_state;
  if (state.cancelled() != asio::cancellation_type::none) {
    ends.fail({});
    throw boost::system::system_error(asio::error::operation_aborted);
  }
  if (ends.failure) count.broken = reason(ends.failure);
  co_return count;
}

}  // namespace cl
