#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

/// A file of tests/cases: a command line that somebody tried, and what has to come of it. CONTRIBUTING.md has the form.
namespace cl::test {

struct CaseFile {
  std::string file;                    ///< its name without ".case"
  std::string name;                    ///< what is tried, for people
  std::vector<std::string> requires_;  ///< "share": in a shared folder, of each type; "linux"; programs
  std::string run;                     ///< for sh -eu
  std::vector<std::string> expect;     ///< lines of its stdout; "*" in one is any text
  std::map<std::string, std::vector<std::string>> expect_in;  ///< for shares of a type alone, in place of `expect`
  std::vector<std::string> error;                             ///< each is somewhere in its stderr
  int exit = 0;
  std::optional<std::vector<std::string>> local;  ///< lines with a local engine, which refuses nothing then
  std::string because;                            ///< why it is not the same

  bool in_share() const;
  const std::vector<std::string>& expected(const std::string& share_type) const;
  /// With an engine of this computer: lines, and the exit code.
  const std::vector<std::string>& expected_locally() const { return local ? *local : expect; }
  int exit_locally() const { return local ? 0 : exit; }
};

/// Throws std::runtime_error with the line that cannot be read, or what is missing.
CaseFile parse_case(const std::string& file, std::string_view text);
/// All of a folder, by name.
std::vector<CaseFile> read_cases(const std::filesystem::path& folder);

/// Whether the lines are those, where "*" is any text and blanks in a row are one.
bool fits(const std::vector<std::string>& expected, std::string_view printed);

/// "file-replaced" as a test's name: FileReplaced.
std::string test_name(std::string_view file);

/// docs/compatibility.md.
std::string compatibility(const std::vector<CaseFile>& cases);

}  // namespace cl::test
