#include "vm/image/download.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>

#include "src/base/file.hpp"
#include "tests/integration/fault_server.hpp"
#include "tests/support/run.hpp"
#include "tests/support/temp_dir.hpp"
#include "vm/hash.hpp"

// A real web server with faults on demand, on loopback.

namespace cl {
namespace {

using namespace std::chrono_literals;
using test::FaultServer;

/// Not compressible by chance, and the same each time.
std::string content(std::size_t size) {
  std::string bytes(size, '\0');
  std::uint32_t state = 1;
  for (char& c : bytes) c = static_cast<char>((state = state * 1664525 + 1013904223) >> 24);
  return bytes;
}

std::string inverted(std::string bytes) {
  for (char& c : bytes) c = static_cast<char>(~c);
  return bytes;
}

class Downloads : public ::testing::Test {
 protected:
  Downloads() {
    write_atomically(file(), bytes_);
    what_.title = "the image";
    what_.part = directory_ / "image.part";
    what_.http.silence = 5s;
    what_.first_pause = 5ms;
    what_.spare = ByteSize();
    want(bytes_);
  }
  std::string file() const { return directory_ / "served"; }
  void want(const std::string& bytes) {
    write_atomically(directory_ / "wanted", bytes);
    what_.digest = {"sha512", test::run(file_digest(directory_ / "wanted", "sha512"))};
  }
  void get(std::vector<std::string> urls) {
    Download what = what_;
    what.urls = std::move(urls);
    test::run(download(std::move(what), [this](std::string_view text) { said_ += std::string(text) + "\n"; }), 60s);
  }
  Error failure(std::vector<std::string> urls) {
    try {
      get(std::move(urls));
    } catch (const Error& error) {
      return error;
    }
    return Error(Errc::internal, "it succeeded");
  }
  void expect_whole(const std::string& bytes) { EXPECT_TRUE(read_file(what_.part) == bytes) << "other bytes"; }
  void write_part(const std::string& bytes) { write_atomically(what_.part, bytes); }

