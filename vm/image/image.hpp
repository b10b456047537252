#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "profiles/image_ref.hpp"
#include "src/base/async.hpp"
#include "src/base/byte_size.hpp"
#include "vm/image/http.hpp"
#include "vm/image/recipe.hpp"

namespace cl {

/// Which image is wanted. The recipe's digest is the fourth part of its name.
struct ImageKey {
  std::string arch;                ///< "x86_64" or "aarch64"
  std::string variant = "docker";  ///< or "plain": without Docker
  std::string suite = "trixie";    ///< Debian's name of the release
};

/// An image from elsewhere: a file, and what its bytes must be.
struct ImageSource {
  std::string title;  ///< "debian-13", or the file's own name
  std::string arch;
  std::vector<std::string> locations;  ///< URLs of that file, in the order of trying; or its path on this host
  Digest digest;
};

/// An image whose files are as they were built: read-only, shared by profiles.
struct Image {
  std::string name;                            ///< its directory's: "trixie-docker-x86_64-0123456789ab"
  std::string digest;                          ///< over the files' content, 64 hex digits
  std::string arch, variant, suite, created;   ///< `created` as 2025-01-31T12:00:00Z
  std::filesystem::path root, kernel, initrd;  ///< raw disk; with `direct` the kernel, and an initrd or none
  std::string boot = "direct";       ///< the kernel by the hypervisor; or by the disk's own loader: "bios", "efi"
  std::string seed = "credentials";  ///< how it is told who it is: systemd's credentials, or "cloud-init"
  bool provisioned = false;          ///< brings Docker along, and is set up as ours
  std::string source_title, source;  ///< of one from elsewhere: its name, and "URL#sha512:HEX"
  std::string kernel_arguments;
  std::map<std::string, std::string> versions;  ///< "kernel_version", "docker_version", as the recipe tells them
  ByteSize allocated;                           ///< on this disk
};

/// One line of `image list`. A directory that is not usable says why.
struct ImageEntry {
  std::string name, digest, arch;
  ByteSize allocated;
  std::string created;
  std::string source_title, source;  ///< of one from elsewhere: its name, and "URL#sha512:HEX"
  std::string problem;               ///< empty: as far as its files' sizes and times tell, sound
};

/// Told in a few words what is being done, at each change.
using OnPhase = std::function<void(std::string_view phase)>;

/// What a build needs beside the key.
struct BuildOptions {
  std::string mirror;  ///< of Debian packages; empty = default_mirror()
  /// A build that takes longer has hung. On 2 cores with a near mirror it takes 2 minutes.
  std::chrono::milliseconds limit = std::chrono::minutes(45);
  ByteSize least_free_space = ByteSize::gib(5);  ///< the tree, the image and a copy of it, side by side
};

/// What a download needs beside the source.
struct FetchOptions {
  HttpOptions http;
  ByteSize most = ByteSize::gib(64);           ///< of the file
  std::chrono::milliseconds first_pause{500};  ///< between attempts that bring nothing
};

/// $COLIMA_LIKE_MIRROR, or Debian's own.
std::string default_mirror();

/// The images of this user: one directory each, complete from the moment it has its name. Several processes may
/// use the cache at once.
class ImageCache {
 public:
  /// `directory` is made (0700) when first needed.
  ImageCache(std::filesystem::path directory, Recipe recipe);

  std::string name_of(const ImageKey& key) const;

  /// The image, or nothing when it is not built. Compares sizes and times, in microseconds; if those differ from when
  /// the files were last hashed, hashes them again (seconds) and goes by that. Throws Error{io} for an image that is
  /// damaged: it is never used silently.
  asio::awaitable<std::optional<Image>> find(ImageKey key, OnPhase on_phase = {});

  /// The image with this digest, whatever recipe made it: an overlay needs its own. Errors as find().
  asio::awaitable<std::optional<Image>> find_digest(std::string digest, OnPhase on_phase = {});

  /// The image, built if it is not there or damaged. Of two builders at the same time one builds and the other waits
  /// for it. Cancelled, killed or failed, it leaves nothing that looks like an image. Throws Error{host_requirement}
  /// when the host lacks a program, space or the mirror, Error{io} when the recipe fails; its messages are then kept in
  /// NAME.build.log.
  asio::awaitable<Image> build(ImageKey key, BuildOptions options, OnPhase on_phase);

  /// The image that was made of exactly this file, or nothing. Errors as find().
  asio::awaitable<std::optional<Image>> find_source(ImageSource source, OnPhase on_phase = {});

  /// The newest image with this title and architecture, whatever release of it, or nothing. Errors as find().
  asio::awaitable<std::optional<Image>> find_title(std::string title, std::string arch, OnPhase on_phase = {});

  /// The image of this file, downloaded and unpacked if it is not there or damaged. Of two at the same time one works
  /// and the other waits for it. Interrupted in whatever way, it leaves nothing that looks like an image, and what was
  /// downloaded is gone on with the next time. Errors of vm/image/download.hpp and vm/image/disk_files.hpp.
  asio::awaitable<Image> fetch(ImageSource source, FetchOptions options, OnPhase on_phase);

  /// All images, usable or not, by name.
  std::vector<ImageEntry> list() const;

  /// Removes every image but those in use, and what interrupted builds and downloads left. Returns the bytes freed on
  /// disk. An image whose digest cannot be read stays while any digest in use is not found elsewhere.
  ByteSize prune(const std::set<std::string>& digests_in_use);

 private:
  std::filesystem::path downloads() const { return directory_.parent_path() / "downloads"; }

  std::filesystem::path directory_;
  Recipe recipe_;
};

}  // namespace cl
