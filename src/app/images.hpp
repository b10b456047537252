#pragma once

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <functional>
#include <optional>
#include <string>

#include "profiles/paths.hpp"
#include "profiles/profile.hpp"
#include "src/base/async.hpp"
#include "src/base/host.hpp"
#include "src/rpc/message.hpp"
#include "vm/image/image.hpp"

namespace cl {

/// The image cache of this user, with the built-in recipe.
ImageCache image_cache(const Home& home);
/// The image that is built for a machine's architecture: "docker" or "plain".
ImageKey image_key(const std::string& variant, const std::string& arch);

struct WantedImage {
  std::string setting;        ///< the profile's `image`
  std::string arch;           ///< resolved
  std::string used_digest;    ///< of the image that the root disk stands on; may be empty
  bool this_release = false;  ///< of a catalog's image: the one that this program knows, whatever older one is there
};
/// The image that a setting means, built or downloaded when it is not in the cache. "auto" takes what is there, else
/// builds where that can be done, else downloads.
asio::awaitable<Image> provide_image(const Home& home, WantedImage wanted, OnPhase say);

/// What provide_image() would find in the cache, looked at and not checked: the first of the list that fits.
std::optional<ImageEntry> cached_image(const Home& home, const std::string& setting, const std::string& arch);

/// A setting that is a local file without its digest, by its whole path and with the digest that it has now; any other
/// stays. Throws Error{not_found} for a path that leads to no file.
asio::awaitable<std::string> pin_file(std::string setting);

/// What is to be said before a machine boots slowly for its image: a distribution's, with no hardware that runs it.
/// Empty otherwise. Looks at files alone: whether hardware runs it was found out by an earlier start.
std::string slow_image(const Home& home, const Profile& profile, const HostFacts& host);

// What the image verbs of the command line do, on the cache above; results as docs/protocols.md and --json show them.

using OnImageProgress = std::function<void(const rpc::Progress&)>;
/// Builds, downloads or finds the image that a setting means: name, digest, path.
asio::awaitable<boost::json::object> make_image(std::string setting, std::string arch, OnImageProgress on_progress);
/// One object per cached image: name, digest, bytes, created, in_use, source when it was downloaded, and problem when
/// it is not usable.
boost::json::array list_images();
/// Removes images that no root disk stands on, and archives that no machine got nerdctl from: removed (names of
/// images), freed_bytes.
boost::json::object prune_images();

}  // namespace cl
