#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "provision/guest.hpp"
#include "src/base/async.hpp"

/// The two ends of a service of the guest's agent, in memory.
namespace cl::test {

class MemoryMessages : public MessageStream {
 public:
  using Pair = std::pair<std::unique_ptr<MemoryMessages>, std::unique_ptr<MemoryMessages>>;
  static Pair pair(const asio::any_io_executor& executor) {
    auto there = std::make_shared<Direction>(executor), back = std::make_shared<Direction>(executor);
    return {std::make_unique<MemoryMessages>(back, there), std::make_unique<MemoryMessages>(there, back)};
  }
  struct Direction {
    explicit Direction(const asio::any_io_executor& executor) : changed(executor) {}
    std::deque<std::string> messages;
    bool ended = false, broken = false;
    Notifier changed;
  };
  MemoryMessages(std::shared_ptr<Direction> in, std::shared_ptr<Direction> out)
      : in_(std::move(in)), out_(std::move(out)) {}
  ~MemoryMessages() override { finish(false); }

  asio::awaitable<std::optional<std::string>> read() override {
    const auto in = in_;
    while (in->messages.empty() && !in->ended && !in->broken) co_await in->changed.wait();
    if (in->broken) throw Error(Errc::io, "the connection in the guest broke");
    if (in->messages.empty()) co_return std::nullopt;
    std::string message = std::move(in->messages.front());
    in->messages.pop_front();
    co_return message;
  }
  asio::awaitable<void> write(std::string_view message) override {
    if (out_->broken || out_->ended) throw Error(Errc::io, "the connection in the guest broke");
    out_->messages.emplace_back(message);
    out_->changed.notify_all();
    co_return;
  }
  /// As when the guest is lost: both ends fail.
  void reset() { finish(true); }

 private:
  void finish(bool broken) {
    for (const auto& one : {in_, out_}) {
      one->ended = true;
      one->broken = one->broken || broken;
      one->changed.notify_all();
    }
  }
  std::shared_ptr<Direction> in_, out_;
};

/// A guest that has an agent and nothing else: the test speaks for the last service that was opened.
class ServiceGuest : public Guest {
 public:
  explicit ServiceGuest(asio::any_io_executor executor) : executor_(executor), begun(executor) {}
  asio::awaitable<std::unique_ptr<MessageStream>> open_service(std::string what) override {
    auto ends = MemoryMessages::pair(executor_);
    asked = std::move(what);
    agent = std::move(ends.second);
    begun.notify_all();
    co_return std::move(ends.first);
  }
  asio::awaitable<std::unique_ptr<GuestProcess>> exec(ExecRequest) override { throw Error(Errc::internal, "no"); }
  asio::awaitable<std::unique_ptr<ByteStream>> open_unix(std::string) override { throw Error(Errc::internal, "no"); }
  asio::awaitable<std::unique_ptr<ByteStream>> open_tcp(std::string, std::uint16_t) override {
    throw Error(Errc::internal, "no");
  }
  asio::awaitable<void> lost() override { co_return; }

 private:
  asio::any_io_executor executor_;

 public:
  Notifier begun;
  std::string asked;
  std::unique_ptr<MemoryMessages> agent;
};

}  // namespace cl::test
