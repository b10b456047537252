#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "src/rpc/fields.hpp"

/// What can be asked of a daemon, and what it answers. A verb is a struct here with its name, its fields and its
/// result, and a place in `Request` below; both ends and the test of docs/protocols.md follow from that.
namespace cl::rpc {

/// What is said at the end of a job.
struct Told {
  std::string summary;             ///< one line for people
  std::vector<std::string> notes;  ///< what else they should know

  static constexpr auto fields() { return std::tuple(Field{"summary", &Told::summary}, Field{"notes", &Told::notes}); }
};

struct Nothing {
  static constexpr auto fields() { return std::tuple(); }
};

/// The remedy of an error by which a start asks for `yes`; its cause lists what would be changed, one a line.
inline constexpr std::string_view agree = "'colima-like start --yes' agrees to that";

/// Starts or resumes the machine.
struct Start {
  static constexpr std::string_view verb = "start";
  using Result = Told;
  TextMap settings;       ///< of this run, by key
  TextMap environment;    ///< the caller's HOME and DOCKER_*
  std::string ssh_agent;  ///< its SSH_AUTH_SOCK, links resolved
  bool cold = false;      ///< boots, also when a suspended machine could be resumed
  bool is_new = false;    ///< the caller has just made the profile: an interrupted start removes it again
  bool new_data = false;  ///< an empty data disk may take the place of one that is gone
  bool yes = false;       ///< what has to be changed on a host may be changed

  static constexpr auto fields() {
    return std::tuple(Field{"settings", &Start::settings}, Field{"environment", &Start::environment},
                      Field{"ssh_agent", &Start::ssh_agent}, Field{"cold", &Start::cold},
                      Field{"is_new", &Start::is_new}, Field{"new_data", &Start::new_data}, Field{"yes", &Start::yes});
  }
};

/// Applies the profile's changed settings to a machine that runs.
struct Apply {
  static constexpr std::string_view verb = "apply";
  using Result = Told;
  TextMap settings;  ///< of this run, by key

  static constexpr auto fields() { return std::tuple(Field{"settings", &Apply::settings}); }
};

/// Powers the machine off.
struct Stop {
  static constexpr std::string_view verb = "stop";
  using Result = Told;
  bool force = false;  ///< does not wait for the guest

  static constexpr auto fields() { return std::tuple(Field{"force", &Stop::force}); }
};

/// Saves the machine to disk, or pauses it.
struct Suspend {
  static constexpr std::string_view verb = "suspend";
  using Result = Told;

  static constexpr auto fields() { return std::tuple(); }
};

/// Powers the machine off and removes it.
struct Delete {
  static constexpr std::string_view verb = "delete";
  using Result = Told;
  bool data = false;  ///< also the containers' data

  static constexpr auto fields() { return std::tuple(Field{"data", &Delete::data}); }
};

struct PublishedPort {
  std::string container, container_id;
  std::string address;  ///< on this host
  std::uint16_t port = 0;
  std::string protocol;  ///< "tcp" or "udp"
  std::string reach;     ///< "network", or "host" alone
  std::string state;     ///< "open" or "failed"
  std::uint64_t connections = 0;
  std::uint64_t bytes_in = 0;          ///< to the container
  std::uint64_t bytes_out = 0;         ///< from it
  std::int64_t since = 0;              ///< seconds since 1970
  std::optional<std::string> problem;  ///< of one that has failed
  std::optional<std::string> remedy;
  std::optional<std::string> forward;  ///< it is no container's, but this forward's

  static constexpr auto fields() {
    using P = PublishedPort;
    return std::tuple(Field{"container", &P::container}, Field{"container_id", &P::container_id},
                      Field{"address", &P::address}, Field{"port", &P::port}, Field{"protocol", &P::protocol},
                      Field{"reach", &P::reach}, Field{"state", &P::state}, Field{"connections", &P::connections},
                      Field{"bytes_in", &P::bytes_in}, Field{"bytes_out", &P::bytes_out}, Field{"since", &P::since},
                      Field{"problem", &P::problem}, Field{"remedy", &P::remedy}, Field{"forward", &P::forward});
  }
};

struct PublishedPorts {
  std::vector<PublishedPort> ports;

  static constexpr auto fields() { return std::tuple(Field{"ports", &PublishedPorts::ports}); }
};

/// Asks for the ports that containers publish, and those of forwards.
struct Ports {
  static constexpr std::string_view verb = "ports";
  using Result = PublishedPorts;

  static constexpr auto fields() { return std::tuple(); }
};

/// Opens one more of the profile's forwards. The profile's file is the caller's business.
struct AddForward {
  static constexpr std::string_view verb = "forward_add";
  using Result = Told;
  std::string forward;  ///< docs/forwards.md

  static constexpr auto fields() { return std::tuple(Field{"forward", &AddForward::forward, true}); }
};

/// Closes one of the profile's forwards, if it is open.
struct RemoveForward {
  static constexpr std::string_view verb = "forward_remove";
  using Result = Told;
  std::string forward;

