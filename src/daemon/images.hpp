#pragma once

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <functional>
#include <string>

#include "profiles/paths.hpp"
#include "src/base/async.hpp"
#include "src/rpc/message.hpp"
#include "vm/image.hpp"

namespace cl {

/// The image cache of this user, with the built-in recipe.
ImageCache image_cache(const Home& home);
/// The image for a profile's `image` setting and a machine's architecture.
ImageKey image_key(const std::string& variant, const std::string& arch);

// What the image verbs of the command line do, on the cache above; results as docs/protocols.md and --json show them.

using OnImageProgress = std::function<void(const rpc::Progress&)>;
/// Builds (or finds) an image: name, digest, path.
asio::awaitable<boost::json::object> build_image(std::string variant, std::string arch, OnImageProgress on_progress);
/// One object per cached image: name, digest, bytes, created, in_use, and problem when it is not usable.
boost::json::array list_images();
/// Removes images that no root disk stands on: removed (names), freed_bytes.
boost::json::object prune_images();

}  // namespace cl
