#include "provision/agent/loop.hpp"

#include <sys/epoll.h>

#include "provision/agent/system.hpp"

namespace cl::agent {

Loop::Loop() : set_(::epoll_create1(EPOLL_CLOEXEC)) {
  if (!set_) die("epoll_create");
}

bool Loop::add(int fd, Watched& watched) {
  epoll_event event{};
  event.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
  event.data.ptr = &watched;
  return ::epoll_ctl(set_.get(), EPOLL_CTL_ADD, fd, &event) == 0;
}

void Loop::remove(int fd) { ::epoll_ctl(set_.get(), EPOLL_CTL_DEL, fd, nullptr); }

void Loop::wait(int milliseconds) {
  epoll_event events[64];
  const int count = ::epoll_wait(set_.get(), events, 64, milliseconds);
  for (int i = 0; i < count; ++i) static_cast<Watched*>(events[i].data.ptr)->ready(events[i].events);
}

}  // namespace cl::agent