  test::TempDir directory_;
  const std::string bytes_ = content(600'000);
  Download what_;
  std::string said_;
};

TEST_F(Downloads, AWholeFileArrives) {
  FaultServer server(file());
  get({server.url("file")});
  expect_whole(bytes_);
  EXPECT_EQ(server.requests(), "GET /file\n");
  EXPECT_NE(said_.find("checking the image"), std::string::npos) << said_;
}

TEST_F(Downloads, ProgressHasRateAndTimeLeft) {
  FaultServer server(file());
  get({server.url("slow=400000")});
  expect_whole(bytes_);
  EXPECT_NE(said_.find(" of 585.9KiB ("), std::string::npos) << said_;
  EXPECT_NE(said_.find("/s, "), std::string::npos) << said_;
  EXPECT_NE(said_.find(" s left"), std::string::npos) << said_;
}

TEST_F(Downloads, ABrokenConnectionIsGoneOnWithWhereItBroke) {
  FaultServer server(file());
  get({server.url("drop2=200000")});
  expect_whole(bytes_);
  EXPECT_EQ(
      server.requests(),
      "GET /drop2=200000\nGET /drop2=200000 bytes=200000- \"first\"\nGET /drop2=200000 bytes=400000- \"first\"\n");
}

TEST_F(Downloads, WhatAnEarlierRunLeftIsGoneOnWith) {
  FaultServer server(file());
  write_part(bytes_.substr(0, 599'999));
  get({server.url("file")});
  expect_whole(bytes_);
  EXPECT_EQ(server.requests(), "GET /file bytes=599999-\n");
}

TEST_F(Downloads, AServerThatIgnoresRangesSendsAllOfItAgain) {
  FaultServer server(file());
  get({server.url("drop1=200000-noranges")});
  expect_whole(bytes_);
  EXPECT_NE(said_.find("from its start"), std::string::npos) << said_;
}

TEST_F(Downloads, AFileThatChangedMeanwhileIsTakenFromItsStart) {
  FaultServer server(file());
  want(inverted(bytes_));
  get({server.url("drop1=200000-change=2")});
  expect_whole(inverted(bytes_));
  EXPECT_EQ(server.requests(), "GET /drop1=200000-change=2\nGET /drop1=200000-change=2 bytes=200000- \"first\"\n");
}

TEST_F(Downloads, PiecesOfTwoFilesAreNoticedAndTakenAnew) {
  FaultServer server(file());
  want(inverted(bytes_));
  get({server.url("drop1=200000-change=2-noetag")});
  expect_whole(inverted(bytes_));
  EXPECT_EQ(server.requests(),
            "GET /drop1=200000-change=2-noetag\nGET /drop1=200000-change=2-noetag bytes=200000-\n"
            "GET /drop1=200000-change=2-noetag\n");
}

TEST_F(Downloads, APartThatIsWholeIsOnlyChecked) {
  FaultServer server(file());
  write_part(bytes_);
  get({server.url("file")});
  EXPECT_EQ(server.requests(), "GET /file bytes=600000-\n") << "416, and the digest is right";
}

TEST_F(Downloads, APartThatIsLongerThanTheFileIsTakenAnew) {
  FaultServer server(file());
  write_part(bytes_ + "more");
  get({server.url("file")});
  expect_whole(bytes_);
}

TEST_F(Downloads, AServerThatSendsAnotherPartIsNotBelieved) {
  FaultServer server(file());
  write_part(bytes_.substr(0, 1000));
  get({server.url("badrange"), server.url("file")});
  expect_whole(bytes_);
}

TEST_F(Downloads, TroubleThatPassesIsWaitedFor) {
  FaultServer server(file());
  get({server.url("status3=503")});
  expect_whole(bytes_);
  get({server.url("status2=500-chunked")});
  get({server.url("status1=429")});
  EXPECT_NE(said_.find("status 503; trying again"), std::string::npos) << said_;
}

TEST_F(Downloads, TroubleThatStaysIsTold) {
  FaultServer server(file());
  const Error missing = failure({server.url("status=404")});
  EXPECT_EQ(missing.code(), Errc::not_found);
  EXPECT_NE(one_line(missing).find("status 404"), std::string::npos) << one_line(missing);
  EXPECT_EQ(server.requests(), "GET /status=404\n") << "asking again would not help";
  const Error broken = failure({server.url("status=500")});
  EXPECT_EQ(broken.code(), Errc::io);
  EXPECT_NE(one_line(broken).find("status 500"), std::string::npos) << one_line(broken);
  const Error nonsense = failure({server.url("nonsense")});
  EXPECT_EQ(nonsense.code(), Errc::io) << one_line(nonsense);
  EXPECT_EQ(failure({"http://127.0.0.1:1/file"}).code(), Errc::io);
  EXPECT_EQ(failure({"ftp://host/file"}).code(), Errc::not_found);
}

TEST_F(Downloads, AMirrorTakesOver) {
  FaultServer server(file());
  get({server.url("status=404"), server.url("file")});
  expect_whole(bytes_);
  fs::remove(what_.part);
  get({"http://127.0.0.1:1/file", server.url("wrong"), server.url("drop=250000")});
  expect_whole(bytes_);
}

TEST_F(Downloads, AnotherFileIsRefusedAndLeavesNothing) {
  FaultServer server(file());
  const Error error = failure({server.url("wrong")});
  EXPECT_EQ(error.code(), Errc::protocol);
  EXPECT_NE(error.cause().find("its digest is sha512:"), std::string::npos) << one_line(error);
  EXPECT_NE(error.cause().find("not " + what_.digest.str()), std::string::npos) << one_line(error);
  EXPECT_FALSE(fs::exists(what_.part));
  EXPECT_EQ(server.requests(), "GET /wrong\n") << "it came in one piece: no second look";
}

TEST_F(Downloads, LengthsThatAreWrongAreNoticed) {
  FaultServer server(file());
  get({server.url("long")});
  expect_whole(bytes_);
  fs::remove(what_.part);
  EXPECT_EQ(failure({server.url("short")}).code(), Errc::protocol) << "half a file has another digest";
}

TEST_F(Downloads, AnEndlessFileIsCutOff) {
  FaultServer server(file());
  what_.most = ByteSize::mib(2);
  const Error error = failure({server.url("endless")});
  EXPECT_NE(one_line(error).find("does not end at 2MiB"), std::string::npos) << one_line(error);
  EXPECT_FALSE(fs::exists(what_.part));
  what_.most = ByteSize::bytes(100 << 10);
  EXPECT_NE(one_line(failure({server.url("file")})).find("it has 585.9KiB, and at most 100KiB"), std::string::npos);
}

TEST_F(Downloads, ASilentServerIsLeft) {
  FaultServer server(file());
  what_.http.silence = 300ms;
  get({server.url("stall"), server.url("file")});
  expect_whole(bytes_);
  EXPECT_NE(server.requests().find("GET /file bytes=300000-"), std::string::npos) << server.requests();
}

TEST_F(Downloads, ChunksAreReadAndGoneOnWith) {
  FaultServer server(file());
  get({server.url("chunked")});
  expect_whole(bytes_);
  fs::remove(what_.part);
  get({server.url("chunked-drop1=123456")});
  expect_whole(bytes_);
}

TEST_F(Downloads, RedirectsAreFollowedToAnEnd) {
  FaultServer server(file());
  get({server.url("folder/hop=3")});
  expect_whole(bytes_);
  EXPECT_NE(server.requests().find("GET /folder/hop=0\n"), std::string::npos) << server.requests();
  const Error error = failure({server.url("loop")});
  EXPECT_EQ(error.code(), Errc::not_found);
  EXPECT_NE(one_line(error).find("more than 10 times"), std::string::npos) << one_line(error);
}

TEST_F(Downloads, TooLittleSpaceIsToldBeforeAByteIsWritten) {
  FaultServer server(file());
  what_.spare = ByteSize::gib(1U << 30U);
  const Error error = failure({server.url("file"), server.url("drop=1")});
  EXPECT_EQ(error.code(), Errc::host_requirement);
  EXPECT_NE(one_line(error).find(" free, and "), std::string::npos) << one_line(error);
  EXPECT_FALSE(fs::exists(what_.part));
  EXPECT_EQ(server.requests(), "GET /file\n") << "another server has no more space";
}

TEST_F(Downloads, OneThatIsKilledIsGoneOnWith) {
  FaultServer server(file());
  const pid_t child = ::fork();
  if (child == 0) {
    try {
      get({server.url("slow=300000")});
    } catch (...) {
    }
    ::_exit(0);
  }
  std::error_code ec;
  for (int i = 0; i < 500 && (!fs::exists(what_.part) || fs::file_size(what_.part, ec) < 100'000); ++i)
    ::usleep(10'000);  // until there is something to go on with
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  const auto have = fs::file_size(what_.part);
  ASSERT_GE(have, 100'000U);
  ASSERT_LT(have, bytes_.size());
  get({server.url("slow=300000")});
  expect_whole(bytes_);
  EXPECT_NE(server.requests().find("bytes=" + std::to_string(have) + "- \"first\""), std::string::npos)
      << server.requests();
}

TEST_F(Downloads, OneThatIsInterruptedKeepsItsPart) {
  FaultServer server(file());
  Download what = what_;
  what.urls = {server.url("slow=100000")};
  EXPECT_THROW(test::run(with_timeout(1s, "the test", download(std::move(what), {}))), Error);
  EXPECT_GT(fs::file_size(what_.part), 0U);
  get({server.url("file")});
  expect_whole(bytes_);
}

// --- proxies and TLS
// ---------------------------------------------------------------------------------------------------

class SecureDownloads : public Downloads {
 protected:
  void make_certificate(const std::string& name) {
    const std::string command =
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj '/CN=" + name +
        "' -addext 'subjectAltName=" + (name[0] == '1' ? "IP:" : "DNS:") + name + "' -keyout " + key() + " -out " +
        certificate() + " 2>/dev/null";
    ASSERT_EQ(std::system(command.c_str()), 0);
    what_.http.ca_file = certificate();
  }
  std::string key() const { return directory_ / "key.pem"; }
  std::string certificate() const { return directory_ / "certificate.pem"; }
};

TEST_F(SecureDownloads, ATrustedServerIsUsed) {
  make_certificate("127.0.0.1");
  FaultServer server(file(), {"--tls", certificate(), key()});
  get({server.url("drop1=200000", "https")});
  expect_whole(bytes_);
}

TEST_F(SecureDownloads, AnUntrustedOrWrongServerIsRefused) {
  make_certificate("127.0.0.1");
  {
    FaultServer server(file(), {"--tls", certificate(), key()});
    what_.http.ca_file.clear();
    const Error error = failure({server.url("file", "https")});
    EXPECT_EQ(error.code(), Errc::host_requirement);
    EXPECT_NE(one_line(error).find("is not trusted"), std::string::npos) << one_line(error);
    EXPECT_NE(error.remedy().find("SSL_CERT_FILE"), std::string::npos);
  }
  make_certificate("other.invalid");
  FaultServer server(file(), {"--tls", certificate(), key()});
  const Error error = failure({server.url("file", "https")});
  EXPECT_EQ(error.code(), Errc::host_requirement) << one_line(error);
  EXPECT_FALSE(fs::exists(what_.part));
}

TEST_F(SecureDownloads, ARedirectNeverLeavesTls) {
  make_certificate("127.0.0.1");
  FaultServer server(file(), {"--tls", certificate(), key()});
  EXPECT_NE(one_line(failure({server.url("insecure", "https")})).find("insecure"), std::string::npos);
}

TEST_F(SecureDownloads, ProxiesAreUsedAndNamesAreTheirs) {
  FaultServer proxy(file());
  what_.http.proxies.http = "http://127.0.0.1:" + proxy.port();
  get({"http://images.invalid/file"});
  expect_whole(bytes_);
  EXPECT_EQ(proxy.requests(), "GET http://images.invalid/file\n");
  fs::remove(what_.part);

  make_certificate("images.invalid");
  FaultServer server(file(), {"--tls", certificate(), key()});
  what_.http.proxies.https = "127.0.0.1:" + proxy.port();
  get({"https://images.invalid:" + server.port() + "/file"});
  expect_whole(bytes_);
  EXPECT_NE(proxy.requests().find("CONNECT images.invalid:" + server.port()), std::string::npos);
  EXPECT_EQ(server.requests(), "GET /file\n");

  what_.http.proxies.none = "other,.invalid";
  EXPECT_NE(one_line(failure({"http://images.invalid/file"})).find("address of images.invalid"), std::string::npos);
}

TEST_F(SecureDownloads, AProxysPasswordIsSentAndNeverShown) {
  make_certificate("images.invalid");
  FaultServer server(file(), {"--tls", certificate(), key()});
  FaultServer proxy(file(), {"--auth", "me:secret"});
  const std::string url = "https://images.invalid:" + server.port() + "/file";
  what_.http.proxies.https = "http://me:secret@127.0.0.1:" + proxy.port();
  get({url});
  expect_whole(bytes_);
  fs::remove(what_.part);
  what_.http.proxies.https = "http://me:mistaken@127.0.0.1:" + proxy.port();
  const Error error = failure({url});
  EXPECT_EQ(error.code(), Errc::host_requirement);
  EXPECT_NE(one_line(error).find("status 407"), std::string::npos) << one_line(error);
  EXPECT_EQ((one_line(error) + error.remedy() + said_).find("mistaken"), std::string::npos);
}

}  // namespace
}  // namespace cl
