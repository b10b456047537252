#include "profiles/keys.hpp"

#include <gtest/gtest.h>

namespace cl {
namespace {

const HostFacts host{4, ByteSize::gib(8), "linux", "x86_64"};

std::string set(Profile& profile, std::string_view key, std::string_view text) {
  return find_key(key)->set(profile, text).value_or("");
}

TEST(Keys, EveryKeyTakesWhatItGives) {
  const Profile defaults;
  for (const Key& key : keys()) {
    Profile profile;
    EXPECT_EQ(key.set(profile, key.get(defaults)), std::nullopt) << key.name;
    EXPECT_EQ(profile, defaults) << key.name;
  }
}

TEST(Keys, CpusMustBeAPositiveWholeNumber) {
  for (const char* text : {"-3", "0", "1.5", "two", "", "2 ", "0x2", "99999999999999"}) {
    Profile profile;
    EXPECT_NE(set(profile, "cpus", text), "") << text;
    EXPECT_EQ(profile, Profile{}) << text;
  }
  Profile profile;
  EXPECT_EQ(set(profile, "cpus", "010"), "") << "read as decimal ten, not as octal eight";
  EXPECT_EQ(profile.cpus, 10);
}

TEST(Keys, PortsHaveALimitThatIsANumberOfPorts) {
  Profile profile;
  EXPECT_EQ(profile.port_limit, 1000);
  EXPECT_EQ(set(profile, "network.port_limit", "65535"), "");
  EXPECT_EQ(profile.port_limit, 65535);
  for (const char* text : {"0", "-1", "65536", "many", "", "99999999999999"})
    EXPECT_EQ(set(profile, "network.port_limit", text),
              "must be a whole number from 1 to 65535, not '" + std::string(text) + "'");
  EXPECT_EQ(profile.port_limit, 65535);
  EXPECT_FALSE(profile.low_ports);
  EXPECT_EQ(set(profile, "network.low_ports", "true"), "");
  EXPECT_TRUE(profile.low_ports);
  EXPECT_EQ(set(profile, "network.low_ports", "22"), "must be true or false, not '22'");
}

TEST(Keys, MemoryHasALeastSize) {
  Profile profile;
  EXPECT_NE(set(profile, "memory", "0.1"), "");
  EXPECT_NE(set(profile, "memory", "-4GiB"), "");
  EXPECT_EQ(set(profile, "memory", "512MiB"), "");
  EXPECT_EQ(profile.memory, ByteSize::mib(512));
}

TEST(Keys, ChoicesNameThemselvesInTheirError) {
  Profile profile;
  EXPECT_EQ(set(profile, "vm.accel", "xen"), "must be auto, kvm, hvf or tcg, not 'xen'");
  EXPECT_NE(set(profile, "arch", "sparc"), "");
}

TEST(Keys, RosettaWasABooleanOnce) {
  Profile profile;
  EXPECT_EQ(to_string(profile.rosetta), "auto");
  for (const auto& [text, value] : {std::pair{"true", "on"}, {"false", "off"}, {"auto", "auto"}, {"on", "on"}}) {
    EXPECT_EQ(set(profile, "vm.rosetta", text), "");
    EXPECT_EQ(to_string(profile.rosetta), value);
  }
  EXPECT_EQ(set(profile, "vm.rosetta", "yes"), "must be auto, on or off, not 'yes'");
}

TEST(Check, RosettaIsApplesAlone) {
  Profile profile;
  EXPECT_TRUE(check(profile, host).empty()) << "auto asks for nothing";
  profile.rosetta = RosettaWish::on;
  const auto problems = check(profile, host);
  ASSERT_EQ(problems.size(), 1U);
  EXPECT_EQ(problems[0].where, "vm.rosetta");
}

TEST(Check, VzRunsNoOtherArchitectureAndTheWaysOutAreTold) {
  HostFacts mac{8, ByteSize::gib(16), "macos", "aarch64"};
  mac.macos_version = "15.6";
  Profile profile;
  profile.driver = DriverWish::vz;
  profile.arch = "x86_64";
  std::string told;
  for (const Problem& problem : check(profile, mac))
    if (problem.where == "vm.driver") told = problem.message;
  EXPECT_NE(told.find("aarch64 machines on this host, not x86_64"), std::string::npos) << told;
  EXPECT_NE(told.find("vm.driver qemu"), std::string::npos) << told;
  EXPECT_NE(told.find("--platform"), std::string::npos) << told;
}

TEST(Check, FindsEveryProblemAtOnce) {
  Profile profile;
  profile.cpus = 5;
  profile.memory = ByteSize::gib(9);
  profile.accel = AccelWish::hvf;
  const auto problems = check(profile, host);
  ASSERT_EQ(problems.size(), 3U);
  EXPECT_EQ(problems[0].where, "cpus");
  EXPECT_EQ(problems[1].where, "memory");
  EXPECT_EQ(problems[2].where, "vm.accel");
}

TEST(Check, AnAcceleratorRunsOnlyTheHostsArchitecture) {
  Profile profile;
  profile.arch = "aarch64";
  profile.accel = AccelWish::kvm;
  EXPECT_EQ(check(profile, host).size(), 1U);
  profile.accel = AccelWish::automatic;
  EXPECT_TRUE(check(profile, host).empty());
}

TEST(Keys, SizesComeBackExactlyAsTheyWere) {
  for (const char* text : {"1500MiB", "3GiB", "1048577KiB", "1073741825B"}) {
    Profile profile;
    EXPECT_EQ(set(profile, "memory", text), "");
    EXPECT_EQ(find_key("memory")->get(profile), text);
  }
}

TEST(Keys, IdleIsATimeOrOff) {
  Profile profile;
  EXPECT_EQ(set(profile, "idle", "off"), "");
  EXPECT_EQ(profile.idle.count(), 0);
  EXPECT_EQ(set(profile, "idle", "90s"), "");
  EXPECT_EQ(find_key("idle")->get(profile), "90s");
  for (const char* text : {"15", "9s", "0m", "-5m", "99999999h", "soon", "m", ""})
    EXPECT_NE(set(profile, "idle", text), "") << text;
}

TEST(Keys, AListIsWordsOrJson) {
  Profile profile;
  EXPECT_EQ(set(profile, "shares", "~/a,/b:ro"), "");
  EXPECT_EQ(profile.shares, (std::vector<std::string>{"~/a", "/b:ro"}));
  EXPECT_EQ(set(profile, "shares", R"(["/a,b"])"), "");
  EXPECT_EQ(profile.shares, std::vector<std::string>{"/a,b"});
  EXPECT_EQ(set(profile, "shares", ""), "");
  EXPECT_TRUE(profile.shares.empty());
  for (const char* text : {"[", "[1]", "a", "~/a,b"}) EXPECT_NE(set(profile, "shares", text), "") << text;

  EXPECT_EQ(set(profile, "share_hide", "default,~/.netrc,/srv/x:ro,~/.kube:rw"), "");
  EXPECT_EQ(profile.share_hide, (std::vector<std::string>{"default", "~/.netrc", "/srv/x:ro", "~/.kube:rw"}));
  EXPECT_EQ(set(profile, "share_hide", "[]"), "");
  EXPECT_TRUE(profile.share_hide.empty());
  for (const char* text : {"none", "~", "~/a:no"}) EXPECT_NE(set(profile, "share_hide", text), "") << text;
}

TEST(Keys, MapsAreWordsOrJsonAndTheirEntriesAreChecked) {
  Profile profile;
  EXPECT_EQ(set(profile, "network.hosts", "a=1.2.3.4,b.c=::1"), "");
  EXPECT_EQ(profile.hosts, (std::map<std::string, std::string>{{"a", "1.2.3.4"}, {"b.c", "::1"}}));
  for (const char* text : {"a", "a=b", "a b=1.2.3.4", R"({"a": 1})", R"({"a\nb": "1.2.3.4"})", "{"})
    EXPECT_NE(set(profile, "network.hosts", text), "") << text;
  EXPECT_EQ(set(profile, "env", "A=it's,B="), "");
  for (const char* text : {"1A=x", "A B=x", "A$(x)=y", R"({"A": "x\ny"})"})
    EXPECT_NE(set(profile, "env", text), "") << text;
}

TEST(Keys, DaemonJsonCannotTakeTheEngineAway) {
  Profile profile;
  EXPECT_EQ(set(profile, "docker", R"({"debug": true, "log-opts": {"max-size": "1m"}})"), "");
  for (const char* text : {R"({"hosts": ["tcp://0.0.0.0:2375"]})", R"({"data-root": "/x"})", "[]", "x"})
    EXPECT_NE(set(profile, "docker", text), "") << text;
}

TEST(Keys, ProxiesAndRegistriesAreChecked) {
  Profile profile;
  EXPECT_EQ(set(profile, "proxy.http", "http://u:p@proxy:3128/"), "");
  EXPECT_EQ(set(profile, "proxy.http", ""), "");
  for (const char* text : {"proxy:3128", "socks5://x", "http://", "http://a b", "http://a\"b", "http://a'b"})
    EXPECT_NE(set(profile, "proxy.http", text), "") << text;
  EXPECT_NE(set(profile, "registries.insecure", "a\nb"), "");
  EXPECT_NE(set(profile, "registries.certificates", "ca.pem"), "");
}

TEST(Keys, NerdctlsArchiveIsOursNoneOrOneWithItsDigest) {
  Profile profile;
  const std::string digest = "#sha256:" + std::string(64, 'a');
  for (const std::string text : {"auto", "none", "~/nerdctl-full.tar.gz", "https://mirror.test/nerdctl-full.tar.gz"})
    EXPECT_EQ(set(profile, "containerd.tools", text + (text.size() > 4 ? digest : "")), "") << text;
  EXPECT_EQ(profile.containerd_tools, "https://mirror.test/nerdctl-full.tar.gz" + digest);
  EXPECT_NE(set(profile, "containerd.tools", "2.3.5").find("must be auto, none, or a URL or path"), std::string::npos);
  EXPECT_NE(set(profile, "containerd.tools", "/x.tar.gz").find("'colima-like config set containerd.tools /x.tar.gz'"),
            std::string::npos);
  EXPECT_NE(set(profile, "containerd.tools", "ftp://x/y" + digest), "");
}

TEST(Keys, ScriptsAreJsonAndEachPartIsChecked) {
  Profile profile;
  EXPECT_EQ(set(profile, "provision", R"([{"script": "a\nb"}, {"script": "c", "mode": "user", "when": "ready"}])"), "");
  EXPECT_EQ(profile.provision, (std::vector<Script>{{"a\nb", "system", "after-boot"}, {"c", "user", "ready"}}));
  Profile same;
  EXPECT_EQ(set(same, "provision", find_key("provision")->get(profile)), "");
  EXPECT_EQ(same, profile);
  for (const char* text : {"x", "{}", "[1]", "[{}]", R"([{"script": ""}])", R"([{"script": 1}])",
                           R"([{"script": "x", "mode": "root"}])", R"([{"script": "x", "when": "boot"}])"})
    EXPECT_NE(set(profile, "provision", text), "") << text;
  EXPECT_EQ(set(profile, "provision", R"([{"sript": "x"}])"), "has no sript; did you mean script?");
}

HostFacts mac(std::string version) {
  HostFacts facts{8, ByteSize::gib(16), "macos", "aarch64"};
  facts.macos_version = std::move(version);
  return facts;
}

std::string driver_problem(const Profile& profile, const HostFacts& on) {
  for (const Problem& problem : check(profile, on))
    if (problem.where == "vm.driver") return problem.message;
  return {};
}

TEST(Driver, IsAppleFrameworkOnMacosThatHasItAndQemuElsewhere) {
  Profile profile;
  EXPECT_EQ(resolved_driver(profile, host), "qemu");
  EXPECT_EQ(resolved_driver(profile, mac("13.0")), "vz");
  EXPECT_EQ(resolved_driver(profile, mac("26.1")), "vz");
  EXPECT_EQ(resolved_driver(profile, mac("12.7.6")), "qemu");
  profile.arch = "x86_64";
  EXPECT_EQ(resolved_driver(profile, mac("15.6")), "qemu") << "which can emulate it";
  profile.arch = "host";
  profile.accel = AccelWish::hvf;
  EXPECT_EQ(resolved_driver(profile, mac("15.6")), "qemu") << "whose setting that is";
  profile.accel = AccelWish::automatic;
  profile.driver = DriverWish::qemu;
  EXPECT_EQ(resolved_driver(profile, mac("15.6")), "qemu");
}

TEST(Driver, VzIsRefusedWithTheReasonAndTheWaysOut) {
  Profile profile;
  profile.driver = DriverWish::vz;
  EXPECT_EQ(driver_problem(profile, mac("15.6")), "");
  EXPECT_EQ(driver_problem(profile, mac("12.7.6")), "vz needs macOS 13 or newer, and this is macOS 12.7.6; use qemu");
  profile.arch = "x86_64";
  const std::string foreign = driver_problem(profile, mac("15.6"));
  for (const char* part :
       {"only aarch64 machines", "vm.driver qemu", "arch: host", "--platform linux/amd64", "Rosetta"})
    EXPECT_NE(foreign.find(part), std::string::npos) << part << " is not in: " << foreign;
  profile.arch = "host";
  profile.accel = AccelWish::tcg;
  EXPECT_NE(driver_problem(profile, mac("15.6")).find("takes vm.driver qemu"), std::string::npos);
}

TEST(Driver, AStandInForVfkitRunsOnAnySystem) {
  HostFacts facts = host;
  facts.vfkit_stand_in = "/tests/vfkit";
  Profile profile;
  EXPECT_EQ(resolved_driver(profile, facts), "qemu") << "it has to be asked for";
  profile.driver = DriverWish::vz;
  EXPECT_EQ(driver_problem(profile, facts), "");
  profile.arch = "aarch64";
  EXPECT_NE(driver_problem(profile, facts).find("only x86_64 machines"), std::string::npos);
}

TEST(Check, WhatThisHostsDriverCannotGive) {
  Profile profile;
  profile.driver = DriverWish::vz;
  auto problems = check(profile, host);
  ASSERT_EQ(problems.size(), 1U);
  EXPECT_EQ(problems[0].message, "vz is Apple's Virtualization framework, only on macOS hosts");
  profile.driver = DriverWish::qemu;
  profile.nested = true;
  EXPECT_TRUE(check(profile, host).empty());
  EXPECT_EQ(check(profile, {4, ByteSize::gib(8), "macos", "aarch64"}).size(), 1U);
  EXPECT_EQ(differences(Profile{}, profile, host).size(), 1U) << "auto is qemu here, so only nested differs";
}

TEST(Differences, KnowTheHostsArchitecture) {
  Profile from, to;
  to.arch = "x86_64";
  EXPECT_TRUE(differences(from, to, host).empty());
  to.arch = "aarch64";
  to.cpus = 3;
  const auto found = differences(from, to, host);
  ASSERT_EQ(found.size(), 2U);
  EXPECT_EQ(found[0].key->name, "cpus");
  EXPECT_EQ(found[0].to, "3");
  EXPECT_EQ(found[1].key->name, "arch");
}

TEST(Nearest, OffersWhatIsNearAndNothingElse) {
  const std::array<std::string_view, 3> words{"start", "status", "stop"};
  EXPECT_EQ(nearest("strat", words), "start");
  EXPECT_EQ(nearest("sttus", words), "status");
  EXPECT_EQ(nearest("kubernetes", words), "");
}

}  // namespace
}  // namespace cl
