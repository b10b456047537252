#pragma once

#include <CLI/CLI.hpp>

#include "src/cli/command.hpp"

namespace cl::cli {

/// The whole command line as CLI11 knows it, from the table of verbs: what it parses goes into `into`, the verb into
/// `chosen`. Both must outlive `app`.
void build_parser(CLI::App& app, Invocation& into, const Verb*& chosen);

}  // namespace cl::cli
