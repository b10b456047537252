// The vz driver with the stand-in for vfkit (tests/fakes/fake_vfkit.py), and no guest: what vfkit does well and badly.
#include "vm/vz/driver.hpp"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>

#include <boost/asio/local/stream_protocol.hpp>
#include <boost/json/parse.hpp>
#include <cstdlib>
#include <fstream>

#include "src/base/child.hpp"
#include "src/base/file.hpp"
#include "src/base/file_lock.hpp"
#include "src/base/host.hpp"
#include "src/base/platform.hpp"
#include "tests/support/run.hpp"
#include "tests/support/temp_dir.hpp"
#include "vm/vz/command_line.hpp"
#include "vm/vz/rest.hpp"

namespace cl {
namespace {

using namespace std::chrono_literals;

std::filesystem::path fake(const char* file) { return std::filesystem::path(COLIMA_LIKE_FAKES) / file; }

class VzMachines : public ::testing::Test {
 protected:
  void SetUp() override {
    std::ofstream(home_ / "vfkit") << "#!/bin/sh\nexec " COLIMA_LIKE_PYTHON " -I -B " << fake("fake_vfkit.py").string()
                                   << " \"$@\"\n";
    std::filesystem::permissions(home_ / "vfkit", std::filesystem::perms::owner_all);
    ::setenv("COLIMA_LIKE_VFKIT", (home_ / "vfkit").c_str(), 1);
    ::setenv("COLIMA_LIKE_FAKE_GUEST", "none", 1);
    faults("");
    make_private_directory(run_directory());
    for (const char* name : {"kernel", "initrd", "root.raw", "data.raw"})
      write_atomically(home_ / name, std::string(4096, '\0'));
    write_atomically(home_ / "secret", "a credential");
    lock_ = FileLock::try_acquire(home_ / "lock");
  }
  void TearDown() override {
    if (pid_ > 0) ::kill(pid_, SIGKILL);
  }

  static void faults(const char* list) { ::setenv("COLIMA_LIKE_FAKE_FAULTS", list, 1); }
  std::filesystem::path run_directory() const { return home_ / "run"; }
  std::string driver_log() const { return read_file_if_exists(home_ / "vfkit.log").value_or(""); }

  BootPlan plan() const {
    BootPlan plan;
    plan.name = "test";
    plan.arch = host_facts().arch;
    plan.cpus = 1;
    plan.memory = ByteSize::mib(64);
    plan.kernel = home_ / "kernel";
    if (plan.arch == "aarch64") {
      std::string image(64, '\0');
      image.replace(0x38, 4, "ARMd");
      write_atomically(plan.kernel, image);
    }
    plan.initrd = home_ / "initrd";
    plan.root_disk = home_ / "root.raw";
    plan.data_disk = home_ / "data.raw";
    plan.credentials = {{"colima-like.test", home_ / "secret"}};
    plan.run_directory = run_directory();
    plan.console_log = home_ / "console.log";
    plan.driver_log = home_ / "vfkit.log";
    plan.lock_fd = lock_->fd();
    return plan;
  }

  asio::awaitable<std::unique_ptr<Machine>> boot(BootPlan wanted) {
    auto machine = co_await driver_.boot(std::move(wanted));
    pid_ = machine->pid();
    co_return machine;
  }

  Error failure(BootPlan wanted) {
    auto work = [&]() -> asio::awaitable<void> { co_await boot(wanted); };
    try {
      test::run(work());
    } catch (const Error& error) {
      return error;
    }
    ADD_FAILURE() << "it started";
    return Error(Errc::internal, "");
  }
  Error failure() { return failure(plan()); }
  /// Nothing that was started is left: the lock would be held.
  void expect_nothing_left() {
    lock_.reset();
    EXPECT_FALSE(FileLock::is_held(home_ / "lock"));
    EXPECT_FALSE(std::filesystem::exists(vfkit_socket(run_directory())));
    EXPECT_FALSE(std::filesystem::exists(vsock_socket(run_directory())));
  }

