// The program itself with real shells, a real docker CLI and man: what only another program can judge.
#include <gtest/gtest.h>

#include <algorithm>
#include <boost/json.hpp>
#include <map>

#include "src/base/child.hpp"
#include "src/base/file.hpp"
#include "tests/support/run.hpp"
#include "tests/support/temp_dir.hpp"

namespace cl {
namespace {

using namespace std::chrono_literals;

class Program : public ::testing::Test {
 protected:
  Program() {
    fs::create_directories(dir_ / "bin");
    fs::create_symlink(COLIMA_LIKE_PROGRAM, dir_ / "bin" / "colima-like");
    for (const char* profile : {"default", "work"}) {
      fs::create_directories(home() / profile);
      write_atomically(home() / profile / "profile.yaml", "cpus: 1\n");
    }
  }
  fs::path home() const { return dir_ / "home"; }
  Finished call(std::vector<std::string> argv, const std::string& docker_config = "docker") {
    Command command;
    if (argv.front() == "colima-like") argv.front() = COLIMA_LIKE_PROGRAM;
    command.argv = std::move(argv);
    command.environment = {"COLIMA_LIKE_HOME=" + home().string(),
                           "HOME=" + dir_.path().string(),
                           "DOCKER_CONFIG=" + (dir_ / docker_config).string(),
                           "PATH=" + (dir_ / "bin").string() + ":" + std::getenv("PATH"),
                           "COLIMA_LIKE_PROFILE",
                           "DOCKER_HOST",
                           "DOCKER_CONTEXT"};
    return test::run(cl::run(std::move(command), {}, 30s), 40s);
  }
  /// stdout of a shell line, which must succeed.
  std::string output(std::vector<std::string> argv, const std::string& docker_config = "docker") {
    const Finished done = call(std::move(argv), docker_config);
    EXPECT_TRUE(done.status.ok()) << done.status.str() << done.errors;
    return done.output;
  }
  test::TempDir dir_;
};

/// Every file below a directory with its bytes and time of change.
std::string snapshot(const fs::path& directory) {
  std::vector<std::string> all;
  for (const auto& entry : fs::recursive_directory_iterator(directory))
    all.push_back(entry.path().string() + " " + std::to_string(entry.last_write_time().time_since_epoch().count()) +
                  " " + (entry.is_regular_file() ? read_file(entry.path()) : ""));
  std::sort(all.begin(), all.end());
  std::string text;
  for (const std::string& one : all) text += one + "\n";
  return text;
}

TEST_F(Program, DoctorLooksAtTheHostAndChangesNothing) {
  fs::permissions(home(), fs::perms::owner_all);
  const std::string before = snapshot(home());
  const Finished done = call({"colima-like", "doctor", "--json"});
  EXPECT_EQ(snapshot(home()), before);
  const boost::json::value found = boost::json::parse(done.output);
  std::map<std::string, std::string> verdicts;
  for (const auto& one : found.at("host").as_array()) {
    const std::string subject(one.at("subject").as_string()), verdict(one.at("verdict").as_string());
    if (verdicts[subject] != "problem") verdicts[subject] = verdict;
    if (verdict != "ok") EXPECT_NE(one.as_object().if_contains("remedy"), nullptr) << subject;
  }
  for (const char* subject :
       {"settings", "qemu", "qemu-img", "ssh-keygen", "accelerator", "image", "docker", "home", "space", "context"})
    EXPECT_TRUE(verdicts.contains(subject)) << subject << done.output;
  EXPECT_EQ(verdicts["settings"], "ok");
  EXPECT_EQ(verdicts["home"], "ok");
}

// Not what is missing: programs are looked for beyond PATH, and so cannot be hidden here.
TEST_F(Program, DoctorTellsWhatIsWrongAndGoesOn) {
  write_atomically(home() / "default" / "profile.yaml", "cpus: none\n");
  fs::permissions(home(), fs::perms::group_read, fs::perm_options::add);
  Command command;
  command.argv = {COLIMA_LIKE_PROGRAM, "doctor"};
  command.environment = {"COLIMA_LIKE_HOME=" + home().string(), "HOME=" + dir_.path().string(),
                         "DOCKER_HOST=unix:///elsewhere.sock"};
  const Finished done = test::run(cl::run(std::move(command), {}, 30s), 40s);
  EXPECT_EQ(done.status.code, 4) << done.output << done.errors;
  for (const char* text :
       {"qemu-system-", "DOCKER_HOST=unix:///elsewhere.sock is set", "is open to other users", "cpus"})
    EXPECT_NE(done.output.find(text), std::string::npos) << text << "\n" << done.output;
}

TEST_F(Program, BashCompletes) {
  const std::string script =
      "source <(colima-like completion bash)\n"
      "complete_words() { COMP_WORDS=(colima-like \"$@\"); COMP_CWORD=$#; _colima_like colima-like \"${!#}\"; "
      "echo \"${COMPREPLY[*]}\"; }\n"
      "complete -p colima-like; complete_words con; complete_words config set vm.a; complete_words use wo\n"
      "complete_words status wo; complete_words start --accel t";
  EXPECT_EQ(output({"bash", "--norc", "-c", script}),
            "complete -F _colima_like colima-like\nconfig\nvm.accel\nwork\nwork\ntcg\n");
}

TEST_F(Program, ZshCompletes) {
  if (!find_program("zsh")) GTEST_SKIP() << "no zsh here";
  const std::string script =
      "autoload -Uz compinit; compinit -D\neval \"$(colima-like completion zsh)\"\n"
      "compadd() { shift; print -r -- \"$@\" }\n"
      "try() { words=(colima-like \"$@\"); CURRENT=$#words; _colima_like }\n"
      "print -r -- $_comps[colima-like]; try con; try config set vm.a; try status wo; try start --accel t";
  EXPECT_EQ(output({"zsh", "-f", "-c", script}), "_colima_like\nconfig\nvm.accel\nwork\ntcg\n");
}

TEST_F(Program, FishCompletes) {
  if (!find_program("fish")) GTEST_SKIP() << "no fish here";
  const std::string script =
      "colima-like completion fish | source\n"
      "for line in 'con' 'config set vm.a' 'status wo' 'start --accel t'; complete -C \"colima-like $line\"; end";
  EXPECT_EQ(output({"fish", "--no-config", "-c", script}), "config\nvm.accel\nwork\ntcg\n");
}

TEST_F(Program, EnvIsUnderstoodByTheShells) {
  const std::string socket = "unix://" + (home() / "default" / "docker.sock").string() + "\n";
  EXPECT_EQ(output({"sh", "-c", "eval \"$(colima-like env --shell sh)\"; echo \"$DOCKER_HOST\""}), socket);
  if (find_program("fish")) {
    EXPECT_EQ(output({"fish", "--no-config", "-c", "colima-like env --shell fish | source; echo $DOCKER_HOST"}),
              socket);
  }
}

TEST_F(Program, TheManualPageHasNoMistakes) {
  if (!find_program("man")) GTEST_SKIP() << "no man here";
  const Finished page =
      call({"sh", "-c", "colima-like manual > page.1 && LC_ALL=C MANWIDTH=80 man --warnings -E UTF-8 -l page.1"});
  EXPECT_TRUE(page.status.ok()) << page.errors;
  EXPECT_EQ(page.errors, "");
  EXPECT_NE(page.output.find("config set KEY VALUE"), std::string::npos) << page.output;
}

TEST_F(Program, UseSwitchesTheDockerContextOfWhoeverCalls) {
  if (!find_program("docker")) GTEST_SKIP() << "no docker here";
  auto current = [&](const std::string& config) {
    return output({"docker", "context", "ls", "--format", "{{if .Current}}{{.Name}}{{end}}"}, config);
  };
  auto has_current = [&](const std::string& config, const std::string& name) {
    return ("\n" + current(config)).find("\n" + name + "\n") != std::string::npos;
  };
  output({"colima-like", "use", "work"});
  EXPECT_TRUE(has_current("docker", "colima-like-work")) << current("docker");
  EXPECT_FALSE(has_current("docker2", "colima-like-work")) << "another configuration is not touched";
  output({"colima-like", "use", "-"});
  EXPECT_TRUE(has_current("docker", "colima-like")) << current("docker");
  output({"colima-like", "rename", "work", "play"});
  output({"colima-like", "use", "play"}, "docker2");
  EXPECT_TRUE(has_current("docker2", "colima-like-play"));
  EXPECT_EQ(output({"colima-like", "use"}), "play\n");
}

TEST_F(Program, TheSchemaIsJson) {
  const auto schema = boost::json::parse(output({"colima-like", "config", "schema"}));
  EXPECT_EQ(schema.at("$schema"), "http://json-schema.org/draft-07/schema#");
}

}  // namespace
}  // namespace cl
