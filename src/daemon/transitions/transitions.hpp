#pragma once

#include <boost/json/object.hpp>
#include <map>
#include <string>

#include "profiles/store.hpp"
#include "src/base/async.hpp"
#include "src/daemon/phase.hpp"

/// What leads from one stable phase to another, each in a source of its own. One runs at a time, as a job; each leaves
/// a stable phase behind, also when it fails or is interrupted.
namespace cl {

struct Core;
class Job;

/// What a `start` asks for.
struct StartOrder {
  Settings settings;                               ///< flags of this run
  std::map<std::string, std::string> environment;  ///< the caller's HOME and DOCKER_*
  std::string ssh_agent;                           ///< its SSH_AUTH_SOCK, links resolved; empty: none
  bool cold = false;                               ///< boots, also when a suspended machine could be resumed
  bool wake = false;      ///< nobody's command, but a client of a suspended machine: Docker's context stays as it is
  bool is_new = false;    ///< the caller has just made the profile: an interrupted start removes it again
  bool new_data = false;  ///< an empty data disk may take the place of one that is gone
  bool yes = false;       ///< what has to be changed on a host may be changed
  bool operator==(const StartOrder&) const = default;
};

namespace transition {

// Whole transitions. The result is what the command is answered: "summary", "notes".

/// From any phase to Running: boots, resumes, or repairs.
asio::awaitable<boost::json::object> start(Core& core, Job& job, StartOrder order);
/// Running to Running, with the live part of the profile's settings as they are now.
asio::awaitable<boost::json::object> apply(Core& core, Job& job, Settings settings);
/// From a phase in which the machine is there, suspended or not, to the same: opens one more of the profile's forwards,
/// or closes one. Error{busy} says who has its port.
asio::awaitable<boost::json::object> add_forward(Core& core, Job& job, std::string item);
asio::awaitable<boost::json::object> remove_forward(Core& core, std::string item);
/// Running to Saved, or to Paused where the driver cannot save.
asio::awaitable<boost::json::object> suspend(Core& core, Job& job, bool by_itself);
/// From any phase to Stopped. `force` does not wait for the guest.
asio::awaitable<boost::json::object> stop(Core& core, Job& job, bool force);
/// stop(), then removes everything but the containers' data, which `data` removes too.
asio::awaitable<boost::json::object> remove(Core& core, Job& job, bool data);
/// What an earlier daemon left: a machine that runs, one that is saved, or the remains of one.
asio::awaitable<boost::json::object> take_over(Core& core, Job& job);

// Their parts.

/// Preparing to Booting: a hypervisor with a guest that boots. `new_data` as in StartOrder.
asio::awaitable<void> boot(Core& core, Job& job, Profile wanted, bool new_data);
/// Saved or Paused to Booting, with the guest as it was. False when it must boot instead: then the phase is Preparing,
/// nothing of the suspended machine is left, and a note says why. Throws when it can neither resume nor boot now (a
/// full disk); what is saved is kept then.
asio::awaitable<bool> resume(Core& core, Job& job);
/// Booting, until the runtime answers: waits for the guest, sets it up, brings shares and ports.
asio::awaitable<void> set_up(Core& core, Job& job);
/// For a driver without machines of its own (DriverTraits::own_machine): what leads to its machine, what set_up() is
/// there, and what `delete` takes back of it, in words.
BootPlan plan_for_host(Core& core, int lock_fd);
asio::awaitable<void> set_up_host(Core& core, Job& job);
asio::awaitable<std::string> leave_host(Core& core, Job& job, bool data);
/// The hypervisor is gone, or never came to be. Ends what belonged to it; the phase is then Saved where a saved machine
/// is still good, Unreachable where somebody holds the machine's lock whom nobody can reach, else Stopped because of
/// `reason`. Never fails: what cannot be cleaned up is logged.
asio::awaitable<void> tear_down(Core& core, std::string reason);
/// Ends the phase's hypervisor, if it has one, and waits for that.
asio::awaitable<void> end_hypervisor(Core& core);
/// Gives up what is saved; never fails.
asio::awaitable<void> discard_saved(Core& core);
/// Takes over the keys that a running machine can take, and notes the others. Whether any was.
bool apply_live(Core& core, const Profile& wanted);
/// The answer to a start or an apply.
boost::json::object started(const Core& core, std::string summary);

}  // namespace transition
}  // namespace cl
