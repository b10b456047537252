#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "src/base/async.hpp"

namespace cl {

/// SHA-256, fed in pieces.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;
  void update(std::string_view bytes);
  /// 64 hex digits; call it once, last.
  std::string hex();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// The version of the OpenSSL that runs, "3.5.7".
std::string_view tls_library_version() noexcept;

std::string sha256_hex(std::string_view bytes);

/// The digest of a file that may be sparse: over its size and its non-zero blocks of 64 KiB, each with its place, so
/// that holes cost nothing and a copy with other holes has the same digest. Other work goes on meanwhile.
/// `progress` gets the bytes looked at so far. Throws Error{io}.
asio::awaitable<std::string> sparse_file_digest(std::filesystem::path path,
                                                std::function<void(std::uint64_t)> progress = {});

/// The plain digest of a file's bytes, "sha512" or "sha256", as publishers list it: lower-case hex digits. Other work
/// goes on meanwhile. Throws Error{io}.
asio::awaitable<std::string> file_digest(std::filesystem::path path, std::string algorithm,
                                         std::function<void(std::uint64_t)> progress = {});

}  // namespace cl
