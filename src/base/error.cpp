#include "src/base/error.hpp"

#include <array>
#include <boost/asio/error.hpp>
#include <boost/system/system_error.hpp>
#include <filesystem>
#include <new>
#include <system_error>
#include <utility>

namespace cl {
namespace {

struct Row {
  Errc code;
  std::string_view name;
  int exit_code;
};

constexpr std::array rows{
    Row{Errc::usage, "usage", 2},
    Row{Errc::invalid_config, "invalid_config", 2},
    Row{Errc::not_found, "not_found", 1},
    Row{Errc::not_running, "not_running", 3},
    Row{Errc::busy, "busy", 6},
    Row{Errc::cancelled, "cancelled", 130},
    Row{Errc::timed_out, "timed_out", 1},
    Row{Errc::host_requirement, "host_requirement", 4},
    Row{Errc::guest_failed, "guest_failed", 5},
    Row{Errc::protocol, "protocol", 1},
    Row{Errc::io, "io", 1},
    Row{Errc::internal, "internal", 1},
};

/// Throws std::bad_alloc, also when that is what it was given.
Error translated(const std::exception_ptr& failure) {
  const char* const unexpected = "something failed that should not";
  const char* const remedy = "this is a bug in colima-like; please report it";
  try {
    std::rethrow_exception(failure);
  } catch (const Error& error) {
    return error;
  } catch (const std::bad_alloc&) {
    throw;
  } catch (const boost::system::system_error& error) {
    if (error.code() == boost::asio::error::operation_aborted) return Error(Errc::cancelled, "it was interrupted");
    // Boost.JSON, for one, has errors of its own kind, and they are no fault of the system.
    const auto& kind = error.code().category();
    if (kind == boost::system::system_category() || kind == boost::system::generic_category() ||
        kind == boost::asio::error::get_misc_category())
      return Error(Errc::io, "a system call failed").because(error.what());
    return Error(Errc::internal, unexpected, remedy).because(error.what());
  } catch (const std::filesystem::filesystem_error& error) {
    const std::string file = error.path1().empty() ? std::string("a file") : error.path1().string();
    return Error(Errc::io, file + " cannot be used").because(error.code().message());
  } catch (const std::system_error& error) {
    return Error(Errc::io, "a system call failed").because(error.what());
  } catch (const std::exception& error) {
    return Error(Errc::internal, unexpected, remedy).because(error.what());
  } catch (...) {
    return Error(Errc::internal, unexpected, remedy);
  }
}

}  // namespace

Error::Error(Errc code, std::string what, std::string remedy)
    : body_(std::make_shared<Body>(Body{code, std::move(what), std::move(remedy), {}})) {}

Error Error::because(std::string_view cause) const {
  Body body = *body_;
  if (!body.cause.empty() && !cause.empty()) body.cause += ": ";
  body.cause += cause;
  Error copy = *this;
  copy.body_ = std::make_shared<Body>(std::move(body));
  return copy;
}

Error Error::with_remedy(std::string remedy) const {
  Body body = *body_;
  body.remedy = std::move(remedy);
  Error copy = *this;
  copy.body_ = std::make_shared<Body>(std::move(body));
  return copy;
}

std::string one_line(const Error& error) {
  std::string text = error.what();
  if (!error.cause().empty()) text += ": " + error.cause();
  return text;
}

Error error_of(const std::exception_ptr& failure) noexcept {
  // Made before it is needed: nothing can be allocated when there is no memory left.
  static const Error no_memory(Errc::internal, "there is not enough memory", "end programs that you do not need");
  try {
    return translated(failure);
  } catch (...) {
    return no_memory;
  }
}

Error io_error(std::string what, int saved_errno) {
  return Error(Errc::io, std::move(what)).because(std::generic_category().message(saved_errno));
}

int exit_code(Errc code) noexcept {
  for (const Row& row : rows)
    if (row.code == code) return row.exit_code;
  return 1;
}

std::string_view to_string(Errc code) noexcept {
  for (const Row& row : rows)
    if (row.code == code) return row.name;
  return "internal";
}

Errc errc_from_string(std::string_view name) noexcept {
  for (const Row& row : rows)
    if (row.name == name) return row.code;
  return Errc::internal;
}

}  // namespace cl
