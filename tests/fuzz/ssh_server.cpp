#include "tests/fuzz/ssh_server.hpp"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/sha.h>

#include <array>
#include <cstdlib>
#include <memory>

#include "src/base/text.hpp"

// RFC 4253 (packets, keys), RFC 8731 (curve25519-sha256), RFC 8709 (ssh-ed25519), RFC 4344 (aes128-ctr), RFC 6668
// (hmac-sha2-256).
namespace cl::fuzz {
namespace {

constexpr std::string_view version_line = "SSH-2.0-fuzz";
constexpr std::size_t block = 16, mac_size = 32, key_size = 16;
constexpr std::uint32_t longest_packet = 300'000;
enum Message : unsigned char {
  service_request = 5,
  service_accept = 6,
  kexinit = 20,
  newkeys = 21,
  ecdh_init = 30,
  ecdh_reply = 31,
  userauth_request = 50,
  userauth_success = 52,
  global_request = 80,
  channel_open = 90,
  channel_confirmation = 91,
  channel_request = 98,
  channel_success = 99
};

using Key = std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)>;

void must(bool sound) {
  if (!sound) std::abort();
}

const unsigned char* bytes_of(std::string_view text) { return reinterpret_cast<const unsigned char*>(text.data()); }
unsigned char* bytes_of(std::string& text) { return reinterpret_cast<unsigned char*>(text.data()); }

std::string number(std::uint32_t value) {
  std::string out;
  for (const int shift : {24, 16, 8, 0}) out += static_cast<char>(value >> shift & 0xff);
  return out;
}

std::string text(std::string_view value) {
  return number(static_cast<std::uint32_t>(value.size())) + std::string(value);
}

std::string mpint(std::string_view value) {
  while (!value.empty() && value[0] == 0) value.remove_prefix(1);
  const bool negative = !value.empty() && (static_cast<unsigned char>(value[0]) & 0x80) != 0;
  return text((negative ? std::string(1, '\0') : std::string()) + std::string(value));
}

std::uint32_t read_number(std::string_view from, std::size_t at) {
  if (at + 4 > from.size()) return 0;
  std::uint32_t value = 0;
  for (std::size_t i = 0; i < 4; ++i) value = value << 8 | static_cast<unsigned char>(from[at + i]);
  return value;
}

std::string sha256(std::string_view of) {
  std::string hash(SHA256_DIGEST_LENGTH, '\0');
  SHA256(bytes_of(of), of.size(), bytes_of(hash));
  return hash;
}

Key private_key(int type, char filled_with) {
  const std::string seed(32, filled_with);
  Key key(EVP_PKEY_new_raw_private_key(type, nullptr, bytes_of(seed), seed.size()), &EVP_PKEY_free);
  must(key != nullptr);
  return key;
}

std::string public_bytes(const Key& key) {
  std::string out(32, '\0');
  std::size_t size = out.size();
  must(EVP_PKEY_get_raw_public_key(key.get(), bytes_of(out), &size) == 1 && size == out.size());
  return out;
}

const Key& host_private_key() {
  static const Key key = private_key(EVP_PKEY_ED25519, 'h');
  return key;
}

std::string blob_of(const Key& key) { return text("ssh-ed25519") + text(public_bytes(key)); }

std::string signature(std::string_view of) {
  const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context(EVP_MD_CTX_new(), &EVP_MD_CTX_free);
  std::string out(64, '\0');
  std::size_t size = out.size();
  must(EVP_DigestSignInit(context.get(), nullptr, nullptr, nullptr, host_private_key().get()) == 1);
  must(EVP_DigestSign(context.get(), bytes_of(out), &size, bytes_of(of), of.size()) == 1);
  return text("ssh-ed25519") + text(out);
}

}  // namespace

struct SshServer::Cipher {
  std::unique_ptr<EVP_CIPHER_CTX, decltype(&EVP_CIPHER_CTX_free)> context{EVP_CIPHER_CTX_new(), &EVP_CIPHER_CTX_free};
  std::string mac_key, opened;  // of the next packet: what is decrypted
  bool on = false;
  std::uint32_t packets = 0;

