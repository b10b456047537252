#include "provision/tools.hpp"

#include <fcntl.h>
#include <unistd.h>

#include "src/base/blocking.hpp"
#include "src/base/file.hpp"
#include "src/base/shell.hpp"
#include "src/base/text.hpp"
#include "src/base/unique_fd.hpp"

namespace cl {
namespace {

constexpr std::string_view mark = "/usr/local/lib/colima-like/tools";

class FileInput : public GuestInput {
 public:
  FileInput(const fs::path& file, std::function<void(std::uint64_t)> sent) : file_(file), sent_(std::move(sent)) {
    fd_.reset(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd_) throw file_error("open", file, errno);
  }
  asio::awaitable<std::string> next() override {
    auto read = [fd = fd_.get(), file = file_] {
      constexpr std::size_t piece = 256 * 1024;
      std::string bytes(piece, '\0');
      const ssize_t got = ::read(fd, bytes.data(), bytes.size());
      if (got < 0) throw file_error("read", file, errno);
      bytes.resize(static_cast<std::size_t>(got));
      return bytes;
    };
    std::string bytes = co_await blocking(std::move(read));
    total_ += bytes.size();
    if (sent_) sent_(total_);
    co_return bytes;
  }

 private:
  fs::path file_;
  UniqueFd fd_;
  std::function<void(std::uint64_t)> sent_;
  std::uint64_t total_ = 0;
};

}  // namespace

asio::awaitable<std::string> tools_in_guest(Guest& guest) {
  const GuestResult said = co_await run_in_guest(guest, "cat " + std::string(mark) + " 2>/dev/null", std::string());
  co_return last_lines(said.output, 1);
}

asio::awaitable<void> send_tools(Guest& guest, fs::path archive, std::string digest,
                                 std::function<void(std::uint64_t)> sent) {
  // Of the whole release these alone: the engine is the distribution's own, which every runtime shares.
  const std::string command = "mark=" + std::string(mark) + "; rm -f $mark && mkdir -p ${mark%/*} && " +
                              "tar -x -z -f - -C /usr/local --no-same-owner bin/nerdctl bin/buildctl bin/buildkitd "
                              "libexec/cni && printf '%s\\n' " +
                              shell_quoted(digest) + " > $mark";
  std::shared_ptr<GuestInput> input = std::make_shared<FileInput>(archive, std::move(sent));
  const GuestResult done = co_await run_in_guest(guest, command, std::move(input));
  if (done.exit_code == 0) co_return;
  throw Error(Errc::guest_failed, "nerdctl and BuildKit could not be put into the guest",
              "see whether " + archive.string() + " is a nerdctl-full archive for linux and the machine's architecture")
      .because(done.errors);
}

}  // namespace cl