  test::TempDir home_;
  std::optional<FileLock> lock_;
  VzDriver driver_;
  pid_t pid_ = 0;
};

TEST_F(VzMachines, RunWithSocketsOfTheirOwnAndKeepTheProfilesLock) {
  auto work = [&]() -> asio::awaitable<ExitReason> {
    auto machine = co_await boot(plan());
    EXPECT_GE(machine->ssh_ports().size(), 2U);
    for (const SshPort& port : machine->ssh_ports()) {
      EXPECT_EQ(port.to_guest, port.from_guest);
      asio::local::stream_protocol::socket socket(co_await asio::this_coro::executor);
      co_await socket.async_connect(asio::local::stream_protocol::endpoint(port.to_guest.string()),
                                    asio::use_awaitable);
    }
    EXPECT_EQ(machine->rosetta_refused(), "");
    lock_.reset();
    EXPECT_TRUE(FileLock::is_held(home_ / "lock"));
    machine->kill();
    machine->kill();
    const ExitReason reason = co_await machine->exited();
    EXPECT_FALSE(FileLock::is_held(home_ / "lock"));
    co_return reason;
  };
  const ExitReason reason = test::run(work());
  EXPECT_FALSE(reason.clean);
  EXPECT_EQ(reason.text, "vfkit was killed by signal 9");
}

TEST_F(VzMachines, GetTheirCredentialsBehindTheImagesInitrd) {
  auto work = [&]() -> asio::awaitable<void> {
    auto machine = co_await boot(plan());
    machine->kill();
    co_await machine->exited();
  };
  test::run(work());
  const std::string initrd = read_file(seeded_initrd(run_directory()));
  EXPECT_TRUE(initrd.starts_with(read_file(home_ / "initrd")));
  EXPECT_NE(initrd.find("credentials/colima-like.test"), std::string::npos);
  EXPECT_NE(initrd.find("a credential"), std::string::npos);
  struct stat facts{};
  ASSERT_EQ(::stat(seeded_initrd(run_directory()).c_str(), &facts), 0);
  EXPECT_EQ(facts.st_mode & 0777U, 0600U) << "it holds a private key";
}

TEST_F(VzMachines, PauseAndGoOn) {
  auto work = [&]() -> asio::awaitable<void> {
    auto machine = co_await boot(plan());
    const auto socket = vfkit_socket(run_directory());
    co_await machine->resume();  // of one that runs: nothing
    co_await machine->pause();
    EXPECT_EQ((co_await vfkit::state(socket, 1s)).name, "Paused");
    co_await machine->resume();
    EXPECT_EQ((co_await vfkit::state(socket, 1s)).name, "Running");
    std::string refused;
    try {
      co_await vfkit::change(socket, "Resume", 1s);
    } catch (const Error& error) {
      refused = one_line(error);
    }
    EXPECT_NE(refused.find("invalid virtual machine state transition"), std::string::npos) << refused;
    machine->kill();
    co_await machine->exited();
  };
  test::run(work());
}

TEST_F(VzMachines, CannotBeSaved) {
  const Saving saving = test::run(driver_.saving(plan()));
  EXPECT_EQ(saving.fingerprint, "");
  EXPECT_NE(saving.why_not, "");
}

TEST_F(VzMachines, PowerOffCleanly) {
  auto work = [&]() -> asio::awaitable<ExitReason> {
    auto machine = co_await boot(plan());
    EXPECT_TRUE(co_await stop_machine(*machine, 10s));
    co_return co_await machine->exited();
  };
  const ExitReason reason = test::run(work());
  EXPECT_TRUE(reason.clean);
  EXPECT_EQ(reason.text, "the guest powered off");
}

TEST_F(VzMachines, ThatIgnoreTheButtonAreEnded) {
  faults("ignore-stop");
  auto work = [&]() -> asio::awaitable<bool> {
    auto machine = co_await boot(plan());
    co_return co_await stop_machine(*machine, 300ms, 100ms);
  };
  EXPECT_FALSE(test::run(work()));
  lock_.reset();
  EXPECT_FALSE(FileLock::is_held(home_ / "lock"));
}

TEST_F(VzMachines, OutliveTheirObjectAndAreTakenOver) {
  auto work = [&]() -> asio::awaitable<ExitReason> {
    auto machine = co_await boot(plan());
    co_await machine->pause();
    machine.reset();
    auto again = co_await driver_.attach(run_directory());
    if (!again) co_return ExitReason{false, "nothing found"};
    EXPECT_EQ(again->pid(), pid_);
    co_await again->resume();
    EXPECT_TRUE(co_await stop_machine(*again, 10s)) << "told by the console, since we are not its parent";
    EXPECT_EQ(co_await driver_.attach(run_directory()), nullptr) << "its socket is still there";
    co_return co_await again->exited();
  };
  const ExitReason reason = test::run(work());
  EXPECT_TRUE(reason.clean) << reason.text;
}

TEST_F(VzMachines, ThatVanishWereNotPoweredOff) {
  auto work = [&]() -> asio::awaitable<ExitReason> {
    co_await boot(plan());
    auto again = co_await driver_.attach(run_directory());
    again->kill();
    co_return co_await again->exited();
  };
  const ExitReason reason = test::run(work());
  EXPECT_FALSE(reason.clean);
  EXPECT_NE(reason.text.find("gone without a word"), std::string::npos);
}

TEST_F(VzMachines, AreNotThereWithoutASocket) {
  auto work = [&]() -> asio::awaitable<void> { EXPECT_EQ(co_await driver_.attach(run_directory()), nullptr); };
  test::run(work());
}

TEST_F(VzMachines, ThatDoNotAnswerAreBusy) {
  asio::io_context io;
  asio::local::stream_protocol::acceptor silent(
      io, asio::local::stream_protocol::endpoint(vfkit_socket(run_directory()).string()));
  VzTimings timings;
  timings.answer = 50ms;
  VzDriver patient(timings);
  auto work = [&]() -> asio::awaitable<Errc> {
    try {
      co_await patient.attach(run_directory());
    } catch (const Error& error) {
      co_return error.code();
    }
    co_return Errc::internal;
  };
  EXPECT_EQ(test::run(work()), Errc::busy);
}

TEST_F(VzMachines, StartOverSocketsThatWereLeftBehind) {
  for (const auto& path : {vfkit_socket(run_directory()), vsock_socket(run_directory())}) {
    asio::io_context io;
    asio::local::stream_protocol::acceptor left(io, asio::local::stream_protocol::endpoint(path.string()));
  }
  auto work = [&]() -> asio::awaitable<void> {
    auto machine = co_await boot(plan());
    machine->kill();
    co_await machine->exited();
  };
  test::run(work());
}

TEST_F(VzMachines, MakeTheFirmwaresVariablesOnce) {
  BootPlan wanted = plan();
  wanted.kernel.clear();
  wanted.initrd.clear();
  auto work = [&]() -> asio::awaitable<void> {
    for (int i = 0; i < 2; ++i) {
      auto machine = co_await boot(wanted);
      // What the guest has written there must be there at the next boot.
      const std::string expected = i == 0 ? "NVRAM" : "written by the guest";
      EXPECT_EQ(read_file(variable_store(wanted.root_disk)), expected);
      write_atomically(variable_store(wanted.root_disk), "written by the guest");
      machine->kill();
      co_await machine->exited();
    }
  };
  test::run(work());
}

// --- what goes wrong -------------------------------------------------------------------------------------------------

TEST_F(VzMachines, NeedVfkit) {
  ::setenv("COLIMA_LIKE_VFKIT", "/nowhere/vfkit", 1);
  const Error error = failure();
  EXPECT_EQ(error.code(), Errc::host_requirement);
  EXPECT_NE(error.remedy().find("brew install vfkit"), std::string::npos);
}

TEST_F(VzMachines, NeedAVfkitThatIsNotTooOld) {
  faults("old");
  const Error error = failure();
  EXPECT_EQ(error.code(), Errc::host_requirement);
  EXPECT_NE(one_line(error).find("is vfkit 0.6.1, but 0.6.2 or newer is needed"), std::string::npos) << one_line(error);
  EXPECT_NE(error.remedy().find("brew upgrade vfkit"), std::string::npos);
  faults("mute");
  EXPECT_NE(one_line(failure()).find("does not tell its version"), std::string::npos);
}

TEST_F(VzMachines, ThatDieAtOnceShowWhatVfkitSaid) {
  faults("exit-at-start");
  const Error error = failure();
  EXPECT_EQ(error.code(), Errc::io);
  EXPECT_NE(one_line(error).find("ended at once with exit code 1"), std::string::npos) << one_line(error);
  EXPECT_NE(error.cause().find("invalid virtual machine configuration"), std::string::npos);
  EXPECT_NE(error.remedy().find("vfkit.log"), std::string::npos);
  expect_nothing_left();
}

TEST_F(VzMachines, ShowOnlyTheMessagesOfThisStart) {
  write_atomically(home_ / "vfkit.log", "an old complaint\n");
  faults("exit-at-start");
  EXPECT_EQ(failure().cause().find("an old complaint"), std::string::npos);
}

TEST_F(VzMachines, WithoutASocketToTheGuestAreEnded) {
  faults("no-vsock");
  VzTimings timings;
  timings.sockets = 200ms;
  driver_ = VzDriver(timings);
  const Error error = failure();
  EXPECT_NE(error.cause().find("no socket to the guest"), std::string::npos) << one_line(error);
  EXPECT_NE(error.cause().find("error exposing vsock port 22"), std::string::npos) << one_line(error);
  expect_nothing_left();
}

TEST_F(VzMachines, ThatNeverRunAreEnded) {
  VzTimings timings;
  timings.start = 500ms;
  driver_ = VzDriver(timings);
  for (const char* fault : {"never-runs", "rest-hang"}) {
    faults(fault);
    const Error error = failure();
    EXPECT_NE(one_line(error).find("vfkit did not start"), std::string::npos) << one_line(error);
  }
  expect_nothing_left();
}

TEST_F(VzMachines, ThatStartSlowlyAreWaitedFor) {
  faults("slow-boot");
  auto work = [&]() -> asio::awaitable<void> {
    auto machine = co_await boot(plan());
    machine->kill();
    co_await machine->exited();
  };
  test::run(work());
}

TEST_F(VzMachines, AreTriedOnceMoreWithoutRosetta) {
  faults("no-rosetta");
  BootPlan wanted = plan();
  wanted.rosetta = true;
  auto work = [&]() -> asio::awaitable<std::string> {
    auto machine = co_await boot(wanted);
    const std::string refused = machine->rosetta_refused();
    machine->kill();
    co_await machine->exited();
    co_return refused;
  };
  const std::string refused = test::run(work());
  EXPECT_NE(refused.find("rosetta is not installed"), std::string::npos) << refused;
}

TEST_F(VzMachines, ThatDieWithAndWithoutRosettaTellTheFirstReason) {
  faults("exit-at-start");
  BootPlan wanted = plan();
  wanted.rosetta = true;
  EXPECT_NE(failure(wanted).cause().find("invalid virtual machine configuration"), std::string::npos);
  expect_nothing_left();
}

TEST_F(VzMachines, ACancelledBootLeavesNoProcess) {
  faults("slow-boot");
  auto work = [&]() -> asio::awaitable<Errc> {
    auto attempt = [](VzDriver& driver, BootPlan wanted) -> asio::awaitable<void> {
      co_await driver.boot(std::move(wanted));
    };
    try {
      co_await with_timeout(1s, "a boot", attempt(driver_, plan()));
    } catch (const Error& error) {
      co_return error.code();
    }
    co_return Errc::internal;
  };
  EXPECT_EQ(test::run(work()), Errc::timed_out);
  expect_nothing_left();
}

TEST_F(VzMachines, WhoseVfkitIgnoresSigtermAreEndedAllTheSame) {
  faults("sigterm-hang");
  auto work = [&]() -> asio::awaitable<bool> {
    auto machine = co_await boot(plan());
    ::kill(machine->pid(), SIGTERM);
    co_await sleep_for(200ms);
    EXPECT_EQ(::kill(machine->pid(), 0), 0) << "this vfkit hangs";
    co_return co_await stop_machine(*machine, 300ms, 100ms);
  };
  EXPECT_FALSE(test::run(work()));
}

/// Every word that we make passes the strict grammar, and means what the plan says.
TEST_F(VzMachines, SpeakTheGrammarOfVfkit) {
  BootPlan wanted = plan();
  wanted.kernel_arguments = R"(root=/dev/vda rw sysctl.x="1 2" a=b,c)";
  wanted.seed_disk = home_ / "root.raw";
  wanted.shares = {{"m0", home_ / "", false}};
  wanted.rosetta = true;
  write_atomically(seeded_initrd(run_directory()), "initrd");
  VfkitHost on{"vfkit", false};
  std::vector<std::string> words = vfkit_command_line(wanted, on);
  words.erase(words.begin());
  Command command;
  command.argv = {COLIMA_LIKE_PYTHON, "-I", "-B", fake("vfkit_grammar.py").string(), "--parse"};
  command.argv.insert(command.argv.end(), words.begin(), words.end());
  auto work = [&]() -> asio::awaitable<Finished> { co_return co_await run(command, "", 20s); };
  const Finished finished = test::run(work());
  ASSERT_TRUE(finished.status.ok()) << finished.errors;
  const auto config = boost::json::parse(finished.output);
  EXPECT_EQ(config.at("memoryMiB").to_number<int>(), 64);
  EXPECT_EQ(config.at("bootloader").at("cmdline").as_string(),
            wanted.kernel_arguments + " console=hvc0 colima_like.vsock");
  EXPECT_EQ(config.at("devices").as_array().size(), 9U);
  EXPECT_EQ(config.at("devices").at(0).at("path").as_string(), wanted.root_disk.string());
}

}  // namespace
}  // namespace cl
