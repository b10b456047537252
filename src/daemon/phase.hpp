#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

#include "vm/driver.hpp"

/// The life of a profile's machine as types: a phase holds what only that phase has, so a running machine without a
/// hypervisor cannot be written down. docs/architecture.md shows which phase follows which, and why.
namespace cl {

/// A hypervisor that was started or taken over. Copies speak of the same one, and none is empty.
class LiveMachine {
 public:
  explicit LiveMachine(std::unique_ptr<Machine> machine)
      : body_(std::make_shared<Body>(Body{std::move(machine), std::nullopt})) {}

  Machine& operator*() const noexcept { return *body_->machine; }
  Machine* operator->() const noexcept { return body_->machine.get(); }
  bool operator==(const LiveMachine& other) const noexcept { return body_ == other.body_; }

  /// Why its process is gone; nothing while it runs.
  const std::optional<ExitReason>& ended() const noexcept { return body_->ended; }
  void set_ended(ExitReason reason) const { body_->ended = std::move(reason); }

 private:
  struct Body {
    std::unique_ptr<Machine> machine;
    std::optional<ExitReason> ended;
  };
  std::shared_ptr<Body> body_;
};

namespace phase {

/// No hypervisor, and nothing saved.
struct Stopped {};
/// No hypervisor; the memory that it saved is on disk.
struct Saved {};
/// A start was ordered and there is no hypervisor yet. What is saved on disk is still there.
struct Preparing {};
/// The hypervisor runs and the guest is not set up yet: a boot, a resume, a take-over or a repair.
struct Booting {
  LiveMachine machine;
};
/// Everything works.
struct Running {
  LiveMachine machine;
};
/// The hypervisor runs, but the guest or a service in it does not answer. A start repairs it.
struct Degraded {
  LiveMachine machine;
};
/// The hypervisor has stopped the guest's CPUs since it cannot write to this computer's disk. It goes on by itself
/// when it can.
struct Blocked {
  LiveMachine machine;
};
/// The guest's memory is being saved, or its CPUs are being stopped.
struct Suspending {
  LiveMachine machine;
};
/// Suspended where the hypervisor cannot save: its CPUs stand still, its memory stays in use.
struct Paused {
  LiveMachine machine;
};
/// From the order to stop until the hypervisor is gone.
struct Stopping {
  LiveMachine machine;
};
/// A hypervisor of this profile holds the machine's lock, and nobody can reach its control socket.
struct Unreachable {};

}  // namespace phase

using Phase =
    std::variant<phase::Stopped, phase::Saved, phase::Preparing, phase::Booting, phase::Running, phase::Degraded,
                 phase::Blocked, phase::Suspending, phase::Paused, phase::Stopping, phase::Unreachable>;

/// Whether it is one of these.
template <class... Kinds>
bool is(const Phase& phase) noexcept {
  return (std::holds_alternative<Kinds>(phase) || ...);
}

/// The word of state.json, `status` and messages: stopped, starting, running, degraded, blocked, suspending, suspended,
/// stopping.
std::string_view to_string(const Phase& phase) noexcept;

/// The hypervisor, in those phases that have one.
std::optional<LiveMachine> machine_of(const Phase& phase);

/// Whether a job may leave a profile in this phase: every other one belongs to a job that is under way.
bool is_stable(const Phase& phase) noexcept;

/// Whether `to` may follow `from`. What breaks this is a bug; tests check every step that they see.
bool may_follow(const Phase& from, const Phase& to) noexcept;

}  // namespace cl
