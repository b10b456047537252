#pragma once

#include <exception>
#include <memory>
#include <string>
#include <string_view>

namespace cl {

/// The kinds of failure a caller or a user can tell apart. Each has one exit code (see exit_code()).
enum class Errc {
  usage,             ///< the command line cannot be understood
  invalid_config,    ///< a profile, a flag value or a name breaks a rule
  not_found,         ///< no such profile, image or file
  not_running,       ///< the request needs a running machine
  busy,              ///< somebody else is changing the same thing
  cancelled,         ///< interrupted by the user
  timed_out,         ///< something did not happen in its time
  host_requirement,  ///< the host lacks a program, memory, space or a right
  guest_failed,      ///< the machine booted wrongly or something inside it failed
  protocol,          ///< a peer spoke nonsense
  io,                ///< a system call failed
  internal           ///< a bug of ours
};

/// What went wrong, why, and what the user can do. The only exception type that crosses a folder.
/// Copying never throws: the texts are shared.
class Error : public std::exception {
 public:
  Error(Errc code, std::string what, std::string remedy = {});

  /// A copy with a deeper reason: "what", because "cause". Repeated calls append outwards-in.
  [[nodiscard]] Error because(std::string_view cause) const;
  /// A copy with another remedy.
  [[nodiscard]] Error with_remedy(std::string remedy) const;

  Errc code() const noexcept { return body_->code; }
  const char* what() const noexcept override { return body_->what.c_str(); }
  const std::string& cause() const noexcept { return body_->cause; }
  const std::string& remedy() const noexcept { return body_->remedy; }

 private:
  struct Body {
    Errc code;
    std::string what, remedy, cause;
  };
  std::shared_ptr<const Body> body_;
};

/// "what" or "what: cause" on one line, for logs and JSON.
std::string one_line(const Error& error);

/// Whatever was thrown, as an Error: its own, or what a library threw by kind (a cancelled wait, a failed file or
/// socket call, no memory left); anything else is `internal`. For the one place where an entry ends: a request, a job,
/// a task, main.
Error error_of(const std::exception_ptr& failure) noexcept;

/// Error for a failed system call. Call it with the errno of that very call.
Error io_error(std::string what, int saved_errno);

/// The process exit code of a failure; the table is documented in README.md.
int exit_code(Errc code) noexcept;

/// Stable names for the wire and --json ("host_requirement"); parse returns `internal` for unknown ones.
std::string_view to_string(Errc code) noexcept;
Errc errc_from_string(std::string_view name) noexcept;

}  // namespace cl
