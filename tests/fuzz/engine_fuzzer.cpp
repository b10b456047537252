// Whatever an engine in the guest answers and whatever a client asks it: understood or refused, within bounds, and
// passed on without losing or inventing a byte. The first byte says what is read, the second how it is cut on its way.
#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <boost/json/parse.hpp>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <memory>
#include <string>

#include "docker/api.hpp"
#include "docker/bound_volumes.hpp"
#include "docker/gated_stream.hpp"
#include "docker/ports.hpp"
#include "docker/request_watch.hpp"
#include "src/base/error.hpp"
#include "src/shares/events.hpp"
#include "tests/fuzz/growth.hpp"

namespace {

using namespace cl;

/// An engine that answers with these bytes, `times` over, whatever it is asked, and keeps what that was.
class Engine final : public ByteStream {
 public:
  Engine(std::string answer, std::size_t piece, std::size_t times = 1)
      : answer_(std::move(answer)), piece_(piece), times_(answer_.empty() ? 1 : times) {}
  asio::awaitable<std::size_t> read_some(std::span<char> space) override {
    growth_.check();
    if (closed_) throw Error(Errc::io, "closed");
    if (at_ == answer_.size() && times_ > 1) {
      --times_;
      at_ = begin_;
    }
    const std::size_t count = std::min({space.size(), piece_, answer_.size() - at_});
    std::memcpy(space.data(), answer_.data() + at_, count);
    at_ += count;
    co_return count;
  }
  asio::awaitable<void> write(std::span<const char> bytes) override {
    asked.append(bytes.data(), bytes.size());
    co_return;
  }
  asio::awaitable<void> shutdown_write() override { co_return; }
  void close() noexcept override { closed_ = true; }
  /// Only what is behind this comes again.
  void repeat_from(std::size_t begin) { begin_ = begin; }

  std::string asked;

