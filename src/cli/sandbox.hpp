#pragma once

#include <filesystem>

#include "profiles/store.hpp"
#include "src/cli/command.hpp"

namespace cl::cli {

/// The settings of a profile for programs that are not trusted: they see `folder` and nothing else of this computer,
/// and reach nobody but those that `network.egress` is given.
Settings sandbox_settings(const std::filesystem::path& folder);

/// Makes the profile of the call a sandbox of the current folder, with the settings that the call names besides; they
/// are kept in its file, so that no later start is without them. One that is there already is left as it is:
/// Error{busy} when it is not a sandbox of this folder. Error{invalid_config} when the folder is the user's whole home,
/// or above it.
void make_sandbox(const Invocation& call);

}  // namespace cl::cli
