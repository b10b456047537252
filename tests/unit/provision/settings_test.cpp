#include "provision/settings.hpp"

#include <gtest/gtest.h>

#include <boost/json.hpp>

#include "src/base/error.hpp"
#include "src/base/file.hpp"
#include "tests/support/temp_dir.hpp"

namespace cl {
namespace {

namespace json = boost::json;

const HostSide host{"10.0.2.2", ""};

json::object made(const Profile& profile) { return json::parse(daemon_json(profile, host)).as_object(); }

std::string content(const Profile& profile, std::string_view path, const HostSide& side = host) {
  for (const GuestFile& file : guest_files(profile, side))
    if (file.path == path) return file.content;
  return "none";
}

TEST(Settings, TheImageHasTheDaemonJsonOfTheDefaults) {
  const fs::path file = fs::path(COLIMA_LIKE_SOURCE) / "vm/guest_image/rootfs/etc/docker/daemon.json";
  EXPECT_EQ(json::parse(read_file(file)), json::value(made({})));
}

TEST(Settings, TheDefaultsNeedNoFile) { EXPECT_TRUE(guest_files({}, host).empty()); }

// Which of QEMU's network it is in is written in the images; of other networks the guest alone knows.
TEST(Settings, AHostElsewhereThanTheImageSaysIsPutWithTheDefaultsToo) {
  const HostSide elsewhere{"192.168.64.1", ""};
  const json::object merged = json::parse(content({}, "/etc/docker/daemon.json", elsewhere)).as_object();
  EXPECT_EQ(merged.at("host-gateway-ip"), "192.168.64.1");
  EXPECT_EQ(content({}, "/etc/hosts", elsewhere),
            "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n192.168.64.1 host.docker.internal\n");
  Profile podman;
  podman.runtime = "podman";
  EXPECT_EQ(content(podman, "/etc/docker/daemon.json", elsewhere), "none");
  EXPECT_NE(content(podman, "/etc/hosts", elsewhere), "none") << "what runs in the machine itself asks for it too";
}

TEST(Settings, TheImageHasTheHostsOfTheDefaults) {
  const std::string made = read_file(fs::path(COLIMA_LIKE_SOURCE) / "vm/guest_image/customize.sh");
  EXPECT_NE(made.find("\\n10.0.2.2 host.docker.internal\\n' > \"$root/etc/hosts\""), std::string::npos);
}

// Colima deletes the user's host-gateway-ip before it reads it, and user exec-opts take the cgroup driver away.
TEST(Settings, ColimaDefectR15_TheUsersKeysOfDaemonJsonCountAndOursAreNotLost) {
  Profile profile;
  profile.docker = R"({"host-gateway-ip": "1.2.3.4", "exec-opts": ["isolation=process"], "debug": true})";
  const json::object merged = made(profile);
  EXPECT_EQ(merged.at("host-gateway-ip"), "1.2.3.4");
  EXPECT_EQ(merged.at("exec-opts"), (json::array{"isolation=process", "native.cgroupdriver=cgroupfs"}));
  EXPECT_EQ(merged.at("debug"), true);
  profile.docker = R"({"exec-opts": ["native.cgroupdriver=systemd"]})";
  EXPECT_EQ(made(profile).at("exec-opts"), json::array{"native.cgroupdriver=systemd"});
  EXPECT_EQ(made(profile).at("host-gateway-ip"), "10.0.2.2");
}

TEST(Settings, ContainersNetworksCanBeMoved) {
  Profile profile;
  EXPECT_FALSE(made(profile).contains("bip"));
  profile.docker_subnet = "10.201.0.0/16";
  EXPECT_EQ(made(profile).at("bip"), "10.201.0.1/24");
  EXPECT_EQ(made(profile).at("default-address-pools"),
            (json::array{json::object{{"base", "10.201.0.0/16"}, {"size", 24}}}));
  profile.docker = R"({"bip": "10.9.0.1/24"})";
  EXPECT_EQ(made(profile).at("bip"), "10.9.0.1/24");
  EXPECT_FALSE(made(profile).contains("default-address-pools")) << "the user's own words count";
  profile.runtime = "podman";
  EXPECT_NE(content(profile, "/etc/containers/containers.conf.d/colima-like.conf")
                .find("[network]\ndefault_subnet = \"10.201.0.0/24\"\n"
                      "default_subnet_pools = [{\"base\" = \"10.201.0.0/16\", \"size\" = 24}]\n[engine]\n"),
            std::string::npos);
}

TEST(Settings, ContainerdsBuilderKnowsMirrorsRegistriesAndProxies) {
  Profile profile;
  EXPECT_EQ(content(profile, "/etc/systemd/system/buildkit.socket"), "none") << "Docker has its own builder";
  profile.runtime = "containerd";
  EXPECT_NE(
      content(profile, "/etc/systemd/system/buildkit.socket").find("\nListenStream=/run/buildkit/buildkitd.sock\n"),
      std::string::npos);
  const std::string plain = content(profile, "/etc/buildkit/buildkitd.toml");
  EXPECT_EQ(plain,
            "[worker.oci]\nenabled = false\n[worker.containerd]\nenabled = true\nnamespace = \"default\"\n"
            "[dns]\nnameservers = [\"169.254.53.53\"]\n");
  EXPECT_EQ(content(profile, "/etc/nerdctl/nerdctl.toml"),
            "host_gateway_ip = \"10.0.2.2\"\ndns = [\"169.254.53.53\"]\n");
  profile.mirrors = {"https://mirror.test/hub", "http://10.0.2.2:5000"};
  profile.insecure = {"plain.test:80", "10.0.0.0/8"};
  profile.proxy_https = "http://proxy.test:3128/a%20b";
  EXPECT_EQ(content(profile, "/etc/buildkit/buildkitd.toml"),
            plain +
                "[registry.\"docker.io\"]\nmirrors = [\"mirror.test/hub\",\"10.0.2.2:5000\"]\n"
                "[registry.\"plain.test:80\"]\nhttp = true\n[registry.\"10.0.2.2:5000\"]\nhttp = true\n");
  EXPECT_EQ(content(profile, "/etc/containerd/certs.d/docker.io/hosts.toml"),
            "server = \"https://registry-1.docker.io\"\n"
            "[host.\"https://mirror.test/hub\"]\ncapabilities = [\"pull\", \"resolve\"]\n"
            "[host.\"http://10.0.2.2:5000\"]\ncapabilities = [\"pull\", \"resolve\"]\n");
  EXPECT_NE(content(profile, "/etc/containerd/certs.d/plain.test:80/hosts.toml"), "none");
  EXPECT_NE(content(profile, "/etc/systemd/system/buildkit.service")
                .find("\nEnvironment=\"HTTPS_PROXY=http://proxy.test:3128/a%%20b\"\n"),
            std::string::npos)
      << "a percent sign is systemd's";
}

TEST(Settings, CrunStartsContainersUnlessTheUserSaysOtherwise) {
  Profile profile;
  EXPECT_EQ(made(profile).at("default-runtime"), "crun");
  profile.docker = R"({"default-runtime": "runc"})";
  EXPECT_EQ(made(profile).at("default-runtime"), "runc");
  profile.docker = R"({"runtimes": {"kata": {"path": "/kata"}, "crun": {"path": "/own/crun"}}})";
  EXPECT_EQ(made(profile).at("runtimes"),
            (json::object{{"kata", json::object{{"path", "/kata"}}}, {"crun", json::object{{"path", "/own/crun"}}}}));
  profile.docker = R"({"runtimes": 7})";
  EXPECT_FALSE(made(profile).contains("default-runtime")) << "dockerd says what is wrong with it";
}

TEST(Settings, ListsOfBothAreJoined) {
  Profile profile;
  profile.docker = R"({"registry-mirrors": ["http://a", "http://b"], "dns": ["9.9.9.9"]})";
  profile.mirrors = {"http://b", "http://c"};
  profile.insecure = {"10.0.2.2:5000"};
  profile.dns = {"1.1.1.1"};
  const json::object merged = made(profile);
  EXPECT_EQ(merged.at("registry-mirrors"), (json::array{"http://a", "http://b", "http://c"}));
  EXPECT_EQ(merged.at("insecure-registries"), json::array{"10.0.2.2:5000"});
  EXPECT_EQ(merged.at("dns"), json::array{"9.9.9.9"}) << "the user's own word in daemon.json";
  EXPECT_EQ(content(profile, "/etc/resolv.conf"), "nameserver 1.1.1.1\n");
}

TEST(Settings, ContainersAskTheMachinesOwnServerAndThatAsksTheOthers) {
  Profile profile;
  profile.dns = {"1.1.1.1"};
  profile.docker = R"({"debug": true})";
  EXPECT_EQ(made(profile).at("dns"), json::array{"169.254.53.53"});
  EXPECT_EQ(content(profile, "/etc/resolv.conf"), "nameserver 1.1.1.1\n");
  const fs::path image = fs::path(COLIMA_LIKE_SOURCE) / "vm/guest_image/rootfs/usr/lib/colima-like";
  EXPECT_NE(read_file(image / "dnsmasq.conf").find("\nlisten-address=169.254.53.53\n"), std::string::npos);
  EXPECT_NE(read_file(image / "dns-address").find("ip addr add 169.254.53.53/32 dev lo"), std::string::npos);
}

TEST(Settings, AFilteredMachineSendsEverythingToThisComputer) {
  Profile profile;
  profile.egress = {"a.example:443", "192.168.1.5:5432"};
  EXPECT_EQ(content(profile, "/etc/resolv.conf"), "nameserver 127.0.0.153\n");
  const std::string rules = content(profile, "/etc/colima-like/egress");
  const auto at = [&rules](std::string_view text) { return rules.find("-A COLIMA-LIKE-EGRESS " + std::string(text)); };
  const auto host_rule = at("-d 10.0.2.2/32 -p tcp -j REDIRECT --to-ports 11080\n"),
             address_rule = at("-d 192.168.1.5/32 -p tcp -j REDIRECT --to-ports 11080\n"),
             containers = at("-d 192.168.0.0/16 -j RETURN\n"), rest = at("-p tcp -j REDIRECT --to-ports 11080\n");
  ASSERT_NE(rest, std::string::npos) << rules;
  EXPECT_LT(host_rule, containers);
  EXPECT_LT(address_rule, containers);
  EXPECT_LT(containers, rest);
  profile.egress = {"none"};
  EXPECT_TRUE(guest_files(profile, host).empty()) << "there is no network card";
}

TEST(Settings, ScriptsAreHandedOverAsTheyAreAtTheirMoment) {
  EXPECT_EQ(own_scripts({{"it's\n$x", "system", "ready"}, {"b", "user", "after-boot"}}),
            "after_boot() {\n:\nscript 2 user 'b'\n}\nready() {\n:\nscript 1 system 'it'\\''s\n$x'\n}\n");
}

TEST(Settings, AProxyOnTheHostsLoopbackIsReachedAtTheHostsAddress) {
  EXPECT_EQ(proxy_for_guest("http://localhost:3128", "10.0.2.2"), "http://10.0.2.2:3128");
  EXPECT_EQ(proxy_for_guest("http://u:p@127.0.0.1:3128/x", "10.0.2.2"), "http://u:p@10.0.2.2:3128/x");
  EXPECT_EQ(proxy_for_guest("https://[::1]:1", "10.0.2.2"), "https://10.0.2.2:1");
  EXPECT_EQ(proxy_for_guest("http://proxy.localhost.corp", "10.0.2.2"), "http://proxy.localhost.corp");
  EXPECT_EQ(proxy_for_guest("localhost", "10.0.2.2"), "10.0.2.2");
  Profile profile;
  profile.proxy_http = "http://localhost:3128";
  profile.proxy_none = ".corp";
  EXPECT_EQ(made(profile).at("proxies"),
            (json::object{{"http-proxy", "http://10.0.2.2:3128"},
                          {"no-proxy", "localhost,127.0.0.1,::1,host.docker.internal,.corp"}}));
  const std::string shell = content(profile, "/etc/profile.d/colima-like.sh");
  EXPECT_NE(shell.find("export http_proxy='http://10.0.2.2:3128'\n"), std::string::npos) << shell;
  EXPECT_NE(shell.find("export NO_PROXY='localhost,127.0.0.1,::1,host.docker.internal,.corp'\n"), std::string::npos)
      << shell;
}

TEST(Settings, ValuesCannotLeaveTheirQuotes) {
  Profile profile;
  profile.env = {{"A", "it's $(touch /x)"}};
  EXPECT_NE(content(profile, "/etc/profile.d/colima-like.sh").find("export A='it'\\''s $(touch /x)'\n"),
            std::string::npos);
}

TEST(Settings, PodmanGetsItsOwnFilesAndNoDaemonJson) {
  Profile profile;
  profile.runtime = "podman";
  profile.mirrors = {"http://10.0.2.2:5055/", "https://mirror.corp"};
  profile.insecure = {"registry:5000", "10.0.0.0/8"};
  profile.docker = R"({"debug": true})";
  EXPECT_EQ(content(profile, "/etc/docker/daemon.json"), "none");
  EXPECT_EQ(content(profile, "/etc/containers/registries.conf.d/colima-like.conf"),
            "unqualified-search-registries = [\"docker.io\"]\nshort-name-mode = \"permissive\"\n"
            "[[registry]]\nlocation = \"docker.io\"\n"
            "[[registry.mirror]]\nlocation = \"10.0.2.2:5055\"\ninsecure = true\n"
            "[[registry.mirror]]\nlocation = \"mirror.corp\"\n"
            "[[registry]]\nlocation = \"registry:5000\"\ninsecure = true\n");
  EXPECT_NE(content(profile, "/etc/containers/containers.conf.d/colima-like.conf")
                .find("host_containers_internal_ip = \"10.0.2.2\"\n"),
            std::string::npos);
}

TEST(Settings, HostsAreAddedToThoseOfTheImage) {
  Profile profile;
  profile.hosts = {{"registry.corp", "10.1.2.3"}};
  const std::string hosts = content(profile, "/etc/hosts");
  EXPECT_NE(hosts.find("127.0.0.1 localhost\n"), std::string::npos);
  EXPECT_NE(hosts.find("\n10.1.2.3 registry.corp\n"), std::string::npos);
}

TEST(Settings, OnlyTheBlocksOfACertificateFileAreTaken) {
  const test::TempDir dir;
  const std::string block = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";
  write_atomically(dir / "ca.pem", "words\nCOLIMA_LIKE_END_OF_FILE\n" + block + "more\n" + block);
  EXPECT_EQ(read_certificates({(dir / "ca.pem").string()}), block + block);
  write_atomically(dir / "bad.pem", "-----BEGIN CERTIFICATE-----\n`touch x`\n-----END CERTIFICATE-----\n");
  EXPECT_THROW(read_certificates({(dir / "bad.pem").string()}), Error);
  write_atomically(dir / "none.pem", "words\n");
  EXPECT_THROW(read_certificates({(dir / "none.pem").string()}), Error);
  EXPECT_THROW(read_certificates({(dir / "missing.pem").string()}), Error);
}

}  // namespace
}  // namespace cl
