#pragma once

#include <optional>
#include <string>

namespace cl::cli {

/// One end of a copy, as it is written on the command line.
struct CopyEnd {
  bool in_guest = false;
  std::string profile;  ///< of one in the guest; empty is the one that the command means
  std::string path;     ///< of one in the guest from / on, or below the home of root there
};

/// ":PATH" and "PROFILE:PATH" are in a machine; what has a slash before the colon is a file here, as with docker and
/// scp.
CopyEnd parse_copy_end(const std::string& text);

/// The command that receives a file of this mode ("644"), or a folder as a tar archive, on stdin and puts it where `cp`
/// would: into an existing folder under `name`, else under the very path.
std::string receive_command(const std::string& path, const std::string& name, const std::optional<std::string>& mode);

/// The command that tells on its first line what is there ("d", or "f MODE") and goes on with a tar archive or with
/// the file's bytes.
std::string send_command(const std::string& path);

}  // namespace cl::cli
