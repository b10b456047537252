#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "docker/request_watch.hpp"
#include "src/base/stream.hpp"

namespace cl {

/// A client's stream to an engine whose machine sleeps, where who only lists or watches shall not wake it. A ping and a
/// question for the version, with which all clients begin, are answered as the engine answered the last ones; who lists
/// or watches is told that the machine sleeps (status 503), and the connection ends. The first other call opens the
/// engine, and from then on everything goes there.
class SleepingStream final : public ByteStream {
 public:
  using Open = std::function<asio::awaitable<std::unique_ptr<ByteStream>>()>;
  /// What an engine says to "HEAD /_ping", "GET /_ping", "GET /version"; one that is not there wakes it.
  using Greetings = std::map<std::string, std::string>;

  /// `sleeps`: whether the machine still does; once it does not, every call goes to the engine.
  SleepingStream(asio::any_io_executor executor, Open open, std::function<bool()> sleeps, Greetings greetings)
      : open_(std::move(open)), sleeps_(std::move(sleeps)), greetings_(std::move(greetings)), changed_(executor) {}

  asio::awaitable<std::size_t> read_some(std::span<char> space) override;
  asio::awaitable<void> write(std::span<const char> bytes) override;
  asio::awaitable<void> shutdown_write() override;
  void close() noexcept override;

 private:
  bool answered();
  asio::awaitable<void> wake();

  Open open_;
  std::function<bool()> sleeps_;
  const Greetings greetings_;
  RequestWatch watch_;
  std::unique_ptr<ByteStream> engine_;
  std::string held_;    ///< of a call that is not decided about yet
  std::string answer_;  ///< that the client has not got yet
  bool over_ = false;   ///< after that answer
  Notifier changed_;    ///< of the last three
};

}  // namespace cl
