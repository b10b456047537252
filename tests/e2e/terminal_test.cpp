#include <signal.h>

#include <sstream>

#include "tests/e2e/shared_machine.hpp"

// What the command prints, by where it is printed: terminals of several kinds and widths, none, a reader that leaves,
// and one that takes its time.

namespace cl::e2e {
namespace {

class Output : public OnDocker {
 protected:
  /// A change of settings that the guest is told, which takes some seconds: with the phases that one sees.
  static std::string apply_on_terminal(int columns, int number) {
    EXPECT_OK(cl({"config", "set", "env", "NUMBER=" + std::to_string(number)}));
    const auto terminal = box->terminal_cl({"apply"}, columns, 24);
    EXPECT_EQ(terminal->wait(120s), 0) << terminal->screen();
    return terminal->screen();
  }
  void TearDown() override {
    box->set_environment(environment_);
    if (changed_) {
      EXPECT_OK(cl({"config", "unset", "env"}));
      EXPECT_OK(cl({"apply"}));
    }
    OnDocker::TearDown();
  }
  void set(const std::string& entry) {
    environment_ = box->environment();
    box->set(entry);
  }
  static std::string shell(const std::string& line) {
    return box->run({"sh", "-c", "PATH=" + fs::path(program()).parent_path().string() + ":$PATH\n" + line}).out;
  }

  std::vector<std::string> environment_ = box == nullptr ? std::vector<std::string>() : box->environment();
  bool changed_ = false;
};

/// What each row of the terminal had on it, one after the other: without the sequences that erase it.
std::vector<std::string> rows_of(const std::string& screen) {
  std::vector<std::string> rows(1);
  for (std::size_t i = 0; i < screen.size(); ++i) {
    if (screen[i] == '\r' || screen[i] == '\n') {
      if (!rows.back().empty()) rows.emplace_back();
    } else if (screen[i] == '\x1b') {
      while (i < screen.size() && std::isalpha(static_cast<unsigned char>(screen[i])) == 0) ++i;
    } else {
      rows.back() += screen[i];
    }
  }
  return rows;
}

TEST_F(Output, OfPhasesFitsTheTerminalAndIsDrawnOver) {
  changed_ = true;
  int number = 0;
  for (const int columns : {80, 200, 20}) {
    const std::string screen = apply_on_terminal(columns, ++number);
    EXPECT_NE(screen.find("\r\x1b[K"), std::string::npos) << screen;
    EXPECT_NE(screen.find("\u2713 the guest is set up"), std::string::npos) << screen;
    for (const std::string& row : rows_of(screen))
      if (!row.empty() && std::string_view("|/-\\").find(row[0]) != std::string_view::npos)
        EXPECT_LT(row.size(), static_cast<std::size_t>(columns)) << row << " does not stay on its row";
  }
}

TEST_F(Output, OfADumbTerminalHasNothingButLines) {
  changed_ = true;
  set("TERM=dumb");
  const std::string screen = apply_on_terminal(80, 7);
  EXPECT_EQ(screen.find('\x1b'), std::string::npos) << screen;
  EXPECT_NE(screen.find("the guest is set up"), std::string::npos) << screen;
  std::size_t alone = 0;
  for (std::size_t at = 0; (at = screen.find('\r', at)) != std::string::npos; ++at) alone += screen[at + 1] != '\n';
  EXPECT_EQ(alone, 0U) << screen;
}

TEST_F(Output, HasColoursWhereTheyAreWanted) {
  auto error = [] {
    const auto terminal = box->terminal_cl({"share", "remove", "/no/such"}, 80, 24);
    EXPECT_NE(terminal->wait(60s), 0);
    return terminal->screen();
  };
  set("NO_COLOR");
  EXPECT_NE(error().find("\x1b[31merror:\x1b[0m"), std::string::npos) << error();
  box->set("NO_COLOR=1");
  EXPECT_NE(error().find("error: "), std::string::npos);
  EXPECT_EQ(error().find("\x1b[3"), std::string::npos) << error();
}

TEST_F(Output, WithoutATerminalIsText) {
  for (const std::string verb :
       {"help", "status", "list", "df", "top --once", "share list", "ports", "share remove /no"}) {
    const std::string text = shell("colima-like " + verb + " 2>&1");
    EXPECT_NE(text, "") << verb;
    EXPECT_EQ(text.find_first_of("\x1b\r"), std::string::npos) << verb << '\n' << text;
  }
}

TEST_F(Output, EndsWhenItsReaderLeaves) {
  for (const std::string verb : {"help", "status", "doctor", "config show --effective", "reference", "logs --follow",
                                 "top", "events", "events --json", "ssh -- yes"}) {
    // The codes are 0, where all of it was written before, and that of SIGPIPE.
    const std::string left =
        shell("{ { timeout 60 colima-like " + verb + "; echo \"code $?\" >&2; } | head -n 1 > /dev/null; } 2>&1");
    EXPECT_TRUE(left == "code 0\n" || left == "code 141\n") << verb << ": " << left;
  }
}

TEST_F(Output, OfMuchIsWholeHoweverSlowlyItIsRead) {
  EXPECT_EQ(shell("colima-like ssh -- head -c 3000000 /dev/zero | { sleep 2; wc -c; }"), "3000000\n");
  EXPECT_EQ(shell("colima-like reference | { sleep 1; cksum; }"), shell("colima-like reference | cksum"));
}

}  // namespace
}  // namespace cl::e2e
