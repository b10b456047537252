#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "profiles/forwards.hpp"
#include "profiles/paths.hpp"
#include "profiles/profile.hpp"
#include "profiles/shares.hpp"
#include "src/base/error.hpp"
#include "src/base/file_lock.hpp"

namespace cl {

/// What runs programs of one platform in the guest, as it was found out at the last boot.
struct PlatformState {
  std::string platform;    ///< as docker calls it: "linux/arm64"
  std::string translator;  ///< "native", "qemu-user", "rosetta", or "none"
  bool works = false;      ///< a program was run
  std::string why;         ///< why it does not work, or why it is not the translator that was wanted; else empty
  bool operator==(const PlatformState&) const = default;
};

/// What is wrong with the guest's agent; nothing while it is well.
struct AgentState {
  std::string problem;       ///< why there is none
  int losses = 0;            ///< how often it was lost and is back, since the machine is reached
  std::string loss;          ///< why it was the last time
  std::int64_t lost_at = 0;  ///< seconds since 1970
  int refusals = 0;          ///< how often it has turned work away at one of its limits
  std::string refusal;       ///< which the last time
  std::int64_t refused_at = 0;
  bool operator==(const AgentState&) const = default;
};

/// Something that a machine whose network is filtered was refused.
struct EgressRefusal {
  std::string what;  ///< "evil.example:443 is not in network.egress"
  std::int64_t count = 0;
  std::int64_t last = 0;  ///< when the last time, seconds since 1970
  bool operator==(const EgressRefusal&) const = default;
};

/// Something that keeps the machine awake.
struct AwakeReason {
  std::string what;        ///< "docker client (GET /containers/json), 2 connections open"
  std::int64_t since = 0;  ///< without a gap as long as the profile's `idle`; seconds since 1970
  std::int64_t last = 0;   ///< when the last time; 0 = it lasts
  bool operator==(const AwakeReason&) const = default;
};

/// A unix socket of this host that containers mount.
struct HostSocketState {
  std::vector<std::string> sources;  ///< as containers name it
  std::string host;                  ///< on this host, links resolved; empty: the ssh agent
  std::string guest;                 ///< where the guest has it
  bool in_share = false;             ///< there is a node of a share there
  std::string problem;               ///< why the guest does not have it now
  bool operator==(const HostSocketState&) const = default;
};

/// What the daemon knows of its profile, kept in state.json: `status` reads it and asks nobody.
/// The format is in docs/files.md.
struct State {
  std::string phase = "stopped";  ///< one of the words of src/daemon/phase.hpp
  std::int64_t since = 0;         ///< when the phase began, seconds since 1970
  std::string reason;             ///< why it is degraded, or stopped though nobody asked; else empty
  Profile profile;                ///< what this run was started with, flags included
  std::string arch;               ///< resolved
  std::string driver, accel, accel_reason;
  std::string image;         ///< name of the image that the root disk stands on
  std::string image_digest;  ///< and its content
  std::string data_owner;    ///< UUID written in the data disk's header
  bool data_ready = false;   ///< the guest has mounted the data disk once: from then on it holds data
  int machine_pid = 0;
  int daemon_crashes = 0;   ///< how often the profile's daemon has died and come back since somebody started it
  std::string last_crash;   ///< of what the last time; else empty
  std::string fingerprint;  ///< of the hypervisor that runs, see Saving
  bool asleep = false;      ///< suspended by itself, for want of use
  std::string not_saved;    ///< why this machine is only paused when it is suspended; else empty
  std::string runtime_version;
  std::string runtime_problem;             ///< why the runtime cannot answer, found since the start; else empty
  std::string context;                     ///< Docker context we made, empty without a docker CLI
  std::string previous_context;            ///< the one to go back to at stop, empty when we did not switch
  std::string client_proxies;              ///< docker's config.json that has an entry by us, else empty
  std::vector<std::string> port_problems;  ///< one line for each published port that this host does not serve
  std::vector<ForwardState> forwards;      ///< of the machine that runs
  std::vector<ShareState> shares;          ///< of the machine that runs
  std::vector<ShareState> share_devices;   ///< those it was booted with by virtiofs: a saved machine has them still
  int event_folders = 0;                   ///< shared folders that are watched for containers which mount them
  std::string event_precision;             ///< of what watchers there are told: "exact", "near", empty = not known yet
  std::string event_problem;               ///< why some of that does not work, and what to do; else empty
  std::vector<HostSocketState> host_sockets;   ///< that containers mount
  std::string ssh_agent;                       ///< SSH_AUTH_SOCK of the newest `start` that had it, links resolved
  AgentState agent;                            ///< of the machine that runs
  std::vector<EgressRefusal> egress_refusals;  ///< since it runs, the last one first
  std::vector<AwakeReason> awake;              ///< why it has not fallen asleep
  bool rosetta = false;                        ///< the machine has a share tagged "rosetta"
  std::string rosetta_why_not;                 ///< why it has none though the profile would like it; else empty
  std::vector<PlatformState> platforms;        ///< what programs of other architectures run in this boot
  std::map<std::string, std::string> docker_environment;  ///< HOME and DOCKER_CONFIG of the user's call
};

/// The saved state; nothing when the profile never started. An unreadable file is an Error with a remedy.
std::optional<State> load_state(const ProfilePaths& paths);

/// The phase as `status` and events show it: a machine that fell asleep by itself is "sleeping".
std::string_view shown_phase(const State& state) noexcept;

/// Atomic. The lock proves that we are the profile's only writer.
void save_state(const FileLock& proof, const ProfilePaths& paths, const State& state);
/// The same for the daemon's StateStore, which has proved it once.
void write_state(const ProfilePaths& paths, const State& state);

/// The file's text, and back. Throws std::exception for a text that is none.
std::string state_text(const State& state);
State state_from_text(const std::string& text);

/// What can be said of a profile without asking anybody: the saved state, corrected by the kernel locks
/// that the daemon and the hypervisor hold as long as they live.
struct Observed {
  bool exists = false;
  bool daemon_alive = false;
  bool machine_alive = false;
  bool unsaved = false;           ///< the daemon knows more than `state`, and cannot write it: ask it
  std::uint64_t saved_bytes = 0;  ///< that a suspended machine takes on disk
  State state;
};
Observed observe(const ProfilePaths& paths);

}  // namespace cl
