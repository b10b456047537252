#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "provision/agent/address.hpp"
#include "provision/agent/session.hpp"
#include "src/base/unique_fd.hpp"

namespace cl::agent {

/// A listening socket of the guest: the host is told of each connection, and takes it by a stream of its own. It is
/// there as long as the stream: who connects later is turned away by the system, not kept waiting.
class ListenStream : public Stream, public Watched {
 public:
  /// `kept`: a unix socket that is to outlive the stream, unless the host has said "forget" (KeptSockets).
  ListenStream(Session& session, std::uint32_t number, const Address& address, bool kept)
      : Stream(session, number), address_(address), kept_(kept) {}
  void begin() override;
  /// "drop NUMBER": a connection that is not wanted. It is reset.
  void take(std::string_view message) override;
  bool serve() override;
  void release() override;
  void ready(std::uint32_t events) override;

 private:
  bool listen();
  std::string arrived(UniqueFd connection);

  const Address address_;
  const bool kept_;
  bool forgotten_ = false;  ///< by the host
  UniqueFd socket_;
  std::vector<std::uint32_t> told_;  ///< of which the host has been told; those that it has taken are removed in time
};

/// A UDP socket of the guest that answers whoever asks: a message is "ADDRESS PORT\n" and a datagram, from them or to
/// them.
class UdpListenStream : public Stream, public Watched {
 public:
  UdpListenStream(Session& session, std::uint32_t number, const Address& address)
      : Stream(session, number), address_(address) {}
  void begin() override;
  void take(std::string_view message) override;
  bool serve() override;
  void release() override;
  void ready(std::uint32_t events) override;

 private:
  const Address address_;
  UniqueFd socket_;
};

}  // namespace cl::agent
