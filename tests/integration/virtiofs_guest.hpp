#pragma once

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <stdexcept>
#include <string>

#include "src/base/unique_fd.hpp"

namespace cl::test {

/// A guest whose root asks a virtiofsd whatever it likes: vhost-user and FUSE, without a kernel in between that would
/// ask for nothing odd.
class VirtiofsGuest {
 public:
  struct Reply {
    int error = 0;  ///< of errno.h
    std::string data;
    std::uint64_t number() const {  ///< the first one: an inode, a handle
      std::uint64_t value = 0;
      std::memcpy(&value, data.data(), std::min(sizeof value, data.size()));
      return value;
    }
  };

  explicit VirtiofsGuest(const std::filesystem::path& socket) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    socket.native().copy(address.sun_path, sizeof address.sun_path - 1);
    socket_.reset(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    require(::connect(socket_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0, "connect");
    memory_.reset(::memfd_create("guest", MFD_CLOEXEC));
    require(::ftruncate(memory_.get(), memory_size) == 0, "make memory");
    base_ = static_cast<char*>(::mmap(nullptr, memory_size, PROT_READ | PROT_WRITE, MAP_SHARED, memory_.get(), 0));
    require(base_ != MAP_FAILED, "map memory");
    kick_.reset(::eventfd(0, EFD_CLOEXEC));
    call_.reset(::eventfd(0, EFD_CLOEXEC));
    set_up();
    // FUSE_INIT: version 7.38, no options.
    const Reply ready = ask(26, 0, words({7, 38, 65536, 0}) + std::string(48, '\0'));
    require(ready.error == 0, "FUSE_INIT");
  }
  ~VirtiofsGuest() { ::munmap(base_, memory_size); }
  VirtiofsGuest(const VirtiofsGuest&) = delete;
  VirtiofsGuest& operator=(const VirtiofsGuest&) = delete;

  static constexpr std::uint64_t root = 1;

  Reply lookup(std::uint64_t folder, const std::string& name) { return ask(1, folder, zero(name)); }
  /// The inode at a path below the root; 0: it is not to be had.
  std::uint64_t walk(const std::string& path) {
    std::uint64_t node = root;
    for (std::size_t at = 0; at < path.size() && node != 0;) {
      const std::size_t end = std::min(path.find('/', at), path.size());
      const Reply found = lookup(node, path.substr(at, end - at));
      node = found.error == 0 ? found.number() : 0;
      at = end + 1;
    }
    return node;
  }
  Reply open(std::uint64_t node, int flags) { return ask(14, node, words({static_cast<std::uint32_t>(flags), 0})); }
  Reply open_folder(std::uint64_t node) { return ask(27, node, words({O_RDONLY | O_DIRECTORY, 0})); }
  Reply read(std::uint64_t node, std::uint64_t handle) {
    return ask(15, node, longs({handle, 0}) + words({4096, 0}) + longs({0, 0}));
  }
  /// With the attributes of each name.
  Reply list(std::uint64_t node, std::uint64_t handle) {
    return ask(44, node, longs({handle, 0}) + words({32768, 0}) + longs({0, 0}));
  }
  Reply make_folder(std::uint64_t folder, const std::string& name) {
    return ask(9, folder, words({0755, 0}) + zero(name));
  }
  Reply make_node(std::uint64_t folder, const std::string& name) {
    return ask(8, folder, words({0100644, 0, 0, 0}) + zero(name));
  }
  Reply create(std::uint64_t folder, const std::string& name) {
    return ask(35, folder, words({O_RDWR | O_CREAT, 0644, 0, 0}) + zero(name));
  }
  Reply symlink(std::uint64_t folder, const std::string& name, const std::string& target) {
    return ask(6, folder, zero(name) + zero(target));
  }
  Reply link(std::uint64_t node, std::uint64_t folder, const std::string& name) {
    return ask(13, folder, longs({node}) + zero(name));
  }
  Reply rename(std::uint64_t from, const std::string& name, std::uint64_t to, const std::string& other,
               std::uint32_t flags = 0) {
    return ask(45, from, longs({to}) + words({flags, 0}) + zero(name) + zero(other));
  }
  Reply unlink(std::uint64_t folder, const std::string& name) { return ask(10, folder, zero(name)); }
  Reply change_mode(std::uint64_t node, std::uint32_t mode) {
    return ask(4, node, words({1, 0}) + std::string(60, '\0') + words({mode, 0, 0, 0, 0}));
  }
  Reply truncate(std::uint64_t node) { return ask(4, node, words({8, 0}) + std::string(80, '\0')); }

 private:
  static constexpr std::size_t memory_size = 1 << 20, descriptors = 0, available = 0x1000, used = 0x2000,
                               request = 0x10000, response = 0x20000, response_size = 0x10000;
  static constexpr std::uint16_t entries = 16;

  static void require(bool holds, const char* what) {
    if (!holds) throw std::runtime_error(std::string("cannot ") + what + ": " + std::strerror(errno));
  }
  template <class T>
  static std::string bytes(const T& value) {
    return {reinterpret_cast<const char*>(&value), sizeof value};
  }
  static std::string words(std::initializer_list<std::uint32_t> values) {
    std::string text;
    for (const std::uint32_t value : values) text += bytes(value);
    return text;
  }
  static std::string longs(std::initializer_list<std::uint64_t> values) {
    std::string text;
    for (const std::uint64_t value : values) text += bytes(value);
    return text;
  }
  static std::string zero(const std::string& text) { return text + '\0'; }

  void send(std::uint32_t message, const std::string& body, int fd = -1) {
    const std::string all = words({message, 1, static_cast<std::uint32_t>(body.size())}) + body;
    iovec text{const_cast<char*>(all.data()), all.size()};
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof fd)> space{};
    msghdr sent{};
    sent.msg_iov = &text;
    sent.msg_iovlen = 1;
    if (fd >= 0) {
      sent.msg_control = space.data();
      sent.msg_controllen = space.size();
      cmsghdr* head = CMSG_FIRSTHDR(&sent);
      head->cmsg_level = SOL_SOCKET;
      head->cmsg_type = SCM_RIGHTS;
      head->cmsg_len = CMSG_LEN(sizeof fd);
      std::memcpy(CMSG_DATA(head), &fd, sizeof fd);
    }
    require(::sendmsg(socket_.get(), &sent, MSG_NOSIGNAL) == static_cast<ssize_t>(all.size()), "send");
  }
  std::uint64_t ask_number(std::uint32_t message) {
    send(message, "");
    std::array<char, 20> reply{};
    require(::recv(socket_.get(), reply.data(), reply.size(), MSG_WAITALL) == reply.size(), "receive");
    std::uint64_t value = 0;
    std::memcpy(&value, reply.data() + 12, sizeof value);
    return value;
  }
  void set_up() {
    constexpr std::uint64_t version_1 = 1ULL << 32, protocol = 1ULL << 30;
    send(3, "");
    send(2, longs({ask_number(1) & (version_1 | protocol)}));
    ask_number(15);
    send(16, longs({0}));
    const auto address = reinterpret_cast<std::uint64_t>(base_);
    send(5, words({1, 0}) + longs({0, memory_size, address, 0}), memory_.get());
    for (const std::uint32_t queue : {0U, 1U}) {  // the first is for what must not wait
      send(8, words({queue, entries}));
      send(10, words({queue, 0}));
      send(9, words({queue, 0}) + longs({address + descriptors, address + used, address + available, 0}));
      send(13, longs({queue}), call_.get());
      if (queue == 1) send(12, longs({queue}), kick_.get());
      if (queue == 1) send(18, words({queue, 1}));
    }
  }
  Reply ask(std::uint32_t operation, std::uint64_t node, const std::string& body) {
    const std::string all = words({static_cast<std::uint32_t>(40 + body.size()), operation}) +
                            longs({++serial_, node}) + words({0, 0, 1, 0}) + body;
    std::memcpy(base_ + request, all.data(), all.size());
    constexpr std::uint32_t more = 1, writable = 2U << 16;  // flags and the next one's number
    const std::string chain = longs({request}) + words({static_cast<std::uint32_t>(all.size()), more | 1U << 16}) +
                              longs({response}) + words({response_size, writable >> 16});
    std::memcpy(base_ + descriptors, chain.data(), chain.size());
    auto* ring = reinterpret_cast<std::uint16_t*>(base_ + available);
    ring[2 + turn_ % entries] = 0;
    std::atomic_thread_fence(std::memory_order_seq_cst);
    ring[1] = ++turn_;
    std::atomic_thread_fence(std::memory_order_seq_cst);
    const std::uint64_t one = 1;
    require(::write(kick_.get(), &one, sizeof one) == sizeof one, "kick");
    const auto* done = reinterpret_cast<const volatile std::uint16_t*>(base_ + used);
    while (done[1] != turn_) {
      pollfd wait{call_.get(), POLLIN, 0};
      require(::poll(&wait, 1, 20'000) == 1, "get an answer");
      std::uint64_t count = 0;
      require(::read(call_.get(), &count, sizeof count) == sizeof count, "read an event");
    }
    std::uint32_t size = 0;
    std::int32_t error = 0;
    std::memcpy(&size, base_ + response, sizeof size);
    std::memcpy(&error, base_ + response + 4, sizeof error);
    Reply reply;
    reply.error = -error;
    if (size > 16 && size <= response_size) reply.data.assign(base_ + response + 16, size - 16);
    return reply;
  }

  UniqueFd socket_, memory_, kick_, call_;
  char* base_ = nullptr;
  std::uint64_t serial_ = 0;
  std::uint16_t turn_ = 0;
};

}  // namespace cl::test
