#include "src/cli/copy.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/write.hpp>
#include <boost/json/object.hpp>
#include <cerrno>
#include <iostream>

#include "src/base/blocking.hpp"
#include "src/base/byte_size.hpp"
#include "src/base/child.hpp"
#include "src/base/file.hpp"
#include "src/base/pipe.hpp"
#include "src/base/shell.hpp"
#include "src/base/unique_fd.hpp"
#include "src/cli/launch.hpp"
#include "src/cli/output.hpp"
#include "src/cli/remote.hpp"

// `cp`: one command in the machine and, for a folder, one `tar` at either end. A file goes as it is. What was copied in
// part is removed where it was a file, and stays where it was a folder, as with cp.

namespace cl::cli {

CopyEnd parse_copy_end(const std::string& text) {
  const auto colon = text.find(':');
  if (colon == std::string::npos || text.find('/') < colon) return {false, {}, text};
  std::string path = text.substr(colon + 1);
  if (path == "~" || path.starts_with("~/")) path.erase(0, std::min<std::size_t>(2, path.size()));
  return {true, text.substr(0, colon), path.empty() ? "." : path};
}

std::string receive_command(const std::string& path, const std::string& name, const std::optional<std::string>& mode) {
  const std::string begin = "cd && to=" + shell_quoted(path) + " name=" + shell_quoted(name) + "; ";
  if (!mode)
    return begin +
           "if [ -d \"$to\" ]; then to=$to/$name; fi; mkdir -p -- \"$to\" && exec tar -x --no-same-owner -f - -C "
           "\"$to\"";
  // A file has its name only when it is whole.
  return begin +
         "if [ -d \"$to\" ]; then to=$to/$name; else case $to in */) echo \"there is no folder $to in the machine\" "
         ">&2; exit 66 ;; esac; fi; part=$to.part-$$; trap 'rm -f -- \"$part\"' EXIT; trap 'exit 129' HUP INT TERM "
         "PIPE; read -r size; "
         "cat > \"$part\" && [ \"$(stat -c %s -- \"$part\")\" = \"$size\" ] && chmod " +
         *mode + " -- \"$part\" && mv -- \"$part\" \"$to\"";
}

std::string send_command(const std::string& path) {
  return "cd && from=" + shell_quoted(path) +
         "; if [ -d \"$from\" ]; then echo d && exec tar -c -f - -C \"$from\" .; fi; if [ ! -e \"$from\" ]; then echo "
         "\"there is no $from in the machine\" >&2; exit 66; fi; stat -L -c 'f %a %s' -- \"$from\" && exec cat -- "
         "\"$from\"";
}

namespace {

constexpr std::size_t piece = 128 * 1024;

struct Copied {
  std::uint64_t bytes = 0;
  OnImageProgress tell;
  void add(std::size_t more) {
    bytes += more;
    constexpr double mib = 1024 * 1024;
    rpc::Progress progress{"copy", fmt::format("copying: {:.1f} MiB", static_cast<double>(bytes) / mib), false, {}};
    tell(progress);
  }
};

Error tar_failed(const std::string& what, const ExitStatus& status) {
  return Error(Errc::io, what + " failed", "what tar wrote above says why").because("tar ended with " + status.str());
}

/// A path of ours without a slash at its end, so that it has a last name.
fs::path whole(const std::string& text) {
  fs::path path = absolute_path(text).lexically_normal();
  return path.has_filename() ? path : path.parent_path();
}

constexpr int nothing_there = 66;  ///< exit code of our commands in the guest

Error why(const RemoteCommand& guest, const std::string& what) {
  if (guest.code() != nothing_there) return guest.failure(what);
  return Error(Errc::not_found, guest.last_words(), "'colima-like ssh -- ls -la' shows what is in the machine");
}

/// What the command in the guest said, when it ended before it had all: a full disk, a folder that is not there.
asio::awaitable<void> finish(RemoteCommand& guest, const std::string& what) {
  while (co_await guest.read()) {
  }
  if (guest.code() != 0) throw why(guest, what);
}

asio::awaitable<void> send_folder(RemoteCommand& guest, fs::path folder, Copied& copied) {
  auto executor = co_await asio::this_coro::executor;
  Pipe pipe = make_pipe();
  cl::Command tar;
  tar.argv = {"tar", "-c", "-f", "-", "-C", folder.string(), "."};
  tar.output = pipe.write_end.get();
  tar.errors = STDERR_FILENO;
  Child child = Child::start(executor, tar);
  pipe.write_end.reset();
  asio::posix::stream_descriptor from(executor, pipe.read_end.release());
  bool taken = true;
  for (;;) {
    std::string bytes(piece, '\0');
    auto [ec, got] = co_await from.async_read_some(asio::buffer(bytes), no_throw);
    if (ec == asio::error::operation_aborted) throw boost::system::system_error(ec);
    if (ec) break;
    bytes.resize(got);
    taken = co_await guest.write(std::move(bytes));
    if (!taken) break;
    copied.add(got);
  }
  from.close();
  const ExitStatus status = co_await child.wait();
  if (!taken) co_return;  // the guest says why
  if (!status.ok()) throw tar_failed("reading " + folder.string(), status);
}

asio::awaitable<void> send_file(RemoteCommand& guest, UniqueFd file, std::uint64_t size, Copied& copied) {
  if (!co_await guest.write(std::to_string(size) + "\n")) co_return;
  const int fd = file.get();
  for (;;) {
    auto read_piece = [fd] {
      std::string bytes(piece, '\0');
      const ssize_t got = ::read(fd, bytes.data(), bytes.size());
      if (got < 0) throw io_error("cannot read the file", errno);
      bytes.resize(static_cast<std::size_t>(got));
      return bytes;
    };
    std::string bytes = co_await blocking(std::move(read_piece));
    if (bytes.empty()) co_return;
    const std::size_t got = bytes.size();
    if (!co_await guest.write(std::move(bytes))) co_return;
    copied.add(got);
  }
}

/// What goes to the guest, and meanwhile what it says: it may end early, and would not be heard.
asio::awaitable<void> to_guest(ProfilePaths paths, std::string from, std::string to, Copied& copied) {
  const fs::path source = whole(from);
  const std::string what = "copying " + source.string() + " into the machine failed";
  struct stat seen{};
  if (::stat(source.c_str(), &seen) != 0)
    throw Error(Errc::not_found, "there is no " + source.string(), "name a file or a folder of this host");
  if (!S_ISDIR(seen.st_mode) && !S_ISREG(seen.st_mode))
    throw Error(Errc::usage, source.string() + " is neither a file nor a folder");
  std::optional<std::string> mode;
  UniqueFd file;
  if (S_ISREG(seen.st_mode)) {
    mode = fmt::format("{:o}", seen.st_mode & 0777U);
    file.reset(::open(source.c_str(), O_RDONLY | O_CLOEXEC));
    if (!file) throw io_error("cannot open " + source.string(), errno);
  }
  RemoteCommand guest =
      co_await RemoteCommand::start(std::move(paths), receive_command(to, source.filename().string(), mode));
  auto executor = co_await asio::this_coro::executor;
  auto send = [](RemoteCommand& command, fs::path path, UniqueFd opened, std::uint64_t size,
                 Copied& so_far) -> asio::awaitable<void> {
    if (opened) {
      co_await send_file(command, std::move(opened), size, so_far);
    } else {
      co_await send_folder(command, std::move(path), so_far);
    }
    co_await command.end_input();
  };
  auto sending = send(guest, source, std::move(file), static_cast<std::uint64_t>(seen.st_size), copied);
  auto both = asio::experimental::make_parallel_group(asio::co_spawn(executor, std::move(sending), asio::deferred),
                                                      asio::co_spawn(executor, finish(guest, what), asio::deferred));
  auto [order, not_sent, not_taken] =
      co_await both.async_wait(asio::experimental::wait_for_one_error(), asio::use_awaitable);
  // A guest that ends early is the reason why nothing more could be sent to it.
  if (order[0] == 1 && not_taken) std::rethrow_exception(not_taken);
  if (not_sent) std::rethrow_exception(not_sent);
  if (not_taken) std::rethrow_exception(not_taken);
}

/// Owners and setuid bits are not taken from the machine: its root may be anybody.
asio::awaitable<void> take_folder(RemoteCommand& guest, fs::path folder, Copied& copied) {
  auto executor = co_await asio::this_coro::executor;
  fs::create_directories(folder);
  Pipe pipe = make_pipe();
  cl::Command tar;
  tar.argv = {"tar", "-x", "--no-same-owner", "--no-same-permissions", "-f", "-", "-C", folder.string()};
  tar.input = pipe.read_end.get();
  tar.errors = STDERR_FILENO;
  Child child = Child::start(executor, tar);
  pipe.read_end.reset();
  asio::posix::stream_descriptor into(executor, pipe.write_end.release());
  while (auto bytes = co_await guest.read()) {
    auto [ec, put] = co_await asio::async_write(into, asio::buffer(*bytes), no_throw);
    if (ec == asio::error::operation_aborted) throw boost::system::system_error(ec);
    if (ec) break;  // tar says why
    copied.add(put);
  }
  into.close();
  const ExitStatus status = co_await child.wait();
  if (!status.ok()) throw tar_failed("writing " + folder.string(), status);
}

/// Removes what was not finished, however that came.
struct Part {
  explicit Part(fs::path at) : path(std::move(at)) {}
  Part(const Part&) = delete;
  Part& operator=(const Part&) = delete;
  ~Part() {
    if (!path.empty()) ::unlink(path.c_str());
  }
  fs::path path;
};

asio::awaitable<void> take_file(RemoteCommand& guest, fs::path target, unsigned mode, std::uint64_t size,
                                Copied& copied) {
  Part part(target.string() + ".part-" + std::to_string(::getpid()));
  ::unlink(part.path.c_str());  // of a process that had our number; a link that waits there is not followed
  UniqueFd file(::open(part.path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode & 0777U));
  if (!file) throw io_error("cannot write " + target.string(), errno);
  std::uint64_t before = copied.bytes;
  while (auto bytes = co_await guest.read()) {
    const std::size_t got = bytes->size();
    auto put = [fd = file.get(), text = std::move(*bytes), target] {
      for (std::string_view rest = text; !rest.empty();) {
        const ssize_t done = ::write(fd, rest.data(), rest.size());
        if (done < 0 && errno == EINTR) continue;
        if (done < 0) throw io_error("cannot write " + target.string(), errno);
        rest.remove_prefix(static_cast<std::size_t>(done));
      }
    };
    co_await blocking(std::move(put));
    copied.add(got);
  }
  if (guest.code() != 0 || copied.bytes - before != size) co_return;  // the caller says why
  if (::rename(part.path.c_str(), target.c_str()) != 0) throw io_error("cannot write " + target.string(), errno);
  part.path.clear();
}

asio::awaitable<void> from_guest(ProfilePaths paths, std::string from, std::string to, Copied& copied) {
  const std::string what = "copying " + from + " from the machine failed";
  const bool folder_wanted = to.ends_with('/');
  fs::path target = whole(to);
  RemoteCommand guest = co_await RemoteCommand::start(std::move(paths), send_command(from));
  co_await guest.end_input();
  const auto kind = co_await guest.read_line();
  if (!kind) throw why(guest, what);
  std::error_code unknown;
  if (fs::is_directory(target, unknown)) {
    const fs::path name = fs::path(from).lexically_normal();
    target /= name.has_filename() ? name.filename() : name.parent_path().filename();
  } else if (folder_wanted && *kind != "d") {
    throw Error(Errc::not_found, "there is no folder " + target.string(), "make it first, or name a file");
  }
  if (*kind == "d") {
    co_await take_folder(guest, target, copied);
    if (guest.code() != 0) throw why(guest, what);
    co_return;
  }
  unsigned mode = 0644;
  unsigned long long size = 0;
  if (std::sscanf(kind->c_str(), "f %o %llu", &mode, &size) != 2) throw why(guest, what);
  const std::uint64_t before = copied.bytes;
  co_await take_file(guest, std::move(target), mode, size, copied);
  if (guest.code() != 0) throw why(guest, what);
  if (copied.bytes - before != size)
    throw Error(Errc::guest_failed, what, "try again").because("the file changed meanwhile, or the connection broke");
}

struct CopyOrder {
  ProfilePaths paths;
  CopyEnd from, to;
  std::string from_text, to_text;  ///< both as they were written
};

asio::awaitable<boost::json::object> carry_out(const CopyOrder& order, Copied& copied, OnImageProgress show) {
  copied.tell = std::move(show);
  const std::string& from = order.from.path;
  const std::string& to = order.to.path;
  if (order.from.in_guest) {
    co_await from_guest(order.paths, from, to, copied);
  } else {
    co_await to_guest(order.paths, from, to, copied);
  }
  boost::json::object result;
  result["profile"] = order.paths.name;
  result["from"] = order.from_text;
  result["to"] = order.to_text;
  result["bytes"] = copied.bytes;
  co_return result;
}

asio::awaitable<int> copy(const Invocation& call) {
  const CopyEnd from = parse_copy_end(call.word("SOURCE")), to = parse_copy_end(call.word("DESTINATION"));
  if (from.in_guest == to.in_guest)
    throw Error(Errc::usage,
                from.in_guest ? "both ends of the copy are in a machine" : "neither end of the copy is in the machine",
                "a path in the machine begins with ':', one of another profile with 'NAME:': colima-like cp notes.txt "
                ":/root/");
  const CopyEnd& remote = from.in_guest ? from : to;
  const ProfilePaths paths = reachable(call.home, remote.profile.empty() ? call.profile : remote.profile);
  Copied copied;
  const CopyOrder order{paths, from, to, call.word("SOURCE"), call.word("DESTINATION")};
  auto work = [&](OnImageProgress show) { return carry_out(order, copied, std::move(show)); };
  const boost::json::object result = co_await show_while(work);
  if (call.json) {
    print_json(result);
  } else {
    print_note("copied " + ByteSize::bytes(copied.bytes).str());
  }
  co_return 0;
}

}  // namespace

int run_cp(const Invocation& call) { return run_async(copy(call)); }

}  // namespace cl::cli
