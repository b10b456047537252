#pragma once

#include <sys/socket.h>

#include "provision/agent/session.hpp"
#include "provision/agent/waiting.hpp"
#include "src/base/unique_fd.hpp"

namespace cl::agent {

/// Bytes of a connection to a unix or TCP socket of the guest.
class SocketStream : public Stream, public Watched {
 public:
  SocketStream(Session& session, std::uint32_t number, const sockaddr_storage& address, socklen_t size)
      : Stream(session, number), address_(address), size_(size) {}
  void begin() override;
  void take(std::string_view bytes) override;
  void take_end() override;
  bool serve() override;
  void break_off() override;
  void release() override;
  void ready(std::uint32_t events) override;

 private:
  void connected();
  void write_waiting();
  std::size_t write(std::string_view bytes);
  void end_writing();
  void settle();

  const sockaddr_storage address_;
  const socklen_t size_;
  UniqueFd socket_;
  Waiting waiting_;  ///< of the host's bytes
  bool connected_ = false;
  bool readable_ = false;
  bool hung_up_ = false;      ///< its end is known to be there
  bool written_all_ = false;  ///< the host's bytes and their end
  bool deaf_ = false;         ///< it takes nothing any more; what it has to say goes to the host
};

}  // namespace cl::agent
