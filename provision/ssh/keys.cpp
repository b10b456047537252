#include "provision/ssh/keys.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>
#include <vector>

#include "src/base/child.hpp"
#include "src/base/file.hpp"
#include "src/base/unique_fd.hpp"

namespace cl {
namespace {

using namespace std::chrono_literals;

constexpr std::string_view work_prefix = ".keygen-";
constexpr auto keygen_limit = 30s;  // takes milliseconds; a host without entropy blocks

fs::path public_half(const fs::path& key) { return fs::path(key).concat(".pub"); }

bool is_public_key(const std::optional<std::string>& text) {
  return text && text->starts_with("ssh-ed25519 AAAA") && text->ends_with('\n');
}

std::string first_line(const std::string& text) { return text.substr(0, text.find('\n')); }

asio::awaitable<std::string> keygen(std::vector<std::string> arguments) {
  Command command;
  command.argv = std::move(arguments);
  command.argv.insert(command.argv.begin(), "ssh-keygen");
  const Finished finished = co_await run(std::move(command), "", keygen_limit);
  if (!finished.status.ok())
    throw Error(Errc::io, "ssh-keygen failed with " + finished.status.str()).because(last_lines(finished.errors, 3));
  co_return finished.output;
}

/// Private and durable, before it gets its name.
void seal(const fs::path& file) {
  UniqueFd fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) throw file_error("open", file, errno);
  if (::fchmod(fd.get(), 0600) != 0) throw file_error("change the mode of", file, errno);
  if (::fsync(fd.get()) != 0) throw file_error("write", file, errno);
}

void move_into_place(const fs::path& from, const fs::path& to) {
  std::error_code ec;
  fs::rename(from, to, ec);
  if (ec) throw Error(Errc::io, "cannot write " + to.string()).because(ec.message());
}

/// The public key goes first: without its private key it counts for nothing and is made anew.
asio::awaitable<void> make_pair(fs::path key, std::string comment) {
  const fs::path directory = key.parent_path();
  const TemporaryDirectory work(directory, work_prefix);
  const fs::path made = work.path() / "key";
  std::vector<std::string> arguments{"-q", "-t", "ed25519", "-N", "", "-C", std::move(comment), "-f", made.string()};
  co_await keygen(std::move(arguments));
  seal(made);
  seal(public_half(made));
  move_into_place(public_half(made), public_half(key));
  sync_directory(directory);
  move_into_place(made, key);
  sync_directory(directory);
}

asio::awaitable<void> ensure_pair(fs::path key, std::string comment) {
  const std::optional<std::string> secret = read_file_if_exists(key);
  if (!secret || secret->empty()) {
    co_await make_pair(std::move(key), std::move(comment));
    co_return;
  }
  if (::chmod(key.c_str(), 0600) != 0) throw file_error("change the mode of", key, errno);
  if (is_public_key(read_file_if_exists(public_half(key)))) co_return;
  std::vector<std::string> arguments{"-y", "-f", key.string()};
  std::string line = co_await keygen(std::move(arguments));
  line = first_line(line);
  if (line.find(comment) == std::string::npos) line += " " + comment;
  write_atomically(public_half(key), line + "\n");
}

/// What a killed ssh-keygen run left behind.
void remove_leftovers(const fs::path& directory) {
  std::error_code ec;
  for (const auto& entry : fs::directory_iterator(directory, ec))
    if (entry.path().filename().string().starts_with(work_prefix)) fs::remove_all(entry.path(), ec);
}

}  // namespace

asio::awaitable<KeySet> ensure_keys(fs::path directory) {
  make_private_directory(directory);
  remove_leftovers(directory);
  KeySet keys;
  keys.private_key = directory / "id_ed25519";
  keys.public_key = public_half(keys.private_key);
  keys.host_private_key = directory / "ssh_host_ed25519_key";
  keys.host_public_key = public_half(keys.host_private_key);
  keys.authorized_keys = directory / "authorized_keys";
  co_await ensure_pair(keys.private_key, "colima-like");
  co_await ensure_pair(keys.host_private_key, "colima-like guest");
  const std::string ours = read_file(keys.public_key);
  if (read_file_if_exists(keys.authorized_keys) != ours) write_atomically(keys.authorized_keys, ours);
  keys.host_key = first_line(read_file(keys.host_public_key));
  co_return keys;
}

}  // namespace cl
