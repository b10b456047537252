#pragma once

#include "provision/agent/address.hpp"
#include "provision/agent/session.hpp"
#include "provision/agent/waiting.hpp"
#include "src/base/unique_fd.hpp"

namespace cl::agent {

/// Bytes of a connection to a unix or TCP socket of the guest, or of one that a listening socket there has taken.
class SocketStream : public Stream, public Watched {
 public:
  SocketStream(Session& session, std::uint32_t number, const Address& address)
      : Stream(session, number), address_(address), is_unix_(address.family() == AF_UNIX) {}
  SocketStream(Session& session, std::uint32_t number, UniqueFd connection);
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

  const Address address_;  ///< to connect to
  UniqueFd socket_;
  const bool is_unix_;
  Waiting waiting_;           ///< of the host's bytes
  const bool taken_ = false;  ///< it was connected from the beginning
  bool connected_ = false;
  bool readable_ = false;
  bool hung_up_ = false;      ///< its end is known to be there
  bool written_all_ = false;  ///< the host's bytes and their end
  bool deaf_ = false;         ///< it takes nothing any more; what it has to say goes to the host
};

}  // namespace cl::agent
