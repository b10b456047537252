#include <gtest/gtest.h>

#include <cstdlib>

#include "profiles/image_ref.hpp"
#include "src/base/file.hpp"
#include "tests/support/temp_dir.hpp"
#include "vm/image/catalog.hpp"
#include "vm/image/disk_files.hpp"
#include "vm/image/download.hpp"
#include "vm/image/http.hpp"
#include "vm/image/url.hpp"

// The pure halves of downloading an image.

namespace cl {
namespace {

using namespace std::chrono_literals;

// --- URLs
// --------------------------------------------------------------------------------------------------------------

TEST(Urls, AreTakenApart) {
  const auto url = parse_url("HTTPS://me:pw@Host.Example:8443/a/b?c=d#e");
  ASSERT_TRUE(url);
  EXPECT_EQ(*url, (Url{"https", "me:pw", "host.example", "8443", "/a/b?c=d"}));
  EXPECT_EQ(url->str(), "https://host.example:8443/a/b?c=d") << "no password";
  EXPECT_EQ(parse_url("http://h")->target, "/");
  EXPECT_EQ(parse_url("http://h?q")->target, "/?q");
  EXPECT_EQ(parse_url("http://h/")->port, "80");
  EXPECT_EQ(parse_url("https://[::1]:1/")->authority(), "[::1]:1");
  EXPECT_EQ(parse_url("https://h/")->endpoint(), "h:443");
  for (const char* wrong :
       {"", "h", "ftp://h/", "http://", "http:///x", "http://h:0/", "http://h:65536/", "http://h:x/", "http://h/a b",
        "http://h/a\r\nX: y", "http://[::1", "http://[g]/", "http://u@/"})
    EXPECT_FALSE(parse_url(wrong)) << wrong;
}

TEST(Urls, RedirectsAreResolvedAgainstWhereTheyCameFrom) {
  const Url base = *parse_url("https://h:1/a/b?q");
  const auto to = [&](const char* reference) {
    const auto url = resolve_url(base, reference);
    return url ? url->str() : "nothing";
  };
  EXPECT_EQ(to("http://o/x"), "http://o/x");
  EXPECT_EQ(to("//o/x"), "https://o/x");
  EXPECT_EQ(to("/x"), "https://h:1/x");
  EXPECT_EQ(to("x"), "https://h:1/a/x");
  EXPECT_EQ(to("?r"), "https://h:1/a/b?r");
  EXPECT_EQ(to(""), "nothing");
  EXPECT_EQ(to("mailto:x"), "nothing");
  EXPECT_EQ(to("/x y"), "nothing");
}

TEST(Proxies, FollowTheVariables) {
  ProxySettings settings{"http://p:3128", "q:8080", "a.example, .b.example,10.0.0.1,c.example:8443"};
  const auto through = [&](const char* url) {
    const auto proxy = proxy_for(settings, *parse_url(url));
    return proxy ? proxy->endpoint() : "direct";
  };
  EXPECT_EQ(through("http://x.example/"), "p:3128");
  EXPECT_EQ(through("https://x.example/"), "q:8080");
  for (const char* direct : {"http://a.example/", "http://sub.a.example/", "https://b.example/", "http://10.0.0.1/",
                             "https://c.example:8443/", "http://localhost/", "http://127.0.0.1:9/", "http://[::1]/"})
    EXPECT_EQ(through(direct), "direct") << direct;
  EXPECT_EQ(through("http://nota.example/"), "p:3128");
  EXPECT_EQ(through("https://c.example/"), "q:8080");
  settings.none = "*";
  EXPECT_EQ(through("http://x.example/"), "direct");
  settings = {"socks5://p:1", "", ""};
  EXPECT_THROW(through("http://x.example/"), Error);
  EXPECT_EQ(through("https://x.example/"), "direct");
}

TEST(Proxies, SmallVariablesGoBeforeCapitalOnes) {
  ::setenv("HTTPS_PROXY", "http://capital", 1);
  ::setenv("all_proxy", "http://all", 1);
  const ProxySettings one = proxies_of_environment();
  ::setenv("https_proxy", "http://small", 1);
  const ProxySettings two = proxies_of_environment();
  for (const char* name : {"HTTPS_PROXY", "https_proxy", "all_proxy"}) ::unsetenv(name);
  EXPECT_EQ(one.https, "http://capital");
  EXPECT_EQ(two.https, "http://small");
  EXPECT_EQ(one.http, "http://all");
}

TEST(ContentRange, IsReadStrictly) {
  HttpAnswer answer;
  ASSERT_TRUE(parse_content_range("bytes 5-9/10", answer));
  EXPECT_EQ(answer.first, 5U);
  EXPECT_EQ(answer.total, 10U);
  ASSERT_TRUE(parse_content_range("bytes 5-9/*", answer));
  EXPECT_FALSE(answer.total);
  for (const char* wrong : {"", "bytes", "bytes 5-9", "bytes 9-5/10", "bytes 5-10/10", "bytes */10", "items 5-9/10",
                            "bytes -9/10", "bytes 5-9/x", "bytes 99999999999999999999-9/10"})
    EXPECT_FALSE(parse_content_range(wrong, answer)) << wrong;
}

TEST(CaBundle, IsFoundWhereEachDistributionHasIt) {
  EXPECT_FALSE(ca_bundle(test::TempDir().path())) << "there is none";
  for (const char* place : {"etc/ssl/certs/ca-certificates.crt", "etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
                            "etc/pki/tls/certs/ca-bundle.crt", "etc/ssl/ca-bundle.pem", "etc/ssl/cert.pem"}) {
    const test::TempDir root;
    std::filesystem::create_directories((root / place).parent_path());
    write_atomically(root / place, "certificates");
    EXPECT_EQ(ca_bundle(root.path()), root / place);
    remove_file(root / place);
    std::filesystem::create_directory(root / place);
    EXPECT_FALSE(ca_bundle(root.path())) << "a folder is no bundle";
  }
}

TEST(Validators, WeakOnesDoNotVouchForBytes) {
  HttpAnswer answer;
  EXPECT_EQ(answer.validator(), "");
  answer.last_modified = "date";
  answer.etag = "W/\"x\"";
  EXPECT_EQ(answer.validator(), "date");
  answer.etag = "\"x\"";
  EXPECT_EQ(answer.validator(), "\"x\"");
}

// --- progress
// ----------------------------------------------------------------------------------------------------------

TEST(Progress, TellsRateAndTimeLeft) {
  EXPECT_EQ(progress_text(1 << 20, 4 << 20, 0), "1MiB of 4MiB (25%)");
  EXPECT_EQ(progress_text(1 << 20, 4 << 20, 1 << 20), "1MiB of 4MiB (25%), 1MiB/s, 3 s left");
  EXPECT_EQ(progress_text(0, std::uint64_t{1} << 30, 1 << 20), "0B of 1GiB (0%), 1MiB/s, 18 min left");
  EXPECT_EQ(progress_text(0, std::uint64_t{1} << 40, 1 << 20), "0B of 1TiB (0%), 1MiB/s, 292 h left");
  EXPECT_EQ(progress_text(1 << 20, std::nullopt, 1 << 10), "1MiB, 1KiB/s");
}

TEST(Progress, TheRateIsThatOfTheLastSeconds) {
  Rate rate;
  const Rate::Time start{};
  EXPECT_EQ(rate.per_second(), 0);
  rate.add(start, 1000);
  EXPECT_EQ(rate.per_second(), 0);
  for (int i = 1; i <= 100; ++i) rate.add(start + i * 100ms, 1000 + static_cast<std::uint64_t>(i) * 100);
  EXPECT_NEAR(rate.per_second(), 1000, 50);
  for (int i = 101; i <= 200; ++i) rate.add(start + i * 100ms, 11000 + static_cast<std::uint64_t>(i - 100) * 10);
  EXPECT_NEAR(rate.per_second(), 100, 20) << "the old speed is forgotten";
}

// --- the setting and the catalog
// ---------------------------------------------------------------------------------------

TEST(ImageRefs, NamesAndLocationsWithTheirDigest) {
  const std::string sum512(128, 'a'), sum256(64, 'B');
  std::string why;
  EXPECT_EQ(parse_image_ref("auto", why)->kind, ImageRef::Kind::automatic);
  EXPECT_EQ(parse_image_ref("plain", why)->kind, ImageRef::Kind::built);
  EXPECT_EQ(parse_image_ref("ubuntu-24.04", why)->kind, ImageRef::Kind::catalog);
  const auto url = parse_image_ref("https://h/f/x.qcow2?y/z#sha512:" + sum512, why);
  ASSERT_TRUE(url) << why;
  EXPECT_EQ(url->location, "https://h/f/x.qcow2?y/z");
  EXPECT_EQ(url->name, "x.qcow2");
  EXPECT_EQ(url->digest.str(), "sha512:" + sum512);
  const auto path = parse_image_ref("~/my images/a#b.raw#sha256:" + sum256, why);
  ASSERT_TRUE(path) << why;
  EXPECT_EQ(path->location, "~/my images/a#b.raw");
  EXPECT_EQ(path->digest.hex, std::string(64, 'b'));
  for (const std::string& wrong :
       {std::string("windows"), std::string("https://h/x.qcow2"), "https://h/x#sha512:" + sum256,
        "https://h/x#md5:" + sum256, "https://h/#sha512:" + sum512, "x.raw#sha512:" + sum512,
        "https://h/a b#sha512:" + sum512, "/a\nb#sha512:" + sum512, "/a#sha256:" + std::string(64, 'g')}) {
    why.clear();
    EXPECT_FALSE(parse_image_ref(wrong, why)) << wrong;
    EXPECT_TRUE(why.starts_with("must ")) << wrong;
  }
}

TEST(Catalog, HasEveryNameForBothArchitectures) {
  for (const std::string_view name : catalog_names)
    for (const std::string_view arch : {"x86_64", "aarch64"}) {
      const auto entry = find_in_catalog(name, arch);
      ASSERT_TRUE(entry) << name << arch;
      EXPECT_TRUE(parse_digest(entry->pinned.str())) << name;
      for (const std::string_view path : {entry->pinned_path, entry->newest_path}) {
        EXPECT_NE(path.find(arch == "x86_64" ? "amd64" : "arm64"), std::string_view::npos) << path;
        for (const std::string& url : entry->urls(path))
          EXPECT_TRUE(parse_url(url) && url.starts_with("https://")) << url;
      }
      EXPECT_TRUE(entry->digests_url().ends_with("SUMS"));
    }
  EXPECT_FALSE(find_in_catalog("debian-13", "riscv64"));
  ::setenv("COLIMA_LIKE_IMAGE_MIRROR", "http://near/images/", 1);
  const auto urls = find_in_catalog("debian-13", "x86_64")->urls("a/b");
  ::unsetenv("COLIMA_LIKE_IMAGE_MIRROR");
  EXPECT_EQ(urls.front(), "http://near/images/a/b");
  EXPECT_EQ(urls.size(), 3U);
}

TEST(Sums, AFileIsFoundByItsWholeName) {
  const std::string a(128, 'a'), b(128, 'b');
  const std::string sums = a + "  x.qcow2.old\n" + b + " *x.qcow2\r\nnonsense\n" + a + "  y\n";
  EXPECT_EQ(find_in_sums(sums, "sha512", "x.qcow2")->hex, b);
  EXPECT_EQ(find_in_sums(sums, "sha512", "y")->hex, a);
  EXPECT_FALSE(find_in_sums(sums, "sha512", "z"));
  EXPECT_FALSE(find_in_sums(sums, "sha256", "y")) << "a digest of another length";
}

// --- disks
// -------------------------------------------------------------------------------------------------------------

std::string qcow2(std::uint32_t version = 3) {
  std::string bytes(4096, '\0');
  bytes.replace(0, 4, "QFI\xfb");
  bytes[7] = static_cast<char>(version);
  bytes[23] = 16;      // cluster bits
  bytes[28] = '\x40';  // 1 GiB
  bytes[103] = 104;    // header length
  return bytes;
}

TEST(Qcow2, ASoundOneIsTaken) {
  EXPECT_EQ(refuse_qcow2(qcow2(), 1ULL << 40), std::nullopt);
  EXPECT_EQ(refuse_qcow2(qcow2(2), 1ULL << 40), std::nullopt);
}

TEST(Qcow2, WhatLeadsElsewhereOrIsNotUnderstoodIsRefused) {
  const auto refused = [](const std::function<void(std::string&)>& change) {
    std::string bytes = qcow2();
    change(bytes);
    return refuse_qcow2(bytes, 1ULL << 40).value_or("taken");
  };
  EXPECT_NE(refused([](std::string& b) { b[14] = 2, b[19] = 4, b.replace(512, 4, "/etc"); }).find("'/etc'"),
            std::string::npos);
  EXPECT_NE(refused([](std::string& b) { b[19] = 4; }).find("overlay"), std::string::npos) << "a length alone";
  EXPECT_NE(refused([](std::string& b) { b[79] = 4; }).find("another file"), std::string::npos);
  EXPECT_NE(refused([](std::string& b) { b[79] = 2; }).find("corrupt"), std::string::npos);
  EXPECT_NE(refused([](std::string& b) { b[79] = '\x40'; }).find("not known"), std::string::npos);
  EXPECT_NE(refused([](std::string& b) { b[35] = 1; }).find("encrypted"), std::string::npos);
  EXPECT_NE(refused([](std::string& b) { b[28] = 0; }).find("0B"), std::string::npos);
  EXPECT_NE(refused([](std::string& b) { b[24] = 1; }).find("TiB"), std::string::npos);
  EXPECT_NE(refused([](std::string& b) { b[7] = 4; }).find("damaged"), std::string::npos);
  EXPECT_NE(refused([](std::string& b) { b[14] = '\x7f', b[19] = 4; }).find("damaged"), std::string::npos);
  EXPECT_NE(refused([](std::string& b) { b.resize(60); }).find("damaged"), std::string::npos);
}

/// A GPT disk whose EFI system partition has these directory entries.
std::string gpt_disk(const std::vector<std::string>& loaders, bool boot_code) {
  std::string disk(1 << 20, '\0');
  if (boot_code) disk[0] = '\xeb';
  disk.replace(510, 2, "\x55\xaa");
  disk.replace(512, 8, "EFI PART");
  disk[512 + 72] = 2;       // table
  disk[512 + 80] = '\x80';  // entries
  disk[512 + 84] = '\x80';  // of 128 bytes
  const std::size_t second = 1024 + 128;
  disk.replace(second, 16, std::string("\x28\x73\x2a\xc1\x1f\xf8\xd2\x11\xba\x4b\x00\xa0\xc9\x3e\xc9\x3b", 16));
  disk[second + 33] = 4;  // from sector 1024
  disk[second + 40] = '\xff';
  disk[second + 41] = 7;  // to 2047
  for (std::size_t i = 0; i < loaders.size(); ++i) disk.replace(1024 * 512 + 32 * (i + 3), 11, loaders[i]);
  return disk;
}

DiskFacts inspect(const std::string& disk) {
  return inspect_disk(
      [&](std::uint64_t at, std::size_t length) { return at < disk.size() ? disk.substr(at, length) : std::string(); });
}

TEST(ForeignDisks, TellHowTheyBoot) {
  EXPECT_FALSE(inspect("").partitioned);
  EXPECT_FALSE(inspect(std::string(4096, 'x')).partitioned);
  const DiskFacts both = inspect(gpt_disk({"BOOTX64 EFI"}, true));
  EXPECT_TRUE(both.partitioned && both.bios && both.efi_x86_64 && !both.efi_aarch64);
  EXPECT_EQ(boot_way(both, "x86_64", "x"), "bios");
  const DiskFacts efi = inspect(gpt_disk({"BOOTX64 EFI"}, false));
  EXPECT_EQ(boot_way(efi, "x86_64", "x"), "efi");
  const DiskFacts arm = inspect(gpt_disk({"BOOTAA64EFI"}, false));
  EXPECT_EQ(boot_way(arm, "aarch64", "x"), "efi");
  EXPECT_THROW(boot_way(arm, "x86_64", "x"), Error);
  EXPECT_THROW(boot_way(both, "aarch64", "x"), Error);
  const DiskFacts unknown = inspect(gpt_disk({}, false));
  EXPECT_EQ(boot_way(unknown, "aarch64", "x"), "efi") << "what is not known is tried";
  const DiskFacts universal = inspect(gpt_disk({"BOOTX64 EFI", "BOOTAA64EFI"}, false));
  EXPECT_EQ(boot_way(universal, "x86_64", "x"), "efi");
  EXPECT_EQ(boot_way(universal, "aarch64", "x"), "efi");
}

TEST(ForeignDisks, TablesThatLieAreSurvived) {
  std::string disk = gpt_disk({"BOOTX64 EFI"}, false);
  for (const std::size_t at : {512 + 72, 512 + 80, 512 + 84, 1024 + 128 + 32, 1024 + 128 + 40}) {
    std::string wrong = disk;
    wrong.replace(at, 4, "\xff\xff\xff\xff");
    inspect(wrong);
  }
  disk.resize(1024 + 130);
  inspect(disk);
}

}  // namespace
}  // namespace cl
