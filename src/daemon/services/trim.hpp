#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "src/base/task_group.hpp"
#include "src/daemon/service.hpp"

namespace cl {

struct Core;

/// When it is worth while to trim the data disk, by what this computer's file and the guest's file system take. Pure.
///
/// The file takes more than what is in use by the file system's own blocks (its journal, its tables) and by what was
/// freed. Only a trim can tell the two apart: what is left after it is the former.
class TrimPolicy {
 public:
  static constexpr std::int64_t slack = 32LL << 20;  ///< so much is not worth a pass

  /// Whether the guest has to be asked: the file was written since the last call, a pass awaits its second look, or the
  /// last look came to no end.
  bool worth_asking(std::filesystem::file_time_type written);
  /// Whether a pass could give something back.
  bool due(std::uint64_t allocated, std::uint64_t used) const noexcept;
  /// A look after which no pass is due.
  void quiet() noexcept {
    passes_ = 0;
    open_ = false;
  }
  /// After a pass. What was freed last may have been in no commit of the journal yet, so only the second pass in a
  /// row is believed.
  void passed(std::uint64_t allocated, std::uint64_t used) noexcept;

 private:
  std::optional<std::filesystem::file_time_type> written_;
  std::optional<std::int64_t> left_;  ///< after the last passes
  int passes_ = 0;                    ///< in a row
  bool open_ = false;
};

struct TrimTimings {
  std::chrono::milliseconds look{std::chrono::seconds(15)};  ///< at the file's times, which costs the guest nothing
  /// So long nobody has written: then a pass disturbs nobody. After this many times of waiting for that it begins all
  /// the same.
  std::chrono::milliseconds quiet{std::chrono::seconds(2)};
  int patience = 5;
  std::chrono::milliseconds pass{std::chrono::minutes(2)};         ///< limit of one
  std::chrono::milliseconds before_stop{std::chrono::seconds(3)};  ///< likewise, with a look and a sync
};

/// What the guest frees on the data disk comes back to this computer: the file system there is trimmed after whatever
/// has removed data. A machine that writes nothing is asked nothing.
class TrimService : public Service {
 public:
  explicit TrimService(Core& core) : core_(core) {}

  std::string_view name() const noexcept override { return "freed disk space"; }
  asio::awaitable<void> ready() override;
  /// Not before a suspend: what was freed within the last seconds has to wait for the resume, and not the user.
  asio::awaitable<void> quiesce() override { return close(); }
  asio::awaitable<void> resume() override { return ready(); }
  asio::awaitable<void> close() override;

  /// Before the guest powers off: what was freed last. A failure is only logged.
  asio::awaitable<void> before_stop();

 private:
  asio::awaitable<void> follow();
  asio::awaitable<void> look();
  asio::awaitable<void> pass(std::uint64_t used_before);
  asio::awaitable<void> last_pass();
  asio::awaitable<void> wait_until_quiet();
  asio::awaitable<std::uint64_t> used();
  asio::awaitable<std::string> ask(std::string what);

  Core& core_;
  TrimPolicy policy_;
  std::string trouble_;    ///< that was logged last
  bool supported_ = true;  ///< by the machine's disk
  std::unique_ptr<TaskGroup> tasks_;
};

}  // namespace cl