 private:
  std::string answer_;
  std::size_t piece_, times_, at_ = 0, begin_ = 0;
  bool closed_ = false;
  fuzz::Growth growth_{4U << 20U};  // an event may have 1 MiB
};

/// What waits for nobody has ended when this returns. Refusals are the subject's business.
template <class Work>
void run(Work work) {
  asio::io_context io(1);
  std::exception_ptr failure;
  bool ended = false;
  asio::co_spawn(io, std::move(work), [&](std::exception_ptr thrown) {
    failure = std::move(thrown);
    ended = true;
  });
  io.run();
  if (!ended) std::abort();
  if (!failure) return;
  try {
    std::rethrow_exception(failure);
  } catch (const Error&) {  // refused
  }
}

void look_at_containers(const boost::json::array& containers) {
  for (const auto& widest : {"0.0.0.0", "127.0.0.1", "192.0.2.1"}) {
    PortRules rules;
    rules.widest_address = asio::ip::make_address(widest);
    WantedPorts ports = wanted_ports(containers, rules);
    keep_to_limit(ports, 3, 5, [](const HostPort&) { return false; });
    std::size_t open = 0;
    for (const auto& [at, port] : ports) {
      if (port.refused != Refusal::none) continue;
      ++open;
      if (at.port < first_ordinary_port) std::abort();
      const bool within = at.address.is_loopback() || at.address == rules.widest_address;
      if (!rules.widest_address.is_unspecified() && !within) std::abort();
    }
    if (open > 5) std::abort();
  }
  bound_paths(containers);
}

asio::awaitable<void> list_containers(std::string answer, std::size_t piece) {
  const std::size_t size = answer.size();
  Engine engine(std::move(answer), piece);
  const fuzz::Growth growth(64 * size + 256 * 1024);  // 19 times at the worst that we know: "[[],[],[] ...]"
  const auto containers = co_await docker::running_containers(engine);
  growth.check();
  look_at_containers(containers);
}

asio::awaitable<void> list_services(std::string answer, std::size_t piece) {
  Engine engine(std::move(answer), piece);
  WantedPorts ports;
  const auto services = co_await docker::services(engine);
  if (services) add_services(ports, *services, PortRules{});
}

/// Containers, and behind a NUL the engine's list of volumes.
asio::awaitable<void> resolve_volumes(std::string bytes, std::size_t piece) {
  const std::size_t end = std::min(bytes.find('\0'), bytes.size());
  boost::system::error_code wrong;
  boost::json::value containers = boost::json::parse(bytes.substr(0, end), wrong);
  if (wrong || !containers.is_array()) co_return;
  Engine engine(bytes.substr(std::min(end + 1, bytes.size())), piece);
  BoundVolumes volumes;
  co_await volumes.resolve(engine, containers.get_array());
  bound_paths(containers.get_array());
}

asio::awaitable<void> ask(std::string answer, std::size_t piece) {
  const std::string copy = answer;
  Engine pinged(copy, piece), asked(copy, piece), inspected(copy, piece), stopped(copy, piece);
  for (int call = 0; call < 4; ++call) try {
      if (call == 0) co_await docker::ping(pinged);
      if (call == 1) co_await docker::version(asked);
      if (call == 2) co_await docker::container(inspected, copy);
      if (call == 3) co_await docker::stop_container(stopped, copy);
    } catch (const Error&) {
    }
  // Whatever the container's name is: it is one line of one request.
  for (const Engine* one : {&inspected, &stopped}) {
    const std::string_view head(one->asked);
    if (head.find("\r\n\r\n") != head.size() - 4 || std::count(head.begin(), head.end(), ' ') > 6) std::abort();
  }
}

asio::awaitable<void> follow_events(std::string answer, std::size_t piece) {
  auto engine = std::make_unique<Engine>(std::move(answer), piece);
  const auto events = co_await docker::EventStream::open(std::move(engine), "{}", {});
  while (co_await events->next()) {
  }
}

/// The same lines again and again, which is what a hostile engine would send.
asio::awaitable<void> follow_endless_events(std::string lines, std::size_t piece) {
  const std::string head = "HTTP/1.1 200 OK\r\n\r\n";
  constexpr std::size_t all = 5U << 18U;  // more than one event may have
  for (const std::string once = lines; !once.empty() && lines.size() < 512;)
    lines += once;  // a read for each takes long
  const std::size_t times = lines.empty() ? 1 : all / lines.size();
  auto engine = std::make_unique<Engine>(head + lines, std::max<std::size_t>(piece, 512), times);
  engine->repeat_from(head.size());
  const auto events = co_await docker::EventStream::open(std::move(engine), "{}", {});
  while (co_await events->next()) {
  }
}

void watch_requests(const std::string& bytes, std::size_t piece) {
  RequestWatch whole, cut;
  const fuzz::Growth growth(1U << 20U);
  std::string of_whole, of_cut;
  for (std::string_view rest = bytes; !rest.empty();) of_whole += whole.next(rest).bytes;
  for (std::size_t at = 0; at < bytes.size(); at += piece)
    for (std::string_view rest = std::string_view(bytes).substr(at, piece); !rest.empty();) {
      const RequestWatch::Piece one = cut.next(rest);
      if (one.bytes.empty()) std::abort();
      of_cut += one.bytes;
    }
  if (of_whole != bytes || of_cut != bytes) std::abort();
  if (whole.method() != cut.method() || whole.target() != cut.target()) std::abort();
  growth.check();
}

/// A client's bytes, and behind two NULs the engine's.
asio::awaitable<void> pass_gates(std::string bytes, std::size_t piece) {
  const std::size_t end = std::min(bytes.find(std::string_view("\0\0", 2)), bytes.size());
  const std::string client = bytes.substr(0, end), answer = bytes.substr(std::min(end + 2, bytes.size()));
  auto gates = std::make_shared<GatedStream::Gates>();
  bool refused = false;
  gates->reconciled = []() -> asio::awaitable<void> { co_return; };
  gates->taken = [&refused](std::string container) -> asio::awaitable<std::string> {
    refused = container.starts_with("t");
    co_return refused ? "taken" : "";
  };
  gates->check = [&refused](std::string body) -> asio::awaitable<void> {
    refused = body.find("bad") != std::string::npos;
    if (refused) throw Error(Errc::usage, "refused");
    co_return;
  };
  gates->use = std::make_shared<ClientUse>();
  gates->greeted = [](const std::string&, const std::string&) {};
  auto owned = std::make_unique<Engine>(answer, piece);
  const Engine& engine = *owned;
  GatedStream gated(std::move(owned), gates);
  for (std::size_t at = 0; at < client.size(); at += piece) {
    const std::string part = client.substr(at, piece);
    co_await gated.write(part);
  }
  std::string got, space(500, 'x');
  while (const std::size_t count = co_await gated.read_some(space)) got.append(space, 0, count);
  if (!client.starts_with(engine.asked)) std::abort();
  if (!refused && got != answer) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  std::string bytes(reinterpret_cast<const char*>(data) + 2, size - 2);
  const std::size_t piece = data[1] == 0 ? bytes.size() + 1 : data[1];
  switch (data[0]) {
    case 'c': run(list_containers(std::move(bytes), piece)); break;
    case 's': run(list_services(std::move(bytes), piece)); break;
    case 'v': run(resolve_volumes(std::move(bytes), piece)); break;
    case 'a': run(ask(std::move(bytes), piece)); break;
    case 'e': run(follow_events(std::move(bytes), piece)); break;
    case 'E': run(follow_endless_events(std::move(bytes), piece)); break;
    case 'r': watch_requests(bytes, piece); break;
    case 'u':
      if (unchunked(bytes).size() > bytes.size()) std::abort();
      break;
    case 'g': run(pass_gates(std::move(bytes), piece)); break;
    default: break;
  }
  return 0;
}