  std::string pass(std::string_view bytes) const {
    std::string out(bytes.size(), '\0');
    int size = 0;
    must(EVP_EncryptUpdate(context.get(), bytes_of(out), &size, bytes_of(bytes), static_cast<int>(bytes.size())) == 1);
    return out;
  }
  std::string mac(std::string_view plain) const {
    const std::string all = number(packets) + std::string(plain);
    std::string out(mac_size, '\0');
    unsigned size = 0;
    must(HMAC(EVP_sha256(), mac_key.data(), static_cast<int>(mac_key.size()), bytes_of(all), all.size(), bytes_of(out),
              &size) != nullptr);
    return out;
  }
};

SshServer::SshServer() : to_client_(new Cipher), to_server_(new Cipher) {}

SshServer::~SshServer() {
  delete to_client_;
  delete to_server_;
}

std::string SshServer::host_key() { return "ssh-ed25519 " + base64(blob_of(host_private_key())); }

std::string SshServer::user_private_key() {
  const Key key = private_key(EVP_PKEY_ED25519, 'u');
  std::string secret =
      number(7) + number(7) + blob_of(key) + text(std::string(32, 'u') + public_bytes(key)) + text("fuzz");
  for (char padding = 1; secret.size() % 8 != 0; ++padding) secret += padding;
  const std::string all = std::string("openssh-key-v1\0", 15) + text("none") + text("none") + text("") + number(1) +
                          text(blob_of(key)) + text(secret);
  const std::string encoded = base64(all);
  std::string file = "-----BEGIN OPENSSH PRIVATE KEY-----\n";
  for (std::size_t at = 0; at < encoded.size(); at += 70) file += encoded.substr(at, 70) + "\n";
  return file + "-----END OPENSSH PRIVATE KEY-----\n";
}

std::string SshServer::sealed(std::string plain) {
  std::string out = std::move(plain);
  if (to_client_->on) {
    const std::string mac = to_client_->mac(out);
    out = to_client_->pass(out) + mac;
  }
  ++to_client_->packets;
  return out;
}

std::string SshServer::packet(std::string_view payload) {
  std::size_t padding = block - (5 + payload.size()) % block;
  if (padding < 4) padding += block;
  return sealed(number(static_cast<std::uint32_t>(1 + payload.size() + padding)) + static_cast<char>(padding) +
                std::string(payload) + std::string(padding, '\0'));
}

std::string SshServer::packet_that_says(std::uint32_t length, std::uint8_t padding, std::string_view rest) {
  std::string plain = number(length) + static_cast<char>(padding) + std::string(rest);
  plain.resize((plain.size() + block - 1) / block * block, '\0');
  return sealed(std::move(plain));
}

/// Takes one packet of the client's off `in_`, when it is whole.
bool SshServer::next_packet(std::string& payload) {
  Cipher& cipher = *to_server_;
  std::string& head = cipher.opened;
  if (broken_) return false;
  if (head.empty()) {
    if (in_.size() < block) return false;
    head = cipher.on ? cipher.pass(in_.substr(0, block)) : in_.substr(0, block);
    in_.erase(0, block);
  }
  const std::uint32_t length = read_number(head, 0);
  broken_ = broken_ || length < 2 || length > longest_packet;  // keys that only the client has agreed on
  if (broken_) return false;
  const std::size_t all = 4 + length, more = all > block ? all - block : 0, mac = cipher.on ? mac_size : 0;
  if (in_.size() < more + mac) return false;
  std::string plain = head + (cipher.on ? cipher.pass(in_.substr(0, more)) : in_.substr(0, more));
  in_.erase(0, more + mac);
  head.clear();
  ++cipher.packets;
  const std::size_t padding = static_cast<unsigned char>(plain[4]);
  broken_ = padding + 1 > length;
  if (broken_) return false;
  payload = plain.substr(5, length - 1 - padding);
  return true;
}