  static constexpr auto fields() { return std::tuple(Field{"forward", &RemoveForward::forward, true}); }
};

struct OpenForward {
  std::string forward;
  std::string state;                   ///< "open", "failed" or "waiting"
  std::optional<std::string> problem;  ///< of one that has failed
  std::optional<std::string> remedy;
  std::uint64_t connections = 0;
  std::uint64_t bytes_in = 0;   ///< into the machine
  std::uint64_t bytes_out = 0;  ///< out of it
  std::int64_t since = 0;       ///< seconds since 1970

  static constexpr auto fields() {
    using F = OpenForward;
    return std::tuple(Field{"forward", &F::forward}, Field{"state", &F::state}, Field{"problem", &F::problem},
                      Field{"remedy", &F::remedy}, Field{"connections", &F::connections},
                      Field{"bytes_in", &F::bytes_in}, Field{"bytes_out", &F::bytes_out}, Field{"since", &F::since});
  }
};

struct OpenForwards {
  std::vector<OpenForward> forwards;

  static constexpr auto fields() { return std::tuple(Field{"forwards", &OpenForwards::forwards}); }
};

/// Asks for the forwards of the machine, and what they carry.
struct Forwards {
  static constexpr std::string_view verb = "forwards";
  using Result = OpenForwards;

  static constexpr auto fields() { return std::tuple(); }
};

/// What the daemon knows at this moment.
struct Known {
  std::string state;    ///< as state.json has it (docs/files.md), or should have
  std::string unsaved;  ///< why state.json is older than that; empty when it is not

  static constexpr auto fields() {
    return std::tuple(Field{"state", &Known::state, true}, Field{"unsaved", &Known::unsaved});
  }
};

/// Asks what the daemon knows; for `status` while state.json cannot be written.
struct Describe {
  static constexpr std::string_view verb = "describe";
  using Result = Known;

  static constexpr auto fields() { return std::tuple(); }
};

/// Runs a command in the guest; frames follow the result.
struct Exec {
  static constexpr std::string_view verb = "exec";
  using Result = Nothing;
  std::string command;                         ///< a line for the guest's shell; empty is a login shell
  std::optional<std::uint16_t> columns, rows;  ///< of the caller's terminal, if it has one
  std::optional<std::string> term;             ///< the kind of that terminal

  static constexpr auto fields() {
    return std::tuple(Field{"command", &Exec::command, true}, Field{"columns", &Exec::columns},
                      Field{"rows", &Exec::rows}, Field{"term", &Exec::term});
  }
};

/// An SSH server in the guest for one client; frames follow the result.
struct SshServer {
  static constexpr std::string_view verb = "ssh_server";
  using Result = Nothing;

  static constexpr auto fields() { return std::tuple(); }
};

/// Asks for what happens to the profile; frames with lines of JSON follow the result, until one end goes.
struct Events {
  static constexpr std::string_view verb = "events";
  using Result = Nothing;

  static constexpr auto fields() { return std::tuple(); }
};

/// Asks for what the machine and its containers use. Frames follow the result: readings of the guest's agent
/// (docs/agent.md, "Statistics") with a line "." behind each, until one end goes or the machine rests.
struct Statistics {
  static constexpr std::string_view verb = "statistics";
  using Result = Nothing;
  std::int64_t interval_ms = 2000;  ///< between two readings; the second comes after half a second

  static constexpr auto fields() { return std::tuple(Field{"interval_ms", &Statistics::interval_ms}); }
};

/// Interrupts the job that this connection watches, for everybody. A line of its own after the request's; it has no
/// answer but that of the job.
struct Cancel {
  static constexpr std::string_view verb = "cancel";
  using Result = Nothing;

  static constexpr auto fields() { return std::tuple(); }
};

/// The table of verbs.
using Request = std::variant<Start, Apply, Stop, Suspend, Delete, Ports, AddForward, RemoveForward, Forwards, Describe,
                             Exec, SshServer, Events, Statistics, Cancel>;

/// The name of what is asked for.
std::string_view verb_of(const Request& request) noexcept;

/// Without the newline. Throws Error{usage} when it is longer than a line may be.
std::string encode(const Request& request);

/// A request as it came in.
struct Received {
  Request request;
  std::string version;               ///< of the program that asks; empty when it is older than 0.1.0
  std::vector<std::string> ignored;  ///< keys of arguments that ask for something that is unknown here
};

/// Throws Error{protocol}, which names the verb, the key and what is wrong with it. Of a verb that is unknown it names
/// both versions, and what to do.
Received decode_request(std::string_view line);

/// The result of a request of kind R. Throws Error{protocol}, which names the verb, the key and what is wrong with it.
template <class R>
typename R::Result decode_result(const json::object& object);

/// For decode_result(): what was wrong with the answer to `verb`.
[[noreturn]] void refuse_result(std::string_view verb, const FieldError& error);

template <class R>
typename R::Result decode_result(const json::object& object) {
  try {
    return from_object<typename R::Result>(object);
  } catch (const FieldError& error) {
    refuse_result(R::verb, error);
  }
}

}  // namespace cl::rpc
