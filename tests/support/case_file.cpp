#include "tests/support/case_file.hpp"

#include <algorithm>
#include <cctype>
#include <sstream>
#include <stdexcept>

#include "src/base/file.hpp"

namespace cl::test {
namespace {

std::vector<std::string> lines_of(std::string_view text) {
  std::vector<std::string> lines;
  std::istringstream all{std::string(text)};
  for (std::string line; std::getline(all, line);) lines.push_back(line);
  return lines;
}

std::string one_blank_each(const std::string& line) {
  std::istringstream words(line);
  std::string result;
  for (std::string word; words >> word;) result += (result.empty() ? "" : " ") + word;
  return result;
}

/// "*" is any text.
bool matches(std::string_view pattern, std::string_view text) {
  const auto star = pattern.find('*');
  if (star == std::string_view::npos) return pattern == text;
  if (text.substr(0, star) != pattern.substr(0, star)) return false;
  const std::string_view rest = pattern.substr(star + 1);
  for (std::size_t at = star; at <= text.size(); ++at)
    if (matches(rest, text.substr(at))) return true;
  return false;
}

/// The block below a "key:" that has nothing behind it.
std::vector<std::string> take_block(const std::vector<std::string>& lines, std::size_t& at) {
  std::vector<std::string> block;
  while (at + 1 < lines.size() && (lines[at + 1].starts_with("  ") || lines[at + 1].empty()))
    block.push_back(lines[++at].empty() ? "" : lines[at].substr(2));
  return block;
}

std::string cell(std::string text) {
  for (std::size_t at = 0; (at = text.find('|', at)) != std::string::npos; at += 2) text.insert(at, "\\");
  return text;
}

std::string outcome(const CaseFile& one, const std::vector<std::string>& lines, int exit) {
  std::string text;
  for (const std::string& line : lines) text += (text.empty() ? "`" : "`, `") + line;
  if (!text.empty()) text += "`";
  if (exit == 0) return text.empty() ? "nothing is printed" : text;
  text += (text.empty() ? "" : ", ") + std::string("refused");
  for (const std::string& error : one.error) text += ": \"" + error + "\"";
  return text;
}

std::string here(const CaseFile& one) {
  if (one.local) return outcome(one, one.expect, one.exit);
  std::string text;
  for (const auto& [type, lines] : one.expect_in)
    text += (text.empty() ? "" : "; ") + type + ": " + outcome(one, lines, one.exit);
  return text.empty() ? "the same" : text;
}

}  // namespace

bool CaseFile::in_share() const { return std::find(requires_.begin(), requires_.end(), "share") != requires_.end(); }

const std::vector<std::string>& CaseFile::expected(const std::string& share_type) const {
  const auto its = expect_in.find(share_type);
  return its == expect_in.end() ? expect : its->second;
}

CaseFile parse_case(const std::string& file, std::string_view text) {
  CaseFile one;
  one.file = file;
  bool expects = false;
  const auto wrong = [&](const std::string& what) { return std::runtime_error(file + ".case: " + what); };
  const std::vector<std::string> lines = lines_of(text);
  for (std::size_t at = 0; at < lines.size(); ++at) {
    const std::string& line = lines[at];
    const auto colon = line.find(':');
    if (line.empty() || line.starts_with('#')) continue;
    if (colon == std::string::npos || line.starts_with(' ')) throw wrong("not 'key: value': " + line);
    const std::string key = line.substr(0, colon), value = one_blank_each(line.substr(colon + 1));
    if (key == "run") {
      for (const std::string& command : take_block(lines, at)) one.run += command + "\n";
    } else if (key == "expect" || key.starts_with("expect ")) {
      std::vector<std::string> block = take_block(lines, at);
      if (!value.empty()) block.insert(block.begin(), value);
      std::erase(block, "");
      const std::string where = key == "expect" ? "" : key.substr(7);
      if (where.empty()) one.expect = block;
      if (where == "local") one.local = block;
      if (!where.empty() && where != "local") one.expect_in[where] = block;
      expects = true;
    } else if (key == "requires") {
      std::istringstream words(value);
      for (std::string word; words >> word;) one.requires_.push_back(word);
    } else if (key == "error") {
      one.error.push_back(value);
    } else if (key == "exit") {
      one.exit = std::stoi(value);
    } else if (key == "name" || key == "because") {
      (key == "name" ? one.name : one.because) = value;
    } else {
      throw wrong("there is no key '" + key + "'");
    }
  }
  if (one.name.empty() || one.run.empty()) throw wrong("it has no name, or nothing to run");
  if (!expects && one.error.empty() && one.exit == 0) throw wrong("it expects nothing");
  const bool differs = one.local.has_value() || !one.expect_in.empty();
  if (differs != !one.because.empty())
    throw wrong("what differs from a local engine has 'because', and nothing else has");
  return one;
}

std::vector<CaseFile> read_cases(const std::filesystem::path& folder) {
  std::vector<CaseFile> cases;
  for (const auto& entry : std::filesystem::directory_iterator(folder))
    if (entry.path().extension() == ".case") cases.push_back(parse_case(entry.path().stem(), read_file(entry.path())));
  std::sort(cases.begin(), cases.end(), [](const CaseFile& a, const CaseFile& b) { return a.file < b.file; });
  return cases;
}

bool fits(const std::vector<std::string>& expected, std::string_view printed) {
  const std::vector<std::string> lines = lines_of(printed);
  if (lines.size() != expected.size()) return false;
  for (std::size_t i = 0; i < lines.size(); ++i)
    if (!matches(expected[i], one_blank_each(lines[i]))) return false;
  return true;
}

std::string test_name(std::string_view file) {
  std::string name;
  bool first = true;
  for (const char c : file) {
    if (c != '-') name += first ? static_cast<char>(std::toupper(static_cast<unsigned char>(c))) : c;
    first = c == '-';
  }
  return name;
}

std::string compatibility(const std::vector<CaseFile>& cases) {
  std::string text = R"(# What is as with a local engine, and what is not

<!-- Made from tests/cases by COLIMA_LIKE_ACCEPT=1 build/test/tests/unit/cli/cli_test --gtest_filter='CaseFiles.*' -->

Each row is a file of `tests/cases`, which the tests run on a real machine: in shared folders by virtiofs and by sshfs, where it is about files.
What a local engine does is what a dockerd of this computer did in another test (20.10.24 of Debian 12; vfs, runc); the words of what it refuses are its own.
)";
  for (const bool differ : {true, false}) {
    text += differ ? "\n## Different\n\n| what | local engine | here | because |\n|---|---|---|---|\n"
                   : "\n## The same\n\n| what | outcome |\n|---|---|\n";
    for (const CaseFile& one : cases) {
      if (one.because.empty() == differ) continue;
      const std::string local = outcome(one, one.expected_locally(), one.exit_locally());
      text += "| " + cell(one.name) + " | " + cell(local) + " |";
      if (differ) text += " " + cell(here(one)) + " | " + cell(one.because) + " |";
      text += "\n";
    }
  }
  return text;
}

}  // namespace cl::test
