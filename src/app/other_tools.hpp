#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "src/app/doctor.hpp"

/// What other tools of this kind (Colima, Docker Desktop ...) have left in the folder of docker's client. Their
/// contexts and builders lead to sockets that nobody answers any more, and then a `docker build` or a `docker pull`
/// fails, or waits for ever, with no word on why.
namespace cl {

/// Where it is looked for.
struct ClientFolders {
  std::filesystem::path docker;  ///< $DOCKER_CONFIG or ~/.docker
  std::filesystem::path buildx;  ///< $BUILDX_CONFIG or a folder of that one
};
ClientFolders client_folders();

/// What is asked of this computer.
class OtherTools {
 public:
  virtual ~OtherTools() = default;
  /// Whether somebody listens on this unix socket.
  virtual bool answers(const std::filesystem::path& socket) const;
  /// Whether one of these is here: a program that PATH finds, or a path.
  virtual bool is_here(std::string_view program_or_path) const;
};

/// One for each context, builder, credential helper and plugin that leads nowhere; nothing where all is well. A tool
/// that is installed and does not run at the moment is told and is no warning, unless docker uses it now. A file that
/// cannot be read is none: docker's client says so itself.
std::vector<Finding> judge_other_tools(const ClientFolders& folders, const OtherTools& host);

}  // namespace cl
