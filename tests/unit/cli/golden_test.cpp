// What scripts read (--json) and what people read, each command line against a file of tests/golden. The JSON files are
// also checked against docs/schemas by tests/schemas.py.
#include <gtest/gtest.h>

#include <regex>

#include "profiles/keys.hpp"
#include "src/app/images.hpp"
#include "src/base/host.hpp"
#include "src/base/version.hpp"
#include "tests/support/golden.hpp"
#include "tests/support/run.hpp"
#include "tests/unit/cli/command_line.hpp"
#include "tests/unit/cli/stand_in_daemon.hpp"
#include "vm/hash.hpp"
#include "vm/saved_machine.hpp"

namespace cl::cli {
namespace {

constexpr std::int64_t some_time = 1'700'000'000;

rpc::PublishedPort port(std::string container, std::uint16_t number) {
  rpc::PublishedPort one;
  one.container = std::move(container);
  one.container_id = "0123456789ab";
  one.address = "127.0.0.1";
  one.port = number;
  one.protocol = "tcp";
  one.reach = "host";
  one.state = "open";
  one.connections = 2;
  one.bytes_in = 1024;
  one.bytes_out = 1048576;
  one.since = some_time;
  return one;
}

class Golden : public CommandLine {
 protected:
  Golden() : paths_(profile_paths({home_.path(), home_.path()}, "default")) {}

  void write_profile(const std::string& name, const std::string& yaml) {
    const ProfilePaths paths = profile_paths({home_.path(), home_.path()}, name);
    create_profile(paths);
    write_atomically(paths.config, yaml);
  }
  void write_state(const State& state) {
    const auto lock = FileLock::try_acquire(paths_.lock);
    save_state(*lock, paths_, state);
  }
  /// What differs between computers, users and days, in words.
  std::string same_everywhere(std::string text) const {
    replace(text, home_.path().string(), "HOME");
    replace(text, std::string(program_version()), "VERSION");
    text = std::regex_replace(text, std::regex("[0-9-]+T[0-9:]+Z"), "TIME");
    text = std::regex_replace(text, std::regex("202[0-9]-[0-9]+-[0-9]+"), "DATE");
    text = std::regex_replace(text, std::regex("\"at\":( ?)[0-9]+"), "\"at\":$011700000000");
    return std::regex_replace(text, std::regex("[0-9]+ (seconds|minutes|hours|days)"), "N days");
  }
  /// For what tells of this computer; elsewhere the architecture is part of what is tested.
  static std::string on_every_host(std::string text) {
    replace(text, host_facts().arch, "ARCH");
    replace(text, "\"" + host_facts().os + "\"", "\"OS\"");
    return text;
  }
  /// And for how it was built, and what QEMU there is.
  static std::string with_any_build(std::string text) {
    static const std::regex value(
        R"x("(version|commit|compiler|c_library|boost|fmt|libssh2|openssl|path|problem)": ("[^"]*"|null))x");
    return std::regex_replace(on_every_host(std::move(text)), value, "\"$1\": \"VALUE\"");
  }
  static std::string unchanged(std::string text) { return text; }
  static void replace(std::string& text, const std::string& from, const std::string& to) {
    for (auto at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size()))
      text.replace(at, from.size(), to);
  }
  using Change = std::string (*)(std::string);
  void expect_text(const std::string& name, const std::vector<std::string>& words, Change change = unchanged) {
    const Said text = say(words);
    test::expect_golden(name + ".txt", change(same_everywhere(text.output + text.errors)));
  }
  void expect_json(const std::string& name, std::vector<std::string> words, Change change = unchanged) {
    words.emplace_back("--json");
    const Said json = say(words);
    EXPECT_EQ(json.errors, "");
    test::expect_golden(name + ".json", change(same_everywhere(json.output)));
  }
  /// `name`.json and `name`.txt: what the command prints with --json and without.
  void expect_both(const std::string& name, const std::vector<std::string>& words, Change change = unchanged) {
    expect_text(name, words, change);
    expect_json(name, words, change);
  }
  void expect_error(const std::string& name, std::vector<std::string> words) {
    const Said said = say(std::move(words));
    EXPECT_NE(said.code, 0);
    EXPECT_EQ(said.output, "");
    test::expect_golden("error." + name + ".txt",
                        same_everywhere(said.errors) + "exit code " + std::to_string(said.code) + "\n");
  }

