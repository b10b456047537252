#include "docker/request_watch.hpp"

#include <gtest/gtest.h>

#include <vector>

namespace cl {
namespace {

using Kind = RequestWatch::Piece::Kind;

/// What is seen in `bytes`, which come `at_once` at a time: "METHOD TARGET", "+N" for a body, "opaque N".
std::string seen(std::string_view bytes, std::size_t at_once) {
  RequestWatch watch;
  std::string all;
  std::size_t body = 0, opaque = 0, total = 0;
  for (std::size_t at = 0; at < bytes.size(); at += at_once) {
    std::string_view part = bytes.substr(at, at_once);
    while (!part.empty()) {
      const auto piece = watch.next(part);
      total += piece.bytes.size();
      if (piece.kind == Kind::head && piece.last) all += watch.method() + " " + watch.target() + "\n";
      if (piece.kind == Kind::body) body += piece.bytes.size();
      if (piece.kind == Kind::body && piece.last) all += "+" + std::to_string(std::exchange(body, 0)) + "\n";
      if (piece.kind == Kind::opaque) opaque = total;
    }
  }
  if (total != bytes.size()) all += "lost bytes\n";
  if (opaque > 0) all += "opaque to the end\n";
  return all;
}

std::string seen(std::string_view bytes) {
  const std::string whole = seen(bytes, bytes.size());
  for (const std::size_t at_once : {1U, 2U, 3U, 7U})
    EXPECT_EQ(seen(bytes, at_once), whole) << "it depends on how the bytes are cut, by " << at_once;
  return whole;
}

TEST(RequestWatch, SeesEachRequestOfAConnection) {
  EXPECT_EQ(seen("HEAD /_ping HTTP/1.1\r\nHost: x\r\n\r\n"
                 "POST /v1.47/containers/create?name=a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n{   }"
                 "POST /v1.47/containers/abc/start HTTP/1.1\r\nContent-Length: 0\r\n\r\n"
                 "GET /version HTTP/1.1\r\n\r\n"),
            "HEAD /_ping\nPOST /containers/create\n+5\nPOST /containers/abc/start\nGET /version\n");
}

TEST(RequestWatch, IsNotLedAstrayByABodyThatLooksLikeARequest) {
  const std::string trap = "POST /containers/x/start HTTP/1.1\r\n\r\n";
  EXPECT_EQ(seen("POST /a HTTP/1.1\r\ncontent-length: " + std::to_string(trap.size()) + "\r\n\r\n" + trap +
                 "GET /b HTTP/1.1\r\n\r\n"),
            "POST /a\n+" + std::to_string(trap.size()) + "\nGET /b\n");
}

TEST(Unchunked, IsTheDataWhateverTheSizesSay) {
  EXPECT_EQ(unchunked("4\r\nabcd\r\n2;x=y\r\nef\r\n0\r\n\r\n"), "abcdef");
  EXPECT_EQ(unchunked("9\r\nabcd"), "abcd");
  // A size that brings one back to where it stands, so that there would be no end of it.
  EXPECT_EQ(unchunked("FFFFFFFFFFFFFFED\r\nabcd"), "abcd");
  EXPECT_EQ(unchunked("FFFFFFFFFFFFFFFF\nabcd"), "abcd");
}

TEST(RequestWatch, FollowsChunksAndTrailers) {
  EXPECT_EQ(seen("POST /build HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n"
                 "4;x=y\r\nabcd\r\nA\r\n0123456789\r\n0\r\nTrailer: 1\r\n\r\n"
                 "GET /b HTTP/1.1\r\n\r\n"),
            "POST /build\n+45\nGET /b\n");
}

TEST(RequestWatch, IsOpaqueForGoodAfterAnUpgradeAHijackOrNonsense) {
  const std::string trap = "POST /containers/x/start HTTP/1.1\r\n\r\n";
  const std::string end = "opaque to the end\n";
  EXPECT_EQ(seen("POST /x HTTP/1.1\r\nUpgrade: tcp\r\n\r\n" + trap), end);
  EXPECT_EQ(seen("POST /v1.41/containers/x/attach?stdin=1 HTTP/1.1\r\n\r\n" + trap), end);
  EXPECT_EQ(seen("POST /exec/x/start HTTP/1.1\r\n\r\n" + trap), end);
  EXPECT_EQ(seen("POST /exec/x/start HTTP/1.1\r\nUpgrade: tcp\r\nContent-Length: 15\r\n\r\n{\"Detach\":true}" + trap),
            end);
  EXPECT_EQ(seen("POST /session HTTP/1.1\r\n\r\n" + trap), end);
  EXPECT_EQ(seen("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + trap), end);
  EXPECT_EQ(seen("\r\n\r\n" + trap), end);
  EXPECT_EQ(seen("POST /x HTTP/1.1\r\nContent-Length: -1\r\n\r\n" + trap), end);
  EXPECT_EQ(seen("POST /x HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n" + trap), end);
  EXPECT_EQ(seen("GET /a HTTP/1.1\r\nX: " + std::string(70000, 'x') + "\r\n\r\n" + trap), end);
  EXPECT_EQ(seen("POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n" + trap), "POST /a\n" + end);
}

TEST(RequestWatch, KnowsWhoOnlyLooks) {
  for (const char* target : {"/_ping", "/version", "/info", "/events", "/containers/json", "/containers/web/json",
                             "/containers/web/stats", "/images/json", "/images/a/b/json", "/networks", "/networks/n",
                             "/volumes", "/volumes/v", "/system/df", "/services", "/tasks/t"})
    EXPECT_TRUE(only_looks("GET", target)) << target;
  EXPECT_TRUE(only_looks("HEAD", "/_ping"));
  for (const char* target : {"/containers/json", "/events", "/info", "/volumes", "/containers/web/stats"})
    EXPECT_TRUE(only_lists(target)) << target;
  for (const char* target : {"/_ping", "/version", "/containers/web/json", "/networks/n", "/images/a/b/json"})
    EXPECT_FALSE(only_lists(target)) << target;
  EXPECT_FALSE(only_looks("POST", "/containers/json"));
  for (const char* target :
       {"/containers/web/logs", "/containers/web/archive", "/containers/web/attach/ws", "/containers/web/export",
        "/images/get", "/images/web/get", "/services/s/logs", "/session", "/networksx", "/anything/new", ""})
    EXPECT_FALSE(only_looks("GET", target)) << target;
}

std::string exec_start(const std::string& body) {
  return "POST /v1.47/exec/x/start HTTP/1.1\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
}

TEST(RequestWatch, GoesOnAfterAnExecWhoseStreamNobodyAskedFor) {
  const std::string next = "POST /containers/x/start HTTP/1.1\r\n\r\n";
  const std::string followed = "POST /containers/x/start\n";
  EXPECT_EQ(seen(exec_start(R"({"Detach":true,"Tty":false})") + next), "POST /exec/x/start\n+27\n" + followed);
  EXPECT_EQ(seen("POST /exec/x/start HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
                 "4\r\n{\"De\r\nb\r\ntach\":true}\r\n0\r\n\r\n" +
                 next),
            "POST /exec/x/start\n+30\n" + followed);
  const std::string end = "opaque to the end\n";
  for (const std::string body : {"{}", R"({"Detach":false})", R"({"Detach":"true"})", "nonsense"})
    EXPECT_EQ(seen(exec_start(body) + next), "POST /exec/x/start\n+" + std::to_string(body.size()) + "\n" + end)
        << body;
  const std::string long_one = R"({"Detach":true,"x":")" + std::string(5000, 'x') + "\"}";
  EXPECT_EQ(seen(exec_start(long_one) + next), "POST /exec/x/start\n+" + std::to_string(long_one.size()) + "\n" + end);
}

}  // namespace
}  // namespace cl
