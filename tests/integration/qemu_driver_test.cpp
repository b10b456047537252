// The QEMU driver with a real QEMU whose guest is the BIOS and nothing else: no kernel runs, no system boots.
#include "vm/qemu/driver.hpp"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>

#include <boost/asio/local/stream_protocol.hpp>
#include <boost/json/value.hpp>
#include <cstdlib>
#include <fstream>

#include "src/base/file.hpp"
#include "src/base/file_lock.hpp"
#include "src/base/platform.hpp"
#include "tests/support/run.hpp"
#include "tests/support/temp_dir.hpp"
#include "vm/disk.hpp"
#include "vm/qemu/command_line.hpp"
#include "vm/qemu/qmp_client.hpp"
#include "vm/qemu/virtiofsd.hpp"

namespace cl {
namespace {

using namespace std::chrono_literals;
constexpr std::string_view owner = "12345678-1234-1234-1234-123456789abc";

/// A multiboot-less "kernel" is refused by QEMU, so this is the smallest that it loads: an ELF with a PVH note
/// whose only instruction halts. Written out byte by byte in halting_kernel().
std::string halting_kernel() {
  std::string elf(0x1000 + 1, '\0');
  auto put = [&](std::size_t at, std::uint64_t value, std::size_t length) {
    for (std::size_t i = 0; i < length; ++i) elf[at + i] = static_cast<char>(value >> (8 * i));
  };
  elf.replace(0, 7,
              "\x7f"
              "ELF\x02\x01\x01");
  put(16, 2, 2);         // ET_EXEC
  put(18, 62, 2);        // x86-64
  put(20, 1, 4);         // version
  put(24, 0x100000, 8);  // entry
  put(32, 64, 8);        // program headers
  put(52, 64, 2);        // header size
  put(54, 56, 2);        // program header size
  put(56, 2, 2);         // two of them
  // PT_LOAD of the hlt at 1 MiB
  put(64, 1, 4), put(68, 5, 4), put(72, 0x1000, 8), put(80, 0x100000, 8), put(88, 0x100000, 8);
  put(96, 1, 8), put(104, 1, 8), put(112, 0x1000, 8);
  // PT_NOTE with XEN_ELFNOTE_PHYS32_ENTRY (18)
  put(120, 4, 4), put(124, 4, 4), put(128, 0x200, 8), put(136, 0, 8), put(144, 0, 8);
  put(152, 24, 8), put(160, 24, 8), put(168, 4, 8);
  put(0x200, 4, 4), put(0x204, 8, 4), put(0x208, 18, 4), elf.replace(0x20c, 3, "Xen"), put(0x210, 0x100000, 8);
  elf[0x1000] = '\xf4';  // hlt
  return elf;
}

class QemuMachines : public ::testing::Test {
 protected:
  void SetUp() override {
    make_private_directory(run_directory());
    write_atomically(home_ / "kernel", halting_kernel());
    write_atomically(home_ / "root.raw", std::string(64 * 1024, '\0'));
    write_atomically(home_ / "secret", "a credential");
    ensure_data_disk(home_ / "data,1.raw", owner, ByteSize::mib(4));
    lock_ = FileLock::try_acquire(home_ / "lock");
  }

  void TearDown() override {
    if (pid_ > 0) ::kill(pid_, SIGKILL);
  }

  // A comma in every path: QEMU's options are lists with commas.
  std::filesystem::path run_directory() const { return home_ / "run,1"; }

  asio::awaitable<BootPlan> plan() {
    std::filesystem::path root_image = home_ / "root.raw", overlay = home_ / "root,1.qcow2";
    if (!std::filesystem::exists(overlay)) co_await create_overlay(root_image, overlay, ByteSize::mib(1));
    BootPlan plan;
    plan.name = "test,1";
    plan.arch = "x86_64";
    plan.cpus = 1;
    plan.memory = ByteSize::mib(64);
    plan.kernel = home_ / "kernel";
    plan.root_disk = overlay;
    plan.data_disk = home_ / "data,1.raw";
    plan.credentials.push_back({"colima-like.test", home_ / "secret"});
    plan.run_directory = run_directory();
    plan.console_log = home_ / "console,1.log";
    plan.driver_log = home_ / "driver.log";
    plan.lock_fd = lock_->fd();
    co_return plan;
  }

  asio::awaitable<std::unique_ptr<Machine>> boot() {
    BootPlan wanted = co_await plan();
    auto machine = co_await driver_.boot(std::move(wanted));
    pid_ = machine->pid();
    co_return machine;
  }

