#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <thread>

#include "profiles/keys.hpp"
#include "profiles/parse.hpp"
#include "profiles/state.hpp"
#include "src/cli/config.hpp"
#include "tests/unit/cli/command_line.hpp"

namespace cl::cli {
namespace {

class Config : public CommandLine {
 protected:
  Config() : paths_(profile_paths({home_.path(), home_.path()}, "default")) {
    create_profile(paths_);
    ::unsetenv("VISUAL");
  }
  ~Config() override {
    for (const char* name : {"EDITOR", "VISUAL", "COLIMA_LIKE_CPUS"}) ::unsetenv(name);
  }
  std::string file() const { return read_file(paths_.config); }
  void write(const std::string& yaml) { write_atomically(paths_.config, yaml); }
  /// The one row of `config show --effective --json` for a key.
  boost::json::object effective(const std::string& key) {
    const auto all = boost::json::parse(say({"config", "show", "--effective", "--json"}).output);
    for (const auto& one : all.as_array())
      if (one.at("key") == boost::json::value(key)) return one.as_object();
    return {};
  }
  ProfilePaths paths_;
};

TEST_F(Config, SetAndUnsetKeepEverythingElse) {
  const std::string before = file();
  EXPECT_EQ(say({"config", "set", "cpus", "1"}).code, 0);
  EXPECT_EQ(say({"config", "get", "cpus"}).output, "1\n");
  EXPECT_EQ(say({"config", "unset", "cpus"}).code, 0);
  EXPECT_EQ(file(), before);
  EXPECT_EQ(say({"config", "get", "cpus"}).output, "2\n");
}

TEST_F(Config, TheFileMayBeALinkToAnother) {
  const fs::path real = home_ / "dotfiles.yaml";
  write_atomically(real, "# mine\n");
  fs::remove(paths_.config);
  fs::create_symlink(real, paths_.config);
  EXPECT_EQ(say({"config", "set", "cpus", "1"}).code, 0);
  EXPECT_EQ(read_file(real), "# mine\ncpus: 1\n");
  EXPECT_TRUE(fs::is_symlink(paths_.config));
}

TEST_F(Config, WhatTheHostCannotGiveIsNotWritten) {
  const std::string before = file();
  EXPECT_EQ(say({"config", "set", "cpus", "100000"}).code, 2);
  EXPECT_EQ(say({"config", "set", "vm.accel", "xen"}).code, 2);
  const Said said = say({"config", "set", "vm.acel", "tcg"});
  EXPECT_EQ(said.code, 2);
  EXPECT_NE(said.errors.find("did you mean vm.accel?"), std::string::npos) << said.errors;
  EXPECT_EQ(file(), before);
}

TEST_F(Config, AFailedSetMakesNoProfile) {
  EXPECT_EQ(say({"config", "set", "-p", "new", "cpus", "0"}).code, 2);
  EXPECT_FALSE(fs::exists(home_ / "new"));
  EXPECT_EQ(say({"config", "set", "-p", "new", "cpus", "1"}).code, 0);
  EXPECT_TRUE(fs::exists(home_ / "new" / "profile.yaml"));
}

TEST_F(Config, EveryValueKnowsItsSource) {
  EXPECT_EQ(say({"config", "set", "--template", "idle", "7m"}).code, 0);
  EXPECT_EQ(effective("idle").at("from"), "default") << "a profile that exists keeps its template";
  fs::remove_all(paths_.directory);
  create_profile(paths_);
  write("memory: 1GiB\n");
  ::setenv("COLIMA_LIKE_CPUS", "1", 1);
  EXPECT_EQ(effective("idle").at("from"), "template");
  EXPECT_EQ(effective("idle").at("value"), "7m");
  EXPECT_EQ(effective("memory").at("from"), "file");
  EXPECT_EQ(effective("cpus").at("from"), "environment");
  EXPECT_EQ(effective("disk").at("from"), "default");
}

TEST_F(Config, AnEditorsFileIsTakenOnlyWhenItIsValid) {
  write("# mine\ncpus: 1\n");
  ::setenv("EDITOR", "sed -i s/1/many/", 1);
  const Said refused = say({"config", "edit"});
  EXPECT_EQ(refused.code, 2);
  EXPECT_NE(refused.errors.find(":2:7: cpus must be"), std::string::npos) << refused.errors;
  EXPECT_EQ(file(), "# mine\ncpus: 1\n");
  const auto at = refused.errors.find("what you wrote is in ") + 21;
  const fs::path draft = refused.errors.substr(at, refused.errors.find('\n', at) - at);
  EXPECT_EQ(read_file(draft), "# mine\ncpus: many\n") << "what was written is not lost";

  ::setenv("VISUAL", "sed -i s/1/2/", 1);  // goes over EDITOR
  EXPECT_EQ(say({"config", "edit"}).code, 0);
  EXPECT_EQ(file(), "# mine\ncpus: 2\n");
  ::setenv("VISUAL", "true", 1);
  EXPECT_NE(say({"config", "edit"}).errors.find("nothing was changed"), std::string::npos);
  ::setenv("VISUAL", "false", 1);
  EXPECT_EQ(say({"config", "edit"}).code, 4);
  ::setenv("VISUAL", ("echo '# theirs' > " + paths_.config.string() + "; sed -i s/2/1/").c_str(), 1);
  EXPECT_EQ(say({"config", "edit"}).code, 6) << "somebody changed the file meanwhile";
  EXPECT_EQ(file(), "# theirs\n");
}

TEST_F(Config, DiffSaysWhatAChangeNeeds) {
  write("cpus: 1\nidle: 5m\n");
  State state;
  state.since = 1;
  save_state(*FileLock::try_acquire(paths_.lock), paths_, state);
  const auto diff = boost::json::parse(say({"config", "diff", "--json"}).output).as_array();
  ASSERT_EQ(diff.size(), 2U);
  EXPECT_EQ(diff[0].at("key"), "cpus");
  EXPECT_EQ(diff[0].at("needs"), "colima-like restart");
  EXPECT_EQ(diff[1].at("key"), "idle");
  EXPECT_EQ(diff[1].at("needs"), "colima-like apply");
}

TEST_F(Config, TwoAtOnceLoseNothing) {
  // Threads share stdout, so the functions below it are used, as two processes would.
  write("");
  auto set = [&](const char* key, const char* value) {
    Invocation call;
    call.home = {home_.path(), home_.path()};
    call.words = {{"KEY", key}, {"VALUE", value}};
    EXPECT_EQ(run_config_set(call), 0);
  };
  std::thread one(set, "cpus", "1"), two(set, "memory", "1GiB"), three(set, "vm.accel", "tcg");
  one.join();
  two.join();
  three.join();
  EXPECT_EQ(parse_profile(file(), "f").given.size(), 3U) << file();
}

TEST_F(Config, CheckTakesAnyFile) {
  write_atomically(home_ / "x.yaml", "cpus: 1\nmemry: 2\n");
  const Said said = say({"config", "check", (home_ / "x.yaml").string()});
  EXPECT_EQ(said.code, 2);
  EXPECT_NE(said.errors.find("x.yaml:2:1: unknown key memry; did you mean memory?"), std::string::npos) << said.errors;
}

TEST_F(Config, UseMakesAProfileCurrentAndGoesBack) {
  EXPECT_EQ(say({"config", "set", "-p", "work", "cpus", "1"}).code, 0);
  EXPECT_EQ(say({"use", "-"}).code, 1) << "there was none before";
  EXPECT_EQ(say({"use", "work"}).code, 0);
  EXPECT_EQ(say({"use"}).output, "work\n");
  EXPECT_NE(say({"status", "--json"}).output.find("\"name\": \"work\""), std::string::npos);
  EXPECT_NE(say({"status", "--json", "default"}).output.find("\"name\": \"default\""), std::string::npos);
  EXPECT_EQ(say({"use", "-"}).code, 0);
  EXPECT_EQ(say({"use"}).output, "default\n");
  EXPECT_EQ(say({"use", "nobody"}).code, 1);
  EXPECT_EQ(say({"use"}).output, "default\n");
}

TEST_F(Config, RenameTakesTheCurrentProfileAlong) {
  EXPECT_EQ(say({"config", "set", "cpus", "1"}).code, 0);
  EXPECT_EQ(say({"config", "set", "-p", "other", "cpus", "1"}).code, 0);
  EXPECT_EQ(say({"rename", "default", "other"}).code, 2) << "taken";
  EXPECT_EQ(say({"rename", "default", "mine"}).code, 0);
  EXPECT_EQ(say({"use"}).output, "mine\n");
  EXPECT_EQ(say({"config", "get", "cpus"}).output, "1\n");
  const auto lock = FileLock::try_acquire(home_ / "mine" / "lock");
  EXPECT_EQ(say({"rename", "mine", "default"}).code, 6) << "its daemon is there";
}

TEST_F(Config, EnvSpeaksEachShell) {
  const std::string socket = "unix://" + paths_.docker_socket.string();
  EXPECT_NE(say({"env", "--shell", "bash"}).output.find("export DOCKER_HOST='" + socket + "'\n"), std::string::npos);
  EXPECT_NE(say({"env", "--shell", "fish"}).output.find("set -gx DOCKER_HOST '" + socket + "';\n"), std::string::npos);
  EXPECT_NE(say({"env", "--shell", "pwsh"}).output.find("$Env:DOCKER_HOST = '" + socket + "'\n"), std::string::npos);
  EXPECT_EQ(say({"env", "--shell", "tcl"}).code, 2);
}

TEST_F(Config, SshConfigNeedsTheKeysOfAFirstStart) {
  EXPECT_EQ(say({"ssh-config"}).code, 3);
  write_atomically(paths_.keys_directory / "ssh_host_ed25519_key.pub", "ssh-ed25519 AAAA host\n");
  const Said said = say({"ssh-config"});
  EXPECT_EQ(said.code, 0);
  EXPECT_EQ(said.output.substr(0, said.output.find('\n')), "Host colima-like");
  EXPECT_EQ(read_file(paths_.keys_directory / "known_hosts"), "colima-like ssh-ed25519 AAAA host\n");
}

TEST_F(Config, SshConfigOffersTheAgentWhenTheMachineHasThatSetting) {
  write_atomically(paths_.keys_directory / "ssh_host_ed25519_key.pub", "ssh-ed25519 AAAA host\n");
  EXPECT_NE(say({"ssh-config"}).output.find("\n  IdentityAgent none\n"), std::string::npos);
  State state;
  state.since = 1;
  state.profile.ssh_agent = true;
  save_state(*FileLock::try_acquire(paths_.lock), paths_, state);
  const std::string stanza = say({"ssh-config"}).output;
  EXPECT_NE(stanza.find("\n  ForwardAgent yes\n"), std::string::npos) << stanza;
  EXPECT_EQ(stanza.find("IdentityAgent"), std::string::npos) << stanza;
}

TEST_F(Config, ApplyTellsASuspendedMachineFromAStoppedOne) {
  EXPECT_NE(say({"apply"}).errors.find("is not running"), std::string::npos);
  State state;
  state.since = 1;
  state.phase = "suspended";
  save_state(*FileLock::try_acquire(paths_.lock), paths_, state);
  fs::create_directories(paths_.saved_directory);
  write_atomically(paths_.saved_directory / "memory", "");
  write_atomically(paths_.saved_marker, "{}");
  const Said said = say({"apply"});
  EXPECT_EQ(said.code, 3);
  EXPECT_NE(said.errors.find("'default' is suspended"), std::string::npos) << said.errors;
  EXPECT_NE(said.errors.find("start default resumes it and applies"), std::string::npos) << said.errors;
}

TEST_F(Config, ColimasSettingsAreTakenOverAndEachIsAccountedFor) {
  write_atomically(
      home_ / "colima.yaml",
      "cpu: 1\nmemory: 1.5\ndisk: 100\narch: host\nmounts:\n  - location: ~/src\n    writable: true\n"
      "  - location: /data\n    mountPoint: /d\nvmType: vz\nrosetta: true\nhostname: x\nenv: {A: 010}\nodd: 3\n"
      "runtime: incus\nforwardAgent: true\nkubernetes:\n  enabled: false\n"
      "docker:\n  debug: true\n  log-opts: {max-size: 1m}\nnetwork:\n  dns: [1.1.1.1]\n"
      "  dnsHosts: {host.docker.internal: host.lima.internal, a.test: 1.2.3.4}\n"
      "provision:\n- {mode: user, script: a}\n- {mode: ready, script: b}\n");
  const Said said = say({"import", "--colima", (home_ / "colima.yaml").string(), "mine"});
  EXPECT_EQ(said.code, 0) << said.errors;
  for (const char* key : {"cpu ", "memory ", "disk ", "arch ", "mounts ", "vmType ", "rosetta ", "hostname ", "odd ",
                          "runtime ", "docker ", "kubernetes.enabled ", "network.dnsHosts "})
    EXPECT_NE(said.output.find("\n" + std::string(key)), std::string::npos) << key << said.output;
  const Parsed parsed = parse_profile(read_file(home_ / "mine" / "profile.yaml"), "f");
  EXPECT_EQ(parsed.profile.memory, ByteSize::mib(1536));
  EXPECT_EQ(parsed.profile.disk, ByteSize::gib(100));
  EXPECT_EQ(parsed.profile.shares, (std::vector<std::string>{"~/src", "/data:/d:ro"}));
  EXPECT_EQ(to_string(parsed.profile.rosetta), host_facts().os == "macos" ? "on" : "auto")
      << "it must be possible here";
  EXPECT_TRUE(parsed.profile.ssh_agent);
  EXPECT_EQ(parsed.profile.runtime, "docker");
  EXPECT_EQ(parsed.profile.docker, R"({"debug":true,"log-opts":{"max-size":"1m"}})");
  EXPECT_EQ(parsed.profile.env, (std::map<std::string, std::string>{{"A", "010"}}));
  EXPECT_EQ(parsed.profile.dns, std::vector<std::string>{"1.1.1.1"});
  EXPECT_EQ(parsed.profile.hosts, (std::map<std::string, std::string>{{"a.test", "1.2.3.4"}}));
  EXPECT_EQ(parsed.profile.provision, (std::vector<Script>{{"a", "user", "after-boot"}, {"b", "system", "ready"}}));
  EXPECT_EQ(say({"import", "--colima", (home_ / "colima.yaml").string(), "mine"}).code, 2) << "taken";
}

TEST_F(Config, PasswordsInUrlsAreNotShown) {
  EXPECT_EQ(without_passwords("http://user:s3c@ret@proxy:3128/x@y"), "http://***@proxy:3128/x@y");
  EXPECT_EQ(without_passwords(R"(["https://a:b@c","https://d"])"), R"(["https://***@c","https://d"])");
  EXPECT_EQ(without_passwords("://"), "://");
  ASSERT_EQ(say({"config", "set", "proxy.http", "http://user:s3cret@127.0.0.1:3128"}).code, 0);
  EXPECT_EQ(effective("proxy.http").at("value"), "http://***@127.0.0.1:3128");
  EXPECT_EQ(say({"config", "get", "proxy.http"}).output, "http://user:s3cret@127.0.0.1:3128\n") << "who asks for it";
}

TEST_F(Config, CompletionKnowsVerbsOptionsProfilesKeysAndChoices) {
  const Home home{home_.path(), home_.path()};
  using Words = std::vector<std::string>;
  EXPECT_EQ(completions(home, {"con"}), Words{"config"});
  EXPECT_EQ(completions(home, {"config", "sch"}), Words{"schema"});
  EXPECT_EQ(completions(home, {"status", ""}), Words{"default"});
  EXPECT_EQ(completions(home, {"status", "-p", "de"}), Words{"default"});
  EXPECT_EQ(completions(home, {"start", "--accel", "t"}), Words{"tcg"});
  EXPECT_EQ(completions(home, {"start", "--cp"}), Words{"--cpus"});
  EXPECT_EQ(completions(home, {"config", "set", "vm.a"}), Words{"vm.accel"});
  EXPECT_EQ(completions(home, {"config", "set", "-p", "default", "vm.accel", "k"}), Words{"kvm"});
  EXPECT_EQ(completions(home, {"export", ""}), Words{"/"});
  EXPECT_TRUE(completions(home, {"compl"}) == Words{"completion"}) << "hidden verbs stay hidden";
}

TEST_F(Config, TheManualNamesEveryVerbAndKey) {
  std::string page = manual_page();
  std::erase(page, '\\');
  for (const Verb& verb : verbs())
    EXPECT_EQ(page.find(".SS \"" + std::string(verb.name)) == std::string::npos, (verb.options & hidden_verb) != 0)
        << verb.name;
  for (const Key& key : keys()) EXPECT_NE(page.find(".B " + std::string(key.name) + "\n"), std::string::npos);
}

}  // namespace
}  // namespace cl::cli
