#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <thread>

#include "src/base/child.hpp"
#include "src/base/file.hpp"
#include "src/base/unique_fd.hpp"
#include "tests/support/run.hpp"
#include "tests/support/temp_dir.hpp"

// The agent in its part as the OCI runtime of a machine's containers, and as the hook of their networks.
namespace cl::test {
namespace {

using namespace std::chrono_literals;

/// Under a link of that name, as containerd's shim and crun call it.
Finished call_as(const fs::path& link, const std::vector<std::string>& words, const std::string& input = "",
                 const std::string& path = "/usr/bin:/bin") {
  if (!fs::is_symlink(link)) fs::create_symlink(COLIMA_LIKE_AGENT, link);
  Command command;
  command.argv = words;
  command.argv.insert(command.argv.begin(), link.string());
  command.environment = {"PATH=" + path};
  return run(cl::run(std::move(command), input, 10s), 20s);
}

constexpr const char* hooked =
    R"({"ociVersion":"1.0.2","process":{"env":["A={\"path\":\"/proc/1/exe\",\"args\":[\"libnetwork-setkey\","]},)"
    R"("hooks":{"prestart":[{"path":"/usr/bin/own","args":["own"]},)"
    R"({"path":"/proc/237/exe","args":["libnetwork-setkey","-exec-root=/var/run/docker","c0ffee","12ab"]}]}})";

class OciRuntime : public testing::Test {
 protected:
  void SetUp() override {
    fs::create_directories(bundle());
    fs::create_directories(folder_ / "bin");
    write_atomically(folder_ / "bin" / "crun",
                     "#!/bin/sh\necho \"sign=$_LIBCONTAINER_CLONED_BINARY\"\nprintf '%s\\n' \"$@\"\n", 0755);
  }
  fs::path bundle() const { return folder_ / "bundle"; }
  Finished call(const std::vector<std::string>& words) {
    return call_as(folder_ / "crun", words, "", (folder_ / "bin").string() + ":/usr/bin:/bin");
  }

  TempDir folder_;
};

TEST_F(OciRuntime, CallsCrunWithItsWords) {
  const Finished said = call({"--root", "/run/x", "state", "id with space"});
  EXPECT_EQ(said.status.code, 0) << said.errors;
  EXPECT_EQ(said.output, "sign=\n--root\n/run/x\nstate\nid with space\n");
}

TEST_F(OciRuntime, LeadsTheHookOfDockerdToItself) {
  const std::string before = hooked;
  for (const std::vector<std::string>& words : {std::vector<std::string>{"create", "--bundle", bundle().string(), "id"},
                                                {"create", "--bundle=" + bundle().string(), "id"},
                                                {"create", "-b", bundle().string(), "id"}}) {
    write_atomically(bundle() / "config.json", before, 0640);
    ASSERT_EQ(call(words).status.code, 0);
    std::string expected = before;
    const std::string old = "/proc/237/exe";
    expected.replace(expected.find(old), old.size(), fs::canonical(COLIMA_LIKE_AGENT).string());
    EXPECT_EQ(read_file(bundle() / "config.json"), expected);
    struct stat facts{};
    ASSERT_EQ(::stat((bundle() / "config.json").c_str(), &facts), 0);
    EXPECT_EQ(facts.st_mode & 0777, 0640U);
    EXPECT_FALSE(fs::exists(bundle() / "config.json.new"));
  }
}

TEST_F(OciRuntime, LeavesEveryOtherConfigurationAsItIs) {
  const std::string others[] = {
      "{}", "", R"({"hooks":{"prestart":[{"path":"/proc/self/exe","args":["libnetwork-setkey","x"]}]}})",
      R"({"hooks":{"prestart":[{"path":"/proc/12/exe","args":["something-else"]}]}})", R"({"path":"/proc/)"};
  for (const std::string& text : others) {
    write_atomically(bundle() / "config.json", text);
    EXPECT_EQ(call({"create", "--bundle", bundle().string(), "id"}).status.code, 0);
    EXPECT_EQ(read_file(bundle() / "config.json"), text);
  }
  write_atomically(bundle() / "config.json", std::string(hooked));
  EXPECT_EQ(call({"start", "--bundle", bundle().string(), "id"}).status.code, 0) << "which creates nothing";
  EXPECT_EQ(read_file(bundle() / "config.json"), hooked);
  fs::remove(bundle() / "config.json");
  EXPECT_EQ(call({"create", "--bundle", bundle().string(), "id"}).status.code, 0) << "crun says that it is missing";
}

