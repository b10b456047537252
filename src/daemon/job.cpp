#include "src/daemon/job.hpp"

#include <boost/asio/bind_cancellation_slot.hpp>

#include "src/base/log.hpp"

namespace cl {

Job::Job(const asio::any_io_executor& executor, Kind kind) : kind_(kind), changed_(executor) {}

std::shared_ptr<Job> Job::run(const asio::any_io_executor& executor, Kind kind, Work work,
                              std::shared_ptr<Job> before) {
  auto job = std::make_shared<Job>(executor, kind);
  job->before_ = std::move(before);
  auto on_end = [job, work](std::exception_ptr failure, boost::json::object result) {
    job->failure_ = failure;
    job->result_ = std::move(result);
    if (failure && job->cancelled_) job->failure_ = std::make_exception_ptr(Error(Errc::cancelled, "interrupted"));
    job->done_ = true;
    job->before_.reset();
    job->changed_.notify_all();
  };
  auto body = work(*job);
  asio::co_spawn(executor, std::move(body), asio::bind_cancellation_slot(job->cancel_.slot(), std::move(on_end)));
  return job;
}

void Job::begin(std::string phase, std::string text) {
  if (!phase_.empty()) end();
  phase_ = std::move(phase);
  text_ = std::move(text);
  began_ = Clock::now();
  tell(false);
}

void Job::say(std::string text) {
  if (text == text_) return;
  text_ = std::move(text);
  tell(false);
}

void Job::end(std::string text) {
  if (phase_.empty()) began_ = Clock::now();
  if (!text.empty()) text_ = std::move(text);
  tell(true);
  phase_.clear();
}

void Job::tell(bool phase_done) {
  rpc::Progress progress{phase_, text_, phase_done, {}};
  progress.elapsed = std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - began_);
  if (phase_done) log::info("{}: {} ({} ms)", phase_, text_, progress.elapsed.count());
  ++lines_;
  if (!told_.empty() && !told_.back().progress.done && told_.back().progress.phase == progress.phase) {
    told_.back() = Line{lines_, std::move(progress)};
  } else {
    told_.push_back(Line{lines_, std::move(progress)});
  }
  changed_.notify_all();
}

void Job::cancel() {
  if (done_ || cancelled_) return;
  cancelled_ = true;
  cancel_.emit(asio::cancellation_type::terminal);
}

void Job::cancel_with_those_before() {
  for (Job* job = this; job != nullptr; job = job->before_.get()) job->cancel();
}

asio::awaitable<std::optional<rpc::Progress>> Job::next(std::size_t& position) {
  while (position == lines_ && !done_) co_await changed_.wait();
  for (const Line& line : told_) {
    if (line.number <= position) continue;
    position = line.number;
    co_return line.progress;
  }
  co_return std::nullopt;
}

asio::awaitable<void> Job::ended() {
  while (!done_) co_await changed_.wait();
}

asio::awaitable<boost::json::object> Job::result() {
  co_await ended();
  if (failure_) std::rethrow_exception(failure_);
  co_return result_;
}

}  // namespace cl
