#include <boost/json.hpp>
#include <cstdlib>
#include <fstream>

#include "src/base/file.hpp"
#include "tests/e2e/machine_images.hpp"
#include "tests/e2e/sandbox.hpp"
#include "tests/integration/fault_server.hpp"

// A guest from other people's disk image: downloaded, seeded by cloud-init, booted by its own boot loader.

namespace cl::e2e {
namespace {

namespace json = boost::json;

std::string first_word(const std::string& text) { return text.substr(0, text.find(' ')); }

/// The image of tests/e2e/cloud_image, made once for each state of its recipe.
fs::path cloud_image(Sandbox& box) {
  const std::string recipe = std::string(COLIMA_LIKE_CLOUD_IMAGE_RECIPE);
  const Result sum = box.run({"sh", "-c", "cat " + recipe + "/* | sha256sum"});
  const fs::path folder = Sandbox::shared_cache() / "test-images";
  const fs::path image = folder / ("cloud-" + sum.out.substr(0, 12) + ".qcow2");
  if (fs::exists(image)) return image;
  fs::remove_all(folder);
  make_private_directory(folder);
  const char* mirror = std::getenv("COLIMA_LIKE_MIRROR");
  const Result built = box.run({"env", "OUT=" + image.string(),
                                std::string("MIRROR=") + (mirror != nullptr ? mirror : "http://deb.debian.org/debian"),
                                "sh", recipe + "/build.sh"},
                               {}, 1800s);
  EXPECT_EQ(built.code, 0) << built;
  return image;
}

TEST(CloudImage, IsDownloadedSeededAndRunsDocker) {
  Sandbox box;
  const fs::path file = cloud_image(box);
  ASSERT_TRUE(fs::exists(file));
  const std::string digest = first_word(box.run({"sha512sum", file.string()}).out);
  test::FaultServer server(file.string());
  const std::string url = server.url("drop1=100000000-cloud.qcow2");
  const fs::path cache = box.use_private_cache();
  if (fs::exists(Sandbox::shared_cache() / "tools"))
    fs::create_directory_symlink(Sandbox::shared_cache() / "tools", cache / "tools");

  std::string wrong = digest;
  wrong[0] = wrong[0] == '0' ? '1' : '0';
  const Result refused = box.cl({"image", "pull", server.url("other.qcow2") + "#sha512:" + wrong}, {}, 200s);
  expect_error(refused, 1, {"is not the file that was asked for", "its digest is sha512:" + digest});
  expect_error(box.cl({"image", "pull", url + "#sha512:" + digest, "--arch", "aarch64"}, {}, 200s), 2,
               {"no image for aarch64 machines"});
  expect_error(box.cl({"start", "--image", url}), 2, {"must end with the file's digest"});

  box.set("COLIMA_LIKE_IMAGE=" + url + "#sha512:" + digest);
  const Result first = box.cl({"start"}, {}, 1800s);
  ASSERT_OK(first);
  EXPECT_NE(first.err.find("tools-install"), std::string::npos) << "the image has no sshfs, no qemu-user\n" << first;
  const Result initramfs = box.cl({"ssh", "--", "grep Generating /var/log/apt/term.log; mount | grep initramfs"});
  EXPECT_EQ(initramfs.out, "") << "none is made for what Docker and shares need";
  EXPECT_NE(server.requests().find("bytes=100000000- \"first\""), std::string::npos)
      << "the broken connection was gone on with:\n"
      << server.requests();
  EXPECT_EQ(box.state(), "running");
  ASSERT_OK(box.docker({"version"}));
  ASSERT_NO_FATAL_FAILURE(box.import_busybox("box"));
  EXPECT_EQ(box.docker({"run", "--rm", "box", "echo", "hello"}).out, "hello\n");
  const Result named = box.docker({"run", "--rm", "box", "busybox", "nslookup", "host.docker.internal"});
  EXPECT_NE(named.out.find("10.0.2.2"), std::string::npos) << named;

  EXPECT_FALSE(any_listens_on_ip(box.hypervisors(), false)) << "SSH is by virtio-serial here too";
  const Result guest =
      box.cl({"ssh", "--",
              "hostname; cloud-init status; findmnt -no SOURCE /var/lib/docker; df -BG --output=size / | "
              "tail -n 1; ss -Hltn 'sport = :22'; cat /proc/sys/net/ipv4/tcp_tw_reuse"});
  EXPECT_NE(guest.out.find("colima-like\n"), std::string::npos) << guest;
  EXPECT_NE(guest.out.find("/dev/vdb[/docker]"), std::string::npos) << "the data disk\n" << guest;
  EXPECT_NE(guest.out.find("16G"), std::string::npos) << "grown to the root disk's size\n" << guest;
  EXPECT_EQ(guest.out.find(":22"), std::string::npos) << "nothing listens for SSH on the network\n" << guest;
  EXPECT_EQ(box.cl({"ssh", "--", "readlink /etc/systemd/system/sshd-vsock.socket"}).out, "/dev/null\n");
  const Result list = box.cl({"image", "list", "--json"});
  EXPECT_NE(list.out.find("#sha512:" + digest), std::string::npos) << list;

  // The image has no agent, and mounts /run so that nothing in it can be executed.
  EXPECT_EQ(box.cl({"ssh", "--", "systemctl is-active colima-like-agent-sent"}).out, "active\n");
  EXPECT_EQ(box.cl({"ssh", "--", "ps -eo args"}).out.find("perl -e"), std::string::npos);

  const json::object status = box.status();
  EXPECT_EQ(status.at("platforms").as_array().size(), 7U) << json::serialize(status);
  for (const json::value& one : status.at("platforms").as_array())
    EXPECT_TRUE(one.at("works").as_bool()) << json::serialize(one);
  fs::create_directory(box.root() / "by-ssh");
  std::ofstream(box.root() / "by-ssh" / "file") << "of the host\n";
  ASSERT_OK(box.cl({"share", "add", (box.root() / "by-ssh").string() + ":/mnt/by-ssh:ro:sshfs"}));
  EXPECT_EQ(box.cl({"ssh", "--", "cat /mnt/by-ssh/file"}).out, "of the host\n");

  // An image that brings Docker along may lack what containers' names are looked up by.
  ASSERT_OK(box.cl({"ssh", "--", "systemctl stop colima-like-dns; dpkg --force-depends --remove dnsmasq-base"}));
  EXPECT_NE(box.docker({"run", "--rm", "box", "busybox", "nslookup", "host.docker.internal"}).code, 0);
  ASSERT_OK(box.cl({"config", "set", "idle", "20m"}));
  ASSERT_OK(box.cl({"apply"}, {}, 300s));
  const Result again = box.docker({"run", "--rm", "box", "busybox", "nslookup", "host.docker.internal"});
  EXPECT_NE(again.out.find("10.0.2.2"), std::string::npos) << again;

  const fs::path seen = box.root() / "user" / "seen";
  auto text_of = [](const fs::path& path) { return read_file_if_exists(path).value_or(""); };
  ASSERT_OK(box.docker({"run", "-d", "--name", "back", "--restart", "always", "-v", seen.parent_path().string() + ":/h",
                        "box", "sh", "-c", "echo here >>/h/seen; exec sleep 1000000"}));
  ASSERT_TRUE(eventually(20s, [&] { return text_of(seen) == "here\n"; }));
  ASSERT_OK(box.cl({"stop"}, {}, 200s));
  EXPECT_NE(read_file(box.profile() / "log" / "daemon.log").find("the guest powered off"), std::string::npos)
      << "by its power button";
  const Result second = box.cl({"start"}, {}, boot_limit);
  ASSERT_OK(second);
  // The link to the sandbox's socket is in the guest's /tmp, which goes with each boot of such a guest; Docker stays.
  EXPECT_EQ(second.err.find("-install"), std::string::npos) << second;
  EXPECT_EQ(second.err.find("data,"), std::string::npos) << "mounted by the boot itself\n" << second;
  EXPECT_EQ(box.docker({"run", "--rm", "box", "echo", "hello"}).out, "hello\n") << "its data is still there";

  // What comes back by itself with a boot finds the home there.
  EXPECT_TRUE(eventually(boot_limit, [&] { return text_of(seen) == "here\nhere\n"; }))
      << text_of(seen) << box.cl({"ssh", "--", "systemctl status colima-like-shares; findmnt -t virtiofs,fuse.sshfs"});
  const Result waited =
      box.cl({"ssh", "--", "systemctl is-active colima-like-shares; journalctl -b -u colima-like-shares"});
  EXPECT_TRUE(waited.out.starts_with("active\n")) << waited;
  EXPECT_EQ(waited.out.find("nobody mounted the others"), std::string::npos) << waited;
  const Result cycles = box.cl({"ssh", "--", "journalctl -b | grep -i 'ordering cycle'"});
  EXPECT_EQ(cycles.out, "");
  ASSERT_OK(box.cl({"delete", "--data", "--force"}, {}, 200s));
  EXPECT_FALSE(fs::exists(box.profile() / "seed.img"));
}

/// docs/benchmarks.md says how to make the image and how long this takes: the boots are emulated, and in the first one
/// packages are installed.
TEST(CloudImage, OfTheOtherArchitectureBootsByEfi) {
  const char* given = std::getenv("COLIMA_LIKE_ARM64_CLOUD_IMAGE");
  if (given == nullptr) GTEST_SKIP() << "COLIMA_LIKE_ARM64_CLOUD_IMAGE names no image";
  Sandbox box;
  const fs::path cache = box.use_private_cache();
  if (fs::exists(Sandbox::shared_cache() / "tools"))
    fs::create_directory_symlink(Sandbox::shared_cache() / "tools", cache / "tools");
  const std::string file = fs::absolute(given).string();
  const std::string digest = first_word(box.run({"sha512sum", file}).out);
  ASSERT_OK(box.cl({"config", "set", "arch", "aarch64"}));
  ASSERT_OK(box.cl({"config", "set", "image", file + "#sha512:" + digest}));
  ASSERT_OK(box.cl({"start"}, {}, 1800s));
  const json::object status = box.status();
  EXPECT_EQ(status.at("arch"), "aarch64");
  EXPECT_EQ(box.cl({"ssh", "--", "test -d /sys/firmware/efi && uname -m"}).out, "aarch64\n");
  EXPECT_EQ(status.at("platforms").as_array().size(), 7U) << json::serialize(status);
  for (const json::value& one : status.at("platforms").as_array())
    EXPECT_TRUE(one.at("works").as_bool()) << json::serialize(one);
  EXPECT_FALSE(any_listens_on_ip(box.hypervisors(), false)) << "SSH is by virtio-serial here too";

  EXPECT_EQ(box.docker({"version", "--format", "{{.Server.Arch}}"}).out, "arm64\n");
  for (const Platform& one : platforms()) {
    if (one.name != "linux/arm64" && one.name != "linux/amd64") continue;
    ASSERT_NO_FATAL_FAILURE(import_tiny(box, one));
    const Result ran =
        box.docker({"run", "--rm", "--platform", std::string(one.name), tiny_image(one), "/machine"}, {}, 300s);
    EXPECT_TRUE(is_machine(one, ran.out)) << ran;
  }
  std::ofstream(box.root() / "user" / "file") << "of the host\n";
  EXPECT_EQ(box.cl({"ssh", "--", "cat '" + (box.root() / "user" / "file").string() + "'"}).out, "of the host\n");

  auto boot_id = [&] { return box.cl({"ssh", "--", "cat /proc/sys/kernel/random/boot_id"}).out; };
  const std::string boot = boot_id();
  ASSERT_OK(box.cl({"suspend"}, {}, 200s));
  EXPECT_EQ(box.state(), "suspended");
  ASSERT_OK(box.cl({"start"}, {}, boot_limit));
  EXPECT_EQ(boot_id(), boot) << "it was resumed";
  EXPECT_EQ(box.docker({"version", "--format", "{{.Server.Arch}}"}).out, "arm64\n");

  ASSERT_OK(box.cl({"stop"}, {}, 200s));
  EXPECT_NE(read_file(box.profile() / "log" / "daemon.log").find("the guest powered off"), std::string::npos)
      << "by its power button";
  const Result second = box.cl({"start"}, {}, boot_limit);
  ASSERT_OK(second);
  EXPECT_EQ(second.err.find("-install"), std::string::npos) << second;
  EXPECT_NE(boot_id(), boot);
  EXPECT_EQ(box.docker({"run", "--rm", "tiny-aarch64", "/machine"}, {}, 300s).out, "aarch64\n")
      << "its data is still there";
  ASSERT_OK(box.cl({"delete", "--data", "--force"}, {}, 200s));
}

}  // namespace
}  // namespace cl::e2e
