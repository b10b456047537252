#include "provision/ssh/channel.hpp"

#include <libssh2.h>

#include <array>
#include <utility>

namespace cl::ssh {

Handle* ChannelStream::channel() const {
  if (channel_ == nullptr) throw Error(Errc::io, "the stream was closed");
  return channel_;
}

asio::awaitable<std::size_t> ChannelStream::read_stream(int stream, std::span<char> space) {
  return pump_->read(channel(), stream, space);
}

asio::awaitable<void> ChannelStream::write(std::span<const char> bytes) { return pump_->write(channel(), bytes); }

asio::awaitable<void> ChannelStream::shutdown_write() {
  Handle* handle = channel();
  auto send_eof = [handle] { return libssh2_channel_send_eof(handle); };
  const int rc = co_await pump_->perform(handle, send_eof);
  if (rc != 0) throw Error(Errc::io, "cannot end the stream to the guest").because("SSH error " + std::to_string(rc));
}

void ChannelStream::close() noexcept {
  if (channel_ != nullptr) pump_->release(std::exchange(channel_, nullptr));
}

asio::awaitable<void> ChannelProcess::start(ExecRequest request) {
  Handle* handle = stream_.channel();
  if (request.terminal) {
    auto ask_terminal = [handle, size = *request.terminal, type = request.terminal_type] {
      return libssh2_channel_request_pty_ex(handle, type.data(), type.size(), nullptr, 0, size.columns, size.rows, 0,
                                            0);
    };
    const int rc = co_await stream_.pump().perform(handle, ask_terminal);
    if (rc != 0)
      throw Error(Errc::guest_failed, "the guest gives no terminal").because("SSH error " + std::to_string(rc));
  }
  auto begin = [handle, command = std::move(request.command)] {
    const std::string_view kind = command.empty() ? "shell" : "exec";
    return libssh2_channel_process_startup(handle, kind.data(), kind.size(), command.empty() ? nullptr : command.data(),
                                           command.size());
  };
  const int rc = co_await stream_.pump().perform(handle, begin);
  if (rc != 0)
    throw Error(Errc::guest_failed, "the guest does not run the command").because("SSH error " + std::to_string(rc));
}

asio::awaitable<void> ChannelProcess::resize(TerminalSize size) {
  Handle* handle = stream_.channel();
  auto change = [handle, size] { return libssh2_channel_request_pty_size_ex(handle, size.columns, size.rows, 0, 0); };
  const int rc = co_await stream_.pump().perform(handle, change);
  if (rc != 0) throw Error(Errc::io, "cannot resize the terminal").because("SSH error " + std::to_string(rc));
}

asio::awaitable<int> ChannelProcess::wait_exit() {
  Handle* handle = stream_.channel();
  auto closed = [handle] {
    const int rc = libssh2_channel_wait_closed(handle);
    return rc == LIBSSH2_ERROR_INVAL ? LIBSSH2_ERROR_EAGAIN : rc;  // INVAL: not even the end of its output has come
  };
  const int rc = co_await stream_.pump().perform(handle, closed);
  if (rc != 0) throw Error(Errc::io, "cannot learn how the command ended").because("SSH error " + std::to_string(rc));
  char* name = nullptr;
  std::size_t length = 0;
  libssh2_channel_get_exit_signal(handle, &name, &length, nullptr, nullptr, nullptr, nullptr);
  if (name != nullptr) {
    const int number = linux_signal_number(std::string_view(name, length));
    libssh2_free(stream_.pump().session(), name);
    co_return number != 0 ? 128 + number : 255;
  }
  co_return libssh2_channel_get_exit_status(handle);
}

int linux_signal_number(std::string_view name) noexcept {
  struct Row {
    std::string_view name;
    int number;
  };
  static constexpr std::array rows{Row{"HUP", 1},   Row{"INT", 2},   Row{"QUIT", 3},  Row{"ILL", 4},   Row{"ABRT", 6},
                                   Row{"FPE", 8},   Row{"KILL", 9},  Row{"USR1", 10}, Row{"SEGV", 11}, Row{"USR2", 12},
                                   Row{"PIPE", 13}, Row{"ALRM", 14}, Row{"TERM", 15}};
  for (const Row& row : rows)
    if (row.name == name) return row.number;
  return 0;
}

}  // namespace cl::ssh
