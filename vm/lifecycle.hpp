#pragma once

#include <array>
#include <optional>
#include <string_view>

/// The life of a profile's machine as data: which event leads from which state to which. Pure; the daemon's
/// session is the only caller that changes anything by it.
namespace cl {

enum class VmState {
  stopped,     ///< no hypervisor process
  starting,    ///< from the order to start until Docker answers; the phase is a text beside it
  running,     ///< everything works
  degraded,    ///< the hypervisor runs, but the guest or a service in it does not answer
  stopping,    ///< from the order to stop until the hypervisor is gone
  suspending,  ///< from the order to suspend until memory is saved and the hypervisor gone
  suspended    ///< its memory is on disk without a hypervisor, or else paused; a start goes on from there
};

enum class VmEvent {
  start,        ///< a user asked for it, or a new daemon found the machine running
  ready,        ///< provisioned: the guest and Docker answer
  health_lost,  ///< the guest or Docker stopped answering
  health_back,  ///< it answers again
  stop,         ///< a user asked for it, or a start was interrupted
  suspend,      ///< a user asked for it, or nobody used the machine for long
  saved,        ///< memory is on disk and the hypervisor gone, or paused where it cannot save
  kept,         ///< it could not be suspended and runs on
  discarded,    ///< what was suspended is given up
  exited        ///< the hypervisor is gone, whoever caused it; only from Machine::exited()
};

struct Edge {
  VmState from;
  VmEvent on;
  VmState to;
};

inline constexpr std::array edges{
    Edge{VmState::stopped, VmEvent::start, VmState::starting},
    Edge{VmState::starting, VmEvent::ready, VmState::running},
    Edge{VmState::starting, VmEvent::health_lost, VmState::degraded},  // booted, but provisioning failed
    Edge{VmState::starting, VmEvent::stop, VmState::stopping},
    Edge{VmState::starting, VmEvent::exited, VmState::stopped},
    Edge{VmState::running, VmEvent::health_lost, VmState::degraded},
    Edge{VmState::running, VmEvent::stop, VmState::stopping},
    Edge{VmState::running, VmEvent::exited, VmState::stopped},
    Edge{VmState::degraded, VmEvent::start, VmState::starting},  // a start is a repair
    Edge{VmState::degraded, VmEvent::health_back, VmState::running},
    Edge{VmState::degraded, VmEvent::stop, VmState::stopping},
    Edge{VmState::degraded, VmEvent::exited, VmState::stopped},
    Edge{VmState::stopping, VmEvent::exited, VmState::stopped},
    Edge{VmState::running, VmEvent::suspend, VmState::suspending},
    Edge{VmState::suspending, VmEvent::saved, VmState::suspended},
    Edge{VmState::suspending, VmEvent::kept, VmState::running},
    Edge{VmState::suspending, VmEvent::exited, VmState::stopped},  // the hypervisor died of it
    Edge{VmState::suspended, VmEvent::start, VmState::starting},
    Edge{VmState::starting, VmEvent::saved, VmState::suspended},  // a resume was interrupted before it used anything up
    Edge{VmState::suspended, VmEvent::discarded, VmState::stopped},
    Edge{VmState::suspended, VmEvent::stop, VmState::stopping},  // a paused machine is powered off like any other
};

/// The state after `event`, or nothing: an event that is not listed is refused, not ignored.
constexpr std::optional<VmState> next(VmState from, VmEvent event) {
  for (const Edge& edge : edges)
    if (edge.from == from && edge.on == event) return edge.to;
  return std::nullopt;
}

/// Stable names for state.json and --json.
constexpr std::string_view to_string(VmState state) noexcept {
  switch (state) {
    case VmState::stopped: return "stopped";
    case VmState::starting: return "starting";
    case VmState::running: return "running";
    case VmState::degraded: return "degraded";
    case VmState::stopping: return "stopping";
    case VmState::suspending: return "suspending";
    case VmState::suspended: return "suspended";
  }
  return "stopped";
}

constexpr std::string_view to_string(VmEvent event) noexcept {
  switch (event) {
    case VmEvent::start: return "start";
    case VmEvent::ready: return "ready";
    case VmEvent::health_lost: return "health-lost";
    case VmEvent::health_back: return "health-back";
    case VmEvent::stop: return "stop";
    case VmEvent::suspend: return "suspend";
    case VmEvent::saved: return "saved";
    case VmEvent::kept: return "kept";
    case VmEvent::discarded: return "discarded";
    case VmEvent::exited: return "exited";
  }
  return "exited";
}

static_assert(next(VmState::stopped, VmEvent::start) == VmState::starting);
static_assert(!next(VmState::stopping, VmEvent::start), "a machine on its way out is not started");
static_assert(!next(VmState::stopped, VmEvent::exited), "what does not run cannot end");
static_assert(!next(VmState::running, VmEvent::start), "starting twice is answered, not done");

}  // namespace cl
