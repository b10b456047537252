#include "vm/hash.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <boost/asio/post.hpp>
#include <cerrno>
#include <vector>

#include "src/base/file.hpp"
#include "src/base/unique_fd.hpp"

namespace cl {
namespace {

constexpr std::size_t block_size = 64 * 1024;

/// Reads until `space` is full or the file ends.
std::size_t read_at(int fd, char* space, std::size_t length, std::uint64_t offset, const std::filesystem::path& path) {
  std::size_t have = 0;
  while (have < length) {
    const ssize_t got = ::pread(fd, space + have, length - have, static_cast<off_t>(offset + have));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw file_error("read", path, errno);
    if (got == 0) break;
    have += static_cast<std::size_t>(got);
  }
  return have;
}

/// The start of the block with the next data at or after `offset`; `size` when only a hole is left.
std::uint64_t next_data(int fd, std::uint64_t offset, std::uint64_t size) {
  const off_t data = ::lseek(fd, static_cast<off_t>(offset), SEEK_DATA);
  if (data < 0) return errno == ENXIO ? size : offset;  // a file system that does not know: read everything
  return std::max<std::uint64_t>(offset, static_cast<std::uint64_t>(data) / block_size * block_size);
}

std::string to_hex(EVP_MD_CTX* context, const char* name) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest;
  unsigned length = 0;
  if (EVP_DigestFinal_ex(context, digest.data(), &length) != 1)
    throw Error(Errc::internal, std::string(name) + " failed");
  std::string text;
  for (unsigned i = 0; i < length; ++i) text += fmt::format("{:02x}", digest[i]);
  return text;
}

}  // namespace

struct Sha256::State {
  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context{EVP_MD_CTX_new(), &EVP_MD_CTX_free};
};

Sha256::Sha256() : state_(std::make_unique<State>()) {
  if (EVP_DigestInit_ex(state_->context.get(), EVP_sha256(), nullptr) != 1)
    throw Error(Errc::internal, "the crypto library has no SHA-256");
}

Sha256::~Sha256() = default;

void Sha256::update(std::string_view bytes) {
  if (EVP_DigestUpdate(state_->context.get(), bytes.data(), bytes.size()) != 1)
    throw Error(Errc::internal, "SHA-256 failed");
}

std::string Sha256::hex() { return to_hex(state_->context.get(), "SHA-256"); }

std::string_view tls_library_version() noexcept { return ::OpenSSL_version(OPENSSL_VERSION_STRING); }

std::string sha256_hex(std::string_view bytes) {
  Sha256 hash;
  hash.update(bytes);
  return hash.hex();
}

asio::awaitable<std::string> sparse_file_digest(std::filesystem::path path,
                                                std::function<void(std::uint64_t)> progress) {
  constexpr std::uint64_t pause_every = 8 << 20;  // some 10 ms of hashing
  auto executor = co_await asio::this_coro::executor;
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) throw file_error("open", path, errno);
  const off_t end = ::lseek(fd.get(), 0, SEEK_END);
  if (end < 0) throw file_error("tell the size of", path, errno);
  const auto size = static_cast<std::uint64_t>(end);

  const std::vector<char> zeros(block_size, '\0');
  std::vector<char> block(block_size);
  Sha256 hash;
  hash.update(fmt::format("size {}\n", size));
  std::uint64_t since_pause = 0;
  for (std::uint64_t at = next_data(fd.get(), 0, size); at < size; at = next_data(fd.get(), at + block_size, size)) {
    const std::size_t got = read_at(fd.get(), block.data(), block.size(), at, path);
    if (!std::equal(block.data(), block.data() + got, zeros.data())) {
      hash.update(fmt::format("at {}\n", at));
      hash.update(std::string_view(block.data(), got));
    }
    since_pause += got;
    if (since_pause < pause_every) continue;
    since_pause = 0;
    if (progress) progress(at);
    co_await asio::post(executor, asio::use_awaitable);
  }
  co_return hash.hex();
}

asio::awaitable<std::string> file_digest(std::filesystem::path path, std::string algorithm,
                                         std::function<void(std::uint64_t)> progress) {
  constexpr std::size_t piece = 256 * 1024;
  constexpr std::uint64_t pause_every = 8 << 20;
  auto executor = co_await asio::this_coro::executor;
  const EVP_MD* kind = algorithm == "sha512" ? EVP_sha512() : algorithm == "sha256" ? EVP_sha256() : nullptr;
  const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context(EVP_MD_CTX_new(), &EVP_MD_CTX_free);
  if (kind == nullptr || EVP_DigestInit_ex(context.get(), kind, nullptr) != 1)
    throw Error(Errc::internal, "the crypto library has no " + algorithm);
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) throw file_error("open", path, errno);
  std::vector<char> bytes(piece);
  for (std::uint64_t at = 0;;) {
    const std::size_t got = read_at(fd.get(), bytes.data(), bytes.size(), at, path);
    if (EVP_DigestUpdate(context.get(), bytes.data(), got) != 1) throw Error(Errc::internal, algorithm + " failed");
    at += got;
    if (got < bytes.size()) break;
    if (at % pause_every != 0) continue;
    if (progress) progress(at);
    co_await asio::post(executor, asio::use_awaitable);
  }
  co_return to_hex(context.get(), algorithm.c_str());
}

}  // namespace cl
