#include "src/egress/first_bytes.hpp"

#include <gtest/gtest.h>

namespace cl::test {
namespace {

using Kind = FirstBytes::Kind;

std::string big(std::size_t number, int bytes) {
  std::string text;
  for (int shift = 8 * (bytes - 1); shift >= 0; shift -= 8) text += static_cast<char>(number >> shift & 0xff);
  return text;
}
std::string block(const std::string& text, int length_size) { return big(text.size(), length_size) + text; }

std::string extension(int type, const std::string& body) {
  return big(static_cast<std::size_t>(type), 2) + block(body, 2);
}
std::string name_extension(const std::string& name) {
  return extension(0, block(std::string(1, '\0') + block(name, 2), 2));
}

std::string hello_message(const std::string& extensions) {
  return "\x01" + block("\x03\x03" + std::string(32, 'r') + block("session", 1) + block("\x13\x01", 2) +
                            block(std::string(1, '\0'), 1) + block(extensions, 2),
                        3);
}
std::string record(const std::string& fragment, char type = 22) {
  return std::string(1, type) + "\x03\x01" + block(fragment, 2);
}

std::string said(std::string_view bytes) {
  const FirstBytes first = look_at_first_bytes(bytes);
  constexpr std::array<std::string_view, 4> names{"more", "tls", "http", "other"};
  return std::string(names[static_cast<std::size_t>(first.kind)]) + " " + first.name;
}

TEST(FirstBytes, TlsTellsItsServersName) {
  const std::string hello = record(hello_message(extension(43, "\x02\x03\x04") + name_extension("Api.Example.")));
  EXPECT_EQ(said(hello), "tls api.example");
  for (std::size_t size = 0; size < hello.size(); ++size) EXPECT_EQ(said(hello.substr(0, size)), "more ") << size;
  EXPECT_EQ(said(hello + "what follows"), "tls api.example");
}

TEST(FirstBytes, AHelloInPiecesIsPutTogether) {
  const std::string message = hello_message(name_extension("api.example"));
  std::string records;
  for (const char c : message) records += record(std::string(1, c));
  EXPECT_EQ(said(records), "tls api.example");
  EXPECT_EQ(said(records.substr(0, records.size() - 1)), "more ");
}

TEST(FirstBytes, TlsWithoutANameHasNone) {
  EXPECT_EQ(said(record(hello_message(extension(43, "\x02\x03\x04")))), "tls ");
  EXPECT_EQ(said(record(hello_message(""))), "tls ");
  EXPECT_EQ(said(record("\x02" + block("no hello", 3))), "tls ");
  EXPECT_EQ(said(record("alert", 21) + record(hello_message(name_extension("a.example")))), "tls ")
      << "some servers read on behind a warning";
  for (const char minor : {'\0', '\2', '\4'}) {
    std::string other = record(hello_message(name_extension("a.example")));
    other[1] = minor;
    EXPECT_EQ(said(other), "tls ") << "some servers take every version";
  }
  EXPECT_EQ(said(record(hello_message(name_extension("a.example") + name_extension("evil.example")))), "tls ");
  EXPECT_EQ(said("\x80\x2e\x01\x03\x01"), "tls ") << "a hello of SSL 2";
  EXPECT_EQ(said(record("x") + record("y", 23)), "tls ");
  EXPECT_EQ(said(record(hello_message(extension(0, "\xff\xff broken")))), "tls ");
  std::string endless = "\x16\x03\x01\xff\xff\x01";
  endless.resize(most_first_bytes, 'x');
  EXPECT_EQ(said(endless), "tls ");
}

TEST(FirstBytes, HttpTellsItsHost) {
  const std::string request = "GET /path HTTP/1.1\r\nUser-Agent: x\r\nHost: Api.Example:8080\r\n\r\n";
  EXPECT_EQ(said(request), "http api.example");
  for (std::size_t size = 0; size < request.size() - 1; ++size)
    EXPECT_EQ(said(request.substr(0, size)), "more ") << size;
  EXPECT_EQ(said("GET / HTTP/1.1\nhost: a.example\n\n"), "http a.example");
  EXPECT_EQ(said("\r\n\r\nGET / HTTP/1.1\r\nHost: a.example\r\n\r\n"), "http a.example")
      << "servers pass over empty lines";
  EXPECT_EQ(said("POST http://a.example/x HTTP/1.1\r\nHost: a.example\r\n\r\n"), "http a.example");
  EXPECT_EQ(said("CONNECT a.example:22 HTTP/1.1\r\nHost: a.example:443\r\n\r\n"), "http a.example");
  EXPECT_EQ(look_at_first_bytes("CONNECT a.example:22 HTTP/1.1\r\n\r\n").port, 22);
  EXPECT_EQ(look_at_first_bytes("CONNECT a.example HTTP/1.1\r\n\r\n").port, 443);
  EXPECT_EQ(look_at_first_bytes("GET http://a.example/x HTTP/1.1\r\n\r\n").port, 80);
  EXPECT_EQ(said("GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n"), "http [::1]");
}

TEST(FirstBytes, HttpThatSaysTwoThingsSaysNothing) {
  for (const char* request :
       {"GET / HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\r\nHost: a.example\r\nHost: evil.example\r\n\r\n",
        "GET http://evil.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n",
        "CONNECT evil.example:22 HTTP/1.1\r\nHost: a.example\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "GET http://a.example@evil.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n",
        "GET  http://evil.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n",
        "GET\thttp://evil.example/\tHTTP/1.1\r\nHost: a.example\r\n\r\n",
        "CONNECT\tevil.example:443\tHTTP/1.1\r\nHost: a.example\r\n\r\n", "get / http/1.1\r\nhost: a.example\r\n\r\n",
        " GET / HTTP/1.1\r\nHost: a.example\r\n\r\n", "G_T / HTTP/1.1\r\nHost: a.example\r\n\r\n",
        "GET http://evil.example/\r\n\r\n", "GET http://evil.example\\@a.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: evil.example/@a.example\r\n\r\n", "GET / HTTP/1.1\r\nHost: a.example:evil\r\n\r\n",
        "GET / HTTP/1.1\r\nX: y\rHost: evil.example\r\nHost: a.example\r\n\r\n",
        "GET / HTTP/1.1\r\nX: y\r\n Host: evil.example\r\nHost: a.example\r\n\r\n",
        "GET / HTTP/1.1\r\nHost : evil.example\r\nHost: a.example\r\n\r\n"})
    EXPECT_EQ(said(request), "http ") << request;
  std::string endless = "GET / HTTP/1.1\r\nX: ";
  endless.resize(most_first_bytes, 'x');
  EXPECT_EQ(said(endless), "http ");
  endless.assign(most_first_bytes, 'G');
  EXPECT_EQ(said(endless), "http ");
  EXPECT_EQ(said(std::string(100, 'G') + " / HTTP/1.1\r\nHost: a.example\r\n\r\n"), "http a.example");
  EXPECT_EQ(said(std::string(100, 'G')), "more ") << "it is not known yet what follows";
  endless.assign(most_first_bytes, '\n');
  EXPECT_EQ(said(endless), "http ");
  endless = "GET /";
  endless.resize(most_first_bytes, 'x');
  EXPECT_EQ(said(endless), "http ");
}

TEST(FirstBytes, OtherProtocolsPass) {
  using namespace std::string_literals;
  for (const std::string& bytes :
       {"SSH-2.0-OpenSSH_9.2\r\n"s, "EHLO me.example\r\n"s, "PING\r\n"s, "*1\r\n$4\r\nPING\r\n"s,
        "\0\0\0\x08\x04\xd2\x16\x2f"s, "0032git-upload-pack /x\0"s, "\x05\x01"s})
    EXPECT_EQ(said(bytes), "other ") << bytes;
  EXPECT_EQ(said("EHLO"), "more ");
  EXPECT_EQ(said("\x16"), "more ");
  EXPECT_EQ(said("\x80"), "more ");
  EXPECT_EQ(said("\x80\x10\x02"), "other ");
  EXPECT_EQ(said(""), "more ");
}

}  // namespace
}  // namespace cl::test