  test::TempDir home_;
  std::optional<FileLock> lock_;
  QemuDriver driver_;
  pid_t pid_ = 0;
};

TEST_F(QemuMachines, RunWithSocketsOfTheirOwnAndKeepTheProfilesLock) {
  auto work = [&]() -> asio::awaitable<ExitReason> {
    auto machine = co_await boot();
    EXPECT_EQ(machine->ssh_ports().size(), 4U);
    for (const SshPort& port : machine->ssh_ports()) {
      for (const auto& path : {port.to_guest, port.from_guest}) {
        asio::local::stream_protocol::socket socket(co_await asio::this_coro::executor);
        co_await socket.async_connect(asio::local::stream_protocol::endpoint(path.string()), asio::use_awaitable);
      }
    }
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
  EXPECT_EQ(reason.text, "QEMU was killed by signal 9");
  pid_ = 0;
}

TEST_F(QemuMachines, OutliveTheirObjectAndAreTakenOver) {
  auto work = [&]() -> asio::awaitable<ExitReason> {
    auto machine = co_await boot();
    machine.reset();
    EXPECT_EQ(::kill(pid_, 0), 0);
    auto again = co_await driver_.attach(run_directory());
    if (!again) co_return ExitReason{false, "nothing found"};
    EXPECT_EQ(again->pid(), pid_);
    co_await again->power_off();  // this guest does not care
    again->kill();
    co_return co_await again->exited();
  };
  const ExitReason reason = test::run(work());
  EXPECT_FALSE(reason.clean);
  EXPECT_EQ(reason.text, "QEMU is gone without a word: it was killed, or it crashed");
}

TEST_F(QemuMachines, AreNotTakenOverTwice) {
  QemuTimings short_timings;
  short_timings.answer = 50ms;
  QemuDriver second(short_timings);
  auto work = [&]() -> asio::awaitable<Errc> {
    auto machine = co_await boot();
    try {
      co_await second.attach(run_directory());
    } catch (const Error& error) {
      co_return error.code();
    }
    co_return Errc::internal;
  };
  EXPECT_EQ(test::run(work()), Errc::busy);
}

TEST_F(QemuMachines, GoOnWhenTakenOverWhilePaused) {
  auto work = [&]() -> asio::awaitable<std::string> {
    auto machine = co_await boot();
    machine.reset();
    const std::filesystem::path socket = qmp_socket(run_directory());
    const QmpClient::OnEvent none;
    auto qmp = co_await QmpClient::connect(socket, 5s, none);
    co_await qmp->execute("stop");
    qmp.reset();
    auto again = co_await driver_.attach(run_directory());
    co_await again->resume();
    again.reset();
    qmp = co_await QmpClient::connect(socket, 5s, none);
    const auto reply = co_await qmp->execute("query-status");
    co_return std::string(reply.at("status").as_string());
  };
  EXPECT_EQ(test::run(work()), "running");
}

TEST_F(QemuMachines, SayThatTheHostEndedThem) {
  auto work = [&]() -> asio::awaitable<ExitReason> {
    auto machine = co_await boot();
    ::kill(machine->pid(), SIGTERM);
    co_return co_await machine->exited();
  };
  EXPECT_EQ(test::run(work()).text, "QEMU was ended by a signal from the host");
  pid_ = 0;
}

TEST_F(QemuMachines, AreKilledWhenTheirGuestIgnoresItsPowerButton) {
  auto work = [&]() -> asio::awaitable<bool> {
    auto machine = co_await boot();
    co_return co_await stop_machine(*machine, 1ms);
  };
  EXPECT_FALSE(test::run(work()));
  pid_ = 0;
}

TEST_F(QemuMachines, AreNotThereBeforeTheFirstBootOrAfterTheEnd) {
  auto work = [&]() -> asio::awaitable<int> {
    int missing = 0;
    auto before = co_await driver_.attach(run_directory());
    missing += before == nullptr;
    auto machine = co_await boot();
    machine->kill();
    co_await machine->exited();
    auto after = co_await driver_.attach(run_directory());  // its sockets are still there
    missing += after == nullptr;
    auto second = co_await boot();  // and are in nobody's way
    missing += second != nullptr;
    co_return missing;
  };
  EXPECT_EQ(test::run(work()), 3);
}

TEST_F(QemuMachines, TellQemusLastWordsWhenItDoesNotStart) {
  auto work = [&]() -> asio::awaitable<std::string> {
    BootPlan wanted = co_await plan();
    wanted.root_disk = home_ / "missing.qcow2";
    try {
      co_await driver_.boot(std::move(wanted));
    } catch (const Error& error) {
      co_return one_line(error);
    }
    co_return "it booted";
  };
  write_atomically(home_ / "driver.log", "an older line\n");
  const std::string words = test::run(work());
  EXPECT_NE(words.find("QEMU did not start"), std::string::npos) << words;
  EXPECT_NE(words.find("missing.qcow2': No such file"), std::string::npos) << words;
  EXPECT_EQ(words.find("an older line"), std::string::npos) << words;
}

TEST_F(QemuMachines, LeaveNoProcessWhenTheirBootIsCancelled) {
  auto work = [&]() -> asio::awaitable<std::string> {
    std::string outcome = "it booted";
    try {
      co_await with_timeout(30ms, "booting", boot());  // at any point: QEMU needs longer
    } catch (const Error& error) {
      outcome = one_line(error);
    }
    auto found = co_await driver_.attach(run_directory());
    if (found) outcome += "; it runs";
    lock_.reset();  // a QEMU left behind would hold it
    if (FileLock::is_held(home_ / "lock")) outcome += "; it holds the lock";
    co_return outcome;
  };
  EXPECT_EQ(test::run(work()), "booting took too long");
}

class QemuShares : public QemuMachines {
 protected:
  void SetUp() override {
    QemuMachines::SetUp();
    const char* cache = std::getenv("HOME");
    server_ = find_virtiofsd(std::filesystem::path(cache != nullptr ? cache : "/") / ".cache/colima-like/tools/bin");
    if (!server_) GTEST_SKIP() << "there is no virtiofsd on this host: scripts/setup --virtiofsd";
    for (const char* name : {"one", "two, with a comma"}) std::filesystem::create_directory(home_ / name);
  }
  asio::awaitable<BootPlan> with_shares() {
    BootPlan wanted = co_await plan();
    wanted.shares = {{"share0", home_ / "one", false}, {"share1", home_ / "two, with a comma", true}};
    wanted.share_server = *server_;
    co_return wanted;
  }
  /// The first one's server has a guard.
  asio::awaitable<BootPlan> with_hidden() {
    BootPlan wanted = co_await with_shares();
    wanted.shares[0].hidden = {home_ / "one/.ssh"};
    co_return wanted;
  }
  std::filesystem::path lock_of(const char* tag) const { return share_lock(run_directory(), tag); }
  bool served(const char* tag) const { return FileLock::is_held(lock_of(tag)); }
  asio::awaitable<void> until_unserved() {
    while (served("share0") || served("share1")) co_await sleep_for(5ms);
  }

  std::optional<std::filesystem::path> server_;
};

TEST_F(QemuShares, AreServedAsLongAsTheMachineLives) {
  auto work = [&]() -> asio::awaitable<bool> {
    BootPlan wanted = co_await with_hidden();
    auto machine = co_await driver_.boot(std::move(wanted));
    pid_ = machine->pid();
    const bool both = served("share0") && served("share1");
    machine->kill();
    co_await machine->exited();
    const std::string lost = co_await machine->share_lost();
    EXPECT_EQ(lost, "") << "the end of the machine is no loss";
    co_await until_unserved();
    co_return both;
  };
  EXPECT_TRUE(test::run(work()));
  pid_ = 0;
}

TEST_F(QemuShares, ADeadServerIsToldAlsoToWhoTakesTheMachineOver) {
  auto work = [&]() -> asio::awaitable<std::vector<std::string>> {
    BootPlan wanted = co_await with_hidden();
    auto machine = co_await driver_.boot(std::move(wanted));
    pid_ = machine->pid();
    std::vector<std::string> lost;
    while (const pid_t server = platform::lock_holder(lock_of("share1"))) ::kill(server, SIGKILL);
    lost.push_back(co_await machine->share_lost());
    machine.reset();
    machine = co_await driver_.attach(run_directory());
    lost.push_back(co_await machine->share_lost());
    while (const pid_t server = platform::lock_holder(lock_of("share0"))) ::kill(server, SIGKILL);
    lost.push_back(co_await machine->share_lost());
    machine->kill();
    co_await machine->exited();
    co_return lost;
  };
  EXPECT_EQ(test::run(work(), 20s), (std::vector<std::string>{"share1", "share1", "share0"}));
  pid_ = 0;
}

TEST_F(QemuShares, GoWithABootThatFails) {
  auto work = [&]() -> asio::awaitable<std::string> {
    BootPlan wanted = co_await with_hidden();
    wanted.kernel = home_ / "secret";  // no kernel at all
    std::string failure;
    try {
      co_await driver_.boot(std::move(wanted));
    } catch (const Error& error) {
      failure = one_line(error);
    }
    co_await until_unserved();
    co_return failure;
  };
  EXPECT_NE(test::run(work()).find("QEMU did not start"), std::string::npos);
}

TEST_F(QemuShares, AreTriedOneByOneBeforeAMachineIsStarted) {
  auto work = [&]() -> asio::awaitable<std::map<std::filesystem::path, std::string>> {
    BootPlan wanted = co_await with_shares();
    const auto all = co_await try_share_servers(wanted);
    EXPECT_TRUE(all.empty()) << all.begin()->second;
    std::filesystem::remove(home_ / "one");
    auto without = co_await try_share_servers(wanted);
    co_return without;
  };
  const auto unserved = test::run(work(), 30s);
  ASSERT_EQ(unserved.size(), 1u);
  EXPECT_EQ(unserved.begin()->first, home_ / "one");
  EXPECT_NE(unserved.begin()->second.find("one does not exist"), std::string::npos) << unserved.begin()->second;
  EXPECT_FALSE(std::filesystem::exists(share_socket(run_directory(), "trial")));
}

TEST_F(QemuShares, AServerThatEndsAtOnceIsNoServer) {
  write_atomically(home_ / "broken",
                   "#!/bin/sh\ncase $1 in --version) echo virtiofsd 1.14.0 ;; --help) echo --shared-dir ;; "
                   "*) echo it is broken >&2 ;; esac\n",
                   0700);
  auto work = [&]() -> asio::awaitable<std::map<std::filesystem::path, std::string>> {
    BootPlan wanted = co_await with_shares();
    wanted.share_server = home_ / "broken";
    auto unserved = co_await try_share_servers(wanted);
    co_return unserved;
  };
  const auto unserved = test::run(work(), 30s);
  ASSERT_EQ(unserved.size(), 2u);
  EXPECT_EQ(unserved.begin()->second, "it is broken");
}

TEST_F(QemuShares, AServerThatHangsIsNoServerAndIsEnded) {
  write_atomically(home_ / "hangs",
                   "#!/bin/sh\ncase $1 in --version) echo virtiofsd 1.14.0 ;; --help) echo --shared-dir ;; "
                   "*) echo $$ >>" +
                       (home_ / "pids").string() + "; exec sleep 1000 ;; esac\n",
                   0700);
  write_atomically(home_ / "mute", "#!/bin/sh\nexec sleep 1000\n", 0700);
  auto work = [&](const char* program) -> asio::awaitable<std::map<std::filesystem::path, std::string>> {
    BootPlan wanted = co_await with_shares();
    wanted.shares.resize(1);
    wanted.share_server = home_ / program;
    auto unserved = co_await try_share_servers(wanted);
    co_return unserved;
  };
  const auto unserved = test::run(work("hangs"), 60s);
  ASSERT_EQ(unserved.size(), 1u);
  EXPECT_EQ(unserved.begin()->second, "virtiofsd's first answer took too long");
  std::ifstream pids(home_ / "pids");
  int servers = 0;
  for (pid_t pid = 0; pids >> pid; ++servers) EXPECT_NE(::kill(pid, 0), 0) << pid;
  EXPECT_EQ(servers, 1);

  auto failing = [&]() -> asio::awaitable<std::string> {
    try {
      co_await work("mute");
    } catch (const Error& error) {
      co_return one_line(error);
    }
    co_return "";
  };
  const std::string failure = test::run(failing(), 60s);
  EXPECT_NE(failure.find((home_ / "mute").string()), std::string::npos) << failure;
}

TEST_F(QemuShares, AFolderThatIsNotThereIsNamed) {
  auto work = [&]() -> asio::awaitable<std::string> {
    BootPlan wanted = co_await with_shares();
    std::filesystem::remove(home_ / "one");
    try {
      co_await driver_.boot(std::move(wanted));
    } catch (const Error& error) {
      co_return one_line(error);
    }
    co_return std::string();
  };
  const std::string failure = test::run(work(), 30s);
  EXPECT_NE(failure.find("one does not exist"), std::string::npos) << failure;
}

TEST_F(QemuShares, AreSavedAndLoadedWithTheMachine) {
  auto work = [&]() -> asio::awaitable<Saving> {
    BootPlan wanted = co_await with_hidden(), again = wanted, question = wanted;
    BootPlan shows = wanted;
    shows.shares[0].hidden.clear();
    Saving saving = co_await driver_.saving(std::move(question)), other = co_await driver_.saving(std::move(shows));
    EXPECT_NE(saving.fingerprint, other.fingerprint) << "what is saved knows names that would be hidden then";
    auto machine = co_await driver_.boot(std::move(wanted));
    pid_ = machine->pid();
    co_await machine->pause();
    co_await machine->save(home_ / "memory");
    co_await until_unserved();
    again.incoming = true;
    machine = co_await driver_.boot(std::move(again));
    pid_ = machine->pid();
    co_await machine->load(home_ / "memory");
    co_await machine->resume();
    EXPECT_TRUE(served("share0"));
    machine->kill();
    co_await machine->exited();
    co_return saving;
  };
  const Saving saving = test::run(work(), 30s);
  EXPECT_NE(saving.fingerprint, "") << saving.why_not;
  pid_ = 0;
}

}  // namespace
}  // namespace cl
