#include "src/cli/habits.hpp"

#include <gtest/gtest.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <set>

#include "profiles/keys.hpp"
#include "src/cli/parser.hpp"
#include "tests/unit/cli/command_line.hpp"

namespace cl::cli {
namespace {

/// What hands bring along from Colima, Lima and docker.
class Habits : public CommandLine {
 protected:
  void make(const std::string& name, const std::string& yaml = "") {
    fs::create_directories(home_ / name);
    write_atomically(home_ / name / "profile.yaml", yaml);
  }
};

bool is_verb(std::string_view words) {
  return std::any_of(verbs().begin(), verbs().end(), [words](const Verb& verb) {
    return words == verb.name || words.starts_with(std::string(verb.name) + " ");
  });
}

TEST_F(Habits, AreAnsweredWithWhatIsHere) {
  for (const Habit& one : foreign_verbs()) {
    EXPECT_FALSE(is_verb(one.theirs)) << one.theirs << " is a verb of ours by now";
    if (!one.ours.empty()) EXPECT_TRUE(is_verb(one.ours)) << one.theirs << ": " << one.ours;
    EXPECT_FALSE(one.ours.empty() && one.note.empty()) << one.theirs;
  }
  Invocation unused;
  const Verb* none = nullptr;
  CLI::App app;
  build_parser(app, unused, none);
  const CLI::App* start = app.get_subcommand("start");
  for (const Habit& one : foreign_options()) {
    EXPECT_EQ(start->get_option_no_throw(std::string(one.theirs)), nullptr) << one.theirs;
    const std::string ours(one.ours);
    if (ours.starts_with("--set ")) {
      EXPECT_NE(find_key(ours.substr(6, ours.find('=') - 6)), nullptr) << ours;
    } else if (ours.starts_with("colima-like ")) {
      EXPECT_TRUE(is_verb(ours.substr(12))) << ours;
    } else if (!ours.empty() && ours != "--json") {
      EXPECT_NE(start->get_option_no_throw(ours.substr(0, ours.find(' '))), nullptr) << ours;
    }
  }
}

TEST_F(Habits, AnswersAreSeen) {
  const std::pair<std::vector<std::string>, std::string> cases[] = {
      {{"shell"}, "did you mean 'ssh'?"},
      {{"info"}, "did you mean 'status'?"},
      {{"ps"}, "did you mean 'list'?"},
      {{"start", "--mount", "/data"}, "did you mean '--share'?"},
      {{"start", "-V", "/data"}, "did you mean '--share'?"},
      {{"start", "-c", "2"}, "did you mean '--cpus'?"},
      {{"start", "--kubernetes"}, "There is no Kubernetes here"},
      {{"status", "--format", "json"}, "did you mean '--json'?"},
      {{"config", "sett", "cpus", "2"}, "did you mean 'config set'?"},
      {{"-p", "work", "strat"}, "did you mean 'start'?"},
      {{"help", "strat"}, "did you mean 'start'?"}};
  for (const auto& [words, text] : cases) {
    const Said said = say(words);
    EXPECT_EQ(said.code, 2) << said.errors;
    EXPECT_NE(said.errors.find(text), std::string::npos) << said.errors;
  }
  EXPECT_EQ(say({"list", "--share", "x"}).errors.find("did you mean '--share'"), std::string::npos)
      << "an answer is an option that is there";
}

TEST_F(Habits, BareAndHelpAndVersionAreWhatOneExpects) {
  const Said bare = say({});
  EXPECT_EQ(bare.code, 0);
  EXPECT_NE(bare.output.find("usage: colima-like"), std::string::npos);
  EXPECT_EQ(bare.output, say({"help"}).output);
  EXPECT_EQ(bare.output, say({"--help"}).output);
  EXPECT_EQ(say({"help", "start"}).output, say({"start", "--help"}).output);
  EXPECT_EQ(say({"help", "config", "set"}).output, say({"config", "set", "--help"}).output);
  EXPECT_EQ(say({"help", "config"}).output, say({"config", "--help"}).output);
  for (const char* flag : {"-v", "-V", "--version"}) EXPECT_EQ(say({flag}).output, say({"version"}).output);
}

TEST_F(Habits, TheProfileMayBeNamedBeforeTheVerb) {
  make("work", "cpus: 1\n");
  for (const std::vector<std::string>& words : {std::vector<std::string>{"-p", "work", "config", "get", "cpus"},
                                                {"--profile=work", "config", "get", "cpus"},
                                                {"-pwork", "config", "get", "cpus"},
                                                {"-p", "work", "config", "get", "-p", "work", "cpus"},
                                                {"config", "get", "cpus", "-p", "work"}})
    EXPECT_EQ(say(words).output, "1\n") << words.front();
  EXPECT_EQ(say({"-p", "work", "list"}).code, 0) << "what is about no profile is about none";
  const Said two = say({"-p", "work", "status", "-p", "play"});
  EXPECT_EQ(two.code, 2);
  EXPECT_NE(two.errors.find("two profiles are named: 'work' and 'play'"), std::string::npos) << two.errors;
  EXPECT_EQ(say({"-p", "work", "status", "play"}).code, 2);
  EXPECT_EQ(say({"-p", "work", "clone", "a", "b"}).code, 2);
  EXPECT_EQ(say({"-p", "../evil", "status"}).code, 2);
  using Words = std::vector<std::string>;
  EXPECT_EQ(completions({home_.path(), home_.path()}, {"-p", "wo"}), Words{"work"});
  EXPECT_EQ(completions({home_.path(), home_.path()}, {"-p", "work", "config", "sch"}), Words{"schema"});
}

TEST_F(Habits, ArchitecturesHaveDockersNamesToo) {
  make("work");
  EXPECT_EQ(say({"config", "set", "arch", "arm64", "-p", "work"}).code, 0);
  EXPECT_EQ(say({"config", "get", "arch", "-p", "work"}).output, "aarch64\n");
  EXPECT_EQ(value_as_ours("arch", "amd64"), "x86_64");
  EXPECT_EQ(value_as_ours("arch", "vax"), "vax");
  EXPECT_EQ(value_as_ours("image", "amd64"), "amd64");
  // The architecture is understood; the accelerator is not.
  const Said said = say({"start", "--arch", "amd64", "--accel", "xen"});
  EXPECT_EQ(said.errors.find("arch"), std::string::npos) << said.errors;
}

TEST_F(Habits, NerdctlTakesColimasDashes) {
  make("default");
  for (const std::vector<std::string>& words : {std::vector<std::string>{"nerdctl", "--", "run", "--rm", "x"},
                                                {"-p", "default", "nerdctl", "--", "ps"},
                                                {"nerdctl", "-p", "default", "--", "ps", "-a"},
                                                {"nerdctl", "run", "--rm", "x"}})
    EXPECT_EQ(say(words).code, 3) << "it is understood, and the machine is not running";
}

TEST_F(Habits, AForcedDeleteOfWhatIsNotThereIsDone) {
  EXPECT_EQ(say({"delete", "-f", "nobody"}).code, 0);
  EXPECT_EQ(say({"-p", "nobody", "delete", "-f"}).code, 0);
  EXPECT_EQ(say({"delete", "nobody"}).code, 1);
  EXPECT_TRUE(fs::is_empty(home_.path()));
}

TEST_F(Habits, SharesOfAStartAreCheckedBeforeAnythingIsMade) {
  const Said missing = say({"start", "--share", "/no/such/folder"});
  EXPECT_EQ(missing.code, 1);
  EXPECT_NE(missing.errors.find("/no/such/folder"), std::string::npos) << missing.errors;
  EXPECT_EQ(say({"start", "--share", "/tmp:relative"}).code, 2);
  EXPECT_TRUE(fs::is_empty(home_.path()));
}

TEST_F(Habits, WhatIsNotThereHasOneExitCode) {
  for (const std::vector<std::string>& words : {std::vector<std::string>{"status", "nobody"},
                                                {"status", "nobody", "--json"},
                                                {"stop", "nobody"},
                                                {"restart", "nobody"},
                                                {"suspend", "nobody"},
                                                {"apply", "nobody"},
                                                {"delete", "nobody"},
                                                {"logs", "nobody"},
                                                {"ports", "nobody"},
                                                {"env", "nobody"},
                                                {"ssh-config", "nobody"},
                                                {"socket-link", "nobody"},
                                                {"share", "list", "nobody"},
                                                {"share", "add", "-p", "nobody", "/tmp"},
                                                {"config", "show", "-p", "nobody"},
                                                {"config", "show", "--effective", "-p", "nobody"},
                                                {"config", "get", "-p", "nobody", "cpus"},
                                                {"config", "edit", "-p", "nobody"},
                                                {"config", "diff", "-p", "nobody"},
                                                {"use", "nobody"},
                                                {"clone", "nobody", "x"},
                                                {"rename", "nobody", "x"},
                                                {"export", "-p", "nobody", "x"},
                                                {"ssh", "-p", "nobody", "--", "true"},
                                                {"nerdctl", "-p", "nobody", "ps"}}) {
    const Said said = say(words);
    EXPECT_EQ(said.code, 1) << words.front();
    EXPECT_NE((said.errors + said.output).find("there is no profile 'nobody'"), std::string::npos)
        << words.front() << ": " << said.errors << said.output;
  }
  EXPECT_TRUE(fs::is_empty(home_.path()));
}

TEST_F(Habits, EmptyListsSayWhatToDo) {
  make("default", "shares: []\n");
  EXPECT_NE(say({"share", "list"}).errors.find("colima-like share add"), std::string::npos);
  EXPECT_NE(say({"image", "list"}).errors.find("colima-like image build"), std::string::npos);
  EXPECT_EQ(say({"image", "list"}).output, "");
  EXPECT_EQ(say({"image", "list", "--json"}).output, "[]\n");
}

TEST_F(Habits, AnEditorForTerminalsIsNotStartedWithoutOne) {
  make("default");
  for (const char* name : {"VISUAL", "EDITOR"}) ::unsetenv(name);
  for (const std::vector<std::string>& words : {std::vector<std::string>{"config", "edit"}, {"template", "edit"}}) {
    const Said said = say(words);
    EXPECT_EQ(said.code, 2);
    EXPECT_NE(said.errors.find("there is no terminal for the editor 'vi'"), std::string::npos) << said.errors;
  }
  ::setenv("VISUAL", "/usr/bin/nano -w", 1);
  EXPECT_EQ(say({"config", "edit"}).code, 2);
  ::unsetenv("VISUAL");
}

TEST_F(Habits, ALocalImageIsPinnedByWhatItHolds) {
  make("work");
  write_atomically(home_ / "disk.raw", "a disk");
  const std::string file = (home_ / "disk.raw").string();
  const Said said = say({"config", "set", "image", file, "-p", "work"});
  EXPECT_EQ(said.code, 0) << said.errors;
  const std::string pinned = say({"config", "get", "image", "-p", "work"}).output;
  EXPECT_TRUE(pinned.starts_with(file + "#sha512:")) << pinned;
  EXPECT_NE((said.errors + "\n").find(pinned), std::string::npos) << "it is told: " << said.errors;
  EXPECT_EQ(say({"config", "set", "image", file + ".gone", "-p", "work"}).code, 1);
  EXPECT_EQ(say({"start", "--image", file + ".gone", "nobody"}).code, 1);
  write_atomically(home_ / "work" / "profile.yaml", "image: " + file + "\n");
  EXPECT_NE(say({"config", "check", "-p", "work"}).errors.find("config set image " + file), std::string::npos);
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines{""};
  for (const char c : text) {
    if (c == '\n')
      lines.emplace_back();
    else
      lines.back() += c;
  }
  return lines;
}

TEST_F(Habits, HelpFitsAScreen) {
  std::size_t group = 0;
  for (const std::string& line : lines_of(say({"--help"}).output)) {
    EXPECT_LE(line.size(), 80U) << line;
    group = line.empty() ? 0 : group + 1;
    EXPECT_LE(group, 24U) << line;
  }
  for (const Verb& verb : verbs()) {
    std::vector<std::string> words = {"help"};
    std::string_view rest = verb.name;
    const auto space = std::min(rest.find(' '), rest.size());
    words.emplace_back(rest.substr(0, space));
    if (space < rest.size()) words.emplace_back(rest.substr(space + 1));
    for (const std::string& line : lines_of(say(words).output))
      EXPECT_LE(line.size(), 100U) << verb.name << ": " << line;
  }
}

TEST(Topics, HoldEachCommandOnce) {
  std::multiset<std::string> listed;
  for (const Topic& topic : topics())
    for (std::string_view rest = topic.commands; !rest.empty();) {
      const auto space = std::min(rest.find(' '), rest.size());
      listed.emplace(rest.substr(0, space));
      rest.remove_prefix(std::min(space + 1, rest.size()));
    }
  std::multiset<std::string> wanted;
  for (const Verb& verb : verbs()) {
    const std::string first(verb.name.substr(0, verb.name.find(' ')));
    if ((verb.options & hidden_verb) == 0 && !wanted.contains(first)) wanted.insert(first);
  }
  EXPECT_EQ(listed, wanted);
}

TEST(Verbs, HaveExamplesThatParse) {
  for (const Verb& verb : verbs()) {
    if ((verb.options & hidden_verb) != 0) continue;
    EXPECT_FALSE(verb.examples.empty()) << verb.name;
    for (const std::string& line : lines_of(std::string(verb.examples))) {
      Invocation call;
      const Verb* chosen = nullptr;
      CLI::App app;
      build_parser(app, call, chosen);
      try {
        app.parse(line.substr(0, line.find(" >")), false);
      } catch (const CLI::ParseError& error) {
        ADD_FAILURE() << line << ": " << error.what();
      }
      if (chosen == nullptr) ADD_FAILURE() << line;
      if (chosen != nullptr) EXPECT_EQ(chosen->name, verb.name) << line;
    }
  }
}

}  // namespace
}  // namespace cl::cli
