#include "provision/channel/port_stream.hpp"

#include "src/base/log.hpp"

namespace cl {

std::shared_ptr<PortStream> PortStream::start(const asio::any_io_executor& executor, Transport transport) {
  return std::make_shared<PortStream>(executor, std::move(transport));
}

PortStream::PortStream(const asio::any_io_executor& executor, Transport transport)
    : wire_(executor, std::move(transport)), changed_(executor) {}

/// Once at a time, and while there is room for it.
void PortStream::receive() {
  if (receiving_ || !attached_ || ended_ || closed_ || !wire_.has_room()) return;
  receiving_ = true;
  wire_.receive([self = shared_from_this()](error_code ec) {
    self->receiving_ = false;
    if (ec && self->quiesced_) {
      self->attached_ = false;
      self->wire_.close();
    } else if (ec) {
      self->ended_ = true;
    }
    self->changed_.notify_all();
  });
}

asio::awaitable<std::size_t> PortStream::read_some(std::span<char> space) {
  const auto self = shared_from_this();
  for (;;) {
    if (!wire_.unread().empty()) co_return wire_.take(space.data(), space.size());
    if (closed_) throw Error(Errc::io, "the port to the guest is closed");
    if (ended_) co_return 0;
    receive();
    co_await changed_.wait();
  }
}

asio::awaitable<void> PortStream::write(std::span<const char> bytes) {
  const auto self = shared_from_this();
  wire_.put(bytes.data(), bytes.size());
  while (wire_.pending() > 0) {
    if (closed_ || ended_) throw Error(Errc::io, "the port to the guest is closed");
    if (!quiesced_) {
      const error_code ec = wire_.flush();
      if (!ec) co_return;
      if (ec != asio::error::would_block) throw Error(Errc::io, "the port to the guest broke").because(ec.message());
      wire_.wait_writable([self](error_code) { self->changed_.notify_all(); });
    }
    co_await changed_.wait();
  }
}

asio::awaitable<void> PortStream::shutdown_write() {
  close();
  co_return;
}

void PortStream::close() noexcept {
  closed_ = true;
  wire_.close();
  changed_.notify_all();
}

asio::awaitable<void> PortStream::quiesce() {
  const auto self = shared_from_this();
  quiesced_ = true;
  // Nobody tells when the other side has read; it is a matter of microseconds.
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(5);
  while (!closed_ && !ended_ && attached_ && wire_.undelivered() > 0) {
    if (std::chrono::steady_clock::now() > deadline) {
      log::warn("the guest does not read from a port; what it carries is given up");
      close();
    }
    co_await sleep_for(std::chrono::milliseconds(1));
  }
}

asio::awaitable<void> PortStream::detached() {
  const auto self = shared_from_this();
  while (attached_ && !ended_ && !closed_) {
    receive();  // also while nobody reads
    co_await changed_.wait();
  }
}

void PortStream::reattach(Transport transport) {
  if (ended_ || closed_ || attached_) return;
  wire_.replace(std::move(transport));
  attached_ = true;
  changed_.notify_all();
}

void PortStream::resume() {
  quiesced_ = false;
  if (!attached_) ended_ = true;
  changed_.notify_all();
}

}  // namespace cl
