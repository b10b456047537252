#pragma once

#include <cstdint>
#include <string>
#include <string_view>

/// The other end of our SSH client, as a program that says what it is told to: it can greet, agree on keys, let
/// everybody in and accept every channel, and at any point send whatever it is given instead.
namespace cl::fuzz {

class SshServer {
 public:
  SshServer();
  ~SshServer();
  SshServer(const SshServer&) = delete;
  SshServer& operator=(const SshServer&) = delete;

  enum class Stage { greeting, keys, new_keys, login, channels };
  /// How far it has come by itself.
  Stage stage() const noexcept { return stage_; }
  /// Sound answers end when this stage is reached.
  void stop_at(Stage stage) noexcept { last_ = stage; }

  /// Takes what the client has sent, and returns what it answers to that.
  std::string answer(std::string_view bytes);

  /// One packet of these bytes, encrypted and with a MAC once the keys are agreed on.
  std::string packet(std::string_view payload);
  /// Likewise, with a length and a padding that are somebody's word.
  std::string packet_that_says(std::uint32_t length, std::uint8_t padding, std::string_view rest);

  static std::string host_key();          ///< as in ssh_host_ed25519_key.pub
  static std::string user_private_key();  ///< a file's content that the client may log in with: every key is right

 private:
  struct Cipher;
  void take(std::string_view payload, std::string& out);
  std::string sealed(std::string plain);
  bool next_packet(std::string& payload);
  std::string agree(std::string_view client_point);

  Stage stage_ = Stage::greeting, last_ = Stage::channels;
  std::string in_, version_of_client_, kex_of_client_, kex_of_server_, session_id_, secret_, hash_;
  bool greeted_ = false, broken_ = false;
  Cipher* to_client_ = nullptr;
  Cipher* to_server_ = nullptr;
};

}  // namespace cl::fuzz