TEST_F(OciRuntime, RunsNoCrunThatAContainerCouldWriteTo) {
  fs::create_symlink(folder_ / "bin" / "crun", folder_ / "crun-read-only");
  EXPECT_EQ(call({"state"}).output, "sign=\nstate\n") << "it is on no read-only mount, and crun looks after itself";
}

TEST_F(OciRuntime, SaysThatThereIsNoCrun) {
  const Finished said = call_as(folder_ / "crun", {"state"}, "", "/nowhere");
  EXPECT_EQ(said.status.code, 127);
  EXPECT_EQ(said.errors, "crun: No such file or directory\n");
}

/// What dockerd listens on; answers one question.
class Controller {
 public:
  explicit Controller(const fs::path& exec_root, std::string answer) : answer_(std::move(answer)) {
    fs::create_directories(exec_root / "libnetwork");
    const std::string path = (exec_root / "libnetwork" / "12ab.sock").string();
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof address.sun_path - 1);
    listener_.reset(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    EXPECT_EQ(::bind(listener_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    EXPECT_EQ(::listen(listener_.get(), 1), 0);
    answers_ = std::thread([this] {
      const UniqueFd client(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
      char space[1024];
      const ssize_t n = ::read(client.get(), space, sizeof space);
      if (n > 0) question.assign(space, static_cast<std::size_t>(n));
      EXPECT_EQ(::write(client.get(), answer_.data(), answer_.size()), static_cast<ssize_t>(answer_.size()));
    });
  }
  void wait() { answers_.join(); }

  std::string question;

 private:
  std::string answer_;
  UniqueFd listener_;
  std::thread answers_;
};

constexpr const char* state =
    R"({"ociVersion":"1.0","id":"c0ffee","annotations":{"pid":"1"},"pid": 4711,"status":"created","bundle":"/b"})";

TEST(NetworkKey, IsTheProcesssNetworkNameSpace) {
  TempDir folder;
  Controller controller(folder.path(), "success");
  const Finished said =
      call_as(folder / "libnetwork-setkey", {"-exec-root=" + folder.path().string(), "c0ffee", "12ab"}, state);
  controller.wait();
  EXPECT_EQ(said.status.code, 0) << said.errors;
  EXPECT_EQ(controller.question, R"({"ContainerID":"c0ffee","Key":"/proc/4711/ns/net"})");
}

TEST(NetworkKey, FailsWithWhatDockerdSays) {
  TempDir folder;
  Controller controller(folder.path(), "no sandbox for it");
  const Finished said =
      call_as(folder / "libnetwork-setkey", {"-exec-root=" + folder.path().string(), "c0ffee", "12ab"}, state);
  controller.wait();
  EXPECT_EQ(said.status.code, 1);
  EXPECT_NE(said.errors.find("no sandbox for it"), std::string::npos) << said.errors;
}

TEST(NetworkKey, FailsWithAReason) {
  TempDir folder;
  const fs::path link = folder / "libnetwork-setkey";
  const std::string root = "-exec-root=" + folder.path().string();
  const auto expect = [&](const std::vector<std::string>& words, const std::string& input, const std::string& reason) {
    const Finished said = call_as(link, words, input);
    EXPECT_EQ(said.status.code, 1);
    EXPECT_NE(said.errors.find(reason), std::string::npos) << said.errors;
  };
  expect({root, "c0ffee", "12ab"}, state, "No such file or directory");
  expect({root, "c0ffee", "12ab"}, R"({"annotations":{"pid":"1"}})", "no state of a container");
  expect({root, "c0ffee", "12ab"}, "", "no state of a container");
  expect({root, "c0\"ffee", "12ab"}, state, "its words");
  expect({root, "c0ffee", "../12ab"}, state, "its words");
  expect({"c0ffee", "12ab"}, state, "its words");
}

}  // namespace
}  // namespace cl::test
