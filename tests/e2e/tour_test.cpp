#include <sstream>

#include "src/base/file.hpp"
#include "tests/e2e/sandbox.hpp"

// docs/tour.md as a new user would type it, line by line, on one machine.

namespace cl::e2e {
namespace {

struct Step {
  std::string command, answer;
};

/// Of the blocks that begin with ```console: what stands behind "$ ", and the lines below it.
std::vector<Step> steps_of(const std::string& document) {
  std::vector<Step> steps;
  std::istringstream lines(document);
  bool inside = false;
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("```")) {
      inside = line == "```console";
    } else if (inside && line.starts_with("$ ")) {
      steps.push_back({line.substr(2), ""});
    } else if (inside) {
      steps.back().answer += line + "\n";
    }
  }
  return steps;
}

/// Whether the text is the pattern, in which "..." is any text, of several lines too.
bool is_like(std::string_view pattern, std::string_view text) {
  constexpr std::string_view gap = "...";
  const auto at = pattern.find(gap);
  if (at == std::string_view::npos) return pattern == text;
  if (text.substr(0, at) != pattern.substr(0, at)) return false;
  const std::string_view rest = pattern.substr(at + gap.size());
  for (std::size_t from = at; from <= text.size(); ++from)
    if (is_like(rest, text.substr(from))) return true;
  return false;
}

void replace_all(std::string& text, const std::string& from, const std::string& to) {
  for (std::size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size())
    text.replace(at, from.size(), to);
}

/// In the place of Docker Hub's images, which a test does not download.
void import_images(Sandbox& box) {
  box.import_busybox("debian");
  const fs::path tree = box.busybox_tree();
  write_atomically(tree / "index.html", "It works!\n", 0644);
  const fs::path tar = box.root() / "httpd.tar";
  ASSERT_OK(box.run({"tar", "-C", tree.string(), "-cf", tar.string(), "."}));
  ASSERT_OK(box.docker(
      {"import", "--change", R"(CMD ["/bin/busybox", "httpd", "-f", "-p", "80", "-h", "/"])", tar.string(), "httpd"}));
}

TEST(Tour, IsWhatANewUserSees) {
  Sandbox box;
  std::string document = read_file(fs::path(COLIMA_LIKE_SOURCE) / "docs/tour.md");
  replace_all(document, "8080", std::to_string(20000 + ::getpid() % 10000));
  const std::vector<Step> steps = steps_of(document);
  ASSERT_GT(steps.size(), 15U);
  const fs::path bin = box.root() / "bin", home = box.root() / "user";
  fs::create_directories(bin);
  fs::create_symlink(program(), bin / "colima-like");
  for (const Step& step : steps) {
    const Result result = box.run(
        {"sh", "-c", "cd " + home.string() + "; PATH=" + bin.string() + ":$PATH\n" + step.command}, {}, boot_limit);
    EXPECT_TRUE(is_like(step.answer, result.out)) << "docs/tour.md has\n" << step.answer << "and not " << result;
    ASSERT_OK(result);
    if (step.command == "colima-like start") import_images(box);
  }
}

}  // namespace
}  // namespace cl::e2e