  ProfilePaths paths_;
};

State running() {
  State state;
  state.phase = "running";
  state.since = some_time;
  state.profile.shares = {"~", "/data:ro"};
  state.arch = "x86_64";
  state.driver = "qemu";
  state.accel = "tcg";
  state.accel_reason = "/dev/kvm cannot be opened";
  state.image = "docker-x86_64-0123456789ab";
  state.machine_pid = 4242;
  state.runtime_version = "28.2.2";
  state.context = "colima-like";
  state.port_problems = {"127.0.0.1 80/tcp: the port is in use by nginx"};
  state.forwards = {{"8080:80", "open", "", ""},
                    {"reverse:/run/x.sock:~/x.sock", "waiting", "", ""},
                    {"53:53/udp", "failed", "127.0.0.1:53/udp is taken by dnsmasq (process 1)", "end what holds it"}};
  state.shares = {{"/", "/", "/mnt/host", false, "virtiofs", "", "share0", ""},
                  {"/", "/data", "/data", true, "sshfs", "virtiofsd is not installed", "", "the mount timed out"},
                  {"/no/such/folder", "/no/such/folder", "/no/such/folder", false, "", "", "", ""}};
  state.shares[1].owner = "1000.1000";
  state.host_sockets = {
      {{"/home/u/db.sock"}, "/home/u/db.sock", "/home/u/db.sock", true, ""},
      {{"/data/link.sock"}, "/data/run/it.sock", "/data/run/it.sock", true, "in the guest it is no socket"},
      {{"/run/host-services/ssh-auth.sock"}, "", "/run/host-services/ssh-auth.sock", false, ""}};
  state.ssh_agent = "/tmp/ssh-abc/agent.7";
  state.event_folders = 2;
  state.event_precision = "exact";
  state.awake = {{"docker client (GET /containers/json), 2 connections open", some_time, 0},
                 {"1 session of colima-like", some_time, 0},
                 {"3 containers run", some_time, some_time + 900}};
  state.event_problem = "/data has more folders than can be watched";
  state.platforms = {{"linux/amd64", "native", true, ""},
                     {"linux/arm64", "qemu-user", true, ""},
                     {"linux/s390x", "none", false, "qemu-s390x is not in the image"}};
  return state;
}

TEST_F(Golden, StatusOfWhatNeverRan) {
  expect_both("status.none", {"status"}, on_every_host);
  write_profile("default", "arch: x86_64\n");
  expect_both("status.new", {"status"});
}

TEST_F(Golden, StatusOfAMachineThatRuns) {
  write_profile("default", "");
  write_state(running());
  const StandInDaemon daemon(paths_, 0);
  expect_both("status.running", {"status"});
  expect_both("share_list.running", {"share", "list"});
}

TEST_F(Golden, StatusOfAMachineWithContainerdAlone) {
  write_profile("default", "");
  State state = running();
  state.profile.runtime = "containerd";
  state.shares.clear();
  state.host_sockets.clear();
  state.forwards.clear();
  state.platforms.clear();
  state.port_problems.clear();
  state.event_folders = 0;
  state.event_problem.clear();
  state.runtime_version = "2.1.0";
  state.runtime_problem = "containerd.service has failed (exit-code)";
  write_state(state);
  const StandInDaemon daemon(paths_, 0);
  expect_both("status.containerd", {"status"});
}

TEST_F(Golden, StatusOfAMachineThatSleeps) {
  write_profile("default", "");
  State state = running();
  state.phase = "suspended";
  state.asleep = true;
  state.machine_pid = 0;
  write_state(state);
  make_private_directory(paths_.saved_directory);
  SavedMachine saved(paths_.saved_directory);
  write_atomically(saved.memory(), std::string(1 << 20, 'm'));
  saved.commit(SavedFacts{"qemu", "QEMU 9", "digest", {}});
  expect_both("status.sleeping", {"status"});
}

TEST_F(Golden, StatusOfAMachineThatIsSuspendedInMemory) {
  write_profile("default", "");
  State state = running();
  state.phase = "suspended";
  write_state(state);
  const StandInDaemon daemon(paths_, 0);
  expect_both("status.paused", {"status"});
}

TEST_F(Golden, StatusOfAMachineThatEndedByItself) {
  write_profile("default", "");
  State state = running();
  state.phase = "stopped";
  state.reason = "QEMU was killed by signal 9";
  write_state(state);
  expect_both("status.ended", {"status"});
}

TEST_F(Golden, StatusOfADaemonThatCannotWrite) {
  write_profile("default", "");
  write_state(running());
  StandInDaemon daemon(paths_, 0);
  State known = running();
  known.phase = "degraded";
  known.reason = "the guest does not answer";
  known.daemon_crashes = 2;
  known.last_crash = "signal 9";
  daemon.know(paths_, known, "cannot write state.json: No space left on device");
  expect_both("status.unsaved", {"status"});
}

TEST_F(Golden, StatusOfAMachineWhoseAgentIsInTrouble) {
  write_profile("default", "");
  State state = running();
  state.port_problems.clear();
  state.shares.clear();
  state.host_sockets.clear();
  state.forwards.clear();
  state.platforms.clear();
  state.event_folders = 0;
  state.event_problem.clear();
  state.agent = {"the agent cannot be started in the guest because /run is mounted noexec",
                 4,
                 "the frame has a kind that only the host may send",
                 std::time(nullptr),
                 17,
                 "too many streams",
                 std::time(nullptr)};
  write_state(state);
  const StandInDaemon daemon(paths_, 0);
  expect_both("status.agent", {"status"});
}

TEST_F(Golden, StatusOfAMachineThatWasRefusedThings) {
  write_profile("default", "");
  State state = running();
  state.egress_refusals = {{"evil.example:443 is not in network.egress", 3, some_time},
                           {"the name evil.example is not in network.egress", 1, some_time}};
  write_state(state);
  const StandInDaemon daemon(paths_, 0);
  expect_both("status.refused", {"status"});
}

TEST_F(Golden, StatusSaysNothingOfAnAgentThatIsWell) {
  write_profile("default", "");
  State state = running();
  state.agent = {"", 2, "it was killed", std::time(nullptr), 9, "too many streams", some_time};
  write_state(state);
  const StandInDaemon daemon(paths_, 0);
  expect_both("status.running", {"status"});
}

TEST_F(Golden, StatusOfABrokenProfile) {
  write_profile("default", "cpus: many\n");
  expect_both("status.broken", {"status"});
}

TEST_F(Golden, List) {
  expect_both("list.empty", {"list"});
  write_profile("default", "arch: x86_64\n");
  write_profile("other", "cpus: many\n");
  expect_both("list.two", {"list"});
}

TEST_F(Golden, Ports) {
  write_profile("default", "");
  write_state(running());
  StandInDaemon daemon(paths_, 0);
  expect_both("ports.none", {"ports"});
  rpc::PublishedPort failed = port("db", 5432);
  failed.state = "failed";
  failed.problem = "the port is in use by postgres";
  failed.remedy = "end postgres, or publish another port";
  rpc::PublishedPort forwarded = port("", 9090);
  forwarded.container_id.clear();
  forwarded.forward = "9090:90";
  daemon.publish({port("web", 8080), failed, forwarded});
  expect_both("ports.two", {"ports"});
}

TEST_F(Golden, Shares) {
  write_profile("default", "shares: [\"/data:/mnt/data:ro:sshfs:owner=1000\", \"/\"]\n");
  expect_both("share_list.stopped", {"share", "list"});
  write_profile("default", "shares: []\n");
  expect_both("share_list.empty", {"share", "list"});
}

rpc::OpenForward forward(std::string item, std::string state) {
  rpc::OpenForward one;
  one.forward = std::move(item);
  one.state = std::move(state);
  one.connections = 2;
  one.bytes_in = 1024;
  one.bytes_out = 1048576;
  one.since = some_time;
  return one;
}

TEST_F(Golden, Forwards) {
  write_profile("default", "forwards: []\n");
  expect_both("forward_list.empty", {"forward", "list"});
  expect_text("forward_add.stopped", {"forward", "add", "8080:80"});
  expect_json("forward_add.stopped", {"forward", "add", "-R", "/run/x.sock:~/x.sock"});
  expect_both("forward_list.stopped", {"forward", "list"});
  EXPECT_EQ(load_profile(paths_, {}).forwards, (std::vector<std::string>{"8080:80", "reverse:/run/x.sock:~/x.sock"}));
  expect_error("no_forward", {"forward", "add", "8080"});
  expect_error("other_forward", {"forward", "add", "8080:81"});
  expect_error("not_forwarded", {"forward", "remove", "9000"});
  expect_text("forward_remove.one", {"forward", "remove", "8080"});
  expect_json("forward_remove.one", {"forward", "remove", "-R", "/run/x.sock"});
  EXPECT_TRUE(load_profile(paths_, {}).forwards.empty());
}

TEST_F(Golden, ForwardsOfAMachineThatRuns) {
  write_profile("default", "");
  write_state(running());
  StandInDaemon daemon(paths_, 0);
  rpc::OpenForward failed = forward("53:53/udp", "failed");
  failed.connections = 0;
  failed.problem = "127.0.0.1:53/udp is taken by dnsmasq (process 1)";
  failed.remedy = "end what holds it, or forward another port";
  daemon.forward({forward("8080:80", "open"), failed, forward("reverse:/run/x.sock:~/x.sock", "waiting")});
  expect_both("forward_list.running", {"forward", "list"});
  expect_both("forward_add.running", {"forward", "add", "8080:80"});
  EXPECT_EQ(load_profile(paths_, {}).forwards, std::vector<std::string>{"8080:80"});
  daemon.fail(Error(Errc::busy, "the forward 81:80 cannot be opened", "end what holds it, or forward another port")
                  .because("127.0.0.1:81/tcp is taken by nginx (process 7)"));
  expect_error("forward_taken", {"forward", "add", "81:80"});
  EXPECT_EQ(load_profile(paths_, {}).forwards, std::vector<std::string>{"8080:80"}) << "what is not open is not kept";
}

TEST_F(Golden, Config) {
  write_profile("default", "# mine\ncpus: 1\narch: x86_64\n");
  expect_both("config_diff.never_started", {"config", "diff"});
  State state = running();
  state.phase = "stopped";
  state.profile = {};
  state.profile.arch = "aarch64";
  state.profile.idle = std::chrono::hours(1);
  write_state(state);
  expect_both("config_diff.three", {"config", "diff"});
  expect_both("config_show.effective", {"config", "show", "--effective"});
}

TEST_F(Golden, Images) {
  expect_both("image_list.empty", {"image", "list"});
  const fs::path broken = home_.path() / "images" / "docker-x86_64-0123456789ab";
  auto make_broken = [&] {
    fs::create_directories(broken);
    write_atomically(broken / "manifest.json", "{}");
  };
  make_broken();
  expect_both("image_list.broken", {"image", "list"});
  expect_text("image_prune.one", {"image", "prune"});
  make_broken();
  expect_json("image_prune.one", {"image", "prune"});
}

TEST_F(Golden, ADownloadedImage) {
  std::string disk(1 << 20, '\0');
  disk.replace(510, 2, "\x55\xaa");
  const fs::path file = home_.path() / "disk.raw";
  write_atomically(file, disk);
  ImageSource source{"debian-13", "x86_64", {file.string()}, {"sha256", test::run(file_digest(file, "sha256"))}};
  test::run(image_cache({home_.path(), home_.path()}).fetch(std::move(source), FetchOptions{}, {}));
  expect_both("image_list.downloaded", {"image", "list"});
}

TEST_F(Golden, Version) { expect_both("version", {"version"}, with_any_build); }

TEST_F(Golden, AutostartStatus) {
  expect_both("autostart_status.none", {"autostart", "status"}, [](std::string text) {
    replace(text, "launchd", "systemd");
    return text;
  });
}

TEST_F(Golden, Errors) {
  expect_error("no_command", {"strat"});
  expect_error("no_option", {"start", "--cpu", "2"});
  expect_error("no_profile", {"stop", "nobody"});
  expect_error("bad_name", {"status", "Not A Name"});
  expect_error("bad_values", {"start", "--cpus", "0", "--memory", "1MiB"});
  expect_error("no_key", {"config", "get", "cpu"});
  write_profile("default", "cpu: 2\nmemory: lots\n");
  expect_error("bad_file", {"start"});
  write_profile("default", "");
  expect_error("not_running", {"ports"});
  expect_error("no_share", {"share", "remove", "/data"});
}

TEST_F(Golden, ErrorsOfTheDaemon) {
  write_profile("default", "");
  write_state(running());
  StandInDaemon daemon(paths_, 0);
  daemon.fail(Error(Errc::guest_failed, "the guest booted but its SSH server did not answer",
                    "read the guest's console with 'colima-like logs --console'")
                  .because("waiting for it took too long:\nlast line"));
  expect_error("of_the_daemon", {"stop"});
}

}  // namespace
}  // namespace cl::cli
