#pragma once

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include "src/base/stream.hpp"

/// The few requests of our own to a Docker engine, over any stream to its socket (Docker Engine API,
/// https://docs.docker.com/reference/api/engine/). One request at a time per stream; the connection stays open
/// after it, so a stream can be used again. All throw Error{guest_failed} when the engine does not answer or
/// answers with an error, and Error{protocol} when the answer is no such HTTP answer or is too large.
namespace cl::docker {

/// GET /_ping: returns when the engine has answered OK. It has no limit of its own: put one around it.
asio::awaitable<void> ping(ByteStream& engine);

struct Version {
  std::string version;      ///< "28.2.2"
  std::string api_version;  ///< "1.50"
  std::string os;           ///< "linux"
  std::string arch;         ///< Go's word: "amd64", "arm64"
};

/// GET /version.
asio::awaitable<Version> version(ByteStream& engine);

/// GET /containers/json: the running containers, as the engine describes them.
asio::awaitable<boost::json::array> running_containers(ByteStream& engine);

/// The same with those that do not run.
asio::awaitable<boost::json::array> all_containers(ByteStream& engine);

/// GET /volumes: all of them, as the engine describes them.
asio::awaitable<boost::json::array> volumes(ByteStream& engine);

/// GET /services: those of the swarm that this engine manages. Nothing when it is in no swarm, or does not manage it.
asio::awaitable<std::optional<boost::json::array>> services(ByteStream& engine);

/// POST /containers/ID/stop: ends it at once (SIGKILL), as if its user had; `container` is an id or a name. Returns
/// when it has ended. One that is not there, or does not run, is fine.
asio::awaitable<void> stop_container(ByteStream& engine, std::string container);

/// GET /system/df: what uses how much of the engine's disk, as the engine describes it. It may take minutes.
asio::awaitable<boost::json::object> disk_usage(ByteStream& engine);

/// GET /containers/NAME/json: a container by its name or id; nothing when there is none.
asio::awaitable<std::optional<boost::json::object>> container(ByteStream& engine, std::string name);

/// GET /images/NAME/json: an image by its name or id; nothing when it is not in the engine.
asio::awaitable<std::optional<boost::json::object>> image(ByteStream& engine, std::string name);

/// One line of the engine's event stream.
struct Event {
  std::string type;    ///< "container", "network", ...
  std::string action;  ///< "start", "die", ...
  std::string id;      ///< of the container or network
  /// When, by the engine's clock, since 1970; zero when it does not say.
  std::chrono::nanoseconds time{};
};

/// GET /events: what happens, until the engine or the connection ends.
class EventStream {
 public:
  /// `filters` is the API's JSON object of that name. First come the events at and after `since`, a time as that of
  /// Event, as far as the engine remembers them (Docker: the last 256). What happens after this has returned is not
  /// missed.
  static asio::awaitable<std::unique_ptr<EventStream>> open(std::unique_ptr<ByteStream> engine, std::string filters,
                                                            std::chrono::nanoseconds since);
  ~EventStream();

  /// The next event; nothing at the stream's end.
  asio::awaitable<std::optional<Event>> next();

 private:
  struct State;
  explicit EventStream(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace cl::docker
