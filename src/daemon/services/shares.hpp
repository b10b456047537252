#pragma once

#include <memory>
#include <vector>

#include "src/daemon/service.hpp"
#include "src/shares/bind_check.hpp"
#include "src/shares/choice.hpp"
#include "src/shares/mounts.hpp"
#include "vm/driver.hpp"

namespace cl {

struct Core;

/// This computer's folders in the guest.
class Shares : public Service {
 public:
  explicit Shares(Core& core) : core_(core) {}

  std::string_view name() const noexcept override { return "shares"; }
  asio::awaitable<void> quiesce() override;
  /// Shares whose way went with the guest's session end here and are mounted anew after the resume.
  asio::awaitable<void> detach() override;
  asio::awaitable<void> reattach() override;
  asio::awaitable<void> resume() override;
  asio::awaitable<void> close() override;
  void describe(State& state) const override;

  /// Before a boot: how each folder gets into the machine. Throws Error{host_requirement} for one that was asked for in
  /// a way which is not there.
  asio::awaitable<void> choose_for_boot();
  /// For a machine that runs already, whose devices stay as they are. Throws likewise.
  asio::awaitable<void> choose_again();
  /// What choose_for_boot() said, for the boot and for every later load of the same machine.
  void add_devices(BootPlan& plan) const;
  /// Mounts in the guest what was chosen; returns when each share is there or has said why not.
  asio::awaitable<void> reconcile();
  /// choose_again(), whose failure is a note, and reconcile().
  asio::awaitable<void> bring_back();
  /// The virtiofs device with this tag has no server any more, for as long as the machine runs.
  void server_lost(const std::string& tag);
  /// A server has ended in this machine's life: somebody in the guest may wait for it for good.
  bool any_server_lost() const noexcept { return server_lost_; }

  BindRules bind_rules() const;
  /// The hidden folder in the guest in which the engine's socket is on this computer; empty: there is none.
  std::string covered_socket() const;
  /// A mount or a socket of this host is there: containers that come back by themselves may start when all are.
  void tell_if_settled();

 private:
  std::vector<Share> plan() const;
  void note_hidden();
  void choose_devices(const std::vector<Share>& wanted);
  void note_problems();
  void make_mounts();
  asio::awaitable<void> notify_guest();
  asio::awaitable<void> mount();

  Core& core_;
  ShareHost host_;  ///< as it was looked at last
  std::unique_ptr<GuestShares> mounts_;
  bool server_lost_ = false;
  bool kept_ = false;  ///< over a suspend
};

}  // namespace cl
