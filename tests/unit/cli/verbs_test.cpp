#include <gtest/gtest.h>

#include "profiles/store.hpp"
#include "src/base/child.hpp"
#include "src/base/file.hpp"
#include "src/cli/copy.hpp"
#include "src/cli/usage.hpp"
#include "tests/support/run.hpp"
#include "tests/unit/cli/command_line.hpp"

namespace cl::cli {
namespace {

using namespace std::chrono_literals;

TEST(CopyEnds, HaveAColonInTheMachine) {
  auto end = [](const std::string& text) {
    const CopyEnd one = parse_copy_end(text);
    return (one.in_guest ? "guest " : "here ") + one.profile + "|" + one.path;
  };
  EXPECT_EQ(end("notes.txt"), "here |notes.txt");
  EXPECT_EQ(end(":/root/x"), "guest |/root/x");
  EXPECT_EQ(end("work:x/y"), "guest work|x/y");
  EXPECT_EQ(end(":~/x"), "guest |x");
  EXPECT_EQ(end(":~"), "guest |.");
  EXPECT_EQ(end(":"), "guest |.");
  EXPECT_EQ(end("./a:b"), "here |./a:b") << "a file here may have a colon";
  EXPECT_EQ(end("/a:b"), "here |/a:b");
}

/// What runs in the guest, run here: it is plain shell.
class CopyInGuest : public ::testing::Test {
 protected:
  CopyInGuest() {
    fs::create_directories(dir_ / "folder");
    write_atomically(dir_ / "odd 'name", "words\n", 0640);
  }
  Finished sh(const std::string& line, const std::string& input = "") {
    Command command;
    command.argv = {"sh", "-c", line};
    command.environment = {"HOME=" + dir_.path().string()};
    return test::run(run(std::move(command), input, 30s), 40s);
  }
  std::string list() { return sh("cd; find . -name '*part*' -o -type f -printf '%m %P\\n' | sort").output; }
  test::TempDir dir_;
};

TEST_F(CopyInGuest, AFileGoesWhereCpWouldPutIt) {
  EXPECT_EQ(sh(receive_command("new", "file", "755"), "5\nbytes").status.code, 0);
  EXPECT_EQ(read_file(dir_ / "new"), "bytes");
  EXPECT_EQ(fs::status(dir_ / "new").permissions(), fs::perms(0755));
  EXPECT_EQ(sh(receive_command("folder", "file", "600"), "5\nother").status.code, 0);
  EXPECT_EQ(read_file(dir_ / "folder/file"), "other");
  EXPECT_EQ(sh(receive_command("folder/", "it's one", "600"), "0\n").status.code, 0);
  EXPECT_EQ(read_file(dir_ / "folder/it's one"), "");
  const Finished none = sh(receive_command("nothing/", "file", "600"), "5\nbytes");
  EXPECT_EQ(none.status.code, 66);
  EXPECT_NE(none.errors.find("there is no folder nothing/"), std::string::npos) << none.errors;
}

TEST_F(CopyInGuest, AFileThatDidNotComeWholeIsNotThere) {
  write_atomically(dir_ / "old", "as it was");
  EXPECT_NE(sh(receive_command("old", "file", "644"), "50\nbytes").status.code, 0);
  EXPECT_EQ(read_file(dir_ / "old"), "as it was");
  EXPECT_EQ(list(), "600 old\n640 odd 'name\n") << "nothing is left behind";
}

TEST_F(CopyInGuest, WhatIsSentSaysWhatItIs) {
  EXPECT_EQ(sh(send_command("odd 'name")).output, "f 640 6\nwords\n");
  const Finished none = sh(send_command("nothing"));
  EXPECT_EQ(none.status.code, 66);
  EXPECT_EQ(none.output, "");
  write_atomically(dir_ / "folder" / "inner", "deep");
  const std::string sent = sh(send_command("folder")).output;
  ASSERT_TRUE(sent.starts_with("d\n"));
  EXPECT_EQ(sh(receive_command("folder", "copy", std::nullopt), sent.substr(2)).status.code, 0);
  EXPECT_EQ(read_file(dir_ / "folder/copy/inner"), "deep") << "into a folder that is there";
  EXPECT_EQ(sh(receive_command("fresh", "copy", std::nullopt), sent.substr(2)).status.code, 0);
  EXPECT_EQ(read_file(dir_ / "fresh/inner"), "deep") << "under the very name";
}

TEST(UsageReader, TellsWhatWasUsedBetweenTwoReadings) {
  UsageReader reader;
  EXPECT_FALSE(
      reader.take("cpu 1000000 500000 10000000 100000 0 2\nmemory 2048000 1536000 0 0\ndisk / 100 50\n"
                  "network eth0 1000 500\nnetwork docker0 70 70\ncontainer abc 1000000 4096 max 0 0 1 10 20\n"))
      << "it takes two";
  const auto sample = reader.take(
      "cpu 2000000 1500000 11000000 1100000 0 2\nmemory 2048000 512000 0 0\npressure cpu 1 0\n"
      "network eth0 5000 900\nnetwork docker0 7000 7000\ncontainer abc 2000000 8192 max 0 0 1 30 120\n"
      "container new 5000000 10 max 0 0 1 0 0\n");
  ASSERT_TRUE(sample);
  EXPECT_DOUBLE_EQ(sample->machine.cpu_percent, 100) << "in two seconds of two CPUs; waiting for a disk is no work";
  EXPECT_EQ(sample->machine.memory, 1536000U);
  EXPECT_EQ(sample->memory_total, 2048000U);
  EXPECT_EQ(sample->machine.received, 2000U) << "each byte once";
  EXPECT_EQ(sample->machine.sent, 200U);
  ASSERT_EQ(sample->containers.size(), 2U);
  EXPECT_EQ(sample->containers[0].id, "abc");
  EXPECT_DOUBLE_EQ(sample->containers[0].cpu_percent, 50);
  EXPECT_EQ(sample->containers[0].memory, 8192U);
  EXPECT_EQ(sample->containers[0].received, 10U);
  EXPECT_EQ(sample->containers[0].sent, 50U);
  EXPECT_DOUBLE_EQ(sample->containers[1].cpu_percent, 0) << "it has just come";
}

TEST(UsageReader, TakesWhatIsMissingForNothing) {
  UsageReader reader;
  reader.take("");
  const auto sample = reader.take("nonsense\ncpu\ncontainer\nnetwork e\nmemory x\n");
  ASSERT_TRUE(sample);
  EXPECT_EQ(sample->machine.memory, 0U);
  EXPECT_TRUE(sample->containers.empty());
}

using MachineVerbs = CommandLine;

TEST_F(MachineVerbs, OfARunningMachineSayThatItIsNot) {
  fs::create_directories(home_ / "default");
  write_atomically(home_ / "default" / "profile.yaml", "");
  for (const std::vector<std::string>& words : {std::vector<std::string>{"top"},
                                                {"top", "--json", "--once"},
                                                {"df", "--json"},
                                                {"events", "--json"},
                                                {"cp", "/etc/hosts", ":/x"},
                                                {"cp", ":/x", "."},
                                                {"debug", "web"},
                                                {"debug", "web", "--", "ls", "-l"}}) {
    const Said said = say(words);
    EXPECT_EQ(said.code, 3) << words.front();
    EXPECT_NE(said.errors.find("'default' is not running"), std::string::npos) << said.errors;
    EXPECT_NE(said.errors.find("colima-like start"), std::string::npos) << said.errors;
    EXPECT_EQ(said.output, "") << words.front();
  }
  EXPECT_EQ(say({"cp", "a", "b"}).code, 2);
  EXPECT_EQ(say({"cp", ":/a", "work:/b"}).code, 2);
  EXPECT_EQ(say({"cp", "/etc/hosts", "nobody:/x"}).code, 1);
  EXPECT_EQ(say({"debug"}).code, 2);
}

TEST_F(MachineVerbs, CompletionOfContainersWakesNothing) {
  const Home home{home_.path(), home_.path()};
  using Words = std::vector<std::string>;
  fs::create_directories(home_ / "default" / "run");
  write_atomically(home_ / "default" / "profile.yaml", "");
  EXPECT_EQ(completions(home, {"debug", ""}), Words{});
  write_atomically(home_ / "default" / "run" / "containers", "web\nworker\ndb\n");
  EXPECT_EQ(completions(home, {"debug", "w"}), (Words{"web", "worker"})) << "as they were last";
  EXPECT_EQ(completions(home, {"cp", ""}), Words{"/"});
  EXPECT_EQ(completions(home, {"start", "--share", ""}), Words{"/"});
}

TEST_F(MachineVerbs, ForwardsAreCompletedFromTheProfile) {
  const Home home{home_.path(), home_.path()};
  using Words = std::vector<std::string>;
  fs::create_directories(home_ / "default");
  EXPECT_EQ(completions(home, {"forward", "remove", ""}), Words{}) << "there is no profile";
  write_atomically(home_ / "default" / "profile.yaml", "forwards: ['8080:80', '8081:80', 'reverse:9000:9000']\n");
  EXPECT_EQ(completions(home, {"forward", "remove", ""}), (Words{"8080:80", "8081:80", "reverse:9000:9000"}));
  EXPECT_EQ(completions(home, {"forward", "remove", "808"}), (Words{"8080:80", "8081:80"}));
  EXPECT_EQ(completions(home, {"forward", "add", ""}), Words{"/"}) << "the path of a socket";
  EXPECT_EQ(completions(home, {"forward", ""}), (Words{"add", "remove", "list"}));
}

TEST_F(MachineVerbs, ForwardsAreKeptWithAbsolutePathsOfThisHost) {
  fs::create_directories(home_ / "default");
  write_atomically(home_ / "default" / "profile.yaml", "# mine\ncpus: 1\n");
  const fs::path before = fs::current_path();
  fs::current_path(home_.path());
  const std::string here = fs::current_path().string();
  EXPECT_EQ(say({"forward", "add", "./x.sock:/run/x.sock"}).code, 0);
  EXPECT_EQ(say({"forward", "add", "--reverse", "/run/y.sock:../y.sock"}).code, 0);
  EXPECT_EQ(say({"forward", "add", "[::1]:8080:[::1]:80"}).code, 0);
  EXPECT_EQ(say({"forward", "add", "[::1]:8080:[::1]:80"}).code, 0) << "once more changes nothing";
  fs::current_path(before);
  const Profile kept = load_profile(profile_paths({home_.path(), home_.path()}, "default"), {});
  EXPECT_EQ(kept.forwards,
            (std::vector<std::string>{here + "/x.sock:/run/x.sock",
                                      "reverse:/run/y.sock:" + fs::path(here).parent_path().string() + "/y.sock",
                                      "[::1]:8080:[::1]:80"}));
  EXPECT_EQ(read_file(home_ / "default" / "profile.yaml").substr(0, 15), "# mine\ncpus: 1\n");
  const Said too_long = say({"forward", "add", "/" + std::string(120, 'x') + ":80"});
  EXPECT_EQ(too_long.code, 2);
  EXPECT_NE(too_long.errors.find("bytes that a unix socket's path may have"), std::string::npos) << too_long.errors;
}

}  // namespace
}  // namespace cl::cli
