#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "src/cli/command.hpp"

/// The texts that are made of the table of verbs, beside the manual page: help for 80 columns, and docs/cli.md.
namespace cl::cli {

/// All commands by topic; no topic is longer than a screen of 24 lines.
std::string overview(const CLI::App& app);

/// One command; `verb` is null for a group such as `config`, whose commands are listed.
std::string help_of(const CLI::App& top, const CLI::App& command, const Verb* verb);

/// What an exit code says, as help, manual page and docs/cli.md have it.
struct ExitMeaning {
  int code;
  std::string_view meaning;
};
std::span<const ExitMeaning> exit_meanings();

/// docs/cli.md: every command with its options and examples, and the exit codes.
std::string reference();

}  // namespace cl::cli
