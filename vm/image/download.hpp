#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "profiles/image_ref.hpp"
#include "src/base/async.hpp"
#include "src/base/byte_size.hpp"
#include "vm/image/http.hpp"

namespace cl {

/// A file that is wanted, whose digest is known.
struct Download {
  std::string title;              ///< for people
  std::vector<std::string> urls;  ///< of the same file, in the order of trying
  Digest digest;
  /// Where it grows. What is there is gone on with, whoever was interrupted and however; ".from" beside it tells what
  /// it is a part of. The caller makes sure that it is the only one here.
  std::filesystem::path part;
  ByteSize most = ByteSize::gib(64);
  ByteSize spare = ByteSize::gib(1);  ///< must stay free beside the file
  HttpOptions http;
  int patience = 6;                            ///< attempts in a row that bring no new byte
  std::chrono::milliseconds first_pause{500};  ///< between such attempts; doubles
  std::chrono::milliseconds longest_pause{15000};
};

/// Brings `part` to its end and checks the digest; only then it returns. Goes on after interruptions, at the next of
/// the URLs if there are several, and from the start where the server cannot send a part, or the file there is another
/// by now. A file with another digest is removed; it is taken from the start once before its server is given up.
/// Throws Error{io} when the network does not give it, Error{not_found} when no URL has it, Error{protocol} when all
/// have something else, Error{host_requirement} without space.
asio::awaitable<void> download(Download what, std::function<void(std::string_view)> say);

/// Removes a part and what is beside it.
void forget_download(const std::filesystem::path& part);

/// How fast something goes, over the last seconds. Knows no clock.
class Rate {
 public:
  using Time = std::chrono::steady_clock::time_point;
  void add(Time now, std::uint64_t bytes_so_far);
  /// Bytes per second; 0 until there is something to tell.
  double per_second() const;

 private:
  std::deque<std::pair<Time, std::uint64_t>> seen_;
};

/// "103 MiB of 412 MiB (25%), 9.8 MiB/s, 32 s left". Pure.
std::string progress_text(std::uint64_t have, std::optional<std::uint64_t> total, double per_second);

}  // namespace cl
