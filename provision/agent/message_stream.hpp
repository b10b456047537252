#pragma once

#include <deque>
#include <string>

#include "provision/agent/address.hpp"
#include "provision/agent/child.hpp"
#include "provision/agent/session.hpp"
#include "src/base/unique_fd.hpp"

namespace cl::agent {

/// Datagrams of a connected UDP socket. What does not fit is lost.
class UdpStream : public Stream, public Watched {
 public:
  UdpStream(Session& session, std::uint32_t number, const Address& address)
      : Stream(session, number), address_(address) {}

  void begin() override;
  void take(std::string_view datagram) override;
  bool serve() override;
  void release() override;
  void ready(std::uint32_t events) override;

 private:
  const Address address_;
  UniqueFd socket_;
  bool readable_ = false;
};

/// Messages to and from a service in a child of its own. None is lost.
class ChildStream : public Stream, public Watched {
 public:
  ChildStream(Session& session, std::uint32_t number, const Service& service, std::string_view arguments)
      : Stream(session, number), service_(service), arguments_(arguments) {}

  void begin() override;
  void take(std::string_view message) override;
  void take_end() override;
  bool serve() override;
  void release() override;
  void ready(std::uint32_t events) override;

 private:
  bool give(std::string_view message);
  void give_waiting();

  const Service& service_;
  const std::string arguments_;
  Child child_;
  std::deque<std::string> waiting_;
  bool readable_ = false;
};

}  // namespace cl::agent
