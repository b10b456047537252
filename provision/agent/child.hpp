#pragma once

#include <string>
#include <string_view>

#include "src/base/unique_fd.hpp"

namespace cl::agent {

/// A child's side of its stream: messages to and from the host.
class Channel {
 public:
  explicit Channel(int fd) : fd_(fd) {}
  int fd() const { return fd_; }
  /// Waits for the next message; false when the host wants no more.
  bool receive(std::string& message);
  /// Waits until it is taken. Ends the program when nobody is there to take it.
  void send(std::string_view message);
  /// Lines, of any number; in messages that end with a line.
  void send_lines(std::string_view lines);
  /// Waits so long, or until the host wants no more, which is false. For services that take no messages.
  bool wait(int milliseconds);

 private:
  int fd_;
};

/// What a child does for a stream. It may block: nobody else waits.
struct Service {
  const char* name;
  void (*run)(Channel& host, std::string_view arguments);
  /// It has something to put away when the host wants no more, which it notices at once; so it is not killed.
  bool tidies = false;
};

/// A process of the same program for one stream, without anything of its parent but a socket.
class Child {
 public:
  static constexpr int most = 64;  ///< at a time

  Child() = default;
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  ~Child() { stop(); }
  bool start(const Service& service, const std::string& arguments, std::string& why);
  void stop();
  /// Of messages; a child that has ended is its end.
  int fd() const { return socket_.get(); }

 private:
  UniqueFd socket_, process_;
  bool started_ = false, tidies_ = false;
};

}  // namespace cl::agent
