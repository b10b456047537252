#pragma once

#include <memory>
#include <string>
#include <vector>

#include "provision/guest.hpp"
#include "src/base/net/host_names.hpp"
#include "src/daemon/service.hpp"
#include "src/daemon/services/guest_questions.hpp"
#include "src/egress/filter.hpp"
#include "src/forward/reverse_forward.hpp"

namespace cl {

struct Core;

/// What leaves a machine whose network is filtered (profiles/egress.hpp). Its network card leads nowhere; the packet
/// filter in the guest sends what programs connect to here, by the agent, and their DNS questions. Both are answered
/// as far as the profile allows, so the guest's root cannot lift it: what it can do is send nothing.
class EgressService : public Service {
 public:
  explicit EgressService(Core& core);

  std::string_view name() const noexcept override { return "what leaves the machine"; }
  asio::awaitable<void> open() override;
  asio::awaitable<void> close() override;
  void describe(State& state) const override;

 private:
  asio::awaitable<std::unique_ptr<ByteStream>> answer(GuestListener::Arrival arrival);
  asio::awaitable<std::unique_ptr<ByteStream>> connect(EgressTarget target);
  asio::awaitable<std::string> answer_to(DnsQuestion question);
  void refuse(const std::string& what);
  asio::awaitable<void> tell_refusals();

  Core& core_;
  Egress egress_;  ///< what filter_ was made for
  std::unique_ptr<EgressFilter> filter_;
  HostNames names_;
  std::vector<EgressRefusal> refusals_;
  std::size_t unlogged_ = 0;  ///< new ones of the second that runs
  bool telling_ = false, untold_ = false;
  std::unique_ptr<GuestQuestions> questions_;
  std::unique_ptr<ReverseForward> connections_;
  std::unique_ptr<TaskGroup> tasks_;
};

}  // namespace cl
