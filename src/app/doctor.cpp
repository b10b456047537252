#include "src/app/doctor.hpp"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <optional>

#include "docker/api.hpp"
#include "docker/context.hpp"
#include "profiles/keys.hpp"
#include "profiles/networks.hpp"
#include "profiles/runtime.hpp"
#include "profiles/store.hpp"
#include "provision/ssh/library.hpp"
#include "src/app/autostart.hpp"
#include "src/app/images.hpp"
#include "src/app/other_tools.hpp"
#include "src/base/child.hpp"
#include "src/base/file.hpp"
#include "src/base/net/host_networks.hpp"
#include "src/base/net/socket_stream.hpp"
#include "src/base/path.hpp"
#include "src/base/path_guard.hpp"
#include "vm/image/build.hpp"
#include "vm/qemu/accel.hpp"
#include "vm/qemu/binary.hpp"

extern char** environ;

namespace cl {
namespace {

using namespace std::chrono_literals;
namespace json = boost::json;

Finding from_error(std::string subject, const Error& error) {
  std::string text = error.what();
  if (!error.cause().empty()) text += ": " + last_lines(error.cause(), 1);
  return {std::move(subject), Verdict::problem, std::move(text), error.remedy()};
}

/// What the profile asks for; the defaults when its file cannot be read, which is a finding of its own.
Profile wanted(const ProfilePaths& paths, std::vector<Finding>& findings) {
  try {
    Profile profile = load_profile(paths, {});
    findings.push_back({"settings", Verdict::ok,
                        file_exists(paths.config) ? paths.config.string() + " is valid"
                                                  : "the defaults; there is no profile '" + paths.name + "' yet",
                        ""});
    return profile;
  } catch (const Error& error) {
    findings.push_back({"settings", Verdict::problem, one_line(error), "colima-like config edit"});
    return {};
  }
}

asio::awaitable<Finding> check_qemu(std::string arch) {
  std::optional<Finding> failed;
  QemuBinary found;
  try {
    found = co_await find_qemu(arch);
  } catch (const Error& error) {
    failed = from_error("qemu", error);
  }
  if (failed) co_return *failed;
  constexpr int least_major_to_save = 9;
  Finding fine{"qemu", Verdict::ok, fmt::format("QEMU {} at {}", found.version, found.path.string()), ""};
  if (found.major < least_major_to_save) {
    fine.verdict = Verdict::warning;
    fine.text += " cannot save a suspended machine to disk, only pause it";
    fine.remedy = install_qemu_hint(read_file_if_exists("/etc/os-release").value_or(""), arch);
  }
  if (!found.sandbox) {
    fine.verdict = Verdict::warning;
    fine.text += fine.remedy.empty() ? "" : "; it";
    fine.text += " was built without seccomp: whoever breaks out of the machine into it has all system calls";
    if (fine.remedy.empty()) fine.remedy = "a QEMU with its sandbox, as Debian, Ubuntu and Fedora build it";
  }
  co_return fine;
}

Finding check_program(std::string_view name, Verdict when_missing, std::string_view what_for, std::string remedy) {
  if (const auto path = find_program(name)) return {std::string(name), Verdict::ok, path->string(), ""};
  return {std::string(name), when_missing, fmt::format("{} is not installed: {}", name, what_for), std::move(remedy)};
}

Finding check_accelerator(const Profile& profile, const std::string& arch, const HostFacts& host) {
  Finding finding{"accelerator", Verdict::ok, "", ""};
  if (profile.accel == AccelWish::tcg) {
    finding.text = "tcg, as asked for: machines are emulated";
  } else if (arch != host.arch) {
    finding.text = fmt::format("{} machines are emulated on this {} host, several times slower", arch, host.arch);
  } else if (host.os == "macos") {
    finding.text = "HVF; whether it runs the machine's kernel is tried at its first start";
  } else if (std::string problem = kvm_problem("/dev/kvm"); !problem.empty()) {
    finding.verdict = Verdict::warning;
    finding.text = problem + ": machines are emulated, several times slower";
    finding.remedy = "a host, or a setting of its virtualization, that has KVM; or go on emulated";
  } else {
    finding.text = "/dev/kvm can be opened; whether it runs the machine's kernel is tried at its first start";
  }
  return finding;
}

/// Either the image is there, or this host can make it or download it.
Finding check_image(const Home& home, const Profile& profile, const std::string& arch, const HostFacts& host) {
  if (const auto there = cached_image(home, profile.image, arch)) {
    if (there->problem.empty()) return judge_image_age(there->name, there->created, std::time(nullptr));
    return {"image", Verdict::problem, there->name + ": " + there->problem,
            there->source.empty() ? "colima-like image build" : "colima-like image pull " + profile.image};
  }
  std::string why;
  const auto ref = parse_image_ref(profile.image, why);
  const bool automatic = ref && ref->kind == ImageRef::Kind::automatic;
  const bool built = automatic || (ref && ref->kind == ImageRef::Kind::built);
  if (!built) return {"image", Verdict::ok, "it is not there yet; the first start downloads it", ""};
  const auto lack = cannot_build(arch, host);
  if (!lack)
    return {"image", Verdict::ok, "none is there yet; the first start builds it, which takes some minutes", ""};
  if (!automatic) return from_error("image", *lack);
  return {"image", Verdict::ok, fmt::format("none is there yet; the first start downloads one: {}", lack->what()), ""};
}

asio::awaitable<Finding> check_docker_cli() {
  if (!find_program("docker")) {
    Finding missing{"docker", Verdict::warning, "there is no docker command on this host",
                    "install one, or use the socket with another client: colima-like env"};
    co_return missing;
  }
  Command command;
  command.argv = {"docker", "--version"};
  const Finished finished = co_await run(std::move(command), "", 30s);
  Finding finding{"docker", Verdict::ok, last_lines(finished.output, 1), ""};
  if (!finished.status.ok())
    finding = {"docker", Verdict::problem, "'docker --version' ended with " + finished.status.str(),
               "install the docker CLI again"};
  co_return finding;
}

/// Whether plain `docker` would reach this profile.
asio::awaitable<Finding> check_context(const ProfilePaths& paths, bool runs) {
  std::vector<std::string> environment;
  for (char** entry = environ; *entry != nullptr; ++entry) environment.emplace_back(*entry);
  const std::string name = docker::context_name(paths.name);
  if (const auto hidden = docker::hidden_by(environment, name, paths.docker_socket)) {
    const auto split = hidden->find("; ");
    Finding finding{"context", Verdict::warning, hidden->substr(0, split), hidden->substr(split + 2)};
    co_return finding;
  }
  std::optional<Finding> failed;
  std::optional<std::string> current;
  try {
    current = co_await docker::current(docker::Cli{});
  } catch (const Error& error) {
    failed = from_error("context", error);
  }
  if (failed) co_return *failed;
  Finding finding{"context", Verdict::ok, "docker uses the context " + current.value_or("default"), ""};
  if (!current) finding.text = "there is no docker command that would have one";
  if (runs && current && *current != name) {
    finding.verdict = Verdict::warning;
    finding.text += " and not " + name;
    finding.remedy = "colima-like use " + paths.name;
  }
  co_return finding;
}

/// Whether what share_hide names can be hidden here. Nothing when no folder is shared.
std::optional<Finding> check_hidden(const Home& home, const Profile& profile) {
  try {
    const auto plan = plan_shares(profile, user_home(), {home.profiles, home.cache});
    if (plan.empty()) return std::nullopt;
    return judge_hidden(plan, why_no_path_guard());
  } catch (const Error& error) {
    return from_error("shares", error);
  }
}

/// The first directory above `place` that exists: that is where it would be made.
fs::path nearest_directory(fs::path place) {
  std::error_code ignored;
  while (!fs::exists(place, ignored) && place.has_relative_path()) place = place.parent_path();
  return place;
}

Finding check_home(const Home& home) {
  struct stat facts{};
  if (::stat(home.profiles.c_str(), &facts) != 0) {
    if (errno != ENOENT)
      return {"home", Verdict::problem, home.profiles.string() + ": " + std::strerror(errno), "set COLIMA_LIKE_HOME"};
    const fs::path parent = nearest_directory(home.profiles);
    if (::access(parent.c_str(), W_OK) == 0) return {"home", Verdict::ok, home.profiles.string() + " will be made", ""};
    return {"home", Verdict::problem,
            home.profiles.string() + " cannot be made: " + parent.string() + " is not writable",
            "set COLIMA_LIKE_HOME"};
  }
  return judge_home(home.profiles.string(), facts.st_mode & 07777U, facts.st_uid == ::geteuid());
}

/// The engine's answer. A suspended machine is not asked, which would wake it.
asio::awaitable<Finding> check_socket(const ProfilePaths& paths, const State& state) {
  const Runtime& runtime = runtime_of(state.profile);
  const fs::path socket = host_socket(runtime, paths);
  std::optional<Finding> failed;
  try {
    auto stream = co_await connect_unix(socket);
    if (runtime.speaks_docker) co_await with_timeout(20s, "the engine's answer to a ping", docker::ping(*stream));
  } catch (const Error& error) {
    failed = Finding{"socket", Verdict::problem, socket.string() + ": " + one_line(error),
                     "colima-like start; the daemon's log: colima-like logs"};
  }
  if (failed) co_return *failed;
  Finding fine{"socket", Verdict::ok,
               fmt::format("{} {} answers at {}", runtime.title, state.runtime_version, socket.string()), ""};
  co_return fine;
}

json::array to_json(const std::vector<Finding>& findings) {
  json::array all;
  for (const Finding& one : findings) {
    json::object object{{"subject", one.subject}, {"verdict", std::string(to_string(one.verdict))}, {"text", one.text}};
    if (!one.remedy.empty()) object["remedy"] = one.remedy;
    all.push_back(std::move(object));
  }
  return all;
}

}  // namespace

std::string_view to_string(Verdict verdict) noexcept {
  return verdict == Verdict::ok ? "ok" : verdict == Verdict::warning ? "warning" : "problem";
}

Finding judge_space(const std::string& place, std::uint64_t free) {
  constexpr std::uint64_t enough = 10ULL << 30,
                          least = 2ULL << 30;  // an image build takes 5 GiB, a machine what it writes
  Finding finding{"space", Verdict::ok, fmt::format("{} free for {}", ByteSize::bytes(free).str(), place), ""};
  if (free >= enough) return finding;
  finding.verdict = free < least ? Verdict::problem : Verdict::warning;
  finding.remedy = "free some space there; 'colima-like image prune' removes guest images that no profile uses";
  return finding;
}

Finding judge_home(const std::string& place, unsigned mode, bool ours) {
  constexpr unsigned others = 077;
  if (!ours)
    return {"home", Verdict::problem, place + " belongs to another user",
            "set COLIMA_LIKE_HOME to a directory of yours"};
  if ((mode & others) != 0)
    return {"home", Verdict::warning, fmt::format("{} is open to other users (mode {:o})", place, mode),
            "chmod 700 " + place};
  return {"home", Verdict::ok, place + " is private", ""};
}

Finding judge_hidden(const std::vector<Share>& plan, const std::string& why_not) {
  std::size_t hidden = 0, kept = 0;
  for (const Share& share : plan) {
    hidden += share.hidden.size();
    kept += share.kept.size();
  }
  if (hidden + kept == 0)
    return {"shares", Verdict::ok, "the machine gets all of the shared folders: share_hide names nothing in them", ""};
  if (!why_not.empty())
    return {"shares", Verdict::problem, "folders with what share_hide names in them are not shared: " + why_not,
            "'colima-like config set share_hide []' shares them with all that is in them"};
  return {
      "shares", Verdict::ok,
      fmt::format("{} paths of the shared folders are hidden from the machine, and {} it cannot write", hidden, kept),
      ""};
}

Finding judge_state(const Observed& seen) {
  const State& state = seen.state;
  Finding finding{"machine", Verdict::ok, state.phase, ""};
  if (!state.reason.empty()) finding.text += ": " + state.reason;
  if (state.phase == "degraded") {
    finding.verdict = Verdict::problem;
    finding.remedy = "colima-like start";
  } else if (state.phase == "stopped" && !state.reason.empty()) {
    finding.verdict = Verdict::warning;
    finding.remedy = "colima-like start; why it ended: colima-like logs, colima-like logs --console";
  }
  return finding;
}

std::optional<Finding> judge_user(unsigned uid) {
  if (uid != 0) return std::nullopt;
  return Finding{"user", Verdict::warning,
                 "this is root: whatever breaks out of the machine has all rights on this computer",
                 "run colima-like as an ordinary user, who may open /dev/kvm (group kvm)"};
}

Finding judge_image_age(const std::string& name, const std::string& created, std::int64_t now) {
  constexpr std::int64_t day = 86400, old = 60;
  Finding finding{"image", Verdict::ok, name + " is there", ""};
  std::tm made{};
  const char* const end = ::strptime(created.c_str(), "%Y-%m-%dT%H:%M:%SZ", &made);
  if (end == nullptr || *end != '\0') return finding;
  const std::int64_t age = (now - ::timegm(&made)) / day;
  if (age < old) return finding;
  finding.verdict = Verdict::warning;
  finding.text =
      fmt::format("{} is {} days old: what was mended in its kernel and Docker since is not in it", name, age);
  finding.remedy =
      "'colima-like delete', 'colima-like image prune' and 'colima-like start' make a new one; the data disk is kept";
  return finding;
}

Finding judge_ssh(const std::string& library, const std::string& why_not) {
  if (why_not.empty()) return {"ssh", Verdict::ok, library + ", in a process without rights", ""};
  return {"ssh", Verdict::problem, "no machine can be reached: " + why_not,
          "a kernel with seccomp filters; in a container, a profile that allows them"};
}

std::vector<Finding> judge_networks(const std::string& name, const Profile& profile, const HostFacts& host,
                                    const std::vector<HostNetwork>& networks) {
  std::vector<Finding> all;
  for (NetworkClash& clash : network_clashes(name, profile, host, networks))
    all.push_back({"network", Verdict::warning, std::move(clash.text), std::move(clash.remedy)});
  if (all.empty())
    all.push_back({"network", Verdict::ok, "the machine's networks hide none that this host reaches", ""});
  return all;
}

std::vector<Finding> judge_platforms(const std::vector<PlatformState>& platforms) {
  std::vector<Finding> all;
  for (const PlatformState& one : platforms) {
    Finding finding{one.platform, Verdict::ok, one.translator, ""};
    if (!one.why.empty()) finding.text += " (" + one.why + ")";
    if (!one.works) {
      finding.verdict = Verdict::warning;
      finding.text = "images of this platform do not run: " + (one.why.empty() ? one.translator : one.why);
      finding.remedy = one.translator == "none"
                           ? "colima-like ssh -- apt-get install -y qemu-user-binfmt, and 'colima-like restart'"
                           : "colima-like restart";
    } else if (one.why.starts_with("rosetta failed")) {
      finding.verdict = Verdict::warning;
      finding.remedy = "they run by qemu-user, slower; 'colima-like config set vm.rosetta off' stops trying";
    }
    all.push_back(std::move(finding));
  }
  return all;
}

namespace {

/// What a machine of one's own needs of this computer.
asio::awaitable<std::vector<Finding>> check_machine(Home home, ProfilePaths paths, Profile profile, HostFacts host) {
  std::vector<Finding> found;
  const std::string arch = resolved_arch(profile, host);
  found.push_back(co_await check_qemu(arch));
  found.push_back(check_program("qemu-img", Verdict::problem, "root disks are made with it",
                                host.os == "macos" ? "brew install qemu" : "apt-get install qemu-utils"));
  found.push_back(
      check_program("ssh-keygen", Verdict::problem, "it makes each profile's keys", "apt-get install openssh-client"));
  found.push_back(check_accelerator(profile, arch, host));
  for (Finding& one : judge_networks(paths.name, profile, host, host_networks())) found.push_back(std::move(one));
  found.push_back(check_image(home, profile, arch, host));
  found.push_back(judge_ssh(fmt::format("libssh2 {}", ssh::library_version()), ssh::why_not_apart()));
  if (auto user = judge_user(::geteuid())) found.push_back(std::move(*user));
  co_return found;
}

}  // namespace

asio::awaitable<Examination> examine(Home home, std::string name) {
  const ProfilePaths paths = profile_paths(home, name);
  const HostFacts host = host_facts();
  Examination found;
  const Profile profile = wanted(paths, found.host);
  const bool own_machine = resolved_driver(profile, host) != to_string(DriverWish::host);
  if (own_machine) {
    for (Finding& one : co_await check_machine(home, paths, profile, host)) found.host.push_back(std::move(one));
  } else {
    found.host.push_back(check_program("ssh", Verdict::problem, "hosts are reached by it",
                                       "install OpenSSH's client: apt-get install openssh-client"));
  }
  found.host.push_back(co_await check_docker_cli());
  for (Finding& one : judge_other_tools(client_folders(), OtherTools())) found.host.push_back(std::move(one));
  found.host.push_back(check_home(home));
  if (auto starts = check_autostart(home, paths.name)) found.host.push_back(std::move(*starts));
  if (auto shares = check_hidden(home, profile)) found.host.push_back(std::move(*shares));
  for (const fs::path& place : {home.profiles, home.cache}) {
    const fs::path there = nearest_directory(place);
    found.host.push_back(judge_space(place.string(), free_space(there)));
  }

  std::optional<Finding> broken;
  Observed seen;
  try {
    seen = observe(paths);
  } catch (const Error& error) {
    broken = from_error("machine", error);
  }
  const State& state = seen.state;
  const bool runs = seen.machine_alive && state.phase == "running";
  found.host.push_back(co_await check_context(paths, runs));
  if (broken) found.profile.push_back(*broken);
  if (broken || !seen.exists) co_return found;
  found.profile.push_back(judge_state(seen));
  if (!runs) co_return found;
  if (!runtime_of(state.profile).title.empty()) found.profile.push_back(co_await check_socket(paths, state));
  for (Finding& one : judge_platforms(state.platforms)) found.profile.push_back(std::move(one));
  for (const std::string& line : state.port_problems)
    found.profile.push_back({"port", Verdict::warning, line, "colima-like ports"});
  for (const ForwardState& one : state.forwards)
    if (one.state == "failed")
      found.profile.push_back(
          {"forward", Verdict::warning, one.forward + ": " + one.problem, "colima-like forward list"});
  co_return found;
}

asio::awaitable<json::object> doctor(Home home, std::string profile) {
  const Examination found = co_await examine(std::move(home), std::move(profile));
  json::object result{{"host", to_json(found.host)}, {"profile", to_json(found.profile)}};
  co_return result;
}

}  // namespace cl
