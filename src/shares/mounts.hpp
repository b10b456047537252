#pragma once

#include <functional>
#include <list>
#include <memory>
#include <string>
#include <vector>

#include "profiles/shares.hpp"
#include "provision/guest.hpp"
#include "src/base/task_group.hpp"
#include "src/base/unique_fd.hpp"
#include "src/shares/transport.hpp"

namespace cl {

/// Keeps the guest's mounts of host folders as they should be, each by its transport. A mount whose server has died, or
/// whose guest was lost, is made again. A mount that fails does not affect the others.
class GuestShares {
 public:
  struct Config {
    std::function<asio::awaitable<std::shared_ptr<Guest>>()> guest;  ///< waits for it
    std::function<void()> on_change;                                 ///< states() has changed
    std::function<SftpPrograms()> sftp;  ///< as they are when a server is started; its `log` is ours
    std::filesystem::path log;
    std::vector<SshPort> ports;  ///< Machine::share_ports(): for as many shares by sshfs; others go by SSH
    std::chrono::milliseconds patience{std::chrono::seconds(30)};  ///< how long reconcile() waits for one mount
    std::chrono::milliseconds pause{200};  ///< before one that was lost is mounted again; it grows to `longest_pause`
    std::chrono::milliseconds longest_pause{std::chrono::seconds(10)};
    /// For tests; else by the share's type.
    std::function<std::unique_ptr<ShareTransport>(const ShareState&, std::shared_ptr<Event> lost)> transport;
  };
  GuestShares(asio::any_io_executor executor, Config config);
  /// Owner's rule: await stop() before destruction.
  GuestShares(const GuestShares&) = delete;
  GuestShares& operator=(const GuestShares&) = delete;

  /// Makes the guest's mounts those of `wanted`, in its order: others are unmounted, new ones are mounted. Returns when
  /// each is mounted or has a problem. Shares that have a problem already are only listed.
  asio::awaitable<void> reconcile(std::vector<ShareState> wanted);
  /// Whether all shares without a problem are mounted.
  bool complete() const noexcept;
  /// As they are now, in the order of reconcile().
  std::vector<ShareState> states() const;
  /// The server of that virtiofs device is gone, for as long as the machine runs: its share goes on by sshfs.
  void server_lost(const std::string& tag);
  // For a machine that is saved and loaded, as in PortStream; after GuestLink has done the same.
  asio::awaitable<void> quiesce();
  asio::awaitable<void> drained();
  asio::awaitable<void> reattach();
  void resume();
  /// Leaves the guest's mounts as they are; what serves them by sshfs ends.
  asio::awaitable<void> stop();

 private:
  struct Entry {
    Entry(const asio::any_io_executor& executor, ShareState wanted_state)
        : wanted(wanted_state),
          state(std::move(wanted_state)),
          lost(std::make_shared<Event>(executor)),
          decided(executor),
          tasks(executor) {}
    ShareState wanted;  ///< as given to reconcile()
    ShareState state;
    std::shared_ptr<Event> lost;  ///< its virtiofs device's server is gone
    SharePort* port = nullptr;    ///< its own, of ports_
    Event decided;                ///< it is mounted, or has failed
    TaskGroup tasks;
  };
  asio::awaitable<void> keep(std::shared_ptr<Entry> entry);
  asio::awaitable<void> mount_once(std::shared_ptr<Entry> entry);
  asio::awaitable<void> unmount(std::string mount_point);
  asio::awaitable<void> end(std::vector<std::shared_ptr<Entry>> old);
  std::unique_ptr<ShareTransport> transport_of(Entry& entry);
  SharePort* port_of(Entry& entry);
  void tell(Entry& entry, std::string problem);
  void fall_back(Entry& entry) const;

  asio::any_io_executor executor_;
  Config config_;
  UniqueFd log_;
  std::vector<SharePort> ports_;
  std::vector<std::shared_ptr<Entry>> entries_;
};

}  // namespace cl
