#include "src/base/error.hpp"

#include <gtest/gtest.h>

#include <boost/asio/error.hpp>
#include <boost/json/error.hpp>
#include <boost/system/system_error.hpp>
#include <filesystem>
#include <new>

#include <cerrno>
#include <set>
#include <vector>

namespace cl {
namespace {

const std::vector<Errc> all_codes = {
    Errc::usage,     Errc::invalid_config, Errc::not_found, Errc::not_running,      Errc::busy,
    Errc::cancelled, Errc::timed_out,      Errc::io,        Errc::host_requirement, Errc::guest_failed,
    Errc::protocol,  Errc::internal,
};

TEST(Error, SaysWhatWhyAndWhatToDo) {
  const Error error(Errc::io, "cannot start", "free some memory");
  EXPECT_STREQ(error.what(), "cannot start");
  EXPECT_EQ(error.cause(), "");
  EXPECT_EQ(error.remedy(), "free some memory");
  EXPECT_EQ(error.code(), Errc::io);
}

TEST(Error, AppendsCausesFromTheOutsideIn) {
  const Error error = Error(Errc::io, "cannot start").because("no memory").because("a hog");
  EXPECT_EQ(error.cause(), "no memory: a hog");
  EXPECT_EQ(one_line(error), "cannot start: no memory: a hog");
}

TEST(Error, IgnoresAnEmptyCause) {
  EXPECT_EQ(one_line(Error(Errc::io, "cannot start").because("").because("no memory").because("")),
            "cannot start: no memory");
  EXPECT_EQ(one_line(Error(Errc::io, "cannot start")), "cannot start");
}

TEST(Error, LeavesTheOriginalAloneWhenCopiesChange) {
  const Error first(Errc::busy, "busy", "wait");
  const Error second = first.because("a start").with_remedy("stop it");
  EXPECT_EQ(first.cause(), "");
  EXPECT_EQ(first.remedy(), "wait");
  EXPECT_EQ(second.cause(), "a start");
  EXPECT_EQ(second.remedy(), "stop it");
  EXPECT_EQ(second.code(), Errc::busy);
}

TEST(Error, KeepsTheReasonOfASystemCall) {
  const Error error = io_error("cannot open x", ENOENT);
  EXPECT_EQ(error.code(), Errc::io);
  EXPECT_EQ(one_line(error), "cannot open x: No such file or directory");
}

TEST(Error, IsMadeOfWhateverWasThrown) {
  const auto line_of = [](auto thrown) {
    const Error error = error_of(std::make_exception_ptr(thrown));
    return std::string(to_string(error.code())) + ": " + one_line(error);
  };
  EXPECT_EQ(line_of(Error(Errc::busy, "no").because("of it")), "busy: no: of it");
  EXPECT_EQ(line_of(boost::system::system_error(boost::asio::error::operation_aborted)),
            "cancelled: it was interrupted");
  EXPECT_EQ(line_of(boost::system::system_error(boost::asio::error::broken_pipe, "write")).substr(0, 42),
            "io: a system call failed: write: Broken pi");
  EXPECT_EQ(line_of(std::filesystem::filesystem_error("remove", "/a/b",
                                                      std::make_error_code(std::errc::directory_not_empty))),
            "io: /a/b cannot be used: Directory not empty");
  EXPECT_EQ(line_of(std::filesystem::filesystem_error("x", std::make_error_code(std::errc::no_space_on_device))),
            "io: a file cannot be used: No space left on device");
  EXPECT_EQ(line_of(boost::system::system_error(boost::json::error::out_of_range)).substr(0, 42),
            "internal: something failed that should not");
  EXPECT_EQ(line_of(std::system_error(EMFILE, std::generic_category())),
            "io: a system call failed: Too many open files");
  EXPECT_EQ(line_of(std::bad_alloc()), "internal: there is not enough memory");
  EXPECT_EQ(line_of(std::out_of_range("at")), "internal: something failed that should not: at");
  EXPECT_EQ(line_of(42), "internal: something failed that should not");
}

TEST(Errc, NamesAreDistinctAndReadBack) {
  std::set<std::string_view> names;
  for (const Errc code : all_codes) {
    EXPECT_EQ(errc_from_string(to_string(code)), code) << to_string(code);
    names.insert(to_string(code));
  }
  EXPECT_EQ(names.size(), all_codes.size());
}

TEST(Errc, ReadsAnUnknownNameAsInternal) { EXPECT_EQ(errc_from_string("from_the_future"), Errc::internal); }

TEST(Errc, HasTheDocumentedExitCodes) {
  EXPECT_EQ(exit_code(Errc::usage), 2);
  EXPECT_EQ(exit_code(Errc::invalid_config), 2);
  EXPECT_EQ(exit_code(Errc::not_running), 3);
  EXPECT_EQ(exit_code(Errc::host_requirement), 4);
  EXPECT_EQ(exit_code(Errc::guest_failed), 5);
  EXPECT_EQ(exit_code(Errc::busy), 6);
  EXPECT_EQ(exit_code(Errc::cancelled), 130);
  for (const Errc code : all_codes) EXPECT_NE(exit_code(code), 0) << to_string(code);
}

}  // namespace
}  // namespace cl
