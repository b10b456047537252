#pragma once

#include "profiles/paths.hpp"
#include "src/cli/command.hpp"
#include "vm/image.hpp"

namespace cl {

/// The image cache of this user, with the built-in recipe.
ImageCache image_cache(const Home& home);
/// The image for a profile's `image` setting and a machine's architecture.
ImageKey image_key(const std::string& variant, const std::string& arch);

/// The image verbs of the command line.
class Images : public cli::Backend {
 public:
  asio::awaitable<boost::json::object> build_image(std::string variant, std::string arch,
                                                   OnProgress on_progress) override;
  boost::json::array list_images() override;
  boost::json::object prune_images() override;
};

}  // namespace cl
