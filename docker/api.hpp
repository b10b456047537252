#pragma once

#include <string>

#include "src/base/stream.hpp"

/// The few requests of our own to a Docker engine, over any stream to its socket (Docker Engine API,
/// https://docs.docker.com/reference/api/engine/). One request at a time per stream; the connection stays open
/// after it, so a stream can be used again. All throw Error{guest_failed} when the engine does not answer or
/// answers with an error, and Error{protocol} when the answer is no such HTTP answer or is too large.
namespace cl::docker {

/// GET /_ping: returns when the engine has said OK. The engine may take its time: put a limit around it.
asio::awaitable<void> ping(ByteStream& engine);

struct Version {
  std::string version;      ///< "28.2.2"
  std::string api_version;  ///< "1.50"
  std::string os;           ///< "linux"
  std::string arch;         ///< Go's word: "amd64", "arm64"
};

/// GET /version.
asio::awaitable<Version> version(ByteStream& engine);

}  // namespace cl::docker