std::string SshServer::agree(std::string_view client_point) {
  const Key ours = private_key(EVP_PKEY_X25519, 's');
  must(client_point.size() == 32);
  const Key theirs(EVP_PKEY_new_raw_public_key(EVP_PKEY_X25519, nullptr, bytes_of(client_point), client_point.size()),
                   &EVP_PKEY_free);
  const std::unique_ptr<EVP_PKEY_CTX, decltype(&EVP_PKEY_CTX_free)> context(EVP_PKEY_CTX_new(ours.get(), nullptr),
                                                                            &EVP_PKEY_CTX_free);
  std::string shared(32, '\0');
  std::size_t size = shared.size();
  must(EVP_PKEY_derive_init(context.get()) == 1 && EVP_PKEY_derive_set_peer(context.get(), theirs.get()) == 1);
  must(EVP_PKEY_derive(context.get(), bytes_of(shared), &size) == 1);
  secret_ = mpint(shared);
  const std::string blob = blob_of(host_private_key()), point = public_bytes(ours);
  hash_ = sha256(text(version_of_client_) + text(version_line) + text(kex_of_client_) + text(kex_of_server_) +
                 text(blob) + text(client_point) + text(point) + secret_);
  if (session_id_.empty()) session_id_ = hash_;
  return std::string(1, ecdh_reply) + text(blob) + text(point) + text(signature(hash_));
}

std::string SshServer::answer(std::string_view bytes) {
  std::string out;
  if (!greeted_ && last_ > Stage::greeting) {
    greeted_ = true;
    out += std::string(version_line) + "\r\n";
    kex_of_server_ = std::string(1, kexinit) + std::string(16, '\0');
    for (const char* names : {"curve25519-sha256", "ssh-ed25519", "aes128-ctr", "aes128-ctr", "hmac-sha2-256",
                              "hmac-sha2-256", "none", "none", "", ""})
      kex_of_server_ += text(names);
    kex_of_server_ += std::string(5, '\0');
    out += packet(kex_of_server_);
    stage_ = Stage::keys;
  }
  in_ += bytes;
  if (version_of_client_.empty()) {
    const auto end = in_.find("\r\n");
    if (end == std::string::npos) return out;
    version_of_client_ = in_.substr(0, end);
    in_.erase(0, end + 2);
  }
  std::string payload;
  while (stage_ < last_ || stage_ == Stage::channels) {
    if (!next_packet(payload)) break;
    take(payload, out);
  }
  return out;
}

void SshServer::take(std::string_view payload, std::string& out) {
  if (payload.empty()) return;
  const auto kind = static_cast<unsigned char>(payload[0]);
  const auto key = [this](char which, std::size_t size) {
    return sha256(secret_ + hash_ + which + session_id_).substr(0, size);
  };
  const auto turn_on = [&key](Cipher& cipher, char iv, char name, char mac) {
    const std::string secret = key(name, key_size), begin = key(iv, block);
    must(EVP_EncryptInit_ex(cipher.context.get(), EVP_aes_128_ctr(), nullptr, bytes_of(secret), bytes_of(begin)) == 1);
    cipher.mac_key = key(mac, mac_size);
    cipher.on = true;
  };
  if (kind == kexinit) {
    kex_of_client_ = payload;
  } else if (kind == ecdh_init && payload.size() == 37) {
    out += packet(agree(payload.substr(5)));
    out += packet(std::string(1, newkeys));
    turn_on(*to_client_, 'B', 'D', 'F');
    stage_ = Stage::new_keys;
  } else if (kind == newkeys) {
    turn_on(*to_server_, 'A', 'C', 'E');
    stage_ = Stage::login;
  } else if (kind == service_request) {
    out += packet(std::string(1, service_accept) + text("ssh-userauth"));
  } else if (kind == userauth_request) {
    out += packet(std::string(1, userauth_success));
    stage_ = Stage::channels;
  } else if (kind == channel_open) {
    const std::uint32_t id = read_number(payload, 5 + read_number(payload, 1));
    out += packet(std::string(1, channel_confirmation) + number(id) + number(id) + number(1U << 20U) + number(32768));
  } else if (kind == channel_request) {
    const std::size_t wants_reply = 9 + read_number(payload, 5);
    if (wants_reply < payload.size() && payload[wants_reply] != 0)
      out += packet(std::string(1, channel_success) + std::string(payload.substr(1, 4)));
  }
}

}  // namespace cl::fuzz
