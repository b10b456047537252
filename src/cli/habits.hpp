#pragma once

#include <span>
#include <string>
#include <string_view>

/// The words that people bring along from Colima, Lima, OrbStack and docker, and what they are called here.
namespace cl::cli {

/// A word of another program that is none here.
struct Habit {
  std::string_view theirs;
  /// The command line here, without "colima-like"; empty where nothing here does that.
  std::string_view ours;
  std::string_view note{};  ///< a sentence that says what else is to be known; may be empty
};

/// Commands; `ours` begins with a verb.
std::span<const Habit> foreign_verbs();
/// Options, "--mount" or "-V"; `ours` is an option too, or begins with "colima-like " when it is a command.
std::span<const Habit> foreign_options();

/// The row, or null.
const Habit* find_habit(std::span<const Habit> habits, std::string_view word);

/// A value of the key as it is written here: "arch" is x86_64 for amd64, and aarch64 for arm64. Others stay.
std::string value_as_ours(std::string_view key, std::string_view text);

}  // namespace cl::cli
