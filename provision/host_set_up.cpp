#include "provision/host_set_up.hpp"

#include <algorithm>
#include <sstream>
#include <utility>

#include "src/base/byte_size.hpp"
#include "src/base/file.hpp"
#include "src/base/shell.hpp"
#include "src/base/text.hpp"

namespace cl {

extern const std::string_view host_script;

namespace {

constexpr ByteSize room_for_docker = ByteSize::gib(1);  // 400 MB of packages, and a first image
constexpr std::size_t kept_lines = 12;

std::string call(const std::string& words) { return "exec sh -c " + shell_quoted(host_script) + " sh " + words; }

asio::awaitable<std::string> run_script(Guest& host, std::string words, std::string failed) {
  const GuestResult said = co_await run_in_guest(host, call(words), "");
  if (said.exit_code != 0)
    throw Error(Errc::guest_failed, std::move(failed), "correct that, and start again; what was begun is finished then")
        .because(last_lines(said.output + said.errors, kept_lines));
  co_return said.output;
}

Error cannot(const std::string& what, const std::string& remedy) { return {Errc::host_requirement, what, remedy}; }

}  // namespace

RemoteFacts read_remote_facts(std::string_view lines) {
  RemoteFacts facts;
  std::istringstream in{std::string(lines)};
  for (std::string line; std::getline(in, line);) {
    constexpr std::string_view begin = "fact ";
    if (!line.starts_with(begin)) continue;
    const std::string_view rest = std::string_view(line).substr(begin.size());
    const std::string_view name = rest.substr(0, rest.find(' '));
    const std::string_view value = rest.substr(std::min(rest.size(), name.size() + 1));
    if (name == "kernel") facts.kernel = value;
    if (name == "architecture") facts.architecture = value;
    if (name == "user") facts.user = value;
    if (name == "system") facts.system = value;
    if (name == "apt") facts.apt = true;
    if (name == "systemd") facts.systemd = true;
    if (name == "root") facts.root = true;
    if (name == "docker") facts.docker = true;
    if (name == "socket") facts.socket = true;
    if (name == "access") facts.access = true;
    if (name == "free") facts.free = whole_number<std::uint64_t>(value).value_or(0) << 10U;
    if (name == "time") facts.time = whole_number<std::int64_t>(value).value_or(0);
  }
  return facts;
}

asio::awaitable<RemoteFacts> look_at_host(Guest& host) {
  const std::string said = co_await run_script(host, "look", "the host does not say what it is");
  co_return read_remote_facts(said);
}

std::vector<HostChange> plan_host(const RemoteFacts& facts, const std::string& host) {
  if (facts.answers) return {};
  const HostChange join{"join", "make " + facts.user + " a member of the group docker on " + host +
                                    ", whose members are as good as root there"};
  std::vector<HostChange> changes;
  const bool runs = facts.socket && !facts.access;  // who may not look takes the socket for the engine
  if (runs) {
    if (!facts.root)
      throw cannot(facts.user + " may not use Docker on " + host,
                   "as root there: usermod -aG docker " + facts.user + "; or give it sudo without a password");
    changes.push_back(join);
    return changes;
  }
  const std::string needed = facts.docker ? "start Docker" : "install Docker";
  if (!facts.docker && !facts.apt)
    throw cannot("there is no Docker on " + host + ", which is " + facts.system,
                 "install it there, and start again: https://docs.docker.com/engine/install/");
  if (!facts.systemd)
    throw cannot("there is no Docker on " + host + " that runs, and no systemd that could start it",
                 "start dockerd there, and start again");
  if (!facts.root)
    throw cannot(facts.user + " may not " + needed + " on " + host,
                 "do that as root there, or give " + facts.user + " sudo without a password, and start again");
  if (!facts.docker && facts.free < room_for_docker.count())
    throw cannot("the disk of " + host + " is full: Docker takes " + room_for_docker.str() + ", and " +
                     ByteSize::bytes(facts.free).str() + " are free",
                 "make room there, and start again");
  if (!facts.docker)
    changes.push_back({"install", "install Docker on " + host + " by apt-get: docker.io, iptables and what they need"});
  changes.push_back({"start", "start Docker on " + host + ", now and at each boot of it"});
  if (facts.user != "root") changes.push_back(join);
  return changes;
}

asio::awaitable<void> change_host(Guest& host, HostChange change) {
  co_await run_script(host, change.verb, "it was not possible to " + change.text);
}

asio::awaitable<TakenBack> take_back_from_host(Guest& host, bool data) {
  const std::string said = co_await run_script(host, data ? "take-back 1" : "take-back 0",
                                               "what was brought to the host could not be taken back");
  TakenBack result;
  std::istringstream in(said);
  for (std::string line; std::getline(in, line);) {
    if (line.starts_with("back ")) result.back.push_back(line.substr(5));
    if (line.starts_with("left ")) result.left.push_back(line.substr(5));
  }
  co_await run_script(host, "forget", "the agent could not be removed from the host");
  co_return result;
}

void require_docker_version(const std::string& version, const std::string& host) {
  constexpr int oldest_major = 20;  // 20.10: API 1.41
  const auto major = whole_number<int>(std::string_view(version).substr(0, version.find('.')));
  if (!major || *major >= oldest_major) return;
  throw cannot("Docker on " + host + " is too old: it is " + version + ", and 20.10 or newer is needed",
               "update it there, and start again: https://docs.docker.com/engine/install/");
}

}  // namespace cl
