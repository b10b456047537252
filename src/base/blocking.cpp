#include "src/base/blocking.hpp"

#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <condition_variable>
#include <list>
#include <mutex>
#include <set>
#include <system_error>
#include <thread>

namespace cl {
namespace {

/// How far a call is, for the coroutine that waits for it. Touched by that coroutine's thread alone.
struct Progress {
  explicit Progress(const asio::any_io_executor& executor) : begun(executor), done(executor) {}
  Event begun, done;
};

/// One call, shared by the coroutine that waits for it and by the thread that runs it.
struct Call {
  std::packaged_task<void()> job;
  Files files = Files::ours;
  bool queued = false;  ///< it was not begun at once

  /// Sets an event of the waiting coroutine on that coroutine's executor; does nothing once nobody waits.
  void report(Event Progress::* which) {
    const std::lock_guard lock(mutex);
    if (!executor) return;
    asio::post(executor, [waiter = waiter, which] {
      if (const auto progress = waiter.lock()) ((*progress).*which).set();
    });
  }

  /// Nobody waits any more. From here on the executor, which may go away, is not touched.
  void leave() {
    const std::lock_guard lock(mutex);
    executor = {};
  }

  std::mutex mutex;
  asio::any_io_executor executor;
  std::weak_ptr<Progress> waiter;  // locked on the executor only: its timers are that thread's
};
using CallPtr = std::shared_ptr<Call>;

/// Signals are for the thread that runs the loop: a new thread inherits a mask that blocks them.
class SignalsBlocked {
 public:
  SignalsBlocked() {
    sigset_t all;
    sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;
  ~SignalsBlocked() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

 private:
  sigset_t before_{};
};

}  // namespace

struct BlockingThreads::State : std::enable_shared_from_this<BlockingThreads::State> {
  explicit State(Limits with) : limits(with) {}

  const Limits limits;
  mutable std::mutex mutex;
  std::condition_variable more;
  std::list<CallPtr> ours, users;  ///< calls that wait for a thread
  std::size_t threads = 0;
  std::size_t idle = 0;  ///< of them, without a call
  std::size_t busy_for_users = 0;

  std::list<CallPtr>& queue(Files files) { return files == Files::ours ? ours : users; }
  std::size_t may_begin() const { return ours.size() + std::min(users.size(), limits.users - busy_for_users); }

  void submit(const CallPtr& call) {
    const std::lock_guard lock(mutex);
    queue(call->files).push_back(call);
    if (may_begin() > idle && threads < limits.threads) start_thread();
    call->queued = may_begin() > idle || users.size() > limits.users - busy_for_users;
    more.notify_one();
  }

  void start_thread() {
    const SignalsBlocked blocked;
    try {
      std::thread([state = shared_from_this()] { state->serve(); }).detach();
      ++threads;
      ++idle;  // until it takes a call
    } catch (const std::system_error&) {
      // The call waits for a thread that there is, or for its limit.
    }
  }

  CallPtr take_call() {
    const bool for_users = ours.empty() && !users.empty() && busy_for_users < limits.users;
    if (ours.empty() && !for_users) return nullptr;
    std::list<CallPtr>& from = for_users ? users : ours;
    CallPtr call = std::move(from.front());
    from.pop_front();
    if (for_users) ++busy_for_users;
    --idle;
    return call;
  }

  /// The life of a thread.
  void serve() {
    std::unique_lock lock(mutex);
    for (bool late = false;;) {
      CallPtr call = take_call();
      if (call == nullptr && late) break;
      if (call == nullptr) {
        late = more.wait_for(lock, limits.idle) == std::cv_status::timeout;
        continue;
      }
      const bool for_users = call->files == Files::users;
      lock.unlock();
      if (call->queued) call->report(&Progress::begun);
      call->job();
      call->job = {};  // so that the result and what the work captured end on the caller's thread
      lock.lock();
      if (for_users) --busy_for_users;
      ++idle;  // before the caller goes on: its next call needs no other thread
      call->report(&Progress::done);
      late = false;
    }
    --idle;
    --threads;
  }

  void drop(const CallPtr& call) {
    const std::lock_guard lock(mutex);
    queue(call->files).remove(call);
  }
};

BlockingThreads::BlockingThreads(Limits limits) : state_(std::make_shared<State>(limits)) {}

BlockingThreads& BlockingThreads::shared() {
  static BlockingThreads& threads = *new BlockingThreads(Limits{});  // never destroyed: a hung call may end late
  return threads;
}

std::size_t BlockingThreads::count() const {
  const std::lock_guard lock(state_->mutex);
  return state_->threads;
}

asio::awaitable<void> BlockingThreads::perform(Files files, std::packaged_task<void()> job) {
  const auto executor = co_await asio::this_coro::executor;
  const auto state = state_;
  const auto progress = std::make_shared<Progress>(executor);
  const auto call = std::make_shared<Call>();
  call->job = std::move(job);
  call->files = files;
  call->executor = executor;
  call->waiter = progress;

  struct Leave {  // on every way out; the frame's destruction with its io_context is one
    State& state;
    const CallPtr& call;
    ~Leave() {
      call->leave();
      state.drop(call);
    }
  };
  const Leave leave{*state, call};
  state->submit(call);
  if (call->queued) {
    try {
      co_await with_timeout(state->limits.turn, "getting a thread", progress->begun.wait());
    } catch (const Error&) {
      throw Error(Errc::timed_out, "files on this computer cannot be reached",
                  "find the network or FUSE mount that does not answer ('df' hangs there, too) and unmount it")
          .because("every thread for files waits for a call that hangs");
    }
  }
  co_await progress->done.wait();
}

namespace {

/// Paths whose looks hang, once for each of them.
struct Hanging {
  std::mutex mutex;
  std::multiset<std::string> paths;
};

Hanging& hanging() {
  static Hanging& all = *new Hanging;  // never destroyed: a call may return late
  return all;
}

Error does_not_answer(const std::string& path) {
  return Error(Errc::timed_out, path + " on this computer does not answer",
               "bring the server of its network or FUSE mount back, or unmount it");
}

}  // namespace

Look::Look(const std::filesystem::path& path) : path_(path.string()) {
  const std::lock_guard lock(hanging().mutex);
  if (hanging().paths.contains(path_)) throw does_not_answer(path_).because("an earlier look at it still hangs");
}

Error Look::give_up(std::chrono::milliseconds limit) {
  const std::lock_guard lock(hanging().mutex);
  hanging().paths.insert(path_);
  hangs_ = true;
  return does_not_answer(path_).because("looking at it took more than " + std::to_string(limit.count()) + " ms");
}

Look::~Look() {
  if (!hangs_) return;
  const std::lock_guard lock(hanging().mutex);
  hanging().paths.erase(hanging().paths.find(path_));
}

}  // namespace cl
