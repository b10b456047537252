#pragma once

#include <memory>
#include <string>

#include "src/base/net/host_names.hpp"
#include "src/daemon/service.hpp"
#include "src/daemon/services/guest_questions.hpp"
#include "src/forward/reverse_forward.hpp"

namespace cl {

struct Core;

/// The names of a machine whose network is not filtered, as this computer knows them while it runs: by its own
/// resolver, with /etc/hosts, a VPN's servers and mDNS. Our images ask here first (vm/guest_image: net), and the DNS
/// server of the hypervisor's network while nobody answers. A profile's network.dns is asked instead of both.
class Names : public Service {
 public:
  explicit Names(Core& core) : core_(core) {}

  std::string_view name() const noexcept override { return "names for the machine"; }
  asio::awaitable<void> open() override;
  asio::awaitable<void> close() override;

 private:
  asio::awaitable<std::string> answer(DnsQuestion question, std::string datagram);
  asio::awaitable<void> take_connections();

  Core& core_;
  HostNames names_;
  std::unique_ptr<GuestQuestions> questions_;
  std::unique_ptr<ReverseForward> connections_;  ///< who asks for an answer that no datagram holds
};

}  // namespace cl
