#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <boost/json.hpp>

#include "src/base/file.hpp"
#include "tests/e2e/sandbox.hpp"

// What goes wrong before a machine boots: each error says what, why and what to do, with its own exit code, and
// leaves no process, no file and no profile behind.

namespace cl::e2e {
namespace {

// Run by ctest with WILL_FAIL: the sandbox of a program that does not do as it is told must fail the test.
TEST(Sandbox, DISABLED_ThisTestIsMeantToFail) {
  Sandbox box;
  EXPECT_OK(box.cl({"status"}));
}

class Errors : public testing::Test {
 protected:
  void TearDown() override {
    EXPECT_TRUE(eventually(30s, [this] { return box.processes().empty(); })) << box.process_list();
  }
  /// No profile was made for a request that was refused.
  void expect_untouched() { EXPECT_TRUE(fs::is_empty(box.home())) << box.run({"find", box.home().string()}); }
  Sandbox box;
};

/// What a build that did not succeed may leave: its log, and the lock file that must not be deleted.
std::vector<std::string> rest_of_build(const fs::path& cache) {
  std::vector<std::string> rest;
  if (!fs::exists(cache / "images")) return rest;
  for (const auto& entry : fs::directory_iterator(cache / "images")) {
    const std::string name = entry.path().filename();
    if (!name.ends_with(".lock") && !name.ends_with(".log")) rest.push_back(name);
  }
  return rest;
}

TEST_F(Errors, BadProfileNames) {
  for (const std::string name :
       {"../evil", ".", "UPPER", "sp ace", "-dash", "a/b", "this-name-is-longer-than-32-bytes"})
    expect_error(box.cl({"start", "--profile=" + name}), 2, {"cannot be a profile's name", "  try"});
  expect_error(box.cl({"start", "--profile", ""}), 2, {"  try"});
  expect_error(box.cl({"start", ""}), 2, {"  try"});
  expect_untouched();
}

TEST_F(Errors, APathTooLongForSockets) {
  const std::string home = (box.root() / std::string(90, 'x')).string();
  box.set("COLIMA_LIKE_HOME=" + home);
  expect_error(box.cl({"start"}), 2, {"too long", "because", "COLIMA_LIKE_HOME"});
  EXPECT_FALSE(fs::exists(home));
}

TEST_F(Errors, UnknownWordsGetTheNearestKnownOne) {
  expect_error(box.cl({"strat"}), 2, {"'strat'", "did you mean 'start'"});
  expect_error(box.cl({"start", "--cpu", "2"}), 2, {"'--cpu'", "did you mean '--cpus'"});
  expect_error(box.cl({"image", "biuld"}), 2, {"'image biuld'", "did you mean 'image build'"});
  expect_error(box.cl({"frobnicate"}), 2, {"'frobnicate'", "--help"});
  EXPECT_OK(box.cl({}));
  EXPECT_OK(box.cl({"--help"}));
  EXPECT_OK(box.cl({"start", "--help"}));
  expect_untouched();
}

TEST_F(Errors, ValuesThatBreakARule) {
  const std::vector<std::pair<std::string, std::string>> wrong{
      {"cpus", "-3"},    {"cpus", "0"},          {"cpus", "two"},   {"cpus", "1.5"},     {"cpus", "100000"},
      {"memory", "0.1"}, {"memory", "16000GiB"}, {"memory", "2X"},  {"memory", "-1GiB"}, {"disk", "12 parsecs"},
      {"disk", "1MiB"},  {"arch", "sparc"},      {"accel", "warp"}, {"image", "windows"}};
  for (const auto& [flag, value] : wrong)
    for (const auto& args :
         {std::vector<std::string>{"start", "--" + flag, value}, {"start", "--" + flag + "=" + value}})
      expect_error(box.cl(args), 2, {flag, "  try"});
  expect_untouched();
}

TEST_F(Errors, VerbsOnAProfileThatIsNotThere) {
  const Result status = box.cl({"status", "--json"});
  EXPECT_EQ(status.code, 1) << status;
  EXPECT_EQ(boost::json::parse(status.out).at("state"), "absent");
  const Result list = box.cl({"list", "--json"});
  EXPECT_OK(list);
  EXPECT_TRUE(boost::json::parse(list.out).as_array().empty());
  for (const char* verb : {"stop", "restart", "delete", "logs", "ssh"}) {
    const Result result = box.cl({verb});
    EXPECT_EQ(result.code, 1) << result;
    EXPECT_NE(result.err.find("error: "), std::string::npos) << result;
    EXPECT_NE(result.err.find("start"), std::string::npos) << "says how to make one:" << result;
  }
  expect_untouched();
}

TEST_F(Errors, ABrokenProfileFileIsNamedAndLeftAlone) {
  make_private_directory(box.profile());
  for (const char* text : {"cpus: [1, 2", "cpus: 2\nwarp: 9\n", "cpus: 2\ncpus: 3\n", "memory: lots\n"}) {
    write_atomically(box.profile() / "profile.yaml", text);
    expect_error(box.cl({"start"}), 2, {"profile.yaml"});
    EXPECT_EQ(read_file(box.profile() / "profile.yaml"), text);
    const Result status = box.cl({"status", "--json"});
    EXPECT_NE(status.code, 0) << status;
    EXPECT_TRUE(boost::json::parse(status.out).as_object().contains("error")) << status;
    const Result list = box.cl({"list", "--json"});
    EXPECT_EQ(boost::json::parse(list.out).as_array().size(), 1u) << "the others must still be shown:" << list;
  }
}

TEST_F(Errors, ABrokenStateFileIsToldWithARemedy) {
  make_private_directory(box.profile());
  write_atomically(box.profile() / "profile.yaml", "cpus: 2\n");
  write_atomically(box.profile() / "state.json", "{\"phase\": ");
  const Result status = box.cl({"status", "--json"});
  EXPECT_EQ(status.code, 1) << status;
  EXPECT_EQ(boost::json::parse(status.out).at("state"), "broken") << status;
  const Result start = box.cl({"start"});
  EXPECT_NE(start.code, 0) << start;
  EXPECT_NE(start.err.find("state.json"), std::string::npos) << start;
  EXPECT_NE(start.err.find("  try"), std::string::npos) << start;
}

TEST_F(Errors, AForeignFileAtTheDockerSocketStaysAsItIs) {
  make_private_directory(box.profile());
  write_atomically(box.docker_socket(), "precious");
  const Result result = box.cl({"start"});
  EXPECT_NE(result.code, 0) << result;
  EXPECT_NE(result.err.find(box.docker_socket().string()), std::string::npos) << result;
  EXPECT_NE(result.err.find("  try"), std::string::npos) << result;
  EXPECT_EQ(read_file_if_exists(box.docker_socket()), "precious") << result;
  EXPECT_EQ(box.hypervisors().size(), 0u);
}

TEST_F(Errors, MissingQemu) {
  auto command = without_programs({"qemu-system-x86_64", "qemu-system-aarch64"});
  if (command.empty()) GTEST_SKIP() << "this kernel lets us make no mount namespace to hide programs in";
  command.insert(command.end(), {program(), "start"});
  const Result result = box.run(command, {}, 1800s);
  expect_error(result, 4, {"qemu-system", "  try"});
}

TEST_F(Errors, MissingImageBuilder) {
  const fs::path cache = box.use_private_cache();
  auto command = without_programs({"mmdebstrap"});
  if (command.empty()) GTEST_SKIP() << "this kernel lets us make no mount namespace to hide programs in";
  command.insert(command.end(), {program(), "image", "build"});
  expect_error(box.run(command), 4, {"mmdebstrap", "  try"});
  EXPECT_EQ(rest_of_build(cache), std::vector<std::string>{});
}

TEST_F(Errors, AMirrorThatCannotBeReached) {
  const fs::path cache = box.use_private_cache();
  box.set("COLIMA_LIKE_MIRROR=http://127.0.0.1:9/");  // discard: nobody listens
  expect_error(box.cl({"image", "build"}), 4, {"http://127.0.0.1:9/", "COLIMA_LIKE_MIRROR"});
  EXPECT_EQ(rest_of_build(cache), std::vector<std::string>{});
  const Result list = box.cl({"image", "list", "--json"});
  EXPECT_OK(list);
  EXPECT_TRUE(boost::json::parse(list.out).as_array().empty()) << list;
  EXPECT_OK(box.cl({"image", "list"}));
  // start builds, too, and fails likewise, before there is a machine.
  expect_error(box.cl({"start"}), 4, {"http://127.0.0.1:9/"});
  EXPECT_EQ(box.state(), "stopped");
}

/// A mirror on loopback that takes connections and never answers.
class SilentMirror {
 public:
  SilentMirror() : listener_(::socket(AF_INET, SOCK_STREAM, 0)) {
    ::fcntl(listener_.get(), F_SETFD, FD_CLOEXEC);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    auto* const any = reinterpret_cast<sockaddr*>(&address);
    if (::bind(listener_.get(), any, size) != 0 || ::listen(listener_.get(), 16) != 0 ||
        ::getsockname(listener_.get(), any, &size) != 0)
      throw io_error("cannot listen on loopback", errno);
    url_ = "http://127.0.0.1:" + std::to_string(ntohs(address.sin_port)) + "/";
  }
  const std::string& url() const { return url_; }
  /// Whether somebody asks it for something within a minute.
  bool asked() {
    pollfd watched{listener_.get(), POLLIN, 0};
    if (::poll(&watched, 1, 60'000) != 1) return false;
    connection_.reset(::accept(listener_.get(), nullptr, nullptr));
    return static_cast<bool>(connection_);
  }

 private:
  UniqueFd listener_, connection_;
  std::string url_;
};

TEST_F(Errors, AnInterruptedImageBuildLeavesNoHalfImage) {
  const fs::path cache = box.use_private_cache();
  SilentMirror mirror;
  box.set("COLIMA_LIKE_MIRROR=" + mirror.url());
  auto build = box.start_cl({"image", "build"});
  ASSERT_TRUE(mirror.asked()) << build->err();
  build->signal(SIGINT);
  const Result result = build->wait(60s);
  EXPECT_EQ(result.code, 130) << result;
  EXPECT_EQ(rest_of_build(cache), std::vector<std::string>{});
}

TEST_F(Errors, AKilledImageBuildLeavesNoHalfImage) {
  const fs::path cache = box.use_private_cache();
  SilentMirror mirror;
  box.set("COLIMA_LIKE_MIRROR=" + mirror.url());
  auto build = box.start_cl({"image", "build"});
  ASSERT_TRUE(mirror.asked()) << build->err();
  build->signal(SIGKILL);
  build->wait(60s);
  // The recipe notices that its builder is gone and ends by itself; prune removes what it left.
  EXPECT_TRUE(eventually(30s, [this] { return box.processes().empty(); })) << box.process_list();
  const Result list = box.cl({"image", "list", "--json"});
  EXPECT_TRUE(boost::json::parse(list.out).as_array().empty()) << list;
  EXPECT_OK(box.cl({"image", "prune"}));
  EXPECT_EQ(rest_of_build(cache), std::vector<std::string>{});
}

TEST_F(Errors, NoSpaceForTheImage) {
  const fs::path cache = box.use_private_cache();
  auto command = in_mount_namespace("mount -t tmpfs -o size=32m,mode=700 none '" + cache.string() + "'");
  if (command.empty()) GTEST_SKIP() << "this kernel lets us make no mount namespace for a small file system";
  command.insert(command.end(), {program(), "image", "build"});
  expect_error(box.run(command), 4, {"space", "  try"});
}

TEST_F(Errors, NoSpaceForTheProfile) {
  if (box.cl({"image", "list", "--json"}).out.find("-docker-") == std::string::npos)
    ASSERT_OK(box.cl({"image", "build"}, {}, 1800s));
  auto command = in_mount_namespace("mount -t tmpfs -o size=4m,mode=700 none '" + box.home().string() + "'");
  if (command.empty()) GTEST_SKIP() << "this kernel lets us make no mount namespace for a small file system";
  command.insert(command.end(), {program(), "start"});
  expect_error(box.run(command, {}, boot_limit), 4, {"space", "  try"});
}

TEST_F(Errors, ADamagedImageIsNeverUsed) {
  Result built = box.cl({"image", "build"}, {}, 1800s);  // there already, unless this test runs alone
  ASSERT_OK(built);
  const std::string image_name = built.out.substr(0, built.out.find('\n'));
  const fs::path from = Sandbox::shared_cache() / "images";
  const fs::path to = box.use_private_cache() / "images";
  make_private_directory(to);
  fs::path image;
  for (const auto& entry : fs::directory_iterator(from)) {
    if (entry.path().filename() != image_name) continue;
    image = to / entry.path().filename();
    fs::create_directory(image);
    for (const auto& file : fs::directory_iterator(entry.path()))
      // Its digest is over all files; one other byte in the kernel is enough, and the large root need not be copied.
      if (file.path().filename() == "root.raw") {
        fs::create_hard_link(file.path(), image / "root.raw");
      } else {
        fs::copy(file.path(), image);
      }
  }
  ASSERT_FALSE(image.empty());
  fs::permissions(image / "kernel", fs::perms::owner_read | fs::perms::owner_write);
  std::string kernel = read_file(image / "kernel");
  kernel[kernel.size() / 2] = static_cast<char>(kernel[kernel.size() / 2] ^ 1);
  write_atomically(image / "kernel", kernel);

  const Result result = box.cl({"start"}, {}, boot_limit);
  EXPECT_EQ(result.code, 1) << result;
  EXPECT_NE(result.err.find("damaged"), std::string::npos) << result;
  EXPECT_NE(result.err.find("image build"), std::string::npos) << "says how to mend it:" << result;
  EXPECT_EQ(box.hypervisors().size(), 0u);
  // No profile stands on it: prune removes the image, and no other.
  EXPECT_OK(box.cl({"image", "prune"}));
  EXPECT_FALSE(fs::exists(image));
  EXPECT_FALSE(fs::is_empty(from));
}

TEST_F(Errors, VersionAndHelpNeedNothing) {
  const Result version = box.cl({"version", "--json"});
  ASSERT_OK(version);
  EXPECT_TRUE(boost::json::parse(version.out).is_object());
  EXPECT_OK(box.cl({"version"}));
  expect_untouched();
}

}  // namespace
}  // namespace cl::e2e
